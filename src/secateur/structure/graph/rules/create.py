"""Tensors made in the forward pass."""

from __future__ import annotations

from secateur.structure.graph.op import Op, Value, rule, words
from secateur.structure.graph.rules.shape import patch_sizes

FILLED = words(
    "zeros ones full empty rand randn new_zeros new_ones new_full new_empty empty_permuted"
)
ORDERED = words(
    "arange linspace logspace eye tril_indices triu_indices scalar_tensor hann_window hamming_window "
    "randperm randint tensor range stft istft affine_grid_generator"
)


@rule(*FILLED)
def filled(op: Op) -> Value:
    """Every position alike: the sizes follow whatever the tensor meets."""
    out = tuple(op.fresh(n) for n in op.shape())
    patch_sizes(op, "size", out)
    return out


@rule(*ORDERED)
def ordered(op: Op) -> Value:
    """Positions differ: everything stays."""
    for dims in op.tensors():
        op.freeze(dims, "its order counts")
    return op.fixed_shape()


@rule("sym_size", "sym_numel", "sym_stride", "sym_storage_offset")
def measured(op: Op) -> Value:
    """Sizes of free axes are numbers in the graph; a symbol is a size that stays, as the batch does."""
    return None


@rule(
    "_assert_tensor_metadata",
    "_assert_scalar",
    "sym_constrain_range",
    "sym_constrain_range_for_size",
)
def check(op: Op) -> Value:
    """Checks have no result."""
    return None
