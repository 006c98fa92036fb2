"""Run independent pieces of work in this process or in spawned ones, in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from segmend.core.errors import WorkerLostError

Item = TypeVar("Item")
Result = TypeVar("Result")


def run(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int,
    done: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """Apply ``work`` to every item.

    Args:
        work: A function that can be pickled.
        items: What to do; each can be pickled.
        workers: Processes; 1 works in this one. Processes are spawned, never forked: volume and
            mesh libraries keep threads that do not survive a fork.
        done: Called with each result, in order of completion.

    Returns:
        Results in the order of the items, whatever the number of workers.

    Raises:
        WorkerLostError: if a process dies, for want of memory or by a signal.
        Exception: the first that ``work`` raises; what has not started is cancelled.
    """
    if workers == 1 or len(items) == 1:
        results = []
        for item in items:
            results.append(work(item))
            done(results[-1])
        return results
    with ProcessPoolExecutor(min(workers, len(items)), get_context("spawn")) as pool:
        futures = {pool.submit(work, item): i for i, item in enumerate(items)}
        found: dict[int, Result] = {}
        try:
            for future in as_completed(futures):
                found[futures[future]] = future.result()
                done(found[futures[future]])
        except BrokenProcessPool as error:
            raise WorkerLostError(
                "a worker process died",
                found=f"{len(found)} of {len(items)} pieces of work were done",
                fix="It may have run out of memory: use fewer --workers",
            ) from error
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [found[i] for i in range(len(items))]
