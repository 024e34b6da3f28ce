"""What stands beside the weights so that Hugging Face's own loaders read an artifact."""

from __future__ import annotations

import copy
import inspect
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from torch import nn

from ..core.errors import PlanError, StorageError
from ..core.extras import need
from .manifest import NAME as MANIFEST

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "spiece.model",
    "sentencepiece.bpe.model", "chat_template.jinja", "chat_template.json",
    "preprocessor_config.json", "processor_config.json", "image_processor_config.json",
)  # fmt: skip
"""What tokenizers and processors are stored as; nothing else of a model's folder is copied."""
_LOCAL = {"local_files_only": True, "use_safetensors": True}


def add_configuration(model: Any, folder: Path) -> None:
    """config.json and, where the model generates text, generation_config.json."""
    add_config(model, folder)
    if model.can_generate() and model.generation_config is not None:
        model.generation_config.save_pretrained(folder)


def add_config(model: Any, folder: Path) -> None:
    """config.json."""
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.dtype = str(model.dtype).removeprefix("torch.")
    config.save_pretrained(folder)


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


def is_stock_folder(folder: Path) -> bool:
    """Whether a folder is a model as transformers saves it, and no artifact."""
    return (folder / "config.json").is_file() and not (folder / MANIFEST).exists()


def stock_config(folder: Path) -> Any:
    """The configuration in a folder of transformers; code that it names is not run."""
    transformers = need("transformers", f"the network in '{folder}'")
    try:
        return transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(f"the configuration in '{folder}' cannot be read: {error}") from error


def stock_model(folder: Path) -> nn.Module:
    """The model in a folder of transformers, of the class that its configuration names."""
    transformers = need("transformers", f"the network in '{folder}'")
    named = getattr(stock_config(folder), "architectures", None) or ["nothing"]
    kind: Any = getattr(transformers, named[0], None)
    known = inspect.isclass(kind) and issubclass(kind, transformers.PreTrainedModel)
    if not known:
        raise StorageError(f"'{folder}' is of '{named[0]}', which transformers does not define")
    try:
        with quiet():
            return cast(nn.Module, kind.from_pretrained(folder, **_LOCAL))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        first = next(iter(str(error).splitlines()), "")
        raise StorageError(f"the model in '{folder}' cannot be read: {first}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bar of transformers while it reads or builds a model."""
    from transformers.utils import logging as theirs

    shown = theirs.is_progress_bar_enabled()
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            theirs.enable_progress_bar()
