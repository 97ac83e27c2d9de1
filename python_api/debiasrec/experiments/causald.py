"""The tables and figures of CausalD (Zhang et al., Causal Distillation, TKDE 2023)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..data.splits import LEAVE_ONE_OUT
from ..evaluation.user_groups import GROUPINGS, heterogeneity
from .experiment import Arm, Experiment, Figure, Place, others, sweep

PAPER = "CausalD, TKDE 2023"
RANKING = tuple(("biased", metric) for metric in ("uauc", "recall@5", "recall@10", "ndcg@5", "ndcg@10"))
HETEROGENEITY = tuple((f"groups by {by}", "heterogeneity") for by in GROUPINGS)
SHORT = (("biased", "uauc"), ("biased", "ndcg@10"), ("biased", "recall@10"))
METHODS = ("kd", "group_ips", "causalrec", "derec", "debiasd", "ensctr", "meal", "causald")
STRENGTHS = (0.01, 0.1, 1.0, 10.0)
TITLES = {"din": "DIN", "deepfm": "DeepFM"}


def _rows(base: str) -> dict[str, Arm]:
    return {base: Arm(base), **{method: Arm(method, {"base": base}) for method in METHODS}}


def _ablations(base: str) -> dict[str, Arm]:
    variants: dict[str, dict[str, Any]] = {
        "causald": {},
        "causald, random groups": {"grouping": "random"},
        "causald, vanilla features": {"feature": "vanilla"},
        "causald without labels": {"label_strength": 0.0},
        "causald without features": {"feature_strength": 0.0},
    }
    named = {f"{base}: {label}": Arm("causald", {"base": base, **options}) for label, options in variants.items()}
    return {base: Arm(base), **named}


def _table(number: int, base: str) -> Experiment:
    arms = _rows(base)
    return Experiment(
        name=f"causald-table{number}",
        title=f"Ranking and heterogeneity: CausalD and its baselines on {TITLES[base]}",
        source=f"{PAPER}, Table {number}",
        split=LEAVE_ONE_OUT,
        metrics=(*RANKING, *HETEROGENEITY),
        arms=arms,
        against=others(arms, "causald"),
        ks=(5, 10),
        measure=heterogeneity,
    )


def _by_group(arm: Arm, cell: pd.Series) -> Place | None:
    by, middle, group = cell["test"].partition(" group ")
    return (f"{by}, {cell['metric']}", cell["method"], float(group)) if middle else None


def _by_option(arm: Arm, cell: pd.Series) -> Place | None:
    return (cell["metric"], arm.series, arm.x) if (cell["test"], cell["metric"]) in RANKING else None


_GROUPS = {
    "din": Arm("din"),
    "causald without labels": Arm("causald", {"base": "din", "label_strength": 0.0}),
    **{method: Arm(method, {"base": "din"}) for method in ("causald", "derec", "debiasd")},
}

EXPERIMENTS = (
    _table(3, "din"),
    _table(4, "deepfm"),
    Experiment(
        name="causald-ablation",
        title="CausalD without its parts, and with teachers of random groups",
        source=f"{PAPER}, Tables 5 and 6",
        split=LEAVE_ONE_OUT,
        metrics=SHORT,
        arms={**_ablations("din"), **_ablations("deepfm")},
        against={
            label: f"{base}: causald" for base in TITLES for label in _ablations(base) if label != f"{base}: causald"
        },
        ks=(5, 10),
    ),
    Experiment(
        name="causald-teachers",
        title="CausalD against the number of teachers",
        source=f"{PAPER}, Table 7",
        split=LEAVE_ONE_OUT,
        metrics=SHORT,
        arms=sweep("causald", "groups", (2, 4, 8, 16), base="din"),
        ks=(5, 10),
        figure=Figure(_by_option, "teachers", log_x=True),
    ),
    Experiment(
        name="causald-groups",
        title="Metrics of user groups, by activeness and by consistency",
        source=f"{PAPER}, Figures 1 and 4",
        split=LEAVE_ONE_OUT,
        metrics=tuple(
            (f"groups by {by}", name) for by in GROUPINGS for name in ("spread", "own_spread", "heterogeneity")
        ),
        arms=_GROUPS,
        against=others(_GROUPS, "causald"),
        ks=(5, 10),
        measure=heterogeneity,
        figure=Figure(_by_group, "user group, from the least active or the most consistent"),
    ),
    Experiment(
        name="causald-coefficients",
        title="CausalD against its coefficients",
        source=f"{PAPER}, Figure 5",
        split=LEAVE_ONE_OUT,
        metrics=SHORT,
        arms={
            **sweep("causald", "label_strength", STRENGTHS, base="din"),
            **sweep("causald", "feature_strength", STRENGTHS, base="din"),
        },
        ks=(5, 10),
        figure=Figure(_by_option, "coefficient", log_x=True),
    ),
)
