"""Any image data set that the `datasets` library reads: folders of parquet or pictures, the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..core.errors import DataError
from ..core.extras import need
from . import cache
from .cache import Decoded
from .columns import Columns, find_columns
from .decode import decode
from .images import DataSet, ImageData, channel_statistics
from .split import split

_TEST_NAMES = ("test", "validation", "valid", "val")
_HELD_OUT = 0.2
"""The fraction held out as test data where the source has training data alone."""


@dataclass(frozen=True)
class Reading:
    """How a data set is to be read.

    Attributes:
        size: resize every picture to size x size; None = all have one size already.
        image, label: columns; None = found by type.
        config: the configuration, where a data set has several.
    """

    size: int | None = None
    image: str | None = None
    label: str | None = None
    config: str | None = None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise DataError(f"size={self.size} is no image size; give the side in pixels, e.g. 32")


def load_folder(folder: Path, name: str, reading: Reading) -> DataSet:
    """A folder of parquet files, or of one folder of pictures per class (below `train/`, `test/`)."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    if not files:
        raise DataError(f"folder '{folder}' has no files; name one with parquet files or pictures")
    key = cache.digest(files, folder, **asdict(reading))
    decoded = cache.load(key)
    if decoded is None:
        with _explained(f"'{folder}'"):
            # streaming reads the files in place instead of copying them to a cache first
            found = need("datasets").load_dataset(str(folder), reading.config, streaming=True)
            decoded = _decode_all(found, reading, f"'{folder}'")
        cache.save(key, decoded)
    return _data_set(decoded, name, f"folder {folder.name}")


def load_hub(repo: str, name: str, reading: Reading) -> DataSet:
    """A data set of the hub by its `owner/name`; once downloaded it needs no network."""
    with _explained(f"'{repo}' of the hub"):
        found = need("datasets").load_dataset(repo, reading.config)
        files = [Path(f["filename"]) for part in found.values() for f in part.cache_files]
        key = cache.digest(files, Path("/"), repo=repo, **asdict(reading)) if files else None
        decoded = cache.load(key) if key else None
        if decoded is None:
            decoded = _decode_all(found, reading, f"'{repo}'")
            if key:
                cache.save(key, decoded)
    return _data_set(decoded, name, f"{repo} of the hub")


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn what the reading libraries raise into one line."""
    exceptions = need("datasets").exceptions
    try:
        yield
    except (OSError, ValueError, exceptions.DatasetsError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else type(error).__name__
        raise DataError(
            f"data set {what} cannot be read: {reason} "
            "(check the name, the files and, for the hub, the network)"
        ) from error


def _decode_all(found: Mapping[str, Any], reading: Reading, what: str) -> Decoded:
    """Decode the training split and, where there is one, the test split."""
    names = _names(found, what)
    columns = _columns(found["train"], reading, what)
    splits = {}
    for n in names:
        rows = _undecoded(found[n], columns.image)
        splits[n] = decode(rows, columns.image, columns.label, reading.size, f"{what} ({n})")
    return Decoded(_same_channels(splits), columns.classes)


def _names(found: Mapping[str, Any], what: str) -> list[str]:
    """`train` and the first of the usual names of a test split, as far as they exist."""
    if "train" not in found:
        raise DataError(f"{what} has no split 'train'; it has: {', '.join(found)}")
    return ["train", *[n for n in _TEST_NAMES if n in found][:1]]


def _columns(part: Any, reading: Reading, what: str) -> Columns:
    features = part.features
    if features is None:  # a stream that has to look at its first rows to know
        features = part._resolve_features().features
    return find_columns(features, reading.image, reading.label, what)


def _undecoded(part: Any, image: str) -> Any:
    """The rows with pictures as {bytes, path}."""
    datasets = need("datasets")
    return part.cast_column(image, datasets.Image(decode=False))


def _same_channels(splits: dict[str, cache.Split]) -> dict[str, cache.Split]:
    """Where one split is in colour, a grey one becomes grey RGB."""
    most = max(images.shape[1] for images, _ in splits.values())
    return {
        name: (images.expand(-1, most, -1, -1).contiguous(), labels)
        for name, (images, labels) in splits.items()
    }


def _data_set(decoded: Decoded, name: str, source: str) -> DataSet:
    """Put the splits together; without a test split, a fifth of the training data becomes one."""
    mean, std = channel_statistics(decoded.splits["train"][0])
    most = max(int(labels.max()) for _, labels in decoded.splits.values())
    count = len(decoded.classes) or most + 1
    parts = {
        n: ImageData(images, labels, count, mean, std, "train" if n == "train" else "test")
        for n, (images, labels) in decoded.splits.items()
    }
    train, *rest = parts.values()
    if rest:
        other = [n for n in parts if n not in ("train", "test")]
        about = f"{source}; split '{other[0]}' is the test data" if other else source
        return DataSet(name, train, rest[0], decoded.classes, about)
    train, test = split(train, _HELD_OUT, seed=0)
    test = test.select(torch.arange(len(test)), "test")
    about = f"{source}; a fifth of each class held out as test data"
    return DataSet(name, train, test, decoded.classes, about)
