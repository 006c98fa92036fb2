"""A Dask cluster: one of this machine, or a scheduler that runs already (docs/building.md)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from segmend.build.engines.engine import ATTEMPTS, Item, Result
from segmend.core.errors import WorkerLostError, require

_AHEAD = 2
"""Pieces of work per thread that are handed out before results come: plans are read as they go."""


@dataclass(frozen=True, slots=True)
class Dask:
    """Workers of Dask ``distributed``.

    Attributes:
        workers: Workers of a cluster started here; unused with an address.
        address: ``HOST:PORT`` of a running scheduler; empty: start a cluster on this machine.
    """

    workers: int
    address: str = ""

    def __post_init__(self) -> None:
        require("distributed", extra="dask")

    def run(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        done: Callable[[Result], None] = lambda _: None,
    ) -> list[Result]:
        """See `Engine.run`."""
        from distributed import KilledWorker

        waiting = enumerate(items)
        found: dict[int, Result] = {}
        with self._client() as client:
            threads = sum(client.nthreads().values()) or self.workers
            numbers: dict[Any, int] = {}

            def hand_out(most: int) -> list[Any]:
                futures = []
                for number, item in itertools.islice(waiting, most):
                    # Never two equal tasks for one: a piece of work is done for its effect.
                    futures.append(client.submit(work, item, pure=False))
                    numbers[futures[-1].key] = number
                return futures

            running = _distributed().as_completed(hand_out(_AHEAD * threads), loop=client.loop)
            for future in running:
                try:
                    result = future.result()
                except KilledWorker as error:
                    raise WorkerLostError(
                        "a worker of the cluster died",
                        found=f"{ATTEMPTS} times over one piece of work: {error}",
                        fix="It may have run out of memory: give workers more, or use fewer",
                    ) from error
                found[numbers.pop(future.key)] = result
                future.release()
                done(result)
                for another in hand_out(1):
                    running.add(another)
        return [found[number] for number in sorted(found)]

    @contextmanager
    def _client(self) -> Iterator[Any]:
        import dask

        distributed = _distributed()
        # A piece of work is lost with its worker and begun again, as often as in other engines.
        rules = {"distributed.scheduler.allowed-failures": ATTEMPTS - 1}
        with dask.config.set(rules):
            if self.address:
                with distributed.Client(f"tcp://{self.address}", set_as_default=False) as client:
                    yield client
                return
            with (
                distributed.LocalCluster(
                    n_workers=self.workers,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address=":0",
                    silence_logs=50,
                ) as cluster,
                distributed.Client(cluster, set_as_default=False) as client,
            ):
                yield client


def _distributed() -> Any:
    import distributed

    return distributed
