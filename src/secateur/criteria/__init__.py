"""WHICH units are worth least: one criterion a file, each with its paper."""

from .activation_taylor import ActivationTaylor
from .averaged import Averaged
from .balanced import Balanced
from .block_influence import BlockInfluence
from .bn_saliency import BnSaliency
from .bn_scale import BnScale
from .channel_lasso import ChannelLasso
from .coupled_taylor import CoupledTaylor
from .first_member import FirstMember
from .fisher import Fisher
from .fluctuation import Fluctuation
from .force import Force
from .fpgm import Fpgm
from .gradient import Gradient
from .grasp import Grasp
from .hrank import HRank
from .input_energy import InputEnergy
from .lamp import Lamp
from .layer_scale import LayerScale
from .leading import Leading
from .learned import Learned
from .loss_difference import LossDifference
from .magnitude import Magnitude
from .obd import Obd
from .pattern import Pattern
from .per_input import PerInput
from .random import Random
from .relative import Relative
from .ria import Ria
from .router_weighted import RouterWeighted
from .smart_farm import SmartFarm
from .snip import Snip
from .sosp import Sosp
from .supermask import Supermask
from .synflow import SynFlow
from .taylor import Taylor
from .thinet import ThiNet
from .unit_taylor import UnitTaylor
from .wanda import Wanda

__all__ = [
    "ActivationTaylor",
    "Averaged",
    "Balanced",
    "BlockInfluence",
    "BnSaliency",
    "BnScale",
    "ChannelLasso",
    "CoupledTaylor",
    "FirstMember",
    "Fisher",
    "Fluctuation",
    "Force",
    "Fpgm",
    "Gradient",
    "Grasp",
    "HRank",
    "InputEnergy",
    "Lamp",
    "LayerScale",
    "Leading",
    "Learned",
    "LossDifference",
    "Magnitude",
    "Obd",
    "Pattern",
    "PerInput",
    "Random",
    "Relative",
    "Ria",
    "RouterWeighted",
    "SmartFarm",
    "Snip",
    "Sosp",
    "Supermask",
    "SynFlow",
    "Taylor",
    "ThiNet",
    "UnitTaylor",
    "Wanda",
]
