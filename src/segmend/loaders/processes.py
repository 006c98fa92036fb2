"""Work that several processes share, shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from segmend.core.errors import BadInputError, WorkerLostError

Given = TypeVar("Given")
Made = TypeVar("Made")


def check_workers(workers: int) -> None:
    """Refuse less than one process, before anything is touched.

    Raises:
        BadInputError: if there is none.
    """
    if workers < 1:
        raise BadInputError(f"this needs at least one process, got {workers}")


def in_processes(
    job: Callable[[Given], Made], given: Sequence[Given], workers: int
) -> Iterator[Made]:
    """Do a job for each of some things; results come in their order.

    Args:
        job: Picklable, as are what it takes and gives.
        given: What to do it for.
        workers: Spawned processes; with one everything is done here.

    Raises:
        WorkerLostError: if a process dies, for example for want of memory.
    """
    if workers == 1 or len(given) < 2:
        yield from map(job, given)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(job, given)
        except BrokenProcessPool as error:
            raise WorkerLostError(
                "a process died at its work",
                found=str(error),
                fix="Run the same command again: what was finished is kept; with fewer --workers, "
                "should memory have run out",
            ) from error
