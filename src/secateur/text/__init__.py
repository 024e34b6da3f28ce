"""What a language model writes: overlap, perplexity, greedy answers, time, memory."""

from .match import exact_match, keyword_match
from .overlap import bleu, rouge, rouge_mean

__all__ = ["bleu", "exact_match", "keyword_match", "rouge", "rouge_mean"]
