"""Benchmarks: ratios against what one would run instead, in paired interleaved runs."""
