"""Target attention over a sequence: a small network weighs each position, and the weighted positions are summed."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from debias_ext import reference

Pairs = Sequence[tuple[Tensor, Tensor]]


def attention_pooling(
    queries: Tensor,
    keys: Tensor,
    lengths: Tensor,
    layers: Pairs,
    *,
    activation: str = "dice",
    alphas: Sequence[Tensor] = (),
    statistics: Pairs | None = None,
    return_statistics: bool = False,
    epsilon: float = 1e-8,
    validate: bool = True,
) -> Tensor | tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Sums sum_t a_t k_t over the positions of a history, a_t = MLP([q, k_t, q - k_t, q * k_t]) without softmax.

    Args:
        queries: q, [B, d], float32 or float64; on CUDA float16 and bfloat16 as well, computed in float32.
        keys: k, [B, T, d], the dtype of queries.
        lengths: [B], int32 or int64 in [0, T]: positions t >= lengths[b] are not read, weigh nothing and get the
            gradient 0.
        layers: (weight, bias) of each layer as torch.nn.Linear holds them, in the dtype of queries: [h_1, 4 d] and
            [h_1], [h_2, h_1] and [h_2], ..., and a last one of 1 unit, linear. At least one hidden layer.
        activation: of the hidden layers: "dice", "relu" or "sigmoid".
        alphas: for "dice", one [h_l] for each hidden layer: x (p + alpha (1 - p)), p the sigmoid of x normalised.
        statistics: for "dice", (mean, variance), [h_l] each, for each hidden layer, constants: evaluation. None: those
            of the valid positions of this batch, through which gradients flow: training.
        return_statistics: return the statistics used as well.
        epsilon: added to the variances, positive.
        validate: on CUDA, check the values of lengths, at the price of one synchronisation; unchecked ones are clamped
            to [0, T]. On the CPU they are always checked.

    Returns:
        [B, d], the dtype of queries; 0 for an empty history. With return_statistics: that, and for "dice" a list of
        (mean, biased variance), without gradient; 0 and 1 for a batch without a valid position.

    Source:
        Zhou et al. 2018, "Deep Interest Network for Click-Through Rate Prediction", section 4.3 and eq. 3 and 9.
    """
    return reference.attention_pooling(
        queries,
        keys,
        lengths,
        layers,
        activation=activation,
        alphas=alphas,
        statistics=statistics,
        return_statistics=return_statistics,
        epsilon=epsilon,
    )
