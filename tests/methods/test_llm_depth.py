"""ShortGPT and Shortened LLaMA: which layers go, and what is left when they are gone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support_data import needs_data
from torch.nn import functional as F

import secateur as sc
from secateur.core.errors import PlanError
from tests.methods import stories
from tests.methods.tiny import tiny_llama, tokens


def pruned(method: str, layers: int = 6, **options: Any) -> sc.Result:
    return sc.prune(
        tiny_llama(layers), method, example=tokens(2), data=[tokens(), tokens(seed=9)], **options
    )  # fmt: skip


def gone(result: sc.Result) -> list[int]:
    return [
        int(name.rpartition(".")[2]) for name, mask in result.units.items() if not bool(mask.all())
    ]


@torch.no_grad()
def influences(layers: int = 6) -> list[float]:
    """BI by hand, from the hidden states the model itself reports."""
    model, sums, rows = tiny_llama(layers), [0.0] * layers, 0
    for batch in (tokens(), tokens(seed=9)):
        there = batch["attention_mask"].bool()
        stream: list[Any] = []
        hooks = [
            block.register_forward_hook(lambda _, args, out, s=stream: s.append((args[0], out)))
            for block in model.model.layers
        ]
        model(**batch)
        for hook in hooks:
            hook.remove()
        for i, (before, after) in enumerate(stream):
            sums[i] += float(F.cosine_similarity(before[there], after[there], dim=-1).sum())
        rows += int(there.sum())
    return [1 - total / rows for total in sums]


def test_shortgpt_drops_the_layers_that_turn_least() -> None:
    order = sorted(range(6), key=lambda i: influences()[i])
    result = pruned("shortgpt", density=4 / 6)
    assert gone(result) == sorted(order[:2])
    shrunk = sc.shrink(result, tokens(2))
    assert shrunk.model.config.num_hidden_layers == len(shrunk.model.model.layers) == 4
    with torch.no_grad():
        wanted = result.model(**tokens()).logits
        assert torch.allclose(shrunk.model(**tokens()).logits, wanted, atol=1e-5)


@pytest.mark.parametrize("away", [2])
def test_a_contiguous_stretch_is_the_one_of_smallest_sum(away: int) -> None:
    found = influences()
    starts = range(6 - away + 1)
    best = min(starts, key=lambda i: sum(found[i : i + away]))
    result = pruned("shortgpt", density=1 - away / 6, contiguous=True)
    assert gone(result) == list(range(best, best + away))


@torch.no_grad()
def test_shortened_llama_drops_what_perplexity_misses_least() -> None:
    batches, losses = [tokens(), tokens(seed=9)], []
    for i in range(6):
        shorter = tiny_llama(6)
        del shorter.model.layers[i]
        labels = [b["input_ids"].masked_fill(b["attention_mask"] == 0, -100) for b in batches]
        parts = [shorter(**b, labels=y).loss for b, y in zip(batches, labels, strict=True)]
        losses.append(float(sum(parts)))
    order = sorted(range(6), key=losses.__getitem__)
    assert gone(pruned("shortened-llama", density=4 / 6)) == sorted(order[:2])


def test_the_taylor_variant_protects_the_ends() -> None:
    result = pruned("shortened-llama", layers=9, density=1 / 3, importance="taylor")
    assert len(result.targets) == 3
    assert set(gone(result)) < {4, 5, 6}
    every = pruned("shortened-llama", density=0.5, importance="taylor", first=0, last=0)
    assert len(gone(every)) == 3
    with pytest.raises(PlanError, match="4 first and 2 last blocks are protected"):
        pruned("shortened-llama", importance="taylor")


@needs_data
@pytest.mark.parametrize("method", ["shortgpt"])
def test_stories_with_a_layer_less(method: str) -> None:
    result = sc.prune(
        stories.stories(),
        method,
        density=0.8,
        example=stories.example(),
        data=stories.calibration(),
    )
    small = sc.shrink(result, stories.example()).model
    assert small.config.num_hidden_layers == 4
    found = stories.perplexity(small)
    assert found == pytest.approx(stories.perplexity(result.model), rel=1e-5)
    assert stories.perplexity(stories.stories()) < found < 30


def test_layers_that_were_asked_to_go_are_no_collapse() -> None:
    result = pruned("shortgpt", density=0.5, on_collapse="error")
    last = result.record["points"][-1]
    assert last["empty"] == last["unreachable"] == []
    assert sum(not bool(mask.any()) for mask in result.units.values()) == 3
