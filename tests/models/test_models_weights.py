"""Trained weights: strict loading, and what is said when they do not fit."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from support_data import needs_data, weights

from secateur.core.errors import NumberError, PlanError, StorageError
from secateur.models import build, load_weights

DIGITS = {"num_classes": 10, "in_channels": 1, "image_size": 8, "width": 4}


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(1)
    state = build("resnet8", **DIGITS).state_dict()
    path = tmp_path / "net.safetensors"
    save_file(state, path)
    return path, state


def test_weights_arrive_bit_for_bit(saved):
    path, state = saved
    net = load_weights(build("resnet8", **DIGITS), path)
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda s: s.pop("layer1.0.conv1.weight"), PlanError, "1 missing .'layer1.0.conv1.weight'"),
        (lambda s: s.update(extra=torch.ones(1)), PlanError, "1 unexpected .'extra'"),
        (lambda s: s.update({"conv1.w": s.pop("conv1.weight")}), PlanError, "is 'conv1.w'"),
        (lambda s: s.update({"bn1.bias": torch.ones(5)}), PlanError, r"shape \(5,\).* \(4,\)"),
        (lambda s: s["linear.bias"].fill_(float("nan")), NumberError, "'linear.bias'.*NaN"),
    ],
)
def test_weights_of_another_network_are_refused_before_anything_is_written(
    saved, change, error, words
):
    path, state = saved
    change(state)
    save_file(state, path)
    net = build("resnet8", **DIGITS)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(error, match=words) as caught:
        load_weights(net, path)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_missing_and_broken_files_are_named(saved, tmp_path):
    path, _ = saved
    net = build("resnet8", **DIGITS)
    with pytest.raises(StorageError, match=r"did you mean .*net\.safetensors"):
        load_weights(net, tmp_path / "nett.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StorageError, match="cannot be read as safetensors"):
        load_weights(net, path)


@needs_data
@pytest.mark.parametrize("depth", [20, 32])
def test_the_trained_resnets_load_strictly(depth):
    net = build(f"resnet{depth}", num_classes=10, in_channels=3, image_size=32)
    load_weights(net, weights(f"cifar10-resnet{depth}.safetensors"))
    assert net.conv1.weight.abs().max() > 0.1
