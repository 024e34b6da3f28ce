"""Programs that run without the model's code: torch.export's `.pt2`, and ONNX."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from ..core.errors import StorageError
from ..core.extras import need
from ..core.random import seeded
from .files import Exported, tried_out, written_bytes

TOLERANCE = 1e-3
"""Largest difference of the outputs, relative to the largest, with which a file is accepted."""

_INSIDE = 1 << 30
"""Bytes of weights up to which an ONNX file holds them itself (its format ends at 2 GB)."""

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
Runner = Callable[[Inputs], list[Tensor]]


class NoOnnxForm(StorageError):
    """A program that ONNX has no words for, or onnxruntime no kernels."""


def save_pt2(
    program: ExportedProgram, path: Path, checks: Sequence[tuple[Inputs, list[Tensor]]],
    *, free_batch: bool, overwrite: bool = False,
) -> Exported:  # fmt: skip
    """Write a captured program; it is loaded again and compared on every one of `checks`.

    Args:
        program: of `torch.export`.
        checks: inputs, and the outputs that the network has on them.
        free_batch: whether its batch size is free.
    """

    def make(file: Path) -> float:
        torch.export.save(program, file)
        again = torch.export.load(file).module(check_guards=False)
        return _compared(lambda given: tensors(again(*given[0], **given[1])), checks, file)

    difference = tried_out(path, overwrite, make)
    return Exported(path, "pt2", path.stat().st_size, difference, free_batch)


def save_onnx(
    program: ExportedProgram, path: Path, checks: Sequence[tuple[Inputs, list[Tensor]]],
    *, free_batch: bool, overwrite: bool = False,
) -> Exported:  # fmt: skip
    """Write a captured program as ONNX; onnxruntime runs it on every one of `checks`.

    Raises:
        NoOnnxForm: where an operator of it cannot be said, or run, in ONNX.
    """
    for library in ("onnxscript", "onnxruntime"):
        need(library, "ONNX")
    size = sum(t.numel() * t.element_size() for t in program.state_dict.values())

    def make(file: Path) -> float:
        with quiet("torch.onnx"), _in_words("the ONNX exporter of torch cannot write this network"):
            made: Any = torch.onnx.export(program, dynamo=True, verbose=False)
            made.save(str(file), external_data=size > _INSIDE)
        with _in_words("onnxruntime cannot run this network"):
            runner = onnx_runner(file)
        return _compared(runner, checks, file, _drawing(program))

    difference = tried_out(path, overwrite, make)
    return Exported(path, "onnx", written_bytes(path), difference, free_batch)


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    """Errors of torch's exporter and of onnxruntime as one line with the innermost reason."""
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    failures = (torch.onnx.errors.OnnxExporterError, runtime.Fail, runtime.InvalidGraph)
    try:
        yield
    except (*failures, runtime.NotImplemented, runtime.InvalidArgument) as error:
        inner: BaseException = error
        while inner.__cause__ is not None:
            inner = inner.__cause__
        reason = " ".join(str(inner).split())[:300]
        raise NoOnnxForm(f"{what}: {reason}. A .pt2 or a state-dict has no such bounds") from error


def onnx_runner(path: Path) -> Runner:
    """Runs an ONNX file by onnxruntime on the CPU; its inputs go by the order of the arguments."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(given: Inputs) -> list[Tensor]:
        leaves = [t for t in pytree.tree_leaves(given) if isinstance(t, Tensor)]
        slots = session.get_inputs()
        if len(slots) != len(leaves):
            raise StorageError(
                f"the program takes {len(slots)} inputs, the example has {len(leaves)} tensors"
            )
        feed = {s.name: t.cpu().numpy() for s, t in zip(slots, leaves, strict=True)}
        return [torch.from_numpy(found) for found in session.run(None, feed)]

    return run


def tensors(output: Any) -> list[Tensor]:
    """The tensors of an output, in order, on the CPU."""
    return [t.cpu() for t in pytree.tree_leaves(output) if isinstance(t, Tensor)]


def outputs_of(run: Runner, given: Inputs) -> list[Tensor]:
    """What `run` gives; what is drawn on the way is the same each time."""
    leaves = (t for t in pytree.tree_leaves(given) if isinstance(t, Tensor))
    place = next((t.device for t in leaves), torch.device("cpu"))
    with torch.no_grad(), seeded(place, 0):
        return run(given)


def _drawing(program: ExportedProgram) -> str:
    """Why ONNX can give other outputs than the network though it is right; empty where it cannot."""
    tag = torch.Tag.nondeterministic_seeded
    drawing = [str(n.target) for n in program.graph.nodes if tag in getattr(n.target, "tags", ())]
    if not drawing:
        return ""
    return (
        f": it draws random numbers ({drawing[0]}), which onnxruntime draws in its own way, so that the two "
        "cannot be compared; export a .pt2, which draws as torch does, or make the noise an input"
    )


def _compared(
    run: Runner, checks: Sequence[tuple[Inputs, list[Tensor]]], file: Path, reason: str = ""
) -> float:
    """The largest difference over the checks; one beyond the tolerance is refused."""
    worst = 0.0
    for given, wanted in checks:
        found = outputs_of(run, given)
        worst = max(worst, _difference(found, wanted))
    if not worst <= TOLERANCE:
        raise StorageError(
            f"{file.name} computes something else than the network (difference {worst:.1e} of the "
            f"largest output){reason}; nothing was written"
        )
    return worst


def _difference(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    if [t.shape for t in found] != [t.shape for t in wanted]:
        return float("inf")
    worst = 0.0
    for a, b in zip(found, wanted, strict=True):
        if b.numel() and not torch.equal(a, b):  # NaN as the output of either is a difference
            gap = (a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1e-6)
            worst = max(worst, float(gap)) if gap == gap else float("inf")
    return worst


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """The exporter logs every package it does not find, and warns of what users cannot change."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def other_batch(given: Inputs, batch: int) -> Inputs:
    """The inputs with one sample more: the first again behind every tensor of that batch size."""

    def longer(value: Any) -> Any:
        if isinstance(value, Tensor) and value.dim() and value.shape[0] == batch:
            return torch.cat([value, value[:1]])
        return value

    args, kwargs = pytree.tree_map(longer, given)
    return tuple(args), dict(kwargs)


def batch_of(inputs: Mapping[str, Any] | Sequence[Any]) -> int:
    """The size of the first dimension of the first tensor."""
    found = [t for t in pytree.tree_leaves(inputs) if isinstance(t, Tensor) and t.dim()]
    return found[0].shape[0] if found else 0
