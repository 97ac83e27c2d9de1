"""`optimizer_step_` against plain torch in float64, over every kind of kernel."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import Device
from torch import Tensor

from debias_ext import optimizer_step_, reference

SHAPES = [(7, 5), (300, 17), (64,), (), (3, 2, 4), (0, 3), (4, 0)]
MOMENTS = {"sgd": (), "adagrad": ("second",), "adam": ("first", "second")}
OPS = torch.ops.debias_ext


class Problem:
    """Tables of several shapes, gradients for some steps, and the optimiser's state."""

    def __init__(self, kind: str, dtype: torch.dtype, device: str, shapes: list[tuple[int, ...]] = SHAPES) -> None:
        generator = torch.Generator().manual_seed(7)

        def draw(shape: tuple[int, ...]) -> Tensor:
            # Of few digits, so that every dtype holds the same numbers.
            return (torch.randn(shape, generator=generator) * 16).round().div(16).to(device, dtype)

        self.kind = kind
        self.tables = [draw(shape) for shape in shapes]
        self.gradients = [[draw(shape) for shape in shapes] for _ in range(4)]
        state = torch.float64 if dtype == torch.float64 else torch.float32
        self.state = {name: [torch.zeros_like(table, dtype=state) for table in self.tables] for name in MOMENTS[kind]}

    def double(self) -> Problem:
        """The same in float64."""
        other = object.__new__(Problem)
        other.kind = self.kind
        other.tables = [table.double() for table in self.tables]
        other.gradients = [[gradient.double() for gradient in each] for each in self.gradients]
        other.state = {name: [moment.double() for moment in moments] for name, moments in self.state.items()}
        return other

    def run(self, function: Any = optimizer_step_, **options: Any) -> Problem:
        """Four steps."""
        for k, gradients in enumerate(self.gradients):
            function(self.tables, gradients, kind=self.kind, lr=0.05, step=k + 1, **self.state, **options)
        return self

    def results(self) -> list[Tensor]:
        """Tables and moments."""
        return self.tables + [moment for moments in self.state.values() for moment in moments]


def sparse(gradient: Tensor, rows: Tensor) -> Tensor:
    """The given rows of a gradient."""
    return torch.sparse_coo_tensor(rows[None], gradient[rows], gradient.shape, check_invariants=True).coalesce()


@pytest.mark.parametrize("decay", [0.0, 0.25])
@pytest.mark.parametrize("kind", MOMENTS)
def test_steps_equal_plain_torch_in_float64(kind: str, decay: float, device: Device) -> None:
    for dtype in device.floats:
        problem = Problem(kind, dtype, device.tensors)
        expected = problem.double().run(reference.optimizer_step_, weight_decay=decay)
        problem.run(weight_decay=decay)
        tolerance = 16 * torch.finfo(dtype).eps
        for ours, theirs in zip(problem.results(), expected.results(), strict=True):
            torch.testing.assert_close(ours.double(), theirs, rtol=tolerance, atol=tolerance)


def test_the_second_moment_keeps_the_digits_of_a_beta_close_to_one() -> None:
    table, first, second = (torch.zeros(1) for _ in range(3))
    optimizer_step_([table], [torch.ones(1)], kind="adam", lr=0.1, first=[first], second=[second])
    torch.testing.assert_close(second, torch.tensor([0.001]), rtol=1e-7, atol=0)


@pytest.mark.parametrize("decay", [0.0, 0.25])
@pytest.mark.parametrize("kind", MOMENTS)
def test_sparse_gradients_take_the_steps_of_dense_ones_to_the_bit(kind: str, decay: float, device: Device) -> None:
    problem, twin = (Problem(kind, torch.float32, device.tensors, [(300, 17), (40,), (9, 2)]) for _ in range(2))
    generator = torch.Generator().manual_seed(1)
    for k, gradients in enumerate(problem.gradients):
        rows = [torch.randperm(len(each), generator=generator)[: len(each) // 3 * (k % 3)] for each in gradients[:2]]
        given = [sparse(g, r.to(g.device)) for g, r in zip(gradients, rows, strict=False)]
        problem.gradients[k] = [*given, gradients[2]]
        twin.gradients[k] = [*(each.to_dense() for each in given), gradients[2]]
    for ours, theirs in zip(
        problem.run(weight_decay=decay).results(), twin.run(weight_decay=decay).results(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_a_gradient_that_is_not_coalesced_is_summed(device: Device) -> None:
    table = torch.zeros(4, 2, device=device.tensors)
    index = torch.tensor([[3, 1, 3]], device=device.tensors)
    values = torch.ones(3, 2, device=device.tensors)
    gradient = torch.sparse_coo_tensor(index, values, (4, 2), check_invariants=True)
    optimizer_step_([table], [gradient], kind="sgd", lr=1.0)
    assert table[:, 0].tolist() == [0, -1, 0, -2]


def test_rows_out_of_reach_do_not_move(device: Device) -> None:
    table, second = torch.ones(5, 2, device=device.tensors), torch.zeros(5, 2, device=device.tensors)
    gradient = sparse(torch.ones_like(table), torch.tensor([2], device=device.tensors))
    optimizer_step_([table], [gradient], kind="adagrad", lr=0.5, second=[second], eps=0.0)
    assert table[:, 0].tolist() == [1, 1, 0.5, 1, 1]


def test_strided_tables_and_gradients(device: Device) -> None:
    wide = torch.ones(4, 6, device=device.tensors)
    version = wide._version
    optimizer_step_([wide[:, ::2]], [torch.ones(3, 4, device=device.tensors).T], kind="sgd", lr=0.25)
    assert wide[0].tolist() == [0.75, 1, 0.75, 1, 0.75, 1]
    assert wide._version > version


def test_autograd_sees_that_a_table_has_changed() -> None:
    table = torch.ones(3, requires_grad=True)
    loss = table.square().sum()
    optimizer_step_([table], [torch.ones(3)], kind="sgd", lr=0.1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_no_tables_is_no_step() -> None:
    optimizer_step_([], [], kind="sgd", lr=0.1)


@pytest.mark.parametrize("kind", MOMENTS)
def test_the_number_of_threads_does_not_change_a_bit(kind: str, one_and_two_threads: None) -> None:
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(Problem(kind, torch.float32, "cpu", [(5_003, 17), (40_001,), (3,)]).run().results())
    for one, *others in zip(*results, strict=True):
        assert all(torch.equal(one, other) for other in others)


def test_opcheck() -> None:
    tables, gradients = [torch.randn(6, 3), torch.randn(4)], [torch.randn(2, 3), torch.randn(4)]
    rows = [torch.tensor([1, 4]), torch.empty(0, dtype=torch.int64)]
    state = [[torch.zeros_like(table) for table in tables] for _ in range(2)]
    rule = ("adam", 0.1, 0.9, 0.999, 1e-8, 1, 0.01, True)
    torch.library.opcheck(OPS.optimizer_step_.default, (tables, gradients, rows, *state, *rule))
    rule = ("sgd", 0.1, 0.9, 0.999, 1e-8, 1, 0.01, True)
    torch.library.opcheck(
        OPS.optimizer_step_.default, (tables, [gradients[0].new_ones(6, 3), gradients[1]], [], [], [], *rule)
    )


def test_compiled_code_calls_it_between_its_graphs() -> None:
    torch._dynamo.reset()
    table = torch.ones(3)

    def step(x: Tensor, lr: float) -> Tensor:
        optimizer_step_([table], [torch.ones(3)], kind="sgd", lr=lr)
        return torch.sin(x) * 2

    compiled = torch.compile(step, backend="eager")
    for lr in (0.5, 0.25, 0.125):
        compiled(torch.ones(()), lr)
    assert table.tolist() == [0.125] * 3
    torch._dynamo.reset()


def test_transforms_are_refused() -> None:
    with pytest.raises(RuntimeError, match="has no derivative"):
        torch.func.grad(lambda g: optimizer_step_([torch.ones(3)], [g], kind="sgd", lr=0.1))(torch.ones(3))


def given(**changes: Any) -> dict[str, Any]:
    tables = [torch.ones(3, 2), torch.ones(4)]
    state = {name: [torch.zeros_like(table) for table in tables] for name in ("first", "second")}
    gradients = [torch.ones_like(table) for table in tables]
    return {"tables": tables, "gradients": gradients, "kind": "adam", "lr": 0.1, **state, **changes}


ONES, OTHER = torch.ones(3, 2), torch.ones(4)
SHARED = torch.ones(4)
BAD: list[tuple[dict[str, Any], str]] = [
    ({"kind": "adamw"}, "kind must be one of 'sgd', 'adagrad', 'adam', got 'adamw'"),
    ({"tables": [[1.0], OTHER]}, r"tables\[0\] must be a torch.Tensor, got list"),
    ({"gradients": [ONES]}, r"gradients must have 2 tensor\(s\), got 1"),
    ({"first": []}, r"first must have 2 tensor\(s\), got 0"),
    ({"kind": "sgd"}, r"first must have 0 tensor\(s\), got 2"),
    ({"tables": [ONES.long(), OTHER]}, r"tables\[0\] must be float32.* got int64"),
    ({"tables": [ONES, OTHER.double()]}, r"tables\[1\] must have the dtype of tables\[0\], float32, got float64"),
    ({"gradients": [ONES, OTHER.double()]}, r"gradients\[1\] must have the dtype of tables\[0\]"),
    ({"gradients": [ONES, torch.ones(5)]}, r"gradients\[1\] must have the shape of tables\[1\], \[4\], got \[5\]"),
    ({"gradients": [sparse(torch.ones(3, 5), torch.tensor([1])), OTHER]}, r"gradients\[0\] must have a row like those"),
    ({"gradients": [torch.eye(3, 2).to_sparse(), OTHER]}, r"gradients\[0\] must have 1 sparse dimension, got 2"),
    ({"gradients": [torch.eye(3, 2).to_sparse_csr(), OTHER]}, r"gradients\[0\] must be dense or sparse COO"),
    ({"second": [ONES * 0, torch.zeros(3)]}, r"second\[1\] must have the shape of its table, \[4\], got \[3\]"),
    ({"second": [ONES.double(), OTHER]}, r"second\[0\] must be float32, got float64"),
    ({"first": [torch.zeros(2, 3).T, OTHER * 0]}, r"first\[0\] is written in place and must be contiguous"),
    ({"tables": [ONES, SHARED], "second": [ONES * 0, SHARED]}, "written in place and must not overlap"),
    ({"tables": [ONES, torch.ones(4, device="meta")]}, r"tables\[1\] must be on the device of tables\[0\]"),
    ({"lr": -0.1}, "lr must be finite and not negative"),
    ({"eps": -1.0}, "eps must be finite and not negative"),
    ({"betas": (0.9, 1.0)}, r"betas must be in \[0, 1\)"),
    ({"step": 0}, "step must be at least 1, got 0"),
    ({"weight_decay": float("nan")}, "weight_decay must be finite and not negative"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_input_is_named_and_nothing_is_written(changes: dict[str, Any], message: str) -> None:
    arguments = given(**changes)
    with pytest.raises(ValueError, match=message):
        optimizer_step_(**arguments)
    tables = [table for table in arguments["tables"] if isinstance(table, Tensor) and not table.is_meta]
    assert all(torch.equal(table, torch.ones_like(table)) for table in tables)


def test_rows_out_of_range_and_out_of_order_are_refused(device: Device) -> None:
    for row, error in ((3, IndexError), (-1, IndexError)):
        gradient = torch.sparse_coo_tensor(
            torch.tensor([[row]]), torch.ones(1, 2), (3, 2), is_coalesced=True, check_invariants=False
        )
        with pytest.raises(error, match=r"rows\[0\] must be in \[0, 3\), got"):
            optimizer_step_([torch.ones(3, 2, device=device.tensors)], [gradient.to(device.tensors)], kind="sgd", lr=1)
    rule = ("sgd", 0.1, 0.0, 0.0, 0.0, 1, 0.0, True)
    with pytest.raises(ValueError, match=r"rows\[0\] must be ascending, got 1 after 1"):
        OPS.optimizer_step_([torch.ones(3, 2)], [torch.ones(2, 2)], [torch.tensor([1, 1])], [], [], *rule)
