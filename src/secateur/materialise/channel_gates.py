"""Channels behind gates that predict for every input which of them matter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from pydantic import Field, JsonValue
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.hooks import RemovableHandle

from ..core.component import register
from ..core.errors import PlanError
from ..core.run_time import Place, RunTime, put_around
from ..core.training import Draw
from ..core.types import Target
from ..dynamic import ChannelGate, SlicedConv


@register("channel-gates")
class ChannelGates(RunTime):
    """π(x) · norm(conv(x)) where a layer's inputs predict π, zero for all but k of its channels.

    `dynamic.ChannelGate` has the equations. Convolutions that read the channels are wrapped, too, so that
    they leave out what is zero. Targets are channels that one convolution writes (groups 1, at most a batch
    norm behind it): not residual width, which several write.

    Attributes:
        strength: λ of the penalty λ Σ g on the saliencies.

    Paper: Gao, Zhao, Dudziak, Mullins, Xu 2019, arXiv 1810.05331, with λ = 1e-8. There the gate takes
    the place of the norm's scale; here the scale stays, so that a trained network begins near itself.
    """

    learns: ClassVar[bool] = True

    strength: float = Field(default=1e-8, ge=0, allow_inf_nan=False)

    def places(
        self, model: nn.Module, targets: tuple[Target, ...], once: Callable[[], None] | None = None
    ) -> list[Place]:
        """The writer, its norm and the convolutions that read, by path."""
        found = [_place(model, target) for target in targets]
        if once is not None:
            _refuse_apart(model, found, once)
        return found

    def wrap(self, model: nn.Module, places: Sequence[Place], draw: Draw | None) -> None:
        """Gates around writers, slices around readers; the norm moves into the gate."""
        gated = {str(place["conv"]) for place in places}
        for place in places:
            conv = str(place["conv"])
            norm = None if place["norm"] is None else _norm(model, str(place["norm"]))
            own = None if draw is None else _for(draw, conv)
            gate = ChannelGate(_conv(model, conv), norm, own, self.strength)
            if norm is not None:  # before the gate has it, which would be given the new one, too
                put_around(model, str(place["norm"]), nn.Identity())
            put_around(model, conv, gate)
        readers = {str(r) for place in places for r in _listed(place["readers"])}
        for reader in sorted(readers - gated):
            put_around(model, reader, SlicedConv(_conv(model, reader)))

    def settle(
        self, model: nn.Module, places: Sequence[Place], keep: Mapping[str, int],
        batches: Iterable[Any] | None,
    ) -> None:  # fmt: skip
        """k of every gate."""
        for place in places:
            gate = model.get_submodule(str(place["conv"]))
            assert isinstance(gate, ChannelGate)
            gate.keep.fill_(keep[str(place["target"])])


def _for(draw: Draw, conv: str) -> Draw:
    """The same generators, by the layer's name too."""
    return lambda *words: draw(*words, conv)


def _conv(model: nn.Module, path: str) -> nn.Conv2d:
    found = model.get_submodule(path)
    if not isinstance(found, nn.Conv2d):
        raise PlanError(f"'{path}' is a {type(found).__name__}, no convolution to wrap")
    return found


def _norm(model: nn.Module, path: str) -> _NormBase:
    found = model.get_submodule(path)
    if not isinstance(found, _NormBase):
        raise PlanError(f"'{path}' is a {type(found).__name__}, no batch norm to move")
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _place(model: nn.Module, target: Target) -> Place:
    """What writes and reads the channels of one target."""
    owners = {m.param: m.param.rpartition(".")[0] for m in target.members}
    modules = {path: model.get_submodule(path) for path in owners.values()}
    norms = {p for p, m in modules.items() if isinstance(m, _NormBase)}
    read = {owners[m.param] for m in target.members if m.reads is not None}
    written = set(modules) - norms - read
    if target.kind != "channels" or len(written) != 1 or len(norms) > 1:
        raise PlanError(
            f"'{target.name}' ({target.kind}) is written by {sorted(written) or 'nothing'} with norms "
            f"{sorted(norms)}: a gate at run time needs channels that one convolution writes, with at most "
            "one batch norm behind it. Use kinds=('channels',), or exclude it"
        )
    (conv,), norm = written, next(iter(norms), None)
    SlicedConv(modules[conv])  # type: ignore[arg-type]  # refuses what cannot be wrapped
    readers: list[JsonValue] = [p for p in sorted(read) if _sliceable(modules[p])]
    return {"target": target.name, "conv": conv, "norm": norm, "readers": readers}


def _sliceable(module: nn.Module) -> bool:
    return type(module) is nn.Conv2d and module.groups == 1


def _refuse_apart(model: nn.Module, places: Sequence[Place], once: Callable[[], None]) -> None:
    """A norm moves into the gate only where it reads what the convolution puts out, each running once."""
    pairs = [(str(p["conv"]), None if p["norm"] is None else str(p["norm"])) for p in places]
    seen = _passed(model, [c for c, _ in pairs], [n for _, n in pairs if n is not None], once)
    for conv, norm in pairs:
        puts = seen[conv]
        alike = norm is None or [id(t) for t in seen[norm]] == [id(t) for t in puts]
        if len(puts) != 1 or not alike:
            raise PlanError(
                f"'{conv}' runs {len(puts)} times for one input, or its norm '{norm}' does not read what "
                "it puts out: no gate can stand around both. Exclude it"
            )


def _passed(
    model: nn.Module, puts: Sequence[str], reads: Sequence[str], once: Callable[[], None]
) -> dict[str, list[Any]]:
    """Path -> what the module puts out, or reads, at every call of one run; held, so that ids last."""
    seen: dict[str, list[Any]] = {name: [] for name in (*puts, *reads)}
    hooks: list[RemovableHandle] = []
    for name in puts:
        put = partial(_keep, seen[name], -1)
        hooks.append(model.get_submodule(name).register_forward_hook(put))
    for name in reads:
        read = partial(_keep, seen[name], 1)
        hooks.append(model.get_submodule(name).register_forward_pre_hook(read))
    try:
        once()
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _keep(into: list[Any], which: int, *told: Any) -> None:
    """Of a hook's (module, arguments[, output]): the output (-1), or the first argument (1)."""
    into.append(told[-1] if which == -1 else told[1][0])
