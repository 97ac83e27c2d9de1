"""The tables and curves of LTD (Wang et al., Combating Selection Biases with a Few Unbiased Ratings, WSDM 2021)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..data import Split
from ..methods import Method
from ..propensity import propensity_statistics
from .experiment import Arm, Experiment, Figure, Place, sweep

PAPER = "LTD, WSDM 2021"
ERRORS = (("debiased", "mse"), ("debiased", "mae"))
STARS = {"target": "stars", "criterion": "snips_mse"}  # on the biased validation part
TWO_PHASE = {**STARS, "uniform_rows": True}  # the protocol trains every method on the uniform ratings too
KINDS = ("pair", "logistic", "mlp1", "mlp2")
COEFFICIENTS = (0.01, 0.1, 1.0, 10.0, 100.0)

_LTD = {f"{name}_ltd": Arm(f"{name}_ltd", STARS) for name in ("mf_ips", "nf_ips", "mf_dr", "nf_dr")}
_TWO_PHASE = {
    "mf_ips": Arm("ips", TWO_PHASE),
    "nf_ips": Arm("nf_ips", TWO_PHASE),
    "mf_dr": Arm("dr", TWO_PHASE),
    "nf_dr": Arm("nf_dr", TWO_PHASE),
}
_PLAIN = {
    "mf": Arm("mf_combine", STARS),
    "nf": Arm("nf", TWO_PHASE),
    "cpt_v": Arm("cpt_v", STARS),
    "pmf_nmar": Arm("pmf_nmar", STARS),
}
_CURVES = {
    "nf_dr": _TWO_PHASE["nf_dr"],
    **{
        f"{name} variance={value:g}": Arm(name, {**STARS, "variance": value})
        for name in ("mf_ips_ltd", "nf_dr_ltd")
        for value in (0.0, 1.0)
    },
}


def spread(model: Method, split: Split) -> dict[tuple[str, str], float]:
    """SV and MIS of the propensities of a method on the uniform training ratings; nothing without propensities."""
    propensity = getattr(model, "propensity_", None)
    if propensity is None:
        return {}
    statistics = propensity_statistics(propensity, split)
    return {("propensity", "sv"): statistics.variance, ("propensity", "mis"): statistics.mean_inverse_square}


def course(model: Method, split: Split, event: Any) -> dict[tuple[str, str], float]:
    """What an epoch leaves: the validation error, and of learned propensities the spread and the mean by rating."""
    figures = {} if event.validation is None else {"validation": event.validation}
    if hasattr(model, "propensity_model"):
        statistics = propensity_statistics(model.propensity_, split)
        by_rating = statistics.mean_by_rating.items()
        figures |= {"sv": statistics.variance, **{f"propensity_{rating:g}": mean for rating, mean in by_rating}}
    return {(f"epoch {event.epoch}", metric): value for metric, value in figures.items()}


def _by_epoch(arm: Arm, cell: pd.Series) -> Place | None:
    if not cell["test"].startswith("epoch "):
        return None
    epoch = float(cell["test"].removeprefix("epoch "))
    if cell["metric"].startswith("propensity_"):
        return f"mean propensity by rating, {cell['method']}", cell["metric"].removeprefix("propensity_"), epoch
    titles = {"validation": "validation error", "sv": "variance of the propensities"}
    return titles[cell["metric"]], cell["method"], epoch


def _by_coefficient(arm: Arm, cell: pd.Series) -> Place | None:
    return (cell["metric"], arm.method, arm.x) if (cell["test"], cell["metric"]) in ERRORS else None


EXPERIMENTS = (
    Experiment(
        name="ltd-table1",
        title="Errors on the debiased test: learned propensities and their two-phase twins",
        source=f"{PAPER}, Table 1",
        split="ltd",
        metrics=ERRORS,
        arms={**_PLAIN, **_TWO_PHASE, **_LTD},
        against={f"{name}_ltd": name for name in _TWO_PHASE},
    ),
    Experiment(
        name="ltd-table2",
        title="Spread of the propensities: sample variance and mean inverse square",
        source=f"{PAPER}, Table 2",
        split="ltd",
        metrics=(("propensity", "sv"), ("propensity", "mis")),
        arms={"two-phase": _TWO_PHASE["mf_ips"], **_LTD},
        against=dict.fromkeys(_LTD, "two-phase"),
        measure=spread,
    ),
    Experiment(
        name="ltd-table3",
        title="Propensity models of NF-DR-LTD",
        source=f"{PAPER}, Table 3",
        split="ltd",
        metrics=ERRORS,
        arms={kind: Arm("nf_dr_ltd", {**STARS, "propensity_model": kind}) for kind in KINDS},
        against={kind: "mlp1" for kind in KINDS if kind != "mlp1"},
    ),
    Experiment(
        name="ltd-curves",
        title="Validation error and propensities over the epochs",
        source=f"{PAPER}, Figures 4 to 7",
        split="ltd",
        metrics=ERRORS,
        arms=_CURVES,
        watch=course,
        figure=Figure(_by_epoch, "epoch"),
    ),
    Experiment(
        name="ltd-lambda",
        title="Errors against the coefficient of the propensities' variance",
        source=f"{PAPER}, Figures 4 to 7",
        split="ltd",
        metrics=ERRORS,
        arms={
            **sweep("mf_ips_ltd", "variance", (0.0, *COEFFICIENTS), **STARS),
            **sweep("nf_dr_ltd", "variance", (0.0, *COEFFICIENTS), **STARS),
        },
        figure=Figure(_by_coefficient, "variance", log_x=True),
    ),
)
