"""Randomness as a pure function of a seed and of words that say what it is for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *words: object) -> int:
    """A 63-bit seed for the purpose named by `words`; equal arguments give equal seeds anywhere.

    >>> derive(0, "mask", "conv1.weight") == derive(0, "mask", "conv1.weight")
    True
    >>> derive(0, "mask", 1) == derive(0, "mask", 2)
    False
    """
    text = "\x1f".join([str(int(seed)), *map(str, words)]).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def generator(seed: int, *words: object, device: str | torch.device = "cpu") -> torch.Generator:
    """A fresh generator for the purpose named by `words`; the global one is never touched."""
    return torch.Generator(device=device).manual_seed(derive(seed, *words))


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Inside, torch draws from `seed` on the CPU and on `device`; outside, nothing has changed."""
    if device.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            yield
        return
    module = torch.get_device_module(device)
    index = module.current_device() if device.index is None else device.index
    with torch.random.fork_rng(devices=[index], device_type=device.type):
        torch.default_generator.manual_seed(seed)
        with torch.accelerator.device_index(index):
            module.manual_seed(seed)
        yield
