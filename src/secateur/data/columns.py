"""Which column holds the picture and which the class, told from their types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import DataError, unknown
from ..core.extras import need


@dataclass(frozen=True)
class Columns:
    """The columns in use and the names of the classes (empty where labels are bare numbers)."""

    image: str
    label: str
    classes: tuple[str, ...] = ()


def find_columns(
    features: Mapping[str, Any], image: str | None, label: str | None, what: str
) -> Columns:
    """The picture's and the class' column, found by type where they are not named.

    A picture is an `Image` or a pair {bytes, path}; a class is a `ClassLabel` or, where there is
    none, a column of whole numbers.

    Args:
        features: column name -> type, as the `datasets` library has them.
        image, label: the user's choice, or None.
        what: the data set, as errors call it.
    """
    picture = _choose(features, image, _is_image, "image", what)
    labelled = any(map(_is_class, features.values()))
    number = _choose(features, label, _is_class if labelled else _is_whole, "label", what)
    if not _is_class(features[number]) and not _is_whole(features[number]):
        raise DataError(
            f"label column '{number}' of {what} holds {_kind(features[number])}, not classes; "
            f"choose another with label=…, or store whole numbers. Columns: {_listing(features)}"
        )
    return Columns(picture, number, tuple(getattr(features[number], "names", None) or ()))


def _choose(
    features: Mapping[str, Any],
    named: str | None,
    fits: Callable[[Any], bool],
    role: str,
    what: str,
) -> str:
    """The column the user named, or the only one that fits."""
    if named is not None:
        if named not in features:
            raise unknown(f"{role} column of {what}", named, features)
        return named
    found = [column for column, feature in features.items() if fits(feature)]
    if len(found) == 1:
        return found[0]
    many = f"{len(found)} columns that could be the {role} ({', '.join(found)})"
    raise DataError(
        f"{what} has {many if found else f'no {role} column'}; name it with {role}=…. "
        f"Columns: {_listing(features)}"
    )


def _is_image(feature: Any) -> bool:
    if isinstance(feature, Mapping):
        return {"bytes", "path"} <= set(feature)
    return isinstance(feature, need("datasets").Image)


def _is_class(feature: Any) -> bool:
    return isinstance(feature, need("datasets").ClassLabel)


def _is_whole(feature: Any) -> bool:
    return str(getattr(feature, "dtype", "")).startswith(("int", "uint")) and not _is_class(feature)


def _listing(features: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({_kind(feature)})" for name, feature in features.items())


def _kind(feature: Any) -> str:
    """`Image`, `ClassLabel`, or the type of a plain value, e.g. `string`."""
    kind = type(feature).__name__
    return str(feature.dtype) if kind == "Value" else kind
