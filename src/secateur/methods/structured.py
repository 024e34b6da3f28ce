"""Structured pruning: whole channels, neurons and heads, which `secateur.shrink` takes out."""

from __future__ import annotations

from typing import Literal

from ..allocation import Bounded, Isomorphic, ModelWide, Uniform
from ..core.axes import Allocator, Criterion, Solver
from ..core.cards import method
from ..core.recipe import Recipe
from ..criteria import FirstMember, Magnitude, Relative, Taylor
from ..schedule import Iterative, OneShot
from ..scope import Tensorwise
from ..structure import Coupled
from .basic import fine_tuning


def coupled(
    criterion: Criterion,
    density: float,
    across: bool,
    kinds: tuple[str, ...],
    fine_tune: str | None,
    lr_scale: float,
    relative: bool = True,
    solver: Solver | None = None,
    rounds: int = 1,
    in_order: bool = False,
) -> Recipe:
    """Prune units of coupled structures; one unit of each stays whatever its score.

    Args:
        across: one ranking for all structures, else each keeps the same share.
        relative: divide scores by their structure's mean before they are ranked `across`.
        rounds: in so many steps, with new scores before each.
        in_order: one structure after the other, each in the network pruned so far.
    """
    inner: Allocator = ModelWide(floor=1) if across else Bounded(inner=Uniform(), floor=1)
    return Recipe(
        structure=Coupled(kinds=kinds),
        criterion=Relative(inner=criterion) if across and relative else criterion,
        scope=Tensorwise(),
        allocator=inner,
        schedule=OneShot(density=density)
        if rounds == 1
        else Iterative(density=density, rounds=rounds),
        solver=solver,
        recovery=fine_tuning(fine_tune, lr_scale),
        walk="layers" if in_order else "whole",
    )


@method(
    "l1-filters",
    family="structured",
    paper="Pruning Filters for Efficient ConvNets",
    authors="Li et al.",
    year=2017,
    arxiv="1608.08710",
)
def l1_filters(
    density: float = 0.7,
    across: bool = False,
    kinds: tuple[str, ...] = ("channels",),
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Take out the filters with the smallest sum of absolute weights.

    s_u = Σ |w_u| over the filter that writes channel u; the norm's scale and the weights that read
    the channel go with it but do not count. `density` is the fraction of channels kept, the same of
    every layer; `across` compares all layers, by s_u over the layer's mean. Channels that a
    residual sum ties together are left alone unless `kinds` names them (`residual width`). The
    paper sets its rates by hand, by how sensitive each layer is, and fine-tunes at the last
    learning rate of the training.
    """
    criterion = FirstMember(inner=Magnitude())
    return coupled(criterion, density, across, kinds, fine_tune, lr_scale)


@method(
    "group-norm",
    family="structured",
    paper="DepGraph: Towards Any Structural Pruning",
    authors="Fang et al.",
    year=2023,
    arxiv="2301.12900",
)
def group_norm(
    density: float = 0.7,
    across: bool = True,
    kinds: tuple[str, ...] = (),
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Take out the units whose coupled weights have the smallest norm over all layers they run through.

    s_u = Σ_members Σ w_u² / mean_v s_v: every parameter that goes with unit u, biases and norms
    included, relative to the mean of its structure, so that structures can be compared (`across`);
    without it each keeps the same share. `kinds` limits it to some kinds of structure. This is the
    paper's group norm without its sparsity learning. The official code averages over the layers of
    a group, the same order within a group, and gives attention heads the sum of their channels.
    """
    return coupled(Magnitude(p=2.0), density, across, kinds, fine_tune, lr_scale)


@method(
    "isomorphic",
    family="structured",
    paper="Isomorphic Pruning for Vision Models",
    authors="Fang et al.",
    year=2024,
    arxiv="2407.04616",
)
def isomorphic(
    density: float = 0.7,
    by: Literal["taylor", "magnitude"] = "taylor",
    kinds: tuple[str, ...] = (),
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Take out the least of every make of structure: channels against channels, heads against heads.

    s_u = Σ |w g| over everything that goes with unit u (`taylor`), or Σ w² (`magnitude`), compared as
    they are among structures of one kind that run through the same sequence of tensors; every such
    class keeps the same share, and one unit of each structure stays. The paper compares whole graphs
    of operators.
    """
    criterion = Taylor(order="absolute") if by == "taylor" else Magnitude(p=2.0)
    recipe = coupled(criterion, density, True, kinds, fine_tune, lr_scale, relative=False)
    return Recipe(**{**dict(recipe), "allocator": Isomorphic(floor=1)})
