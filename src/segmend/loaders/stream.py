"""An iterable view: whole batches, made ahead in threads or by workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from torch.utils.data import IterableDataset, get_worker_info

from segmend.core.errors import BadInputError
from segmend.loaders.dataset import Item, TaskDataset
from segmend.loaders.schedule import Schedule


class BatchStream(IterableDataset[Item]):
    """The batches of a schedule, one after the other.

    Iterated itself it needs no `DataLoader`: batches are made in threads of this process, which
    pays because reading, inflating and unpacking release the interpreter, and nothing is copied
    between processes. In a stock `DataLoader(stream, batch_size=None, num_workers=n)` every
    worker makes its share; the batches and their order are the same either way.

    At most ``threads + 1`` batches are in memory beside the one in use.

    Args:
        data: What batches are made of.
        schedule: Which they are. Iterating goes to the end of its epoch.
        threads: Threads that make batches ahead; 0 makes each when it is asked for.

    Raises:
        BadInputError: for a negative number of threads.
    """

    def __init__(self, data: TaskDataset, schedule: Schedule, *, threads: int = 1) -> None:
        if threads < 0:
            raise BadInputError(f"there are no {threads} threads")
        self.data = data
        self.schedule = schedule
        self._threads = threads

    def __len__(self) -> int:
        return len(self.schedule)

    def __iter__(self) -> Iterator[Item]:
        worker = get_worker_info()
        if worker is not None:
            # The loader takes batches from its workers in turn: this is the order of the steps.
            for step in islice(self.schedule, worker.id, None, worker.num_workers):
                yield self.data[step]
            return
        if not self._threads:
            for step in self.schedule:
                yield self.data[step]
            return
        yield from self._ahead()

    def _ahead(self) -> Iterator[Item]:
        with ThreadPoolExecutor(self._threads, thread_name_prefix="segmend-batches") as pool:
            ahead: deque[Future[Item]] = deque()
            try:
                for step in self.schedule:
                    ahead.append(pool.submit(self.data.__getitem__, step))
                    if len(ahead) > self._threads:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)
