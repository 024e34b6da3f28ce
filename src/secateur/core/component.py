"""Components and registries: every answer on an axis is a frozen value with a name.

A component is a pydantic model: its fields are checked when it is made, it can be hashed and
compared, and it round-trips through plain dicts `{"name": "magnitude", "p": 2}`, in which fields
at their default are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict, ValidatorFunctionWrapHandler, model_validator

from .errors import PlanError, nearest, unknown
from .time import Time

C = TypeVar("C", bound="Component")


class Registry:
    """The named answers of one axis.

    Args:
        axis: what the entries are, as errors and docs call it, e.g. `criterion`.
    """

    def __init__(self, axis: str) -> None:
        self.axis = axis
        self._entries: dict[str, type[Component]] = {}

    def add(self, name: str, cls: type[Component]) -> None:
        """Register `cls` under `name`; two answers cannot share a name."""
        if name in self._entries:
            raise PlanError(f"{self.axis} '{name}' is registered twice; names must be unique")
        self._entries[name] = cls

    def get(self, name: str) -> type[Component]:
        """The class registered under `name`; an unknown one is an error with the nearest match."""
        if name not in self._entries:
            raise unknown(self.axis, name, self._entries)
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)


class Plain(BaseModel):
    """Base of checked values: frozen, without unknown keys, mistakes on one line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except pydantic.ValidationError as error:
            raise readable(error, type(self)) from None


class Component(Plain):
    """Base of all answers on all axes; an axis sets `registry`, an answer gets its `name`."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    registry: ClassVar[Registry]
    name: ClassVar[str] = ""

    def __init__(self, **fields: Any) -> None:
        if not type(self).name:
            raise PlanError(
                f"{type(self).__name__} has no name to be written down by; decorate it with "
                '@register("…")'
            )
        super().__init__(**fields)

    @model_validator(mode="wrap")
    @classmethod
    def _by_name(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        """Where a field asks for an axis, accept `"magnitude"` or `{"name": "magnitude", …}`."""
        if cls.name or isinstance(value, Component):
            return handler(value)
        return from_dict(cls, value)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the name and the fields that differ from their defaults."""
        fields = type(self).model_fields
        values = {key: getattr(self, key) for key in fields}
        changed = {
            k: v
            for k, v in values.items()
            if fields[k].is_required() or v != fields[k].get_default()
        }
        return {"name": self.name, **{k: encode(v) for k, v in changed.items()}}

    def __str__(self) -> str:
        options = ", ".join(f"{k}={getattr(self, k)}" for k in self.to_dict() if k != "name")
        return f"{self.name}({options})" if options else self.name


def encode(value: Any) -> Any:
    """Components and times as plain JSON data."""
    if isinstance(value, Component):
        return value.to_dict()
    if isinstance(value, Time):
        return str(value)
    if isinstance(value, tuple | list):
        return [encode(v) for v in value]
    return value


def words(value: dict[Any, Any], what: str) -> dict[str, Any]:
    """`value`, refused where a key is no word (YAML reads `1: x` and `on: x` as other things)."""
    for key in value:
        if not isinstance(key, str):
            raise PlanError(f"{what} has the key {key!r}, which is no word; options have names")
    return value


def from_dict(axis: type[Component], value: Any) -> Any:
    """A component of `axis` from its name or from a dict with a `name`."""
    if isinstance(value, str):
        value = {"name": value}
    what = axis.registry.axis
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise PlanError(f"{what} {value!r} is neither a name nor a mapping with a `name`")
    fields = {key: field for key, field in words(value, what).items() if key != "name"}
    made = axis.registry.get(value["name"])(**fields)
    if not isinstance(made, axis):
        raise PlanError(f"'{value['name']}' is no {what}")
    return made


def register(name: str) -> Callable[[type[C]], type[C]]:
    """Class decorator: put the answer into its axis' registry under `name`."""

    def enter(cls: type[C]) -> type[C]:
        cls.name = name
        cls.registry.add(name, cls)
        return cls

    return enter


def readable(error: pydantic.ValidationError, cls: type[BaseModel]) -> PlanError:
    """The first mistake of a validation as one line: where, what was given, what is allowed.

    A misspelt option comes before a missing one, which it is likely to be.
    """
    errors = error.errors()
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    where = ".".join(str(part) for part in first["loc"]) or "value"
    owner = getattr(cls, "name", "") or cls.__name__
    if first["type"] == "extra_forbidden":
        guess = nearest(where, cls.model_fields)
        hint = f"; did you mean '{guess}'?" if guess else "."
        return PlanError(
            f"{owner} has no option '{where}'{hint} Allowed: {', '.join(cls.model_fields) or 'none'}"
        )
    if first["type"] == "missing":
        return PlanError(f"{owner} needs '{where}'; give it")
    hint = "; several are a list: [a, b]" if first["type"] == "tuple_type" else ""
    return PlanError(f"{owner}.{where}: {first['msg']} (got {first['input']!r}){hint}")
