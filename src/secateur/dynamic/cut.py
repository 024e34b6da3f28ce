"""Small values are set to zero, and the curve that says how small for a wanted share of zeros."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..core.errors import DataError, PlanError

Watch = Callable[["Cut", Tensor, Tensor, Tensor | None], None]


class Cut(nn.Module):
    """y = x where |x| ≥ τ, 0 where |x| < τ.

    Shapes: any.

    Args:
        points: of the curve.
        tokens: the dimension of x that counts tokens, the first being samples.
        device: of the buffers.

    Attributes:
        threshold: τ, a buffer.
        thresholds, sparsities: [points] the curve, rising: with τ = thresholds[i] in all cuts of the
            network a share of sparsities[i] of all that they are given becomes (or is) zero.
        watch: told of every call: (cut, x, y, which entries count or None for all).

    Paper: Tuli, Jha 2023, arXiv 2302.14705.

    >>> cut = Cut(2)
    >>> _ = cut.threshold.fill_(0.5)
    >>> cut(torch.tensor([0.4, -0.5, 2.0])).tolist()
    [0.0, -0.5, 2.0]
    """

    threshold: Tensor
    thresholds: Tensor
    sparsities: Tensor

    def __init__(self, points: int, tokens: int = 1, device: torch.device | None = None) -> None:
        super().__init__()
        self.tokens, self.watch = tokens, None
        self.register_buffer("threshold", torch.zeros((), device=device))
        self.register_buffer("thresholds", torch.zeros(points, device=device))
        self.register_buffer("sparsities", torch.zeros(points, device=device))

    watch: Watch | None

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """As the class says; `there`: which entries count in a calibration, as wide as x or broadcast."""
        y = x.masked_fill(x.abs() < self.threshold, 0.0)
        if self.watch is not None:
            self.watch(self, x, y, there)
        return y

    def wrong(self) -> str:
        """Whether thresholds are none, or the curve is no curve."""
        t, s = torch.cat([self.threshold[None], self.thresholds]), self.sparsities
        if not bool((t.isfinite() & (t >= 0)).all()):
            return "has thresholds that are negative or not finite; 0 or more is allowed"
        rises = bool(((s >= 0) & (s <= 1)).all() and (s.diff() >= 0).all())
        return "" if rises else "has a curve whose shares do not rise from 0 towards 1"

    def aim(self, sparsity: float) -> None:
        """τ for this share of zeros, by straight lines between points of the curve."""
        sparsity = float(torch.tensor(sparsity, dtype=torch.float32))  # as the curve has it
        least, most = float(self.sparsities[0]), float(self.sparsities[-1])
        if sparsity > most or not most:
            raise PlanError(
                f"a share of {sparsity:.4g} zeros lies beyond the calibrated curve, which ends at "
                f"{most:.4g}; ask for less, or calibrate with more points"
            )
        at = int(
            torch.searchsorted(
                self.sparsities, torch.tensor(sparsity, device=self.sparsities.device)
            )
        )
        if sparsity <= least or at == 0:
            self.threshold.fill_(float(self.thresholds[0]))
            return
        (s, t), (above, high) = (
            (float(self.sparsities[i]), float(self.thresholds[i])) for i in (at - 1, at)
        )
        self.threshold.fill_(t + (high - t) * (sparsity - s) / (above - s))


def cuts_of(model: nn.Module) -> list[Cut]:
    """Every cut of a network."""
    return [module for module in model.modules() if isinstance(module, Cut)]


def set_sparsity(model: nn.Module, sparsity: float) -> None:
    """Aim a calibrated network at another share of zeros; no data is needed, the curve is kept.

    Args:
        model: with cuts, as `secateur.prune` with `dynatran` makes them, or loaded.
        sparsity: share of zeros among all that its cuts are given, 0 … what the curve reaches.
    """
    cuts = cuts_of(model)
    if not cuts or not isinstance(sparsity, int | float) or not 0 <= sparsity < 1:
        raise PlanError(
            f"sparsity {sparsity} for {len(cuts)} cuts; give a share from 0 to below 1, and a network whose "
            "activations are pruned (method dynatran)"
        )
    for cut in cuts:
        cut.aim(sparsity)


def calibrate(cuts: Sequence[Cut], passes: Callable[[Watch], None], points: int) -> None:
    """Measure the curve: the share of zeros at each of some thresholds, all cuts at work.

    Thresholds are where a share i / points of the dense network's values lies below; each is then
    tried, since what is cut changes what later layers are given.

    Args:
        cuts: of the network.
        passes: runs all of the data through the network with this watch.
        points: of the curve; as many passes, and one more.

    Paper: Tuli, Jha 2023, arXiv 2302.14705; the authors' code measures its curve so, at equal steps of τ.
    """
    _set(cuts, 0.0)
    histogram = _Histogram()
    passes(histogram)
    thresholds = histogram.below([i / points for i in range(points - 1)] + [1 - 0.1 / points])
    shares = []
    for threshold in thresholds:
        _set(cuts, threshold)
        zeros = Zeros()
        passes(zeros)
        shares.append(zeros.share)
    rising = torch.tensor(shares).cummax(0).values
    for cut in cuts:
        cut.thresholds.copy_(torch.tensor(thresholds))
        cut.sparsities.copy_(rising)


def _set(cuts: Sequence[Cut], threshold: float) -> None:
    for cut in cuts:
        cut.threshold.fill_(threshold)


class _Histogram:
    """How many values have which log2 |x|, in bins of 1/64 octave."""

    LEAST, MOST, FINE = -40, 24, 64

    def __init__(self) -> None:
        self.counts = torch.zeros((self.MOST - self.LEAST) * self.FINE, dtype=torch.float64)

    def __call__(self, cut: Cut, x: Tensor, y: Tensor, there: Tensor | None) -> None:
        x = x if there is None else x[there.expand_as(x)]
        if not bool(x.isfinite().all()):
            raise DataError(
                "the network computes numbers that are not finite from these data, which no threshold can "
                "be read off; check the data, and the network on them"
            )
        logs = x.float().abs().clamp(2.0**self.LEAST, 2.0**self.MOST).log2()
        found = torch.histc(logs, len(self.counts), self.LEAST, self.MOST)
        self.counts += found.double().cpu()

    def below(self, shares: list[float]) -> list[float]:
        """Thresholds below which these shares of the values lie; 0 for a share of 0."""
        sums = self.counts.cumsum(0) / self.counts.sum()
        bins = torch.searchsorted(sums, torch.tensor(shares, dtype=torch.float64)) + 1
        edges = 2.0 ** (self.LEAST + bins.double() / self.FINE)
        return [0.0 if s == 0 else float(e) for s, e in zip(shares, edges, strict=True)]


class Zeros:
    """The share of zeros in all that was put out."""

    def __init__(self) -> None:
        self.zeros, self.all = 0, 0

    def __call__(self, cut: Cut, x: Tensor, y: Tensor, there: Tensor | None) -> None:
        if there is None:
            self.zeros, self.all = self.zeros + int((y == 0).sum()), self.all + y.numel()
        else:
            self.zeros += int(((y == 0) & there).sum())
            self.all += int(there.expand_as(y).sum())

    @property
    def share(self) -> float:
        """Of all values so far."""
        return self.zeros / self.all
