"""gzip with a limit, through isal, for data whose inflated size is not known beforehand."""

from __future__ import annotations

from isal import igzip_lib

from segmend.volumes.codecs.piece import corrupt

_InflateError: type[Exception] = igzip_lib.error  # type: ignore[assignment]


def gunzip(data: bytes, *, limit: int) -> bytes:
    """Inflate a gzip file of one or more members (RFC 1952), checksums verified.

    Args:
        data: The whole file.
        limit: Most bytes it may hold; hardly more memory than that is ever used.

    Raises:
        ReadFailedError: with reason ``corrupt``, if it is no gzip, is cut short, fails its checksum
            or holds more.
    """
    # The size that the last member states is a hint and no more: isal allocates what it is allowed
    # to deliver, so that a generous limit would cost more time than inflating.
    step = min(limit, int.from_bytes(data[-4:], "little")) + 1
    parts: list[bytes] = []
    size = 0
    while data:
        member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        while not member.eof:
            try:
                part = member.decompress(data, step)
            except _InflateError as error:
                raise corrupt(f"gzip data is damaged: {error}") from error
            size += len(part)
            if size > limit:
                raise corrupt(f"gzip data holds more than {limit} bytes")
            if not part and not member.eof:
                raise corrupt("gzip data ends in the middle")
            parts.append(part)
            data, step = b"", min(limit - size, max(step, size)) + 1
        data = member.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)
