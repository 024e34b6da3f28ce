"""A pre-norm transformer whose residual stream has a basis of its own before every sublayer."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import PlanError
from .families import Family, family_of, out_in

SHORTCUTS = ("attention_shortcut", "mlp_shortcut")
"""The shortcuts of a block: beside its attention and beside its FFN."""


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

    def __init__(self, block: nn.Module, family: Family, width: int) -> None:
        super().__init__()
        self.family, self.dropout = family, float(getattr(block, "dropout", 0.0))
        for name, child in block.named_children():
            self.add_module(name, child)
        like = block.get_submodule(family.writes[1]).weight
        assert isinstance(like, Tensor)
        options: Any = {"bias": False, "dtype": like.dtype, "device": like.device}
        self.attention_shortcut = nn.Linear(width, width, **options)
        self.mlp_shortcut = nn.Linear(width, width, **options)
        plain = {k: v for k, v in vars(block).items() if isinstance(v, int | str) and k[0] != "_"}
        vars(self).update(plain)  # layer numbers and kinds of attention, which the stack looks at

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[batch, length, this block's first basis] -> [batch, length, the next block's]."""
        x = hidden_states
        first, second = (self.get_submodule(name) for name in self.family.norms)
        out = self.get_submodule(self.family.attention)(first(x), *args, **kwargs)
        x = self._drop(out[0] if isinstance(out, tuple) else out) + self.attention_shortcut(x)
        y = second(x)
        for name in self.family.ffn:
            y = self.get_submodule(name)(y)
        return self._drop(y) + self.mlp_shortcut(x)

    def _drop(self, x: Tensor) -> Tensor:
        """Dropout that the block itself does while it trains (OPT)."""
        return F.dropout(x, self.dropout) if self.training and self.dropout else x


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
    family = family_of(blocks[0], model.get_submodule(blocks[0]))
    out: list[Site] = []
    writes = tuple(base + name for name in family.embeddings)
    shortcut: str | None = None
    for block in blocks:
        for norm, reads, write, way in zip(
            family.norms, family.reads, family.writes, SHORTCUTS, strict=True
        ):
            read = tuple(f"{block}.{name}" for name in reads)
            out.append(Site(f"{block}.{norm}", read, writes, shortcut))
            writes, shortcut = (f"{block}.{write}",), f"{block}.{way}"
    out.append(Site(base + family.final, ("lm_head",), writes, shortcut))
    return out


def check(model: nn.Module, blocks: list[str]) -> None:
    """Refuse networks whose stream is not written, normalised and read as the sites say."""
    if not blocks:
        raise PlanError("the network has no repeated blocks, whose stream could get another basis")
    names = {name for name, _ in model.named_modules()}
    for block in blocks:
        family_of(block, model.get_submodule(block))
    every = sites(model, blocks)
    for site in every:
        for name in (site.norm, *site.reads, *site.writes):
            if name not in names:
                raise PlanError(f"the residual stream cannot be followed: there is no '{name}'")
        _plain_norm(site.norm, model.get_submodule(site.norm))
    if len({_centres(model, site) for site in every}) > 1:
        raise PlanError("some norms of the network take the mean out and others do not")


def _centres(model: nn.Module, site: Site) -> bool:
    """Whether the norm takes the mean of its input out."""
    return isinstance(model.get_submodule(site.norm), nn.LayerNorm)


def _plain_norm(name: str, norm: nn.Module) -> None:
    """Refuse what is neither x / rms(x) * weight, as Gemma's (1 + weight), nor a layer norm."""
    weight = norm._parameters.get("weight")
    if isinstance(norm, nn.LayerNorm) and weight is not None and weight.dim() == 1:
        return
    if weight is not None and set(norm._parameters) == {"weight"}:
        norm = _with_values(norm, weight)
        weight = norm.get_parameter("weight")
        x = torch.linspace(-2, 3, weight.numel(), device=weight.device, dtype=weight.dtype)
        with torch.no_grad():
            wanted = RootMeanSquare(weight.numel(), _eps(norm))(x) * weight
            if torch.allclose(norm(x), wanted, rtol=1e-2, atol=1e-3):
                return
    raise PlanError(
        f"'{name}' ({type(norm).__name__}) is no root mean square norm with a scale and no layer norm; "
        "only those leave a rotated residual stream as it is"
    )


def _with_values(norm: nn.Module, weight: Tensor) -> nn.Module:
    """A norm; of one whose scale has no values a copy with some."""
    if not weight.is_meta:
        return norm
    norm = copy.deepcopy(norm).to_empty(device="cpu")
    values = torch.linspace(0.5, 1.5, weight.numel(), device="cpu", dtype=weight.dtype)
    norm.weight = nn.Parameter(values, requires_grad=False)
    return norm


def _eps(norm: Any) -> float:
    return float(getattr(norm, "variance_epsilon", getattr(norm, "eps", 1e-6)) or 0.0)


def fold(model: nn.Module, every: list[Site]) -> None:
    """Move scale and shift of every norm into the layers that read it; untie head and embedding.

    Where the norms are layer norms, what writes the stream writes it without its mean: W ← W − 1 1ᵀ W
    / D, so that (x − mean x) / std x is x / rms x.
    """
    head, table = (model.get_submodule(n) for n in ("lm_head", every[0].writes[0]))
    if head.weight is table.weight:
        assert isinstance(head.weight, nn.Parameter)
        head.weight = nn.Parameter(head.weight.detach().clone(), head.weight.requires_grad)
        config: Any = getattr(model, "config", None)
        if config is not None:
            config.tie_word_embeddings = False
    for site in every:
        fold_place(model, site)
        norm: Any = model.get_submodule(site.norm)
        model.set_submodule(site.norm, RootMeanSquare(norm.weight.numel(), _eps(norm)))


def fold_place(model: nn.Module, site: Site) -> None:
    """What reads a place takes on scale and shift of its norm, which stays; what writes it, no mean."""
    norm: Any = model.get_submodule(site.norm)
    if _centres(model, site):
        for layer in _layers(model, site.writes):
            _centre(layer)
    for layer in _layers(model, site.reads):
        _absorb(layer, norm)


def within(every: list[Site], path: str) -> list[Site]:
    """What of the places lies in one module: of a block what reads its two, what writes the second and
    the place after it, and the shortcuts to these."""

    def inside(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if f"{name}.".startswith(f"{path}."))

    found = []
    for site in every:
        reads, writes = inside(site.reads), inside(site.writes)
        shortcut = inside((site.shortcut,)) if site.shortcut else ()
        if reads or writes:
            found.append(Site(site.norm, reads, writes, shortcut[0] if shortcut else None))
    return found


@torch.no_grad()
def _centre(layer: Any) -> None:
    """Let a layer or an embedding write vectors of mean zero."""
    if isinstance(layer, nn.Embedding):
        wide = layer.weight.double()
        layer.weight.copy_((wide - wide.mean(1, keepdim=True)).to(layer.weight.dtype))
        return
    wide = out_in(layer).double()
    out_in(layer).copy_((wide - wide.mean(0, keepdim=True)).to(layer.weight.dtype))
    if layer.bias is not None:
        wide = layer.bias.double()
        layer.bias.copy_((wide - wide.mean()).to(layer.bias.dtype))


@torch.no_grad()
def _absorb(layer: Any, norm: Any) -> None:
    """W ← W diag(scale), b ← b + W shift: a layer that reads the norm; a head gets a bias for it."""
    weight = out_in(layer).double()
    shift = norm._parameters.get("bias")
    if shift is not None:
        if layer.bias is None:
            zeros = torch.zeros(len(weight), dtype=layer.weight.dtype, device=layer.weight.device)
            layer.bias = nn.Parameter(zeros, layer.weight.requires_grad)
        moved = layer.bias.double() + weight @ shift.double()
        layer.bias.copy_(moved.to(layer.bias.dtype))
    out_in(layer).copy_((weight * norm.weight.double()).to(layer.weight.dtype))


def wrap(model: nn.Module, blocks: list[str], width: int) -> None:
    """Give every block its shortcuts, the identity for now."""
    for name in blocks:
        block = model.get_submodule(name)
        rotated = RotatedBlock(block, family_of(name, block), width)
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
                out_in(layer).copy_((out_in(layer).double() @ q).to(layer.weight.dtype))
            for layer in _layers(model, site.writes):
                if isinstance(layer, nn.Embedding):
                    layer.weight.copy_((layer.weight.double() @ q).to(layer.weight.dtype))
                    continue
                out_in(layer).copy_((q.T @ out_in(layer).double()).to(layer.weight.dtype))
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
