"""Several processes of this machine; one that dies costs the piece of work in its hands.

`concurrent.futures` gives up on all of its processes when one is lost, and with them on all the
work that is half done. Here each process has a pipe of its own.
"""

from __future__ import annotations

import ctypes
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Generic

from segmend.build.engines.engine import ATTEMPTS, Item, Result
from segmend.core.errors import BadInputError, WorkerLostError

_SPAWN = get_context("spawn")  # volume and mesh libraries keep threads that do not survive a fork
_STOP_S = 5.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Processes:
    """Spawned processes.

    Attributes:
        workers: How many.
    """

    workers: int

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise BadInputError(f"at least one process is needed, got {self.workers}")

    def run(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        done: Callable[[Result], None] = lambda _: None,
    ) -> list[Result]:
        """See `Engine.run`."""
        crew = _Crew(work, enumerate(items), self.workers)
        found: dict[int, Result] = {}
        try:
            for number, result in crew.results():
                found[number] = result
                done(result)
        finally:
            crew.stop()
        return [found[number] for number in sorted(found)]


@dataclass(slots=True, eq=False)
class _Piece(Generic[Item]):
    number: int
    item: Item
    attempts: int = 0


@dataclass(slots=True, eq=False)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    piece: _Piece[Any] | None = None


@dataclass(slots=True, eq=False)
class _Crew(Generic[Item, Result]):
    """The processes of one run, and what each has in hand."""

    work: Callable[[Item], Result]
    items: Iterator[tuple[int, Item]]
    most: int
    workers: list[_Worker] = field(default_factory=list)
    again: deque[_Piece[Item]] = field(default_factory=deque)

    def results(self) -> Iterator[tuple[int, Result]]:
        """Number and result of every item, in order of completion."""
        self._hand_out()
        while busy := [worker for worker in self.workers if worker.piece]:
            ready = connection.wait([worker.pipe for worker in busy])
            for worker in busy:
                if worker.pipe in ready:
                    yield from self._taken(worker)
            self._hand_out()

    def stop(self) -> None:
        """End all processes: those at rest in peace, others by force."""
        for worker in self.workers:
            worker.pipe.close()  # at rest it reads the end of its pipe
            if worker.piece is not None:
                worker.process.terminate()
        for worker in self.workers:
            worker.process.join(_STOP_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def _hand_out(self) -> None:
        while self._free() and (piece := self._next()):
            worker = next((w for w in self.workers if not w.piece), None) or self._hire()
            piece.attempts += 1
            worker.piece = piece
            try:
                worker.pipe.send(piece.item)
            except OSError:
                self._lose(worker)

    def _free(self) -> bool:
        return sum(worker.piece is not None for worker in self.workers) < self.most

    def _next(self) -> _Piece[Item] | None:
        if self.again:
            return self.again.popleft()
        following = next(self.items, None)
        return None if following is None else _Piece(*following)

    def _hire(self) -> _Worker:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_serve, args=(theirs, self.work), daemon=True)
        process.start()
        theirs.close()
        self.workers.append(_Worker(process, ours))
        return self.workers[-1]

    def _taken(self, worker: _Worker) -> Iterator[tuple[int, Result]]:
        assert worker.piece is not None
        try:
            error, value = worker.pipe.recv()
        except (EOFError, OSError):
            self._lose(worker)
            return
        number, worker.piece = worker.piece.number, None
        if error:
            raise value
        yield number, value

    def _lose(self, worker: _Worker) -> None:
        """Give the piece of a process that died to another."""
        piece = worker.piece
        assert piece is not None
        self.workers.remove(worker)
        worker.pipe.close()
        worker.process.join()
        if piece.attempts >= ATTEMPTS:
            raise WorkerLostError(
                "a worker process died",
                found=f"exit code {worker.process.exitcode}, {piece.attempts} times over one piece "
                f"of work: {str(piece.item)[:200]}",
                fix="It may have run out of memory: use fewer --workers",
            )
        self.again.append(piece)


def _serve(pipe: Connection, work: Callable[[Any], Any]) -> None:
    """Life of a worker: an item comes, a result goes, until the pipe ends."""
    # Whoever ordered the work may be ended by a signal; nobody would want what is in hand then.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        try:
            answer = (False, work(item))
        except Exception as error:  # noqa: BLE001  it is raised where the work was ordered
            answer = (True, _portable(error))
        try:
            pipe.send(answer)
        except OSError:
            return  # whoever ordered the work is gone


def _portable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  made one line above
    except Exception:  # noqa: BLE001  any class may fail to pickle in any way
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
