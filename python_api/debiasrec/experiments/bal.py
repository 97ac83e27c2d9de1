"""The tables of Bal (WWW 2023)."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from ..data import Interactions, Split
from ..errors import DebiasRecError
from ..methods import BalAutoDebias, BalDR, BalIPS, BalMF
from .experiment import Arm, Experiment, Figure, Place, rows, sweep

PAPER = "Bal, WWW 2023"
RANKING = (("debiased", "auc"), ("debiased", "ndcg@5"), ("debiased", "ndcg@10"))
TWINS = {method.name: str(method.twin) for method in (BalMF, BalIPS, BalDR, BalAutoDebias)}
SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)  # per cent of the uniform ratings


def uniform_sizes(split: Split) -> dict[str, Split]:
    """The split with 1% to 10% of the uniform ratings for training.

    The rows beyond those of the split come from the head of its uniform test; every part has the same validation rows
    and is tested on the rows that no part trains on.

    Args:
        split: uniform 5/5/90.

    Returns:
        Part name ("1%") to split.
    """
    if split.uniform_train is None or split.uniform_test is None or split.dataset.uniform is None:
        raise DebiasRecError(f"split {split.name!r} of {split.dataset.name!r} has no uniform ratings to train on")
    total = len(split.dataset.uniform)
    largest = total * max(SIZES) // 100
    borrowed = largest - len(split.uniform_train)
    pool = Interactions.concatenate(split.uniform_train, split.uniform_test.take(slice(0, borrowed)))
    test = split.uniform_test.take(slice(borrowed, None))
    return {
        f"{size}%": replace(split, uniform_train=pool.take(slice(0, total * size // 100)), uniform_test=test)
        for size in SIZES
    }


# All pairs are weighted by the first model, the rated ones by the second.
_MODELS = {
    f"{pairs} + {rated}": Arm("bal_autodebias", {"pair_balance": pairs, "rated_balance": rated})
    for pairs in ("mf", "ncf")
    for rated in ("mf", "ncf")
}
_FROM = {
    f"{method} from {TWINS[method]}": Arm(method, {"initial": TWINS[method]})
    for method in ("bal_ips", "bal_dr", "bal_autodebias")
}
_COEFFICIENTS = (0.0, 2.0**-9, 2.0**-6, 2.0**-3, 1.0)


def _by_coefficient(arm: Arm, cell: pd.Series) -> Place | None:
    return (cell["metric"], arm.method, arm.x) if (cell["test"], cell["metric"]) in RANKING else None


def _by_size(arm: Arm, cell: pd.Series) -> Place | None:
    shown = (cell["test"], cell["metric"]) in RANKING
    return (cell["metric"], arm.method, float(cell["part"].removesuffix("%"))) if shown else None


EXPERIMENTS = (
    Experiment(
        name="bal-table2",
        title="Debiased test: balanced methods and their baselines",
        source=f"{PAPER}, Table 2",
        split="bal",
        metrics=RANKING,
        arms=rows(
            *("cause", "kd_label", "mf", "mf_uniform", "mf_combine", "bal_mf"),
            *("ips", "bal_ips", "dr", "bal_dr", "autodebias", "bal_autodebias"),
        ),
        against=TWINS,
        ks=(5, 10),
    ),
    Experiment(
        name="bal-table3",
        title="Debiased test: balancing from scratch and from the fitted unbalanced method",
        source=f"{PAPER}, Table 3",
        split="bal",
        metrics=RANKING,
        arms={**rows("bal_ips", "bal_dr", "bal_autodebias"), **_FROM},
        against={label: arm.method for label, arm in _FROM.items()},
        ks=(5, 10),
    ),
    Experiment(
        name="bal-table4",
        title="Debiased test: balancing models of Bal-AutoDebias, of all pairs + of the rated ones",
        source=f"{PAPER}, Table 4",
        split="bal",
        metrics=RANKING,
        arms=_MODELS,
        against={label: "mf + mf" for label in _MODELS if label != "mf + mf"},
        ks=(5, 10),
    ),
    Experiment(
        name="bal-lambda",
        title="Debiased test against the coefficient of the balance",
        source=f"{PAPER}, Figure 2",
        split="bal",
        metrics=RANKING,
        arms={label: arm for method in TWINS for label, arm in sweep(method, "balance", _COEFFICIENTS).items()},
        ks=(5, 10),
        figure=Figure(_by_coefficient, "balance", log_x=True),
    ),
    Experiment(
        name="uniform-size",
        title="Debiased test against the number of uniform training ratings",
        source=f"{PAPER}, Figure 3",
        split="bal",
        metrics=RANKING,
        arms=rows("mf_combine", "cause", "kd_label", "autodebias", *TWINS),
        ks=(5, 10),
        parts=uniform_sizes,
        figure=Figure(_by_size, "uniform training ratings, per cent"),
    ),
)
