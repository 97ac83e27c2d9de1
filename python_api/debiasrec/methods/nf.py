"""Neural factorisation machines in the place of matrix factorisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from debiasrec.methods.dr import DR
from debiasrec.methods.ips import IPS
from debiasrec.methods.mf import UniformRows
from debiasrec.methods.neural import Neural


@dataclass(kw_only=True, eq=False, repr=False)
class NF(Neural, UniformRows):
    """Neural factorisation machine on the biased ratings: sum of (s - t)^2 over the rated pairs.

    Source: He and Chua, SIGIR 2017; over users, items and their covariates as in Wang et al., LTD, WSDM 2021.
    """

    name: ClassVar[str] = "nf"
    summary: ClassVar[str] = "neural factorisation machine; no correction"
    source: ClassVar[str] = "He and Chua, Neural Factorization Machines, SIGIR 2017"


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
