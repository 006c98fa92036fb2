"""A store: objects under a root, read whole or by ranges, whatever carries the bytes.

A read has three outcomes: the *bytes*; ``None``, *certified absent* (the store says that there is
no such object); or *failed*, which raises `ReadFailedError` and is never turned into the others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from segmend.core.errors import BadInputError


@dataclass(frozen=True, slots=True)
class Request:
    """One object of a store, or a range of it.

    Attributes:
        key: Path below the store's root, parts joined by ``/``.
        start: First byte; negative: that many bytes from the end, and ``stop`` is None.
        stop: First byte outside; None: to the end.

    Raises:
        BadInputError: for a key that would leave the root, or an empty range.
    """

    key: str
    start: int | None = None
    stop: int | None = None

    def __post_init__(self) -> None:
        parts = self.key.split("/")
        if "\0" in self.key or "\\" in self.key or any(p in ("", ".", "..") for p in parts):
            raise BadInputError(
                f"'{self.key!r}' cannot be the name of a stored object",
                fix="A name is relative, with no empty, '.' or '..' part",
            )
        low, high = self.start or 0, self.stop
        if high is not None and not 0 <= low < high:
            raise BadInputError(f"bytes {low} to {high} of {self.key} are not a range")

    @property
    def whole(self) -> bool:
        """Whether the whole object is asked for."""
        return self.start is None and self.stop is None

    def span(self, size: int) -> tuple[int, int] | None:
        """First byte and first byte outside of an object of ``size`` bytes; None: past its end."""
        start = self.start or 0
        start = max(size + start, 0) if start < 0 else start
        stop = size if self.stop is None else self.stop
        return None if stop > size or start > stop else (start, stop)

    def __str__(self) -> str:
        if self.whole:
            return self.key
        return (
            f"{self.key} (bytes {self.start or 0} to {'end' if self.stop is None else self.stop})"
        )


class Store(ABC):
    """Objects under a root. A store pickles; connections and handles belong to the process."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The root, for messages and provenance; without secrets."""

    @property
    def identity(self) -> str:
        """Tells its objects from those of every other store; kept only as a digest."""
        return self.url

    @abstractmethod
    def read_many(self, requests: Sequence[Request]) -> Iterator[tuple[int, bytes | None]]:
        """Read objects, several at a time.

        Args:
            requests: What to read.

        Yields:
            Position in ``requests`` and the bytes, or None if certified absent; in the order of
            arrival. A range that reaches past the end of the object is *failed: truncated*.

        Raises:
            ReadFailedError: at the first object that cannot be read after all attempts.
        """

    def stamp(self, key: str) -> Hashable | None:
        """What changes when an object is written again, to tell whether something made of it holds.

        None where that cannot be told. Here every object counts as unchanging: to find out would
        cost as much as to read it.
        """
        del key
        return ()

    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes | None:
        """Read one object, or a range of it; None if certified absent.

        Raises:
            ReadFailedError: if it cannot be read.
        """
        ((_, data),) = self.read_many([Request(key, start, stop)])
        return data
