"""Block-wise pruning: seconds and peak memory per block, the solver's share of matmul speed, bounds.

Models are generated with random weights, layer by layer, so that none is ever whole in memory. Every
run is a process of its own, whose peak resident memory is what the kernel reports.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.overrides import TorchFunctionMode

ROOT = Path(__file__).parents[1]
PARTS = ("depth", "beyond", "speed", "solve")


def peak() -> int:
    """Bytes: the most this process had resident since its program began.

    `ru_maxrss` would count what its parent had resident before: it survives exec.
    """
    status = Path("/proc/self/status").read_text("utf-8")
    return int(next(x for x in status.splitlines() if x.startswith("VmHWM")).split()[1]) * 1024


def generate(
    folder: Path, layers: int, hidden: int, intermediate: int, vocabulary: int = 256
) -> int:
    """Write a random Llama, a file for each layer; returns the bytes of its weights."""
    from safetensors.torch import save_file
    from transformers import LlamaConfig

    folder.mkdir(parents=True)
    config = LlamaConfig(
        hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
        num_attention_heads=hidden // 64, num_key_value_heads=hidden // 64, vocab_size=vocabulary,
        max_position_embeddings=512, tie_word_embeddings=True, architectures=["LlamaForCausalLM"],
    )  # fmt: skip
    config.save_pretrained(folder)
    rng = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=rng) * shape[-1] ** -0.5

    square = dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj"), (hidden, hidden))
    wide = {"gate_proj": (intermediate, hidden), "up_proj": (intermediate, hidden)}
    wide["down_proj"] = (hidden, intermediate)
    ends = {"model.embed_tokens.weight": draw(vocabulary, hidden)}
    parts = {"ends": ends | {"model.norm.weight": torch.ones(hidden)}}
    index: dict[str, str] = {}
    for i in range(-1, layers):
        name = f"layer-{i:03d}.safetensors"
        start = f"model.layers.{i}"
        tensors = parts["ends"] if i < 0 else {
            **{f"{start}.self_attn.{n}.weight": draw(*s) for n, s in square.items()},
            **{f"{start}.mlp.{n}.weight": draw(*s) for n, s in wide.items()},
            f"{start}.input_layernorm.weight": torch.ones(hidden),
            f"{start}.post_attention_layernorm.weight": torch.ones(hidden),
        }  # fmt: skip
        save_file(tensors, folder / name)
        index |= dict.fromkeys(tensors, name)
    text = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text)
    return _size(folder)


def _size(folder: Path) -> int:
    """Bytes of a folder's weights, 0 where there are none."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def child(asked: dict[str, Any]) -> dict[str, Any]:
    """Prune one folder in this process, with `spare` bytes of data to come where that is given."""
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 256, (asked["samples"], asked["length"]), generator=rng)
    batches = [{"input_ids": part} for part in ids.split(asked["batch"])]
    limit = resource.RLIM_INFINITY
    if asked.get("spare"):
        _warm_up(asked["method"])
        limit = _data() + asked["spare"]
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    where = asked.get("activations", "memory")
    done = _pruned(asked["method"], asked["source"], asked["out"], batches, where)
    found = {"peak": peak(), "seconds": done.seconds}
    found |= {"sparsity": done.record.get("sparsity"), "parameters": done.record.get("parameters")}
    return found | {"limit": limit, "whole": _loads(asked["source"])} if limit > 0 else found


def children(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`child` of each in a process of its own, forked from this one when all is imported."""
    for method in {run["method"] for run in asked}:
        _warm_up(method)
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as one:
        return one.map(child, asked, chunksize=1)


def _pruned(method: str, source: Any, out: Any, batches: Any, where: Any) -> Any:
    """Zeros block by block, or structures in two passes, as the method has it."""
    import secateur as sc
    from secateur.engine.blockwise.folder import prune_folder
    from secateur.engine.blockwise.smaller import shrink_folder
    from secateur.saving import describe

    recipe = sc.recipe(method, density=0.5)
    if recipe.walk == "blocks":
        return prune_folder(source, recipe, out, batches=batches, activations=where)
    return shrink_folder(
        source, recipe, out,
        lambda end: describe(end.model, end.folder, end.record, stock=not end.why),
        batches=batches, activations=where,
    )  # fmt: skip


@cache
def _warm_up(method: str) -> None:
    """Import all that a run imports on the way, before its memory is limited; once in a process."""
    batches = [{"input_ids": torch.arange(64).view(2, 32)}]
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder) / "a", 2, 128, 64)
        _pruned(method, Path(folder) / "a", Path(folder) / "b", batches, "disk")
        _loads(f"{folder}/b")


def _data() -> int:
    """Bytes of this process's data, as the limit counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmData")).split()[1]) * 1024


def _loads(folder: str) -> bool:
    """The control: whether the whole model can be loaded within the limit."""
    from transformers import AutoModelForCausalLM

    try:
        AutoModelForCausalLM.from_pretrained(folder)
    except (MemoryError, RuntimeError, OSError):
        return False
    return True


def run(**asked: Any) -> dict[str, Any] | None:
    """`child` in a process of its own; None where it failed."""
    return _elsewhere("--child", asked)


def runs(*asked: dict[str, Any]) -> list[dict[str, Any]] | None:
    """`children` of one process of their own, in order; None where one failed."""
    return _elsewhere("--children", asked)


def _elsewhere(flag: str, asked: Any) -> Any:
    env = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    words = [sys.executable, "-m", "benchmarks.blockwise", flag, json.dumps(asked)]
    found = subprocess.run(words, env=env, capture_output=True, text=True, cwd=ROOT)
    return json.loads(found.stdout.splitlines()[-1]) if found.returncode == 0 else None


def matmul_speed(n: int = 2048, tries: int = 5) -> float:
    """Float operations a second of an n x n product, the best of some tries."""
    a, b = torch.randn(n, n), torch.randn(n, n)
    best = min(_timed(lambda: a @ b) for _ in range(tries))
    return 2 * n**3 / best


def _timed(function: Any) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def solve_operations(hidden: int, intermediate: int) -> float:
    """What SparseGPT cannot do without for one Llama block: factorise and update.

    n³/3 for the Cholesky factor of each of the four inputs (of q, k, v; of o; of gate, up; of down),
    out · n² for what the columns of each matrix change in those after them.
    """
    inputs = [hidden] * 3 + [intermediate]
    shapes = [(hidden, hidden)] * 4 + [(intermediate, hidden)] * 2 + [(hidden, intermediate)]
    return sum(n**3 / 3 for n in inputs) + sum(out * n**2 for out, n in shapes)


def products_alone(hidden: int, intermediate: int) -> float:
    """Seconds of the products of one solve, at their own shapes, with nothing between them."""
    groups = [(3 * hidden, hidden), (hidden, hidden), (2 * intermediate, hidden)]
    return sum(_products(out, n) for out, n in [*groups, (hidden, intermediate)])


def _products(out: int, n: int, tries: int = 3) -> float:
    """Of layers with n inputs and `out` outputs together: the factor's panels, and what looks back."""
    from secateur.solve.hessian import PANEL
    from secateur.solve.sweep import LEAF, SPAN

    upper, lost, back = torch.randn(n, n), torch.randn(n, out), torch.randn(min(SPAN, n), out)

    def factor() -> None:
        for stop in range(n, 0, -PANEL):
            panel = slice(max(0, stop - PANEL), stop)
            torch.mm(upper[:stop, stop:], upper[panel, stop:].T)

    def look(first: int, start: int, stop: int) -> None:
        into = back[: stop - start]
        torch.addmm(into, upper[first:start, start:stop].T, lost[first:start], out=into)

    def sweep() -> None:
        for wide, inside in ((SPAN, n), (128, SPAN), (LEAF, 128)):
            for start in range(0, n, wide):
                look(start // inside * inside, start, min(start + wide, n))

    return min(_timed(lambda: (factor(), sweep())) for _ in range(tries))


class Spent(TorchFunctionMode):
    """Processor time by the kind of operation: what is called, and from where."""

    KINDS: ClassVar[dict[str, tuple[str, ...]]] = {
        "products": ("mm", "matmul", "addmm", "addmm_"),
        "columns one by one": ("addmv_", "addcmul_", "unbind"),
        "small triangles": ("linalg_solve_triangular", "linalg_cholesky_ex", "flip"),
        "copies": ("copy_", "cat", "to", "__setitem__", "clone", "contiguous"),
    }

    def __init__(self) -> None:
        super().__init__()
        self.seconds = dict.fromkeys(self.KINDS, 0.0)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        start = time.process_time()
        result = func(*args, **(kwargs or {}))
        spent, name = time.process_time() - start, getattr(func, "__name__", "")
        for kind in (kind for kind, names in self.KINDS.items() if name in names):
            self.seconds[kind] += spent
        return result


def solve(hidden: int, tries: int = 3) -> None:
    """The solve of one Llama block alone in processor time, which other programs hardly change."""
    import secateur as sc
    from secateur.core.types import Update
    from secateur.engine.step import step
    from secateur.engine.view import ModelView
    from secateur.structure import Weights

    intermediate = hidden * 11 // 4
    shapes = dict.fromkeys("qkvo", (hidden, hidden))
    shapes |= dict.fromkeys("gu", (intermediate, hidden)) | {"d": (hidden, intermediate)}
    grams = {name: _gram(inputs) for name, (_, inputs) in ((n, shapes[n]) for n in "qogd")}
    shared = dict(zip("qkvogud", "qqqoggd", strict=True))
    recipe, targets_of = sc.recipe("sparsegpt", walk="whole"), Weights(classifier=True).targets

    def once(watch: Any) -> float:
        layers = {n: torch.nn.Linear(s[1], s[0], bias=False) for n, s in shapes.items()}
        model = torch.nn.ModuleDict(layers)
        stats = {"input_gram": {f"{n}.weight": grams[shared[n]] for n in shapes}}
        stats["input_rows"] = dict.fromkeys(stats["input_gram"], torch.tensor([2 * intermediate]))
        view = ModelView(model, targets_of(model), stats=stats)
        start = time.process_time()
        with watch:
            step(recipe, view, Update(density=0.5), first=True)
        return time.process_time() - start

    multiply = lambda: _processor(lambda: a @ b)  # noqa: E731
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    pairs = [(multiply(), once(nullcontext())) for _ in range(tries)]
    fast, spent = 2 * 2048**3 / min(p[0] for p in pairs), min(p[1] for p in pairs)
    reached = solve_operations(hidden, intermediate) / spent
    kinds = Spent()
    whole = once(kinds)
    parts = ", ".join(f"{kind} {s / whole:.0%}" for kind, s in kinds.seconds.items())
    print(
        f"hidden {hidden}, {torch.get_num_threads()} threads: solve {spent:.2f} s of processor time, "
        f"{reached / 1e9:.1f} of {fast / 1e9:.1f} GFLOP/s: {reached / fast:.0%}; watched, {whole:.2f} s: "
        f"{parts}",
        flush=True,
    )


def _gram(inputs: int) -> torch.Tensor:
    x = torch.randn(2 * inputs, inputs) * torch.rand(inputs)
    return x.T @ x / len(x)


def _processor(function: Any) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def speed(hidden: int, folder: Path, samples: int, length: int) -> None:
    """Seconds of one block by part, for Wanda and SparseGPT."""
    intermediate = hidden * 11 // 4
    source = folder / f"speed-{hidden}"
    generate(source, 1, hidden, intermediate)
    for method in ("wanda", "sparsegpt"):
        fast = matmul_speed()
        out = folder / f"{method}-{hidden}"
        found = run(source=str(source), out=str(out), method=method, samples=samples,
                    length=length, batch=8)  # fmt: skip
        assert found is not None
        fast = max(fast, matmul_speed())
        seconds = found["seconds"]
        disk = seconds["load"] + seconds["store"]
        line = (
            f"hidden {hidden}, {method}: calibrate {seconds['calibrate']:.2f} s, solve "
            f"{seconds['solve']:.2f} s, forward {seconds['forward']:.2f} s, read and write "
            f"{disk:.2f} s, peak {found['peak'] / 1e9:.2f} GB"
        )
        if method == "sparsegpt":
            reached = solve_operations(hidden, intermediate) / seconds["solve"]
            alone = products_alone(hidden, intermediate)
            line += (
                f"; solve at {reached / 1e9:.1f} of {fast / 1e9:.1f} GFLOP/s: {reached / fast:.0%}; "
                f"its products alone take {alone:.2f} s: {alone / seconds['solve']:.0%}"
            )
        print(line, flush=True)


def depth(folder: Path, hidden: int, intermediate: int, method: str) -> float:
    """Peak memory of 32 layers over that of 8."""
    peaks = []
    for layers in (8, 32):
        source = folder / f"depth-{layers}"
        size = _size(source) or generate(source, layers, hidden, intermediate)
        found = run(source=str(source), out=str(folder / f"{method}-{layers}"), method=method,
                    samples=8, length=64, batch=4)  # fmt: skip
        assert found is not None
        peaks.append(found["peak"])
        print(
            f"{method}, {layers} layers, {size / 1e6:.0f} MB: peak {found['peak'] / 1e6:.0f} MB",
            flush=True,
        )
    print(f"ratio {peaks[1] / peaks[0]:.3f}", flush=True)
    return peaks[1] / peaks[0]


def beyond(
    folder: Path, layers: int, hidden: int, intermediate: int, spare: int, method: str
) -> None:
    """A model whose file is larger than the data a process may have is pruned to the end."""
    source = folder / "beyond"
    size = _size(source) or generate(source, layers, hidden, intermediate)
    found = run(source=str(source), out=str(folder / f"beyond-{method}"), method=method, samples=8,
                length=64, batch=4, spare=spare, activations="disk")  # fmt: skip
    assert found is not None
    print(
        f"{method}: file {size / 1e6:.0f} MB, limit {found['limit'] / 1e6:.0f} MB: done block by block, "
        f"{'loaded' if found['whole'] else 'refused'} at once",
        flush=True,
    )


def main(words: list[str] | None = None) -> None:
    """All figures, or `--child` for one run, `--children` for some."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--child")
    parser.add_argument("--children")
    parser.add_argument("--hidden", type=int, nargs="*", default=[1024, 2048])
    parser.add_argument("--parts", nargs="*", default=PARTS, choices=PARTS)
    parser.add_argument(
        "--methods", nargs="*", default=["wanda", "flap"], help="of the parts depth and beyond"
    )
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--length", type=int, default=512)
    asked = parser.parse_args(words)
    if asked.child:
        print(json.dumps(child(json.loads(asked.child))))
        return
    if asked.children:
        print(json.dumps(children(json.loads(asked.children))))
        return
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    with tempfile.TemporaryDirectory() as folder:
        if "depth" in asked.parts:
            for method in asked.methods:
                depth(Path(folder), 512, 1376, method)
        if "beyond" in asked.parts:
            for method in asked.methods:
                beyond(Path(folder), 48, 512, 2048, 160_000_000, method)
        for hidden in asked.hidden if "solve" in asked.parts else ():
            solve(hidden)
        for hidden in asked.hidden if "speed" in asked.parts else ():
            speed(hidden, Path(folder), asked.samples, asked.length)


if __name__ == "__main__":
    main()
