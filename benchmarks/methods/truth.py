"""True risk on simulated data: which correction holds under which assumptions.

Run it: python -m debiasrec.benchmarks.methods.truth [--seeds 5] [--only SETTING ...] [--quick] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import debiasrec
from debiasrec.errors import DebiasRecWarning
from debiasrec.evaluation import paired_t_test
from debiasrec.methods import REGISTRY, DRTwoStage, Method
from debiasrec.methods.options import ranges
from debiasrec.report.atomic import write_atomically

DATA = {"n_users": 1000, "n_items": 1000, "density": 0.3, "uniform_per_user": 100}
QUICK = {"n_users": 150, "n_items": 100, "density": 0.3, "uniform_per_user": 40}
# One set of hyper-parameters for all: what differs between rows is the correction.
SHARED: dict[str, Any] = {
    "target": "stars",
    "criterion": "mse",
    "factors": 4,
    "lr": 0.01,
    "l2": 4.0,
    "batching": "block",
    "user_block": 250,
    "item_block": 250,
}
NAIVE, IMPUTED = "mf", 30
TRUE, RATING, BLIND = "given", "naive_bayes", "popularity"


@dataclass(frozen=True)
class Row:
    """A method as it enters a setting; `imputation` tells the quality of the imputed values of two-stage DR."""

    label: str
    method: str
    options: dict[str, Any] = field(default_factory=dict)
    imputation: str = "fitted"


@dataclass(frozen=True)
class Setting:
    """Rows of the same simulated data, and what to look for."""

    question: str
    rows: tuple[Row, ...]
    confounding: float = 0.0


class DRTrueImputation(DRTwoStage):
    """Two-stage doubly robust learning whose imputed values are the expected ratings, to a rank of `IMPUTED`."""

    def learners(self, device: str | torch.device) -> dict[str, Any]:
        """Those of two-stage DR, with the imputation model filled in."""
        learners = super().learners(device)
        left, values, right = np.linalg.svd(self.expected_ - self.offset_, full_matrices=False)
        tables = self.imputation_.tables()
        rank = slice(0, self.imputation_factors)
        new = {"user_factors": left[:, rank] * values[rank], "item_factors": right[rank].T}
        with torch.no_grad():
            for name, table in tables.items():
                table.copy_(torch.from_numpy(new[name])) if name in new else table.zero_()
        return learners


# The default balance is that of the paper, for targets of 1 and -1 and thousands of steps.
BALANCE = {"balance": 1.0, "balance_lr": 0.01}


def propensity(name: str) -> dict[str, Any]:
    return {"propensity": name}


CORRECTIONS = (
    Row("IPS, true propensities", "ips", propensity(TRUE)),
    Row("IPS, naive Bayes", "ips", propensity(RATING)),
    Row("SNIPS, naive Bayes", "snips", propensity(RATING)),
    Row("DR, true propensities", "dr", propensity(TRUE)),
    Row("DR, naive Bayes", "dr", propensity(RATING)),
    Row("LTD on IPS", "mf_ips_ltd"),
    Row("LTD on DR", "mf_dr_ltd"),
    Row("AutoDebias", "autodebias"),
    Row("Bal-IPS", "bal_ips", BALANCE),
    Row("Bal-DR", "bal_dr", BALANCE),
    Row("Bal-AutoDebias", "bal_autodebias", BALANCE),
)
NAIVE_ROW = Row("MF", NAIVE)
SETTINGS = {
    "assumptions_hold": Setting(
        "Selection by rating, activity and popularity. Every correction has to be below MF.",
        (NAIVE_ROW, Row("MF, uniform too", "mf_combine"), Row("InterD", "interd"), *CORRECTIONS),
    ),
    "one_model_wrong": Setting(
        "DR has to hold when either of its models is right. Wrong propensities: popularity, blind to the rating. Wrong "
        "imputed values: near the mean for all pairs.",
        (
            NAIVE_ROW,
            Row("IPS, wrong propensities", "ips", propensity(BLIND)),
            Row("DR, wrong propensities", "dr_two_stage", propensity(BLIND), imputation="true"),
            Row("DR, wrong imputation", "dr_two_stage", propensity(TRUE), imputation="none"),
            Row("DR, both wrong", "dr_two_stage", propensity(BLIND), imputation="none"),
        ),
    ),
    "hidden_cause": Setting(
        "A hidden cause moves ratings and exposure; the propensities called true leave it out, as anyone would who "
        "does not know it. IPS and DR have nothing to correct with; what learns from uniform ratings can see more.",
        (NAIVE_ROW, Row("MF, uniform too", "mf_combine"), *CORRECTIONS, Row("Bal-MF", "bal_mf", BALANCE)),
        confounding=1.0,
    ),
}


def make(row: Row, expected: np.ndarray, seed: int, max_epochs: int) -> Method:
    """The method of a row, with those of the shared settings that it has; its teachers have them too."""
    options = {**SHARED, "seed": seed, "max_epochs": max_epochs, **row.options}
    if row.imputation == "none":
        options["imputation_epochs"] = 0
    if row.imputation == "true":
        method: Method = DRTrueImputation(**options, imputation_epochs=0, imputation_factors=IMPUTED)
        method.expected_ = expected
        return method
    known = ranges(REGISTRY[row.method])
    for name, range_ in known.items():
        teacher = getattr(REGISTRY[row.method], name)
        if range_.teacher and teacher is not None:
            options[name] = make(Row(teacher, teacher), expected, seed, max_epochs)
    return debiasrec.methods.make(row.method, **{name: value for name, value in options.items() if name in known})


def measure(setting: Setting, seed: int, data_options: dict[str, Any], max_epochs: int) -> list[dict[str, Any]]:
    """Fit every row to the data of a seed. True risk: mean squared error to the expected rating over all pairs."""
    data = debiasrec.load("simulated", seed=seed, confounding=setting.confounding, **data_options)
    split = data.split("autodebias", seed=seed)
    results = []
    for row in setting.rows:
        method = make(row, data.truth.expected_rating, seed, max_epochs).fit(split)
        truth = debiasrec.evaluate({row.label: method}, split)["truth"].iloc[0]
        results.append({"row": row.label, "seed": seed, "risk": truth["rmse"] ** 2, "uauc": truth["uauc"]})
        print(f"  seed {seed}: {row.label}: true risk {truth['rmse'] ** 2:.4f}", flush=True)
    return results


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Mean and deviation of the true risk per row, and its paired difference to MF."""
    risk = results.pivot(index="seed", columns="row", values="risk")[results["row"].drop_duplicates()]
    tests = {row: paired_t_test(risk[row].to_numpy(), risk[NAIVE_ROW.label].to_numpy()) for row in risk}
    return pd.DataFrame(
        {
            "true risk": risk.mean(),
            "sd": risk.std(),
            "less MF": {row: difference for row, (difference, _) in tests.items()},
            "p": {row: p for row, (_, p) in tests.items()},
            "uauc": results.groupby("row")["uauc"].mean(),
        }
    ).loc[risk.columns]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table per setting, and write truth.csv."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="of data, split and model")
    parser.add_argument("--only", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--quick", action="store_true", help="smaller data, two seeds, few epochs: tests the program")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"), help="folder for truth.csv")
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore", DebiasRecWarning)
    seeds, data, epochs = (2, QUICK, 5) if options.quick else (options.seeds, DATA, 300)
    tables = []
    for name in options.only:
        setting = SETTINGS[name]
        print(f"\n{name}: {setting.question}")
        results = pd.DataFrame([row for seed in range(seeds) for row in measure(setting, seed, data, epochs)])
        print(summary(results).to_string(float_format="{:.4f}".format))
        tables.append(results.assign(setting=name))
    options.out.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out / "truth.csv", pd.concat(tables).to_csv(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
