"""Streams of randomness are functions of their seed and words, and leave the global one alone."""

from __future__ import annotations

import torch

from secateur.core.random import derive, generator


def draw(*words: object, seed: int = 0) -> list[float]:
    return torch.rand(3, generator=generator(seed, *words)).tolist()


def test_equal_words_give_equal_numbers() -> None:
    assert draw("mask", "conv1", 3) == draw("mask", "conv1", 3)


def test_other_words_or_seeds_give_other_numbers() -> None:
    streams = [draw("a"), draw("b"), draw("a", seed=1), draw("a", "b"), draw("ab"), draw("a", 0)]
    assert len({tuple(s) for s in streams}) == len(streams)


def test_the_boundary_between_words_counts() -> None:
    assert derive(0, "ab", "c") != derive(0, "a", "bc")


def test_the_same_on_every_machine() -> None:
    assert derive(42, "mask", "conv1.weight", 3) == 8197702899922561722


def test_seeds_fit_a_generator() -> None:
    assert all(0 <= derive(s, "x") < 2**63 for s in range(200))


def test_the_global_stream_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    draw("anything")
    assert torch.equal(torch.get_rng_state(), before)
