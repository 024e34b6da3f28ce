"""WHICH units are worth least: one criterion a file, each with its paper."""

from .block_influence import BlockInfluence
from .coupled_taylor import CoupledTaylor
from .first_member import FirstMember
from .fluctuation import Fluctuation
from .force import Force
from .gradient import Gradient
from .grasp import Grasp
from .lamp import Lamp
from .layer_scale import LayerScale
from .loss_difference import LossDifference
from .magnitude import Magnitude
from .random import Random
from .relative import Relative
from .ria import Ria
from .router_weighted import RouterWeighted
from .smart_farm import SmartFarm
from .snip import Snip
from .supermask import Supermask
from .synflow import SynFlow
from .taylor import Taylor
from .wanda import Wanda

__all__ = [
    "BlockInfluence",
    "CoupledTaylor",
    "FirstMember",
    "Fluctuation",
    "Force",
    "Gradient",
    "Grasp",
    "Lamp",
    "LayerScale",
    "LossDifference",
    "Magnitude",
    "Random",
    "Relative",
    "Ria",
    "RouterWeighted",
    "SmartFarm",
    "Snip",
    "Supermask",
    "SynFlow",
    "Taylor",
    "Wanda",
]
