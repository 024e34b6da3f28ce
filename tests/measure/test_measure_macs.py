"""MACs against formulas by hand, by layer and by weight, and nothing left behind."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

from secateur.core.errors import DataError, PlanError
from secateur.measure import MacCount, count_macs


class Block(nn.Module):
    """A basic block of a CIFAR ResNet; the shortcut pads with zero channels (option A)."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.stride = 1 if into == out else 2
        self.conv1 = nn.Conv2d(into, out, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        grown = y.shape[1] - x.shape[1]
        x = x[:, :, :: self.stride, :: self.stride]
        return (y + nn.functional.pad(x, (0, 0, 0, 0, grown // 2, grown // 2))).relu()


def resnet20() -> nn.Sequential:
    widths = [16] * 4 + [32] * 3 + [64] * 3
    blocks = [Block(into, out) for into, out in pairwise(widths)]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def resnet20_by_formula() -> int:
    """Σ out·in·3·3·height·width over the 19 convolutions, and the classifier."""
    total = 16 * 3 * 9 * 32 * 32
    for width, side, convolutions in ((16, 32, 6), (32, 16, 5), (64, 8, 5)):
        total += convolutions * width * width * 9 * side * side
    return total + 32 * 16 * 9 * 16 * 16 + 64 * 32 * 9 * 8 * 8 + 64 * 10


def test_cifar_resnet20_has_40_6_million() -> None:
    count = count_macs(resnet20(), torch.randn(1, 3, 32, 32))
    assert count.total == resnet20_by_formula() == 40_551_040
    assert sum(count.layers.values()) == count.total
    assert sum(count.weights.values()) == count.total
    assert count.layers["4.conv2"] == 16 * 16 * 9 * 32 * 32
    assert count.simulated


def test_the_total_is_that_of_torchs_own_counter() -> None:
    model = nn.Sequential(
        resnet20()[:6], nn.ConvTranspose2d(16, 8, 3, stride=2), nn.Conv2d(8, 8, 3, groups=4)
    )
    x = torch.randn(2, 3, 16, 16)
    with FlopCounterMode(display=False) as counter:
        model(x)
    assert count_macs(model, x).total == counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (1, 3, 10, 12), 8 * 3 * 9 * 10 * 12),
        (nn.Conv2d(3, 8, 3, stride=2), (5, 3, 9, 9), 5 * 8 * 3 * 9 * 4 * 4),
        (nn.Conv2d(8, 12, (1, 3), groups=4), (1, 8, 5, 7), 12 * 2 * 3 * 5 * 5),
        (nn.Conv2d(6, 6, 3, groups=6, padding=1), (1, 6, 4, 4), 6 * 9 * 16),
        (nn.Conv1d(4, 5, 3, dilation=2), (2, 4, 10), 2 * 5 * 4 * 3 * 6),
        (nn.Conv3d(2, 3, 2), (1, 2, 4, 4, 4), 3 * 2 * 8 * 27),
        (nn.ConvTranspose2d(4, 6, 3), (1, 4, 8, 8), 4 * 6 * 9 * 64),
        (nn.Linear(7, 9), (3, 7), 3 * 7 * 9),
        (nn.Linear(7, 9, bias=False), (3, 4, 7), 12 * 7 * 9),
        (nn.LSTM(8, 16, batch_first=True), (2, 5, 8), 2 * 5 * 4 * 16 * (8 + 16)),
        (nn.GRU(8, 16, batch_first=True), (2, 5, 8), 2 * 5 * 3 * 16 * (8 + 16)),
        (nn.BatchNorm2d(4), (2, 4, 8, 8), 0),
    ],
)
def test_single_layers_by_hand(layer: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    count = count_macs(layer, torch.randn(shape))
    assert count.total == count.nonzero == macs
    assert sum(count.weights.values()) == macs
    assert all("bias" not in name for name in count.weights)


def test_attention_counts_projections_and_both_products_in_spite_of_fused_kernels() -> None:
    batch, length, width = 2, 5, 16
    x = torch.randn(batch, length, width)
    layer = nn.MultiheadAttention(width, 4, batch_first=True)
    projections, products = 4 * batch * length * width**2, 2 * batch * length**2 * width
    assert count_macs(layer, (x, x, x)).total == projections + products
    encoder = nn.TransformerEncoderLayer(width, 4, 32, batch_first=True)
    count = count_macs(encoder, x)
    assert count.total == projections + products + 2 * batch * length * width * 32
    assert sum(count.weights.values()) == count.total - products
    assert count.weights["self_attn.out_proj.weight"] == projections // 4


class Function(nn.Module):
    """A module around a function of (module, *inputs)."""

    def __init__(self, function, **children: object) -> None:
        super().__init__()
        self.function = function
        for name, child in children.items():
            setattr(self, name, child)

    def forward(self, *inputs: Tensor) -> object:
        return self.function(self, *inputs)


def test_products_of_vectors_and_experts_are_counted() -> None:
    weight = nn.Parameter(torch.randn(6, 4))
    product = Function(lambda self, x: self.weight @ x, weight=weight)
    assert count_macs(product, torch.randn(4)).weights == {"weight": 24}
    dot = Function(lambda self, x: torch.dot(x, x))
    assert count_macs(dot, torch.randn(9)).total == 9
    experts = nn.Parameter(torch.randn(3, 16, 32, dtype=torch.bfloat16))
    ends = torch.tensor([4, 4, 10], dtype=torch.int32)
    grouped = Function(
        lambda self, x: torch._grouped_mm(x, self.experts, offs=ends), experts=experts
    )
    count = count_macs(grouped, torch.randn(10, 16, dtype=torch.bfloat16))
    assert count.weights == {"experts": 10 * 16 * 32}


def half_mask(parameter: Tensor, kept: int) -> Tensor:
    mask = torch.zeros(parameter.numel(), dtype=torch.bool)
    mask[:kept] = True
    return mask.reshape(parameter.shape)


def test_nonzero_macs_are_density_times_macs() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 10))
    masks = {
        "0.weight": half_mask(model[0].weight, 18),
        "2.weight": half_mask(model[2].weight, 144),
    }
    count = count_macs(model, torch.randn(2, 2, 8, 8), masks)
    assert count.weights == {"0.weight": 2 * 4 * 2 * 9 * 36, "2.weight": 2 * 1440}
    assert count.nonzero_weights == {"0.weight": 2 * 4 * 2 * 9 * 36 // 4, "2.weight": 2 * 144}
    assert count.nonzero == sum(count.nonzero_weights.values())


def test_attention_products_stay_when_weights_go() -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.randn(1, 3, 8)
    masks = {"in_proj_weight": torch.zeros(24, 8).bool()}
    count = count_macs(layer, (x, x, x), masks)
    assert count.total - count.nonzero == 3 * 3 * 64


def test_without_masks_zeros_are_removed_weights() -> None:
    layer = nn.Linear(4, 4, bias=False)
    layer.weight.data = torch.eye(4)
    assert count_macs(layer, torch.randn(1, 4)).nonzero == 4


def test_a_layer_used_twice_counts_twice_and_tied_weights_share_a_name() -> None:
    twice = Function(lambda self, x: self.layer(self.layer(x)), layer=nn.Linear(4, 4))
    count = count_macs(twice, torch.randn(1, 4))
    assert count.layers == {"layer": 32}
    assert count.weights == {"layer.weight": 32}
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    count = count_macs(model, torch.randn(1, 4))
    assert count.layers == {"0": 16, "1": 16}
    assert count.weights == {"0.weight": 32}


class Double(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def test_a_reparametrised_weight_is_still_the_layers() -> None:
    model = nn.Sequential(nn.Linear(4, 2))
    parametrize.register_parametrization(model[0], "weight", Double())
    name = "0.parametrizations.weight.original"
    count = count_macs(model, torch.randn(1, 4), {name: half_mask(torch.ones(2, 4), 2)})
    assert count.weights == {name: 8}
    assert count.nonzero == 2


def test_a_weight_used_outside_a_layer_belongs_to_the_running_module() -> None:
    inner = Function(
        lambda self, x: nn.functional.linear(x, self.w), w=nn.Parameter(torch.ones(2, 4))
    )
    count = count_macs(nn.Sequential(inner), torch.randn(1, 4))
    assert count.layers == {"0": 8}
    assert count.weights == {"0.w": 8}


def test_a_model_that_looks_at_values_is_run_for_real() -> None:
    layers = {"small": nn.Linear(4, 2), "large": nn.Linear(4, 8)}
    model = Function(lambda self, x: (self.small if x.sum() > 0 else self.large)(x), **layers)
    count = count_macs(model, torch.ones(1, 4))
    assert not count.simulated
    assert count.layers == {"small": 8}
    assert count.weights == {"small.weight": 8}
    assert count_macs(model, -torch.ones(1, 4)).layers == {"large": 32}


def test_a_model_without_data_is_counted() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(10_000, 10_000), nn.BatchNorm1d(10_000))
    assert count_macs(model, torch.ones(3, 10_000)).total == 3 * 10**8


def test_bytes_moved_are_those_of_working_operators() -> None:
    model = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.ReLU(inplace=True), nn.Linear(12, 5))
    count = count_macs(model, torch.randn(2, 3, 4))
    assert count.traffic.get("0", 0) == 0  # a view
    assert count.traffic["1"] == count.traffic["2"] == 4 * (24 + 24)
    assert count.traffic["3"] == 4 * (24 + 60 + 5 + 10)
    assert count.operators == 3
    expanded = Function(lambda self, x: x.expand(1000, 4) + 1)
    assert count_macs(expanded, torch.randn(1, 4)).traffic == {"": 4 * (4 + 4000)}


@pytest.mark.parametrize("simulated", [True, False])
def test_the_model_is_left_as_it_was(simulated: bool) -> None:
    norm = nn.BatchNorm1d(4)
    look = Function(lambda self, x: x if simulated or x.sum() > 1e9 else x + 1)
    model = nn.Sequential(nn.Linear(4, 4), norm, nn.Dropout(0.5), look).train()
    model[2].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    count = count_macs(model, torch.randn(8, 4, generator=torch.Generator()))
    assert count.simulated == simulated
    assert [module.training for module in model.children()] == [True, True, False, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.mkldnn.set_flags(_fp32_precision=None)[0]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_buffer_that_a_pass_changes_is_not_changed_by_counting() -> None:
    def step(self: nn.Module, x: Tensor) -> Tensor:
        self.steps.add_(1)
        return self.layer(x)

    model = Function(step, layer=nn.Linear(4, 4))
    model.register_buffer("steps", torch.zeros(()))
    assert count_macs(model, torch.ones(1, 4)).simulated
    assert model.steps.item() == 0


def test_examples_may_be_tensors_tuples_and_dicts() -> None:
    layer = nn.Linear(4, 2)
    examples = [
        torch.ones(1, 4),
        (torch.ones(1, 4),),
        [torch.ones(1, 4)],
        {"input": torch.ones(1, 4)},
    ]
    assert [count_macs(layer, example).total for example in examples] == [8, 8, 8, 8]


@pytest.mark.parametrize(
    ("example", "words"),
    [
        (torch.ones(1, 5), r"does not run on the example \[\(1, 5\) torch.float32 on cpu\]"),
        ((torch.ones(1, 4), torch.ones(1, 4)), "positional arguments"),
        ({"x": torch.ones(1, 4)}, "unexpected keyword"),
        ("text", "type str holds no tensor"),
        ((), "type tuple holds no tensor"),
    ],
)
def test_examples_that_do_not_fit_are_shown(example: object, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        count_macs(nn.Linear(4, 2), example)
    assert "\n" not in str(caught.value)


def test_a_model_on_two_devices_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, device="meta"))
    with pytest.raises(PlanError, match=r"several devices \(cpu, meta\)"):
        count_macs(model, torch.ones(1, 4))


def test_counts_are_plain_numbers() -> None:
    count = count_macs(nn.Linear(4, 2), torch.ones(1, 4))
    moved = 4 * (4 + 8 + 2 + 2)
    assert count == MacCount(8, 8, {"": 8}, {"weight": 8}, {"weight": 8}, {"": moved}, 1, True)
