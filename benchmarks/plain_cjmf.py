"""An epoch of CJMF in plain torch: a loop over its models, embeddings, autograd, torch.optim."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from debiasrec.methods import CJMF
from debiasrec.methods.cjmf import BOUNDS
from debiasrec.models.stacked import MARGIN
from debiasrec.training.loader import Batch


class PlainSubModel:
    """The factors of one model, its exposure vectors, and the corrections of both."""

    def __init__(self, method: CJMF, copy: int) -> None:
        shape = (method.copies, -1, method.factors)
        tables = [table.detach().reshape(shape)[copy] for table in method.base_.tables().values()]
        self.l2, self.prior = method.l2, method.exposure_.popularity
        self.base = [table.clone().requires_grad_() for table in tables]
        self.both = [table.clone().requires_grad_() for table in tables]
        vectors = [table.detach()[copy] for table in method.exposure_.tables().values()]
        self.exposure = [vector.clone().requires_grad_() for vector in vectors]
        self.residual = [vector.clone().requires_grad_() for vector in vectors]
        rates, decay = (method.lr, method.residual_lr), method.exposure_decay
        self.optimizers = {
            "base": torch.optim.SparseAdam(self.base, rates[0]),
            "both": torch.optim.SparseAdam(self.both, rates[1]),
            "exposure": torch.optim.Adam(self.exposure, rates[0], weight_decay=decay),
            "residual": torch.optim.Adam(self.residual, rates[1], weight_decay=decay / 2),
        }

    def relevance(self, name: str, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        p, q = (
            F.embedding(side, table, sparse=True)
            for side, table in zip((users, items), getattr(self, name), strict=True)
        )
        return (p * q).sum(1), p, q

    def logits(self, items: Tensor, *, corrected: bool) -> Tensor:
        vectors = [a + b for a, b in zip(self.exposure, self.residual, strict=True)] if corrected else self.exposure
        q, prior = self.base[1].detach()[items], self.prior[items]
        gate, taste, power = (torch.sigmoid(q @ vectors[2 * k] + vectors[2 * k + 1]) for k in range(3))
        log_x = (power * torch.log(prior + gate * (taste - prior))).clamp(max=-MARGIN)
        return log_x - torch.log(-torch.expm1(log_x))

    def descend(self, name: str, loss: Tensor) -> None:
        self.optimizers[name].zero_grad()
        loss.backward()
        self.optimizers[name].step()

    def idle(self) -> None:
        """A step without gradients: the clocks of Adam and the decay of the exposure go on."""
        for table in self.base:
            none = torch.empty((1, 0), dtype=torch.int64), torch.empty(0, table.shape[1])
            table.grad = torch.sparse_coo_tensor(*none, table.shape, check_invariants=False)
        for vector in self.exposure:
            vector.grad = torch.zeros_like(vector)
        for name in ("base", "exposure"):
            self.optimizers[name].step()

    def step(self, name: str, batch: Batch, loss: Tensor, l2: float) -> None:
        """A step on the loss and the L2 term of the distinct rows."""
        rows = (
            F.embedding(side.unique(), t, sparse=True)
            for side, t in zip((batch.users, batch.items), getattr(self, name), strict=True)
        )
        self.descend(name, loss + l2 / (2 * len(batch)) * sum(row.square().sum() for row in rows))


class PlainCJMF:
    """The epochs of a method that has been started and not trained, with its parts, draws and batches."""

    def __init__(self, method: CJMF) -> None:
        self.method = method
        self.models = [PlainSubModel(method, copy) for copy in range(method.copies)]

    def epoch(self, loader, number: int) -> float:
        method = self.method
        generator = np.random.default_rng((method.seed, 3, number))
        before = [[table.detach().clone() for table in model.base] for model in self.models]
        for part in generator.permutation(method.copies):
            columns = method._parts.draw(part, method.per_positive, number, torch.device("cpu"))
            for batch in self._batches(columns, generator):
                for copy, model in enumerate(self.models):
                    if copy == part:
                        model.idle()
                    else:
                        self._base_step(model, batch)
        with torch.no_grad():
            for old, model in zip(before, self.models, strict=True):
                for was, now, both in zip(old, model.base, model.both, strict=True):
                    both += now - was
        losses = []
        for batch in self._batches(method._with_negatives(loader.columns, number), generator):
            losses.append(np.mean([self._residual_step(model, batch) for model in self.models]))
        return float(np.mean(losses))

    def _batches(self, columns, generator):
        method, kept = self.method, self.method.estimates
        method.estimates = self.estimates  # type: ignore[method-assign]
        try:
            return method._batches(columns, generator)
        finally:
            method.estimates = kept  # type: ignore[method-assign]

    @torch.no_grad()
    def estimates(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        part = self.method._parts.of(users, items)
        relevance = torch.stack([torch.sigmoid(model.relevance("base", users, items)[0]) for model in self.models])
        seen = torch.stack([torch.sigmoid(model.logits(items, corrected=False)) for model in self.models])
        own = [each.gather(0, part.clamp(min=0)[None])[0] for each in (relevance, seen)]
        chosen = [torch.where(part >= 0, mine, each.mean(0)) for mine, each in zip(own, (relevance, seen), strict=True)]
        return chosen[0].clamp(*BOUNDS), chosen[1].clamp(*BOUNDS)

    @staticmethod
    def _base_step(model: PlainSubModel, batch: Batch) -> None:
        clicks = batch["targets"]
        scores, *_ = model.relevance("base", batch.users, batch.items)
        loss = (F.softplus(scores) - clicks / batch["seen"] * scores).mean()
        model.step("base", batch, loss, model.l2)
        logits = model.logits(batch.items, corrected=False)
        model.descend("exposure", (F.softplus(logits) - clicks / batch["relevance"] * logits).mean())

    @staticmethod
    def _residual_step(model: PlainSubModel, batch: Batch) -> float:
        clicks = batch["targets"]

        def likelihood(logits: Tensor, other: Tensor) -> Tensor:
            p = torch.sigmoid(logits)
            return torch.where(clicks > 0, -torch.log(other * p), -torch.log1p(-other * p)).mean()

        loss = likelihood(model.relevance("both", batch.users, batch.items)[0], batch["seen"])
        model.step("both", batch, loss, model.l2 / 2)
        model.descend("residual", likelihood(model.logits(batch.items, corrected=True), batch["relevance"]))
        return loss.item()
