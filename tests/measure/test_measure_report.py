"""The verdict on two models, and the reasons when the promise of the MACs is not kept."""

from __future__ import annotations

import copy
from dataclasses import asdict

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.measure import Latency, MacCount, compare, measure
from secateur.measure.latency import Setting
from secateur.measure.reasons import (
    Work,
    channels_of,
    memory_bound,
    odd_channels,
    same_work,
    start_up,
    why_not,
    zeros_in_dense_kernels,
)
from secateur.measure.statistics import Interval


def work(
    macs: int,
    *,
    nonzero: int | None = None,
    layers: dict[str, int] | None = None,
    traffic: dict[str, int] | None = None,
    operators: int = 1,
    channels: dict[str, tuple[int, int]] | None = None,
) -> Work:
    kept = macs if nonzero is None else nonzero
    count = MacCount(macs, kept, layers or {"": macs}, {}, {}, traffic or {"": 1}, operators, True)
    return Work(count, channels or {})


def row(a: float, b: float, runtime: str = "eager") -> Latency:
    interval = Interval(a / b, 0.95 * a / b, 1.05 * a / b, 0.95)
    return Latency(Setting(runtime, 1, 1, "cpu"), a, b, interval, 30)


def test_unstructured_zeros_are_named() -> None:
    assert "90% of its MACs" in zeros_in_dense_kernels(work(1000, nonzero=100))
    assert zeros_in_dense_kernels(work(1000, nonzero=950)) is None


def test_no_less_work_is_named() -> None:
    assert "1,000 MACs, 1,000 in the reference" in same_work(work(1000), work(1000))
    assert same_work(work(1000), work(900)) is None


def test_odd_channel_counts_are_named_where_the_reference_had_even_ones() -> None:
    a = work(1, channels={"stem": (3, 64), "conv": (64, 64), "head": (64, 10)})
    b = work(1, channels={"stem": (3, 45), "conv": (45, 48), "head": (48, 10), "new": (7, 7)})
    reason = odd_channels(a, b)
    assert "2 layers" in reason
    assert "stem (3 to 45), conv (45 to 48)" in reason
    assert odd_channels(a, a) is None


def test_memory_bound_layers_are_named_where_bytes_fell_less_than_macs() -> None:
    a = work(8000, layers={"conv": 8000}, traffic={"conv": 1000, "norm": 1000})
    b = work(2000, layers={"conv": 2000}, traffic={"conv": 500, "norm": 1000})
    reason = memory_bound(a, b)
    assert "67% of the bytes" in reason  # conv does exactly 4 MACs per byte
    assert "largest: norm" in reason
    assert "MACs fell 4.0x, bytes 1.3x" in reason
    as_much = work(2000, layers={"conv": 2000}, traffic={"conv": 250, "norm": 250})
    assert memory_bound(a, as_much) is None
    busy = work(2000, layers={"conv": 2000}, traffic={"conv": 500, "norm": 100})
    assert memory_bound(work(2000, traffic={"": 600}), busy) is None


def test_work_too_small_to_matter_is_named() -> None:
    many = work(10, operators=100)  # about 0.5 ms to start
    assert "100 operators takes about 0.50 ms of 1.00 ms" in start_up(many, [row(2e-3, 1e-3)])
    assert start_up(many, [row(2e-3, 3e-3)]) is None
    assert start_up(many, [row(2e-3, 1e-3, runtime="compile")]) is None


def test_reasons_are_given_only_where_the_promise_is_not_kept() -> None:
    a, b = work(1000), work(500, nonzero=50)
    assert why_not(a, b, [row(2.0, 1.0)]) == []
    assert why_not(a, b, [row(1.8, 1.0)]) == []  # 90 % of twice
    assert len(why_not(a, b, [row(1.5, 1.0)])) == 1
    assert len(why_not(a, b, [row(2.0, 1.0), row(1.0, 1.0)])) == 1


def test_channels_are_read_from_linear_layers_and_convolutions() -> None:
    model = nn.Sequential(
        nn.Conv1d(2, 3, 1), nn.ReLU(), nn.ConvTranspose2d(4, 5, 1), nn.Linear(6, 7)
    )
    assert channels_of(model) == {"0": (2, 3), "2": (4, 5), "3": (6, 7)}


class Timed(nn.Module):
    """A perceptron whose pass takes a time of its own on a clock."""

    now = 0.0

    def __init__(self, width: int, seconds: float) -> None:
        super().__init__()
        self.first, self.second, self.seconds = nn.Linear(16, width), nn.Linear(width, 4), seconds

    def forward(self, x: Tensor) -> Tensor:
        Timed.now += self.seconds
        return self.second(self.first(x).relu())


def timer(run) -> float:
    start = Timed.now
    run()
    return Timed.now - start


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        ((3.0, 2.0), "pruned is 1.50x faster than dense"),
        ((2.0, 3.0), "pruned is 1.50x slower than dense"),
    ],
)
def test_the_verdict_names_who_is_faster_than_whom(seconds: tuple[float, float], says: str) -> None:
    dense, pruned = (Timed(32, s) for s in seconds)
    example = torch.randn(4, 16)
    result = compare(dense, pruned, example, pairs=3, timer=timer, names=("dense", "pruned"))
    assert result.sentence == says


def test_a_faster_model_is_called_so_without_excuses() -> None:
    result = compare(Timed(64, 2.0), Timed(32, 1.0), torch.randn(4, 16), pairs=3, timer=timer)
    assert result.verdict == "faster"
    assert result.reasons == []
    assert result.mac_ratio == 2.0
    assert result.a.macs.total == 4 * (16 * 64 + 64 * 4)
    counts = {what: (a, b) for what, a, b in result.rows()}
    assert counts["parameters"] == (16 * 64 + 64 + 64 * 4 + 4, 16 * 32 + 32 + 32 * 4 + 4)
    text = str(result)
    assert "b is 2.00x faster than a (dense MACs promise 2.00x)" in text
    assert "MACs                     " in text
    assert asdict(result)["latency"][0]["speedup"]["ratio"] == 2.0


def test_a_masked_model_is_no_faster_and_told_why() -> None:
    dense = Timed(64, 1.0)
    sparse = copy.deepcopy(dense)
    masks = {"first.weight": torch.rand(64, 16, generator=torch.Generator().manual_seed(0)) < 0.1}
    result = compare(
        dense, sparse, torch.randn(4, 16), masks_b=masks, pairs=3, timer=timer, names=("D", "S")
    )
    assert result.verdict == "no difference"
    assert "unstructured zeros" in result.reasons[0]
    assert result.b.parameters.kept == int(masks["first.weight"].sum())
    assert result.b.size.stored < result.a.size.stored
    assert "no difference in speed was found between S and D" in str(result)
    assert result.reasons[0] in str(result)


def test_settings_that_disagree_are_mixed() -> None:
    class Uneven(Timed):
        def forward(self, x: Tensor) -> Tensor:
            Timed.now += 5.0 if len(x) > 1 else 0.0
            return super().forward(x)

    result = compare(
        Timed(64, 2.0),
        Uneven(32, 1.0),
        torch.randn(1, 16),
        pairs=3,
        timer=timer,
        batch_sizes=(1, 2),
    )
    assert [latency.speedup.verdict for latency in result.latency] == ["faster", "slower"]
    assert result.verdict == "mixed"
    assert "of 2 settings: faster in 1, slower in 1" in result.sentence


def test_a_model_is_not_compared_with_itself() -> None:
    model = Timed(8, 1.0)
    with pytest.raises(PlanError, match="one object"):
        compare(model, model, torch.randn(1, 16))


def test_measure_brings_everything_together() -> None:
    measured = measure(Timed(8, 1.0), torch.randn(2, 16))
    assert measured.parameters.total == 8 * 16 + 8 + 4 * 8 + 4
    assert measured.macs.total == 2 * (16 * 8 + 8 * 4)
    assert measured.size.dense == 4 * measured.parameters.total
    assert measured.memory.weights == 4 * measured.parameters.total
    assert measured.channels == {"first": (16, 8), "second": (8, 4)}
