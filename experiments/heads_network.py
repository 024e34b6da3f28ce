"""The vision transformer that `heads.py` prunes: trained on CIFAR-10, in steps that can be killed."""

from __future__ import annotations

from pathlib import Path

import torch
from structured import MEAN, STD, resnet
from torch import Tensor, nn

import secateur as sc
from secateur.data import Augment, Batches, DataSet, load
from secateur.engine.store import FolderStore, Saved
from secateur.engine.train import AdamW, OneCycle, Trainer, Training
from secateur.engine.train.spec import Distil
from secateur.models.vit import Block

WIDTH, DEPTH, HEADS, NEURONS, EPOCHS = 64, 6, 4, 128, 4
TRAINING = Training(
    length=sc.Time(EPOCHS, "ep"), batch_size=128, lr=2e-3, weight_decay=0.05, decay_norms=False,
    schedule=OneCycle(), optimiser=AdamW(), clip=1.0, distil=Distil(temperature=3.0, weight=0.7),
)  # fmt: skip


class Teacher(nn.Module):
    """The trained ResNet-20, in bfloat16, which halves its time."""

    def __init__(self) -> None:
        super().__init__()
        self.net = resnet()

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        with torch.autocast("cpu", torch.bfloat16):
            return self.net(x).float()


def pictures() -> DataSet:
    """All of CIFAR-10, as JPEGs, normalised as the teacher has it."""
    return load("cifar10-jpeg").normalised(MEAN, STD)


class Net(nn.Module):
    """A vision transformer whose patches are made by three convolutions, which learn in fewer images.

    Shapes: [n, 3, 32, 32] -> [n, 10], over 64 tokens of which the mean is classified.

    Paper: Xiao et al. 2021, arXiv 2106.14881, for the stem.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*stage(3, 24, 2), *stage(24, 48, 2), nn.Conv2d(48, WIDTH, 1))
        self.position = nn.Parameter(0.02 * torch.randn(1, 64, WIDTH))
        self.blocks = nn.Sequential(*[Block(WIDTH, HEADS, NEURONS, 0.0) for _ in range(DEPTH)])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of each class."""
        x = self.stem(x).flatten(2).transpose(1, 2)  # [n, 64, width]
        return self.head(self.norm(self.blocks(x + self.position)).mean(1))


def stage(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    """Convolution, norm, ReLU."""
    conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]


def untrained() -> nn.Module:
    """The network as it begins."""
    torch.manual_seed(0)
    return Net()


def trained(data: DataSet, folder: Path) -> nn.Module:
    """The network after its training, which goes on where `folder` says it was."""
    net, store = untrained(), FolderStore(folder)
    stream = Batches(data.train, TRAINING.batch_size, seed=0, augment=Augment())
    trainer = Trainer(net, TRAINING, stream, teacher=Teacher().eval())
    saved, start = store.latest(), 0
    if saved is not None:
        trainer.load(saved.tensors, saved.meta)
        start = int(saved.meta["next"])

    def keep(step: int) -> None:
        if step % 50 == 0 or step == total:
            store.checkpoint(Saved(*trainer.state()))

    total = TRAINING.total(stream.steps_per_epoch)
    trainer.run(start, total, on_step=keep, on_epoch=lambda told: print(told, flush=True))
    return net.eval()
