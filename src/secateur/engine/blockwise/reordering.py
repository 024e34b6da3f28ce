"""Inputs put in another order: found when the turn of a block comes, put into the weights, and proved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ...core.axes import Reorder
from ...core.errors import PlanError
from ...core.matrix import matrix
from ...core.modes import mode
from ...core.recipe import Recipe
from ...core.types import Target
from ...structure.free_order import FreeOrder, Moves, Part, free_orders, move
from ...structure.graph.errors import ProofError
from ...structure.graph.proof import TOLERANCE, difference, floats
from ..collect.observing import forward
from ..step import score_all
from .blocks import Block
from .conductor import Batch, Conductor
from .gathering import statistics
from .job import Job, Survey
from .shelf import Shelf
from .weightless import axes_of

SHARED, RETAINED = "order of ", "retained by the order of "
"""What the survey calls the order of an axis that all blocks share, and its gain, before the name."""
DEPTH = 16
"""How much further than one block a whole model may be from what it gave."""
MOST_ROWS = 8192
"""Rows of scores that decide an order that all blocks share, of all their weights together."""


@dataclass(frozen=True)
class Site:
    """A free order, and the targets that read its units as their inputs.

    Attributes:
        order: of the axis.
        reads: target and the part of it that is its inputs.
    """

    order: FreeOrder
    reads: tuple[tuple[Target, Part], ...]

    def rows(self, scores: Mapping[str, Tensor], lane: int) -> Tensor:
        """[rows, units] scores of all weights that read a lane's units; scores {target: [out, in]}."""
        found = []
        for target, part in self.reads:
            if target.name in scores:
                columns = part.columns(lane)  # [copies, units]
                of = scores[target.name][:, columns.to(scores[target.name].device)]
                found.append(of.movedim(1, 0).flatten(0, 1))
        return torch.cat(found)


@dataclass(frozen=True)
class Sites:
    """Block -> the sites that lie in it, and those that all blocks share."""

    inner: Mapping[str, Sequence[Site]]
    shared: Sequence[Site]

    def line(self, targets: Sequence[Target]) -> str:
        """What is put in order, for a plan."""
        every = [site for mine in self.inner.values() for site in mine] + [*self.shared]
        read = {t.name for site in every for t, _ in site.reads}
        kinds = ", ".join(sorted({site.order.kind for site in every}))
        more = "; one more pass over the dense model" if self.shared else ""
        return f"{len(read)} of {len(targets)} weights get their inputs in another order ({kinds}){more}"


def find_sites(
    model: nn.Module,
    blocks: Sequence[Block],
    recipe: Recipe,
    targets: Sequence[Target],
    batches: Sequence[Batch] = (),
) -> Sites:
    """Where inputs of targets may stand in another order; a model without any is refused."""
    basis, pattern = recipe.basis, recipe.scope.pattern
    assert isinstance(basis, Reorder)
    assert pattern is not None
    named = model.named_parameters(remove_duplicate=False)
    shapes = {name: tensor.shape for name, tensor in named}
    inner: dict[str, list[Site]] = {}
    shared = []
    for order in free_orders(axes_of(model, batches), shapes):
        reads = tuple(_reads(order, targets))
        if not reads or not all(part.aligned(pattern[1]) for _, part in reads):
            continue
        home = next((b for b in blocks if all(b.owns(part.tensor) for part in order.parts)), None)
        if home is not None:
            inner.setdefault(home.name, []).append(Site(order, reads))
        elif basis.across:
            shared.append(Site(order, reads))
    if not inner and not shared:
        raise PlanError(
            f"basis '{basis.name}' finds no inputs whose order is free in {type(model).__name__}: "
            "neurons, value channels and residual stream are fixed, excluded, or no multiple of "
            f"{pattern[1]}"
        )
    return Sites(inner, shared)


def _reads(order: FreeOrder, targets: Sequence[Target]) -> Iterator[tuple[Target, Part]]:
    every = {t.members[0].param: t for t in targets if sorted(t.dims) == ["in", "out"]}
    for part in order.parts:
        target = every.get(part.tensor)
        if target is not None and target.dims.index("in") == part.dim:
            yield target, part


class Reordering:
    """Finds orders by scores, puts them into the weights, and proves that nothing else has changed.

    Args:
        model, blocks, job: of the walk; the recipe's basis is a `Reorder`.
    """

    def __init__(self, model: nn.Module, blocks: Sequence[Block], job: Job) -> None:
        basis, pattern = job.recipe.basis, job.recipe.scope.pattern
        assert isinstance(basis, Reorder)
        assert pattern is not None
        self.basis, self.pattern, self.job = basis, pattern, job
        found = find_sites(model, blocks, job.recipe, job.targets, job.batches)
        self.inner, self.shared = found.inner, found.shared
        self._judge = basis.judge(job.recipe.criterion)
        self._looked: dict[str, list[Tensor]] = {}
        self._orders: dict[str, Tensor] = {}  # shared axis -> [1, units] its order
        self._gains: dict[str, float] = {}

    def _scores(
        self, conductor: Conductor, block: Block, every: Sequence[Site]
    ) -> dict[str, Tensor]:
        """{target: [out, in]} scores of what reads the sites' units in a block."""
        found = {t.name: t for site in every for t, _ in site.reads if block.owns(t.name)}
        targets = tuple(found.values())
        stats = statistics(conductor, block, self._judge.required(), targets)
        view = self.job.view(conductor.model, targets, stats)
        if view is None:
            return {}
        scores = score_all(self._judge, view)
        return {name: matrix(s, found[name].dims).double() for name, s in scores.items()}

    def look(self, conductor: Conductor, block: Block) -> None:
        """Remember what a block of the dense model says of the orders that all blocks share.

        Every weight counts the same, by as many of its rows, evenly apart, as there is room for.
        """
        scores = self._scores(conductor, block, self.shared)
        for site in self.shared:
            most = max(MOST_ROWS // len(site.reads), 1)
            for target, part in site.reads:
                if target.name in scores:
                    rows = scores[target.name][:, part.columns(0)[0]]
                    rows = rows[:: -(-len(rows) // most)].cpu()
                    rows = rows / rows.sum().clamp(min=1e-300)
                    self._looked.setdefault(site.order.name, []).append(rows)

    def shared_orders(self) -> Survey:
        """The orders that all blocks share, by what was looked at, and what they retain."""
        found: Survey = {}
        for name, looked in self._looked.items():
            rows = torch.cat(looked)
            order = self.basis.order(rows, *self.pattern)
            found[SHARED + name] = order.tolist()
            found[RETAINED + name] = [self._gain([rows], order[None])]
        self._looked.clear()
        return found

    def _gain(self, lanes: Sequence[Tensor], orders: Tensor) -> float:
        """What N of M retain of scores [rows, units] in their orders, over what they do as they are."""
        n, m = self.pattern
        kept = lambda rows: float(rows.unflatten(1, (-1, m)).topk(n, dim=-1).values.sum())  # noqa: E731
        after = [kept(rows[:, o.to(rows.device)]) for rows, o in zip(lanes, orders, strict=True)]
        return sum(after) / max(sum(map(kept, lanes)), 1e-300)

    def put(self, model: nn.Module, shelf: Shelf, surveyed: Survey) -> None:
        """Put the whole model in the orders that all blocks share.

        One that is in memory is run on the first batch before and after; of one in files every block is
        compared when its turn comes.
        """
        there = not any(p.is_meta for p in model.parameters())
        batch = self.job.batches[0]
        before = _given(model, batch) if there else []
        shelf.rearrange(model, self._moves(surveyed))
        if there:
            self._hold(type(model).__name__, model, difference(_given(model, batch), before), DEPTH)

    def _moves(self, surveyed: Survey) -> Moves:
        out: dict[str, dict[int, Tensor]] = {}
        for site in self.shared:
            order = torch.tensor(surveyed[SHARED + site.order.name], dtype=torch.long)
            self._orders[site.order.name] = order[None]
            (self._gains[site.order.name],) = surveyed[RETAINED + site.order.name]
            for name, dims in site.order.moves(order[None]).items():
                out.setdefault(name, {}).update(dims)
        return out

    @torch.no_grad()
    def carry_out(self, conductor: Conductor, block: Block) -> dict[str, dict[str, object]]:
        """Put the inputs within a block in order; {target: what the record is to hold}."""
        error = max([self._turned_back(conductor, block, s) for s in self.shared], default=0.0)
        mine = self.inner.get(block.name, [])
        found: dict[str, dict[str, object]] = {}
        if mine:
            scores = self._scores(conductor, block, mine)
            before = self._outputs(conductor, block, mine)
            for site in mine:
                found |= self._one(conductor, site, scores)
            error = max(error, difference(self._outputs(conductor, block, mine), before))
        self._hold(block.name, block.module, error)
        for site in self.shared:
            gain = {"retained": self._gains[site.order.name]}
            found |= {t.name: dict(gain) for t, _ in site.reads if block.owns(t.name)}
        return {name: facts | {"reordered": error} for name, facts in found.items()}

    def _one(
        self, conductor: Conductor, site: Site, scores: Mapping[str, Tensor]
    ) -> dict[str, dict[str, object]]:
        """Find the orders of one site and put them into the weights."""
        lanes = [site.rows(scores, lane) for lane in range(site.order.lanes)]
        orders = torch.stack([self.basis.order(rows, *self.pattern) for rows in lanes])
        move(conductor.model, site.order.moves(orders))
        gain = self._gain(lanes, orders)
        return {target.name: {"retained": gain} for target, _ in site.reads}

    def _outputs(self, conductor: Conductor, block: Block, mine: Sequence[Site]) -> list[Tensor]:
        """What a block, and its layers that read the sites' units, give for the first batch."""
        seen: list[Tensor] = []
        with ExitStack() as stack:
            for layer in dict.fromkeys(t.layer for site in mine for t, _ in site.reads):
                hook = lambda module, args, out: seen.append(out.clone())  # noqa: E731
                handle = conductor.model.get_submodule(layer).register_forward_hook(hook)
                stack.callback(handle.remove)
            _, output = next(conductor.outputs_of(block))
        return [*seen, *floats(output)]

    def _turned_back(self, conductor: Conductor, block: Block, site: Site) -> float:
        """How far a block is from what it gives in the order that its files have."""
        order = self._orders[site.order.name]
        moves = {n: m for n, m in site.order.moves(order).items() if block.owns(n)}
        if not moves:
            return 0.0
        run = type(block.module).forward  # the conductor stands in for the module's own

        def turned(tensor: Tensor, index: Tensor) -> Tensor:
            wide = tensor.is_floating_point() and tensor.shape[-1:] == index.shape
            return tensor.index_select(-1, index.to(tensor.device)) if wide else tensor

        def through(index: Tensor) -> list[Tensor]:
            given = conductor.given(block, 0, conductor.stream)  # anew: blocks write into caches
            args, kwargs = pytree.tree_map_only(Tensor, lambda t: turned(t, index), given)
            found = floats(run(block.module, *args, **kwargs))
            return [turned(t, index.argsort()) for t in found]

        here = torch.arange(site.order.units)
        after = through(here)
        back = {n: {d: i.argsort() for d, i in dims.items()} for n, dims in moves.items()}
        move(conductor.model, back)
        before = through(order[0].argsort())
        move(conductor.model, moves)
        return difference(after, before)

    def _hold(self, name: str, module: nn.Module, error: float, share: float = 1) -> None:
        """Refuse orders that change what a module computes by more than digits."""
        kinds = {p.dtype for p in module.parameters() if p.is_floating_point()}
        most = share * max([TOLERANCE, *(4 * torch.finfo(kind).eps for kind in kinds)])
        if not error <= most:
            raise ProofError(
                f"'{name}' with inputs in another order gives something else (relative difference "
                f"{error:.1e}, at most {most:.0e}); prune without basis '{self.basis.name}'"
            )


@torch.no_grad()
def _given(model: nn.Module, batch: Batch) -> list[Tensor]:
    """What a whole model predicts for a batch, in evaluation; states it also gives have the new order."""
    with mode(model, train=False):
        output = forward(model, batch)
    return floats(getattr(output, "logits", output))[:1]


def reordering(model: nn.Module, blocks: Sequence[Block], job: Job) -> Reordering | None:
    """What puts inputs in order, where the recipe asks for it; in later rounds they are in order."""
    if not isinstance(job.recipe.basis, Reorder) or not job.first:
        return None
    return Reordering(model, blocks, job)
