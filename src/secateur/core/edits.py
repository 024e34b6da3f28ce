"""What was done to a stock network, as plain data that can be written down and done again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import JsonValue, field_validator

from .component import Plain
from .errors import PlanError

Ranges = tuple[tuple[int, int], ...]


class Kept(Plain):
    """The numbers that stay of `size`, as half-open ranges in ascending order.

    >>> kept = Kept.of([0, 1, 2, 7], 8)
    >>> kept.ranges, kept.count, kept.numbers()
    (((0, 3), (7, 8)), 4, [0, 1, 2, 7])
    """

    size: int
    ranges: Ranges

    @field_validator("ranges")
    @classmethod
    def _ascending(cls, ranges: Ranges) -> Ranges:
        """Each range holds something, and begins after the one before has ended."""
        end = -1
        for first, stop in ranges:
            if not max(end + 1, 0) <= first < stop:
                raise ValueError("ranges of kept numbers must be ascending, apart and not empty")
            end = stop
        return ranges

    def model_post_init(self, _: Any) -> None:
        """What is kept lies within what there is."""
        if not 0 <= self.size < 1 << 40 or (self.ranges and self.ranges[-1][1] > self.size):
            raise PlanError(f"kept numbers {self.ranges[-1:]} do not lie within 0 … {self.size}")

    @classmethod
    def of(cls, numbers: Iterable[int], size: int) -> Kept:
        """From the numbers themselves."""
        ranges: list[tuple[int, int]] = []
        for n in sorted(set(map(int, numbers))):
            if ranges and ranges[-1][1] == n:
                ranges[-1] = (ranges[-1][0], n + 1)
            else:
                ranges.append((n, n + 1))
        return cls(size=size, ranges=tuple(ranges))

    @property
    def count(self) -> int:
        """How many stay."""
        return sum(stop - first for first, stop in self.ranges)

    def numbers(self) -> list[int]:
        """The numbers themselves, ascending."""
        return [n for first, stop in self.ranges for n in range(first, stop)]


class Change(Plain):
    """One attribute of a module, or of its configuration (`config.intermediate_size`)."""

    module: str
    attribute: str
    old: JsonValue
    new: JsonValue


class Retrace(Plain):
    """A removal that no attributes express (levels C and D): traced and carried out again.

    Attributes:
        level: `C` or `D`.
        units: structure -> the units that stay.
        example: the inputs it was traced on, shapes and dtypes only.
        preserve_norms: normalisations divide by the old count.
        outputs: selectors of the outputs that keep their size, where they were given.
    """

    level: Literal["C", "D"]
    units: Mapping[str, Kept]
    example: JsonValue
    preserve_norms: bool = False
    outputs: tuple[str, ...] = ()


class Edits(Plain):
    """One change: what stays of every tensor, and what the modules around them say since.

    Attributes:
        basis: what rewrote the network before anything was taken out, by name with its options.
        tensors: parameter or buffer -> dimension -> what stays of it; whole dimensions are left out.
        scales: parameter -> factor its values are multiplied by, after the cut.
        shifts: parameter -> what is added to its values before, and taken off again after.
        attributes: changed attributes, those of standard layers left out (their tensors say them).
        layers: modules of a list that are gone, by path.
        retrace: how to do it again where tensors and attributes are not enough.
        run_time: wrappers that decide for every input: what puts them in, and where.
    """

    basis: Mapping[str, JsonValue] | None = None
    tensors: Mapping[str, Mapping[int, Kept]] = {}
    scales: Mapping[str, float] = {}
    shifts: Mapping[str, float] = {}
    attributes: tuple[Change, ...] = ()
    layers: tuple[str, ...] = ()
    retrace: Retrace | None = None
    run_time: Mapping[str, JsonValue] | None = None
