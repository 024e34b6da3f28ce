"""Networks from a name or from the user's own `package.module:function`, with seeded weights."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ..core.errors import PlanError, nearest, unknown
from ..core.importing import current_folder
from ..core.random import derive
from .registry import BUILT_IN, Builder, build, call, names
from .size import ImageSize


def resolve(
    spec: str,
    *,
    num_classes: int | None,
    in_channels: int,
    image_size: ImageSize,
    **options: Any,
) -> nn.Module:
    """A new network from a built-in name or from `package.module:function`.

    The user's module is looked for in the current folder too. Its function (or class) gets
    `num_classes`, `in_channels` and `image_size` as far as its signature names them, and all
    `options`; torchvision's functions, for instance, need `num_classes` as an option.

    Args:
        spec: e.g. `resnet20`, or `mynets.small:Net`.
        num_classes, in_channels, image_size: of the data; None: the network's own default.
        options: further arguments of the network.
    """
    data: dict[str, Any] = {"num_classes": num_classes, "in_channels": in_channels}
    data["image_size"] = image_size
    if ":" in spec:
        with current_folder(first=True):
            return call(spec, _function(spec), data, options)
    check_named(spec)
    return build(spec, **data, **options)


def check_named(spec: str) -> None:
    """Refuse a name that is neither a built-in network's nor `package.module:function`."""
    if ":" in spec or spec in BUILT_IN:
        return
    if "/" in spec:
        raise PlanError(f"there is no folder '{spec}', and no built-in model is called so")
    raise PlanError(
        f"{unknown('model', spec, names())}; your own network is named package.module:function"
    )


def build_seeded(
    spec: str,
    seed: int,
    *,
    num_classes: int | None,
    in_channels: int,
    image_size: ImageSize,
    **options: Any,
) -> nn.Module:
    """`resolve` with initial weights that depend on `seed` alone, built on the CPU.

    Torch's global generator is left as it was.

    >>> size = {"num_classes": 10, "in_channels": 1, "image_size": 8}
    >>> one, two = (build_seeded("resnet8", 7, **size) for _ in range(2))
    >>> torch.equal(one.conv1.weight, two.conv1.weight)
    True
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also seed every accelerator, which the fork does not give back
        torch.default_generator.manual_seed(derive(seed, "initial weights"))
        return resolve(
            spec,
            num_classes=num_classes,
            in_channels=in_channels,
            image_size=image_size,
            **options,
        )


def _function(spec: str) -> Builder:
    """The function or class that `package.module:function` names."""
    path, _, name = spec.partition(":")
    if not path or not name or path.startswith("."):
        raise PlanError(f"model '{spec}' is not of the form package.module:function")
    found: Any = _module(spec, path)
    for part in name.split("."):
        choices = [k for k in dir(found) if callable(getattr(found, k)) and k[0] != "_"]
        if not hasattr(found, part):
            raise unknown(f"function in '{path}'", part, choices)
        found = getattr(found, part)
    if not callable(found):
        raise PlanError(
            f"model '{spec}' is a {type(found).__name__}, not a function or class; "
            f"name one that returns a torch.nn.Module"
        )
    return found


def _module(spec: str, path: str) -> ModuleType:
    """Import the user's module; what it cannot import itself is named too."""
    try:
        return importlib.import_module(path)
    except SyntaxError as error:
        raise PlanError(
            f"model '{spec}': {error.filename}, line {error.lineno}: {error.msg}"
        ) from None
    except ImportError as error:
        guess = nearest(path, [file.stem for file in Path.cwd().glob("*.py")])
        hint = f"; did you mean '{guess}'?" if guess and guess != path else ""
        raise PlanError(
            f"model '{spec}' cannot be imported: {error}{hint}; "
            "run where the module lies, or install its package"
        ) from None
