"""Putting a benchmark on the Hugging Face hub, if it may and can lie there."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from segmend.core.errors import BadInputError, OutputError, ReadFailedError, require
from segmend.shards.layout import AUDIT_FILE, PLAN_FILE, SHARDS_CSV
from segmend.shards.reader import Benchmark

MAX_FILES = 100_000
MAX_ENTRIES = 10_000
MAX_FILE_BYTES = 50 * 10**9
ADVISED_FILE_BYTES = 20 * 10**9
MAX_ROW_GROUP_BYTES = 100 * 10**6
FILES_PER_COMMIT = 100
"""Limits of the hub, by its own pages (reference `users-and-reliability.md`, section 2): files of a
repository, entries of a folder, bytes of a file, bytes of a row group that its viewer reads, files
of one commit."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What would be uploaded.

    Attributes:
        files: Paths below the folder, ``shards.csv`` last: nobody opens half an upload.
        n_bytes: Bytes in all.
        problems: Why it must not be uploaded, one sentence each.
        advice: What the hub advises against.
    """

    files: tuple[str, ...]
    n_bytes: int
    problems: tuple[str, ...]
    advice: tuple[str, ...]

    def check(self) -> None:
        """Raise the problems as an error.

        Raises:
            BadInputError: if there is one.
        """
        if self.problems:
            raise BadInputError(
                "the benchmark cannot be published",
                found="; ".join(self.problems),
                fix="segmend publish --dry-run lists everything",
            )


def publication(benchmark: Benchmark, *, licence_agreed: bool = False) -> Publication:
    """What an upload of a benchmark would hold, and what stands against it.

    Args:
        benchmark: A folder.
        licence_agreed: Whether the owners of sources that state no licence have agreed.

    Raises:
        BadInputError: if it is remote.
        ReadFailedError: if plan or audit cannot be read.
    """
    folder = benchmark.folder
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and not _hidden(p, folder))
    names = [p.relative_to(folder).as_posix() for p in paths]
    sizes = dict(zip(names, (p.stat().st_size for p in paths), strict=True))
    problems = [
        *_layout_problems(names, sizes),
        *_licence_problems(folder, agreed=licence_agreed),
        *_audit_problems(benchmark),
    ]
    ordered = sorted(names, key=lambda name: (name == SHARDS_CSV, name))
    return Publication(
        tuple(ordered), sum(sizes.values()), tuple(problems), tuple(_advice(benchmark, sizes))
    )


def upload(
    benchmark: Benchmark,
    repo: str,
    what: Publication,
    *,
    private: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> str:
    """Upload a benchmark to a data set repository of the hub, which is created if need be.

    Commits of up to `FILES_PER_COMMIT` files; ``shards.csv`` comes with the last. Files that are
    there already with the same content are not sent again, so a broken upload is simply repeated.
    The token is the one that the hub's client knows.

    Args:
        benchmark: A folder.
        repo: ``OWNER/NAME``.
        what: From `publication`, without problems.
        private: Whether a new repository is private.
        progress: Told files done and files in all.

    Returns:
        The commit that holds everything.

    Raises:
        BadInputError: if it has problems.
        OutputError: if the hub refuses, or does not answer.
        MissingDependencyError: without huggingface_hub.
    """
    what.check()
    require("huggingface_hub", extra="hub")
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    # Its HTTP library's, whichever that is, and RuntimeError, which its uploads wrap them in.
    failures: tuple[Any, ...] = (*HfHubHTTPError.__bases__, ValueError, OSError, RuntimeError)
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    commit, done = "", 0
    try:
        api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        for part in _parts(what.files):
            operations = [
                CommitOperationAdd(path_in_repo=name, path_or_fileobj=benchmark.folder / name)
                for name in part
            ]
            message = f"segmend: files {done + 1} to {done + len(part)} of {len(what.files)}"
            made = api.create_commit(repo, operations, commit_message=message, repo_type="dataset")
            commit, done = made.oid, done + len(part)
            progress(done, len(what.files))
    except failures as error:
        raise OutputError(
            f"cannot publish to {repo}",
            found=str(error).splitlines()[0] if str(error) else type(error).__name__,
            fix=f"{done} of {len(what.files)} files are there; repeat it to go on",
        ) from error
    return commit


def _parts(files: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(files), FILES_PER_COMMIT):
        yield files[start : start + FILES_PER_COMMIT]


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _layout_problems(names: Sequence[str], sizes: dict[str, int]) -> Iterator[str]:
    if len(names) >= MAX_FILES:
        yield f"{len(names):,} files, the hub takes fewer than {MAX_FILES:,}"
    entries = Counter(name.rpartition("/")[0] for name in names)
    for place, n in entries.items():
        if n >= MAX_ENTRIES:
            where = place or "its top folder"
            yield f"{n:,} entries in {where}, the hub takes fewer than {MAX_ENTRIES:,}"
    for name, size in sizes.items():
        if size > MAX_FILE_BYTES:
            yield f"{name} has {size / 1e9:.0f} GB, the hub takes {MAX_FILE_BYTES / 1e9:.0f}"


def _licence_problems(folder: Path, *, agreed: bool) -> Iterator[str]:
    for source in _json(folder / PLAN_FILE).get("sources", []):
        name = source.get("dataset", "?")
        if "redistribution" in source.get("forbids", []):
            yield f"the terms of {name} forbid to pass on copies"
        elif source.get("licence") in ("unstated", "custom") and not agreed:
            yield f"{name} is under a licence that is {source['licence']}: ask its owners first"


def _audit_problems(benchmark: Benchmark) -> Iterator[str]:
    if not (benchmark.folder / AUDIT_FILE).exists():
        yield "it is not audited: run segmend audit"
        return
    audit = _json(benchmark.folder / AUDIT_FILE)
    if audit.get("benchmark_sha256") != benchmark.sha256:
        yield "its audit is of another state of it: run segmend audit"
    leaks = [c["name"] for c in audit.get("checks", []) if c.get("status") == "leaks"]
    if leaks:
        yield f"its audit found leaks: {', '.join(leaks)}"


def _advice(benchmark: Benchmark, sizes: dict[str, int]) -> Iterator[str]:
    large = [name for name, size in sizes.items() if size > ADVISED_FILE_BYTES]
    if large:
        yield f"{len(large)} files above {ADVISED_FILE_BYTES / 1e9:.0f} GB, for example {large[0]}"
    with pq.ParquetFile(benchmark.folder / benchmark.shards[0].path) as file:
        groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
        widest = max(g.total_byte_size for g in groups)
    if widest > MAX_ROW_GROUP_BYTES:
        yield f"row groups of {widest / 1e6:.0f} MB; its viewer reads up to 100"
    total = sum(sizes.values())
    if total > 10**12:
        yield f"{total / 1e12:.1f} TB: the hub asks to be told before"


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReadFailedError(f"cannot read {path}", found=str(error)) from error
    return said if isinstance(said, dict) else {}
