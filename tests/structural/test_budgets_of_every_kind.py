"""Budgets beyond one step over widths: rounds, layers in order, growing pressure, depth, heads, experts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save
from torch import nn

import secateur as sc
from secateur.core.errors import PlanError
from secateur.engine.train import Training
from secateur.models import build_seeded

IMAGES = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % 10
DATA = (IMAGES, LABELS)


def resnet() -> nn.Module:
    return build_seeded("resnet8", 0, num_classes=10, in_channels=3, image_size=16)


def size(model: nn.Module, what: str, x: Any) -> float:
    """What the smaller network itself takes."""
    measured = sc.measure(model, x)
    if what == "macs":
        return measured.macs.total
    if what == "parameters":
        return measured.parameters.total
    return len(save({n: t.clone().contiguous() for n, t in model.state_dict().items()})) / 1e6


def pruned(model: nn.Module, method: str, what: str, share: str, **options: Any) -> tuple[Any, Any]:
    """What the run told, and the smaller network, whose size agrees with it."""
    x = options.pop("example", IMAGES[:2])
    result = sc.prune(model, method, example=x, budget={what: share}, **options)
    told, small = result.record["budget"][what], sc.shrink(result, x).model
    slack = {"macs": 0, "parameters": 0, "megabytes": 0.02}[what]  # the file's own header
    assert told["left"] == pytest.approx(size(small, what, x), rel=1e-9, abs=slack)
    assert told["whole"] == pytest.approx(size(model, what, x), rel=1e-9, abs=slack)
    assert told["left"] <= float(share.strip("%")) / 100 * told["whole"]
    return result, small


def test_rounds_go_along_the_cost_and_the_last_meets_the_budget() -> None:
    """Three rounds to 40 %: each leaves at most 0.4^(i / 3)."""
    left = []
    seen = lambda event: left.append(event["budget"]["macs"]) if "budget" in event else None  # noqa: E731
    training = Training(length="1ep", batch_size=16)
    options = {"data": DATA, "training": training, "trained": True, "fine_tune": "1it"}
    result = sc.prune(
        resnet(), "taylor-2017", example=IMAGES[:2], budget={"macs": "40%"}, rounds=3,
        progress=seen, **options,
    )  # fmt: skip
    shares = list(dict.fromkeys(told["left"] / told["whole"] for told in left))
    assert len(shares) == 3
    for i, share in enumerate(shares, start=1):
        assert 0.4 ** (i / 3) - 0.05 < share <= 0.4 ** (i / 3)
    small = sc.shrink(result, IMAGES[:2]).model
    assert size(small, "macs", IMAGES[:2]) == result.record["budget"]["macs"]["left"]


@pytest.mark.parametrize("method", ["channel-lasso", "thinet"])
def test_layers_in_order_have_the_widths_of_the_budget(method: str) -> None:
    result, _ = pruned(resnet(), method, "parameters", "70%", data=DATA, trained=True)
    told = result.record["budget"]["parameters"]
    assert told["left"] / told["whole"] > 0.68
    shares = [float(mask.float().mean()) for mask in result.units.values()]
    assert max(shares) - min(shares) < 0.1, "the same share of every layer"


def test_a_growing_pressure_pushes_what_the_budget_takes() -> None:
    """Pushed hard to the end, the units that go are all but zero in the trained network."""
    training = Training(length="20it", batch_size=16, lr=0.05, weight_decay=0.0)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)
    )
    options = {"data": DATA, "training": training, "strength": 8.0, "rise": 0.2}
    result, _ = pruned(model, "greg", "macs", "50%", **options)
    kept = int(result.units["0"].sum())
    assert kept == 8
    dense = sc.prune(model, "greg", density=0.5, example=IMAGES[:2], **options)
    assert torch.equal(dense.units["0"], result.units["0"])
    assert torch.equal(dense.model[0].weight, result.model[0].weight), "the same were pushed"


def test_what_has_to_foresee_cannot_go_by_scores() -> None:
    recipe = sc.recipe("greg", budget={"macs": "50%"})
    across = sc.recipe("l1-filters", across=True, budget={"macs": "50%"})
    with pytest.raises(PlanError, match="has to know before the training"):
        sc.Recipe(**{**dict(recipe), "allocator": across.allocator})


@pytest.mark.parametrize(("what", "rounds"), [("macs", 3), ("parameters", 1), ("megabytes", 1)])
def test_as_many_layers_stay_as_the_budget_permits(what: str, rounds: int) -> None:
    model = build_seeded("resnet20", 0, num_classes=10, in_channels=3, image_size=16)
    result, small = pruned(
        model, "layer-dropping", what, "60%", by="influence", rounds=rounds, data=DATA, trained=True
    )
    told = result.record["budget"][what]
    gone = [target for target in result.targets if not result.units[target.name].any()]
    assert gone
    largest = max(told["whole"] / 9, 74_000 if what != "megabytes" else 0.3)
    assert 0.6 * told["whole"] - told["left"] < largest, "no other layer fits"
    assert sum(1 for _ in small.modules()) < sum(1 for _ in model.modules())


def test_a_budget_below_what_layers_can_save_names_the_closest() -> None:
    with pytest.raises(PlanError, match="closest possible"):
        sc.plan(resnet(), "layer-dropping", IMAGES[:2], budget={"macs": "1%"})


def vit() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=32, num_attention_heads=8, intermediate_size=64, num_hidden_layers=3,
        image_size=16, patch_size=4,
    )  # fmt: skip
    return transformers.ViTForImageClassification(config).eval()


@pytest.mark.parametrize("method", ["head-pruning", "shortgpt"])
def test_heads_and_blocks_of_a_transformer(method: str) -> None:
    result, _ = pruned(vit(), method, "macs", "80%", data=(IMAGES, LABELS % 2), trained=True)
    assert {target.kind for target in result.targets} <= {"heads", "layers"}
    told = result.record["budget"]["macs"]
    assert told["left"] / told["whole"] > (0.76 if method == "head-pruning" else 0.6)


def mixture() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    config = transformers.MixtralConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=8, num_experts_per_tok=2, vocab_size=64,
    )  # fmt: skip
    ids = torch.randint(0, 64, (4, 8), generator=torch.Generator().manual_seed(0))
    return transformers.MixtralForCausalLM(config).eval(), {"input_ids": ids}


@pytest.mark.parametrize("what", ["parameters", "megabytes"])
def test_experts_are_paid_in_memory(what: str) -> None:
    model, x = mixture()
    result, _ = pruned(model, "reap", what, "60%", data=x, example=x)
    assert all(2 <= int(mask.sum()) < 8 for mask in result.units.values())


@pytest.mark.parametrize("what", ["macs", "latency"])
def test_experts_save_no_work(what: str) -> None:
    model, x = mixture()
    with pytest.raises(PlanError, match="parameters or megabytes"):
        sc.plan(model, "reap", x, budget={what: "60%"})
