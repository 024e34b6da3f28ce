"""An agent that shares out: what it sees, how it learns, and that it meets every budget."""

from __future__ import annotations

import copy
import math
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.allocation import Amc, ToBudget
from secateur.allocation.agent import Agent, Step
from secateur.allocation.amc import _noisy
from secateur.allocation.features import features_of
from secateur.allocation.layers import Layers
from secateur.allocation.priced import Priced
from secateur.core.errors import DataError, PlanError
from secateur.core.random import generator
from secateur.engine.collect import collect
from secateur.engine.trying import Tried
from secateur.engine.trying.mistakes import mistakes
from secateur.scope import Tensorwise
from tests.allocation.test_allocation_priced import CLASSES, WIDTHS, macs, pruned_to
from tests.allocation.test_allocation_priced import inputs as images
from tests.allocation.test_allocation_priced import network as unbalanced
from tests.contracts.samples import FakeTrial, FakeView, targets

HOW: dict[str, Any] = {"name": "amc", "episodes": 14, "warmup": 6}


BEST = (2, 2, 6)
"""Whose predictions are the labels."""


def network() -> nn.Sequential:
    """With classes that are predicted about equally often when half of it is left."""
    net = unbalanced()
    with torch.no_grad():
        net[-1].bias.sub_(pruned_to(net, (2, 3, 3))(images()).mean(0))
    return net


def labels() -> Tensor:
    """What that network says, but for two."""
    y = pruned_to(network(), BEST)(images()).argmax(1)
    y[:2] = (y[:2] + 1) % CLASSES
    return y


def prune(**options: Any) -> sc.Result:
    recipe = sc.recipe("l1-filters", search=HOW, budget={"macs": "50%"})
    given: dict[str, Any] = {"example": images()[:1], "data": (images(), labels()), "trained": True}
    return sc.prune(network(), recipe, **{**given, **options})


def test_every_episode_meets_the_budget_and_the_best_by_its_true_error_stays() -> None:
    tried: dict[tuple[int, ...], float] = {}

    def watch(event: dict[str, Any]) -> None:
        if event["kind"] == "searched":
            tried.update({tuple(counts): error for counts, error in event["errors"]})

    result = prune(progress=watch)
    assert len(tried) > 8
    for counts, error in tried.items():
        pruned = pruned_to(network(), counts)
        missed = int((pruned(images()).argmax(1) != labels()).sum())
        assert error == pytest.approx(missed / 12), counts
        assert macs(*counts) <= 0.5 * macs(*WIDTHS)
    least = [math.ceil(0.2 * n) for n in WIDTHS]
    assert all(n >= low for counts in [*tried][1:] for n, low in zip(counts, least, strict=True))
    found = tuple(int(m.sum()) for m in result.units.values())
    told = result.record["search"]
    assert (
        tried[found]
        == told["end"]
        == min(tried.values())
        < told["start"]
        == next(iter(tried.values()))
    )
    assert told["by"] == "error"
    assert told["passes"] == 12 * len(tried) == 12 * told["candidates"]


def test_the_eleven_numbers_of_a_layer_by_hand() -> None:
    """Of the second of three convolutions (5 to 4 channels at 2 by 2), two of five units before it kept."""
    recipe = sc.recipe("l1-filters", density=0.5)
    net, x = unbalanced(), images()
    found = recipe.structure.targets(net, x[:1])
    stats = collect(net, ["layer_sizes"], found, [x])
    view = FakeView(found)  # type: ignore[arg-type]
    view.weight = lambda param: net.get_parameter(param).detach()  # type: ignore[method-assign]
    view.dims = lambda param: ("out", "in", "k", "k")  # type: ignore[method-assign]
    view.stat = lambda name, param: stats[name][param]  # type: ignore[method-assign]
    groups = Tensorwise().groups(found)
    layers = Layers.of(found, {t.name: torch.rand(t.shape) for t in found}, groups)
    space = Priced(layers, lambda keep: float(macs(*keep.tolist())), 1000.0)
    seen = features_of(view, space)  # type: ignore[arg-type]
    work = [16 * 9 * 2 * 5, 4 * 9 * 5 * 4, 4 * 9 * 4 * 6]
    assert seen.work.tolist() == work
    scaled = [0.5, 0.0, 1.0, 0.0, 0.0, 1.0, 3.0, 0.0]  # t n c h w; stride and k are the same of all
    reduced = 1 - macs(2, 4, 6) / macs(5, 4, 6)
    expected = [*scaled, reduced, work[2] / sum(work), 0.4]
    assert seen.state(1, (2, 1, 1), 0.4) == pytest.approx(expected)
    assert seen.count == 11


def test_sizes_of_layers_are_those_that_they_are_called_with() -> None:
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Conv1d(8, 3, 2, dilation=2), nn.Linear(5, 6)
    )
    x = torch.zeros(3, 2, 9, 13)  # -> [3, 4, 5, 7]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = net

        def forward(self, x: Tensor) -> Tensor:
            maps = self.layers[0](x)
            sequence = self.layers[1](maps.flatten(1, 2)[:, :8])
            return self.layers[2](sequence)  # type: ignore[no-any-return]

    names = [f"layers.{i}.weight" for i in range(3)]
    found = collect(Net(), ["layer_sizes"], names, example=x)["layer_sizes"]
    assert found[names[0]].tolist() == [9, 13, 2, 35]
    assert found[names[1]].tolist() == [1, 7, 1, 5]
    assert found[names[2]].tolist() == [1, 1, 0, 3]
    with pytest.raises(PlanError, match="pass example="):
        collect(Net(), ["layer_sizes"], names)


def test_noise_is_a_truncated_normal() -> None:
    """Its mean is μ + σ (φ(α) − φ(β)) / (Φ(β) − Φ(α)), and nothing leaves 0 … 1."""
    rng, normal = torch.Generator().manual_seed(0), torch.distributions.Normal(0.0, 1.0)
    for mean, sigma in ((0.5, 0.5), (0.9, 0.5), (0.1, 0.05)):
        drawn = torch.tensor([_noisy(mean, sigma, rng) for _ in range(4000)])
        a, b = (torch.tensor((end - mean) / sigma) for end in (0.0, 1.0))
        density = normal.log_prob(a).exp() - normal.log_prob(b).exp()
        expected = mean + sigma * float(density / (normal.cdf(b) - normal.cdf(a)))
        assert float(drawn.mean()) == pytest.approx(expected, abs=0.02)
        assert 0 <= float(drawn.min()) < float(drawn.max()) <= 1


def test_an_update_is_that_of_the_equation() -> None:
    """One step is remembered, so a batch is that step: y = R − b + Q'(s', μ'(s')), with b = R at first."""
    agent = Agent(3, lambda *words: generator(1, *words))
    step = Step([0.1, 0.5, 0.9], 0.25, [0.2, 0.4, 0.6], False)
    agent.remember(step, -0.7)
    policy = agent._ddpg.policy
    actor, critic = copy.deepcopy(policy.actor), copy.deepcopy(policy.critic)
    s, after = torch.tensor([step.state]), torch.tensor([step.after])
    action = torch.tensor([[2 * step.action - 1]])  # from 0 … 1 to -1 … 1
    with torch.no_grad():
        y = policy.critic_target(after, policy.actor_target(after))[0]
    judge = torch.optim.Adam(critic.parameters(), lr=1e-3)
    ((critic(s, action)[0] - y) ** 2).mean().backward()
    judge.step()
    doer = torch.optim.Adam(actor.parameters(), lr=1e-4)
    (-critic(s, actor(s))[0]).mean().backward()
    doer.step()
    target = [
        0.99 * t + 0.01 * p
        for t, p in zip(policy.actor_target.parameters(), actor.parameters(), strict=True)
    ]
    agent.learn("first")
    for mine, theirs in ((critic, policy.critic), (actor, policy.actor)):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-6)
    for a, b in zip(target, policy.actor_target.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert agent.act(step.state) == pytest.approx((actor(s).item() + 1) / 2, abs=1e-5)


def test_it_learns_what_pays_and_moves_no_generator_of_the_process() -> None:
    """Errors grow with what the first layer keeps: late episodes keep less there than early ones."""
    seen: list[float] = []

    class Trial(FakeTrial):
        def errors(self, candidates: Sequence[Tensor], chosen: Sequence[int]) -> list[float]:
            seen.extend(float(keep[0]) / 108 for keep in candidates)
            return [float(keep[0]) / 108 for keep in candidates]

    view = FakeView(targets())
    view.trial = lambda scores, groups: Trial()  # type: ignore[method-assign]
    groups = Tensorwise().groups(view.targets)
    scores = {t.name: torch.rand(t.shape) for t in view.targets}
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]
    kept = ToBudget(inner=Amc(episodes=90, warmup=20), what="macs", limit=0.5).keep(
        scores,
        groups,
        None,
        view,  # type: ignore[arg-type]
    )
    assert int(kept[0]) == 22, "a fifth of 108, rounded up"
    early, late = seen[1:21], seen[-15:]
    assert sum(late) / len(late) < 0.6 * sum(early) / len(early)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert bool((before[1] == np.random.get_state()[1]).all())  # type: ignore[index]
    assert before[2] == random.getstate()


def test_without_a_budget_the_total_is_exact_and_the_cost_may_weigh() -> None:
    view, groups = FakeView(targets()), Tensorwise().groups(targets())
    scores = {t.name: torch.rand(t.shape) for t in view.targets}
    for density in (0.3, 0.55):
        kept = Amc(episodes=3).keep(scores, groups, density, view)  # type: ignore[arg-type]
        assert int(kept.sum()) == round(density * 556)

    class Flat(FakeTrial):
        def errors(self, candidates: Sequence[Tensor], chosen: Sequence[int]) -> list[float]:
            return [0.5] * len(candidates)

    def cost(reward: str) -> float:
        view.trial = lambda scores, groups: Flat()  # type: ignore[method-assign]
        how = Amc(episodes=12, reward=reward)  # type: ignore[arg-type]
        kept = ToBudget(inner=how, what="macs", limit=0.9).keep(scores, groups, None, view)  # type: ignore[arg-type]
        return view.costs["macs"]({t.name: int(n) for t, n in zip(view.targets, kept, strict=True)})

    assert cost("cost") < cost("error"), "the cheapest of equally good ones"


class Killed(Exception):
    """As if the process had ended."""


def test_a_killed_search_does_the_same_again_without_the_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = prune()
    episodes: list[int] = []

    def watch(event: dict[str, Any]) -> None:
        if event["kind"] == "searched":
            episodes.append(event["generation"])
            if len(episodes) == 9:
                raise Killed

    with pytest.raises(Killed):
        prune(folder=tmp_path, progress=watch)
    tried: list[int] = []
    errors = Tried.errors

    def counted(self: Tried, candidates: Sequence[Tensor], chosen: Sequence[int]) -> list[float]:
        tried.append(len(candidates))
        return errors(self, candidates, chosen)

    monkeypatch.setattr(Tried, "errors", counted)
    again = prune(folder=tmp_path, progress=watch)
    assert episodes == list(range(1, 15)), "learned from after the ninth as before it"
    assert sum(tried) < straight.record["search"]["candidates"] - 4
    left = {"levels": again.record["search"]["levels"]}
    assert again.record["search"] == {**straight.record["search"], **left}
    assert all(torch.equal(again.masks[n], straight.masks[n]) for n in straight.masks)


def test_refusals_name_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"\(x, y\) of inputs and labels.* give data with labels"):
        prune(data=[images()])
    high = sc.recipe("amc", least=0.9, budget={"macs": "50%"})
    data = (images(), labels())
    with pytest.raises(
        PlanError, match=r"least 90% of every layer; .* closest possible, .* `least`"
    ):
        sc.prune(network(), high, example=images()[:1], data=data, trained=True)
    told = str(sc.plan(network(), sc.recipe("amc", budget={"macs": "50%"}), images()[:1]))
    assert "choosing what goes needs data with labels (layer_sizes, trials)" in told
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(PlanError, match=r"search 'amc' needs .* pip install 'secateur\[policy\]'"):
        prune()


def test_mistakes_are_classes_or_next_tokens_that_are_not_their_label() -> None:
    class Says(nn.Module):
        def __init__(self, scores: Tensor) -> None:
            super().__init__()
            self.scores = scores

        def forward(self, **given: Tensor) -> Tensor:
            return self.scores

    nan = float("nan")
    scores = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, nan], [0.6, 0.4]])
    classes = torch.tensor([1, 1, 1, 0])
    assert mistakes(Says(scores), {"x": scores}, classes) == (2, 4), "what is not finite is wrong"
    tokens = torch.tensor([[0, 1, 1, -100]])  # of two predicted, 1 and 1, the first is said
    said = torch.tensor([[[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]])
    assert mistakes(Says(said), {"input_ids": tokens}, tokens) == (1, 2)
    with pytest.raises(DataError, match="whole numbers of classes, not by floats"):
        mistakes(Says(scores), {"x": scores}, classes.float())
    with pytest.raises(PlanError, match=r"gives \[4, 2\] beside labels \[4, 1\]"):
        mistakes(Says(scores), {"x": scores}, classes[:, None])
