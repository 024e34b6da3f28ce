"""Texts and models of folders: what is calibrated on, what is compared on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..artifact.huggingface import TOKENIZER_FILES
from ..core.device import HOST
from ..core.errors import DataError, PlanError, StorageError
from ..core.random import generator
from ..core.recipe import Recipe
from ..engine.blockwise.skeleton import read_config
from ..engine.train import Training
from ..text.calibration import Calibration, Sampling, calibrate
from ..text.perplexity import Perplexity, perplexity
from ..text.samples import read_texts
from ..text.state import context_length

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HELD_OUT = 0.1
"""The share of the texts that is left for the perplexity."""
COMPARED = 64
"""The most texts a perplexity is taken over."""


@dataclass(frozen=True)
class Texts:
    """Texts of one source: some to calibrate on, some to compare on.

    Attributes:
        calibration, comparison: disjoint where there are ten texts or more, else the same.
        source: where they come from.
    """

    calibration: Sequence[str]
    comparison: Sequence[str]
    source: str

    @property
    def apart(self) -> bool:
        """Whether the comparison is on texts that were not calibrated on."""
        return self.comparison is not self.calibration


@dataclass(frozen=True)
class Given:
    """What a call of `prune_folder` says beside the recipe."""

    name: str
    data: str | Path | Sequence[str] | None
    sampling: Sampling | None
    compare: bool
    seed: int
    training: Training | None
    device: torch.device = HOST


@dataclass(frozen=True)
class Ready:
    """What a call's data became.

    Attributes:
        texts, tokenizer: where there are data.
        calibration: samples, where they are needed.
        facts: what the record says of them and of the source.
    """

    texts: Texts | None
    tokenizer: PreTrainedTokenizerBase | None
    calibration: Calibration | None
    facts: dict[str, Any]


def prepared(source: Path, recipe: Recipe, given: Given, *, needed: bool) -> Ready:
    """Read, split and sample the data of a call; `needed`: whether the method looks at samples."""
    texts = split_texts(given.data, source, given.seed) if given.data is not None else None
    tokenizer = tokenizer_of(source) if texts is not None else None
    calibration = samples(source, tokenizer, texts, given, recipe) if needed else None
    facts: dict[str, Any] = {"source": given.name}
    if calibration is not None and texts is not None:
        facts["calibration"] = {"data": texts.source, **calibration.facts}
    return Ready(texts, tokenizer, calibration, facts)


def local(model: str | Path) -> Path:
    """The folder itself, or the hub's model as it was downloaded."""
    path = Path(model)
    if path.exists():
        return path
    words = str(model).split("/")
    if len(words) != 2 or words[0].strip(".~") == "" or not words[1] or isinstance(model, Path):
        raise StorageError(f"'{model}' is neither a folder nor a model's name like owner/name")
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
    try:
        return Path(snapshot_download(str(model), allow_patterns=patterns))
    except (OSError, ValueError) as error:
        reason = shorten(" ".join(str(error).split()), 160, placeholder=" …")
        raise StorageError(
            f"'{model}' is no folder, and not to be had from the hub: {reason}"
        ) from None


def check_decoder(source: Path, recipe: Recipe, data: bool) -> None:
    """An encoder-decoder is asked for more than a text; without data it goes block by block."""
    asked = data or recipe.required() or recipe.walk == "whole"
    if asked and getattr(read_config(source), "is_encoder_decoder", False):
        raise PlanError(
            f"'{source}' is an encoder-decoder, and texts do not say what its decoder is to say; "
            "prune it with sc.prune on batches of input_ids, attention_mask and decoder_input_ids "
            "(block by block as well), or by weights alone: magnitude-layerwise with walk=blocks"
        )


def tokenizer_of(folder: Path) -> PreTrainedTokenizerBase:
    """The folder's tokenizer."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        if not any((folder / name).is_file() for name in TOKENIZER_FILES):
            raise StorageError(
                f"'{folder}' holds no tokenizer, and texts need one; copy the model's tokenizer.json and "
                "tokenizer_config.json there"
            ) from None
        reason = shorten(" ".join(str(error).split()), 160, placeholder=" …")
        raise StorageError(f"'{folder}' holds no tokenizer that can be read: {reason}") from None


def split_texts(data: str | Path | Sequence[str], folder: Path, seed: int) -> Texts:
    """A tenth of the texts, drawn by the seed, is left for the comparison."""
    if isinstance(data, str | Path):
        texts, source = read_texts(data, tokenizer_of(folder)), str(data)
    else:
        texts, source = list(data), f"{len(data)} texts"
    if not texts or not all(isinstance(t, str) and t.strip() for t in texts):
        raise DataError("calibration data hold an empty text, or none at all; leave empty ones out")
    held = int(len(texts) * HELD_OUT)
    if not held:
        return Texts(texts, texts, source)
    order = torch.randperm(len(texts), generator=generator(seed, "held out", len(texts))).tolist()
    return Texts([texts[i] for i in order[held:]], [texts[i] for i in order[:held]], source)


def samples(
    source: Path,
    tokenizer: PreTrainedTokenizerBase | None,
    texts: Texts | None,
    given: Given,
    recipe: Recipe,
) -> Calibration:
    """Samples for a recipe that looks at data; there have to be some."""
    if tokenizer is None or texts is None:
        raise DataError(
            f"method '{recipe.method}' looks at activations or gradients; give calibration data, or "
            "use magnitude-layerwise with walk=blocks, which needs none"
        )
    config = read_config(source)
    vocabulary = getattr(getattr(config, "text_config", None) or config, "vocab_size", None)
    return calibrate(
        tokenizer, texts.calibration, fitting(source, given.sampling, given.seed), vocabulary
    )


def fitting(source: Path, sampling: Sampling | None, seed: int) -> Sampling:
    """The sampling asked for, or the default one within the model's context."""
    context = context_length(SimpleNamespace(config=read_config(source)))
    if sampling is None:
        return Sampling(length=min(512, context or 512), seed=seed)
    if context is not None and sampling.length > context:
        raise DataError(
            f"samples of {sampling.length} tokens exceed the model's context of {context}; ask for "
            f"at most {context}"
        )
    return replace(sampling, seed=seed)


def compare(model: nn.Module, tokenizer: PreTrainedTokenizerBase, texts: Texts) -> Perplexity:
    """Perplexity on the texts that are left for it."""
    return perplexity(model, tokenizer, list(texts.comparison[:COMPARED]), batch_size=8)
