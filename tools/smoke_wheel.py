"""Builds a wheel with this Python's torch and runs it beside another torch.

One binary serves every torch from 2.13 on, CPU or CUDA. This script shows it for one more version:

    python tools/smoke_wheel.py --torch 2.14.1 --venv build/other-torch

The virtual environment is kept, so that a second run downloads nothing. Not part of CI: a CUDA build of torch is
several gigabytes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

SMOKE = """
import torch, debias_ext
from debias_ext import doctor

generator = torch.Generator().manual_seed(0)
tables = [torch.randn(size, 8, generator=generator, requires_grad=True) for size in (50, 40)]
users, items = torch.randint(50, (500,), generator=generator), torch.randint(40, (500,), generator=generator)
targets, propensities = torch.rand(500, generator=generator), torch.rand(500, generator=generator).clamp(min=0.1)

def loss(ops):
    scores = ops.mf_score(*tables, users, items)
    return ops.ips_loss(scores, targets, propensities, loss="bce")

fused = torch.autograd.grad(loss(debias_ext), tables)
plain = torch.autograd.grad(loss(debias_ext.reference), tables)
for ours, theirs in zip(fused, plain):
    torch.testing.assert_close(ours, theirs)
compiled = torch.compile(lambda s: debias_ext.ips_loss(s, targets, propensities), fullgraph=True, backend="aot_eager")
torch.testing.assert_close(compiled(targets * 2), debias_ext.reference.ips_loss(targets * 2, targets, propensities))
ranking = debias_ext.group_ranking(torch.rand(500, generator=generator), (targets > 0.5).float(), users)
assert 0 < ranking.mean()["auc"] < 1
assert doctor.main() == 0
print("smoke test passed under torch", torch.__version__)
"""


def run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", default="2.14.1", help="the torch version to run beside (default: %(default)s)")
    parser.add_argument("--venv", type=Path, default=ROOT / "build" / "other-torch", help="where its environment lies")
    arguments = parser.parse_args()
    python = arguments.venv / "bin" / "python"
    if not python.exists():
        venv.create(arguments.venv, with_pip=True)
    run(python, "-m", "pip", "install", "--quiet", f"torch=={arguments.torch}")
    wheels = ROOT / "build" / "wheels"
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "-w", wheels, ROOT)
    wheel = max(wheels.glob("debias_ext-*.whl"), key=lambda path: path.stat().st_mtime)
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB")
    run(python, "-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps", wheel)
    run(python, "-m", "pip", "install", "--quiet", "debias-ext")  # the other dependencies, torch staying as it is
    subprocess.run([str(python), "-c", SMOKE], check=True, cwd=arguments.venv)


if __name__ == "__main__":
    main()
