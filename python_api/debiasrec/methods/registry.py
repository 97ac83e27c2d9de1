"""Methods by name."""

from __future__ import annotations

from typing import Any

from debiasrec.errors import DebiasRecError
from debiasrec.methods.autodebias import AutoDebias
from debiasrec.methods.autodebias_implicit import AutoDebiasImplicit
from debiasrec.methods.averages import ItemMean, Popularity, UserMean
from debiasrec.methods.bal import BalIPS, BalMF
from debiasrec.methods.bal_autodebias import BalAutoDebias
from debiasrec.methods.bal_dr import BalDR
from debiasrec.methods.base import Method
from debiasrec.methods.biif import Biif
from debiasrec.methods.bpr import BPR, UnbiasedBPR
from debiasrec.methods.causald import CausalD
from debiasrec.methods.cause import CausE
from debiasrec.methods.ceb import CEB
from debiasrec.methods.cjmf import CJMF
from debiasrec.methods.click_models import PlainDeepFM, PlainDIN
from debiasrec.methods.cpt_v import CPTV
from debiasrec.methods.debiasd import DebiasD
from debiasrec.methods.dr import DR, DRTwoStage
from debiasrec.methods.ensctr import EnsCTR
from debiasrec.methods.ensemble import Ensemble
from debiasrec.methods.expomf import ExpoMF
from debiasrec.methods.exposure import CausalRec, DeRec
from debiasrec.methods.group_ips import GroupIPS
from debiasrec.methods.interd import InterD, InterDB, InterDI, InterDO
from debiasrec.methods.ips import IPS
from debiasrec.methods.joint import AlterOpt, BiOpt2, JointOpt
from debiasrec.methods.kd import KD
from debiasrec.methods.kd_label import KDLabel
from debiasrec.methods.ltd import MFIPSLTD, NFIPSLTD
from debiasrec.methods.ltd_dr import MFDRLTD, NFDRLTD
from debiasrec.methods.meal import MEAL
from debiasrec.methods.mf import MF, MFCombine, MFUniform
from debiasrec.methods.mf_pd import MFPD
from debiasrec.methods.mf_tfrom import MFTFROM
from debiasrec.methods.nf import NF, NFDR, NFIPS
from debiasrec.methods.pmf_nmar import PMFNMAR
from debiasrec.methods.relmf import RelMF
from debiasrec.methods.snips import SNIPS
from debiasrec.methods.umf import UMF
from debiasrec.methods.wmf import WMF
from debiasrec.naming import unknown_name

REGISTRY: dict[str, type[Method]] = {
    cls.name: cls
    for cls in (
        UserMean,
        ItemMean,
        Popularity,
        MF,
        MFUniform,
        MFCombine,
        WMF,
        ExpoMF,
        CEB,
        CJMF,
        IPS,
        SNIPS,
        DR,
        DRTwoStage,
        AutoDebias,
        BalMF,
        BalIPS,
        BalDR,
        BalAutoDebias,
        NF,
        NFIPS,
        NFDR,
        MFIPSLTD,
        MFDRLTD,
        NFIPSLTD,
        NFDRLTD,
        CPTV,
        PMFNMAR,
        CausE,
        KDLabel,
        MFPD,
        MFTFROM,
        Ensemble,
        InterD,
        InterDB,
        InterDO,
        InterDI,
        BPR,
        UnbiasedBPR,
        RelMF,
        UMF,
        Biif,
        JointOpt,
        AlterOpt,
        BiOpt2,
        AutoDebiasImplicit,
        PlainDIN,
        PlainDeepFM,
        KD,
        GroupIPS,
        CausalRec,
        DeRec,
        DebiasD,
        EnsCTR,
        MEAL,
        CausalD,
    )
}


def make(name: str, **params: Any) -> Method:
    """A method by name, with the given hyper-parameters.

    Args:
        name: a key of REGISTRY.
        params: hyper-parameters of that method.

    Raises:
        DebiasRecError: the name or an option is unknown; the message names the nearest valid one.
    """
    if name not in REGISTRY:
        raise DebiasRecError(unknown_name("method", name, REGISTRY))
    cls = REGISTRY[name]
    valid = cls._get_param_names()
    for option in params:
        if option not in valid:
            raise DebiasRecError(unknown_name(f"option of {name}", option, valid))
    return cls(**params)
