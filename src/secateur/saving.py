"""The public face of artifacts: save, load."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Collection, Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .artifact import huggingface
from .artifact.architecture import build, hugging_face, is_hugging_face, known_origin
from .artifact.card import card
from .artifact.constants import read_constants, write_constants
from .artifact.container import header_digest
from .artifact.covered import digest_of, load_covered
from .artifact.file import memory, save_sparse
from .artifact.fit import add, added, misfit, put, retype, settle, unlike
from .artifact.folder import atomic_folder
from .artifact.manifest import (
    CARD,
    CONSTANTS,
    MASKS,
    NAME,
    WEIGHTS,
    Manifest,
    Provenance,
    read_manifest,
    versions,
    write_manifest,
)
from .artifact.masks import load_masks, save_masks
from .artifact.plain import as_plain
from .artifact.sharded import read_shards, shard_digests
from .core.axes import Basis
from .core.component import from_dict
from .core.edits import Edits
from .core.errors import PlanError, SecateurError, StorageError
from .core.network import plain_network
from .core.origin import Architecture, Origin, constructed, set_origin
from .core.result import Result
from .core.run_time import check_settings
from .materialise import HardMasks
from .models.registry import BUILT_IN
from .structural import Shrunk
from .structure.example import arguments, example_like
from .structure.graph.capture import EXPORT_FAILURES
from .structure.graph.proof import gap
from .structure.graph.replay import replay

OWN = {f"{b.__module__}:{b.__qualname__}": b for b in BUILT_IN.values()}
"""What is built unasked when an artifact is loaded, beside the model classes of transformers."""

Shapes = dict[str, tuple[int, ...]]


def save(
    what: Result | Shrunk | nn.Module,
    path: str | os.PathLike[str],
    *,
    architecture: str | Callable[..., nn.Module] | None = None,
    arguments: Mapping[str, Any] | None = None,
    tokenizer: Any = None,
    compact: bool | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a pruned network as a folder that `load` rebuilds it from; returns the folder.

    The folder holds `model.safetensors`, `pruning.json` (how to build the network, what was taken
    out of it, the record) and a model card; for Hugging Face models also `config.json`, the
    generation configuration and the tokenizer. It appears at once or not at all.

    Args:
        what: a result of `prune` or `shrink`, or a network: the history goes with networks.
        path: a folder, new or empty.
        architecture: `package.module:name`, or the function itself, that builds the stock network.
            Networks of `secateur.models` made by name and models of transformers need none; of
            others without it `load` has to be given a stock network.
        arguments: keyword arguments of `architecture`, plain data.
        tokenizer: a tokenizer or processor, or a folder that holds one. Hugging Face models read
            from a folder bring their own.
        compact: store masked weights as kept values and coded masks. On unless it is a Hugging Face
            model, whose own loaders need whole weights (the masks lie beside them).
        overwrite: let an older artifact go for the new one.

    >>> import tempfile
    >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> folder = save(net, Path(tempfile.mkdtemp()) / "net")
    >>> sorted(file.name for file in folder.iterdir())
    ['README.md', 'model.safetensors', 'pruning.json']
    """
    model, masks, record = _parts(plain_network(what) if isinstance(what, nn.Module) else what)
    origin = known_origin(model)
    if architecture is not None:
        named = _named(architecture, arguments or {})
        origin = origin.model_copy(update={"architecture": named})
    sparse = compact if compact is not None else not is_hugging_face(model)
    manifest = _described(model, origin, record)

    def fill(folder: Path) -> None:
        _write_weights(folder, model.state_dict(), masks, sparse)
        if is_hugging_face(
            model
        ):  # its class makes from its configuration what is not in the state
            huggingface.add_configuration(model, folder)
        else:
            write_constants(folder / CONSTANTS, model)
        huggingface.add_tokenizer(model, tokenizer, folder)
        _write_description(folder, manifest, huggingface.hub_name(model))

    atomic_folder(path, fill, _is_artifact if overwrite else None)
    return Path(path)


def _parts(
    what: Result | Shrunk | nn.Module,
) -> tuple[nn.Module, dict[str, Tensor], dict[str, Any]]:
    """The network, its masks and its record."""
    model = what if isinstance(what, nn.Module) else what.model
    record = {} if isinstance(what, nn.Module) else dict(what.record)
    masks = dict(what.masks) if isinstance(what, Result) else HardMasks.of(model).masks
    return model, masks, record


def _named(
    architecture: str | Callable[..., nn.Module], arguments: Mapping[str, Any]
) -> Architecture:
    name = architecture
    if not isinstance(name, str):
        name = f"{getattr(name, '__module__', '?')}:{getattr(name, '__qualname__', '?')}"
    found = constructed(name, arguments)
    if found is None or "<" in name or name.startswith("__main__:"):
        raise PlanError(
            f"architecture '{name}' with arguments {dict(arguments)} cannot be named in a file; give "
            "package.module:name of a function that can be imported, and plain numbers and words"
        )
    return found


def describe(model: nn.Module, folder: Path, record: Mapping[str, Any], *, stock: bool) -> None:
    """Card and `pruning.json` of a folder whose weights are written, of a model that has none.

    Args:
        model: the network on the meta device, its history with it.
        folder: holds the weights as `save` or `GradualShards` writes them, and the configuration.
        record: plain data.
        stock: whether the architecture alone builds it, which shapes cannot tell.
    """
    manifest = _described(model, known_origin(model), record, stock)
    _write_description(folder, manifest, huggingface.hub_name(model))


def _described(
    model: nn.Module, origin: Origin, record: Mapping[str, Any], stock: bool | None = None
) -> Manifest:
    """The manifest without digests; a network that could not be built again is refused here."""
    current = hugging_face(model)
    if stock is None:
        stock = current is not None and _is_stock(model, current, origin.example)
    more: Shapes = {}
    if not stock and origin.architecture is not None:
        more = _checked_history(model, origin)
    return Manifest(
        architecture=current if stock else origin.architecture,
        made=f"{type(model).__module__}:{type(model).__qualname__}",
        stock=stock,
        edits=origin.edits,
        added=more,
        example=origin.example,
        weights="0" * 64,
        provenance=Provenance(source=origin.source, record=as_plain(record), versions=versions()),
    )


def _is_stock(model: nn.Module, architecture: Architecture, example: Any) -> bool:
    """Whether its architecture alone builds this network: alike in every module, or at work.

    Attributes that were only read while the modules were built may be those of the larger network;
    then the outputs on an input like the example decide.
    """
    with torch.device("meta"):
        twin = build(architecture, OWN)
    if unlike(model, twin) is None:
        return True
    state = model.state_dict()
    if example is None or misfit(twin, {n: tuple(t.shape) for n, t in state.items()}):
        return False
    twin = build(architecture, OWN)
    put(twin, state)
    return gap(model, twin, *arguments(example_like(example))) < 1e-6


def _checked_history(model: nn.Module, origin: Origin) -> Shapes:
    """Carry the history out once more on shapes alone: it must lead to this network."""
    assert origin.architecture is not None
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if any(edits.retrace for edits in origin.edits):
        return {}  # seen to be right when it was traced
    trust = (origin.architecture.constructor.partition(":")[0],)
    device = "meta" if any(p.is_meta for p in model.parameters()) else "cpu"
    with torch.device(device):
        made = build(origin.architecture, OWN, trust)
        for edits in origin.edits:
            made = _again(made, edits)
    more = added(made, shapes)
    add(made, more)
    wrong = misfit(made, shapes)
    if wrong:
        raise PlanError(
            f"the network is not what its history leads to: {wrong}. Take structures out with "
            "sc.shrink, which remembers; or export it, or save its state_dict"
        )
    return more


def _write_weights(
    folder: Path, state: Mapping[str, Tensor], masks: Mapping[str, Tensor], sparse: bool
) -> None:
    save_sparse(folder / WEIGHTS, state, masks if sparse else None)
    if masks and not sparse:
        save_masks(folder / MASKS, masks)


def _write_description(folder: Path, manifest: Manifest, base: str) -> None:
    """Card and manifest, with the digests of what lies in the folder."""
    shards = shard_digests(folder)
    digests: dict[str, Any] = {"shards": shards}
    digests["weights"] = digest_of(shards) if shards else header_digest(folder / WEIGHTS)
    for key, name in (("masks", MASKS), ("constants", CONSTANTS)):
        if (folder / name).exists():
            digests[key] = header_digest(folder / name)
    files = sorted({p.name for p in folder.iterdir() if p.name[0] != "."} | {CARD, NAME})
    full = manifest.model_copy(update={**digests, "files": tuple(files)})
    name = full.made.partition(":")[2]
    (folder / CARD).write_text(card(full, f"{name}, pruned", base), encoding="utf-8")
    write_manifest(folder, full)


def _is_artifact(folder: Path) -> bool:
    """Whether a folder is an artifact and holds nothing else."""
    try:
        known = read_manifest(folder).files
    except SecateurError:
        return False
    return all(entry.name in known and entry.is_file() for entry in folder.iterdir())


def load(
    path: str | os.PathLike[str],
    model: nn.Module | None = None,
    *,
    trust: Collection[str] = (),
    limit: int | None = None,
) -> nn.Module:
    """The network of a folder that `save` wrote, in evaluation mode; its masks hold again.

    Every byte that matters is checked against digests. Nothing in the folder is executed, and what
    it names is built only where that is a network of Secateur, a model class of transformers, or
    of a package that you trust.

    Args:
        path: the folder.
        model: a stock network as it was before anything was taken out; a copy of it is used.
        trust: packages whose functions may be called to build the network, `("yourpackage",)`.
        limit: the most bytes that the tensors may take; the machine's memory by default.

    >>> import tempfile
    >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> folder = save(net, Path(tempfile.mkdtemp()) / "net")
    >>> again = load(folder, model=nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)))
    >>> torch.equal(again[0].weight, net[0].weight)
    True
    """
    folder, allowed = Path(path), memory() if limit is None else limit
    manifest = read_manifest(folder)
    try:
        read = _from_covered if manifest.covered else _from_own
        made, masks = read(folder, manifest, model, trust, allowed)
        HardMasks(made, masks)
    except SecateurError as error:
        raise StorageError(f"cannot load '{folder}': {error}") from error
    history = () if manifest.stock else manifest.edits
    set_origin(
        made,
        Origin(
            architecture=manifest.architecture,
            edits=history,
            source=manifest.provenance.source,
            example=manifest.example,
        ),
    )
    return made.eval()


def _from_own(
    folder: Path,
    manifest: Manifest,
    model: nn.Module | None,
    trust: Collection[str],
    allowed: int,
) -> tuple[nn.Module, Mapping[str, Tensor]]:
    """Network and masks of files that `save` wrote."""
    found = read_shards(folder, manifest.shards, allowed, manifest.weights)
    masks: Mapping[str, Tensor] = found.masks
    if manifest.masks is not None:
        masks = load_masks(folder / MASKS, limit=allowed, expected=manifest.masks)
    made = _rebuilt(manifest, found.state, model, trust, allowed)
    put(made, found.state)
    check_settings(made)
    if manifest.constants is not None:
        read_constants(folder / CONSTANTS, made, manifest.constants, allowed)
    return made, masks


def _from_covered(
    folder: Path,
    manifest: Manifest,
    model: nn.Module | None,
    trust: Collection[str],
    allowed: int,
) -> tuple[nn.Module, Mapping[str, Tensor]]:
    """Network of files in the layout of transformers; its masks are the zeros."""
    if digest_of(manifest.covered) != manifest.weights:
        raise StorageError("the list of its files does not match its digest")
    made = load_covered(folder, manifest.covered, manifest.architecture, allowed)
    parameters = dict(made.named_parameters())
    for name in manifest.zeros:
        if name not in parameters:
            raise StorageError(f"it names masks of '{name}', which the network does not have")
    return made, {name: parameters[name].detach() != 0 for name in manifest.zeros}


def _largest_stock(manifest: Manifest, shapes: Shapes) -> int:
    """Bytes that the stock network may take: the sizes it had before the edits, in float64.

    Buffers that are not stored get a share of their own, layers that are gone what the others have.
    """
    sizes = {name: list(shape) for name, shape in shapes.items()}
    for edits in reversed(manifest.edits):
        for name, cuts in edits.tensors.items():
            for dim, kept in cuts.items():
                if dim < len(sizes.get(name, ())):
                    sizes[name][dim] = kept.size
    gone = sum(len(edits.layers) for edits in manifest.edits)
    return (8 * sum(map(prod, sizes.values())) + (64 << 20)) * (1 + gone)


def _rebuilt(
    manifest: Manifest,
    state: Mapping[str, Tensor],
    model: nn.Module | None,
    trust: Collection[str],
    allowed: int,
) -> nn.Module:
    """The network with the right shapes: stock, the edits carried out on it."""
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if model is not None:
        made = copy.deepcopy(model)
        HardMasks.of(made).remove()
    elif manifest.architecture is not None:
        most = _largest_stock(manifest, shapes)
        if most > allowed:
            raise StorageError(f"its stock network takes {most:,} bytes, {allowed:,} are allowed")
        made = build(manifest.architecture, OWN, trust, 1000 + 32 * len(shapes), most)
    else:
        raise StorageError(
            f"it does not say how its network ({manifest.made}) is built; pass model=…, a stock "
            "network that you built"
        )
    if misfit(made, shapes) is None:
        return made
    todo = () if manifest.stock and model is None else manifest.edits
    if any(edits.retrace is not None for edits in todo):  # the network is run again
        retype(made, state)
    for edits in todo:
        made = _replayed(made, edits)
    add(made, manifest.added)
    return made


def _again(model: nn.Module, edits: Edits) -> nn.Module:
    """One change done again, its basis first: shapes alone, the stored weights come later."""
    if edits.basis is not None:
        from_dict(Basis, dict(edits.basis)).rewrite(model, None)
    if edits.retrace is not None:
        settle(model)
    return replay(model, edits)


def _replayed(model: nn.Module, edits: Edits) -> nn.Module:
    """`replay`; what goes wrong while a network is traced again is the artifact's fault."""
    try:
        return _again(model, edits)
    except EXPORT_FAILURES as error:
        reason = next(iter(str(error).splitlines()), "")
        raise StorageError(f"what was removed cannot be removed again: {reason:.200}") from error
