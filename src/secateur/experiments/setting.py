"""From a configuration to a network and its data, ready to run."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..batches import cross_entropy
from ..core.device import pick_device
from ..core.errors import PlanError, StorageError
from ..core.random import derive
from ..data import Augment, Batches, DataSet, ImageData, data_root, load, split, subset
from ..engine.run import Setting
from ..engine.train import open_accelerator
from ..models import build_seeded, load_weights
from .config import Data, RunConfig
from .pretrained import network_for

SPLIT_SEED = 0
"""Train, validation and subset are the same for every seed: runs differ in training alone."""

EVALUATION_BATCH = 512


class Workshop:
    """Builds networks and data on one device; data sets are decoded and moved once.

    Args:
        device: `auto` (an accelerator where there is one), `cpu`, `cuda`, …
        checkpoint_seconds: handed to every setting.
    """

    def __init__(self, device: str = "auto", checkpoint_seconds: float = 30.0) -> None:
        self.device = pick_device(device)
        self.checkpoint_seconds = checkpoint_seconds

    def make(self, config: RunConfig, seed: int) -> tuple[nn.Module, Setting]:
        """The network with initial (or given) weights, and everything to train and measure it."""
        data = load_data(config.data)
        train, val = _parts(config.data)
        model = self._network(config, data, seed)
        training = config.build_training()
        batch = training.batch_size if training is not None else config.scoring.batch
        train, test = train.to(self.device), data.test.to(self.device)
        setting = Setting(
            training=training,
            trained=config.network.comes_trained,
            train=lambda stage: self._batches(config, train, batch, derive(seed, "data", stage)),
            scoring=self._scoring(config, train, seed),
            val=_plain(val.to(self.device)) if val is not None else None,
            test=_plain(test),
            loss=cross_entropy,
            example=torch.zeros(1, *train.shape, device=self.device),
            fresh=lambda new_seed: self._fresh(config, data, new_seed),
            seed=seed,
            on_collapse=config.on_collapse,
            checkpoint_seconds=self.checkpoint_seconds,
            accelerator=self._accelerator(training),
        )
        return model, setting

    def _accelerator(self, training: Any) -> Any:
        """An accelerator where mixed precision or several processes need one."""
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        if training is None or (training.precision == "no" and not several):
            return None
        return open_accelerator(training.precision, cpu=self.device.type == "cpu")

    def _network(self, config: RunConfig, data: DataSet, seed: int) -> nn.Module:
        model = self._fresh(config, data, seed)
        if config.network.weights is not None:
            load_weights(model, weights_path(config.network.weights))
        return model

    def _fresh(self, config: RunConfig, data: DataSet, seed: int) -> nn.Module:
        """A network with new initial weights, or that of a folder as it is."""
        if config.network.folder is not None:
            made = network_for(data, config.network.folder, **config.network.options)
            return made.to(self.device)
        model = build_seeded(
            config.network.spec,
            seed,
            num_classes=data.num_classes,
            in_channels=data.in_channels,
            image_size=data.image_size,
            **config.network.options,
        )
        return model.to(self.device)

    def _batches(self, config: RunConfig, train: ImageData, size: int, seed: int) -> Batches:
        padding = max(1, train.shape[1] // 8)  # 4 for 32 pixels, 1 for 8
        augment = Augment(padding, config.data.flip) if config.data.augment else None
        return Batches(train, size, seed, augment, self.device)

    def _scoring(self, config: RunConfig, train: ImageData, seed: int) -> Batches:
        """Balanced training images without augmentation, drawn by the run's seed."""
        count = min(config.scoring.samples, len(train))
        chosen = subset(train, count, derive(seed, "scoring"))
        return Batches(chosen, config.scoring.batch, seed, None, self.device, shuffle=True)


@lru_cache(maxsize=2)
def load_data(config: Data) -> DataSet:
    """The data set of a configuration, with its normalisation."""
    data = load(
        config.source,
        size=config.size,
        image=config.image,
        label=config.label,
        config=config.config,
    )
    if (config.mean is None) != (config.std is None):
        raise PlanError("give both mean and std of the normalisation, or neither")
    if config.mean is not None and config.std is not None:
        data = data.normalised(config.mean, config.std)
    return data


@lru_cache(maxsize=2)
def _parts(config: Data) -> tuple[ImageData, ImageData | None]:
    """(train, validation) of the share of the data that is used."""
    train = load_data(config).train
    if config.fraction < 1:
        train = subset(train, config.fraction, SPLIT_SEED)
    return split(train, config.validation, SPLIT_SEED) if config.validation else (train, None)


def _plain(data: ImageData) -> Batches:
    """Batches to evaluate on: in order, as they are."""
    return Batches(data, EVALUATION_BATCH, device=data.images.device, shuffle=False)


def weights_path(text: str) -> Path:
    """A file of weights; `{models}` is the folder `models` beside the data folder."""
    if "{models}" in text:
        root = data_root()
        if root is None:
            raise StorageError(
                f"'{text}' lies beside the data folder, but there is none; set SECATEUR_DATA"
            )
        text = text.replace("{models}", str(root.parent / "models"))
    return Path(text)
