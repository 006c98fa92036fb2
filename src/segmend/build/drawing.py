"""Rows of a shard: drawn in the order of their places, handed out in that of the plan.

The rows of a shard lie anywhere, so that training reads a mix. Drawn in that order, nearly every
row would decode chunks that the one before last threw out of memory; drawn place by place,
neighbours share them (`segmend.volumes.recent`). Until its turn comes a row waits in a file without
a name, which no kill leaves behind: memory does not grow with the shard.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from segmend.core.box import Point
from segmend.samples.candidate import Candidate
from segmend.shards.rows import Row
from segmend.store.atomic import output_errors

CELL_NM = 500
"""Sites this close count as one place: half of what a view usually shows."""

_BITS = 32
"""Of a cell's number along an axis; cells are counted from far below any volume."""


def drawn_in_place(
    candidates: Sequence[Candidate], draw: Callable[[Candidate], Row | None], folder: Path
) -> Iterator[Row]:
    """Draw all rows, then hand them out in their order.

    Args:
        candidates: In the order of the plan.
        draw: Makes the row of a candidate; None leaves it out.
        folder: Where the rows wait.

    Raises:
        OutputError: if they cannot wait there.
    """
    with output_errors(folder), tempfile.TemporaryFile(dir=folder) as waiting:
        spans: dict[int, tuple[int, int]] = {}
        for number in by_place(candidates):
            row = draw(candidates[number])
            if row is not None:
                start = waiting.tell()
                spans[number] = start, waiting.write(msgspec.msgpack.encode(row))
        for _, (start, length) in sorted(spans.items()):
            waiting.seek(start)
            yield msgspec.msgpack.decode(waiting.read(length))


def by_place(candidates: Sequence[Candidate]) -> list[int]:
    """Numbers of the candidates, volume by volume, those close in space close in the list."""

    def place(number: int) -> tuple[str, int, int]:
        candidate = candidates[number]
        return candidate.volume, _along_a_curve(candidate.render_center_nm), number

    return sorted(range(len(candidates)), key=place)


def _along_a_curve(point_nm: Point) -> int:
    """Where the cell of a point lies on a Z-order curve (Morton 1966)."""
    cells = [int(v // CELL_NM) + (1 << _BITS - 1) for v in point_nm]
    code = 0
    for bit in reversed(range(_BITS)):
        for cell in cells:
            code = code << 1 | cell >> bit & 1
    return code
