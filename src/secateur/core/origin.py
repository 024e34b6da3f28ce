"""Where a network comes from: what builds its stock form, and what was done to it since."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import Field, JsonValue
from torch import fx, nn

from .component import Plain
from .edits import Edits
from .errors import PlanError

PLACE = "secateur_origin"


class Architecture(Plain):
    """What builds a stock network: a function or class of an installed package, and its arguments.

    Attributes:
        constructor: `package.module:name`.
        arguments: keyword arguments, plain data.
        config: for Hugging Face models their configuration; `arguments` is empty then.
    """

    constructor: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$", max_length=500)
    arguments: Mapping[str, JsonValue] = {}
    config: Mapping[str, JsonValue] | None = None


class Origin(Plain):
    """The history of a network, kept with it.

    Attributes:
        architecture: what builds the stock network, None where nobody said.
        edits: the removals since, in order.
        source: digest of the weights before anything was pruned, empty where unknown.
    example: the input it was last traced on, shapes and dtypes without values.
    """

    architecture: Architecture | None = None
    edits: tuple[Edits, ...] = ()
    source: str = ""
    example: JsonValue = None


def origin_of(model: nn.Module) -> Origin | None:
    """The origin that goes with `model`, or None; copies of a network have it too."""
    held = model.meta if isinstance(model, fx.GraphModule) else model.__dict__
    found = held.get(PLACE)
    return found if isinstance(found, Origin) else None


def set_origin(model: nn.Module, origin: Origin) -> None:
    """Let `origin` go with `model`."""
    held: dict[str, Any] = model.meta if isinstance(model, fx.GraphModule) else model.__dict__
    held[PLACE] = origin


def constructed(constructor: str, arguments: Mapping[str, Any]) -> Architecture | None:
    """The architecture of a call, or None where its arguments are not plain data."""
    try:
        plain = json.loads(json.dumps(dict(arguments), allow_nan=False))
        return Architecture(constructor=constructor, arguments=plain)
    except (TypeError, ValueError, PlanError):
        return None
