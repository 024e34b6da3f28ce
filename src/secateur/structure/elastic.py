"""Which tensor of a network stands for which of another, of the same family but another depth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..core.errors import PlanError, unknown

Order = Literal["interpolated", "appended"]
Places = Mapping[str, tuple[int, ...]]
"""Path of a container -> the numbers of its blocks, in order."""


@dataclass
class Elastic:
    """Goes by names: a block is what has a number in its name, its container what stands before it.

    A container that has the same numbers in both networks is taken as it is. Else the first block stands
    for the first (in the networks this is made for it alone halves the image), and of the m others of the
    source block s(j) stands for the j-th of the n others of the target, counted from 0:

        interpolated: s(j) = ⌊j m / n⌋        appended: s(j) = j mod m

    Deeper, interpolation repeats a block beside itself and appending begins again after the last;
    shallower, interpolation leaves out blocks in between and appending those at the end.

    Attributes:
        source, target: names of all tensors of the two networks.
        order: one of the two.
        blocks: container of the target -> the number of the source's block for each of its own, in order.

    Paper: Chen, Cheng, Wang, Gan, Liu, Wang 2021, arXiv 2103.16547, which keeps the first block and
    replicates or drops others so; its code is told the pairs by hand.
    """

    source: Iterable[str]
    target: Iterable[str]
    order: Order = "interpolated"
    blocks: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ours, self._theirs = places(self.source), places(self.target)
        self.stretched: dict[str, str] = {}
        """Containers whose blocks differ: path in the source -> path in the target."""
        for path, chosen in self.blocks.items():
            if path not in self._theirs:
                raise unknown("container of numbered blocks", path, self._theirs)
            if len(chosen) != len(self._theirs[path]):
                raise PlanError(
                    f"blocks of '{path}' name {len(chosen)} of the ticket's, but the network has "
                    f"{len(self._theirs[path])} there; name one for each"
                )

    def counterpart(self, name: str) -> str:
        """The name that the source's tensor would have, whether it is there or not."""
        path: list[str] = []
        parts = name.split(".")
        for i, part in enumerate(parts):
            path.append(self._number(".".join(path), ".".join(parts[:i]), part))
        return ".".join(path)

    def _number(self, ours: str, theirs: str, part: str) -> str:
        """What stands at a place of the name: another number where containers differ."""
        if not part.isdecimal() or ours not in self._ours:
            return part
        have, want = self._ours[ours], self._theirs[theirs]
        if have == want and theirs not in self.blocks:
            return part
        self.stretched[ours] = theirs
        return str(self._chosen(theirs, have, want)[want.index(int(part))])

    def _chosen(self, path: str, have: Sequence[int], want: Sequence[int]) -> Sequence[int]:
        if path in self.blocks:
            if lost := [number for number in self.blocks[path] if number not in have]:
                raise PlanError(
                    f"blocks of '{path}' name the ticket's block {lost[0]}, but it has {list(have)}"
                )
            return self.blocks[path]
        rest, n = have[1:], len(want) - 1
        if n and not rest:
            raise PlanError(
                f"'{path}' has one block in the ticket and {len(want)} in the network; the first stays "
                f"alone, so say which stands for which with blocks={{'{path}': ...}}"
            )
        if self.order == "interpolated":
            return [have[0], *(rest[j * len(rest) // n] for j in range(n))]
        return [have[0], *(rest[j % len(rest)] for j in range(n))]


def places(names: Iterable[str]) -> Places:
    """Every container of numbered blocks.

    >>> places(["conv.weight", "stage.0.w", "stage.0.b", "stage.10.w", "stage.2.w"])
    {'stage': (0, 2, 10)}
    """
    found: dict[str, set[int]] = {}
    for name in names:
        parts = name.split(".")
        for i, part in enumerate(parts):
            if part.isdecimal():
                found.setdefault(".".join(parts[:i]), set()).add(int(part))
    return {path: tuple(sorted(numbers)) for path, numbers in found.items()}
