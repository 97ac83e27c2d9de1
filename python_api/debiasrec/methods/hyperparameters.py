"""The hyper-parameters that every method has."""

from __future__ import annotations

from dataclasses import dataclass

from sklearn.base import BaseEstimator


@dataclass(kw_only=True, eq=False, repr=False)
class Hyperparameters(BaseEstimator):
    """Keyword-only settings with scikit-learn manners: get_params, set_params, clone, repr.

    The defaults do not depend on the scale of the data; `debiasrec.methods.preset` has the papers' settings.

    Args:
        factors: length of the factor vectors.
        lr: learning rate.
        l2: coefficient of half the squared norm of the distinct factor rows of a step (biases are not decayed). With
            reduction="mean" it is relative: times the mean weight of the rated pairs, over their number, so that one
            value means the same in weighted and unweighted methods.
        l2_rows: "touched" (rows of rated pairs) or "block" (all rows of the block; block batches only).
        batching: "flat" (shuffled rated pairs) or "block" (user block x item block).
        batch_size: rated pairs per flat batch.
        user_block, item_block: rows per block.
        optimizer: "adam" or "sgd".
        reduction: "mean" or "sum" of the errors of a step.
        target: coding of the ratings: "signed" (+1/-1 by the threshold), "binary" (1/0) or "stars".
        max_epochs: upper limit.
        patience: epochs without improvement before stopping; the best epoch is restored.
        criterion: watched on the uniform validation part, else on the biased one: "auc" or "mse".
        seed: seeds the initial values, the order of the batches, and samples.
    """

    factors: int = 10
    lr: float = 0.01
    l2: float = 1.0
    l2_rows: str = "touched"
    batching: str = "flat"
    batch_size: int = 1024
    user_block: int = 6000
    item_block: int = 500
    optimizer: str = "adam"
    reduction: str = "mean"
    target: str = "signed"
    max_epochs: int = 200
    patience: int = 20
    criterion: str = "auc"
    seed: int = 0
