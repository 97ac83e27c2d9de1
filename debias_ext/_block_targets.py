"""What `block_loss` takes for the pairs that nobody rated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

Rated = tuple[Tensor, Tensor, Tensor] | tuple[Tensor, Tensor, Tensor, Tensor | None]  # rows, columns, targets, weights


class FactorTables(NamedTuple):
    """A factor model of the users and items of a block: scores P[u].Q[i] + a[u] + b[i].

    Args:
        user_factors: P, [m, d]; d need not be that of other tables.
        item_factors: Q, [n, d].
        user_bias: a, [m], or None.
        item_bias: b, [n], or None.
    """

    user_factors: Tensor
    item_factors: Tensor
    user_bias: Tensor | None = None
    item_bias: Tensor | None = None


@dataclass(frozen=True)
class ConstantTarget:
    """One target for all pairs, with a weight that factorises: sum_ui A_u B_i (s_ui - value)^2.

    Args:
        value: a number, or a 0-d tensor (which then gets a gradient).
        user_weight: A, [m], or None for 1.
        item_weight: B, [n], or None for 1.
        rated: "join": the sum runs over all pairs, rated ones too. "replace": over those that are not rated.
        rated_weights: with "join", what rated pairs have in place of A_u B_i; a tensor like the rated targets, and
            given together with rated_values.
        rated_values: what rated pairs then have in place of `value`.
    """

    value: float | Tensor
    user_weight: Tensor | None = None
    item_weight: Tensor | None = None
    rated: str = "join"
    rated_weights: Tensor | None = None
    rated_values: Tensor | None = None


@dataclass(frozen=True)
class DRTarget:
    """Doubly robust learning: every pair has a pseudo target, and rated pairs, with weights 1 / q, correct it.

    Args:
        imputation: tables of the imputation model, constants here (they get no gradient).
        form: "residual": its scores g stand for t - s, the pseudo target is stop(s) + g, and the loss is
            sum_ui g_ui^2 + sum_rated w ((s - t)^2 - g^2), where the slope of g^2 in s is -2g. "label": its scores x
            give pseudo labels z = sigmoid(x), and the loss is sum_ui ell(s, z) + sum_rated w (ell(s, t) - ell(s, z))
            with ell(s, z) = softplus(s) - z s.
    """

    imputation: FactorTables
    form: str = "residual"


@dataclass(frozen=True)
class InterDTarget:
    """Interpolation between two teachers: beta sum over the pairs that are not rated of (s - r*)^2, with
    r* = w_b rb + (1 - w_b) rd and w_b = sigmoid(gamma (log((rb - s)^2 + e) - log((rd - s)^2 + e))).

    Args:
        biased: tables of the biased teacher (scores rb), constants here.
        debiased: tables of the debiased teacher (scores rd), constants here.
        gamma: negative by convention, so that the teacher nearer to the student weighs more.
        beta: weight of the term.
        variant: "soft", as above; "hard": the limit of large |gamma|, 1/2 on ties; "zero": the teachers are measured
            against 0 in place of s.
        detach_target: False lets the slope run through the coefficients of "soft" as well, as the published program
            does; it then grows up to |gamma| / sqrt(e) where s comes near a teacher (e is 1e-8, and 1e-12 in float64).
    """

    biased: FactorTables
    debiased: FactorTables
    gamma: float
    beta: float = 1.0
    variant: str = "soft"
    detach_target: bool = True
