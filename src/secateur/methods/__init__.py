"""The catalogue: published methods as functions that return a `Recipe`."""

from . import at_init, basic, structured, tickets, while_training

__all__ = ["at_init", "basic", "structured", "tickets", "while_training"]
