"""Named things of one kind, with an error that lists what exists."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from segmend.core.errors import BadInputError, UnknownNameError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A mapping from name to item whose errors teach.

    Args:
        kind: What the items are, in the singular, for messages: ``"task"``, ``"model"``.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def add(self, name: str, item: T) -> T:
        """Register an item under a new name and return it.

        Raises:
            BadInputError: if the name is taken.
        """
        if name in self._items:
            raise BadInputError(f"a {self.kind} named '{name}' is registered already")
        self._items[name] = item
        return item

    def __getitem__(self, name: str) -> T:
        if name not in self._items:
            raise unknown_name(self.kind, name, self._items)
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._items))

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, name: object) -> bool:
        return name in self._items


def unknown_name(kind: str, name: str, known: Mapping[str, object]) -> UnknownNameError:
    """The error for a name that is not among the known ones, with the nearest match."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return UnknownNameError(
        f"there is no {kind} named '{name}'",
        fix=f"{hint}Known: {', '.join(sorted(known)) or 'none'}",
    )
