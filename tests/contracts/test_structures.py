"""What every structure promises: units that own what they say, and no weight owned twice."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from secateur.core.axes import Structure
from secateur.core.errors import PlanError
from secateur.core.types import element_masks, keep_all
from tests.contracts.samples import answers

ALL = answers(Structure)
EXAMPLE = torch.zeros(2, 4, 8, 8)


class Mix(nn.Module):
    """Four experts of which a router chooses two."""

    class Router(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.top_k, self.weight = 2, nn.Parameter(torch.randn(4, 8))

    class Fused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.num_experts, self.weight = 4, nn.Parameter(torch.randn(4, 8, 8))

    def __init__(self) -> None:
        super().__init__()
        self.router, self.experts = self.Router(), self.Fused()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        share, index = (x @ self.router.weight.T).softmax(-1).topk(2, -1)
        return (self.experts.weight[index] @ x[:, None, :, None] * share[..., None, None]).sum(1)[
            ..., 0
        ]


class Stream(nn.Module):
    """Two sublayers, each beside a linear shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.a_shortcut = nn.Linear(8, 8), nn.Linear(8, 8, bias=False)
        self.b, self.b_shortcut = nn.Linear(8, 8), nn.Linear(8, 8, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x).tanh() + self.a_shortcut(x)
        return self.b(x).tanh() + self.b_shortcut(x)


class Add(nn.Module):
    """A residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layer(x)


OWN: dict[str, type[nn.Module]] = {"experts": Mix, "layers": Add, "rotated-residual": Stream}
"""What a structure needs that convolutions and linear layers do not have."""


def network(cls: type[Structure] | None = None) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 8),
        OWN.get(cls.name if cls is not None else "", nn.ReLU)(),
        nn.Linear(8, 4),
    )


@pytest.mark.parametrize("cls", ALL)
def test_units_of_a_target_own_disjoint_elements(cls: type[Structure]) -> None:
    model = network(cls)
    shapes = {n: p.shape for n, p in model.named_parameters()}
    for target in cls().targets(model, EXAMPLE):
        owned: dict[str, torch.Tensor] = {}
        for member in target.members:
            count = owned.setdefault(
                member.param, torch.zeros(shapes[member.param], dtype=torch.long)
            )
            member.layout.view(count).add_(1)
            assert member.layout.lead_shape == target.shape or (
                math.prod(member.layout.lead_shape) == target.units
            )
        assert all(int(c.max()) == 1 for c in owned.values())


@pytest.mark.parametrize("cls", ALL)
def test_names_are_unique_and_layers_exist(cls: type[Structure]) -> None:
    model = network(cls)
    targets = cls().targets(model, EXAMPLE)
    assert targets
    assert len({t.name for t in targets}) == len(targets)
    modules = dict(model.named_modules())
    assert all(t.layer in modules for t in targets)
    assert all(t.units == math.prod(t.shape) > 0 for t in targets)
    assert all(not t.dims or len(t.dims) == len(t.shape) for t in targets)


@pytest.mark.parametrize("cls", ALL)
def test_removing_one_unit_masks_its_elements_and_no_others(cls: type[Structure]) -> None:
    model = network(cls)
    shapes = {n: p.shape for n, p in model.named_parameters()}
    targets = cls().targets(model, EXAMPLE)
    for target in targets:
        masks = keep_all(targets)
        masks[target.name].view(-1)[target.units - 1] = False
        gone = {n: int((~m).sum()) for n, m in element_masks(targets, masks, shapes).items()}
        expected: dict[str, int] = {}
        for member in target.members:
            expected[member.param] = expected.get(member.param, 0) + member.layout.size
        assert {n: c for n, c in gone.items() if c} == expected


@pytest.mark.parametrize("cls", ALL)
def test_the_classifier_is_left_out_and_the_model_untouched(cls: type[Structure]) -> None:
    model = network(cls)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    targets = cls().targets(model, EXAMPLE)
    touched = {m.param: t.name for t in targets for m in t.members}
    assert "9.bias" not in touched
    if "9.weight" in touched:  # its inputs may go with what computes them, its classes stay
        masks = keep_all(targets)
        masks[touched["9.weight"]].view(-1)[0] = False
        shapes = {n: p.shape for n, p in model.named_parameters()}
        assert bool(element_masks(targets, masks, shapes)["9.weight"].any(1).all())
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all(m.training for m in model.modules())


@pytest.mark.parametrize("cls", ALL)
def test_a_model_without_anything_to_prune_is_refused(cls: type[Structure]) -> None:
    with pytest.raises(PlanError) as error:
        cls().targets(nn.Sequential(nn.ReLU(), nn.Flatten()), EXAMPLE)
    assert "prun" in str(error.value)
    assert "\n" not in str(error.value)
