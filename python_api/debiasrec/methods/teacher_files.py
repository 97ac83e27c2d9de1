"""Fitted teachers in a folder, so that no process fits them again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debiasrec.errors import DebiasRecError
from debiasrec.methods import persistence

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split
    from debiasrec.methods.base import Method

_FOLDER: ContextVar[Path | None] = ContextVar("folder of fitted teachers", default=None)


@contextmanager
def keeping_teachers(out: str | Path | None) -> Iterator[None]:
    """Within it, teachers are written into `out`/teachers, and those that stand there are not fitted; None keeps none.

    A file goes by the teacher's settings, the device, the data, the split and the versions of the packages.
    """
    token = _FOLDER.set(None if out is None else Path(out) / "teachers")
    try:
        yield
    finally:
        _FOLDER.reset(token)


@dataclass(frozen=True)
class TeacherFile:
    """Where a fitted teacher stands, and all that its scores depend on."""

    path: Path
    origin: dict[str, Any]

    @classmethod
    def of(cls, settings: dict[str, Any], split: Split) -> TeacherFile | None:
        """The file of a teacher with these settings on this split; None outside `keeping_teachers`."""
        from debiasrec.report.provenance import environment

        folder = _FOLDER.get()
        if folder is None:
            return None
        origin = {
            **settings,
            "data": split.dataset.name,
            "split": split.name,
            "split_seed": split.seed,
            "sha256": split.fingerprint(),
            "packages": environment()["packages"],
        }
        name = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:16]
        return cls(folder / f"{settings['method']}-{name}.safetensors", origin)

    def exists(self) -> bool:
        """Whether the teacher was written."""
        return self.path.exists()

    def write(self, teacher: Method) -> None:
        """Write the fitted teacher."""
        persistence.write(teacher, self.path, self.origin)

    def read(self) -> Method:
        """The fitted teacher.

        Raises:
            DebiasRecError: the file is damaged, or holds another teacher.
        """
        teacher, origin = persistence.read(self.path)
        if origin != self.origin:
            raise DebiasRecError(f"{self.path} holds another teacher than its name says: delete it")
        return teacher
