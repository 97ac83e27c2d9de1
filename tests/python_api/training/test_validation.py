from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import mean_squared_error, roc_auc_score

from debiasrec.data import Dataset, Interactions, Split
from debiasrec.evaluation import validation_value
from debiasrec.propensity import NaiveBayesPropensity, PopularityPropensity
from debiasrec.training import make_validator


def part(ratings, items=None) -> Interactions:
    rows = np.arange(len(ratings))
    return Interactions(rows, rows if items is None else items, np.array(ratings, dtype=np.float32))


def split_of(biased=None, uniform=None) -> Split:
    train = part([5, 1, 4, 2])
    ids = pd.RangeIndex(4)
    data = Dataset("hand", train, None, 4, 4, ids, ids, (1.0, 5.0), 4.0)
    return Split(data, "hand", 0, train=train, biased_validation=biased, uniform_validation=uniform)


def encode(ratings):
    return np.where(np.asarray(ratings) >= 4, 1.0, -1.0).astype(np.float32)


def user_times_ten_plus_item(users, items):
    return (10.0 * users + items).float()


class Scores:
    """What `validation_value` asks of a fitted method."""

    name = "scores"
    encode = staticmethod(encode)

    def predict(self, users, items):
        return user_times_ten_plus_item(torch.tensor(users), torch.tensor(items)).numpy()


def test_auc_and_mse_equal_scikit_learn():
    uniform = part([5, 1, 4, 2])
    split, scores = split_of(uniform=uniform), 11.0 * np.arange(4)
    auc = make_validator(split, encode, "auc", "cpu")(user_times_ten_plus_item)
    mse = make_validator(split, encode, "mse", "cpu")(user_times_ten_plus_item)
    assert auc == pytest.approx(roc_auc_score([1, 0, 1, 0], scores))
    assert mse == pytest.approx(mean_squared_error([1, -1, 1, -1], scores))


def test_a_biased_part_counts_by_inverse_propensity_and_a_uniform_one_evenly():
    biased, uniform = part([5, 1, 4, 2]), part([5, 1, 1, 2])
    split = dataclasses.replace(split_of(biased), uniform_train=uniform)
    weights = 1 / NaiveBayesPropensity().fit(split).predict(biased.users, biased.items, biased.ratings)
    squares = (Scores().predict(biased.users, biased.items) - encode(biased.ratings)) ** 2
    value = make_validator(split, encode, "snips_mse", "cpu")(user_times_ten_plus_item)
    assert value == pytest.approx(np.average(squares, weights=weights))
    assert np.ptp(weights) > 0
    assert validation_value(Scores(), split, "snips_mse") == pytest.approx(value)
    popular = 1 / PopularityPropensity().fit(split).predict(biased.users, biased.items, biased.ratings)
    without = make_validator(split_of(biased), encode, "snips_mse", "cpu")(user_times_ten_plus_item)
    assert without == pytest.approx(np.average(squares, weights=popular))
    even = make_validator(split_of(biased, uniform), encode, "snips_mse", "cpu")(user_times_ten_plus_item)
    assert even == make_validator(split_of(biased, uniform), encode, "mse", "cpu")(user_times_ten_plus_item)


def test_ties_count_half():
    validator = make_validator(split_of(uniform=part([5, 1, 4, 2])), encode, "auc", "cpu")
    assert validator(lambda users, items: torch.zeros(len(users))) == 0.5


def test_the_uniform_part_goes_first_and_a_part_of_one_class_is_passed_over():
    biased, uniform, one_class = part([1, 5]), part([5, 1, 4]), part([5, 4, 4])
    assert len(make_validator(split_of(biased, uniform), encode, "auc", "cpu").users) == 3
    assert len(make_validator(split_of(biased, one_class), encode, "auc", "cpu").users) == 2
    assert len(make_validator(split_of(biased, one_class), encode, "mse", "cpu").users) == 3
    assert make_validator(split_of(None, one_class), encode, "auc", "cpu") is None


def test_scores_that_are_not_finite_give_nan():
    validator = make_validator(split_of(uniform=part([5, 1])), encode, "auc", "cpu")
    assert math.isnan(validator(lambda users, items: torch.tensor([1.0, math.inf])))
