"""What every method is: hyper-parameters in, scores out."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from debiasrec.data.dataset import check_split
from debiasrec.data.validation import as_indices
from debiasrec.errors import DebiasRecError
from debiasrec.methods import persistence, serving
from debiasrec.methods.options import check_device, check_options, choice, ranges, whole
from debiasrec.methods.teachers import fit_teachers
from debiasrec.models import InnerProduct, MatrixFactorization, Model

if TYPE_CHECKING:
    from typing_extensions import Self

    from debiasrec.data.dataset import Split
    from debiasrec.training.loop import ProgressEvent


@dataclass(kw_only=True, eq=False, repr=False)
class Method(BaseEstimator):
    """A recommender with scikit-learn manners: get_params, set_params, clone, repr.

    Args:
        target: coding of the ratings: "signed" (+1/-1 by the threshold), "binary" (1/0) or "stars".
        seed: seeds the initial values, the order of the batches, and samples.

    Attributes (after fit):
        model_: the fitted score model.
        history_: DataFrame epoch, loss (mean over steps), validation, seconds; no rows without epochs.
        best_epoch_, stopped_by_, fit_seconds_.
    """

    name: ClassVar[str]
    needs_uniform: ClassVar[bool] = False
    # Whether it trains on clicks in time order.
    sequential: ClassVar[bool] = False
    summary: ClassVar[str]
    source: ClassVar[str]
    # The method without what this one adds: a search tries its settings too, and goes by its criterion.
    twin: ClassVar[str | None] = None
    # The kind of model that it fits.
    model_class: ClassVar[type[Model]] = MatrixFactorization

    target: str = choice("signed", "signed", "binary", "stars")
    seed: int = whole(0, least=0)

    # What a method defines.

    def check_combination(self) -> None:
        """Raise a DebiasRecError where options that are in range do not go together."""

    def check_teacher(self, option: str, teacher: Method) -> None:
        """Raise a DebiasRecError where the method cannot learn from that teacher, fitted or not.

        By default any teacher has to be a matrix factorisation.
        """
        model = teacher.model_class
        if model not in (MatrixFactorization, InnerProduct):
            raise DebiasRecError(f"{self.name} needs a matrix factorisation here, and {teacher.name} is {model.kind}")

    def takes_saved(self, option: str) -> bool:
        """Whether a teacher that was saved will do: it still has its scores, not what else it learned."""
        return True

    @abstractmethod
    def _solve(self, split: Split, device: str | torch.device) -> Model:
        """The fitted model of a method without epochs."""

    # What every method does.

    def __sklearn_clone__(self) -> Self:
        """An unfitted method of the same hyper-parameters; fitted methods among these stay as they are."""
        given = self.get_params(deep=False).items()
        return type(self)(**{key: value if _is_fitted(value) else clone(value, safe=False) for key, value in given})

    def fit(
        self,
        split: Split,
        *,
        device: str | torch.device = "cpu",
        progress: Callable[[ProgressEvent], None] | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Fit to a split.

        Args:
            split: a split of a Dataset.
            device: where to train; the fitted model comes back to the CPU.
            progress: called with a ProgressEvent after every epoch.
            checkpoint: folder for a checkpoint, written every few seconds; an older one there is replaced. A method
                without epochs writes none.
            resume: continue from that checkpoint, to the same bits as an uninterrupted fit.

        Raises:
            DebiasRecError: an option is out of range, the device cannot be used, or the split lacks what the method
                needs.
            DivergenceError: the loss stopped being finite.
            CheckpointError: the checkpoint belongs to other options, other data or another split.
        """
        check_split(split)
        check_options(self)
        check_device(device)
        # Until this fit has finished, the method counts as not fitted.
        self.__dict__.pop("history_", None)
        if resume and checkpoint is None:
            raise DebiasRecError("resume=True needs checkpoint=, the folder of the checkpoint to continue from")
        self._fit(split, device, progress, None if checkpoint is None else Path(checkpoint), resume)
        return self

    def _describe(self, split: Split) -> None:
        """Keep what prediction and serving need to know of the split."""
        data = split.dataset
        self.threshold_ = float(data.threshold)
        self.catalogue_ = serving.Catalogue.of(split)
        self.n_users_, self.n_items_ = data.n_users, data.n_items

    def _fit(
        self,
        split: Split,
        device: str | torch.device,
        progress: Callable[[ProgressEvent], None] | None,
        checkpoint: Path | None,
        resume: bool,
    ) -> None:
        started = time.perf_counter()
        self._describe(split)
        fit_teachers(self, split, device)
        self.model_: Any = self._solve(split, device).to_("cpu")
        self.history_ = pd.DataFrame(columns=["epoch", "loss", "validation", "seconds"], dtype=float)
        self.best_epoch_, self.stopped_by_ = 0, "closed_form"
        self.fit_seconds_ = time.perf_counter() - started

    def _identity(self, split: Split) -> dict[str, Any]:
        fitted = {option: getattr(self, f"{option}_", None) for option in ranges(self)}
        return {
            "method": self.name,
            **persistence.plain_params(self),
            **{f"{option} as fitted": persistence.digest(m) for option, m in fitted.items() if isinstance(m, Method)},
            "data fingerprint": split.dataset.fingerprint(),
            "split": split.name,
            "split seed": split.seed,
        }

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Scores of pairs, float32 [n].

        Args:
            users, items: integer [n], inside indices.

        Raises:
            ValueError: not integers, or vectors of unequal length.
            IndexError: an index is out of range.
        """
        check_is_fitted(self, "history_")
        pair = [torch.tensor(as_indices(column, name)) for name, column in (("users", users), ("items", items))]
        with torch.no_grad():
            return self.model_.score(*pair).numpy()

    def predict_validation(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Scores of validation rows from what was known before them; by default those of `predict`."""
        return self.predict(users, items)

    def encode(self, ratings: np.ndarray) -> np.ndarray:
        """Ratings in stars as the targets this method trains on, float32 [n]."""
        check_is_fitted(self, "threshold_")
        stars = np.asarray(ratings, dtype=np.float32)
        if self.target == "stars":
            return stars
        positive = (stars >= self.threshold_).astype(np.float32)
        return positive if self.target == "binary" else 2.0 * positive - 1.0

    def recommend(self, users: Any, k: int = 10) -> pd.DataFrame:
        """The k best items of each user that the user has not rated in training.

        A known user without a training rating is served too, by what the model has for such a user: in a matrix
        factorisation the item biases and the user's initial factors, which are small and random.

        Args:
            users: outside user ids (one id, or a sequence).
            k: items per user; fewer where a user has fewer unseen items.

        Returns:
            DataFrame user, item (outside ids), score, rank (from 1).

        Raises:
            DebiasRecError: an unknown user, or k < 1.
        """
        check_is_fitted(self, "history_")
        return serving.recommend(self.model_, self.catalogue_, users, k)

    def save(self, directory: str | Path) -> Path:
        """Write the fitted model as one safetensors file with JSON in its header; returns the file."""
        check_is_fitted(self, "history_")
        path = Path(directory) / persistence.MODEL_FILE
        persistence.write(self, path)
        return path


def _is_fitted(value: Any) -> bool:
    return isinstance(value, Method) and hasattr(value, "history_")
