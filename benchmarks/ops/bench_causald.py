"""A step of CausalD on DIN, loss and gradients, against plain torch that goes over the samples in chunks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import debias_ext
from debias_ext import reference
from debiasrec import methods
from debiasrec.data import Split
from debiasrec.data.sequences import ordered_dataset
from debiasrec.methods.clicks import ClickBatch

from ..harness import OURS, Benchmark, Case, Goal, Settings
from ._shared import PLAIN

SAMPLES, MANY, TEACHERS, HISTORY, N_ITEMS = 1_024, 4_096, 8, 50, 2_000
CHUNK = 1 << 24  # values that plain torch holds of each intermediate result


def clicks(samples: int, settings: Settings) -> Split:
    """Users of 60 random clicks, with twice as many in all as a step trains on."""
    generator = np.random.default_rng(settings.seed)
    users = np.repeat(np.arange(max(samples // 60, 2 * TEACHERS)), HISTORY + 10)
    items = np.concatenate([generator.permutation(N_ITEMS)[: HISTORY + 10] for _ in range(users[-1] + 1)])
    return ordered_dataset("random", pd.DataFrame({"user": users, "item": items}), 1).split("leave_one_out")


def first_batch(method: methods.CausalD, samples: int, split: Split, device: str) -> ClickBatch:
    """Users with full histories, and random items, half of them as clicks."""
    method._start(split, device)
    half, generator = samples // 2, torch.Generator().manual_seed(0)
    users = (torch.arange(half) % method.n_users_).repeat(2).to(device)
    items = torch.randint(method.n_items_, (samples,), generator=generator).to(device)
    ends = method.model_.click_offsets[users + 1] - 2
    labels = torch.cat([torch.ones(half), torch.zeros(half)]).to(device)
    return ClickBatch(method.model_.samples(users, items, ends), labels, np.random.default_rng(0))


def chunked_aggregate(
    context: Tensor, mediators: Tensor, attention: None, head: tuple[Tensor, Tensor], *, attention_logits: Tensor,
    exclude_self: bool, context_index: None,
) -> Tensor:  # fmt: skip
    """The plain form over chunks of samples, each computed again in the backward pass."""

    def part(mediators: Tensor, logits: Tensor, *shared: Tensor) -> Tensor:
        return reference.frontdoor_aggregate(shared[0], mediators, None, shared[1:], attention_logits=logits)

    size = max(CHUNK // (context.numel() * mediators.shape[1]), 1)
    pieces = zip(mediators.split(size), attention_logits.split(size), strict=True)
    return torch.cat([checkpoint(part, *piece, context, *head, use_reentrant=False) for piece in pieces])


def plain_torch() -> ExitStack:
    """Within it the operators of a step are plain torch."""
    stack = ExitStack()
    for name in ("attention_pooling", "pointwise_loss"):
        stack.enter_context(patch.object(debias_ext, name, getattr(reference, name)))
    stack.enter_context(patch.object(debias_ext, "frontdoor_aggregate", chunked_aggregate))
    return stack


def build(samples: int, settings: Settings) -> Case:
    """Every sample's counterfactuals are the whole batch, so the work grows with its square."""
    split = clicks(samples, settings)
    method = methods.CausalD(groups=TEACHERS, counterfactuals=0, max_epochs=1, batch_size=samples, history=HISTORY)
    batch = first_batch(method, samples, split, settings.device)
    tables = list(method.learners_["rating"].trained.values())

    def step() -> list[Tensor]:
        loss = method.loss(batch, method.model_.encode(batch.samples, training=True))
        return [loss.detach(), torch.autograd.grad(loss, tables, allow_unused=True, materialize_grads=True)[1]]

    def plainly() -> list[Tensor]:
        with plain_torch():
            return step()

    alternatives: dict[str, Callable[[], Any]] = {OURS: step, PLAIN: plainly}
    moved = 4 * batch.samples.history.numel() * method.factors * (TEACHERS + 3)
    return Case(alternatives, moved, rtol=1e-3, atol=1e-3)


def large(samples: int, settings: Settings) -> Case:
    """Alone: plain torch takes a minute a step."""
    case = build(samples, settings)
    return Case({OURS: case.alternatives[OURS]}, case.bytes_moved)


BENCHMARKS = [
    Benchmark(
        "causald_step",
        "CausalD on DIN: 8 teachers, histories of 50, every sample a counterfactual; loss and gradients",
        SAMPLES,
        build,
        {PLAIN: Goal(15)},
    ),
    Benchmark(
        "causald_step_large",
        "CausalD on DIN: 8 teachers, histories of 50, every sample a counterfactual; loss and gradients",
        MANY,
        large,
        peak_bytes=1_000_000_000,
    ),
]
