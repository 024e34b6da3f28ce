"""Widths found by an agent that walks through the layers and is rewarded for accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from ..core.axes import View
from ..core.component import register
from ..core.errors import PlanError
from ..core.trial import Trial
from .agent import Agent, Step
from .features import Features, features_of
from .layers import Counts, Layers
from .priced import Priced
from .searcher import Searcher, Space

SIGMA, DECAY = 0.5, 0.95
"""The standard deviation of the noise, and what is left of it an episode later once it falls."""


@register("amc")
class Amc(Searcher):
    r"""keep_t = clamp(round(a_t · n_t), least_t, most_t), a_t = μ(s_t) + noise, for layer after layer.

    s_t = (t, n, c, h, w, stride, k, FLOPs_t, reduced, rest, a_{t−1}) of the layer that writes the units;
    the first eight are scaled to 0 … 1 over the layers, `reduced` is what the layers before save of the cost,
    `rest` the share of the work in the layers behind. most_t is the most with which the budget is met when
    every layer behind keeps its least, so that every episode meets it. Its reward, which all its steps are
    given, is R = −e, or −e · log(cost) with `reward="cost"` (R_FLOPs where the budget is one in MACs, R_Param
    in parameters); e: the share of wrong predictions on all samples. The agent is DDPG, see `agent`: noise
    makes of its action a normal distribution truncated to 0 … 1, of deviation 0.5 for `warmup` episodes in
    which nothing is learned, and then 5 % less in every episode. The episode with the largest reward
    counts, or equal shares where it makes more errors.

    Without a budget units are what is counted, and what an episode leaves is filled up to the exact total.
    Every reward is kept in the run's folder: a killed search does the same again without the trials.

    Attributes:
        episodes, warmup: how many, and how many of them before the agent learns.
        least: the smallest fraction of a layer that stays.
        reward: what is maximised.

    Paper: He, Lin, Liu, Wang, Li, Han 2018, arXiv 1802.03494. The official code draws the warm-up's actions
    uniformly, searches for 800 episodes, rounds widths to multiples of 8, and prunes the inputs of a layer,
    which are another's units, by magnitude and with a least-squares reconstruction before accuracy is
    taken; here criterion and solver are the method's, and repairs come after the search.
    """

    needs = frozenset({"layer_sizes"})

    episodes: Annotated[int, Field(ge=1)] = 400
    warmup: Annotated[int, Field(ge=0)] = 100
    least: float = Field(default=0.2, gt=0, lt=1)
    reward: Literal["error", "cost"] = "error"

    @property
    def labelled(self) -> bool:
        """Errors are counted."""
        return True

    def space(self, layers: Layers, start: Counts) -> Priced:
        """A unit is a unit."""
        return Priced(layers, lambda keep: float(keep.sum()), float(sum(start)), f"{start}", True)

    def search(self, space: Space, start: Counts, trial: Trial, view: View) -> Counts:
        """The units that stay of each layer."""
        assert isinstance(space, Priced)
        return _Walks(self, space, start, trial, view).run()


class _Walks:
    """All episodes of one search."""

    def __init__(self, how: Amc, space: Priced, start: Counts, trial: Trial, view: View) -> None:
        self.how, self.start, self.trial, self.view = how, start, trial, view
        self.space = self._floored(space)
        self.features: Features = features_of(view, self.space)
        self.agent = Agent(self.features.count, view.generator)
        self.words = f"{how} {space.words}"
        known = trial.resume(self.words)
        self.done = int(known.get("generation", 0))
        self.errors: dict[Counts, float] = {tuple(c): e for c, e in known.get("errors", [])}

    def _floored(self, space: Priced) -> Priced:
        """With the least that every layer keeps; a budget below that is refused."""
        sizes, bounds = space.layers.most, space.layers.least
        least = tuple(
            min(n, max(low, math.ceil(self.how.least * n)))
            for n, low in zip(sizes, bounds, strict=True)
        )
        cost = space.cost(least)
        if cost > space.limit:
            raise PlanError(
                f"allocator 'amc' keeps at least {self.how.least:.0%} of every layer; that takes "
                f"{cost:,.6g}, the closest possible, where {space.limit:,.6g} may be left. Give a smaller "
                "`least` or a larger budget"
            )
        return replace(space, layers=replace(space.layers, least=least))

    def run(self) -> Counts:
        """The best of all episodes."""
        begun = self._error(self.start)
        best, most = self.start, -math.inf
        for number in range(self.how.episodes):
            counts, steps = self._walk(number)
            error = self._error(counts)
            reward = self._reward(counts, error)
            if reward > most:
                best, most = counts, reward
            self._learn(number, steps, reward)
            self._tell(number + 1, error, best)
        ended = self._error(best)
        best, ended = (best, ended) if ended <= begun else (self.start, begun)
        self.trial.note(candidates=len(self.errors), start=begun, end=ended, by="error")
        return best

    def _walk(self, number: int) -> tuple[Counts, list[Step]]:
        """One episode: the units of each layer, and its steps."""
        rng = self.view.generator("amc", number)
        counts, previous, steps = self.space.layers.least, 1.0, list[Step]()
        state = self.features.state(0, counts, previous)
        for layer, size in enumerate(self.space.layers.most):
            action = _noisy(self.agent.act(state), self._sigma(number), rng)
            wanted = max(counts[layer], round(action * size))
            counts = self.space.widened(counts, layer, wanted)
            previous = counts[layer] / size
            last = layer + 1 == len(counts)
            after = state if last else self.features.state(layer + 1, counts, previous)
            steps.append(Step(state, action, after, last))
            state = after
        if self.space.exact:
            counts = self.space.filled(counts, range(len(counts)))
        return counts, steps

    def _sigma(self, number: int) -> float:
        return SIGMA * DECAY ** max(0, number - self.how.warmup)

    def _reward(self, counts: Counts, error: float) -> float:
        scale = math.log(self.space.cost(counts)) if self.how.reward == "cost" else 1.0
        return -error * scale

    def _learn(self, number: int, steps: Sequence[Step], reward: float) -> None:
        for at, step in enumerate(steps):
            self.agent.remember(step, reward)
            if number >= self.how.warmup:
                self.agent.learn(number, at)

    def _error(self, counts: Counts) -> float:
        """The share of wrong predictions, counted once."""
        if counts not in self.errors:
            keep = self.space.keep(counts)
            (self.errors[counts],) = self.trial.errors([keep], range(self.trial.samples))
        return self.errors[counts]

    def _tell(self, episode: int, error: float, best: Counts) -> None:
        """Keep what was tried, once an episode is new."""
        if episode > self.done:
            told: dict[str, Any] = {"generation": episode, "of": self.how.episodes, "error": error}
            tried = [[list(counts), e] for counts, e in self.errors.items()]
            self.trial.reached(self.words, {**told, "counts": list(best), "errors": tried})


def _noisy(mean: float, sigma: float, rng: torch.Generator) -> float:
    """A draw from the normal distribution around `mean`, truncated to 0 … 1."""
    ends = (torch.tensor([0.0, 1.0], dtype=torch.float64) - mean) / sigma
    low, high = torch.special.ndtr(ends).tolist()
    u = torch.rand((), generator=rng, dtype=torch.float64) * (high - low) + low
    return min(max(mean + sigma * float(torch.special.ndtri(u)), 0.0), 1.0)
