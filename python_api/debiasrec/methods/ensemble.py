"""The sum of two models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
import torch

from debias_ext import FactorTables
from debiasrec.methods.base import Method
from debiasrec.methods.options import choice, number, teacher
from debiasrec.models import MatrixFactorization
from debiasrec.training.validation import CRITERIA, higher_is_better, make_validator

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split

SHARES = np.arange(11) / 10


@dataclass(kw_only=True, eq=False, repr=False)
class Ensemble(Method):
    """s = c s_b + (1 - c) s_d of a biased and a debiased model, with c in 0, 0.1, ..., 1 chosen on the validation part.

    Both are matrix factorisations, and so is their sum, with the factors of both side by side. Of equally good c the
    smallest is taken, and 1/2 without a validation part.

    Args:
        biased_teacher, debiased_teacher: names of methods, fitted with their presets and this seed, or methods.
        share: c, or None to choose it.
        criterion: what chooses: "auc", "mse" or "snips_mse", on the uniform validation part, else on the biased one.

    Attributes (after fit):
        biased_teacher_, debiased_teacher_: the fitted methods.
        share_: c.
        shares_: DataFrame share, validation; no rows where nothing was chosen.

    Source: Ding et al. 2022, section 5.1.
    """

    name: ClassVar[str] = "ensemble"
    needs_uniform: ClassVar[bool] = True
    summary: ClassVar[str] = "weighted sum of a biased and a debiased model"
    source: ClassVar[str] = "Ding et al., Interpolative Distillation, SIGIR 2022 (baseline)"

    biased_teacher: str | Method = teacher("mf_combine")
    debiased_teacher: str | Method = teacher("autodebias")
    share: float | None = number(None, least=0, most=1, none=True)
    criterion: str = choice("auc", *CRITERIA)

    def _solve(self, split: Split, device: str | torch.device) -> MatrixFactorization:
        self.shares_ = self._validated(split)
        self.share_ = self._best_share()
        return self._sum(self.share_)

    def _validated(self, split: Split) -> pd.DataFrame:
        validator = make_validator(split, self.encode, self.criterion, "cpu")
        if self.share is not None or validator is None:
            return pd.DataFrame(columns=["share", "validation"], dtype=float)
        return pd.DataFrame({"share": SHARES, "validation": [validator(self._sum(c).score) for c in SHARES]})

    def _best_share(self) -> float:
        if self.share is not None:
            return float(self.share)
        if self.shares_.empty:
            return 0.5
        values = self.shares_["validation"]
        return float(self.shares_["share"][values.idxmax() if higher_is_better(self.criterion) else values.idxmin()])

    def _sum(self, share: float) -> MatrixFactorization:
        """share times the biased model and 1 - share times the debiased one."""
        first, second = self.biased_teacher_.model_, self.debiased_teacher_.model_
        rest = 1.0 - share
        with torch.no_grad():
            tables = FactorTables(
                torch.cat([share * first.user_factors, rest * second.user_factors], 1),
                torch.cat([first.item_factors, second.item_factors], 1),
                share * first.user_bias + rest * second.user_bias,
                share * first.item_bias + rest * second.item_bias,
            )
        return MatrixFactorization.of(tables, share * first.offset + rest * second.offset)
