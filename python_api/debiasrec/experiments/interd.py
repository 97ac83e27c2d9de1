"""The tables and figures of InterD (Ding et al., Interpolative Distillation, SIGIR 2022)."""

from __future__ import annotations

import pandas as pd

from .experiment import Arm, Experiment, Figure, Place, others, rows, sweep
from .popularity import SHARES, popularity

PAPER = "InterD, SIGIR 2022"
F1 = (("both", "f1_uauc"), ("both", "f1_ndcg@5"))
BOTH_TESTS = (("debiased", "uauc"), ("debiased", "ndcg@5"), ("biased", "uauc"), ("biased", "ndcg@5"), *F1)

# The paper's MF trains on what its students train on: biased and uniform ratings.
_TABLE2 = rows("mf_combine", "ips", "kd_label", "autodebias", "mf_pd", "mf_tfrom", "ensemble", "interd")
_TABLE4 = rows("interd_b", "interd_o", "interd_i", "interd")
_SENSITIVITY = {
    **sweep("interd", "beta", (0.001, 0.01, 0.1, 1.0, 10.0)),
    **sweep("interd", "gamma_observed", (-2.0, -1.0, -0.5, -0.1, -0.05, -0.01)),
    **sweep("interd", "gamma_missing", (-2.0, -1.0, -0.5, -0.1, -0.05, -0.01)),
}


def _sensitivity(arm: Arm, cell: pd.Series) -> Place | None:
    return (arm.series, cell["metric"], arm.x) if (cell["test"], cell["metric"]) in F1 else None


def _coefficients(arm: Arm, cell: pd.Series) -> Place | None:
    group, _, pairs = cell["test"].partition(", ")
    if cell["metric"] != "biased_weight":
        return None
    return f"weight of the biased teacher, {pairs}", arm.method, float(group.removeprefix("item group "))


EXPERIMENTS = (
    Experiment(
        name="interd-table2",
        title="Both tests: InterD and its baselines",
        source=f"{PAPER}, Table 2",
        split="interd",
        metrics=BOTH_TESTS,
        arms=_TABLE2,
        against=others(_TABLE2, "interd"),
    ),
    Experiment(
        name="interd-table4",
        title="Both tests: InterD without its parts",
        source=f"{PAPER}, Table 4",
        split="interd",
        metrics=BOTH_TESTS,
        arms=_TABLE4,
        against=others(_TABLE4, "interd"),
    ),
    Experiment(
        name="interd-popularity",
        title="Popular and unpopular items: F1, the top five, and the weight of the biased teacher",
        source=f"{PAPER}, Figures 3 to 5",
        split="interd",
        metrics=(
            *((f"both, {share:.0%} least popular", "f1_uauc") for share in SHARES),
            *(
                (test, f"{kind}@5_{items}")
                for test in ("debiased", "biased")
                for kind in ("hits", "errors")
                for items in ("popular", "rest")
            ),
        ),
        arms=(_POPULARITY := rows("mf_combine", "autodebias", "interd")),
        against=others(_POPULARITY, "interd"),
        measure=popularity,
        figure=Figure(_coefficients, "items by training ratings, ten groups"),
    ),
    Experiment(
        name="interd-sensitivity",
        title="F1 against beta and both gammas",
        source=f"{PAPER}, Figure 6",
        split="interd",
        metrics=F1,
        arms=_SENSITIVITY,
        figure=Figure(_sensitivity, "coefficient", log_x=True),
    ),
)
