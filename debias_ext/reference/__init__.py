"""The operators in plain torch: the oracle of the tests, the baseline of the benchmarks, the second derivatives."""

from debias_ext.reference.additive_weights import additive_weights
from debias_ext.reference.attention_pooling import attention_pooling
from debias_ext.reference.block_loss import block_loss
from debias_ext.reference.dr_loss import dr_loss
from debias_ext.reference.exposure_loss import exposure_loss
from debias_ext.reference.fm_interaction import fm_interaction
from debias_ext.reference.frontdoor_aggregate import frontdoor_aggregate
from debias_ext.reference.group_ranking import group_ranking
from debias_ext.reference.interd_loss import interd_loss
from debias_ext.reference.ips_loss import ips_loss
from debias_ext.reference.lookahead_loss import lookahead_loss
from debias_ext.reference.lookahead_loss_for import lookahead_loss_for
from debias_ext.reference.mf_loss import mf_loss
from debias_ext.reference.mf_score import mf_score
from debias_ext.reference.mf_step import mf_epoch_, mf_step_
from debias_ext.reference.mf_topk import mf_topk
from debias_ext.reference.optimizer_step import optimizer_step_
from debias_ext.reference.pair_loss import pair_loss
from debias_ext.reference.pointwise_loss import pointwise_loss
from debias_ext.reference.relmf_loss import relmf_loss
from debias_ext.reference.snips_loss import snips_loss

__all__ = [
    "additive_weights",
    "attention_pooling",
    "block_loss",
    "dr_loss",
    "exposure_loss",
    "fm_interaction",
    "frontdoor_aggregate",
    "group_ranking",
    "interd_loss",
    "ips_loss",
    "lookahead_loss",
    "lookahead_loss_for",
    "mf_epoch_",
    "mf_loss",
    "mf_score",
    "mf_step_",
    "mf_topk",
    "optimizer_step_",
    "pair_loss",
    "pointwise_loss",
    "relmf_loss",
    "snips_loss",
]
