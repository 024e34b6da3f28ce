"""Where results may go: never a file's path, never among a network's own files."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import StorageError

OF_NETWORKS = ("pruning.json", "config.json")
"""Files by which a network's folder is known."""


def results_folder(root: str | Path, definition: str) -> Path:
    """`root` for results, found or yet to be made; refused before any work where they cannot lie there.

    Args:
        root: a path.
        definition: the file by which a results folder is known.
    """
    path = Path(root)
    blocked = next((p for p in (path, *path.parents) if p.exists() and not p.is_dir()), None)
    if blocked is not None:
        raise StorageError(
            f"results cannot go to '{root}': '{blocked}' is a file; name a folder, a new one is made"
        )
    of_network = any((path / name).exists() for name in OF_NETWORKS)
    if of_network and not (path / definition).exists():
        raise StorageError(
            f"results cannot go to '{root}': it is a network's folder, with whose files they would mix; "
            "name a new folder"
        )
    return path


def apart(out: Path, source: str) -> None:
    """Refuse results inside the folder of the network that is pruned, which stays as it is."""
    folder = Path(source)
    if folder.is_dir() and folder.resolve() in (out.resolve(), *out.resolve().parents):
        raise StorageError(
            f"results cannot go to '{out}': it lies in '{source}', the network's own folder, which is only "
            "read; name a folder outside of it"
        )
