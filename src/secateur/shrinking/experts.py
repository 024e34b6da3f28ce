"""Experts out of mixtures; what has to be equal is the network whose routers pass them by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ..core.result import Result
from ..structure.config import fit_config
from ..structure.example import arguments
from ..structure.experts import mixtures
from ..structure.fewer_experts import fewer_experts, passed_by
from ..structure.graph.errors import ProofError
from ..structure.graph.proof import gap
from .compared import TOLERANCE
from .made import Made


def experts_asked(
    what: Result | nn.Module, keep: Mapping[str, Sequence[int]] | None
) -> dict[str, list[int]] | None:
    """Layer of experts -> experts that stay, where that is what is to be taken out."""
    model = what.model if isinstance(what, Result) else what
    layers = {mixture.experts for mixture in mixtures(model)}
    if keep is not None:
        return {n: sorted(set(u)) for n, u in keep.items()} if layers & set(keep) else None
    if not isinstance(what, Result) or not layers or {t.kind for t in what.targets} != {"experts"}:
        return None
    return {name: mask.nonzero()[:, 0].tolist() for name, mask in what.units.items()}


def without_experts(
    what: Result | nn.Module, stock: nn.Module, keep: dict[str, list[int]], example: Any
) -> Made:
    """`stock` with the experts of `keep` only."""
    args, kwargs = arguments(example)
    small, edits = fewer_experts(stock, keep)
    with passed_by(stock, keep):
        error = gap(stock, small, args, kwargs)
    if error > TOLERANCE:
        raise ProofError(
            f"the network without the experts differs by {error:.1e} from the one whose routers pass "
            "them by; its routers choose in a way that is not known here"
        )
    counts = {mixture.experts: mixture.count for mixture in mixtures(stock)}
    facts = {
        "units": {name: [len(units), counts[name]] for name, units in keep.items()},
        "level": "B" if edits.attributes else "A",
        "proof": {"error": error, "effect": gap(stock, small, args, kwargs)},
        "error": 0.0,
        "exact": False,
        "difference": gap(what.model if isinstance(what, Result) else stock, small, args, kwargs),
    }
    kept = {name: tuple(units) for name, units in keep.items()}
    fit = fit_config(small, small)
    return Made(small, kept, edits, fit=fit, facts=facts)
