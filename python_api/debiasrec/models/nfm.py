"""Neural factorisation machine over user, item and their covariates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

import debias_ext
from debiasrec.models.base import Model
from debiasrec.models.initial import normal

_ROWS = (("user_factors", "users"), ("item_factors", "items"))


class NFM(Model):
    """s = offset + linear part + h.relu(W BI + c), BI = ((sum_f x_f e_f)^2 - sum_f (x_f e_f)^2) / 2 elementwise.

    The fields f are the user and the item, x = 1, and every column of their covariates.

    Args:
        user_covariates, item_covariates: float32 [U, f] and [I, g].
        factors: length d of the embeddings.
        hidden: width of the hidden layer.
        seed: seeds the initial values: as `MatrixFactorization` for users and items, Glorot normal for the layers,
            Normal(0, 0.1) for the embeddings of covariates, 0 for the linear weights of covariates and for c.
        offset: a constant added to every score.
        device: where the tensors live.

    Source: He and Chua, Neural Factorization Machines, SIGIR 2017, eq (3)-(7).
    """

    kind: ClassVar[str] = "nfm"

    def __init__(
        self,
        user_covariates: np.ndarray,
        item_covariates: np.ndarray,
        factors: int,
        hidden: int,
        *,
        seed: int | tuple[int, ...] = 0,
        offset: float = 0.0,
        device: str | torch.device = "cpu",
    ) -> None:
        table = partial(normal, np.random.default_rng(seed), device=device)
        n_users, n_items = len(user_covariates), len(item_covariates)
        n_covariates = user_covariates.shape[1] + item_covariates.shape[1]
        self.n_items, self.offset = n_items, float(offset)
        self.user_covariates, self.item_covariates = (
            torch.from_numpy(side).to(device) for side in (user_covariates, item_covariates)
        )
        user, item = (math.sqrt(2.0 / max(rows, 1)) for rows in (n_users, n_items))
        self.user_factors, self.item_factors = table(user, n_users, factors), table(item, n_items, factors)
        self.user_bias, self.item_bias = table(user, n_users), table(item, n_items)
        self.covariate_factors, self.covariate_bias = table(0.1, n_covariates, factors), table(0.0, n_covariates)
        self.hidden_weight = table(math.sqrt(2.0 / (factors + hidden)), hidden, factors)
        self.hidden_bias = table(0.0, hidden)
        self.output_weight = table(math.sqrt(2.0 / (hidden + 1)), hidden)

    def tables(self) -> dict[str, Tensor]:
        """The parameters by name, live (not copies)."""
        names = ("user_factors", "item_factors", "user_bias", "item_bias", "covariate_factors", "covariate_bias")
        return {name: getattr(self, name) for name in (*names, "hidden_weight", "hidden_bias", "output_weight")}

    def constants(self) -> dict[str, Tensor]:
        """The covariates."""
        return {"user_covariates": self.user_covariates, "item_covariates": self.item_covariates}

    def settings(self) -> dict[str, Any]:
        """The shape and the offset."""
        shapes = {"users": list(self.user_covariates.shape), "items": list(self.item_covariates.shape)}
        hidden, factors = self.hidden_weight.shape
        return {**shapes, "factors": factors, "hidden": hidden, "offset": self.offset}

    @classmethod
    def blank(cls, **settings: Any) -> Self:
        """A model of that shape, whose tables and covariates are still to be filled in."""
        users, items = (np.zeros(settings.pop(side), np.float32) for side in ("users", "items"))
        return cls(users, items, **settings)

    def score(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of pairs, [B], differentiable in the tables; see `Model.score`."""
        return self._score(self.tables(), users, items) + self.offset

    def _score(self, tables: Mapping[str, Tensor], users: Tensor, items: Tensor) -> Tensor:
        """Scores without the offset."""
        x = torch.cat([self.user_covariates.index_select(0, users), self.item_covariates.index_select(0, items)], 1)
        p, q = tables["user_factors"].index_select(0, users), tables["item_factors"].index_select(0, items)
        e = tables["covariate_factors"]
        total, squares = p + q + x @ e, p.square() + q.square() + x.square() @ e.square()
        pairs = 0.5 * (total.square() - squares)
        hidden = torch.relu(torch.nn.functional.linear(pairs, tables["hidden_weight"], tables["hidden_bias"]))
        biases = tables["user_bias"].index_select(0, users) + tables["item_bias"].index_select(0, items)
        return biases + x @ tables["covariate_bias"] + hidden @ tables["output_weight"]

    def after_step(self, lower: Mapping[str, Any], upper: Mapping[str, Any], *, lr: float, l2: float) -> Tensor:
        """The upper loss after an assumed step; see `MatrixFactorization.after_step`."""
        decay = self._decay(lower, lr * l2)

        def scores(tables: Mapping[str, Tensor], users: Tensor, items: Tensor, stepped: bool = False) -> Tensor:
            if stepped:
                tables = {**tables, **{name: tables[name] - decay[name] for name in decay}}
            return self._score(tables, users, items)

        above = _with_inputs(upper)
        above["inputs"] += (True,)
        below = _with_inputs(lower)
        if lower.get("missing") is not None:
            below["missing"] = _with_inputs(lower["missing"])
        return debias_ext.lookahead_loss_for(scores, self.tables(), lower=below, upper=above, lr=lr)

    @torch.no_grad()
    def _decay(self, lower: Mapping[str, Any], strength: float) -> dict[str, Tensor]:
        """What the L2 term takes from the rows that the lower loss touches."""
        if not strength:
            return {}
        parts = [lower] if lower.get("missing") is None else [lower, lower["missing"]]
        decay = {}
        for name, side in _ROWS:
            table = getattr(self, name)
            touched = table.new_zeros(len(table), 1)
            for part in parts:
                touched.index_fill_(0, part[side], strength)
            decay[name] = touched * table
        return decay


def _with_inputs(rows: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in rows.items() if key not in ("users", "items")}
    return {"inputs": (rows["users"], rows["items"]), **rest}
