"""The optimiser of the fused training steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from debias_ext._inputs import NOT_NEGATIVE, TABLES, check_keys, check_tensor, checked_betas, integer, number

_OPTIONS = ("kind", "lr", "betas", "eps", "initial_accumulator")
_MOMENTS = {
    "sgd": (),
    "adagrad": ("second",),
    "rowwise_adagrad": ("second",),
    "lazy_adam": ("first", "second"),
    "adam": ("first", "second"),
}
EPS = {"sgd": 0.0, "adagrad": 1e-10, "rowwise_adagrad": 1e-10, "lazy_adam": 1e-8, "adam": 1e-8}


@dataclass(eq=False)
class MFOptimizer:
    """How `mf_step_` and `mf_epoch_` turn gradients into updates, and what they remember between steps.

    With g the summed gradient of a row (l2 included), element by element:

    - "sgd": p -= lr g;
    - "adagrad": v += g^2, p -= lr g / (sqrt(v) + eps), as torch.optim.Adagrad with sparse gradients;
    - "rowwise_adagrad": one v a row, v += mean(g^2), then as "adagrad"; a bias is a row of one;
    - "lazy_adam": m += (1 - b1) (g - m), v += (1 - b2) (g^2 - v), on the rows of the batch alone, and with
      c_j = 1 - b_j^step p -= lr sqrt(c_2) / c_1 m / (sqrt(v) + eps), as torch.optim.SparseAdam;
    - "adam": the same moments on every row in every step, p -= lr / c_1 m / (sqrt(v / c_2) + eps), as torch.optim.Adam.
      Its time and traffic grow with the tables.

    Args:
        kind: one of the above.
        lr: the learning rate, at least 0. It may be changed between steps.
        betas: b1 and b2 of the Adam kinds, in [0, 1).
        eps: at least 0; None is 1e-10 for the Adagrad kinds and 1e-8 for the Adam kinds.
        initial_accumulator: where v starts for the Adagrad kinds, at least 0.

    Attributes:
        steps: how many steps were made.
        state: the moments by name, "user_factors.second" say. They are made at the first step, float64 for float64
            tables and float32 for others, and belong to the tables of that step.

    Raises:
        ValueError: an option out of its range; the message names it.

    Source:
        Duchi, Hazan and Singer 2011, figure 1 (Adagrad); Kingma and Ba 2015, algorithm 1 (Adam).
    """

    kind: str
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float | None = None
    initial_accumulator: float = 0.0
    steps: int = field(default=0, init=False)
    state: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in _MOMENTS:
            raise ValueError(f"kind must be one of {', '.join(map(repr, _MOMENTS))}, got {self.kind!r}")
        if self.eps is None:
            self.eps = EPS[self.kind]
        self.betas = checked_betas("betas", self.betas)
        for name in ("lr", "eps", "initial_accumulator"):
            setattr(self, name, number(name, getattr(self, name), NOT_NEGATIVE))

    def moments(self, table_name: str, table: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """The first and second moment of a table, made when they are asked for first.

        Args:
            table_name: "user_factors", "item_factors", "user_bias" or "item_bias".
            table: [n, d] or [n]; None has no moments.

        Returns:
            A tensor each, or None where the kind has no such moment.

        Raises:
            ValueError: the optimiser holds moments of a table of another shape, dtype or device.
        """
        names = _MOMENTS[self.kind]
        if table is None:
            return None, None
        first, second = (
            self._moment(table_name, name, table) if name in names else None for name in ("first", "second")
        )
        return first, second

    def _moment(self, table_name: str, name: str, table: Tensor) -> Tensor:
        key = f"{table_name}.{name}"
        by_row = self.kind == "rowwise_adagrad" and name == "second"
        shape = table.shape[:1] if by_row else table.shape
        dtype = torch.float64 if table.dtype == torch.float64 else torch.float32
        known = self.state.get(key)
        if known is None:
            start = self.initial_accumulator if "adagrad" in self.kind else 0.0
            known = self.state[key] = torch.full(shape, start, dtype=dtype, device=table.device)
        if (known.shape, known.dtype, known.device) != (shape, dtype, table.device):
            raise ValueError(
                f"optimizer holds the moments of a {table_name} of another shape, dtype or device: {key} must be "
                f"{list(shape)}, {dtype} on {table.device}, got {list(known.shape)}, {known.dtype} on {known.device}"
            )
        return known

    def state_dict(self) -> dict[str, Any]:
        """The options, the number of steps and the moments (live, not copies)."""
        options = {name: getattr(self, name) for name in _OPTIONS}
        return {**options, "steps": self.steps, "state": dict(self.state)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continues from a `state_dict()`: takes its options, and copies of its moments.

        Raises:
            ValueError: it is of another kind of optimiser, an entry is missing, unknown or out of its range, or a
                moment has another number of dimensions or dtype than the kind asks for, or another shape or dtype than
                the one that it replaces; the message names it. The optimiser is then as it was.
        """
        known = (*_OPTIONS, "steps", "state")
        check_keys("state_dict", state_dict, known, known)
        if state_dict["kind"] != self.kind:
            raise ValueError(f"state_dict must be of kind {self.kind!r}, got {state_dict['kind']!r}")
        loaded = MFOptimizer(**{name: state_dict[name] for name in _OPTIONS})
        loaded.steps = integer("steps", state_dict["steps"], at_least=0)
        loaded.state = self._checked_state(state_dict["state"])
        vars(self).update(vars(loaded))

    def _checked_state(self, state: Any) -> dict[str, Tensor]:
        names = [f"{table}.{moment}" for table in TABLES for moment in _MOMENTS[self.kind]]
        given = {name.split(".")[0] for name in names if isinstance(state, Mapping) and name in state}
        check_keys("state_dict['state']", state, names, [name for name in names if name.split(".")[0] in given])
        for name, moment in state.items():
            check_tensor(f"state_dict['state'][{name!r}]", moment)
        for name, moment in state.items():
            label, table = f"state_dict['state'][{name!r}]", name.split(".")[0]
            dim = 1 if "bias" in table or self.kind == "rowwise_adagrad" else 2
            if moment.dim() != dim:
                raise ValueError(f"{label} must have {dim} dimension(s), got shape {list(moment.shape)}")
            if moment.dtype not in (torch.float32, torch.float64):
                raise ValueError(f"{label} must be float32 or float64, got {moment.dtype}")
            like = self.state.get(name, state[f"{table}.second"])
            if (moment.shape, moment.dtype) != (like.shape, like.dtype):
                raise ValueError(
                    f"{label} must be {list(like.shape)}, {like.dtype}, got {list(moment.shape)}, {moment.dtype}"
                )
        return {name: moment.clone() for name, moment in state.items()}
