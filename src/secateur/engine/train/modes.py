"""Put a network into training or evaluation for a while, and randomness into a known state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def mode(model: nn.Module, train: bool) -> Iterator[None]:
    """Inside, every module trains (or evaluates); outside, each is as it was."""
    before = {module: module.training for module in model.modules()}
    model.train(train)
    try:
        yield
    finally:
        for module, was in before.items():
            module.training = was


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
