"""A convolution that leaves out channels: zero ones of its input, and outputs that nobody wants."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from ..core.errors import PlanError
from ..core.run_time import RunTimeLayer, Work


class SlicedConv(RunTimeLayer):
    """y = W[outs, ins] * x[ins]: input channels that are zero throughout add nothing to any output.

    In evaluation, one sample at a time, the weights are sliced and the rest is truly not computed. Of
    several samples at once, each with channels of its own, a dense kernel can leave out none: there all is
    computed, which gives the same but for rounding.

    Args:
        conv: a convolution with `groups` 1; it keeps its weights.

    >>> conv = SlicedConv(nn.Conv2d(2, 3, 1)).eval()
    >>> x = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    >>> torch.allclose(conv(x), conv.inner(x))
    True
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        if type(conv) is not nn.Conv2d or conv.groups != 1:
            raise PlanError(
                f"channels of {type(conv).__name__} with groups {getattr(conv, 'groups', None)} are not "
                "left out one by one at run time; exclude it, only Conv2d with groups=1 can be wrapped"
            )
        self.inner = conv

    def slices(self, x: Tensor) -> bool:
        """Whether channels of this input are truly left out: one sample, evaluated as it is."""
        captured = torch.compiler.is_compiling() or torch.jit.is_tracing()
        return not captured and x.shape[0] == 1 and not self.training

    def forward(self, x: Tensor) -> Tensor:
        """[n, in, h, w] -> [n, out, h', w']."""
        out: Tensor = self.part(x) if self.slices(x) else self.inner(x)
        if self.heard is not None:
            every = torch.ones(len(x), self.inner.out_channels, dtype=torch.bool, device=x.device)
            work, ins = self.work(x, every, out), nonzero_channels(x).sum(1)
            self.tell(replace(work, units=self.inner.in_channels, used=ins))
        return out

    def part(self, x: Tensor, outs: Tensor | None = None) -> Tensor:
        """[1, in, h, w] -> [1, k, h', w'], of the outputs [k] or of all, from inputs that are not zero."""
        conv = self.inner
        ins = nonzero_channels(x)[0].nonzero()[:, 0]
        ins = (
            ins if len(ins) else ins.new_zeros(1)
        )  # a kernel needs one, and a zero one adds nothing
        weight, bias = conv.weight, conv.bias
        if outs is not None:
            weight, bias = weight[outs], None if bias is None else bias[outs]
        if len(ins) < conv.in_channels:
            x, weight = x[:, ins], weight[:, ins]
        return conv._conv_forward(x, weight, bias)

    def work(self, x: Tensor, wanted: Tensor, out: Tensor, deciding: float = 0.0) -> Work:
        """What a call takes: k k h' w' multiply-accumulates for each pair of channels that are there.

        Args:
            x: [n, in, h, w] the input.
            wanted: [n, out] bool.
            out: [n, out, h', w'] or a part of it, for the size of the map.
            deciding: what it took to say what is wanted.
        """
        conv = self.inner
        pair = conv.weight[0, 0].numel() * out.shape[2:].numel()
        ins, outs = nonzero_channels(x).sum(1), wanted.sum(1)  # [n], [n]
        dense = float(pair * conv.in_channels * conv.out_channels)
        return Work(dense, pair * ins.double() * outs.double(), conv.out_channels, outs, deciding)


def nonzero_channels(x: Tensor) -> Tensor:
    """bool [n, channels]: those of [n, channels, h, w] that are not zero throughout."""
    return (x != 0).flatten(2).any(2)
