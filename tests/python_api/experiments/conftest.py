from __future__ import annotations

import pytest

import debiasrec
from debiasrec.experiments import Arm, Experiment, Figure
from debiasrec.experiments.experiment import others

QUICK = {"max_epochs": 2, "factors": 2}


@pytest.fixture(scope="session")
def data():
    return debiasrec.load("simulated", n_users=100, n_items=40, density=0.25, uniform_per_user=20)


@pytest.fixture
def tiny():
    """Three quick rows, measured and drawn."""
    arms = {
        "mf": Arm("mf", QUICK, "mf", 1.0),
        "ips small": Arm("ips", {**QUICK, "lr": 0.001}, "ips", 0.001),
        "ips large": Arm("ips", {**QUICK, "lr": 0.02}, "ips", 0.02),
    }
    return Experiment(
        name="tiny",
        title="A tiny experiment",
        source="none",
        split="interd",
        metrics=(("debiased", "uauc"), ("both", "f1_uauc"), ("model", "lr")),
        arms=arms,
        against=others(arms, "mf"),
        measure=lambda model, split: {("model", "lr"): model.lr},
        figure=Figure(place, "lr", log_x=True),
    )


def place(arm, cell):
    return (cell["metric"], arm.series, arm.x) if cell["test"] == "debiased" else None


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch):
    """Drawing takes longer than everything else here."""
    monkeypatch.setattr("debiasrec.report.files.comparison_png", lambda summary: None)
    monkeypatch.setattr("debiasrec.experiments.runner.figure_png", lambda drawn, figure: None)
