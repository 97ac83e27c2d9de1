"""Several methods, several seeds: what is kept, how it is summarised, what is chosen on which rows."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import debiasrec
from debiasrec import DebiasRecError
from debiasrec.evaluation import paired_t_test, validation_auc
from debiasrec.evaluation.compare import ComparisonInterrupted
from debiasrec.evaluation.comparison import BASELINES, config_hash, summarise
from debiasrec.training import DivergenceError


@pytest.fixture
def comparison(make_split, fixed_scores):
    methods = {"low": fixed_scores(level=0.2), "high": fixed_scores(level=1.5), "ips": fixed_scores(level=1.0)}
    return debiasrec.compare(make_split(), methods, seeds=4)


def test_every_method_runs_with_every_seed_on_the_one_split(comparison, make_split, fixed_scores):
    assert comparison.complete
    assert comparison.seeds == [0, 1, 2, 3]
    assert set(map(tuple, comparison.fits[["method", "seed"]].to_numpy())) == {
        (method, seed) for method in ("low", "high", "ips") for seed in range(4)
    }
    table = debiasrec.evaluate({"high": fixed_scores(level=1.5, seed=2)}, make_split())
    own = comparison.results.query("method == 'high' and seed == 2").set_index(["test", "metric"])["value"]
    pd.testing.assert_series_equal(own.astype(float), table.loc["high"], check_names=False)


def test_summary_is_mean_sample_sd_and_the_paired_t_test_by_hand(comparison):
    values = comparison.results.pivot(index="seed", columns=["method", "test", "metric"], values="value").astype(float)
    base = comparison.baseline
    assert base == "high"
    for row in comparison.summary.itertuples():
        own = values[row.method, row.test, row.metric]
        assert row.mean == pytest.approx(own.mean())
        assert row.n == 4
        assert row.sd == pytest.approx(np.sqrt(((own - own.mean()) ** 2).sum() / 3))
        if row.method == base:
            assert np.isnan(row.difference)
            assert np.isnan(row.p_value)
            continue
        difference = own - values[base, row.test, row.metric]
        t_value = difference.mean() / (difference.std(ddof=1) / 2)
        assert row.difference == pytest.approx(difference.mean())
        assert row.p_value == pytest.approx(2 * stats.t.sf(abs(t_value), df=3))


def test_baseline_is_chosen_on_validation_never_on_the_test(make_split, fixed_scores, monkeypatch):
    split = make_split()
    tested = set((split.uniform_test.users * 30 + split.uniform_test.items).tolist())

    def predict(self, users, items):
        labels = np.isin(items, range(16, 30)).astype(np.float32)
        on_test = len(users) > 200 or set((users * 30 + items).tolist()) == tested
        return labels if on_test == (self.level > 0) else -labels

    monkeypatch.setattr(fixed_scores, "predict", predict)
    result = debiasrec.compare(split, {"good_on_test": fixed_scores(level=1), "good_on_validation": fixed_scores()}, 2)
    means = result.summary.query("test == 'debiased' and metric == 'auc'").set_index("method")["mean"]
    assert means["good_on_test"] > means["good_on_validation"]
    assert result.baseline == "good_on_validation"


def test_validation_auc_prefers_the_uniform_part(make_split, fixed_scores):
    split, model = make_split(), fixed_scores(level=1.0)
    without = debiasrec.Split(**{**vars(split), "uniform_validation": None})
    swapped = debiasrec.Split(**{**vars(split), "biased_validation": None})
    assert validation_auc(model, split) == validation_auc(model, swapped) != validation_auc(model, without)
    nothing = debiasrec.Split(**{**vars(without), "biased_validation": None})
    assert np.isnan(validation_auc(model, nothing))


@pytest.mark.parametrize("name", BASELINES)
def test_every_uncorrected_method_can_be_the_baseline(make_split, fixed_scores, monkeypatch, name):
    monkeypatch.setattr(fixed_scores, "name", name)
    assert name in debiasrec.methods.REGISTRY
    assert debiasrec.compare(make_split(), {"plain": fixed_scores()}, seeds=1).baseline == "plain"


def test_no_baseline_without_an_uncorrected_method(make_split, fixed_scores, monkeypatch):
    monkeypatch.setattr(fixed_scores, "name", "ips")
    result = debiasrec.compare(make_split(), {"ips": fixed_scores()}, seeds=2)
    assert result.baseline is None
    assert result.summary["difference"].isna().all()


def test_paired_t_test_of_degenerate_differences():
    assert paired_t_test(np.array([0.5]), np.array([0.4])) == (pytest.approx(0.1), pytest.approx(np.nan, nan_ok=True))
    assert paired_t_test(np.array([0.5, 0.6]), np.array([0.5, 0.6])) == (0.0, 1.0)
    mean, p_value = paired_t_test(np.array([0.75, 0.5]), np.array([0.5, 0.25]))
    assert mean == 0.25
    assert np.isnan(p_value)
    values, base = np.array([0.71, 0.74, 0.72]), np.array([0.70, 0.72, 0.73])
    assert paired_t_test(values, base)[1] == pytest.approx(stats.ttest_rel(values, base).pvalue)


def test_summary_pairs_by_seed_not_by_position():
    rows = [("mf", 0, 0.1), ("mf", 1, 0.2), ("mf", 2, 0.4), ("ips", 2, 0.5), ("ips", 0, 0.15), ("ips", 1, 0.2)]
    results = pd.DataFrame(
        [(m, s, "biased", "uauc", v) for m, s, v in rows], columns=["method", "seed", "test", "metric", "value"]
    )
    own = summarise(results, "mf").set_index("method").loc["ips"]
    assert own["p_value"] == pytest.approx(stats.ttest_rel([0.15, 0.2, 0.5], [0.1, 0.2, 0.4]).pvalue)


def test_interruption_keeps_what_is_done(make_split, fixed_scores, tmp_path):
    methods = {"fine": fixed_scores(), "stuck": fixed_scores(fails="interrupt")}
    with pytest.raises(ComparisonInterrupted, match="1 of 4 fits") as caught:
        debiasrec.compare(make_split(), methods, seeds=2, out=tmp_path)
    assert list(caught.value.comparison.fits["method"]) == ["fine"]
    assert not caught.value.comparison.complete
    assert set(pd.read_csv(tmp_path / "results.csv")["method"]) == {"fine"}


def test_a_fit_that_diverges_is_counted_and_ends_no_other(make_split, fixed_scores, tmp_path, monkeypatch):
    methods = {"unsteady": fixed_scores(fails="diverge at seed 0"), "steady": fixed_scores(level=1.0)}
    found = debiasrec.compare(make_split(), methods, seeds=3, out=tmp_path)
    assert found.complete
    assert found.diverged == {"unsteady": 1}
    assert found.summary.groupby("method")["n"].unique().map(list).to_dict() == {"unsteady": [2], "steady": [3]}
    assert "DIVERGED, and in no figure: 1 of unsteady." in str(found)
    monkeypatch.setattr(fixed_scores, "fit", lambda *args, **options: pytest.fail("fitted again"))
    again = debiasrec.compare(make_split(), methods, seeds=3, out=tmp_path, resume=True)
    assert again.diverged == found.diverged
    pd.testing.assert_frame_equal(again.summary, found.summary)


def test_a_comparison_without_a_fit_that_converged_is_an_error(make_split, fixed_scores, tmp_path):
    methods = {"mf": fixed_scores(fails="diverge at seed 0")}
    with pytest.raises(DivergenceError, match="epoch 1"):
        debiasrec.compare(make_split(), methods, seeds=1, out=tmp_path)
    with pytest.raises(DivergenceError, match="every fit"):
        debiasrec.compare(make_split(), methods, seeds=1, out=tmp_path, resume=True)


def test_resuming_fits_only_what_is_missing(make_split, fixed_scores, tmp_path):
    split, low, high = make_split(), fixed_scores(level=0.2), fixed_scores(level=1.5)
    debiasrec.compare(split, {"low": low}, seeds=2, out=tmp_path)
    whole = debiasrec.compare(split, {"low": low, "high": high}, seeds=3, out=tmp_path, resume=True)
    assert list(map(tuple, whole.fits[["method", "seed"]].to_numpy())) == [
        ("low", 0), ("low", 1), ("high", 0), ("high", 1), ("low", 2), ("high", 2)
    ]  # fmt: skip
    once = debiasrec.compare(split, {"low": low, "high": high}, seeds=3)
    keys = ["method", "seed", "test", "metric"]
    pd.testing.assert_frame_equal(
        *(result.results.sort_values(keys, ignore_index=True) for result in (whole, once)), check_dtype=False
    )
    assert whole.complete


def test_resuming_keeps_methods_that_are_not_asked_for_now(make_split, fixed_scores, tmp_path):
    debiasrec.compare(make_split(), {"low": fixed_scores()}, seeds=2, out=tmp_path)
    result = debiasrec.compare(make_split(), {"high": fixed_scores(level=1.0)}, seeds=1, out=tmp_path, resume=True)
    assert set(pd.read_csv(tmp_path / "results.csv")["method"]) == {"low", "high"}
    assert result.complete


def test_results_of_another_version_are_not_taken_over(make_split, fixed_scores, tmp_path):
    debiasrec.compare(make_split(), {"low": fixed_scores()}, seeds=1, out=tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    record["environment"]["packages"]["torch"] = "1.0"
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(DebiasRecError, match="other packages"):
        debiasrec.compare(make_split(), {"low": fixed_scores()}, seeds=1, out=tmp_path, resume=True)


def test_a_fit_whose_record_was_not_written_is_fitted_again(make_split, fixed_scores, tmp_path):
    debiasrec.compare(make_split(), {"low": fixed_scores()}, seeds=2, out=tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    record["fits"] = record["fits"][:1]
    (tmp_path / "run.json").write_text(json.dumps(record))
    result = debiasrec.compare(make_split(), {"low": fixed_scores()}, seeds=2, out=tmp_path, resume=True)
    assert not result.results.duplicated(["method", "seed", "test", "metric"]).any()
    assert result.complete


def test_results_of_other_settings_splits_or_lists_are_refused(make_split, fixed_scores, tmp_path):
    debiasrec.compare(make_split(), {"low": fixed_scores(level=0.2)}, seeds=1, out=tmp_path)
    resume = {"seeds": 1, "out": tmp_path, "resume": True}
    with pytest.raises(debiasrec.DebiasRecError, match=r"level was 0\.2, is 0\.4"):
        debiasrec.compare(make_split(), {"low": fixed_scores(level=0.4)}, **resume)
    with pytest.raises(debiasrec.DebiasRecError, match="another split"):
        debiasrec.compare(make_split("bal"), {"low": fixed_scores(level=0.2)}, **resume)
    with pytest.raises(debiasrec.DebiasRecError, match="another ks"):
        debiasrec.compare(make_split(), {"low": fixed_scores(level=0.2)}, ks=(3,), **resume)
    with pytest.raises(debiasrec.DebiasRecError, match="needs out="):
        debiasrec.compare(make_split(), {"low": fixed_scores(level=0.2)}, resume=True)


def test_settings_of_methods_that_were_not_fitted_may_change(make_split, fixed_scores, tmp_path):
    methods = {"low": fixed_scores(), "high": fixed_scores(fails="interrupt")}
    with pytest.raises(ComparisonInterrupted):
        debiasrec.compare(make_split(), methods, seeds=1, out=tmp_path)
    methods["high"] = fixed_scores(level=1.0)
    assert debiasrec.compare(make_split(), methods, seeds=1, out=tmp_path, resume=True).complete


def test_watched_figures_are_those_after_every_epoch(make_split, fixed_scores):
    def watch(model, split, event):
        return {(f"epoch {event.epoch}", "loss"): event.loss + model.seed}

    result = debiasrec.compare(make_split(), {"low": fixed_scores()}, seeds=2, watch=watch)
    assert list(result.results.query("test == 'epoch 1'")["value"]) == [0.5, 1.5]


def test_measured_figures_join_the_results_and_the_text(make_split, fixed_scores):
    def measure(model, split):
        return {("elsewhere", "level"): 10 * model.level + model.seed} if model.level else {}

    methods = {"none": fixed_scores(), "low": fixed_scores(level=0.2)}
    result = debiasrec.compare(make_split(), methods, seeds=2, measure=measure)
    assert list(result.results.query("test == 'elsewhere'")["value"]) == [2.0, 3.0]
    assert "elsewhere" in str(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["mf", "mf"]}, "distinct names"),
        ({"methods": []}, "at least one"),
        ({"methods": ["mff"]}, "mf"),
        ({"methods": ["mf"], "options": {"mf": {"learning_rat": 1}}}, "learning_rat"),
        ({"methods": ["mf"], "options": {"mf": {"lr": -1.0}}}, "lr must be"),
        ({"methods": ["mf"], "options": {"ips": {"lr": 1.0}}}, "ips not among"),
        ({"methods": [debiasrec.methods.MF()]}, "methods: expected names"),
        ({"methods": ["mf"], "device": "gpu"}, "device must be"),
        ({"methods": ["mf"], "seeds": 0}, "seeds"),
        ({"methods": ["mf"], "seeds": [0.5]}, "seeds"),
        ({"methods": ["mf"], "seeds": [-1]}, "seeds"),
        ({"methods": ["mf"], "seeds": [1, 1]}, "seeds"),
        ({"methods": ["mf"], "ks": ()}, "ks"),
        ({"methods": ["mf", "mf_uniform"], "uniform": False}, "mf_uniform train"),
    ],
)
def test_bad_requests_are_refused_before_any_fit(make_split, monkeypatch, arguments, message):
    monkeypatch.setattr(debiasrec.methods.MF, "fit", lambda *args, **options: pytest.fail("a fit was started"))
    split = make_split(uniform=arguments.pop("uniform", True))
    with pytest.raises(debiasrec.DebiasRecError, match=message):
        debiasrec.compare(split, arguments.pop("methods"), **arguments)


def test_config_hash_ignores_the_order_and_sees_every_value():
    assert config_hash({"lr": 0.1, "l2": 1.0}) == config_hash({"l2": 1.0, "lr": 0.1})
    assert config_hash({"lr": 0.1, "l2": 1.0}) != config_hash({"lr": 0.1, "l2": 2.0})
    assert len(config_hash({})) == 64
