"""The hyper-parameters of trained methods."""

from __future__ import annotations

from dataclasses import dataclass

from debiasrec.methods.options import choice, number, whole
from debiasrec.training.optimizer import OPTIMIZERS
from debiasrec.training.validation import CRITERIA


@dataclass(kw_only=True, eq=False, repr=False)
class LoopParameters:
    """Settings of the training loop; keyword-only.

    Args:
        lr: learning rate.
        optimizer: "adam", "sgd" or "adagrad".
        max_epochs: upper limit.
        patience: epochs without improvement before stopping; the best epoch is restored.
    """

    lr: float = number(0.01, above=0)
    optimizer: str = choice("adam", *OPTIMIZERS)
    max_epochs: int = whole(200)
    patience: int = whole(20)


@dataclass(kw_only=True, eq=False, repr=False)
class Hyperparameters(LoopParameters):
    """Settings of methods that fit the scores of rated pairs; keyword-only.

    The defaults do not depend on the scale of the data; `debiasrec.methods.preset` has settings for known data sets.

    Args:
        factors: length of the factor vectors.
        l2: coefficient of half the squared norm of the distinct factor rows of a step (biases are not decayed). With
            reduction="mean" it is relative: times the mean weight of the rated pairs, over their number, so that one
            value means the same in weighted and unweighted methods.
        l2_rows: "touched" (rows of rated pairs) or "block" (all rows of the block; block batches only).
        batching: "flat" (shuffled rated pairs) or "block" (user block x item block).
        batch_size: rated pairs per flat batch.
        user_block, item_block: rows per block.
        reduction: "mean" or "sum" of the errors of a step.
        criterion: watched on the uniform validation part, else on the biased one: "auc", "mse" or "snips_mse" (see
            `debiasrec.training.validation.validation_weights`); for clicks "snips_dcg", "ips_dcg", "naive_dcg" or, with
            known exposures, "oracle_dcg" (see `debiasrec.training.click_validation.ClickValidator`).
    """

    factors: int = whole(10)
    l2: float = number(1.0, least=0)
    l2_rows: str = choice("touched", "touched", "block")
    batching: str = choice("flat", "flat", "block")
    batch_size: int = whole(1024)
    user_block: int = whole(6000)
    item_block: int = whole(500)
    reduction: str = choice("mean", "mean", "sum")
    criterion: str = choice("auc", *CRITERIA)
