"""The search for hyper-parameters: what it may see, what it repeats, what it hands over."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import debiasrec
from debiasrec.data import Interactions
from debiasrec.methods import REGISTRY
from debiasrec.methods.options import ranges
from debiasrec.training.loop import DivergenceError
from debiasrec.tuning import Interval, search_space, without_tests
from debiasrec.tuning.space import OPTIONS

SMALL = {"max_epochs": 3, "factors": 2}


@pytest.fixture(scope="module")
def split():
    return debiasrec.load("simulated", n_users=80, n_items=40, density=0.2, uniform_per_user=20).split("interd")


def params(tuning):
    return [trial["params"] for trial in tuning.trials]


def test_the_first_trial_is_the_start_and_the_best_is_the_largest_auc(split):
    tuning = debiasrec.tune("ips", split, trials=5, options=SMALL)
    start = debiasrec.methods.make("ips", **SMALL)
    assert params(tuning)[0] == {option: getattr(start, option) for option in tuning.space}
    assert tuning.best["value"] == max(trial["value"] for trial in tuning.trials)
    assert len({str(trial) for trial in params(tuning)}) == 5


def test_the_value_is_the_criterion_of_early_stopping_at_its_best_epoch(split):
    for criterion, pick in (("auc", np.max), ("mse", np.min)):
        tuning = debiasrec.tune("mf", split, trials=2, options={**SMALL, "criterion": criterion})
        for trial in tuning.trials:
            model = debiasrec.methods.make("mf", **SMALL, criterion=criterion, **trial["params"]).fit(split)
            assert trial["value"] == pytest.approx(pick(model.history_["validation"]), rel=1e-6)
        values = [trial["value"] for trial in tuning.trials]
        assert tuning.best["value"] == pick(values)


def test_no_test_row_can_influence_the_search(split):
    def turned(rows: Interactions) -> Interactions:
        return Interactions(rows.users, rows.items, 6.0 - rows.ratings)

    def together(*parts: Interactions) -> Interactions:
        return Interactions.concatenate(*parts)

    biased = together(split.train, split.biased_validation, turned(split.biased_test))
    uniform = together(split.uniform_train, split.uniform_validation, turned(split.uniform_test))
    other = replace(
        split,
        dataset=replace(split.dataset, biased=biased, uniform=uniform, truth=None),
        biased_test=turned(split.biased_test),
        uniform_test=turned(split.uniform_test),
    )
    first, second = (debiasrec.tune("dr", part, trials=4, options=SMALL) for part in (split, other))
    assert [(t["params"], t["value"]) for t in first.trials] == [(t["params"], t["value"]) for t in second.trials]


def test_a_split_without_tests_holds_no_test_row_anywhere(split):
    blind = without_tests(split)
    assert blind.biased_test is None
    assert blind.uniform_test is None
    assert blind.dataset.truth is None
    for part, test in ((blind.dataset.biased, split.biased_test), (blind.dataset.uniform, split.uniform_test)):
        assert not np.isin(part.pairs(40), test.pairs(40)).any()
    for name in ("train", "biased_validation", "uniform_train", "uniform_validation"):
        assert getattr(blind, name) is getattr(split, name)


def test_a_resumed_search_makes_the_trials_of_an_uninterrupted_one(split, tmp_path):
    once = debiasrec.tune("mf", split, trials=14, options=SMALL)
    debiasrec.tune("mf", split, trials=12, options=SMALL, out=tmp_path)
    again = debiasrec.tune("mf", split, trials=14, options=SMALL, out=tmp_path, resume=True)
    assert [(t["params"], t["value"]) for t in again.trials] == [(t["params"], t["value"]) for t in once.trials]
    assert len(json.loads((tmp_path / "mf.trials.json").read_text())["trials"]) == 14


def test_a_balanced_method_also_tries_the_settings_of_its_twin_and_goes_by_its_criterion(split, tmp_path):
    twin = debiasrec.tune("ips", split, trials=3, options={**SMALL, "criterion": "mse"}, out=tmp_path)
    tuning = debiasrec.tune("bal_ips", split, trials=3, options=SMALL, out=tmp_path)
    first, second = params(tuning)[:2]
    start = debiasrec.methods.make("bal_ips", **SMALL)
    assert first == {option: getattr(start, option) for option in tuning.space}
    shared = {"lr": twin.best["params"]["lr"], "l2": twin.best["params"]["l2"]}
    assert second == {**first, **shared} != first
    assert tuning.criterion == "mse"
    (entry,) = tuning.entry().values()
    assert entry["params"]["criterion"] == "mse"
    assert entry["record"]["trials"] == 3
    assert entry["record"]["tuned"].startswith("TPE, 3 trials, the second with the settings of ips,")
    # Without a search for the twin it is the twin's preset, here its defaults.
    assert debiasrec.tune("bal_ips", split, trials=1, options=SMALL).criterion == "auc"
    assert debiasrec.tune("bal_ips", split, trials=1, options={**SMALL, "criterion": "mse"}).criterion == "mse"


def test_finalists_are_told_apart_by_the_mean_over_model_seeds(split, tmp_path):
    tuning = debiasrec.tune("mf", split, trials=5, finalists=2, options=SMALL, out=tmp_path)
    repeated = [trial for trial in tuning.trials if "repeats" in trial]
    values = sorted((trial["value"] for trial in tuning.trials), reverse=True)
    assert repeated[0] is tuning.trials[0]
    assert set(values[:2]) <= {trial["value"] for trial in repeated}
    assert len(repeated) <= 3
    means = {}
    for trial in repeated:
        fits = [debiasrec.methods.make("mf", **SMALL, **trial["params"], seed=seed).fit(split) for seed in (0, 1, 2)]
        means[str(trial["params"])] = np.mean([fit.history_["validation"].max() for fit in fits])
        assert means[str(trial["params"])] == pytest.approx(np.mean([trial["value"], *trial["repeats"]]), rel=1e-6)
    assert means[str(tuning.best["params"])] == max(means.values())
    (entry,) = tuning.entry().values()
    assert entry["record"]["best"] == pytest.approx(max(means.values()))
    assert f"of {len(repeated)} finalists the best over 3 model seeds" in entry["record"]["tuned"]
    # Nothing is fitted again.
    again = debiasrec.tune("mf", split, trials=5, finalists=2, options=SMALL, out=tmp_path, resume=True)
    assert again.trials == tuning.trials


def test_a_finalist_that_diverges_with_another_seed_does_not_win(split, monkeypatch):
    winner = debiasrec.tune("mf", split, trials=4, options=SMALL).best["params"]

    def diverges(self, *arguments, fit=REGISTRY["mf"].fit, **options):
        if self.seed == 2 and self.lr == winner["lr"]:
            raise DivergenceError("not finite")
        return fit(self, *arguments, **options)

    monkeypatch.setattr(REGISTRY["mf"], "fit", diverges)
    tuning = debiasrec.tune("mf", split, trials=4, finalists=4, options=SMALL)
    assert tuning.best["params"] != winner
    assert [trial["repeats"][1] for trial in tuning.trials if trial["params"] == winner] == [None]


def test_when_every_finalist_diverges_with_another_seed_the_other_trials_remain(split, monkeypatch):
    def diverges(self, *arguments, fit=REGISTRY["mf"].fit, **options):
        if self.seed:
            raise DivergenceError("not finite")
        return fit(self, *arguments, **options)

    monkeypatch.setattr(REGISTRY["mf"], "fit", diverges)
    tuning = debiasrec.tune("mf", split, trials=4, finalists=1, options=SMALL)
    others = [trial["value"] for trial in tuning.trials if "repeats" not in trial]
    assert tuning.best["value"] == max(others)


def test_another_seed_searches_elsewhere(split):
    one, two = (debiasrec.tune("mf", split, trials=3, seed=seed, options=SMALL) for seed in (0, 1))
    assert params(one)[1:] != params(two)[1:]


def test_the_entry_reproduces_the_best_trial(split, tmp_path):
    tuning = debiasrec.tune("ips", split, trials=4, options=SMALL, out=tmp_path)
    entry = json.loads((tmp_path / "ips.json").read_text())
    assert entry == json.loads(json.dumps(tuning.entry()))
    assert list(entry) == ["simulated/interd"]
    made = debiasrec.methods.make("ips", **entry["simulated/interd"]["params"])
    assert {option: getattr(made, option) for option in tuning.space} == tuning.best["params"]
    assert made.max_epochs == SMALL["max_epochs"]
    assert entry["simulated/interd"]["record"]["best"] == tuning.best["value"]


def test_a_fit_that_diverges_counts_as_a_trial(split, monkeypatch):
    fit = debiasrec.methods.MF.fit

    def breaking(self, *args, **options):
        if self.lr > 3e-3:
            raise DivergenceError("too large")
        return fit(self, *args, **options)

    monkeypatch.setattr(debiasrec.methods.MF, "fit", breaking)
    tuning = debiasrec.tune("mf", split, trials=12, options=SMALL)
    diverged = [trial for trial in tuning.trials if trial["value"] is None]
    assert 0 < len(diverged) < 12
    assert tuning.best["params"]["lr"] <= 3e-3


def test_nothing_but_divergence_is_told(split, monkeypatch):
    def breaking(self, *args, **options):
        raise DivergenceError("too large")

    monkeypatch.setattr(debiasrec.methods.MF, "fit", breaking)
    with pytest.raises(debiasrec.DebiasRecError, match="all 3 fits diverged"):
        debiasrec.tune("mf", split, trials=3, options=SMALL)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_range_lies_in_what_the_option_takes(name):
    declared = ranges(REGISTRY[name])
    for option, searched in search_space(debiasrec.methods.make(name)).items():
        values = (searched.low, searched.high) if isinstance(searched, Interval) else searched
        assert all(declared[option].holds(value) for value in values), (name, option)


def test_beside_sums_of_weighted_errors_l2_is_searched_up_to_a_hundred():
    for name in ("mf_ips_ltd", "nf_dr_ltd", "ips", "bal_ips"):
        assert 100.0 in search_space(debiasrec.methods.make(name, reduction="sum"))["l2"]


def test_the_criterion_of_a_method_without_epochs_is_its_own_too(split):
    options = {"iterations": 2, "target": "stars", "criterion": "mse"}
    tuning = debiasrec.tune("cpt_v", split, trials=1, options=options)
    model = debiasrec.methods.make("cpt_v", **options).fit(split)
    rows = split.uniform_validation
    error = float(np.mean((model.predict(rows.users, rows.items) - rows.ratings) ** 2))
    assert tuning.best["value"] == pytest.approx(error, rel=1e-5)


def test_every_listed_option_belongs_to_a_method():
    assert set(OPTIONS) <= {option for method in REGISTRY.values() for option in ranges(method)}


def test_intervals_round_to_three_digits_and_stay_inside():
    interval = Interval(1 / 512, 0.12345)
    assert interval.rounded(0.0123456) == 0.0123
    assert interval.rounded(interval.low) == interval.low
    assert interval.rounded(interval.high) == 0.123
    assert None not in interval


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "mff"}, "mf"),
        ({"trials": 0}, "trials"),
        ({"seed": -1}, "seed"),
        ({"options": {"lr": -1.0}}, "lr must be"),
        ({"resume": True}, "needs out="),
        ({"device": "gpu"}, "device"),
    ],
)
def test_bad_requests_are_refused_before_any_fit(split, monkeypatch, arguments, message):
    monkeypatch.setattr(debiasrec.methods.MF, "fit", lambda *args, **options: pytest.fail("a fit was started"))
    with pytest.raises(debiasrec.DebiasRecError, match=message):
        debiasrec.tune(arguments.pop("method", "mf"), split, **arguments)


def test_trials_of_another_search_are_refused(split, tmp_path):
    debiasrec.tune("mf", split, trials=1, options=SMALL, out=tmp_path)
    with pytest.raises(debiasrec.DebiasRecError, match="another settings"):
        debiasrec.tune("mf", split, trials=2, options={**SMALL, "factors": 3}, out=tmp_path, resume=True)
    with pytest.raises(debiasrec.DebiasRecError, match="another search_seed"):
        debiasrec.tune("mf", split, trials=2, options=SMALL, seed=1, out=tmp_path, resume=True)


def test_a_split_without_validation_rows_is_refused(split):
    none = replace(split, biased_validation=None, uniform_validation=None)
    with pytest.raises(debiasrec.DebiasRecError, match="validation"):
        debiasrec.tune("mf", none, trials=1, options=SMALL)
