"""Blocks of outputs by inputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from secateur.core.errors import PlanError
from secateur.core.types import element_masks, keep_all
from secateur.structure import Blocks


def gone(blocks: Blocks, model: nn.Module, unit: tuple[int, int]) -> torch.Tensor:
    """True where the elements of one block are."""
    (target,) = blocks.targets(model)
    masks = keep_all((target,))
    masks[target.name][unit] = False
    shapes = {n: p.shape for n, p in model.named_parameters()}
    return ~element_masks((target,), masks, shapes)[target.members[0].param]


def test_a_block_is_a_rectangle() -> None:
    model = nn.Sequential(nn.Linear(6, 4))
    blocks = Blocks(height=2, width=3, classifier=True)
    (target,) = blocks.targets(model)
    assert (target.name, target.kind) == ("0.weight[blocks]", "blocks")
    assert (target.shape, target.dims) == ((2, 2), ("out", "in"))
    assert target.members[0].layout.size == 6
    assert gone(blocks, model, (1, 0)).int().tolist() == [[0] * 6] * 2 + [[1, 1, 1, 0, 0, 0]] * 2


def test_the_kernel_goes_with_its_block() -> None:
    model = nn.Sequential(nn.Conv2d(4, 2, 3))
    mask = gone(Blocks(height=1, width=2), model, (1, 1))
    assert bool(mask[1, 2:].all())
    assert int(mask.sum()) == 2 * 9


def test_outputs_lead_where_inputs_are_stored_first() -> None:
    model = nn.Sequential(nn.ConvTranspose2d(4, 2, 3))  # [in 4, out 2, 3, 3]
    blocks = Blocks(height=1, width=2)
    assert blocks.targets(model)[0].shape == (2, 2)
    mask = gone(blocks, model, (0, 1))  # output 0, inputs 2 and 3
    assert bool(mask[2:, 0].all())
    assert int(mask.sum()) == 2 * 9


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        (Blocks(height=3, width=2), "'0.weight' has 4 outputs, no multiple of the block's 3"),
        (Blocks(height=2, width=4), "'0.weight' has 6 inputs, no multiple of the block's 4"),
    ],
)
def test_sizes_that_do_not_divide_are_refused_by_name(blocks: Blocks, said: str) -> None:
    with pytest.raises(PlanError) as error:
        blocks.targets(nn.Sequential(nn.Linear(6, 4)))
    assert said in str(error.value)
