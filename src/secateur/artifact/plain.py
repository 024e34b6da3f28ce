"""JSON from anywhere: bounded, strict, and nothing that JSON is not."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

from ..core.errors import StorageError
from .atomic import storage_error
from .container import open_regular

MOST_BYTES = 64 << 20
"""No description of a network needs more; parsed it takes about ten times as much memory."""


def read_json(path: str | os.PathLike[str]) -> Any:
    """The content of a JSON file; too long, cut, deep, ambiguous or not finite is a `StorageError`."""
    try:
        with open(path, "rb", opener=open_regular) as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise storage_error(error, path, "read") from error
    if len(content) > MOST_BYTES:
        raise StorageError(f"'{path}' is longer than {MOST_BYTES:,} bytes, the most that is read")
    try:
        return parse(content)
    except StorageError as error:
        raise StorageError(f"'{path}' is damaged: {error}") from error


def parse(content: bytes) -> Any:
    """Strict JSON: UTF-8, each key once, finite numbers, depth that the parser can bear.

    >>> parse(b'{"a": [1, 2.5, null]}')
    {'a': [1, 2.5, None]}
    """
    try:
        return json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_once,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise StorageError(f"it is not JSON: {error}") from error


def as_plain(value: Any) -> Any:
    """`value` as JSON can hold it: tuples as lists, numbers that are not finite as their names.

    >>> as_plain({"a": (1, float("nan"))})
    {'a': [1, 'nan']}
    """
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, str | int | bool):
        return value
    return str(value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise StorageError("an object has one key twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise StorageError(f"{name} is no number that JSON has")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise StorageError(f"{text} is too large for a number")
    return number
