"""Resumable training: what to do is a value, randomness a function of seed, stage and step."""

from .device import open_accelerator
from .evaluate import evaluate
from .lr import Constant, Cosine, LearningRate, OneCycle, Steps, Warmup
from .muon import Muon
from .optimiser import SGD, Adam, AdamW, Optimiser
from .spec import PRESETS, Distil, Training, preset
from .trainer import Batches, Trainer

__all__ = [
    "PRESETS",
    "SGD",
    "Adam",
    "AdamW",
    "Batches",
    "Constant",
    "Cosine",
    "Distil",
    "LearningRate",
    "Muon",
    "OneCycle",
    "Optimiser",
    "Steps",
    "Trainer",
    "Training",
    "Warmup",
    "evaluate",
    "open_accelerator",
    "preset",
]
