"""Studies: grids of runs, the results they leave, analyses and statistics over them."""
