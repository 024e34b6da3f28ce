"""Where code cuts a tensor into equal pieces: their axes have to stay equally wide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from secateur.structure.graph.infer import Inference
from secateur.structure.graph.terms import Cat, Fix, Term, Var


def equal_cuts(found: Inference) -> dict[Var, tuple[Var | None, ...]]:
    """Axis -> the axes, itself among them, whose pieces code makes equal (`x.chunk(2, 1)`, `x.split(n)`).

    None stands for a piece that keeps its size. An axis that lies in several cuts is in one set with
    all that lie in them. Pieces that are several tensors end to end are left alone.
    """
    out: dict[Var, tuple[Var | None, ...]] = {}
    for patch in found.patches:
        for together in _pieces(patch.terms) if patch.kind == "sections" else ():
            joined = dict.fromkeys(
                other for var in together for other in (out.get(var, (var,)) if var else (None,))
            )
            out |= {var: tuple(joined) for var in joined if var is not None}
    return out


def _pieces(terms: tuple[Term, ...]) -> Iterator[tuple[Var | None, ...]]:
    """What lies at the same place of every piece, where pieces are alike and it is not one axis."""
    if len({tuple(atom.size for atom in term) for term in terms}) != 1:
        return
    for atoms in zip(*terms, strict=True):
        if not any(isinstance(atom, Cat) for atom in atoms):
            found = tuple(dict.fromkeys(None if isinstance(a, Fix) else a for a in atoms))
            if len(found) > 1:
                yield found


def uneven(found: Inference, left: Mapping[Var, int]) -> Var | None:
    """The first axis of a plan that is not as wide any more as what is cut off beside it.

    Args:
        found: of the network before.
        left: axis -> units that stay; others keep all.
    """
    for var, together in equal_cuts(found).items():
        widths = {left.get(other, other.size) if other else var.size for other in together}
        if len(widths) > 1 and var in left:
            return var
    return None
