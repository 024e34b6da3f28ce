"""Experts in one tensor, run at once or cut by counts: their width is no ordinary layer of neurons."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import secateur as sc
from secateur.core.errors import PlanError
from secateur.solve import BiasCompensation
from secateur.structure import Coupled


class Mixture(nn.Module):
    """Three experts [3, ., .], to which tokens go by the largest score."""

    def __init__(self, counted: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.enter, self.router = nn.Linear(4, 6), nn.Linear(6, 3)
        self.up = nn.Parameter(torch.randn(3, 6, 10))
        self.down = nn.Parameter(torch.randn(3, 10, 6))
        self.leave, self.counted = nn.Linear(6, 2), counted

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        chosen = self.router(x).argmax(1)
        return self.leave(x + (self.by_counts if self.counted else self.at_once)(x, chosen))

    def at_once(self, x: Tensor, chosen: Tensor) -> Tensor:
        """As Llama 4: every expert is given all tokens, those of others as zeros."""
        given = F.one_hot(chosen, 3).T[..., None] * x  # [experts, tokens, 6]
        return torch.bmm(torch.bmm(given, self.up).relu(), self.down).sum(0)

    def by_counts(self, x: Tensor, chosen: Tensor) -> Tensor:
        """As JetMoE: tokens in the order of their experts, cut where the next one's begin."""
        order = chosen.argsort(stable=True)
        pieces = x[order].split(F.one_hot(chosen, 3).sum(0).tolist())
        done = [
            F.linear(F.linear(piece, self.up[i].T).relu(), self.down[i].T)
            for i, piece in enumerate(pieces)
        ]
        return torch.zeros_like(x).index_add(0, order, torch.cat(done))


X = torch.randn(7, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("counted", [False, True])
def test_the_width_of_experts_is_told_from_neurons_and_can_go(counted: bool) -> None:
    model = Mixture(counted)
    kinds = {axis.kind: axis for axis in sc.trace(model, X) if axis.default}
    assert "neurons" not in kinds
    width = kinds["expert width"]
    assert width.units == 10
    small = sc.shrink(model, X, keep={width.name: [0, 2, 3, 7]}).model
    gone = [1, 4, 5, 6, 8, 9]
    with torch.no_grad():
        model.up[:, :, gone] = 0
        torch.testing.assert_close(small(X), model(X))
    assert sum(p.numel() for p in small.parameters()) == sum(
        p.numel() for p in model.parameters()
    ) - 3 * 6 * 2 * len(gone)


def test_asking_for_neurons_says_what_there_is() -> None:
    said = "no neurons and no heads to choose from, but expert width.*lie in one tensor"
    with pytest.raises(PlanError, match=said):
        Coupled(kinds=("neurons", "heads")).targets(Mixture(False), X)
    dense = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with pytest.raises(PlanError, match=r"no heads to choose from, but neurons; what may go"):
        Coupled(kinds=("heads",)).targets(dense, X)


def test_experts_in_one_tensor_get_no_bias_to_make_up() -> None:
    model = Mixture(False)
    targets = Coupled(kinds=("expert width",)).targets(model, X)
    with pytest.raises(PlanError, match="several matrices in one tensor"):
        BiasCompensation().prepare(model, targets)
