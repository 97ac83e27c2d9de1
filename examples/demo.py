"""The demo: compare methods on both tests, measure the operators, say where the files are.

Run it: python examples/demo.py [--data coat --root FOLDER] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from debiasrec.cli import main as debiasrec_command

METHODS = "mf,mf_uniform,mf_combine,ips,snips,dr"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="simulated", help="a data set of `debiasrec list`")
    parser.add_argument("--root", help="folder with the files of the data set")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder for the files")
    options = parser.parse_args()
    started = time.perf_counter()
    where = ["--data", options.data, *(["--root", options.root] if options.root else [])]
    results = str(options.out / options.data)
    compare = ["compare", *where, "--split", "interd", "--methods", METHODS, "--seeds", "3", "--out", results]
    steps = {"Methods on the biased and the debiased test": compare, "Operators, quick benchmark": ["bench", "--quick"]}
    for title, command in steps.items():
        print(f"\n=== {title}\n$ debiasrec {' '.join(command)}\n", flush=True)
        if code := debiasrec_command(command):
            return code
    print(f"\nDone in {time.perf_counter() - started:.0f} s. Results: {results}/results.csv, summary.csv, run.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
