"""On a GPU: block-wise pruning of one Llama block, and what zeros and smaller networks bring in time.

`python -m benchmarks.gpu docs/results` writes gpu.json part by part and the tables of gpu.md from it; a
part that is there already is not measured again. `--only NOTHING` makes the tables anew.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from .blockwise import generate, solve_operations
from .gpu_report import write

METHODS: dict[str, dict[str, Any]] = {
    "magnitude-layerwise": {"walk": "blocks"}, "wanda": {}, "ria": {}, "sparsegpt": {},
}  # fmt: skip
LAYERS = {"7B's FFN": (11008, 4096), "70B's FFN": (28672, 8192)}
TOKENS = (1, 16, 64, 256, 1024, 4096, 16384)


def seconds(function: Callable[[], object], tries: int = 30, warm: int = 5) -> float:
    """Median seconds of one call by CUDA events, each call a sample."""
    for _ in range(warm):
        function()
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(tries)]
    for start, end in events:
        start.record()
        function()
        end.record()
    torch.cuda.synchronize()
    return median(start.elapsed_time(end) for start, end in events) / 1e3


def replayed(function: Callable[[], object]) -> float:
    """The same of a CUDA graph of the call: what the GPU takes, however long a launch takes the CPU."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return seconds(graph.replay)


def ceilings() -> dict[str, float]:
    """Operations a second of a product of 8192, and bytes a second of a copy: what the card can do."""
    n, found = 8192, {}
    for name, dtype, short in (
        ("float32", torch.float32, False), ("tf32", torch.float32, True),
        ("bfloat16", torch.bfloat16, False), ("float64", torch.float64, False),
    ):  # fmt: skip
        torch.backends.cuda.matmul.allow_tf32 = short
        a, b = (torch.randn(n, n, device="cuda", dtype=dtype) for _ in range(2))
        found[name] = 2 * n**3 / seconds(lambda a=a, b=b: a @ b, tries=10)
    torch.backends.cuda.matmul.allow_tf32 = False
    a = torch.empty(2**30, device="cuda", dtype=torch.uint8)
    b = torch.empty_like(a)
    found["copy"] = 2 * len(a) / seconds(lambda: b.copy_(a))
    return found


def blocks(hidden: int, samples: int, length: int) -> Iterator[dict[str, Any]]:
    """One Llama block from disk by every method: seconds by part, peak memory on the GPU."""
    import secateur as sc
    from secateur.engine.blockwise.folder import prune_folder

    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 256, (samples, length), generator=rng)
    batches = [{"input_ids": part} for part in ids.split(8)]
    with tempfile.TemporaryDirectory() as folder:
        source, intermediate = Path(folder) / "source", hidden * 11 // 4
        generate(source, 1, hidden, intermediate)
        for method, options in METHODS.items():
            for take in range(2):
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
                recipe = sc.recipe(method, density=0.5, **options)
                out = Path(folder) / f"{method}-{take}"
                given = batches if recipe.required() else ()
                done = prune_folder(source, recipe, out, batches=given, device="cuda")
                peak = torch.cuda.max_memory_allocated()
                shutil.rmtree(out)
                row = {"hidden": hidden, "method": method, "take": take, "peak": peak}
                yield row | {"seconds": done.seconds, "sparsity": done.record["sparsity"]}


def solve(hidden: int) -> dict[str, Any]:
    """The solve of one block in memory: its time, and how much of it the GPU computes."""
    import secateur as sc
    from secateur.core.types import Update
    from secateur.engine.step import step
    from secateur.engine.view import ModelView
    from secateur.structure import Weights

    intermediate = hidden * 11 // 4
    shapes = dict.fromkeys("qkvo", (hidden, hidden))
    shapes |= dict.fromkeys("gu", (intermediate, hidden)) | {"d": (hidden, intermediate)}
    grams = {name: _gram(shapes[name][1]) for name in "qogd"}
    shared = dict(zip("qkvogud", "qqqoggd", strict=True))
    recipe, targets_of = sc.recipe("sparsegpt", walk="whole"), Weights(classifier=True).targets

    def once(profile: Any = None) -> float:
        layers = {n: nn.Linear(s[1], s[0], bias=False, device="cuda") for n, s in shapes.items()}
        model = nn.ModuleDict(layers)
        stats = {"input_gram": {f"{n}.weight": grams[shared[n]] for n in shapes}}
        stats["input_rows"] = dict.fromkeys(stats["input_gram"], torch.tensor([2 * intermediate]))
        view = ModelView(model, targets_of(model), stats=stats)
        torch.cuda.synchronize()
        start = time.perf_counter()
        step(recipe, view, Update(density=0.5), first=True)
        torch.cuda.synchronize()
        return time.perf_counter() - start

    once()
    spent = min(once() for _ in range(3))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        watched = once()
    kernels = [e for e in seen.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(e.device_time_total for e in kernels) / 1e6
    by_name: dict[str, float] = {}
    for event in kernels:
        by_name[event.name] = by_name.get(event.name, 0.0) + event.device_time_total / 1e6
    most = sorted(by_name.items(), key=lambda item: -item[1])[:12]
    found = {"hidden": hidden, "seconds": spent, "watched": watched, "kernels": len(kernels)}
    found |= {"busy": busy, "operations": solve_operations(hidden, intermediate)}
    return found | {"most": [(name[:90], s) for name, s in most]}


def _gram(inputs: int) -> Tensor:
    x = torch.randn(2 * inputs, inputs, device="cuda") * torch.rand(inputs, device="cuda")
    return x.T @ x / len(x)


def beyond(layers: int = 40, hidden: int = 1024) -> list[dict[str, Any]]:
    """A model larger than what the GPU may hold, pruned on it block by block; whole it is refused."""
    from transformers import AutoModelForCausalLM

    import secateur as sc
    from secateur.engine.blockwise.folder import prune_folder
    from secateur.engine.blockwise.smaller import shrink_folder
    from secateur.saving import describe

    ids = torch.randint(0, 256, (16, 512), generator=torch.Generator().manual_seed(0))
    given: Any = {"batches": [{"input_ids": part} for part in ids.split(8)], "device": "cuda"}
    torch.cuda.empty_cache()
    limit, found = 0.01, []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        size = generate(source, layers, hidden, hidden * 11 // 4)
        torch.cuda.set_per_process_memory_fraction(limit)
        try:
            for method in ("wanda", "flap"):
                torch.cuda.reset_peak_memory_stats()
                start, recipe = time.perf_counter(), sc.recipe(method, density=0.5)
                if recipe.walk == "blocks":
                    prune_folder(source, recipe, Path(folder) / method, **given)
                else:
                    shrink_folder(
                        source, recipe, Path(folder) / method,
                        lambda e: describe(e.model, e.folder, e.record, stock=not e.why), **given,
                    )  # fmt: skip
                row = {"method": method, "file": size, "layers": layers}
                row["seconds"] = time.perf_counter() - start
                found.append(row | {"peak": torch.cuda.max_memory_allocated()})
            try:
                AutoModelForCausalLM.from_pretrained(source).to("cuda")
            except torch.cuda.OutOfMemoryError:
                whole = False
            else:
                whole = True
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
    most = limit * torch.cuda.get_device_properties(0).total_memory
    return [row | {"limit": most, "whole": whole} for row in found]


def two_of_four(name: str, dtype: torch.dtype, time_of: Any) -> Iterator[dict[str, Any]]:
    """A linear layer with 2:4 weights, dense and in torch's semi-structured storage."""
    from torch.sparse import to_sparse_semi_structured

    import secateur as sc

    out, inputs = LAYERS[name]
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(inputs, out, bias=False, device="cuda"))
    recipe = sc.recipe("nm", n=2, m=4, classifier=True, fine_tune=None)
    layer = sc.prune(net, recipe, in_place=True).model.get_submodule("0").to(dtype)
    assert float((layer.weight == 0).float().mean()) == 0.5
    sparse = nn.Linear(inputs, out, bias=False, device="meta")
    sparse.weight = nn.Parameter(to_sparse_semi_structured(layer.weight.detach()), False)
    with torch.no_grad():
        for tokens in TOKENS:
            x = torch.randn(tokens, inputs, device="cuda", dtype=dtype)
            wanted, found = layer(x).float(), sparse(x).float()
            row = {"layer": name, "dtype": str(dtype).removeprefix("torch."), "tokens": tokens}
            row["error"] = float((found - wanted).norm() / wanted.norm())
            row["dense"] = time_of(lambda x=x: layer(x))
            row["sparse"] = time_of(lambda x=x: sparse(x))
            yield row


Case = tuple[nn.Module, Any, dict[str, Any]]


def _resnet() -> Case:
    from torchvision.models import resnet50

    return resnet50().eval(), torch.randn(2, 3, 224, 224), {"budget": {"macs": "50%"}}


def _vit() -> Case:
    from timm.models.vision_transformer import vit_base_patch16_224

    return vit_base_patch16_224().eval(), torch.randn(2, 3, 224, 224), {"budget": {"macs": "50%"}}


def _llama() -> Case:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=1, num_attention_heads=32,
        vocab_size=256, use_cache=False,
    )  # fmt: skip
    ids = torch.randint(0, 256, (2, 512))
    options = {"density": 0.5, "kinds": ("neurons",)}
    return LlamaForCausalLM(config).eval(), {"input_ids": ids}, options


NETWORKS: dict[str, Callable[[], Case]] = {
    "ResNet-50": _resnet, "ViT-B/16": _vit, "a block of Llama-7B": _llama,
}  # fmt: skip


def smaller(name: str, multiple: int, sizes: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """A network at half its MACs (the block: half its FFN's neurons) against the dense one, in fp16."""
    import secateur as sc
    from secateur.measure import compare_latency
    from secateur.measure.macs import count_macs

    torch.manual_seed(0)
    dense, example, options = NETWORKS[name]()
    dense, example = dense.cuda(), _on_gpu(example)
    options |= {"round_to": multiple} if multiple > 1 else {}
    small = sc.shrink(sc.prune(dense, "group-norm", example=example, **options), example)
    facts = {
        "network": name,
        "multiple": multiple,
        "dtype": "float16",
        "parameters": small.record["parameters"],
    }
    facts["macs"] = [count_macs(model, example).total for model in (dense, small.model)]
    facts |= {"difference": small.record["difference"]}
    models = [model.half() for model in (dense, small.model)]
    if not isinstance(example, dict):
        example = example.half()
    if name == "ResNet-50":
        models = [model.to(memory_format=torch.channels_last) for model in models]
        example = example.to(memory_format=torch.channels_last)
    for found in compare_latency(*models, example, batch_sizes=sizes, pairs=20):
        speedup, batch = found.speedup, found.setting.batch
        row = facts | {"batch": batch, "dense": found.a, "small": found.b}
        row["speedup"] = [speedup.low, speedup.ratio, speedup.high]
        with torch.no_grad():
            given = _repeated(example, batch)
            row["replayed"] = [replayed(lambda m=m, g=given: _call(m, g)) for m in models]
        yield row


def _call(model: nn.Module, given: Any) -> Any:
    return model(**given) if isinstance(given, dict) else model(given)


def _repeated(given: Any, batch: int) -> Any:
    """`batch` samples of an example."""
    if isinstance(given, dict):
        return {name: _repeated(value, batch) for name, value in given.items()}
    return given[torch.arange(batch, device=given.device) % len(given)]


def _on_gpu(example: Any) -> Any:
    if isinstance(example, dict):
        return {name: value.cuda() for name, value in example.items()}
    return example.cuda()


def plan(asked: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every part by its name, in order of worth."""
    yield "ceilings", ceilings
    for hidden in asked.hidden:
        yield f"solve {hidden}", lambda h=hidden: solve(h)
        yield f"blocks {hidden}", lambda h=hidden: list(blocks(h, asked.samples, 512))
    for dtype in (torch.bfloat16, torch.float16):
        for name in LAYERS:
            for word, way in (("launched", seconds), ("replayed", replayed)):
                yield (
                    f"2:4 {name} {dtype} {word}",
                    lambda n=name, d=dtype, w=way: list(two_of_four(n, d, w)),
                )
        if dtype == torch.bfloat16:
            yield from _networks()
            yield "beyond", beyond


def _networks() -> Iterator[tuple[str, Callable[[], Any]]]:
    for name in NETWORKS:
        sizes = (1, 8, 32) if "Llama" in name else (1, 16, 128)
        for multiple in (1,) if "Llama" in name else (1, 8, 64):
            yield (
                f"{name}, multiples of {multiple}",
                lambda n=name, m=multiple, s=sizes: list(smaller(n, m, s)),
            )


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {
        "card": torch.cuda.get_device_name(), "torch": torch.__version__,
        "cuda": torch.version.cuda, "python": platform.python_version(),
    }  # fmt: skip


def main(words: list[str] | None = None) -> None:
    """Measure what is not there yet; a part that fails says so and the others go on."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--hidden", type=int, nargs="*", default=[1024, 2048, 4096])
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--only", default="", help="parts whose name holds this")
    asked = parser.parse_args(words)
    path = asked.out / "gpu.json"
    found = json.loads(path.read_text()) if path.exists() else {"machine": machine(), "parts": {}}
    failed = []
    for name, measure in plan(asked):
        if name in found["parts"] or asked.only not in name:
            continue
        start = time.perf_counter()
        try:
            found["parts"][name] = measure()
        except Exception as error:  # noqa: BLE001 (named below; the other parts are worth having)
            failed.append(f"{name}: {type(error).__name__}: {error}")
            print(failed[-1][:1500], flush=True)
            continue
        print(f"{name}: {time.perf_counter() - start:.1f} s", flush=True)
        asked.out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
        torch.cuda.empty_cache()
    write(asked.out)
    if failed:
        raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    main()
