"""What stands beside the weights so that Hugging Face's own loaders read an artifact."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path
from typing import Any

from torch import nn

from ..core.errors import PlanError

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "spiece.model",
    "sentencepiece.bpe.model", "chat_template.jinja", "chat_template.json",
    "preprocessor_config.json", "processor_config.json", "image_processor_config.json",
)  # fmt: skip
"""What tokenizers and processors are stored as; nothing else of a model's folder is copied."""


def add_configuration(model: Any, folder: Path) -> None:
    """config.json and, where the model generates text, generation_config.json."""
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.dtype = str(model.dtype).removeprefix("torch.")
    config.save_pretrained(folder)
    if model.can_generate() and model.generation_config is not None:
        model.generation_config.save_pretrained(folder)


def add_tokenizer(model: nn.Module, tokenizer: Any, folder: Path) -> None:
    """The tokenizer's files: of an object, of a folder, or of the folder the model was read from."""
    if hasattr(tokenizer, "save_pretrained"):
        tokenizer.save_pretrained(folder)
        return
    source = tokenizer if tokenizer is not None else getattr(model, "name_or_path", None)
    if not source or not Path(source).is_dir():
        if tokenizer is not None:
            raise PlanError(
                f"tokenizer '{tokenizer}' is no folder; give one, or the tokenizer itself"
            )
        return
    found = [name for name in TOKENIZER_FILES if Path(source, name).is_file()]
    if not found and tokenizer is not None:
        raise PlanError(
            f"the folder '{tokenizer}' holds no tokenizer ({', '.join(TOKENIZER_FILES)})"
        )
    for name in found:
        shutil.copyfile(Path(source, name), folder / name)


def hub_name(model: nn.Module) -> str:
    """The name on a hub that the model came by, or nothing where it is a path or none."""
    name = str(getattr(model, "name_or_path", "") or "")
    return (
        name if name.count("/") == 1 and not os.path.exists(name) and name[0] not in "./~" else ""
    )
