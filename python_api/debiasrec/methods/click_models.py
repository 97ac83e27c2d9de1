"""Click models without a correction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from debiasrec.methods.clicks import ClickMethod
from debiasrec.models import DeepFM, Model


@dataclass(kw_only=True, eq=False, repr=False)
class PlainDIN(ClickMethod):
    """Deep interest network, trained on all clicks alike."""

    base: ClassVar[str] = "din"
    name: ClassVar[str] = "din"
    summary: ClassVar[str] = "deep interest network on clicks in time order; no correction"
    source: ClassVar[str] = "Zhou et al., Deep Interest Network, KDD 2018"


@dataclass(kw_only=True, eq=False, repr=False)
class PlainDeepFM(ClickMethod):
    """DeepFM, trained on all clicks alike."""

    base: ClassVar[str] = "deepfm"
    model_class: ClassVar[type[Model]] = DeepFM
    name: ClassVar[str] = "deepfm"
    summary: ClassVar[str] = "DeepFM on clicks in time order; no correction"
    source: ClassVar[str] = "Guo et al., DeepFM, IJCAI 2017"


PLAIN: dict[str, type[ClickMethod]] = {method.base: method for method in (PlainDIN, PlainDeepFM)}
