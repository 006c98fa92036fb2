"""compresso and crackle, decoded by their libraries in child processes.

Both libraries trust their input: bit flips and truncations crash them within a few hundred trials
(compresso 3.3.3, crackle-codec 0.53.0), so they never run in the process that reads.
"""

from __future__ import annotations

import functools
import os
import queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.store.sandbox import Sandbox
from segmend.volumes.codecs.piece import Piece, corrupt
from segmend.volumes.workers import usable_cores

CHILD = "segmend.volumes.codecs.label_child"

SECONDS = 60.0
"""Time for one chunk; real ones take milliseconds."""


def decode_labels(data: bytes, piece: Piece, out: NDArray[Any], *, library: str) -> None:
    """Decode a part of a chunk.

    Args:
        data: The chunk.
        piece: What is wanted of it.
        out: Unsigned integers ``(z, y, x)``, as large as the part.
        library: ``compresso`` or ``crackle``.

    Raises:
        ReadFailedError: with reason ``corrupt`` or ``timeout``, if the library cannot decode it.
    """
    request = {
        "do": library,
        "data": data,
        "shape": piece.shape[::-1],
        "itemsize": piece.dtype.itemsize,
    }
    children = _children(os.getpid())
    child = children.get()
    try:
        answer = child.ask(request, what=f"a {library} chunk", seconds=SECONDS)
    finally:
        children.put(child)
    if "error" in answer:
        raise corrupt(f"{library}: {answer['error']}")
    labels = np.frombuffer(answer["labels"], piece.dtype)
    if labels.size != piece.voxels:
        raise corrupt(f"{library}: {labels.size} voxels where the chunk has {piece.voxels}")
    out[...] = labels.reshape(piece.shape)[piece.part]


@functools.cache
def _children(owner: int) -> queue.LifoQueue[Sandbox]:  # noqa: ARG001  a fork starts its own
    """One child for each core; the one used last comes first, so that few are ever started."""
    children: queue.LifoQueue[Sandbox] = queue.LifoQueue()
    for _ in range(usable_cores()):
        children.put(Sandbox(CHILD))
    return children
