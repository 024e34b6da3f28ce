"""`torch.export` on an example, with a free batch size where the network permits one."""

from __future__ import annotations

import copy
import inspect
import io
import linecache
import logging
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from secateur.core.modes import mode
from secateur.core.random import seeded

EXPORT_FAILURES = (
    RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError, ArithmeticError,
)  # fmt: skip
NOT_THE_MODEL = (str(Path(torch.__file__).parent), str(Path(__file__).parent), "<")


def export(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    dynamic: bool,
    signatures: tuple[str, ...] = (),
) -> tuple[ExportedProgram, bool]:
    """The exported program, and whether its batch size is free; `signatures` name modules kept apart."""
    with quiet():
        return _export(model, args, kwargs, dynamic, signatures)


ABOUT_ITSELF = (
    (UserWarning, "The tensor attributes? .*_flat_weights"),  # a list that recurrent layers keep
    (UserWarning, "Attempted to insert a get_attr Node"),
    (FutureWarning, ".*treespec, LeafSpec"),
)
"""What torch warns of where it calls itself."""


@contextmanager
def quiet() -> Iterator[None]:
    """Without what torch says of itself, and the graphs it prints where control flow depends on
    values: the error says that."""
    log = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    before = log.level
    log.setLevel(logging.CRITICAL)
    printed = io.StringIO()
    try:
        with redirect_stderr(printed), warnings.catch_warnings():
            for category, text in ABOUT_ITSELF:
                warnings.filterwarnings("ignore", text, category)
            yield
        sys.stderr.write(printed.getvalue())
    finally:
        log.setLevel(before)


def _export(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    dynamic: bool,
    signatures: tuple[str, ...],
) -> tuple[ExportedProgram, bool]:
    shapes = _free_batch(model, args, kwargs) if dynamic else None
    how: dict[str, Any] = {"strict": False, "preserve_module_call_signature": signatures}
    if shapes is not None:
        try:
            program = torch.export.export(model, args, kwargs, dynamic_shapes=shapes, **how)
            return program, _is_free(program)
        except EXPORT_FAILURES:
            shapes = None  # the network fixes its batch size: traced below at the example's
    return torch.export.export(model, args, kwargs, **how), False


def _is_free(program: ExportedProgram) -> bool:
    """Whether a batch size stayed free: torch quietly fixes one that the code takes for a number."""
    # loads sympy: half a second that a start of `secateur` without a trace does not need
    from torch.fx.experimental.symbolic_shapes import free_symbols

    inputs = set(program.graph_signature.user_inputs)
    seen = [node.meta.get("val") for node in program.graph.nodes if node.name in inputs]
    return any(
        isinstance(value, Tensor) and value.dim() > 0 and bool(free_symbols(value.shape[0]))
        for value in seen
    )


def _free_batch(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any] | None:
    """A free first dimension for every tensor input of the example's batch size (more than 1)."""
    try:
        bound = inspect.signature(model.forward).bind(*args, **kwargs)
    except TypeError:
        return None
    kinds = inspect.signature(model.forward).parameters
    if any(kinds[name].kind.name.startswith("VAR") for name in bound.arguments):
        return None
    leaves = [t for t in pytree.tree_leaves(bound.arguments) if isinstance(t, Tensor) and t.dim()]
    batch = leaves[0].shape[0] if leaves else 1
    if batch < 2:
        return None
    return pytree.tree_map(lambda t: _free_first(t, batch), dict(bound.arguments))


def _free_first(value: Any, batch: int) -> Any:
    return (
        {0: Dim.AUTO}
        if isinstance(value, Tensor) and value.dim() and value.shape[0] == batch
        else None
    )


def said(error: Exception) -> str:
    """An exception on one line: its type, its first line, and the model's own line that raised it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0][:200].rstrip(". ") if lines else "no message"
    what = f"{type(error).__name__}: {reason}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(NOT_THE_MODEL):
            source = linecache.getline(frame.filename, frame.lineno or 0).strip()
            return f"{what}, at {Path(frame.filename).name}:{frame.lineno}: {source[:80]}"
    return what


@contextmanager
def as_traced(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no key-value cache, for the time of the tracing; all is as before after it."""
    configs = [c for c in _configs(model) if getattr(c, "use_cache", None)]
    for config in configs:
        config.use_cache = False
    place = next((p.device for p in model.parameters()), torch.device("cpu"))
    try:
        with mode(model, train=False), caches_kept(model), drawing_alike(place):
            yield
    finally:
        for config in configs:
            config.use_cache = True


def drawing_alike(place: torch.device) -> AbstractContextManager[None]:
    """Inside, what a forward pass draws is the same each time, so that two passes can be compared."""
    return seeded(torch.device("cpu") if place.type == "meta" else place, 0)


@contextmanager
def caches_kept(model: nn.Module) -> Iterator[None]:
    """Dicts and lists that modules fill while they run (LeViT caches its biases) are as before after it.

    A cache of tensors of the old size would go along into the copy that is cut.
    """
    held = [
        (value, copy.copy(value))
        for module in model.modules()
        for name, value in vars(module).items()
        if not name.startswith("_") and type(value) in (dict, list)
    ]
    try:
        yield
    finally:
        for value, before in held:
            value.clear()
            value.update(before) if isinstance(value, dict) else value.extend(before)


def _configs(model: nn.Module) -> list[Any]:
    found = [getattr(module, "config", None) for module in model.modules()]
    nested = [
        getattr(c, name, None) for c in found for name in ("text_config", "decoder", "encoder")
    ]
    return list(
        {id(c): c for c in [*found, *nested] if c is not None and hasattr(c, "use_cache")}.values()
    )
