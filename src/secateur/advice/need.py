"""What somebody wants of pruning, and what they can give."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from ..core.errors import PlanError, unknown

Takes = Literal["weights", "patterns", "units"]
"""What goes: single weights, N of every M, or whole units that leave the network."""


@dataclass(frozen=True)
class Need:
    """A goal and its constraints.

    Attributes:
        goal: `speed` (and memory at run time), a smaller `file`, or a `sparse` network as such.
        network: what is pruned.
        data: what there is of it: `nothing`, `inputs` alone, or inputs with `labels`. The texts of a
            language model are their own labels.
        trained: whether the network comes trained.
        training: whether it may be trained, before, during or after.
        hardware: where it will run: `plain` (anything that multiplies dense matrices: CPUs, GPUs,
            onnxruntime, llama.cpp), or what multiplies `2:4` matrices faster.
        share: of the weights or of the work that is to go.

    >>> Need(goal="speed").takes
    ('units',)
    >>> Need(goal="speed", hardware="2:4").takes
    ('units', 'patterns')
    """

    goal: Literal["speed", "file", "sparse"] = "speed"
    network: Literal["network", "language-model"] = "network"
    data: Literal["nothing", "inputs", "labels"] = "labels"
    trained: bool = True
    training: bool = False
    hardware: Literal["plain", "2:4"] = "plain"
    share: float = 0.5

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for name in (f.name for f in fields(self)):
            allowed: tuple[Any, ...] = get_args(hints[name])
            if allowed and getattr(self, name) not in allowed:
                raise unknown(name, str(getattr(self, name)), allowed)
        if not 0 < self.share < 1:
            raise PlanError(f"share {self.share:g} is to go, it must lie between 0 and 1, e.g. 0.5")
        if self.training and self.data == "nothing":
            raise PlanError("training needs data; say data='labels', or leave training out")
        if self.training and self.data == "inputs" and not self.speaks:
            raise PlanError(
                "training needs labels (or another loss); say data='labels', or leave training out"
            )

    @property
    def speaks(self) -> bool:
        """Whether it is a language model."""
        return self.network == "language-model"

    @property
    def takes(self) -> tuple[Takes, ...]:
        """What may go so that the goal is met, the best first; zeros alone bring no speed."""
        if self.goal == "speed":
            return ("units", "patterns") if self.hardware == "2:4" else ("units",)
        return ("weights", "patterns", "units") if self.goal == "file" else ("weights", "patterns")

    def has(self, reads: str) -> bool:
        """Whether the data suffice for a method that reads so much of them."""
        order = ("nothing", "inputs", "labels")
        had = "labels" if self.speaks and self.data == "inputs" else self.data
        return order.index(reads) <= order.index(had)
