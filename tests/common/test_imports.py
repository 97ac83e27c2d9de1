"""What `import debias_ext` brings along."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
import torch, numpy
before = {name.partition(".")[0] for name in sys.modules}
import debias_ext
after = {name.partition(".")[0] for name in sys.modules}
print(*sorted(after - before - set(sys.stdlib_module_names)))
"""


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_debias_ext_imports_only_torch_and_numpy() -> None:
    assert run(SCRIPT) == "debias_ext"


def test_importing_debias_ext_starts_nothing_and_prints_nothing() -> None:
    threads = "import debias_ext, threading, torch; assert threading.active_count() == 1"
    assert run(f"{threads}; assert not torch.cuda.is_initialized()") == ""


def test_every_public_name_exists() -> None:
    import debias_ext

    assert all(hasattr(debias_ext, name) for name in debias_ext.__all__)
    assert len(set(debias_ext.__all__)) == len(debias_ext.__all__)
