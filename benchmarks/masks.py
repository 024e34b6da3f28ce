"""What hard masks cost: a training step with masks against the same step without, in pairs.

    python benchmarks/masks.py --pairs 10

Two copies of a network take turns on the same batch, the order changing from pair to pair, so that
what else the machine does falls on both. Printed are the median ratio of masked to plain step with
a 95 % bootstrap interval, and the time of the hooks alone as a share of a step, which has less
noise. The target is a ratio of at most 1.03 for ResNet-18 at batch 128.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable

import torch
from torch import nn

from secateur.materialise import HardMasks
from secateur.models import build

LIMIT = 1.03


def stepper(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    """One whole training step: forward, backward, SGD with momentum and weight decay."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


class Stopwatch:
    """Times work, waiting for the device before and after.

    Args:
        device: where the work is done.
        cpu_time: count this process's time on the CPU instead of the time on the wall; on a busy
            machine that is the steadier of the two.
    """

    def __init__(self, device: torch.device, cpu_time: bool) -> None:
        self._wait = torch.accelerator.synchronize if device.type != "cpu" else (lambda: None)
        self._now = time.process_time if cpu_time else time.perf_counter

    def __call__(self, work: Callable[[], None]) -> float:
        """Seconds that `work` takes."""
        self._wait()
        begin = self._now()
        work()
        self._wait()
        return self._now() - begin


def pairs(
    plain: Callable[[], None], masked: Callable[[], None], count: int, seconds: Stopwatch
) -> list[tuple[float, float]]:
    """(plain, masked) seconds of `count` pairs, after one of each to warm up."""
    plain(), masked()
    out = []
    for number in range(count):
        order = (plain, masked) if number % 2 == 0 else (masked, plain)
        times = {work: seconds(work) for work in order}
        out.append((times[plain], times[masked]))
    return out


def interval(ratios: torch.Tensor, draws: int = 10_000) -> tuple[float, float, float]:
    """Median of [n] ratios and the 95 % bootstrap interval of it."""
    rng = torch.Generator().manual_seed(0)
    picks = torch.randint(len(ratios), (draws, len(ratios)), generator=rng)  # [draws, n]
    medians = ratios[picks].quantile(0.5, dim=1)  # [draws]
    low, high = torch.quantile(medians, torch.tensor([0.025, 0.975], dtype=ratios.dtype)).tolist()
    return ratios.quantile(0.5).item(), low, high


def hooks_alone(model: nn.Module, seconds: Stopwatch, repeats: int = 20) -> float:
    """Seconds that masking every gradient takes: what the hooks add to a backward pass."""
    names = HardMasks.of(model).masks
    masked = [p for name, p in model.named_parameters() if name in names]
    hooks = [hook for p in masked for hook in p._post_accumulate_grad_hooks.values()]

    def work() -> None:
        for param, hook in zip(masked, hooks, strict=True):
            hook(param)

    work()
    return sorted(seconds(work) for _ in range(repeats))[repeats // 2]


def masks(model: nn.Module, density: float) -> dict[str, torch.Tensor]:
    """Random masks of all weights."""
    rng = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(p.shape, generator=rng) < density
        for name, p in model.named_parameters()
        if p.dim() > 1
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cpu-time", action="store_true", help="on a busy machine")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    watch = Stopwatch(device, options.cpu_time)
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(options.batch, 3, 32, 32, generator=rng).to(device)
    y = torch.randint(10, (options.batch,), generator=rng).to(device)
    plain = build(options.model, num_classes=10, in_channels=3, image_size=32).to(device)
    masked = copy.deepcopy(plain)
    HardMasks(masked, masks(masked, options.density))
    times = pairs(stepper(plain, x, y), stepper(masked, x, y), options.pairs, watch)
    ratios = torch.tensor([b / a for a, b in times], dtype=torch.float64)
    median, low, high = interval(ratios)
    step = sorted(a for a, _ in times)[len(times) // 2]
    share = hooks_alone(masked, watch) / step
    print(f"{options.model}, batch {options.batch}, {device}: a step takes {step:.3f} s")
    print(
        f"masked / plain step: {median:.4f}, 95 % interval {low:.4f} to {high:.4f} (limit {LIMIT})"
    )
    print(f"hooks alone: {100 * share:.2f} % of a step")


if __name__ == "__main__":
    main()
