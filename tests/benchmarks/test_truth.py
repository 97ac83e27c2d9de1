"""The table of true risks runs, and skips what is not there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from debiasrec.benchmarks.methods import truth

import debiasrec


def test_the_quick_run_writes_a_row_per_setting_method_and_seed(tmp_path, capsys):
    assert truth.main(["--quick", "--only", "one_model_wrong", "--out", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "truth.csv")
    rows = [row.label for row in truth.SETTINGS["one_model_wrong"].rows]
    assert table["row"].tolist() == 2 * rows
    assert table["risk"].between(0, 4).all()
    assert "less MF" in capsys.readouterr().out


def test_a_method_that_is_not_there_is_left_out_by_name(tmp_path, capsys, monkeypatch):
    rows = (truth.NAIVE_ROW, truth.Row("Oracle", "no_such_method"))
    monkeypatch.setitem(truth.SETTINGS, "hidden_cause", truth.Setting("?", rows, confounding=1.0))
    truth.main(["--quick", "--only", "hidden_cause", "--out", str(tmp_path)])
    assert "Oracle: left out, no method 'no_such_method' here" in capsys.readouterr().out
    assert set(pd.read_csv(tmp_path / "truth.csv")["row"]) == {"MF"}


def test_the_true_imputation_is_the_expected_rating():
    data = debiasrec.load("simulated", **truth.QUICK)
    row = truth.Row("", "dr_two_stage", {"propensity": "given"}, imputation="true")
    method = truth.make(row, data.truth.expected_rating, 0, 1).fit(data.split("autodebias"))
    users, items = np.divmod(np.arange(data.n_users * data.n_items), data.n_items)
    with torch.no_grad():
        imputed = method.imputation_.score(torch.from_numpy(users), torch.from_numpy(items)).numpy()
    assert np.std(imputed - data.truth.expected_rating.ravel()) < 0.02 * data.truth.expected_rating.std()
