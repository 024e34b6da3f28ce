"""Old counts of RMS norms folded into ordinary modules."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from support_thorough import but
from torch import Tensor, nn

import secateur as sc

transformers = pytest.importorskip("transformers")
X = torch.arange(12).reshape(2, 6) % 32
SIZES = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "rms_norm_eps": 1e-2,
    "attn_implementation": "eager",
}  # fmt: skip


def tiny(family: str) -> nn.Module:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SIZES)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name:
            nn.init.uniform_(parameter, 0.5, 1.5)
    return model  # type: ignore[no-any-return]


def width_of(model: nn.Module) -> Any:
    return next(a for a in sc.trace(model, X) if a.kind == "residual width")


def halved(model: nn.Module, **options: Any) -> Any:
    width = width_of(model)
    keep = {width.name: range(0, width.units, 2)}
    return sc.shrink(model, X, keep=keep, preserve_norms=True, **options)


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(X).logits  # type: ignore[no-any-return]


@pytest.mark.parametrize("family", but(["Mistral"], ["Llama", "Qwen2", "Mistral"]))
def test_half_the_residual_width_is_the_masked_network_and_the_stock_class(
    family: str, tmp_path: Path
) -> None:
    model = tiny(family)
    small = halved(model, float64=True)
    assert small.record["level"] in "AB"
    assert small.record["difference"] < 1e-5
    assert small.record["loadable"] == "stock", small.record["why"]
    assert small.model.config.rms_norm_eps == 2e-2
    small.model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path, attn_implementation="eager").eval()
    assert torch.allclose(logits(again), logits(small.model), atol=1e-5)


def test_saved_and_loaded(tmp_path: Path) -> None:
    small = halved(tiny("Llama"))
    sc.save(small, tmp_path / "small")
    again = sc.load(tmp_path / "small")
    assert again.model.norm.variance_epsilon == small.model.model.norm.variance_epsilon == 2e-2
    assert torch.equal(again.model.norm.weight, small.model.model.norm.weight)
    assert torch.allclose(logits(again.eval()), logits(small.model), atol=1e-6)


def test_in_place_is_the_same() -> None:
    model = tiny("Llama")
    small = halved(copy.deepcopy(model)).model
    halved(model, in_place=True)
    assert torch.equal(logits(model), logits(small))


def test_one_norm_with_another_eps_is_no_stock_network() -> None:
    model = tiny("Llama")
    model.model.layers[0].input_layernorm.variance_epsilon = 3e-2  # type: ignore[union-attr,index]
    small = halved(model)
    assert small.record["level"] in "AB"
    assert small.record["loadable"] == "secateur"


@pytest.mark.parametrize("family", ["Gemma", "Gemma2"])
def test_a_shifted_weight_is_folded_with_its_shift(family: str, tmp_path: Path) -> None:
    model = tiny(family)
    small = halved(model, float64=True)
    assert small.record["level"] in "AB"
    assert small.record["difference"] < 1e-5
    norm = small.model.model.layers[0].input_layernorm.weight
    before = model.model.layers[0].input_layernorm.weight[::2]  # type: ignore[union-attr,index]
    assert torch.allclose(1 + norm, 2**0.5 * (1 + before))
    assert small.record["loadable"] == "secateur"  # embeddings are multiplied by sqrt(hidden_size)
    assert "differ by" in small.record["why"]
    sc.save(small, tmp_path / "small")
    assert torch.allclose(
        logits(sc.load(tmp_path / "small").eval()), logits(small.model), atol=1e-6
    )


def test_moments_follow_the_folded_scale() -> None:
    model = tiny("Llama")
    norm = model.model.norm.weight  # type: ignore[union-attr]
    optimizer = torch.optim.Adam(model.parameters())
    model(X).logits.square().mean().backward()
    optimizer.step()
    before = {k: v.clone() for k, v in optimizer.state[norm].items()}  # type: ignore[index]
    small = halved(model, optimizer=optimizer).model
    after = optimizer.state[small.model.norm.weight]
    assert torch.allclose(after["exp_avg"], before["exp_avg"][::2] / 2**0.5)
    assert torch.allclose(after["exp_avg_sq"], before["exp_avg_sq"][::2] / 2)
    assert after["step"] == before["step"]


def test_moments_that_scale_in_an_unknown_way_begin_anew() -> None:
    model = tiny("Llama")
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for parameter in model.parameters():
        optimizer.state[parameter] = {"own": torch.zeros_like(parameter)}
    small = halved(model, optimizer=optimizer).model
    assert small.model.norm.weight not in optimizer.state
    assert small.lm_head.weight in optimizer.state


@pytest.mark.parametrize(("norm", "levels"), [(nn.RMSNorm, "AB"), (nn.LayerNorm, "D")])
def test_norms_of_torch(norm: Any, levels: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), norm(8, eps=1e-2), nn.Linear(8, 2))
    x = torch.randn(2, 3)
    name = next(a.name for a in sc.trace(model, x) if not a.exact)
    record = sc.shrink(model, x, keep={name: range(4)}, preserve_norms=True).record
    assert record["level"] in levels
    assert record["difference"] < 1e-5
