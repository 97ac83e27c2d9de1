"""The table of true risks runs on the settings that it shares."""

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


def test_every_row_is_a_method_with_the_shared_settings_and_so_are_its_teachers():
    for setting in truth.SETTINGS.values():
        for row in setting.rows:
            method = truth.make(row, np.zeros((2, 2)), 1, 7)
            assert method.get_params()["max_epochs"] == 7
    student = truth.make(truth.Row("InterD", "interd"), np.zeros((2, 2)), 1, 7)
    assert [student.biased_teacher.max_epochs, student.debiased_teacher.max_epochs, student.debiased_teacher.seed] == [
        7,
        7,
        1,
    ]


def test_the_true_imputation_is_the_expected_rating():
    data = debiasrec.load("simulated", **truth.QUICK)
    row = truth.Row("", "dr_two_stage", {"propensity": "given"}, imputation="true")
    method = truth.make(row, data.truth.expected_rating, 0, 1).fit(data.split("autodebias"))
    users, items = np.divmod(np.arange(data.n_users * data.n_items), data.n_items)
    with torch.no_grad():
        imputed = method.imputation_.score(torch.from_numpy(users), torch.from_numpy(items)).numpy()
    assert np.std(imputed - data.truth.expected_rating.ravel()) < 0.02 * data.truth.expected_rating.std()
