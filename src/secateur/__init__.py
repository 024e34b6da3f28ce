"""Secateur prunes neural networks: chooses what can go, takes it out, proves and measures it.

>>> import torch, secateur as sc
>>> net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
>>> result = sc.prune(net, "magnitude", sparsity=0.75)
>>> result.sparsity
0.75
"""

from .advice import advise
from .api import Result, methods, plan, proxies, prune, recipe, score
from .core.errors import SecateurError
from .core.recipe import Recipe
from .core.time import Time
from .engine.train import Training, preset
from .exporting import export
from .folding import fold_batch_norms
from .language import plan_folder, prune_folder
from .saving import load, save
from .structural import Shrunk, measure, shrink, trace
from .transferring import Transferred, transfer

__version__ = "0.1.0"

__all__ = [
    "Recipe",
    "Result",
    "SecateurError",
    "Shrunk",
    "Time",
    "Training",
    "Transferred",
    "advise",
    "export",
    "fold_batch_norms",
    "load",
    "measure",
    "methods",
    "plan",
    "plan_folder",
    "preset",
    "proxies",
    "prune",
    "prune_folder",
    "recipe",
    "save",
    "score",
    "shrink",
    "trace",
    "transfer",
]
