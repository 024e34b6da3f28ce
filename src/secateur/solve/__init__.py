"""What the SURVIVORS do at once after a selection."""
