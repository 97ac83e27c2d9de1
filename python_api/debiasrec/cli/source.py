"""The data that a command line describes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any, get_type_hints

import pandas as pd

from .. import data as datasets
from ..data import Dataset, Split
from ..data.splits import LEAVE_ONE_OUT
from ..errors import DebiasRecError
from . import options as opt
from .parse import parse_numbers

SEPARATORS = {".csv": ",", ".tsv": "\t"}
# Options that belong to one kind of source alone, with what they are when left out.
FILE_OPTIONS: dict[str, str | None] = {"uniform": None, "scale": None, "threshold": None}
FILE_OPTIONS |= {f"{column}_column": column for column in ("user", "item", "rating")}


@dataclass(frozen=True)
class DataSource:
    """A named data set, or files of one's own (``data`` then ends in .csv or .tsv)."""

    data: str
    root: Path | None = None
    drop_overlap: bool = False
    core: int | None = None
    uniform: Path | None = None
    user_column: str = "user"
    item_column: str = "item"
    rating_column: str = "rating"
    scale: str | None = None
    threshold: float | None = None

    @property
    def is_file(self) -> bool:
        """Whether the data are files of one's own."""
        return Path(self.data).suffix in SEPARATORS

    def load(self) -> Dataset:
        """Read and validate the data.

        Raises:
            DebiasRecError: options that don't belong together, missing files, or data that don't hold together.
        """
        if self.root is not None and (self.is_file or self.data == "simulated"):
            raise DebiasRecError(f"--root: only with a set that is read from a folder, not with --data {self.data}")
        if self.is_file:
            if self.core is not None:
                raise DebiasRecError("--core: only with a named set of clicks in time order, not with files")
            return self._load_files()
        if misplaced := [name for name, left_out in FILE_OPTIONS.items() if getattr(self, name) != left_out]:
            flags = ", ".join("--" + name.replace("_", "-") for name in misplaced)
            raise DebiasRecError(f"{flags}: only with --data FILE.csv, not with the set {self.data!r}")
        options: dict[str, Any] = {"drop_overlap": True} if self.drop_overlap else {}
        options |= {} if self.core is None else {"core": self.core}
        return datasets.load(self.data, root=self.root, **options)

    def split(self, name: str | None, seed: int) -> Split:
        """Load and cut; without a name by ``leave_one_out`` for clicks in time order, by ``autodebias`` for named sets
        with uniform ratings, else by ``interd``.
        """
        loaded = self.load()
        usual = "interd" if self.is_file or loaded.uniform is None else "autodebias"
        return loaded.split(name or (LEAVE_ONE_OUT if loaded.ordered else usual), seed=seed)

    def to_json(self) -> dict[str, Any]:
        """Plain values; paths absolute, so that they hold from any folder."""
        record = asdict(self)
        for name in ("root", "uniform"):
            record[name] = None if record[name] is None else str(Path(record[name]).resolve())
        return record | ({"data": str(Path(self.data).resolve())} if self.is_file else {})

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> DataSource:
        """The reverse of ``to_json``."""
        paths = {name: None if record[name] is None else Path(record[name]) for name in ("root", "uniform")}
        return cls(**{**record, **paths})

    def _load_files(self) -> Dataset:
        scale = None if self.scale is None else parse_numbers(self.scale, "--scale", float)
        if scale is not None and len(scale) != 2:
            raise DebiasRecError(f"--scale expects the lowest and the highest rating, as 1,5, got {self.scale!r}")
        return datasets.from_frame(
            read_table(Path(self.data)),
            None if self.uniform is None else read_table(self.uniform),
            user=self.user_column,
            item=self.item_column,
            rating=self.rating_column,
            rating_scale=None if scale is None else (scale[0], scale[1]),
            threshold=self.threshold,
            drop_overlap=self.drop_overlap,
            name=Path(self.data).name,
        )


OPTIONS = {
    "data": opt.Data,
    "root": opt.Root,
    "drop_overlap": opt.DropOverlap,
    "core": opt.Core,
    "uniform": opt.Uniform,
    "user_column": opt.UserColumn,
    "item_column": opt.ItemColumn,
    "rating_column": opt.RatingColumn,
    "scale": opt.Scale,
    "threshold": opt.Threshold,
}


def takes_data(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with the options of a DataSource where it has a parameter ``source``.

    A parameter that may be None is None where no data are named; else they are the simulated set.
    """
    hints, signature = get_type_hints(command, include_extras=True), inspect.signature(command)
    optional = hints["source"] != DataSource
    annotations = {**OPTIONS, "data": opt.FittedData if optional else opt.Data}
    defaults = {field.name: field.default for field in fields(DataSource)}
    defaults["data"] = None if optional else "simulated"
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        if name != "source":
            parameters.append(parameter.replace(annotation=hints[name]))
            continue
        parameters += [
            inspect.Parameter(option, parameter.kind, default=defaults[option], annotation=annotation)
            for option, annotation in annotations.items()
        ]

    @wraps(command)
    def with_options(**arguments: Any) -> Any:
        given = {option: arguments.pop(option) for option in annotations}
        return command(**arguments, source=None if given["data"] is None else DataSource(**given))

    with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


def read_table(path: Path) -> pd.DataFrame:
    """A comma- or tab-separated file with a header.

    Raises:
        DebiasRecError: the file is missing, not readable as a table, or its name has another ending.
    """
    if path.suffix not in SEPARATORS:
        raise DebiasRecError(f"{path}: expected a file whose name ends in {' or '.join(SEPARATORS)}")
    if not path.is_file():
        raise DebiasRecError(f"{path}: no such file")
    try:
        return pd.read_csv(path, sep=SEPARATORS[path.suffix])
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DebiasRecError(f"{path}: not a table: {str(error).strip()}") from error
