"""Run a model up to one block: blocks that are done give back what they gave, the rest is not run.

The model itself calls the block, with the masks, rotary tables and whatever else it gives to that
block and no other; nothing is assumed about the arguments of a block.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as tree

from ...core.errors import DataError, PlanError
from ...core.modes import mode
from ..collect.observing import forward
from .activations import Activations
from .blocks import WHOLE, Block
from .handed import Given, handed_on, kept_of

Batch = Any
"""Keywords of one call of the model, or an input, or a pair of input and target."""

HOOKS = ("_forward_pre_hooks", "_forward_hooks")
"""Where a module keeps what is called before and after it."""


def bare_copy(module: nn.Module, known: dict[int, Any] | None = None) -> nn.Module:
    """A copy without hooks, which would be copied with all that they know.

    Args:
        module: it is left as it was.
        known: id of an object -> what stands for it in the copy.
    """
    parts = [vars(inside) for inside in module.modules()]
    hooks = [(part, name, part[name]) for part in parts for name in HOOKS]
    try:
        for part, name, _ in hooks:
            part[name] = OrderedDict()
        return copy.deepcopy(module, known)
    finally:
        for part, name, held in hooks:
            part[name] = held


def _blank(value: Any) -> Any:
    """NaN in the place of floating-point values."""
    if not (isinstance(value, Tensor) and value.is_floating_point()):
        return value
    return value.new_full((), float("nan")).expand(value.shape)


def _has_nan(value: Any) -> bool:
    floats = (t for t in tree.tree_leaves(value) if isinstance(t, Tensor) and t.is_floating_point())
    return any(bool(torch.isnan(t).any()) for t in floats)


class _Stop(Exception):
    """The block that was looked for has been reached."""

    def __init__(self, block: str, given: tuple[Any, Any], output: Any = None) -> None:
        super().__init__(block)
        self.block, self.given, self.output = block, given, output


class Stream:
    """What the last finished block of every stack gave, for each batch.

    Args:
        room: block -> where what it gives is to be kept.
    """

    def __init__(self, room: Callable[[str], Activations]) -> None:
        self.room = room
        self.outputs: dict[str, Activations] = {}
        self.last: dict[str, str] = {}  # stack -> its block that was finished last
        self._stale: list[Activations] = []

    def follow(self, block: Block, after: Activations) -> None:
        """The block is done, and `after` is what it gave."""
        if block.stack in self.outputs:
            self._stale.append(self.outputs[block.stack])
        self.outputs[block.stack] = after
        self.last[block.stack] = block.name

    def forget(self) -> None:
        """Let go of outputs that nothing needs any more."""
        for activations in self._stale:
            activations.clear()
        self._stale.clear()


class Conductor:
    """Takes over the `forward` of every block for the time of a walk.

    Args:
        model: the whole model; parts that are not called need not be loaded.
        blocks: its repeated blocks.
        batches: the calibration batches, each the keywords of one call.
        activations: stack -> what its last finished block gave for each batch.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: Iterable[Block],
        batches: Sequence[Batch],
        activations: Callable[[str], Activations],
    ) -> None:
        self.model, self.batches = model, batches
        self.blocks = {block.name: block for block in blocks}
        self.stream = self._now = Stream(activations)
        self._done: set[str] = set()
        self._wanted: str | None = None
        self._number = 0
        self._blanked = False

    @contextmanager
    def conducting(self) -> Iterator[Conductor]:
        """Inside, blocks are called by this object; afterwards everything is as before."""
        hooks = []
        for name, block in self.blocks.items():
            block.module.forward = self._stand_in(name, block.module.forward)
            hooks.append(block.module.register_forward_hook(self._after(name), with_kwargs=True))
        try:
            with mode(self.model, train=False):
                yield self
        finally:
            for hook in hooks:
                hook.remove()
            for block in self.blocks.values():
                del block.module.forward

    def _stand_in(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name in self._done:
                return self._given_back(name, (args, kwargs))
            self._check_chain(name, (args, kwargs))
            if self._wanted != name:
                raise _Stop(name, (args, kwargs))
            return original(*args, **kwargs)

        return call

    def _given_back(self, name: str, given: Given) -> Any:
        """What stands for a block that is done: only what the last of its list gave is kept.

        Nothing may read what those before it give but the next of them, which does not run: they give
        nothing but NaN, which shows where it goes.
        """
        stack = self.blocks[name].stack
        output = handed_on(self._now.outputs[stack].get(self._number), given)
        if name == self._now.last[stack] or _has_nan(output):
            return output
        self._blanked = True
        return tree.tree_map(_blank, output)

    def _check_chain(self, name: str, given: Given) -> None:
        """Refuse a network in which a block reads what another than the one before it gave."""
        if self._blanked and _has_nan(given):
            raise PlanError(
                f"'{name}' reads what other blocks than the one before it give, so that they cannot be "
                f"pruned one after another; {WHOLE}"
            )

    def _after(self, name: str) -> Callable[..., None]:
        """Stops behind the block that is wanted, after the hooks that were put in front of this one."""

        def stop(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if name == self._wanted and name not in self._done:
                raise _Stop(name, (args, kwargs), output)

        return stop

    def next(self) -> Block | None:
        """The block that the model calls first of those that are not done; None after the last."""
        reached = self.arrival()
        return None if reached is None else reached[0]

    def arrival(self) -> tuple[Block, tuple[Any, ...], dict[str, Any]] | None:
        """That block with the arguments and keywords that the first batch gives it."""
        self._wanted = None
        if len(self._done) == len(self.blocks):
            return None
        reached = self._call(0)
        return None if reached is None else (self.blocks[reached.block], *reached.given)

    def outputs_of(
        self, block: Block, before: Callable[[int], object] = lambda number: None
    ) -> Iterator[tuple[int, Any]]:
        """(number of the batch, output of the block) for every batch, with the weights it has now.

        `before` is called with each number before its batch runs.
        """
        for number in range(len(self.batches)):
            before(number)
            yield number, self._reach(block, number, block.name).output

    def given(self, block: Block, number: int, stream: Stream) -> tuple[tuple[Any, ...], Any]:
        """The arguments and keywords that the model gives the block where `stream` comes before it."""
        self._now = stream
        try:
            args, kwargs = self._reach(block, number, None).given
        finally:
            self._now = self.stream
        return args, kwargs

    def _reach(self, block: Block, number: int, wanted: str | None) -> _Stop:
        self._wanted = wanted
        reached = self._call(number)
        if reached is None or reached.block != block.name:
            raise PlanError(
                f"batch {number} does not run through '{block.name}'; the block-wise walk needs "
                "a model whose blocks run in the same order for every batch"
            )
        return reached

    def run(self, block: Block, before: Callable[[int], object] = lambda number: None) -> None:
        """Run the block on every batch and let go of what it gave: for hooks."""
        for _ in self.outputs_of(block, before):
            pass

    def enough(self, block: Block) -> Callable[..., None]:
        """A hook in front of a layer at which this batch need not go on through the block."""

        def stop(*_: object) -> None:
            if block.name == self._wanted:
                raise _Stop(block.name, ((), {}))

        return stop

    def copy_of(self, block: Block) -> nn.Module:
        """The block as it is now, as a module of its own that runs by itself, without any hooks."""
        made = bare_copy(block.module)
        del made.forward
        return made

    def finish(self, block: Block) -> None:
        """Keep what the block gives now as the input of what follows."""
        after = self.stream.room(block.name)
        for number in range(len(self.batches)):
            reached = self._reach(block, number, block.name)
            after.put(number, kept_of(reached.output, reached.given))
        self.skip(block, after)

    def skip(self, block: Block, after: Activations) -> None:
        """The block is done; what it gave is already there."""
        self.stream.follow(block, after)
        self._done.add(block.name)

    def forget(self) -> None:
        """Let go of outputs that nothing needs any more."""
        self.stream.forget()

    @property
    def outputs(self) -> dict[str, Activations]:
        """Stack -> what its last finished block gave."""
        return self.stream.outputs

    def batch(self) -> Batch:
        """The batch that runs now."""
        return self.batches[self._number]

    @torch.no_grad()
    def _call(self, number: int) -> _Stop | None:
        """Where the model was stopped; without the traceback, which holds every tensor of the pass."""
        self._number, self._blanked = number, False
        try:
            forward(self.model, self.batches[number])
        except _Stop as reached:
            return reached.with_traceback(None)
        except (TypeError, IndexError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            if self._done:
                raise PlanError(
                    f"{type(self.model).__name__} does not run with its blocks taken one after another "
                    f"({reason}); {WHOLE}"
                ) from error
            raise DataError(
                f"the model cannot take calibration batch {number}: {reason}"
            ) from error
        return None
