"""`secateur prune`: one network, one method, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.cards import assumed
from ..core.errors import PlanError
from ..experiments.config import Experiment
from ..experiments.place import apart
from ..experiments.pretrained import images_for
from ..experiments.results import RESULT, WEIGHTS
from ..experiments.runner import Runner
from ..models.registry import BUILT_IN
from ..models.resolve import check_named
from .kinds import refuse
from .language import Asked, carry_out, is_language_model, searched, show
from .networks import NetworkOptions, Trusted
from .progress import Live
from .words import by_pattern, settings


def add(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("prune")(prune)


def prune(
    context: typer.Context,
    network: Annotated[
        str,
        typer.Argument(
            help="built-in name, package.module:function, a folder of a trained network (transformers "
            "or secateur), or a language model's name on the hub"
        ),
    ],
    method: Annotated[
        str, typer.Option("--method", "--prune_method", help="a method of `secateur methods`")
    ],
    out: Annotated[Path, typer.Option("--out", "--save_model", help="results folder")],
    data: Annotated[
        str | None,
        typer.Option(
            help="digits (the default), cifar10, a folder, or a hub name; for a language model .txt, "
            ".jsonl, or a hub data set"
        ),
    ] = None,
    sparsity: Annotated[
        float | None,
        typer.Option("--sparsity", "--sparsity_ratio", help="fraction removed, in [0, 1)"),
    ] = None,
    density: Annotated[float | None, typer.Option(help="fraction kept, in (0, 1]")] = None,
    weights: Annotated[str | None, typer.Option(help="safetensors file of trained weights")] = None,
    trained: Annotated[
        bool, typer.Option("--trained", help="the network's constructor loads trained weights")
    ] = False,
    train: Annotated[
        str, typer.Option(help="length of the training, e.g. 5ep (a trained network skips it)")
    ] = "5ep",
    preset: Annotated[str, typer.Option(help="training preset")] = "short",
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="method option, name=value (sparsegpt: refit=1); `secateur methods --markdown` lists them"
        ),
    ] = None,
    network_option: NetworkOptions = None,
    training: Annotated[
        list[str] | None, typer.Option(help="training field, name=value (lr=0.01)")
    ] = None,
    data_option: Annotated[
        list[str] | None,
        typer.Option(help="images: field of the data, name=value (size=64, flip=false)"),
    ] = None,
    trust: Trusted = None,
    seed: Annotated[int, typer.Option(help="all randomness of the run")] = 0,
    device: Annotated[
        str, typer.Option(help="auto (a GPU where there is one), cpu, cuda")
    ] = "auto",
    pattern: Annotated[
        str | None,
        typer.Option("--pattern", "--sparsity_type", help="2:4: two of every four inputs stay"),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="macs, parameters, megabytes or latency instead of a density: macs=50%"),
    ] = None,
    round_to: Annotated[
        str | None,
        typer.Option(
            help="widths are multiples of this, e.g. 8; sweet: as this machine likes them"
        ),
    ] = None,
    protect: Annotated[
        list[str] | None, typer.Option(help="name or pattern of layers that stay whole")
    ] = None,
    floor: Annotated[
        list[str] | None,
        typer.Option(help="PATTERN=least to keep: a number of units, or a fraction below 1"),
    ] = None,
    cap: Annotated[
        list[str] | None, typer.Option(help="PATTERN=largest fraction that may be removed")
    ] = None,
    even: Annotated[
        bool, typer.Option("--even", help="what code cuts into equal pieces stays equally wide")
    ] = False,
    permute: Annotated[
        bool,
        typer.Option(
            "--permute",
            help="language models, with --pattern: inputs in an order that fits it better",
        ),
    ] = False,
    samples: Annotated[
        int, typer.Option("--samples", "--nsamples", help="language models: calibration samples")
    ] = 128,
    length: Annotated[
        int | None,
        typer.Option("--length", "--seqlen", help="their tokens; the context, at most 512"),
    ] = None,
    padded: Annotated[
        bool, typer.Option("--padded", help="a sample for each text instead of packed ones")
    ] = False,
    activations: Annotated[
        str, typer.Option(help="memory or disk: where what flows between blocks is kept")
    ] = "memory",
    compare: Annotated[
        bool, typer.Option(help="perplexity before and after; loads the whole model")
    ] = True,
    recover: Annotated[
        str | None,
        typer.Option(help="language models: lora=2ep or fine-tune=1ep on the calibration texts"),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="language models: lm-eval tasks asked before and after: arc_easy,piqa"),
    ] = None,
    task_folder: Annotated[
        Path | None, typer.Option(help="YAML files with tasks of your own, trusted as code is")
    ] = None,
    task_limit: Annotated[int | None, typer.Option(help="so many questions of each task")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="show the plan, touch nothing")
    ] = False,
) -> None:
    """Prune a network by a method; the pruned weights, and what became smaller, go to --out."""
    language = is_language_model(network)
    if not language and not Path(network).exists():
        check_named(network)
    refuse(context, language)
    options = settings(option or [])
    options |= {k: v for k, v in (("sparsity", sparsity), ("density", density)) if v is not None}
    if pattern is not None and pattern != "unstructured":
        options["pattern"] = pattern
    options |= {"permute": True} if permute else {}
    options |= _widths(round_to, protect, floor, cap, even) | _budget(budget)
    if (language or not dry_run) and (told := assumed(method, options)):
        print(told)
    if language:
        asked = Asked(
            network, method, out, data, samples, length, padded, seed, activations, compare,
            recover, tuple(training or ()), tasks, task_folder, task_limit, device,
        )  # fmt: skip
        (show if dry_run else carry_out)(asked, options)
        return
    apart(out, network)
    fields = settings(data_option or [])
    if "source" in fields:
        raise PlanError("--data-option source=… is what --data says; give it there")
    given = settings(network_option or [])
    given |= {"trust": trust} if trust else {}
    study = Experiment(
        name="prune",
        network={"spec": network, "options": given, "weights": weights, "trained": trained},
        data={"source": data or "digits"}
        | ({} if network in BUILT_IN else images_for(Path(network)))
        | fields,
        training={"preset": preset, "length": train, **settings(training or [])},
        seeds=[seed],
        runs=[{"method": method, "options": options}],
    )
    if dry_run:
        _show(study)
        return
    _do(study, out, device)


def _widths(
    round_to: str | None,
    protect: list[str] | None,
    floor: list[str] | None,
    cap: list[str] | None,
    even: bool,
) -> dict[str, Any]:
    """The options of widths that were given."""
    if round_to is not None and round_to != "sweet" and not round_to.isdecimal():
        raise PlanError(f"--round-to takes a number of units, e.g. 8, or sweet; not '{round_to}'")
    given = {
        "round_to": int(round_to) if round_to and round_to.isdecimal() else round_to,
        "protect": protect,
        "floors": by_pattern(floor, "--floor") if floor else None,
        "caps": by_pattern(cap, "--cap") if cap else None,
        "even": even or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _budget(budget: str | None) -> dict[str, Any]:
    """`macs=50%` as the option."""
    if budget is None:
        return {}
    what, _, amount = budget.partition("=")
    return {"budget": {what: amount}}


def _show(study: Experiment) -> None:
    from ..experiments.planning import plan_lines

    for line in plan_lines(study):
        print(line)


def _do(study: Experiment, out: Path, device: str) -> None:
    runner = Runner(out, study, device=device)
    last: dict[str, Any] = {}
    with Live(runner.planned) as live:

        def listen(planned: Any, event: dict[str, Any]) -> None:
            last.update(event)
            live(planned, event)

        runner.run(listen)
    if last.get("kind") == "busy":
        raise PlanError(f"another process works on '{out}'; wait for it or choose another --out")
    for what, told in last.get("budget", {}).items():
        left, whole = told["left"], told["whole"]
        print(f"{what}: {left:,.6g} of {whole:,.6g} {told['unit']} ({left / whole:.1%})")
    for line in searched((last.get("points") or [{}])[-1]):
        print(line)
    folder = runner.folder(runner.planned[0])
    print(f"result:  {folder / RESULT}")
    print(f"weights: {folder / WEIGHTS}")
    small = (runner.result(runner.planned[0]) or {}).get("small")
    if small is not None:
        print(_smaller(small, folder))


def _smaller(small: dict[str, Any], folder: Path) -> str:
    """The line on what became physically smaller."""
    if "refused" in small:
        return f"masked only; nothing could be taken out: {small['refused']}"
    if work := small.get("run_time"):
        n, whole = work["needed"], work["dense"]
        mean, spread = n["mean"] / whole, n["deviation"] / whole
        return (
            f"decides at run time: {folder / small['folder']} (MACs needed of one input, mean of "
            f"{work['inputs']} inputs: {mean:.1%} ± {spread:.1%} of {whole:,.0f}, at worst "
            f"{n['most'] / whole:.1%}; kernels for batches save none)"
        )
    names = {"parameters": "parameters", "macs": "MACs"}
    facts = [f"{n} {small[k][0]:,} -> {small[k][1]:,}" for k, n in names.items() if k in small]
    facts.append(f"differs from the masked network by {small['difference']:.1e}")
    return f"smaller: {folder / small['folder']} ({', '.join(facts)})"
