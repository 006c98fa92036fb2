"""Images: what we write and what others write, whole and damaged."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segmend.core.errors import ReadFailedError, SchemaError
from segmend.core.sample import EM_COLUMNS, SPLIT_MASK_COLUMNS
from segmend.shards.codecs import decode_png, encode_png
from segmend.shards.rows import decode_row
from segmend.testing.rows import random_row

RGB = (np.random.default_rng(0).integers(0, 256, (224, 224, 3))).astype(np.uint8)


@pytest.mark.parametrize("image", [RGB, RGB[..., 0], RGB[:5, :9]])
def test_images_survive_the_round_trip(image) -> None:
    packed = encode_png(image)
    np.testing.assert_array_equal(decode_png(packed, image.shape), image)
    with Image.open(io.BytesIO(packed)) as peer:
        np.testing.assert_array_equal(np.asarray(peer), image)


@pytest.mark.parametrize("image", [RGB.astype(np.uint16), RGB[..., :2], RGB[0, 0]])
def test_other_images_are_not_written(image) -> None:
    with pytest.raises(SchemaError, match="uint8 with one or three channels"):
        encode_png(image)


def png(mode: str, size: tuple[int, int], **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, "PNG", **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(png("RGB", (100, 224)), id="too narrow"),
        pytest.param(png("RGB", (20_000, 20_000)), id="a bomb"),
        pytest.param(png("L", (224, 224)), id="grey"),
        pytest.param(png("RGBA", (224, 224)), id="alpha"),
        pytest.param(png("P", (224, 224)), id="palette"),
        pytest.param(png("I;16", (224, 224)), id="16 bits"),
    ],
)
def test_another_size_or_type_is_a_schema_error(payload: bytes) -> None:
    with pytest.raises(SchemaError, match="another size or type"):
        decode_png(payload, (224, 224, 3))


def test_an_animated_png_is_refused() -> None:
    frames = [Image.new("RGB", (224, 224), c) for c in ("black", "white")]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    with pytest.raises(ReadFailedError, match="animated"):
        decode_png(file.getvalue(), (224, 224, 3))


def test_another_format_is_refused() -> None:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "JPEG")
    with pytest.raises(ReadFailedError):
        decode_png(file.getvalue(), RGB.shape)


@pytest.mark.parametrize("cut", [0, 8, 30, 33, 1000])
def test_a_truncated_image_is_damage(cut: int) -> None:
    with pytest.raises(ReadFailedError):
        decode_png(encode_png(RGB)[:cut], RGB.shape)


@pytest.mark.parametrize("side", [100, 5_000, 10_000, 20_000])
def test_a_second_header_cannot_change_the_size(side: int) -> None:
    packed = encode_png(RGB)
    body = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    second = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    with pytest.raises(ReadFailedError):
        decode_png(packed[:33] + second + packed[33:], RGB.shape)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def file_of(image: np.ndarray, *middle: bytes, end: bytes = b"") -> bytes:
    """A PNG of the image's size with these chunks between header and end."""
    colour = 2 if image.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 8, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), *middle, chunk(b"IEND", b""), end)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def filtered(image: np.ndarray, kinds: list[int]) -> bytes:
    """Rows filtered one by one, by the formulas of section 9.2 of the specification."""
    depth = image.shape[2] if image.ndim == 3 else 1
    lines = image.reshape(len(image), -1).astype(int)
    above, out = np.zeros_like(lines[0]), b""
    for line, kind in zip(lines, kinds, strict=True):
        left, corner = (np.concatenate([np.zeros(depth, int), v[:-depth]]) for v in (line, above))
        guess = left + above - corner
        pa, pb, pc = abs(guess - left), abs(guess - above), abs(guess - corner)
        paeth = np.where((pa <= pb) & (pa <= pc), left, np.where(pb <= pc, above, corner))
        predicted = (0 * line, left, above, (left + above) // 2, paeth)[kind]
        out += bytes([kind]) + ((line - predicted) % 256).astype(np.uint8).tobytes()
        above = line
    return out


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 99),
    grey=st.booleans(),
    kinds=st.lists(st.integers(0, 4), min_size=8, max_size=8) | st.just([2] * 8),
    pieces=st.integers(1, 4),
    level=st.sampled_from([1, 3, 6]),
)
def test_files_of_any_filter_and_number_of_pieces_are_read(
    seed, grey, kinds, pieces, level
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (8, 5) if grey else (8, 5, 3), np.uint8)
    data = zlib.compress(filtered(image, kinds), level)
    step = -(-len(data) // pieces)
    parts = [chunk(b"IDAT", data[i : i + step]) for i in range(0, len(data), step)]
    payload = file_of(image, chunk(b"tEXt", b"Title\0x"), *parts)
    np.testing.assert_array_equal(decode_png(payload, image.shape), image)


@pytest.mark.parametrize("options", [{}, {"compress_level": 0}, {"optimize": True}])
def test_pillows_files_are_read(options: dict) -> None:
    for image in (RGB, RGB[..., 1]):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG", **options)
        np.testing.assert_array_equal(decode_png(file.getvalue(), image.shape), image)


def test_files_are_at_most_a_quarter_larger_than_pillows() -> None:
    columns = (*EM_COLUMNS, *SPLIT_MASK_COLUMNS)
    ours = theirs = 0
    for seed in range(3):
        for image in decode_row(random_row("split_edit", seed), columns).values():
            file = io.BytesIO()
            Image.fromarray(image).save(file, "PNG")
            ours, theirs = ours + len(encode_png(image)), theirs + len(file.getvalue())
    assert ours <= 1.25 * theirs


EM = decode_row(random_row("merge_edit", 1), ["em_xy_before"])["em_xy_before"]
EM_PNG = encode_png(EM)


@settings(max_examples=100, deadline=None)
@given(at=st.integers(0, len(EM_PNG) - 1), bit=st.integers(0, 7))
def test_every_flipped_bit_is_noticed(at: int, bit: int) -> None:
    flipped = bytearray(EM_PNG)
    flipped[at] ^= 1 << bit
    with pytest.raises((ReadFailedError, SchemaError)):
        decode_png(bytes(flipped), EM.shape)


@pytest.mark.parametrize("level", [1, 6])
def test_a_wrong_sum_in_files_of_others_is_noticed(level: int) -> None:
    file = io.BytesIO()
    Image.fromarray(EM).save(file, "PNG", compress_level=level)
    broken = bytearray(file.getvalue())
    broken[-20] ^= 1  # in the last data chunk
    with pytest.raises(ReadFailedError, match="CRC-32"):
        decode_png(bytes(broken), EM.shape)


def packed(data: bytes) -> bytes:
    """A stream that says it was packed fast, as ours do."""
    return zlib.compress(data, 3)


SMALL = RGB[:5, :9]
UP = filtered(SMALL, [2] * 5)
STREAM = packed(UP)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(file_of(SMALL, chunk(b"IDAT", packed(UP[:-1]))), id="too short"),
        pytest.param(file_of(SMALL, chunk(b"IDAT", packed(UP + b"x"))), id="too long"),
        pytest.param(file_of(SMALL, chunk(b"IDAT", STREAM[:-1])), id="cut stream"),
        pytest.param(file_of(SMALL, chunk(b"IDAT", STREAM[:-4] + bytes(4))), id="wrong sum"),
        pytest.param(file_of(SMALL, chunk(b"IDAT", STREAM), end=b"x"), id="tail"),
        pytest.param(file_of(SMALL), id="no data"),
    ],
)
def test_data_that_do_not_fit_the_header_are_damage(payload: bytes) -> None:
    with pytest.raises(ReadFailedError):
        decode_png(payload, (5, 9, 3))


@pytest.mark.parametrize("ours", [False, True])
def test_a_bomb_in_the_data_is_not_inflated(ours: bool) -> None:
    bomb = zlib.compress(bytes([2]) * 100_000_000, 3 if ours else 6)
    payload = file_of(SMALL, chunk(b"IDAT", bomb))
    tracemalloc.start()
    try:
        with pytest.raises(ReadFailedError, match="do not inflate"):
            decode_png(payload, SMALL.shape)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


def test_our_own_files_need_no_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmend.shards.codecs.Image", None)
    for image in (EM, RGB[..., 0]):
        np.testing.assert_array_equal(decode_png(encode_png(image), image.shape), image)
