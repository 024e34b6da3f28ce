"""Precision, loss scaling and several processes."""

from __future__ import annotations

import copy
import gc
import os
import socket
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from train_fakes import Points, hidden, keep, net, same, training

from secateur.core.errors import DataError, PlanError
from secateur.engine.train import Trainer, open_accelerator
from secateur.engine.train.device import Host
from secateur.materialise import HardMasks
from secateur.pressure import GroupLasso


class Scaled(Host):
    """fp16 with a loss scale on the CPU, where accelerate does not offer it."""

    mixed_precision = "fp16"

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=3)

    def free_memory(self) -> None:
        pass

    def autocast(self):
        return torch.autocast("cpu", torch.float16)

    def prepare_model(self, model: nn.Module) -> nn.Module:
        return Cast(model)

    def backward(self, loss: torch.Tensor) -> None:
        self.scaler.scale(loss).backward()


class Cast(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.float16):
            return self.model(x).float()


def scaled_trainer() -> Trainer:
    model = net()
    options = training(precision="fp16", clip=0.5, optimiser="adam", lr=0.01)
    hardware = Scaled()
    hardware.scaler.scale(torch.zeros(1))
    masks = HardMasks(model, keep())
    return Trainer(model, options, Points(), masks=masks, accelerator=hardware)


def test_the_loss_scale_grows_is_saved_and_resumed():
    whole, states = scaled_trainer(), {}
    whole.run(0, 12, on_step=lambda s: states.update({s: whole.state()}))
    scales = [states[s][1]["scaler"]["scale"] for s in range(1, 13)]
    assert scales[0] == 2.0**16, "a new training starts from the stock scale, not from 4"
    assert len(set(scales)) > 1
    for split in (2, 7):
        again = scaled_trainer()
        again.load(*states[split])
        again.run(split, 12)
        assert same(again.state()[0], states[12][0])
        assert again.state()[1] == states[12][1]
    for name, kept in keep().items():
        assert torch.all(whole.model.get_parameter(name)[~kept] == 0)


def test_clipping_sees_gradients_without_the_loss_scale():
    full = Trainer(net(), training(clip=0.5, optimiser="adam", lr=0.01), Points())
    half = scaled_trainer()
    half.masks.remove()
    half.model.load_state_dict(net().state_dict())
    norms = []
    real = nn.utils.get_total_norm
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.utils, "get_total_norm", lambda g: norms.append(real(g)) or norms[-1])
        full.run(0, 1)
        half.run(0, 1)
    assert norms[1].item() == pytest.approx(norms[0].item(), rel=0.02)


def test_bf16_is_really_used_and_leaves_the_model_alone():
    model, seen = net(), []
    model[4].register_forward_hook(lambda m, i, out: seen.append(out.dtype))
    before = set(vars(model))
    trainer = Trainer(model, training(precision="bf16"), Points())
    trainer.run(0, 2)
    assert seen == [torch.bfloat16] * 2
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert set(vars(model)) == before
    clone = copy.deepcopy(model)
    clone(torch.ones(2, 4))
    assert seen[-1] == torch.float32


def test_precision_can_change_from_one_training_to_the_next():
    for precision in ("bf16", "no", "bf16"):
        accelerator = open_accelerator(precision, cpu=True)
        model = net()
        Trainer(model, training(precision=precision), Points(), accelerator=accelerator).run(0, 1)
    with pytest.raises(PlanError, match=r"open it with open_accelerator\('no'\)"):
        Trainer(net(), training(), Points(), accelerator=accelerator)


def test_plain_and_accelerated_float32_agree():
    plain, accelerated = net(), net()
    Trainer(plain, training(), Points()).run(0, 4)
    Trainer(accelerated, training(), Points(), accelerator=open_accelerator("no", cpu=True)).run(
        0, 4
    )
    assert same(plain.state_dict(), accelerated.state_dict())


def test_an_accelerator_does_not_keep_earlier_models_alive():
    accelerator = open_accelerator("bf16", cpu=True)
    first = net()
    Trainer(first, training(precision="bf16"), Points(), accelerator=accelerator).run(0, 1)
    ref = weakref.ref(first)
    del first
    Trainer(net(), training(precision="bf16"), Points(), accelerator=accelerator)
    gc.collect()
    assert ref() is None


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(PlanError, match="'fp16' does not work on cpu; use 'bf16' or 'no'"):
        open_accelerator("fp16", cpu=True)


def test_without_accelerate_only_other_precisions_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    Trainer(net(), training(), Points()).run(0, 1)
    with pytest.raises(PlanError, match=r"pip install 'secateur\[image\]'"):
        Trainer(net(), training(precision="bf16"), Points())


def test_batches_must_feed_every_process():
    hardware = Host(torch.device("cpu"))
    hardware.free_memory = lambda: None
    hardware.num_processes = 8
    with pytest.raises(DataError, match=r"6 inputs and 6 labels .* by 8 process"):
        Trainer(net(), training(), Points(), accelerator=hardware).run(0, 1)


def test_processes_draw_different_dropout():
    ends = []
    for rank in (0, 0, 1):
        hardware = Host(torch.device("cpu"))
        hardware.free_memory = lambda: None
        hardware.process_index = rank
        trainer = Trainer(net(), training(), Points(), accelerator=hardware)
        hardware.num_processes = 1
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.Tensor, "tensor_split", lambda tensor, n: [tensor, tensor])
            trainer.run(0, 2)
        ends.append(trainer.state()[0])
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[2])
import torch
from safetensors.torch import save_file
from secateur.engine.train import Trainer, open_accelerator
from secateur.materialise import HardMasks
from secateur.pressure import GroupLasso
from train_fakes import Points, hidden, keep, net, training
accelerator = open_accelerator("no", cpu=True)
assert accelerator.num_processes == 2
model = net(0, norm=False)
options = training(accumulate=2, ema=0.5)
rows = []
trainer = Trainer(
    model, options, Points(batch=7), masks=HardMasks(model, keep()), accelerator=accelerator,
    pressure=GroupLasso(strength=0.05), targets=(hidden(norm=False),),
)
trainer.run(0, 8, on_epoch=rows.append)
tensors, _ = trainer.state()
tensors["loss"] = torch.tensor([row["loss"] for row in rows])
save_file(tensors, f"{sys.argv[1]}/{accelerator.process_index}.safetensors")
accelerator.end_training()
"""


def test_two_processes_train_as_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        **os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    here = str(Path(__file__).parent)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path), here],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    model, rows = net(0, norm=False), []
    one = Trainer(
        model, training(accumulate=2, ema=0.5), Points(batch=7), masks=HardMasks(model, keep()),
        pressure=GroupLasso(strength=0.05), targets=(hidden(norm=False),),
    )  # fmt: skip
    one.run(0, 8, on_epoch=rows.append)
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    expected = one.state()[0]
    for name, tensor in expected.items():
        if name != "meter":
            torch.testing.assert_close(first[name], tensor, rtol=1e-5, atol=1e-6)
            assert torch.equal(first[name], second[name]), name
    assert first["loss"].tolist() == pytest.approx([row["loss"] for row in rows], rel=1e-5)
    for name, kept in keep().items():
        assert torch.all(first[f"model.{name}"][~kept] == 0)
        assert torch.all(first[f"optimiser.{name}.momentum_buffer"][~kept] == 0)
    assert torch.equal(first["loss"], second["loss"])
