"""Ways to run a model: each turns a model and a call into a function without arguments."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..core.errors import PlanError, unknown
from ..core.extras import need
from .forward import Call

Runner = Callable[[], object]


def runner(runtime: str, model: nn.Module, call: Call, threads: int | None = None) -> Runner:
    """The function that runs `model` on `call` once under `runtime`.

    Args:
        runtime: `eager`, `compile` (torch.compile, static shapes), or `onnxruntime` (CPU).
        model: in evaluation mode.
        call: the arguments, on the model's device.
        threads: for runtimes that keep their own pool (onnxruntime).
    """
    if runtime not in RUNTIMES:
        raise unknown("runtime", runtime, RUNTIMES)
    return RUNTIMES[runtime](model, call, threads)


def eager(model: nn.Module, call: Call, threads: int | None = None) -> Runner:
    """The module as it is."""
    return lambda: model(*call.args, **call.kwargs)


def compiled(
    model: nn.Module, call: Call, threads: int | None = None, *, backend: str = "inductor"
) -> Runner:
    """torch.compile for exactly these shapes; compiling happens in the first run.

    What was compiled before is forgotten, since it counts towards torch's limit of programs; a model
    for which torch gave up at that limit would quietly run eagerly: that is an error here.
    """
    torch._dynamo.reset()
    program = torch.compile(model, dynamic=False, backend=backend)

    def run() -> object:
        try:
            with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
                return program(*call.args, **call.kwargs)
        except torch._dynamo.exc.FailOnRecompileLimitHit as error:
            raise PlanError(
                "torch.compile gives up on this model: it had to compile it again and again, "
                "because something it reads changes at every call; measure it eagerly"
            ) from error

    return run


def onnxruntime(model: nn.Module, call: Call, threads: int | None = None) -> Runner:
    """Exported to ONNX for exactly these shapes and run by onnxruntime on the CPU."""
    ort = need("onnxruntime", "runtime 'onnxruntime'")
    need("onnxscript", "runtime 'onnxruntime'")  # by the exporter
    tensors = call.tensors()
    if any(tensor.device.type != "cpu" for tensor in tensors):
        raise PlanError("runtime 'onnxruntime' is measured on the CPU; move the model there")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    content = _onnx(model, call)
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    slots = session.get_inputs()  # in the order of the arguments
    feed = {slot.name: tensor.numpy() for slot, tensor in zip(slots, tensors, strict=True)}
    return lambda: session.run(None, feed)


RUNTIMES: dict[str, Callable[[nn.Module, Call, int | None], Runner]] = {
    "eager": eager,
    "compile": compiled,
    "onnxruntime": onnxruntime,
}


def _onnx(model: nn.Module, call: Call) -> bytes:
    with _hushed("torch.onnx"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            model, call.args, kwargs=call.kwargs, dynamo=True, verbose=False
        )
        content = io.BytesIO()
        program.save(content)
    return content.getvalue()


@contextmanager
def _hushed(name: str) -> Iterator[None]:
    """The exporter logs every package it does not find."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
