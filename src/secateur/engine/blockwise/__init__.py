"""The block-wise walk: one repeated block of a model after the other, from disk where it lies there."""
