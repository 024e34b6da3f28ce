"""Tickets that move: a mask found on one task or depth, put on a network for another."""

from __future__ import annotations

import copy
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .artifact import read_sparse
from .core.errors import PlanError, unknown
from .core.names import pick
from .core.network import plain_network
from .core.result import Result
from .materialise import HardMasks
from .saving import load
from .structure.elastic import Elastic, Order

Stored = nn.Module | str | os.PathLike[str]
"""A network, or where its tensors lie: a folder that `save` wrote, or a file of a run."""


@dataclass(frozen=True)
class Transferred:
    """A network that carries another's ticket.

    Attributes:
        model: a copy of the network; its masks are in force and hold when it is trained on.
        masks: parameter name -> bool mask, True = kept.
        places: parameter with a mask -> the parameter of the ticket that it came from.
        begun: tensor of the network -> the one of `start` whose values it has.
    """

    model: nn.Module
    masks: dict[str, Tensor]
    places: dict[str, str]
    begun: dict[str, str]

    @property
    def sparsity(self) -> float:
        """The fraction removed of the parameters that have masks."""
        kept = sum(int(mask.sum()) for mask in self.masks.values())
        return 1 - kept / sum(mask.numel() for mask in self.masks.values())


def transfer(
    ticket: Result | Stored,
    model: nn.Module,
    *,
    start: Stored | None = None,
    order: Order = "interpolated",
    blocks: Mapping[str, Sequence[int]] | None = None,
    dense: Sequence[str] = (),
    trust: Collection[str] = (),
) -> Transferred:
    """Put the masks of a pruned network on another: for another task, or of another depth.

    Names say what stands for what. Where both have the same numbers of blocks, the mask of a parameter is
    that of its namesake; a stage with more or fewer of them repeats or leaves out blocks of the ticket
    (`structure.elastic` has the rule). Parameters of the network that the ticket has no mask for stay
    dense. Train it with `prune(moved.model, "transferred-ticket", ...)`, under which the masks hold.

    Args:
        ticket: a result of `prune`, a network that carries masks, a folder that `save` wrote, or the file
            `model.safetensors` of a run.
        model: the network for the new task; it stays as it is, a copy gets the masks.
        start: a network like the ticket's, its folder or file, whose values the new one begins with, by
            the same names, where shapes agree; a head of another size keeps its own. With its initial (or
            early) weights, as in a run's `step-0.safetensors`, it is the ticket of the papers; None
            keeps the weights of `model`.
        order: `interpolated` or `appended`, how blocks are repeated or left out.
        blocks: container -> which block of the ticket stands for each of its blocks, where neither
            order is what you want: `{"layer1": (0, 1, 1, 2, 2)}`.
        dense: selectors of parameters of `model` that stay dense though the ticket has masks for them,
            as a head of another size has to.
        trust: packages whose functions may be called to build the network of a folder.

    Raises:
        PlanError: the ticket carries no masks, or one of them has no place or another shape.

    >>> import secateur as sc
    >>> net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> ticket = sc.prune(net, "magnitude", sparsity=0.75)
    >>> other = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 5))  # for five classes
    >>> moved = transfer(ticket, other, start=net)
    >>> moved.sparsity, moved.places, sorted(moved.begun)
    (0.75, {'0.weight': '0.weight'}, ['0.bias', '0.weight'])

    Papers: Morcos, Yu, Paganini, Tian 2019, arXiv 1906.02773 (other tasks); Chen, Cheng, Wang, Gan, Liu,
    Wang 2021, arXiv 2103.16547 (other depths), whose code gives the head of the ticket to the new
    network as well, for the same task.
    """
    if isinstance(ticket, Result):
        ours, masks = ticket.model.state_dict(), dict(ticket.masks)
    else:
        ours, masks = _tensors(ticket, trust)
    if all(bool(mask.all()) for mask in masks.values()):
        raise PlanError(
            "the ticket carries no masks, so there is nothing to move; give a result of sc.prune, or the "
            "network or folder of one (a network made smaller by sc.shrink has none left)"
        )
    made = copy.deepcopy(plain_network(model))
    HardMasks.of(made).remove()
    elastic = Elastic(list(ours), list(made.state_dict()), order, blocks or {})
    names = {name: elastic.counterpart(name) for name in made.state_dict()}
    spared = set(pick(dense, [n for n, _ in made.named_parameters()])) if dense else set[str]()
    places = {
        name: names[name]
        for name, _ in made.named_parameters()
        if names[name] in masks and name not in spared
    }
    _check(places, masks, made, elastic, {names[name] for name in spared})
    begun = _begin(made, _tensors(start, trust)[0], names) if start is not None else {}
    moved = {name: masks[theirs].clone() for name, theirs in places.items()}
    HardMasks(made, moved)
    return Transferred(made, moved, places, begun)


def _tensors(stored: Stored, trust: Collection[str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of a network and the masks on it."""
    if not isinstance(stored, nn.Module) and Path(stored).is_file():
        found = read_sparse(stored)
        return dict(found.state), dict(found.masks)
    network = stored if isinstance(stored, nn.Module) else load(Path(stored), trust=trust)
    network = plain_network(network)
    return network.state_dict(), HardMasks.of(network).masks


def _check(
    places: Mapping[str, str],
    masks: Mapping[str, Tensor],
    made: nn.Module,
    elastic: Elastic,
    spared: Collection[str],
) -> None:
    """Every mask has a place of its shape, unless its block is left out or its place stays dense."""
    for name, theirs in places.items():
        shape, have = list(made.get_parameter(name).shape), list(masks[theirs].shape)
        if shape != have:
            raise PlanError(
                f"the ticket's '{theirs}' {have} does not fit '{name}' {shape} of the network; leave it "
                f"dense with dense=('{name}',), or, if it stands for another block, say which with blocks"
            )
    left = [name for name in masks if name not in {*places.values(), *spared}]
    gone = [name for name in left if not any(_inside(name, path) for path in elastic.stretched)]
    if gone:
        raise unknown("parameter of the network", gone[0], (n for n, _ in made.named_parameters()))


def _inside(name: str, container: str) -> bool:
    return name.startswith(f"{container}." if container else "")


@torch.no_grad()
def _begin(
    made: nn.Module, values: Mapping[str, Tensor], names: Mapping[str, str]
) -> dict[str, str]:
    """Give the network the values of another where shapes agree; what has got them."""
    begun = dict[str, str]()
    for name, tensor in made.state_dict().items():
        theirs = values.get(names[name])
        if theirs is not None and theirs.shape == tensor.shape:
            tensor.copy_(theirs)
            begun[name] = names[name]
    if not begun:
        raise PlanError(
            "no tensor of `start` stands for one of the network; give a network like the ticket's"
        )
    return begun
