"""Image data: loaded by name, kept as bytes, turned into batches on the device."""

from .checks import check_batch, check_labels
from .images import DataSet, ImageData, channel_statistics
from .registry import load, names
from .root import cache_dir, data_root
from .split import split, subset
from .stream import Augment, Batches

__all__ = [
    "Augment",
    "Batches",
    "DataSet",
    "ImageData",
    "cache_dir",
    "channel_statistics",
    "check_batch",
    "check_labels",
    "data_root",
    "load",
    "names",
    "split",
    "subset",
]
