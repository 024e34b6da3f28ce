"""Carries out recipes: the one step, statistics, training, checkpoints."""
