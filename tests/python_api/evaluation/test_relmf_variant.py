"""The metrics of RelMF's program, user by user."""

from __future__ import annotations

import numpy as np
import pytest

from debiasrec.evaluation import compare, relmf_variant


def by_hand(scores, labels, k):
    r = (0.001 + 0.999 * labels)[np.argsort(-scores)]
    top = r[:k]
    dcg = sum(gain / max(np.log2(rank), 1.0) for rank, gain in enumerate(top, 1))
    precision = [top[:rank].sum() / rank for rank in range(1, len(top) + 1) if top[rank - 1] == 1]
    return dcg, sum(precision), top.sum() / r.sum()


def test_every_user_counts_and_the_first_two_ranks_weigh_the_same(make_split, fixed_scores):
    split, model = make_split(), fixed_scores(level=1.0)
    predict = model.predict
    model.predict = lambda users, items: predict(users, items) + 1e-3 * np.asarray(items)  # no ties
    values = relmf_variant(model, split, (1, 2, 4))
    for test, rows in {"biased": split.biased_test, "debiased": split.uniform_test}.items():
        scores, labels = model.predict(rows.users, rows.items), (rows.ratings >= 4).astype(float)
        for k in (1, 2, 4):
            users = [by_hand(scores[rows.users == u], labels[rows.users == u], k) for u in np.unique(rows.users)]
            found = [values[test, f"{name}_relmf@{k}"] for name in ("dcg", "map", "recall")]
            assert found == pytest.approx(np.mean(users, axis=0), rel=1e-6)


def test_it_joins_the_tables_of_a_comparison(make_split, fixed_scores):
    comparison = compare(make_split("implicit"), {"one": fixed_scores()}, 2, measure=relmf_variant)
    assert {"dcg@3", "map@3", "recall@3", "dcg_relmf@3"} <= set(comparison.results["metric"])
    assert comparison.ks == (1, 2, 3)
    assert "DCG relmf@3" in str(comparison)
