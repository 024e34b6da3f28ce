"""The public face of structures: trace, shrink, measure."""

from __future__ import annotations

from typing import Any

from torch import nn

from .core.errors import DataError
from .core.network import plain_network
from .measure.report import Comparison, Measured
from .measure.report import compare as _compare
from .measure.report import measure as _measure
from .shrinking import Shrunk, can_go, shrink
from .structure.coupled import Chosen, chosen, trace_example
from .structure.graph.capture import SECONDS
from .structure.listing import Structures, layers_of
from .structure.residual import residual_blocks

__all__ = ["Shrunk", "can_go", "measure", "shrink", "trace"]


def trace(
    model: nn.Module, example: Any, *, outputs: Chosen = None, seconds: float = SECONDS
) -> Structures:
    """The coupled structures of a network: what has to go together, what a unit costs, what is frozen.

    Args:
        model: any network; it is left as it was. Where `torch.export` cannot follow all of it, the
            submodules that it can are traced, and the rest is frozen, with the reason.
        example: a tensor, a tuple of arguments or a dict of keywords, with two samples or more.
        outputs: names or numbers of the outputs that keep their size; by default all, but of a
            Hugging Face model that predicts (`logits`, …) not the internal states it also returns.
            `"*"` is every output.
        seconds: the longest the capture may take.

    >>> import torch
    >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> print(trace(net, torch.zeros(2, 3)))
    name  kind     units  members  params/unit  MACs/unit  on  removal
    0     neurons      8        3            6         10  on  exact
    <BLANKLINE>
    1 structures, 1 on by default; MACs are those of the whole example
    """
    model = plain_network(model)
    found = trace_example(model, example, "trace", chosen(outputs), seconds)
    if any(p.is_meta for p in model.parameters()):
        return Structures(found)
    try:
        blocks = residual_blocks(model, example)
    except DataError as error:  # axes are known all the same
        return Structures(found, unlisted=str(error))
    return Structures(found, layers_of(found, model, blocks))


def measure(
    model: nn.Module, example: Any, against: nn.Module | None = None, **options: Any
) -> Measured | Comparison:
    """Parameters, MACs, bytes and memory of a model; against another also latency and a verdict.

    The package `secateur.measure` goes by the same name: `from secateur.measure.macs import …`
    works as ever, while `secateur.measure(…)` is this function.

    Args:
        model: the model to judge.
        example: a tensor, a tuple of arguments or a dict of keywords.
        against: the reference, usually the dense network.
        options: `masks` of one model; batch_sizes, threads, runtimes, pairs, … of a comparison, as
            in `secateur.measure.report.compare`.
    """
    if against is None:
        return _measure(model, example, **options)
    names = options.pop("names", ("reference", "model"))
    return _compare(against, model, example, names=names, **options)
