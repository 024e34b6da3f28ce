"""Structures of any network, found on its `torch.export` graph by dimension inference."""
