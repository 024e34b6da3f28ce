"""Real llama.cpp: it loads the files, cuts text alike and writes the same greedy tokens."""

from __future__ import annotations

import copy
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cut import (
    EDITS,
    keep_groups,
    keep_neurons,
    uneven,
    with_compensation,
    without_attention,
    without_ffn,
)
from gguf_models import TEXT, build, byte_level
from test_equal_widths import uneven as unequal

import secateur as sc
from secateur.core.errors import PlanError
from secateur.export.gguf import save_gguf
from secateur.export.gguf.cutting import SPLITS

RUNNER = Path(__file__).with_name("llama_runner.py")
STORY = "Once upon a time, there was"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is None,
    reason="needs llama-cpp-python, which is built from source: make llama-cpp",
)


def llama_cpp(path: Path, text: str, new: int) -> dict:
    """Tokens of the prompt, greedy tokens and the prompt's last logits, from a process of its own."""
    command = [sys.executable, str(RUNNER), str(path), text, str(new)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@torch.no_grad()
def greedy(model, ids: list[int], new: int) -> tuple[list[int], torch.Tensor]:
    """Greedy tokens without a cache, and the logits after the prompt."""
    first = model(torch.tensor([ids])).logits[0, -1]
    written = list(ids)
    for _ in range(new):
        written.append(int(model(torch.tensor([written])).logits[0, -1].argmax()))
    return written[len(ids) :], first


def check(
    model, tokenizer, folder: Path, text: str, new: int = 8, tolerance: float = 5e-5, **options
) -> str:
    file = save_gguf(model, folder / "m.gguf", tokenizer=tokenizer, **options)
    found = llama_cpp(file.path, text, new)
    assert found["prompt"] == tokenizer(text).input_ids
    written, logits = greedy(model, found["prompt"], new)
    assert found["written"] == written
    torch.testing.assert_close(torch.tensor(found["logits"]), logits, atol=tolerance, rtol=0)
    return file.arch


# llama.cpp takes GELU from a table in half precision
@pytest.mark.parametrize(
    ("family", "tolerance"),
    [
        *((family, 5e-5) for family in ("llama", "mistral", "qwen2", "qwen3", "phi3")),
        *((family, 5e-3) for family in ("gemma2", "gemma3", "gpt2")),
    ],
)
def test_every_family(tmp_path, tokenizer, family, tolerance):
    check(build(family), tokenizer, tmp_path, TEXT, tolerance=tolerance)


@pytest.mark.parametrize(
    ("family", "tolerance"), [("qwen3", 5e-5), ("gemma2", 5e-3), ("gemma3", 5e-3), ("gpt2", 5e-3)]
)
def test_uneven_layers_made_equal_with_zeros(tmp_path, tokenizer, family, tolerance):
    found = check(
        unequal(family), tokenizer, tmp_path, TEXT, tolerance=tolerance, equal_widths=True
    )
    assert found == family


LLAMA3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0}
ROTARY = {
    "llama3": LLAMA3 | {"high_freq_factor": 4.0, "original_max_position_embeddings": 64},
    "linear": {"rope_type": "linear", "rope_theta": 1000.0, "factor": 2.0},
    "yarn": {
        "rope_type": "yarn",
        "rope_theta": 1000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 64,
    },
}


@pytest.mark.parametrize("kind", ROTARY)
def test_rotary_scalings(tmp_path, tokenizer, kind):
    check(build("llama", rope_parameters=ROTARY[kind]), tokenizer, tmp_path, TEXT)


@pytest.mark.parametrize("context", [256, 512])
def test_longrope_and_partial_rotation(tmp_path, tokenizer, context):
    rope = {
        "rope_type": "longrope",
        "rope_theta": 1000.0,
        "partial_rotary_factor": 0.5,
        "short_factor": [1.0, 1.1, 1.2, 1.3],
        "long_factor": [2.0, 2.1, 2.2, 2.3],
    }
    model = build(
        "phi3",
        rope_parameters=rope,
        original_max_position_embeddings=256,
        max_position_embeddings=context,
    )
    check(model, tokenizer, tmp_path, TEXT)


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_uneven_layers(tmp_path, tokenizer, edit):
    model = build("llama", num_hidden_layers=4, use_cache=False)
    edit(model.model.layers)
    assert check(model, tokenizer, tmp_path, TEXT) == "deci"


@pytest.mark.parametrize("family", ["qwen2", "phi3"])
@pytest.mark.parametrize("edit", [uneven, with_compensation])
def test_other_families_as_deci(tmp_path, tokenizer, family, edit):
    model = build(family, num_hidden_layers=4, use_cache=False)
    edit(model.model.layers)
    assert check(model, tokenizer, tmp_path, TEXT) == "deci"


def test_a_gemma_that_lost_a_layer(tmp_path, tokenizer):
    model = build("gemma3", use_cache=False)
    without_attention(2)(model.model.layers)
    without_ffn(2)(model.model.layers)
    check(model, tokenizer, tmp_path, TEXT, tolerance=5e-3)


@pytest.mark.needs_data
def test_the_trained_model_tells_the_same_story(tmp_path, stories):
    model, tokenizer = stories
    check(model, tokenizer, tmp_path, STORY, new=60)


@pytest.mark.needs_data
def test_the_trained_model_pruned_unevenly_tells_the_same_story(tmp_path, stories):
    model, tokenizer = copy.deepcopy(stories[0]), stories[1]
    layers = model.model.layers
    for layer, neurons in zip(layers, (172, 150, 160, 96, 172), strict=True):
        keep_neurons(layer.mlp, neurons)
    keep_groups(layers[3].self_attn, [0, 2, 3], head=8)
    model.config.use_cache = False
    assert check(model, tokenizer, tmp_path, STORY, new=60) == "deci"


@pytest.mark.needs_data
@pytest.mark.parametrize("kind", ["f16", "q8_0", "q4_0"])
def test_smaller_kinds_of_the_trained_model_begin_the_story_alike(tmp_path, stories, kind):
    model, tokenizer = stories
    file = save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer, kind=kind)
    found = llama_cpp(file.path, STORY, 3)
    assert found["written"] == greedy(model, found["prompt"], 3)[0]


@pytest.mark.needs_data
def test_sentencepiece_text_is_cut_alike(tmp_path, stories):
    text = "  Lily said, 'It's 25!'\n토마토 온실  naïve 🍅"
    model, tokenizer = stories
    file = save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)
    assert llama_cpp(file.path, text, 0)["prompt"] == tokenizer(text).input_ids


@pytest.mark.parametrize("split", [None, *SPLITS])
def test_byte_level_text_is_cut_alike(tmp_path, split):
    text = "hello  world's 12345\n\n x 토마토 온실 🍅 naïve"
    tokenizer = byte_level(split)
    file = save_gguf(build("qwen2"), tmp_path / "m.gguf", tokenizer=tokenizer)
    found = llama_cpp(file.path, text, 0)["prompt"]
    assert [i for i in found if i != tokenizer.bos_token_id] == tokenizer(text).input_ids


def test_the_winner_of_a_study_with_layers_padded_to_equal_widths(tmp_path):
    """The study's own model, pruned as a search would have it: Gemma 3 reads one width for all."""
    from secateur.data.questions import load_questions
    from secateur.experiments.language.small import Small, train_small
    from secateur.text.calibration import Sampling

    rows = load_questions("smartfarm-embedded").train[:40]
    small = Small(vocabulary=300, hidden=32, layers=3, ffn=48, heads=4, groups=2, steps=4, batch=4)
    model = train_small(tmp_path / "small", rows, small)
    sc.prune_folder(
        model, "smart-farm", tmp_path / "winner", sparsity=0.25, cap=0.5, floor=2, late=2.0,
        data=[row.question for row in rows], sampling=Sampling(8, 16), compare=False,
    )  # fmt: skip
    winner = sc.load(tmp_path / "winner")
    assert len({layer.mlp.down_proj.in_features for layer in winner.model.layers}) > 1
    with pytest.raises(PlanError, match="equal"):
        sc.export(tmp_path / "winner", tmp_path / "m.gguf")
    file = sc.export(tmp_path / "winner", tmp_path / "m.gguf", equal_widths=True)
    found = llama_cpp(file.path, rows[0].question, 8)
    written, first = greedy(winner, found["prompt"], 8)
    assert written == found["written"]
    torch.testing.assert_close(torch.tensor(found["logits"]), first, rtol=5e-5, atol=5e-5)
