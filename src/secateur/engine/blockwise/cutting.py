"""The second of two passes: every block is read again, cut, proved, and written."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as tree

from ...artifact.container import Spec
from ...artifact.sharded import GradualShards
from ...core.device import place_buffers
from ...core.types import Masks
from ...shrinking.made import Made
from ...structure.fewer_experts import passed_by
from ...structure.fewer_layers import hand_on, new_names
from ...structure.graph.errors import ProofError
from ...structure.graph.export import EXPORT_FAILURES, said
from ...structure.graph.proof import difference, floats
from ...structure.graph.replay import kept_part, replay
from ..step import solve
from .activations import InMemory, OnDisk
from .blocks import Block
from .conductor import Batch, Conductor
from .handed import kept_of
from .job import Job
from .scoring import ScoreShelf
from .skeleton import Skeleton
from .timing import Timer
from .walk import apply

TOLERANCE = 1e-4
"""Relative difference of masked and cut block, in float32 or wider, up to which they are the same."""


def layout(small: nn.Module) -> tuple[dict[str, Spec], dict[str, str]]:
    """What a file of the smaller model holds: name -> dtype and shape; further name -> first name."""
    specs: dict[str, Spec] = {}
    first: dict[int, str] = {}
    same: dict[str, str] = {}
    for name, tensor in small.state_dict(keep_vars=True).items():
        specs[name] = (tensor.dtype, tuple(tensor.shape))
        if first.setdefault(id(tensor), name) != name:
            same[name] = first[id(tensor)]
    return specs, same


@dataclass
class Cutter:
    """Cuts the blocks of a model one after the other.

    Attributes:
        stock: the model without weights, never given any.
        job, masks: what stays of every target.
        shelf: where blocks and the statistics of the first pass come from.
        made: the smaller model in the ways it may have to be edited.
        file: what is written.
        example: one batch that the proof runs on, and all that flows here.
    """

    stock: nn.Module
    job: Job
    masks: Masks
    shelf: ScoreShelf
    made: Sequence[Made]
    file: GradualShards
    example: dict[str, Tensor]
    small: list[nn.Module] = field(init=False)
    names: Mapping[str, str | None] = field(init=False)

    def __post_init__(self) -> None:
        self.small = [replay(copy.deepcopy(self.stock), made.edits) for made in self.made]
        self.names = new_names(self.stock, self.made[0].lost)
        self.whole = copy.deepcopy(self.stock)
        for each in (self.whole, *self.small):
            place_buffers(each, self.shelf.skeleton.device)

    @property
    def model(self) -> nn.Module:
        """The model that the shelf loads blocks into."""
        return self.shelf.skeleton.model

    @property
    def rows(self) -> dict[str, Any]:
        """What the journal says of the blocks that are written."""
        return self.shelf.output.journal["blocks"]

    def cut(self, blocks: Sequence[Block], timer: Timer) -> list[Tensor]:
        """All blocks, then what lies outside of them; what the last block gives on the example."""
        with Conductor(self.model, blocks, [self.example], self._flow).conducting() as conductor:
            for name in self.rows:
                conductor.skip(conductor.blocks[name], self._flow(name))
                timer.skip()
            while (reached := conductor.arrival()) is not None:
                block, args, kwargs = reached
                output = self._one(block, (args, kwargs))
                flow = self._flow(block.name)
                flow.put(0, kept_of(output, (args, kwargs)))
                self.shelf.note()
                conductor.skip(block, flow)
                conductor.forget()
                self.shelf.release(block)
                timer(block)
            last = [floats(kept.get(0)) for kept in conductor.outputs.values()]
        self._outside()
        return last[-1]

    def _flow(self, block: str) -> OnDisk:
        folder = self.shelf.output.partial / ".activations" / f"cut {block}"
        return OnDisk(folder, self.shelf.skeleton.device)

    def _one(self, block: Block, given: Any) -> Any:
        """Cut, prove and write one block; what it gives from now on."""
        shelf, name = self.shelf, self.names.get(block.name, block.name)
        shelf.load(block)
        if name is None:  # a layer that goes
            whole = self.whole.get_submodule(block.name)
            output = run(whole, _state(block.module), given)
            handed = hand_on(whole, given[0], given[1], output)
            effect = difference(floats(output)[:1], floats(handed)[:1])
            self.rows[block.name] = {"error": 0.0, "effect": effect, "holds": list(self._ways)}
            return handed
        before = self._whole(block, given)
        self._solve(block)
        masked = self._whole(block, given, removed=True)
        effect = difference(floats(before), floats(masked))
        return self._proved(block, name, given, self._parts(block), masked, effect)

    def _proved(
        self,
        block: Block,
        name: str,
        given: Any,
        parts: Mapping[str, Tensor],
        masked: Any,
        effect: float,
    ) -> Any:
        """Write the block if it computes what the masked one gave; what it gives."""
        shelf = self.shelf
        errors, outputs = {}, {}
        for way in self._ways:
            errors[way], outputs[way] = self._small(way, name, parts, given, masked)
        holds = [way for way in self._ways if errors[way] <= TOLERANCE]
        if not holds:
            raise ProofError(
                f"'{block.name}' without what goes differs by {min(errors.values()):.1e} from the masked "
                "one: its code holds sizes that no attribute says; prune the model in memory, sc.prune "
                "and sc.shrink"
            )
        digests = self.file.put({f"{name}.{inner}": part for inner, part in parts.items()})
        shelf.output.journal.setdefault("digests", {}).update(digests)
        self.rows[block.name] = {"error": errors[holds[0]], "effect": effect, "holds": holds}
        return outputs[holds[0]]

    @property
    def _ways(self) -> range:
        return range(len(self.made))

    def _solve(self, block: Block) -> None:
        """Let the solver change what survives, then zero what does not, as in memory."""
        view = self.job.view(self.model, self.job.of(block), self.shelf.read(block)[1])
        if view is None:
            return
        recipe, targets = self.job.recipe, view.targets
        mine = {t.name: self.masks[t.name] for t in targets}
        apply(self.model, targets, solve(recipe, view, mine, recipe.scope.groups(targets)))

    def _parts(self, block: Block) -> dict[str, Tensor]:
        """What stays of the block's tensors."""
        cuts = self.made[0].edits.tensors
        return {
            inner: kept_part(f"{block.name}.{inner}", tensor, cuts.get(f"{block.name}.{inner}", {}))
            for inner, tensor in _state(block.module).items()
        }

    def _whole(self, block: Block, given: Any, removed: bool = False) -> Any:
        """What the block gives with all its units, some of them masked or passed by."""
        module = self.whole.get_submodule(block.name)
        state = widened(_state(block.module))
        keep = (
            {n: u for n, u in self.made[0].kept.items() if u and block.owns(n)} if removed else {}
        )
        try:
            with holding(module, state), passed_by(self.whole, keep):
                return called(module, widened(given))
        except EXPORT_FAILURES as error:
            raise ProofError(
                f"'{block.name}' does not run by itself as it does in the model ({said(error)}), so that "
                "nothing can be proved of it; prune the model in memory, sc.prune and sc.shrink"
            ) from error

    def _small(
        self, way: int, name: str, parts: Mapping[str, Tensor], given: Any, masked: Any
    ) -> tuple[float, Any]:
        """How far a cut block is from the masked one, and what it gives in its own precision."""
        module = self.small[way].get_submodule(name)
        try:
            got = run(module, widened(parts), widened(given))
        except (RuntimeError, ValueError, IndexError):  # sizes that its code holds do not fit
            return float("inf"), None
        error = difference(floats(got), floats(masked))
        narrow = any(t.is_floating_point() and t.itemsize < 4 for t in parts.values())
        return error, run(module, parts, given) if narrow else got

    def _outside(self) -> None:
        """What lies in no block, as it was or cut."""
        cuts = self.made[0].edits.tensors
        skeleton, journal = self.shelf.skeleton, self.shelf.output.journal
        digests = journal.setdefault("digests", {})
        for name in self.file.names:
            if name not in digests:
                part = kept_part(name, skeleton.fetch(name), cuts.get(name, {}))
                digests.update(self.file.put({name: part}))
                skeleton.let_go(name)
        self.shelf.note()
        self.file.seal(digests)

    def way(self) -> int:
        """The first way of editing in which every block computes what the masked one does."""
        left = [way for way in self._ways if all(way in row["holds"] for row in self.rows.values())]
        if not left:
            raise ProofError(
                "no one way of editing the modules fits all blocks; prune the model in memory, "
                "sc.prune and sc.shrink"
            )
        return left[0]


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in module.state_dict().items()}


def widened(value: Any) -> Any:
    """Narrow floating tensors in float32, in any structure."""

    def widen(leaf: Any) -> Any:
        narrow = isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.itemsize < 4
        return leaf.float() if narrow else leaf

    return tree.tree_map(widen, value)


@contextmanager
def holding(module: nn.Module, state: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, the module has these parameters; before and after none with values."""
    held = dict(module.named_parameters())
    try:
        for name in held:
            _set(module, name, nn.Parameter(state[name], requires_grad=False))
        yield
    finally:
        for name, parameter in held.items():
            _set(module, name, parameter)


def _set(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
    path, _, leaf = name.rpartition(".")
    module.get_submodule(path)._parameters[leaf] = parameter


def run(module: nn.Module, state: Mapping[str, Tensor], given: Any) -> Any:
    """What a module gives with these parameters."""
    with holding(module, state):
        return called(module, given)


@torch.no_grad()
def called(module: nn.Module, given: Any) -> Any:
    """What a module gives for positional and keyword arguments, as they would be given anew."""
    args, kwargs = tree.tree_map(_copied, given)
    return module(*args, **kwargs)


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def last_output(skeleton: Skeleton, blocks: Sequence[Block], example: Batch) -> list[Tensor]:
    """What the last block of a model gives, its blocks read one by one."""
    room = lambda _: InMemory()  # noqa: E731
    with Conductor(skeleton.model, blocks, [example], room).conducting() as conductor:
        while (block := conductor.next()) is not None:
            skeleton.load(block.name)
            conductor.finish(block)
            conductor.forget()
            skeleton.release(block.name)
        return [floats(kept.get(0)) for kept in conductor.outputs.values()][-1]
