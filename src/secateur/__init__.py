"""Secateur prunes neural networks: chooses what can go, takes it out, proves and measures it."""

__version__ = "0.1.0"
