"""The table of both tests against enumeration, and what it leaves blank."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

import debiasrec
from debiasrec.data import Interactions, Truth


def enumerated_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of positive-negative pairs in the right order, ties one half."""
    positives, negatives = scores[labels == 1], scores[labels == 0]
    wins = [(p > n) + 0.5 * (p == n) for p, n in product(positives, negatives)]
    return float(np.mean(wins)) if wins else float("nan")


def enumerated_lists(scores: np.ndarray, labels: np.ndarray, k: int) -> dict[str, float]:
    """DCG, NDCG, recall and MAP at k, averaged over all orders that sort the scores."""
    names = [f"{name}@{k}" for name in ("dcg", "ndcg", "recall", "map")]
    if labels.sum() == 0:
        return dict.fromkeys(names, float("nan"))
    values = [_one_order(labels[list(order)], k) for order in _orders(scores)]
    return dict(zip(names, np.mean(values, axis=0), strict=True))


def _orders(scores: np.ndarray) -> list[list[int]]:
    orders: list[list[int]] = [[]]
    for value in sorted(set(scores.tolist()), reverse=True):
        tied = np.flatnonzero(scores == value)
        orders = [order + list(tail) for order in orders for tail in permutations(tied)]
    return orders


def _one_order(labels: np.ndarray, k: int) -> tuple[float, ...]:
    gains = [1 / np.log2(rank + 2) for rank in range(len(labels))]
    ideal = sum(gains[: min(k, int(labels.sum()))])
    top = labels[:k]
    dcg = sum(gain for gain, label in zip(gains, top, strict=False) if label)
    precisions = [top[: rank + 1].mean() for rank in range(len(top)) if top[rank]]
    return dcg, dcg / ideal, top.sum() / labels.sum(), float(np.mean(precisions)) if precisions else 0.0


def by_user(model, rows: Interactions, k: int) -> list[dict[str, float]]:
    scores = model.predict(rows.users, rows.items).astype(float)
    labels = (rows.ratings >= 4).astype(int)
    users = []
    for user in np.unique(rows.users):
        own = rows.users == user
        users.append({"auc": enumerated_auc(scores[own], labels[own]), **enumerated_lists(scores[own], labels[own], k)})
    return users


@pytest.mark.parametrize("k", [1, 3, 50])
@pytest.mark.parametrize("protocol", ["autodebias", "interd", "implicit"])
def test_user_metrics_equal_enumeration_with_ties_and_one_class_users(make_split, fixed_scores, protocol, k):
    split, model = make_split(protocol), fixed_scores(level=0.5)
    split = _short_lists(split)
    table = debiasrec.evaluate({"model": model}, split, ks=(k,))
    for test, rows in {"biased": split.biased_test, "debiased": split.uniform_test}.items():
        users = by_user(model, rows, k)
        both = [user for user in users if not np.isnan(user["auc"])]
        positive = [user for user in users if not np.isnan(user[f"ndcg@{k}"])]
        assert len(both) < len(positive) < len(users)
        kept = both if protocol == "interd" else positive
        assert table.loc["model", (test, "uauc")] == pytest.approx(np.mean([user["auc"] for user in both]))
        for metric in ("dcg@" if protocol == "implicit" else "ndcg@") + str(k), f"recall@{k}", f"map@{k}":
            assert table.loc["model", (test, metric)] == pytest.approx(np.mean([user[metric] for user in kept])), metric


def _short_lists(split):
    """Cut every user's test to 7 rows: the orders of tied rows can then be enumerated."""

    def cut(rows):
        position = np.array([np.sum(rows.users[:n] == user) for n, user in enumerate(rows.users)])
        return rows.take(position < 7)

    return debiasrec.Split(
        **{**vars(split), "biased_test": cut(split.biased_test), "uniform_test": cut(split.uniform_test)}
    )


def test_global_auc_and_errors_are_over_all_rows(make_split, fixed_scores):
    split, model = make_split(), fixed_scores(level=2.0)
    row = debiasrec.evaluate({"model": model}, split).loc["model"]
    rows = split.uniform_test
    scores, labels = model.predict(rows.users, rows.items).astype(float), (rows.ratings >= 4).astype(int)
    difference = scores - (2 * labels - 1)
    assert row["debiased", "auc"] == pytest.approx(enumerated_auc(scores, labels))
    assert row["debiased", "mse"] == pytest.approx(np.mean(difference**2))
    assert row["debiased", "mae"] == pytest.approx(np.mean(np.abs(difference)))


def test_f1_is_the_harmonic_mean_of_the_two_tests(make_split, fixed_scores):
    table = debiasrec.evaluate({"a": fixed_scores(), "b": fixed_scores(level=3.0)}, make_split(), ks=(5, 10))
    for metric in ("uauc", "ndcg@5", "ndcg@10"):
        biased, debiased = table["biased", metric], table["debiased", metric]
        np.testing.assert_allclose(table["both", f"f1_{metric}"], 2 * biased * debiased / (biased + debiased))
    assert list(table.index) == ["a", "b"]


def test_a_split_without_a_biased_test_leaves_it_and_f1_blank(make_split, fixed_scores):
    table = debiasrec.evaluate({"model": fixed_scores()}, make_split("autodebias", biased_test=False))
    assert table["biased"].isna().all(axis=None)
    assert table["both"].isna().all(axis=None)
    assert table["debiased"].notna().all(axis=None)


def test_users_dropped_are_counted_by_reason(make_split, fixed_scores):
    split = make_split()
    dropped = debiasrec.evaluate({"model": fixed_scores()}, split).attrs["dropped"]
    for test, rows in {"biased": split.biased_test, "debiased": split.uniform_test}.items():
        classes = [set((rows.ratings[rows.users == user] >= 4).tolist()) for user in np.unique(rows.users)]
        assert dropped[test] == {
            "users": len(classes),
            "no_positive": classes.count({False}),
            "no_negative": classes.count({True}),
            "both_classes": classes.count({True, False}),
        }
        assert dropped[test]["no_positive"] * dropped[test]["no_negative"] > 0


def test_a_constant_scorer_gets_the_expected_value_not_the_row_order(make_split, fixed_scores, monkeypatch):
    split = make_split()
    monkeypatch.setattr(fixed_scores, "predict", lambda self, users, items: np.zeros(len(users), np.float32))
    row = debiasrec.evaluate({"model": fixed_scores()}, split).loc["model"]
    assert row["debiased", "uauc"] == 0.5
    assert row["debiased", "auc"] == 0.5
    reordered = debiasrec.Split(**{**vars(split), "uniform_test": _positives_first(split.uniform_test)})
    again = debiasrec.evaluate({"model": fixed_scores()}, reordered).loc["model"]
    assert again["debiased", "ndcg@5"] == pytest.approx(row["debiased", "ndcg@5"])


def _positives_first(rows: Interactions) -> Interactions:
    return rows.take(np.argsort(-rows.ratings, kind="stable"))


def test_truth_columns_are_expectations_over_the_known_relevance(make_split, fixed_scores):
    rng = np.random.default_rng(5)
    relevance = rng.random((40, 30))
    truth = Truth(relevance=relevance, exposure=np.full((40, 30), 0.1), expected_rating=1 + 4 * relevance)
    split, model = make_split(truth=truth), fixed_scores(level=1.0)
    row = debiasrec.evaluate({"model": model}, split, ks=(5,)).loc["model", "truth"]
    users, items = np.divmod(np.arange(1200), 30)
    scores = model.predict(users, items).astype(float).reshape(40, 30)

    def expected_auc(s, p):
        right = (s[:, None] > s) + 0.5 * (s[:, None] == s)
        weight = p[:, None] * (1 - p) * (1 - np.eye(len(p)))
        return (right * weight).sum() / weight.sum()

    def expected_ndcg(s, p):
        discount = np.where(np.arange(30) < 5, 1 / np.log2(np.arange(30) + 2), 0.0)
        tied = [np.flatnonzero(s == value) for value in np.unique(s)[::-1]]
        gains = np.concatenate([np.full(len(rows), p[rows].mean()) for rows in tied])
        return (gains * discount).sum() / (np.sort(p)[::-1] * discount).sum()

    assert row["uauc"] == pytest.approx(np.mean([expected_auc(s, p) for s, p in zip(scores, relevance, strict=True)]))
    assert row["ndcg@5"] == pytest.approx(
        np.mean([expected_ndcg(s, p) for s, p in zip(scores, relevance, strict=True)])
    )
    assert row["rmse"] == pytest.approx(np.sqrt(np.mean((scores - (2 * relevance - 1)) ** 2)))


def test_rmse_to_the_truth_follows_the_coding(make_split, fixed_scores, monkeypatch):
    relevance = np.random.default_rng(5).random((40, 30))
    truth = Truth(relevance=relevance, exposure=np.full((40, 30), 0.1), expected_rating=1 + 4 * relevance**2)
    split = make_split(truth=truth)
    monkeypatch.setattr(fixed_scores, "predict", lambda self, users, items: truth.expected_rating[users, items])
    monkeypatch.setattr(fixed_scores, "encode", lambda self, ratings: np.asarray(ratings))
    starred = debiasrec.evaluate({"oracle": fixed_scores()}, split).loc["oracle", "truth"]
    assert starred["rmse"] == pytest.approx(0.0, abs=1e-6)
    monkeypatch.setattr(fixed_scores, "encode", lambda self, ratings: np.sqrt(ratings))
    assert np.isnan(debiasrec.evaluate({"oracle": fixed_scores()}, split).loc["oracle", ("truth", "rmse")])


@pytest.mark.parametrize(
    ("fails", "message"), [("nan", "model: .* scores are not finite"), ("shape", "model: predict returned shape")]
)
def test_bad_scores_are_refused_by_name(make_split, fixed_scores, fails, message):
    with pytest.raises(debiasrec.DebiasRecError, match=message):
        debiasrec.evaluate({"model": fixed_scores(fails=fails)}, make_split())


def test_bad_arguments_are_refused(make_split, fixed_scores):
    with pytest.raises(debiasrec.DebiasRecError, match=r"ks: .*at least 1"):
        debiasrec.evaluate({"model": fixed_scores()}, make_split(), ks=(0, 5))
    with pytest.raises(debiasrec.DebiasRecError, match=r"ks: .*whole"):
        debiasrec.evaluate({"model": fixed_scores()}, make_split(), ks=5)
    for models in ({}, [fixed_scores()]):
        with pytest.raises(debiasrec.DebiasRecError, match="models: "):
            debiasrec.evaluate(models, make_split())
    with pytest.raises(debiasrec.DebiasRecError, match="expected a Split"):
        debiasrec.evaluate({"model": fixed_scores()}, make_split().dataset)
    with pytest.raises(debiasrec.DebiasRecError, match="no test rows"):
        debiasrec.evaluate({"model": fixed_scores()}, make_split(biased_test=False, uniform=False))


def test_without_uniform_ratings_snips_and_ips_reweight_the_biased_test(make_split, fixed_scores):
    split, model, k = make_split(uniform=False), fixed_scores(level=1.0), 3
    rows = split.biased_test
    counts = np.bincount(split.train.items, minlength=30)
    propensities = debiasrec.propensity.PopularityPropensity().fit(split).predict(rows.users, rows.items, rows.ratings)
    rated = counts[rows.items] > 0
    np.testing.assert_allclose(propensities[rated], np.sqrt(counts[rows.items] / counts.max())[rated])
    weights = 40 * 30 / propensities / (1 / propensities).sum()
    scores = model.predict(rows.users, rows.items) + np.linspace(0, 0.01, len(rows))  # no ties: one order to enumerate
    labels = (rows.ratings >= 4).astype(int)
    users = [np.flatnonzero(rows.users == user) for user in np.unique(rows.users)]
    both = [own for own in users if 0 < labels[own].sum() < len(own)]

    def auc(own):
        p, n = own[labels[own] == 1], own[labels[own] == 0]
        right = (scores[p][:, None] > scores[n]) * weights[p][:, None] * weights[n]
        return right.sum() / (weights[p].sum() * weights[n].sum())

    def top_gains(own):
        top = own[np.argsort(-scores[own])][:k]
        return weights[top] * labels[top]

    discount = 1 / np.log2(np.arange(k) + 2)
    positive = {tuple(own): weights[own][labels[own] == 1] for own in both}
    ideal = [np.sort(gains)[::-1][:k] @ discount[: len(gains)] for gains in positive.values()]
    dcg = [top_gains(own) @ discount[: len(own)] for own in both]
    untied = _with_scores(model, rows, scores)
    row = debiasrec.evaluate({"model": untied}, split, ks=(k,)).loc["model"]
    assert row["debiased"].isna().all()
    assert row["snips", "uauc"] == pytest.approx(np.mean([auc(own) for own in both]))
    assert row["snips", f"ndcg@{k}"] == pytest.approx(np.mean(np.array(dcg) / ideal))
    recalls = [top_gains(own).sum() / gains.sum() for own, gains in zip(both, positive.values(), strict=True)]
    assert row["snips", f"recall@{k}"] == pytest.approx(np.mean(recalls))
    assert row["ips", f"dcg@{k}"] == pytest.approx(np.mean(dcg) / 30)
    assert row["snips", "mse"] == pytest.approx(np.average((scores - (2 * labels - 1)) ** 2, weights=weights))


def _with_scores(model, rows, scores):
    """The model with the scores of these rows replaced."""
    known = dict(zip(zip(rows.users.tolist(), rows.items.tolist(), strict=True), scores, strict=True))
    model.predict = lambda users, items: np.array([known[pair] for pair in zip(users, items, strict=True)])
    return model
