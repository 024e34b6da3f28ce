"""What users wrap around networks, and what cannot be pruned."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

import secateur as sc
from secateur.core.errors import PlanError
from secateur.core.network import plain_network

X = torch.randn(2, 6)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4)).eval()


WRAPPERS = {
    "compiled": torch.compile,
    "parallel": nn.DataParallel,
    "both": lambda model: torch.compile(nn.DataParallel(model)),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("method", ["group-norm", "magnitude"])
def test_the_network_inside_is_pruned_and_its_file_loads_in_the_plain_one(
    wrapper: str, method: str, tmp_path: Path
) -> None:
    plain = net()
    wrapped = WRAPPERS[wrapper](plain)
    found = sc.prune(wrapped, method, density=0.5, example=X)
    assert type(found.model) is nn.Sequential
    done = sc.shrink(found, X) if method == "group-norm" else found
    sc.save(done, tmp_path / "pruned")
    again = sc.load(tmp_path / "pruned", model=net())
    assert torch.equal(again(X), done.model(X))
    assert sum(p.count_nonzero() for p in plain.parameters()) == 16 * 6 + 16 + 16 * 4 + 4


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_traced_planned_shrunk_scored_saved_as_the_plain_one(wrapper: str, tmp_path: Path) -> None:
    wrapped = WRAPPERS[wrapper](net())
    assert str(sc.trace(wrapped, X)) == str(sc.trace(net(), X))
    assert str(sc.plan(wrapped, "group-norm", X, density=0.5)) == str(
        sc.plan(net(), "group-norm", X, density=0.5)
    )
    small = sc.shrink(wrapped, X, keep={"0": range(5)}, in_place=True)
    assert small.model is plain_network(wrapped)
    assert wrapped(X).shape == (2, 4)
    assert set(sc.score(WRAPPERS[wrapper](net()), "magnitude")) == {"0.weight", "2.weight"}
    sc.save(wrapped, tmp_path / "net")
    assert sc.load(tmp_path / "net", model=net())[0].out_features == 5


class Keeps(nn.Module):
    """Remembers what went through it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(6, 4), None

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.layer(x)
        return self.last


def used(model: nn.Module) -> nn.Module:
    model(X)
    return model


def hooked(by: str, run: bool = True) -> nn.Module:
    model = net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the older forms deprecated
        if by == "prune":
            torch_prune.l1_unstructured(model[0], "weight", 0.5)
        else:
            getattr(nn.utils, by)(model[0])
    return used(model) if run else model


REFUSED = {
    "script": (lambda: torch.jit.script(net()), "TorchScript.*the Python network"),
    "traced": (lambda: torch.jit.trace(net(), X), "TorchScript.*the Python network"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(3)), "'0' is a lazy layer.*run the network once"),
    "weight_norm": (lambda: hooked("weight_norm"), r"'0.weight' is computed .*remove_weight_norm"),
    "spectral_norm": (lambda: hooked("spectral_norm"), "'0.weight' is computed before every pass"),
    "new spectral_norm": (
        lambda: hooked("spectral_norm", run=False),
        "'0.weight' is computed before every pass",
    ),
    "prune": (lambda: hooked("prune"), r"prune.remove\(layer, 'weight'\)"),
    "kept": (lambda: used(Keeps()), "'the network.last' is a tensor kept from a pass"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_cannot_be_pruned_is_refused_at_every_door(case: str) -> None:
    make, says = REFUSED[case]
    model = make()
    with pytest.raises(PlanError, match=says):
        sc.prune(model, "magnitude", sparsity=0.5)
    with pytest.raises(PlanError, match=says):
        sc.trace(model, X)
    with pytest.raises(PlanError, match=says):
        sc.shrink(model, X, keep={"0": [0]})


def test_weights_without_values_are_refused_where_values_decide() -> None:
    model = net().to("meta")
    with pytest.raises(PlanError, match=r"'0.weight' lies on the meta device"):
        sc.prune(model, "magnitude", sparsity=0.5)
    assert "48 units stay" in str(sc.plan(model, "magnitude", sparsity=0.5))
