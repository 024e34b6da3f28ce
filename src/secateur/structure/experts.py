"""Experts of a mixture: the slices of fused weights [experts, …] and their rows in the router."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from ..core.axes import Structure
from ..core.component import register
from ..core.errors import PlanError
from ..core.layout import along
from ..core.names import pick
from ..core.types import Member, Target


@dataclass(frozen=True)
class Mixture:
    """One layer of experts.

    Attributes:
        parent: path of the module that holds both.
        experts, router: paths of the fused experts and of what chooses among them.
        count: how many experts there are.
        top_k: how many of them the router chooses for a token.
    """

    parent: str
    experts: str
    router: str
    count: int
    top_k: int

    def tensors(self, model: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """Parameters and buffers of experts and router that have one slice for each expert."""
        for path in (self.experts, self.router):
            module = model.get_submodule(path)
            for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
                if tensor.dim() and tensor.shape[0] == self.count:
                    yield f"{path}.{name}", tensor


def mixtures(model: nn.Module) -> list[Mixture]:
    """Every layer of fused experts: beside a router [experts, width] with `top_k`, weights [experts, …].

    By structure, not by class: Mixtral, Qwen MoE, OLMoE, gpt-oss and others keep them so.
    """
    found = []
    for name, parent in model.named_modules():
        children = dict(parent.named_children())
        for one, experts in children.items():
            count = _fused(experts)
            routers = [n for n, m in children.items() if count and n != one and _routes(m, count)]
            if routers:
                prefix = f"{name}." if name else ""
                top_k = int(children[routers[0]].top_k)
                found.append(Mixture(name, prefix + one, prefix + routers[0], count, top_k))
    return found


def _fused(module: nn.Module) -> int:
    """How many experts a module of fused weights holds, 0 where it is none."""
    count = getattr(module, "num_experts", None)
    weights = [p for p in module.parameters(recurse=False) if p.dim() == 3]
    fits = isinstance(count, int) and weights and all(p.shape[0] == count for p in weights)
    return int(count) if fits else 0  # type: ignore[arg-type]


def _routes(module: nn.Module, count: int) -> bool:
    weight, top_k = getattr(module, "weight", None), getattr(module, "top_k", None)
    return isinstance(weight, Tensor) and isinstance(top_k, int) and weight.shape[0] == count


@register("experts")
class Experts(Structure):
    """Experts of mixtures: one target per layer, its units the experts, with their router rows.

    As masks a removed expert puts out zero, but the router still gives it tokens and a share of the
    gate (so `exact` is False); `secateur.shrink` takes it out of the router as well, and the next
    best expert gets its tokens.

    Attributes:
        include, exclude: selectors of layers by the path of their experts.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def saves(self) -> bool:
        """Yes."""
        return True

    def targets(self, model: nn.Module, example: object = None) -> tuple[Target, ...]:
        """One target per mixture, shape (experts,)."""
        every = {mixture.experts: mixture for mixture in mixtures(model)}
        if not every:
            raise PlanError(
                "the model has no experts to prune: no module with weights [experts, …] beside a "
                "router of as many rows"
            )
        chosen = pick(self.include, every, "layer of experts") if self.include else list(every)
        gone = set(pick(self.exclude, every, "layer of experts"))
        left = [every[name] for name in chosen if name not in gone]
        if not left:
            raise PlanError("every layer of experts is excluded; nothing is left to prune")
        return tuple(_target(model, mixture) for mixture in left)


def _target(model: nn.Module, mixture: Mixture) -> Target:
    parameters = dict(model.named_parameters())
    members = tuple(
        Member(name, along(tuple(tensor.shape), 0))
        for name, tensor in mixture.tensors(model)
        if name in parameters
    )
    return Target(
        mixture.experts, "experts", (mixture.count,), members, exact=False, layer=mixture.experts
    )
