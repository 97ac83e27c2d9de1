"""The best items of users under a matrix-factorisation model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from debias_ext._inputs import check_tensors, validated

_topk = torch.ops.debias_ext.mf_topk.default


@torch.library.register_fake("debias_ext::mf_topk")
def _fake(user_factors, item_factors, users, k, user_bias, item_bias, seen_offsets, seen_items, validate):
    shape = (users.shape[0], k)
    return user_factors.new_empty(shape), users.new_empty(shape, dtype=torch.int64)


def _no_derivative(ctx: Any, *grads: Tensor | None) -> tuple[None, ...]:
    raise RuntimeError("mf_topk has no derivative: score its items with mf_score to get one")


torch.library.register_autograd("debias_ext::mf_topk", _no_derivative)


def _detached(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def mf_topk(
    user_factors: Tensor,
    item_factors: Tensor,
    users: Tensor,
    k: int,
    *,
    user_bias: Tensor | None = None,
    item_bias: Tensor | None = None,
    seen: tuple[Tensor, Tensor] | None = None,
    validate: bool = True,
) -> tuple[Tensor, Tensor]:
    """The k items with the largest s = P[u].Q[i] + a[u] + b[i] that a user has not seen, without the U x I matrix.

    Exact: no item is left out by a guess. Scores in descending order, equal scores by item id, the lower first. An item
    whose score is NaN or minus infinity is left out as a seen one is, so an item bias of minus infinity excludes an
    item.

    Args:
        user_factors: P, [U, d], float32 or float64; on CUDA float16 and bfloat16 as well, summed in float32.
        item_factors: Q, [I, d], the dtype of user_factors.
        users: [n], int32 or int64, in [0, U), in any order; repeats are fine.
        k: at least 1; may exceed I.
        user_bias: a, [U], or None.
        item_bias: b, [I], or None.
        seen: (offsets [U + 1], items), each int32 or int64: the items that user u has seen are
            items[offsets[u] : offsets[u + 1]], in any order, repeats are fine. Ascending items are faster on the CPU.
        validate: on CUDA, check users and seen, at the price of two synchronisations; unchecked, a user out of range
            gets no item, and neither it nor bad offsets are followed. On the CPU they are always checked. Of seen, the
            entries of the users asked for are looked at.

    Returns:
        (scores [n, k] in the dtype of user_factors, items [n, k] int64). Places for which no item is left have item -1
        and score minus infinity.

    Raises:
        ValueError: a shape, dtype, device or k other than the above, or offsets that descend or leave `items`; the
            message names the argument.
        IndexError: a user or a seen item out of range; the message names the argument, the index and its position.

    Notes:
        No derivative: the results never require grad. The same bits for every number of threads and every launch; score
        bits may differ between instruction sets. CPUs with bfloat16 products (AVX-512 BF16) first bound every float32
        score by them, and score in float32 only the items that might be among the best: the same results in about two
        thirds of the time. Memory beside the results: O(k) per user of a share on the CPU; on CUDA the lists of n users
        for each of up to 64 shares of the items.

    Source:
        Exact maximum inner product search; s as in Koren, Bell and Volinsky 2009, "Matrix Factorization Techniques for
        Recommender Systems", eq. 4.
    """
    offsets, items = _pair(seen)
    check_tensors(
        user_factors=user_factors,
        item_factors=item_factors,
        users=users,
        user_bias=user_bias,
        item_bias=item_bias,
        **{"seen offsets": offsets, "seen items": items},
        optional=("user_bias", "item_bias", "seen offsets", "seen items"),
    )
    if isinstance(k, bool) or not isinstance(k, (int, torch.SymInt)):
        raise ValueError(f"k must be an integer, got {k!r}")
    return _topk(
        user_factors.detach(),
        item_factors.detach(),
        users,
        k,
        _detached(user_bias),
        _detached(item_bias),
        offsets,
        items,
        validated(validate, users),
    )


def _pair(seen: tuple[Tensor, Tensor] | None) -> tuple[Tensor | None, Tensor | None]:
    if seen is None:
        return None, None
    if not isinstance(seen, (tuple, list)) or len(seen) != 2:
        raise ValueError(f"seen must be a pair (offsets, items), got {type(seen).__name__}")
    offsets, items = seen
    if not isinstance(offsets, Tensor) or not isinstance(items, Tensor):
        raise ValueError(f"seen must be a pair of torch.Tensor, got ({type(offsets).__name__}, {type(items).__name__})")
    return offsets, items
