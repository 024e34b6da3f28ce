"""What PUSHES towards sparsity while training: one pressure a file, each with its paper."""

from .group_lasso import GroupLasso
from .group_shrinkage import GroupShrinkage
from .growing import Growing
from .l1_bn import L1Bn
from .priced_bn import PricedBn

__all__ = ["GroupLasso", "GroupShrinkage", "Growing", "L1Bn", "PricedBn"]
