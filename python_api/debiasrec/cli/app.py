"""The application: one readable line and exit code 2 on errors, 130 on Ctrl-C."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Annotated, Any, TextIO

import typer

DEBUG = "--debug"
FORWARDING = ("bench",)  # commands whose arguments belong to another program

app = typer.Typer(
    name="debiasrec",
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: debiasrec compare --methods mf,ips,snips,dr --seeds 3",
)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option(DEBUG, help="Show the trace of an error (before or after a command).")] = False,
) -> None:
    """Debiased recommendation: fit, evaluate and compare on the biased and the debiased test."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: without the program's name; ``sys.argv[1:]`` when not given.

    Returns:
        The exit code: 0, 2 on an error (told in one line on stderr), 130 on Ctrl-C.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    debug = DEBUG in args and not (args and args[0] in FORWARDING)
    if debug:
        args = [arg for arg in args if arg != DEBUG]
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            return _exit_code(app(args or ["--help"], prog_name="debiasrec", standalone_mode=False))
        except (KeyboardInterrupt, typer.Abort):
            print("interrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:
            sys.stderr.close()  # a reader such as head that has enough: nothing to complain about
            return 0
        except Exception as error:
            if debug:
                traceback.print_exception(error)
            else:
                print(f"error: {_one_line(error)}", file=sys.stderr)
            return 2


def _exit_code(result: Any) -> int:
    return result if isinstance(result, int) else 0


def _one_line(error: Exception) -> str:
    # typer's usage errors carry their sentence in format_message; expected errors speak for themselves
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    expected = hasattr(error, "format_message") or isinstance(error, (ValueError, IndexError, OSError, ImportError))
    line = " ".join(text.split())
    return line if expected and line else f"{type(error).__name__}: {line} ({DEBUG} shows the trace)"


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
    line: str | None = None,
) -> None:  # fmt: skip
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)
