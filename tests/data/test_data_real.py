"""Real CIFAR-10 and a trained network: known counts and a known accuracy."""

from __future__ import annotations

import pytest
import torch
from support_data import ROOT, needs_data, weights

from secateur.data import Batches, DataSet, load
from secateur.models import build, load_weights

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def cifar(tmp_path_factory) -> DataSet:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECATEUR_CACHE", str(tmp_path_factory.mktemp("cache")))
        return load("cifar10", root=ROOT)


@needs_data
def test_cifar10_has_its_counts(cifar):
    assert (len(cifar.train), len(cifar.test)) == (6068, 1017)
    assert (cifar.num_classes, cifar.train.shape) == (10, (3, 32, 32))
    assert cifar.classes[:2] == ("airplane", "automobile")
    assert cifar.train.mean == (0.4914, 0.4822, 0.4465)


@needs_data
def test_the_trained_resnet20_gets_its_accuracy(cifar):
    net = build("resnet20", num_classes=10, in_channels=3, image_size=32).eval()
    load_weights(net, weights("cifar10-resnet20.safetensors"))
    good = 0
    with torch.no_grad():
        for x, y in Batches(cifar.normalised(*IMAGENET).test, 256, shuffle=False):
            good += int((net(x).argmax(1) == y).sum())
    assert good == 932
    assert round(100 * good / 1017, 2) == 91.64
