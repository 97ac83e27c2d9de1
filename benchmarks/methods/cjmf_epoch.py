"""Seconds of an epoch of CJMF, against a loop over its models in plain torch.

    python -m debiasrec.benchmarks.methods.cjmf_epoch [--data simulated] [--root FOLDER] [--rounds 5]

Both sides train on the same parts, draws and batches from the same initial tables, with the same optimiser (Adam of the
rows of the batch); their losses are printed and have to agree.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import torch

import debiasrec
from debiasrec.errors import DebiasRecWarning
from debiasrec.methods import CJMF

from ..harness import UnequalResults, summary
from ..plain_cjmf import PlainCJMF

TOLERANCE = 1e-3


def main() -> None:
    """Both sides in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="simulated")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    warnings.simplefilter("ignore", DebiasRecWarning)
    torch.set_num_threads(options.threads)
    method = CJMF()
    split = debiasrec.load(options.data, root=options.root).split("implicit")
    loader = method._start(split, "cpu")
    plain = PlainCJMF(method)
    seconds: list[tuple[float, float]] = []
    for number in range(1, options.rounds + 1):
        begin = time.perf_counter()
        ours = method.epoch(loader, number)
        middle = time.perf_counter()
        theirs = plain.epoch(loader, number)
        seconds.append((middle - begin, time.perf_counter() - middle))
        if abs(ours - theirs) > TOLERANCE * abs(theirs):
            raise UnequalResults(f"epoch {number}: loss {ours:g}, in plain torch {theirs:g}")
        print(
            f"epoch {number}: loss {ours:.6f} and {theirs:.6f}, {seconds[-1][0]:.3f} s and {seconds[-1][1]:.3f} s",
            flush=True,
        )
    mine, other = (summary(list(side)).p50 for side in zip(*seconds, strict=True))
    print(f"{options.data}: {mine:.3f} s an epoch, plain torch {other:.3f} s, {other / mine:.1f}x")


if __name__ == "__main__":
    main()
