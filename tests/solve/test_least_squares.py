"""Least squares against the normal equations of the rows themselves, and inside whole runs."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import secateur as sc
from secateur.allocation import Uniform
from secateur.core.errors import PlanError
from secateur.core.recipe import Recipe
from secateur.criteria import FirstMember, ThiNet
from secateur.schedule import OneShot
from secateur.scope import Tensorwise
from secateur.solve import LeastSquares
from secateur.structure import Coupled

IMAGES = torch.zeros(2, 2, 6, 6)


def recipe(solver, criterion=None, density=0.5):
    return Recipe(
        structure=Coupled(), criterion=criterion or FirstMember(), scope=Tensorwise(),
        allocator=Uniform(), schedule=OneShot(density=density), solver=solver,
    )  # fmt: skip


def conv_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 3, stride=2, padding=1, bias=False)
    ).double()


def images(n=40):
    return torch.randn(n, 2, 6, 6, generator=torch.Generator().manual_seed(1)).double()


def rows(net, x):
    """[rows, in * kernel] the windows that the second convolution multiplies."""
    with torch.no_grad():
        windows = F.unfold(net[1](net[0](x)), 3, padding=1, stride=2)  # [n, in * kernel, places]
    return windows.transpose(1, 2).flatten(0, 1)


@pytest.fixture
def setting():
    net, x = conv_net(), images()
    return net, x, [(part, torch.zeros(len(part))) for part in x.split(15)]


def test_the_kept_weights_solve_the_normal_equations(setting):
    net, x, data = setting
    result = sc.prune(net, recipe(LeastSquares(damping=1e-12)), data=data, example=IMAGES.double())
    kept = result.units["0"].repeat_interleave(9)
    design, target = rows(net, x), rows(net, x) @ net[2].weight.flatten(1).T
    expected = torch.linalg.lstsq(design[:, kept], target).solution.T
    assert torch.allclose(result.model[2].weight.flatten(1)[:, kept], expected, atol=1e-7)
    assert int((result.model[2].weight.flatten(1)[:, ~kept] != 0).sum()) == 0


def test_scales_are_one_factor_per_unit(setting):
    net, x, data = setting
    solver = LeastSquares(fit="scales", damping=1e-12)
    result = sc.prune(net, recipe(solver, ThiNet()), data=data, example=IMAGES.double())
    kept = result.units["0"].nonzero()[:, 0]
    weight = net[2].weight.detach()
    parts = [rows(net, x)[:, 9 * u : 9 * u + 9] @ weight[:, u].flatten(1).T for u in range(8)]
    design = torch.stack([parts[u].flatten() for u in kept], 1)
    factors = torch.linalg.lstsq(design, torch.stack(parts).sum(0).flatten()[:, None]).solution
    expected = weight[:, kept] * factors.view(1, -1, 1, 1)
    assert torch.allclose(result.model[2].weight[:, kept], expected, atol=1e-7)


def error(net, x, result):
    with torch.no_grad():
        return float((net(x) - result.model(x)).square().mean())


@pytest.mark.parametrize(("fit", "left"), [("weights", 0.9), ("scales", 0.99)])
def test_the_output_changes_less_than_without_it_and_shrinks_to_the_same(setting, fit, left):
    net, x, data = setting
    plain = sc.prune(net, recipe(None), data=data, example=IMAGES.double())
    solved = sc.prune(net, recipe(LeastSquares(fit=fit)), data=data, example=IMAGES.double())
    assert torch.equal(plain.units["0"], solved.units["0"])
    assert error(net, x, solved) < left * error(net, x, plain)
    small = sc.shrink(solved, IMAGES.double())
    assert torch.allclose(small.model(x), solved.model(x), atol=1e-10)


def test_two_rounds_compose():
    """The second round starts from inputs that are gone, and leaves their weights at zero."""
    from secateur.schedule import Iterative

    net, x = conv_net(), images()
    made = recipe(LeastSquares(damping=1e-12)).model_copy(
        update={"schedule": Iterative(density=0.25, rounds=2)}
    )
    result = sc.prune(net, made, data=[(x, torch.zeros(len(x)))], example=IMAGES.double())
    kept = result.units["0"].repeat_interleave(9)
    design, target = rows(net, x), rows(net, x) @ net[2].weight.flatten(1).T
    expected = torch.linalg.lstsq(design[:, kept], target).solution.T
    assert torch.allclose(result.model[2].weight.flatten(1)[:, kept], expected, atol=1e-6)


def test_two_structures_that_one_layer_reads_are_solved_together():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(3, 6), nn.Linear(3, 6), nn.Linear(12, 4, bias=False)

        def hidden(self, x):
            return torch.cat([torch.relu(self.a(x)), torch.tanh(self.b(x))], -1)

        def forward(self, x):
            return self.c(self.hidden(x))

    torch.manual_seed(0)
    net, x = Both().double(), torch.randn(200, 3).double()
    made = recipe(LeastSquares(damping=1e-12))
    result = sc.prune(net, made, data=[(x, torch.zeros(200))], example=x[:2])
    kept = torch.cat([result.units["a"], result.units["b"]])
    with torch.no_grad():
        expected = torch.linalg.lstsq(net.hidden(x)[:, kept], net(x)).solution.T
    assert torch.allclose(result.model.c.weight[:, kept], expected, atol=1e-6)


def test_layers_that_work_in_groups_are_refused_by_name():
    net = nn.Sequential(nn.Conv2d(2, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1, groups=2)).double()
    data = [(images(), torch.zeros(40))]
    with pytest.raises(PlanError, match=r"2.weight|groups"):
        sc.prune(net, recipe(LeastSquares()), data=data, example=IMAGES.double())
