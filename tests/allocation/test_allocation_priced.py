"""A search within a budget: units are exchanged at equal cost, against every allocation there is."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.allocation import Evolution, ToBudget
from secateur.allocation.layers import Layers
from secateur.allocation.priced import Priced
from secateur.allocation.to_budget import Bill
from secateur.core.errors import PlanError
from secateur.scope import Tensorwise
from tests.contracts.samples import FakeCost, FakeTrial, FakeView, targets

SIDE, WIDTHS, CLASSES = 4, (5, 4, 6), 3
HOW: dict[str, Any] = {
    "name": "evolution", "generations": 12, "offspring": 8, "stages": [[12, 1]], "step": 0.2,
}  # fmt: skip


def network() -> nn.Sequential:
    """Convolutions of 5, 4 and 6 filters, the second at a quarter of the places: cheap to keep."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        made = nn.Sequential(
            nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(5, 4, 3, padding=1), nn.ReLU(),
            nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES),
        )  # fmt: skip
        with torch.no_grad():
            made[-1].weight.mul_(40)
    return made.eval()


def inputs() -> Tensor:
    return torch.randn(12, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(6))


def macs(a: int, b: int, c: int) -> int:
    """Of one sample, by hand: 16 places, then 4; three by three; and the classifier."""
    return 16 * 9 * 2 * a + 4 * 9 * (a * b + b * c) + CLASSES * c


def parameters(a: int, b: int, c: int) -> int:
    return (18 * a + a) + (9 * a * b + b) + (9 * b * c + c) + (CLASSES * c + CLASSES)


def pruned_to(dense: nn.Module, counts: tuple[int, ...]) -> nn.Module:
    """The filters with the largest sums of absolute weights, so many of each layer."""
    out = copy.deepcopy(dense)
    with torch.no_grad():
        for layer, count in zip((out[0], out[3], out[5]), counts, strict=True):  # type: ignore[index]
            order = layer.weight.abs().sum((1, 2, 3)).argsort(descending=True)
            layer.weight[order[count:]] = 0
            layer.bias[order[count:]] = 0
    return out


def kl(dense: nn.Module, pruned: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        p, q = (torch.softmax(net(x).double(), 1) for net in (dense, pruned))
        return float((p * (p.log() - q.log())).sum(1).mean())


@pytest.mark.parametrize(("what", "price"), [("macs", macs), ("parameters", parameters)])
def test_it_finds_the_best_of_all_that_the_budget_permits(what: str, price: Any) -> None:
    """All widths of which none can be one unit wider within half of the cost."""
    dense, x = network(), inputs()
    limit = price(*WIDTHS) / 2
    fit = {c for c in product(*(range(1, n + 1) for n in WIDTHS)) if price(*c) <= limit}
    full = [
        c for c in fit
        if not any((*c[:i], c[i] + 1, *c[i + 1 :]) in fit for i in range(3))
    ]  # fmt: skip
    assert len(full) > 5
    each = {c: kl(dense, pruned_to(dense, c), x) for c in full}
    best = min(each, key=each.__getitem__)
    recipe = sc.recipe("l1-filters", search=HOW, budget={what: "50%"})
    result = sc.prune(dense, recipe, example=x[:1], data=[x], trained=True)
    found = tuple(int(m.sum()) for m in result.units.values())
    assert found == best
    told, record = result.record["search"], result.record["budget"][what]
    assert told["end"] == pytest.approx(each[best], rel=1e-3)
    assert told["end"] < 0.9 * told["start"], "there is something to be found"
    assert record["whole"] == price(*WIDTHS)
    assert record["left"] == price(*best) <= limit
    small = sc.shrink(result, x[:1])
    assert small.record[what][1] == price(*best)


def space(limit: float, prices: tuple[float, ...]) -> Priced:
    """108, 288 and 160 units, that many of each at most."""
    groups = Tensorwise().groups(targets())
    layers = Layers.of(targets(), {t.name: torch.rand(t.shape) for t in targets()}, groups)
    return Priced(layers, lambda keep: float((keep * torch.tensor(prices)).sum()), limit)


def test_what_is_given_is_worth_the_step_and_what_is_taken_costs_no_more() -> None:
    """Prices 1, 3 and 7: a tenth of a mean layer's 107 + 861 + 1113 is 69.4."""
    prices, limit = (1.0, 3.0, 7.0), 1000.0
    priced = space(limit, prices)
    assert priced.savings == (107.0, 861.0, 1113.0)
    begun, draw = (54, 146, 72), Random(1)
    assert priced.cost(begun) == 996.0
    seen = set()
    for _ in range(60):
        child = priced.exchange(0.1)(begun, 1, draw)
        room = limit - priced.cost(child)
        able = [p for p, n, most in zip(prices, child, (108, 288, 160), strict=True) if n < most]
        assert 0 <= room < min(able), "no unit more fits"
        seen.add(tuple(b - a for a, b in zip(begun, child, strict=True)))
    gave = {next(i for i, d in enumerate(s) if d < -2): s for s in seen if min(s) < -2}
    assert gave[2][2] == -10, "ten at 7 are the fewest that save 69.4"
    assert gave[1][1] == -24, "and 24 at 3"
    assert gave[0][0] == -53, "all that the first has but one save less"


def test_floors_and_protected_layers_hold_and_a_smaller_step_moves_less() -> None:
    dense, x = network(), inputs()
    seen: list[list[int]] = []
    recipe = sc.recipe(
        "l1-filters", search=HOW, budget={"macs": "60%"}, protect=["3"], floors={"5": 3}
    )
    watch = lambda event: seen.append(event["counts"]) if event["kind"] == "searched" else None  # noqa: E731
    result = sc.prune(dense, recipe, example=x[:1], data=[x], trained=True, progress=watch)
    assert len(seen) == 12
    assert all(counts[1] == 4 and counts[2] >= 3 for counts in seen)
    assert macs(*(int(m.sum()) for m in result.units.values())) <= 0.6 * macs(*WIDTHS)


class Slower(FakeCost):
    """A prediction that is a fifth too low."""

    def measured(self, counts: Mapping[str, int]) -> float:  # type: ignore[override]
        return 1.2 * self(counts)


@pytest.mark.parametrize("progress", [1.0, 0.5])
def test_a_prediction_is_measured_and_set_right(progress: float) -> None:
    """A tenth is to stay of 108 + 288 + 3 · 160; halfway √0.1 of it, which nothing measures."""
    how = Evolution(generations=4, offspring=4)
    allocator = ToBudget(inner=how, what="latency", limit=0.1)
    view, seen = FakeView(targets()), []

    class Trial(FakeTrial):
        def __call__(self, candidates: Sequence[Tensor], chosen: Sequence[int]) -> list[float]:
            seen.extend(candidates)
            return super().__call__(candidates, chosen)

    cost = Slower({t.name: t.units for t in view.targets})
    view.costs, view.progress = {"latency": cost}, progress
    view.trial = lambda scores, groups: Trial()  # type: ignore[method-assign]
    groups = Tensorwise().groups(view.targets)
    scores = {t.name: torch.rand(t.shape) for t in view.targets}
    kept = allocator.keep(scores, groups, None, view)  # type: ignore[arg-type]
    bill = Bill(cost, scores, groups)  # type: ignore[arg-type]
    most = 876 * 0.1**progress
    assert max(map(bill, seen)) <= (most / 1.2 * 1.03 if progress == 1 else most)
    found = bill(kept) * (1.2 if progress == 1 else 1.0)
    assert 0.97 * most < found <= 1.03 * most
    assert int(kept[0]) > 11, "the first is worth most"


class Killed(Exception):
    """As if the process had ended."""


def test_a_killed_search_goes_on_where_it_was_and_ends_alike(tmp_path: Path) -> None:
    recipe = sc.recipe("l1-filters", search=HOW, budget={"macs": "50%"})
    options: dict[str, Any] = {"example": inputs()[:1], "data": [inputs()], "trained": True}
    straight = sc.prune(network(), recipe, **options)
    generations: list[int] = []

    def watch(event: dict[str, Any]) -> None:
        if event["kind"] == "searched":
            generations.append(event["generation"])
            if len(generations) == 5:
                raise Killed

    with pytest.raises(Killed):
        sc.prune(network(), recipe, folder=tmp_path, progress=watch, **options)
    again = sc.prune(network(), recipe, folder=tmp_path, progress=watch, **options)
    assert generations == list(range(1, 13))
    assert again.record["budget"] == straight.record["budget"]
    assert all(torch.equal(again.masks[n], straight.masks[n]) for n in straight.masks)


def test_a_budget_below_the_fewest_units_is_refused_and_the_plan_says_what_it_needs() -> None:
    dense, x = network(), inputs()
    recipe = sc.recipe("l1-filters", search={**HOW, "generations": 2}, budget={"macs": "1%"})
    with pytest.raises(PlanError, match="cannot be met"):
        sc.prune(dense, recipe, example=x[:1], data=[x], trained=True)
    told = str(sc.plan(dense, sc.recipe("l1-filters", search=HOW, budget={"macs": "50%"}), x[:1]))
    assert "choosing what goes needs data; labels are not read (trials)" in told
