"""A graph is run over tensors that exist from their first use to their last."""

from __future__ import annotations

import gc
import weakref

import torch
from torch import Tensor, nn

from secateur.structure.graph import trace
from secateur.structure.graph.graph_run import GraphRun


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))


def test_the_outputs_are_those_of_the_network() -> None:
    model, x = net(), torch.randn(2, 3)
    captured = trace(model, (x,)).inference.captured
    run = GraphRun(captured.graph, captured.tensors.__getitem__)
    assert torch.equal(run.outputs([x])[0], model(x))
    shapes = [tuple(t.shape) for t in run.record([x]).values() if t.shape != x.shape]
    assert shapes == [(2, 8)] * 4 + [(2, 2)]


def test_one_layer_of_tensors_at_a_time() -> None:
    """A weight is made when its layer runs, and gone when the next one does."""
    model, x = net(), torch.randn(2, 3)
    captured = trace(model, (x,)).inference.captured
    alive: dict[str, weakref.ref[Tensor]] = {}
    most = 0

    def read(name: str) -> Tensor:
        nonlocal most
        made = captured.tensors[name].detach().double()
        alive[name] = weakref.ref(made)
        gc.collect()
        most = max(most, sum(ref() is not None for ref in alive.values()))
        return made

    GraphRun(captured.graph, read).outputs([x.double()])
    assert list(alive) == [f"{i}.{part}" for i in (0, 2, 4) for part in ("weight", "bias")]
    assert most == 2
