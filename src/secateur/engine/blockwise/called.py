"""Which layers the calibration data reach: those that no sample calls stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from ...core.types import Target
from ..collect.entering import called_at, entering

UNCALLED = "uncalled"
"""In the row of a target: no sample called its layer, so that it was left dense."""


@contextmanager
def noting_calls(
    model: nn.Module, targets: Iterable[Target]
) -> Iterator[Callable[[tuple[Target, ...]], tuple[Target, ...]]]:
    """Inside, calls of the targets' layers are noted; what is given says which of some were called.

    The cross-attention of a decoder that is run without an encoder is never called, and there is nothing
    to judge it by. Where none of them was called all are given back, for whoever needs their statistics to
    say so: then it is the data, or the way the network is run, that is not right.

    >>> net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    >>> from ...structure import Weights
    >>> both = Weights(classifier=True).targets(net)
    >>> with noting_calls(net, both) as called:
    ...     _ = net[1](net[1].weight)
    >>> [target.name for target in called(both)]
    ['1.weight']
    """
    seen: set[str] = set()

    def noting(param: str, weight: str) -> Callable[..., None]:
        def note(layer: nn.Module, args: Any, kwargs: Any) -> None:
            if param not in seen and (args or kwargs) and _reads(layer, weight, args, kwargs):
                seen.add(param)

        return note

    def called(some: tuple[Target, ...]) -> tuple[Target, ...]:
        reached = (t for t in some if any(m.param in seen for m in t.members))
        return tuple(reached) or some

    with ExitStack() as stack:
        for param in {m.param for t in targets for m in t.members}:
            layer, weight = called_at(model, param)
            hook = layer.register_forward_pre_hook(noting(param, weight), with_kwargs=True)
            stack.callback(hook.remove)
        yield called


def _reads(layer: nn.Module, weight: str, args: Any, kwargs: Any) -> bool:
    """Whether what a weight multiplies is known; of other parameters, as norms', whether they are called."""
    return entering(layer, weight, args, kwargs) is not None


def uncalled(rows: Iterable[Mapping[str, Any]]) -> str:
    """Which layers were left dense since no sample called them, in words; empty where none was."""
    names = [row["target"] for row in rows if row.get(UNCALLED)]
    if not names:
        return ""
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"left dense, since no calibration sample runs through them as layers: {shown}"
