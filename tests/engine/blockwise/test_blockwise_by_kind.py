"""Equal layers are known by what they are and run; what is found in one is what is found in all."""

import copy

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.core.result import Result
from secateur.engine.blockwise.blocks import find_blocks
from secateur.engine.blockwise.weightless import example_for, find, on_meta
from secateur.shrinking.foreseen import foreseen
from secateur.structure.one_of_each import one_of_each
from tests.engine.blockwise import tiny
from tests.language.conftest import HEADS

KINDS = {
    "llama": "AAA", "mistral": "AAA", "qwen2": "AAA", "qwen3": "AAA", "gemma2": "ABA", "gemma3_text": "ABB",
    "phi3": "AAA", "gpt2": "AAA", "opt": "AAA", "falcon": "AAA", "olmo": "AAA", "mixtral": None,
}  # fmt: skip
LAYERS = {"gemma3_text": {"layer_types": [f"{k}_attention" for k in ("sliding", "full", "full")]}}


def network(family, **changes):
    heads = {} if family in ("gpt2", "opt", "falcon") else HEADS
    made = tiny.model(family, use_cache=False, **heads, **LAYERS.get(family, {}), **changes)
    return made.to("meta")


def kinds(model):
    """A letter for each layer, the same for equal ones; None where the network is not taken apart."""
    layers = [block.name for block in find_blocks(model)]
    each = one_of_each(model, on_meta(example_for(model)), layers)
    if each is None:
        return None
    seen = list(dict.fromkeys(each.layers.values()))
    return "".join("ABCD"[seen.index(each.layers[name])] for name in layers)


@pytest.mark.parametrize("family", KINDS)
def test_layers_are_of_one_kind_where_they_are_made_and_run_alike(family):
    assert kinds(network(family, experts_implementation="eager")) == KINDS[family]


@pytest.mark.parametrize("family", ["gemma3_text", "gpt2"])
def test_targets_and_edits_are_those_of_the_whole_network(family):
    """Traced once with one layer of each kind and once as a whole, the units are drawn at random."""
    model, recipe = network(family), sc.recipe("smart-farm", density=0.5, prune="both")
    found, example = find(model, recipe), on_meta(example_for(model))
    assert found.targets == recipe.structure.targets(model, example)
    rng = torch.Generator().manual_seed(0)
    masks = {t.name: torch.rand(t.shape, generator=rng) < 0.5 for t in found.targets}
    for mask in masks.values():
        mask[-1] = True
    what = Result(copy.deepcopy(model), {}, found.targets, masks, {})
    ours, whole = foreseen(what, example, found.each), foreseen(what, example)
    assert found.each is not None
    assert len(ours) == len(whole)
    for a, b in zip(ours, whole, strict=True):
        assert a.edits == b.edits
        assert list(a.edits.tensors) == list(b.edits.tensors)
        assert (a.kept, a.facts) == (b.kept, b.facts)
        assert [axis.name for axis in a.plan] == [axis.name for axis in b.plan]


def test_a_layer_with_another_setting_size_or_way_is_of_another_kind():
    model = network("llama")
    second, third = model.model.layers[1], model.model.layers[2]
    second.self_attn.scaling *= 2
    assert kinds(model) == "ABA"
    third.mlp.act_fn = nn.GELU()
    assert kinds(model) is None  # three of three
    model = network("llama")
    model.model.layers[2].mlp.down_proj.bias = nn.Parameter(torch.empty(16, device="meta"))
    assert kinds(model) == "AAB"


def test_code_that_goes_by_the_place_of_a_layer_is_seen(monkeypatch):
    """No setting tells these layers apart, what they run does."""
    model = network("llama")
    kind = type(model.model.layers[0].mlp)
    for layer, block in enumerate(model.model.layers):
        block.mlp.layer_idx = layer
    forward = kind.forward
    monkeypatch.setattr(
        kind, "forward", lambda self, x: forward(self, x * (1 + self.layer_idx % 2))
    )
    assert kinds(model) == "ABA"


def test_layers_that_share_weights_and_layers_that_all_differ_are_left_to_the_whole_network():
    model = network("llama")
    model.model.layers[1].mlp.up_proj.weight = model.model.layers[2].mlp.up_proj.weight
    assert kinds(model) is None
    model = network("llama")
    for layer, block in enumerate(model.model.layers):
        block.self_attn.scaling += layer
    assert kinds(model) is None
