"""Networks with their weights from words: a built-in name, a function, or a folder of either kind."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import nn

from ..core.origin import origin_of
from ..data import load as load_data
from ..exporting import network_in
from ..measure.forward import Call, as_call, rebatch
from ..models import build_seeded
from ..structure.example import example_like
from .inputs import example_of, usual
from .words import settings

USUAL_DATA = "digits"

ImagesOf = Annotated[
    str | None,
    typer.Option(
        help=f"the data set whose image shape it takes (else what an artifact knows, or {USUAL_DATA})"
    ),
]
Shapes = Annotated[
    list[str] | None,
    typer.Option("--input", help="an input's shape instead: 2x3x32x32, input_ids=2x16:int64"),
]
NetworkOptions = Annotated[
    list[str] | None, typer.Option(help="argument of the network's constructor, name=value")
]
Trusted = Annotated[
    list[str] | None, typer.Option(help="package whose code may build an artifact's network")
]


@dataclass(frozen=True)
class Inputs:
    """What says the input: shapes, a data set, what the network itself tells, else the digits."""

    data: str | None
    shapes: Sequence[str]
    batch: int

    def of(self, model: nn.Module) -> Any:
        """The example for a model."""
        if self.shapes:
            return example_of(self.shapes)
        if self.data is not None:
            return self._images()
        origin, config = origin_of(model), getattr(model, "config", None)
        if origin is not None and origin.example is not None:
            return _plain(rebatch(as_call(example_like(origin.example)), self.batch))
        if config is not None and hasattr(model, "main_input_name"):
            return example_of(usual(config, str(model.main_input_name), self.batch))
        return self._images()

    def settings(self) -> dict[str, Any]:
        """What a network is built for: classes (None: its own default), channels and size of the images."""
        if self.data is None and self.shapes:
            first = as_call(example_of(self.shapes, "meta")).tensors()[0]
            if first.ndim == 4:
                channels, *size = first.shape[1:]
                return _built_for(None, channels, tuple(size))
        found = load_data(self.data or USUAL_DATA)
        return _built_for(found.num_classes, found.in_channels, found.image_size)

    def _images(self) -> torch.Tensor:
        return torch.zeros(self.batch, *load_data(self.data or USUAL_DATA).train.shape)


def network_of(network: str, inputs: Inputs, options: list[str]) -> nn.Module:
    """An untrained network for the images that the inputs tell, in evaluation mode."""
    return build_seeded(network, 0, **inputs.settings(), **settings(options)).eval()


def network_at(
    where: str, inputs: Inputs, options: list[str], trust: Collection[str] = ()
) -> nn.Module:
    """The network that a name or a folder stands for, in evaluation mode.

    A folder is one that `secateur.save` wrote (it holds a pruning.json) or one of transformers.
    """
    folder = Path(where)
    if not folder.is_dir():
        return network_of(where, inputs, options)
    made = network_in(folder, trust)
    config = getattr(made, "config", None)
    if config is not None and hasattr(config, "use_cache"):
        config.use_cache = False  # one pass is measured: nothing is kept for a next token
    return made


def _built_for(classes: int | None, channels: int, size: Any) -> dict[str, Any]:
    return {"num_classes": classes, "in_channels": channels, "image_size": size}


def _plain(call: Call) -> Any:
    """A call as an example: keywords where it has no more, else its arguments."""
    return call.kwargs if call.kwargs else call.args
