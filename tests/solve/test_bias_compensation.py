"""Bias compensation against its formula, and where it must be exact."""

import copy

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.allocation import Uniform
from secateur.core.errors import NumberError, PlanError
from secateur.core.layout import along
from secateur.core.recipe import Recipe
from secateur.core.types import Member, Target
from secateur.criteria import Fluctuation
from secateur.engine.view import ModelView
from secateur.schedule import OneShot
from secateur.scope import Tensorwise
from secateur.solve import BiasCompensation
from secateur.structure import Coupled

X = torch.zeros(2, 3)


def recipe(density=0.5, solver=True):
    return Recipe(
        structure=Coupled(), criterion=Fluctuation(), scope=Tensorwise(), allocator=Uniform(),
        schedule=OneShot(density=density), solver=BiasCompensation() if solver else None,
    )  # fmt: skip


def net(bias):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4, bias=bias))


@pytest.mark.parametrize("bias", [True, False])
def test_the_bias_gains_the_mean_of_what_went(bias):
    dense = net(bias)
    data = [(torch.randn(5, 3), torch.zeros(5)), (torch.randn(3, 3), torch.zeros(3))]
    result = sc.prune(dense, recipe(), data=data, example=X)
    gone = ~result.units["0"]
    with torch.no_grad():
        mean = torch.relu(dense[0](torch.cat([x for x, _ in data]))).mean(0)
        before = dense[2].bias if bias else torch.zeros(4)
        expected = before + dense[2].weight[:, gone] @ mean[gone]
    assert torch.allclose(result.model[2].bias, expected, atol=1e-6)
    assert not torch.allclose(result.model[2].bias, before, atol=1e-2)
    small = sc.shrink(result, X).model
    x = torch.randn(4, 3)
    assert torch.allclose(small(x), result.model(x), atol=1e-6)
    assert small[2].bias.shape == (4,)


def test_features_that_never_vary_are_made_up_for_exactly():
    dense = net(bias=False)
    with torch.no_grad():
        dense[0].weight[:4] = 0  # the first four neurons are constants
        dense[0].bias[:4] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    data = [(torch.randn(9, 3), torch.zeros(9))]
    result = sc.prune(dense, recipe(0.5), data=data, example=X)
    assert result.units["0"].tolist() == [False] * 4 + [True] * 4
    x = torch.randn(6, 3)
    assert torch.allclose(result.model(x), dense(x), atol=1e-5)
    plain = sc.prune(dense, recipe(0.5, solver=False), data=data, example=X)
    assert not torch.allclose(plain.model(x), dense(x), atol=1e-2)


def test_convolutions_without_padding():
    torch.manual_seed(0)
    dense = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 3, 3, bias=False), nn.Flatten()
    )
    data = [(torch.randn(2, 2, 8, 8), torch.zeros(2))]
    result = sc.prune(dense, recipe(), data=data, example=data[0][0])
    gone = ~result.units["0"]
    with torch.no_grad():
        hidden = torch.relu(dense[0](data[0][0]))
        missing = nn.functional.conv2d(hidden[:, gone], dense[2].weight[:, gone])
    assert torch.allclose(result.model[2].bias, missing.mean((0, 2, 3)), atol=1e-6)


def test_overlapping_targets_are_refused():
    model = net(bias=True)
    members = (Member("2.weight", along((4, 8), 1), 1),)
    both = tuple(Target(name, "neurons", (8,), members) for name in ("one", "two"))
    with pytest.raises(PlanError, match=r"'two' .* shares inputs of '2\.weight'"):
        BiasCompensation().prepare(model, both)


def test_a_view_writes_values_of_the_right_shape_only():
    model = net(bias=True)
    target = Target("0", "neurons", (8,), (Member("0.weight", along((8, 3), 0)),))
    view, before = ModelView(model, (target,)), copy.deepcopy(model.state_dict())
    for wrong in (torch.zeros(3), torch.full((4,), float("nan"))):
        with pytest.raises(NumberError, match=r"2\.bias"):
            view.write("2.bias", wrong)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    view.write("2.bias", torch.arange(4.0))
    assert model[2].bias.tolist() == [0, 1, 2, 3]


def test_layers_that_store_their_weights_input_first():
    """GPT-2's Conv1D; its output projection is square, so that shapes cannot tell the sides."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=1, n_embd=16, n_head=4, n_inner=16, vocab_size=20, n_positions=16, use_cache=False
    )
    dense = transformers.GPT2LMHeadModel(config).eval()
    ids = torch.randint(0, 20, (6, 8))
    seen = {}
    projections = {
        "attn": dense.transformer.h[0].attn.c_proj,
        "mlp": dense.transformer.h[0].mlp.c_proj,
    }
    hooks = [
        layer.register_forward_pre_hook(
            lambda _, args, n=name: seen.__setitem__(n, args[0].detach())
        )
        for name, layer in projections.items()
    ]
    dense(ids)
    for hook in hooks:
        hook.remove()
    result = sc.prune(
        dense, "flap", example={"input_ids": ids[:2]}, data=[{"input_ids": ids}], density=0.5
    )
    block = result.model.transformer.h[0]
    for name, layer in {"attn": block.attn.c_proj, "mlp": block.mlp.c_proj}.items():
        kind = "heads" if name == "attn" else "neurons"
        (target,) = [t for t in result.targets if t.kind == kind]
        width = 16 // target.units
        gone = (~result.units[target.name]).repeat_interleave(width)
        mean = seen[name].flatten(0, 1).mean(0)
        assert gone.any()
        expected = projections[name].bias + mean[gone] @ projections[name].weight[gone]
        assert torch.allclose(layer.bias, expected, atol=1e-6)
