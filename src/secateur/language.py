"""Language models from a folder to a folder: calibrate, prune block by block, compare, describe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import torch

from .api import as_recipe
from .artifact import write_bytes
from .core.errors import DataError, StorageError
from .core.random import generator
from .core.recipe import Recipe
from .engine.blockwise.describe import card
from .engine.blockwise.folder import Done, Progress, one_update
from .engine.blockwise.folder import prune_folder as _prune
from .engine.blockwise.output import check_free
from .engine.blockwise.preview import Preview, preview
from .engine.blockwise.shards import Shards
from .engine.blockwise.skeleton import Skeleton, read_config
from .text.calibration import Calibration, Sampling, calibrate
from .text.perplexity import Perplexity, perplexity
from .text.samples import read_texts
from .text.state import context_length

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


def prune_folder(
    model: str | Path,
    what: Recipe | str,
    out: str | Path,
    *,
    data: str | Path | Sequence[str] | None = None,
    sampling: Sampling | None = None,
    compare: bool = True,
    seed: int = 0,
    activations: Literal["memory", "disk"] = "memory",
    progress: Progress | None = None,
    **options: Any,
) -> Done:
    """Prune a language model block by block, from its folder into a new one that loads like it.

    Args:
        model: a Hugging Face folder, or the name of a model on the hub; it is only read.
        what: a recipe with `walk="blocks"`, or a method's name with its `options`.
        out: the folder to be; it must be new or empty.
        data: texts, or what `read_texts` reads; for methods that look at activations, and to compare.
        sampling: how the texts become samples; as long as the model's context, at most 512 tokens.
        compare: whether to load the whole model before and after for its perplexity on held-out
            texts; for a model larger than memory leave it out.
        seed: all randomness.
        activations: `disk` keeps what flows between blocks in files instead of in memory.
        progress: called with a small dict at every event.

    Killed, the same call goes on where it was.
    """
    recipe = as_recipe(what, options)
    one_update(recipe)
    source = local(model)
    check_free(Path(out), source)
    texts = split_texts(data, source, seed) if data is not None else None
    tokenizer = tokenizer_of(source) if texts is not None else None
    calibration = samples(source, tokenizer, texts, sampling, seed, recipe)
    facts: dict[str, Any] = {"source": str(model)}
    if calibration is not None and texts is not None:
        facts["calibration"] = {"data": texts.source, **calibration.facts}
    if compare and texts is not None and tokenizer is not None:
        facts["perplexity"] = {"dense": asdict(measure(source, tokenizer, texts))}

    def finish(folder: Path, record: dict[str, Any]) -> None:
        if "perplexity" in record and texts is not None and tokenizer is not None:
            record["perplexity"]["pruned"] = asdict(measure(folder, tokenizer, texts))
            record["perplexity"]["held_out"] = texts.apart
        write_bytes(folder / "README.md", card(record).encode())

    return _prune(
        source,
        recipe,
        out,
        batches=calibration.batches if calibration is not None else (),
        seed=seed,
        activations=activations,
        progress=progress,
        facts=facts,
        before_naming=finish,
    )


def plan_folder(
    model: str | Path,
    what: Recipe | str,
    *,
    sampling: Sampling | None = None,
    activations: Literal["memory", "disk"] = "memory",
    **options: Any,
) -> Preview:
    """What `prune_folder` would do, need and leave; no weight is read."""
    source = local(model)
    chosen = fitting(source, sampling, 0)
    return preview(Skeleton(Shards(source)), as_recipe(what, options), chosen, activations)


def local(model: str | Path) -> Path:
    """The folder itself, or the hub's model as it was downloaded."""
    path = Path(model)
    if path.exists():
        return path
    words = str(model).split("/")
    if len(words) != 2 or not all(words) or isinstance(model, Path):
        raise StorageError(f"'{model}' is neither a folder nor a model's name like owner/name")
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
    try:
        return Path(snapshot_download(str(model), allow_patterns=patterns))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise StorageError(
            f"'{model}' is no folder, and not to be had from the hub: {reason}"
        ) from None


def tokenizer_of(folder: Path) -> PreTrainedTokenizerBase:
    """The folder's tokenizer."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:160]
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
    sampling: Sampling | None,
    seed: int,
    recipe: Recipe,
) -> Calibration | None:
    """Samples where the recipe looks at activations; None where it does not."""
    if not recipe.required():
        return None
    if tokenizer is None or texts is None:
        raise DataError(
            f"method '{recipe.method}' looks at activations; give calibration data, or use "
            "magnitude-layerwise with walk=blocks, which needs none"
        )
    config = read_config(source)
    vocabulary = getattr(getattr(config, "text_config", None) or config, "vocab_size", None)
    return calibrate(tokenizer, texts.calibration, fitting(source, sampling, seed), vocabulary)


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


def measure(folder: Path, tokenizer: PreTrainedTokenizerBase, texts: Texts) -> Perplexity:
    """Perplexity of the model of a folder, as stock transformers loads it."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as theirs

    theirs.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(folder)
    return perplexity(model, tokenizer, list(texts.comparison[:COMPARED]), batch_size=8)
