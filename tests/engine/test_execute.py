"""Whole runs in memory on tiny networks: what comes out is what the recipe promises."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.core.cards import METHODS
from secateur.core.errors import CollapseError, DataError, NumberError, PlanError

SMALL = {"walk": "whole", "rounds": 2, "fine_tune": "1ep", "every": "2it", "density": 0.3}
OWN: dict[str, dict[str, Any]] = {
    "amc": {"episodes": 4, "warmup": 2},
    "block-movement": {"exclude": ("0.weight",)},  # an image has one channel, no block of four
    "evopress": {"generations": 3},
    "fisher-masks": {"budget": {"macs": "90%"}},  # most of the work is in convolutions, which stay
    "patterns": {"density": 1 / 3},  # whole kernels, of which each layer keeps a whole number
}
"""What single methods need to be told of the network here."""


def network() -> nn.Module:
    """A network with batch norm and dropout, so that buffers and randomness are exercised."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.1),
            nn.Linear(8 * 16, 16),
            nn.ReLU(),
            nn.Linear(16, 3),
        )


def data(n: int = 64) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(n, 1, 4, 4, generator=rng)
    return x, (x.mean((1, 2, 3)) > 0).long() + (x.mean((1, 2, 3)) > 0.2).long()


def training(**changed: Any) -> sc.Training:
    return sc.preset("short").model_copy(
        update={"length": sc.Time(4, "ep"), "batch_size": 16, **changed}
    )


def prune(method: str, **options: Any) -> sc.Result:
    known = {k: v for k, v in SMALL.items() if k in METHODS[method].options}
    return sc.prune(
        network(),
        method,
        data=data(),
        val=data(),
        test=data(),
        training=training(),
        **{**known, **OWN.get(method, {}), **options},
    )


OF_TRANSFORMERS = {
    "flap",
    "head-pruning",
    "layer-dropping",
    "llm-pruner",
    "loraprune",
    "reap",
    "shortgpt",
    "shortened-llama",
    "slicegpt",
}
"""Methods that need blocks, heads or experts: tests/methods runs them on language models."""


OF_NORMS = {"network-slimming", "early-bird", "morphnet", "variational-channels"}
"""Need a batch norm after every convolution: tests/engine runs them on such a network."""


OF_MASKS = {"transferred-ticket"}
"""Need a network that carries masks: tests/test_transferring.py."""


AT_RUN_TIME = {name for name, m in METHODS.items() if m.family == "run-time"}
"""Mask nothing: tests/contracts/test_run_time.py."""


@pytest.mark.parametrize(
    "method", sorted(METHODS.keys() - OF_TRANSFORMERS - OF_NORMS - OF_MASKS - AT_RUN_TIME)
)
def test_every_method_runs_and_leaves_exactly_what_it_promises(method: str) -> None:
    result = prune(method)
    known = {k: v for k, v in SMALL.items() if k in METHODS[method].options}
    recipe_density = sc.recipe(method, **{**known, **OWN.get(method, {})}).schedule.final_density
    kept = sum(int(m.sum()) for m in result.units.values())
    total = sum(m.numel() for m in result.units.values())
    if recipe_density is not None:
        assert kept == round(recipe_density * total)
    parameters = dict(result.model.named_parameters())
    for name, mask in result.masks.items():
        assert not parameters[name].detach()[~mask].any(), f"{name} has weights where it was pruned"
        assert parameters[name].detach()[mask].any()
    assert all(point["test"] is not None for point in result.record["points"])


@pytest.mark.parametrize("method", ["lottery-ticket", "rigl", "synflow", "han"])
def test_equal_seeds_give_equal_bits_and_other_seeds_other_masks(method: str) -> None:
    one, two, other = prune(method), prune(method), prune(method, seed=1)
    assert all(torch.equal(one.masks[n], two.masks[n]) for n in one.masks)
    same = zip(one.model.state_dict().values(), two.model.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    if method != "synflow":  # synflow sees neither data nor seed
        assert any(not torch.equal(one.masks[n], other.masks[n]) for n in one.masks)


def test_a_winning_ticket_holds_masked_initial_weights_before_it_trains() -> None:
    """weights == mask * w_rewind: training for zero steps after the rewind shows them."""
    dense = network()
    result = prune("supermask", signs="any")
    parameters = dict(result.model.named_parameters())
    for name, value in dense.named_parameters():
        kept = result.masks.get(name, torch.ones_like(value, dtype=torch.bool))
        assert torch.equal(parameters[name].detach(), value.detach() * kept)


def test_lottery_masks_are_nested() -> None:
    masks = [prune("lottery-ticket", rounds=rounds).masks for rounds in (1, 2, 3)]
    for wide, narrow in itertools.pairwise(masks):
        assert all(bool((narrow[n] <= wide[n]).all()) for n in wide)


def test_the_model_is_copied_unless_asked_otherwise() -> None:
    model = network()
    before = copy.deepcopy(model.state_dict())
    sc.prune(model, "magnitude", sparsity=0.5)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())
    assert sc.prune(model, "magnitude", sparsity=0.5, in_place=True).model is model


def test_pruning_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    prune("rigl")
    assert torch.equal(torch.rand(3), expected)


def test_two_to_four_keeps_two_of_every_four_inputs() -> None:
    masks = prune("nm").masks
    assert masks  # the first convolution has one input channel and stays dense
    for mask in masks.values():
        out, inputs = mask.shape[:2]
        groups = mask.reshape(out, inputs // 4, 4, -1)
        assert bool((groups.sum(2) == 2).all())
    assert "0.weight" not in masks


def test_set_and_rigl_differ_in_one_field() -> None:
    set_, rigl = sc.recipe("set"), sc.recipe("rigl")
    fields = type(rigl).model_fields
    different = [f for f in fields if getattr(set_, f) != getattr(rigl, f)]
    assert different == ["grow", "method"]


def test_collapse_is_reported_by_name_and_refused_when_asked() -> None:
    model = network()
    with torch.no_grad():
        model[3].weight.mul_(1e-6)
    result = sc.prune(model, "magnitude", sparsity=0.6, data=data())
    assert result.record["points"][-1]["empty"] == ["3"]
    with pytest.raises(CollapseError, match=r"collapses 3\b"):
        sc.prune(model, "magnitude", sparsity=0.6, data=data(), on_collapse="error")


def test_ema_ends_with_the_average_and_keeps_zeros() -> None:
    result = sc.prune(network(), "snip", density=0.3, data=data(), training=training(ema=0.9))
    for name, mask in result.masks.items():
        assert not dict(result.model.named_parameters())[name].detach()[~mask].any()


def test_distillation_learns_from_the_dense_network() -> None:
    distil = {"temperature": 2.0, "weight": 0.5}
    plain = prune("iterative-fine-tune")
    taught = sc.prune(
        network(),
        "iterative-fine-tune",
        data=data(),
        val=data(),
        training=sc.Training(**{**training().model_dump(exclude_defaults=True), "distil": distil}),
        rounds=2,
        fine_tune="1ep",
    )
    weights = [r.model.state_dict()["9.weight"] for r in (plain, taught)]
    assert not torch.equal(*weights)


class TestBadInput:
    def test_an_empty_loader(self) -> None:
        with pytest.raises(DataError, match="empty"):
            sc.prune(network(), "snip", sparsity=0.5, data=[])

    def test_no_data_for_a_method_that_needs_gradients(self) -> None:
        with pytest.raises((DataError, PlanError), match=r"data|batches"):
            sc.prune(network(), "snip", sparsity=0.5)

    def test_labels_out_of_range(self) -> None:
        x, y = data()
        with pytest.raises(DataError, match="labels"):
            sc.prune(network(), "snip", sparsity=0.5, data=(x, y + 5))

    def test_a_batch_of_the_wrong_shape(self) -> None:
        x, y = data()
        with pytest.raises(sc.SecateurError, match="shape"):
            sc.prune(network(), "snip", sparsity=0.5, data=(x[:, :, :3], y))

    def test_a_model_without_prunable_layers(self) -> None:
        with pytest.raises(PlanError, match="no prunable"):
            sc.prune(nn.Sequential(nn.BatchNorm2d(3)), "magnitude", sparsity=0.5)

    def test_weights_that_are_not_finite(self) -> None:
        model = network()
        with torch.no_grad():
            model[0].weight[0, 0, 0, 0] = float("nan")
        with pytest.raises(NumberError, match=r"0\.weight"):
            sc.prune(model, "magnitude", sparsity=0.5)

    def test_a_method_that_trains_without_training(self) -> None:
        with pytest.raises(PlanError, match="training"):
            sc.prune(network(), "lottery-ticket", data=data())

    def test_options_beside_a_finished_recipe(self) -> None:
        with pytest.raises(PlanError, match="finished recipe"):
            sc.prune(network(), sc.recipe("snip"), data=data(), sparsity=0.5)


class Twice(torch.autograd.Function):
    """An operator of the user's own, without the forward derivative that paths are followed by."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 2 * gradients[0]


class Opaque(nn.Module):
    """Uses an operator that paths cannot be followed through."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(Twice.apply(self.first(x)))


def test_where_paths_cannot_be_followed_pruning_goes_on_and_says_so() -> None:
    result = sc.prune(Opaque(), "magnitude", sparsity=0.5, example=torch.randn(1, 4))
    last = result.record["points"][-1]
    assert last["untraced"]
    assert last["empty"] == []
    with pytest.raises(PlanError, match="ruled out"):
        sc.prune(
            Opaque(), "magnitude", sparsity=0.5, example=torch.randn(1, 4), on_collapse="error"
        )
