"""The second-order term of a factorisation machine."""

from __future__ import annotations

from torch import Tensor

from debias_ext import reference


def fm_interaction(fields: Tensor) -> Tensor:
    """Sum of the dot products of all pairs of fields, 1/2 sum((sum_f e_f)^2 - sum_f e_f^2), in F d operations.

    Args:
        fields: e, [B, F, d], float32 or float64; on CUDA float16 and bfloat16 as well, summed in float32.

    Returns:
        [B], the dtype of fields; 0 for fewer than two fields.

    Source:
        Rendle 2010, "Factorization Machines", lemma 3.1; Guo et al. 2017, "DeepFM", eq. 2.
    """
    return reference.fm_interaction(fields)
