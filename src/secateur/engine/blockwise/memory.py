"""Freed tensors go back to the system, so that memory does not grow with the number of blocks."""

from __future__ import annotations

import ctypes
import gc
import sys

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
_THRESHOLD = 1 << 18


def return_freed_tensors() -> bool:
    """Let glibc map every allocation of 256 kB or more by itself, and unmap it when it is freed.

    By default it raises that threshold with every large block it frees; tensors of later blocks then
    come from a heap that only grows in pieces. Elsewhere nothing is done; whether it was.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and mallopt(_M_MMAP_THRESHOLD, _THRESHOLD) == 1


def return_small_pieces() -> bool:
    """Let go of what only cycles hold, and give the heap's free pages back to the system.

    A traced network is a graph of many small objects that grows with the number of layers; without
    this its room stays with the process while blocks are read. Elsewhere than under glibc only the
    first is done; whether both were.
    """
    gc.collect()
    if not sys.platform.startswith("linux"):
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and trim(0) >= 0
