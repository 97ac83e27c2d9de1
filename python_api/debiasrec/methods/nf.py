"""Neural factorisation machines in the place of matrix factorisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from debiasrec.methods.dr import DR
from debiasrec.methods.ips import IPS
from debiasrec.methods.mf import MF, with_uniform_rows
from debiasrec.methods.neural import Neural
from debiasrec.methods.options import flag

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split


@dataclass(kw_only=True, eq=False, repr=False)
class NF(Neural, MF):
    """Neural factorisation machine on the biased ratings: sum of (s - t)^2 over the rated pairs.

    Args:
        uniform_rows: train on the uniform ratings too.

    Source: He and Chua, SIGIR 2017; over users, items and their covariates as in Wang et al., LTD, WSDM 2021.
    """

    name: ClassVar[str] = "nf"
    summary: ClassVar[str] = "neural factorisation machine; no correction"
    source: ClassVar[str] = "He and Chua, Neural Factorization Machines, SIGIR 2017"

    uniform_rows: bool = flag(False)

    def training_rows(self, split: Split) -> Interactions:
        """The biased training part, with the uniform one after it where `uniform_rows`."""
        return with_uniform_rows(split, self.name) if self.uniform_rows else split.train


@dataclass(kw_only=True, eq=False, repr=False)
class NFIPS(Neural, IPS):
    """`IPS` with a neural factorisation machine."""

    name: ClassVar[str] = "nf_ips"
    summary: ClassVar[str] = "inverse propensity scoring of a neural factorisation machine"


@dataclass(kw_only=True, eq=False, repr=False)
class NFDR(Neural, DR):
    """`DR` with neural factorisation machines, one that predicts and one that imputes."""

    name: ClassVar[str] = "nf_dr"
    summary: ClassVar[str] = "doubly robust learning of a neural factorisation machine"
