"""The registry of statistics: means over batch gradients, what flows through layers, own passes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from ...core.errors import DataError, NumberError, PlanError, unknown
from ...core.finite import finite
from ...core.padding import valid_of
from ...core.types import Target
from .observing import OBSERVED, Valid, forward

Loss = Callable[[nn.Module, Any], Tensor]
"""loss(model, batch) -> the mean loss of the batch, a scalar."""

Values = dict[str, Tensor]
"""Parameter name -> tensor of its shape."""


def check_finite(found: Mapping[str, Values], remedy: str) -> None:
    """NaN or infinite statistics are an error where their name is known."""
    for statistic, values in found.items():
        for param, value in values.items():
            if not finite(value):
                raise NumberError(
                    f"statistic '{statistic}' of '{param}' holds NaN or infinite values; {remedy}"
                )


@dataclass
class Job:
    """What a collection works on.

    Attributes:
        model: the network, in the state it is to be scored in.
        params: the parameters whose statistics are wanted, by name.
        batches, loss: the data and what is made of a batch; None for data-free statistics.
        seed: what all randomness of the passes derives from.
        example: an input, for statistics that need its shape only.
        initial: weights at step 0.
        masks: parameter name -> bool mask of its elements.
        targets: whose units are judged, for statistics of units.
        reference: the network before anything was removed, for what layers ought to put out; None: itself.
        means: per-batch statistics that are ready, so that no pass is made twice.
    """

    model: nn.Module
    params: dict[str, nn.Parameter]
    batches: Iterable[Any] | None = None
    loss: Loss | None = None
    seed: int = 0
    example: Any = None
    initial: Mapping[str, Tensor] | None = None
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()
    reference: nn.Module | None = None
    means: dict[str, Values] = field(default_factory=dict)


Reads = Literal["nothing", "inputs", "labels"]
"""What of the data a statistic rests on: at most the shape of an input, inputs, or the loss."""

PerBatch = Callable[[Tensor], Tensor]
"""What is averaged over the batches, given the gradient of one batch's loss by one parameter."""

OwnPass = Callable[[Job, float | None], Values]
"""A statistic gathered by itself, given the job and the number after the colon of its name."""

Watch = Callable[
    [nn.Module, tuple[Target, ...], Collection[str], Valid],
    AbstractContextManager[Callable[[], Values]],
]
"""A statistic gathered by hooks: given the network, the targets and the parameters whose statistics
are wanted and which tokens count, a context that gives what reads the values after the calls in it."""

Then = Callable[[str], Tensor]
"""What entered the layer of a weight in the dense network at this call of it."""

Paired = Callable[
    [nn.Module, Collection[str], Valid, Then], AbstractContextManager[Callable[[], Values]]
]
"""A statistic gathered by hooks that compare what enters layers with what entered them in the dense
network: given the network, the weights, which tokens count and what entered, as a `Watch` gives it."""

PER_BATCH: dict[str, PerBatch] = {}
OWN_PASS: dict[str, OwnPass] = {}
READS: dict[str, Reads] = {}
"""What those of `OWN_PASS` read."""
WATCHED: dict[str, Watch] = {}
"""Those of `OWN_PASS` that hooks gather, so that one block of a network is enough at a time."""
PAIRED: dict[str, Paired] = {}
"""Those that only the block-wise walk gives, which runs the dense blocks beside the pruned ones."""


def names() -> list[str]:
    """Every statistic that can be asked for."""
    return sorted([*PER_BATCH, *OWN_PASS, *OBSERVED, *PAIRED])


def per_batch(name: str) -> Callable[[PerBatch], PerBatch]:
    """Decorator: register a function of the batch gradient, averaged in the one shared loop."""

    def enter(function: PerBatch) -> PerBatch:
        _free(name)
        PER_BATCH[name] = function
        return function

    return enter


def reads(asked: str) -> Reads:
    """What of the data a statistic rests on.

    >>> from secateur.engine.collect import collect
    >>> reads("gradient"), reads("input_gram"), reads("synaptic_flow")
    ('labels', 'inputs', 'nothing')
    """
    name, _ = parse(asked)
    return "labels" if name in PER_BATCH else READS.get(name, "inputs")


def own_pass(name: str, *, reads: Reads) -> Callable[[OwnPass], OwnPass]:
    """Decorator: register a statistic that makes its own passes, or none; and what of the data it reads."""

    def enter(function: OwnPass) -> OwnPass:
        _free(name)
        OWN_PASS[name] = function
        READS[name] = reads
        return function

    return enter


def watched(name: str) -> Callable[[Watch], Watch]:
    """Decorator: register a statistic that hooks gather while batches run through the network."""

    def enter(watch: Watch) -> Watch:
        def gather(job: Job, option: float | None) -> Values:
            return _watched(name, watch, job)

        own_pass(name, reads="inputs")(gather)
        WATCHED[name] = watch
        return watch

    return enter


def paired(name: str) -> Callable[[Paired], Paired]:
    """Decorator: register a statistic that compares the pruned network with the dense one."""

    def enter(pair: Paired) -> Paired:
        _free(name)
        PAIRED[name] = pair
        return pair

    return enter


def _watched(name: str, watch: Watch, job: Job) -> Values:
    """One pass over the batches with the hooks in place."""
    if job.batches is None:
        raise PlanError(f"statistic '{name}' needs batches; pass data=...")
    current, count = None, 0
    with watch(job.model, job.targets, job.params, lambda: valid_of(current)) as values:
        for count, current in enumerate(job.batches, 1):  # noqa: B007 (read by the hooks)
            forward(job.model, current)
    if not count:
        raise DataError(f"there are no batches to take statistic '{name}' of")
    return values()


def _free(name: str) -> None:
    if name in names():
        raise PlanError(f"statistic '{name}' is registered twice; names must be unique")


def parse(asked: str) -> tuple[str, float | None]:
    """`name` or `name:number` -> the registered name and its option.

    >>> from secateur.engine.collect import collect
    >>> parse("hessian_gradient:200"), parse("gradient")
    (('hessian_gradient', 200.0), ('gradient', None))
    """
    name, colon, text = asked.partition(":")
    if name not in names():
        raise unknown("statistic", name, names())
    if not colon:
        return name, None
    try:
        option = float(text)
    except ValueError:
        raise PlanError(f"statistic '{asked}': '{text}' is not a number") from None
    if name in PER_BATCH or name in PAIRED:
        raise PlanError(f"statistic '{name}' takes no option; '{asked}' gives it one")
    return name, option
