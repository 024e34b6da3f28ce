"""A convolution and its norm behind a gate that predicts, for every input, which channels matter."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.run_time import RunTimeLayer
from ..core.training import Draw
from ..core.winners import winners
from .sliced_conv import SlicedConv


class ChannelGate(RunTimeLayer):
    """π(x) · norm(conv(x)), π = wta_k(g), g(x) = relu(Φ s(x) + ρ), s_c(x) = mean over positions of |x_c|.

    wta_k keeps the k largest saliencies of a sample and sets all others to zero: channels without are
    suppressed, others are boosted by their saliency. Which channels are wanted is known before the
    convolution, so that it can leave out the others (see `SlicedConv`).

    Shapes: [n, in, h, w] -> [n, out, h', w']; Φ [out, in], ρ [out].

    Args:
        conv: the convolution.
        norm: the batch norm that follows it, None where none does.
        draw: generators by words; He-normal Φ (fan-out) and ρ = 1. Without one they stay unset.
        strength: λ of the penalty λ Σ g per sample, which the training adds to its loss.

    Attributes:
        keep: k, a buffer.

    Paper: Gao, Zhao, Dudziak, Mullins, Xu 2019, arXiv 1810.05331.
    """

    keep: Tensor

    def __init__(
        self,
        conv: nn.Conv2d,
        norm: nn.Module | None,
        draw: Draw | None = None,
        strength: float = 0.0,
    ) -> None:
        super().__init__()
        self.conv, self.norm, self.strength = SlicedConv(conv), norm, strength
        weight = conv.weight
        with torch.device(weight.device):
            self.saliency = nn.utils.skip_init(
                nn.Linear,
                conv.in_channels,
                conv.out_channels,
                device=weight.device,
                dtype=weight.dtype,
            )
            self.register_buffer("keep", torch.tensor(conv.out_channels, device=weight.device))
        if draw is not None:
            self._begin(draw("saliency"))

    @torch.no_grad()
    def _begin(self, rng: torch.Generator) -> None:
        phi = torch.empty(self.saliency.weight.shape)
        nn.init.kaiming_normal_(phi, mode="fan_out", nonlinearity="relu", generator=rng)
        self.saliency.weight.copy_(phi)
        self.saliency.bias.fill_(1.0)

    def wrong(self) -> str:
        """Whether k is no number of its channels."""
        most, k = self.conv.inner.out_channels, self.keep
        if k.dtype == torch.int64 and 1 <= int(k) <= most:
            return ""
        return f"keeps {k.item()} ({k.dtype}) of {most} channels; 1 to {most} is allowed"

    def saliencies(self, x: Tensor) -> Tensor:
        """[n, in, h, w] -> g [n, out]."""
        return F.relu(self.saliency(x.abs().mean((2, 3))))

    def forward(self, x: Tensor) -> Tensor:
        """As the class says; what is not wanted is zero."""
        g = self.saliencies(x)
        wanted = winners(g, self.keep) & (g > 0)  # [n, out]; a saliency of zero is a zero channel
        if self.penalties is not None and self.training:
            self.penalise(self.strength * g.sum(1).mean())
        pi = g * wanted
        if self.conv.slices(x):
            out = self._part(x, pi, wanted[0].nonzero()[:, 0])
        else:
            out = self._normed(self.conv.inner(x)) * pi[:, :, None, None]
        if self.heard is not None:
            self.tell(self.conv.work(x, wanted, out, float(self.saliency.weight.numel())))
        return out

    def _normed(self, y: Tensor) -> Tensor:
        return y if self.norm is None else self.norm(y)

    def _part(self, x: Tensor, pi: Tensor, outs: Tensor) -> Tensor:
        """One sample: the outputs [k] alone are computed, the others are zero."""
        outs = outs if len(outs) else outs.new_zeros(1)  # with a factor of zero
        y = self.conv.part(x, outs)  # [1, k, h', w']
        if type(self.norm) is nn.BatchNorm2d:
            return _among(_norm_part(self.norm, y, outs) * pi[:, outs, None, None], outs, pi)
        # a class of its own may do more than normalise channel by channel
        return self._normed(_among(y, outs, pi)) * pi[:, :, None, None]


def _among(y: Tensor, outs: Tensor, pi: Tensor) -> Tensor:
    """[1, k, h', w'] among all channels, the others zero."""
    return y.new_zeros(*pi.shape, *y.shape[2:]).index_copy(1, outs, y)


def _norm_part(norm: nn.BatchNorm2d, y: Tensor, outs: Tensor) -> Tensor:
    """A batch norm in evaluation, on some channels."""
    mean, var, weight, bias = (
        None if t is None else t[outs]
        for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return F.batch_norm(y, mean, var, weight, bias, mean is None, 0.0, norm.eps)
