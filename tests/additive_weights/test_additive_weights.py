"""`additive_weights` against plain torch, over every kind of kernel."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import Device
from ops.cases import assert_near
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, vmap

from debias_ext import _library, additive_weights, reference

ULPS = {torch.float64: 64, torch.float32: 32, torch.float16: 1, torch.bfloat16: 1}
FLOATS = [torch.float32, torch.float64]
# users, items, labels (0: no label table), samples: tables smaller and larger than the batch, tiny and large ones
SIZES = [(5, 6, 2, 1), (5, 6, 2, 400), (5, 6, 0, 400), (300, 70, 65, 9000), (3000, 5, 3, 500), (50, 40, 3, 20)]
OPS = torch.ops.debias_ext


def inputs(
    sizes: tuple[int, int, int, int] = (5, 6, 2, 40),
    *,
    dtype: torch.dtype = torch.float64,
    index: torch.dtype = torch.int64,
    device: str = "cpu",
    scale: float = 1.0,
) -> tuple[list[Tensor | None], list[Tensor | None]]:
    generator = torch.Generator().manual_seed(sum(sizes))
    *tables, batch = sizes
    values = [scale * torch.randn(n, generator=generator, dtype=torch.float64) if n else None for n in tables]
    indices = [torch.randint(n, (batch,), generator=generator, dtype=index) if n else None for n in tables]
    return [None if v is None else v.to(device, dtype) for v in values], [
        None if i is None else i.to(device) for i in indices
    ]


def given(tables: list[Tensor | None]) -> list[Tensor]:
    return [table for table in tables if table is not None]


def leaves_of(tables: list[Tensor | None]) -> list[Tensor | None]:
    return [None if table is None else table.detach().clone().requires_grad_() for table in tables]


def value_and_gradients(function: Any, tables: list[Tensor | None], indices: list[Tensor | None], **options: Any):
    leaves = leaves_of(tables)
    value = function(*leaves, *indices, **options)
    cotangent = (
        torch.linspace(-1, 1.5, max(1, value.numel()), dtype=torch.float64)[: value.numel()].bfloat16().to(value)
    )
    return [value.detach(), *torch.autograd.grad(value, given(leaves), cotangent)]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_values_and_gradients(sizes: tuple[int, int, int, int], device: Device) -> None:
    for dtype in device.floats:
        for index in (torch.int32, torch.int64):
            tables, indices = inputs(sizes, dtype=dtype, index=index, device=device.tensors)
            got = value_and_gradients(additive_weights, tables, indices, temperature=3.0)
            wide = [None if table is None else table.double() for table in tables]
            wanted = value_and_gradients(reference.additive_weights, wide, indices, temperature=3.0)
            # the sum of products of stored weights: half types round each of them
            ulps = ULPS[dtype] * (1 if dtype in FLOATS else 2)
            for actual, expected in zip(got, wanted, strict=True):
                assert actual.dtype == dtype
                assert_near(actual, expected, ulps, scale=1.0)


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_factors_that_would_overflow_alone(scale: float, device: Device) -> None:
    """exp(a) exp(b) exp(c) is not formed where a and b are large and cancel."""
    for dtype, large in ((torch.float32, 60.0), (torch.float64, 600.0)):
        a = torch.tensor([large, -large, 0.0], dtype=dtype, device=device.tensors) * scale
        users = torch.arange(3, device=device.tensors).repeat(20)
        got = additive_weights(a, -a, None, users, users, None, temperature=1.0)
        assert torch.equal(got, torch.ones_like(got))
        product = additive_weights(a[:1], a[:1], None, users * 0, users * 0, None, temperature=1.0)
        assert product.isinf().all()


@pytest.mark.parametrize("sizes", [(3, 2, 2, 5), (3, 2, 0, 5), (2, 30, 2, 4)], ids=str)
def test_derivatives(sizes: tuple[int, int, int, int]) -> None:
    tables, indices = inputs(sizes)
    leaves = leaves_of(tables)

    def function(*values: Tensor) -> Tensor:
        padded = [*values, None][:3]
        return additive_weights(*padded, *indices, temperature=2.0)

    assert gradcheck(function, given(leaves), check_batched_grad=True)
    assert gradgradcheck(function, given(leaves))
    for k, leaf in enumerate(given(leaves)):
        one = [table if j == k else table.detach() for j, table in enumerate(given(leaves))]
        assert gradgradcheck(lambda value, k=k, one=one: function(*one[:k], value, *one[k + 1 :]), (leaf,))


def test_transforms() -> None:
    tables, indices = inputs()

    def total(function: Any, user_table: Tensor) -> Tensor:
        return function(user_table, *tables[1:], *indices).pow(3).sum()

    fused, twin = (lambda v, f=f: total(f, v) for f in (additive_weights, reference.additive_weights))
    assert_near(grad(fused)(tables[0]), grad(twin)(tables[0]), 256)
    second = [grad(lambda v, f=f: grad(f)(v).pow(2).sum())(tables[0]) for f in (fused, twin)]
    assert_near(second[0], second[1], 1024)
    several = torch.stack([tables[0], tables[0] / 2])
    with pytest.warns(UserWarning, match="performance drop"):
        assert_near(vmap(grad(fused))(several), vmap(grad(twin))(several), 256)


@pytest.mark.parametrize("with_labels", [True, False])
def test_opcheck_and_compile(with_labels: bool) -> None:
    torch._dynamo.reset()
    tables, indices = inputs((5, 6, 2 if with_labels else 0, 40))
    leaves = leaves_of(tables)
    torch.library.opcheck(OPS.additive_weights.default, (*leaves, *indices, 5.0, True))
    cotangent = torch.linspace(-1, 1, 40, dtype=torch.float64, requires_grad=True)
    weights = torch.linspace(0.5, 1, 40, dtype=torch.float64, requires_grad=True)
    arguments = (cotangent, weights, *indices, 5, 6, 2, 5.0, 7)
    torch.library.opcheck(OPS.additive_weights_backward.default, arguments)
    compiled = torch.compile(additive_weights, fullgraph=True, backend="aot_eager")
    for got, wanted in zip(
        value_and_gradients(compiled, tables, indices),
        value_and_gradients(additive_weights, tables, indices),
        strict=True,
    ):
        assert torch.equal(got, wanted)


def test_layouts_do_not_matter(device: Device) -> None:
    tables, indices = inputs((5, 6, 2, 30), device=device.tensors)
    wanted = value_and_gradients(additive_weights, tables, indices)
    strided = [torch.stack([t, torch.zeros_like(t)], dim=-1)[..., 0] for t in (*tables, *indices)]
    got = additive_weights(*strided)
    assert torch.equal(got, wanted[0])
    leaves = [t.requires_grad_() for t in leaves_of(tables)]
    spread = [torch.stack([leaf, leaf], dim=-1)[..., 0] for leaf in leaves]
    cotangent = torch.linspace(-1, 1.5, 30, dtype=torch.float64).bfloat16().double().to(device.tensors)
    got = torch.autograd.grad(additive_weights(*spread, *strided[3:]), leaves, cotangent)
    assert all(torch.equal(a, b) for a, b in zip(got, wanted[1:], strict=True))


def test_no_samples_and_no_rows(device: Device) -> None:
    tables, _ = inputs(device=device.tensors)
    none = torch.empty(0, dtype=torch.int64, device=device.tensors)
    got = value_and_gradients(additive_weights, tables, [none] * 3)
    assert got[0].shape == (0,)
    assert all(g.shape == t.shape and not g.any() for g, t in zip(got[1:], tables, strict=True))
    empty = torch.empty(0, dtype=torch.float64, device=device.tensors)
    got = value_and_gradients(additive_weights, [empty] * 3, [none] * 3)
    assert all(g.shape == (0,) for g in got)


@pytest.mark.parametrize("sizes", [(3000, 70, 2, 100_001), (100, 70, 3, 100_001), (9_000, 70_000, 2, 16_385)], ids=str)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_thread_count_does_not_change_a_bit(sizes: Any, dtype: torch.dtype, one_and_two_threads: None) -> None:
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(value_and_gradients(additive_weights, *inputs(sizes, dtype=dtype)))
    for one, *others in zip(*results, strict=True):
        assert all(torch.equal(one, other) for other in others)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_simd_levels_agree(dtype: torch.dtype, simd_levels: list[str]) -> None:
    for sizes in ((50, 7, 2, 3001), (5000, 7, 2, 3001)):
        results = []
        for level in simd_levels:
            _library.load().set_simd_level(level)
            results.append(value_and_gradients(additive_weights, *inputs(sizes, dtype=dtype)))
        for lowest, *others in zip(*results, strict=True):
            assert all((assert_near(other, lowest, 32) is None) for other in others)


def test_two_launches_give_the_same_bits(device: Device) -> None:
    arguments = inputs((70, 9, 2, 3001), dtype=torch.float32, device=device.tensors)
    first, second = (value_and_gradients(additive_weights, *arguments) for _ in "ab")
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_nan_and_infinity_reach_the_samples_of_their_row(device: Device) -> None:
    for batch in (40, 4):  # more samples than rows, and fewer
        tables, indices = inputs((5, 6, 2, batch), device=device.tensors)
        tables[0][1], tables[1][2] = float("nan"), float("inf")
        indices[0][0], indices[0][1], indices[1][1] = 1, 0, 2
        got = additive_weights(*tables, *indices)
        assert torch.equal(got.isnan(), indices[0] == 1)
        assert torch.equal(got.isinf(), (indices[0] != 1) & (indices[1] == 2))


@pytest.mark.parametrize("side", [0, 1, 2])
@pytest.mark.parametrize("bad", [-1, 6, 2**31 - 1, -(2**31), 2**40])
def test_index_out_of_range(side: int, bad: int, device: Device) -> None:
    name, rows = ("users", "items", "labels")[side], (5, 6, 2)[side]
    for index in (torch.int64, torch.int32):
        if index == torch.int32 and abs(bad) > 2**31:
            continue
        for batch in (9, 70_000):
            tables, indices = inputs((5, 6, 2, batch), index=index, device=device.tensors)
            indices[side][[batch - 5, batch - 1]] = bad
            got = str(bad) if device.name == "cpu" else "another index"
            match = rf"^{name} must be in \[0, {rows}\), got {got} at position {batch - 5}$"
            with pytest.raises(IndexError, match=match):
                additive_weights(*tables, *indices)


def test_the_backward_operator_checks_its_indices_too() -> None:
    rows = torch.ones(5, dtype=torch.float64)
    for size in (3, 1000):  # by chunks, and by segments
        users = torch.tensor([0, 1, 2, -1, 0])
        with pytest.raises(IndexError, match=r"^users must be in .*got -1 at position 3$"):
            OPS.additive_weights_backward(rows, rows, users, users * 0, None, size, 1, 0, 5.0, 7)


def test_unchecked_indices_weigh_nan_and_add_nothing(device: Device) -> None:
    tables, indices = inputs((40, 50, 2, 30), device=device.tensors)
    indices[0][3], indices[1][4], indices[2][5] = 99, -1, 2
    if device.name == "cpu":
        with pytest.raises(IndexError, match=r"^users must be in"):
            additive_weights(*tables, *indices, validate=False)
        return
    leaves = leaves_of(tables)
    value = additive_weights(*leaves, *indices, validate=False)
    assert value.isnan().nonzero().flatten().tolist() == [3, 4, 5]
    cotangent = torch.ones_like(value)
    gradients = torch.autograd.grad(value, leaves, cotangent)
    clean = torch.tensor([k not in (3, 4, 5) for k in range(30)], device=device.tensors)
    kept = [index[clean] for index in indices]
    wanted = torch.autograd.grad(reference.additive_weights(*leaves, *kept).sum(), leaves)
    for got, expected, index in zip(gradients, wanted, indices, strict=True):
        reached = [row for row in index[~clean].tolist() if 0 <= row < len(got)]  # by a weight that is NaN
        assert sorted(set(reached)) == got.isnan().nonzero().flatten().tolist()
        assert_near(got[~got.isnan()], expected[~got.isnan()], 64)


BAD: list[tuple[str, Any, str]] = [
    ("user_table", "text", "^user_table must be a torch.Tensor, got str"),
    ("user_table", torch.zeros(5, 1).double(), "^user_table must have 1 dimension"),
    ("user_table", torch.zeros(5, dtype=torch.int64), "^user_table must be float32"),
    ("item_table", torch.zeros(6), "^item_table must have the dtype of user_table, float64, got float32"),
    ("item_table", torch.zeros(6, device="meta"), "^item_table must be on the device of user_table"),
    ("label_table", None, "^label_table and labels must be given together, got labels alone"),
    ("labels", None, "^label_table and labels must be given together, got label_table alone"),
    ("users", torch.zeros(40), "^users must be int32 or int64, got float32"),
    ("users", torch.zeros(40, 1, dtype=torch.int64), "^users must have 1 dimension"),
    ("items", torch.zeros(40, dtype=torch.int32), "^items must have the dtype of users, int64, got int32"),
    ("items", torch.zeros(39, dtype=torch.int64), "^items must have the shape of users"),
    ("labels", torch.zeros(39, dtype=torch.int64), "^labels must have the shape of users"),
    ("items", None, "^items must be a torch.Tensor, got NoneType"),
    ("temperature", 0.0, "^temperature must be positive and finite, got 0"),
    ("temperature", -5.0, "^temperature must be positive and finite, got -5"),
    ("temperature", float("nan"), "^temperature must be positive and finite, got nan"),
    ("temperature", "warm", "^temperature must be a number, got str"),
]


@pytest.mark.parametrize(("name", "value", "match"), BAD, ids=[f"{name}:{match[1:30]}" for name, _, match in BAD])
def test_bad_arguments(name: str, value: Any, match: str, device: Device) -> None:
    tables, indices = inputs(device=device.tensors)
    names = ("user_table", "item_table", "label_table", "users", "items", "labels")
    arguments: dict[str, Any] = dict(zip(names, (*tables, *indices), strict=True))
    if isinstance(value, Tensor) and not value.is_meta:
        value = value.to(device.tensors)
    with pytest.raises(ValueError, match=match):
        additive_weights(**{**arguments, name: value})


def test_a_fresh_model_weighs_one_and_backward_runs_twice() -> None:
    tables, indices = inputs()
    zeros = [torch.zeros_like(table) for table in tables]
    assert torch.equal(additive_weights(*zeros, *indices), torch.ones(40, dtype=torch.float64))
    leaves = leaves_of(tables)
    value = additive_weights(*leaves, *indices).sum()
    first = torch.autograd.grad(value, leaves, retain_graph=True)
    assert all(torch.equal(a, b) for a, b in zip(first, torch.autograd.grad(value, leaves), strict=True))
