"""Scores of segmentations, from label arrays and tables of what they share.

They need ``segmend[build]``: the base install scores benchmarks, whose metrics are numpy only.
"""

from segmend.core.errors import require

require("numba", extra="build")
require("scipy", extra="build")
