"""The layers of an attention network as one vector: weight, bias and, for Dice, alpha of each layer in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from debias_ext import reference
from debias_ext._inputs import check_same_dtype, check_tensors, loss_inputs

Pairs = Sequence[tuple[Tensor, Tensor]]
MOST_LAYERS = 8


class Options(NamedTuple):
    """What the operators take beside tensors; `given` are constant statistics, None those of the batch."""

    units: tuple[int, ...]
    given: Tensor | None
    activation: str
    epsilon: float


class Network(NamedTuple):
    """The checked float tensors and the number of units of each layer."""

    queries: Tensor
    keys: Tensor
    lengths: Tensor
    parameters: Tensor
    units: tuple[int, ...]


def _pair(name: str, value: object) -> tuple[Tensor, Tensor]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ValueError(f"{name} must be a pair of tensors, got {value if value is None else type(value).__name__}")
    return value[0], value[1]


def _check_shape(name: str, tensor: Tensor, shape: Sequence[int]) -> None:
    if list(tensor.shape) != list(shape):
        raise ValueError(f"{name} must have shape {list(shape)}, got {list(tensor.shape)}")


def _check_count(name: str, values: Sequence[object], expected: int, activation: str) -> None:
    if len(values) != expected:
        raise ValueError(f"{name} must have length {expected} for activation={activation!r}, got {len(values)}")


def checked_network(
    queries: Tensor, keys: Tensor, lengths: Tensor, layers: Pairs, alphas: Sequence[Tensor], activation: str
) -> Network:
    """Raises a ValueError that names the argument where layers or alphas do not fit the queries."""
    if not isinstance(layers, (tuple, list)) or not 2 <= len(layers) <= MOST_LAYERS:
        got = len(layers) if isinstance(layers, (tuple, list)) else type(layers).__name__
        raise ValueError(f"layers must be 2 to {MOST_LAYERS} pairs (weight, bias), got {got}")
    hidden = len(layers) - 1
    _check_count("alphas", alphas, hidden if activation == "dice" else 0, activation)
    named: dict[str, Any] = {"queries": queries, "keys": keys, "lengths": lengths}
    for k, layer in enumerate(layers):
        named[f"weight of layers[{k}]"], named[f"bias of layers[{k}]"] = _pair(f"layers[{k}]", layer)
        if k < len(alphas):
            named[f"alphas[{k}]"] = alphas[k]
    values: dict[str, Any] = dict(zip(named, loss_inputs(**named), strict=True))
    first = values["queries"]
    if first.dim() != 2:
        raise ValueError(f"queries must have 2 dimension(s), got shape {list(first.shape)}")
    inputs, units, pieces = 4 * first.shape[1], [], []
    for k in range(len(layers)):
        weight, bias = f"weight of layers[{k}]", f"bias of layers[{k}]"
        out = 1 if k == hidden else (values[weight].shape[0] if values[weight].dim() else 0)
        _check_shape(weight, values[weight], (out, inputs))
        _check_shape(bias, values[bias], (out,))
        if k < len(alphas):
            _check_shape(f"alphas[{k}]", values[f"alphas[{k}]"], (out,))
        for name in (weight, bias, f"alphas[{k}]"):
            if name in values:
                check_same_dtype(name, values[name], "queries", first)
                pieces.append(values[name].reshape(-1))
        units.append(out)
        inputs = out
    return Network(first, values["keys"], values["lengths"], torch.cat(pieces), tuple(units))


def checked_statistics(statistics: Pairs | None, network: Network, activation: str) -> Tensor | None:
    """Means and variances of the hidden layers in one vector, float64 or float32; None where there are none to give."""
    if activation != "dice":
        if statistics is not None:
            raise ValueError(f"statistics is of use with activation='dice' only, got activation={activation!r}")
        return network.queries.new_empty(0, dtype=wide_type(network.queries))
    if statistics is None:
        return None
    hidden = network.units[:-1]
    _check_count("statistics", statistics, len(hidden), activation)
    pieces = []
    for k, out in enumerate(hidden):
        for part, tensor in zip(("mean", "variance"), _pair(f"statistics[{k}]", statistics[k]), strict=True):
            named: dict[str, Any] = {"queries": network.queries, f"{part} of statistics[{k}]": tensor}
            check_tensors(**named)
            _check_shape(f"{part} of statistics[{k}]", tensor, (out,))
            pieces.append(tensor.detach())
    return torch.cat(pieces).to(wide_type(network.queries))


def wide_type(queries: Tensor) -> torch.dtype:
    """Half types are computed in float32."""
    return torch.float64 if queries.dtype == torch.float64 else torch.float32


def _by_layer(flat: Tensor, sizes: Sequence[Sequence[int]]) -> list[list[Tensor]]:
    """Consecutive pieces of a vector, so many of these sizes for each layer."""
    pieces = iter(flat.split([size for layer in sizes for size in layer]))
    return [[next(pieces) for _ in layer] for layer in sizes]


def statistics_by_layer(flat: Tensor, units: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """(mean, variance) of each hidden layer."""
    return [(mean, variance) for mean, variance in _by_layer(flat, [(out, out) for out in units[:-1]])]


def plain_pooling(tensors: Sequence[Tensor], lengths: Tensor, options: Options) -> Tensor:
    """The plain-torch form, of queries, keys and the vector of parameters."""
    queries, keys, parameters = tensors
    units, given, activation, epsilon = options
    inputs = (4 * queries.shape[1], *units[:-1])
    dice = activation == "dice"
    sizes = [(i * o, o, *([o] if dice else [])) for i, o in zip(inputs[:-1], units[:-1], strict=True)]
    pieces = _by_layer(parameters, [*sizes, (inputs[-1], 1)])
    pooled = reference.attention_pooling(
        queries,
        keys,
        lengths,
        [(piece[0].view(o, i), piece[1]) for piece, o, i in zip(pieces, units, inputs, strict=True)],
        activation=activation,
        alphas=[piece[2] for piece in pieces if len(piece) == 3],
        statistics=statistics_by_layer(given.to(queries.dtype), units) if dice and given is not None else None,
        epsilon=epsilon,
    )
    assert isinstance(pooled, Tensor)
    return pooled
