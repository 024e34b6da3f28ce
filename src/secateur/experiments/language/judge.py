"""What a run kept and saved against the original, which goals it meets, and which run is best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .config import Goals

Part = Literal["validation", "test"]


@dataclass(frozen=True)
class Verdict:
    """A run against the original.

    Attributes:
        rouge, bleu: share of the original's ROUGE-L and BLEU that is kept.
        time: seconds an answer takes, of the original's, measured in turns.
        memory: bytes of the weights, of the original's.
        met: goal -> whether it is met; the time's only where the whole interval is at most its target.
        unclear: the time's interval reaches from within the target to beyond it: met is not known.
    """

    rouge: float
    bleu: float
    time: float
    memory: float
    met: Mapping[str, bool]
    unclear: bool

    @property
    def quality(self) -> float:
        """Mean share of ROUGE-L and BLEU that is kept."""
        return (self.rouge + self.bleu) / 2

    @property
    def rank(self) -> tuple[int, float, float]:
        """More goals first, then quality, then memory."""
        return sum(self.met.values()), self.quality, -self.memory


def judge(run: Mapping[str, Any], original: Mapping[str, Any], goals: Goals, part: Part) -> Verdict:
    """A result against the original's, on the validation or the test questions."""
    ours, theirs = run[part], original[part]
    rouge = _share(ours["rougeL"]["f1"], theirs["rougeL"]["f1"])
    bleu = _share(ours["bleu"]["score"], theirs["bleu"]["score"])
    ratio, most = run["response"]["ratio"], 1 - goals.time + 1e-9
    memory = _share(run["memory"]["weights"], original["memory"]["weights"])
    met = {
        "rouge": rouge >= goals.rouge - 1e-9,
        "bleu": bleu >= goals.bleu - 1e-9,
        "time": ratio["high"] <= most,
        "memory": memory <= 1 - goals.memory + 1e-9,
    }
    unclear = ratio["low"] <= most < ratio["high"]
    return Verdict(rouge, bleu, float(ratio["mean"]), memory, met, unclear)


def best(
    runs: Iterable[tuple[str, Mapping[str, Any]]], original: Mapping[str, Any], goals: Goals
) -> str | None:
    """Id of the best pruned run by the validation questions; the first of equals."""
    pruned = [(id, judge(run, original, goals, "validation")) for id, run in runs if run["layers"]]
    return max(pruned, key=lambda pair: pair[1].rank)[0] if pruned else None


def _share(ours: float, theirs: float) -> float:
    """ours / theirs; where the original has nothing, nothing is lost."""
    if theirs > 0:
        return ours / theirs
    return 1.0 if ours <= 0 else math.inf
