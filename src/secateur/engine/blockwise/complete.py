"""Whether the files of a folder hold what its configuration describes, by names and shapes alone."""

from __future__ import annotations

from ...core.errors import StorageError
from .skeleton import Skeleton


def check_files(skeleton: Skeleton) -> None:
    """Refuse files that lack a weight of the model, or hold one of another shape; none is read.

    Weights that the model holds joined or apart (experts that are stored one by one, projections that
    are stored as one) are compared by name alone; tied ones need to be there once.
    """
    shapes = {name: tuple(t.shape) for name, t in skeleton.model.state_dict().items()}
    for key, owner in skeleton.owners.items():
        if owner in shapes and key not in skeleton.joined:
            _check_shape(skeleton, key, shapes[owner])
    owned = set(skeleton.owners.values())
    # what is stored as one may fill several of its layer
    filled = {_layer(skeleton.owners[key]) for key in skeleton.joined}
    lacking = [
        name
        for name, names in skeleton.aliases.items()
        if not owned & {*names} and not filled & {*map(_layer, names)}
    ]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise StorageError(
            f"'{skeleton.shards.folder}' holds no weights for '{lacking[0]}'{more}, which its "
            "config.json describes; save or download the model again"
        )


def _check_shape(skeleton: Skeleton, key: str, wanted: tuple[int, ...]) -> None:
    got = skeleton.shards.entries[key].shape
    if got != wanted:
        raise StorageError(
            f"'{key}' is {got} in '{skeleton.shards.folder}' and {wanted} by its config.json; "
            "the two do not belong together"
        )


def _layer(name: str) -> str:
    """The module that holds the layer of a parameter: `h.0.attn` of `h.0.attn.q.weight`."""
    return name.rpartition(".")[0].rpartition(".")[0]
