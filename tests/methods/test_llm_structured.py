"""FLAP and LLM-Pruner on a trained Llama: what they score is in tests/criteria, here is the whole way."""

from __future__ import annotations

import pytest
import torch
from support_data import needs_data

import secateur as sc
from secateur.core.errors import PlanError
from tests.methods.stories import calibration, example, loss, perplexity, stories


def pruned(method: str, **options: object) -> sc.Result:
    return sc.prune(
        stories(), method, example=example(), data=calibration(), loss=loss, **options
    )  # fmt: skip


@needs_data
def test_flap_removes_a_fifth_and_the_biases_help() -> None:
    dense = perplexity(stories())
    result = pruned("flap", density=0.8)
    assert sum(int(m.sum()) for m in result.units.values()) == round(0.8 * 5 * (4 + 172))
    found = perplexity(result.model)
    assert dense < found < 3 * dense
    assert found < perplexity(pruned("flap", density=0.8, compensate=False).model)
    shrunk = sc.shrink(result, example())
    assert perplexity(shrunk.model) == pytest.approx(found, rel=1e-5)
    assert shrunk.record["parameters"][1] < 0.9 * shrunk.record["parameters"][0]
    assert dict(shrunk.model.named_parameters())["model.layers.0.mlp.down_proj.bias"].any()


@needs_data
def test_llm_pruner_leaves_the_ends_alone() -> None:
    result = pruned("llm-pruner", density=0.67, first=1, last=1)
    layers = {target.layer.split(".")[2] for target in result.targets}
    assert layers == {"1", "2", "3"}
    dense, shrunk = perplexity(stories()), sc.shrink(result, example())
    assert dense < perplexity(shrunk.model) < 5 * dense
    small = dict(shrunk.model.named_parameters())
    whole = dict(stories().named_parameters())
    for name in ("model.layers.0.mlp.up_proj.weight", "model.layers.4.self_attn.o_proj.weight"):
        assert torch.equal(small[name], whole[name])


@needs_data
def test_more_protected_blocks_than_there_are() -> None:
    with pytest.raises(PlanError, match="the network has 5"):
        pruned("llm-pruner")
