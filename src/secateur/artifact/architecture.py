"""Stock networks by the name of what builds them; nothing is imported that was not permitted."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import math
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as registration

from ..core.errors import PlanError, StorageError, nearest
from ..core.extras import need
from ..core.importing import current_folder
from ..core.origin import Architecture, Origin, origin_of

_FLOATS = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
"""Numbers that JSON cannot say; transformers writes `{"__float__": "Infinity"}`."""

_NEVER = ("auto_map", "quantization_config", "use_pretrained_backbone")
"""Fields of a configuration that could fetch or run something, as those do that name a kernel."""


def known_origin(model: nn.Module) -> Origin:
    """The origin that goes with a network, or as much as its class says."""
    found = origin_of(model)
    if found is not None and found.architecture is not None:
        return found
    origin = found or Origin()
    return origin.model_copy(update={"architecture": hugging_face(model)})


def is_hugging_face(model: nn.Module) -> bool:
    """Whether it is a model of an architecture that transformers itself defines."""
    transformers = sys.modules.get("transformers")
    if transformers is None or not isinstance(model, transformers.PreTrainedModel):
        return False
    return getattr(transformers, type(model).__name__, None) is type(model)


def hugging_face(model: nn.Module) -> Architecture | None:
    """Class and configuration of a Hugging Face model as it is now, None of any other."""
    if not is_hugging_face(model):
        return None
    config = json.loads(model.config.to_json_string(use_diff=False))  # type: ignore[union-attr, operator]
    return Architecture(
        constructor=f"transformers:{type(model).__name__}", config=without_code(config)
    )


def without_code(config: Any) -> Any:
    """A configuration without what could fetch or run code, at any depth."""
    if isinstance(config, Mapping):
        kept = {k: v for k, v in config.items() if not k.endswith("_implementation")}
        return {k: without_code(v) for k, v in kept.items() if k not in _NEVER}
    return [without_code(v) for v in config] if isinstance(config, list) else config


def build(
    architecture: Architecture,
    own: Mapping[str, Callable[..., nn.Module]],
    trust: Collection[str] = (),
    most_tensors: int = 1_000_000,
    most_bytes: int = 1 << 40,
) -> nn.Module:
    """The stock network of an architecture, with weights that mean nothing.

    Only what is in `own` (`module:name` -> function) and model classes of transformers are built
    unasked; other packages have to be named in `trust`, and no name leads outside of them. A
    constructor is stopped at more parts, or more bytes, than given. Torch's global generator is
    left as it was.

    >>> build(Architecture(constructor="mine:net"), {"mine:net": lambda: nn.Linear(2, 3)})
    Linear(in_features=2, out_features=3, bias=True)
    """
    try:
        with torch.random.fork_rng(devices=[]), bounded(most_tensors, most_bytes):
            made = _call(architecture, own, trust)
    except (PlanError, StorageError):
        raise
    except Exception as error:
        raise StorageError(
            f"{architecture.constructor} does not build with the arguments that the artifact "
            f"names: {type(error).__name__}: {_first_line(error)}"
        ) from error
    if not isinstance(made, nn.Module):
        raise StorageError(f"{architecture.constructor} gave a {type(made).__name__}, no network")
    return made


def _call(
    architecture: Architecture, own: Mapping[str, Callable[..., nn.Module]], trust: Collection[str]
) -> Any:
    package, _, name = architecture.constructor.partition(":")
    if package == "transformers":
        return _transformers(name, architecture.config)
    if architecture.config is not None:
        raise StorageError(f"{architecture.constructor} takes no Hugging Face configuration")
    if architecture.constructor in own:
        return own[architecture.constructor](**architecture.arguments)
    if not any(package == p or package.startswith(f"{p}.") for p in trust):
        top = package.partition(".")[0]
        raise StorageError(
            f"this network is built by {architecture.constructor}. Code of other packages is not "
            f"run unasked: pass model=…, a stock network that you built, or trust=('{top}',); "
            f"on the command line --trust {top}"
        )
    return _found(package, name)(**architecture.arguments)


def _found(package: str, name: str) -> Any:
    """The function or class `name` that the module `package` itself defines."""
    try:
        with current_folder(first=False):
            found: Any = importlib.import_module(package)
    except ImportError as error:
        raise StorageError(
            f"the network's code, '{package}', cannot be imported ({error}); install its package "
            "or run where it lies, or pass model=…, a stock network that you built"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            guess = nearest(part, dir(found))
            hint = f"; did you mean '{guess}'?" if guess else ""
            raise StorageError(f"'{package}' has no '{name}' any more{hint}; pass model=…")
        found = getattr(found, part)
    top = package.partition(".")[0]
    if not callable(found) or str(getattr(found, "__module__", "")).partition(".")[0] != top:
        raise StorageError(f"'{package}:{name}' is no function or class of '{top}'; pass model=…")
    return found


def _transformers(name: str, config: Mapping[str, Any] | None) -> nn.Module:
    no_init_weights = need("transformers.initialization", "this network").no_init_weights
    kind = model_class(name)
    if config is None or kind.config_class is None:
        raise StorageError(f"the artifact has no configuration for '{name}'")
    with no_init_weights():
        return kind(kind.config_class.from_dict(_with_floats(without_code(config))))


def _with_floats(config: Any) -> Any:
    """A configuration with the numbers that JSON cannot say."""
    if isinstance(config, Mapping):
        if config.keys() == {"__float__"} and config["__float__"] in _FLOATS:
            return _FLOATS[config["__float__"]]
        return {key: _with_floats(v) for key, v in config.items()}
    return [_with_floats(v) for v in config] if isinstance(config, list) else config


def model_class(name: str) -> Any:
    """A model class that transformers itself defines."""
    transformers = need("transformers", f"'{name}'")
    kind = getattr(transformers, name, None)
    if not inspect.isclass(kind) or not issubclass(kind, transformers.PreTrainedModel):
        raise StorageError(f"the installed transformers has no model class '{name}'; update it")
    return kind


@contextlib.contextmanager
def bounded(most_tensors: int, most_bytes: int) -> Iterator[None]:
    """Stop a constructor that makes more tensors or modules, or larger ones, than can be right."""
    thread, count = threading.get_ident(), {"tensors": 0, "bytes": 0}

    def watch(_: nn.Module, name: str, made: Any) -> None:
        if threading.get_ident() != thread:
            return  # other threads may build what they like
        count["tensors"] += 1
        if isinstance(made, torch.Tensor) and not made.is_meta:
            count["bytes"] += made.numel() * made.element_size()
        if count["tensors"] > most_tensors or count["bytes"] > most_bytes:
            raise StorageError(
                f"the stock network is far larger than the artifact's weights (stopped at {name!r} "
                f"after {count['tensors']:,} parts and {count['bytes']:,} bytes)"
            )

    handles = [
        registration.register_module_parameter_registration_hook(watch),
        registration.register_module_buffer_registration_hook(watch),
        registration.register_module_module_registration_hook(watch),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")[:200]
