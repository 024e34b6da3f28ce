"""Where transformers keep what reads, normalises and writes their residual stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..core.errors import PlanError


@dataclass(frozen=True)
class Family:
    """The names of the parts of a block, and of what stands before and after the blocks.

    Attributes:
        models: that are built so.
        norms: before attention and before the FFN.
        attention: the attention; `ffn`: the modules that the FFN calls one after the other.
        reads, writes: the layers that read a norm and those that add to the stream, by sublayer.
        embeddings: tables whose rows add up to the stream.
        final: the norm before the head.
    """

    models: str
    norms: tuple[str, str]
    attention: str
    ffn: tuple[str, ...]
    reads: tuple[tuple[str, ...], tuple[str, ...]]
    writes: tuple[str, str]
    embeddings: tuple[str, ...]
    final: str

    @property
    def children(self) -> frozenset[str]:
        """The children of a block."""
        return frozenset((*self.norms, self.attention, *self.ffn))


FAMILIES = (
    Family(
        "Llama, Mistral, Qwen 2 and 3",
        norms=("input_layernorm", "post_attention_layernorm"),
        attention="self_attn",
        ffn=("mlp",),
        reads=(
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            ("mlp.gate_proj", "mlp.up_proj"),
        ),
        writes=("self_attn.o_proj", "mlp.down_proj"),
        embeddings=("embed_tokens",),
        final="norm",
    ),
    Family(
        "GPT-2",
        norms=("ln_1", "ln_2"),
        attention="attn",
        ffn=("mlp",),
        reads=(("attn.c_attn",), ("mlp.c_fc",)),
        writes=("attn.c_proj", "mlp.c_proj"),
        embeddings=("wte", "wpe"),
        final="ln_f",
    ),
    Family(
        "OPT",
        norms=("self_attn_layer_norm", "final_layer_norm"),
        attention="self_attn",
        ffn=("fc1", "activation_fn", "fc2"),
        reads=(("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), ("fc1",)),
        writes=("self_attn.out_proj", "fc2"),
        embeddings=("embed_tokens", "embed_positions"),
        final="final_layer_norm",
    ),
)


def family_of(name: str, block: nn.Module) -> Family:
    """The family whose blocks have these children; others are refused."""
    children = {child for child, _ in block.named_children()}
    for family in FAMILIES:
        if children == family.children:
            return family
    known = "; ".join(f"{', '.join(sorted(f.children))} ({f.models})" for f in FAMILIES)
    raise PlanError(
        f"'{name}' is made of {', '.join(sorted(children))}; a basis of its own can be given to blocks "
        f"of {known}"
    )


def out_in(layer: Any) -> Tensor:
    """[out, in] the weight of a linear layer, as a view: GPT-2 keeps it as [in, out]."""
    weight: Tensor = layer.weight.detach()
    return weight.T if hasattr(layer, "nf") else weight
