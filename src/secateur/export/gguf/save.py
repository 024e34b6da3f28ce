"""Write a Hugging Face decoder, evenly or unevenly pruned, as a GGUF file for llama.cpp."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from secateur.core.errors import PlanError, StorageError
from secateur.export.gguf.equal import equalised
from secateur.export.gguf.facts import add_facts
from secateur.export.gguf.families import Family, family_of
from secateur.export.gguf.layers import Plan, head_width, hidden_size, plan, widths
from secateur.export.gguf.naming import file_title
from secateur.export.gguf.pieces import Piece, pieces
from secateur.export.gguf.rope import factor_tensors
from secateur.export.gguf.storage import (
    check_kind,
    ggml_type,
    stored,
    stored_bytes,
    stored_kind,
)
from secateur.export.gguf.vocabulary import add_vocabulary, vocabulary_of
from secateur.export.gguf.weights import Source, Weights, weights_of

from ...core.extras import need

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class GgufFile:
    """What was written.

    `kept_f16` names the tensors of a quantised file whose rows are no multiple of 32; `notes` say
    what was changed to fit the format without changing what the model computes.
    """

    path: Path
    arch: str
    kind: str
    layers: int
    bytes: int
    kept_f16: tuple[str, ...]
    notes: tuple[str, ...]


def save_gguf(
    source: Source,
    path: str | Path,
    *,
    tokenizer: PreTrainedTokenizerBase,
    config: Any = None,
    kind: str = "f32",
    name: str | None = None,
    equal_widths: bool = False,
    overwrite: bool = False,
) -> GgufFile:
    """Write `source` to `path`; tensors are read, converted and written one at a time.

    Layers of equal width are written in the model's own architecture. Where layers differ in heads,
    key-value heads or FFN length, or lack a sub-layer, Llama, Mistral, Qwen 2 and Phi-3 become
    `deci`, which states those widths for every layer; other families are refused with the reason,
    unless `equal_widths` lets narrower layers have zeros up to the widest.

    Args:
        source: a module, a state dict, or a folder of safetensors.
        tokenizer: the fast tokenizer; what it gives is checked against what llama.cpp will give.
        config: the Hugging Face configuration; default `source.config`.
        kind: `f32`, `f16`, `q8_0` or `q4_0`.
        name: the title inside the file; default `pruned` and the model type.
        equal_widths: pad narrower layers with zeros.

    The file stands complete under its name or not at all.
    """
    check_kind(kind)
    config = config if config is not None else getattr(source, "config", None)
    if config is None:
        raise PlanError("the model's configuration is needed; pass config=…")
    path = Path(path)
    weights = weights_of(source)
    family, notes = family_of(config), tuple[str, ...]()
    if equal_widths:
        weights, notes = _equal(weights, config, family)
    made = plan(weights, config, family)
    tensors = [*pieces(weights, config, made), *_factors(config, made)]
    rows = _embedding_rows(tensors, config)
    words = vocabulary_of(tokenizer, rows)
    kinds = {piece.name: stored_kind(piece.name, piece.shape, kind) for piece in tensors}
    size = sum(stored_bytes(piece.shape, kinds[piece.name]) for piece in tensors)
    _check_place(path, size, overwrite)
    title = file_title(name, config.model_type, words.tokens)
    writer = _writer(path, made.target.arch, kind, title)
    add_facts(writer, config, made, rows)
    add_vocabulary(writer, words)
    _write(writer, tensors, kinds, path)
    return _summary(path, replace(made, notes=made.notes + notes), kind, kinds)


def _equal(weights: Weights, config: Any, family: Family) -> tuple[Weights, tuple[str, ...]]:
    layers = widths(weights, config, family)
    sizes = (head_width(config), hidden_size(weights, family))
    return equalised(weights, family, layers, *sizes)


def _factors(config: Any, made: Plan) -> list[Piece]:
    found = factor_tensors(config, made.head_dim)
    return [_ready(name, tensor) for name, tensor in found.items()]


def _ready(name: str, tensor: torch.Tensor) -> Piece:
    return Piece(name, tuple(tensor.shape), lambda: tensor)


def _embedding_rows(tensors: list[Piece], config: Any) -> int:
    shapes = {piece.name: piece.shape for piece in tensors}
    missing = {"token_embd.weight", "output_norm.weight"} - shapes.keys()
    if not config.tie_word_embeddings and "output.weight" not in shapes:
        missing.add("output.weight")
    if missing:
        raise StorageError(f"the weights lack {', '.join(sorted(missing))} (names as in the file)")
    return shapes["token_embd.weight"][0]


def _check_place(path: Path, size: int, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise StorageError(f"{path} exists; pass overwrite=True or another name")
    if not path.parent.is_dir():
        raise StorageError(f"the folder {path.parent} does not exist; create it first")
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise StorageError(f"{path} needs {size:,} bytes, {path.parent} has {free:,} left")


def _writer(path: Path, arch: str, kind: str, name: str) -> GGUFWriter:
    gguf = need("gguf", "a GGUF file")
    writer = gguf.GGUFWriter(_part(path), arch)
    writer.add_name(name)
    types = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0", "q4_0": "MOSTLY_Q4_0"}
    writer.add_file_type(gguf.LlamaFileType[types[kind]])
    if kind.startswith("q"):
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    return writer


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _write(writer: GGUFWriter, tensors: list[Piece], kinds: dict[str, str], path: Path) -> None:
    import numpy as np

    for piece in tensors:
        kind = kinds[piece.name]
        size = stored_bytes(piece.shape, kind)
        # float32 stands for "the shape counts numbers, not bytes"; the kind is stated beside it
        writer.add_tensor_info(piece.name, piece.shape, np.dtype(np.float32), size, ggml_type(kind))
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for piece in tensors:
            writer.write_tensor_data(stored(piece.load(), piece.name, kinds[piece.name]))
        _finish(writer, path)
    finally:
        writer.close()
        _part(path).unlink(missing_ok=True)


def _finish(writer: GGUFWriter, path: Path) -> None:
    """Bring all bytes to the disk, then give the file its name."""
    for file in writer.fout or ():
        file.flush()
        os.fsync(file.fileno())
    _part(path).replace(path)


def _summary(path: Path, made: Plan, kind: str, kinds: dict[str, str]) -> GgufFile:
    kept = tuple(n for n, k in kinds.items() if k == "f16") if kind.startswith("q") else ()
    return GgufFile(
        path=path,
        arch=made.target.arch,
        kind=kind,
        layers=len(made.layers),
        bytes=path.stat().st_size,
        kept_f16=kept,
        notes=made.notes,
    )
