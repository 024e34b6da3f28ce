"""Adapters: the formula they merge, what masks keep out of them, and that a killed run goes on."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

import secateur as sc
from secateur.allocation import Uniform
from secateur.batches import as_batches
from secateur.core.errors import PlanError
from secateur.core.recipe import Recipe
from secateur.core.types import Adapter
from secateur.criteria import Magnitude
from secateur.engine.adapters import attach, merge
from secateur.engine.execute import execute
from secateur.engine.run import Run, Setting
from secateur.engine.store import FolderStore
from secateur.engine.train import AdamW, Distil, Training
from secateur.recover import FineTune, Lora
from secateur.schedule import OneShot
from secateur.scope import Tensorwise
from secateur.structure import Rows, Weights
from tests.methods.tiny import tiny_llama, tokens

pytest.importorskip("peft")

TRAINING = Training(
    length="2ep", batch_size=4, optimiser=AdamW(), lr=0.01, weight_decay=0.0
)  # fmt: skip


def recipe(recovery: Any, structure: Any = None) -> Recipe:
    """Rows of the projections into the FFN and of the values, masked without any tracing."""
    rows = structure or Rows(include=("*up_proj*", "*v_proj*"))
    return Recipe(
        structure=rows, criterion=Magnitude(), scope=Tensorwise(), allocator=Uniform(),
        schedule=OneShot(density=0.7), recovery=recovery,
    )  # fmt: skip


def pruned(recovery: Any, training: Training = TRAINING, structure: Any = None) -> sc.Result:
    return sc.prune(
        tiny_llama(2), recipe(recovery, structure), data=tokens(16), val=tokens(16),
        training=training, trained=True,
    )  # fmt: skip


def test_what_is_merged_is_the_product() -> None:
    model = tiny_llama()
    names = [n for n, _ in model.named_parameters()]
    before = copy.deepcopy(model.state_dict())
    adapter = Adapter(rank=3, alpha=6.0, layers=("*.q_proj", "*.down_proj"))
    trained = attach(model, adapter, 0, "test")
    assert trained == 4 * 3 * ((16 + 16) + (24 + 16))
    own = dict(model.named_parameters())
    assert {n for n, p in own.items() if p.requires_grad} == {n for n in own if "lora_" in n}
    parts = {}
    with torch.no_grad():
        for name, parameter in own.items():
            if "lora_B" in name:
                parameter.normal_()
            if "lora_" in name:
                parts[name] = parameter.clone()
    wanted = model(**tokens()).logits
    merge(model, names)
    assert [n for n, _ in model.named_parameters()] == names
    assert all(p.requires_grad for p in model.parameters())
    for name, value in model.state_dict().items():
        layer = name.removesuffix(".weight")
        a = parts.get(f"{layer}.lora_A.default.weight")
        if a is None:
            assert torch.equal(value, before[name]), name
        else:
            product = parts[f"{layer}.lora_B.default.weight"] @ a * (6.0 / 3)
            assert torch.allclose(value, before[name] + product, atol=1e-6)
    assert torch.allclose(model(**tokens()).logits, wanted, atol=1e-4)


def test_removed_structures_stay_removed_and_the_network_gains() -> None:
    result = pruned(Lora(length="3ep", rank=4))
    parameters = dict(result.model.named_parameters())
    assert not any("lora" in name or "base_layer" in name for name in parameters)
    for name, mask in result.masks.items():
        assert not parameters[name].detach()[~mask].any(), name
    (cost,) = result.record["recovery"]
    assert cost["after"]["loss"] < cost["before"]["loss"]
    assert cost["seconds"] > 0
    attention, ffn = (16 + 16) + 2 * (16 + 8) + (16 + 16), 3 * (16 + 24)
    assert cost["parameters"] == 2 * 4 * (attention + ffn)


@pytest.mark.parametrize("distil", [None, Distil(temperature=2.0, weight=0.5)])
def test_full_fine_tuning_and_a_teacher_too(distil: Distil | None) -> None:
    training = TRAINING.model_copy(update={"distil": distil})
    result = pruned(FineTune(length="3ep", lr_scale=1.0), training)
    (cost,) = result.record["recovery"]
    assert cost["after"]["loss"] < cost["before"]["loss"]
    assert cost["parameters"] == sum(p.numel() for p in result.model.parameters())


def test_the_teacher_is_the_dense_network() -> None:
    """With nothing but its word, a network that was hardly pruned comes close to it again."""
    training = TRAINING.model_copy(update={"distil": Distil(temperature=1.0, weight=1.0)})
    dense = tiny_llama(2)
    result = pruned(FineTune(length="6ep", lr_scale=0.3), training)
    with torch.no_grad():
        gap = [
            float((m(**tokens()).logits - dense(**tokens()).logits).square().mean())
            for m in (pruned(None).model, result.model)
        ]
    assert gap[1] < 0.8 * gap[0]


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_within_the_training_and_ends_with_the_same_bits(
    tmp_path: Path,
) -> None:
    def run(store: FolderStore | None, tell: Any = None) -> Any:
        setting = Setting(
            training=TRAINING, trained=True, scoring=None, example=None, checkpoint_seconds=0,
            train=lambda stage: as_batches(tokens(16), 4, 0, stage, shuffle=True),
        )  # fmt: skip
        return execute(
            Run(recipe(Lora(length="3ep")), tiny_llama(2), setting, store, progress=tell)
        )

    def die(event: dict[str, Any]) -> None:
        if event["kind"] == "epoch" and event["epoch"] == 1:
            raise Killed

    seen: list[dict[str, Any]] = []
    whole, store = run(None), FolderStore(tmp_path)
    with pytest.raises(Killed):
        run(store, die)
    again = run(store, seen.append)
    assert seen[0] == {"kind": "resumed", "operation": 5, "step": 7}
    one, two = whole.model.state_dict(), again.model.state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_masks_of_single_weights_are_refused() -> None:
    with pytest.raises(
        PlanError, match="single weights removed, which a merged adapter would fill"
    ):
        pruned(Lora(length="1ep"), structure=Weights())
    with pytest.raises(PlanError, match="unknown linear layer 'nowhere'"):
        pruned(Lora(length="1ep", layers=("nowhere",)))
