"""What PUSHES towards sparsity while training."""
