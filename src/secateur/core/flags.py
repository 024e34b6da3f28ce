"""Switches of a Hugging Face configuration under which its class has more biases."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import nn

from .origin import origin_of


def biased(
    model: nn.Module, needed: Collection[str]
) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """(switches, biases): what gives the class the biases `needed`, and all that come with them.

    Switches that say `bias` and are off are tried by building the class on the meta device, one by
    one; only biases may come with them. None where they do not give all that is needed, or where
    the network is not as its class builds it any more.
    """
    config: Any = getattr(model, "config", None)
    history = origin_of(model)
    if not hasattr(config, "to_dict") or (history is not None and history.edits):
        return None
    own = set(dict(model.named_parameters()))
    switches: list[str] = []
    found: list[str] = []
    for name in _off(config):
        told = copy.deepcopy(config)
        setattr(told, name, True)
        more = _parameters(type(model), told) - own - set(found)
        if more & set(needed) and all(bias.endswith(".bias") for bias in more):
            switches.append(name)
            found += sorted(more)
    return (tuple(switches), tuple(found)) if set(needed) <= set(found) else None


def _off(config: Any) -> Iterator[str]:
    return (name for name, value in config.to_dict().items() if "bias" in name and value is False)


def _parameters(kind: Any, config: Any) -> set[str]:
    with torch.device("meta"):
        return set(dict(kind(config).named_parameters()))
