"""The history of a segmentation as an edit server keeps it, made from synthetic tissue.

Every operation gives new root ids; supervoxels never change. Ids are coded as PyChunkedGraph codes
them (layer, chunk, number), so that clients which take ids apart find what they expect.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Triple
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids
from segmend.synthetic.history import Synapse, TrueEdit

FIRST_OPERATION = 1001
BITS_FOR_LAYER = 8
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Operation:
    """One edit as the server recorded it.

    Attributes:
        operation_id: Its number.
        kind: What it did.
        before: Root ids it acted on, sorted.
        after: Root ids it made, sorted.
        time_ms: Milliseconds since 1970.
        sources: Where the proofreader clicked on one side, voxels of mip 0, ``(x, y, z)``.
        sinks: And on the other.
        edges: Pairs of supervoxels that were joined or cut.
        truth: Place in the true log, or None for one of an undone and redone pair.
    """

    operation_id: int
    kind: Literal["merge", "split"]
    before: tuple[int, ...]
    after: tuple[int, ...]
    time_ms: int
    sources: tuple[Triple, ...]
    sinks: tuple[Triple, ...]
    edges: tuple[tuple[int, int], ...]
    truth: int | None


@dataclass(frozen=True, slots=True)
class Coding:
    """How ids hold layer, chunk and number.

    Attributes:
        chunk: Voxels of a chunk, ``(z, y, x)``.
        chunks: Chunks per axis, ``(z, y, x)``.
    """

    chunk: Triple
    chunks: Triple

    @property
    def layers(self) -> int:
        """Layers of the graph: supervoxels, pieces within a chunk, ..., roots."""
        return 2 + max(1, math.ceil(math.log2(max(*self.chunks, 2))))

    def bits(self, layer: int) -> int:
        """Bits for a chunk's place on one axis."""
        most = max(1, math.ceil(math.log2(max(*self.chunks, 2))))
        return most if layer <= 2 else max(1, most - layer + 2)

    def code(self, layer: int, chunk: Triple, number: int) -> int:
        """The id of a node; ``chunk`` is ``(z, y, x)``."""
        bits = self.bits(layer)
        z, y, x = chunk
        place = (x << 2 * bits) | (y << bits) | z
        return (layer << 64 - BITS_FOR_LAYER) | (place << self.room(layer)) | number

    def room(self, layer: int) -> int:
        """Bits for the number."""
        return 64 - BITS_FOR_LAYER - 3 * self.bits(layer)

    def number(self, node: int) -> int:
        """The number within layer and chunk."""
        layer = node >> 64 - BITS_FOR_LAYER
        return node & ((1 << self.room(layer)) - 1)

    def layer(self, node: int) -> int:
        """The layer."""
        return node >> 64 - BITS_FOR_LAYER

    def place(self, node: int) -> Triple:
        """The chunk, ``(z, y, x)``."""
        bits = self.bits(self.layer(node))
        packed = (node & ((1 << 64 - BITS_FOR_LAYER) - 1)) >> self.room(self.layer(node))
        mask = (1 << bits) - 1
        return (packed & mask, (packed >> bits) & mask, packed >> 2 * bits)


@dataclass(slots=True)
class History:
    """Everything a server knows.

    Attributes:
        grid: The grid of the supervoxels.
        coding: Of ids.
        supervoxels: uint64 ``(z, y, x)``.
        pieces: int64 ``(z, y, x)``: number of the piece of tissue of each voxel, from 1, 0 none.
            Pieces move whole between roots.
        operations: By number, in order of time.
        oldest_ms: Milliseconds since 1970 at which the table was made, and its first roots.
        created: Milliseconds since 1970 at which each root came into being.
        ended: And at which it ceased, for those that did.
        made_by: The operation that made a root.
        ended_by: The operation that ended it.
        timeline: For each piece its roots in order: times and ids.
        chunks_of: For each piece the chunks it has supervoxels in.
        voxel_of: A voxel of each supervoxel, ``(z, y, x)``.
        neurons: The true neuron of each final root.
        synapses: The tissue's.
    """

    grid: VoxelGrid
    coding: Coding
    supervoxels: Ids
    pieces: NDArray[np.int64]
    oldest_ms: int = 0
    operations: dict[int, Operation] = field(default_factory=dict)
    created: dict[int, int] = field(default_factory=dict)
    ended: dict[int, int] = field(default_factory=dict)
    made_by: dict[int, int] = field(default_factory=dict)
    ended_by: dict[int, int] = field(default_factory=dict)
    timeline: list[tuple[list[int], list[int]]] = field(default_factory=list)
    chunks_of: list[tuple[Triple, ...]] = field(default_factory=list)
    voxel_of: dict[int, Triple] = field(default_factory=dict)
    neurons: dict[int, int] = field(default_factory=dict)
    synapses: tuple[Synapse, ...] = ()
    _members: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def root_at(self, piece: int, time_ms: float) -> int:
        """The root that holds a piece at a time."""
        times, roots = self.timeline[piece]
        return roots[max(bisect.bisect_right(times, time_ms) - 1, 0)]

    def piece_of(self, supervoxel: int) -> int:
        """The piece of a supervoxel, or -1 for what is none."""
        piece = self.coding.number(supervoxel) - 1
        is_one = self.coding.layer(supervoxel) == 1 and 0 <= piece < len(self.timeline)
        return piece if is_one and self.coding.place(supervoxel) in self.chunks_of[piece] else -1

    def pieces_of(self, root: int) -> tuple[int, ...]:
        """The pieces of a root, ascending."""
        if not self._members:
            members: dict[int, list[int]] = {}
            for piece, (_, roots) in enumerate(self.timeline):
                for one in roots:
                    members.setdefault(one, []).append(piece)
            self._members.update({one: tuple(found) for one, found in members.items()})
        return self._members.get(root, ())

    def leaves(self, root: int, stop_layer: int) -> list[int]:
        """Supervoxels (layer 1) or pieces within chunks (layer 2) of a root, ascending."""
        coding = self.coding
        pairs = [(c, p) for p in self.pieces_of(root) for c in self.chunks_of[p]]
        if stop_layer == 1:
            return sorted(coding.code(1, chunk, piece + 1) for chunk, piece in pairs)
        number = coding.number(root)
        return sorted({coding.code(2, chunk, number) for chunk, _ in pairs})

    def latest(self, time_ms: float) -> list[int]:
        """The roots that hold at a time, ascending."""
        return sorted({self.root_at(piece, time_ms) for piece in range(len(self.timeline))})

    def ancestry(self, root: int) -> Iterator[tuple[int, Operation]]:
        """Operations in the past of a root, latest first, each with one new root that led to it."""
        seen, queue = {root}, [root]
        found: dict[int, Operation] = {}
        while queue:
            number = self.made_by.get(queue.pop())
            if number is None or number in found:
                continue
            found[number] = self.operations[number]
            seen.update(found[number].before)
            queue.extend(found[number].before)
        for number in sorted(found, reverse=True):
            yield min(seen.intersection(found[number].after)), found[number]

    def change_log(self, root: int, *, filtered: bool) -> list[tuple[int, Operation]]:
        """The operations in a root's log; filtered: without merges of what was later cut off."""
        mine = set(self.pieces_of(root))
        return [
            (kept, operation)
            for kept, operation in self.ancestry(root)
            if not filtered
            or operation.kind == "split"
            or all(mine.intersection(self.pieces_of(side)) for side in operation.before)
        ]


@dataclass(slots=True)
class _Recorder:
    """Carries the true log out on the pieces."""

    history: History
    state: list[int]
    owner: list[int]
    next_root: int

    def new_root(self, time_ms: int) -> int:
        coding = self.history.coding
        root = coding.code(coding.layers, (0, 0, 0), self.next_root)
        self.next_root += 1
        self.history.created[root] = time_ms
        return root

    def carry_out(
        self, sides: tuple[list[int], list[int]], edit: TrueEdit, time_ms: int, truth: int | None
    ) -> None:
        """Split or merge two sets of pieces."""
        kind: Literal["merge", "split"] = (
            "split" if self.state[sides[0][0]] == self.state[sides[1][0]] else "merge"
        )
        before = sorted({self.state[side[0]] for side in sides})
        after = [self.new_root(time_ms) for _ in range(2 if kind == "split" else 1)]
        number = FIRST_OPERATION + len(self.history.operations)
        for root in before:
            self.history.ended[root], self.history.ended_by[root] = time_ms, number
        for root in after:
            self.history.made_by[root] = number
        for side, root in zip(sides, after * (2 if kind == "merge" else 1), strict=True):
            for piece in side:
                self.state[piece] = root
                times, roots = self.history.timeline[piece]
                times.append(time_ms)
                roots.append(root)
        points = tuple(self._near(side, edit) for side in sides)
        voxels = self.history.supervoxels
        edge = (int(voxels[points[0]]), int(voxels[points[1]]))
        self.history.operations[number] = Operation(
            number,
            kind,
            tuple(before),
            tuple(sorted(after)),
            time_ms,
            (points[0][::-1],),
            (points[1][::-1],),
            (edge,),
            truth,
        )

    def _near(self, side: list[int], edit: TrueEdit) -> Triple:
        """The voxel of a side nearest to an edit, ``(z, y, x)``."""
        here = np.argwhere(np.isin(self.history.pieces, np.array(side) + 1))
        distance = (self.history.grid.centers(here) - np.array(edit.point_nm)) ** 2
        z, y, x = here[int(distance.sum(axis=1).argmin())].tolist()
        return (z, y, x)

    def of_root(self, root: int) -> list[int]:
        return [piece for piece, current in enumerate(self.state) if current == root]


def record_history(
    automatic: Ids,
    neurons: Ids,
    grid: VoxelGrid,
    edits: Iterable[TrueEdit],
    *,
    chunk: Triple = (32, 32, 32),
    redone: int = 0,
    synapses: tuple[Synapse, ...] = (),
) -> History:
    """Carry a true log out on a server.

    Args:
        automatic: uint64 ``(z, y, x)``: the segmentation before the first edit.
        neurons: uint64: the segmentation after the last.
        grid: The grid of both.
        edits: The true log.
        chunk: Voxels of a chunk of the graph, ``(z, y, x)``.
        redone: How many merges are undone after 200 ms and done again after 400 ms, as
            proofreaders do.
        synapses: For the synapse table.

    Returns:
        The history; the final roots are the neurons, as far as the log leads there.
    """
    history, owner, segment = _pieces(automatic, neurons, grid, chunk)
    log = sorted(edits, key=lambda e: e.timestamp)
    history.oldest_ms = (log[0].timestamp - DAY_S) * 1000 if log else 0
    recorder = _Recorder(history, [], owner, 1)
    first = {s: recorder.new_root(history.oldest_ms) for s in sorted(set(segment))}
    recorder.state = [first[s] for s in segment]
    history.timeline = [([0], [root]) for root in recorder.state]
    now = dict(first)
    for place, edit in enumerate(log):
        sides = _sides(recorder, edit, now)
        time_ms = edit.timestamp * 1000
        recorder.carry_out(sides, edit, time_ms, place)
        if edit.kind == "merge" and redone > 0:
            redone -= 1
            recorder.carry_out(sides, edit, time_ms + 200, None)
            recorder.carry_out(sides, edit, time_ms + 400, None)
        for true, side in zip(edit.after_roots, sides, strict=False):
            now[true] = recorder.state[side[0]]
    history.neurons = {root: owner[p] for p, root in enumerate(recorder.state)}
    history.synapses = synapses
    return history


def _sides(recorder: _Recorder, edit: TrueEdit, now: dict[int, int]) -> tuple[list[int], list[int]]:
    if edit.kind == "merge":
        a, b = (recorder.of_root(now[root]) for root in edit.before_roots)
        return a, b
    whole = recorder.of_root(now[edit.before_roots[0]])
    off = [piece for piece in whole if recorder.owner[piece] == edit.neurons[0]]
    return off, [piece for piece in whole if piece not in off]


def _pieces(
    automatic: Ids, neurons: Ids, grid: VoxelGrid, chunk: Triple
) -> tuple[History, list[int], list[int]]:
    """Number the overlaps of segment and neuron, and cut them into supervoxels by chunk."""
    inside = automatic != 0
    segments, segment = np.unique(automatic[inside], return_inverse=True)
    owners, owner = np.unique(neurons[inside], return_inverse=True)
    # One number per pair: sorting pairs of columns takes ten times as long.
    pairs, number = np.unique(segment * len(owners) + owner, return_inverse=True)
    pieces = np.zeros(grid.shape, np.int64)
    pieces[inside] = number + 1
    counts = tuple(-(-n // c) for n, c in zip(grid.shape, chunk, strict=True))
    coding = Coding(chunk, (counts[0], counts[1], counts[2]))
    at: Any = np.meshgrid(
        *(np.arange(n) // c for n, c in zip(grid.shape, chunk, strict=True)),
        indexing="ij",
        sparse=True,
    )
    bits = coding.bits(1)
    place = (at[2] << 2 * bits) | (at[1] << bits) | at[0]
    whole = place.astype(np.uint64) << np.uint64(coding.room(1))
    whole = whole | pieces.astype(np.uint64) | np.uint64(1 << 64 - BITS_FOR_LAYER)
    supervoxels = np.where(inside, whole, np.uint64(0))
    history = History(grid, coding, supervoxels, pieces)
    chunks: list[list[Triple]] = [[] for _ in pairs]
    ids, first = np.unique(supervoxels, return_index=True)
    places = np.stack(np.unravel_index(first, grid.shape), axis=1).tolist()
    history.voxel_of = {one: (z, y, x) for one, (z, y, x) in zip(ids.tolist(), places, strict=True)}
    history.voxel_of.pop(0, None)
    for one in history.voxel_of:
        chunks[coding.number(one) - 1].append(coding.place(one))
    history.chunks_of = [tuple(sorted(found)) for found in chunks]
    return history, owners[pairs % len(owners)].tolist(), segments[pairs // len(owners)].tolist()
