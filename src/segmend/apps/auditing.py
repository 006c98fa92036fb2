"""An audit of a benchmark, kept beside it, as the verbs ``audit`` and ``build`` do it."""

from __future__ import annotations

from segmend.apps.progress import Progress
from segmend.evaluate.audit.audit import Audit, audit, write_audit
from segmend.evaluate.audit.text import audit_markdown
from segmend.shards.card import write_audit_section
from segmend.shards.reader import Benchmark


def audit_benchmark(benchmark: Benchmark, *, resamples: int = 1000, progress: Progress) -> Audit:
    """Audit a benchmark; nothing is written.

    Args:
        benchmark: The benchmark.
        resamples: Resamples behind each interval.
        progress: Where to say what is happening.
    """
    progress.say(f"auditing {benchmark.name}")
    return audit(
        benchmark,
        resamples=resamples,
        progress=lambda n, of: progress.report("auditing rows", n, of),
    )


def keep_audit(benchmark: Benchmark, found: Audit) -> None:
    """Write ``audit.json`` into the folder of a benchmark, and its section into our own card.

    Raises:
        BadInputError: if the benchmark is remote.
        OutputError: if the folder cannot be written.
    """
    write_audit(benchmark.folder, found)
    write_audit_section(benchmark.folder, audit_markdown(found))
