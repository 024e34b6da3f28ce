"""How llama.cpp cuts text, told apart by what a `tokenizer.json` states, and checked against it."""

from __future__ import annotations

import itertools
import json
from typing import Any

from secateur.core.errors import PlanError

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST: "llama-bpe",
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST: "qwen2",
}
"""Regular expressions that cut text before byte-level merges, with llama.cpp's name for each."""

PROBE = (
    "Once upon a time, there were 3 tomatoes.\n\nHumidity: 85.5 %! It's too wet",
    "토마토 온실의 습도가 높으면 환기창을 연다.",
    "  def vent(x):\n\treturn x ** 2  # 換気 … naïve café 🍅",
)
"""Texts on which both ways of cutting must agree."""


def byte_level_name(spec: dict[str, Any]) -> str:
    """llama.cpp's name for the split of a byte-level tokenizer."""
    parts = _flat(spec.get("pre_tokenizer"), "pretokenizers")
    if any(part.get("add_prefix_space") for part in parts):
        raise PlanError(
            "llama.cpp puts no space before byte-level text; set add_prefix_space=False"
        )
    splits = [part["pattern"].get("Regex") for part in parts if part["type"] == "Split"]
    digits = [part for part in parts if part["type"] == "Digits"]
    if not splits:
        return "smollm" if digits and digits[0].get("individual_digits") else "gpt-2"
    if len(splits) == 1 and splits[0] in SPLITS:
        return SPLITS[splits[0]]
    raise PlanError(
        f"llama.cpp must know the split of a byte-level tokenizer by name, and {splits} has none here; "
        f"known: gpt-2 (plain ByteLevel), smollm (single digits), {', '.join(SPLITS.values())}"
    )


def _flat(node: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    """The steps of a pre-tokenizer or normaliser, a sequence taken apart."""
    if node is None:
        return []
    return list(node[key]) if node["type"] == "Sequence" else [node]


def puts_space_first(spec: dict[str, Any]) -> bool:
    """Whether a sentencepiece tokenizer puts `▁` before the text."""
    normalisers = _flat(spec.get("normalizer"), "normalizers")
    if any(one["type"] == "Prepend" for one in normalisers):
        return True
    parts = _flat(spec.get("pre_tokenizer"), "pretokenizers")
    return any(p["type"] == "Metaspace" and p.get("prepend_scheme") != "never" for p in parts)


def merge_scores(merges: list[tuple[str, ...]]) -> dict[str, float]:
    """The score of each token that a merge forms: minus the rank of its first merge.

    >>> merge_scores([("a", "b"), ("c", "d"), ("ab", "c")])
    {'ab': 0.0, 'cd': -1.0, 'abc': -2.0}
    """
    scores: dict[str, float] = {}
    for rank, (left, right) in enumerate(merges):
        scores.setdefault(left + right, float(-rank))
    return scores


def check_sentencepiece(
    backend: Any, spec: dict[str, Any], tokens: set[str], scores: dict[str, float]
) -> None:
    """Refuse a tokenizer that llama.cpp, which merges by score alone, would cut otherwise.

    Merges taken from a sentencepiece model hold every pair that forms a token, so that the score of
    the token decides. Merges learnt directly hold one pair for each token, and the ways may part.
    """
    first = puts_space_first(spec)
    for text in PROBE:
        wanted = backend.encode(text, add_special_tokens=False).tokens
        found = cut_by_score(("▁" if first else "") + text.replace(" ", "▁"), tokens, scores)
        if found != wanted:
            raise PlanError(
                f"llama.cpp would cut {text[:30]!r} into {found[:8]}, this tokenizer cuts {wanted[:8]}: "
                f"its merges are not those of a sentencepiece model; train a byte-level tokenizer"
            )


def cut_by_score(text: str, tokens: set[str], scores: dict[str, float]) -> list[str]:
    """llama.cpp's way: join the neighbours whose union is the token of highest score, leftmost first.

    >>> cut_by_score("abcab", {"a", "b", "c", "ab", "abc"}, {"ab": 0.0, "abc": -1.0})
    ['abc', 'ab']
    """
    parts = list(text)
    while True:
        unions = [left + right for left, right in itertools.pairwise(parts)]
        places = [i for i, union in enumerate(unions) if union in tokens]
        if not places:
            return [token for part in parts for token in _or_bytes(part, tokens)]
        best = max(places, key=lambda i: (scores.get(unions[i], -1e6), -i))
        parts[best : best + 2] = [unions[best]]


def _or_bytes(part: str, tokens: set[str]) -> list[str]:
    return [part] if part in tokens else [f"<0x{byte:02X}>" for byte in part.encode()]


def states_byte_level(spec: dict[str, Any]) -> bool:
    """Whether a pre-tokenizer step is `ByteLevel`."""
    return "ByteLevel" in json.dumps(spec.get("pre_tokenizer"))
