"""The settings of the papers for their own data sets."""

from __future__ import annotations

from typing import Any

_COAT: dict[str, Any] = {"user_block": 64, "item_block": 64}
_YAHOO: dict[str, Any] = {"user_block": 6000, "item_block": 500}
# Summed squared errors to +1/-1 by plain SGD over blocks; at most 500 epochs, patience 60 on validation AUC.
_SHARED: dict[str, Any] = {
    "factors": 10,
    "batching": "block",
    "optimizer": "sgd",
    "reduction": "sum",
    "target": "signed",
    "max_epochs": 500,
    "patience": 60,
    "criterion": "auc",
}
_NAIVE_BAYES: dict[str, Any] = {"propensity": "naive_bayes", "propensity_levels": "binary", "l2_rows": "block"}

# Chen et al., AutoDebias, SIGIR 2021, public programs. SNIPS has no published setting: with the full-data normaliser it
# is IPS with its weights divided by their mean (12.5 on Coat, 49.4 on Yahoo!R3), so its lr is that of IPS times the
# mean, and its l2 that of IPS over it.
_PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    ("mf", "coat"): {**_COAT, "lr": 1e-3, "l2": 0.1},
    ("mf_combine", "coat"): {**_COAT, "lr": 1e-3, "l2": 0.1},
    ("mf_uniform", "coat"): {**_COAT, "lr": 0.1, "l2": 0.01},
    ("ips", "coat"): {**_COAT, **_NAIVE_BAYES, "lr": 1e-4, "l2": 10.0},
    ("snips", "coat"): {**_COAT, **_NAIVE_BAYES, "lr": 1.25e-3, "l2": 0.8},
    ("dr", "coat"): {**_COAT, **_NAIVE_BAYES, "lr": 1e-3, "l2": 10.0, "imputation_factors": 2},
    ("mf", "yahoo_r3"): {**_YAHOO, "lr": 1e-4, "l2": 0.0},
    ("mf_combine", "yahoo_r3"): {**_YAHOO, "lr": 1e-4, "l2": 0.0},
    ("mf_uniform", "yahoo_r3"): {**_YAHOO, "lr": 0.1, "l2": 0.0},
    ("ips", "yahoo_r3"): {**_YAHOO, **_NAIVE_BAYES, "lr": 1e-5, "l2": 0.0},
    ("snips", "yahoo_r3"): {**_YAHOO, **_NAIVE_BAYES, "lr": 5e-4, "l2": 0.0},
    ("dr", "yahoo_r3"): {**_YAHOO, **_NAIVE_BAYES, "lr": 1e-5, "l2": 0.0},
}


def preset(method_name: str, dataset_name: str) -> dict[str, Any]:
    """The papers' hyper-parameters of a method on a data set; empty when there are none."""
    settings = _PRESETS.get((method_name, dataset_name))
    return {} if settings is None else {**_SHARED, **settings}
