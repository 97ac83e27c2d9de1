"""The tables and curves of Biif (Low-variance estimator for missing-not-at-random implicit feedback, TMLR)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import debias_ext

from ..data import Split
from ..evaluation import exposure_correlation
from ..methods import Method
from .experiment import Arm, Experiment, Figure, Place, others, rows

PAPER = "Biif, TMLR"
RANKING = tuple(("debiased", f"{metric}@{k}") for metric in ("dcg", "map") for k in (1, 2, 3))
DCG = (("debiased", "dcg@3"),)
METHODS = ("relmf", "expomf", "cjmf", "autodebias_implicit", "ceb", "bpr", "umf", "biif")
BILEVEL = ("joint_opt", "alter_opt", "biopt2", "biif")
# Of the paper, with the batches of its large set and half its epochs; a pair without a click is a negative one.
ALL_PAIRS = {"negatives": "all", "factors": 50, "lr": 1e-3, "batch_size": 8192, "max_epochs": 50}
EXPOSURE = {**ALL_PAIRS, "exposure_lr": 1e-3}
SETTINGS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("relmf", "umf", "bpr"), ALL_PAIRS),
    **dict.fromkeys(("ceb", "joint_opt", "alter_opt"), EXPOSURE),
    **{name: {**EXPOSURE, "step_lr": None} for name in ("biif", "biopt2")},
    "autodebias_implicit": {"negatives": "all"},
    "cjmf": {"max_epochs": 15},
    "expomf": {},
}
EVERY = 5  # epochs between correlations
GROUPS = 10
LEAST = 1e-6  # exposure that a variance is stated for
SAMPLE = 100_000  # pairs that stand for all of them

Figures = dict[tuple[str, str], float]


def _all_pairs(*methods: str) -> dict[str, Arm]:
    return {name: Arm(name, SETTINGS[name]) for name in methods}


def correlations(model: Method, split: Split) -> Figures:
    """The correlation of exposures after the fit, and after each iteration of EM."""
    found = exposure_correlation(model, split)
    figures: Figures = {("exposure", "pcc"): found.mean, ("exposure", "users_skipped"): float(found.skipped)}
    for number, exposure in enumerate(getattr(model, "exposures_", ()), 1):
        figures[f"epoch {number}", "pcc"] = exposure_correlation(_Items(exposure), split).mean
    return figures


class _Items:
    """Exposures of items, whoever the user."""

    name = "items"

    def __init__(self, exposure: np.ndarray) -> None:
        self._exposure = exposure

    def predict_exposure(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return self._exposure[items]


def course(model: Method, split: Split, event: Any) -> Figures:
    """The correlation of exposures after the first epoch and every fifth."""
    if event.epoch > 1 and event.epoch % EVERY:
        return {}
    return {(f"epoch {event.epoch}", "pcc"): exposure_correlation(model, split).mean}


def gradient_variances(model: Method, split: Split) -> Figures:
    """The variance of the gradient to the score when clicks are drawn anew, at the fitted scores.

    A pair is clicked with probability r = exposure times relevance, so that its gradient takes one of two values a and
    b, and has variance r (1 - r) (a - b)^2.

    Args:
        model: fitted; its scores are those at which the gradients are taken.
        split: of a data set with ``truth``.

    Returns:
        ("exposure group k", estimator) to the mean variance of a pair, for "ips" (RelMF's log loss) and "low_variance"
        (Biif's). The pairs are cut into ten groups of equal size by their exposure, the least exposed first;
        ("exposure group k", "exposure") is its mean.

    Source: Biif, eq (6) and its twin for the low-variance estimator.
    """
    truth = split.dataset.truth
    assert truth is not None, "the variance needs known exposures"
    pairs = np.random.default_rng(0).permutation(truth.exposure.size)[:SAMPLE]
    users, items = np.divmod(pairs, truth.exposure.shape[1])
    exposure = truth.exposure[users, items].clip(LEAST, 1.0)
    rate = exposure * truth.relevance[users, items]
    scores = torch.from_numpy(model.predict(users, items).astype(np.float64)).requires_grad_()

    def difference(loss: Callable[..., Tensor], **options: Any) -> np.ndarray:
        ends = []
        for click in (0.0, 1.0):
            clicks = torch.full_like(scores, click, requires_grad=False)
            value = loss(scores, clicks, torch.from_numpy(exposure), reduction="sum", **options)
            ends.append(torch.autograd.grad(value, [scores])[0].numpy())
        return ends[1] - ends[0]

    gaps = {"ips": difference(debias_ext.relmf_loss, form="log"), "low_variance": difference(debias_ext.exposure_loss)}
    columns = {name: rate * (1 - rate) * gap**2 for name, gap in gaps.items()} | {"exposure": exposure}
    groups = np.array_split(np.argsort(exposure, kind="stable"), GROUPS)
    return {
        (f"exposure group {number}", name): float(values[own].mean())
        for number, own in enumerate(groups, 1)
        for name, values in columns.items()
    }


def _by_epoch(arm: Arm, cell: pd.Series) -> Place | None:
    epoch = cell["test"].removeprefix("epoch ")
    return None if epoch == cell["test"] else ("correlation of exposures", arm.method, float(epoch))


def _by_group(arm: Arm, cell: pd.Series) -> Place | None:
    group = cell["test"].removeprefix("exposure group ")
    if group == cell["test"] or cell["metric"] == "exposure":
        return None
    return "variance of the gradient", cell["metric"], float(group)


_REAL = rows(*METHODS)
_ALL = _all_pairs(*METHODS)
_CORRELATED = _all_pairs("expomf", "cjmf", "ceb", "joint_opt", "biif")

EXPERIMENTS = (
    *(
        Experiment(
            name=f"biif-table{number}",
            title=f"Debiased test, clicks: Biif and its baselines, as printed for {data}",
            source=f"{PAPER}, Table {number}",
            split="implicit",
            metrics=RANKING,
            arms=_REAL,
            against=others(_REAL, "biif"),
            ks=(1, 2, 3),
        )
        for number, data in ((1, "Yahoo! R3"), (2, "Coat"))
    ),
    Experiment(
        name="biif-bilevel",
        title="Debiased test, clicks: ways to learn relevance and exposure together",
        source=f"{PAPER}, Figure 1",
        split="implicit",
        metrics=DCG,
        arms=(_BILEVEL := rows(*BILEVEL)),
        against=others(_BILEVEL, "biif"),
        ks=(3,),
    ),
    Experiment(
        name="biif-pcc",
        title="Correlation of estimated and true exposures over the epochs (data with known exposures)",
        source=f"{PAPER}, Figure 2",
        split="implicit",
        metrics=(("exposure", "pcc"), ("exposure", "users_skipped")),
        arms=_CORRELATED,
        against=others(_CORRELATED, "biif"),
        ks=(3,),
        measure=correlations,
        watch=course,
        figure=Figure(_by_epoch, "epoch"),
    ),
    Experiment(
        name="biif-semisynthetic",
        title="All pairs, sampled relevance: Biif and its baselines (semi-synthetic data)",
        source=f"{PAPER}, Figure 3",
        split="implicit",
        metrics=DCG,
        arms=_ALL,
        against=others(_ALL, "biif"),
        ks=(3,),
    ),
    Experiment(
        name="biif-variance",
        title="Variance of the gradient of two estimators against the exposure (data with known exposures)",
        source=f"{PAPER}, eq (6)",
        split="implicit",
        metrics=tuple(
            (f"exposure group {number}", name)
            for name in ("exposure", "ips", "low_variance")
            for number in range(1, GROUPS + 1)
        ),
        arms={"umf": Arm("umf", {"negatives": "all"})},
        ks=(3,),
        measure=gradient_variances,
        figure=Figure(_by_group, "pairs by exposure, ten groups"),
    ),
)
