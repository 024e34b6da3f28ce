"""Operators as plain data, and the table of what they take."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from secateur.core.errors import PlanError, StorageError
from secateur.measure.kernel import SAMPLES, Kernel, Spec, time_kernel
from secateur.measure.latency import processor_clock
from secateur.measure.table import LatencyTable

CPU = torch.device("cpu")
PRODUCT = Kernel("aten.mm.default", (Spec((4, 3)), Spec((3, 2))))


def elements(kernel: Kernel) -> float:
    return 0.5 * sum(spec.elements for spec in kernel.specs())


@pytest.mark.parametrize(
    "given",
    [
        torch.zeros(2, 3, 4, 5),
        torch.zeros(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        torch.zeros(1, 3).expand(4, 3),
        torch.zeros(2, 3).t(),
        torch.zeros((), dtype=torch.bool),
    ],
)
def test_a_tensor_is_made_with_the_strides_it_had(given: torch.Tensor) -> None:
    order = tuple(sorted(range(given.ndim), key=lambda d: (-given.stride(d), d)))
    repeated = tuple(d for d in range(given.ndim) if given.stride(d) == 0)
    spec = Spec(tuple(given.shape), str(given.dtype).removeprefix("torch."), order, repeated)
    made = spec.make(CPU)
    assert (made.shape, made.stride(), made.dtype) == (given.shape, given.stride(), given.dtype)
    assert spec.elements == given.untyped_storage().nbytes() // given.element_size()


def test_a_call_runs_on_tensors_of_its_sizes() -> None:
    joined = Kernel("aten.cat.default", ((Spec((2, 3)), Spec((2, 4))),), (("dim", 1),))
    assert joined.runner(CPU)().shape == (2, 7)  # type: ignore[attr-defined]
    assert str(joined) == "aten.cat.default([float32[2, 3], float32[2, 4]], dim=1)"


def test_the_fastest_sample_counts_and_short_calls_are_repeated() -> None:
    seconds = iter([1e-3, *([9e-3] * (SAMPLES - 1)), 4e-3])
    runs = []

    def timer(run) -> float:
        run()
        runs.append(1)
        return next(seconds)

    assert time_kernel(PRODUCT, CPU, timer, at_least=2e-3) == 4e-3 / 2
    assert len(runs) == 1 + SAMPLES


def test_processor_time_does_not_pass_while_one_sleeps() -> None:
    slept = processor_clock(lambda: time.sleep(0.05))
    assert slept < 0.04


def test_every_operator_is_measured_once() -> None:
    asked = []
    table = LatencyTable(stopwatch=lambda kernel: asked.append(kernel) or elements(kernel))
    assert table.milliseconds(PRODUCT) == table.milliseconds(PRODUCT) == 9000.0
    assert asked == [PRODUCT]


def test_an_operator_that_cannot_run_alone_is_an_error_with_its_sizes() -> None:
    table = LatencyTable()
    with pytest.raises(PlanError, match=r"aten.mm.default\(float32\[4, 3\], float32\[4, 3\]\)"):
        table.milliseconds(Kernel("aten.mm.default", (Spec((4, 3)), Spec((4, 3)))))


def test_a_table_is_read_back_without_measuring(tmp_path: Path) -> None:
    table = LatencyTable(stopwatch=elements)
    table.milliseconds(PRODUCT)
    table.save(tmp_path / "table.json")
    again = LatencyTable.load(tmp_path / "table.json")
    assert again.known == table.known
    assert again.milliseconds(PRODUCT) == 9000.0


def test_a_table_of_another_machine_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    LatencyTable(stopwatch=elements).save(path)
    content = json.loads(path.read_text())
    content["machine"]["threads"] = 99
    path.write_text(json.dumps(content))
    with pytest.raises(PlanError, match="threads 99, here it is"):
        LatencyTable.load(path)


@pytest.mark.parametrize(
    "content",
    [
        "not JSON",
        "[]",
        '{"schema": 2}',
        '{"schema": 1, "machine": {}}',
        '{"schema": 1, "machine": {}, "milliseconds": {"a": -1}}',
        '{"schema": 1, "machine": {}, "milliseconds": {"a": "1"}}',
    ],
)
def test_a_file_that_is_no_table_is_an_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(StorageError, match=r"table\.json"):
        LatencyTable.load(path)
