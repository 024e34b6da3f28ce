"""Does pruning the FFN as one help? SparseGPT and SparseLLM on the trained story model.

    python tools/sparsellm_study.py

SparseLLM (Bai et al. 2024, arXiv 2402.17946) prunes the three matrices of Y = D (silu(G X) ⊙ U X)
against auxiliary variables s ≈ G X, z ≈ U X, p ≈ silu(s) ⊙ z that start from the dense FFN:

    U, G, D ← SparseGPT of z X⁺, s X⁺, Y p⁺    (at first of the dense U, G, D)
    p ← (β DᵀD + γ I)⁻¹ (β DᵀY + γ silu(s) ⊙ z)
    z ← (U X + silu(s) ⊙ p) / (silu(s)² + 1)
    s ← two gradient steps on α ‖s − G X‖² + γ ‖p − silu(s) ⊙ z‖²

with α = β = γ = 5, steps of 0.01 and 8 rounds, as the official code has it for Llama. Attention is
pruned by SparseGPT everywhere; every block sees what the pruned blocks before it give.
"""

from __future__ import annotations

import copy
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from stories260k import MODEL, TOKENS, load, stories
from torch import Tensor, nn
from torch.nn.functional import silu

from secateur.core.density import keep_count
from secateur.solve.budget import Budget
from secateur.solve.hessian import factorise
from secateur.solve.sweep import sweep
from secateur.text.calibration import Sampling, calibrate
from secateur.text.perplexity import perplexity

SEEDS, PENALTY, RATE, ROUNDS = (0, 2), 5.0, 0.01, 8
Seen = dict[str, Tensor]
"""{x, s, z, p, y: [features, tokens]}: inputs, gate, up, product and outputs of a dense FFN."""
Prune = Callable[[Tensor, Tensor], Tensor]
Ffn = Callable[[Any, Seen, Prune], None]


def sparsegpt(weight: Tensor, inputs: Tensor, what: str) -> Tensor:
    """`weight` [out, in] pruned by SparseGPT for `inputs` [in, tokens]."""
    out, width = weight.shape
    if what == "2:4":
        budget = Budget(torch.full((out, width // 4), 2), out, run=4)
    else:
        budget = Budget(torch.tensor([keep_count(1 - float(what), weight.numel())]), out)
    return sweep([weight], factorise(inputs @ inputs.T, 0.01), [budget], 128)[0][0]


def fitted(target: Tensor, inputs: Tensor) -> Tensor:
    """target inputs⁺, [out, in], through the inputs' Gram matrix in float64."""
    target, inputs = target.double(), inputs.double()
    inverse = torch.linalg.pinv(inputs @ inputs.T, hermitian=True)
    return (target @ inputs.T @ inverse).float()


def apart(mlp: Any, seen: Seen, prune: Prune) -> None:
    """Each matrix for itself, on what flows through the dense FFN."""
    for layer, inputs in ((mlp.up_proj, "x"), (mlp.gate_proj, "x"), (mlp.down_proj, "p")):
        layer.weight.copy_(prune(layer.weight, seen[inputs]))


def down_last(mlp: Any, seen: Seen, prune: Prune, first: Ffn = apart, refit: bool = True) -> None:
    """After `first`, down again, from what the pruned up and gate now give it (fitted to Y before)."""
    dense = mlp.down_proj.weight.clone()
    first(mlp, seen, prune)
    now = silu(mlp.gate_proj.weight @ seen["x"]) * (mlp.up_proj.weight @ seen["x"])
    mlp.down_proj.weight.copy_(prune(fitted(seen["y"], now) if refit else dense, now))


def sparsellm(mlp: Any, seen: Seen, prune: Prune, steps: int = 2) -> None:
    """All three with auxiliary variables between them."""
    x, s, z, p, y = (seen[name] for name in "xszpy")
    up, gate, down = (layer.weight.clone() for layer in (mlp.up_proj, mlp.gate_proj, mlp.down_proj))
    for count in range(ROUNDS):
        if count:
            up, gate, down = fitted(z, x), fitted(s, x), fitted(y, p)
        up, gate, down = prune(up, x), prune(gate, x), prune(down, p)
        square = down.T @ down + torch.eye(down.shape[1])  # β = γ
        p = torch.linalg.solve(square, down.T @ y + silu(s) * z)
        z = (up @ x + silu(s) * p) / (silu(s).square() + 1)
        for _ in range(steps):
            s = s - RATE * slope(s, gate @ x, p, z)
    for layer, new in ((mlp.up_proj, up), (mlp.gate_proj, gate), (mlp.down_proj, down)):
        layer.weight.copy_(new)


def slope(s: Tensor, gate: Tensor, p: Tensor, z: Tensor) -> Tensor:
    """The derivative by s of α (s − gate)² + γ (p − silu(s) z)², element by element."""
    rise = s.sigmoid() * (1 + s * (1 - s.sigmoid()))  # the derivative of silu
    return 2 * PENALTY * ((s - gate) - (p - silu(s) * z) * z * rise)


WAYS: dict[str, Ffn] = {
    "SparseGPT": apart,
    "SparseGPT, then down on its new inputs": partial(down_last, refit=False),
    "SparseGPT, then down refitted": down_last,
    "SparseLLM": sparsellm,
    "SparseLLM, 20 steps for s": partial(sparsellm, steps=20),
    "SparseLLM, then down refitted": partial(down_last, first=sparsellm),
}


def watched(model: Any, layer: Any, batches: Iterable[dict[str, Tensor]]) -> dict[nn.Module, Any]:
    """{linear layer: (inputs, outputs)}, both [features, tokens], of one block."""
    found: dict[nn.Module, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    hook = lambda m, i, o: found[m].append((i[0].flatten(0, 1), o.flatten(0, 1)))  # noqa: E731
    linear = [m for m in layer.modules() if isinstance(m, nn.Linear)]
    handles = [m.register_forward_hook(hook) for m in linear]
    for batch in batches:
        model(**batch)
    for handle in handles:
        handle.remove()
    both = {m: zip(*found[m], strict=True) for m in linear}
    return {m: tuple(torch.cat(x).T.contiguous() for x in parts) for m, parts in both.items()}


@torch.no_grad()
def pruned(dense: Any, batches: list[dict[str, Tensor]], what: str, ffn: Ffn) -> Any:
    """A pruned copy."""
    model, prune = copy.deepcopy(dense), partial(sparsegpt, what=what)
    for layer in model.model.layers:
        seen, mlp = watched(model, layer, batches), layer.mlp
        for one in layer.self_attn.children():
            one.weight.copy_(prune(one.weight, seen[one][0]))
        (x, z), (_, s), (p, y) = (seen[m] for m in (mlp.up_proj, mlp.gate_proj, mlp.down_proj))
        ffn(mlp, {"x": x, "s": s, "z": z, "p": p, "y": y}, prune)
    return model


def main() -> None:
    """Print a table's rows: perplexity for each seed, over the stories of tools/stories260k.py."""
    torch.set_num_threads(1)
    model, tokenizer = load(MODEL)
    held_out, sampling = stories(model, tokenizer, seed=1), Sampling(samples=32, length=TOKENS)
    data = [calibrate(tokenizer, stories(model, tokenizer, s), sampling).batches for s in SEEDS]
    for what, (name, ffn) in itertools.product(("0.5", "0.7", "2:4"), WAYS.items()):
        models = (pruned(model, batches, what, ffn) for batches in data)
        found = [perplexity(m, tokenizer, held_out, batch_size=16).perplexity for m in models]
        print(f"| {what} | {name} | {', '.join(f'{x:.2f}' for x in found)} |", flush=True)


if __name__ == "__main__":
    main()
