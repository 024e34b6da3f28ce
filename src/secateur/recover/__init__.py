"""How accuracy is won back after pruning."""
