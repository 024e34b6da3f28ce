"""What every pressure promises: finite gradients towards zero, of the targets' parameters alone."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from secateur.core.layout import along
from secateur.core.random import generator
from secateur.core.training import Pressure
from secateur.core.types import Member, Target
from tests.contracts.samples import cases

ALL = cases(Pressure)
HIDDEN = Target(
    "hidden", "channels", (6,),
    (
        Member("conv.weight", along((6, 3, 2, 2), 0)),
        Member("conv.bias", along((6,), 0)),
        Member("norm.weight", along((6,), 0), role="scale"),
        Member("norm.bias", along((6,), 0), role="shift"),
        Member("next.weight", along((4, 6), 1), reads=1),
    ),
)  # fmt: skip


def weights() -> dict[str, Tensor]:
    """What the target runs through, and a tensor it does not; unit 2 is all zeros."""
    rng = torch.Generator().manual_seed(0)
    shapes = {"conv.weight": (6, 3, 2, 2), "next.weight": (4, 6), "other.weight": (4, 4)}
    made = {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    for name in ("conv.bias", "norm.weight", "norm.bias"):
        made[name] = torch.randn(6, generator=rng)
    for name in ("conv.weight", "conv.bias", "norm.weight", "norm.bias"):
        made[name][2] = 0
    made["next.weight"][:, 2] = 0
    return made


def begun(pressure: Pressure, own: dict[str, Tensor]) -> dict[str, Tensor]:
    """What it decides, always the same; prices where it weighs units."""
    if pressure.weighs is not None:
        return {HIDDEN.name: torch.tensor(2.5)}
    return pressure.start(own, (HIDDEN,), {HIDDEN.name: 3}, partial(generator, 0))


def pushed(pressure: Pressure, progress: float = 1.0) -> dict[str, Tensor]:
    """Its gradient from the start at some progress."""
    return gradient_at(pressure, weights(), progress)


def gradient_at(
    pressure: Pressure, own: dict[str, Tensor], progress: float = 1.0
) -> dict[str, Tensor]:
    """Its gradient at these weights."""
    decided = begun(pressure, own)
    return pressure.gradient(own, (HIDDEN,), progress, decided)


@pytest.mark.parametrize("pressure", ALL)
def test_it_pushes_towards_zero_and_never_what_is_zero(pressure: Pressure) -> None:
    own = weights()
    found = pushed(pressure)
    assert found, "it pushes something"
    for name, gradient in found.items():
        assert gradient.shape == own[name].shape
        assert gradient.dtype == own[name].dtype
        assert bool(torch.isfinite(gradient).all())
        assert bool((gradient[own[name] == 0] == 0).all())
        assert bool((gradient * own[name] >= 0).all())
    assert sum(float(g.abs().sum()) for g in found.values()) > 0


@pytest.mark.parametrize("pressure", ALL)
def test_it_leaves_other_parameters_and_its_inputs_alone(pressure: Pressure) -> None:
    own = weights()
    before = {name: value.clone() for name, value in own.items()}
    found = pressure.gradient(own, (HIDDEN,), 0.5, begun(pressure, own))
    assert found.keys() <= {m.param for m in HIDDEN.members}
    assert all(torch.equal(before[name], own[name]) for name in own)


@pytest.mark.parametrize("pressure", ALL)
def test_it_is_the_same_every_time_and_never_weaker_later(pressure: Pressure) -> None:
    early, late, again = pushed(pressure, 0.2), pushed(pressure, 0.9), pushed(pressure, 0.9)
    for name, value in late.items():
        assert torch.equal(value, again[name])
        assert bool((value.abs() >= early[name].abs()).all())


@pytest.mark.parametrize("pressure", ALL)
def test_what_it_decides_can_be_checkpointed(pressure: Pressure) -> None:
    decided = begun(pressure, weights())
    assert all(isinstance(value, Tensor) for value in decided.values())
    pressure.check((HIDDEN,))


@pytest.mark.parametrize("size", [1.0, 200.0, 1e-4])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("pressure", ALL)
def test_other_precisions_are_summed_in_float32(
    pressure: Pressure, dtype: torch.dtype, size: float
) -> None:
    """Squares of 200 leave float16, those of 1e-4 vanish in it; of float64 no digit is lost."""
    own = {name: (size * value).to(dtype) for name, value in weights().items()}
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    found = gradient_at(pressure, own)
    expected = gradient_at(pressure, {name: value.double() for name, value in own.items()})
    for name, value in found.items():
        assert value.dtype == wide
        tight = {"rtol": 1e-5 if wide == torch.float32 else 1e-12, "atol": 0.0}
        assert torch.allclose(value.double(), expected[name], **tight), name
