"""The one error type users meet: what was given, what is allowed, the nearest match, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SecateurError(Exception):
    """A mistake the user can mend; the command line prints it on one line and exits with 2."""


class PlanError(SecateurError):
    """A recipe, a configuration or a request that cannot be carried out, found before any work."""


class Untrained(PlanError):
    """A recipe that has its part in a training, without one; `why` says which part of it.

    >>> str(Untrained("gate 'x' works while the network trains"))[:71]
    "gate 'x' works while the network trains, but no training was given; pas"
    """

    def __init__(self, why: str, instead: str = "") -> None:
        super().__init__(
            f"{why}, but no training was given; pass data=… and training=… (on the command line --data "
            f"and --train){instead}"
        )
        self.why = why


class DataError(SecateurError):
    """Data, labels, an example or a batch that cannot be used."""


class NumberError(SecateurError):
    """A NaN or an infinite value where a decision would have rested on it."""


class CollapseError(SecateurError):
    """A selection that leaves a layer, or every path through the network, without weights."""


class StorageError(SecateurError):
    """A file or folder that cannot be read or written as asked."""


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name most like `name`, or None where none is similar."""
    found = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return found[0] if found else None


def unknown(what: str, name: str, allowed: Iterable[str], limit: int = 30) -> PlanError:
    """A `PlanError` for an unknown `name` of some `what`, with the nearest match and the choices.

    >>> str(unknown("criterion", "snipp", ["snip", "grasp"]))
    "unknown criterion 'snipp'; did you mean 'snip'? Allowed: grasp, snip"
    """
    names = sorted(allowed)
    guess = nearest(name, names)
    hint = f"; did you mean '{guess}'?" if guess else "."
    shown = ", ".join(names[:limit]) + (f", … ({len(names)} in all)" if len(names) > limit else "")
    return PlanError(f"unknown {what} '{name}'{hint} Allowed: {shown or 'none'}")
