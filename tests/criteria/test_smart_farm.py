"""The smart-farm importance against its formula, on real decoders, with padding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from secateur.core.errors import PlanError
from secateur.core.reads import read
from secateur.criteria import LayerScale, Magnitude, SmartFarm
from secateur.engine.collect import collect
from secateur.engine.view import ModelView
from secateur.structure import Coupled

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def gemma() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.Gemma3TextConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=3, head_dim=4,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32, use_cache=False,
    )  # fmt: skip
    model = transformers.Gemma3ForCausalLM(config).eval()
    for name, parameter in model.named_parameters():
        if "_proj" in name:
            parameter.data.mul_(10)  # initial activations are too small to tell tokens apart
    return model


def batches() -> list[dict[str, torch.Tensor]]:
    """Two batches, padded on the left."""
    rng = torch.Generator().manual_seed(1)
    made = []
    for widths in ((5, 3), (4, 6)):
        longest = max(widths)
        mask = torch.tensor([[0] * (longest - n) + [1] * n for n in widths])
        ids = torch.randint(1, 50, mask.shape, generator=rng) * mask
        made.append({"input_ids": ids, "attention_mask": mask})
    return made


def inputs(model: nn.Module, layer: str) -> torch.Tensor:
    """[tokens, features] what enters `layer`, without padding, by a hook of its own."""
    rows: list[torch.Tensor] = []
    module = model.get_submodule(layer)
    for batch in batches():
        mask = batch["attention_mask"].bool()
        hook = module.register_forward_pre_hook(lambda m, a, mask=mask: rows.append(a[0][mask]))
        with torch.no_grad():
            model(**batch)
        hook.remove()
    return torch.cat(rows)


def scored(
    model: nn.Module, kind: str, criterion: SmartFarm | LayerScale
) -> dict[str, torch.Tensor]:
    targets = Coupled(kinds=(kind,)).targets(model, batches()[0])
    stats = collect(model, criterion.required(), targets, batches())
    view = ModelView(model, targets, stats=stats)
    return {t.name: criterion.score(view, t) for t in targets}


def by_formula(
    a: torch.Tensor, mean: float, largest: float, active: float, t: float
) -> torch.Tensor:
    """[units] from [tokens, units, inputs a unit]."""
    average = a.abs().mean((0, 2))
    peak = a.abs().amax((0, 2))
    share = (a.abs() > t).double().mean((0, 2))
    return mean * average / average.max() + largest * peak / peak.max() + active * share


def test_neurons_are_scored_by_what_enters_the_down_projection(gemma: nn.Module) -> None:
    found = scored(gemma, "neurons", SmartFarm(mean=0.5, largest=0.3, active=0.2, threshold=0.02))
    assert len(found) == 3
    for number in range(3):
        a = inputs(gemma, f"model.layers.{number}.mlp.down_proj").double()[:, :, None]
        share = (a.abs() > 0.02).double().mean()
        assert 0.05 < share < 0.95  # the threshold tells tokens apart
        expected = by_formula(a, 0.5, 0.3, 0.2, 0.02)
        assert torch.allclose(found[f"model.layers.{number}.mlp.gate_proj"], expected, atol=1e-6)


def test_heads_are_scored_by_what_enters_the_output_projection(gemma: nn.Module) -> None:
    """Two key-value groups of two query heads of width 4: eight inputs each."""
    found = scored(gemma, "heads", SmartFarm())
    assert len(found) == 3
    for number in range(3):
        a = inputs(gemma, f"model.layers.{number}.self_attn.o_proj").double()
        expected = by_formula(a.view(len(a), 2, 8), 0.7, 0.2, 0.1, 0.01)
        name = f"model.layers.{number}.self_attn.q_proj.heads"
        assert torch.allclose(found[name], expected, atol=1e-6)


def test_weights_stored_input_first_are_read_along_their_inputs() -> None:
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=32, n_embd=16, n_layer=1, n_head=2, n_inner=16, use_cache=False
    )  # square on purpose: the shape alone does not say which side is the input
    model = transformers.GPT2LMHeadModel(config).eval()
    found = scored(model, "neurons", SmartFarm())
    a = inputs(model, "transformer.h.0.mlp.c_proj").double()[:, :, None]
    expected = by_formula(a, 0.7, 0.2, 0.1, 0.01)
    assert torch.allclose(found["transformer.h.0.mlp.c_fc"], expected, atol=1e-6)


def test_the_dead_layer_scores_zero(gemma: nn.Module) -> None:
    (target, *_) = Coupled(kinds=("neurons",)).targets(gemma, batches()[0])
    stats = {
        name: {"model.layers.0.mlp.down_proj.weight": torch.zeros(24)}
        for name in SmartFarm().required()
    }
    score = SmartFarm().score(ModelView(gemma, (target,), stats=stats), target)
    assert torch.equal(score, torch.zeros(24, dtype=score.dtype))


def test_a_convolution_reads_channels_times_kernel() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 2))
    (target,) = Coupled().targets(net, torch.zeros(2, 1, 8, 8))
    values = torch.arange(12.0)  # 3 channels x 2 x 2
    view = ModelView(net, (target,), stats={"input_mean": {"2.weight": values}})
    assert read(view, target, "input_mean").tolist() == values.view(3, 4).tolist()


@pytest.mark.parametrize(
    ("net", "x", "count"),
    [
        (nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), torch.zeros(2, 4), 12),
        # as of experts in one tensor: no whole number of kernels
        (
            nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 2)),
            torch.zeros(2, 1, 8, 8),
            9,
        ),
    ],
)
def test_inputs_that_are_not_the_weights_are_refused(
    net: nn.Module, x: torch.Tensor, count: int
) -> None:
    (target,) = Coupled().targets(net, x)
    view = ModelView(net, (target,), stats={"input_mean": {"2.weight": torch.zeros(count)}})
    with pytest.raises(PlanError, match="works in groups"):
        read(view, target, "input_mean")


@pytest.mark.parametrize("depth", [2, 3, 7])
def test_thirds_of_the_depth_have_their_factor(depth: int) -> None:
    layers = [nn.Linear(4, 4) for _ in range(depth + 1)]
    net = nn.Sequential(*(part for layer in layers for part in (layer, nn.Tanh())))
    targets = Coupled().targets(net, torch.zeros(2, 4))
    assert len(targets) == depth
    view = ModelView(net, targets)
    scale = LayerScale(inner=Magnitude(), early=2.0, middle=3.0, late=5.0)
    factors = [float((scale.score(view, t) / Magnitude().score(view, t)).mean()) for t in targets]
    expected = {2: [2, 3], 3: [2, 3, 5], 7: [2, 2, 2, 3, 3, 5, 5]}[depth]
    assert factors == pytest.approx(expected)
