"""What an archive from a stranger may hold: plain files and folders under plain relative names."""

from __future__ import annotations

import stat
import zipfile
from pathlib import PurePosixPath

_SHOWN = 80


def name_objection(name: str) -> str:
    """Why a member's name is refused, on any system it could lead elsewhere; empty if it is not."""
    plain = PurePosixPath(name)
    bad = plain.is_absolute() or ".." in plain.parts
    if bad or not name.isprintable() or set(name) & set("\\:"):
        return f"a member is named {name[:_SHOWN]!r}"
    return ""


def zip_objection(entry: zipfile.ZipInfo) -> str:
    """Why an entry of a zip archive is refused; empty if it is not."""
    if objection := name_objection(entry.filename):
        return objection
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return f"{entry.filename} is a link or a device"
    if entry.flag_bits & 1:
        return f"{entry.filename} is encrypted"
    return ""
