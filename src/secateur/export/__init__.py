"""Files that other programs load."""
