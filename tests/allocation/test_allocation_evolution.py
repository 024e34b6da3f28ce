"""A search of layers' densities: against every allocation there is, and against the outputs themselves."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.allocation import Evolution
from secateur.allocation.layers import Layers
from secateur.core.axes import Allocator
from secateur.core.component import from_dict
from secateur.core.errors import DataError, PlanError
from secateur.core.recipe import Recipe
from secateur.criteria import Magnitude
from secateur.schedule import OneShot
from secateur.scope import Row, Tensorwise
from secateur.structure import Weights
from tests.contracts.samples import FakeTrial, FakeView, targets
from tests.methods.tiny import tiny_llama, tokens

SIDE, SAMPLES = 6, 12


def network(*between: nn.Module) -> nn.Sequential:
    """Three layers of 36 weights, of which the middle one is small and matters less."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        linear = [nn.Linear(SIDE, SIDE, bias=False) for _ in range(3)]
        with torch.no_grad():
            for layer, size in zip(linear, (4.0, 0.5, 3.0), strict=True):
                layer.weight.mul_(size)
        return nn.Sequential(linear[0], nn.Tanh(), *between, linear[1], nn.Tanh(), linear[2])


def inputs() -> Tensor:
    return torch.randn(SAMPLES, SIDE, generator=torch.Generator().manual_seed(5))


def recipe(how: Evolution, density: float = 0.5, **axes: Any) -> Recipe:
    return Recipe(**{
        "structure": Weights(classifier=True), "criterion": Magnitude(), "scope": Tensorwise(),
        "allocator": how, "schedule": OneShot(density=density), **axes,
    })  # fmt: skip


def kl(dense: nn.Module, pruned: nn.Module, x: Tensor) -> float:
    """Σ p (log p − log q) over classes, mean over samples, in float64."""
    with torch.no_grad():
        p, q = (torch.softmax(net(x).double(), 1) for net in (dense, pruned))
        return float((p * (p.log() - q.log())).sum(1).mean())


def pruned_to(dense: nn.Module, counts: Sequence[int]) -> nn.Module:
    """The largest weights of each layer, so many."""
    out = copy.deepcopy(dense)
    linear = [layer for layer in out if isinstance(layer, nn.Linear)]  # type: ignore[attr-defined]
    with torch.no_grad():
        for layer, count in zip(linear, counts, strict=True):
            order = layer.weight.abs().flatten().argsort(descending=True)
            layer.weight.view(-1)[order[count:]] = 0
    return out


def test_it_finds_the_best_of_all_allocations_and_tells_its_true_divergence() -> None:
    """21 of 108 weights stay, two move at a time, one at least is left: 1, 3, … 19 of each layer."""
    dense, x = network(), inputs()
    how = Evolution(generations=12, offspring=6, stages=((SAMPLES, 1),), step=2 / SIDE**2)
    result = sc.prune(dense, recipe(how, density=21 / 108), data=[x])
    counts = [(a, b, 21 - a - b) for a in range(1, 21, 2) for b in range(1, 21 - a, 2)]
    each = {c: kl(dense, pruned_to(dense, c), x) for c in counts}
    assert len(each) == 55
    best = min(each, key=each.__getitem__)
    told = result.record["search"]
    assert tuple(int(m.sum()) for m in result.units.values()) == best
    assert told["end"] == pytest.approx(each[best], rel=1e-4)
    assert told["start"] == pytest.approx(each[7, 7, 7], rel=1e-4)
    assert each[best] < 0.9 * each[7, 7, 7], "there is something to be found"


class Watched(FakeTrial):
    """Remembers every candidate; the last group is the one to fill."""

    samples = 5

    def __init__(self) -> None:
        self.seen: list[Tensor] = []
        self.drawn: list[list[int]] = []
        self.told: dict[str, object] = {}

    def __call__(self, candidates: Sequence[Tensor], chosen: Sequence[int]) -> list[float]:
        self.seen += candidates
        self.drawn.append(list(chosen))
        return [-float(keep[-1]) for keep in candidates]

    def note(self, **facts: object) -> None:
        self.told = facts


def search(
    how: Evolution, density: float, scope: Any = None, seed: int = 0
) -> tuple[Watched, Tensor]:
    trial, view = Watched(), FakeView(targets(), seed)
    view.trial = lambda scores, groups: trial  # type: ignore[method-assign]
    groups = (scope or Tensorwise()).groups(view.targets)
    scores = {t.name: torch.rand(t.shape) for t in view.targets}
    return trial, how.keep(scores, groups, density, view)  # type: ignore[arg-type]


@pytest.mark.parametrize("scope", [Tensorwise(), Row()], ids=str)
@pytest.mark.parametrize("density", [0.7, 0.31, 0.05])
def test_every_candidate_keeps_exactly_as_much(scope: Any, density: float) -> None:
    trial, kept = search(Evolution(generations=6, offspring=4), density, scope)
    size = scope.groups(targets()).size
    total = round(float(density * size.sum()))
    assert len(trial.seen) > 20
    for keep in [*trial.seen, kept]:
        assert int(keep.sum()) == total
        assert bool(((keep >= 0) & (keep <= size)).all())


def test_stages_grow_and_their_best_go_on() -> None:
    """Five samples are all there are; the last group is filled as far as its size or the rest let it."""
    how = Evolution(generations=40, offspring=6, stages=((1, 3), (3, 2), (9, 1)), step=0.05)
    trial, kept = search(how, 0.4)
    sizes = [len(drawn) for drawn in trial.drawn]
    assert sizes[:-1] == [1, 3, 5] * (len(sizes) // 3)
    assert sizes[-1] == 5
    assert len({tuple(drawn) for drawn in trial.drawn[1:-1:3]}) > 3, "drawn anew"
    assert len(trial.seen) == 40 * (6 + 3 + 2 + 1) + 2
    assert trial.told["candidates"] == 40 * (6 + 3 + 2 + 1)
    assert int(kept[-1]) == 160
    assert trial.told["end"] == -160.0


def test_the_start_stays_where_the_end_is_no_better_on_all_samples() -> None:
    class Fickle(Watched):
        def __call__(self, candidates: Sequence[Tensor], chosen: Sequence[int]) -> list[float]:
            sign = 1.0 if len(chosen) == self.samples else -1.0
            return [sign * float(keep[-1]) for keep in candidates]

    trial, view = Fickle(), FakeView(targets())
    view.trial = lambda scores, groups: trial  # type: ignore[method-assign]
    groups = Tensorwise().groups(view.targets)
    scores = {t.name: torch.rand(t.shape) for t in view.targets}
    kept = Evolution(generations=5, stages=((2, 1),)).keep(scores, groups, 0.5, view)  # type: ignore[arg-type]
    assert kept.tolist() == [54, 144, 80]
    assert trial.told["start"] == trial.told["end"] == 80.0


def test_equal_seeds_search_alike_and_others_otherwise() -> None:
    how = Evolution(generations=3, offspring=4)
    seen = [[keep.tolist() for keep in search(how, 0.5, seed=seed)[0].seen] for seed in (0, 0, 1)]
    assert seen[0] == seen[1] != seen[2]


def test_every_generation_draws_anew_and_a_parent_stays_until_a_child_is_better() -> None:
    class Content(Watched):
        def __call__(self, candidates: Sequence[Tensor], chosen: Sequence[int]) -> list[float]:
            super().__call__(candidates, chosen)
            return [float((keep - torch.tensor([54, 144, 80])).abs().sum()) for keep in candidates]

    trial, view = Content(), FakeView(targets())
    view.trial = lambda scores, groups: trial  # type: ignore[method-assign]
    groups = Tensorwise().groups(view.targets)
    scores = {t.name: torch.rand(t.shape) for t in view.targets}
    how = Evolution(generations=4, offspring=3, stages=((5, 1),))
    assert how.keep(scores, groups, 0.5, view).tolist() == [54, 144, 80]  # type: ignore[arg-type]
    children = [tuple(map(tuple, (k.tolist() for k in trial.seen[i : i + 3]))) for i in (0, 4, 8)]
    assert all(keep.tolist() == [54, 144, 80] for keep in trial.seen[3:16:4]), "the parent"
    assert len(set(children)) == 3


def test_only_units_of_one_kind_are_exchanged() -> None:
    """A head that goes for a neuron that comes would be another total."""
    trial, heads = Watched(), replace(targets()[0], kind="heads")
    view = FakeView((heads, *targets()[1:]))
    view.trial = lambda scores, groups: trial  # type: ignore[method-assign]
    groups = Tensorwise().groups(view.targets)
    scores = {t.name: torch.rand(t.shape) for t in view.targets}
    kept = Evolution(generations=5).keep(scores, groups, 0.5, view)  # type: ignore[arg-type]
    assert {int(keep[0]) for keep in [*trial.seen, kept]} == {54}
    assert int(kept[2]) > 80
    layers = Layers.of(view.targets, scores, groups)
    assert layers.steps(0.1) == (11, 22, 22), "of 108 alone, and of 224 on average"
    assert layers.steps(1e-6) == (1, 1, 1)


METHODS: list[tuple[str, dict[str, Any]]] = [
    ("wanda", {"walk": "whole"}),
    ("magnitude-layerwise", {}),
    ("sparsegpt", {}),
    ("l1-filters", {}),
]


def convolutions() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5),
            nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 12), nn.ReLU(),
            nn.Linear(12, 3),
        ).train()  # fmt: skip
    with torch.no_grad():
        made[-1].weight.mul_(30)
    return made


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_what_is_tried_is_what_comes_out(method: str, options: dict[str, Any]) -> None:
    """The divergence told of the best candidate is that of the pruned network, whatever chooses."""
    dense = convolutions()
    x = torch.randn(10, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    batches = [(x[:6], torch.zeros(6).long()), (x[6:], torch.zeros(4).long())]
    how = {"name": "evolution", "generations": 3, "offspring": 4, "stages": [[2, 2], [10, 1]]}
    before = copy.deepcopy(dense.state_dict())
    result = sc.prune(
        dense, method, data=batches, trained=True, sparsity=0.5, search=how, **options
    )
    assert result.record["search"]["end"] == pytest.approx(
        kl(dense.eval(), result.model.eval(), x), rel=1e-3
    )
    assert result.record["search"]["end"] < result.record["search"]["start"]
    assert all(torch.equal(before[name], value) for name, value in dense.state_dict().items())
    units = sum(m.numel() for m in result.units.values())
    assert sum(int(m.sum()) for m in result.units.values()) == round(units / 2)


def test_layers_to_drop_are_the_best_two_of_four_and_padding_does_not_count() -> None:
    model, batch = tiny_llama(), tokens()
    result = sc.prune(model, "evopress", units="layers", density=0.5, generations=3, data=[batch])
    valid = batch["attention_mask"].bool()

    def distance(without: Sequence[int]) -> float:
        less = copy.deepcopy(model)
        less.model.layers = nn.ModuleList(
            layer for i, layer in enumerate(less.model.layers) if i not in without
        )
        with torch.no_grad():
            p, q = (torch.softmax(net(**batch).logits[valid].double(), -1) for net in (model, less))
        return float((p * (p.log() - q.log())).sum(-1).mean())

    each = {pair: distance(pair) for pair in combinations(range(4), 2)}
    gone = tuple(i for i, mask in enumerate(result.units.values()) if not bool(mask.any()))
    assert gone == min(each, key=each.__getitem__)
    assert result.record["search"]["end"] == pytest.approx(each[gone], rel=1e-3)


class Killed(Exception):
    """As if the process had ended."""


def test_a_killed_search_goes_on_where_it_was_and_ends_alike(tmp_path: Path) -> None:
    chosen = recipe(Evolution(generations=6, offspring=3, stages=((4, 1),)))
    straight = sc.prune(network(), chosen, data=[inputs()])
    generations: list[int] = []

    def watch(event: dict[str, Any]) -> None:
        if event["kind"] == "searched":
            generations.append(event["generation"])
            if len(generations) == 3:
                raise Killed

    with pytest.raises(Killed):
        sc.prune(network(), chosen, data=[inputs()], folder=tmp_path, progress=watch)
    again = sc.prune(network(), chosen, data=[inputs()], folder=tmp_path, progress=watch)
    assert generations == [1, 2, 3, 4, 5, 6]
    assert again.record["search"] == {
        **straight.record["search"], "levels": again.record["search"]["levels"]
    }  # fmt: skip
    assert all(torch.equal(again.masks[n], straight.masks[n]) for n in straight.masks)


def test_a_whole_network_is_not_searched() -> None:
    trial, kept = search(Evolution(), 1.0)
    assert trial.seen == []
    assert kept.tolist() == [108, 288, 160]


class Number(nn.Module):
    """Puts out one number a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).mean(1, keepdim=True)  # type: ignore[no-any-return]


def test_refusals_name_what_to_do() -> None:
    how = Evolution(generations=1)
    with pytest.raises(PlanError, match=r"tries candidates on data .*pass data="):
        sc.prune(network(), recipe(how))
    with pytest.raises(PlanError, match=r"scores of classes .* gives \[4, 1\]"):
        sc.prune(Number(), recipe(how), data=[inputs()])
    with pytest.raises(DataError, match="on a batch of type str"):
        sc.prune(network(), recipe(how), data=["text"], example=inputs())
    with pytest.raises(PlanError, match=r"tries candidates on the whole network.*use walk 'whole'"):
        sc.recipe("wanda", search="evolution", walk="blocks")
    with pytest.raises(PlanError, match="shares out by allocator 'owl'"):
        sc.recipe("owl", search="evolution")
    with pytest.raises(PlanError, match="'erk' does not"):
        sc.recipe("wanda", search="erk")
    with pytest.raises(PlanError, match=r"would round .* give no round_to and no even"):
        sc.recipe("l1-filters", search="evolution", budget={"macs": "50%"}, round_to=2)
    with pytest.raises(PlanError, match="units of structure 'weights' save nothing"):
        sc.recipe("wanda", search="evolution", budget={"macs": "50%"})
    with pytest.raises(PlanError, match="stages"):
        from_dict(Allocator, {"name": "evolution", "stages": []})


def test_the_plan_and_the_card_say_that_it_needs_data() -> None:
    chosen = sc.recipe("magnitude-layerwise", search="evolution")
    told = str(sc.plan(network(), chosen))
    assert "choosing what goes needs data; labels are not read (trials)" in told
    assert sc.recipe("wanda", search="evolution").walk == "whole"
