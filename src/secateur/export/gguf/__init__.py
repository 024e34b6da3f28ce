"""GGUF, the file of llama.cpp: `save_gguf` writes one, `logit_gap` reads it back and compares."""

from secateur.export.gguf.check import logit_gap
from secateur.export.gguf.save import GgufFile, save_gguf

__all__ = ["GgufFile", "logit_gap", "save_gguf"]
