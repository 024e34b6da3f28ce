"""Which method, for a goal, under constraints: asked of the catalogue and of what was measured."""

from .advise import Advice, Choice, advise
from .need import Need
from .traits import Traits, traits_of

__all__ = ["Advice", "Choice", "Need", "Traits", "advise", "traits_of"]
