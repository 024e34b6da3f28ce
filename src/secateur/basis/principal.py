"""Principal axes: the residual stream before every sublayer in the basis of its own covariance."""

from __future__ import annotations

from contextlib import ExitStack
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..core.axes import Basis, Observe
from ..core.component import register
from ..core.density import keep_count
from ..core.stack import repeated_blocks
from .rotated import Site, check, confined, fold, sites, turn, wrap


@register("principal-axes")
class PrincipalAxes(Basis):
    r"""x ← Qᵀ x before every sublayer, Q the eigenvectors of C = (1/n) Σ_t z_t z_tᵀ, largest first.

    z_t: what the norm before the sublayer (or the head) gives for token t, [width], its scale folded
    into the layers that read it; padding never counts. Norms by the root mean square commute with Q,
    so layers that read take W Q, layers that write take Qᵀ W, and a linear shortcut Qᵀ Q' leads from
    the basis of one place to that of the next: the network computes the same. An untied head is made
    of a tied one. Layer norms (GPT-2, OPT) become norms by the root mean square: what writes the stream
    writes it without its mean, scale and shift go into what reads, and the head gets a bias.
    Without data Q is the identity, which gives the shapes alone.

    Paper: Ashkboos, Croci, do Nascimento, Hoefler, Hensman 2024, arXiv 2401.15024. The official code
    takes C of the signal before the norm, so that tokens of large norm weigh more, where paper and
    this class take what the norm gives.

    Attributes:
        progressive: each place is looked at where the places before it have lost their last axes
            already, as in paper and official code: a pass over the data for each place. False looks
            at the dense network, in one pass.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input_gram"})
    progressive: bool = True

    @property
    def in_turn(self) -> bool:
        """Where each place is looked at after those before it."""
        return self.progressive

    def rewrite(
        self, model: nn.Module, observe: Observe | None, density: float | None = None
    ) -> None:
        """Fold, rotate and add shortcuts, in place."""
        blocks = repeated_blocks(model)
        check(model, blocks)
        every = sites(model, blocks)
        fold(model, every)
        first = [f"{site.reads[0]}.weight" for site in every]
        width = model.get_submodule(every[0].norm).full
        assert isinstance(width, int)
        wrap(model, blocks, width)
        if observe is not None:
            if self.progressive and density is not None and density < 1:
                bases = _one_by_one(model, every, observe, keep_count(density, width))
            else:
                grams = observe(("input_gram",), first)["input_gram"]
                bases = {s.norm: axes(grams[p]) for s, p in zip(every, first, strict=True)}
            turn(model, every, bases)


def _one_by_one(
    model: nn.Module, every: list[Site], observe: Observe, kept: int
) -> dict[str, Tensor]:
    """Norm -> basis, found while every place before keeps its first `kept` axes only."""
    bases: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for site, after in zip(every, [*every[1:], None], strict=True):
            read = f"{site.reads[0]}.weight"
            q = bases[site.norm] = axes(observe(("input_gram",), (read,))["input_gram"][read])
            if after is not None and after.shortcut is not None:
                stack.enter_context(confined(model, (site.norm, after.shortcut), q[:, :kept]))
    return bases


def axes(gram: Tensor) -> Tensor:
    """[width, width] eigenvectors as columns, the largest eigenvalue first; signs fixed."""
    vectors = torch.linalg.eigh(gram.double()).eigenvectors.flip(1)
    largest = vectors.abs().argmax(0)
    signs = vectors.gather(0, largest[None])[0].sign()
    return vectors * torch.where(signs == 0, torch.ones_like(signs), signs)
