"""What the methods share that train a click model on interactions in time order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debiasrec.data.splits import LEAVE_ONE_OUT
from debiasrec.data.validation import as_indices
from debiasrec.errors import DebiasRecError
from debiasrec.methods.looped import Looped
from debiasrec.methods.options import choice, flag, number, whole
from debiasrec.models import DIN, ClickModel, DeepFM, Model, Samples, Sequences
from debiasrec.models.clicks import Encoded
from debiasrec.training.learner import ClickLearner
from debiasrec.training.loader import Batch, FlatLoader

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split

BASES: dict[str, type[ClickModel]] = {"din": DIN, "deepfm": DeepFM}


@dataclass(frozen=True)
class ClickBatch:
    """One step: clicks, then as many items that their users did not click.

    Attributes:
        samples: what the model reads.
        labels: float32 [B], 1 for the clicks.
        generator: for what a step draws itself.
    """

    samples: Samples
    labels: Tensor
    generator: np.random.Generator


@dataclass(kw_only=True, eq=False, repr=False)
class ClickMethod(Looped):
    """Binary cross-entropy of clicks and of as many items drawn from those that their users did not click.

    It needs the split "leave_one_out". A click is predicted from the clicks before it; scores are logits of the next
    click after all that are known, those for validation included.

    Args:
        target: "binary", always.
        factors: length of the embeddings.
        batch_size: samples per step, half of them clicks.
        history: clicks before the target that the model reads at most.
        user_field: give the model an embedding of the user. A teacher of some users has none to give to the others.
    """

    base: ClassVar[str]
    sequential: ClassVar[bool] = True
    model_class: ClassVar[type[Model]] = DIN

    target: str = choice("binary", "binary")
    factors: int = whole(8)
    lr: float = number(0.01, above=0)
    optimizer: str = choice("adagrad", "adagrad", "adam", "sgd")
    batch_size: int = whole(4096, least=2)
    history: int = whole(50)
    user_field: bool = flag(False)
    max_epochs: int = whole(50)
    patience: int = whole(5)

    # What a method defines.

    def prepare(self, split: Split, device: str | torch.device) -> dict[str, Tensor]:
        """Fit what the objective needs; returns the tables by name that train beside the model.

        `model_` is made afterwards, with the confounder that `confounder` returns.
        """
        return {}

    def confounder(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Factors of a substitute confounder, float32 ([U, c], [I, c])."""
        return None

    def weights(self, batch: ClickBatch) -> Tensor | None:
        """The weights of the samples, [B]; None for 1."""
        return None

    def loss(self, batch: ClickBatch, encoded: Encoded) -> Tensor:
        """The objective on a batch, a scalar, differentiable in the tables of `model_` and those of `prepare`."""
        return cross_entropy(encoded.logits, batch.labels, self.weights(batch))

    # What every such method does.

    def _start(self, split: Split, device: str | torch.device) -> FlatLoader:
        if split.name != LEAVE_ONE_OUT:
            raise DebiasRecError(
                f"method {self.name} needs the split {LEAVE_ONE_OUT!r} of clicks in time order, got {split.name!r}"
            )
        rows = split.train
        if not len(rows):
            raise DebiasRecError(f"method {self.name}: no clicks to train on; with groups of users, ask for fewer")
        self._describe(split)
        extras = self.prepare(split, device)
        sequences = click_sequences(split)
        self.model_: Any = BASES[self.base](
            sequences,
            self.n_items_,
            self.factors,
            history=self.history,
            user_width=self.factors if self.user_field else 0,
            confounder=self.confounder(),
            seed=(self.seed, 0),
            device=device,
        )
        self.learners_: dict[str, Any] = {
            "rating": ClickLearner(self.model_, extras, optimizer=self.optimizer, lr=self.lr)
        }
        pair = torch.tensor(rows.users), torch.tensor(rows.items)
        self._sampler = debias_ext.PairSampler(*pair, n_users=self.n_users_, n_items=self.n_items_, seed=self.seed)
        self._n_rows = len(rows)
        # Row r is click r - (validation clicks of the users before) of all clicks.
        ends = np.arange(len(rows)) + (np.cumsum(sequences.held) - sequences.held)[rows.users]
        columns = {"users": pair[0], "items": pair[1], "ends": torch.from_numpy(ends)}
        on_device = {name: column.to(device) for name, column in columns.items()}
        return FlatLoader(on_device, batch_size=self.batch_size // 2, seed=self.seed)

    def begin_epoch(self, epoch: int) -> None:
        """The items of an epoch depend on its number alone."""
        self._sampler.load_state_dict({"seed": self.seed, "position": (epoch - 1) * self._n_rows})

    def step(self, batch: Batch) -> Tensor:
        """One step down `loss` on the clicks of a batch and as many other items."""
        drawn = self._sampler.negatives(batch.users.cpu(), 1)[1].to(batch.users.device)
        users, ends = batch.users.repeat(2), batch["ends"].repeat(2)
        samples = self.model_.samples(users, torch.cat([batch.items, drawn]), ends)
        labels = torch.zeros(len(users), device=users.device)
        labels[: len(batch)] = 1.0
        encoded = self.model_.encode(samples, training=True)
        loss = self.loss(ClickBatch(samples, labels, batch.generator), encoded)
        self.learners_["rating"].update(loss)
        return loss.detach()

    def validation_scores(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores from the clicks before the validation clicks."""
        return self.model_.score_validation(users, items)

    @torch.no_grad()
    def predict_validation(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Scores from the clicks before the validation clicks; see `predict`."""
        pair = (torch.tensor(as_indices(column, name)) for column, name in ((users, "users"), (items, "items")))
        return self.model_.score_validation(*pair).numpy()

    def _finish(self, *arguments: Any) -> None:
        super()._finish(*arguments)
        # What only training needs has a name with an underscore in front.
        for name in [name for name in vars(self) if name.startswith("_")]:
            delattr(self, name)


@dataclass(kw_only=True, eq=False, repr=False)
class OnBase(ClickMethod):
    """A method on either click model.

    Args:
        base: "din" or "deepfm".
    """

    base: str = choice("din", *BASES)  # type: ignore[misc]


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean of w (softplus(z) - y z), targets y in [0, 1]."""
    return debias_ext.pointwise_loss(logits, targets, weights, loss="bce")


def click_sequences(split: Split) -> Sequences:
    """The clicks of the training part, each user's followed by the validation click where there is one."""
    data, held = split.dataset, split.biased_validation
    clicks = [split.train] if held is None else [split.train, held.take(data.positives(held.ratings))]
    users, items = (np.concatenate([getattr(part, side) for part in clicks]) for side in ("users", "items"))
    counts = [np.bincount(part.users, minlength=data.n_users) for part in clicks]
    offsets = np.concatenate([[0], np.cumsum(sum(counts))])
    none = np.zeros(data.n_users, np.int64)
    return Sequences(offsets, items[np.argsort(users, kind="stable")], none if held is None else counts[1])
