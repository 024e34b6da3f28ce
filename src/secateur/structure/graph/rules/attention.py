"""Scaled dot-product attention: masks, grouped query heads, the scale that follows the head width."""

from __future__ import annotations

from secateur.structure.graph.op import Op, Patch, Value, rule
from secateur.structure.graph.rules.pointwise import broadcast
from secateur.structure.graph.terms import Dims, fix, size


@rule("scaled_dot_product_attention", "_scaled_dot_product_flash_attention_for_cpu")
def attention(op: Op) -> Value:
    """q [..., H, L, D], k [..., H, S, D], v [..., H, S, E] -> [..., H, L, E]."""
    q, k, v = op["query"], op["key"], op["value"]
    op.unify(q[-1], k[-1])
    op.unify(k[-2], v[-2])
    op.inexact(k[-2], "softmax")
    lead = (
        _grouped(op, q, k, v)
        if op.raw("enable_gqa", False)
        else broadcast(op, q[:-2], k[:-2], v[:-2])
    )
    mask = op.get("attn_mask")
    if mask is not None:
        broadcast(op, (*lead, q[-2], k[-2]), mask)
    if op.raw("scale") is None:
        op.patches.append(Patch(op.node, "scale", None, (q[-1],), "scale"))
    op.cost((), (q[-1],), (*lead, q[-2], k[-2]))
    op.cost((), (k[-2],), (*lead, q[-2], v[-1]))
    out = (*lead, q[-2], v[-1])
    if isinstance(op.node.meta["val"], list | tuple):
        return [out, *(op.fixed_shape(i) for i in range(1, len(op.node.meta["val"])))]
    return out


def _grouped(op: Op, q: Dims, k: Dims, v: Dims) -> Dims:
    """Query head i reads key-value head i // rep."""
    lead = broadcast(op, q[:-3], k[:-3], v[:-3])
    heads = op.unify(k[-3], v[-3])
    repeat = size(q[-3]) // size(heads)
    queries = op.fresh(repeat)
    op.repeats.append(queries)
    op.unify(q[-3], heads + queries)
    return (*lead, q[-3])


@rule("_native_multi_head_attention", "_transformer_encoder_layer_fwd")
def fused_attention(op: Op) -> Value:
    """Fused inference kernels bake in every size: all dimensions stay."""
    for dims in op.tensors():
        op.freeze(dims, "fused attention kernel")
    val = op.node.meta["val"]
    if isinstance(val, list | tuple):
        return [op.fixed_shape(i) if v is not None else None for i, v in enumerate(val)]
    return tuple(fix(n, "fused attention kernel") for n in op.shape())
