"""DCG, MAP and recall as the public program of RelMF computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

import debias_ext

from ..data import Split
from .evaluate import score_rows
from .parts import test_parts

if TYPE_CHECKING:
    from ..methods import Method

# The relevance of a negative; that of a positive is 1.
FLOOR = 0.001


def relmf_variant(model: Method, split: Split, ks: Sequence[int] = (1, 2, 3)) -> dict[tuple[str, str], float]:
    """The variant on every test; hand it to ``compare`` as ``measure``.

    With r = 0.001 + 0.999 y and ranks j, averaged over all users of a test, also those without a positive:

        dcg_relmf@k = r_1 + sum of r_j / log2(j) over 1 < j <= k
        map_relmf@k = sum over positives at j <= k of (r_1 + ... + r_j) / j
        recall_relmf@k = (r_1 + ... + r_k) / (sum of all r)

    Args:
        model: a fitted method.
        split: where the tests come from.
        ks: list lengths.

    Returns:
        (test, metric) to value. Tied rows count by expectation.

    Source: the program of Saito et al., Unbiased Recommender Learning from MNAR Implicit Feedback, WSDM 2020.
    """
    values = {}
    for part in test_parts(split):
        scores = torch.from_numpy(score_rows(model.name, model, part.rows))
        lengths = list(range(1, max(ks) + 1))
        options = {"metrics": ("precision", "map"), "map_norm": "positives"}
        ranking = debias_ext.group_ranking(scores, part.labels, part.groups, ks=lengths, **options)  # type: ignore[arg-type]
        sizes, positives = ranking.sizes.numpy(), ranking.positives.numpy()
        hits = np.stack([k * ranking[f"precision@{k}"].numpy() for k in lengths])
        shown = np.minimum(np.array(lengths)[:, None], sizes)
        discounts = 1.0 / np.maximum(np.log2(lengths), 1.0)[:, None]
        relevance = FLOOR * shown + (1 - FLOOR) * hits
        gains = (discounts * np.diff(relevance, axis=0, prepend=0.0)).cumsum(0)
        everything = FLOOR * sizes + (1 - FLOOR) * positives
        for k in ks:
            precisions = positives * np.nan_to_num(ranking[f"map@{k}"].numpy())
            values[part.name, f"dcg_relmf@{k}"] = float(gains[k - 1].mean())
            values[part.name, f"map_relmf@{k}"] = float((FLOOR * hits[k - 1] + (1 - FLOOR) * precisions).mean())
            values[part.name, f"recall_relmf@{k}"] = float((relevance[k - 1] / everything).mean())
    return values
