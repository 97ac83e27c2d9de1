"""The roofline page is up to date, and its occupancies are those of the rules."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "tools"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("cuda_roofline")


@pytest.mark.parametrize(
    ("arch", "threads", "registers", "shared", "share"),
    [
        ("sm_90", 256, 32, 0, 1.0),
        ("sm_90", 256, 64, 0, 0.5),  # 4 blocks of 8 warps with 2,048 registers each
        ("sm_90", 256, 65, 0, 0.375),  # 72 registers a thread: 28 warps, 3 blocks
        ("sm_90", 128, 255, 0, 0.125),  # 8,192 a warp: 8 warps
        ("sm_75", 256, 64, 0, 1.0),  # half as many threads
        ("sm_86", 256, 32, 48 << 10, 1 / 3),  # 2 blocks of 49 KB in 100
        ("sm_80", 32, 16, 0, 0.5),  # 32 blocks of one warp
        ("sm_75", 1024, 80, 0, 0.0),  # the block does not fit
    ],
)
def test_occupancy(tool: ModuleType, arch: str, threads: int, registers: int, shared: int, share: float) -> None:
    assert tool.occupancy(tool.LIMITS[arch], threads, registers, shared) == pytest.approx(share)


def test_block_sizes_come_from_the_launch_bounds(tool: ModuleType) -> None:
    sizes = tool.block_sizes()
    assert sizes["pass_kernel"] == 128
    assert sizes["mf_score_kernel"] == 256
    assert sizes["tile_kernel"] == 256  # a product of two constants
    assert sizes["topk_kernel"] == 128  # an expression of several


def test_an_expression_that_is_not_arithmetic_is_refused(tool: ModuleType) -> None:
    with pytest.raises(ValueError, match="cannot read the launch bounds"):
        tool.value_of("1 ? 2 : 3", {})


def test_the_heaviest_float_variant_counts(tool: ModuleType, tmp_path: Path) -> None:
    table = tmp_path / "resources.csv"
    table.write_text(
        "kernel,arch,registers,shared_bytes,spill_store_bytes,spill_load_bytes,stack_bytes\n"
        '"debias::busy_kernel<float, int>",sm_90,40,1024,0,0,0\n'
        '"debias::busy_kernel<__half, long>",sm_90,48,512,0,0,0\n'
        '"debias::busy_kernel<double, int>",sm_90,90,4096,0,0,0\n'
    )
    assert tool.heaviest(table) == {"busy_kernel": {"sm_90": tool.Resources(48, 1024)}}


def test_predictions_name_their_bound(tool: ModuleType) -> None:
    def work(moved: float, operations: float, launches: int = 1, double: bool = False):
        return tool.Work("op", (), "", moved, operations, launches, double)

    assert tool.predicted(work(3.35e12, 0)) == (pytest.approx(1, rel=1e-5), "memory")
    assert tool.predicted(work(0, 67e12)) == (pytest.approx(1, rel=1e-5), "arithmetic")
    assert tool.predicted(work(0, 34e12, double=True)) == (pytest.approx(1, rel=1e-5), "arithmetic")
    assert tool.predicted(work(8, 8, 5)) == (pytest.approx(15e-6, rel=1e-3), "launches")


def test_every_kernel_family_has_its_work_stated(tool: ModuleType) -> None:
    stated = {name for work in tool.all_work() for name in work.kernels}
    assert tool.unknown_kernels(tool.all_work(), tool.block_sizes()) == []
    for family in {path.parent for path in ROOT.glob("csrc/*/*_cuda.cu")}:
        kernels = {name for path in family.glob("*.cu*") for _, name in tool.KERNEL.findall(path.read_text())}
        assert kernels & stated, f"tools/cuda_work.py says nothing of {family.name}"


def test_a_renamed_kernel_is_noticed(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "block_sizes", dict)
    assert tool.main(["--check"]) == 1


def test_a_changed_page_is_out_of_date(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "PAGE", tmp_path / "page.md")
    sizes = {name: 256 for work in tool.all_work() for name in work.kernels}
    monkeypatch.setattr(tool, "block_sizes", lambda: sizes)
    assert tool.main(["--check"]) == 1
    assert tool.main([]) == 0
    assert tool.main(["--check"]) == 0
    assert "Predicted, not measured" in (tmp_path / "page.md").read_text()
    (tmp_path / "page.md").write_text("another page")
    assert tool.main(["--check"]) == 1


def test_stored_page_matches_the_resource_report() -> None:
    done = subprocess.run([sys.executable, str(TOOLS / "cuda_roofline.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
