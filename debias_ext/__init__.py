"""Fused operators for causal debiasing of recommender systems, for PyTorch on the CPU and on CUDA."""

from debias_ext._block_targets import ConstantTarget, DRTarget, FactorTables, InterDTarget
from debias_ext._cuda import has_cuda
from debias_ext._inputs import trusted_values
from debias_ext._ranking import GroupRanking
from debias_ext._version import __version__
from debias_ext.ops.additive_weights import additive_weights
from debias_ext.ops.attention_pooling import attention_pooling
from debias_ext.ops.block_loss import block_loss
from debias_ext.ops.dr_loss import dr_loss
from debias_ext.ops.exposure_loss import exposure_loss
from debias_ext.ops.fm_interaction import fm_interaction
from debias_ext.ops.frontdoor_aggregate import frontdoor_aggregate
from debias_ext.ops.group_ranking import group_ranking
from debias_ext.ops.interd_loss import interd_loss
from debias_ext.ops.ips_loss import ips_loss
from debias_ext.ops.lookahead_loss import lookahead_loss
from debias_ext.ops.lookahead_loss_for import lookahead_loss_for
from debias_ext.ops.mf_epoch import mf_epoch_, mf_epoch_order
from debias_ext.ops.mf_loss import mf_loss
from debias_ext.ops.mf_score import mf_score
from debias_ext.ops.mf_step import mf_step_
from debias_ext.ops.mf_topk import mf_topk
from debias_ext.ops.optimizer_step import optimizer_step_
from debias_ext.ops.pair_loss import pair_loss
from debias_ext.ops.pointwise_loss import pointwise_loss
from debias_ext.ops.relmf_loss import relmf_loss
from debias_ext.ops.snips_loss import snips_loss
from debias_ext.optim import MFOptimizer
from debias_ext.sampler import PairSampler

__all__ = [
    "ConstantTarget",
    "DRTarget",
    "FactorTables",
    "GroupRanking",
    "InterDTarget",
    "MFOptimizer",
    "PairSampler",
    "__version__",
    "additive_weights",
    "attention_pooling",
    "block_loss",
    "dr_loss",
    "exposure_loss",
    "fm_interaction",
    "frontdoor_aggregate",
    "group_ranking",
    "has_cuda",
    "interd_loss",
    "ips_loss",
    "lookahead_loss",
    "lookahead_loss_for",
    "mf_epoch_",
    "mf_epoch_order",
    "mf_loss",
    "mf_score",
    "mf_step_",
    "mf_topk",
    "optimizer_step_",
    "pair_loss",
    "pointwise_loss",
    "relmf_loss",
    "snips_loss",
    "trusted_values",
]
