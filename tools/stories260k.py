"""Measure methods on the trained story model; writes docs/results/stories260k/.

    python tools/stories260k.py [--folder MODEL]

The model is a real Llama of 260 thousand parameters with grouped-query attention. It is calibrated on
text it samples itself at temperature 1, and compared on other text it samples itself, so that its own
perplexity is the entropy of its stories. Everything is seeded; one thread, since another number of
threads adds in another order.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import secateur as sc
from secateur.engine.collect import collect
from secateur.text.calibration import Sampling, calibrate
from secateur.text.perplexity import perplexity

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "results" / "stories260k"
DATA = Path(os.environ.get("SECATEUR_DATA", ROOT.parent / "shared" / "data"))
MODEL = DATA.parent / "models" / "stories260k"
STORIES, TOKENS = 64, 256

Prune = Callable[[nn.Module, list[dict[str, Tensor]]], nn.Module]


@dataclass(frozen=True)
class Row:
    """One line of the table: what is done to a copy of the model, given calibration batches."""

    label: str
    what: str
    prune: Prune


def by_name(method: str, **options: Any) -> Prune:
    """A catalogue method that leaves the shapes as they are."""

    def prune(model: nn.Module, batches: list[dict[str, Tensor]]) -> nn.Module:
        return sc.prune(model, method, data=batches, **options).model

    return prune


def smaller(method: str, **options: Any) -> Prune:
    """A method of neurons, heads, layers or width, and what it masks taken out."""

    def prune(model: nn.Module, batches: list[dict[str, Tensor]]) -> nn.Module:
        single = [
            {k: v[i : i + 1] for k, v in b.items()}
            for b in batches
            for i in range(len(b["input_ids"]))
        ]
        example = {name: torch.cat([b[name] for b in single[:2]]) for name in single[0]}
        result = sc.prune(model, method, data=single, example=example, **options)
        return sc.shrink(result, example).model

    return prune


ROWS = [
    Row("dense", "–", lambda model, batches: model),
    *(
        Row(label, what, by_name(method, **options, **more))
        for what, options in (("50 %", {"sparsity": 0.5}), ("2:4", {"pattern": "2:4"}))
        for label, method, more in (
            ("Wanda", "wanda", {}),
            ("RIA", "ria", {}),
            ("SparseGPT", "sparsegpt", {}),
        )
    ),
    Row("magnitude", "50 %", by_name("magnitude-layerwise", sparsity=0.5)),
    Row("magnitude", "2:4", by_name("nm", fine_tune=None)),
    Row("OWL", "50 %", by_name("owl", sparsity=0.5)),
    Row("OWL, SparseGPT", "50 %", by_name("owl", sparsity=0.5, reconstruct=True)),
    Row("FLAP", "31 % of neurons and heads", smaller("flap", density=0.69)),
    Row(
        "LLM-Pruner",
        "21.5 % of neurons and heads",
        smaller("llm-pruner", density=0.785, first=0, last=0),
    ),
    Row("ShortGPT", "1 of 5 layers", smaller("shortgpt", density=0.8)),
    Row("Shortened LLaMA", "1 of 5 layers", smaller("shortened-llama", density=0.8)),
    Row("SliceGPT", "20 % of the width", smaller("slicegpt", density=0.8)),
]


def load(folder: Path) -> tuple[Any, Any]:
    """The model and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as theirs

    theirs.disable_progress_bar()
    theirs.set_verbosity_error()
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def greedy(model: Any, tokenizer: Any, tokens: int = 40) -> str:
    """What the model writes by itself, always taking the likeliest token."""
    start = torch.tensor([[tokenizer.bos_token_id]])
    ids = model.generate(start, max_new_tokens=tokens, do_sample=False)
    return str(tokenizer.decode(ids[0], skip_special_tokens=True))


@torch.no_grad()
def stories(model: Any, tokenizer: Any, seed: int, count: int = STORIES) -> list[str]:
    """Texts the model samples at temperature 1, each up to its end or `TOKENS` tokens."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        ids = model.generate(
            torch.full((count, 1), tokenizer.bos_token_id), max_new_tokens=TOKENS, do_sample=True,
            temperature=1.0, top_k=0, top_p=1.0, pad_token_id=tokenizer.eos_token_id,
        )  # fmt: skip
    return [str(text) for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]


def calibration(model: Any, tokenizer: Any) -> list[dict[str, Tensor]]:
    """32 samples of 256 tokens of the model's own text."""
    texts = stories(model, tokenizer, seed=0)
    return calibrate(tokenizer, texts, Sampling(samples=32, length=TOKENS)).batches


def errors(model: Any, batches: list[dict[str, Tensor]]) -> dict[str, dict[str, float]]:
    """{method: {weight: ‖ΔW X‖² / ‖W X‖²}} at 50 %, on what flows through the dense model."""
    weights = [n for n, p in model.named_parameters() if ".layers." in n and p.dim() == 2]
    grams = collect(model, ["input_gram"], weights, batches)["input_gram"]
    found: dict[str, dict[str, float]] = {}
    for method in ("magnitude-layerwise", "wanda", "sparsegpt"):
        pruned = sc.prune(model, method, sparsity=0.5, walk="whole", data=batches).model
        found[method] = {
            name: _relative(model.get_parameter(name), pruned.get_parameter(name), grams[name])
            for name in weights
        }
    return found


def _relative(dense: Tensor, pruned: Tensor, gram: Tensor) -> float:
    dense, pruned, gram = dense.detach().double(), pruned.detach().double(), gram.double()
    energy = lambda w: float(((w @ gram) * w).sum())  # noqa: E731
    return energy(dense - pruned) / energy(dense)


def measured(folder: Path) -> dict[str, Any]:
    """Every figure."""
    model, tokenizer = load(folder)
    batches = calibration(model, tokenizer)
    held_out = stories(model, tokenizer, seed=1)
    rows = []
    for row in ROWS:
        pruned = row.prune(copy.deepcopy(model), batches)
        found = perplexity(pruned, tokenizer, held_out, batch_size=16)
        parameters = sum(p.numel() for p in pruned.parameters())
        figures = {"perplexity": found.perplexity, "parameters": parameters}
        rows.append({"label": row.label, "what": row.what, **figures})
        print(f"{row.label:16} {row.what:6} {found.perplexity:8.3f}", flush=True)
    return {
        "greedy": greedy(model, tokenizer),
        "tokens": found.tokens,
        "rows": rows,
        "errors": errors(model, batches),
    }


def table(found: dict[str, Any]) -> str:
    """The page."""
    lines = [
        "# Pruning a trained story model",
        "",
        "Made by `python tools/stories260k.py`; one thread.",
        "",
    ]
    lines += [f"Calibrated on 32 samples of {TOKENS} tokens of the model's own text, seed 0."]
    lines += [f"Greedy, from the start token: “{found['greedy']}”", ""]
    lines += [f"Perplexity over {found['tokens']:,} tokens of {STORIES} sampled stories:", ""]
    lines += ["| method | removed | perplexity | parameters |", "|---|---|---|---|"]
    lines += [
        f"| {r['label']} | {r['what']} | {r['perplexity']:.3f} | {r['parameters']:,} |"
        for r in found["rows"]
    ]
    lines += [
        "",
        "What each layer's output loses at 50 %, ‖ΔW X‖² / ‖W X‖² on the dense model's inputs "
        "(magnitude and SparseGPT choose within a layer, Wanda within each row):",
    ]
    lines += ["", "| layer | magnitude | Wanda | SparseGPT |", "|---|---|---|---|"]
    for name in found["errors"]["wanda"]:
        cells = (f"{100 * errors[name]:.2f} %" for errors in found["errors"].values())
        lines.append(f"| {name.removesuffix('.weight')} | {' | '.join(cells)} |")
    lines += [
        "",
        "[SparseGPT with `refit`](refit.md), which aims each layer at its dense output, has a page of "
        "its own.",
        "",
        "[Exact OBS beside SparseGPT](exact-obs.md): one weight at a time instead of one column.",
        "",
        "[SparseLLM was tried](sparsellm.md): it is not in the library, the page says why.",
        "",
        "[Inputs in another order](permutation.md) let 2:4 and 4:8 keep more: what `permute` gives.",
        "",
        "[Pruning while adapters train](loraprune.md): LoRAPrune beside LLM-Pruner with LoRA.",
        "",
        "[Densities of layers that are searched for](evopress.md) beside equal ones and OWL's.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=MODEL)
    torch.set_num_threads(1)
    found = measured(parser.parse_args().folder)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "figures.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (OUT / "README.md").write_text(table(found), encoding="utf-8")


if __name__ == "__main__":
    main()
