"""Matrix factorisation with user and item biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debiasrec.models.base import Model
from debiasrec.models.initial import he_normal

FACTORS, BIASES = ("user_factors", "item_factors"), ("user_bias", "item_bias")


class MatrixFactorization(Model):
    """s(u, i) = P[u].Q[i] + a[u] + b[i] + offset.

    Args:
        n_users, n_items: numbers of rows of the tables.
        factors: length d of the factor vectors.
        seed: seeds the initial values, Normal(0, sqrt(2 / rows)) for factors and biases alike.
        offset: a constant added to every score (the mean rating where the targets are stars).
        device: where the tables live; the initial values are drawn on the CPU, so they do not depend on it.

    Source: Koren, Bell, Volinsky 2009, eq (4); initial values as in Chen et al., AutoDebias, SIGIR 2021 (He normal).
    """

    kind: ClassVar[str] = "matrix_factorization"

    def __init__(
        self,
        n_users: int,
        n_items: int,
        factors: int,
        *,
        seed: int | tuple[int, ...] = 0,
        offset: float = 0.0,
        device: str | torch.device = "cpu",
    ) -> None:
        generator = np.random.default_rng(seed)
        self.n_items = n_items
        self.offset = float(offset)
        self.user_factors = he_normal(generator, n_users, factors, device=device)
        self.item_factors = he_normal(generator, n_items, factors, device=device)
        self.user_bias = he_normal(generator, n_users, device=device)
        self.item_bias = he_normal(generator, n_items, device=device)

    @classmethod
    def of(cls, tables: debias_ext.FactorTables, offset: float = 0.0) -> MatrixFactorization:
        """A model with copies of given tables, biases included.

        Raises:
            ValueError: called on a subclass, which is made of more than these.
        """
        if cls is not MatrixFactorization:
            raise ValueError(f"{cls.__name__} is made of more than factor tables: MatrixFactorization.of takes those")
        (n_users, factors), n_items = tables.user_factors.shape, len(tables.item_factors)
        model = cls(n_users, n_items, factors, offset=offset, device=tables.user_factors.device)
        with torch.no_grad():
            for name, table in model.tables().items():
                table.copy_(getattr(tables, name))
        return model

    def tables(self) -> dict[str, Tensor]:
        """The parameter tables by name, live (not copies)."""
        return {name: getattr(self, name) for name in (*FACTORS, *BIASES)}

    def learned_biases(self) -> dict[str, Tensor | None]:
        """The tables "user_bias" and "item_bias", None where they are not learned."""
        return {name: self.tables().get(name) for name in BIASES}

    def settings(self) -> dict[str, Any]:
        """The shape and the offset."""
        n_users, factors = self.user_factors.shape
        return {"n_users": n_users, "n_items": self.n_items, "factors": factors, "offset": self.offset}

    def score(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of pairs, [B], differentiable in the tables; see `Model.score`."""
        return debias_ext.mf_score(
            self.user_factors,
            self.item_factors,
            users,
            items,
            self.user_bias,
            self.item_bias,
            offset=self.offset,
        )

    def loss(self, users: Tensor, items: Tensor, targets: Tensor, weights: Tensor | None, reduction: str) -> Tensor:
        """The squared error of pairs, in one pass; see `Model.loss`."""
        return debias_ext.mf_loss(
            self.user_factors,
            self.item_factors,
            users,
            items,
            targets,
            weights=weights,
            user_bias=self.user_bias,
            item_bias=self.item_bias,
            offset=self.offset,
            reduction=reduction,
        )

    def after_step(
        self,
        lower: Mapping[str, Any],
        upper: Mapping[str, Any],
        *,
        lr: float,
        l2: float,
        assumed: str | Mapping[str, Any] = "sgd",
    ) -> Tensor:
        """The upper loss after an assumed step down the lower one, differentiable in what the lower loss is made of.

        Args:
            lower, upper: as `debias_ext.lookahead_loss` takes them; scores there have no offset.
            lr: of the assumed step.
            l2: half the squared norm of the distinct factor rows of the lower loss is added to it, times this.
            assumed: "sgd", or the state of Adam as `debias_ext.lookahead_loss` takes it.
        """
        biases = self.learned_biases()
        return debias_ext.lookahead_loss(
            self.user_factors,
            self.item_factors,
            lower=lower,
            upper=upper,
            lr=lr,
            user_bias=biases["user_bias"],
            item_bias=biases["item_bias"],
            l2=l2,
            assumed=assumed,
        )

    def best(self, users: np.ndarray, k: int, *, seen: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The best unseen items of each user, without a table of all scores; see `Model.best`."""
        scores, items = debias_ext.mf_topk(
            self.user_factors,
            self.item_factors,
            torch.tensor(users),
            k,
            user_bias=self.user_bias,
            item_bias=self.item_bias,
            seen=(torch.tensor(seen[0]), torch.tensor(seen[1])),
        )
        return scores.numpy() + np.float32(self.offset), items.numpy()

    def block(self, users: Tensor, items: Tensor) -> debias_ext.FactorTables:
        """The tables of a user block and an item block, differentiable; the offset goes to the user biases.

        Args:
            users, items: int64 vectors of distinct inside indices.
        """
        return debias_ext.FactorTables(
            self.user_factors.index_select(0, users),
            self.item_factors.index_select(0, items),
            self.user_bias.index_select(0, users) + self.offset,
            self.item_bias.index_select(0, items),
        )

    def grid(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of all pairs of a user block and an item block, [m, n], differentiable in the tables."""
        p, q, a, b = self.block(users, items)
        assert a is not None
        assert b is not None
        # The biases as two more factors: one pass over the [m, n] scores, and no sums over them in the gradients.
        of_users = torch.cat([p, a.unsqueeze(1), torch.ones_like(a).unsqueeze(1)], 1)
        of_items = torch.cat([q, torch.ones_like(b).unsqueeze(1), b.unsqueeze(1)], 1)
        return of_users @ of_items.T
