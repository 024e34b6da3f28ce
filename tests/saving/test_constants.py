"""Tensors that no state dict holds: an artifact gives back their values, or is not written."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from saving.nets import Baked, outputs
from torch import Tensor, nn

import secateur as sc
from secateur.artifact.constants import constants_of, put_constants
from secateur.artifact.manifest import CONSTANTS
from secateur.core.errors import StorageError


class Scaled(nn.Module):
    """The hidden units are multiplied by what its constructor draws, other for every network."""

    def __init__(self, how: str = "attribute") -> None:
        super().__init__()
        self.how, scale = how, torch.randn(8)
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 3)
        if how == "attribute":
            self._scale = scale
        elif how == "buffer":
            self.register_buffer("_scale", scale, persistent=False)
        elif how == "late":
            self._scale = None
        else:
            self._scale = {"list": [[0.0, scale]], "tuple": (scale,), "dict": {1: scale}}[how]

    def scale(self) -> Tensor:
        held: Any = self._scale
        if self.how == "list":
            return held[0][1]
        return held[{"tuple": 0, "dict": 1}[self.how]] if self.how in ("tuple", "dict") else held

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu() * self.scale())


class Around(nn.Module):
    """One such module beside one that becomes a graph when it is cut."""

    def __init__(self) -> None:
        super().__init__()
        self.scaled, self.part = Scaled(), Baked()
        self.shift = torch.randn(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.part(self.scaled(x) + self.shift)


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(3))
HOW = ("attribute", "buffer", "list", "tuple", "dict")


def same(what: Any, folder: Path, fresh: nn.Module) -> None:
    """Saved, loaded into a network that drew other values: to the bit what it was."""
    loaded = sc.load(sc.save(what, folder), model=fresh)
    assert torch.equal(outputs(loaded, X), outputs(getattr(what, "model", what), X))


@pytest.mark.parametrize("how", HOW)
def test_a_masked_network_comes_back_with_them(tmp_path: Path, how: str) -> None:
    same(sc.prune(Scaled(how), "magnitude", sparsity=0.5), tmp_path / "out", Scaled(how))


@pytest.mark.parametrize("how", ["attribute", "buffer", "list"])
def test_a_smaller_one_comes_back_with_what_is_left_of_them(tmp_path: Path, how: str) -> None:
    small = sc.shrink(Scaled(how), X, keep={"first": [0, 2, 5]})
    same(small, tmp_path / "out", Scaled(how))


def test_one_with_a_graph_inside_comes_back_with_those_around_and_in_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for number, (axis, left) in enumerate((("part.inner#2", [0, 2]), ("scaled.first", [1, 4]))):
        small = sc.shrink(Around(), X, keep={axis: left})
        assert small.record["level"] == "C"
        same(small, tmp_path / str(number), Around())


def test_one_that_is_made_when_the_network_runs(tmp_path: Path) -> None:
    net = Scaled("late")
    net._scale = torch.arange(8.0)
    same(net, tmp_path / "out", Scaled("late"))


def test_they_lie_in_a_file_of_their_own_under_a_digest(tmp_path: Path) -> None:
    folder = sc.save(Scaled(), tmp_path / "out")
    content = json.loads((folder / "pruning.json").read_text())
    assert CONSTANTS in content["files"]
    sc.save(Scaled(), tmp_path / "other")
    (tmp_path / "other" / CONSTANTS).rename(folder / CONSTANTS)
    with pytest.raises(StorageError, match="is another file than the artifact was saved with"):
        sc.load(folder, model=Scaled())
    (folder / CONSTANTS).unlink()
    with pytest.raises(StorageError):
        sc.load(folder, model=Scaled())
    assert not (sc.save(Baked(), tmp_path / "none") / CONSTANTS).exists()


def test_what_no_file_gives_back_is_refused_by_name(tmp_path: Path) -> None:
    inside, sparse, key = Around(), Around(), Around()
    inside.scaled.held = SimpleNamespace(scale=torch.ones(2))
    sparse.scaled.held = torch.ones(2).to_sparse()
    key.scaled.held = {(1, 2): torch.ones(2)}
    for net, words in (
        (inside, "'scaled.held' holds a tensor inside of a SimpleNamespace.*register_buffer"),
        (sparse, "'scaled.held' is a torch.sparse_coo tensor.*register_buffer"),
        (key, r"'scaled.held' holds a tensor under the key \(1, 2\).*register_buffer"),
    ):
        with pytest.raises(StorageError, match=words):
            sc.save(net, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_parameters_and_buffers_under_another_name_are_not_stored_twice() -> None:
    net: Any = nn.GRU(3, 4)  # keeps its parameters in a list as well
    net.again = net.weight_ih_l0
    net.register_buffer("known", torch.ones(2))
    net.known_too = [net.known]
    assert constants_of(net) == {}


@pytest.mark.parametrize(
    "place",
    [["", "forward"], ["", "first"], ["", "_buffers"], ["", "how"], ["nowhere", "x"], ["", "_scale", 7],
     ["", "training"], [""], [True, "x"], "word"],
)  # fmt: skip
def test_a_name_that_is_no_place_for_a_tensor(place: Any) -> None:
    net = Scaled()
    with pytest.raises(StorageError, match=r"no place for|has no module|names no tensor"):
        put_constants(net, {json.dumps(place): torch.ones(1)})
    with pytest.raises(StorageError, match="names no tensor"):
        put_constants(net, {"_scale": torch.ones(1)})
    assert callable(net.forward)
