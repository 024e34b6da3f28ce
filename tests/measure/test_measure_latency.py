"""The statistics and the protocol of timing, on a clock that the models turn themselves."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import DataError, PlanError
from secateur.measure import compare_latency, paired_times, ratio_interval
from secateur.measure.forward import Call, as_call, rebatch
from secateur.measure.latency import clock, timer_for
from secateur.measure.runtimes import _hushed, compiled, eager, onnxruntime, runner


class Clock:
    """Time that passes only when somebody works."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def timer(self, run: Callable[[], object]) -> float:
        start = self.now
        run()
        return self.now - start

    def worker(self, name: str, seconds: float, noise: float = 0.0) -> Callable[[], None]:
        generator = np.random.default_rng(ord(name))

        def work() -> None:
            self.log.append(name)
            self.now += seconds * (1 + noise * generator.random())

        return work


class Slow(nn.Module):
    """Takes `seconds` of the clock for every example of a batch."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__()
        self.clock, self.seconds = clock, seconds
        self.seen: list[tuple] = []

    def forward(self, x: Tensor) -> Tensor:
        self.clock.now += self.seconds * len(x)
        self.seen.append(
            (tuple(x.shape), torch.get_num_threads(), self.training or torch.is_grad_enabled())
        )
        return x


def test_the_ratio_is_that_of_the_medians_and_lies_in_its_interval() -> None:
    interval = ratio_interval([4.0, 6.0, 100.0], [2.0, 2.5, 3.0])
    assert interval.ratio == 6.0 / 2.5
    assert interval.low <= interval.ratio <= interval.high


def test_what_shakes_both_of_a_pair_does_not_widen_the_interval() -> None:
    generator = np.random.default_rng(0)
    mood = np.exp(generator.normal(size=30))
    interval = ratio_interval(2 * mood, mood)
    assert (interval.low, interval.ratio, interval.high) == pytest.approx((2, 2, 2))


def test_equal_models_are_rarely_told_apart_and_unequal_ones_are() -> None:
    generator = np.random.default_rng(1)
    draw = lambda: 1 + 0.1 * generator.random(30)  # noqa: E731
    equal = [ratio_interval(draw(), draw(), resamples=400).verdict for _ in range(100)]
    assert equal.count("no difference") >= 88
    assert ratio_interval(1.3 * draw(), draw()).verdict == "faster"
    assert ratio_interval(draw(), 1.3 * draw()).verdict == "slower"


def test_the_interval_is_reproducible_and_grows_with_the_level() -> None:
    generator = np.random.default_rng(2)
    a, b = generator.random((2, 20)) + 1
    assert ratio_interval(a, b, seed=3) == ratio_interval(a, b, seed=3)
    narrow, wide = ratio_interval(a, b, level=0.5), ratio_interval(a, b, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert str(ratio_interval([2, 2], [1, 1])) == "2.00x [2.00, 2.00]"


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ([1.0], [1.0], "2 or more"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], "equal lists"),
        ([1.0, 0.0], [1.0, 1.0], "not a positive number"),
        ([1.0, float("nan")], [1.0, 1.0], "not a positive number"),
        ([1.0, 1.0], [1.0, float("inf")], "not a positive number"),
    ],
)
def test_times_that_are_none_are_refused(a: list, b: list, words: str) -> None:
    with pytest.raises(DataError, match=words):
        ratio_interval(a, b)


def test_runs_are_interleaved_after_the_warm_up() -> None:
    clock = Clock()
    a, b = clock.worker("a", 1.0), clock.worker("b", 2.0)
    first, second = paired_times(a, b, pairs=3, warmup=2, at_least=0.0, timer=clock.timer)
    assert "".join(clock.log) == "aabb" + "ababab"
    assert first.tolist() == [1, 1, 1]
    assert second.tolist() == [2, 2, 2]


def test_short_runs_are_repeated_until_a_sample_is_long_enough() -> None:
    clock = Clock()
    a, b = clock.worker("a", 1.0), clock.worker("b", 4.0)
    first, second = paired_times(a, b, pairs=2, warmup=1, at_least=8.0, timer=clock.timer)
    assert "".join(clock.log) == "ab" + 2 * (8 * "a" + 2 * "b")
    assert first.tolist() == [1, 1]
    assert second.tolist() == [4, 4]


def test_the_slow_first_run_of_a_compiler_does_not_set_the_repeats() -> None:
    clock = Clock()
    costs = iter([1000.0] + [1.0] * 100)
    quick = clock.worker("b", 5.0)

    def compiling() -> None:
        clock.log.append("a")
        clock.now += next(costs)

    paired_times(compiling, quick, pairs=2, warmup=3, at_least=5.0, timer=clock.timer)
    assert "".join(clock.log) == "aaabbb" + 2 * "aaaaab"


def test_every_combination_is_timed_and_everything_is_set_back() -> None:
    clock = Clock()
    a, b = Slow(clock, 2.0).train(), Slow(clock, 1.0).eval()
    before = torch.get_num_threads()
    rows = compare_latency(
        a, b, torch.zeros(2, 3), batch_sizes=(1, 5), threads=(1, 2), pairs=4, timer=clock.timer
    )
    settings = [(row.setting.runtime, row.setting.batch, row.setting.threads) for row in rows]
    assert settings == [("eager", 1, 1), ("eager", 1, 2), ("eager", 5, 1), ("eager", 5, 2)]
    assert [(row.a, row.b) for row in rows] == [(2, 1), (2, 1), (10, 5), (10, 5)]
    assert {row.speedup.verdict for row in rows} == {"faster"}
    assert {(shape, threads) for shape, threads, _ in a.seen} == {
        ((1, 3), 1), ((1, 3), 2), ((5, 3), 1), ((5, 3), 2)
    }  # fmt: skip
    assert not any(trains for *_, trains in a.seen + b.seen)
    assert a.training
    assert not b.training
    assert torch.get_num_threads() == before
    assert "eager batch 1 (cpu, 1 threads): 2000.000 ms -> 1000.000 ms" in str(rows[0])


def test_by_default_the_example_is_taken_as_it_is() -> None:
    clock = Clock()
    a, b = Slow(clock, 1.0), Slow(clock, 1.0)
    (row,) = compare_latency(a, b, torch.zeros(7, 3), pairs=2, timer=clock.timer)
    assert row.setting.batch == 7
    assert row.setting.threads == torch.get_num_threads()
    assert row.speedup.verdict == "no difference"


def test_rebatch_repeats_what_has_the_batch_as_its_first_dimension() -> None:
    call = as_call({"x": torch.arange(2.0).reshape(2, 1), "mask": torch.ones(3), "n": 4})
    bigger = rebatch(call, 5)
    assert bigger.kwargs["x"].flatten().tolist() == [0, 1, 0, 1, 0]
    assert bigger.kwargs["mask"].shape == (3,)
    assert bigger.kwargs["n"] == 4
    assert rebatch(call, 1).kwargs["x"].shape == (1, 1)
    for example, size in ((torch.tensor(1.0), 2), (torch.ones(0, 3), 2), (torch.ones(2), 0)):
        with pytest.raises(DataError, match="cannot make a batch"):
            rebatch(as_call(example), size)


def test_the_clock_measures_something() -> None:
    assert clock(lambda: sum(range(1000))) > 0
    assert timer_for(torch.device("cpu")) is clock
    assert timer_for(torch.device("cuda")) is not clock
    with pytest.raises(PlanError, match="cpu and cuda, not on meta"):
        timer_for(torch.device("meta"))


def small() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    return model.eval(), torch.randn(2, 3, 6, 6)


def test_eager_and_compiled_run_the_model() -> None:
    model, x = small()
    with torch.no_grad():
        expected = model(x)
        assert torch.equal(eager(model, as_call(x))(), expected)
        assert torch.allclose(compiled(model, as_call(x), backend="eager")(), expected)


def test_a_model_that_recompiles_without_end_is_an_error() -> None:
    class Counting(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x * self.calls

    run = compiled(Counting(), as_call(torch.ones(2)), backend="eager")
    with pytest.raises(PlanError, match="gives up on this model"):
        [run() for _ in range(20)]


def test_onnxruntime_computes_the_same() -> None:
    pytest.importorskip("onnxruntime")
    model, x = small()
    with torch.no_grad():
        (found,) = onnxruntime(model, as_call(x), threads=1)()
        assert torch.allclose(torch.from_numpy(found), model(x), atol=1e-5)


def test_the_exporters_warnings_are_hushed_only_while_it_exports() -> None:
    logger = logging.getLogger("torch.onnx._internal.exporter")
    assert logger.isEnabledFor(logging.WARNING)
    with _hushed("torch.onnx"):
        assert not logger.isEnabledFor(logging.WARNING)
        assert logger.isEnabledFor(logging.ERROR)
    assert logger.isEnabledFor(logging.WARNING)


@pytest.mark.parametrize("unused", [False, True])
def test_onnxruntime_gets_every_input_in_its_place(unused: bool) -> None:
    pytest.importorskip("onnxruntime")

    class Difference(nn.Module):
        def forward(self, x: Tensor, y: Tensor, *, z: Tensor) -> Tensor:
            return x - 2 * y if unused else x - 2 * y - 4 * z

    call = Call((torch.tensor([1.0]), torch.tensor([2.0])), {"z": torch.tensor([3.0])})
    (found,) = runner("onnxruntime", Difference(), call)()
    assert found.tolist() == [-3.0 if unused else -15.0]


def test_onnxruntime_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        PlanError, match=r"needs 'onnxruntime', .*; pip install 'secateur\[export\]'"
    ):
        onnxruntime(nn.ReLU(), as_call(torch.ones(1)))


def test_unknown_runtimes_devices_and_counts_are_refused() -> None:
    model, x = small()
    with pytest.raises(PlanError, match="unknown runtime 'eagre'; did you mean 'eager'"):
        compare_latency(model, model, x, runtimes=("eagre",))
    with pytest.raises(PlanError, match="move them to one device"):
        compare_latency(model, nn.Linear(2, 2, device="meta"), x)
    with pytest.raises(PlanError, match="0 threads"):
        compare_latency(model, model, x, threads=(0,))
    with pytest.raises(PlanError, match="2 or more pairs"):
        compare_latency(model, model, x, pairs=1)
    with pytest.raises(DataError, match="does not run on the example"):
        compare_latency(model, model, torch.ones(1, 2, 6, 6))
