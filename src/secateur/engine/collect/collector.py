"""The one collector: gathers the union of all statistics that are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import DataError, PlanError, unknown
from ...core.padding import valid_of
from ...core.random import derive
from ...core.types import Target
from .loop import means
from .observing import OBSERVED, forward, observing
from .state import unchanged
from .statistics import OWN_PASS, PAIRED, PER_BATCH, Job, Loss, Values, check_finite, parse


def collect(
    model: nn.Module,
    names: Iterable[str],
    of: Iterable[Target | str],
    batches: Iterable[Any] | None = None,
    loss: Loss | None = None,
    *,
    seed: int = 0,
    example: Any = None,
    initial: Mapping[str, Tensor] | None = None,
    masks: Mapping[str, Tensor] | None = None,
    batch_statistics: bool = True,
    reference: nn.Module | None = None,
    suspended: AbstractContextManager[Any] | None = None,
) -> dict[str, Values]:
    """{statistic: {parameter: tensor}} of everything in `names`, in as few passes as possible.

    All means over batch gradients come out of one loop; `hessian_gradient` takes two more (one, if
    `gradient` is asked for too and its temperature is 1); `synaptic_flow` needs no data. The model
    is scored without dropout and with batch statistics in its batch norms, as the official codes of
    GraSP and FORCE do (they leave the network in training mode; at initialisation the running
    statistics mean nothing); `batch_statistics=False` uses the running ones, as the official SNIP
    and SynFlow codes do; what flows through layers is always taken with the running ones, as the
    network is used. Afterwards parameters, gradients, buffers, training flags and generators
    are bit for bit what they were, also when an exception left the loop.

    Args:
        model: the network.
        names: statistics, e.g. `gradient` or `hessian_gradient:200`.
        of: targets or parameter names whose statistics are wanted.
        batches: can be read more than once, e.g. a list or a DataLoader.
        loss: loss(model, batch) -> scalar.
        seed: fixes every random draw made on the way (shuffling, augmentation by torch).
        example: an input, for statistics without data.
        initial: weights at step 0, for `initial`.
        masks: {parameter: bool}; pruned weights count as zero.
        reference: the network before anything was removed, for `output_cross`.
        suspended: a context in which the hooks of hard masks let the dense gradient through.

    >>> net = nn.Linear(2, 1, bias=False)
    >>> batches = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -6.0]])]
    >>> collect(net, ["gradient"], ["weight"], batches, lambda m, x: m(x).sum())["gradient"]
    {'weight': tensor([[ 2., -2.]])}
    """
    asked = {name: parse(name) for name in sorted(set(names))}
    _no_pairs(asked)
    masks = _of_parameters(model, masks or {})
    of = tuple(of)
    job = Job(model, _params(model, of), batches, loss, seed, example, initial, masks)
    job.targets = tuple(item for item in of if isinstance(item, Target))
    job.reference = reference
    with unchanged(model, job.params, masks, batch_statistics), suspended or nullcontext():
        shared = {name: PER_BATCH[name] for name in asked if name in PER_BATCH}
        job.means = means(job, shared) if shared else {}
        own = {n: OWN_PASS[base](job, o) for n, (base, o) in asked.items() if base in OWN_PASS}
    with unchanged(model, job.params, masks, batch_statistics=False):
        flows = {name: parsed for name, parsed in asked.items() if parsed[0] in OBSERVED}
        seen = observed(job, flows) if flows else {}
    found = {**job.means, **own, **seen}
    check_finite(found, "check weights and data, or use float64")
    return found


def observed(job: Job, asked: Mapping[str, tuple[str, float | None]]) -> dict[str, Values]:
    """Statistics of what flows through the layers whose weights are asked for, in one pass.

    Padding, as the batch's attention mask has it, never counts. Layers are named by their weights;
    biases and the parameters of layers that are not called have no such statistics.
    """
    if job.batches is None:
        raise PlanError(f"{', '.join(asked)} need batches; pass data=...")
    torch.manual_seed(derive(job.seed, "collect"))
    weights = [name for name in job.params if job.params[name].dim() >= 2]
    count, current = 0, None
    with observing(job.model, asked, weights, lambda: valid_of(current)) as seen:
        for count, current in enumerate(job.batches, 1):  # noqa: B007 (read by the hooks)
            forward(job.model, current)
    if not count:
        raise DataError(
            "there are no batches to look at: the loader is empty, or an iterator that can be read "
            "once only; pass a list of batches or a DataLoader"
        )
    return seen.values()


def _no_pairs(asked: Mapping[str, tuple[str, float | None]]) -> None:
    """Refuse what only the block-wise walk gives."""
    for name in (name for name, (base, _) in asked.items() if base in PAIRED):
        raise PlanError(
            f"statistic '{name}' compares the pruned network with the dense one, which runs beside it "
            "block by block only; use walk='blocks'"
        )


def _params(model: nn.Module, of: Iterable[Target | str]) -> dict[str, nn.Parameter]:
    """The parameters named, or owned by the targets; buffers (of batch norms) have no statistics."""
    parameters = dict(model.named_parameters())
    buffers = dict(model.named_buffers())
    wanted: dict[str, nn.Parameter] = {}
    for item in of:
        members = [m.param for m in item.members] if isinstance(item, Target) else [item]
        for name in members:
            if name in parameters:
                wanted[name] = parameters[name]
            elif name not in buffers:
                raise unknown("parameter", name, parameters)
    return wanted


def _of_parameters(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The masks without those of buffers; a name of neither is an error."""
    parameters = dict(model.named_parameters())
    buffers = dict(model.named_buffers())
    for name in masks:
        if name not in parameters and name not in buffers:
            raise unknown("parameter", name, parameters)
    return {name: mask for name, mask in masks.items() if name in parameters}
