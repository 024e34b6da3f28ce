"""Activations of the story model cut by threshold and by exact top-k; writes docs/results/dynamic/.

    python tools/dynatran_stories.py

Calibrated on text the model samples at temperature 1 (seed 0); everything else is measured on other
samples of it (seed 1). One thread.
"""

from __future__ import annotations

import copy
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import stories260k as stories
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.dynamic import Cut, ThresholdedLinear, set_sparsity
from secateur.dynamic.cut import Zeros, cuts_of
from secateur.materialise.activation_thresholds import run_watched
from secateur.measure.run_time import measure_run_time
from secateur.text.calibration import Sampling, calibrate
from secateur.text.perplexity import perplexity

OUT = stories.ROOT / "docs" / "results" / "dynamic"
SPARSITIES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)


class TopK(nn.Module):
    """The k largest |x| of each row of those there, k = (1 − sparsity) of the row, at least one."""

    def __init__(self, sparsity: float, watch: Any = None) -> None:
        super().__init__()
        self.sparsity, self.watch, self.tokens = sparsity, watch, 1

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """As the class says."""
        size = torch.full_like(x[..., :1], x.shape[-1], dtype=torch.long)
        if there is not None:
            size = there.expand_as(x).sum(-1, keepdim=True)
        k = ((1 - self.sparsity) * size).round().long().clamp(min=1)
        order = x.abs().argsort(dim=-1, descending=True, stable=True)
        place = torch.arange(x.shape[-1]).expand_as(order)
        y = x * (torch.empty_like(order).scatter(-1, order, place) < k)
        if self.watch is not None:
            self.watch(self, x, y, there)
        return y


class Each:
    """Zeros by cut, and by what is cut."""

    def __init__(self, names: dict[nn.Module, str]) -> None:
        self.names = names
        self.of: dict[str, Zeros] = {name: Zeros() for name in names.values()}

    def __call__(self, cut: Any, x: Tensor, y: Tensor, there: Tensor | None) -> None:
        self.of[self.names[cut]](cut, x, y, there)

    def shares(self) -> dict[str, float]:
        """Group -> share of zeros."""
        groups = {"all": "", "linear": ".cut", "query": ".query", "key": ".key",
                  "probabilities": ".probabilities", "value": ".value"}  # fmt: skip
        found = {}
        for group, end in groups.items():
            parts = [z for name, z in self.of.items() if name.endswith(end) and z.all]
            if parts:
                found[group] = sum(z.zeros for z in parts) / sum(z.all for z in parts)
        return found


def names_of(model: nn.Module, kind: type[nn.Module]) -> dict[nn.Module, str]:
    """Cut -> its path."""
    return {m: name for name, m in model.named_modules() if isinstance(m, kind)}


@torch.no_grad()
def zeros(model: Any, kind: type[nn.Module], batches: list[Any]) -> Each:
    """What is zero on held-out text."""
    names = names_of(model, kind)
    each = Each(names)
    run_watched(model, list(names), batches, each)  # type: ignore[arg-type]
    return each


def by_top_k(model: Any, sparsity: dict[str, float]) -> Any:
    """A copy with every cut in the place of a threshold by top-k."""
    made = copy.deepcopy(model)
    for _, name in names_of(made, Cut).items():
        made.set_submodule(name, TopK(sparsity[name]))
    return made


def rows(model: Any, tokenizer: Any, attention: bool) -> dict[str, Any]:
    """Every share of zeros, by threshold and by top-k."""
    held_out = stories.stories(model, tokenizer, seed=1)
    batches = calibrate(tokenizer, held_out, Sampling(samples=32, length=stories.TOKENS)).batches
    score = lambda m: perplexity(m, tokenizer, held_out, batch_size=16).perplexity  # noqa: E731
    result = sc.prune(
        model, "dynatran", sparsity=0.5, attention=attention,
        data=stories.calibration(model, tokenizer),
    )  # fmt: skip
    cut, found = result.model, []
    cuts = cuts_of(cut)
    curve = [cuts[0].thresholds.tolist(), cuts[0].sparsities.tolist()]
    for wanted in (0.0, *SPARSITIES):
        set_sparsity(cut, wanted)
        each = zeros(cut, Cut, batches)
        work = measure_run_time(cut, batches)
        row = {
            "wanted": wanted, "threshold": float(cuts[0].threshold), "achieved": each.shares(),
            "perplexity": score(cut), "needed": work.needed.mean / work.dense,
            "deviation": work.needed.deviation / work.dense, "most": work.needed.most / work.dense,
        }  # fmt: skip
        if wanted:
            own = {name: z.zeros / z.all for name, z in each.of.items()}
            alike = by_top_k(cut, dict.fromkeys(own, wanted))
            placed = by_top_k(cut, own)
            for label, other in (("top-k", alike), ("top-k placed", placed)):
                told = zeros(other, TopK, batches).shares()["all"]
                needed = measure_run_time(other, batches)
                row[label] = {
                    "achieved": told, "perplexity": score(other),
                    "needed": needed.needed.mean / needed.dense,
                }  # fmt: skip
        found.append(row)
        print(json.dumps(row), flush=True)
    return {"curve": curve, "rows": found, "times": times(model, cut, batches)}


@torch.no_grad()
def times(dense: Any, cut: Any, batches: list[Any]) -> dict[str, float]:
    """Median processor seconds: the networks on a batch, and a wide linear layer by itself."""
    wide, x = nn.Linear(1024, 4096), torch.randn(256, 1024)
    half, most = (ThresholdedLinear(wide, 4096, 2) for _ in range(2))
    half.cut.threshold.fill_(0.6745)
    most.cut.threshold.fill_(1.645)
    set_sparsity(cut, 0.5)
    ways: dict[str, Callable[[], object]] = {
        "network, dense": lambda: dense(**batches[0]), "network, half zero": lambda: cut(**batches[0]),
        "layer, dense": lambda: wide(x), "layer, half zero": lambda: half(x),
        "layer, nine in ten zero": lambda: most(x),
    }  # fmt: skip
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(15):
        for name, way in ways.items():
            begun = time.process_time()
            way()
            taken[name].append(time.process_time() - begun)
    return {name: statistics.median(found) for name, found in taken.items()}


TEXT = """# Activations cut at run time

Made by `python tools/dynatran_stories.py`; one thread. `dynatran` on the trained story model (a Llama of
260 thousand parameters), calibrated on 32 samples of 256 tokens that it sampled at temperature 1, seed 0.
All below is measured on text of seed 1: shares and products on 32 samples of 256 tokens without padding,
perplexity over 64 stories. `zero` is the share of zeros that were reached; products are
multiply-accumulates whose factors are not zero, of those of the dense network (at worst: of these 32
inputs). The row 0 % shows what the causal mask makes zero anyway. `top-k` keeps of every row (a token's
features, a query's probabilities) exactly the share asked for, at least one; `placed` is top-k with, for
each layer, the share of zeros that the threshold had there: what is left of the difference is a
threshold against a fixed number per token. Heads are 8 wide, so that top-k of them is coarse. One seed.

With attention the threshold is better than top-k at equal shares of zeros up to 80 %, and at about equal
products (70 % beside top-k 30 %): it takes probabilities first. On inputs of linear layers alone top-k is
better: one threshold empties the layers whose inputs are small, and top-k placed likewise is no better than
it up to 70 %. Beyond 85 % the curve's points lie far apart, and 90 % is missed by three points: `points`
sets how many there are.
"""

WHERE = """Where the zeros lie, with attention: one threshold makes each kind of value as sparse as it is
small. Probabilities are most of all values here, so that the share of zeros says little of the linear layers.
"""

FASTER = """Nothing is faster: a dense kernel multiplies by the zeros, comparing costs on top, and attention
leaves torch's fused kernel, whose steps are then taken one by one. Processor time, medians in
alternation within a column while other programs ran: upper bounds, and a few per cent are noise. The layer
is linear, 1024 to 4096, on 256 tokens; the network runs on 8 samples of 256 tokens.
"""


def page(found: dict[str, Any]) -> str:
    """Tables of all that was measured."""
    out = [TEXT]
    for key, title in (
        ("all", "Inputs of linear layers, and all that attention multiplies"),
        ("linear", "Inputs of linear layers alone (`attention=False`)"),
    ):
        out += [f"## {title}", ""]
        heads = ["wanted", "τ", "zero", "perplexity", "products", "at worst", "top-k: zero", "perplexity",
                 "products", "placed: perplexity"]  # fmt: skip
        out += [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        for r in found[key]["rows"]:
            other, placed = r.get("top-k"), r.get("top-k placed")
            tail = ["–"] * 4 if other is None else [
                f"{other['achieved']:.1%}", f"{other['perplexity']:.3f}", f"{other['needed']:.1%}",
                f"{placed['perplexity']:.3f}",
            ]  # fmt: skip
            cells = [
                f"{r['wanted']:.0%}", f"{r['threshold']:.3g}", f"{r['achieved']['all']:.1%}",
                f"{r['perplexity']:.3f}", f"{r['needed']:.1%} ± {r['deviation']:.2%}",
                f"{r['most']:.1%}", *tail,
            ]  # fmt: skip
            out.append(f"| {' | '.join(cells)} |")
        out.append("")
    parts = [k for k in found["all"]["rows"][0]["achieved"] if k != "all"]
    out += [WHERE, f"| wanted | {' | '.join(parts)} |", "|---" * (len(parts) + 1) + "|"]
    for r in found["all"]["rows"]:
        shares = " | ".join(f"{r['achieved'][part]:.1%}" for part in parts)
        out.append(f"| {r['wanted']:.0%} | {shares} |")
    out += [
        "",
        FASTER,
        "| with attention, milliseconds | attention left alone | what |",
        "|---|---|---|",
    ]
    for name, seconds in found["all"]["times"].items():
        alone = found["linear"]["times"][name]
        out.append(f"| {1000 * seconds:.2f} | {1000 * alone:.2f} | {name} |")
    return "\n".join(out) + "\n"


def main() -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    model, tokenizer = stories.load(stories.MODEL)
    found = {"linear": rows(model, tokenizer, False), "all": rows(model, tokenizer, True)}
    (OUT / "dynatran.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (OUT / "dynatran.md").write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
