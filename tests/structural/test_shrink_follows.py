"""What goes with a removal: optimiser, gradients, modes, ties, the user's own module; and what stops it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from support_thorough import but
from torch import Tensor, nn

import secateur as sc
from secateur.core.errors import PlanError, SecateurError
from secateur.structure.graph import proof
from secateur.structure.graph.errors import ProofError
from secateur.structure.graph.replay import replay
from tests.structural.test_structural_shrink import mlp, outputs, resnet
from tests.structure.graph.zoo.hf_text import SMALL, build, tokens
from tests.structure.graph.zoo.table import make

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
KEEP = {"0": [1, 4, 6], "2": [0, 2]}


def trained(kind: type[torch.optim.Optimizer], **options: Any) -> tuple[nn.Module, Any]:
    model = mlp()
    optimizer = kind(model.parameters(), lr=0.01, **options)
    for _ in range(3):
        optimizer.zero_grad()
        model(X).square().sum().backward()
        optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(
    ("kind", "options"), [(torch.optim.SGD, {"momentum": 0.9}), (torch.optim.AdamW, {})]
)
def test_the_optimiser_goes_on_as_if_the_units_had_never_been(
    kind: Any, options: dict[str, Any], in_place: bool
) -> None:
    """Masked units have zero weights and moments: masked and smaller networks train alike."""
    model, optimizer = trained(kind, **options)
    masked = copy.deepcopy(model)
    shrunk = sc.shrink(model, X, keep=KEEP, optimizer=optimizer, in_place=in_place)
    small = shrunk.model
    assert (small is model) == in_place
    parameters = list(small.parameters())
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in parameters]
    assert set(optimizer.state) == set(parameters)
    for parameter, dense in zip(parameters, masked.parameters(), strict=True):
        assert parameter.grad is not None
        assert parameter.grad.shape == parameter.shape
        assert all(
            v.shape == parameter.shape for v in optimizer.state[parameter].values() if v.dim()
        )
        assert dense.shape[0] >= parameter.shape[0]
    key = "momentum_buffer" if kind is torch.optim.SGD else "exp_avg"
    first = optimizer.state[small[0].weight][key]
    _, fresh = trained(kind, **options)
    assert torch.equal(first, fresh.state[fresh.param_groups[0]["params"][0]][key][[1, 4, 6]])
    before = small[0].weight.clone()
    small(X).square().sum().backward()
    optimizer.step()
    assert not torch.equal(before, small[0].weight)


def test_layers_take_their_optimiser_state_with_them() -> None:
    from tests.structure.test_layers import Stack

    model = Stack()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(3, 4)).sum().backward()
    optimizer.step()
    kept = optimizer.state[model.layers[2].linear.weight]["exp_avg"].clone()
    small = sc.shrink(
        model, torch.randn(3, 4), keep={"layers.1": []}, optimizer=optimizer, in_place=True
    ).model
    assert small is model
    assert len(model.layers) == 3
    assert set(optimizer.state) == set(model.parameters())
    assert torch.equal(optimizer.state[model.layers[1].linear.weight]["exp_avg"], kept)


def test_an_optimiser_of_another_network_is_refused_and_nothing_is_touched() -> None:
    model, other = mlp(), torch.optim.SGD(mlp().parameters(), lr=0.1)
    with pytest.raises(PlanError, match="does not have"):
        sc.shrink(model, X, keep=KEEP, optimizer=other, in_place=True)
    assert model[0].weight.shape == (8, 3)


def test_frozen_parts_modes_and_hooks_stay() -> None:
    model, x = resnet()
    model.train()
    model.layer1[0].bn1.eval()
    model.conv1.weight.requires_grad_(False)
    calls: list[str] = []
    model.layer2[0].register_forward_hook(lambda *_: calls.append("ran"))
    keep = {"layer1.0.conv1": range(9), "conv1": range(12)}
    small = sc.shrink(model, x, keep=keep).model
    assert small.training
    assert not small.layer1[0].bn1.training
    assert small.layer1[0].bn2.training
    assert not small.conv1.weight.requires_grad
    assert small.linear.weight.requires_grad
    calls.clear()
    small(x)
    assert calls == ["ran"]
    assert small.conv1.weight.shape[0] == 12


def test_half_precision_and_ties_stay() -> None:
    model, (args, kwargs) = make("gpt2")
    assert model.lm_head.weight is model.transformer.wte.weight
    neurons = next(a for a in sc.trace(model, kwargs or args) if a.kind == "neurons")
    small = sc.shrink(model.double(), kwargs or args, keep={neurons.name: range(16)}).model
    assert small.lm_head.weight is small.transformer.wte.weight
    assert {p.dtype for p in small.parameters()} == {torch.float64}


def test_a_training_network_with_dropout_is_compared_without_it_and_comes_back_training() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)).train()
    shrunk = sc.shrink(model, X, keep={"0": range(4)}, float64=True)
    assert shrunk.record["difference"] < 1e-12
    assert shrunk.model.training
    assert shrunk.model[2].training
    assert model.training


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(torch.relu(self.b(torch.relu(self.a(x)))))
        return out


def test_shared_parameters_are_cut_once() -> None:
    model, x = Shared(), torch.randn(2, 4)
    for axis in sc.trace(model, x):
        small = sc.shrink(model, x, keep={axis.name: range(2)}).model
        assert small.a.weight is small.b.weight


@pytest.mark.parametrize(
    ("example", "said"),
    [
        (torch.zeros(2, 5), "does not run on the example"),
        ("text", "the example"),
        (None, "needs an input"),
    ],
)
def test_wrong_examples(example: Any, said: str) -> None:
    with pytest.raises(SecateurError, match=said) as error:
        sc.shrink(mlp(), example, keep=KEEP)
    assert "\n" not in str(error.value)


def test_a_network_on_several_devices_is_refused() -> None:
    model = mlp()
    model[2].to("meta")
    with pytest.raises(
        PlanError, match=r"several devices.*'0\.weight' on cpu, '2\.weight' on meta"
    ):
        sc.shrink(model, X, keep=KEEP)


def test_a_misspelt_structure_gets_its_nearest_match_and_the_network_stays() -> None:
    model, x = resnet()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(PlanError, match=r"did you mean 'layer1\.0\.conv1'"):
        sc.shrink(model, x, keep={"layer1.0.conv": [0]}, in_place=True)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_failing_proof_names_the_operator_and_the_layer(monkeypatch: Any) -> None:
    model = mlp()
    right = proof.sliced

    def wrong(found: Any, kept: Any, tensors: Any = None) -> dict[str, Tensor]:
        out = right(found, kept, tensors)
        return {n: t.detach().flip(0) if n == "2.weight" else t for n, t in out.items()}

    monkeypatch.setattr(proof, "sliced", wrong)
    with pytest.raises(ProofError, match="operator linear in layer '2'"):
        sc.shrink(model, X, keep=KEEP, in_place=True)
    assert model[0].weight.shape == (8, 3)


@pytest.mark.parametrize("name", ["resnet20", "vit", "llama", "gpt2"])
def test_replayed_edits_give_the_same_network(name: str) -> None:
    if name == "resnet20":
        model, example = resnet()
    else:
        model, (args, kwargs) = make(name)
        example = kwargs or args
    stock = copy.deepcopy(model)
    on = [a for a in sc.trace(model, example) if a.default and a.exact and a.units > 1]
    keep = {a.name: range(0, a.units, 2) for a in on[:4]}
    first = sc.shrink(model, example, keep=keep)
    made = replay(stock, first.edits)
    made.load_state_dict(first.model.state_dict())
    assert torch.equal(outputs(made, example), outputs(first.model, example))
    assert str(made) == str(first.model)


@pytest.mark.parametrize("name", ["resnet20", "llama"])
def test_two_removals_equal_one_on_real_networks(name: str) -> None:
    if name == "resnet20":
        model, example = resnet()
    else:
        model, (args, kwargs) = make(name)
        example = kwargs or args
    axes = [a for a in sc.trace(model, example) if a.default and a.exact and a.units > 3][:3]
    once = sc.shrink(model, example, keep={a.name: range(0, a.units, 4) for a in axes}).model
    half = sc.shrink(model, example, keep={a.name: range(0, a.units, 2) for a in axes}).model
    names = [a.name for a in sc.trace(half, example)]
    left = {a.name: range(0, (a.units + 1) // 2, 2) for a in axes if a.name in names}
    twice = sc.shrink(half, example, keep=left).model
    assert str(once) == str(twice)
    for a, b in zip(once.state_dict().values(), twice.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", but(["mistral"], ["llama", "qwen3", "mistral"]))
def test_key_value_heads_take_their_queries_and_the_stock_class_loads_the_rest(name: str) -> None:
    model, (args, kwargs) = make(name)
    example = kwargs or args
    heads = [a for a in sc.trace(model, example) if a.kind == "heads"]
    assert {a.units for a in heads} == {2}
    shrunk = sc.shrink(model, example, keep={a.name: [1] for a in heads}, loadable="stock")
    config = shrunk.model.config
    assert (config.num_attention_heads, config.num_key_value_heads) == (2, 1)
    assert shrunk.record["difference"] < 1e-5
    fresh = type(model)(type(config).from_dict(config.to_dict())).eval()
    fresh.load_state_dict(shrunk.model.state_dict())
    assert torch.allclose(outputs(fresh, example), outputs(shrunk.model, example), atol=1e-6)


def test_what_the_stock_class_cannot_be_is_refused_with_the_nearest_plan() -> None:
    model, (args, kwargs) = make("llama")
    example = kwargs or args
    neurons = [a.name for a in sc.trace(model, example) if a.kind == "neurons"]
    keep = {name: range(20 + 8 * i) for i, name in enumerate(neurons)}
    assert sc.shrink(model, example, keep=keep).record["loadable"] == "secateur"
    with pytest.raises(PlanError, match=r"nearest.*: 24") as error:
        sc.shrink(model, example, keep=keep, loadable="stock")
    assert all(name in str(error.value) for name in neurons)


def test_heads_that_no_configuration_can_lack_are_kept_in_the_nearest_plan() -> None:
    """BERT has no width of a head of its own: hidden / heads. Its neurons may go all the same."""
    model, (args, kwargs) = make("bert")
    example = kwargs or args
    found = [a for a in sc.trace(model, example) if a.kind in ("heads", "neurons") and a.units > 1]
    keep = {a.name: range(a.units - 1) for a in found}
    with pytest.raises(PlanError, match="nearest permitted plan") as error:
        sc.shrink(model, example, keep=keep, loadable="stock")
    heads = [a for a in found if a.kind == "heads"]
    assert heads
    assert all(f"{a.name}: all {a.units}" in str(error.value) for a in heads)
    plan = {
        name: units for name, units in keep.items() if f"{name}: {len(units)}" in str(error.value)
    }
    assert sc.shrink(model, example, keep=plan, loadable="stock").record["loadable"] == "stock"


def test_heads_have_to_divide_the_width_of_the_stock_class() -> None:
    """Eleven of sixteen heads divide no width of 64, nor do ten, twelve, nine or thirteen; eight do."""
    widths = {"hidden_size": 64, "num_attention_heads": 16, "num_key_value_heads": 16}
    settings = {**SMALL, **widths, "head_dim": 4, "num_hidden_layers": 1}
    model = build(("LlamaConfig", "LlamaForCausalLM", settings))
    example = {"input_ids": tokens()}
    heads = next(a.name for a in sc.trace(model, example) if a.kind == "heads")
    with pytest.raises(PlanError, match=rf"plan found keeps {heads}: 8$"):
        sc.shrink(model, example, keep={heads: range(11)}, loadable="stock")
    small = sc.shrink(model, example, keep={heads: range(8)}, loadable="stock")
    assert small.model.config.num_attention_heads == 8


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.SGD, {"momentum": 0.9}),
        (torch.optim.Adam, {"amsgrad": True}),
        (torch.optim.AdamW, {}),
    ],
)
def test_the_record_says_what_became_of_the_optimiser(kind: Any, options: dict[str, Any]) -> None:
    model, optimizer = trained(kind, **options)
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(2))], "lr": 0.5})
    model.register_parameter("extra", optimizer.param_groups[1]["params"][0])
    settings = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    keep = {"0": [1, 4, 6]}
    record = sc.shrink(model, X, keep=keep, optimizer=optimizer).record["optimizer"]
    assert record == {
        "cut": ["0.weight", "0.bias", "2.weight"],
        "kept": ["2.bias", "4.weight", "4.bias"],
        "reset": [],
        "none": ["extra"],
        "gone": [],
    }
    now = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    assert now == settings


def test_moments_of_another_shape_than_their_parameter_begin_anew_where_it_is_cut() -> None:
    model, optimizer = trained(torch.optim.Adafactor)
    record = sc.shrink(model, X, keep={"0": [1, 4, 6]}, optimizer=optimizer).record["optimizer"]
    assert record["reset"] == ["0.weight", "2.weight"]
    assert record["cut"] == ["0.bias"]
    assert record["kept"] == ["2.bias", "4.weight", "4.bias"]


def test_the_state_of_a_layer_that_goes_is_said_to_be_gone() -> None:
    model, x = resnet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    record = sc.shrink(model, x, keep={"layer1.1": []}, optimizer=optimizer).record["optimizer"]
    gone = [name for name, _ in model.named_parameters() if name.startswith("layer1.1.")]
    assert record["gone"] == gone
    assert not record["cut"]
