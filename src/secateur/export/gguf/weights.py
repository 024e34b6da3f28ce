"""Weights by name, from a model, a state dict or a folder of safetensors, one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from secateur.core.errors import StorageError

Source = nn.Module | Mapping[str, torch.Tensor] | Path | str


@dataclass(frozen=True)
class Weights:
    """Shapes of all tensors, and how to read one; only the one read is held in memory."""

    shapes: Mapping[str, tuple[int, ...]]
    load: Callable[[str], torch.Tensor]

    def __contains__(self, name: str) -> bool:
        return name in self.shapes


def weights_of(source: Source) -> Weights:
    """`Weights` over a module, a state dict or a folder with `*.safetensors`.

    >>> weights_of({"w": torch.ones(2, 3)}).shapes["w"]
    (2, 3)
    """
    if isinstance(source, (str, Path)):
        return _folder(Path(source))
    state = source.state_dict() if isinstance(source, nn.Module) else source
    return Weights({name: tuple(t.shape) for name, t in state.items()}, lambda name: state[name])


def _folder(folder: Path) -> Weights:
    from safetensors import safe_open

    place: dict[str, Path] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        if path.name == "masks.safetensors":
            continue  # an artifact's masks go by the names of the weights
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (the file is no mapping)
                place[name], shapes[name] = path, tuple(file.get_slice(name).get_shape())
    if not place:
        raise StorageError(f"{folder} holds no *.safetensors; give the folder of a saved model")

    def load(name: str) -> torch.Tensor:
        with safe_open(place[name], framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
        return tensor

    return Weights(shapes, load)
