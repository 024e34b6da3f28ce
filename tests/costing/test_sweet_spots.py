"""Sweet spots on stopwatches whose blocks are known."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import secateur as sc
from secateur.core.errors import PlanError
from secateur.costing import LatencyCost, SweetSpots, sweet, sweet_spots
from secateur.engine.costs import Costs
from secateur.measure.kernel import Kernel
from secateur.measure.table import LatencyTable
from secateur.structure import Coupled


def spots(block: int, *widths: int, vector: int = 8) -> SweetSpots:
    """Of a perceptron on a machine that pads channels to blocks."""

    def stopwatch(kernel: Kernel) -> float:
        if kernel.operator != "aten.linear.default":
            return 1e-9
        outputs, inputs = list(kernel.specs())[1].shape
        return float(-(-outputs // block) * -(-inputs // block))

    pairs = zip((64, *widths), (*widths, 64), strict=True)
    net = nn.Sequential(*(nn.Linear(a, b) for a, b in pairs)).eval()
    found = sc.trace(net, torch.zeros(2, 64))
    return sweet_spots(
        found, LatencyCost(found, LatencyTable(stopwatch=stopwatch), 1.0), vector=vector
    )


@pytest.mark.parametrize("block", [1, 8, 16, 32])
def test_the_block_of_the_kernels_is_found(block: int) -> None:
    found = spots(block, 64, 64)
    assert dict(found) == {"0": block, "1": block}
    assert found.common == block


def test_in_a_wide_layer_a_small_block_more_or_less_does_not_matter() -> None:
    assert dict(spots(4, 512)) == {"0": 1}


def test_a_narrow_structure_is_tried_at_the_multiples_it_has() -> None:
    assert dict(spots(8, 16)) == {"0": 8}
    assert dict(spots(4, 9)) == {"0": 4}
    assert dict(spots(4, 3)) == {"0": 1}


class Noisy:
    """Blocks of eight, and on a busy machine up to a third more, by chance."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def __call__(self, kernel: Kernel) -> float:
        if kernel.operator != "aten.linear.default":
            return 1e-9
        outputs, inputs = list(kernel.specs())[1].shape
        return float(-(-outputs // 8) * -(-inputs // 8)) * (1 + self.rng.random() ** 3 / 3)


def test_on_a_busy_machine_the_registers_decide_what_cannot_be_told_apart() -> None:
    net = nn.Sequential(*(nn.Linear(128, 128) for _ in range(6))).eval()
    found = sc.trace(net, torch.zeros(2, 128))
    chosen = []
    for seed in range(5):
        cost = LatencyCost(found, LatencyTable(stopwatch=Noisy(seed)), 1.0)
        spots = sweet_spots(found, cost, vector=8)
        assert spots.all.low <= 8 <= spots.all.high
        chosen.append(spots.common)
    assert chosen == [8] * 5


def test_what_is_certain_goes_before_the_registers() -> None:
    assert spots(16, 64, 64, vector=4).common == 16
    assert spots(8, 64, 64, vector=16).common == 8
    assert str(spots(8, 64, 64)).splitlines()[2] == "one multiple for all: 8"


def test_all_structures_count_by_their_time() -> None:
    """A wide layer that wastes nothing outweighs a narrow one that wastes much."""
    wasted = {"wide": {1: np.zeros(9)}, "narrow": {1: np.full(9, 0.5)}}
    together = sweet._together(wasted, {"wide": 99.0, "narrow": 1.0})
    assert together[1] == pytest.approx(np.full(9, 0.005))
    assert sweet._spot({}, 0.05, 16).multiple == 1


def test_widths_as_the_machine_likes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured goes into the plan and the run, and the record tells the number."""
    asked = []
    monkeypatch.setattr(Costs, "multiple", lambda self: asked.append(self) or 8)
    net = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, 4))
    x = torch.zeros(2, 8)
    options = {"round_to": "sweet", "budget": {"macs": "50%"}}
    result = sc.prune(net, "group-norm", example=x, **options)
    assert all(int(mask.sum()) % 8 == 0 for mask in result.units.values())
    assert result.record["allocator"]["inner"]["round_to"] == 8
    assert "round_to=8" in str(sc.plan(net, "group-norm", x, **options))
    assert len(asked) == 2
    assert sc.Recipe.from_plain(result.record["recipe"]) == sc.recipe("group-norm", **options)


def test_where_any_width_will_do_nothing_is_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Costs, "multiple", lambda self: 1)
    net = nn.Sequential(nn.Linear(8, 37), nn.ReLU(), nn.Linear(37, 4))
    result = sc.prune(net, "l2-filters", kinds=("neurons",), example=torch.zeros(2, 8), density=0.5,
                      round_to="sweet")  # fmt: skip
    assert int(result.units["0"].sum()) == 19
    with pytest.raises(PlanError, match="belong to layers"):
        sc.recipe("snip", round_to="sweet")


def test_measured_for_real_it_is_a_power_of_two() -> None:
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, 8))
    targets = Coupled().targets(net, torch.zeros(4, 64))
    assert Costs(Coupled(), net, torch.zeros(4, 64), targets).multiple() in (1, 2, 4, 8, 16, 32)


def test_a_run_that_goes_on_keeps_the_number_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that answers otherwise the second time does not change a run half done."""
    answers = iter((8, 16))
    monkeypatch.setattr(Costs, "multiple", lambda self: next(answers))

    def again() -> sc.Result:
        net = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 4))
        options = {"density": 0.6, "kinds": ("neurons",), "round_to": "sweet"}
        return sc.prune(net, "l2-filters", example=torch.zeros(2, 8), folder=tmp_path, **options)

    assert [int(again().units["0"].sum()) for _ in range(2)] == [40, 40]
    assert next(answers) == 16
