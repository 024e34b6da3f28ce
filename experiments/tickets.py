"""A ticket of ResNet-20 on CIFAR-10, moved to another task and to networks of another depth.

    python experiments/tickets.py OUT

The ticket: ResNet-20 trains on 4,000 images for one epoch and then for three, is pruned once to 30 % of its
weights by their size over the model, and goes with the values it had after the first. The other task is to
tell animals from vehicles on the same images; the other depths are ResNet-32 and ResNet-14 for all ten
classes. Every row trains for two epochs, from the start of the learning-rate schedule, and is added to
OUT/tickets.json when it is done. What is killed goes on where it was.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

import secateur as sc
from secateur.core.random import generator
from secateur.data import load
from secateur.materialise import HardMasks
from secateur.models.resnet_cifar import ResNetCIFAR

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VEHICLES = (0, 1, 8, 9)
IMAGES, EPOCHS, AGAIN, DENSITY = 4000, 3, 2, 0.3

Pair = tuple[Tensor, Tensor]
Row = tuple[nn.Module, Pair, Pair]


def images() -> tuple[Pair, Pair]:
    """Training and test images, normalised, with their labels."""
    found = load("cifar10")
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    train, test = (((p.images / 255 - mean) / std, p.labels) for p in (found.train, found.test))
    return (train[0][:IMAGES], train[1][:IMAGES]), test


def vehicles(pair: Pair) -> Pair:
    """1 where it is a vehicle, 0 where it is an animal."""
    return pair[0], torch.isin(pair[1], torch.tensor(VEHICLES)).long()


def network(depth: int, seed: int, classes: int = 10) -> nn.Module:
    """A new ResNet."""
    torch.manual_seed(seed)
    return ResNetCIFAR(depth, classes)


def trained(out: Path, name: str, net: nn.Module, train: Pair, epochs: int) -> nn.Module:
    """`net`, trained with the masks it carries."""
    training = sc.preset("short").model_copy(
        update={"length": sc.Time(epochs, "ep"), "batch_size": 64, "lr": 0.1}
    )
    return sc.prune(net, "dense", data=train, training=training, folder=out / name).model


def shuffled(moved: sc.Transferred, start: nn.Module, bare: nn.Module) -> nn.Module:
    """The same values behind masks of the same layer densities at random places."""
    net = sc.transfer(moved.model, bare, start=start).model
    HardMasks.of(net).remove()
    values, own = start.state_dict(), net.state_dict()
    for name, theirs in moved.begun.items():
        own[name].copy_(values[theirs])
    masks = {}
    for name, mask in moved.masks.items():
        order = torch.randperm(mask.numel(), generator=generator(0, "tickets", name))
        masks[name] = mask.flatten()[order].view(mask.shape)
    HardMasks(net, masks)
    return net


@torch.no_grad()
def accuracy(net: nn.Module, test: Pair) -> float:
    """Share of the test images that are told right."""
    right = [
        net.eval()(x).argmax(1) == y for x, y in zip(*(t.split(256) for t in test), strict=True)
    ]
    return float(torch.cat(right).float().mean())


def rows(early: nn.Module, ticket: sc.Result, train: Pair, test: Pair) -> dict[str, Row]:
    """Row -> network, training data, test data."""
    out: dict[str, Row] = {}
    for place, depth, classes in (("deeper", 32, 10), ("shallower", 14, 10), ("other task", 20, 2)):
        data = (vehicles(train), vehicles(test)) if classes == 2 else (train, test)
        bare = network(depth, 7, classes)
        with_values = sc.transfer(ticket, bare, start=early)
        out[f"{place}: ticket"] = (with_values.model, *data)
        out[f"{place}: its values, masks shuffled"] = (shuffled(with_values, early, bare), *data)
        out[f"{place}: dense, new values"] = (bare, *data)
    return out


def main(out: Path) -> None:
    """Make what is missing."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    train, test = images()
    early = trained(out, "early", network(20, 0), train, 1)
    whole = trained(out, "whole", early, train, EPOCHS)
    ticket = sc.prune(whole, "magnitude", density=DENSITY)
    file = out / "tickets.json"
    done = json.loads(file.read_text("utf-8")) if file.exists() else {}
    done.setdefault("source, dense", {"accuracy": accuracy(whole, test)})
    done.setdefault("source, pruned", {"accuracy": accuracy(ticket.model, test)})
    for row, (net, mine, tested) in rows(early, ticket, train, test).items():
        if row not in done:
            masks = HardMasks.of(net).masks.values()
            kept = sum(int(m.sum()) for m in masks) / max(sum(m.numel() for m in masks), 1)
            made = trained(out, row.replace(": ", "-").replace(" ", "-"), net, mine, AGAIN)
            done[row] = {"accuracy": accuracy(made, tested), "kept": kept if masks else 1.0}
            print(row, done[row], flush=True)
        file.write_text(json.dumps(done, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
