"""Progress: a bar on a terminal, plain lines elsewhere, nothing where a program reads us."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as RichProgress


@dataclass
class Progress:
    """Says what is being done and how far it is, on standard error.

    Attributes:
        quiet: Say nothing.
    """

    quiet: bool = False
    _started: float = field(default_factory=time.monotonic)
    _bar: RichProgress | None = None
    _task: object = None

    def say(self, text: str) -> None:
        """Announce a stage."""
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.console.print(f"[dim]{self._clock()}[/dim] {text}", highlight=False)
        else:
            sys.stderr.write(f"{self._clock()} {text}\n")
            sys.stderr.flush()

    @contextmanager
    def bar(self, text: str, total: int) -> Iterator[Counter]:
        """Count up to ``total``."""
        self.say(text)
        if self.quiet or not sys.stderr.isatty():
            yield Counter(self, None, total)
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
            self._bar = bar
            bar.add_task(text, total=total)
            try:
                yield Counter(self, bar, total)
            finally:
                self._bar = None

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self._started)
        return f"{seconds // 60:d}:{seconds % 60:02d}"


@dataclass
class Counter:
    """Counts towards a total, on a bar or in lines at each tenth."""

    progress: Progress
    bar: RichProgress | None
    total: int
    count: int = 0

    def advance(self, by: int) -> None:
        """Count ``by`` more."""
        self.update(self.count + by, self.total)

    def update(self, count: int, total: int) -> None:
        """Set the count, and the total where it was not known before."""
        before = self.count if total == self.total else 0
        self.count, self.total = count, total
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=count, total=total)
        elif total and count * 10 // total > before * 10 // total:
            self.progress.say(f"  {count} of {total}")
