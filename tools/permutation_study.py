"""Do channel permutations help 2:4 where they need no change of the network? On the trained story model.

    python tools/permutation_study.py

Zhang et al. 2024 (RIA) permute each linear layer's input channels so that more of the scores can stay: in
the retained sum Σ_rows Σ_groups (the two largest of four scores). A layer's inputs can be permuted for good
only where what produces them is permuted with them: the hidden neurons of an FFN (rows of gate and up,
columns of down), and the value channels of a key-value head (rows of v, columns of o of every head that
reads it). What reads the residual stream cannot have an order of its own.

Channels are sorted by the sum of their scores and dealt out to the groups in turn; then, for each place,
every group gives up its channel there, and a linear sum assignment deals them out anew, until nothing
grows. Scores are those of the dense model. One thread.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from stories260k import MODEL, TOKENS, load, stories
from torch import Tensor

import secateur as sc
from secateur.engine.collect import collect
from secateur.text.calibration import Sampling, calibrate
from secateur.text.perplexity import perplexity

SEEDS, N, M, ROUNDS = (0, 2), 2, 4, 10


def score(method: str, weight: Tensor, square: Tensor) -> Tensor:
    """[out, in] of RIA (power 0.5) or Wanda."""
    size, norm = weight.abs().double(), square.double().sqrt()
    if method == "wanda":
        return size * norm
    return (size / size.sum(1, keepdim=True) + size / size.sum(0)) * norm.sqrt()


def retained(scores: Tensor) -> Tensor:
    """[...] the sum of the N largest of the last dimension, over rows: scores [..., rows, M]."""
    return scores.topk(N, dim=-1).values.sum((-2, -1))


def total(scores: Tensor) -> float:
    """What is retained of [rows, in] in the order the channels have."""
    return float(retained(scores.unflatten(1, (-1, M)).movedim(1, 0)).sum())


def permutation(scores: Tensor) -> Tensor:
    """[in] the new order of the channels."""
    groups = scores.shape[1] // M
    order = scores.sum(0).argsort(descending=True).view(M, groups).T.contiguous()  # [groups, M]
    best = total(scores[:, order.flatten()])
    for _ in range(ROUNDS):
        for place in range(M):
            free, rest = order[:, place].clone(), [p for p in range(M) if p != place]
            fixed = scores[:, order[:, rest]].movedim(1, 0)  # [groups, rows, M - 1]
            given = (scores[None, :, c, None].expand(groups, -1, 1) for c in free)
            gain = torch.stack([retained(torch.cat([fixed, g], -1)) for g in given], dim=1)
            _, chosen = linear_sum_assignment(gain.numpy(), maximize=True)  # gain [groups, free]
            order[:, place] = free[torch.from_numpy(chosen)]
        now = total(scores[:, order.flatten()])
        if now <= best * (1 + 1e-9):
            break
        best = now
    return order.flatten()


@torch.no_grad()
def permuted(dense: Any, batches: Any, method: str, values: bool) -> tuple[Any, list[float]]:
    """A copy that computes the same, and what is retained in each permuted layer, over before."""
    model, gains = copy.deepcopy(dense), []
    ends = ("down_proj.weight", "o_proj.weight")
    names = [name for name, _ in model.named_parameters() if name.endswith(ends)]
    squares = collect(model, ["input_square"], names, batches)["input_square"]
    for i, layer in enumerate(model.model.layers):
        mlp, attention = layer.mlp, layer.self_attn
        name = f"model.layers.{i}.mlp.down_proj.weight"
        found = score(method, mlp.down_proj.weight, squares[name])
        order = permutation(found)
        gains.append(total(found[:, order]) / total(found))
        for part in (mlp.gate_proj, mlp.up_proj):
            part.weight.copy_(part.weight[order])
        mlp.down_proj.weight.copy_(mlp.down_proj.weight[:, order])
        if values:
            name = f"model.layers.{i}.self_attn.o_proj.weight"
            gains.append(_values(attention, score(method, attention.o_proj.weight, squares[name])))
    return model, gains


def _values(attention: Any, scores: Tensor) -> float:
    """Permute the value channels of each key-value head, for all heads that read it together."""
    width, share = attention.head_dim, attention.num_key_value_groups
    new = torch.arange(scores.shape[1])
    v = attention.v_proj.weight
    for head in range(v.shape[0] // width):
        mine = torch.arange(head * share * width, (head + 1) * share * width).view(share, width)
        order = permutation(torch.cat([scores[:, part] for part in mine]))  # rows of every head
        v[head * width : (head + 1) * width] = v[head * width : (head + 1) * width][order]
        for part in mine:
            new[part] = part[order]
    attention.o_proj.weight.copy_(attention.o_proj.weight[:, new])
    return total(scores[:, new]) / total(scores)


def main() -> None:
    """Print the table's rows."""
    torch.set_num_threads(1)
    model, tokenizer = load(MODEL)
    held_out, sampling = stories(model, tokenizer, seed=1), Sampling(samples=32, length=TOKENS)
    data = [calibrate(tokenizer, stories(model, tokenizer, s), sampling).batches for s in SEEDS]
    look = lambda m: perplexity(m, tokenizer, held_out, batch_size=16).perplexity  # noqa: E731
    for method in ("wanda", "ria"):
        for label, values in (("as it is", None), ("neurons", False), ("neurons, values", True)):
            found, kept, apart = [], [], 0.0
            for batches in data:
                start, gains = (
                    (copy.deepcopy(model), [1.0])
                    if values is None
                    else permuted(model, batches, method, values)
                )
                apart = max(apart, abs(look(start) - look(model)))
                kept.append(sum(gains) / len(gains))
                found.append(look(sc.prune(start, method, data=batches, pattern=f"{N}:{M}").model))
            cells = ", ".join(f"{x:.2f}" for x in found)
            more = ", ".join(f"{100 * (x - 1):+.1f} %" for x in kept)
            print(f"| {method} | {label} | {cells} | {more} | {apart:.0e} |", flush=True)


if __name__ == "__main__":
    main()
