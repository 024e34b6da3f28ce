"""What leaves the program: files written in one step, pruned weights stored small and checked."""

from .atomic import (
    atomic_write,
    read_bytes,
    storage_error,
    sweep,
    write_bytes,
)
from .codec import CodedMask, decode_mask, encode_mask, kept_values, spread
from .file import is_sparse_file, load_sparse, read_sparse, save_sparse
from .state import SparseState

__all__ = [
    "CodedMask",
    "SparseState",
    "atomic_write",
    "decode_mask",
    "encode_mask",
    "is_sparse_file",
    "kept_values",
    "load_sparse",
    "read_bytes",
    "read_sparse",
    "save_sparse",
    "spread",
    "storage_error",
    "sweep",
    "write_bytes",
]
