"""The whole network checked where only parts of it were traced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from secateur.core.instead import call_with
from secateur.structure.graph.edit import sliced
from secateur.structure.graph.errors import ProofError
from secateur.structure.graph.export import EXPORT_FAILURES, as_traced, said
from secateur.structure.graph.infer import Inference
from secateur.structure.graph.positions import Kept
from secateur.structure.graph.proof import difference, floats, masked, randomised

TOLERANCE = 1e-4


def check_whole(
    model: nn.Module,
    small: nn.Module,
    found: Inference,
    kept: Kept,
    exact: bool,
    example: tuple[Sequence[Any], Mapping[str, Any]],
) -> None:
    """Run the network itself, masked and smaller, on random weights: what is not traced may read a part.

    A module may reach into a traced submodule, say `self.block.fc.weight`, without calling it; no
    graph shows that.
    """
    values = randomised(found)
    try:
        wanted = _run(model, masked(found, kept, values), example)
        got = _run(small, sliced(found, kept, values), example)
    except EXPORT_FAILURES as error:
        raise ProofError(_said(f"the smaller network does not run: {said(error)}")) from error
    if [t.shape for t in got] != [t.shape for t in wanted]:
        raise ProofError(_said("the smaller network's outputs have other shapes"))
    if exact and (gap := difference(got, wanted)) > TOLERANCE:
        raise ProofError(_said(f"the smaller network differs from the masked one by {gap:.1e}"))


def _said(what: str) -> str:
    return (
        f"{what}, though its traced parts agree: some forward() that is not traced reads inside a "
        "part. Remedy: leave out the structures of that part, or make forward() traceable"
    )


def _run(
    model: nn.Module,
    values: Mapping[str, Tensor],
    example: tuple[Sequence[Any], Mapping[str, Any]],
) -> list[Tensor]:
    names = {name for name, _ in [*model.named_parameters(), *model.named_buffers()]}
    chosen = {name: value for name, value in values.items() if name in names}
    with torch.no_grad(), as_traced(model):
        return floats(call_with(model, chosen, *example))
