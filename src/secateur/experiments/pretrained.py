"""Networks in folders: classifiers of images from transformers, and what `secateur.save` wrote."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import nn

from ..artifact.huggingface import stock_config
from ..artifact.manifest import NAME
from ..core.errors import DataError, PlanError, StorageError
from ..core.extras import need
from ..data import DataSet
from ..exporting import network_in

PREPROCESSOR = "preprocessor_config.json"


def takes_images(folder: Path) -> bool:
    """Whether a folder holds a network of images; False of a language model or an empty folder.

    Raises:
        PlanError: of a model of transformers that is neither.
    """
    if not (folder / "config.json").is_file():
        return (folder / NAME).is_file()
    transformers = need("transformers", f"the network in '{folder}'")
    auto = transformers.models.auto.modeling_auto
    named = (getattr(stock_config(folder), "architectures", None) or [""])[0]
    if named in auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES.values():
        return True
    kind = getattr(transformers, named, None)
    if kind is None or kind.main_input_name == "input_ids":
        return False
    raise PlanError(
        f"'{folder}' is a {named}, neither a classifier of images nor a language model, which the "
        "command line knows how to score and train; secateur.prune(model, …, loss=…) takes any"
    )


def images_for(folder: Path) -> dict[str, Any]:
    """The size and the normalisation that a network of transformers was trained with, as settings.

    Args:
        folder: with a config.json, and a preprocessor_config.json where one was published.
    """
    if not (folder / "config.json").is_file():
        return {}
    size = getattr(stock_config(folder), "image_size", None)
    told = {"size": size} if isinstance(size, int) else {}
    plain = _preprocessor(folder / PREPROCESSOR)
    if plain.get("do_normalize", True) and {"image_mean", "image_std"} <= plain.keys():
        told |= {"mean": plain["image_mean"], "std": plain["image_std"]}
    return told


def _preprocessor(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise StorageError(f"'{path}' is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise StorageError(f"'{path}' holds no settings of a preprocessor")
    return found


def network_for(data: DataSet, folder: Path, trust: Collection[str] = ()) -> nn.Module:
    """The network of a folder, seen to fit the images.

    Args:
        data: what it will be scored and trained on.
        folder: where it lies.
        trust: packages whose code may build an artifact's network.
    """
    model = network_in(folder, trust)
    _check(model, data)
    return model


def _check(model: nn.Module, data: DataSet) -> None:
    """That what a configuration says of images and classes is what the data give."""
    config = getattr(model, "config", None)
    channels, height, width = data.train.shape
    size = getattr(config, "image_size", None)
    wanted = getattr(config, "num_channels", channels)
    if wanted != channels or (isinstance(size, int) and (height, width) != (size, size)):
        sizes = f" of {size} x {size}" if isinstance(size, int) else ""
        raise DataError(
            f"the network takes {wanted} channels{sizes}, but '{data.name}' has {channels} of "
            f"{height} x {width}; name data that fit (a folder of pictures is resized)"
        )
    labels = getattr(config, "num_labels", data.num_classes)
    if labels < data.num_classes:
        raise DataError(
            f"the network tells {labels} classes apart, but '{data.name}' has {data.num_classes}"
        )
