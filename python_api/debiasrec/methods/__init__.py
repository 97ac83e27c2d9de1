"""Training methods: what is fitted to the biased ratings, and how the bias is corrected."""

from __future__ import annotations

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
from debiasrec.methods.persistence import load_model
from debiasrec.methods.pmf_nmar import PMFNMAR
from debiasrec.methods.presets import preset, preset_record
from debiasrec.methods.registry import REGISTRY, make
from debiasrec.methods.relmf import RelMF
from debiasrec.methods.snips import SNIPS
from debiasrec.methods.trained import Trained
from debiasrec.methods.umf import UMF
from debiasrec.methods.wmf import WMF

__all__ = [
    "BPR",
    "CEB",
    "CJMF",
    "CPTV",
    "DR",
    "IPS",
    "KD",
    "MEAL",
    "MF",
    "MFDRLTD",
    "MFIPSLTD",
    "MFPD",
    "MFTFROM",
    "NF",
    "NFDR",
    "NFDRLTD",
    "NFIPS",
    "NFIPSLTD",
    "PMFNMAR",
    "REGISTRY",
    "SNIPS",
    "UMF",
    "WMF",
    "AlterOpt",
    "AutoDebias",
    "AutoDebiasImplicit",
    "BalAutoDebias",
    "BalDR",
    "BalIPS",
    "BalMF",
    "BiOpt2",
    "Biif",
    "CausE",
    "CausalD",
    "CausalRec",
    "DRTwoStage",
    "DeRec",
    "DebiasD",
    "EnsCTR",
    "Ensemble",
    "ExpoMF",
    "GroupIPS",
    "InterD",
    "InterDB",
    "InterDI",
    "InterDO",
    "ItemMean",
    "JointOpt",
    "KDLabel",
    "MFCombine",
    "MFUniform",
    "Method",
    "PlainDIN",
    "PlainDeepFM",
    "Popularity",
    "RelMF",
    "Trained",
    "UnbiasedBPR",
    "UserMean",
    "load_model",
    "make",
    "preset",
    "preset_record",
]
