"""A record as TOML text. Python reads TOML and does not write it."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from segmend.catalog.record import Record


def to_toml(record: Record) -> str:
    """The record as `segmend.catalog.record.load_record` reads it: one line per field."""
    given = {k: v for k, v in msgspec.to_builtins(record).items() if v is not None}
    return "".join(f"{name} = {_value(value)}\n" for name, value in given.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        items = (f"{json.dumps(k)} = {_value(v)}" for k, v in value.items() if v is not None)
        return "{ " + ", ".join(items) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    # JSON strings, numbers and booleans are TOML's.
    return json.dumps(value, ensure_ascii=False)
