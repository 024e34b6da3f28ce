"""Processes that have imported what a run needs before they begin: most of a short run is imports."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

PRELOADED = ["secateur.cli.main", "secateur.api", "sklearn.datasets", "torch._dynamo"]


def start(words: list[str]) -> BaseProcess:
    """A process of its own that carries out the command; a signal ends it as it ends any other."""
    process = server().Process(target=carry_out, args=(words,), daemon=True)
    process.start()
    return process


def server() -> ForkServerContext:
    """The one process, without threads, from which the others are forked."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def carry_out(words: list[str], said: str = os.devnull) -> None:
    """The command line in the forked process, on one thread; its errors are added to the file `said`."""
    import torch

    from secateur.cli.main import call

    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)
    sys.exit(call(words))


def forked(words: list[str], said: str = os.devnull) -> int:
    """The exit code of `carry_out` in a fork of this process."""
    process = multiprocessing.get_context("fork").Process(target=carry_out, args=(words, said))
    process.start()
    process.join()
    return process.exitcode or 0
