"""What is known of users and items before any model: how much they rate, how well, and their features."""

from __future__ import annotations

import numpy as np

from .dataset import Split


def covariates(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Covariates of users and of items, from the biased training ratings and the features of the data set.

    Columns: the number of ratings and their mean (of all ratings, where there are none), each scaled to [0, 1] over the
    rows, then the features where the data set has any.

    Args:
        split: ``split.train`` is read.

    Returns:
        float32 [U, 2 + f] and [I, 2 + g].

    Source: Wang et al., "Combating Selection Biases in Recommender Systems with a Few Unbiased Ratings", WSDM 2021,
        section 5.1.
    """
    data, train = split.dataset, split.train
    users = _covariates(train.users, train.ratings, data.n_users, data.user_features)
    items = _covariates(train.items, train.ratings, data.n_items, data.item_features)
    return users, items


def _covariates(rows: np.ndarray, ratings: np.ndarray, n_rows: int, features: np.ndarray | None) -> np.ndarray:
    counts = np.bincount(rows, minlength=n_rows)
    sums = np.bincount(rows, ratings.astype(np.float64), n_rows)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), ratings.mean(dtype=np.float64))
    columns = np.stack([_to_unit_interval(counts), _to_unit_interval(means)], 1).astype(np.float32)
    return columns if features is None else np.concatenate([columns, features], 1)


def _to_unit_interval(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros(len(values))
