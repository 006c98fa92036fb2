"""Ranges of one object that lie side by side, asked for as one.

A shard holds chunks that are close in space close in the file: a box wants runs of them, and every
request costs a round trip and its handling.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from segmend.store.store import Request

MOST_BYTES = 2**20
"""A range that others are joined to is no longer than this: a lost one is asked for again whole,
and its first part waits for its last."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A request that stands for several.

    Attributes:
        request: What is asked for.
        positions: Those that it stands for, in the order of their bytes.
        ends: Where each of them ends, counted from its start.
    """

    request: Request
    positions: tuple[int, ...]
    ends: tuple[int, ...]

    def split(self, data: bytes | None) -> Iterator[tuple[int, bytes | None]]:
        """The answer to each of the requests, by position."""
        if data is None or len(self.positions) == 1:
            yield from ((position, data) for position in self.positions)
            return
        start = 0
        for position, end in zip(self.positions, self.ends, strict=True):
            yield position, data[start:end]
            start = end


def join_ranges(requests: Sequence[Request]) -> list[Joined]:
    """Join ranges of one object where one begins at the byte at which another ends.

    Args:
        requests: Any; whole objects, and ranges without both ends, stay as they are.

    Returns:
        Requests that together bring the same bytes, in the order of their first positions.
    """
    joined = []
    ranges = []
    for position, request in enumerate(requests):
        if request.stop is None:
            joined.append(Joined(request, (position,), ()))
        else:
            ranges.append((request.key, request.start or 0, request.stop, position))
    run: list[tuple[str, int, int, int]] = []
    for one in sorted(ranges):
        key, start, stop, _ = one
        if run and not (
            key == run[-1][0] and start == run[-1][2] and stop - run[0][1] <= MOST_BYTES
        ):
            joined.append(_joined(run))
            run = []
        run.append(one)
    if run:
        joined.append(_joined(run))
    return sorted(joined, key=lambda one: min(one.positions))


def _joined(run: Sequence[tuple[str, int, int, int]]) -> Joined:
    key, first, _, _ = run[0]
    stops = [stop for _, _, stop, _ in run]
    positions = tuple(position for _, _, _, position in run)
    return Joined(Request(key, first, stops[-1]), positions, tuple(s - first for s in stops))
