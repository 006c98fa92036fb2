"""Plan files for tests: one small block of tissue, cut into cubes."""

from __future__ import annotations

from pathlib import Path

TISSUE = """
dataset = "synthetic"
parameters = { seed = 1, shape = [48, 128, 128], false_merges = 4 }
"""
"""The source that a plan has unless another is given."""

_PLAN = """
name = "block"
seed = 3
[edits]
{edits}
[samples]
{samples}
[view]
half_extent_nm = [400, 500]
jitter_nm = 40
[em]
pixel_size_nm = 6
[splits]
rule = "cubes"
cube_nm = 300
fractions = [0.4, 0.3, 0.3]
accepted_leaks = ["view", "lineage"]
[[sources]]
volume = "v1"
{source}
"""


def write_plan(file: Path, *, edits: str, samples: str = "", source: str = TISSUE) -> Path:
    """Write a plan of one volume.

    Args:
        file: Where.
        edits: Content of the table ``edits``.
        samples: Content of the table ``samples``.
        source: Content of the one source, its ``volume`` aside.

    Returns:
        The file.
    """
    file.write_text(_PLAN.format(edits=edits, samples=samples, source=source), encoding="utf-8")
    return file
