"""The smart-farm method: exact totals on Gemma 3, and the figures of the real model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support_thorough import but
from torch import nn

import secateur as sc
from secateur.core.errors import PlanError

transformers = pytest.importorskip("transformers")

HIDDEN, WIDTH, LAYERS = 1152, 6912, 26


def gemma_1b(width: int = WIDTH, layers: int = LAYERS) -> nn.Module:
    """google/gemma-3-1b-it without its weights."""
    config = transformers.Gemma3TextConfig(
        vocab_size=262144, hidden_size=HIDDEN, intermediate_size=width, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=1, head_dim=256, sliding_window=512,
        max_position_embeddings=32768, use_cache=False,
    )  # fmt: skip
    with torch.device("meta"):
        return transformers.Gemma3ForCausalLM(config).eval()


def size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_gemma_3_1b_has_its_parameters_and_a_neuron_costs_three_rows() -> None:
    assert size(gemma_1b()) == 999_885_952
    gone = 1728  # a quarter of every layer
    assert size(gemma_1b()) - size(gemma_1b(WIDTH - gone)) == LAYERS * 3 * HIDDEN * gone
    ids = torch.ones((2, 8), dtype=torch.long, device="meta")
    found = sc.trace(gemma_1b(layers=2), {"input_ids": ids, "attention_mask": ids})
    ffn = [axis for axis in found if axis.kind == "neurons"]
    assert [(axis.units, axis.parameters) for axis in ffn] == [(WIDTH, 3 * HIDDEN)] * 2


@pytest.fixture(scope="module")
def small() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.Gemma3TextConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=3, head_dim=4,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32, use_cache=False,
    )  # fmt: skip
    return transformers.Gemma3ForCausalLM(config).eval()


def batches() -> list[dict[str, torch.Tensor]]:
    ids = torch.randint(1, 50, (2, 6), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": ids, "attention_mask": torch.ones_like(ids)}]


def loss(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return model(**batch, labels=batch["input_ids"]).loss


def prune(model: nn.Module, **options: object) -> sc.Result:
    return sc.prune(model, "smart-farm", example=batches()[0], data=batches(), loss=loss, **options)


@pytest.mark.parametrize("importance", but(["magnitude"], ["activation", "gradient", "magnitude"]))
def test_exactly_what_was_asked_goes_and_the_rest_generates(
    small: nn.Module, importance: str
) -> None:
    """A fifth of 72 neurons, at most a third of a layer: 14 in all, 8 in one, 3 x 16 weights each."""
    result = prune(small, sparsity=0.2, cap=1 / 3, importance=importance)
    gone = [int((~mask).sum()) for mask in result.units.values()]
    assert sum(gone) == 14
    assert max(gone) <= 8
    shrunk = sc.shrink(result, batches()[0])
    assert size(small) - size(shrunk.model) == 14 * 3 * 16
    assert shrunk.record["level"] == "A"
    written = shrunk.model.generate(**batches()[0], max_new_tokens=3, do_sample=False)
    assert written.shape == (2, 9)


def test_groups_of_heads_go_with_their_queries_and_both_kinds_keep_their_share(
    small: nn.Module,
) -> None:
    both = prune(small, density=0.5, prune="both", floor=0.25)
    kept = {name: int(mask.sum()) for name, mask in both.units.items()}
    assert sum(n for name, n in kept.items() if name.endswith("heads")) == 3
    assert sum(kept.values()) == 39
    alone = prune(small, density=0.5, prune="attention", floor=1)
    assert [int(mask.sum()) for mask in alone.units.values()] == [1, 1, 1]
    per_group = 16 * (2 * 4 + 4 + 4 + 2 * 4)  # rows of q, k and v, columns of o
    small_again = sc.shrink(alone, batches()[0]).model
    assert size(small) - size(small_again) == 3 * per_group


def test_what_would_be_ignored_or_is_unknown_is_refused() -> None:
    with pytest.raises(PlanError, match="would ignore"):
        sc.recipe("smart-farm", importance="magnitude", mean=0.5)
    with pytest.raises(PlanError, match="activation, gradient, magnitude"):
        sc.recipe("smart-farm", importance="loudness")
    with pytest.raises(PlanError, match="ffn, attention"):
        sc.recipe("smart-farm", prune="feet")


def test_equal_widths_are_what_the_stock_loader_reads(small: nn.Module, tmp_path: Path) -> None:
    result = prune(small, density=0.75, equal=True)
    assert {int(mask.sum()) for mask in result.units.values()} == {18}
    shrunk = sc.shrink(result, batches()[0]).model
    shrunk.save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert again.config.intermediate_size == 18
    with torch.no_grad():
        assert torch.equal(again(**batches()[0]).logits, shrunk(**batches()[0]).logits)
    with pytest.raises(PlanError, match="would ignore"):
        sc.recipe("smart-farm", equal=True, late=2.0)
