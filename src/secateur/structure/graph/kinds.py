"""What kind of structure an axis is, judged by where it stands and never by a name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import fx, nn

from secateur.core.names import layer_at
from secateur.structure.graph.infer import Inference, layer_of
from secateur.structure.graph.op import Cost, Inexact, base_name
from secateur.structure.graph.terms import Cat, Term, Var, free

RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell")
NORMS = ("layer_norm", "rms_norm", "mean", "group_norm", "_fused_rms_norm")
OFF = {
    "head width": "shared by every head: only when asked",
    "rope": "pairs of a rotary embedding, shared by every layer: only when asked",
    "positions": "no layer writes it: only when asked",
}

KINDS = (
    "channels", "neurons", "heads", "query heads", "head width", "groups", "group width",
    "hidden state", "expert width", "residual width", "inner width", "positions", "rope",
)  # fmt: skip
"""All that `kind_of` says."""


@dataclass
class Facts:
    """Structural facts of all axes of a network, gathered in one pass.

    Attributes:
        producers: axis -> layers whose weight writes it, in order.
        mixers: axis -> how many dense (not depthwise) weights write it.
        outer: axis -> whether its first producer holds it as the outer factor of a product.
        leading: axes that number independent matrix products of activations, as heads do.
        inside: axis -> the axes it is an inner factor of, in a parameter.
        read: axes that some weight reads as its inputs.
    """

    producers: dict[Var, list[str]] = field(default_factory=lambda: defaultdict(list))
    mixers: dict[Var, int] = field(default_factory=lambda: defaultdict(int))
    outer: dict[Var, bool] = field(default_factory=dict)
    leading: set[Var] = field(default_factory=set)
    inside: dict[Var, set[Var]] = field(default_factory=lambda: defaultdict(set))
    read: set[Var] = field(default_factory=set)
    convolved: set[Var] = field(default_factory=set)
    recurrent: set[Var] = field(default_factory=set)
    experts: set[Var] = field(default_factory=set)
    embedded: set[Var] = field(default_factory=set)
    summed: set[Var] = field(default_factory=set)
    normed: set[Var] = field(default_factory=set)
    softmaxed: set[Var] = field(default_factory=set)
    grouped: set[Var] = field(default_factory=set)
    repeated: set[Var] = field(default_factory=set)
    rotary: set[Var] = field(default_factory=set)
    constants: dict[Var, list[str]] = field(default_factory=lambda: defaultdict(list))


def facts_of(found: Inference) -> Facts:
    """Gather the facts."""
    facts = Facts()
    _from_embeddings(facts, found)
    for cost in found.costs:
        _from_contraction(facts, found, cost)
    for name, dims in found.terms.items():
        for term in dims:
            _nest(facts, term, set())
        if not isinstance(found.captured.tensors[name], nn.Parameter) and _feeds_rotation(
            found, name
        ):
            facts.rotary |= _axes(dims)
    facts.summed |= _axes(found.sums)
    facts.repeated |= _axes(found.repeats)
    for note in found.inexact:
        _from_norm(facts, note)
    for patch in found.patches:
        for var in _axes(patch.terms):
            facts.constants[var].append(f"{patch.node.name}.{patch.arg}")
            if patch.arg in ("groups", "num_groups"):
                facts.grouped.add(var)
    return facts


def _axes(terms: Iterable[Term]) -> set[Var]:
    return {var for term in terms for var in free(term)}


def _from_embeddings(facts: Facts, found: Inference) -> None:
    for node, value in found.values.items():
        if (
            node.op == "call_function"
            and base_name(node) == "embedding"
            and isinstance(value, tuple)
        ):
            for var in free(value[-1]):
                facts.embedded.add(var)
                facts.producers[var].append(layer_of(node))


def _from_contraction(facts: Facts, found: Inference, cost: Cost) -> None:
    name = base_name(cost.node)
    if cost.weight is None:
        facts.leading |= _axes(cost.other)
        return
    facts.read |= _axes(cost.inner)
    if cost.inner != ((),):  # not depthwise
        for var in _axes(cost.out):
            facts.mixers[var] += 1
    for term in cost.out:
        for var, outer in _roles(term).items():
            facts.producers[var].append(layer_of(cost.node))
            facts.outer.setdefault(var, outer)
    if name.startswith(("conv", "_conv")):
        facts.convolved |= _axes(cost.out + cost.inner)
    if name in RECURRENT:
        facts.recurrent |= _axes(cost.out)
    if "grouped_mm" in name or _stacked(found, cost.weight):
        facts.experts |= _axes(cost.out)


def _stacked(found: Inference, weight: fx.Node) -> bool:
    """Whether a factor is (one of) several matrices in a parameter, of which none may go: of experts."""
    while weight.op != "get_attr" and len(weight.all_input_nodes) == 1:
        (weight,) = weight.all_input_nodes
    dims = found.terms.get(str(weight.target), ())
    held = found.captured.tensors.get(str(weight.target))
    return isinstance(held, nn.Parameter) and len(dims) == 3 and not list(free(dims[0]))


def _from_norm(facts: Facts, note: Inexact) -> None:
    if note.why in NORMS:
        facts.normed.update(free(note.term))
    if note.why == "softmax":
        facts.softmaxed.update(free(note.term))


def _roles(term: Term, within: bool = False) -> dict[Var, bool]:
    """Axis -> whether it is an outer factor, in the order of the dimension."""
    out: dict[Var, bool] = {}
    for i, atom in enumerate(term):
        outer = within or i + 1 < len(term)
        if isinstance(atom, Cat):
            for seg in atom.segs:
                out |= {v: r for v, r in _roles(seg, outer).items() if v not in out}
        elif isinstance(atom, Var):
            out.setdefault(atom, outer)
    return out


def _nest(facts: Facts, term: Term, above: set[Var]) -> None:
    for atom in term:
        if isinstance(atom, Cat):
            for seg in atom.segs:
                _nest(facts, seg, above)
        elif isinstance(atom, Var):
            facts.inside[atom] |= above
        above = above | set(free((atom,)))


def _feeds_rotation(found: Inference, name: str) -> bool:
    """Whether a buffer reaches a cosine or sine within a few operators."""
    graph = found.captured.graph
    nodes = [n for n in graph.nodes if n.op == "get_attr" and str(n.target) == name]
    for _ in range(8):
        nodes = list({user for node in nodes for user in node.users})
        if any(base_name(n) in ("cos", "sin", "polar") for n in nodes if n.op == "call_function"):
            return True
    return False


def describe(
    var: Var, facts: Facts, tensors: list[str], inexact: list[str]
) -> tuple[str, str, bool, str]:
    """(name, kind, on by default, note) of an axis."""
    kind = kind_of(var, facts)
    layers = facts.producers.get(var) or [layer_at(tensors[0].rpartition(".")[0])]
    plain = kind in (
        "channels",
        "neurons",
        "residual width",
        "hidden state",
        "expert width",
        "inner width",
        "positions",
    )
    name = (layers[0] or tensors[0]) + ("" if plain else "." + kind.replace(" ", "_"))
    if var in facts.softmaxed:
        return name, kind, False, "normalised by softmax: removal never equals masking"
    if kind in OFF:
        return name, kind, False, OFF[kind]
    note = f"not exact ({inexact[0]}) unless norms keep the old count" if inexact else ""
    return name, kind, True, note or _grouping(var, kind, facts)


def _grouping(var: Var, kind: str, facts: Facts) -> str:
    """How query heads share key and value heads, where they do."""
    if kind == "query heads":
        return f"one of the {var.size} query heads of every key-value head"
    shared = [q.size for q in facts.repeated if var in facts.inside[q]] if kind == "heads" else []
    return f"a key-value head with its {shared[0]} query heads" if shared else ""


def kind_of(var: Var, facts: Facts) -> str:
    """The kind by structure."""
    if var in facts.rotary:
        return "rope"
    if not facts.producers.get(var):
        return "positions"
    if _is_residual(var, facts):
        return "residual width"
    if var in facts.experts:
        return "expert width"
    if var in facts.recurrent:
        return "hidden state"
    if _is_head(var, facts):
        return "query heads" if var in facts.repeated else "heads"
    if any(_is_head(above, facts) for above in facts.inside[var]):
        return "head width"
    if var in facts.grouped and facts.outer.get(var):
        return "groups"
    if facts.inside[var] & facts.grouped:
        return "group width"
    if var in facts.convolved:
        return "channels"
    return "neurons" if var in facts.read else "inner width"  # as queries meet keys, in one head


def _is_head(var: Var, facts: Facts) -> bool:
    return bool(facts.outer.get(var)) and var in facts.leading


def _is_residual(var: Var, facts: Facts) -> bool:
    if facts.outer.get(var):
        return False
    written = facts.mixers[var] > 1
    summed = var in facts.summed and (var in facts.normed or var in facts.convolved)
    return var in facts.embedded or (written and summed)
