"""A small model of the Gemma 3 architecture with a tokenizer of its own, trained on questions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field

from ...artifact import write_bytes
from ...artifact.huggingface import quiet
from ...core.component import Plain
from ...core.errors import PlanError
from ...core.random import derive
from ...core.time import Time
from ...data.questions import Question
from ...engine.store import FolderStore, Saved
from ...engine.train import Trainer, Training
from ...engine.train.lr import OneCycle
from ...engine.train.muon import Muon
from .turns import Turns, answer_loss

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Tell = Callable[[Mapping[str, Any]], None]

SPECIAL = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
TURNS = ("<user>", "<model>")
TEMPLATE = (
    "{{ bos_token }}{% for turn in messages %}{% if turn['role'] == 'user' %}<user>{{ turn['content'] }}"
    "{% else %}<model>{{ turn['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<model>{% endif %}"
)
DONE = "trained.json"
EVERY = 25
"""Steps between two checkpoints."""


class Small(Plain):
    """Size and training of the small model.

    Attributes:
        vocabulary: tokens, learned from the data (byte-level BPE).
        hidden, layers, ffn: width, depth, neurons of each FFN.
        heads, groups: query heads, and key-value heads they share.
        context: longest text in tokens.
        steps, batch, lr: of the training.
    """

    vocabulary: int = Field(default=2048, ge=300)
    hidden: int = Field(default=128, gt=0)
    layers: int = Field(default=6, gt=0)
    ffn: int = Field(default=640, gt=0)
    heads: int = Field(default=4, gt=0)
    groups: int = Field(default=2, gt=0)
    context: int = Field(default=256, gt=0)
    steps: int = Field(default=1000, gt=0)
    batch: int = Field(default=16, gt=0)
    lr: float = Field(default=3e-3, gt=0)

    def training(self) -> Training:
        """Muon with one cycle of the learning rate."""
        return Training(
            length=Time(float(self.steps), "it"),
            batch_size=self.batch,
            optimiser=Muon(betas=(0.9, 0.98)),
            lr=self.lr,
            weight_decay=0.05,
            decay_norms=False,
            schedule=OneCycle(pct_start=0.1),
            clip=1.0,
        )


def small_tokenizer(rows: Sequence[Question], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE learned from the questions and answers, with a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE(unk_token=SPECIAL["unk_token"]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[*SPECIAL.values(), *TURNS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator((text for row in rows for text in (row.question, row.answer)), trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=bpe, padding_side="left", **SPECIAL)
    made.chat_template = TEMPLATE
    return made


def small_model(size: Small, tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> PreTrainedModel:
    """Gemma 3's architecture at this size, with initial weights."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    if size.hidden % size.heads:
        raise PlanError(f"hidden {size.hidden} is not divisible by {size.heads} heads")
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        intermediate_size=size.ffn,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.groups,
        head_dim=size.hidden // size.heads,
        query_pre_attn_scalar=size.hidden // size.heads,
        max_position_embeddings=size.context,
        sliding_window=size.context // 2,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "small"))
        return Gemma3ForCausalLM(config)


def train_small(
    folder: Path, rows: Sequence[Question], size: Small, seed: int = 0, tell: Tell | None = None
) -> Path:
    """A folder with the trained model and its tokenizer; a killed training goes on where it was.

    Args:
        folder: where it lies in the end, as `from_pretrained` reads it; checkpoints are beside it.
        rows: what to train on.
        tell: called with `step`, `steps`, `loss` and the seconds `left`, every few steps.
    """
    if (folder / DONE).exists():
        return folder
    tokenizer = small_tokenizer(rows, size.vocabulary)
    model = small_model(size, tokenizer, seed)
    store = FolderStore(folder.with_name(folder.name + "-training"))
    _train(model, Turns(tokenizer, rows, size.batch, seed), size, seed, store, tell)
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_bytes(folder / DONE, json.dumps(size.model_dump()).encode())
    store.clear()
    return folder


def _train(
    model: PreTrainedModel,
    batches: Turns,
    size: Small,
    seed: int,
    store: FolderStore,
    tell: Tell | None,
) -> None:
    """All steps that are left, a checkpoint every few."""
    losses: list[float] = []

    def loss(outputs: Any, labels: torch.Tensor) -> torch.Tensor:
        value = answer_loss(outputs, labels)
        losses.append(float(value.detach()))
        return value

    trainer = Trainer(model, size.training(), batches, loss, seed=seed, stage="small")
    saved = store.latest()
    if saved is not None:
        trainer.load(saved.tensors, saved.meta["trainer"])
    done = int(saved.meta["trainer"]["next"]) if saved is not None else 0
    started = time.monotonic()
    for start in range(done, size.steps, EVERY):
        stop = min(start + EVERY, size.steps)
        trainer.run(start, stop)
        tensors, meta = trainer.state()
        store.checkpoint(Saved(tensors, {"trainer": meta}))
        if tell is not None:
            left = (time.monotonic() - started) / (stop - done) * (size.steps - stop)
            mean = sum(losses[-EVERY:]) / len(losses[-EVERY:])
            tell({"step": stop, "steps": size.steps, "loss": mean, "left": left})
