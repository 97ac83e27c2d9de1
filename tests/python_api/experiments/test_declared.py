"""The declared experiments hold together, and what they measure is right by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import debiasrec
from debiasrec.data import SPLITS, Interactions, Split
from debiasrec.experiments import EXPERIMENTS, experiment, published
from debiasrec.experiments.bal import uniform_sizes
from debiasrec.experiments.popularity import biased_weight, popularity
from debiasrec.methods import REGISTRY
from debiasrec.methods.options import check_options

NAMES = sorted(EXPERIMENTS)


@pytest.mark.parametrize("name", NAMES)
def test_rows_columns_and_splits_exist(name):
    declared = EXPERIMENTS[name]
    assert declared.name == name
    assert declared.split in SPLITS
    assert len(set(declared.metrics)) == len(declared.metrics)
    assert {*declared.against, *declared.against.values()} <= set(declared.arms)
    assert {arm.method for arm in declared.arms.values()} <= set(REGISTRY)
    for dataset in ("coat", "yahoo_r3", "simulated"):
        for arm in declared.arms.values():
            settings = {**debiasrec.methods.preset(arm.method, dataset, declared.split), **arm.options}
            check_options(debiasrec.methods.make(arm.method, **settings))


def test_published_figures_belong_to_rows_and_columns():
    for row in published().itertuples():
        declared = EXPERIMENTS[row.experiment]
        assert row.method in declared.arms, row
        assert (row.test, row.metric) in declared.metrics, row
        assert row.kind in ("paper", "program")
        assert row.origin
    assert not published().duplicated(["experiment", "kind", "dataset", "method", "test", "metric"]).any()
    assert published()["value"].gt(0).all()


def test_an_unknown_experiment_is_told_the_nearest():
    with pytest.raises(debiasrec.DebiasRecError, match="did you mean 'interd-table2'"):
        experiment("interd-tabel2")


def test_uniform_sizes_share_one_test_and_grow(data):
    split = data.split("bal")
    sizes = uniform_sizes(split)
    assert list(sizes) == [f"{size}%" for size in range(1, 11)]
    total, keys = len(data.uniform), None
    for name, part in sizes.items():
        assert len(part.uniform_train) == total * int(name[:-1]) // 100
        own = part.uniform_train.pairs(data.n_items)
        assert keys is None or np.isin(keys, own).all()
        assert not np.isin(own, part.uniform_test.pairs(data.n_items)).any()
        assert not np.isin(own, part.uniform_validation.pairs(data.n_items)).any()
        assert part.uniform_test is sizes["1%"].uniform_test
        keys = own
    assert len(part.uniform_test) == total - 2 * (total * 5 // 100) - (total // 10 - total * 5 // 100)


class Scores:
    """Scores that a table gives."""

    name = "scores"

    def __init__(self, table: np.ndarray) -> None:
        self.table = table

    def predict(self, users, items):
        return self.table[users, items].astype(np.float32)


def ratings(rows: list[tuple[int, int, int]]) -> Interactions:
    return Interactions(*np.array(rows).T)


@pytest.fixture
def hand() -> Split:
    """Ten items, item 0 never rated in training and item 9 most often; two users with seven test rows each."""
    train = ratings([(user, item, 3) for item in range(10) for user in range(item)])
    debiased = ratings([(u, i, 5 if (u + i) % 2 else 1) for u in (0, 1) for i in range(3, 10)])
    biased = ratings([(0, 0, 5), (0, 1, 1), (0, 2, 5), (1, 8, 5), (1, 9, 1)])
    ids = [pd.RangeIndex(10)] * 2
    data = debiasrec.Dataset("hand", train, debiased, 10, 10, *ids, (1.0, 5.0), 4.0)
    return Split(data, "interd", 0, train=train, biased_test=biased, uniform_test=debiased)


def test_top_five_by_popularity_by_hand(hand):
    figures = popularity(Scores(np.tile(np.arange(10.0), (10, 1))), hand)
    # Best five of items 3..9 are 5..9; 8 and 9 are the popular fifth. User 0 likes odd items, user 1 even ones.
    assert figures["debiased", "hits@5_popular"] == (1 + 1) / 2
    assert figures["debiased", "hits@5_rest"] == (2 + 1) / 2
    assert figures["debiased", "errors@5_popular"] == (1 + 1) / 2
    assert figures["debiased", "errors@5_rest"] == (1 + 2) / 2
    assert figures["biased", "hits@5_popular"] == 0.5
    assert figures["biased", "errors@5_rest"] == 0.5


def test_least_popular_items_by_hand(hand):
    # Of the biased test, user 0's rows are items 0, 1, 2, the least popular three: one negative between two positives.
    figures = popularity(Scores(np.tile(np.arange(10.0), (10, 1))), hand)
    assert figures["biased, 30% least popular", "uauc"] == 0.5
    assert np.isnan(figures["debiased, 30% least popular", "uauc"])
    eighty = figures["biased, 80% least popular", "uauc"], figures["debiased, 80% least popular", "uauc"]
    # Items 3..7: user 0 likes 3, 5, 7 (AUC 1/2), user 1 likes 4, 6 (AUC 1/2).
    assert eighty == (0.5, 0.5)
    assert figures["both, 80% least popular", "f1_uauc"] == 0.5


def test_the_weight_of_the_biased_teacher_by_hand():
    biased, debiased = np.array([[0.9, 0.2, -0.5, 0.3]]), np.array([[0.5, 0.4, 0.5, 0.3]])
    model = SimpleNamespace(biased_teacher_=Scores(biased), debiased_teacher_=Scores(debiased))
    known = np.array([1.0, 1.0, -1.0, 1.0], dtype=np.float32)
    weight = biased_weight(model, np.zeros(4, dtype=np.int64), np.arange(4), known, gamma=-0.7)
    ratio = ((debiased[0] - known) / (biased[0] - known)) ** 2
    expected = ratio**0.7 / (1 + ratio**0.7)
    np.testing.assert_allclose(weight[:3], expected[:3], atol=1e-6)
    assert np.isnan(weight[3])


def test_metrics_of_user_groups_are_drawn_by_grouping_and_metric():
    declared = EXPERIMENTS["causald-groups"]
    cell = {"method": "din", "test": "activeness group 2", "metric": "auc"}
    assert declared.figure.place(declared.arms["din"], pd.Series(cell)) == ("activeness, auc", "din", 2.0)
    whole = pd.Series({**cell, "test": "groups by activeness", "metric": "heterogeneity"})
    assert declared.figure.place(declared.arms["din"], whole) is None
