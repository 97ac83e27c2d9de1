"""One fused training step of a matrix-factorisation model."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

from debias_ext._autograd import below_autograd, transforms_active
from debias_ext._inputs import NOT_NEGATIVE, TABLES, check_tensors, number, validated
from debias_ext.optim import MFOptimizer

Function = TypeVar("Function", bound=Callable[..., Any])

_steps = torch.ops.debias_ext.mf_steps_.default
_ONE_BATCH = (None, 0, 0, 0)  # no order: the rest of the plan is not read


@torch.library.register_fake("debias_ext::mf_steps_")
def _fake_steps(user_factors, *arguments):
    return user_factors.new_empty((), dtype=torch.float64)


def eager_only(function: Function) -> Function:
    """The function as it is, which torch.compile calls between its graphs and does not trace.

    Traced, it would be compiled again for every learning rate and every number of steps.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            # The compiler is there by now; importing it sooner would make every program wait for it.
            from debias_ext._between_graphs import call_between_graphs

            return call_between_graphs(function, *args, **kwargs)
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


class InPlaceStep:
    """The arguments of mf_step_ and mf_epoch_, checked as far as Python can, in the order of the operators.

    A table that is not contiguous is worked on as a copy and written back by `finish`.
    """

    def __init__(
        self,
        tables: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
        columns: tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None],
        optimizer: MFOptimizer,
        *,
        loss: str,
        reduction: str,
        offset: float,
        l2: float,
        l2_rows: str,
        decay_bias: bool,
    ) -> None:
        if not isinstance(optimizer, MFOptimizer):
            raise ValueError(f"optimizer must be an MFOptimizer, got {type(optimizer).__name__}")
        if l2_rows not in ("touched", "all"):
            raise ValueError(f"l2_rows must be 'touched' or 'all', got {l2_rows!r}")
        if transforms_active():
            raise RuntimeError("a training step in place has no derivative: torch.func transforms do not apply")
        user_factors, item_factors, user_bias, item_bias = tables
        users, items, targets, weights, exposures, pseudo_targets = columns
        check_tensors(
            user_factors=user_factors,
            item_factors=item_factors,
            users=users,
            items=items,
            targets=targets,
            weights=weights,
            user_bias=user_bias,
            item_bias=item_bias,
            exposures=exposures,
            pseudo_targets=pseudo_targets,
            optional=("weights", "user_bias", "item_bias", "exposures", "pseudo_targets"),
        )
        self.optimizer = optimizer
        self.samples = users.shape[0] if users.dim() else 1
        self.mean = reduction == "mean"
        self.tables = tables
        self.worked = [_working_copy(table) for table in tables]
        named = zip(TABLES, self.worked, strict=True)
        self.moments = [moment for name, table in named for moment in optimizer.moments(name, table)]
        self.tensors = (
            *(*self.worked[:2], users, items, targets, weights),
            *(*self.worked[2:], exposures, pseudo_targets, *self.moments),
        )
        self.options = (loss, reduction, number("offset", offset), optimizer.kind)
        self.decay = (number("l2", l2, NOT_NEGATIVE), l2_rows == "all", decay_bias)

    def run(self, validate: bool, plan: tuple[Any, ...] = _ONE_BATCH, steps: int = 1) -> Tensor:
        """The next `steps` steps of the plan (order, batch_size, start, stop); returns the sum of their losses."""
        optimizer = self.optimizer
        rule = (number("lr", optimizer.lr, NOT_NEGATIVE), *optimizer.betas, optimizer.eps, optimizer.steps + 1)
        arguments = (*self.tensors, *self.options, *rule, *self.decay, validate, *plan)
        with below_autograd():
            loss = _steps(*arguments)
        optimizer.steps += steps
        return loss

    def finish(self) -> None:
        """Writes copies back, and lets autograd know that the tables have changed."""
        for table, worked in zip(self.tables, self.worked, strict=True):
            if table is not None and worked is not None and not table.is_contiguous():
                table.detach().copy_(worked)
        torch.autograd.graph.increment_version([table for table in self.tables if table is not None])


def _working_copy(table: Tensor | None) -> Tensor | None:
    if table is None:
        return None
    return (table.detach() if table.requires_grad else table).contiguous()


@eager_only
def mf_step_(
    user_factors: Tensor,
    item_factors: Tensor,
    users: Tensor,
    items: Tensor,
    targets: Tensor,
    *,
    optimizer: MFOptimizer,
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
    """One training step in place: scores, losses, row gradients and the optimiser, without [B, d] gradients.

    All gradients are taken at the parameters before the step, the samples of a row are summed, and each distinct row is
    updated once: what autograd with sparse gradients and a torch optimiser do.

    Args:
        user_factors: P, [U, d], float32 or float64; on CUDA float16 and bfloat16 as well. Changed in place, as are
            item_factors and the biases.
        item_factors: Q, [I, d], the dtype of user_factors.
        users: [B], int32 or int64, in [0, U).
        items: [B], the dtype of users, in [0, I).
        targets: [B], the dtype of user_factors.
        optimizer: what becomes of the gradients; its state and its number of steps change.
        weights: [B], or None for 1.
        user_bias: a, [U], or None.
        item_bias: b, [I], or None.
        offset: added to every score s = P[u].Q[i] + a[u] + b[i] + offset.
        loss: "mse", "mae" or "bce", as in `pointwise_loss`; "exposure", as in `exposure_loss`, and "relmf", the log
            form of `relmf_loss`: their targets are clicks in [0, 1].
        exposures: [B], for "exposure" in [0, 1] and not 0 where there is a click, for "relmf" in (0, 1]; None for the
            other losses.
        pseudo_targets: p, [B]; then the loss of a sample is ell(s, p) + w (ell(s, t) - ell(s, p)): doubly robust with
            weights o / q. Weight 0 makes it a missing pair: its target is not used (but must not be NaN). Not for
            losses of clicks.
        l2: coefficient of half the squared norm of factor rows, added to the gradient before the optimiser sees it.
        l2_rows: "touched" decays each distinct row of the batch once; "all" every row of the tables, in time that grows
            with them.
        decay_bias: let l2 act on the biases too.
        reduction: "sum" or "mean" of the rows' losses.
        validate: on CUDA, check the indices, clicks and exposures, at the price of synchronisations; unchecked samples
            with an index out of range are left out. On the CPU they are always checked.

    Returns:
        The reduced loss before the update, without the l2 term: a 0-d float64 tensor on the device of the tables.

    Raises:
        ValueError: a shape, dtype, device, option, click or exposure other than the above, or tables that overlap; the
            message names the argument. Nothing has been written.
        IndexError: an index out of range; the message names the argument, the index and its position.

    Notes:
        Rows sum their samples in their order in the batch: the same bits for every number of threads and every launch.
        NaN in a column or a table propagates to the rows that meet it. On the CPU B (d + 20) values of working memory,
        up to 8 million, are kept for the next step. A table that is not contiguous is copied and written back. No
        synchronisation but for `validate`. torch.compile calls it between its graphs, and refuses it with
        fullgraph=True.

    Source:
        Koren, Bell and Volinsky 2009, "Matrix Factorization Techniques for Recommender Systems", eq. 5, for any loss.
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
    total = step.run(validated(validate, users))
    step.finish()
    return total / step.samples if step.mean else total
