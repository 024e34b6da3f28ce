"""Statistics of one block, or of some of its layers, from what flows through them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

from ...core.padding import valid_of
from ...core.types import Target
from ..collect.observing import OBSERVED, observing
from ..collect.statistics import PAIRED, WATCHED, Then, Values, check_finite, parse
from .blocks import Block
from .conductor import Conductor
from .original import Original
from .stages import Stage, stopping


def statistics(
    conductor: Conductor, block: Block, names: Iterable[str], targets: tuple[Target, ...]
) -> dict[str, Values]:
    """The statistics of one block, over all batches, padding left out."""
    names = tuple(names)
    if not names or not targets:
        return {}
    with gathering(conductor, names, targets) as values:
        conductor.run(block)
    return values()


def statistics_beside(
    conductor: Conductor, original: Original, block: Block, names: Iterable[str], stage: Stage
) -> dict[str, Values]:
    """Those of some of its layers, each batch run through the block as it was first."""
    with (
        gathering(conductor, names, stage.targets, original.entered) as values,
        original.watching(stage),
        stopping(conductor.model, stage.beyond, conductor.enough(block)),
    ):
        conductor.run(block, original.run)
    return values()


@contextmanager
def gathering(
    conductor: Conductor,
    names: Iterable[str],
    targets: tuple[Target, ...],
    then: Then | None = None,
) -> Iterator[Callable[[], dict[str, Values]]]:
    """Inside, what runs through the targets' block feeds the statistics that are asked for.

    `then` tells what entered a layer of the block as it was, for those that compare the two.
    """
    model = conductor.model
    asked = {name: parse(name) for name in sorted(names)}
    seen = {name: parsed for name, parsed in asked.items() if parsed[0] in OBSERVED}
    params = list(dict.fromkeys(member.param for t in targets for member in t.members))
    weights = [p for p in params if model.get_parameter(p).dim() >= 2]
    valid = lambda: valid_of(conductor.batch())  # noqa: E731
    with ExitStack() as stack:
        flows = stack.enter_context(observing(model, seen, weights, valid)) if seen else None
        own = {
            name: stack.enter_context(WATCHED[base](model, targets, params, valid))
            for name, (base, _) in asked.items()
            if base in WATCHED
        }
        if then is not None:
            own |= {
                name: stack.enter_context(PAIRED[base](model, weights, valid, then))
                for name, (base, _) in asked.items()
                if base in PAIRED
            }

        def values() -> dict[str, Values]:
            found = (flows.values() if flows is not None else {}) | {n: w() for n, w in own.items()}
            check_finite(
                found,
                "what flows into this layer overflows: check the weights, or use a wider dtype",
            )
            return found

        yield values
