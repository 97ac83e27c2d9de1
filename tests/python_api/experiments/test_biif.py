"""What the experiments of Biif measure, by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import debiasrec
from debiasrec.data import Interactions, Split, Truth
from debiasrec.experiments import biif, experiment, run


@pytest.fixture
def known() -> Split:
    """Two users, ten items, exposures from 0.05 to 1."""
    exposure = np.linspace(0.05, 1.0, 20).reshape(2, 10)
    relevance = np.linspace(0.9, 0.1, 20).reshape(2, 10)
    clicks = Interactions([0, 1], [0, 1], [1.0, 1.0])
    ids = [pd.RangeIndex(n) for n in (2, 10)]
    truth = Truth(relevance, exposure, relevance)
    data = debiasrec.Dataset("known", clicks, None, 2, 10, *ids, (0.0, 1.0), 1.0, truth=truth)
    return Split(data, "implicit", 0, train=clicks)


def test_variances_of_the_two_gradients_by_hand(known):
    scores = np.linspace(-2.0, 2.0, 20).reshape(2, 10).astype(np.float32)
    model = SimpleNamespace(predict=lambda users, items: scores[users, items])
    figures = biif.gradient_variances(model, known)
    x, gamma = known.dataset.truth.exposure.ravel(), known.dataset.truth.relevance.ravel()
    p = 1 / (1 + np.exp(-scores.ravel().astype(np.float64)))
    ips = gamma * (1 - x * gamma) / x  # gamma (1 - x gamma) / (x p^2 (1 - p)^2), times (dp/ds)^2 = p^2 (1 - p)^2
    low = x * gamma * (1 - x * gamma) * ((1 - p) / (1 - x * p)) ** 2
    for number in range(10):
        own = slice(2 * number, 2 * number + 2)
        test = f"exposure group {number + 1}"
        assert figures[test, "ips"] == pytest.approx(ips[own].mean(), rel=1e-9)
        assert figures[test, "low_variance"] == pytest.approx(low[own].mean(), rel=1e-9)
        assert figures[test, "exposure"] == pytest.approx(x[own].mean(), rel=1e-12)
    assert all(
        figures[f"exposure group {k}", "low_variance"] < figures[f"exposure group {k}", "ips"] for k in range(1, 10)
    )


def test_correlations_of_each_iteration(known):
    falling = 1 - known.dataset.truth.exposure[0]
    table = known.dataset.truth.exposure
    model = SimpleNamespace(
        name="em", exposures_=np.stack([falling, table[0]]), predict_exposure=lambda users, items: table[users, items]
    )
    figures = biif.correlations(model, known)
    assert figures["exposure", "pcc"] == pytest.approx(1.0)
    assert figures["exposure", "users_skipped"] == 0
    assert figures["epoch 1", "pcc"] == pytest.approx(-1.0)
    assert figures["epoch 2", "pcc"] == pytest.approx(1.0)


@pytest.mark.parametrize(("name", "methods"), [("biif-pcc", ["expomf", "ceb", "biif"]), ("biif-variance", ["umf"])])
def test_the_figures_draw_every_epoch_or_group(data, tmp_path, monkeypatch, name, methods):
    short = {"max_epochs": 6, "iterations": 3, "batch_size": 1000}
    declared = experiment(name)
    made = debiasrec.methods.make

    def quick(method, **options):
        known = debiasrec.methods.REGISTRY[method]._get_param_names()
        return made(method, **{**options, **{key: value for key, value in short.items() if key in known}})

    monkeypatch.setattr("debiasrec.methods.make", quick)
    outcome = run(declared, data, methods=methods, seeds=1, out=tmp_path)
    drawn = pd.read_csv(tmp_path / "curves.csv")
    places = drawn.groupby("series")["x"].apply(list).to_dict()
    expected = {"expomf": [1, 2, 3], "ceb": [1, 5], "biif": [1, 5]}
    groups = list(range(1, 11))
    assert places == (expected if name == "biif-pcc" else {"ips": groups, "low_variance": groups})
    assert outcome.table["mean"].notna().all()
