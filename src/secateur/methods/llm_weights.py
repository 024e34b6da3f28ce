"""Single weights and N:M in language models, after training, block by block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ..allocation import Given, Owl, Uniform
from ..core.axes import Allocator, Criterion, Scope, Solver
from ..core.cards import method
from ..core.errors import PlanError
from ..core.recipe import Recipe
from ..criteria import Magnitude, Ria, Wanda
from ..schedule import OneShot, Repeat
from ..scope import NM, Row, Tensorwise
from ..solve import ExactOBS, SparseGPT
from ..structure import Weights

Walk = Literal["whole", "blocks"]


def pruned(
    criterion: Criterion,
    density: float | None,
    pattern: str | None,
    allocator: Allocator,
    walk: Walk,
    solver: Solver | None = None,
    scope: Scope | None = None,
) -> Recipe:
    """Prune single weights once.

    Args:
        density: fraction kept; None = half, or what `pattern` says.
        pattern: `2:4` keeps two of every four consecutive inputs; None = any weights.
        scope: without a pattern; None = rows.
    """
    if pattern is not None:
        scope = nm(pattern)
        density = scope.fixed_density if density is None else density
    density = 0.5 if density is None else density
    return Recipe(
        structure=Weights(),
        criterion=criterion,
        scope=scope or Row(),
        allocator=allocator,
        schedule=OneShot(density=density) if allocator.uses_density else Repeat(),
        solver=solver,
        walk=walk,
    )


def nm(pattern: str) -> NM:
    """`2:4` as a scope."""
    n, _, m = str(pattern).partition(":")
    if not n.isdigit() or not m.isdigit():
        raise PlanError(
            f"pattern '{pattern}' is no N:M; write e.g. 2:4, two non-zeros of every four inputs"
        )
    return NM(n=int(n), m=int(m))


def shares(layers: Mapping[str, float] | None, density: float | None) -> Allocator:
    """The same for every layer, or given densities of some; the others get `density`."""
    if not layers:
        return Uniform()
    return Given(densities=layers, default=0.5 if density is None else density)


@method(
    "wanda",
    family="language models",
    paper="A Simple and Effective Pruning Approach for Large Language Models",
    authors="Sun et al.",
    year=2024,
    arxiv="2306.11695",
)
def wanda(
    density: float | None = None,
    pattern: str | None = None,
    layers: Mapping[str, float] | None = None,
    walk: Walk = "blocks",
) -> Recipe:
    """Keep, of every output, the weights that are large and multiply large inputs; no training.

    s_ij = |W_ij| · ‖X_j‖₂, compared within each row of W [out, in], or within runs of inputs
    (`pattern="2:4"`). Block by block, so that each is judged by what the pruned ones before it give;
    `walk="whole"` takes all statistics on the dense model instead. `layers` gives densities of layers
    by pattern. The paper calibrates on 128 sequences of C4 of the model's full length. Without
    activations the score would be |W|, which is `magnitude-layerwise`. `permute=True` puts inputs in an
    order that fits a pattern better, `refit` lets weights make up for earlier losses first.
    """
    return pruned(Wanda(), density, pattern, shares(layers, density), walk)


@method(
    "ria",
    family="language models",
    paper="Plug-and-Play: An Efficient Post-training Pruning Method for Large Language Models",
    authors="Zhang et al.",
    year=2024,
)
def ria(
    density: float | None = None,
    pattern: str | None = None,
    power: float = 0.5,
    walk: Walk = "blocks",
) -> Recipe:
    """Keep the weights with a large share of their row and their column, weighed by activations.

    s_ij = (|W_ij| / Σ_k |W_ik| + |W_ij| / Σ_k |W_kj|) · ‖X_j‖₂^power, all weights of a layer compared
    with each other, or within runs of inputs (`pattern="2:4"`), where the paper also permutes the
    input channels of every layer for a better fit: `permute=True`, as far as that needs no gathering
    while the network runs.
    """
    return pruned(Ria(power=power), density, pattern, Uniform(), walk, scope=Tensorwise())


@method(
    "owl",
    family="language models",
    paper="Outlier Weighed Layerwise Sparsity (OWL): A Missing Secret Sauce for Pruning LLMs to High "
    "Sparsity",
    authors="Yin et al.",
    year=2024,
    arxiv="2310.05175",
)
def owl(
    density: float = 0.3,
    multiple: float = 5.0,
    spread: float = 0.08,
    reconstruct: bool = False,
    refit: float = 0.0,
    walk: Walk = "blocks",
) -> Recipe:
    """Wanda, with more kept in blocks that hold more outliers; meant for high sparsity.

    density_b = density + 2 spread (D_b − min D) / (max D − min D), shifted to the mean `density`;
    D_b: the share of Wanda's scores |W| · ‖X‖ in block b above `multiple` times their mean, on the
    dense model (one more pass over the data). `reconstruct` prunes with SparseGPT instead, whose
    `refit` goes with it.
    """
    if refit and not reconstruct:
        raise PlanError(
            f"owl: refit={refit} is SparseGPT's, which reconstruct=True asks for; without it nothing "
            "would be refitted"
        )
    solver = SparseGPT(refit=refit) if reconstruct else None
    scope = Tensorwise() if reconstruct else Row()
    allocator = Owl(multiple=multiple, spread=spread)
    return pruned(Wanda(), density, None, allocator, walk, solver, scope)


@method(
    "sparsegpt",
    family="language models",
    paper="SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot",
    authors="Frantar and Alistarh",
    year=2023,
    arxiv="2301.00774",
)
def sparsegpt(
    density: float | None = None,
    pattern: str | None = None,
    block: int = 128,
    damping: float = 0.01,
    act_order: bool = False,
    refit: float = 0.0,
    layers: Mapping[str, float] | None = None,
    walk: Walk = "blocks",
) -> Recipe:
    """Remove weights column by column, and change those that stay so that each layer's output lasts.

    min ‖W X − Ŵ X‖²: of every `block` columns the weights with the smallest w_j² / [R_jj]² go, H⁻¹ =
    Rᵀ R, H = X Xᵀ / n + λ I with λ = `damping` × its mean diagonal (raised where H cannot be inverted,
    as the record then says); the columns after each take over what it lost. `pattern="2:4"` chooses
    within runs of inputs. `act_order` takes inputs with large activations first.

    `refit` (1, or a share of it) aims every layer at what it put out in the dense network: min ‖W X° −
    Ŵ X‖², X° its inputs there and X those that the pruned layers before it give, the target of GPTAQ (Li
    et al. 2025, arXiv 2504.02692). W first moves to W + `refit` · W (X° − X) Xᵀ (X Xᵀ + n λ I)⁻¹, then the
    sweep goes on from there, layer by layer in the order in which they run. It holds the dense block and what
    flows through it as well, and runs each block several times. Stacked experts are pruned without it.
    """
    solver = SparseGPT(block=block, damping=damping, act_order=act_order, refit=refit)
    allocator = shares(layers, density)
    return pruned(Magnitude(), density, pattern, allocator, walk, solver, Tensorwise())


@method(
    "exact-obs",
    family="after training",
    paper="Optimal Brain Compression: A Framework for Accurate Post-Training Quantization and Pruning",
    authors="Frantar and Alistarh",
    year=2022,
    arxiv="2208.11580",
)
def exact_obs(
    density: float | None = None,
    pattern: str | None = None,
    damping: float = 0.01,
    layers: Mapping[str, float] | None = None,
    walk: Walk = "whole",
) -> Recipe:
    """Remove weights one by one, each row with its own inverse Hessian, and make up for each in all others.

    Of every row the p with the least w_p² / [H⁻¹]_pp goes next, w ← w − w_p [H⁻¹]_:p / [H⁻¹]_pp, and p
    leaves H⁻¹; H = X Xᵀ / n + λ I, λ = `damping` × its mean diagonal. The steps of all rows of a layer are
    merged by what they cost, and the cheapest happen, so that rows keep what they need; `pattern="2:4"`
    chooses within runs of inputs. This is Optimal Brain Surgeon (Hassibi and Stork 1993) for each layer's
    squared error, exactly, where `sparsegpt` passes every column once: the work is out · in³ for a layer,
    for layers of up to 4,096 inputs. As in the paper each layer is solved on the dense network's inputs;
    `walk="blocks"` takes those that the pruned blocks before it give. The paper's database of layers at
    many densities, from which a budget is met, and its quantisation are not here.
    """
    allocator = shares(layers, density)
    solver = ExactOBS(damping=damping)
    return pruned(Magnitude(), density, pattern, allocator, walk, solver, Tensorwise())
