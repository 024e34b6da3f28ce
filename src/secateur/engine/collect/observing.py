"""Watching what flows through layers: hooks that feed rows of inputs or outputs to accumulators.

A statistic belongs to a layer and is named by the layer's weight: `observing` is what `collect` and
the block-wise walk use alike, so that a criterion finds the same numbers in both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from ...core.axes import wide
from ...core.errors import PlanError, unknown
from ...core.padding import valid_only
from ...structure.prunable import EXPERT, prunable
from .entering import called_at, entering
from .experts import multiplying, stacked

Valid = Callable[[], Tensor | None]
"""Which samples or tokens of the batch that runs now count: bool [batch, ...], or None for all."""


class Accumulator(ABC):
    """One statistic of one layer, summed up over everything that flows through it.

    Attributes:
        form: `rows` are [n, features] (samples, tokens or positions by features; of a convolution's
            input the window, features = channels x kernel as in a flattened filter), `maps` are
            [samples, channels, ...] as the layer has them.
    """

    form: ClassVar[Literal["rows", "maps"]] = "rows"

    def __init__(self, option: float | None = None) -> None:
        self.option = option

    @abstractmethod
    def add(self, values: Tensor) -> None:
        """Take in one batch, float32 or float64 (narrower ones come widened)."""

    @abstractmethod
    def value(self) -> Tensor:
        """The statistic of everything so far."""

    def measure(self, values: Tensor) -> Any:
        """The costly part of `add`: the same for every layer that is given the same values."""
        return values

    def take(self, measured: Any) -> None:
        """The rest of `add`; what `measure` gave stays as it is, since other layers take it too."""
        self.add(measured)


class _SameInput:
    """What layers that are called on one tensor one after the other need to work out once."""

    def __init__(self) -> None:
        self._of: tuple[Tensor, int] | None = None
        self._known: dict[str, Any] = {}

    def known(self, x: Tensor) -> dict[str, Any]:
        """What is known of `x`: empty for another tensor than last time, or where x was written to."""
        if x.is_inference():  # writes to it are not counted
            return {}
        if self._of is None or self._of[0] is not x or self._of[1] != x._version:
            self._of, self._known = (x, x._version), {}
        return self._known


Side = Literal["input", "output"]
MAPS = (_ConvNd, _NormBase, nn.GroupNorm)
"""Layers whose features are not the last dimension."""


@dataclass(frozen=True)
class Observed:
    """A registered statistic: at which side of the layer, and what sums it up."""

    side: Side
    accumulator: type[Accumulator]


OBSERVED: dict[str, Observed] = {}


def per_input(name: str) -> Callable[[type[Accumulator]], type[Accumulator]]:
    """Decorator: register a statistic of what enters a layer."""
    return _register(name, "input")


def per_output(name: str) -> Callable[[type[Accumulator]], type[Accumulator]]:
    """Decorator: register a statistic of what leaves a layer."""
    return _register(name, "output")


def _register(name: str, side: Side) -> Callable[[type[Accumulator]], type[Accumulator]]:
    def enter(cls: type[Accumulator]) -> type[Accumulator]:
        if name in OBSERVED:
            raise PlanError(f"statistic '{name}' is registered twice; names must be unique")
        OBSERVED[name] = Observed(side, cls)
        return cls

    return enter


class Observation:
    """The accumulators of some layers, by statistic and by the name of the layer's weight."""

    def __init__(
        self, asked: Mapping[str, tuple[str, float | None]], params: Iterable[str]
    ) -> None:
        self.parts: dict[str, dict[str, Accumulator]] = {
            name: {param: OBSERVED[base].accumulator(option) for param in params}
            for name, (base, option) in asked.items()
        }
        self._asked, self._experts = dict(asked), dict[tuple[str, str, int], Accumulator]()
        self._same = _SameInput()
        self.sides = {name: OBSERVED[base].side for name, (base, _) in asked.items()}
        self.seen: set[tuple[Side, str]] = set()
        self.stacks: dict[str, int] = {}
        """Stacked weights of experts -> how many experts."""

    def values(self) -> dict[str, dict[str, Tensor]]:
        """{statistic: {weight: value}} of the layers that at least one valid row ran through."""
        experts = self.experts(self.stacks)
        return {
            name: {
                p: part.value() for p, part in parts.items() if (self.sides[name], p) in self.seen
            }
            | experts.get(name, {})
            for name, parts in self.parts.items()
        }

    def expert(self, param: str, number: int, rows: Tensor) -> None:
        """Feed the rows [n, in] that meet one expert of a stacked weight."""
        if not len(rows):
            return
        rows = rows.detach().to(wide(rows))
        for name, (base, option) in self._asked.items():
            if self.sides[name] == "input" and OBSERVED[base].accumulator.form == "rows":
                made = OBSERVED[base].accumulator(option)
                self._experts.setdefault((name, param, number), made).add(rows)

    def experts(self, sizes: Mapping[str, int]) -> dict[str, dict[str, Tensor]]:
        """{statistic: {stacked weight: [experts, ...]}} of weights that any row met."""
        out: dict[str, dict[str, Tensor]] = {}
        for name, param in dict.fromkeys((n, p) for n, p, _ in self._experts):
            found = {
                e: a.value() for (n, p, e), a in self._experts.items() if (n, p) == (name, param)
            }
            out.setdefault(name, {})[param] = stacked(found, sizes[param])
        return out

    def add(self, module: nn.Module, param: str, side: Side, x: Tensor, valid: Valid) -> None:
        """Feed one call of the layer to all accumulators of one side."""
        known = self._same.known(x) if side == "input" and not isinstance(module, MAPS) else {}
        if "" not in known:
            chosen = valid_only(x.detach(), valid(), param)
            known[""] = chosen.to(wide(chosen))
        chosen = known[""]
        if not chosen.numel():
            return
        self.seen.add((side, param))
        rows: Tensor | None = None
        for name in (n for n, s in self.sides.items() if s == side):
            part = self.parts[name][param]
            if part.form == "maps":
                part.add(chosen)
                continue
            if name not in known:
                rows = rows if rows is not None else as_rows(module, chosen, side)
                known[name] = part.measure(rows)
            part.take(known[name])


@contextmanager
def observing(
    model: nn.Module,
    asked: Mapping[str, tuple[str, float | None]],
    params: Iterable[str],
    valid: Valid = lambda: None,
) -> Iterator[Observation]:
    """Inside, every call of the layers that own `params` feeds the statistics asked for.

    Args:
        model: a network, or one block of it.
        asked: name as asked for -> (registered name, option), as `statistics.parse` makes it.
        params: names of weights, e.g. `mlp.down_proj.weight`; biases and buffers are left out.
        valid: which samples or tokens of the batch count.

    Embeddings read numbers of rows, which have no statistics; they and layers that are not called
    as modules are left out of the values, but for the last one of `nn.MultiheadAttention`. So is the
    joint projection of an attention whose queries and keys are not made of one input. Statistics of the
    inputs of experts that are stacked in one tensor [experts, ., .] are stacked alike, zeros where no
    token reached an expert.

    >>> net = nn.Sequential(nn.Linear(2, 1))
    >>> with observing(net, {"input_mean": ("input_mean", None)}, ["0.weight"]) as seen:
    ...     _ = net(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> seen.values()["input_mean"]["0.weight"]
    tensor([2., 3.], dtype=torch.float64)
    """
    owners = {param: _owner(model, param) for param in params}
    stacks = {param: model.get_parameter(param) for param in _stacked(model, owners)}
    owners = {param: module for param, module in owners.items() if param not in stacks}
    observation = Observation(asked, owners)
    observation.stacks = {param: len(weight) for param, weight in stacks.items()}
    sides = set(observation.sides.values())
    with ExitStack() as stack:
        if stacks:
            stack.enter_context(multiplying(model, stacks, observation.expert, valid))
        for param, module in owners.items():
            for hook in _hooks(observation, module, called_at(model, param), param, sides, valid):
                stack.callback(hook.remove)
        yield observation


def _stacked(model: nn.Module, owners: Mapping[str, nn.Module]) -> list[str]:
    """Those of the parameters that hold the matrices of several experts."""
    if all(model.get_parameter(param).dim() != 3 for param in owners):
        return []
    return [w.name for w in prunable(model) if w.name in owners and EXPERT in w.dims]


def _owner(model: nn.Module, param: str) -> nn.Module:
    path, _, leaf = param.rpartition(".")
    modules = dict(model.named_modules())
    if path not in modules or leaf not in modules[path]._parameters:
        raise unknown("parameter", param, dict(model.named_parameters()))
    return modules[path]


def _hooks(
    observation: Observation,
    module: nn.Module,
    caller: tuple[nn.Module, str],
    param: str,
    sides: set[Side],
    valid: Valid,
) -> Iterator[Any]:
    called, weight = caller

    def before(owner: nn.Module, args: Any, kwargs: Any) -> None:
        x = entering(owner, weight, args, kwargs)
        if x is not None:
            observation.add(module, param, "input", x, valid)

    def after(owner: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        observation.add(owner, param, "output", first, valid)

    if "input" in sides and not isinstance(module, nn.Embedding):
        yield called.register_forward_pre_hook(before, with_kwargs=True)
    if "output" in sides:
        yield module.register_forward_hook(after, with_kwargs=True)


def as_rows(module: nn.Module, x: Tensor, side: Side) -> Tensor:
    """[n, features]: samples, tokens or positions by what a weight of the layer multiplies."""
    if isinstance(module, _ConvNd) and side == "input":
        return _windows(module, x)
    if isinstance(module, MAPS):
        return x.movedim(1, -1).reshape(
            -1, x.shape[1]
        )  # [n, channels, ...] -> [n * places, channels]
    return x.reshape(-1, x.shape[-1])


def _windows(conv: _ConvNd, x: Tensor) -> Tensor:
    """[samples, channels, ...] -> [samples * places, channels * kernel], padding as the layer pads."""
    if conv.transposed:
        raise PlanError("the input of a transposed convolution has no windows; leave it out")
    pads = conv._reversed_padding_repeated_twice
    x = F.pad(x, pads, mode="constant" if conv.padding_mode == "zeros" else conv.padding_mode)
    sizes = zip(conv.kernel_size, conv.stride, conv.dilation, strict=True)
    for dim, (kernel, stride, dilation) in enumerate(sizes, start=2):
        x = x.unfold(dim, dilation * (kernel - 1) + 1, stride)[..., ::dilation]
    places = len(conv.kernel_size)
    x = x.movedim(1, 1 + places)  # [samples, places..., channels, kernel...]
    return x.flatten(0, places).flatten(1)


def forward(model: nn.Module, batch: Any) -> Any:
    """The model's output on a batch: keywords, an (x, y) pair whose y is not looked at, or x."""
    inner = batch[0] if isinstance(batch, tuple | list) and batch else batch
    with torch.no_grad():
        return model(**inner) if isinstance(inner, Mapping) else model(inner)
