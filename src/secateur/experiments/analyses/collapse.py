"""At which sparsity a method cuts a layer off: densities per layer, before any training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...api import recipe
from ...engine.execute import execute
from ...engine.run import Run

if TYPE_CHECKING:
    from ..runner import Runner

METHODS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("SynFlow, 100 rounds", "synflow", {"rounds": 100}),
    ("SNIP, one shot", "snip", {}),
    ("Magnitude, one shot", "magnitude", {"at": "0it"}),
)


def collapse(
    runner: Runner,
    networks: tuple[str, ...] | None = None,
    sparsities: tuple[float, ...] = (0.9, 0.99, 0.999),
) -> dict[str, Any]:
    """Prune freshly initialised networks to each sparsity and look for cut layers.

    A layer has collapsed when it keeps no weight or lies on no path of kept weights from the
    input to the output. `networks` are built-in names (default: the study's own); all methods see
    the same initial weights.
    """
    config = runner.planned[0].config
    specs = networks or (config.network.spec,)
    rows = [
        {"label": label, "network": spec, "points": [
            _point(runner, spec, name, options, s) for s in sparsities
        ]}
        for spec in specs
        for label, name, options in METHODS
    ]  # fmt: skip
    return {"kind": "collapse", "methods": rows}


def _point(
    runner: Runner, spec: str, method: str, options: dict[str, Any], sparsity: float
) -> dict[str, Any]:
    """Densities and collapsed layers of one network after one method, untrained."""
    planned = runner.planned[0]
    network = planned.config.network.model_copy(
        update={"spec": spec, "weights": None}
        | ({} if spec == planned.config.network.spec else {"options": {}})
    )
    config = planned.config.model_copy(update={"network": network, "training": None})
    model, setting = runner.workshop.make(config, planned.seed)
    quiet = setting.without_evaluation()
    outcome = execute(Run(recipe(method, sparsity=sparsity, **options), model, quiet))
    last = outcome.points[-1]
    return {
        "sparsity": last["sparsity"],
        "layers": last["layers"],
        "collapsed": last["empty"] + last["unreachable"],
        "severed": last["severed"],
    }
