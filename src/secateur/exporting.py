"""The public face of exports: files that run without Secateur."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from .artifact.huggingface import is_stock_folder, stock_config, stock_model
from .artifact.manifest import NAME
from .core.errors import PlanError, StorageError, unknown
from .core.network import plain_network
from .core.origin import origin_of
from .core.result import Result
from .core.run_time import run_time_layers
from .export.files import Exported
from .export.program import (
    NoOnnxForm,
    batch_of,
    other_batch,
    outputs_of,
    save_onnx,
    save_pt2,
    tensors,
)
from .export.tensors import save_state_dict
from .materialise import HardMasks
from .saving import load
from .structural import Shrunk
from .structure.example import arguments, example_like
from .structure.graph.export import EXPORT_FAILURES, as_traced, said
from .structure.graph.export import export as capture

FORMATS = {"pt2": ".pt2", "onnx": ".onnx", "gguf": ".gguf", "state-dict": ".safetensors"}
"""Format -> the suffix that means it."""

TORCHAO = "torchao"
"""The format that no suffix means: a safetensors file, too."""

MASKED = "what is decided for every input is masked in this file, everything is computed: no work is saved"


def export(
    what: Result | Shrunk | nn.Module | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    to: str | None = None,
    example: Any = None,
    kind: str | None = None,
    tokenizer: Any = None,
    equal_widths: bool = False,
    trust: Collection[str] = (),
    overwrite: bool = False,
) -> Exported:
    """Write a network in a form that other programs run; the file is read back and compared.

    Args:
        what: a result of `prune` or `shrink`, a network, or a folder: an artifact, or a model as
            transformers saves it.
        out: the file.
        to: `pt2` (torch.export), `onnx`, `gguf` (llama.cpp), `state-dict` (safetensors) or `torchao`
            (safetensors with integers); by default what the suffix of `out` says.
        example: an input, for `pt2` and `onnx`; by default one like that on which the network was
            traced. With two samples or more the file takes any batch size, where the network does.
        kind: of GGUF: `f32` (the default), `f16`, `q8_0` or `q4_0`; of torchao: `int8` (the default)
            or `int4`; other formats have none.
        tokenizer: of GGUF; an artifact's own by default.
        equal_widths: of GGUF: give narrower layers neurons and heads of zeros, up to the widest.
            This computes the same, and fits the families whose layout has one width for all.
        trust: as in `load`, where `what` is a folder.
        overwrite: replace the file.

    >>> import tempfile
    >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> export(net, Path(tempfile.mkdtemp()) / "net.pt2", example=torch.zeros(2, 3)).free_batch
    True
    """
    path, format_ = Path(out), _format(Path(out), to)
    _refuse_ignored(format_, kind, equal_widths)
    if format_ == "gguf":
        source = _source(what, trust)
        _refuse_run_time(source, format_)
        words = tokenizer if tokenizer is not None else _own_tokenizer(what)
        return _gguf(source, path, words, kind or "f32", equal_widths, overwrite)
    model = _network(what, trust)
    if format_ == "state-dict":
        _refuse_run_time(model, format_)
        return save_state_dict(model, path, overwrite=overwrite)
    if format_ == TORCHAO:
        _refuse_run_time(model, format_)
        from .export.torchao import save_torchao

        run = _runner(model, example)
        return save_torchao(model, path, kind or "int8", run, overwrite=overwrite)
    made = _program(model, path, format_, example, overwrite)
    return replace(made, notes=(*made.notes, MASKED)) if run_time_layers(model) else made


def _refuse_ignored(format_: str, kind: str | None, equal_widths: bool) -> None:
    """What another format has would be passed over."""
    if kind is not None and format_ not in ("gguf", TORCHAO):
        raise PlanError(
            f"{format_} has no kinds, and '{kind}' would be ignored; leave it out, or export to gguf or "
            f"{TORCHAO}"
        )
    if equal_widths and format_ != "gguf":
        raise PlanError(f"equal widths are of gguf, {format_} has any widths; leave them out")


def _refuse_run_time(model: nn.Module | Path, format_: str) -> None:
    """Weights alone cannot say what layers decide for every input."""
    found = next(iter(run_time_layers(model)), None) if isinstance(model, nn.Module) else None
    if found is not None:
        raise PlanError(
            f"'{found}' decides for every input what it leaves out, which {format_} has no form for; use "
            "secateur.save, or a .pt2 or .onnx, which compute everything and mask"
        )


def _format(path: Path, to: str | None) -> str:
    if to is not None:
        if to not in (*FORMATS, TORCHAO):
            raise unknown("format to export to", to, (*FORMATS, TORCHAO))
        return to
    for name, suffix in FORMATS.items():
        if path.suffix == suffix:
            return name
    raise PlanError(
        f"'{path.name}' does not say its format; end it with {', '.join(FORMATS.values())}, or pass "
        f"to={'|'.join((*FORMATS, TORCHAO))}"
    )


def opened(folder: Path, trust: Collection[str] = ()) -> nn.Module:
    """The network of a folder, whether `save` or transformers wrote it, in evaluation mode."""
    model = stock_model(folder) if is_stock_folder(folder) else load(folder, trust=trust)
    return model.eval()


def network_in(folder: Path, trust: Collection[str] = ()) -> nn.Module:
    """`opened`, of a folder that was named as a network; one that holds none is an error that says so."""
    if not is_stock_folder(folder) and not (folder / NAME).exists():
        raise StorageError(
            f"'{folder}' holds neither {NAME} (secateur) nor config.json (transformers)"
        )
    return opened(folder, trust)


def _network(what: Any, trust: Collection[str]) -> nn.Module:
    """The network, in a copy without guards, in evaluation mode."""
    if isinstance(what, str | os.PathLike):
        model = opened(Path(what), trust)
    else:
        model = copy.deepcopy(plain_network(what) if isinstance(what, nn.Module) else what.model)
    HardMasks.of(model).remove()
    return model.eval()


def _source(what: Any, trust: Collection[str]) -> Any:
    """What GGUF is written of: a folder of transformers is read tensor by tensor."""
    if isinstance(what, str | os.PathLike) and is_stock_folder(Path(what)):
        return Path(what)
    return _network(what, trust)


def _program(model: nn.Module, path: Path, format_: str, example: Any, overwrite: bool) -> Exported:
    origin = origin_of(model)
    remembered = origin.example if example is None and origin is not None else None
    if remembered is not None:
        example = example_like(remembered)
    if example is None:
        raise PlanError(
            f"{format_} needs an input to capture the network on; pass example=… (a tensor, a tuple "
            "of arguments or a dict of keywords)"
        )
    args, kwargs = arguments(example)
    given = (args, kwargs)
    with torch.no_grad(), as_traced(model):
        run = lambda inputs: tensors(model(*inputs[0], **inputs[1]))  # noqa: E731
        checks = [
            (given, _first_run(model, lambda: outputs_of(run, given), remembered is not None))
        ]
        program, free = _captured(model, args, kwargs)
        other = [other_batch(given, batch_of(given))] if free else []
        checks += [(inputs, outputs_of(run, inputs)) for inputs in other]
    write = save_pt2 if format_ == "pt2" else save_onnx
    try:
        return write(program, path, checks, free_batch=free, overwrite=overwrite)
    except NoOnnxForm:  # a size that follows the batch may be what has no form: that of the example
        if not free:
            raise
        with torch.no_grad(), as_traced(model):
            program, _ = capture(model, args, kwargs, False)
        return write(program, path, checks[:1], free_batch=False, overwrite=overwrite)


def _runner(model: nn.Module, example: Any) -> Callable[[nn.Module], list[Tensor]] | None:
    """The outputs of a network on the example, or on one as it was traced on; None where none is known."""
    origin = origin_of(model)
    remembered = origin.example if example is None and origin is not None else None
    if remembered is not None:
        example = example_like(remembered)
    if example is None:
        return None
    args, kwargs = arguments(example)
    with torch.no_grad(), as_traced(model):
        _first_run(model, lambda: tensors(model(*args, **kwargs)), remembered is not None)

    def run(network: nn.Module) -> list[Tensor]:
        with torch.no_grad(), as_traced(network):
            return tensors(network(*args, **kwargs))

    return run


def _first_run(model: nn.Module, run: Callable[[], list[Tensor]], remembered: bool) -> list[Tensor]:
    """The outputs; refuses an example that the network cannot take: one made anew may have such values."""
    try:
        return run()
    except EXPORT_FAILURES as error:
        made = (
            "an example of the shapes it was traced on, integers all 1"
            if remembered
            else "the example"
        )
        raise PlanError(
            f"{type(model).__name__} does not run on {made}: {said(error)}. Pass example=… with values "
            "that it takes"
        ) from error


def _captured(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[ExportedProgram, bool]:
    """The network as a program, and whether its batch size is free."""
    try:
        return capture(model, args, kwargs, True)
    except EXPORT_FAILURES as error:
        raise PlanError(
            f"{type(model).__name__} cannot be captured as a program: {said(error)}. Let control "
            "flow in forward() depend on shapes only, or export its state-dict"
        ) from error


def _own_tokenizer(what: Any) -> Any:
    """The tokenizer in an artifact's folder."""
    if isinstance(what, str | os.PathLike) and not Path(what).is_dir():
        raise StorageError(f"there is no folder '{what}'; check the path")
    if not isinstance(what, str | os.PathLike) or not Path(what, "tokenizer.json").exists():
        raise PlanError("GGUF holds a tokenizer; pass tokenizer=…, or save it with the artifact")
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(what, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(f"the tokenizer in '{what}' cannot be read: {error}") from error


def _gguf(
    source: nn.Module | Path,
    path: Path,
    tokenizer: Any,
    kind: str,
    equal_widths: bool,
    overwrite: bool,
) -> Exported:
    from .export.gguf import save_gguf

    made = save_gguf(
        source,
        path,
        tokenizer=tokenizer,
        config=stock_config(source) if isinstance(source, Path) else None,
        kind=kind,
        equal_widths=equal_widths,
        overwrite=overwrite,
    )
    notes = (f"architecture {made.arch}, {made.kind}", *made.notes)
    return Exported(path, "gguf", made.bytes, notes=notes)
