"""Everything in this process, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from segmend.build.engines.engine import Item, Result


@dataclass(frozen=True, slots=True)
class Serial:
    """The engine that all others must equal."""

    def run(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        done: Callable[[Result], None] = lambda _: None,
    ) -> list[Result]:
        """See `Engine.run`."""
        results = []
        for item in items:
            results.append(work(item))
            done(results[-1])
        return results
