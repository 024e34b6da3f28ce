"""Response time of a language model: first token, tokens per second, whole answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from secateur.core.errors import DataError
from secateur.text.generate import check_fits, greedy_config, plain_greedy, prompt_ids
from secateur.text.state import device_of, evaluating

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % percentile bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class ResponseTime:
    """Seconds to the first token, tokens per second after it, seconds of the whole answer."""

    first_token: Interval
    tokens_per_second: Interval
    answer: Interval
    samples: int
    new_tokens: float


@dataclass
class _Clock:
    """Notes when each token arrives; `generate` calls `put` first with the prompt."""

    times: list[float] = field(default_factory=list)

    def put(self, value: torch.Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Nothing is buffered."""


def bootstrap(samples: Sequence[float], seed: int = 0, draws: int = 2000) -> Interval:
    """Mean of `samples` and the 2.5 % and 97.5 % quantiles of the means of `draws` resamples.

    >>> bootstrap([2.0, 2.0, 2.0])
    Interval(mean=2.0, low=2.0, high=2.0)

    Paper: Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 1979.
    """
    values = np.asarray(samples, dtype=np.float64)
    if values.size == 0:
        raise DataError("no samples to take an interval of; measure at least once")
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, values.size, size=(draws, values.size))].mean(axis=1)  # [draws]
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def response_time(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 32,
    repeats: int = 3,
    stop_at_end: bool = False,
    chat: bool = False,
    seed: int = 0,
) -> ResponseTime:
    """Time greedy answers, one prompt at a time, after one answer that is not counted.

    Tokens per second is (n − 1) / (t_n − t_1) over the n tokens of an answer: the first token,
    which pays for the whole prompt, is told apart.

    Args:
        max_new_tokens: at least 2. repeats: how often each prompt is answered.
        stop_at_end: False writes exactly `max_new_tokens`, so that two models do the same work;
            True stops at the end token as a user would see it.
        seed: of the bootstrap. The samples are the answers (prompts × repeats).
    """
    encoded = [prompt_ids(tokenizer, prompt, chat) for prompt in prompts]
    _check_work(encoded, max_new_tokens, repeats)
    check_fits(model, encoded, max_new_tokens)
    with evaluating(model), plain_greedy(model):
        config = greedy_config(model, tokenizer, max_new_tokens, ends=stop_at_end)
        _times(model, encoded[0], config)
        runs = [_times(model, ids, config) for _ in range(repeats) for ids in encoded]
    return _summary(runs, seed)


@dataclass(frozen=True)
class Paired:
    """Response times of a model and of a reference that took turns, and what the model takes of it.

    `ratio` is Σ seconds of the model / Σ seconds of the reference over whole answers, with its
    bootstrap interval over the pairs: below 1 is faster.
    """

    model: ResponseTime
    reference: ResponseTime
    ratio: Interval


def paired_time(
    model: PreTrainedModel,
    reference: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 32,
    repeats: int = 3,
    chat: bool = False,
    seed: int = 0,
) -> Paired:
    """Time both models on the same prompts in turns, so that what else the machine does hits both.

    Each writes exactly `max_new_tokens`. The order changes from pair to pair.

    Args:
        max_new_tokens: at least 2. repeats: how often each prompt is answered.
    """
    encoded = [prompt_ids(tokenizer, prompt, chat) for prompt in prompts]
    _check_work(encoded, max_new_tokens, repeats)
    check_fits(model, encoded, max_new_tokens)
    runs: tuple[list[list[float]], list[list[float]]] = ([], [])
    with evaluating(model), evaluating(reference), plain_greedy(model), plain_greedy(reference):
        config = greedy_config(reference, tokenizer, max_new_tokens, ends=False)
        for one in (model, reference):
            _times(one, encoded[0], config)
        for number, ids in enumerate(encoded * repeats):
            for side in (0, 1) if number % 2 else (1, 0):
                runs[side].append(_times((model, reference)[side], ids, config))
    ours, theirs = (np.array([run[-1] for run in side]) for side in runs)
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(ours), size=(2000, len(ours)))
    ratios = ours[draws].sum(1) / theirs[draws].sum(1)
    low, high = (float(q) for q in np.quantile(ratios, [0.025, 0.975]))
    ratio = Interval(float(ours.sum() / theirs.sum()), low, high)
    return Paired(_summary(runs[0], seed), _summary(runs[1], seed), ratio)


def _check_work(encoded: Sequence[Sequence[int]], max_new_tokens: int, repeats: int) -> None:
    if not encoded or max_new_tokens < 2 or repeats < 1:
        raise DataError(
            f"response time needs prompts, at least 2 new tokens and 1 repeat; "
            f"got {len(encoded)}, {max_new_tokens}, {repeats}"
        )


def _times(model: PreTrainedModel, ids: list[int], config: Any) -> list[float]:
    """Seconds from the call to each new token."""
    inputs = torch.tensor([ids], device=device_of(model))  # [1, prompt]
    clock = _Clock()
    begin = time.perf_counter()
    model.generate(
        input_ids=inputs,
        attention_mask=torch.ones_like(inputs),
        generation_config=config,
        streamer=clock,
    )
    return [moment - begin for moment in clock.times[1:]]


def _summary(runs: list[list[float]], seed: int) -> ResponseTime:
    rates = [(len(run) - 1) / (run[-1] - run[0]) for run in runs if len(run) > 1]
    if not rates:
        raise DataError(
            "every answer ended after one token, so there is no rate; pass stop_at_end=False"
        )
    return ResponseTime(
        first_token=bootstrap([run[0] for run in runs], seed),
        tokens_per_second=bootstrap(rates, seed),
        answer=bootstrap([run[-1] for run in runs], seed),
        samples=len(runs),
        new_tokens=sum(len(run) for run in runs) / len(runs),
    )
