"""What `group_ranking` and its plain-torch twin share: names of the values, options, and the result."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from debias_ext._inputs import one_of

METRICS = ("auc", "ndcg", "dcg", "map", "recall", "precision", "mrr")
WITHOUT_CUT = ("ndcg", "dcg")  # have a value over the whole list as well
TIES = ("expected", "stable")
MAP_NORMS = ("hits", "min", "positives")


def checked_ks(ks: Iterable[int]) -> list[int]:
    """Distinct cut-offs in the order given."""
    cuts = []
    for k in ks:
        try:
            cuts.append(operator.index(k))
        except TypeError:
            raise ValueError(f"ks must be integers, got {k!r}") from None
        if cuts[-1] < 1:
            raise ValueError(f"ks must be at least 1, got {k}")
    return list(dict.fromkeys(cuts))


def checked_metrics(metrics: Iterable[str]) -> list[str]:
    """Distinct metrics in the order of METRICS."""
    if isinstance(metrics, str):
        raise ValueError(f"metrics must be a sequence of names, got the string {metrics!r}")
    names = list(metrics)
    for name in names:
        one_of("metrics", name, METRICS)
    return [name for name in METRICS if name in names]


def value_names(metrics: Sequence[str], ks: Sequence[int]) -> list[str]:
    """Names of the rows of values: "auc", "ndcg", "ndcg@5", ..."""
    names = []
    for metric in metrics:
        if metric == "auc" or metric in WITHOUT_CUT:
            names.append(metric)
        if metric != "auc":
            names += [f"{metric}@{k}" for k in ks]
    return names


class GroupRanking(dict[str, Tensor]):
    """Ranking metrics by group: name -> float64 [G], in ascending group id, NaN where a group has no value.

    Attributes:
        groups: the distinct group ids, int64 [G], ascending.
        sizes: rows of each group, int64 [G].
        positives: rows with label 1 of each group, int64 [G].
    """

    def __init__(self, names: Sequence[str], values: Tensor, groups: Tensor, sizes: Tensor, positives: Tensor) -> None:
        super().__init__(zip(names, values.unbind(0), strict=True))
        self.groups = groups
        self.sizes = sizes
        self.positives = positives

    @property
    def valid(self) -> dict[str, Tensor]:
        """name -> bool [G]: where the group has a value."""
        return {name: ~torch.isnan(values) for name, values in self.items()}

    @property
    def both_classes(self) -> Tensor:
        """bool [G]: groups with a positive and a negative row."""
        return (self.positives > 0) & (self.positives < self.sizes)

    @property
    def dropped(self) -> dict[str, int]:
        """name -> number of groups without a value; "one_class" and "no_positive" say why."""
        counts = {name: int((~valid).sum()) for name, valid in self.valid.items()}
        counts["one_class"] = int((~self.both_classes).sum())
        counts["no_positive"] = int((self.positives == 0).sum())
        return counts

    def mean(self, require: str = "defined") -> dict[str, float]:
        """The mean of each metric over the groups.

        Args:
            require: "defined": the groups where the metric has a value; "both": of these, the groups with a positive
                and a negative row.

        Returns:
            name -> mean, NaN where no group counts.
        """
        one_of("require", require, ("defined", "both"))
        means = {}
        for name, values in self.items():
            kept = values[self.both_classes] if require == "both" else values
            means[name] = float(kept.nanmean())
        return means
