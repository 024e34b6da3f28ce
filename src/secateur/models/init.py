"""Initial weights that all convolutional reference networks share."""

from __future__ import annotations

import torch
from torch import nn


def he(model: nn.Module) -> None:
    """Draw He's normal initialisation from torch's global generator: w ~ N(0, 2 / fan_in).

    Convolutions and linear layers get it, biases become 0, and norms keep their 1 and 0. The
    lottery-ticket, SNIP and SynFlow experiments start from it; torch's own default has a sixth of
    the variance. Build through `secateur.models.build_seeded` to leave the global generator alone.

    Paper: He et al. 2015, arXiv 1502.01852.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
