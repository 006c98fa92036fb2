"""What names that people gave say: the words in them, and the split that a file belongs to."""

from __future__ import annotations

import re
from typing import Literal

Split = Literal["train", "test"]

SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
}


def words(name: str) -> list[str]:
    """Words of a name in lower case: ``spineHead_012`` and ``Spine head 12`` have the same."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def split_of(name: str) -> Split | None:
    """Whether a file's name says training or test; None if neither or both.

    Names of L4dense's files of training data are not known: one that says nothing decides nothing.
    """
    said = {SPLITS[word] for word in words(name) if word in SPLITS}
    return said.pop() if len(said) == 1 else None
