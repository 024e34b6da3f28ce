"""Measure the network between operations, and on the test data once, at the very end."""

from __future__ import annotations

from .point import measure_point
from .program import Evaluate
from .run import Run
from .store import Saved
from .train import evaluate
from .training import adopt_average


def record(run: Run, op: Evaluate) -> None:
    """Add a point: sizes, densities, validation; weights are kept where something asks for them later.

    That is a final test of every point, a dense network to learn from, and analyses of lasting states.
    """
    if op.moment != "pruned":
        adopt_average(run)
    training = run.setting.training
    learns = training is not None and training.distil is not None
    if op.moment == "trained" and (learns or run.store.lasting):
        run.store.put("trained", Saved(run.state(), {}))
    masks = run.elements()
    point = {"round": op.round, "moment": op.moment, "density": run.density}
    point |= measure_point(run.model, run.setting.example, masks, run.meant)
    point["val"] = evaluate(run.model, run.setting.val) if run.setting.val is not None else None
    if run.at_run_time is not None:
        point["run_time"] = work = run.at_run_time.measured(run.model, run.setting)
        # of real inputs, not of the one example; unknown without any
        point["macs"] = None if work is None else round(work["dense"])
        point["macs_nonzero"] = None if work is None else round(work["needed"]["mean"])
    if run.place.budget:
        point["budget"] = run.place.budget
    if run.place.drawn:
        point |= {"drawn": list(run.place.drawn), "settled": run.place.settled}
    if run.place.searched:
        point["search"] = run.place.searched[-1]
    point["test"], point["seconds"] = None, run.seconds
    if run.setting.test is not None:
        run.store.put(_name(len(run.place.points)), Saved(run.state(), {}, masks))
    run.place.points.append(point)
    run.tell({"kind": "point", **point})


def test_all(run: Run) -> None:
    """Test every kept point: test data are touched once, when nothing is left to decide."""
    if run.setting.test is None:
        return
    final = {name: tensor.clone() for name, tensor in run.state().items()}
    for number, point in enumerate(run.place.points):
        saved = run.store.get(_name(number))
        assert saved is not None
        run.hard.update(saved.masks, optimizer=None)
        run.model.load_state_dict(saved.tensors)
        point["test"] = evaluate(run.model, run.setting.test)
        run.tell({"kind": "test", **point})
    run.hard.update(run.elements(), optimizer=None)
    run.model.load_state_dict(final)


def _name(number: int) -> str:
    return f"point-{number:02d}"
