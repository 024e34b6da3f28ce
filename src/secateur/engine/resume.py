"""Checkpoints: everything a killed run needs to go on as if nothing had happened."""

from __future__ import annotations

from dataclasses import asdict

from ..core.types import Masks
from .program import Train
from .run import Place, Run
from .store import Saved
from .training import new_trainer


def checkpoint(run: Run) -> None:
    """Write the run's state: model or trainer, masks, place."""
    tensors, trainer = run.state(), None
    if run.trainer is not None:
        tensors, trainer = run.trainer.state()
    named = {f"state/{name}": tensor for name, tensor in tensors.items()}
    named |= {f"mask/{name}": mask for name, mask in run.masks.items()}
    for number, drawn in enumerate(run.drawn):
        named |= {f"drawn/{number}/{name}": mask for name, mask in drawn.items()}
    named |= {f"followed/{name}": known for name, known in run.followed.items()}
    place = asdict(run.place) | {"seconds": run.seconds}
    kept = run.at_run_time.kept if run.at_run_time is not None else {}
    run.store.checkpoint(Saved(named, {"place": place, "trainer": trainer, "kept": kept}))


def resume(run: Run) -> bool:
    """Load the newest sound checkpoint; False where the run starts at the beginning."""
    saved = run.store.latest()
    if saved is None:
        return False
    device = next(run.model.parameters()).device
    run.place = Place(**saved.meta["place"])
    run.masks = {t.name: saved.tensors[f"mask/{t.name}"].to(device) for t in run.targets}
    run.mask_weights()
    run.drawn = _drawn(run, saved)
    known = {t.name: saved.tensors.get(f"followed/{t.name}") for t in run.targets}
    run.followed = {name: value.to(device) for name, value in known.items() if value is not None}
    state = {k[6:]: v for k, v in saved.tensors.items() if k.startswith("state/")}
    if saved.meta["trainer"] is None:
        run.model.load_state_dict(state)
    else:
        run.trainer = new_trainer(run, _last_training(run))
        run.trainer.load(state, saved.meta["trainer"])
    if run.at_run_time is not None:
        run.at_run_time.resume(saved.meta["kept"])
    run.tell({"kind": "resumed", "operation": run.place.at, "step": run.place.inside})
    return True


def _drawn(run: Run, saved: Saved) -> list[Masks]:
    """The masks drawn last, oldest first."""
    device = next(run.model.parameters()).device
    found: list[Masks] = []
    while all(f"drawn/{len(found)}/{t.name}" in saved.tensors for t in run.targets):
        at = f"drawn/{len(found)}"
        found.append({t.name: saved.tensors[f"{at}/{t.name}"].to(device) for t in run.targets})
    return found


def _last_training(run: Run) -> Train:
    """The training whose optimiser the checkpoint holds: the last one begun."""
    begun = run.ops[: run.place.at + (1 if run.place.inside else 0)]
    return [op for op in begun if isinstance(op, Train)][-1]
