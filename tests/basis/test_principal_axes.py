"""Principal axes: the network computes the same, and no other directions would keep more."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from support_data import needs_data
from support_thorough import but
from torch import Tensor, nn

import secateur as sc
from secateur.basis import PrincipalAxes
from secateur.core.errors import PlanError
from secateur.criteria import InputEnergy
from secateur.engine.collect import collect
from secateur.engine.view import ModelView
from tests.methods import stories
from tests.methods.tiny import tiny_llama, tokens

transformers = pytest.importorskip("transformers")


def build(kind: str, layers: int = 2) -> Any:
    """Biases and norms inside attention; scales of norms that are not 1; a tied head."""
    if kind == "llama":
        return tiny_llama(layers)
    if kind == "tied":
        return tiny_llama(layers, tie_word_embeddings=True, attention_bias=True, mlp_bias=True)
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=layers, head_dim=4,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32, use_cache=False,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * 0.3 + ("norm" in name))
    return model


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        batch = tokens()
        found: Tensor = model(**batch).logits
        return found[batch["attention_mask"].bool()]


def pruned(model: nn.Module, density: float, **options: Any) -> sc.Result:
    return sc.prune(
        model, "slicegpt", density=density, example=tokens(2), data=[tokens(), tokens(seed=9)], **options
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["llama", "tied", "Mistral", "Qwen2", "Qwen3"])
def test_a_rotated_network_computes_the_same(kind: str) -> None:
    model = build(kind)
    wanted = logits(model)
    PrincipalAxes().rewrite(model, lambda names, of: collect(model, names, of, [tokens()]))
    assert torch.allclose(logits(model), wanted, atol=1e-5 * float(wanted.abs().max()))
    shortcut = model.model.layers[1].mlp_shortcut.weight.detach()
    assert torch.allclose(shortcut @ shortcut.T, torch.eye(16), atol=1e-5)  # turns, no more
    assert not torch.allclose(shortcut, torch.eye(16), atol=1e-1)


def normed(model: Any) -> list[Tensor]:
    """[tokens, width] at every place: what the norms give, without their scale, padding left out."""
    found: list[Tensor] = []
    norms = [
        norm
        for block in model.model.layers
        for norm in (block.input_layernorm, block.post_attention_layernorm)
    ]
    for batch in (tokens(), tokens(seed=9)):
        seen: list[Tensor] = []
        hooks = [
            norm.register_forward_hook(lambda m, _, out, s=seen: s.append(out / m.weight))
            for norm in [*norms, model.model.norm]
        ]
        with torch.no_grad():
            model(**batch)
        for hook in hooks:
            hook.remove()
        rows = [x[batch["attention_mask"].bool()].double() for x in seen]
        found = [torch.cat(pair) for pair in zip(found, rows, strict=True)] if found else rows
    return found


def test_the_scores_are_eigenvalues_and_what_is_kept_is_optimal() -> None:
    dense = build("llama")
    flows = normed(dense)
    result = pruned(dense, 0.5, head=True, progressive=False)
    assert len(result.targets) == len(flows) == 5
    rng = torch.Generator().manual_seed(0)
    for target, z in zip(result.targets, flows, strict=True):
        values = torch.linalg.eigvalsh(z.T @ z / len(z)).flip(0)
        mask = result.units[target.name]
        assert mask.tolist() == [True] * 8 + [False] * 8  # sorted, so the first ones stay
        kept = float(values[:8].sum())
        for _ in range(20):
            q = torch.linalg.qr(torch.randn(16, 8, generator=rng, dtype=torch.float64)).Q
            assert float((z @ q).square().sum() / len(z)) < kept
    view = _energies(result, dense)
    for name, z in zip([t.name for t in result.targets], flows, strict=True):
        values = torch.linalg.eigvalsh(z.T @ z / len(z)).flip(0)
        assert torch.allclose(view[name], values, rtol=1e-4, atol=1e-6)


def _energies(result: sc.Result, dense: nn.Module) -> dict[str, Tensor]:
    """The scores, in a network that is rotated but whole."""
    whole = pruned(dense, 1.0, head=True)
    data = [tokens(), tokens(seed=9)]
    stats = collect(whole.model, ["input_square"], whole.targets, data)
    view = ModelView(whole.model, whole.targets, None, stats)
    return {t.name: InputEnergy().score(view, t) for t in whole.targets}


def by_hand(model: Any, ids: Tensor, kept: int) -> Tensor:
    """Logits of the network that loses all but `kept` axes of each place, one place after the other.

    The dense network's own parts, one by one: the stream is projected at a place, with the
    eigenvectors of what reaches that place, before norm and shortcut read it.
    """

    def sliced(x: Tensor) -> Tensor:
        rows = x.double()
        z = (rows / (rows.square().mean(-1, keepdim=True) + eps).sqrt()).flatten(0, 1)
        axes = torch.linalg.eigh(z.T @ z).eigenvectors[:, -kept:]
        return (rows @ axes @ axes.T).to(x.dtype)

    eps, inner = model.config.rms_norm_eps, model.model
    x = inner.embed_tokens(ids)
    turns = inner.rotary_emb(x, torch.arange(ids.shape[1])[None])
    for block in inner.layers:
        x = sliced(x)
        y = block.self_attn(
            block.input_layernorm(x), position_embeddings=turns, attention_mask=None
        )
        x = sliced(x + y[0])
        x = x + block.mlp(block.post_attention_layernorm(x))
    found: Tensor = model.lm_head(inner.norm(x))
    return found


def test_later_axes_are_those_of_the_sliced_network() -> None:
    """Two layers, against the equations; the dense network's axes give something else."""
    dense = build("llama").double()  # the norms alone round to float32
    ids = torch.randint(3, 40, (6, 12), generator=torch.Generator().manual_seed(5))
    data = [{"input_ids": part, "attention_mask": torch.ones_like(part)} for part in ids.split(2)]
    with torch.no_grad():
        wanted = by_hand(dense, ids, 8)
    scale = float(wanted.abs().max())
    for progressive, same in ((True, True), (False, False)):
        options = {"example": tokens(2), "data": data, "progressive": progressive}
        result = sc.prune(dense, "slicegpt", density=0.5, **options)
        small = sc.shrink(result, tokens(2))
        assert small.record["exact"]
        with torch.no_grad():
            difference = float((small.model(input_ids=ids).logits - wanted).abs().max()) / scale
        assert difference < 1e-5 if same else difference > 1e-2
        assert not any(m._forward_pre_hooks for m in result.model.modules())


def test_masked_is_removed() -> None:
    result = pruned(build("llama", 3), 0.75)
    shrunk = sc.shrink(result, tokens(2))
    assert shrunk.record["exact"]
    assert shrunk.record["difference"] < 1e-5
    block = shrunk.model.model.layers[1]
    assert block.self_attn.q_proj.weight.shape == (16, 12)
    assert block.mlp.down_proj.weight.shape == (12, 24)
    assert block.attention_shortcut.weight.shape == (12, 12)
    assert block.input_layernorm.full == 16  # what went counts as zeros
    assert shrunk.model.model.layers[2].mlp_shortcut.weight.shape == (16, 12)  # the head is whole
    assert shrunk.model.lm_head.weight.shape == (40, 16)


def centred(kind: str) -> Any:
    """GPT-2 or OPT: layer norms whose scale and shift say something, tied heads, biases everywhere."""
    torch.manual_seed(0)
    shared = {"vocab_size": 40, "use_cache": False, "bos_token_id": 0, "eos_token_id": 0}
    if kind == "GPT2":
        config = transformers.GPT2Config(n_embd=16, n_layer=2, n_head=4, n_positions=32, **shared)
    else:
        config = transformers.OPTConfig(
            hidden_size=16, ffn_dim=24, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=32, word_embed_proj_dim=16, **shared,
        )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    norms = {m for m in model.modules() if isinstance(m, nn.LayerNorm)}
    with torch.no_grad():
        for module in model.modules():
            for name, p in module.named_parameters(recurse=False):
                one = module in norms and name == "weight"
                p.copy_(torch.randn_like(p) * 0.3 + one)
    return model


@pytest.mark.parametrize("kind", ["GPT2", "OPT"])
def test_layer_norms_become_root_mean_square_norms(kind: str) -> None:
    """In double precision nothing is lost, also in the basis that data gives."""
    model = centred(kind).double()
    wanted = logits(model)
    PrincipalAxes().rewrite(model, lambda names, of: collect(model, names, of, [tokens()]))
    assert not any(isinstance(m, nn.LayerNorm) for m in model.modules())
    assert model.lm_head.bias is not None
    torch.testing.assert_close(logits(model), wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("kind", "head"), but([("GPT2", True)], [("GPT2", True), ("GPT2", False), ("OPT", False)])
)
def test_networks_of_layer_norms_are_sliced_saved_and_loaded(
    kind: str, head: bool, tmp_path: Path
) -> None:
    """GPT-2's code gives what it puts out the width of its embedding, which the head reads."""
    result = pruned(centred(kind), 0.75, head=head)
    small = sc.shrink(result, tokens(2))
    assert small.record["exact"]
    assert small.record["level"] == ("A" if kind == "OPT" else "B" if head else "C")
    again = sc.load(sc.save(small.model, tmp_path / "net"))
    assert torch.equal(logits(again), logits(small.model))
    width = 12 if head else 16
    assert again.lm_head.weight.shape == (40, width)


def test_norms_of_both_kinds_are_refused() -> None:
    model = centred("OPT")
    final = nn.RMSNorm(16, eps=1e-5)
    model.model.decoder.final_layer_norm = final
    with pytest.raises(PlanError, match="take the mean out and others do not"):
        PrincipalAxes().rewrite(model, None)


@pytest.mark.parametrize("kind", ["Gemma", "Gemma2"])
def test_other_blocks_and_norms_are_refused(kind: str) -> None:
    with pytest.raises(PlanError, match=r"is no root mean square norm|is made of"):
        pruned(build(kind), 0.75)


def test_networks_without_blocks_data_or_basis_are_refused() -> None:
    with pytest.raises(PlanError, match="no repeated blocks"):
        pruned(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), 0.75)
    with pytest.raises(PlanError, match="pass data"):
        sc.prune(build("llama"), "slicegpt", example=tokens(2))
    recipe = sc.recipe("slicegpt").model_copy(update={"basis": None})
    with pytest.raises(PlanError, match="let the recipe have a basis"):
        sc.prune(build("llama"), recipe, example=tokens(2), data=[tokens()])


def test_a_plan_needs_no_data_and_touches_nothing() -> None:
    dense = build("llama")
    before = copy.deepcopy(dense.state_dict())
    plan = sc.plan(dense, "slicegpt", example=tokens(2))
    assert [t.units for t in plan.targets] == [16] * 4
    assert PrincipalAxes() == plan.recipe.basis
    assert "needs data; labels are not read (input_gram)" in str(plan)
    assert all(torch.equal(v, before[k]) for k, v in dense.state_dict().items())


@needs_data
def test_stories_sliced() -> None:
    options = {"example": stories.example(), "data": stories.calibration(8)}
    dense = stories.perplexity(stories.stories())
    sliced = sc.prune(stories.stories(), "slicegpt", density=0.9, **options)
    small = sc.shrink(sliced, stories.example()).model
    assert dense < stories.perplexity(small) < 2 * dense


def test_a_sliced_network_is_saved_and_loaded(tmp_path: Path) -> None:
    small = sc.shrink(pruned(build("tied"), 0.75), tokens(2)).model
    again = sc.load(sc.save(small, tmp_path / "net"))
    assert torch.equal(logits(again), logits(small))
    assert again.model.layers[0].attention_shortcut.weight.shape == (12, 12)
