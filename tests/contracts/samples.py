"""Instances of every registered answer, made from its fields alone: a new answer needs no new test."""

from __future__ import annotations

import importlib
import json
import pkgutil
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import secateur
from secateur.core.axes import AXES
from secateur.core.component import Component
from secateur.core.errors import SecateurError
from secateur.core.layout import along, whole
from secateur.core.random import generator
from secateur.core.time import Time
from secateur.core.types import Groups, Member, Target, element_masks, keep_all

AXIS_PACKAGES = (
    "structure", "basis", "initial", "criteria", "scope", "allocation", "schedule", "solve", "pressure",
    "gates", "tuning", "recover", "precision", "materialise",
)  # fmt: skip


def load() -> None:
    """Import every axis, so that the registries are full."""
    for package in AXIS_PACKAGES:
        module = importlib.import_module(f"secateur.{package}")
        for found in pkgutil.iter_modules(module.__path__, f"secateur.{package}."):
            importlib.import_module(found.name)


load()
assert secateur.__name__


def answers(axis: type[Component]) -> list[type[Component]]:
    """Every class registered on `axis`."""
    return [axis.registry.get(name) for name in axis.registry]


def everything() -> list[type[Component]]:
    """Every registered class of every axis."""
    return [cls for axis in AXES for cls in answers(axis)]


def cases(axis: type[Component]) -> list[Any]:
    """pytest parameters: every sample of every answer on `axis`, named by what it is."""
    return [pytest.param(s, id=str(s)) for cls in answers(axis) for s in samples(cls)]


def samples(cls: type[Component]) -> list[Component]:
    """A plain instance, one with each single field changed, and one with all that go together."""
    plain = fewest(cls)
    single = [changed for name in cls.model_fields for changed in _with(cls, plain, name)]
    both = plain
    for name in cls.model_fields:
        both = next(iter(_with(cls, both, name)), both)
    unique: dict[Component, None] = dict.fromkeys([plain, *single, both])
    return list(unique)


FEW: dict[str, dict[str, Any]] = {"amc": {"episodes": 2, "warmup": 1}}
"""What keeps plain instances from taking long."""


def fewest(cls: type[Component]) -> Component:
    """An instance with no more fields set than it needs."""
    if cls.name in FEW:
        return cls(**FEW[cls.name])
    needed = {n: f for n, f in cls.model_fields.items() if f.is_required()}
    optional = [n for n in cls.model_fields if n not in needed]
    for extra in [None, *optional]:
        names = [*needed, *([extra] if extra else [])]
        for values in _choices(cls, names):
            made = _try(cls, values)
            if made is not None:
                return made
    raise AssertionError(f"no instance of {cls.__name__} could be made from its fields")


def unchanged(cls: type[Component]) -> list[str]:
    """Fields that no sample moves away from the plain instance."""
    plain, made = fewest(cls), samples(cls)
    return [n for n in cls.model_fields if all(getattr(s, n) == getattr(plain, n) for s in made)]


def _choices(cls: type[Component], names: list[str]) -> Iterator[dict[str, Any]]:
    """The n-th candidate of every field together: enough to find one that is valid."""
    columns = [candidates(cls.model_fields[n].annotation) for n in names]
    for i in range(max([len(c) for c in columns], default=1)):
        yield {n: c[i % len(c)] for n, c in zip(names, columns, strict=True)}


def _with(cls: type[Component], base: Component, name: str) -> list[Component]:
    """`base` with another value of one field, at most one of them.

    Where fields exclude each other, the others are left out (required ones stay).
    """
    now = {n: getattr(base, n) for n in cls.model_fields}
    needed = {n: v for n, v in now.items() if cls.model_fields[n].is_required()}
    for others in (now, needed):
        for value in candidates(cls.model_fields[name].annotation):
            made = _try(cls, {**others, name: value})
            if made is not None and getattr(made, name) != now[name]:
                return [made]
    return []


def _try(cls: type[Component], values: dict[str, Any]) -> Component | None:
    try:
        return cls(**values)
    except SecateurError:
        return None


def candidates(kind: Any) -> list[Any]:
    """Values that a field of this type might take."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return candidates(args[0])
    if origin in (typing.Union, types.UnionType):
        return [v for arg in args if arg is not type(None) for v in candidates(arg)] + [None]
    if origin is typing.Literal:
        return list(args)
    if origin is tuple:
        columns = [candidates(a) for a in args if a is not Ellipsis]
        return [tuple(c[i] for c in columns) for i in range(min(2, *map(len, columns), 2))]
    if isinstance(kind, type) and issubclass(kind, Component):
        return [fewest(c) for c in answers(kind) if not _wraps(c) and c.name not in FEW][:3]
    table = {
        bool: [True, False],
        int: [3, 2, 8, 1],
        float: [0.25, 0.5, 0.75, 2.0],
        Time: [Time(3, "it"), Time(20, "%"), Time(90, "%")],
        str: ["conv*", "fc*"],
    }
    return table.get(kind, [])


def _wraps(cls: type[Component]) -> bool:
    """Whether a field of `cls` is itself a component."""
    kinds = [f.annotation for f in cls.model_fields.values()]
    return any(isinstance(k, type) and issubclass(k, Component) for k in kinds)


def clear(error: SecateurError, *words: str) -> None:
    """A refusal is one line that holds `words`."""
    assert "\n" not in str(error)
    for word in words:
        assert word in str(error)


CONV, FC, BIG = "conv1.weight", "fc.weight", "conv2.weight"
SHAPES: dict[str, tuple[int, ...]] = {CONV: (4, 3, 3, 3), BIG: (8, 4, 3, 3), FC: (10, 16)}


def targets(dims: int = 4) -> tuple[Target, ...]:
    """Single weights of two convolutions and a linear layer (`dims` 4), or their rows (1)."""
    return tuple(_target(name, shape, dims) for name, shape in SHAPES.items())


def _target(name: str, shape: tuple[int, ...], dims: int) -> Target:
    layer = name.rpartition(".")[0]
    if dims == 1:
        member = Member(name, along(shape, 0))
        return Target(name, "rows", shape[:1], (member,), ("out",), layer=layer)
    words = ("out", "in", "k", "k")[: len(shape)]
    return Target(name, "weights", shape, (Member(name, whole(shape)),), words, layer=layer)


class FakeCost:
    """Units left, the last target's at three times the price."""

    unit = "units"

    def __init__(self, units: Mapping[str, int]) -> None:
        self.price = {name: 3.0 if name == [*units][-1] else 1.0 for name in units}
        self.whole = self(units)

    def __call__(self, counts: Mapping[str, int]) -> float:
        return sum(self.price[name] * n for name, n in counts.items())

    def measured(self, counts: Mapping[str, int]) -> None:
        return None


class FakeTrial:
    """Candidates are better the more the first group keeps."""

    samples = 3

    def __call__(self, candidates: Sequence[Tensor], chosen: Sequence[int]) -> list[float]:
        assert len(set(chosen)) == len(chosen)
        assert all(0 <= i < self.samples for i in chosen)
        return [-float(keep[0]) for keep in candidates]

    def errors(self, candidates: Sequence[Tensor], chosen: Sequence[int]) -> list[float]:
        assert all(0 <= i < self.samples for i in chosen)
        return [1 / (1 + float(keep[0])) for keep in candidates]

    def resume(self, words: str) -> dict[str, Any]:
        return {}

    def reached(self, words: str, state: dict[str, Any]) -> None:
        json.dumps(state)  # what is not plain data cannot be kept

    def note(self, **facts: object) -> None:
        json.dumps(facts)


class FakeView:
    """Weights and statistics by name, from a seed."""

    def __init__(
        self,
        targets: tuple[Target, ...],
        seed: int = 0,
        masks: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.targets = self.every = targets
        self.surveyed: Mapping[str, Any] = {}
        self.learned: Mapping[str, Tensor] = {}
        self.costs = {
            what: FakeCost({t.name: t.units for t in targets})
            for what in ("macs", "parameters", "megabytes", "latency")
        }
        self.seed, self.progress = seed, 1.0
        self.masks = masks if masks is not None else keep_all(targets)

    def weight(self, param: str) -> Tensor:
        return torch.randn(SHAPES[param], generator=generator(self.seed, "weight", param))

    def dims(self, param: str) -> tuple[str, ...]:
        return ("out", "in", "k", "k")[: len(SHAPES[param])]

    def note(self, target: str, **facts: object) -> None:
        pass

    def write(self, param: str, value: Tensor) -> None:
        assert value.shape == SHAPES[param]

    def alive(self, param: str) -> Tensor:
        shapes = {n: torch.Size(s) for n, s in SHAPES.items()}
        return element_masks(self.targets, self.masks, shapes)[param]

    def stat(self, name: str, param: str) -> Tensor:
        if name == "layer_sizes":
            return torch.tensor([8.0, 8.0, 1.0, 64.0]).double()
        draw = torch.rand(SHAPES[param], generator=generator(self.seed, name, param))
        return draw + 0.1

    def generator(self, *words: object) -> torch.Generator:
        return generator(self.seed, *words)

    def trial(self, scores: Mapping[str, Tensor], groups: Groups) -> FakeTrial:
        return FakeTrial()
