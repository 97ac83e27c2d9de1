"""One step of an optimiser over whole tables."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from debias_ext._autograd import below_autograd, transforms_active
from debias_ext._inputs import NOT_NEGATIVE, check_tensors, checked_betas, integer, number, validated
from debias_ext.ops.mf_step import eager_only
from debias_ext.optim import EPS

KINDS = ("sgd", "adagrad", "adam")

_step = torch.ops.debias_ext.optimizer_step_.default


@torch.library.register_fake("debias_ext::optimizer_step_")
def _fake_step(tables, *arguments):
    return None


@eager_only
def optimizer_step_(
    tables: Sequence[Tensor],
    gradients: Sequence[Tensor],
    *,
    kind: str,
    lr: float,
    first: Sequence[Tensor] = (),
    second: Sequence[Tensor] = (),
    step: int = 1,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float | None = None,
    weight_decay: float = 0.0,
    validate: bool = True,
) -> None:
    """One step of an optimiser over any tables in place: a single pass over each table, its moments and its gradient.

    With g the gradient plus weight_decay p, element by element:

    - "sgd": p -= lr g;
    - "adagrad": v += g^2, p -= lr g / (sqrt(v) + eps), as torch.optim.Adagrad;
    - "adam": m += (1 - b1) (g - m), v += (1 - b2) (g^2 - v), and with c_j = 1 - b_j^step
      p -= lr / c_1 m / (sqrt(v / c_2) + eps), as torch.optim.Adam.

    A sparse gradient gives the result of a dense one. Adam and weight decay move its other rows too, in time that grows
    with the table; else only the rows of the gradient are visited.

    Args:
        tables: tensors of any shapes, float32 or float64, on CUDA float16 and bfloat16 as well; one dtype, one device.
            Changed in place.
        gradients: for each table a tensor of its shape and dtype, or a sparse COO tensor of these with one sparse
            dimension.
        kind: one of the above.
        lr: the learning rate, at least 0.
        first: m of each table, for "adam". Moments have the shape of their table, are float64 for float64 tables and
            float32 for others, and start at 0. Changed in place.
        second: v of each table, for "adam" and "adagrad". Changed in place.
        step: the number of this step, 1 for the first; for "adam".
        betas: b1 and b2 of "adam", in [0, 1).
        eps: at least 0; None is 1e-10 for "adagrad" and 1e-8 for "adam".
        weight_decay: at least 0.
        validate: on CUDA, check the rows of sparse gradients, at the price of a synchronisation; unchecked rows out of
            range are left out. On the CPU they are always checked.

    Raises:
        ValueError: a shape, dtype, device or option other than the above, a moment too few, too many or not contiguous,
            or tables and moments that overlap; the message names the argument. Nothing has been written.
        IndexError: a row of a sparse gradient out of range.

    Notes:
        Element by element: the same bits for every number of threads and every launch. A table that is not contiguous
        is copied and written back. A sparse gradient that is not coalesced is, by torch. torch.compile calls it between
        its graphs, and refuses it with fullgraph=True.

    Source:
        Duchi, Hazan and Singer 2011, figure 1 (Adagrad); Kingma and Ba 2015, algorithm 1 (Adam).
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}, got {kind!r}")
    if transforms_active():
        raise RuntimeError("an optimiser's step in place has no derivative: torch.func transforms do not apply")
    _check(tables=tables, gradients=gradients, first=first, second=second)
    if not tables and not gradients:
        return
    worked = [table if table.is_contiguous() else table.detach().contiguous() for table in tables]
    rows, values = _rows_and_values(gradients)
    rule = (
        *(kind, number("lr", lr, NOT_NEGATIVE), *checked_betas("betas", betas)),
        *(EPS[kind] if eps is None else number("eps", eps, NOT_NEGATIVE), integer("step", step, at_least=1)),
        number("weight_decay", weight_decay, NOT_NEGATIVE),
    )
    checks = validated(validate, gradients[0])
    with below_autograd():
        _step(worked, values, rows, list(first), list(second), *rule, checks)
    for table, copy in zip(tables, worked, strict=True):
        if table is not copy:
            table.detach().copy_(copy)
    torch.autograd.graph.increment_version(worked)


def _check(**lists: Sequence[Tensor]) -> None:
    # Names are made for a failure only: a step of small tables is over in microseconds.
    tensors = [tensor for given in lists.values() for tensor in given]
    if not all(isinstance(tensor, Tensor) and tensor.device == tensors[0].device for tensor in tensors):
        named = {f"{name}[{k}]": tensor for name, given in lists.items() for k, tensor in enumerate(given)}
        check_tensors(optional=(), **named)


def _rows_and_values(gradients: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Of each gradient; a dense one has no rows, and dense ones alone have no list of them."""
    if all(gradient.layout == torch.strided for gradient in gradients):
        return [], list(gradients)
    none = torch.empty(0, dtype=torch.int64, device=gradients[0].device)
    rows, values = [], []
    for k, gradient in enumerate(gradients):
        if gradient.layout == torch.sparse_coo:
            if gradient.sparse_dim() != 1:
                raise ValueError(f"gradients[{k}] must have 1 sparse dimension, got {gradient.sparse_dim()}")
            gradient = gradient.coalesce()
            rows.append(gradient._indices()[0])
            values.append(gradient._values())
        elif gradient.layout == torch.strided:
            rows.append(none)
            values.append(gradient)
        else:
            raise ValueError(f"gradients[{k}] must be dense or sparse COO, got {gradient.layout}")
    return rows, values
