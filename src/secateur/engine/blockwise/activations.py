"""What flows between two blocks: kept in memory, or in memory-mapped files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils import _pytree as tree

from ...artifact import storage_error
from ...core.device import placed

_SPEC = "#spec"


class Activations(Protocol):
    """The outputs of one block, one for each batch."""

    def put(self, number: int, output: Any) -> None:
        """Keep the output of a batch."""

    def get(self, number: int) -> Any:
        """The output of a batch, in the form the block gave it."""

    def clear(self) -> None:
        """Let go of all of them."""


class InMemory:
    """Outputs as the block gave them.

    Args:
        device: of the block; they are kept in the machine's memory. None = they stay where they are.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._outputs: dict[int, Any] = {}
        self._device = device

    def put(self, number: int, output: Any) -> None:
        """Keep the output of a batch."""
        kept = tree.tree_map_only(Tensor, Tensor.detach, output)
        self._outputs[number] = kept if self._device is None else placed(kept, "cpu")

    def get(self, number: int) -> Any:
        """The output of a batch, a copy of its own: blocks may write into what they are given."""
        kept = self._outputs[number]
        if self._device is not None and self._device.type != "cpu":
            return placed(kept, self._device)
        return tree.tree_map_only(Tensor, torch.clone, kept)

    def clear(self) -> None:
        """Let go of all of them."""
        self._outputs.clear()


class OnDisk:
    """Outputs as safetensors files, one for each batch, read by memory mapping.

    Args:
        folder: a folder of its own, created when the first output comes.
        device: where outputs are given back.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self.folder, self._device = folder, str(device)

    def put(self, number: int, output: Any) -> None:
        """Write the output of a batch."""
        leaves, spec = tree.tree_flatten(output)
        tensors = {str(i): t.detach().contiguous() for i, t in enumerate(leaves) if _is(t)}
        plain = [None if _is(leaf) else leaf for leaf in leaves]
        text = json.dumps({"spec": tree.treespec_dumps(spec), "leaves": plain}).encode()
        tensors[_SPEC] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(tensors, self._path(number))
        except OSError as error:
            raise storage_error(error, self.folder, "write activations to") from error

    def get(self, number: int) -> Any:
        """Read the output of a batch."""
        tensors = load_file(self._path(number), device=self._device)
        meta = json.loads(bytes(tensors.pop(_SPEC).cpu().numpy()))
        leaves = list(meta["leaves"])
        for place, tensor in tensors.items():
            leaves[int(place)] = tensor
        return tree.tree_unflatten(leaves, tree.treespec_loads(meta["spec"]))

    def clear(self) -> None:
        """Delete the files."""
        for path in self.folder.glob("*.safetensors"):
            path.unlink()

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.safetensors"


def _is(leaf: object) -> bool:
    return isinstance(leaf, Tensor)
