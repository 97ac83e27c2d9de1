"""How to read the tables: the marks, whom the averages leave out, what the p-value is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..evaluation.parts import RANKING_USERS_WORDS

if TYPE_CHECKING:
    from ..evaluation.comparison import Comparison

BEST, WORSE = "*", "↓"
TEST_NOTES = {
    "truth": "Known truth: each user's whole catalogue, in expectation over the known relevance (so UAUC < 1).",
    "snips": "No uniform ratings: SNIPS and IPS reweight the biased test by popularity propensities; a rough estimate.",
}


def reading_guide(comparison: Comparison) -> str:
    """What the marks mean, whom the metrics leave out, and what the p-value is about."""
    baseline = comparison.baseline if len(comparison.configs) > 1 else None
    lines = [legend(baseline, several=len(comparison.seeds) > 1)]
    if baseline is not None:
        lines.append(
            f"Baseline: {baseline}, best uncorrected method by mean AUC on the validation rows, tests unseen. "
            "diff, p: debiased test against it, paired t-test over model seeds on this one split."
        )
    lines.append(dropped_text(comparison.dropped, comparison.ranking_users))
    lines += diverged_text(comparison.diverged)
    return "\n".join(lines + notes(set(comparison.results["test"])))


def notes(tests: set[str]) -> list[str]:
    """What the tests that are no plain test mean."""
    return [note for test, note in TEST_NOTES.items() if test in tests]


def legend(baseline: str | None, *, several: bool) -> str:
    """How to read a cell."""
    words = ["mean±sd over seeds" if several else "one seed", f"{BEST} best"]
    if baseline is not None:
        words.append(f"{WORSE} worse than {baseline}")
    return "Reading: " + ", ".join(words) + "; higher is better, except MSE, MAE, RMSE."


def diverged_text(diverged: dict[str, int]) -> list[str]:
    """A line where fits diverged: whose, and how many."""
    counts = ", ".join(f"{count} of {method}" for method, count in diverged.items())
    return [f"DIVERGED, and in no figure: {counts}."] if counts else []


def dropped_text(dropped: dict[str, dict[str, int]], ranking_users: str) -> str:
    """Who is left out of which average, and why."""
    parts = [
        f"{test} {users['both_classes']} of {users['users']} ({users['no_positive']} without a positive, "
        f"{users['no_negative']} without a negative)"
        for test, users in dropped.items()
    ]
    return (
        f"UAUC averages over users with both classes: {'; '.join(parts)}. "
        f"DCG, NDCG, Recall, MAP: {RANKING_USERS_WORDS[ranking_users]}. AUC, MSE, MAE: all rows."
    )
