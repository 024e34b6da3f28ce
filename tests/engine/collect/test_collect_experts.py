"""Experts stacked in one tensor: each has the statistics of the rows that were sent to it."""

import pytest
import torch

pytest.importorskip("transformers")

from transformers import CONFIG_MAPPING, AutoModelForCausalLM

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


@pytest.mark.parametrize("pad", [0, 5])
def test_experts_that_run_at_once_have_the_rows_that_the_router_gives_them(pad):
    """Llama 4: all tokens meet all experts, as zeros where they are not sent to them."""
    config = CONFIG_MAPPING["llama4_text"](
        **tiny.COMMON | {"intermediate_size": 8, "num_hidden_layers": 1, "moe_layers": [0]},
        num_local_experts=4,
    )
    torch.manual_seed(0)
    model, batches = AutoModelForCausalLM.from_config(config).eval(), tiny.batches(pad=pad)
    model.model.embed_tokens.weight.data[0] = 1.0  # padding is no zeros here
    part, seen = model.model.layers[0].feed_forward, []
    hook = part.register_forward_pre_hook(lambda m, args: seen.append(args[0].flatten(0, 1)))
    names = [f"model.layers.0.feed_forward.experts.{n}" for n in ("gate_up_proj", "down_proj")]
    found = collect(model, ["input_square", "input_rows"], names, batches)
    hook.remove()
    valid = torch.cat([batch["attention_mask"].flatten().bool() for batch in batches])
    tokens = torch.cat(seen)[valid]
    best, chosen = (tokens @ part.router.weight.T).max(1)
    for e in range(4):
        x = (tokens * best.sigmoid()[:, None])[chosen == e].detach()
        gate, up = (x @ part.experts.gate_up_proj[e]).chunk(2, 1)
        for name, rows in zip(names, (x, up * torch.nn.functional.silu(gate)), strict=True):
            assert int(found["input_rows"][name][e]) == len(rows) > 0
            wanted = rows.detach().double().square().mean(0)
            torch.testing.assert_close(found["input_square"][name][e], wanted, rtol=1e-5, atol=1e-9)


def test_padding_is_left_out_where_no_number_stands_for_no_expert():
    """gpt-oss counts its experts without one for nothing, and stores their inputs first."""
    config = CONFIG_MAPPING["gpt_oss"](
        **tiny.COMMON | {"intermediate_size": 8, "num_hidden_layers": 1, "num_local_experts": 4},
        num_experts_per_tok=2, layer_types=["full_attention"],
    )  # fmt: skip
    model, batches = AutoModelForCausalLM.from_config(config).eval(), tiny.batches(pad=5)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    found = collect(model, ["input_rows"], [name], batches)
    assert int(found["input_rows"][name].sum()) == 2 * sum(
        int(batch["attention_mask"].sum()) for batch in batches
    )


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
