"""What is left of a network when only some units stay: coupled structures, whole layers, experts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from torch import nn

from ..core.axes import Structure
from ..core.cost import Counts
from ..core.errors import PlanError
from ..core.types import Target
from ..costing import latency_cost
from ..costing.blocks import seconds_within
from ..costing.latency import seconds_of
from ..measure.latency import Timer
from ..measure.macs import count_macs
from ..shrinking.made import make
from ..structure.experts import mixtures
from ..structure.graph import Axis, Trace
from ..structure.graph.parts import within
from ..structure.graph.sizes import bytes_left, parameters_left
from ..structure.listing import Structures

Price = Callable[[Counts], float]
"""Of the units that stay of each target; one that is not named keeps all."""


class Account(ABC):
    """The costs of one kind of units.

    Args:
        structure: whose targets are narrowed.
        model: the network, without masks.
        example: an input; MACs and milliseconds are those of the whole of it.
        targets: what may be pruned.
    """

    def __init__(
        self, structure: Structure, model: nn.Module, example: Any, targets: tuple[Target, ...]
    ) -> None:
        self.structure, self.model, self.example = structure, model, example
        self.targets = targets

    @abstractmethod
    def macs(self) -> Price:
        """Multiplications."""

    @abstractmethod
    def parameters(self) -> Price:
        """Parameters, tied ones once."""

    @abstractmethod
    def bytes(self) -> Price:
        """Bytes of the state."""

    @abstractmethod
    def milliseconds(self, whole: float, timer: Timer) -> Price:
        """Predicted from parts timed alone, set to the `whole` of the network."""

    @abstractmethod
    def smaller(self, counts: Counts) -> nn.Module:
        """A copy without the units that go, whichever they are, or without the very layers."""


class OfAxes(Account):
    """Units of coupled structures: everything that goes with them, as it was traced."""

    def __init__(
        self, structure: Structure, model: nn.Module, example: Any, targets: tuple[Target, ...]
    ) -> None:
        super().__init__(structure, model, example, targets)
        self.traced: Trace = structure.trace(model, example)
        self.axes: dict[str, Axis] = {axis.name: axis for axis in self.traced.axes}

    def _price(self, price: Callable[[Any], float]) -> Price:
        return lambda counts: price({self.axes[name].var: range(n) for name, n in counts.items()})

    def macs(self) -> Price:
        """Of all contractions."""
        return self._price(self.traced.macs)

    def parameters(self) -> Price:
        """Those that stay."""
        return self._price(parameters_left(self.traced.inference, self.model))

    def bytes(self) -> Price:
        """Those that stay."""
        return self._price(bytes_left(self.traced.inference, self.model))

    def milliseconds(self, whole: float, timer: Timer) -> Price:
        """Of the operators at the very widths, each timed once: odd ones are dear."""
        found = Structures(self.traced)
        table = latency_cost(self.model, self.example, found, timer=timer, dense=whole)
        return self._price(table)

    def smaller(self, counts: Counts) -> nn.Module:
        """The first units stay: which they are does not matter to the time."""
        kept = {self.axes[name]: list(range(n)) for name, n in counts.items()}
        plan = {axis: units for axis, units in kept.items() if len(units) < axis.units}
        return make(self.model, self.traced, plan, {}, self.example, False, False).module


class OfLayers(Account):
    """Whole layers: all that runs within one goes when it goes."""

    def _less(self, whole: float, each: Mapping[str, float]) -> Price:
        return lambda counts: whole - sum(each[name] for name, n in counts.items() if not n)

    def macs(self) -> Price:
        """Counted layer by layer while the network runs."""
        count = count_macs(self.model, self.example)
        each = {
            t.name: sum(n for name, n in count.layers.items() if within(name, t.name))
            for t in self.targets
        }
        return self._less(count.total, each)

    def parameters(self) -> Price:
        """A layer shares none with the rest."""
        modules = {t.name: self.model.get_submodule(t.name) for t in self.targets}
        each = {name: sum(p.numel() for p in m.parameters()) for name, m in modules.items()}
        return self._less(sum(p.numel() for p in self.model.parameters()), each)

    def bytes(self) -> Price:
        """Parameters and buffers that are saved."""
        modules = {t.name: self.model.get_submodule(t.name) for t in self.targets}
        return self._less(
            bytes_of(self.model), {name: bytes_of(module) for name, module in modules.items()}
        )

    def milliseconds(self, whole: float, timer: Timer) -> Price:
        """Every layer alone, on what it is given in the network."""
        names = [t.name for t in self.targets]
        seconds = seconds_within(self.model, self.example, names, timer)
        scale = whole / seconds_of(self.model, self.example, timer)
        return self._less(whole, {name: scale * s for name, s in seconds.items()})

    def smaller(self, counts: Counts) -> nn.Module:
        """Without the layers that keep nothing."""
        gone = {t.name: t.exact for t in self.targets if not counts[t.name]}
        if not gone:
            return self.model
        return make(self.model, None, {}, gone, self.example, False, False).module


class OfExperts(Account):
    """Experts of mixtures: they take memory; work is that of the ones a token is given to."""

    def _each(self, size: Callable[[Any], float]) -> Price:
        """Of parameters and buffers with a slice for each expert."""
        held = {
            mixture.experts: sum(size(t) for _, t in mixture.tensors(self.model)) / mixture.count
            for mixture in mixtures(self.model)
        }
        state = self.model.state_dict(keep_vars=True).values()
        whole = sum(size(t) for t in {id(t): t for t in state}.values())
        units = {t.name: t.units for t in self.targets}
        return lambda counts: whole - sum((units[n] - k) * held[n] for n, k in counts.items())

    def macs(self) -> Price:
        """Impossible."""
        self._refuse()

    def parameters(self) -> Price:
        """With their rows of the router."""
        return self._each(lambda t: t.numel() if isinstance(t, nn.Parameter) else 0)

    def bytes(self) -> Price:
        """Of the state, rows of the router and its buffers too."""
        return self._each(lambda t: t.numel() * t.element_size())

    def milliseconds(self, whole: float, timer: Timer) -> Price:
        """Impossible."""
        self._refuse()

    def smaller(self, counts: Counts) -> nn.Module:
        """Impossible."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise PlanError(
            "fewer experts save no work: a token goes to as many of them as before; give a budget in "
            "parameters or megabytes"
        )


def account_of(
    structure: Structure, model: nn.Module, example: Any, targets: tuple[Target, ...]
) -> Account:
    """The account of what is to be pruned."""
    kinds = {target.kind for target in targets}
    if kinds == {"layers"}:
        return OfLayers(structure, model, example, targets)
    if kinds == {"experts"}:
        return OfExperts(structure, model, example, targets)
    if not structure.saves:
        raise PlanError(
            f"units of structure '{structure.name}' save no work when they are masked; budgets are "
            "met by methods for whole channels, neurons, heads, layers or experts (`secateur methods`)"
        )
    return OfAxes(structure, model, example, targets)


def bytes_of(module: nn.Module) -> int:
    """Of everything it saves, tied tensors once."""
    state = {id(t): t for t in module.state_dict(keep_vars=True).values()}
    return sum(t.numel() * t.element_size() for t in state.values())
