"""Experts stacked in one tensor: each has the statistics of the rows that were sent to it."""

import pytest
import torch

pytest.importorskip("transformers")

from secateur.engine.collect import collect
from tests.engine.blockwise import tiny


def rows_by_expert(model, batches, layer):
    """What each expert's two matrices multiply, by the routing of a plain forward pass."""
    experts, seen = model.model.layers[layer].mlp.experts, []
    hook = experts.register_forward_pre_hook(lambda m, args: seen.append(args))
    with torch.no_grad():
        for batch in batches:
            model(**batch)
    hook.remove()
    first, second = {}, {}
    for (hidden, chosen, _), batch in zip(seen, batches, strict=True):
        valid = batch["attention_mask"].flatten().bool()
        for e in range(4):
            x = hidden[valid & (chosen == e).any(1)]
            gate, up = (x @ experts.gate_up_proj[e].T).chunk(2, 1)
            first.setdefault(e, []).append(x)
            second.setdefault(e, []).append(experts.act_fn(gate) * up)
    return [{e: torch.cat(parts) for e, parts in side.items()} for side in (first, second)]


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "qwen2_moe"])
@pytest.mark.parametrize("pad", [0, 5])
def test_statistics_by_expert(family, pad):
    model, batches = tiny.model(family), tiny.batches(pad=pad)
    names = [f"model.layers.1.mlp.experts.{part}" for part in ("gate_up_proj", "down_proj")]
    found = collect(model, ["input_square", "input_gram", "input_rows"], names, batches)
    for name, rows in zip(names, rows_by_expert(model, batches, 1), strict=True):
        for e, x in rows.items():
            x = x.detach().double()
            assert int(found["input_rows"][name][e]) == len(x)
            square = found["input_square"][name][e]
            torch.testing.assert_close(square, x.square().mean(0), rtol=1e-5, atol=1e-9)
            gram = found["input_gram"][name][e].double()
            torch.testing.assert_close(gram, x.T @ x / len(x), rtol=1e-4, atol=1e-7)


def test_an_expert_that_no_token_reaches_has_zeros():
    model = tiny.model("mixtral", num_experts_per_tok=1)
    router = model.model.layers[0].mlp.gate
    router.weight.data[2] = -router.weight.data[0] * 1e-9
    router.weight.data[2:] = 0
    router.weight.data[:2] *= 100
    name = "model.layers.0.mlp.experts.down_proj"
    found = collect(model, ["input_square", "input_rows"], [name], tiny.batches(pad=0))
    reached = found["input_rows"][name].flatten()
    assert 0 in reached.tolist()
    assert int(reached.sum()) == 2 * 3 * 12
    silent = reached == 0
    assert bool((found["input_square"][name][silent] == 0).all())
