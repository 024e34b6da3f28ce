"""Where code cuts a tensor into equal pieces: their axes have to stay equally wide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

from secateur.structure.graph.infer import Inference
from secateur.structure.graph.terms import Cat, Fix, Term, Var


def equal_cuts(found: Inference) -> dict[Var, tuple[Var | Fix, ...]]:
    """Axis -> the axes, itself among them, whose pieces code makes equal (`x.chunk(2, 1)`, `x.split(n)`).

    A frozen size stands for a piece that keeps it. An axis that lies in several cuts is in one set with
    all that lie in them. Pieces that are several tensors end to end are left alone.
    """
    out: dict[Var, tuple[Var | Fix, ...]] = {}
    for patch in found.patches:
        for together in _pieces(patch.terms) if patch.kind == "sections" else ():
            sets = [
                out.get(atom, (atom,)) if isinstance(atom, Var) else (atom,) for atom in together
            ]
            joined = tuple(dict.fromkeys(chain(*sets)))
            out |= {atom: joined for atom in joined if isinstance(atom, Var)}
    return out


def _pieces(terms: tuple[Term, ...]) -> Iterator[tuple[Var | Fix, ...]]:
    """What lies at the same place of every piece, where pieces are alike and it is not one axis."""
    if len({tuple(atom.size for atom in term) for term in terms}) != 1:
        return
    for atoms in zip(*terms, strict=True):
        plain = tuple(dict.fromkeys(atom for atom in atoms if not isinstance(atom, Cat)))
        if len(plain) > 1 and not any(isinstance(atom, Cat) for atom in atoms):
            yield plain


def uneven(found: Inference, left: Mapping[Var, int]) -> Var | None:
    """The first axis of a plan that is not as wide any more as what is cut off beside it.

    Args:
        found: of the network before.
        left: axis -> units that stay; others keep all.
    """
    for var, together in equal_cuts(found).items():
        widths = {left.get(o, o.size) if isinstance(o, Var) else o.size for o in together}
        if len(widths) > 1 and var in left:
            return var
    return None
