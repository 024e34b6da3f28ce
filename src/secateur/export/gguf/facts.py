"""The key-value facts of the file: sizes, widths by layer, norms, windows, caps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from secateur.core.errors import PlanError
from secateur.export.gguf.layers import Plan
from secateur.export.gguf.rope import add_rope

if TYPE_CHECKING:
    from gguf import GGUFWriter


def add_facts(writer: GGUFWriter, config: Any, plan: Plan, vocabulary: int) -> None:
    """Write what llama.cpp must know of the model besides its tensors and its tokenizer."""
    writer.add_context_length(usable_context(config, plan))
    writer.add_embedding_length(plan.hidden)
    writer.add_block_count(len(plan.layers))
    writer.add_vocab_size(vocabulary)
    writer.add_feed_forward_length(_per_layer([layer.ffn for layer in plan.layers], plan))
    writer.add_head_count(_per_layer([layer.heads for layer in plan.layers], plan))
    if plan.target.arch == "gpt2":
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_head_count_kv(_per_layer([layer.kv_heads for layer in plan.layers], plan))
    writer.add_key_length(plan.head_dim)
    writer.add_value_length(plan.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    add_rope(writer, config, plan.head_dim)
    if plan.target.window:
        _add_gemma(writer, config, plan)


def usable_context(config: Any, plan: Plan) -> int:
    """The context for which llama.cpp computes what the model does.

    Where the model looks at a sliding window and llama.cpp's layout has none, both agree only as
    long as the text fits into the window.
    """
    window = getattr(config, "sliding_window", None)
    if window is None or plan.target.window:
        return int(config.max_position_embeddings)
    return int(min(config.max_position_embeddings, window))


def _per_layer(values: list[int], plan: Plan) -> int | list[int]:
    """A list for `deci`; elsewhere the plan has made sure that all are the same."""
    return values if plan.target.arch == "deci" else values[0]


def _add_gemma(writer: GGUFWriter, config: Any, plan: Plan) -> None:
    """Sliding windows and soft caps of Gemma 2 and 3."""
    _check_scale(config, plan)
    if config.sliding_window:
        writer.add_sliding_window(config.sliding_window)
        writer.add_sliding_window_pattern(_pattern(config, plan))
    caps = (config.attn_logit_softcapping, config.final_logit_softcapping)
    if plan.target.arch == "gemma2":
        if None in caps:
            raise PlanError(
                "llama.cpp always caps Gemma 2's logits; set both soft caps or export Gemma 3"
            )
        writer.add_attn_logit_softcapping(caps[0])
    elif caps[0] is not None:
        raise PlanError(
            "llama.cpp does not cap the attention logits of Gemma 3; set attn_logit_softcapping=None"
        )
    if caps[1] is not None:
        writer.add_final_logit_softcapping(caps[1])


def _pattern(config: Any, plan: Plan) -> int | list[bool]:
    """Which layers slide: every n-th does not, or one flag per layer where removal broke that rule."""
    slides = [config.layer_types[layer.source] == "sliding_attention" for layer in plan.layers]
    usual = 2 if plan.target.arch == "gemma2" else 6
    regular = [n % usual < usual - 1 for n in range(len(slides))]
    return usual if slides == regular else slides


def _check_scale(config: Any, plan: Plan) -> None:
    """llama.cpp divides by √head width, but by √(hidden / heads) at the layer counts of the 27B models."""
    largest = len(plan.layers) == {"gemma2": 46, "gemma3": 62}[plan.target.arch]
    heads = plan.layers[0].heads
    taken = plan.hidden // heads if largest else plan.head_dim
    if not math.isclose(config.query_pre_attn_scalar, taken):
        # a norm of the queries takes back what q_proj is multiplied by
        scaled = {"gemma2": "q_proj.weight", "gemma3": "1 + q_norm.weight"}[plan.target.arch]
        raise PlanError(
            f"query_pre_attn_scalar is {config.query_pre_attn_scalar}, but llama.cpp divides the "
            f"attention logits of this {plan.target.arch} by √{taken}; multiply {scaled} by "
            f"√({taken}/{config.query_pre_attn_scalar}) and set query_pre_attn_scalar={taken}"
        )
