"""Whole layers: found by what they do, masked as the identity, taken out with their number in the config."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.core.errors import PlanError
from secateur.models import build_seeded
from secateur.structure import Layers
from secateur.structure.graph.capture import as_traced
from secateur.structure.graph.errors import ProofError
from secateur.structure.residual import residual_blocks
from tests.structure.graph.zoo.table import make


class Add(nn.Module):
    """x + f(x), of a layer that knows its place."""

    def __init__(self, place: int = 0, norm_after: bool = False) -> None:
        super().__init__()
        self.layer_idx, self.linear = place, nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4) if norm_after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x + self.linear(x))
        return out


class Stack(nn.Module):
    """Layers in a list, counted and described by attributes."""

    def __init__(self, layers: int = 4) -> None:
        super().__init__()
        self.num_layers, self.layer_kinds = layers, list("abcd")
        self.layers = nn.ModuleList(Add(i) for i in range(layers))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(self.num_layers):
            layer: Any = self.layers[i]
            assert layer.layer_idx == i
            x = layer(x)
        out: Tensor = self.head(x)
        return out


X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


def names(model: nn.Module, example: Any, identity: bool = True) -> list[str]:
    return [b.name for b in residual_blocks(model, example) if b.identity == identity]


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("llama", ["model.layers.0", "model.layers.1"]),
        ("gpt2", ["transformer.h.0", "transformer.h.1"]),
        ("vit", ["vit.layers.0", "vit.layers.1"]),
        ("swin", [f"swin.encoder.layers.{i}.blocks.{j}" for i in (0, 1) for j in (0, 1)]),
        ("t5", ["encoder.block.1", "decoder.block.1"]),  # the first gives its bias to the rest
    ],
)
def test_blocks_of_known_networks(name: str, layers: list[str]) -> None:
    model, (args, kwargs) = make(name)
    assert names(model, kwargs or args) == layers


def test_blocks_of_a_resnet_are_those_that_keep_the_shape() -> None:
    model = build_seeded("resnet20", 0, num_classes=10, in_channels=3, image_size=32)
    found = names(model, torch.randn(2, 3, 16, 16))
    assert found == [f"layer1.{i}" for i in range(3)] + [
        f"layer{s}.{i}" for s in (2, 3) for i in (1, 2)
    ]


def test_a_norm_after_the_sum_is_no_identity_even_for_zeros() -> None:
    model = nn.Sequential(nn.Linear(4, 4), Add(norm_after=True))
    with torch.no_grad():
        model[0].bias.zero_()
    assert names(model, torch.zeros(2, 4)) == []
    assert names(model, torch.zeros(2, 4), identity=False) == ["1"]
    with pytest.raises(PlanError, match="zero weights do not hand on the input"):
        Layers(include=("1",)).targets(model, X)
    (target,) = Layers(exact_only=False).targets(model, X)
    assert not target.exact


def test_shared_blocks_and_blocks_that_run_twice_are_left_alone() -> None:
    shared = Add()
    assert names(nn.Sequential(Add(), shared, shared), X) == ["0"]
    tied = nn.Sequential(Add(), Add(), nn.Linear(4, 4))
    tied[2].weight = tied[1].linear.weight
    assert names(tied, X) == ["0"]


def test_watching_changes_nothing() -> None:
    model = Stack().train()
    before = copy.deepcopy(model.state_dict())
    residual_blocks(model, X)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_dropping_equals_masking_and_renumbers_all_that_counts() -> None:
    model = Stack()
    recipe = sc.recipe("magnitude", density=0.5).model_copy(
        update={"structure": Layers(), "scope": sc.recipe("snip", density=0.5).scope}
    )
    result = sc.prune(model, recipe, example=X)
    gone = [name for name, mask in result.units.items() if not mask]
    assert len(gone) == 2
    shrunk = sc.shrink(result, X)
    small = shrunk.model
    assert torch.allclose(small(X), result.model(X), atol=1e-6)
    assert not torch.allclose(small(X), model(X), atol=1e-2)
    assert [layer.layer_idx for layer in small.layers] == [0, 1]
    stay = [i for i in range(4) if f"layers.{i}" not in gone]
    assert small.layer_kinds == [model.layer_kinds[i] for i in stay]
    assert small.num_layers == len(small.layers) == 2
    for new, old in enumerate(stay):
        assert torch.equal(small.layers[new].linear.weight, model.layers[old].linear.weight)
    assert shrunk.kept == dict.fromkeys(gone, ())
    assert shrunk.record["layers"] == list(shrunk.edits.layers) == gone
    assert shrunk.record["exact"]
    assert shrunk.record["parameters"] == [90, 50]
    assert model.num_layers == 4


def test_layers_that_are_zero_already_go_with_zero_units() -> None:
    model = build_seeded("resnet20", 0, num_classes=10, in_channels=3, image_size=32)
    masked = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in masked.layer2[1].parameters():
            parameter.zero_()
        block = masked.layer1[0]
        for tensor in (
            block.conv1.weight[3], block.bn1.weight[3:4], block.bn1.bias[3:4], block.conv2.weight[:, 3]
        ):  # fmt: skip
            tensor.zero_()
    x = torch.randn(2, 3, 16, 16)
    shrunk = sc.shrink(masked, x)
    assert shrunk.kept == {"layer2.1": (), "layer1.0.conv1": tuple(i for i in range(16) if i != 3)}
    assert len(shrunk.model.layer2) == 2
    assert shrunk.record["difference"] < 1e-5


@pytest.mark.parametrize("name", ["llama", "gpt2", "vit", "gemma2", "qwen3", "swin"])
def test_the_stock_class_builds_the_shallower_network(name: str) -> None:
    model, (args, kwargs) = make(name)
    layer = names(model, kwargs or args)[1]
    shrunk = sc.shrink(model, kwargs or args, keep={layer: []})
    assert shrunk.record["loadable"] == "stock", shrunk.record["why"]
    assert len(shrunk.record["config"]) >= 1
    small = shrunk.model
    fresh = type(small)(type(small.config).from_dict(small.config.to_dict())).eval()
    fresh.load_state_dict(small.state_dict())
    with torch.no_grad(), as_traced(small), as_traced(fresh):
        assert torch.equal(small(*args, **kwargs)[0], fresh(*args, **kwargs)[0])
    assert model.config.to_dict() != small.config.to_dict()
    with as_traced(model):
        model(*args, **kwargs)  # the network that was given still has all of its layers


def test_layers_and_units_at_once() -> None:
    model, (args, kwargs) = make("llama")
    neurons = next(a.name for a in sc.trace(model, kwargs or args) if a.kind == "neurons")
    layer = next(n for n in names(model, kwargs or args) if not neurons.startswith(n))
    shrunk = sc.shrink(model, kwargs or args, keep={layer: [], neurons: range(20)})
    small = shrunk.model
    assert small.config.num_hidden_layers == len(small.model.layers) == 1
    assert small.config.intermediate_size == 20
    assert small.config.max_position_embeddings == 64  # as many as there were neurons, by chance
    assert shrunk.record["difference"] < 1e-5
    assert shrunk.record["loadable"] == "stock"


def test_a_layer_that_does_not_only_add_is_named() -> None:
    """The second layer behaves otherwise in the place of the first."""

    class Odd(Add):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (1 + 0 * self.layer_idx) + x * float(self.layer_idx == 0)

    model = Stack(4)
    model.layers = nn.ModuleList(Odd(i) for i in range(4))
    with pytest.raises(ProofError, match=r"'layers\.2' \(Odd\)"):
        sc.shrink(model, X, keep={"layers.1": [], "layers.0": []})
    assert len(model.layers) == 4


def test_all_layers_of_a_list_and_layers_that_do_not_exist() -> None:
    with pytest.raises(PlanError, match="lose all of its 4 layers"):
        sc.shrink(Stack(), X, keep={f"layers.{i}": [] for i in range(4)})
    with pytest.raises(PlanError, match=r"did you mean 'layers\.3'"):
        sc.shrink(Stack(), X, keep={"layers.3": [], "layers.33": []})
