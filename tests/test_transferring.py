"""Tickets moved to another head, another depth, and through a folder; their masks hold in training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.api import _training_batches
from secateur.artifact import save_sparse
from secateur.cli.main import call
from secateur.core.errors import PlanError
from secateur.engine.execute import execute
from secateur.engine.run import Run, Setting
from secateur.engine.store import FolderStore, MemoryStore, Saved
from secateur.materialise import HardMasks
from secateur.models import build_seeded
from secateur.models.resnet_cifar import ResNetCIFAR


def resnet(depth: int, seed: int = 0, classes: int = 4) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ResNetCIFAR(depth, classes, 1, width=4)


def ticket(model: nn.Module, **options: object) -> sc.Result:
    return sc.prune(model, "magnitude", sparsity=0.75, **options)


def data() -> tuple[Tensor, Tensor]:
    x = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return x, (x.mean((1, 2, 3)) > 0).long()


def training(**more: object) -> sc.Training:
    return sc.preset("short").model_copy(
        update={"length": sc.Time(3, "it"), "batch_size": 16, **more}
    )


def test_a_deeper_network_repeats_masks_and_values_and_a_new_head_stays_its_own() -> None:
    early, deep = resnet(14, seed=1), resnet(26, seed=2, classes=7)
    found = ticket(early)
    before = {name: value.clone() for name, value in deep.state_dict().items()}
    moved = sc.transfer(found, deep, start=early)
    state, given = moved.model.state_dict(), early.state_dict()
    for stage, block, layer in ((1, 0, "conv1"), (2, 3, "conv2"), (3, 1, "conv1")):
        name = f"layer{stage}.{block}.{layer}.weight"
        theirs = (
            f"layer{stage}.{min(block, 1)}.{layer}.weight"  # two blocks a stage: 0, then 1 again
        )
        assert torch.equal(moved.masks[name], found.masks[theirs])
        assert torch.equal(state[name], given[theirs] * found.masks[theirs])
    assert torch.equal(moved.masks["conv1.weight"], found.masks["conv1.weight"])
    assert torch.equal(state["linear.weight"], before["linear.weight"])
    assert "linear.weight" not in moved.begun
    assert moved.begun["layer1.3.bn2.running_var"] == "layer1.1.bn2.running_var"
    assert all(torch.equal(value, before[name]) for name, value in deep.state_dict().items())
    kept = sum(int(m.sum()) for m in moved.masks.values())
    assert moved.sparsity == 1 - kept / sum(m.numel() for m in moved.masks.values())


def test_a_shallower_network_leaves_out_and_without_start_keeps_its_values() -> None:
    found, small, last = ticket(resnet(32)), resnet(20), "layer2.2.conv1.weight"
    assert sc.transfer(found, small).places[last] == "layer2.3.conv1.weight"
    by_hand = sc.transfer(found, small, blocks={"layer2": (0, 2, 4)})
    assert by_hand.places[last] == "layer2.4.conv1.weight"
    moved = sc.transfer(found, small, order="appended")
    assert moved.places[last] == last
    assert moved.begun == {}
    for name, mask in moved.masks.items():
        value = small.get_parameter(name)
        assert torch.equal(moved.model.get_parameter(name), value * mask)


@pytest.mark.parametrize(("method", "comes"), [("dense", False), ("transferred-ticket", True)])
def test_its_masks_hold_while_it_trains_and_are_saved(
    method: str, comes: bool, tmp_path: Path
) -> None:
    """Also where the network comes from a folder, whose training other methods would skip."""
    moved = sc.transfer(ticket(resnet(8, seed=1)), resnet8(classes=4))
    trained = sc.prune(moved.model, method, data=data(), training=training(), trained=comes)
    masked = sum(m.numel() for m in moved.masks.values())
    every = sum(t.units for t in trained.targets)
    assert trained.sparsity == pytest.approx(moved.sparsity * masked / every, abs=1e-9)
    assert trained.masks.keys() >= moved.masks.keys()
    for name, mask in moved.masks.items():
        value, first = trained.model.get_parameter(name), moved.model.get_parameter(name)
        assert torch.equal(trained.masks[name], mask)
        assert not value[~mask].any()
        assert not torch.equal(value, first)
    folder = sc.save(trained, tmp_path / "moved")
    again = sc.transfer(folder, resnet(8, seed=3))
    assert all(torch.equal(again.masks[name], mask) for name, mask in moved.masks.items())


def test_a_killed_training_of_a_ticket_ends_with_the_same_bits(tmp_path: Path) -> None:
    moved = sc.transfer(ticket(resnet(8, seed=1)), resnet(8))

    def train(folder: str, stop: bool = False) -> sc.Result:
        def tell(event: dict[str, object]) -> None:
            if stop and event["kind"] == "epoch":
                raise KeyboardInterrupt

        return sc.prune(
            moved.model, "dense", data=data(), training=training(length=sc.Time(2, "ep")),
            folder=tmp_path / folder, progress=tell,
        )  # fmt: skip

    whole = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("killed", stop=True)
    again = train("killed")
    assert whole.sparsity == again.sparsity > 0.7
    for name, value in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value)


def test_a_head_that_has_masks_of_another_size_is_refused_by_name_or_left_dense() -> None:
    found = ticket(resnet(8), classifier=True)
    with pytest.raises(
        PlanError, match=r"'linear.weight' \[4, 16\] does not fit .*dense=\('linear"
    ):
        sc.transfer(found, resnet(8, classes=7))
    moved = sc.transfer(found, resnet(8, classes=7), dense=("linear.*",))
    assert "linear.weight" not in moved.masks
    assert bool((moved.model.get_parameter("linear.weight") != 0).all())


def test_masks_that_the_network_had_itself_are_gone() -> None:
    had = ticket(resnet(8, seed=2), classifier=True).model
    moved = sc.transfer(ticket(resnet(8)), had)
    assert HardMasks.of(moved.model).masks.keys() == moved.masks.keys()
    assert "linear.weight" in HardMasks.of(had).masks


def test_masks_hold_under_any_structure_and_go_to_no_run_beside() -> None:
    """Rows are whole units of which single weights are gone; a dense run of the study is no ticket's."""
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    masked = sc.prune(net, "magnitude", sparsity=0.5).model
    zeros = masked[0].weight == 0
    data, shared = (torch.randn(16, 4), torch.arange(16) % 2), MemoryStore()
    rows = sc.Recipe(**{**dict(sc.recipe("dense")), "structure": "rows"})
    setting = Setting(training(), train=_training_batches(data, 16, 0), example=data[0])
    for carries, recipe in ((True, rows), (False, sc.recipe("dense"))):
        model = masked if carries else net
        run = Run(recipe, model, setting, shared=shared)
        execute(run)
        assert (shared.get("dense-3") is None) == carries
        assert bool((model[0].weight[zeros] == 0).all()) == carries


def test_what_cannot_be_moved_is_said() -> None:
    found, plain = ticket(resnet(8)), nn.Sequential(nn.Linear(3, 2))
    for what, network, said in (
        (resnet(8), resnet(8), "carries no masks"),
        (found, plain, "unknown parameter of the network 'conv1.weight'"),
        (found, resnet(14), "has one block in the ticket and 2"),
    ):
        with pytest.raises(PlanError, match=said):
            sc.transfer(what, network)
    with pytest.raises(PlanError, match="no tensor of `start`"):
        sc.transfer(found, resnet(8), start=plain)
    with pytest.raises(PlanError, match="unknown parameter 'head"):
        sc.transfer(found, resnet(8), dense=("head.*",))


def test_files_of_a_run_are_a_ticket_and_its_values(tmp_path: Path) -> None:
    early = resnet(8, seed=1)
    found = ticket(early)
    save_sparse(tmp_path / "model.safetensors", found.model.state_dict(), found.masks)
    FolderStore(tmp_path).put("step-0", Saved(early.state_dict(), {}))
    moved = sc.transfer(
        tmp_path / "model.safetensors", resnet(8, seed=2), start=tmp_path / "step-0.safetensors"
    )
    same = sc.transfer(found, resnet(8, seed=2), start=early)
    for name, value in same.model.state_dict().items():
        assert torch.equal(moved.model.state_dict()[name], value)
    assert moved.places == same.places


class TestCarried:
    """Recipes that hold what the network comes with."""

    def test_others_prune_further_among_what_is_left(self) -> None:
        found = ticket(resnet(8))
        further = sc.Recipe(**{**dict(sc.recipe("magnitude", sparsity=0.9)), "carried": True})
        result = sc.prune(found.model, further)
        assert result.sparsity == pytest.approx(0.9, abs=1e-3)
        assert all(not (result.masks[name] & ~mask).any() for name, mask in found.masks.items())
        back = sc.Recipe(**{**dict(sc.recipe("magnitude", sparsity=0.5)), "carried": True})
        with pytest.raises(PlanError, match="where 0 to"):
            sc.prune(found.model, back)

    def test_refused_where_nothing_is_carried_or_it_would_come_back(self) -> None:
        with pytest.raises(PlanError, match="this one carries none"):
            sc.prune(resnet(8), "transferred-ticket", data=data(), training=training())
        for method in ("rigl", "force", "movement"):
            with pytest.raises(PlanError, match="brings back what is out"):
                sc.Recipe(**{**dict(sc.recipe(method)), "carried": True})


def test_the_command_line_moves_and_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = sc.save(ticket(resnet8(classes=10)), tmp_path / "found")
    words = [str(found), "resnet8", "--network-option", "width=4", "--out", str(tmp_path / "moved")]
    assert call(["transfer", *words, "--start", str(found)]) == 0, capsys.readouterr().err
    assert "75.00 % of their weights are zero" in capsys.readouterr().out
    moved = sc.load(tmp_path / "moved")
    assert torch.equal(
        moved.state_dict()["linear.bias"], sc.load(found).state_dict()["linear.bias"]
    )
    for more, said in (
        (["--order", "after"], "choose interpolated or appended"),
        (["--blocks", "layer1"], "write layer1=0,1,1,2"),
        (["--blocks", "layer1=0,1"], "name 2 of the ticket's, but the network has 1"),
    ):
        assert call(["transfer", *words, "--overwrite", *more]) == 2
        assert said in capsys.readouterr().err


def resnet8(classes: int) -> nn.Module:
    """A network that its artifact can build again."""
    return build_seeded("resnet8", 0, num_classes=classes, in_channels=1, image_size=8, width=4)
