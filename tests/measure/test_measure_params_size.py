"""Parameters, zeros and bytes, with shared parameters counted once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from secateur.artifact import save_sparse
from secateur.core.errors import PlanError
from secateur.measure import count_parameters, kept_masks, measure_size


def tied() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    nn.init.ones_(model[0].weight)
    nn.init.ones_(model[0].bias)
    nn.init.zeros_(model[2].bias)
    return model


def test_counts_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 5))
    masks = {"0.weight": torch.zeros(3, 2, 3, 3).bool(), "3.weight": torch.ones(5, 12).bool()}
    masks["0.weight"][0] = True
    count = count_parameters(model, masks)
    assert count.total == 54 + 3 + 3 + 3 + 60 + 5
    assert (count.prunable, count.kept) == (114, 78)
    assert count.sparsity == pytest.approx(36 / 114)
    assert count.sparsity_of_all == pytest.approx(36 / 128)
    assert count.density == {"0.weight": 18 / 54, "3.weight": 1.0}
    assert count.nonzero == 18 + 3 + 3 + 60 + 5  # the batch norm's bias is zero


def test_shared_parameters_count_once_under_any_of_their_names() -> None:
    mask = torch.eye(4).bool()
    for masks in ({"0.weight": mask}, {"2.weight": mask}, {"0.weight": mask, "2.weight": mask}):
        count = count_parameters(tied(), masks)
        assert (count.total, count.prunable, count.kept, count.nonzero) == (24, 16, 4, 8)
        assert count.density == {"0.weight": 0.25}
    with pytest.raises(PlanError, match=r"'2.weight' and '0.weight' are one parameter with two"):
        count_parameters(tied(), {"0.weight": mask, "2.weight": ~mask})


def test_without_masks_the_zeros_of_matrices_are_removed() -> None:
    model = tied()
    model[0].weight.data[0] = 0
    count = count_parameters(model)
    assert (count.prunable, count.kept, count.sparsity, count.nonzero) == (16, 12, 0.25, 16)


def test_a_masked_weight_that_is_not_zero_is_not_counted() -> None:
    model = tied()
    assert count_parameters(model, {"0.weight": torch.zeros(4, 4).bool()}).nonzero == 4


def test_a_model_without_data_counts_what_is_kept() -> None:
    layer = nn.Linear(4, 2, device="meta")
    count = count_parameters(layer, {"weight": torch.eye(2, 4).bool()})
    assert (count.total, count.kept, count.nonzero) == (10, 2, 4)
    assert count_parameters(layer).nonzero == 10
    assert count_parameters(nn.ReLU()).sparsity == count_parameters(nn.ReLU()).sparsity_of_all == 0


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ({"0.wieght": torch.ones(4, 4).bool()}, r"'0.wieght'; did you mean '0.weight'"),
        ({"0.weight": torch.ones(4, 3).bool()}, r"\(4, 3\) torch.bool; it must be \(4, 4\)"),
        ({"0.weight": torch.ones(4, 4)}, r"torch.float32; it must be .* torch.bool"),
    ],
)
def test_masks_that_do_not_fit_are_named(masks: dict, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        kept_masks(tied(), masks)


def test_the_stored_size_is_that_of_the_written_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(50, 40), nn.BatchNorm1d(40))
    mask = torch.rand(40, 50) < 0.1
    size = measure_size(model, {"0.weight": mask})
    model[0].weight.data *= mask
    save_sparse(tmp_path / "file", model.state_dict(), {"0.weight": mask})
    assert size.stored == (tmp_path / "file").stat().st_size
    assert size.dense == 4 * (2000 + 40 + 4 * 40) + 8
    assert size.share == size.stored / size.dense
    assert measure_size(model) == size  # the zeros that are there are the mask


def test_half_precision_counts_as_float32_in_the_dense_size() -> None:
    layer = nn.Linear(100, 100, bias=False)
    full, half = measure_size(layer), measure_size(layer.half())
    assert half.dense == full.dense == 40_000
    assert full.stored - half.stored > 19_000


def test_tied_weights_are_stored_once_and_the_model_is_not_touched() -> None:
    model = nn.Sequential(nn.Linear(100, 100), nn.Linear(100, 100))
    model[1].weight = model[0].weight
    before = model[0].weight.detach().clone()
    size = measure_size(model, {"1.weight": torch.ones(100, 100).bool()})
    assert size.dense == 4 * (10_000 + 200)
    assert size.stored < 45_000
    assert torch.equal(model[0].weight, before)
    assert model[1].weight is model[0].weight
