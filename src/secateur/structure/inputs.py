"""What layers read: the elements of the inputs of linear layers, and what attention multiplies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..core.axes import Structure
from ..core.component import register
from ..core.errors import PlanError
from ..core.layout import along
from ..core.modes import mode
from ..core.names import matches
from ..core.types import Member, Target
from .example import arguments
from .prunable import Weight, call, chosen, prunable

_SOFTMAX = (torch.softmax, F.softmax, Tensor.softmax)


@register("inputs")
class Inputs(Structure):
    """Inputs of linear layers, and queries, keys, probabilities and values of attention.

    One target per layer; a unit is one of its features, whatever the token. Which of a sample's elements go
    is for a run-time wrapper to say; no weight goes.

    Attributes:
        include: selectors (names, globs, `re:` patterns) of layers' weights, or of attentions
            (`blocks.0.attn.attention`); only these are read.
        exclude: the same, of what reads everything.
        classifier: whether the last layer's inputs go as well.
        attention: whether what attention multiplies goes as well.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    classifier: bool = False
    attention: bool = True

    def targets(self, model: nn.Module, example: object = None) -> tuple[Target, ...]:
        """Linear layers that run once with the samples first (kind `inputs`); attentions (`attention`)."""
        if example is None:
            raise PlanError("what layers read is seen by running the network; give an example")
        inside = [f"{n}." for n, m in model.named_modules() if isinstance(m, nn.MultiheadAttention)]
        if inside and self.attention:
            raise PlanError(
                f"'{inside[0][:-1]}' is a MultiheadAttention, which computes everything inside one function; "
                "its products cannot be reached. Use attention=False, which leaves it dense"
            )
        seen = _run(model, example, {w.layer for w in prunable(model)})
        named = {f"{name}.attention": name for name in (seen.calls if self.attention else ())}
        weights = self._weights(model, example, named)
        linear = [w for w in weights if _linear(model, w) and not w.name.startswith(tuple(inside))]
        if weights and not linear:
            raise PlanError(
                "no linear layer is left whose inputs could be pruned; there are weights of "
                f"{sorted({type(model.get_submodule(w.layer)).__name__ for w in weights})}"
            )
        for weight in linear:
            _check(weight.layer, seen.read[weight.layer], seen.samples)
        heads = self._attention(seen, named) if self.attention else ()
        return (*map(_target, linear), *heads)

    def _weights(
        self, model: nn.Module, example: object, attentions: Iterable[str]
    ) -> list[Weight]:
        """Those of `chosen`, by the selectors that are not of attentions alone."""
        names = [w.name for w in prunable(model)]

        def of_weights(selectors: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(s for s in selectors if _any(s, names) or not _any(s, attentions))

        include = of_weights(self.include)
        if self.include and not include:
            return []
        return chosen(model, example, include, of_weights(self.exclude), self.classifier)

    def _left(self, name: str) -> bool:
        """Whether an attention is named by `include`, where there is one, and not by `exclude`."""
        named = not self.include or any(matches(s, name) for s in self.include)
        return named and not any(matches(s, name) for s in self.exclude)

    def _attention(self, seen: _Seen, named: Mapping[str, str]) -> Iterator[Target]:
        if seen.softmax and not seen.calls and not self.include:
            raise PlanError(
                f"'{seen.softmax[0]}' computes attention with a softmax of its own, whose products cannot be "
                "reached; load the network with attn_implementation='sdpa', or use attention=False"
            )
        for target, name in named.items():
            if not self._left(target):
                continue
            shapes = seen.calls[name]
            if not name or len(shapes) != 1 or shapes[0][0] != seen.samples:
                raise PlanError(
                    f"'{name or 'the network itself'}' calls attention {len(shapes)} times, on queries of "
                    f"{list(shapes)}; it must be a layer that calls it once with the {seen.samples} samples "
                    f"first. Exclude '{target}', or use attention=False"
                )
            yield Target(target, "attention", (_features(shapes[0]),), (), layer=name)


def _features(shape: torch.Size) -> int:
    """Heads times width of queries [n, heads, tokens, d]."""
    return shape.numel() // (shape[0] * shape[-2])


def _linear(model: nn.Module, weight: Weight) -> bool:
    """A layer with one matrix, which multiplies the last dimension of what it reads."""
    module = model.get_submodule(weight.layer)
    return isinstance(module, nn.Linear) or hasattr(module, "nf")


def _target(weight: Weight) -> Target:
    shape, dim = tuple(weight.tensor.shape), weight.dims.index("in")
    member = Member(weight.name, along(shape, dim), reads=dim)
    return Target(f"{weight.layer}.inputs", "inputs", (shape[dim],), (member,), layer=weight.layer)


def _check(layer: str, read: list[torch.Size], samples: int) -> None:
    if len(read) != 1 or read[0][0] != samples:
        raise PlanError(
            f"'{layer}' runs {len(read)} times for one batch, on {[tuple(s) for s in read]}: what it "
            f"reads of each of {samples} samples cannot be told apart. Exclude '{layer}.weight'"
        )


class _Seen(TorchFunctionMode):
    """Who read what in one run.

    Attributes:
        read: layer -> shapes of its inputs, one per call.
        calls: the module that called attention -> shapes of the queries.
        softmax: modules that computed a softmax of three dimensions or more.
        samples: of the example.
    """

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.read: dict[str, list[torch.Size]] = defaultdict(list)
        self.calls: dict[str, list[torch.Size]] = defaultdict(list)
        self.softmax: list[str] = []
        self.samples = samples
        self.within: list[str] = [""]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        told = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self.calls[self.within[-1]].append((args[0] if args else told["query"]).shape)
        if func in _SOFTMAX and (args[0] if args else told["input"]).dim() > 2:
            self.softmax.append(self.within[-1])
        return func(*args, **told)


def _any(selector: str, names: Iterable[str]) -> bool:
    return any(matches(selector, name) for name in names)


def _run(model: nn.Module, example: Any, layers: set[str]) -> _Seen:
    """Run the network once and look on."""
    args, kwargs = arguments(example)
    first = next(x for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
    seen = _Seen(len(first))
    with mode(model, train=False), torch.no_grad(), _followed(model, seen, layers), seen:
        call(model, example)
    return seen


@contextmanager
def _followed(model: nn.Module, seen: _Seen, layers: set[str]) -> Iterator[None]:
    """Inside, it is known which module runs, and what the layers are given."""

    def enter(name: str) -> Callable[..., None]:
        def before(_: nn.Module, args: Any) -> None:
            seen.within.append(name)
            if name in layers:
                seen.read[name] += [x.shape for x in args[:1]]

        return before

    def leave(*_: Any) -> None:
        seen.within.pop()

    with ExitStack() as stack:
        for name, module in model.named_modules():
            stack.callback(module.register_forward_pre_hook(enter(name)).remove)
            stack.callback(module.register_forward_hook(leave).remove)
        yield
