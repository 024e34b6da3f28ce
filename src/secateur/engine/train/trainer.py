"""Training that can stop after any step and go on as if it had not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any, Protocol, cast

from torch import Tensor, nn

from ...core.cost import Cost, Counts
from ...core.errors import DataError, PlanError
from ...core.labelled import Inputs, split
from ...core.modes import mode
from ...core.random import derive, seeded
from ...core.training import Pressure
from ...core.types import Target
from ...materialise.hard_masks import HardMasks
from .checkpoint import check_same, load_optimizer, optimizer_tensors, prefixed, under
from .coded import Coded
from .device import Forward, hardware_for
from .ema import Average
from .gated import Gated
from .gradient import Gradient, Loss
from .meter import Meter
from .optimiser import parameter_groups
from .push import Push
from .spec import Training


class Batches(Protocol):
    """Where samples come from: a pure function of the epoch and the place in it."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches in every epoch."""

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """Batches `start`, `start + 1`, … of epoch `number`: pairs (x, y), or dicts of tokens."""


class Trainer:
    """Carries out a `Training` on a model, any steps [start, stop) at a time.

    Randomness is a pure function of (seed, stage, step): before every step torch is seeded from
    them, inside a fork, so that dropout can be repeated, the caller's random state is untouched
    and no random state has to be saved. On a CPU, with the same number of threads, a resumed
    training ends with the same bits. On a GPU torch chooses some kernels that add in any order;
    the caller may set `torch.use_deterministic_algorithms(True)`, which is global and so not done
    here.

    With several processes each takes its share of every batch, and gradients are averaged.

    Args:
        model: trained in place; moved to the accelerator's device if there is one.
        training: what to do.
        batches: where samples come from.
        loss: (outputs, y) -> mean loss; cross-entropy with label smoothing where None, of the next
            token where the network is a language model.
        masks: hard masks of `model`; the weight average is masked with them.
        seed, stage: name the stream of randomness.
        accelerator: see `open_accelerator`; None = the model's own device and, for mixed
            precision, an accelerator of its own. It serves one trainer at a time.
        teacher: the network to learn from with `training.distil`.
        pressure, targets: what pushes towards sparsity, and what it pushes.
        counts: target -> units that will stay, for a pressure that foresees it.
        gated: what stands in for the weights while gradients are taken, and learns from them.
        cost: what a pressure that weighs units is to go by.
        watch: called at every step, when the gradients are as the optimiser gets them.
    """

    def __init__(
        self,
        model: nn.Module,
        training: Training,
        batches: Batches,
        loss: Loss | None = None,
        masks: HardMasks | None = None,
        seed: int = 0,
        stage: str = "train",
        accelerator: Any = None,
        teacher: nn.Module | None = None,
        pressure: Pressure | None = None,
        targets: tuple[Target, ...] = (),
        counts: Counts | None = None,
        gated: Gated | Coded | None = None,
        cost: Cost | None = None,
        watch: Callable[[], None] | None = None,
    ) -> None:
        self.model, self.training, self.batches, self.masks = model, training, batches, masks
        self.seed, self.stage, self._next = seed, stage, 0
        self.hardware = hardware_for(model, training.precision, accelerator)
        self._net = self.hardware.prepare_model(Forward(model))
        self._gradient = Gradient(self._net, training, self.hardware, loss, teacher)
        apart = training.optimiser.apart
        groups = parameter_groups(model, training.weight_decay, training.decay_norms, apart)
        self.optimizer = training.optimiser.build(groups, training.lr)
        self.average = Average(model, training.ema) if training.ema is not None else None
        self.gated, self._watch = gated, watch
        self._push = None
        if pressure is not None:
            steps = training.total(batches.steps_per_epoch)
            words = (seed, stage)
            self._push = Push(model, pressure, targets, steps, masks, counts, words, cost)
        self._meter = Meter(self.hardware, stage)

    def run(
        self,
        start: int,
        stop: int,
        lr_scale: float = 1.0,
        on_step: Callable[[int], None] | None = None,
        on_epoch: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        """Do optimiser steps [start, stop) of the training.

        Args:
            start, stop: steps, counted from the beginning of the training.
            lr_scale: factor on the learning rate.
            on_step: called with the next step after every step; `state()` may be taken there.
            on_epoch: called before it at the end of an epoch with `epoch`, `step` (the next one),
                `loss` (mean over the epoch's steps) and `lr` (of its last step); plain data.
        """
        self._begin(start, stop)
        with mode(self._net, train=True):
            for step, (x, y) in self._stream(start, stop):
                lr = lr_scale * self.training.lr_at(step, self.batches.steps_per_epoch)
                self._step(step, lr, x, y)
                self._next = step + 1
                if self._next % self.batches.steps_per_epoch == 0:
                    self._end_epoch(lr, on_epoch)
                if on_step is not None:
                    on_step(self._next)
        self._meter.look()
        self.optimizer.zero_grad(set_to_none=True)

    @property
    def decided(self) -> Mapping[str, Tensor]:
        """What the pressure decided when it began."""
        return self._push.decided if self._push is not None else {}

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the model carries the weight average (`ema`); without one it stays as it is."""
        self._mask_average()
        return self.average.swapped(self.model) if self.average is not None else nullcontext()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything a later process needs to go on: tensors by name, and plain JSON data.

        Covers parameters, buffers, optimiser, average, pressure, gate, loss scale and the epoch's
        losses so far.
        The tensors are copies; masks are not among them.
        """
        self._meter.look()
        self._mask_average()
        tensors = prefixed("model", self.model.state_dict())
        tensors |= prefixed("optimiser", optimizer_tensors(self.optimizer, self.model))
        tensors |= prefixed("average", self.average.tensors if self.average else {})
        tensors |= prefixed("pressure", self.decided)
        tensors |= prefixed("gate", self.gated.learned if self.gated else {})
        tensors["meter"] = self._meter.sums.clone()
        scaler = self.hardware.scaler
        return tensors, {"next": self._next, "scaler": scaler and dict(scaler.state_dict())}

    def load(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Take up the state that `state` gave, of a trainer made with the same arguments.

        Masks count: weights, averages and moments that they prune become zero.
        """
        average = self.average.tensors if self.average else {}
        check_same(under("model", tensors), self.model.state_dict())
        check_same(under("average", tensors), average)
        self.model.load_state_dict(under("model", tensors))
        load_optimizer(self.optimizer, self.model, under("optimiser", tensors))
        for name, value in under("average", tensors).items():
            average[name].copy_(value)
        if self._push is not None:
            self._push.resume(under("pressure", tensors))
        if self.gated is not None:
            self.gated.resume(under("gate", tensors))
        if self.masks is not None:
            self.masks.zero_moments(self.optimizer)
        self._mask_average()
        self._meter.sums.copy_(tensors["meter"])
        self._next = int(meta["next"])
        if self.hardware.scaler is not None and meta["scaler"]:
            self.hardware.scaler.load_state_dict(dict(meta["scaler"]))

    def _begin(self, start: int, stop: int) -> None:
        """Refuse steps outside of the training; losses of another place do not count."""
        total = self.training.total(self.batches.steps_per_epoch)
        if not 0 <= start <= stop <= total:
            raise PlanError(f"steps {start} to {stop} are not within a training of {total} steps")
        if start != self._next:
            self._meter.reset()
            self._next = start

    def _stream(self, start: int, stop: int) -> Iterator[tuple[int, tuple[Inputs, Tensor]]]:
        """(step, batch) of all steps; an epoch that ends early is an error."""
        per_epoch, step = self.batches.steps_per_epoch, start
        while step < stop:
            epoch, inside = divmod(step, per_epoch)
            end = min(stop, (epoch + 1) * per_epoch)
            for batch in islice(self.batches.epoch(epoch, start=inside), end - step):
                yield step, split(batch)
                step += 1
            if step < end:
                raise DataError(
                    f"epoch {epoch} ended before step {step}; the data promised {per_epoch} "
                    "batches an epoch"
                )

    def _step(self, step: int, lr: float, x: Inputs, y: Tensor) -> None:
        """One optimiser step."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        rank = self.hardware.process_index
        stand_in = self.gated.standing_in(step) if self.gated is not None else nullcontext()
        seed = derive(self.seed, "train", self.stage, step, rank)
        with stand_in, seeded(self.hardware.device, seed):
            loss = self._gradient(x, y)
        self._meter.add(step, lr, loss)
        self._update(step, lr)
        if self.average is not None:
            self.average.update(self.model, step)
            self._mask_average()

    def _update(self, step: int, lr: float) -> None:
        """Learn, push, clip, and let the optimiser step (which a loss scale may skip)."""
        scaler = self.hardware.scaler
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        if self.gated is not None:
            self.gated.learn(step, lr, self.training.lr)
        if self._push is not None:
            self._push.add(step)
        if self.training.clip is not None:
            self._clip(self.training.clip)
        if self._watch is not None:
            self._watch()
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)
            scaler.update()
        if self.masks is not None and self.training.optimiser.mixes:
            self.masks.zero({n: p.detach() for n, p in self.model.named_parameters()})

    def _clip(self, most: float) -> None:
        """Scale all gradients down where their norm is over `most`; what weights share counts once."""
        named = {n: p for n, p in self.model.named_parameters() if p.grad is not None}
        once = self.gated.once() if self.gated is not None else {}
        gradients = [once.get(name, cast("Tensor", p.grad)) for name, p in named.items()]
        norm = nn.utils.get_total_norm(gradients)
        nn.utils.clip_grads_with_norm_(named.values(), most, norm)

    def _mask_average(self) -> None:
        """What the masks prune is gone from the average at once, not in the long run."""
        if self.average is not None and self.masks is not None:
            self.masks.zero(self.average.tensors)

    def _end_epoch(self, lr: float, tell: Callable[[Mapping[str, Any]], None] | None) -> None:
        if tell is not None:
            epoch = self._next // self.batches.steps_per_epoch - 1
            tell({"epoch": epoch, "step": self._next, "loss": self._meter.mean(), "lr": lr})
        self._meter.reset()
