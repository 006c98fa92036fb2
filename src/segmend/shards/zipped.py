"""A zip with one file in it: written, and read from its central directory and checked first.

`numpy.savez` writes local headers with zip64 lengths, so only the directory at the end tells the
sizes (PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16). The standard library's reader
accepts far more than one plain file; this one does not.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from segmend.core.errors import BadInputError, ReadFailedError, SchemaError

_END = struct.Struct("<4s4H2IH")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_STORED, _DEFLATED = 0, 8
# Any fixed date makes the bytes a function of the file; this is the first one a zip can hold.
_DATE = 1 << 5 | 1  # 1 January 1980 (section 4.4.6)
_VERSION = 20  # 2.0: deflate (section 4.4.3)
_UNIX, _READABLE = 3 << 8, 0o100644 << 16  # sections 4.4.2.2 and 4.4.15
_LARGEST = 2**32 - 2  # above it a zip needs the fields of zip64 (section 4.4.8)
# Encrypted, patched, strongly encrypted, or with masked headers.
_REFUSED_FLAGS = 0x1 | 0x20 | 0x40 | 0x2000


@dataclass(frozen=True, slots=True)
class Member:
    """The one file of a zip, still packed.

    Attributes:
        name: File name.
        size: Bytes after unpacking, as declared.
        crc32: CRC-32 of the unpacked bytes, as declared.
        deflated: Whether the data are deflated or stored as they are.
        data: The packed bytes.
    """

    name: str
    size: int
    crc32: int
    deflated: bool
    data: memoryview


def zip_of(member: Member) -> bytes:
    """A zip with one file.

    Raises:
        BadInputError: if the file is so large (4 GiB) that it needs zip64.
    """
    if max(member.size, len(member.data)) > _LARGEST:
        raise BadInputError(f"a file of {member.size} bytes is too large for a plain zip")
    name = member.name.encode("ascii")
    method = _DEFLATED if member.deflated else _STORED
    facts = (0, method, 0, _DATE, member.crc32, len(member.data), member.size, len(name), 0)
    local = _LOCAL.pack(b"PK\x03\x04", _VERSION, *facts) + name
    entry = _ENTRY.pack(b"PK\x01\x02", _UNIX | _VERSION, _VERSION, *facts, 0, 0, 0, _READABLE, 0)
    start, length = len(local) + len(member.data), len(entry) + len(name)
    end = _END.pack(b"PK\x05\x06", 0, 0, 1, 1, length, start, 0)
    return b"".join((local, member.data, entry, name, end))


def single_member(payload: bytes | memoryview) -> Member:
    """Find the one file of a zip.

    Raises:
        ReadFailedError: if the bytes are not a whole zip.
        SchemaError: if it holds several files, or one that is encrypted or otherwise packed.
    """
    start = _directory_start(payload)
    entry = _ENTRY.unpack_from(payload, start)
    signature, flags, method = entry[0], entry[3], entry[4]
    crc32, packed, size, name_length = entry[7:11]
    if signature != b"PK\x01\x02" or start + _ENTRY.size + name_length > len(payload):
        raise _damaged("its directory entry is broken")
    if flags & _REFUSED_FLAGS or method not in (_STORED, _DEFLATED):
        raise SchemaError("a zip is packed in a way that is not read", found=f"method {method}")
    if method == _STORED and packed != size:
        raise _damaged("a stored file has two sizes")
    name = bytes(payload[start + _ENTRY.size :][:name_length]).decode("latin-1")
    begin = _data_start(payload, entry[16])
    if begin + packed > start:
        raise _damaged("its file reaches into the directory")
    data = memoryview(payload)[begin : begin + packed]
    return Member(name=name, size=size, crc32=crc32, deflated=method == _DEFLATED, data=data)


def _directory_start(payload: bytes | memoryview) -> int:
    end = len(payload) - _END.size
    if end < _ENTRY.size or payload[end : end + 4] != b"PK\x05\x06":
        raise _damaged("it does not end with a zip directory")
    _, disk, first, here, total, size, start, comment = _END.unpack_from(payload, end)
    if (disk, first, comment) != (0, 0, 0) or start + size != end or size < _ENTRY.size:
        raise _damaged("its end record does not fit")
    if (here, total) != (1, 1):
        raise SchemaError("a zip must hold one file", found=f"it lists {total}")
    return int(start)


def _data_start(payload: bytes | memoryview, local: int) -> int:
    if local + _LOCAL.size > len(payload):
        raise _damaged("its file starts beyond the end")
    header = _LOCAL.unpack_from(payload, local)
    if header[0] != b"PK\x03\x04":
        raise _damaged("its file header is broken")
    return local + _LOCAL.size + int(header[9]) + int(header[10])


def _damaged(found: str) -> ReadFailedError:
    return ReadFailedError("a zip is damaged", found=found)
