"""Row groups of a shard that lies far away, by ranges of just the columns that are wanted.

The footer of a shard says where each column of each row group begins and ends. Arrow is handed a
file that holds those bytes and nothing else: what was not fetched cannot be read, nor be zeros.
"""

from __future__ import annotations

import bisect
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from segmend.core.errors import ReadFailedError
from segmend.store.store import Request, Store

_TAIL_BYTES = 2**17
"""Read from the end of a shard first; a footer that is longer takes a second range."""

_MAGIC = b"PAR1"
_END = 8  # length of the footer, 4 bytes, and the magic (Parquet format, "File format")


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a shard, from ``start`` to before ``stop``."""

    start: int
    stop: int


def read_footer(store: Store, key: str, size: int) -> pq.FileMetaData:
    """The footer of a Parquet file.

    Args:
        store: Where it lies.
        key: Its name there.
        size: Its size in bytes, which the caller knows.

    Raises:
        ReadFailedError: if it cannot be read, or the file has another size or is none.
    """
    tail = _read(store, key, Span(max(size - _TAIL_BYTES, 0), size))
    length = int.from_bytes(tail[-_END:-4], "little")
    if tail[-4:] != _MAGIC or length + _END > size:
        raise ReadFailedError(
            f"{store.url}/{key} is not the shard that is listed",
            found=f"no Parquet file ends at byte {size}",
            fix="Open the benchmark again, or another revision of it",
            reason="corrupt",
            url=f"{store.url}/{key}",
        )
    if length + _END > len(tail):
        tail = _read(store, key, Span(size - length - _END, size))
    try:
        return pq.read_metadata(pa.BufferReader(tail))
    except (OSError, pa.ArrowException) as error:
        raise ReadFailedError(
            f"cannot read the footer of {store.url}/{key}", found=str(error), reason="corrupt"
        ) from error


def _read(store: Store, key: str, span: Span) -> bytes:
    return _there(store, key, store.read(key, span.start, span.stop))


def _there(store: Store, key: str, data: bytes | None) -> bytes:
    if data is None:
        raise ReadFailedError(
            f"cannot read {store.url}/{key}",
            found="there is no such file",
            reason="missing",
            url=f"{store.url}/{key}",
        )
    return data


def column_spans(
    footer: pq.FileMetaData, group: int, columns: Sequence[str], size: int
) -> list[Span]:
    """Where some columns of a row group lie.

    Args:
        footer: Of the file.
        group: Which row group.
        columns: Names of columns, without those of their parts.
        size: Of the file, bytes.

    Returns:
        A span for each part of each column, in the order of the file.

    Raises:
        ReadFailedError: if the footer names bytes outside the file.
    """
    told = footer.row_group(group)
    spans = []
    for i in range(told.num_columns):
        chunk = told.column(i)
        if chunk.path_in_schema.partition(".")[0] not in columns:
            continue
        start = chunk.data_page_offset
        # As Arrow has it: a dictionary comes first, where there is one.
        if chunk.dictionary_page_offset is not None and 0 < chunk.dictionary_page_offset < start:
            start = chunk.dictionary_page_offset
        span = Span(start, start + chunk.total_compressed_size)
        if not 4 <= span.start < span.stop <= size:
            raise ReadFailedError(
                f"the footer says that row group {group} lies outside its file",
                found=f"bytes {span.start} to {span.stop} of {size}",
                reason="corrupt",
            )
        spans.append(span)
    return sorted(spans, key=lambda span: span.start)


class HeldBytes(io.RawIOBase):
    """A file of which only some ranges are there.

    Args:
        size: Bytes of the whole file.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._at = 0
        self._starts: list[int] = []
        self._held: list[bytes] = []

    def hold(self, spans: Sequence[Span], data: Sequence[bytes]) -> None:
        """Hold these ranges, in ascending order, in place of those before."""
        self._starts = [span.start for span in spans]
        self._held = list(data)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        Raises:
            ReadFailedError: if they were not fetched.
        """
        wanted = self._size - self._at if size < 0 else min(size, self._size - self._at)
        i = bisect.bisect_right(self._starts, self._at) - 1
        begin = self._at - self._starts[i] if i >= 0 else 0
        if i < 0 or begin + wanted > len(self._held[i]):
            raise ReadFailedError(
                "a shard was read beyond what was fetched of it",
                found=f"bytes {self._at} to {self._at + wanted}",
                reason="corrupt",
            )
        self._at += wanted
        return self._held[i][begin : begin + wanted]


@dataclass(frozen=True, slots=True)
class GroupRequest:
    """Some columns of one row group.

    Attributes:
        key: The shard, in its store.
        size: Its size, bytes.
        footer: Its footer.
        group: Which row group.
        columns: Which columns.
    """

    key: str
    size: int
    footer: pq.FileMetaData
    group: int
    columns: tuple[str, ...]

    @property
    def spans(self) -> list[Span]:
        """What must be fetched for it."""
        return column_spans(self.footer, self.group, self.columns, self.size)


def read_groups(store: Store, wanted: Sequence[GroupRequest]) -> Iterator[pa.Table]:
    """Row groups, all fetched at once, then decoded one by one in the order asked for.

    Raises:
        ReadFailedError: if bytes cannot be read, or are damaged.
    """
    spans = [one.spans for one in wanted]
    requests = [
        Request(one.key, span.start, span.stop)
        for one, of_one in zip(wanted, spans, strict=True)
        for span in of_one
    ]
    found: dict[int, bytes] = {}
    for i, data in store.read_many(requests):
        found[i] = _there(store, requests[i].key, data)
    at = 0
    for one, of_one in zip(wanted, spans, strict=True):
        held = [found.pop(i) for i in range(at, at + len(of_one))]
        at += len(of_one)
        yield _decoded(store, one, of_one, held)


def _decoded(store: Store, wanted: GroupRequest, spans: list[Span], data: list[bytes]) -> pa.Table:
    held = HeldBytes(wanted.size)
    held.hold(spans, data)
    source = pa.PythonFile(held, mode="r")
    try:
        with pq.ParquetFile(
            source, metadata=wanted.footer, page_checksum_verification=True, pre_buffer=False
        ) as file:
            return file.read_row_group(
                wanted.group, columns=list(wanted.columns), use_threads=False
            )
    except ReadFailedError:
        raise
    # Arrow raises UnicodeDecodeError for text that is none.
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise ReadFailedError(
            f"cannot read {store.url}/{wanted.key} row group {wanted.group}",
            found=str(error),
            reason="corrupt",
            url=f"{store.url}/{wanted.key}",
        ) from error
