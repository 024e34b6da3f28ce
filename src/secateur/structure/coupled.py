"""Coupled structures: whatever has to go together, found by tracing the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from ..core.axes import Structure
from ..core.component import register
from ..core.errors import PlanError, unknown
from ..core.names import pick
from ..core.types import Target
from .example import arguments
from .graph import Axis, Trace, trace
from .graph.capture import SECONDS
from .graph.kinds import KINDS
from .graph.proof import norm_directions
from .graph.targets import targets_of
from .remembered import remembering


@register("coupled")
class Coupled(Structure):
    """Channels, neurons, heads, residual width: one target per axis, over every tensor it runs through.

    A unit owns its slice of each parameter (a channel: the filter, its bias, the scale and shift
    of its norm, and what later layers read of it). Masked units compute zeros, and `secateur.shrink`
    takes them out. Buffers are no members: removal cuts them, and where the parameters are zero
    their values do not matter.

    Attributes:
        kinds: only axes of these kinds (`channels`, `neurons`, `heads`, …), those that are off by
            default too; empty = all that are on by default. Of several, one that a network has
            nothing of to choose from (heads, where all queries share one key-value head) is passed
            over, and `absent` says so.
        include: selectors of axes by name; only these, those that are off by default too.
        exclude: selectors of axes to leave alone.
        outputs: selectors of the outputs that keep their size, as for `secateur.trace`; empty = all
            but the internal states of a network that predicts.
        exact_only: leave out axes whose removal does not equal masking (residual width under layer
            norm).
    """

    kinds: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    exact_only: bool = True

    @property
    def saves(self) -> bool:
        """Yes."""
        return True

    @property
    def traces(self) -> bool:
        """Yes."""
        return True

    def targets(self, model: nn.Module, example: object = None) -> tuple[Target, ...]:
        """One target per axis, shape (units,), in the order of the network."""
        return self.of(self.trace(model, example), model)

    def trace(self, model: nn.Module, example: object = None) -> Trace:
        """The axes behind the targets, by the same names."""
        who = f"structure '{self.name}'"
        return trace_example(model, example, who, self.outputs or None)

    def of(self, traced: Trace, model: nn.Module) -> tuple[Target, ...]:
        """The targets of a model that is traced already."""
        made = coupled_targets(traced, model, self._asked(traced.axes))
        if self.exact_only:
            self._refuse_named(made)
            made = {axis: target for axis, target in made.items() if target.exact}
        if not made:
            raise PlanError(
                "no coupled structure is left that may be pruned; `secateur trace` and "
                "secateur.trace(model, example) show all, and why others are off"
            )
        return tuple(made.values())

    def absent(self, targets: Sequence[Target]) -> tuple[str, ...]:
        """The kinds asked for that have no target."""
        present = {target.kind for target in targets}
        return tuple(kind for kind in self.kinds if kind not in present)

    def _asked(self, axes: Sequence[Axis]) -> list[Axis]:
        """The axes that kinds, include and exclude leave."""
        every = {axis.name: axis for axis in axes}
        present = {axis.kind for axis in axes}
        for kind in self.kinds:
            if kind not in (*KINDS, *present):
                raise unknown("kind of structure to prune in this network", kind, present)
        if self.kinds and not present & set(self.kinds):
            raise _nothing_of(self.kinds, axes)
        named = set(pick(self.include, every, "structure"))
        gone = set(pick(self.exclude, every, "structure"))
        chosen = (a for a in axes if self._on(a, named) and a.name not in gone)
        return [a for a in chosen if not self.kinds or a.kind in self.kinds]

    def _on(self, axis: Axis, named: set[str]) -> bool:
        if self.include:
            return axis.name in named
        return axis.default or axis.kind in self.kinds

    def _refuse_named(self, made: Mapping[Axis, Target]) -> None:
        """An axis asked for by name is not dropped silently."""
        for axis, target in made.items():
            if not target.exact and axis.name in self.include:
                raise PlanError(
                    f"removing units of '{axis.name}' does not equal masking them "
                    f"({axis.why or 'norm without scale'}); exact_only=False prunes it all the same"
                )


def _nothing_of(kinds: Sequence[str], axes: Sequence[Axis]) -> PlanError:
    """That a network has nothing of what is asked for, what it has, and how that is asked for."""
    has = sorted({axis.kind for axis in axes if axis.default})
    said = f"this network has no {' and no '.join(kinds)} to choose from"
    if not has:
        return PlanError(f"{said}, nor anything else that may go; `secateur trace` says why")
    said += f", but {', '.join(has)}; what may go is an option of the method (kinds, or prune)"
    if "heads" in has:
        said += ": kinds=('heads',), or prune='attention'"
    if "expert width" in has:
        said += (
            ". The neurons of its experts lie in one tensor (expert width), where weights and gradients "
            "can be judged, but not what flows; methods for mixtures take whole experts out "
            "(`secateur methods`)"
        )
    return PlanError(said)


Chosen: TypeAlias = "str | int | Sequence[str | int] | None"


def chosen(outputs: Chosen) -> tuple[str, ...] | None:
    """Selectors of outputs as names.

    >>> chosen("logits"), chosen([0, 2]), chosen(None)
    (('logits',), ('0', '2'), None)
    """
    if outputs is None:
        return None
    return tuple(map(str, [outputs] if isinstance(outputs, str | int) else outputs))


def trace_example(
    model: nn.Module,
    example: object,
    who: str,
    outputs: Sequence[str] | None = None,
    seconds: float = SECONDS,
) -> Trace:
    """The axes of `model`, traced on an example: a tensor, a tuple of arguments or a dict of keywords."""
    if example is None:
        raise PlanError(
            f"{who} traces the network and needs an input; pass example=... (a tensor, a tuple "
            "of arguments or a dict of keywords)"
        )
    args, kwargs = arguments(example)
    follow = lambda: trace(model, args, kwargs, outputs=outputs, seconds=seconds)  # noqa: E731
    return remembering(model, args, kwargs, outputs, follow)


def coupled_targets(traced: Trace, model: nn.Module, axes: Sequence[Axis]) -> dict[Axis, Target]:
    """The targets of axes with the parameters that masks may zero, by the names the model has for them."""
    names = {n: n for n, _ in model.named_parameters()}
    twins = traced.inference.captured.twins
    names |= {n: own for group in twins.values() for own in group if own in names for n in group}
    made = zip(axes, targets_of(traced, axes), strict=True)
    return {axis: _masked(traced, model, axis, target, names) for axis, target in made}


def _masked(
    traced: Trace, model: nn.Module, axis: Axis, target: Target, names: Mapping[str, str]
) -> Target:
    """Without buffers, and without directions of weight norms (their length is zeroed instead)."""
    unmasked = {
        part.tensor for part in axis.members
        if (part.tensor, part.dim) in norm_directions(traced.inference)
    }  # fmt: skip
    members = tuple(
        replace(member, param=names[member.param], role=_role(model, names[member.param]))
        for member in target.members
        if member.param in names and member.param not in unmasked
    )
    exact = target.exact and not any(_shifts(model, part.tensor) for part in axis.members)
    layer = members[0].param.rpartition(".")[0]
    return replace(target, members=members, exact=exact, layer=layer)


def _role(model: nn.Module, param: str) -> Literal["", "scale", "shift"]:
    """What a parameter is to the batch norm that owns it."""
    owner, _, name = param.rpartition(".")
    if not isinstance(model.get_submodule(owner), _NormBase):
        return ""
    return "scale" if name == "weight" else "shift"


def _shifts(model: nn.Module, tensor: str) -> bool:
    """Whether it is the running mean of a norm without a scale, which makes of zeros something else."""
    owner, _, name = tensor.rpartition(".")
    if name != "running_mean" or owner not in dict(model.named_modules()):
        return False
    module = model.get_submodule(owner)
    return isinstance(module, _NormBase) and not module.affine
