"""What loaders take from a sidecar, bound to what was packed.

Pictures come from the cache; keys, routing and labels from the sidecar. A cache keeps a digest of
each such column as the shards had it, of every shard in its index and of every split in
``pack.json``. What a sidecar says later is compared before a row is handed out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from segmend.core.errors import VerificationError
from segmend.core.sample import SchemaVersion
from segmend.loaders.packed.files import Digests, blocks_of, index_path, read_index
from segmend.shards.checks import LABEL_COLUMNS
from segmend.shards.derived import KEY
from segmend.shards.reader import Benchmark
from segmend.shards.sidecar import nullable_labels
from segmend.tasks.task import FLAGS

_FIX = "Run `segmend verify`, and fetch or build the sidecar again"


def listed_columns(version: SchemaVersion) -> tuple[str, ...]:
    """What loaders go by, in shards and sidecars alike."""
    return (KEY, "task_routing", "species", *FLAGS[version], *LABEL_COLUMNS)


def digests(table: pa.Table, version: SchemaVersion) -> Digests:
    """sha256 of those of `listed_columns` that a table has, however Arrow keeps their values."""
    found = {}
    for name in listed_columns(version):
        if name in table.column_names:
            digest = hashlib.sha256()
            _add(digest, table.column(name).combine_chunks())
            found[name] = digest.hexdigest()
    return found


def check_shard(benchmark: Benchmark, number: int) -> Digests:
    """Check that a shard says what its sidecar says of its rows.

    Args:
        benchmark: Where both are.
        number: Of the shard.

    Returns:
        The digests of what it says.

    Raises:
        VerificationError: if not, naming shard, row group and row.
        ReadFailedError: if either cannot be read.
    """
    shard, columns = benchmark.shards[number], listed_columns(benchmark.version)
    start = _start(benchmark, number)
    positions = np.arange(start, start + shard.n_samples)
    stored = nullable_labels(benchmark.read_rows(positions, columns))
    if benchmark.says_places(shard.split):  # otherwise both are read from the shard
        listed = benchmark.sidecar(shard.split, columns=columns)
        first = int(listed.column("position")[0].as_py())
        _compare(benchmark, stored, listed.slice(start - first, shard.n_samples))
    return digests(stored, benchmark.version)


def check_split(
    benchmark: Benchmark, folder: Path, split: str, listed: pa.Table, *, indices: Mapping[str, str]
) -> None:
    """Check that a sidecar says of each shard what its index in a cache says.

    Args:
        benchmark: Where the sidecar is.
        folder: Of the cache.
        split: Of the sidecar.
        listed: What it says: some of `listed_columns` and ``position``, all rows.
        indices: sha256 of the indices by path of the shard.

    Raises:
        VerificationError: if not, naming the shard, and if it still says what was packed the row.
        ReadFailedError: if an index, or a shard that has to be looked at, cannot be read.
    """
    blocks = len(blocks_of(benchmark.version))
    begin = 0
    for number, shard in enumerate(benchmark.shards):
        if shard.split != split:
            continue
        path = index_path(folder, shard.path)
        packed = read_index(path, blocks, sha256=indices[shard.path]).listed
        said = digests(listed.slice(begin, shard.n_samples), benchmark.version)
        begin += shard.n_samples
        changed = [name for name in said if said[name] != packed.get(name)]
        if changed:
            check_shard(benchmark, number)  # names the row
            raise VerificationError(
                f"what is said of the rows changed after {folder} was packed",
                found=f"{', '.join(changed)} of {shard.path}, in the sidecar and in the shard",
                fix=_FIX,
            )


def _compare(benchmark: Benchmark, stored: pa.Table, listed: pa.Table) -> None:
    positions = listed.column("position").to_numpy().tolist()
    for name in stored.column_names:
        pairs = zip(stored.column(name).to_pylist(), listed.column(name).to_pylist(), strict=True)
        for position, (found, told) in zip(positions, pairs, strict=True):
            if found != told:
                with benchmark.naming(position):
                    raise VerificationError(
                        f"{name} is not what its sidecar says",
                        found=f"it is {found}, there {told}",
                        fix=_FIX,
                    )


def _start(benchmark: Benchmark, number: int) -> int:
    """Position of the first row of a shard."""
    return sum(shard.n_samples for shard in benchmark.shards[:number])


def _add(digest: Any, values: Any) -> None:
    """Lengths, -1 for null, then what they are of; of numbers whether null, then their values."""
    if pa.types.is_list(values.type):
        digest.update(pc.fill_null(pc.list_value_length(values), -1).to_numpy())
        _add(digest, values.flatten())
    elif pa.types.is_string(values.type):
        digest.update(pc.fill_null(pc.binary_length(values), -1).to_numpy())
        digest.update(_text(pc.fill_null(values, "")))
    else:
        numbers = values.cast(pa.float64())
        digest.update(np.asarray(numbers.is_null()))
        digest.update(np.asarray(pc.fill_null(numbers, 0.0)))


def _text(values: Any) -> memoryview:
    """All characters of an array without nulls, UTF-8."""
    if not len(values):
        return memoryview(b"")
    _, ends, data = values.buffers()
    first, last = np.frombuffer(ends, np.int32)[[values.offset, values.offset + len(values)]]
    return memoryview(data or b"")[first:last]
