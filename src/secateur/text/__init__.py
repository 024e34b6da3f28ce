"""What a language model writes: overlap, perplexity, greedy answers, time, memory."""
