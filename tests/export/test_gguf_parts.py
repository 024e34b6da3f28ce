"""The parts of the file by hand: row order, rotary factors, storage, titles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gguf_models import build, configuration
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.core.errors import NumberError, PlanError
from secateur.export.gguf import save_gguf
from secateur.export.gguf.naming import file_title
from secateur.export.gguf.pieces import turn_pairs
from secateur.export.gguf.rope import llama3_factors
from secateur.export.gguf.storage import ggml_type, stored, stored_bytes

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def test_rows_of_two_heads_change_places_within_each_head():
    rows = torch.arange(12).reshape(12, 1)
    assert turn_pairs(rows, head_dim=6).flatten().tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]


def test_turned_rows_rotate_as_before():
    # rotating (i, i + d/2) and then turning equals turning and then rotating (2i, 2i + 1)
    head, angle = 6, torch.tensor([0.3, 1.1, 2.0])
    x = torch.randn(head, generator=torch.Generator().manual_seed(0))
    low, high = x[:3], x[3:]
    halves = torch.cat(
        [low * angle.cos() - high * angle.sin(), low * angle.sin() + high * angle.cos()]
    )
    even, odd = turn_pairs(x, head)[0::2], turn_pairs(x, head)[1::2]
    pairs = torch.stack(
        [even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos()], -1
    ).flatten()
    torch.testing.assert_close(turn_pairs(halves, head), pairs)


def test_llama3_factors_are_those_of_transformers():
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = configuration("llama", head_dim=64, rope_parameters=LLAMA3)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = LLAMA3["rope_theta"] ** -(torch.arange(0, 64, 2) / 64)
    factors = llama3_factors(LLAMA3, 64)
    torch.testing.assert_close(plain / factors, scaled, rtol=1e-5, atol=1e-9)
    assert factors[0] == 1
    assert factors[-1] == 8


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["q8_0", "q4_0"]))
def test_a_quantised_number_is_off_by_at_most_a_step(seed, kind):
    from gguf import dequantize

    values = torch.randn(3, 64, generator=torch.Generator().manual_seed(seed))
    data = stored(values, "w", kind)
    assert data.nbytes == stored_bytes((3, 64), kind)
    back = dequantize(data, ggml_type(kind))
    largest = values.abs().reshape(3, 2, 32).amax(-1).repeat_interleave(32, -1).numpy()
    steps, clipped = (127, 0.5) if kind == "q8_0" else (8, 1.0)
    bound = largest / steps * (clipped + steps * 2**-11)  # the scale is rounded to f16
    assert (np.abs(back - values.numpy()) <= bound + 1e-6).all()


@pytest.mark.parametrize(
    ("value", "kind"), [(70000.0, "f16"), (float("nan"), "f32"), (70000.0, "q8_0")]
)
def test_numbers_that_cannot_be_stored_are_refused(value, kind):
    tensor = torch.zeros(2, 32)
    tensor[1, 3] = value
    with pytest.raises(NumberError, match="'w' holds NaN or values beyond"):
        stored(tensor, "w", kind)


def test_titles():
    phi = ("<unk>", "<s>", "</s>", "<|endoftext|>")
    assert file_title(None, "phi3", phi) == "pruned phi3"
    assert file_title("Phi-3 mini", "phi3", phi) == "Phi-3 mini"
    with pytest.raises(PlanError, match="without 'phi-3'"):
        file_title("my phi3", "phi3", ("<s>",))
    with pytest.raises(PlanError, match="say more"):
        file_title("mistral", "mistral", ())


@pytest.mark.parametrize(
    ("family", "changes", "match"),
    [
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "dynamic",
        ),
        ("gemma3", {"query_pre_attn_scalar": 64}, r"multiply 1 \+ q_norm\.weight by √\(256/64\)"),
        ("gemma2", {"query_pre_attn_scalar": 64}, r"multiply q_proj\.weight by √\(256/64\)"),
        ("gemma2", {"attn_logit_softcapping": None}, "set both soft caps"),
        ("gemma3", {"attn_logit_softcapping": 50.0}, "does not cap the attention logits"),
    ],
)
def test_settings_that_llama_cpp_does_not_know_are_refused(
    tmp_path, tokenizer, family, changes, match
):
    with pytest.raises(PlanError, match=match):
        save_gguf(build(family, **changes), tmp_path / "m.gguf", tokenizer=tokenizer)
    assert list(tmp_path.iterdir()) == []
