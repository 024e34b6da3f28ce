"""The built-in networks by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..core.errors import PlanError, unknown
from ..core.origin import Origin, constructed, origin_of, set_origin
from .cnn import CNN
from .lenet import LeNet300100
from .resnet import ResNet18
from .resnet_cifar import resnet8, resnet20, resnet32, resnet56
from .size import ImageSize
from .vgg import VGG16BN
from .vit import ViT

Builder = Callable[..., nn.Module]

BUILT_IN: dict[str, Builder] = {
    "cnn": CNN,
    "lenet-300-100": LeNet300100,
    "resnet18": ResNet18,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet56": resnet56,
    "resnet8": resnet8,
    "vgg16-bn": VGG16BN,
    "vit": ViT,
}


def names() -> list[str]:
    """The names of the built-in networks."""
    return sorted(BUILT_IN)


def build(
    name: str,
    *,
    num_classes: int | None,
    in_channels: int,
    image_size: ImageSize,
    **options: Any,
) -> nn.Module:
    """A new built-in network for images of `in_channels` x `image_size`.

    Weights are drawn from torch's global generator; `build_seeded` draws them from a seed.

    Args:
        name: one of `names()`.
        num_classes, in_channels, image_size: of the data; None: the network's own default.
        options: what else the network can be told, e.g. `width=8`.

    >>> net = build("resnet8", num_classes=10, in_channels=1, image_size=8, width=8)
    >>> net.linear.out_features
    10
    """
    if name not in BUILT_IN:
        raise unknown("model", name, BUILT_IN)
    data = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    return call(name, BUILT_IN[name], data, options)


def _check_sizes(
    name: str, parameters: Mapping[str, inspect.Parameter], given: Mapping[str, Any]
) -> None:
    """What a built-in network counts in whole numbers is at least one."""
    for option, value in given.items():
        if parameters[option].annotation == "int" and (type(value) is not int or value < 1):
            raise PlanError(
                f"model '{name}' counts {option} in whole numbers from 1 on, not {value!r}; "
                f"{option}={parameters[option].default} is its default"
            )


def call(name: str, builder: Builder, data: dict[str, Any], options: dict[str, Any]) -> nn.Module:
    """Call a builder with those of the `data` arguments that it names, and with all `options`.

    An argument swallowed by `**kwargs` is passed only when it stands among the options. An unknown
    option, a missing one, and a result that is no module are errors. The network remembers the call.
    """
    parameters = inspect.signature(builder).parameters
    named = [p.name for p in parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for option in options:
        if option not in named and not takes_any:
            raise unknown(f"option of model '{name}'", option, named)
    given = {k: v for k, v in data.items() if k in named and v is not None} | options
    for p in parameters.values():
        if p.name in named and p.default is p.empty and p.name not in given:
            raise PlanError(f"model '{name}' needs '{p.name}'; give it as an option")
    if BUILT_IN.get(name) is builder:
        _check_sizes(name, parameters, given)
    try:
        model = builder(**given)
    except (TypeError, ValueError, RuntimeError) as error:
        asked = ", ".join(f"{k}={v!r}" for k, v in given.items()) or "no options"
        raise PlanError(
            f"model '{name}' cannot be built with {asked}: {type(error).__name__}: {error}; give other "
            "options"
        ) from error
    if not isinstance(model, nn.Module):
        raise PlanError(
            f"model '{name}' gave a {type(model).__name__}; the function must return a torch.nn.Module"
        )
    if origin_of(model) is None:
        where = f"{builder.__module__}:{builder.__qualname__}"
        set_origin(model, Origin(architecture=constructed(where, given)))
    return model
