"""The chain a greenhouse needs, in one go: prune, LoRA, merge, artifact, GGUF Q4_0, load, answer."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_models import build, byte_level

import secateur as sc
from secateur.engine.train import AdamW, Training
from secateur.recover import Lora

QUESTION, ANSWER = "Too humid?", " Open the vents."


def ids_of(tokenizer: Any) -> tuple[torch.Tensor, int]:
    """Question, answer and end as one sequence, and where the answer begins."""
    question = tokenizer(QUESTION).input_ids
    whole = [*question, *tokenizer(ANSWER).input_ids, tokenizer.eos_token_id]
    return torch.tensor([whole]), len(question)


def train(model: Any, ids: torch.Tensor, begin: int, steps: int, lr: float) -> float:
    """Learn the answer by heart; returns the last loss."""
    wanted = ids.clone()
    wanted[:, :begin] = -100
    some = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(some, lr=lr, weight_decay=0.0)
    for _ in range(steps):
        loss = model(input_ids=ids, labels=wanted).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


@torch.no_grad()
def loss_of(model: Any, ids: torch.Tensor, begin: int) -> float:
    """How far the answer is from what the model would say."""
    wanted = ids.clone()
    wanted[:, :begin] = -100
    return float(model(input_ids=ids, labels=wanted).loss)


def answer(model: Any, tokenizer: Any) -> str:
    """What the model says greedily."""
    question = tokenizer(QUESTION, return_tensors="pt").input_ids
    said = model.generate(question, max_new_tokens=24, do_sample=False, pad_token_id=1)
    return tokenizer.decode(said[0, question.shape[1] :], skip_special_tokens=True)


def pruned(model: Any, recipe: sc.Recipe, ids: torch.Tensor, begin: int, example: Any) -> Any:
    """Neurons taken out, adapters trained where the recipe says so, and merged back."""
    labels = ids.clone()
    labels[:, :begin] = -100
    data = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    training = (
        Training(length="1it", batch_size=1, optimiser=AdamW(), lr=1e-2, weight_decay=0.0)
        if recipe.recovery
        else None
    )
    result = sc.prune(model, recipe, data=data, training=training, trained=True, example=example)
    return sc.shrink(result, example).model


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """The GGUF file, the model it was made of, and the tokenizer."""
    tokenizer = byte_level()
    ids, begin = ids_of(tokenizer)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dense = build("llama", initializer_range=0.05)
        assert train(dense, ids, begin, steps=60, lr=3e-3) < 0.1
    example = {"input_ids": ids.expand(2, -1)}
    bare = sc.recipe("smart-farm", density=1 / 6, equal=True)
    forgotten = loss_of(pruned(dense, bare, ids, begin, example), ids, begin)
    recovered = bare.model_copy(update={"recovery": Lora(length="100it", rank=8)})
    merged = pruned(dense, recovered, ids, begin, example)
    assert loss_of(merged, ids, begin) < 0.2 * forgotten
    assert answer(merged, tokenizer) == ANSWER
    folder = sc.save(merged, tmp_path_factory.mktemp("chain") / "model", tokenizer=tokenizer)
    assert answer(sc.load(folder), tokenizer) == ANSWER
    made = sc.export(folder, folder.parent / "model.gguf", kind="q4_0")
    assert made.bytes < 0.5 * (folder / "model.safetensors").stat().st_size
    return made.path, merged, tokenizer


def test_the_small_file_answers_as_the_pruned_model_does(chain: tuple[Path, Any, Any]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path, _, _ = chain
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    assert model.config.intermediate_size == 16
    assert answer(model.eval(), tokenizer) == ANSWER


@pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is None,
    reason="needs llama-cpp-python, which is built from source: make llama-cpp",
)
def test_llama_cpp_answers_too(chain: tuple[Path, Any, Any]) -> None:
    import json
    import subprocess
    import sys

    path, _, tokenizer = chain
    runner = Path(__file__).with_name("llama_runner.py")
    command = [sys.executable, str(runner), str(path), QUESTION, "24"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    written = json.loads(done.stdout)["written"]
    end = written.index(tokenizer.eos_token_id)
    assert tokenizer.decode(written[:end]) == ANSWER
