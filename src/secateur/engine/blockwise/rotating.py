"""Bases of the residual stream found from disk, place after place, and blocks cut in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ...basis.principal import axes
from ...basis.rotated import confined
from ...core.axes import wide
from ...core.density import keep_count
from ...core.padding import valid_of
from ...structure.graph.proof import difference, floats
from ..collect.observing import OBSERVED, observing
from .activations import Activations
from .blocks import Block
from .conductor import Conductor
from .cutting import Cutter
from .job import Job
from .rotated import RotatedSkeleton, places_of
from .scoring import ScoreShelf
from .timing import Timer
from .weightless import zeros_when_called

GRAM = "input_gram"


class Rotation:
    """The first pass over a model that gets another basis: a basis for every place of its stream.

    Each place is looked at where the places before it keep only the axes that will stay. What is
    found of a block is a small file in the folder in the making; a later process reads it there.

    Args:
        skeleton: the model, not turned yet.
        blocks, job, shelf: as for `score`.
    """

    def __init__(
        self, skeleton: RotatedSkeleton, blocks: Sequence[Block], job: Job, shelf: ScoreShelf
    ) -> None:
        self.skeleton, self.blocks, self.job, self.shelf = skeleton, blocks, job, shelf
        last = skeleton.every[-1]
        self._last = Block(last.norm, "", skeleton.model.get_submodule(last.norm))
        self._homes = {
            place.norm: block
            for block in blocks
            for place, _ in places_of(skeleton.every, block.name)
        } | {last.norm: self._last}
        density = job.recipe.schedule.final_density
        self._kept = keep_count(1.0 if density is None else density, skeleton.width)

    def find(self, timer: Timer) -> None:
        """Find what was not found before, and let the skeleton turn what it reads from now on."""
        if all(self.shelf.has(block) for block in self._homes.values()):
            for _ in self.blocks:
                timer.skip()
        else:
            self._walk(timer)
        self.skeleton.turned(lambda norm: self.shelf.read(self._homes[norm])[0][norm])

    def _walk(self, timer: Timer) -> None:
        shelf, model = self.shelf, self.skeleton.model
        with Conductor(model, self.blocks, self.job.batches, shelf.room).conducting() as conductor:
            for name in shelf.kept():
                conductor.skip(conductor.blocks[name], shelf.room(name))
                timer.skip()
            while (block := conductor.next()) is not None:
                shelf.load(block)
                self._block(conductor, block)
                shelf.finished(block)
                conductor.forget()
                shelf.release(block)
                timer(block)
            (outputs,) = conductor.outputs.values()
            if not shelf.has(self._last):
                shelf.keep(self._last, {self._last.name: axes(self._gram(outputs))}, {})

    def _block(self, conductor: Conductor, block: Block) -> None:
        """The bases of a block's two places, and what it gives where both are confined to them."""
        found = self.shelf.read(block)[0] if self.shelf.has(block) else {}
        with ExitStack() as stack:
            for place, after in places_of(self.skeleton.every, block.name):
                if place.norm not in found:
                    found[place.norm] = axes(_seen(conductor, block, f"{place.reads[0]}.weight"))
                assert after.shortcut is not None
                span = found[place.norm][:, : self._kept]
                stack.enter_context(confined(conductor.model, (place.norm, after.shortcut), span))
            if not self.shelf.has(block):
                self.shelf.keep(block, found, {})
            conductor.finish(block)

    @torch.no_grad()
    def _gram(self, outputs: Activations) -> Tensor:
        """[width, width] of what the last norm gives, padding left out."""
        total = OBSERVED[GRAM].accumulator(None)
        for number, batch in enumerate(self.job.batches):
            z = self._last.module(floats(outputs.get(number))[0])
            valid = valid_of(batch)
            rows = z[valid] if valid is not None else z.flatten(0, -2)
            total.add(rows.to(wide(rows)))
        return total.value()


def _seen(conductor: Conductor, block: Block, weight: str) -> Tensor:
    """[width, width] the mean of z zᵀ over the tokens that a layer of a block reads."""
    valid = lambda: valid_of(conductor.batch())  # noqa: E731
    with observing(conductor.model, {GRAM: (GRAM, None)}, [weight], valid) as seen:
        conductor.run(block)
    return seen.values()[GRAM][weight]


class RotatedCutter(Cutter):
    """Cuts blocks whose stream has another width before every sublayer.

    The masked block gets its input filled up with zeros where directions are gone, and what it gives is
    compared where directions stay.
    """

    def _one(self, block: Block, given: Any) -> Any:
        self.shelf.load(block)
        kept, widths = self._ends(block), block.module.get_submodule("attention_shortcut").weight
        assert isinstance(widths, Tensor)
        (x, *args), kwargs = given
        narrow = x.index_select(-1, kept[0]) if x.shape[-1] == widths.shape[1] else x
        full = x.new_zeros(*x.shape[:-1], widths.shape[1]).index_copy(-1, kept[0], narrow)
        whole = ((full, *args), kwargs)
        before = self._whole(block, whole)
        parts = self._parts(block)
        self._mask(block)
        masked = self._whole(block, whole)
        effect = difference(floats(before), floats(masked))
        masked = masked.index_select(-1, kept[1])
        return self._proved(block, block.name, ((narrow, *args), kwargs), parts, masked, effect)

    def _ends(self, block: Block) -> tuple[Tensor, Tensor]:
        """The directions that stay of what the block reads and of what it gives."""
        ends = (("attention_shortcut", 1), ("mlp_shortcut", 0))
        cuts = self.made[0].edits.tensors
        out = []
        for name, dim in ends:
            weight = block.module.get_submodule(name).weight
            assert isinstance(weight, Tensor)
            cut = cuts.get(f"{block.name}.{name}.weight", {}).get(dim)
            numbers = cut.numbers() if cut is not None else range(weight.shape[dim])
            out.append(torch.tensor(list(numbers), device=weight.device))
        return out[0], out[1]

    def _mask(self, block: Block) -> None:
        """Zero what goes of the block's tensors."""
        for name, tensor in block.module.state_dict().items():
            for dim, kept in self.made[0].edits.tensors.get(f"{block.name}.{name}", {}).items():
                gone = sorted(set(range(kept.size)) - set(kept.numbers()))
                places = torch.tensor(gone, dtype=torch.long, device=tensor.device)
                tensor.detach().index_fill_(dim, places, 0)


@torch.no_grad()
def check_widths(small: nn.Module, example: Mapping[str, Tensor]) -> str:
    """Why the code of a smaller model without weights does not take its widths; empty where it does."""
    try:
        with zeros_when_called(small):
            small(**example)
    except (RuntimeError, ValueError) as error:
        return f"its code does not take the new widths ({' '.join(str(error).split())[:120]})"
    return ""
