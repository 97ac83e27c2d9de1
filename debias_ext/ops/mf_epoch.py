"""A shuffled epoch of fused training steps."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from debias_ext._inputs import integer, validated
from debias_ext.ops.mf_step import InPlaceStep, eager_only
from debias_ext.optim import MFOptimizer

_order = torch.ops.debias_ext.mf_epoch_order.default

SLICE_SECONDS = 0.05
FIRST_SLICE = 16  # batches
GROWTH = 8  # of a slice over the one before it, at most


@torch.library.register_fake("debias_ext::mf_epoch_order")
def _fake_order(like, n, seed, epoch):
    return like.new_empty(n, dtype=torch.int64)


def mf_epoch_order(n: int, generator_seed: int, epoch: int) -> Tensor:
    """The order in which `mf_epoch_` visits n samples; batch b is order[b * batch_size : (b + 1) * batch_size].

    Args:
        n: number of samples, at least 0.
        generator_seed: any integer of 64 bits.
        epoch: any integer of 64 bits.

    Returns:
        A permutation of 0..n-1, int64 [n], on the CPU.

    Raises:
        ValueError: n is negative, or an argument is no integer of 64 bits.

    Notes:
        A function of its arguments alone: each sample draws a bucket from a counter-based generator (splitmix64), each
        bucket is shuffled by Fisher and Yates' method with a stream of its own. Parallel; the same for every number of
        threads.

    Source:
        Sandelius 1962, "A Simple Randomization Procedure".
    """
    arguments = {"n": n, "generator_seed": generator_seed, "epoch": epoch}
    checked = [integer(name, value) for name, value in arguments.items()]
    for name, value in zip(arguments, checked, strict=True):
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"{name} must be an integer of 64 bits, got {value}")
    return _order(torch.empty(0), *checked)


@eager_only
def mf_epoch_(
    user_factors: Tensor,
    item_factors: Tensor,
    users: Tensor,
    items: Tensor,
    targets: Tensor,
    *,
    optimizer: MFOptimizer,
    batch_size: int,
    generator_seed: int,
    epoch: int,
    start: int = 0,
    stop: int | None = None,
    progress: Callable[[int, int], object] | None = None,
    weights: Tensor | None = None,
    user_bias: Tensor | None = None,
    item_bias: Tensor | None = None,
    offset: float = 0.0,
    loss: str = "mse",
    exposures: Tensor | None = None,
    pseudo_targets: Tensor | None = None,
    l2: float = 0.0,
    l2_rows: str = "touched",
    decay_bias: bool = False,
    reduction: str = "sum",
    validate: bool = True,
) -> Tensor:
    """An epoch of `mf_step_` over shuffled batches of the whole data set, in place.

    The same as calling `mf_step_` on the batches of `mf_epoch_order(N, generator_seed, epoch)`.

    Sampled missing pairs are samples like the others: append them to the columns (drawn anew for every epoch), with the
    target and the weight of a missing pair; in the doubly robust loss with their pseudo target and weight 0.

    Args:
        user_factors, item_factors, user_bias, item_bias: as in `mf_step_`; changed in place.
        users, items, targets, weights, exposures, pseudo_targets: as in `mf_step_`, [N]: every sample of the data set.
        optimizer: as in `mf_step_`.
        batch_size: samples per step, at least 1; the last batch may be smaller.
        generator_seed: any integer of 64 bits; with `epoch` it determines the order.
        epoch: any integer of 64 bits.
        start: the first batch, to go on within an epoch.
        stop: one past the last batch; None is the end of the epoch.
        progress: called as progress(batches done, batches in all) after every slice of about 50 ms.
        offset, loss, l2, l2_rows, decay_bias, validate: as in `mf_step_`.
        reduction: "sum" or "mean" over each batch.

    Returns:
        The sum (or the mean) of the losses of all samples visited, each before the update of its batch, without the l2
        term: a 0-d float64 tensor on the device of the tables.

    Raises:
        ValueError: as `mf_step_`, or batches out of range.
        IndexError: an index out of range anywhere in the data set; nothing has been written.

    Notes:
        The epoch runs in slices of about 50 ms that release the interpreter's lock. An interrupt (Ctrl-C, an exception
        in `progress`) takes effect between slices and leaves whole steps behind. Deterministic as `mf_step_`. The order
        takes 8 N bytes. On CUDA a slice is queued, not waited for. Under torch.compile as `mf_step_`.

    Source:
        As `mf_step_`; the order as `mf_epoch_order`.
    """
    step = InPlaceStep(
        (user_factors, item_factors, user_bias, item_bias),
        (users, items, targets, weights, exposures, pseudo_targets),
        optimizer,
        loss=loss,
        reduction=reduction,
        offset=offset,
        l2=l2,
        l2_rows=l2_rows,
        decay_bias=decay_bias,
    )
    batch_size = integer("batch_size", batch_size, at_least=1)
    batches = -(-step.samples // batch_size)
    start, stop = integer("start", start), batches if stop is None else integer("stop", stop)
    if not 0 <= start <= stop <= batches:
        raise ValueError(f"start and stop must satisfy 0 <= start <= stop <= {batches}, got {start} and {stop}")
    order = mf_epoch_order(step.samples, generator_seed, epoch).to(users.device)
    total = torch.zeros((), dtype=torch.float64, device=user_factors.device)
    # On the CPU the first slice checks everything in any case, so that a bad sample far on leaves no step behind.
    checks, done, count = validated(validate, users) or not users.is_cuda, start, FIRST_SLICE
    try:
        while done < stop or checks:
            end = min(stop, done + count)
            began = time.perf_counter()
            total += step.run(checks, (order, batch_size, done, end), steps=end - done)
            seconds = max(time.perf_counter() - began, 1e-6)
            count = max(1, min(GROWTH * count, int((end - done) * SLICE_SECONDS / seconds)))
            done, checks = end, False
            if progress is not None:
                progress(done, batches)
    finally:
        step.finish()
    return total / (min(stop * batch_size, step.samples) - start * batch_size) if step.mean else total
