"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

DATA, FILES, SPLIT = "Data", "Your own files", "Split"

DATA_HELP = "A data set of `debiasrec list`, or a .csv/.tsv file."
Data = Annotated[str, typer.Option(help=DATA_HELP, rich_help_panel=DATA)]
FittedData = Annotated[
    str | None, typer.Option(help=f"{DATA_HELP} Left out: data and split of the fit.", rich_help_panel=DATA)
]
Root = Annotated[
    Path | None, typer.Option(help="Folder with the files of a named data set, or its file.", rich_help_panel=DATA)
]
DropOverlap = Annotated[
    bool, typer.Option("--drop-overlap", help="Drop uniform rows that are biased rows too.", rich_help_panel=DATA)
]
Core = Annotated[
    int | None,
    typer.Option(min=1, help="Fewest clicks of a user and of an item, for clicks in time order.", rich_help_panel=DATA),
]
Uniform = Annotated[Path | None, typer.Option(help="Ratings of random items.", rich_help_panel=FILES)]
UserColumn = Annotated[str, typer.Option(help="Column of user ids.", rich_help_panel=FILES)]
ItemColumn = Annotated[str, typer.Option(help="Column of item ids.", rich_help_panel=FILES)]
RatingColumn = Annotated[str, typer.Option(help="Column of ratings.", rich_help_panel=FILES)]
Scale = Annotated[str | None, typer.Option(help="Lowest and highest rating: 1,5.", rich_help_panel=FILES)]
Threshold = Annotated[float | None, typer.Option(help="Ratings from here on are positive.", rich_help_panel=FILES)]
SplitName = Annotated[
    str | None,
    typer.Option(
        "--split", help="A protocol of `debiasrec list`. Left out: leave_one_out for clicks in time order, "
        "autodebias for named sets with uniform ratings, else interd.", rich_help_panel=SPLIT,
    ),
]  # fmt: skip
SplitSeed = Annotated[int, typer.Option(min=0, help="Seed of the split.", rich_help_panel=SPLIT)]
Ks = Annotated[
    str | None, typer.Option("--k", help="List lengths of NDCG or DCG, Recall, MAP: 5,10. Left out: the split's.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="OPTION=VALUE", help="Set a hyper-parameter (repeatable).")
]
NoPreset = Annotated[bool, typer.Option("--no-preset", help="Leave the presets for this data set aside.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
Out = Annotated[Path | None, typer.Option(help="Folder for the files.")]


def use_threads(threads: int | None) -> None:
    """Limit torch and the operators to this many CPU threads."""
    if threads is not None:
        torch.set_num_threads(threads)
