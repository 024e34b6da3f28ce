"""A run that is killed after some checkpoints, and the same run from its folder on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from secateur.engine.execute import Outcome, execute
from secateur.engine.run import Run
from secateur.engine.store import FolderStore


class Killed(Exception):
    pass


def kill(run: Callable[[Any], Run], folder: Path, checkpoints: int) -> None:
    """Begin a run over a store in a folder, and end it right after so many of its checkpoints."""
    left = checkpoints

    class Dying(FolderStore):
        def checkpoint(self, saved: Any) -> None:
            nonlocal left
            super().checkpoint(saved)
            left -= 1
            if not left:
                raise Killed

    with pytest.raises(Killed):
        execute(run(Dying(folder)))


def undisturbed_and_killed(
    run: Callable[[Any], Run], folder: Path, checkpoints: int
) -> tuple[Outcome, Outcome]:
    """What a run ends with, and what it ends with killed; both have the same weights to the bit."""
    whole = execute(run(None))
    kill(run, folder, checkpoints)
    again = execute(run(FolderStore(folder)))
    one, two = whole.model.state_dict(), again.model.state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[k], two[k]) for k in one)
    return whole, again
