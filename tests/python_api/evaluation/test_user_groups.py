"""Metrics of user groups and their spread."""

from __future__ import annotations

import numpy as np
import pytest
from python_api.methods.click_cases import click_split

from debiasrec import methods
from debiasrec.data.groups import user_groups
from debiasrec.errors import DebiasRecError
from debiasrec.evaluation.user_groups import METRICS, group_metrics, heterogeneity
from debiasrec.methods.group_teachers import group_teachers

QUICK = {"max_epochs": 2, "batch_size": 64}


@pytest.fixture(scope="module")
def clicks():
    return click_split()


@pytest.fixture(scope="module")
def fitted(clicks):
    return methods.PlainDeepFM(**QUICK).fit(clicks)


def test_the_metrics_of_a_group_are_the_means_over_its_users(clicks, fitted):
    groups = user_groups(clicks, "activeness", 5)
    values = group_metrics([fitted], clicks, groups)
    rows = clicks.biased_test
    scores = fitted.predict(rows.users, rows.items)
    for group in range(5):
        own = []
        for user in np.flatnonzero(groups == group):
            target, others = (
                scores[(rows.users == user) & (rows.ratings == 1)],
                scores[(rows.users == user) & (rows.ratings == 0)],
            )
            # drawn items repeat, so ties are between equal items only, never with the target
            rank = 1 + (others > target).sum()
            gain = 1 / np.log2(rank + 1)
            own.append([(others < target).mean(), rank <= 5, rank <= 10, gain * (rank <= 5), gain * (rank <= 10)])
        np.testing.assert_allclose(values[group], np.mean(own, 0), rtol=1e-6)


def test_heterogeneity_is_the_spread_beyond_that_of_models_of_each_group_alone(clicks, fitted):
    figures = heterogeneity(fitted, clicks)
    for by in ("activeness", "consistency"):
        groups = user_groups(clicks, by, 5)
        unified = group_metrics([fitted], clicks, groups)
        alone = group_metrics(group_teachers(fitted, clicks, by, 5), clicks, groups)
        spread, own = (100 * np.mean([np.std(column, ddof=1) for column in values.T]) for values in (unified, alone))
        assert figures[f"groups by {by}", "spread"] == pytest.approx(spread)
        assert figures[f"groups by {by}", "own_spread"] == pytest.approx(own)
        assert figures[f"groups by {by}", "heterogeneity"] == pytest.approx(spread - own)
        assert figures[f"{by} group 5", "ndcg@10"] == pytest.approx(unified[4, METRICS.index("ndcg@10")])


def test_methods_that_are_no_click_models_have_no_heterogeneity(clicks):
    assert heterogeneity(methods.Popularity().fit(clicks), clicks) == {}


def test_one_model_or_one_for_each_group(clicks, fitted):
    groups = user_groups(clicks, "activeness", 5)
    with pytest.raises(DebiasRecError, match="1 or 5 models, got 2"):
        group_metrics([fitted, fitted], clicks, groups)
