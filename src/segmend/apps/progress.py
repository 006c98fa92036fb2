"""Progress: a bar on a terminal, plain lines elsewhere, nothing where a program reads us."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bars

_COLUMNS = (
    SpinnerColumn(),
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
)


class Progress:
    """Says on standard error what is being done and how far it is.

    Use it in a ``with`` statement, so that a bar is cleared when an error passes.

    Args:
        quiet: Say nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._started = time.monotonic()
        self._bars: Bars | None = None
        self._stage = ""
        self._tenths = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clear()

    def say(self, text: str) -> None:
        """Announce something."""
        self._clear()
        if not self._quiet:
            seconds = int(time.monotonic() - self._started)
            sys.stderr.write(f"{seconds // 60:d}:{seconds % 60:02d} {text}\n")
            sys.stderr.flush()

    def report(self, stage: str, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` steps of a stage are done."""
        if self._quiet:
            return
        if stage != self._stage:
            self._clear()
            self._stage = stage
        if sys.stderr.isatty():
            self._draw(done, total)
        elif total and done * 10 // total > self._tenths:
            self._tenths = done * 10 // total
            sys.stderr.write(f"       {stage}: {done} of {total}\n")
            sys.stderr.flush()
        if done >= total:
            self._clear()

    def _draw(self, done: int, total: int) -> None:
        if self._bars is None:
            self._bars = Bars(*_COLUMNS, console=Console(stderr=True), transient=True)
            self._bars.add_task(self._stage)
            self._bars.start()
        self._bars.update(self._bars.task_ids[0], completed=done, total=total)

    def _clear(self) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._bars, self._stage, self._tenths = None, "", 0
