"""What can go wrong while a network is traced or edited."""

from __future__ import annotations

from secateur.core.errors import SecateurError


class TraceError(SecateurError):
    """What cannot be traced or edited: names the operator, the layer and the remedy."""


class ValuesNeeded(TraceError):
    """A network without weights whose way depends on values: with its weights it may be traced."""


class OutOfTime(TraceError):
    """The time given for tracing is spent."""


class ProofError(SecateurError):
    """The smaller network does not compute what the masked one computes."""
