"""A self-contained HTML report of a benchmark and of scores on it."""
