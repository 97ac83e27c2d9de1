"""What the fuzz tests know of an operator: its arguments, their shapes, and what each does with bad values.

An argument is written `name:dims:role`, dims being letters of `SIZES` ("" for a scalar tensor). Roles:

    float        any number; NaN propagates (the role when none is written)
    unit         in (0, 1], anything else raises
    fraction     in [0, 1], anything else raises
    logit        any number, NaN raises
    nonnegative  not negative and finite, anything else raises
    score        any number, NaN raises, infinities are allowed
    label        0 or 1, anything else raises
    mask         bool
    id           any integer
    <letter>     an index below that size, anything else raises an IndexError
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import debias_ext

SIZES = "BUILD"  # rows, users, items, labels, factors
RAISES_ON_NAN = ("unit", "fraction", "logit", "nonnegative", "score", "label")


@dataclass(frozen=True)
class Argument:
    name: str
    dims: str
    role: str

    @property
    def is_index(self) -> bool:
        return len(self.role) == 1

    @property
    def is_float(self) -> bool:
        return not self.is_index and self.role not in ("mask", "id")


@dataclass(frozen=True)
class Fuzzed:
    """An operator with the arguments that it is called with.

    Args:
        op: its name in debias_ext.
        arguments: `name:dims:role` each, separated by blanks.
        options: what else it is called with.
    """

    op: str
    arguments: tuple[Argument, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.op, *(f"{name}={value}" for name, value in self.options.items())])

    def __call__(self, tensors: Mapping[str, Tensor], **changes: Any) -> Any:
        return getattr(debias_ext, self.op)(**{**tensors, **self.options, **changes})

    def outputs(self, tensors: Mapping[str, Tensor], **changes: Any) -> list[Tensor]:
        """The result, then the gradients of a sum of it, where there are some."""
        leaves = [t for t in tensors.values() if t.requires_grad]
        result = self(tensors, **changes)
        values = list(result.values()) if isinstance(result, Mapping) else [result]
        if not leaves or not values[0].requires_grad:
            return [value.detach() for value in values]
        gradients = torch.autograd.grad(values[0].sum(), leaves, allow_unused=True, materialize_grads=True)
        return [value.detach() for value in values] + list(gradients)

    def inputs(
        self, sizes: Mapping[str, int], dtype: torch.dtype, index: torch.dtype, seed: int = 0
    ) -> dict[str, Tensor]:
        """Valid arguments for these sizes."""
        generator = torch.Generator().manual_seed(seed)
        tensors = {}
        for argument in self.arguments:
            shape = [sizes[letter] for letter in argument.dims]
            uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
            if argument.is_index:
                tensors[argument.name] = (uniform * sizes[argument.role]).to(index)
            elif argument.role == "id":
                tensors[argument.name] = (uniform * 5).to(index)
            elif argument.role == "mask":
                tensors[argument.name] = uniform < 0.5
            elif argument.role == "label":
                tensors[argument.name] = (uniform < 0.5).to(dtype)
            elif argument.role in ("unit", "fraction", "nonnegative"):
                tensors[argument.name] = (1 - 0.9 * uniform).to(dtype)
            else:
                tensors[argument.name] = (4 * uniform - 2).to(dtype)
        return tensors

    def of_role(self, *roles: str) -> list[Argument]:
        return [argument for argument in self.arguments if argument.role in roles]


def fuzzed(op: str, arguments: str, **options: Any) -> Fuzzed:
    parts = [(*word.split(":"), "", "")[:3] for word in arguments.split()]
    return Fuzzed(op, tuple(Argument(name, dims, role or "float") for name, dims, role in parts), options)


# Public names that are no operators, or whose fuzz tests stand with the operator, because it writes to its arguments,
# keeps state, takes them in groups, or has one that fits whatever its shape.
ELSEWHERE = {"GroupRanking", "__version__", "has_cuda", "ConstantTarget", "DRTarget", "FactorTables", "InterDTarget"}
ELSEWHERE |= {"trusted_values"}
ELSEWHERE |= {"fm_interaction", "MFOptimizer", "PairSampler", "mf_epoch_", "mf_epoch_order", "mf_step_", "mf_topk"}
ELSEWHERE |= {"optimizer_step_"}
# arguments in groups
ELSEWHERE |= {"attention_pooling", "block_loss", "frontdoor_aggregate", "lookahead_loss", "lookahead_loss_for"}

# A new operator joins by a line.
PAIR = "scores:B targets:B"
OPERATORS = [
    *(fuzzed("pointwise_loss", f"{PAIR} weights:B", loss=loss, reduction="none") for loss in ("mse", "mae", "bce")),
    fuzzed("ips_loss", f"{PAIR} propensities:B:unit", loss="bce", reduction="none"),
    fuzzed("ips_loss", f"{PAIR} propensity_logits:B:logit", floor=0.1, reduction="none"),
    fuzzed("snips_loss", f"{PAIR} propensities:B:unit", clip_min=0.2),
    fuzzed("dr_loss", f"{PAIR} pseudo_targets:B propensities:B:unit observed:B:mask", loss="bce", reduction="none"),
    fuzzed("exposure_loss", "scores:B clicks:B:fraction exposures:B:unit", reduction="none"),
    fuzzed("exposure_loss", "scores:B clicks:B:fraction exposure_logits:B:logit", reduction="none"),
    fuzzed("relmf_loss", "scores:B clicks:B:fraction exposures:B:unit", form="log", reduction="none"),
    fuzzed("pair_loss", "positive_scores:B negative_scores:B weights:B", reduction="none"),
    fuzzed("interd_loss", "scores:B biased:B debiased:B ratings:B", gamma=-0.7, variant="hard", reduction="none"),
    fuzzed("interd_loss", "scores:B biased:B debiased:B debiased_weight:B:nonnegative", gamma=-0.7, reduction="none"),
    fuzzed("mf_score", "user_factors:UD item_factors:ID users:B:U items:B:I user_bias:U item_bias:I offset:"),
    fuzzed(
        "mf_loss",
        "user_factors:UD item_factors:ID users:B:U items:B:I targets:B weights:B user_bias:U item_bias:I",
        reduction="sum",
    ),
    fuzzed("additive_weights", "user_table:U item_table:I label_table:L users:B:U items:B:I labels:B:L"),
    fuzzed("group_ranking", "scores:B:score labels:B:label groups:B:id", ks=(1, 3), metrics=("auc", "ndcg", "map")),
]
