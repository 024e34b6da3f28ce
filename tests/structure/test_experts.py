"""Experts: found by structure, judged by what the router lets through, taken out of the router too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import secateur as sc
from secateur.core.errors import DataError, PlanError
from secateur.engine.collect import collect
from secateur.structure.experts import mixtures

transformers = pytest.importorskip("transformers")

COMMON = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "num_experts_per_tok": 2, "max_position_embeddings": 32,
    "use_cache": False, "intermediate_size": 12,
}  # fmt: skip


def build(kind: str, **options: Any) -> Any:
    """A mixture with weights large enough that experts differ."""
    torch.manual_seed(0)
    if kind == "mixtral":
        config = transformers.MixtralConfig(num_local_experts=6, **COMMON)
    elif kind == "deepseek":
        config = transformers.DeepseekV3Config(
            n_routed_experts=6, moe_intermediate_size=12, n_group=3, topk_group=2,
            first_k_dense_replace=0, q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=4,
            qk_nope_head_dim=4, v_head_dim=4, **COMMON
        )  # fmt: skip
    elif kind == "llama4":
        config = transformers.Llama4TextConfig(
            num_local_experts=6, head_dim=4, intermediate_size_mlp=12, interleave_moe_layer_step=1, **COMMON
        )  # fmt: skip
    else:
        config = transformers.Qwen3MoeConfig(
            num_experts=6, moe_intermediate_size=12, head_dim=4,
            norm_topk_prob=kind == "qwen-normalised", **COMMON
        )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


KINDS = pytest.mark.parametrize("kind", ["mixtral", "qwen", "qwen-normalised"])
LAYERS = [f"model.layers.{i}.mlp.experts" for i in range(2)]


def batch() -> dict[str, Tensor]:
    torch.manual_seed(1)
    mask = torch.ones(3, 8, dtype=torch.long)
    mask[0, 5:] = 0
    return {"input_ids": torch.randint(0, 40, (3, 8)), "attention_mask": mask}


def pruned(model: nn.Module, density: float = 0.5) -> sc.Result:
    return sc.prune(model, "reap", density=density, example=batch(), data=[batch()])


def passing_by(model: Any, units: dict[str, Tensor]) -> nn.Module:
    """The same network, routers written out here that never choose what is gone."""

    def forward(router: Any, keep: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
        def route(hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            logits = hidden.reshape(-1, 16) @ router.weight.T
            logits[:, ~keep] = -torch.inf
            probabilities = logits.softmax(-1)
            values, index = probabilities.topk(2, -1)
            if getattr(router, "norm_topk_prob", True):
                values = values / values.sum(-1, keepdim=True)
            return logits, values, index

        return route

    for name, keep in units.items():
        gate = model.get_submodule(name.replace("experts", "gate"))
        gate.forward = forward(gate, keep)
    found: nn.Module = model
    return found


@torch.no_grad()
def logits(model: Any) -> Tensor:
    out: Tensor = model(**batch()).logits
    return out


@KINDS
def test_removed_is_what_routers_that_pass_by_compute(kind: str) -> None:
    result = pruned(build(kind))
    assert [t.name for t in result.targets] == LAYERS
    assert not any(t.exact for t in result.targets)
    assert all(int(mask.sum()) == 3 for mask in result.units.values())
    shrunk = sc.shrink(result, batch())
    wanted = logits(passing_by(build(kind), result.units))
    assert torch.allclose(logits(shrunk.model), wanted, atol=1e-5)
    assert not torch.allclose(wanted, logits(build(kind)), atol=1e-2)
    assert shrunk.record["proof"]["error"] < 1e-5
    assert shrunk.record["units"] == {name: [3, 6] for name in LAYERS}
    assert shrunk.model.model.layers[0].mlp.experts.down_proj.shape == (3, 16, 12)
    assert shrunk.record["parameters"][1] < shrunk.record["parameters"][0]


@KINDS
@torch.no_grad()
def test_the_statistic_against_loops_over_tokens(kind: str) -> None:
    model, seen = build(kind), {}
    experts = model.model.layers[1].mlp.experts
    hook = experts.register_forward_pre_hook(lambda _, args: seen.update(args=args))
    model(**batch())
    hook.remove()
    hidden, chosen, gate = seen["args"]
    valid = batch()["attention_mask"].flatten().tolist()
    parts: dict[int, list[float]] = {e: [] for e in range(6)}
    for token in range(len(hidden)):
        for k in range(2):
            if valid[token]:
                e = int(chosen[token, k])
                a, b = (experts.gate_up_proj[e] @ hidden[token]).chunk(2)
                out = experts.down_proj[e] @ (F.silu(a) * b)
                parts[e].append(float(gate[token, k]) * float(out.norm()))
    name = "model.layers.1.mlp.gate.weight"
    found = collect(model, ["routed_output"], [name], [batch()])["routed_output"][name]
    wanted = [sum(p) / len(p) if p else 0.0 for p in parts.values()]
    assert found.tolist() == pytest.approx(wanted, rel=1e-4)
    assert found.dtype == torch.float64


@torch.no_grad()
def test_where_the_gate_is_on_the_inputs_it_is_what_experts_add_to_tokens() -> None:
    """Llama 4, against loops over tokens: sigmoid(r_e · x) scales the token that expert e gets."""
    model, seen = build("llama4"), {}
    layer = model.model.layers[1].feed_forward
    hook = layer.register_forward_pre_hook(lambda _, args: seen.update(x=args[0].reshape(-1, 16)))
    model(**batch())
    hook.remove()
    valid = batch()["attention_mask"].flatten().tolist()
    parts: dict[int, list[float]] = {e: [] for e in range(6)}
    for token, counts in zip(seen["x"], valid, strict=True):
        logits = layer.router.weight @ token
        for e in logits.topk(2).indices.tolist() if counts else ():
            gate, up = (token * logits[e].sigmoid() @ layer.experts.gate_up_proj[e]).chunk(2)
            parts[e].append(float((up * F.silu(gate) @ layer.experts.down_proj[e]).norm()))
    name = "model.layers.1.feed_forward.router.weight"
    found = collect(model, ["routed_output"], [name], [batch()])["routed_output"][name]
    assert 0 < sum(map(len, parts.values())) == 2 * sum(valid)
    assert found.tolist() == pytest.approx(
        [sum(p) / len(p) if p else 0.0 for p in parts.values()], rel=1e-4
    )


def test_llama_4_loses_the_experts_of_least_and_its_stock_class_loads_it(tmp_path: Path) -> None:
    model = build("llama4")
    model.save_pretrained(tmp_path / "dense")
    names = [f"model.layers.{i}.feed_forward.router.weight" for i in range(2)]
    scores = collect(model, ["routed_output"], names, [batch()])["routed_output"]
    result = pruned(model)
    for name in names:
        gone = (~result.units[name.replace("router.weight", "experts")]).nonzero()[:, 0].tolist()
        assert sorted(gone) == sorted(scores[name].argsort(stable=True)[:3].tolist())
    shrunk = sc.shrink(result, batch())
    assert shrunk.record["proof"]["error"] < 1e-5 < 1e-2 < shrunk.record["proof"]["effect"]
    shrunk.model.save_pretrained(tmp_path / "small")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "small").eval()
    assert again.config.num_local_experts == 3
    assert torch.allclose(logits(again), logits(shrunk.model), atol=1e-6)


def test_a_mixture_that_hides_who_gets_what_is_refused() -> None:
    """24 tokens for six experts: as many rows as four tokens given to all of them would have."""
    model = build("mixtral")
    layer, stock = model.model.layers[0].mlp, model.model.layers[0].mlp.experts.forward
    layer.experts.forward = lambda hidden, routed: stock(hidden, *routed)

    def forward(x: Tensor) -> Tensor:
        _, gate, chosen = layer.gate(x.reshape(-1, 16))
        out: Tensor = layer.experts(x.reshape(-1, 16), (chosen, gate)).reshape(x.shape)
        return out

    layer.forward = forward
    with pytest.raises(PlanError, match="nothing tells what its router lets through; take experts"):
        sc.prune(model, "reap", example=batch(), data=[batch()], in_place=True)


def test_padding_that_cannot_be_told_from_tokens_is_refused_with_what_to_do() -> None:
    """JetMoE sorts tokens by expert before its experts see them."""
    config = transformers.JetMoeConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_key_value_heads=2, kv_channels=8,
        intermediate_size=12, num_local_experts=4, num_experts_per_tok=2, use_cache=False,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(DataError, match=r"pack the calibration data instead.*leave out --padded"):
        sc.prune(model, "wanda", density=0.5, data=[batch()])
    packed = {**batch(), "attention_mask": torch.ones(3, 8, dtype=torch.long)}
    assert sc.prune(model, "wanda", density=0.5, data=[packed]).sparsity == 0.5


def test_the_least_go_and_those_never_chosen_first() -> None:
    model = build("mixtral")
    with torch.no_grad():
        model.model.layers[0].mlp.gate.weight[4] = 0
        model.model.layers[0].mlp.gate.weight[:4] *= 30
        model.model.layers[0].mlp.experts.down_proj[2] *= 1e-3
    names = [f"model.layers.{i}.mlp.gate.weight" for i in range(2)]
    scores = collect(model, ["routed_output"], names, [batch()])["routed_output"]
    result = pruned(model, density=2 / 3)
    for name, layer in zip(names, LAYERS, strict=True):
        gone = (~result.units[layer]).nonzero()[:, 0].tolist()
        assert sorted(gone) == sorted(scores[name].argsort(stable=True)[:2].tolist())


def test_the_stock_class_loads_it(tmp_path: Path) -> None:
    small = sc.shrink(pruned(build("mixtral")), batch()).model
    small.save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert again.config.num_local_experts == 3
    assert torch.allclose(logits(again), logits(small), atol=1e-6)


def test_layers_of_different_numbers_are_saved_and_loaded(tmp_path: Path) -> None:
    keep = {LAYERS[0]: [0, 3], LAYERS[1]: [1, 2, 5]}
    small = sc.shrink(build("qwen"), batch(), keep=keep).model
    assert small.config.num_experts == 6
    folder = sc.save(small, tmp_path / "net")
    assert torch.equal(logits(sc.load(folder)), logits(small))


def test_what_cannot_be() -> None:
    with pytest.raises(PlanError, match="keep 1 of 6 experts, but its router chooses 2"):
        sc.shrink(pruned(build("mixtral"), density=1 / 6), batch())
    with pytest.raises(PlanError, match="experts 0 to 5"):
        sc.shrink(build("mixtral"), batch(), keep={LAYERS[0]: [0, 6]})
    with pytest.raises(PlanError, match="unknown layer of experts 'elsewhere'"):
        sc.shrink(build("mixtral"), batch(), keep={LAYERS[0]: [0, 1], "elsewhere": [0]})
    deep = build("deepseek")
    assert [m.top_k for m in mixtures(deep)] == [2, 2]
    with pytest.raises(PlanError, match="chooses among 3 equal groups"):
        sc.shrink(deep, batch(), keep={LAYERS[0]: [0, 1, 2]})
    dense = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(PlanError, match="no experts to prune"):
        sc.prune(dense, "reap", data=[torch.zeros(1, 2)])
