"""Methods of clicks: their losses by hand, their negatives, and where they meet."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from debiasrec import methods
from debiasrec.methods.task import MethodTask

STARS = [[5.0, 1.0, np.nan], [np.nan, 4.0, 2.0], [5.0, np.nan, np.nan]]
CLICKS = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
RATED = np.isfinite(STARS)
POPULARITY = np.sqrt([1.0, 0.5, 0.0])
LR, L2 = 0.05, 0.3
SGD = {"factors": 2, "lr": LR, "l2": L2, "optimizer": "sgd", "max_epochs": 1}


def sigmoid(s):
    return 1.0 / (1.0 + np.exp(-s))


def start(name, split, **options):
    """The method before its first step, its initial factors in float64, and its first batch."""
    method = methods.make(name, **{**SGD, **options})
    loader = method._start(split, "cpu")
    method.begin_epoch(1)
    tables = [table.detach().numpy().astype(np.float64) for table in method.model_.tables().values()]
    return method, tables, next(loader.epoch(1))


def stepped(tables, slopes, l2=0.0):
    p, q = tables
    return p - LR * (slopes @ q + l2 * p), q - LR * (slopes.T @ p + l2 * q)


def assert_tables(method, expected):
    found = method.model_.tables()
    assert list(found) == ["user_factors", "item_factors"]
    for table, rows in zip(found.values(), expected, strict=True):
        np.testing.assert_allclose(table.detach().numpy(), rows, rtol=2e-6, atol=3e-7)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_umf(hand, reduction):
    method, tables, batch = start("umf", hand(STARS), reduction=reduction)
    np.testing.assert_allclose(method.popularity_, POPULARITY)
    p = sigmoid(tables[0] @ tables[1].T)
    x = np.where(RATED, POPULARITY, 0.5)
    loss = -CLICKS * np.log(np.where(CLICKS, x, 1.0) * p) - (1 - CLICKS) * np.log(1 - x * p)
    slopes = -CLICKS * (1 - p) + (1 - CLICKS) * x * p * (1 - p) / (1 - x * p)
    scale = 1.0 if reduction == "sum" else 1 / RATED.sum()
    assert float(method.loss(batch).detach()) == pytest.approx(scale * loss[RATED].sum(), rel=1e-6)
    assert float(method.step(batch)) == pytest.approx(scale * loss[RATED].sum(), rel=1e-6)
    assert_tables(method, stepped(tables, scale * slopes * RATED, scale * L2))


def test_umf_with_exposure_one_is_cross_entropy(hand):
    even = np.where(np.eye(4, dtype=bool), 5.0, 1.0)  # every item is clicked once: all popularities are 1
    method, tables, batch = start("umf", hand(even), reduction="sum", l2=0.0)
    p = sigmoid(tables[0] @ tables[1].T)
    clicks = np.eye(4)
    entropy = -(clicks * np.log(p) + (1 - clicks) * np.log(1 - p)).sum()
    assert float(method.step(batch)) == pytest.approx(entropy, rel=1e-6)
    assert_tables(method, stepped(tables, p - clicks))


def test_negatives_are_the_rated_ones_or_all_or_sampled(hand):
    split = hand(STARS)
    for negatives, cells in (("rated", RATED), ("all", np.ones((3, 3), bool))):
        _, _, batch = start("umf", split, negatives=negatives)
        expected = {(u, i, CLICKS[u, i]) for u, i in zip(*np.nonzero(cells), strict=True)}
        found = zip(batch.users.tolist(), batch.items.tolist(), batch["targets"].tolist(), strict=True)
        assert len(batch) == cells.sum()
        assert set(found) == expected
    method = methods.make("umf", negatives="sampled", per_positive=4, **SGD)
    loader = method._start(split, "cpu")
    drawn = []
    for epoch in (1, 2, 1):
        columns = method._with_negatives(loader.columns, epoch)
        assert columns["targets"].tolist() == [1.0] * 3 + [0.0] * 12
        pairs = columns["users"][3:], columns["items"][3:]
        assert not CLICKS[pairs].any()
        np.testing.assert_allclose(columns["exposures"][3:], POPULARITY[pairs[1]], rtol=1e-6)
        drawn.append(torch.stack(pairs))
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize("name", ["umf", "biif"])
def test_stars_signs_and_blocks_are_refused(split, name):
    for options, message in (
        ({"target": "signed"}, "target must be one of binary"),
        ({"batching": "block"}, "batching must be one of flat"),
        ({"negatives": "some"}, "negatives must be one of rated, all, sampled"),
        ({"per_positive": 0}, "per_positive must be a whole number, at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            methods.make(name, **options).fit(split)


@pytest.mark.parametrize("name", ["umf", "biif"])
def test_a_model_without_biases_comes_back_and_recommends(split, tmp_path, made, name):
    method = made(name, max_epochs=2, negatives="sampled").fit(split)
    method.save(tmp_path)
    loaded = methods.load_model(tmp_path)
    pairs = split.uniform_test.users, split.uniform_test.items
    np.testing.assert_array_equal(loaded.predict(*pairs), method.predict(*pairs))
    p, q = method.model_.user_factors.detach().numpy(), method.model_.item_factors.detach().numpy()
    np.testing.assert_allclose(method.predict(*pairs), (p[pairs[0]] * q[pairs[1]]).sum(1), rtol=1e-5, atol=1e-6)
    assert loaded.recommend([0, 5]).equals(method.recommend([0, 5]))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("form", ["square", "log"])
def test_relmf(hand, form, reduction):
    method, tables, batch = start("relmf", hand(STARS), form=form, clip_min=0.8, reduction=reduction)
    p = sigmoid(tables[0] @ tables[1].T)
    target = CLICKS / np.maximum(POPULARITY, 0.8)
    if form == "square":
        loss = target * (1 - p) ** 2 + (1 - target) * p**2
        slopes = 2 * p * (1 - p) * (p - target)
    else:
        loss = -target * np.log(p) - (1 - target) * np.log(1 - p)
        slopes = p - target
    scale = 1.0 if reduction == "sum" else 1 / RATED.sum()
    assert float(method.step(batch)) == pytest.approx(scale * loss[RATED].sum(), rel=1e-6)
    assert_tables(method, stepped(tables, scale * slopes * RATED, scale * L2))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("name", ["bpr", "unbiased_bpr"])
def test_pairs(hand, name, reduction):
    options = {"clip_min": 0.8, "nonnegative": False} if name == "unbiased_bpr" else {}
    method, tables, batch = start(name, hand(STARS), l2=0.0, reduction=reduction, **options)
    negatives = torch.tensor([1, 0, 2])
    method.negatives_of = lambda _: negatives
    scores = tables[0] @ tables[1].T
    x = np.maximum(POPULARITY, 0.8)
    loss, slopes = 0.0, np.zeros((3, 3))
    for u, i, j in zip(batch.users.tolist(), batch.items.tolist(), negatives.tolist(), strict=True):
        weight = 1.0 if name == "bpr" else (1 - CLICKS[u, j] / x[j]) / x[i]
        loss += weight * np.log1p(np.exp(scores[u, j] - scores[u, i]))
        slope = -weight * sigmoid(scores[u, j] - scores[u, i])
        slopes[u, i] += slope
        slopes[u, j] -= slope
    scale = 1.0 if reduction == "sum" else 1 / 3
    assert float(method.step(batch)) == pytest.approx(scale * loss, rel=1e-6)
    assert_tables(method, stepped(tables, scale * slopes))


@pytest.mark.parametrize("negatives", ["all", "rated"])
def test_the_lower_item_of_a_pair_is_not_clicked(split, negatives):
    method = methods.BPR(negatives=negatives, batch_size=10_000)
    loader = method._start(split, "cpu")
    data, rows = split.dataset, split.train
    positive = data.positives(rows.ratings)
    clicked, disliked = (set(rows.take(mask).pairs(data.n_items)) for mask in (positive, ~positive))
    drawn = set()
    for epoch in range(1, 6):
        method.begin_epoch(epoch)
        batch = next(loader.epoch(epoch))
        drawn |= set((batch.users * data.n_items + method.negatives_of(batch)).tolist())
    assert not drawn & clicked
    share = len(drawn & disliked) / len(drawn)
    assert share > 0.9 if negatives == "rated" else share < 0.5


def test_unbiased_pairs_lose_a_negative_weight(hand):
    method, _, batch = start("unbiased_bpr", hand(STARS), clip_min=0.5)
    clicked_too = batch.items
    assert method.pair_weights(batch, clicked_too).min() == 0
    method.nonnegative = False
    x = torch.tensor(POPULARITY).float()[clicked_too]
    torch.testing.assert_close(method.pair_weights(batch, clicked_too), (1 - 1 / x) / x)


def test_wmf_of_clicks_takes_negative_ratings_for_missing_pairs(hand):
    stars = np.array(STARS)
    options = {"missing_weight": 0.1, "target": "binary", "max_epochs": 3, "factors": 2}
    clicks = methods.WMF(positives_only=True, **options).fit(hand(stars))
    without = methods.WMF(**options).fit(hand(np.where(stars >= 4, stars, np.nan)))
    for name, table in clicks.model_.tables().items():
        assert torch.equal(table, without.model_.tables()[name])


def exposed_clicks(seed=0, shape=(150, 60)):
    """Relevance of low rank, exposure of the items against its mean, and clicks on seen and relevant pairs."""
    rng = np.random.default_rng(seed)
    p, q = rng.normal(size=(shape[0], 2)), rng.normal(size=(shape[1], 2))
    relevance = sigmoid(1.5 * p @ q.T)
    exposure = rng.uniform(0.1, 1.0, shape[1])
    exposure[0] = 1.0
    return relevance, exposure, rng.random(shape) < exposure * relevance


@pytest.mark.parametrize("name", ["umf", "relmf", "biif"])
def test_relevance_is_recovered_better_with_the_exposure_than_without(hand, monkeypatch, name):
    relevance, exposure, clicks = exposed_clicks()
    split = hand(np.where(clicks, 5.0, 1.0))
    users, items = np.divmod(np.arange(clicks.size), clicks.shape[1])
    errors = []
    for known in (exposure, np.ones_like(exposure)):
        monkeypatch.setattr("debiasrec.methods.implicit.relative_popularity", lambda *_, known=known: known)
        options = {"factors": 3, "lr": 0.02, "l2": 0.3, "max_epochs": 25}
        options |= {"exposure_lr": 1e-3} if name == "biif" else {}  # slow: the given exposure then matters
        method = methods.make(name, **options).fit(split)
        errors.append(np.mean((sigmoid(method.predict(users, items)) - relevance.ravel()) ** 2))
    assert errors[0] < 0.8 * errors[1]


@pytest.mark.parametrize("name", ["joint_opt", "alter_opt", "biopt2", "biif", "ceb", "cjmf"])
def test_early_stopping_restores_the_exposures_with_the_scores(split, monkeypatch, made, name):
    values = iter([0.5, 0.9, 0.4, 0.3])
    monkeypatch.setattr(MethodTask, "validation", lambda self: next(values))
    users, items = np.divmod(np.arange(300), split.dataset.n_items)
    seen = []
    method = made(name, max_epochs=4, copies=2, factors=4)
    method.fit(split, progress=lambda event: seen.append(method.predict_exposure(users, items)))
    assert method.best_epoch_ == 2
    found = method.predict_exposure(users, items)
    assert np.array_equal(found, seen[1])
    assert not np.array_equal(found, seen[3])
