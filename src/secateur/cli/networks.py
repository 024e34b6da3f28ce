"""Networks with their weights from words: a built-in name, a function, or a folder of either kind."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data import load as load_data
from ..exporting import network_in
from .inputs import example_of, usual
from .trace import network_of


@dataclass(frozen=True)
class Inputs:
    """What says the input: shapes, else the model's configuration, else the data set's images."""

    data: str
    shapes: Sequence[str]
    batch: int

    def of(self, model: nn.Module) -> Any:
        """The example for a model."""
        if self.shapes:
            return example_of(self.shapes)
        config = getattr(model, "config", None)
        if config is None or not hasattr(model, "main_input_name"):
            return torch.zeros(self.batch, *load_data(self.data).train.shape)
        return example_of(usual(config, str(model.main_input_name), self.batch))


def network_at(
    where: str, inputs: Inputs, options: list[str], trust: Collection[str] = ()
) -> nn.Module:
    """The network that a name or a folder stands for, in evaluation mode.

    A folder is one that `secateur.save` wrote (it holds a pruning.json) or one of transformers.
    """
    folder = Path(where)
    if not folder.is_dir():
        return network_of(where, inputs.data, options)[0]
    made = network_in(folder, trust)
    config = getattr(made, "config", None)
    if config is not None and hasattr(config, "use_cache"):
        config.use_cache = False  # one pass is measured: nothing is kept for a next token
    return made
