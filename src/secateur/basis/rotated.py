"""A pre-norm transformer whose residual stream has a basis of its own before every sublayer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import PlanError

PARTS = frozenset({"input_layernorm", "self_attn", "post_attention_layernorm", "mlp"})
"""The children of a block that can be rotated, and no others: Llama, Mistral, Qwen 2 and 3."""


class RootMeanSquare(nn.Module):
    """x / sqrt(Σ x² / D + eps): the norm without a scale, which no rotation changes.

    D is the full width, whatever is left of it: directions that were taken out count as zeros.
    """

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.full, self.eps = width, eps

    def forward(self, x: Tensor) -> Tensor:
        """[..., width], in float32 or wider inside."""
        wide = x if x.dtype == torch.float64 else x.float()
        energy = wide.square().sum(-1, keepdim=True) / self.full
        return (wide * torch.rsqrt(energy + self.eps)).to(x.dtype)


class RotatedBlock(nn.Module):
    """attention and FFN of a block, each beside a shortcut [next basis, this basis] on the stream."""

    def __init__(self, block: nn.Module, width: int) -> None:
        super().__init__()
        parts: Any = block
        like = {
            "dtype": parts.mlp.down_proj.weight.dtype,
            "device": parts.mlp.down_proj.weight.device,
        }
        self.input_layernorm = RootMeanSquare(width, _eps(parts.input_layernorm))
        self.self_attn = parts.self_attn
        self.attention_shortcut = nn.Linear(width, width, bias=False, **like)
        self.post_attention_layernorm = RootMeanSquare(width, _eps(parts.post_attention_layernorm))
        self.mlp = parts.mlp
        self.mlp_shortcut = nn.Linear(width, width, bias=False, **like)
        plain = {k: v for k, v in vars(block).items() if isinstance(v, int | str) and k[0] != "_"}
        vars(self).update(plain)  # layer numbers and kinds of attention, which the stack looks at

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[batch, length, this block's first basis] -> [batch, length, the next block's]."""
        x = hidden_states
        out = self.self_attn(self.input_layernorm(x), *args, **kwargs)
        x = (out[0] if isinstance(out, tuple) else out) + self.attention_shortcut(x)
        y: Tensor = self.mlp(self.post_attention_layernorm(x)) + self.mlp_shortcut(x)
        return y


@dataclass(frozen=True)
class Site:
    """A place of the residual stream with one basis, before a sublayer or before the head.

    Attributes:
        norm: the module that normalises it.
        reads: linear layers that read it after the norm.
        writes: linear layers (or the embedding) that add to it.
        shortcut: the linear map from the basis of the place before; None at the embedding.
    """

    norm: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    shortcut: str | None


def sites(model: nn.Module, blocks: list[str]) -> list[Site]:
    """The places of the stream in order: two for each block and one before the head."""
    stack = blocks[0].rpartition(".")[0].rpartition(".")[0]
    base = f"{stack}." if stack else ""
    out: list[Site] = []
    writes: tuple[str, ...] = (base + "embed_tokens",)
    shortcut: str | None = None
    for block in blocks:
        attention = f"{block}.self_attn."
        reads = tuple(attention + name for name in ("q_proj", "k_proj", "v_proj"))
        out.append(Site(f"{block}.input_layernorm", reads, writes, shortcut))
        writes, shortcut = (attention + "o_proj",), f"{block}.attention_shortcut"
        reads = tuple(f"{block}.mlp.{name}" for name in ("gate_proj", "up_proj"))
        out.append(Site(f"{block}.post_attention_layernorm", reads, writes, shortcut))
        writes, shortcut = (f"{block}.mlp.down_proj",), f"{block}.mlp_shortcut"
    out.append(Site(base + "norm", ("lm_head",), writes, shortcut))
    return out


def check(model: nn.Module, blocks: list[str]) -> None:
    """Refuse networks whose stream is not written, normalised and read as the sites say."""
    names = {name for name, _ in model.named_modules()}
    for block in blocks:
        children = {name for name, _ in model.get_submodule(block).named_children()}
        if children != PARTS:
            raise PlanError(
                f"'{block}' is made of {', '.join(sorted(children))}; a basis of its own can be given "
                f"to blocks of {', '.join(sorted(PARTS))} (Llama, Mistral, Qwen 2 and 3)"
            )
    for site in sites(model, blocks) if blocks else ():
        for name in (site.norm, *site.reads, *site.writes):
            if name not in names:
                raise PlanError(f"the residual stream cannot be followed: there is no '{name}'")
        _plain_norm(site.norm, model.get_submodule(site.norm))
    if not blocks:
        raise PlanError("the network has no repeated blocks, whose stream could get another basis")


def _plain_norm(name: str, norm: nn.Module) -> None:
    """Refuse what is no x / rms(x) * weight, such as Gemma's (1 + weight) or a layer norm."""
    weight = norm._parameters.get("weight")
    if weight is not None and set(norm._parameters) == {"weight"}:
        x = torch.linspace(-2, 3, weight.numel(), device=weight.device, dtype=weight.dtype)
        with torch.no_grad():
            wanted = RootMeanSquare(weight.numel(), _eps(norm))(x) * weight
            if torch.allclose(norm(x), wanted, rtol=1e-2, atol=1e-3):
                return
    raise PlanError(
        f"'{name}' ({type(norm).__name__}) is no root mean square norm with a scale; only those leave "
        "a rotated residual stream as it is"
    )


def _eps(norm: Any) -> float:
    return float(getattr(norm, "variance_epsilon", getattr(norm, "eps", 1e-6)) or 0.0)


def fold(model: nn.Module, every: list[Site]) -> None:
    """Move the scale of every norm into the layers that read it; untie the head from the embedding."""
    head, table = (model.get_submodule(n) for n in ("lm_head", every[0].writes[0]))
    if head.weight is table.weight:
        assert isinstance(head.weight, nn.Parameter)
        head.weight = nn.Parameter(head.weight.detach().clone(), head.weight.requires_grad)
        config: Any = getattr(model, "config", None)
        if config is not None:
            config.tie_word_embeddings = False
    for site in every:
        norm: Any = model.get_submodule(site.norm)
        scale = norm.weight.detach()
        with torch.no_grad():
            for name in site.reads:
                layer: Any = model.get_submodule(name)
                layer.weight.copy_((layer.weight.double() * scale.double()).to(layer.weight.dtype))
        model.set_submodule(site.norm, RootMeanSquare(scale.numel(), _eps(norm)))


def wrap(model: nn.Module, blocks: list[str], width: int) -> None:
    """Give every block its shortcuts, the identity for now."""
    for name in blocks:
        block = model.get_submodule(name)
        norms = {n: model.get_submodule(f"{name}.{n}") for n in PARTS if "norm" in n}
        rotated = RotatedBlock(block, width)
        for n, norm in norms.items():
            setattr(rotated, n, norm)
        for shortcut in (rotated.attention_shortcut, rotated.mlp_shortcut):
            nn.init.eye_(shortcut.weight)
        model.set_submodule(name, rotated.train(block.training))


def turn(model: nn.Module, every: list[Site], bases: Mapping[str, Tensor]) -> None:
    """Put every place of the stream into its basis Q [width, width], orthogonal, columns the axes.

    What reads takes W Q, what writes Qᵀ W and Qᵀ b, the shortcut from Q' to Q is Qᵀ Q'.
    """
    before: Tensor | None = None
    with torch.no_grad():
        for site in every:
            q = bases[site.norm].double()
            for layer in _layers(model, site.reads):
                layer.weight.copy_((layer.weight.double() @ q).to(layer.weight.dtype))
            for layer in _layers(model, site.writes):
                if isinstance(layer, nn.Embedding):
                    layer.weight.copy_((layer.weight.double() @ q).to(layer.weight.dtype))
                    continue
                layer.weight.copy_((q.T @ layer.weight.double()).to(layer.weight.dtype))
                if layer.bias is not None:
                    layer.bias.copy_((q.T @ layer.bias.double()).to(layer.bias.dtype))
            if site.shortcut is not None and before is not None:
                weight: Any = model.get_submodule(site.shortcut).weight
                weight.copy_((q.T @ before).to(weight.dtype))
            before = q


@contextmanager
def confined(model: nn.Module, readers: Iterable[str], axes: Tensor) -> Iterator[None]:
    """Let modules read of their input x only what lies in the span of `axes` [width, kept]: x A Aᵀ."""
    project = axes @ axes.T

    def narrow(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, *rest = args
        return (x @ project.to(x), *rest)

    handles = [model.get_submodule(name).register_forward_pre_hook(narrow) for name in readers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layers(model: nn.Module, names: tuple[str, ...]) -> Iterator[Any]:
    for name in names:
        yield model.get_submodule(name)
