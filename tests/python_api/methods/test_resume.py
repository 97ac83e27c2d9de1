from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import torch

from debiasrec import methods
from debiasrec.training import checkpoint as storage
from debiasrec.training import loop

CASES = {
    "mf": {},
    "interd": {"biased_teacher": methods.MF(max_epochs=2), "debiased_teacher": methods.IPS(max_epochs=2)},
    "kd_label": {"debiased_teacher": methods.MF(max_epochs=2), "initial": methods.MF(max_epochs=2), "mode": "bridge"},
    "mf_pd": {},
    "snips": {"batching": "block", "user_block": 50, "item_block": 40, "optimizer": "sgd", "lr": 0.2},
    "dr_two_stage": {"imputation_epochs": 3},
    "wmf": {},
    "nf_dr": {},
    "mf_ips_ltd": {"propensity_model": "mlp2", "optimizer": "adagrad", "reduction": "sum"},
    "nf_dr_ltd": {"batch_size": 400},
    "pmf_nmar": {},
    "dr": {"joint": False, "imputation_epochs": 3},
    "autodebias": {"imputation_epochs": 5, "watch_after": 3},
    "bal_dr": {"pair_balance": "ncf"},
    "bal_autodebias": {},
    "ceb": {"risk": "ap"},
    "cjmf": {"copies": 3},
    "umf": {"negatives": "sampled"},
    "biif": {},
    "alter_opt": {"detach_item": False},
    "relmf": {},
    "unbiased_bpr": {},
    "autodebias_implicit": {},
    "din": {"batch_size": 128},
    "causald": {"groups": 2, "batch_size": 128, "counterfactuals": 16},
    "meal": {"base": "deepfm", "groups": 2, "batch_size": 128},
}


class Interrupted(Exception):
    pass


def assert_same(first, second):
    for (name, a), b in zip(first.model_.tables().items(), second.model_.tables().values(), strict=True):
        assert torch.equal(a, b), name
    assert first.history_.drop(columns="seconds").equals(second.history_.drop(columns="seconds"))
    assert (first.best_epoch_, first.stopped_by_) == (second.best_epoch_, second.stopped_by_)


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("epoch", [2, 9])
def test_an_interrupted_fit_resumes_to_the_same_bits(suited, tmp_path, monkeypatch, name, epoch):
    split = suited(name)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)

    def interrupt(event):
        if event.epoch == epoch:
            raise Interrupted

    def method():
        return methods.make(name, max_epochs=12, patience=8, **CASES[name])

    with pytest.raises(Interrupted):
        method().fit(split, checkpoint=tmp_path, progress=interrupt)
    epochs = []
    resumed = method().fit(split, checkpoint=tmp_path, resume=True, progress=lambda event: epochs.append(event.epoch))
    assert epochs[0] == epoch
    assert_same(resumed, method().fit(split))


KILLED = """
import sys
from debiasrec import load, methods
from debiasrec.training import loop

loop.CHECKPOINT_SECONDS = 0.0
split = load("simulated", n_users=120, n_items=60, density=0.2, uniform_per_user=20, seed=3).split("interd", 0)
methods.MF(max_epochs=100_000, patience=100_000, lr=1e-4).fit(
    split, checkpoint=sys.argv[1], progress=lambda event: print(event.epoch, flush=True)
)
"""


@pytest.mark.parametrize("lines", [3, 10])
def test_a_fit_killed_at_any_time_leaves_a_checkpoint_that_resumes_to_the_same_bits(
    split, tmp_path, monkeypatch, lines
):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for _ in range(lines):
            assert process.stdout.readline(), "the fit ended before it could be killed"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL

    path = tmp_path / storage.CHECKPOINT_FILE
    tensors, state = storage.read(path)
    reached = state["run"]["epoch"]
    assert reached >= lines - 1
    # The same fit with a nearer end: the limit is part of what a checkpoint is checked for, so it is rewritten there.
    limit = reached + 5
    options = {"max_epochs": limit, "patience": 100_000, "lr": 1e-4}
    state["identity"]["max_epochs"] = limit
    storage.write(path, tensors, state)
    resumed = methods.MF(**options).fit(split, checkpoint=tmp_path, resume=True)
    assert_same(resumed, methods.MF(**options).fit(split))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"lr": 0.5}, r"lr is 0\.01 there, 0\.5 here"), ({"seed": 4}, "seed is 0 there, 4 here")],
)
def test_a_checkpoint_of_other_options_is_refused(split, tmp_path, options, message):
    methods.MF(max_epochs=2).fit(split, checkpoint=tmp_path)
    with pytest.raises(storage.CheckpointError, match=message):
        methods.MF(max_epochs=2, **options).fit(split, checkpoint=tmp_path, resume=True)


def test_a_checkpoint_of_other_data_split_or_method_is_refused(split, tmp_path):
    methods.MF(max_epochs=2).fit(split, checkpoint=tmp_path)
    other_seed = split.dataset.split("interd", 1)
    other_name = split.dataset.split("autodebias", 0)
    for changed, message in ((other_seed, "split seed is 0 there, 1 here"), (other_name, "split is 'interd' there")):
        with pytest.raises(storage.CheckpointError, match=message):
            methods.MF(max_epochs=2).fit(changed, checkpoint=tmp_path, resume=True)
    with pytest.raises(storage.CheckpointError, match="method is 'mf' there, 'mf_combine' here"):
        methods.MFCombine(max_epochs=2).fit(split, checkpoint=tmp_path, resume=True)


def test_a_checkpoint_of_a_student_of_another_teacher_is_refused(split, tmp_path):
    teacher, other = (methods.MF(max_epochs=2).fit(split) for _ in range(2))
    with torch.no_grad():
        other.model_.item_bias += 0.1
    methods.KDLabel(max_epochs=2, debiased_teacher=teacher, initial=teacher).fit(split, checkpoint=tmp_path)
    again = methods.KDLabel(max_epochs=2, debiased_teacher=other, initial=teacher)
    with pytest.raises(storage.CheckpointError, match=r"debiased_teacher as fitted is 'mf \w+' there, 'mf \w+' here$"):
        again.fit(split, checkpoint=tmp_path, resume=True)


def test_a_checkpoint_of_a_name_that_now_means_other_settings_is_refused(split, tmp_path, monkeypatch):
    options = {"max_epochs": 2, "biased_teacher": "mf", "debiased_teacher": methods.IPS(max_epochs=2)}
    methods.InterD(**options).fit(split, checkpoint=tmp_path)
    monkeypatch.setattr("debiasrec.methods.presets.preset", lambda *names: {"lr": 0.02})
    with pytest.raises(storage.CheckpointError, match="biased_teacher as fitted"):
        methods.InterD(**options).fit(split, checkpoint=tmp_path, resume=True)


def test_a_damaged_checkpoint_is_refused_by_name(split, tmp_path):
    (tmp_path / storage.CHECKPOINT_FILE).write_bytes(b"half a file")
    with pytest.raises(storage.CheckpointError, match="is not a readable file"):
        methods.MF(max_epochs=2).fit(split, checkpoint=tmp_path, resume=True)


def test_resume_needs_a_checkpoint_folder(split):
    with pytest.raises(ValueError, match="resume=True needs checkpoint="):
        methods.MF().fit(split, resume=True)
