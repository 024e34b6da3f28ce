"""Studies of language models: a grid of prunings, each measured by what the model still answers."""
