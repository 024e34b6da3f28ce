"""LSTM, GRU and plain recurrent layers: one hidden width for all layers and directions."""

from __future__ import annotations

from secateur.structure.graph.op import Op, Value, rule
from secateur.structure.graph.terms import Dims, Term, concat, fix, size

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def recurrent(op: Op) -> Value:
    """input [T, N, in], params (w_ih, w_hh, b_ih, b_hh) for each layer and direction."""
    x, params, states = op.get("input"), op.many("params"), _states(op)
    hidden = op.fresh(size(params[1][1])) if len(params) > 1 else ()
    if x is None or len(x) != 3 or not _plain(op, params, size(hidden)):
        return _frozen(op)
    directions = 2 if op.raw("bidirectional", False) else 1
    per_cell = 4 if op.raw("has_biases", True) else 2
    below = x[-1]
    for layer in range(op.integer("num_layers", 1)):
        for d in range(directions):
            at = (layer * directions + d) * per_cell
            _cell(op, params[at : at + per_cell], (*x[:-1], below), hidden, GATES[op.name])
        below = concat([hidden] * directions) if directions > 1 else hidden
    return _outputs(op, x, states, below, hidden)


def _states(op: Op) -> list[Dims]:
    single = op.get("hx")
    return [single] if single is not None else op.many("hx")


def _plain(op: Op, params: list[Dims], width: int) -> bool:
    """Whether there is no projection of the hidden state."""
    cells = op.integer("num_layers", 1) * (2 if op.raw("bidirectional", False) else 1)
    return (
        len(params) == cells * (4 if op.raw("has_biases", True) else 2)
        and size(params[0][0]) == GATES[op.name] * width
    )


def _cell(op: Op, cell: list[Dims], x: Dims, hidden: Term, gates: int) -> None:
    """One layer and direction: x [..., below], at every step and sample of which both products run."""
    op.unify(cell[0][1], x[-1])
    op.unify(cell[1][1], hidden)
    for weight in cell[:2]:
        op.cost(weight[:1], weight[1:], x[:-1], op.weight())
    for tensor in cell:
        op.unify(tensor[0], fix(gates, "gates") + hidden)


def _outputs(op: Op, x: Dims, states: list[Dims], out: Term, hidden: Term) -> Value:
    for state in states:
        op.unify(state[-1], hidden)
        op.freeze(state[0], "recurrent layers")
    rest = [(*op.fixed_shape(i)[:-1], hidden) for i in range(1, len(op.node.meta["val"]))]
    return [(*x[:-1], out), *rest]


def _frozen(op: Op) -> Value:
    for dims in op.tensors():
        op.freeze(dims, "recurrent layer in an unusual form")
    return [op.fixed_shape(i) for i in range(len(op.node.meta["val"]))]


@rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def cell(op: Op) -> Value:
    """One step: input [N, in], states [N, H]."""
    states = _states(op)
    weights = [op["w_ih"], op["w_hh"]]
    biases = [b for b in (op.get("b_ih"), op.get("b_hh")) if b]
    hidden = states[0][-1]
    gates = GATES[op.name.removesuffix("_cell")]
    _cell(op, [*weights, *biases], op["input"], hidden, gates)
    for state in states[1:]:
        op.unify(state[-1], hidden)
    return [states[0]] * 2 if op.name == "lstm_cell" else states[0]
