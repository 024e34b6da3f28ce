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


def carry_out(words: list[str]) -> None:
    """The command line in the forked process, silent and on one thread."""
    import torch

    from secateur.cli.main import call

    torch.set_num_threads(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    sys.exit(call(words))
