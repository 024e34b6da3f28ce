"""Is one model faster than another? Times of interleaved runs, and an interval for their ratio."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import nn

from ..core.errors import PlanError
from .forward import Call, as_call, device_of, evaluating, explained, rebatch
from .runtimes import Runner, runner
from .statistics import Interval, Times, ratio_interval

Timer = Callable[[Runner], float]
"""Seconds that one call takes, from start to really finished."""


@dataclass(frozen=True)
class Setting:
    """Under what circumstances two models were timed."""

    runtime: str
    batch: int
    threads: int
    device: str


@dataclass(frozen=True)
class Latency:
    """Median seconds of one forward pass of the whole batch, and how many times faster b is."""

    setting: Setting
    a: float
    b: float
    speedup: Interval
    pairs: int

    def __str__(self) -> str:
        place = f"{self.setting.device}, {self.setting.threads} threads"
        return (
            f"{self.setting.runtime} batch {self.setting.batch} ({place}): "
            f"{1e3 * self.a:.3f} ms -> {1e3 * self.b:.3f} ms, {self.speedup} "
            f"{self.speedup.verdict}"
        )


def compare_latency(
    a: nn.Module,
    b: nn.Module,
    example: Any,
    *,
    batch_sizes: Sequence[int] = (),
    threads: Sequence[int] = (),
    runtimes: Sequence[str] = ("eager",),
    pairs: int = 30,
    warmup: int = 5,
    at_least: float = 5e-3,
    seed: int = 0,
    timer: Timer | None = None,
) -> list[Latency]:
    """Time a against b in every combination of runtime, batch size and thread count.

    The models run in turn, a b a b …, so that whatever slows the machine down slows both; short
    passes are repeated until a sample lasts `at_least` seconds. Both run in evaluation mode without
    gradients, on the device they are on, and are left as they were.

    Args:
        a, b: the reference and the model in question, on one and the same device.
        example: a tensor, a tuple of arguments or a dict of keyword arguments, fit for both.
        batch_sizes: the example is repeated or cut to these; by default it is taken as it is.
        threads: torch's threads on the CPU; by default as they are set.
        runtimes: of `runtimes.RUNTIMES`.
        pairs: timed pairs per combination.
        warmup: untimed runs of each model before.
        at_least: seconds of one sample.
        seed: of the bootstrap.
        timer: seconds of one call; by default the clock, or CUDA events on a GPU.
    """
    device = _one_device(a, b)
    call = as_call(example).map(lambda tensor: tensor.to(device))
    sizes = list(batch_sizes) or [_batch(call)]
    results = []
    for runtime, size, count in product(
        runtimes, sizes, list(threads) or [torch.get_num_threads()]
    ):
        setting = Setting(runtime, size, count, str(device))
        inputs = rebatch(call, size) if batch_sizes else call
        with evaluating(a), evaluating(b), _threads(count), explained(inputs):
            runners = [runner(runtime, model, inputs, count) for model in (a, b)]
            first, second = paired_times(
                *runners,
                pairs=pairs,
                warmup=warmup,
                at_least=at_least,
                timer=timer or timer_for(device),
            )
        medians = float(np.median(first)), float(np.median(second))
        results.append(Latency(setting, *medians, ratio_interval(first, second, seed=seed), pairs))
    return results


def paired_times(
    a: Runner, b: Runner, *, pairs: int, warmup: int, at_least: float, timer: Timer
) -> tuple[Times, Times]:
    """Seconds per run of a and of b, measured in turn: `[pairs]` each."""
    if pairs < 2 or warmup < 1:
        raise PlanError(
            f"timing takes 2 or more pairs and 1 or more warm-up runs, not {pairs} and {warmup}"
        )
    repeats = [_repeats(run, warmup, at_least, timer) for run in (a, b)]
    samples = [
        [timer(_repeated(run, count)) / count for run, count in zip((a, b), repeats, strict=True)]
        for _ in range(pairs)
    ]
    times = np.array(samples)  # [pairs, 2]
    return times[:, 0], times[:, 1]


def clock(run: Runner) -> float:
    """Seconds on the clock; right where a call has finished when it returns, as on a CPU."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def processor_clock(run: Runner) -> float:
    """Seconds of processor time; on a busy machine steadier than the clock, and right for one thread."""
    start = time.process_time()
    run()
    return time.process_time() - start


def cuda_clock(run: Runner, device: torch.device) -> float:
    """Seconds between two events on the GPU around the call, waiting for both."""
    with torch.cuda.device(device):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3


def timer_for(device: torch.device) -> Timer:
    """The timer that is right on `device`."""
    if device.type not in ("cpu", "cuda"):
        raise PlanError(f"latency is measured on cpu and cuda, not on {device}; move the models")
    return partial(cuda_clock, device=device) if device.type == "cuda" else clock


def _repeats(run: Runner, warmup: int, at_least: float, timer: Timer) -> int:
    """Warm up, then say how many runs make a sample long enough."""
    shortest = min([timer(run) for _ in range(warmup)])
    return max(1, math.ceil(at_least / shortest)) if shortest > 0 else 1


def _repeated(run: Runner, count: int) -> Runner:
    def runs() -> None:
        for _ in range(count):
            run()

    return runs


def _batch(call: Call) -> int:
    first = call.tensors()[0]
    return first.shape[0] if first.ndim else 1


def _one_device(a: nn.Module, b: nn.Module) -> torch.device:
    first, second = device_of(a), device_of(b)
    if first != second:
        raise PlanError(f"the models lie on {first} and {second}; move them to one device")
    return first


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set torch's threads, and set them back."""
    if count < 1:
        raise PlanError(f"{count} threads cannot run anything; give 1 or more")
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
