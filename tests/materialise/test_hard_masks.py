"""Hard masks: pruned weights are zero and stay zero, whatever trains the network."""

from __future__ import annotations

import copy
import gc
import math
import weakref
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from secateur.core.errors import PlanError
from secateur.materialise import HardMasks

OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, lr=0.1, weight_decay=0.01),
    "momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": partial(torch.optim.Adam, lr=0.01, weight_decay=0.01, amsgrad=True),
    "adamw": partial(torch.optim.AdamW, lr=0.01, weight_decay=0.01),
    "rmsprop": partial(torch.optim.RMSprop, lr=0.01, momentum=0.9, weight_decay=0.01),
}


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    )


def masks_for(model: nn.Module, density: float = 0.4, seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(p.shape, generator=draw) < density
        for name, p in model.named_parameters()
        if p.dim() > 1
    }


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(8, 1, 4, 4, generator=draw), torch.randint(3, (8,), generator=draw)


def backward(model: nn.Module, seed: int = 0) -> None:
    x, y = batch(seed)
    nn.functional.cross_entropy(model(x), y).backward()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 4) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        backward(model, step)
        optimizer.step()


def assert_pruned(model: nn.Module, masks: dict[str, torch.Tensor]) -> None:
    params = dict(model.named_parameters())
    for name, keep in masks.items():
        assert torch.all(params[name][~keep] == 0), name
        assert torch.all(params[name][keep] != 0), name


def assert_no_moments(model: nn.Module, masks: dict, optimizer: torch.optim.Optimizer) -> None:
    params = dict(model.named_parameters())
    for name, keep in masks.items():
        for key, value in optimizer.state[params[name]].items():
            if isinstance(value, torch.Tensor) and value.shape == keep.shape:
                assert torch.all(value[~keep] == 0), (name, key)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_zeros_and_moments_stay_zero_under_every_optimizer(kind):
    model = net()
    masks = masks_for(model)
    HardMasks(model, masks)
    optimizer = OPTIMIZERS[kind](model.parameters())
    train(model, optimizer)
    assert_pruned(model, masks)
    assert_no_moments(model, masks, optimizer)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_pruning_in_mid_training_clears_the_moments(kind):
    model = net()
    optimizer = OPTIMIZERS[kind](model.parameters())
    masks = HardMasks(model, masks_for(model, 0.9))
    train(model, optimizer)
    tighter = {
        name: keep & masks_for(model, 0.5, seed=1)[name] for name, keep in masks.masks.items()
    }
    backward(model)
    masks.update(tighter, optimizer)
    assert_no_moments(model, tighter, optimizer)
    assert all(
        torch.all(p.grad[~tighter[n]] == 0) for n, p in model.named_parameters() if n in tighter
    )
    train(model, optimizer)
    assert_pruned(model, tighter)


def test_left_over_momentum_is_why_update_asks_for_the_optimizer():
    model = net()
    optimizer = OPTIMIZERS["momentum"](model.parameters())
    train(model, optimizer)
    HardMasks(model, masks_for(model))
    train(model, optimizer, 1)
    keep = masks_for(model)["4.weight"]
    assert bool((model[4].weight[~keep] != 0).any())


def test_grown_weights_start_from_zero_and_learn():
    model = net()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    masks = HardMasks(model, masks_for(model))
    train(model, optimizer)
    grown = ~masks.masks["4.weight"]
    masks.update({"4.weight": torch.ones_like(grown)}, optimizer)
    assert torch.all(model[4].weight[grown] == 0)
    assert torch.all(optimizer.state[model[4].weight]["exp_avg"][grown] == 0)
    train(model, optimizer)
    assert torch.all(model[4].weight[grown] != 0)
    assert_pruned(model, {"0.weight": masks.masks["0.weight"]})


def test_nan_and_infinity_at_pruned_places_do_not_leak():
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[math.nan, 1.0], [2.0, math.inf]]))
    HardMasks(layer, {"weight": torch.tensor([[False, True], [True, False]])})
    assert layer.weight.tolist() == [[0, 1], [2, 0]]
    layer(torch.tensor([[3.0, 5.0]])).backward(torch.tensor([[math.inf, math.nan]]))
    assert layer.weight.grad[0, 0] == 0
    assert layer.weight.grad[1, 1] == 0
    assert layer.weight.grad[0, 1] == math.inf


def test_clipping_and_accumulation_see_masked_gradients():
    model, dense = net(), net()
    masks = masks_for(model)
    HardMasks(model, masks)
    HardMasks(dense, masks).remove()
    for seed in range(3):
        backward(model, seed)
        backward(dense, seed)
    for name, keep in masks.items():
        dense.get_parameter(name).grad[~keep] = 0
        assert torch.equal(model.get_parameter(name).grad, dense.get_parameter(name).grad)
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    assert norm == nn.utils.clip_grad_norm_(dense.parameters(), 1e-3)


def test_a_grad_scaler_does_not_skip_steps_for_infinite_gradients_of_pruned_weights():
    layer = nn.Linear(2, 1, bias=False)
    HardMasks(layer, {"weight": torch.tensor([[True, False]])})
    before = layer.weight.detach().clone()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(torch.tensor([[0.5, 3e38]]))  # 1024 * 3e38 overflows
    scaler.scale(out.float().sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 1024
    assert layer.weight[0, 0] == before[0, 0] - 0.05
    assert layer.weight[0, 1] == 0


@pytest.mark.parametrize("how", ["deepcopy", "part", "averaged"])
def test_copies_carry_masks_of_their_own(how):
    model = net()
    masks = HardMasks(model, masks_for(model))
    if how == "part":
        clone = nn.Sequential(*[copy.deepcopy(layer) for layer in model])
    else:
        clone = copy.deepcopy(model) if how == "deepcopy" else AveragedModel(model).module
    train(clone, OPTIMIZERS["adamw"](clone.parameters()))
    assert_pruned(clone, masks.masks)
    other = HardMasks.of(clone)
    assert all(torch.equal(other.masks[n], keep) for n, keep in masks.masks.items())
    before = masks.masks
    other.update({"4.weight": torch.ones(3, 16, dtype=torch.bool)})
    train(model, OPTIMIZERS["adamw"](model.parameters()))
    assert_pruned(model, before)
    masks.remove()
    train(clone, OPTIMIZERS["adamw"](clone.parameters()))
    assert torch.all(clone[0].weight[~before["0.weight"]] == 0)


def test_averages_keep_zeros_exactly():
    model = net()
    masks = HardMasks(model, masks_for(model, 0.9))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    optimizer = OPTIMIZERS["momentum"](model.parameters())
    for _ in range(3):
        train(model, optimizer, 1)
        average.update_parameters(model)
    assert_pruned(average.module, masks.masks)
    tighter = {n: keep & masks_for(model, 0.5, 1)[n] for n, keep in masks.masks.items()}
    masks.update(tighter, optimizer)
    HardMasks.of(average.module).update(tighter)
    train(model, optimizer, 1)
    average.update_parameters(model)
    assert_pruned(average.module, tighter)


@pytest.mark.parametrize("assign", [False, True])
def test_loading_dense_weights_applies_the_masks_again(assign):
    model = net()
    masks = HardMasks(model, masks_for(model))
    assert set(model.state_dict()) == set(net().state_dict())
    model.load_state_dict(copy.deepcopy(net().state_dict()), assign=assign)
    assert_pruned(model, masks.masks)
    model[4].load_state_dict(copy.deepcopy(net()[4].state_dict()), assign=assign)
    assert_pruned(model, masks.masks)
    for param in model.parameters():
        param.requires_grad_(True)
    train(model, OPTIMIZERS["momentum"](model.parameters()))
    assert_pruned(model, masks.masks)


def test_suspended_masks_give_dense_gradients_and_take_them_back():
    model = net()
    masks = HardMasks(model, masks_for(model))
    pruned = ~masks.masks["4.weight"]
    with masks.suspended():
        backward(model)
        assert torch.all(model[4].weight.grad[pruned] != 0)
    assert torch.all(model[4].weight.grad[pruned] == 0)
    backward(model)
    assert torch.all(model[4].weight.grad[pruned] == 0)


def test_removed_masks_leave_an_ordinary_module_with_zeros():
    model = net()
    masks = HardMasks(model, masks_for(model))
    keep = masks.masks["4.weight"]
    masks.remove()
    assert masks.masks == {}
    assert torch.all(model[4].weight[~keep] == 0)
    train(model, OPTIMIZERS["sgd"](model.parameters()))
    assert torch.all(model[4].weight != 0)
    model.load_state_dict(net().state_dict())
    assert torch.all(model[4].weight != 0)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


@pytest.mark.parametrize("assign", [False, True])
def test_tied_weights_are_masked_wherever_they_live(assign):
    model = Tied()
    keep = torch.eye(3, dtype=torch.bool)
    masks = HardMasks(model, {"first.weight": keep})
    assert list(masks.masks) == ["first.weight"]
    model.load_state_dict(Tied().state_dict(), assign=assign)
    clone = copy.deepcopy(model)
    assert assign or clone.first.weight is clone.second.weight
    for m in (model, clone):
        m(torch.ones(1, 3)).sum().backward()
        for layer in (m.first, m.second):
            assert torch.all(layer.weight[~keep] == 0)
            assert layer.weight.grad is None or torch.all(layer.weight.grad[~keep] == 0)
    average = {"first.weight": torch.ones(3, 3), "second.weight": torch.ones(3, 3)}
    HardMasks.of(model).zero(average)
    assert torch.equal(average["second.weight"], torch.eye(3))


def test_a_layer_used_in_two_places_is_masked_in_an_average_under_both_names():
    layer = nn.Linear(2, 1, bias=False)
    masks = HardMasks(nn.Sequential(layer, layer), {"0.weight": torch.tensor([[True, False]])})
    average = {name: torch.ones(1, 2) for name in masks.model.state_dict()}
    masks.zero(average)
    assert {name: t.tolist() for name, t in average.items()} == {
        "0.weight": [[1, 0]],
        "1.weight": [[1, 0]],
    }
    assert list(masks.masks) == ["0.weight"]


def test_frozen_weights_are_masked_once_they_are_thawed():
    layer = nn.Linear(2, 1, bias=False).requires_grad_(False)
    HardMasks(layer, {"weight": torch.tensor([[True, False]])})
    assert not layer.weight.requires_grad
    clone = copy.deepcopy(layer)
    for module in (layer, clone):
        module.requires_grad_(True)
        module(torch.ones(1, 2)).sum().backward()
        assert module.weight.grad.tolist() == [[1, 0]]


@pytest.mark.filterwarnings("ignore:Using backward")
def test_a_gradient_that_is_part_of_a_graph_stays_differentiable():
    layer = nn.Linear(2, 1, bias=False)
    HardMasks(layer, {"weight": torch.tensor([[True, False]])})
    layer(torch.ones(1, 2)).square().sum().backward(create_graph=True)
    grad = layer.weight.grad
    layer.weight.grad = None
    (second,) = torch.autograd.grad(grad.sum(), layer.weight)
    assert grad[0, 1] == 0
    assert second[0, 0] == 2  # d/dw0 of 2 (w0 + w1)


def test_masks_follow_the_network_to_another_dtype():
    model = net()
    masks = HardMasks(model, masks_for(model))
    model.double()
    x, y = batch()
    nn.functional.cross_entropy(model(x.double()), y).backward()
    assert torch.all(model[4].weight.grad[~masks.masks["4.weight"]] == 0)


def test_a_masked_network_is_freed_without_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        model = net()
        masks = HardMasks(model, masks_for(model))
        backward(model)
        alive = [weakref.ref(model), weakref.ref(model[4].weight)]
        del model, masks
        assert [ref() for ref in alive] == [None, None]
    finally:
        gc.enable()


def test_wrong_masks_are_refused_before_anything_changes():
    model = net()
    before = model[4].weight.detach().clone()
    good = torch.zeros(3, 16, dtype=torch.bool)
    with pytest.raises(PlanError, match=r"did you mean '4\.weight'"):
        HardMasks(model, {"4.weight": good, "4.weigth": good})
    with pytest.raises(PlanError, match=r"it must be torch\.bool \[3, 16\]"):
        HardMasks(model, {"4.weight": good.float()})
    with pytest.raises(PlanError, match=r"torch\.bool \[16, 3\]"):
        HardMasks(model, {"4.weight": good.T})
    assert torch.equal(model[4].weight, before)
