"""Randomness keyed by names, so that a draw never depends on order, process or platform."""

from __future__ import annotations

import hashlib

import numpy as np


def keyed_digest(*key: object) -> bytes:
    """16 bytes that depend on the key alone (BLAKE2b of its parts, separated by NUL)."""
    text = "\0".join(str(part) for part in key)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def keyed_generator(*key: object) -> np.random.Generator:
    """A generator (PCG64) that depends on the key alone."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(keyed_digest(*key), "little")))


def keyed_unit(*key: object) -> float:
    """A number in [0, 1) that depends on the key alone."""
    return int.from_bytes(keyed_digest(*key)[:7], "little") / 2**56
