"""A model in another basis whose weights lie in files: blocks are turned when they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ...basis.rotated import Site, fold_place, sites, turn, within
from ...core.axes import Basis
from ...core.stack import repeated_blocks
from .shards import Shards
from .skeleton import Skeleton, build

Bases = Callable[[str], Tensor]
"""Norm -> [width, width] the basis of the place it normalises."""


class RotatedSkeleton(Skeleton):
    """The rewritten model on the meta device, over the files of the stock one.

    What is read has the norms folded in; from `turned` on it is in the new bases, too.

    Args:
        shards: the weights of the stock model.
        basis: what rewrites it.
        device: where what is read goes.
    """

    def __init__(self, shards: Shards, basis: Basis, device: torch.device | str = "cpu") -> None:
        super().__init__(shards, device)
        self.plain = Skeleton(shards, device)
        self.every = sites(self.plain.model, repeated_blocks(self.plain.model))
        basis.rewrite(self.model, None)
        _ = self._state  # remembered now, while nothing has been read
        self.digests = self.plain.digests
        self._bases: Bases | None = None

    def turned(self, bases: Bases) -> None:
        """Turn what is read from now on; what is held was read before."""
        self._bases = bases
        for name, p in list(self.model.named_parameters()):
            if not p.is_meta:
                self.let_go(name)

    def load(self, prefix: str, shards: Shards | None = None) -> None:
        """Read one block, fold it and turn it; its shortcuts are the identity before that."""
        self.plain.load(prefix)
        self._take(prefix)
        self.plain.release(prefix)

    @property
    def room(self) -> int:
        """Bytes of the bases, in float64, and of what the rewritten model has more than the files."""
        more = sum(p.numel() for p in self.model.parameters()) - self.parameters
        return 8 * len(self.every) * self.width**2 + max(0, more) * self.model.dtype.itemsize

    def source(self) -> str:
        """The digest of all weights as the files hold them."""
        return self.plain.source()

    def _note(self, tensors: Mapping[str, Tensor]) -> None:
        """What is rewritten is not what the files hold."""

    def _load_one(self, name: str) -> None:
        """Everything of the module that owns a parameter outside the blocks."""
        path = name.rpartition(".")[0]
        norms = {site.norm for site in within(self.every, path) if site.reads}
        needed = [n for p in (path, *norms) for n in self._own(p)]
        for needs in needed:
            self.plain.fetch(needs)
        self._take(path)
        for needs in needed:
            for alias in self.plain.aliases[needs]:
                self.plain.let_go(alias)

    def _own(self, path: str) -> list[str]:
        module = self.plain.model.get_submodule(path)
        return [f"{path}.{name}" for name, _ in module.named_parameters(recurse=False)]

    def _take(self, path: str) -> None:
        """Move the values of one module over from the stock model, folded, and turn them."""
        theirs, ours = (m.get_submodule(path) for m in (self.plain.model, self.model))
        before = {name for name, _ in theirs.named_parameters()}
        places = within(self.every, path)
        for place in places:
            fold_place(self.plain.model, place)
        values = dict(theirs.named_parameters())
        for name, p in list(ours.named_parameters()):
            value = values[name].detach() if name in values else self._identity(p)
            self._set(f"{path}.{name}", nn.Parameter(value, requires_grad=False))
        for name in values.keys() - before:  # biases that took on the shift of a norm
            _forget(theirs, name)
        if self._bases is not None:
            turn(self.model, places, {place.norm: self._bases(place.norm) for place in places})

    def _identity(self, like: Tensor) -> Tensor:
        return torch.eye(*like.shape, dtype=like.dtype, device=self.device)


def _forget(module: nn.Module, name: str) -> None:
    path, _, leaf = name.rpartition(".")
    module.get_submodule(path)._parameters[leaf] = None


def rewritten(shards: Shards, basis: Basis) -> Any:
    """The model in its new form, without weights."""
    model = build(shards).eval()
    basis.rewrite(model, None)
    return model


def places_of(every: list[Site], block: str) -> list[tuple[Site, Site]]:
    """The places whose norm lies in a block, each with the one after it."""
    return [pair for pair in pairwise(every) if pair[0].norm.startswith(f"{block}.")]
