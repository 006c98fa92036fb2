"""The threads of this process that decode chunks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

PENDING_PER_CORE = 2
"""Jobs that may wait for a thread: enough that none runs dry, few enough to bound memory."""

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def run(jobs: Iterable[Callable[[], None]]) -> None:
    """Run jobs on all usable cores; with one core, in the calling thread.

    The calling thread draws the jobs, so that they may come from a connection of its own. It runs
    the last one itself, and any that comes while enough of them wait.

    Args:
        jobs: What to run; drawn one at a time, no further than a few ahead of what is done.

    Raises:
        Exception: the first error of a job, after all that were started have ended.
    """
    cores = usable_cores()
    if cores == 1:
        for job in jobs:
            job()
        return
    pending: list[Future[None]] = []
    try:
        held: Callable[[], None] | None = None
        for job in jobs:
            if held is not None:
                pending = [future for future in pending if not _finished(future)]
                _start(held, pending, cores)
            held = job
        if held is not None:
            held()
        for future in pending:
            future.result()
    finally:
        _settle(pending)


def run_each(do: Callable[[int], None], count: int, *, shared: bool) -> None:
    """Run ``do(0)`` to ``do(count - 1)``: every thread takes the next that none has taken.

    Args:
        do: What to run, in any thread.
        count: How often.
        shared: Whether other threads help the calling one.

    Raises:
        Exception: the first error, after all that were started have ended; no more are then taken.
    """
    left, lock = iter(range(count)), threading.Lock()

    def work() -> None:
        nonlocal left
        try:
            while True:
                with lock:
                    position = next(left, None)
                if position is None:
                    return
                do(position)
        except BaseException:
            with lock:
                left = iter(range(0))
            raise

    cores = usable_cores()
    threads = min(cores, count) if shared else 1
    others = [_shared_pool(cores).submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        _settle(others)
    for future in others:
        if not future.cancelled():
            future.result()


def _settle(pending: Iterable[Future[None]]) -> None:
    """Jobs write into the caller's array: none may outlive its call, whatever happened."""
    for future in pending:
        if not future.cancel():
            future.exception()


def _start(job: Callable[[], None], pending: list[Future[None]], cores: int) -> None:
    """Hand a job to a thread, or run it where enough of them wait."""
    if len(pending) < cores * PENDING_PER_CORE:
        pending.append(_shared_pool(cores).submit(job))
    else:
        job()


def _finished(future: Future[None]) -> bool:
    """Whether a job is done, raising its error."""
    if not future.done():
        return False
    future.result()
    return True


def _shared_pool(cores: int) -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(cores, thread_name_prefix="segmend-decode")
        return _pool


def _forget_after_fork() -> None:
    """A forked child has the pool's object but none of its threads."""
    global _lock, _pool
    _lock, _pool = threading.Lock(), None


os.register_at_fork(after_in_child=_forget_after_fork)
