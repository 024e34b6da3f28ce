"""Running a model with some of its functions replaced, whichever modules or code call them.

Two readings of a network need this: as a positive linear map (SynFlow) and as a graph of paths
(layer collapse). Both treat norms as scales, activations as the identity and gates (sigmoid,
softmax) as factors; the weights are substituted, so that the model itself is never written to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

from ..core.errors import PlanError
from ..core.instead import call_with

ACTIVATIONS = (
    *("relu", "relu6", "leaky_relu", "rrelu", "prelu", "elu", "selu", "celu", "gelu", "silu"),
    *("mish", "hardswish", "hardtanh", "tanh", "softplus", "softsign", "tanhshrink"),
    *("hardshrink", "softshrink", "logsigmoid", "log_softmax"),
)
HIDDEN = -1e30
"""Attention scores below it are masked out (models write -inf or the lowest float)."""


def aliases(*names: str) -> list[Any]:
    """Every function, method and in-place form that torch has under these names."""
    owners = (torch, F, Tensor)
    forms = [form for name in names for form in (name, f"{name}_", f"_{name}")]
    return [getattr(owner, form) for owner in owners for form in forms if hasattr(owner, form)]


class Rewrite(TorchFunctionMode):
    """While active, calls of the functions in `rules` are answered by their rules.

    A subclass says what a gate is, and may change every floating result in `after`. Rules that
    call torch again do so inside `with self`, so that those calls are rewritten too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rules: dict[Any, Callable[..., Any]] = {}
        self.add(lambda x, *_, **__: x, *ACTIVATIONS, "local_response_norm", "normalize")
        self.add(self.gated, "sigmoid", "hardsigmoid")
        self.add(self.softmax, "softmax")
        self.add(self.attention, "scaled_dot_product_attention")
        self.add(self.heads, "multi_head_attention_forward")
        self.add(self.recurrent, "lstm", "gru", "rnn_tanh", "rnn_relu")
        self.add(self.batch_norm, "batch_norm", "instance_norm")
        self.add(self.group_norm, "group_norm")
        self.add(self.layer_norm, "layer_norm", "rms_norm")

    def add(self, rule: Callable[..., Any], *names: str) -> None:
        """Let `rule` answer every form of the functions called `names`."""
        self.rules.update(dict.fromkeys(aliases(*names), rule))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not any(self.live(t) for t in tensors((args, kwargs))):
            return func(*args, **kwargs)
        args, kwargs = each(args, self.before), each(kwargs, self.before)
        result = self.rules.get(func, func)(*args, **kwargs)
        return each(result, lambda t: self.after(t) if t.is_floating_point() else t)

    def live(self, x: Tensor) -> bool:
        """Whether `x` comes from the input or the weights; what is made of constants alone (masks,
        positions, indices) is computed as it stands.
        """
        return x.requires_grad

    def before(self, x: Tensor) -> Tensor:
        """What becomes of every argument of a call that has a live one."""
        return x

    def after(self, result: Tensor) -> Tensor:
        """What becomes of every floating result."""
        return result

    def gate(self, x: Tensor) -> Tensor:
        """A factor of 1 that depends on `x`."""
        raise NotImplementedError

    def gated(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """Sigmoids."""
        return self.gate(x)

    def softmax(self, x: Tensor, dim: int | None = -1, *_: Any, **__: Any) -> Tensor:
        """An equal share for each entry that is not masked out, times its gate."""
        allowed = (x > HIDDEN).to(x.dtype)
        total = allowed.sum(-1 if dim is None else dim, keepdim=True).clamp(min=1)
        return self.gate(x) * (allowed / total)

    def attention(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
        dropout_p: float = 0.0, is_causal: bool = False, *_: Any, enable_gqa: bool = False, **__: Any,
    ) -> Tensor:  # fmt: skip
        """softmax(q kᵀ) v; the scale is positive and drops out."""
        if enable_gqa:
            repeat = query.shape[-3] // key.shape[-3]
            key, value = (t.repeat_interleave(repeat, -3) for t in (key, value))
        with self:
            scores = query @ key.transpose(-2, -1)  # [..., L, S]
            if is_causal:
                attn_mask = torch.ones_like(scores, dtype=torch.bool).tril()
            if attn_mask is not None:
                hidden = ~attn_mask if attn_mask.dtype == torch.bool else attn_mask < HIDDEN
                scores = scores.masked_fill(hidden, -torch.inf)
        return self.mix(scores, value)

    def mix(self, scores: Tensor, value: Tensor) -> Tensor:
        """softmax(scores) v."""
        with self:
            return torch.softmax(scores, -1) @ value

    def heads(
        self, query: Tensor, key: Tensor, value: Tensor, _: int, num_heads: int,
        in_proj_weight: Tensor | None, in_proj_bias: Tensor | None, bias_k: Any, bias_v: Any,
        add_zero_attn: bool, dropout_p: float, out_proj_weight: Tensor, out_proj_bias: Tensor | None,
        *__: Any, attn_mask: Tensor | None = None, q_proj_weight: Any = None,
        k_proj_weight: Any = None, v_proj_weight: Any = None, **___: Any,
    ) -> tuple[Tensor, None]:  # fmt: skip
        """`nn.MultiheadAttention` [L, N, E]; padding hides positions, not paths, and is left out."""
        weights: Any = (q_proj_weight, k_proj_weight, v_proj_weight)
        if in_proj_weight is not None:
            weights = in_proj_weight.chunk(3)
        biases = in_proj_bias.chunk(3) if in_proj_bias is not None else [None] * 3
        with self:
            q, k, v = (
                F.linear(x, weight, bias).unflatten(-1, (num_heads, -1)).movedim(0, -2)
                for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
            )  # [N, H, L, E/H]
            if attn_mask is not None and attn_mask.dim() == 3:  # [N * H, L, S]
                attn_mask = attn_mask.unflatten(0, (-1, num_heads))
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
            y = y.movedim(-2, 0).flatten(-2)  # [L, N, E]
            return F.linear(y, out_proj_weight, out_proj_bias), None

    def recurrent(
        self, x: Tensor, state: Any, weights: Any, biases: bool, layers: int, dropout: float,
        training: bool, both_ways: bool, batch_first: bool = False,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """Recurrent layers [L, N, E]: the sum of their gates, step by step; a cell is its output."""
        first = state[0] if isinstance(state, tuple | list) else state  # [layers * ways, N, H]
        if isinstance(weights, bool) or len(weights) != len(first) * (4 if biases else 2):
            raise RuntimeError("packed sequences and projected states cannot be followed")
        size = len(weights) // len(first)
        sets = [(h, weights[i * size : (i + 1) * size]) for i, h in enumerate(first)]
        ends = []
        with self:
            x = x.transpose(0, 1) if batch_first else x
            for layer in range(layers):
                ways = []
                for back in range(1 + both_ways):
                    ways.append(self._unroll(x, *sets[layer * (1 + both_ways) + back], bool(back)))
                    ends.append(ways[back][0 if back else -1])
                x = torch.cat(ways, -1)
            x = x.transpose(0, 1) if batch_first else x
            end = torch.stack(ends)
        return (x, end, end) if isinstance(state, tuple | list) else (x, end)

    def _unroll(self, x: Tensor, h: Tensor, weights: Any, back: bool) -> Tensor:
        """[L, N, E] -> [L, N, H] of one layer in one direction."""
        size = h.shape[-1]
        w_in, w_state, *biases = (w.unflatten(0, (-1, size)).sum(0) for w in weights)  # [H, E] …
        inputs = F.linear(x, w_in, biases[0] if biases else None)
        steps = []
        for step in inputs.flip(0) if back else inputs:
            h = step + F.linear(h, w_state)
            steps.append(h)
        return torch.stack(steps[::-1] if back else steps)

    def batch_norm(
        self, x: Tensor, running_mean: Any = None, running_var: Tensor | None = None,
        weight: Tensor | None = None, bias: Tensor | None = None, *_: Any, **__: Any,
    ) -> Tensor:  # fmt: skip
        """Scale and shift of each channel."""
        return self.scaled(x, weight, bias, x.dim() - 2)

    def group_norm(
        self, x: Tensor, _: int, weight: Tensor | None = None, bias: Tensor | None = None,
        *__: Any, **___: Any,
    ) -> Tensor:  # fmt: skip
        """Scale and shift of each channel."""
        return self.scaled(x, weight, bias, x.dim() - 2)

    def layer_norm(
        self, x: Tensor, _: Any, weight: Tensor | None = None, bias: Any = None,
        *__: Any, **___: Any,
    ) -> Tensor:  # fmt: skip
        """Scale and shift of each feature (RMS norms have no shift; their 4th argument is eps)."""
        return self.scaled(x, weight, bias if isinstance(bias, Tensor) else None, 0)

    def scaled(self, x: Tensor, weight: Tensor | None, bias: Tensor | None, behind: int) -> Tensor:
        """x * weight + bias with `behind` dimensions of x after the channel's (layer norm: none)."""
        shape = (...,) + (None,) * max(behind, 0)
        if weight is not None:
            x = x * weight[shape]
        return x if bias is None else x + bias[shape]


def single(model: nn.Module, example: Any) -> Any:
    """The example's first sample; the whole of it where the first dimension may be another one.

    That is where its tensors differ in it, or a layer counts time first (`batch_first=False`).
    """
    sizes = {t.shape[0] if t.dim() else None for t in tensors(example)}
    time_first = any(getattr(m, "batch_first", True) is False for m in model.modules())
    if time_first or len(sizes) != 1 or None in sizes:
        return example
    return each(example, lambda t: t[:1])


def tensors(value: Any) -> list[Tensor]:
    """The tensors in nested tuples, lists and mappings."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [t for part in value for t in tensors(part)]
    return []


def each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`value` with every tensor in its tuples, lists and dicts changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {k: each(v, change) for k, v in value.items()}
    return type(value)(each(v, change) for v in value) if type(value) in (tuple, list) else value


@contextmanager
def evaluating(model: nn.Module, batch_statistics: bool = False) -> Iterator[None]:
    """Evaluation mode; every module's flag comes back as it was, whichever modules were frozen.

    The flags are set one by one, so that a module's own `train` (some merge weights in it) is not
    called.

    Args:
        batch_statistics: leave batch norms in training mode.
    """
    flags = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in flags:
            module.training = batch_statistics and isinstance(module, _NormBase)
        yield
    finally:
        for module, flag in flags:
            module.training = flag


def run(
    model: nn.Module, mode: Rewrite, values: dict[str, Tensor], example: Any, what: str
) -> list[Tensor]:
    """The floating outputs of `model` under `mode`, with `values` in place of its tensors.

    Args:
        values: parameter or buffer name -> the tensor to compute with instead.
        example: the input: a tensor, a tuple of arguments or a dict of keywords.
        what: what the run is for, as an error calls it.

    A mode serves one run.
    """
    keywords = dict(example) if isinstance(example, Mapping) else {}
    args = tuple(example) if isinstance(example, tuple | list) else (example,)
    try:
        with evaluating(model), mode:
            output = call_with(model, values, () if keywords else args, keywords)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise PlanError(
            f"{what} of {type(model).__name__} cannot be worked out: {reason}"
        ) from error
    finally:
        mode.rules.clear()  # the rules are bound to the mode: a cycle that would outlive the run
    floats = [t for t in tensors(output) if t.is_floating_point()]
    if not floats:
        raise PlanError(f"{what}: {type(model).__name__} returns no floating tensor to start from")
    return floats
