"""The network as it was, beside the one that is pruned: one block at a time, on the same batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import PlanError
from ..collect.entering import called_at, entering
from .activations import Activations
from .blocks import Block
from .conductor import Conductor, Stream
from .handed import Given, kept_of
from .stages import Stage, stopping


class _Enough(Exception):
    """All layers that were looked at have run."""


class Original:
    """Holds a copy of the block at hand, and what the blocks before it gave when they were dense.

    Args:
        conductor: of the walk; it calls the model up to the block.
        room: block -> where what it gave is to be kept.
    """

    def __init__(self, conductor: Conductor, room: Callable[[str], Activations]) -> None:
        self.stream = Stream(room)
        self._conductor = conductor
        self._held: tuple[Block, nn.Module] | None = None
        self._entered: dict[str, list[Tensor]] = {}
        self._given: Given = ((), {})

    def hold(self, block: Block) -> None:
        """Copy the block, whose weights are those of the dense network now."""
        self._held = (block, self._conductor.copy_of(block))

    def finish(self) -> None:
        """Keep what the dense block gives, and let go of it."""
        block, _ = self._at_hand()
        after = self.stream.room(block.name)
        for number in range(len(self._conductor.batches)):
            output = self.run(number)
            after.put(number, kept_of(output, self._given))
        self.stream.follow(block, after)
        self._held = None

    @torch.no_grad()
    def run(self, number: int) -> Any:
        """What the dense block gives for a batch; None where layers were watched and no more is needed."""
        block, module = self._at_hand()
        self._entered.clear()
        args, kwargs = self._given = self._conductor.given(block, number, self.stream)
        try:
            return module(*args, **kwargs)
        except _Enough:
            return None

    @contextmanager
    def watching(self, stage: Stage) -> Iterator[None]:
        """Inside, `run` notes what enters the layers of a stage."""
        block, module = self._at_hand()
        start = len(block.name) + 1
        with ExitStack() as stack:
            for target in stage.targets:
                param = target.members[0].param
                layer, weight = called_at(module, param[start:])
                note = self._noting(param, weight)
                stack.callback(layer.register_forward_pre_hook(note, with_kwargs=True).remove)
            stack.enter_context(stopping(module, [path[start:] for path in stage.beyond], _stop))
            try:
                yield
            finally:
                self._entered.clear()

    def entered(self, param: str) -> Tensor:
        """What a weight multiplied when `run` went through it, call by call."""
        if not self._entered.get(param):
            raise PlanError(
                f"'{param}' does not run at the same place as in the dense network, so that the two "
                "cannot be compared; leave it out, or use a solver that does not compare"
            )
        return self._entered[param].pop(0)

    def _noting(self, param: str, weight: str) -> Callable[..., None]:
        def note(layer: nn.Module, args: Any, kwargs: Any) -> None:
            self._entered.setdefault(param, []).append(entering(layer, weight, args, kwargs))

        return note

    def _at_hand(self) -> tuple[Block, nn.Module]:
        assert self._held is not None
        return self._held


def _stop(*_: object) -> None:
    raise _Enough
