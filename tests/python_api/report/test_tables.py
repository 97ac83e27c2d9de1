"""Tables: what the marks say, and that they fit."""

from __future__ import annotations

import pytest

from debiasrec.report.tables import comparison_text, short


def table_row(text: str, title: str, method: str) -> str:
    """The line of a method in the table of that title."""
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if line.strip() == title)
    return next(line for line in lines[start:] if line.split()[:1] == [method])


@pytest.mark.parametrize("name", ["dr", "a_method_of_ones_own"])
def test_every_table_fits_into_80_columns_without_cutting_a_figure(make_comparison, name):
    comparison = make_comparison(shifts={"mf": 0.0, "mf_combine": 0.01, name: 0.02})
    text = comparison_text(comparison, width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for row in comparison.summary.itertuples():
        assert f"{short(row.mean)}±{short(row.sd)}" in text, row


def test_more_list_lengths_make_more_tables_not_wider_ones(make_comparison, tests_at_two_lengths):
    text = comparison_text(make_comparison(tests=tests_at_two_lengths), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "NDCG@10" in text
    assert "Recall@10" in text


@pytest.fixture
def tests_at_two_lengths():
    both = {"uauc": 0.6, "auc": 0.7, "ndcg@5": 0.6, "ndcg@10": 0.7, "recall@5": 0.5, "recall@10": 0.6, "map@5": 0.5}
    both |= {"map@10": 0.5, "mse": 0.5, "mae": 0.6}
    return {"biased": both, "debiased": both, "both": {"f1_uauc": 0.6, "f1_ndcg@5": 0.6, "f1_ndcg@10": 0.7}}


def test_best_is_starred_and_worse_than_the_baseline_has_an_arrow(make_comparison):
    comparison = make_comparison()
    assert comparison.baseline == "mf_combine"
    text = comparison_text(comparison)
    marks = {method: table_row(text, "UAUC", method) for method in comparison.configs}
    assert marks["dr"].count("*") == 4
    assert marks["mf_uniform"].count("↓") == 4
    assert "*" not in marks["ips"]
    assert "↓" not in marks["ips"]
    assert "↓" not in marks["mf_combine"]
    assert "↓ worse than mf_combine" in text
    assert "* best" in text


def test_lower_is_better_for_errors(make_comparison):
    text = comparison_text(make_comparison())
    best = table_row(text, "debiased test", "mf_uniform")
    assert best.split()[3].endswith("*")
    assert best.split()[4].endswith("*")
    assert table_row(text, "debiased test", "dr").split()[3].endswith("↓")


def test_differences_and_p_values_are_those_of_the_debiased_test(make_comparison):
    comparison = make_comparison()
    text = comparison_text(comparison)
    row = comparison.summary.set_index(["method", "test", "metric"]).loc[("dr", "debiased", "uauc")]
    assert table_row(text, "UAUC", "dr").split()[-2:] == [f"+{short(row['difference'])}", short(row["p_value"], 3)]
    assert len(table_row(text, "UAUC", "mf_combine").split()) == len(table_row(text, "UAUC", "dr").split()) - 2


def test_blank_tests_take_no_column(make_comparison):
    tests = {"biased": dict.fromkeys(("uauc", "mse"), float("nan")), "debiased": {"uauc": 0.6, "mse": 0.4}}
    text = comparison_text(make_comparison(tests=tests))
    assert "biased test" not in text.replace("debiased test", "")
    assert "nan" not in text


def test_the_guide_says_who_is_left_out_and_why(make_comparison):
    text = " ".join(comparison_text(make_comparison()).split())
    assert "biased 36 of 50 (10 without a positive, 4 without a negative)" in text
    assert "NDCG, Recall, MAP: users with a positive and a negative" in text
    assert "tests unseen" in text
    assert "in expectation over the known relevance" in text


def test_an_interrupted_comparison_says_so(make_comparison):
    comparison = make_comparison()
    comparison.fits = comparison.fits.iloc[:4]
    assert "INCOMPLETE, 4 of 18 fits done" in comparison_text(comparison)


def test_figures_lose_only_their_leading_zero():
    assert [short(value) for value in (0.756, 1.0, -0.25, 10.5)] == [".7560", "1.0000", "-.2500", "10.5000"]
