"""The operators in plain torch: the oracle of the tests, the baseline of the benchmarks, the second derivatives."""

from debias_ext.reference.dr_loss import dr_loss
from debias_ext.reference.frontdoor_aggregate import frontdoor_aggregate
from debias_ext.reference.group_ranking import group_ranking
from debias_ext.reference.ips_loss import ips_loss
from debias_ext.reference.mf_score import mf_score
from debias_ext.reference.pointwise_loss import pointwise_loss
from debias_ext.reference.snips_loss import snips_loss

__all__ = ["dr_loss", "frontdoor_aggregate", "group_ranking", "ips_loss", "mf_score", "pointwise_loss", "snips_loss"]
