"""Layer collapse: layers without kept weights, and layers on no path from input to output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import PlanError, unknown
from ..core.types import Health
from ..engine.rewrite import HIDDEN, Rewrite, each, run, single, tensors


def check(model: nn.Module, example: Any, element_masks: Mapping[str, Tensor]) -> Health:
    """Which layers a selection killed.

    `empty` lists layers that keep no weight, `unreachable` those that keep some of which none lies
    on a path from input to output; `severed` says whether the network as a whole is cut. A dead
    branch of a residual network is unreachable while the network is not severed.

    Args:
        model: the network; it is not written to.
        example: an input; its shape counts, batch 1 is used.
        element_masks: parameter name -> bool [its shape], True = keep; all else is kept.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    >>> cut = {"0.weight": torch.tensor([[1, 1], [0, 0]]) > 0, "1.weight": torch.tensor([[0, 1]]) > 0}
    >>> check(net, torch.zeros(1, 2), cut)
    Health(empty=[], unreachable=['0', '1'], severed=True, untraced='')
    """
    element_masks = _of_parameters(model, element_masks)
    alive, severed = _trace(model, example, element_masks)
    layers = _layers(element_masks)
    empty = [layer for layer, names in layers.items() if not _any(names, element_masks)]
    cut = [la for la, names in layers.items() if la not in empty and not _any(names, alive)]
    if cut or severed:
        cut = _only_by_pruning(model, example, element_masks, cut)
    return Health(empty, cut, severed)


def on_path(
    model: nn.Module, example: Any, element_masks: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Parameter name -> bool [its shape]: kept weights that lie on a path from input to output.

    Their share is the effective density (Vysogorets, Kempe 2021, arXiv 2107.02306).
    """
    return _trace(model, example, _of_parameters(model, element_masks))[0]


def _of_parameters(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The masks without those of buffers; a name of neither is an error."""
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    for name in masks:
        if name not in parameters and name not in buffers:
            raise unknown("parameter", name, parameters)
    return {name: mask for name, mask in masks.items() if name in parameters}


def _layers(element_masks: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Layer -> its masked parameters; biases count only where a layer has nothing else."""
    layers: dict[str, list[str]] = {}
    for name in element_masks:
        layers.setdefault(name.rpartition(".")[0] or name, []).append(name)
    matrices = {la: [n for n in ns if element_masks[n].dim() > 1] for la, ns in layers.items()}
    return {layer: matrices[layer] or names for layer, names in layers.items()}


def _any(names: list[str], values: Mapping[str, Tensor]) -> bool:
    return any(bool(values[name].any()) for name in names)


def _only_by_pruning(
    model: nn.Module, example: Any, element_masks: Mapping[str, Tensor], cut: list[str]
) -> list[str]:
    """The layers of `cut` that the dense network reaches (a head used in training only is not)."""
    dense = {name: torch.ones_like(mask) for name, mask in element_masks.items()}
    alive, severed = _trace(model, example, dense)
    if severed:
        raise PlanError(
            f"no path from input to output was found in {type(model).__name__} even without "
            "pruning: its output does not depend on the example by operations that can be followed"
        )
    layers = _layers(element_masks)
    return [layer for layer in cut if _any(layers[layer], alive)]


def _trace(
    model: nn.Module, example: Any, element_masks: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], bool]:
    r"""One pass forwards and one backwards over the network of zeros and ones.

    Every value is a bit, may it be non-zero, and carries a second bit, does it depend on the input;
    the second is the derivative of the first along the input. After each operation both are set
    back to {0, 1}, and so are the gradients on the way back, so that nothing under- or overflows at
    any depth. A weight lies on a path where the derivative of the outputs' second bits by it is
    positive: its input depends on the network's input and its output reaches the network's output.

        on_path(w) = m_w ∧ (∂ Σ v'_out / ∂w > 0)      m: `element_masks`, v': dependence of values v

    Complex numbers have no such bits: in a network with complex parameters every kept weight counts as on
    a path, and a layer as cut only where nothing of it is kept.
    """
    if any(p.is_complex() for p in model.parameters()):
        return {name: mask.clone() for name, mask in element_masks.items()}, False
    example = single(model, example)
    leaves = _weights(model, element_masks)
    buffers = {n: b.float() for n, b in model.named_buffers() if b.is_floating_point()}
    mode = Paths([t for t in tensors(example) if not t.is_floating_point()])
    with torch.enable_grad(), forward_ad.dual_level():
        outputs = run(
            model, mode, {**leaves, **buffers}, _inputs(example), "the check for collapse"
        )
        reached = [t for t in map(_dependence, outputs) if t is not None and bool(t.any())]
        gradients = _gradients(reached, [leaves[name] for name in element_masks])
    found = zip(element_masks.items(), gradients, strict=True)
    return {name: mask & (g > 0).to(mask.device) for (name, mask), g in found}, not reached


def _gradients(reached: Sequence[Tensor], wanted: list[Tensor]) -> list[Tensor]:
    """∂ Σ reached / ∂ wanted; zeros where no output is reached."""
    sums = [t.sum() for t in reached if t.requires_grad]
    if not sums:
        return [torch.zeros_like(leaf) for leaf in wanted]
    return list(torch.autograd.grad(sums, wanted, materialize_grads=True))


def _weights(model: nn.Module, element_masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Substitutes of all parameters: 1 where kept, 0 where pruned."""
    leaves = {}
    for name, p in model.named_parameters():
        if p.is_floating_point():
            bits = torch.ones(p.shape, device=p.device)
            bits = bits * element_masks[name].to(p.device) if name in element_masks else bits
            leaves[name] = bits.requires_grad_()
    return leaves


def _inputs(example: Any) -> Any:
    """Ones that depend on the input; integers stay as they are."""
    if not tensors(example):
        raise PlanError("the check for collapse needs an example input; pass example=...")

    def start(t: Tensor) -> Tensor:
        if not t.is_floating_point():
            return t
        bits = torch.ones_like(t, dtype=torch.float32)
        return forward_ad.make_dual(bits, bits.clone())

    return each(example, start)


def _bits(x: Tensor) -> Tensor:
    """1 where x is not zero; what masks attention out stays."""
    return torch.where(x > HIDDEN, (x != 0).to(x.dtype), x)


def _dependence(x: Tensor) -> Tensor | None:
    """The second bit of a value; None for constants."""
    return forward_ad.unpack_dual(x).tangent


class _Clamp(torch.autograd.Function):
    """Bits on the way forward, bits on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _bits(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return (gradients[0] != 0).to(gradients[0].dtype)


class Paths(Rewrite):
    """Runs a network on bits and their dependence on the input.

    Norms are scales and shifts. A gate (sigmoid, softmax) is always open, whatever feeds it, and
    depends on the input where its argument does. In attention, queries and keys only weigh the
    values: pruned ones leave the weights uniform and cut nothing off, and kept ones lie on a path
    where the values do (attention written out by hand, softmax then product, counts them wherever
    values are non-zero: a bias is enough).

    Args:
        tokens: the integer inputs; an embedding that looks one of them up depends on the input.
    """

    def __init__(self, tokens: list[Tensor]) -> None:
        super().__init__()
        self.tokens = tokens
        self.add(self.gated, "exp", "expm1", "rsqrt", "reciprocal", "cos", "sin", "log", "log1p")
        self.add(lambda x, *_, **__: x, "neg", "sqrt", "detach", "clamp", "clip", "round")
        self.add(self.plus, "sub", "subtract", "maximum", "minimum", "rsub", "__rsub__")
        self.add(self.quotient, "div", "divide", "true_divide")
        self.add(self.pooled, "amax", "amin", "var", "std", "norm", "vector_norm", "logsumexp")
        self.add(self.extreme, "max", "min")
        self.add(self.max_pool, "max_pool1d", "max_pool2d", "max_pool3d")
        for dims in "123":
            self.add(self.adaptive_max_pool, f"adaptive_max_pool{dims}d")
        self.add(self.embedding, "embedding")

    def live(self, x: Tensor) -> bool:
        """Whether `x` comes from the input or the weights."""
        return x.requires_grad or _dependence(x) is not None

    def before(self, x: Tensor) -> Tensor:
        """Constants become bits where they meet something live."""
        return x if self.live(x) or not x.is_floating_point() else _bits(x)

    def after(self, result: Tensor) -> Tensor:
        """Both bits clamped."""
        value, dependence = forward_ad.unpack_dual(result)
        value = _Clamp.apply(value)
        return self.dual(value, None if dependence is None else _Clamp.apply(dependence))

    def dual(self, value: Tensor, dependence: Tensor | None) -> Tensor:
        """The value with its dependence."""
        return value if dependence is None else forward_ad.make_dual(value, dependence)

    def gate(self, x: Tensor) -> Tensor:
        """1, with the dependence of x."""
        return self.dual(torch.ones(x.shape, device=x.device), _dependence(x))

    def mix(self, scores: Tensor, value: Tensor) -> Tensor:
        """Attention weights sum to 1: they matter only where values depend on the input."""
        with self:
            weights, change = forward_ad.unpack_dual(torch.softmax(scores, -1))
        value, dependence = forward_ad.unpack_dual(value)
        if dependence is not None:
            weighed = weights if change is None else weights + change
            dependence = weighed @ dependence
        return self.dual(weights @ value, dependence)

    def plus(self, x: Any, y: Any, *_: Any, **__: Any) -> Tensor:
        """A difference or a maximum may be non-zero where either may."""
        return x + y

    def quotient(self, x: Any, y: Any, *_: Any, **__: Any) -> Tensor:
        """x / y is zero where x is, and depends on both."""
        return x * self.gate(y) if isinstance(y, Tensor) else x / y

    def pooled(
        self, x: Tensor, *args: Any, dim: Any = None, keepdim: bool = False, **_: Any
    ) -> Tensor:
        """A maximum, variance or norm over dimensions depends on all that it runs over."""
        dims = next((a for a in args if type(a) in (int, tuple, list)), dim)
        return x.mean() if dims is None else x.mean(dims, keepdim)

    def extreme(self, x: Tensor, *args: Any, dim: Any = None, keepdim: bool = False) -> Any:
        """`max` and `min`: of two tensors, of all, or over a dimension (then with indices)."""
        if args and isinstance(args[0], Tensor):
            return self.plus(x, args[0])
        dim = args[0] if args else dim
        if dim is None:
            return x.mean()
        value = self.after(x.mean(dim, args[1] if len(args) > 1 else keepdim))
        return torch.return_types.max((value, torch.zeros_like(value, dtype=torch.long)))

    def max_pool(
        self, x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
        dilation: Any = 1, ceil_mode: bool = False, return_indices: bool = False,
    ) -> Tensor:  # fmt: skip
        """A window is alive where any of its entries is."""
        if return_indices or torch.tensor(dilation).max() > 1:
            raise RuntimeError("max pooling with indices or dilation cannot be followed")
        pool = {"1": F.avg_pool1d, "2": F.avg_pool2d, "3": F.avg_pool3d}[str(x.dim() - 2)]
        return pool(x, kernel_size, stride, padding, ceil_mode)

    def adaptive_max_pool(self, x: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        """As above; the windows follow from the output's size."""
        pools = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
        return pools[x.dim() - 3](x, output_size)

    def embedding(self, indices: Tensor, weight: Tensor, *_: Any, **__: Any) -> Tensor:
        """Rows of a table; they depend on the input where the indices are an input."""
        rows = F.embedding(indices, weight)
        flat = indices.flatten()
        looked_up = any(torch.equal(flat, t.flatten()) for t in self.tokens)
        return self.dual(rows, rows.clone() if looked_up else None)
