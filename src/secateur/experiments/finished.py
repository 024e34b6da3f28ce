"""The network of a finished run, from the run's folder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..artifact import load_sparse
from ..artifact.manifest import NAME
from ..core.errors import PlanError, StorageError
from .config import RunConfig
from .deliver import FOLDER
from .results import RESULT, WEIGHTS, read_result
from .setting import Workshop


def run_folder(folder: Path) -> Path | None:
    """The folder of the run that `folder` is, or the only one in a results folder; None in any other."""
    if (folder / RESULT).exists():
        return folder
    if (folder / NAME).exists():
        return None  # an artifact
    runs = sorted(path.parent for path in folder.glob(f"*/*/{RESULT}"))
    if len(runs) > 1:
        named = ", ".join(map(str, runs[:3])) + (", …" if len(runs) > 3 else "")
        raise PlanError(
            f"'{folder}' holds {len(runs)} runs; name the folder of one of them: {named}"
        )
    return runs[0] if runs else None


def network_of(run: Path) -> tuple[Path | nn.Module, Tensor | None]:
    """What a run left: the artifact of what became smaller, or the network with its masked weights.

    Returns:
        The artifact's folder and None, or the network on the CPU in evaluation mode and two inputs as it
        takes them.
    """
    if (run / FOLDER / NAME).exists():
        return run / FOLDER, None
    result = read_result(run / RESULT)
    config = RunConfig(**result.config)
    stock = config.network.model_copy(update={"weights": None})  # they are replaced anyway
    config = config.model_copy(update={"network": stock})
    model, setting = Workshop("cpu").make(config, result.seed)
    try:
        model.load_state_dict(load_sparse(run / WEIGHTS))
    except RuntimeError as error:
        raise StorageError(
            f"'{run / WEIGHTS}' does not fit the network of its run: {error!s:.200}"
        ) from error
    return model.eval(), torch.cat([setting.example] * 2)
