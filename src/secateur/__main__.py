"""`python -m secateur` is the command `secateur`."""

from .cli.main import entry

entry()
