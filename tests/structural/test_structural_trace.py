"""`secateur.trace` and `secateur.measure`, in Python and on the command line."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.cli.main import call
from secateur.core.errors import PlanError
from secateur.core.types import Target
from secateur.models import build_seeded
from secateur.structure import Coupled

IMAGE = torch.zeros(2, 1, 8, 8)


def network() -> nn.Module:
    return build_seeded("resnet8", 0, num_classes=10, in_channels=1, image_size=8)


def small(affine: bool = True) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4, affine=affine),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


class Tied(nn.Module):
    """An embedding that is read through the head's name first."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 6, bias=False)
        self.embed = nn.Embedding(6, 4)
        self.embed.weight = self.head.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.embed(tokens)))


def test_every_structure_with_its_kind_and_what_a_unit_costs() -> None:
    found = sc.trace(network(), IMAGE)
    assert {a.name: (a.kind, a.units) for a in found} == {
        "conv1": ("residual width", 16),
        "layer1.0.conv1": ("channels", 16),
        "layer2.0.conv1": ("channels", 32),
        "layer3.0.conv1": ("channels", 64),
    }
    by_name = {a.name: a for a in found}
    own, norm, reader = 16 * 9, 2, 16 * 9
    assert by_name["layer1.0.conv1"].parameters == own + norm + reader
    assert by_name["layer1.0.conv1"].macs == 2 * 64 * (own + reader)  # 2 images of 8 x 8


def test_the_text_names_structures_and_what_froze_others() -> None:
    found = sc.trace(network(), IMAGE)
    text = str(found)
    assert "layer3.0.conv1  channels" in text
    assert "frozen by padding: layer2.0.conv2.weight[0]" in text
    assert "convolution window" not in text
    everything = "\n".join(found.lines(everything=True))
    assert "layer1.0.conv2.weight, dimension 1" in everything
    assert "frozen: conv1.weight, dimension 2 of size 3: convolution window" in everything


def test_residual_blocks_are_listed_as_layers_with_what_they_cost() -> None:
    found = sc.trace(
        build_seeded("resnet20", 0, num_classes=10, in_channels=1, image_size=8), IMAGE
    )
    layers = {layer.name: layer for layer in found.layers}
    assert "layer1.1" in layers
    assert "layer2.0" not in layers  # it changes the shape
    assert layers["layer1.1"].exact
    assert layers["layer1.1"].parameters == 2 * (16 * 16 * 9 + 2 * 16)
    assert (
        layers["layer1.1"].macs == 2 * 2 * 64 * 16 * 16 * 9
    )  # two convolutions, two images of 8 x 8
    (line,) = [line for line in str(found).splitlines() if line.startswith("layer1.{0-2} ")]
    assert line.split()[1:6] == ["layers", "1", "6", "4,672", "589,824"]


def test_the_command_prints_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["trace", "resnet8"]) == 0
    assert capsys.readouterr().out == str(sc.trace(network(), IMAGE)) + "\n"
    assert call(["trace", "resnet9"]) == 2
    assert "did you mean 'resnet8'" in capsys.readouterr().err


class InOut(nn.Module):
    """A layer that stores its weight [in, out], as GPT-2 does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(3, 8)), nn.Parameter(torch.randn(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.bias, x, self.weight)


def test_a_weight_stored_the_other_way_round_is_written_by_its_columns() -> None:
    model = nn.Sequential(InOut(), nn.ReLU(), nn.Linear(8, 2))
    (axis,) = sc.trace(model, torch.zeros(2, 3))
    assert (axis.name, axis.kind, axis.units, axis.default) == ("0", "neurons", 8, True)


class TestCoupled:
    def only(self, model: nn.Module, **fields: object) -> list[str]:
        return [t.name for t in Coupled(**fields).targets(model, IMAGE)]

    def test_kinds_names_and_exceptions(self) -> None:
        assert self.only(network(), kinds=("residual width",)) == ["conv1"]
        assert self.only(network(), include=("layer[12].*",)) == [
            "layer1.0.conv1",
            "layer2.0.conv1",
        ]
        assert self.only(network(), exclude=("conv1", "layer3*")) == [
            "layer1.0.conv1",
            "layer2.0.conv1",
        ]

    def test_what_is_not_there_is_named_with_the_nearest(self) -> None:
        with pytest.raises(PlanError, match="did you mean 'channels'"):
            self.only(network(), kinds=("chanels",))
        with pytest.raises(PlanError, match=r"layer1\.0\.conv1"):
            self.only(network(), include=("layer1.0.conv2",))

    def test_no_example_is_a_clear_error(self) -> None:
        with pytest.raises(PlanError, match="example="):
            Coupled().targets(network())

    def one(self, model: nn.Module, **fields: object) -> Target:
        (target,) = Coupled(**fields).targets(model, torch.zeros(2, 3, 8, 8))
        return target

    def test_members_are_parameters_alone(self) -> None:
        members = [m.param for m in self.one(small()).members]
        assert members == ["0.weight", "0.bias", "1.weight", "1.bias", "5.weight"]

    def test_a_norm_without_scale_shifts_zeros_so_masking_is_not_removing(self) -> None:
        with pytest.raises(PlanError, match="no coupled structure"):
            self.one(small(affine=False))
        with pytest.raises(PlanError, match="exact_only=False"):
            self.one(small(affine=False), include=("0",))
        assert not self.one(small(affine=False), exact_only=False).exact

    def test_a_weight_norm_is_masked_by_its_length(self) -> None:
        model = nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), nn.Linear(4, 2)
        )
        (target,) = Coupled().targets(model, torch.zeros(2, 3))
        assert {m.param.rpartition(".")[2] for m in target.members} == {
            "original0",
            "bias",
            "weight",
        }

    def test_tied_weights_go_by_the_name_the_model_gives_them(self) -> None:
        (target,) = Coupled().targets(Tied(), torch.zeros(2, 3, dtype=torch.long))
        assert [m.param for m in target.members] == ["head.weight"]


class TestMeasure:
    def test_one_model_and_against_another(self) -> None:
        model, other = small(), nn.Sequential(*small()[:5], nn.Linear(4, 8))
        x = torch.zeros(2, 3, 8, 8)
        alone = sc.measure(model, x)
        assert alone.counts()["parameters"] == sum(p.numel() for p in model.parameters())
        both = sc.measure(model, x, against=other, pairs=5, warmup=1)
        assert both.b.counts() == alone.counts()
        assert both.a.counts()["MACs"] > both.b.counts()["MACs"]
        assert both.names == ("reference", "model")

    def test_the_package_of_the_same_name_stays_importable(self) -> None:
        from secateur.measure.macs import count_macs

        assert importlib.import_module("secateur.measure.macs").count_macs is count_macs
        assert callable(sc.measure)

    def test_the_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert call(["measure", "lenet-300-100", "--batch", "1"]) == 0
        assert "MACs" in capsys.readouterr().out


class OneHead(nn.Module):
    """Attention of a single head, written out."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 6) for _ in range(3))
        self.out = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out((self.q(x) @ self.k(x).transpose(1, 2)).softmax(-1) @ self.v(x))


def test_the_values_of_a_single_head_are_neurons_its_keys_are_read_by_no_layer() -> None:
    found = sc.trace(OneHead().eval(), torch.randn(2, 5, 16))
    assert {(a.name, a.kind, a.default) for a in found} == {
        ("q", "inner width", True),
        ("v", "neurons", True),
    }


def test_a_block_that_does_not_run_with_zero_weights_is_no_layer() -> None:
    class Choosy(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not bool(self.weight.any()):
                raise RuntimeError("nothing to multiply by")
            return x + super().forward(x)

    from secateur.structure.residual import residual_blocks

    blocks = residual_blocks(nn.Sequential(Choosy(3, 3), Choosy(3, 3)), torch.ones(2, 3))
    assert not any(block.identity for block in blocks)


def test_what_a_module_caches_while_it_runs_is_not_left_behind() -> None:
    class Caching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down, self.seen, self.calls = nn.Linear(3, 8), nn.Linear(8, 2), {}, []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not torch.compiler.is_compiling():
                self.seen["bias"] = self.up.bias * 1
                self.calls.append(len(x))
            return self.down(self.up(x))

    model = Caching()
    sc.trace(model, torch.zeros(2, 3))
    assert model.seen == {}
    assert model.calls == []
