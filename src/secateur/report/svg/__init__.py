"""Figures as SVG: text stays text, colours follow the reader's light or dark mode."""
