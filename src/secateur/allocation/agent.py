"""An actor and its critic (DDPG) that learn one number between 0 and 1 for every state."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..core.extras import need
from ..core.random import seeded

HIDDEN = (300, 300)
BATCH, MEMORY = 64, 2000
ACTOR_LR, CRITIC_LR = 1e-4, 1e-3
TAU, BASELINE = 0.01, 0.5
"""How fast the target networks follow, and the baseline the mean reward of a batch."""


@dataclass(frozen=True)
class Step:
    """What was seen, what was done about it, and what was seen next."""

    state: Sequence[float]
    action: float
    after: Sequence[float]
    last: bool


class Agent:
    """DDPG of stable-baselines3 with the settings of AMC.

    y = R − b + (1 − last) Q'(s', μ'(s')): every step of an episode has the reward R of its end, nothing is
    discounted, and the baseline b follows the mean reward of the batches that are learned from. All
    randomness is drawn from what `draw` gives for some words, and no generator of the process is moved.

    Args:
        features: how many numbers a state is.
        draw: words -> a generator.
    """

    def __init__(self, features: int, draw: Callable[..., torch.Generator]) -> None:
        self._draw = draw
        with self._drawing("agent"):
            self._ddpg = _made(features)

    def act(self, state: Sequence[float]) -> float:
        """What the actor would do, without noise."""
        action, _ = self._ddpg.predict(np.asarray(state, np.float32), deterministic=True)
        return float(action[0])

    def remember(self, step: Step, reward: float) -> None:
        """Keep a step for learning."""
        action = self._ddpg.policy.scale_action(np.asarray([step.action], np.float32))
        states = (np.asarray([s], np.float32) for s in (step.state, step.after))
        self._ddpg.replay_buffer.add(
            *states, action[None], np.asarray([reward]), np.asarray([step.last]), [{}]
        )

    def learn(self, *words: object) -> None:
        """One update of critic, actor and their targets from a batch of what is remembered."""
        with self._drawing("learn", *words):
            self._ddpg.train(gradient_steps=1, batch_size=BATCH)

    @contextmanager
    def _drawing(self, *words: object) -> Iterator[None]:
        """Inside, the generators of torch, numpy and Python begin with a number of their own."""
        seed = int(torch.randint(2**31, (1,), generator=self._draw("ddpg", *words)))
        kept = random.getstate(), np.random.get_state()
        try:
            with seeded(torch.device("cpu"), seed):
                random.seed(seed)
                np.random.seed(seed)
                yield
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])


def _made(features: int) -> Any:
    """The agent, with an environment that only says what states and actions are."""
    sb3 = need("stable_baselines3", "search 'amc'")
    logger = need("stable_baselines3.common.logger")
    made = sb3.DDPG(
        "MlpPolicy", _spaces(features), learning_rate=ACTOR_LR, buffer_size=MEMORY, batch_size=BATCH,
        tau=TAU, gamma=1.0, policy_kwargs={"net_arch": list(HIDDEN)}, device="cpu",
        replay_buffer_class=_buffer(),
    )  # fmt: skip
    made.set_logger(logger.Logger(folder=None, output_formats=[]))
    made._update_learning_rate = lambda optimizers: None  # actor and critic have rates of their own
    for group in made.critic.optimizer.param_groups:
        group["lr"] = CRITIC_LR
    return made


def _spaces(features: int) -> Any:
    gym = need("gymnasium")

    class Layers(gym.Env):  # type: ignore[name-defined]
        """States of `features` numbers, actions between 0 and 1; never run."""

        observation_space = gym.spaces.Box(-np.inf, np.inf, (features,), np.float32)
        action_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)

    return Layers()


def _buffer() -> Any:
    """A memory whose batches come with their rewards less the baseline."""
    buffers = need("stable_baselines3.common.buffers")

    class Centred(buffers.ReplayBuffer):  # type: ignore[name-defined]
        average: float | None = None

        def _get_samples(self, batch_inds: Any, env: Any = None) -> Any:
            found = super()._get_samples(batch_inds, env)
            mean = float(found.rewards.mean())
            self.average = _follow(self.average, mean)
            return found._replace(rewards=found.rewards - self.average)

    return Centred


def _follow(average: float | None, mean: float) -> float:
    return mean if average is None else average + BASELINE * (mean - average)
