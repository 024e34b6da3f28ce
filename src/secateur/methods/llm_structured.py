"""Structured pruning of language models: FFN neurons and attention heads with their KV groups."""

from __future__ import annotations

from typing import Literal

from ..allocation import Bounded, ModelWide, Uniform
from ..basis import PrincipalAxes
from ..core.axes import Allocator, Recovery
from ..core.cards import method
from ..core.recipe import Recipe
from ..criteria import (
    Averaged,
    Balanced,
    CoupledTaylor,
    Fluctuation,
    InputEnergy,
    Leading,
    RouterWeighted,
    Taylor,
)
from ..recover import Lora
from ..schedule import Cubic, OneShot
from ..scope import Tensorwise
from ..solve import BiasCompensation
from ..structure import Coupled, Experts, Protected, RotatedResidual
from ..tuning import LowRank

PARTS = ("neurons", "heads")
"""FFN neurons, and heads: a key-value head with the query heads that share it."""


def shares(across: bool) -> Allocator:
    """Every structure its share, or one ranking of all; one unit of each stays whatever its score."""
    return ModelWide(floor=1) if across else Bounded(inner=Uniform(), floor=1)


def adapters(length: str | None, rank: int) -> Recovery | None:
    """Adapters trained for `length` and merged back (None = no recovery)."""
    return Lora(length=length, rank=rank, alpha=2.0 * rank) if length else None


@method(
    "flap",
    family="language models",
    paper="Fluctuation-based Adaptive Structured Pruning for Large Language Models",
    authors="An et al.",
    year=2024,
    arxiv="2312.11983",
)
def flap(
    density: float = 0.8,
    metric: Literal["wifv", "wifn", "ifv"] = "wifv",
    across: bool = True,
    compensate: bool = True,
    square_heads: bool = True,
    kinds: tuple[str, ...] = PARTS,
) -> Recipe:
    """Take out the FFN neurons and heads whose output hardly varies, and let biases stand in for them.

    a_j = v_j Σ_i W_ij² for each input j of a down or output projection W (`wifv`; v_j its variance
    over the calibration tokens), standardised within each layer, (a_j − mean) / std; a head and the
    key-value group it shares count the mean of their features. One ranking over all layers
    (`across`) decides; then b ← b + Σ_removed W_:j mean(x_j). `wifn` takes √(mean x_j²) · mean |W_ij|
    and `ifv` v_j for a_j. No gradients and no training. As in the official code, features of heads
    are squared before they are standardised (`square_heads`), which the paper does not say. There
    the budget counts parameters, a head as 512 / 3 neurons; here `density` is the fraction of units.
    Layers without a bias get one: Llama's configuration has switches for them, so that with
    `across=False` stock loaders read the result; those of other architectures often have none.
    """
    return Recipe(
        structure=Coupled(kinds=kinds),
        criterion=Fluctuation(metric=metric, square_heads=square_heads),
        scope=Tensorwise(),
        allocator=shares(across),
        schedule=OneShot(density=density),
        solver=BiasCompensation() if compensate else None,
    )


@method(
    "llm-pruner",
    family="language models",
    paper="LLM-Pruner: On the Structural Pruning of Large Language Models",
    authors="Ma et al.",
    year=2023,
    arxiv="2305.11627",
)
def llm_pruner(
    density: float = 0.75,
    order: Literal["mixed", "first", "second"] = "mixed",
    aggregate: Literal["element", "vector"] = "element",
    group: Literal["sum", "mean", "max", "prod", "last"] = "sum",
    first: int = 4,
    last: int = 2,
    across: bool = False,
    kinds: tuple[str, ...] = PARTS,
    lora: str | None = None,
    rank: int = 8,
) -> Recipe:
    """Take out the FFN neurons and heads whose loss of all coupled weights changes the loss least.

    t_i = w_i g_i − ½ F_i w_i² (order `mixed`; `first`: w_i g_i; `second`: F_i w_i²), F the mean of
    the squared gradients of single samples: give batches of one. A unit's tensors count Σ|t_i|
    each (aggregate `element`) or |Σ t_i| (`vector`), and `group` puts them together. `density` is
    the fraction of units kept in every block but the `first` and `last` ones, which stay whole: the
    paper protects 4 and 2 of LLaMA-7B's 32, so that density 0.75 removes about 20 % of the
    parameters. `across` ranks all blocks together instead. The official code compares
    query heads one by one where every head has its own keys and values; with shared ones a whole
    group goes. Its default is this, sum of elements of the mixed order. The paper trains adapters of
    rank 8 afterwards: `lora` is for how long, `rank` of what rank.
    """
    return Recipe(
        structure=Protected(inner=Coupled(kinds=kinds), first=first, last=last),
        criterion=CoupledTaylor(order=order, aggregate=aggregate, group=group),
        scope=Tensorwise(),
        allocator=shares(across),
        schedule=OneShot(density=density),
        recovery=adapters(lora, rank),
    )


@method(
    "loraprune",
    family="language models",
    paper="LoRAPrune: Structured Pruning Meets Low-Rank Parameter-Efficient Fine-Tuning",
    authors="Zhang et al.",
    year=2023,
    arxiv="2305.18403",
)
def loraprune(
    density: float = 0.5,
    begin: str = "10%",
    end: str = "90%",
    every: str = "10it",
    order: Literal["absolute", "squared"] = "absolute",
    balanced: bool = True,
    decay: float = 0.9,
    first: int = 3,
    last: int = 1,
    across: bool = False,
    kinds: tuple[str, ...] = PARTS,
    rank: int = 8,
    alpha: float = 16.0,
    dropout: float = 0.05,
    layers: tuple[str, ...] = (),
) -> Recipe:
    """Take out neurons and heads step by step while adapters train, judged by the adapters' gradients alone.

    The network computes with W + s B A, W frozen, s = `alpha` / `rank`; A and B train. At every step
    ĝ = ∂L/∂B A + B ∂L/∂A − ∂L/∂B ∂L/∂A stands for the gradient of W, so that no gradient of a frozen
    weight is ever taken. A unit's score is Σ|ĝ (W + s B A)| over its elements (`order` absolute) or
    Σ(ĝ (W + s B A))² (squared), averaged over the steps, s_t = `decay` s_{t−1} + (1 − `decay`) new.
    From `begin` to `end` the density falls along a cubic ramp, an update `every` so often, to `density`
    in every block but the `first` and `last` ones, which stay whole; what is left of the training
    repairs. Adapters are merged at its end. The paper squares and adds up plainly; the official code
    takes absolute values, and divides those of each tensor by their norm over its units before they
    are added (`balanced`): that is the default here. It spares the first tenth of the blocks and the last (3
    and 1 of LLaMA-7B's 32), and its ramp never takes the last step; here it ends at `density` exactly. A
    head goes with the query heads that share its keys and values. Bring a trained model and a training
    (`preset("language")` with a length: the official code trains 2 or 3 epochs at 1e-4 to 3e-4); give
    `first=0, last=0` for a network of few blocks.
    """
    taylor = Taylor(order=order)
    return Recipe(
        structure=Protected(inner=Coupled(kinds=kinds), first=first, last=last),
        criterion=Averaged(inner=Balanced(inner=taylor) if balanced else taylor, decay=decay),
        scope=Tensorwise(),
        allocator=shares(across),
        schedule=Cubic(density=density, begin=begin, end=end, every=every),
        tuning=LowRank(rank=rank, alpha=alpha, dropout=dropout, layers=layers),
    )


@method(
    "reap",
    family="language models",
    paper="REAP the Experts: Why Pruning Prevails for One-Shot MoE Compression",
    authors="Lasby et al.",
    year=2025,
    arxiv="2510.13999",
)
def reap(density: float = 0.5) -> Recipe:
    """Take out the experts that add least to the tokens their router gives them.

    s_e = mean over the tokens x routed to expert e of g_e(x) ‖f_e(x)‖₂, with its share g_e of the
    gate and its output f_e; every layer of experts keeps the same share (`density`). Experts are
    fused weights [experts, …] with their rows of the router. As masks a removed expert puts out zero
    but still takes its share of the gate; `secateur.shrink` takes it out of the router, so that the
    next best expert gets the token, which is the network the paper evaluates. A router needs at
    least as many experts as it chooses. The official code weights by the softmax over all experts
    unless asked to normalise over the chosen ones; here it is the gate the network itself uses. Llama 4
    scales what experts are given: there it is ‖f_e(g_e(x) x)‖₂, what they add (g_e(x) ‖f_e(x)‖₂ in the
    official code).
    """
    return Recipe(
        structure=Experts(),
        criterion=RouterWeighted(),
        scope=Tensorwise(),
        allocator=Uniform(),
        schedule=OneShot(density=density),
    )


@method(
    "slicegpt",
    family="language models",
    paper="SliceGPT: Compress Large Language Models by Deleting Rows and Columns",
    authors="Ashkboos et al.",
    year=2024,
    arxiv="2401.15024",
)
def slicegpt(density: float = 0.75, head: bool = False, progressive: bool = True) -> Recipe:
    """Rotate the residual stream into its principal axes and slice off those of least variance.

    Before every sublayer x ← Qᵀ x with Q the eigenvectors of the mean z zᵀ of what its norm gives;
    weights absorb Q, linear shortcuts Qᵀ Q' lead from one basis to the next, and the network
    computes the same. Then `density` of the directions stay, at every place the first, those
    with the largest eigenvalues (`head`: before the classifier too, which the official code leaves
    whole by default).
    Norms go on dividing by the full width. Shortcuts cost parameters: at density 0.75 about 10 % go
    in LLaMA-2 7B. Each basis is that of the network whose earlier places are sliced already, as in
    the paper: one pass over the data for each place; with `progressive=False` one pass over the dense
    network gives all. z is what the norm gives, as in the paper; the official code takes the signal
    before the norm. Networks with a norm before attention and FFN: Llama, Mistral, Qwen 2 and 3, and
    GPT-2 and OPT, whose layer norms become root mean square norms first, as in the paper: what writes
    the stream writes it without its mean, and the head gets a bias.
    """
    return Recipe(
        structure=RotatedResidual(head=head),
        basis=PrincipalAxes(progressive=progressive),
        criterion=Leading() if progressive else InputEnergy(),
        scope=Tensorwise(),
        allocator=Uniform(),
        schedule=OneShot(density=density),
    )
