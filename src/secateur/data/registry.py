"""Data sets by name, by folder, or by their name on the hub."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import DataError, StorageError, nearest
from .digits import digits
from .huggingface import Reading, load_folder, load_hub
from .images import DataSet
from .root import data_root


@dataclass(frozen=True)
class Known:
    """What is published about a data set.

    Attributes:
        mean, std: its usual normalisation.
        hub: its name on the hub, or None.
        label: the label column, where there are several.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    hub: str | None = None
    label: str | None = None


_CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
_CIFAR100 = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))

KNOWN: dict[str, Known] = {
    "cifar10": Known(*_CIFAR10, hub="uoft-cs/cifar10", label="label"),
    "cifar10-jpeg": Known(*_CIFAR10, label="label"),
    "cifar100": Known(*_CIFAR100, hub="uoft-cs/cifar100", label="fine_label"),
}

EMBEDDED: dict[str, Callable[[], DataSet]] = {"digits": digits}


def names() -> list[str]:
    """The names that are always understood."""
    return sorted([*EMBEDDED, *KNOWN])


def load(
    name: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    size: int | None = None,
    image: str | None = None,
    label: str | None = None,
    config: str | None = None,
) -> DataSet:
    """The training and test data of `name`, decoded once and then read from the user's cache.

    Args:
        name: `digits` (embedded), a data set below the data root, a folder, or `owner/name` on the
            hub. CIFAR-10 and -100 come from the hub only where there is no data root.
        root: the folder of data sets; default `data_root()`.
        size: resize all pictures to size x size.
        image, label: columns, where their types do not settle it.
        config: the configuration, where a data set has several.

    Known data sets are normalised by their published constants, others by the mean and deviation
    of their training images; `DataSet.normalised` changes that.

    >>> load("digits").train.shape
    (1, 8, 8)
    """
    name = os.fspath(name)
    if name in EMBEDDED:
        return EMBEDDED[name]()
    known = KNOWN.get(name)
    reading = Reading(size, image, label or (known.label if known else None), config)
    data = _find(name, known, _root(root), reading)
    return data.normalised(known.mean, known.std) if known else data


def _root(root: str | os.PathLike[str] | None) -> Path | None:
    if root is None:
        return data_root()
    if not Path(root).is_dir():
        raise StorageError(f"data root '{os.fspath(root)}' is no folder; {_near(Path(root))}")
    return Path(root)


def _find(name: str, known: Known | None, root: Path | None, reading: Reading) -> DataSet:
    """Below the root first, then as a folder, then on the hub."""
    path = Path(name).expanduser()
    if root is not None and _plain(name) and (root / name).is_dir():
        return load_folder(root / name, name, reading)
    if known is None and path.is_dir():
        return load_folder(path, path.resolve().name, reading)
    if known is not None and known.hub and root is None:
        return load_hub(known.hub, name, reading)
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) and not path.parent.is_dir():
        return load_hub(name, name, reading)
    raise _missing(name, known, root)


def _plain(name: str) -> bool:
    """Whether `name` is a single word, not a path."""
    return Path(name).name == name and name not in (".", "..")


def _missing(name: str, known: Known | None, root: Path | None) -> DataError | StorageError:
    """Say what was looked for and what is nearest."""
    if known is not None:
        hub = f", or name '{known.hub}' to download it" if known.hub else ""
        place = f"in '{root}'" if root else "because SECATEUR_DATA is not set"
        return StorageError(
            f"data set '{name}' is not there {place}; put its folder into the data root{hub}"
        )
    if not _plain(name):
        return StorageError(f"there is no data folder '{name}'; {_near(Path(name).expanduser())}")
    below = [p.name for p in root.iterdir() if p.is_dir()] if root else []
    guess = nearest(name, {*names(), *below})
    hint = f"; did you mean '{guess}'?" if guess else "."
    return DataError(
        f"unknown data set '{name}'{hint} Allowed: {', '.join(sorted({*names(), *below}))}, "
        "a folder, or owner/name on the hub"
    )


def _near(path: Path) -> str:
    """The folder beside a missing one whose name is most like it."""
    siblings = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
    guess = nearest(path.name, siblings)
    return f"did you mean '{path.parent / guess}'?" if guess else "check the path"
