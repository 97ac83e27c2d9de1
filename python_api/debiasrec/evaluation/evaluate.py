"""Both tests in one table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..data import Interactions, Split
from ..data.dataset import check_split
from ..data.splits import LEAVE_ONE_OUT
from ..data.validation import is_whole
from ..errors import DebiasRecError
from .estimates import estimate_names, estimates
from .metrics import errors, global_auc, harmonic_mean, metric_names, user_metrics
from .parts import TESTS, TestPart, list_lengths, list_metrics, ranking_users, test_parts, users_dropped
from .truth import TruthTest, truth_names

if TYPE_CHECKING:
    from ..methods import Method

Row = dict[tuple[str, str], float]


def evaluate(models: Mapping[str, Method], split: Split, ks: Sequence[int] | None = None) -> pd.DataFrame:
    """Score every model on the biased and on the debiased test of a split.

    Ranking is within the rows a user has in a test, with ties counted by expectation. UAUC averages over users with
    both classes; the @k metrics over users with a positive, under the ``interd`` protocol over users with both classes.
    These are NDCG, recall and MAP, under ``implicit`` DCG, MAP and recall; MAP divides by the hits within the list.
    MSE and MAE are against ``model.encode(ratings)``. Under ``both`` stand the harmonic means of the two tests. On
    simulated data ``truth`` ranks the whole catalogue against the known relevance, in expectation. Without uniform
    data ``snips`` and ``ips`` estimate what the debiased test would say, from the biased test and popularity
    propensities. Under ``leave_one_out``, where items that a user never saw stand in the test, there are no errors and
    no estimates.

    Args:
        models: fitted methods by the name that they get in the table.
        split: where the tests come from. It should be the split the models were fitted on.
        ks: list lengths of the @k metrics, each at least 1; left out those of the protocol's paper, else 5.

    Returns:
        Index ``method``; columns (test, metric). A test that the split lacks is NaN. ``.attrs["dropped"]``: users per
        test and how many lack a class; ``.attrs["ranking_users"]``: ``"defined"`` or ``"both"``.

    Raises:
        DebiasRecError: not a split, no models, a k below 1, no test rows, or scores of a wrong shape or not finite.

    Source:
        InterD section 4.1 (UAUC, NDCG@k, F1 over two tests); Bal section 5.1 (global AUC).
    """
    check_split(split)
    lengths = check_ks(ks, split)
    if not isinstance(models, Mapping) or not models:
        raise DebiasRecError(f"models: expected fitted methods by name, at least one, got {models!r}")
    parts = test_parts(split)
    truth = TruthTest.of(split.dataset)
    rows = {name: _evaluate_one(name, model, split, parts, truth, lengths) for name, model in models.items()}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=_columns(split, lengths)).astype(float)
    table.index.name = "method"
    table.columns = pd.MultiIndex.from_tuples(table.columns, names=["test", "metric"])
    table.attrs["dropped"] = users_dropped(parts)
    table.attrs["ranking_users"] = ranking_users(split)
    return table


def check_ks(ks: Sequence[int] | None, split: Split) -> tuple[int, ...]:
    """The list lengths, ascending and distinct; those of the protocol for None.

    Raises:
        DebiasRecError: none given, or one that is no whole number of at least 1.
    """
    if ks is None:
        return list_lengths(split)
    lengths = tuple(ks) if isinstance(ks, Iterable) else ()
    if not lengths or not all(is_whole(k) and k >= 1 for k in lengths):
        raise DebiasRecError(f"ks: expected list lengths, whole numbers of at least 1, got {ks!r}")
    return tuple(sorted({int(k) for k in lengths}))


def score_rows(name: str, model: Method, rows: Interactions, *, validation: bool = False) -> np.ndarray:
    """Scores of rows, of a validation part those from what was known before it; checked.

    Raises:
        DebiasRecError: a wrong number of scores, or some that are not finite.
    """
    # Anything that predicts can be evaluated; only models of time order know less when they validate.
    predict = getattr(model, "predict_validation", model.predict) if validation else model.predict
    scores = np.asarray(predict(rows.users, rows.items))
    if scores.shape != (len(rows),):
        raise DebiasRecError(f"{name}: predict returned shape {scores.shape} for {len(rows)} pairs")
    bad = int((~np.isfinite(scores)).sum())
    if bad:
        raise DebiasRecError(f"{name}: {bad} of {len(scores)} scores are not finite; was the fit stable?")
    return scores


def _evaluate_one(
    name: str, model: Method, split: Split, parts: list[TestPart], truth: TruthTest | None, ks: tuple[int, ...]
) -> Row:
    row: Row = {}
    lists = list_metrics(split)
    for part in parts:
        own = score_rows(name, model, part.rows)
        values = user_metrics(own, part, ks, lists, ranking_users(split)) | {"auc": global_auc(own, part)}
        if split.name != LEAVE_ONE_OUT:
            targets = model.encode(part.rows.ratings)
            values |= errors(own, targets)
            if split.uniform_test is None and part.name == "biased":
                row |= estimates(own, targets, part, split, ks)
        row |= {(part.name, metric): value for metric, value in values.items()}
    for metric in f1_names(ks, lists):
        both = (row.get((test, metric.removeprefix("f1_")), np.nan) for test in TESTS)
        row["both", metric] = harmonic_mean(*both)
    if truth is not None:
        values = truth.metrics(score_rows(name, model, truth.rows), model, ks)
        row |= {("truth", metric): value for metric, value in values.items()}
    return row


def _columns(split: Split, ks: tuple[int, ...]) -> list[tuple[str, str]]:
    lists = list_metrics(split)
    columns = [(test, metric) for test in TESTS for metric in metric_names(ks, lists)]
    columns += [("both", metric) for metric in f1_names(ks, lists)]
    if split.uniform_test is None and split.name != LEAVE_ONE_OUT:
        columns += [(estimate, metric) for estimate, metrics in estimate_names(ks).items() for metric in metrics]
    if split.dataset.truth is not None:
        columns += [("truth", metric) for metric in truth_names(ks)]
    return columns


def f1_names(ks: tuple[int, ...], lists: tuple[str, ...]) -> list[str]:
    """f1_uauc, and f1_ndcg@k or whatever @k metric comes first."""
    return ["f1_uauc", *(f"f1_{lists[0]}@{k}" for k in ks)]
