"""What every engine does, and engines by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from segmend.core.errors import BadInputError

Item = TypeVar("Item")
Result = TypeVar("Result")

ATTEMPTS = 3
"""Times a piece of work is begun before a worker that dies over it is called its fault."""


class Engine(Protocol):
    """Applies a function to items, in one process or many; results never depend on which."""

    def run(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        done: Callable[[Result], None] = lambda _: None,
    ) -> list[Result]:
        """Apply ``work`` to every item.

        Args:
            work: A function that can be pickled.
            items: What to do; each can be pickled, and is taken when its turn comes.
            done: Called in this process with each result, in order of completion.

        Returns:
            Results in the order of the items.

        Raises:
            WorkerLostError: if workers die over one item as often as `ATTEMPTS`.
            Exception: the first that ``work`` raises; what has not begun is never begun.
        """
        ...


def engine_of(name: str, workers: int) -> Engine:
    """An engine by name.

    Args:
        name: ``auto`` (processes, or this one if there is one worker), ``serial``, ``processes``,
            ``dask`` (a cluster on this machine) or ``dask://HOST:PORT`` (a running scheduler).
        workers: Pieces of work at once; a running scheduler has its own number.

    Raises:
        BadInputError: for another name.
        MissingDependencyError: for ``dask`` without the extra of that name.
    """
    from segmend.build.engines.processes import Processes
    from segmend.build.engines.serial import Serial

    if name == "serial" or (name == "auto" and workers == 1):
        return Serial()
    if name in ("auto", "processes"):
        return Processes(workers)
    if name == "dask" or name.startswith("dask://"):
        from segmend.build.engines.dask import Dask

        return Dask(workers, name.removeprefix("dask").removeprefix("://"))
    raise BadInputError(
        f"there is no engine '{name}'", fix="Engines: serial, processes, dask, dask://HOST:PORT"
    )
