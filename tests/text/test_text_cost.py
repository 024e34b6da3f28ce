"""Response time and memory: what is counted, never how fast this machine is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from secateur.core.errors import DataError
from secateur.text.memory import memory, weight_bytes
from secateur.text.response import _summary, bootstrap, paired_time, response_time

MIB = 2**20


def touch(size: int) -> None:
    """Fill so many bytes and let them go."""
    torch.ones(size // 4)


def test_rates_by_hand():
    # answers of 3 tokens: first after 1 s, then one every half second; and twice as slow
    found = _summary([[1.0, 1.5, 2.0], [2.0, 3.0, 4.0]], seed=0)
    assert found.first_token.mean == 1.5
    assert found.tokens_per_second.mean == (2 / 1.0 + 2 / 2.0) / 2
    assert found.answer.mean == 3.0
    assert (found.samples, found.new_tokens) == (2, 3)


def test_the_interval_covers_as_the_normal_one_does():
    rng = torch.Generator().manual_seed(0)
    samples = torch.randn(400, generator=rng).tolist()
    found = bootstrap(samples, seed=1)
    half = 1.96 * torch.tensor(samples).std().item() / 20
    assert found.high - found.mean == pytest.approx(half, rel=0.15)
    assert found.mean - found.low == pytest.approx(half, rel=0.15)
    assert bootstrap(samples, seed=1) == found


@pytest.mark.parametrize("stop_at_end", [False, True])
def test_each_answer_is_a_sample_of_the_tokens_asked_for(tiny, tokenizer, stop_at_end):
    first = int(tiny(torch.tensor([tokenizer("ab").input_ids])).logits[0, -1].argmax())
    stored = tiny.generation_config.eos_token_id
    tiny.generation_config.eos_token_id = 257 if stop_at_end else first
    found = response_time(
        tiny, tokenizer, ["ab", "온도"], max_new_tokens=5, repeats=2, stop_at_end=stop_at_end
    )
    tiny.generation_config.eos_token_id = stored
    assert (found.samples, found.new_tokens) == (4, 5)
    assert 0 < found.first_token.low <= found.first_token.mean <= found.answer.mean


def test_models_take_turns_and_the_ratio_is_of_their_sums(tiny, tokenizer, monkeypatch):
    other, calls = copy.deepcopy(tiny), []

    def times(model, ids, config):
        calls.append("other" if model is other else "tiny")
        return [0.5, 1.0 if model is other else 4.0]

    monkeypatch.setattr("secateur.text.response._times", times)
    found = paired_time(other, tiny, tokenizer, ["ab", "c"], max_new_tokens=2, repeats=2)
    assert calls[2:] == ["tiny", "other", "other", "tiny", "tiny", "other", "other", "tiny"]
    assert (found.ratio.mean, found.ratio.low, found.ratio.high) == (0.25, 0.25, 0.25)
    assert found.model.answer.mean == 1.0
    assert found.reference.samples == 4


def test_an_answer_of_one_token_has_no_rate():
    with pytest.raises(DataError, match="stop_at_end=False"):
        _summary([[1.0], [2.0]], seed=0)


@pytest.mark.parametrize("bad", [{"max_new_tokens": 1}, {"repeats": 0}, {"prompts": []}])
def test_senseless_timings_are_refused(tiny, tokenizer, bad):
    with pytest.raises(DataError, match="response time needs"):
        response_time(tiny, tokenizer, **{"prompts": ["a"], "max_new_tokens": 4, **bad})


def test_tied_weights_count_once():
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10, bias=False))
    assert weight_bytes(model) == 2 * 10 * 4 * 4
    model[1].weight = model[0].weight
    assert weight_bytes(model) == 10 * 4 * 4


def test_the_peak_holds_what_was_let_go():
    found = memory(nn.Linear(2, 2), lambda: touch(64 * MIB))
    assert found.weights == 24
    assert found.peak >= 64 * MIB
    assert found.rise >= 56 * MIB or found.how == "process peak"


def test_memory_that_was_freed_before_is_no_place_to_hide():
    """Many small blocks leave free pages in the heap that a large one may take."""
    blocks = [bytearray(100_000) for _ in range(1500)]
    fence = blocks[-1]  # above the others, so that the heap does not shrink by itself
    del blocks
    found = memory(nn.Linear(2, 2), lambda: touch(64 * MIB))
    assert fence
    assert found.rise >= 56 * MIB or found.how == "process peak"


def test_the_peak_begins_anew():
    memory(nn.Linear(2, 2), lambda: touch(128 * MIB))
    found = memory(nn.Linear(2, 2), lambda: None)
    assert found.rise < 16 * MIB
