"""The zoo: name -> builder of a network in evaluation mode with an example."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from tests.structure.graph.zoo import hf_text, hf_vision
from tests.structure.graph.zoo.hf_text import Example
from tests.structure.graph.zoo.own_conv import CONV
from tests.structure.graph.zoo.own_mixed import MIXED
from tests.structure.graph.zoo.own_other import OTHER
from tests.structure.graph.zoo.own_pitfalls import PITFALLS
from tests.structure.graph.zoo.own_written import WRITTEN

Builder = Callable[[], tuple[nn.Module, Example]]


def _own(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> tuple[nn.Module, Example]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)
    tokens = len(shape) == 2
    return build().eval(), ((torch.randint(40, shape, generator=generator) if tokens else x,), {})


OWN: dict[str, Builder] = {
    name: partial(_own, *entry)
    for name, entry in (CONV | MIXED | OTHER | PITFALLS | WRITTEN).items()
}
HF: dict[str, Builder] = {
    **{name: partial(hf_text.decoder, name) for name in hf_text.DECODERS},
    **{name: partial(hf_text.seq2seq, name) for name in hf_text.SEQ2SEQ},
    **{name: partial(hf_vision.image, name) for name in hf_vision.IMAGE},
    "clip": hf_vision.clip,
    "detr": hf_vision.detr,
    "whisper": hf_vision.whisper,
    "wav2vec2": hf_vision.wav2vec2,
}
ZOO: dict[str, Builder] = OWN | HF


def make(name: str) -> tuple[nn.Module, Example]:
    """The named network, the same each time, with its example."""
    torch.manual_seed(0)
    return ZOO[name]()
