"""The tokenizer in GGUF: kind, tokens, types, scores, merges and special tokens, from `tokenizer.json`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from secateur.core.errors import PlanError
from secateur.export.gguf.cutting import (
    byte_level_name,
    check_sentencepiece,
    merge_scores,
    puts_space_first,
    states_byte_level,
)

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from transformers import PreTrainedTokenizerBase

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
_BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")
_UNREACHED = -1e6  # the score of a token that no merge forms


@dataclass(frozen=True)
class Vocabulary:
    """What the file says of the tokenizer.

    `model` is `llama` (sentencepiece: merges by score) or `gpt2` (byte-level: merges by rank),
    `pre` llama.cpp's name for the split before byte-level merges.
    """

    model: str
    pre: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    scores: tuple[float, ...]
    merges: tuple[str, ...]
    adds_bos: bool
    adds_eos: bool
    space_first: bool
    special: dict[str, int]
    chat_template: str | None


def vocabulary_of(tokenizer: PreTrainedTokenizerBase, rows: int) -> Vocabulary:
    """Read a fast tokenizer for a model with `rows` embeddings.

    Embeddings beyond the tokens get placeholders that are never written.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise PlanError(
            "GGUF export reads fast tokenizers (tokenizer.json); convert this one first"
        )
    spec = json.loads(backend.to_str())
    model = _model_name(spec)
    tokens = _tokens(spec, rows)
    merges = [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) for m in _merges(spec)]
    scores = merge_scores(merges) if model == "llama" else {}
    if model == "llama":
        check_sentencepiece(backend, spec, set(tokens), scores)
    probe = [int(i) for i in tokenizer("a", verbose=False).input_ids]
    return Vocabulary(
        model=model,
        pre="default" if model == "llama" else byte_level_name(spec),
        tokens=tuple(tokens),
        types=tuple(_types(spec, tokens)),
        scores=tuple(scores.get(token, _UNREACHED) for token in tokens) if scores else (),
        merges=tuple(f"{left} {right}" for left, right in merges),
        adds_bos=tokenizer.bos_token_id is not None and probe[:1] == [tokenizer.bos_token_id],
        adds_eos=tokenizer.eos_token_id is not None and probe[-1:] == [tokenizer.eos_token_id],
        space_first=model == "llama" and puts_space_first(spec),
        special=_special(tokenizer),
        chat_template=_template(tokenizer),
    )


def _model_name(spec: dict[str, Any]) -> str:
    kind = spec["model"].get("type", "BPE")
    if kind != "BPE":
        raise PlanError(
            f"a {kind} tokenizer has no place in a llama.cpp decoder; GGUF export takes BPE "
            f"tokenizers, byte-level or with byte fallback (sentencepiece)"
        )
    if spec["model"].get("byte_fallback"):
        return "llama"
    if not states_byte_level(spec):
        raise PlanError(
            "this BPE tokenizer is neither byte-level nor has byte fallback, so llama.cpp cannot "
            "cut every text with it; train a byte-level one"
        )
    return "gpt2"


def _merges(spec: dict[str, Any]) -> list[Any]:
    return list(spec["model"]["merges"])


def _tokens(spec: dict[str, Any], rows: int) -> list[str]:
    """Tokens by number, added ones included."""
    numbered = {number: token for token, number in spec["model"]["vocab"].items()}
    numbered |= {added["id"]: added["content"] for added in spec.get("added_tokens", ())}
    highest = max(numbered)
    if highest >= rows:
        raise PlanError(
            f"the tokenizer has token {highest} ({numbered[highest]!r}), the model {rows} embeddings; "
            f"use the model's own tokenizer or resize the embeddings"
        )
    return [numbered.get(number, f"[PAD{number}]") for number in range(rows)]


def _types(spec: dict[str, Any], tokens: list[str]) -> list[int]:
    known = set(spec["model"]["vocab"])
    added = {
        one["content"]: CONTROL if one["special"] else USER_DEFINED
        for one in spec.get("added_tokens", ())
    }
    unknown = spec["model"].get("unk_token")
    return [_type(token, token == unknown, added, known) for token in tokens]


def _type(token: str, unknown: bool, added: dict[str, int], known: set[str]) -> int:
    if unknown:
        return UNKNOWN
    if token in added:
        return added[token]
    if token not in known:
        return UNUSED
    return BYTE if _BYTE_TOKEN.fullmatch(token) else NORMAL


def _special(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    found = {
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "unk": tokenizer.unk_token_id,
        "pad": tokenizer.pad_token_id,
    }
    return {name: int(number) for name, number in found.items() if number is not None}


def _template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The chat template; of several named ones the default."""
    template: Any = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    return template


def add_vocabulary(writer: GGUFWriter, words: Vocabulary) -> None:
    """Write the tokenizer's facts."""
    writer.add_tokenizer_model(words.model)
    writer.add_tokenizer_pre(words.pre)
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    if words.scores:
        writer.add_token_scores(words.scores)
    writer.add_token_merges(words.merges)
    for name, number in words.special.items():
        getattr(writer, f"add_{name}_token_id")(number)
    writer.add_add_bos_token(words.adds_bos)
    writer.add_add_eos_token(words.adds_eos)
    if words.model == "llama":
        writer.add_add_space_prefix(words.space_first)
    if words.chat_template:
        writer.add_chat_template(words.chat_template)
