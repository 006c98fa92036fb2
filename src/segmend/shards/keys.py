"""From a primary key to the position of its row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from segmend.core.errors import ReadFailedError
from segmend.shards.derived import KEY, shard_keys
from segmend.shards.layout import SHARDS_CSV, ShardRecord, sidecar_path
from segmend.shards.places import Places
from segmend.shards.shard_files import ShardFiles
from segmend.shards.sidecars import Sidecars


class Keys:
    """The primary keys of a benchmark; what was looked up once is kept for the next search.

    Args:
        shards: Its shards, in order.
        files: Reads them.
        sidecars: Say which shard holds a key.
        places: Say where a shard begins.
    """

    def __init__(
        self,
        shards: Sequence[ShardRecord],
        files: ShardFiles,
        sidecars: Sidecars,
        places: Places,
    ) -> None:
        self._shards, self._files, self._sidecars = shards, files, sidecars
        self._places = places
        self._listed: dict[str, pa.Table] = {}

    def of_shard(self, shard: int) -> pa.ChunkedArray[Any]:
        """Primary keys of the rows of a shard, in order; read from it unless they are known."""
        return shard_keys(self._files, shard)

    def shard_number(self, path: str) -> int:
        """Number of a shard, by its path.

        Raises:
            ReadFailedError: if ``shards.csv`` does not list it.
        """
        for i, shard in enumerate(self._shards):
            if shard.path == path:
                return i
        raise ReadFailedError(f"a sidecar names the shard {path}, which {SHARDS_CSV} does not list")

    def position(self, key: str, splits: Sequence[str]) -> int | None:
        """Position of a row of some splits; None if none of them has it.

        Raises:
            ReadFailedError: if the sidecars name it and its shard does not hold it.
        """
        for split in splits:
            if split not in self._listed:
                self._listed[split] = self._sidecars.listed(split, [KEY, "shard"])
            listed = self._listed[split]
            row = pc.index(listed.column(KEY), key).as_py()
            if row < 0:
                continue
            shard = self.shard_number(str(listed.column("shard")[row].as_py()))
            place = pc.index(self.of_shard(shard), key).as_py()
            if place < 0:
                raise ReadFailedError(
                    f"{sidecar_path(split)} disagrees with its shards",
                    found=f"{self._shards[shard].path} holds no row {key}",
                )
            return self._places.first_of(shard) + int(place)
        return None
