"""Fused operators for causal debiasing of recommender systems, for PyTorch on the CPU and on CUDA."""

from debias_ext._cuda import has_cuda
from debias_ext._ranking import GroupRanking
from debias_ext._version import __version__
from debias_ext.ops.dr_loss import dr_loss
from debias_ext.ops.frontdoor_aggregate import frontdoor_aggregate
from debias_ext.ops.group_ranking import group_ranking
from debias_ext.ops.ips_loss import ips_loss
from debias_ext.ops.mf_score import mf_score
from debias_ext.ops.pointwise_loss import pointwise_loss
from debias_ext.ops.snips_loss import snips_loss

__all__ = [
    "GroupRanking",
    "__version__",
    "dr_loss",
    "frontdoor_aggregate",
    "group_ranking",
    "has_cuda",
    "ips_loss",
    "mf_score",
    "pointwise_loss",
    "snips_loss",
]
