"""Compiled decoding against Pillow, NumPy and zlib, and against what runs without it."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from segmend.core.errors import ReadFailedError
from segmend.core.sample import EM_COLUMNS
from segmend.shards import compiled, kernels, png, repair
from segmend.shards.codecs import decode_geometry, decode_png
from segmend.shards.rows import decode_row
from segmend.testing.published import as_published
from segmend.testing.rows import random_row

FEW = settings(max_examples=40, deadline=None)
KINDS = ("merge_edit", "split_edit", "junction_control")
ROWS = [as_published(random_row(kind, 5)) for kind in KINDS]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(filtered: np.ndarray, shape: tuple[int, ...], parts: int = 1) -> bytes:
    """A PNG whose rows are any filtered bytes: every such file is some picture."""
    header = struct.pack(">IIBBBBB", shape[1], shape[0], 8, 2 if len(shape) == 3 else 0, 0, 0, 0)
    packed = zlib.compress(filtered.tobytes())
    cuts = [len(packed) * i // parts for i in range(parts + 1)]
    data = [chunk(b"IDAT", packed[a:b]) for a, b in itertools.pairwise(cuts)]
    return png.SIGNATURE + chunk(b"IHDR", header) + b"".join(data) + chunk(b"IEND", b"")


@FEW
@given(st.data(), st.sampled_from([(5, 7, 3), (4, 9), (1, 1, 3), (3, 1)]), st.integers(1, 3))
def test_every_filter_is_undone_as_pillow_does(
    data: st.DataObject, shape: tuple[int, ...], parts: int
) -> None:
    width = int(np.prod(shape[1:]))
    body = data.draw(arrays(np.uint8, (shape[0], width)))
    kinds = data.draw(arrays(np.uint8, (shape[0], 1), elements=st.integers(0, 4)))
    payload = png_of(np.hstack([kinds, body]), shape, parts)
    expected = np.asarray(Image.open(io.BytesIO(payload)))
    assert np.array_equal(decode_png(payload, shape), expected)


def test_a_filter_that_does_not_exist_is_named() -> None:
    payload = png_of(np.full((2, 4), 5, np.uint8), (2, 1, 3))
    with pytest.raises(ReadFailedError, match="a filter that does not exist"):
        decode_png(payload, (2, 1, 3))


@pytest.fixture
def nothing_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the base install: neither numba nor imagecodecs."""
    for module in (png, repair):
        monkeypatch.setattr(module, "kernels", lambda: None)
    monkeypatch.setattr(compiled, "_libdeflate", lambda: None)


def decoded(row: dict[str, Any], origin: Any) -> Any:
    columns = ("geometry", *EM_COLUMNS)
    kind = repair.SAMPLE_TYPES[row["sample_type"]]
    return repair.repair(decode_row(row, columns), origin, kind=kind)


EXPECTED = {
    (i, origin): decoded(row, origin)
    for i, row in enumerate(ROWS)
    for origin in ("foreign", "published", "metric")
}


@pytest.mark.usefixtures("nothing_compiled")
@pytest.mark.parametrize(("i", "origin"), EXPECTED)
def test_the_base_install_decodes_and_repairs_alike(i: int, origin: str) -> None:
    values, findings = decoded(ROWS[i], origin)
    expected, met = EXPECTED[i, origin]
    assert findings == met
    for name, value in values.items():
        assert np.array_equal(value.view(np.uint8), expected[name].view(np.uint8)), name


def dirty(seed: int) -> np.ndarray:
    """Geometry with every fault at once: drawn background, odd depths, overlaps, no codes."""
    rng = np.random.default_rng(seed)
    geometry = np.array(decode_geometry(ROWS[0]["geometry"]))
    pixels = rng.random(geometry.shape[-2:]) < 0.1
    geometry[:, 1, pixels] = rng.choice([0, 2e-4, 0.5, 1], (3, int(pixels.sum())))
    geometry[:, 3, pixels] = rng.choice([0, 0.3333, -1], (3, int(pixels.sum()))) * (seed % 2)
    geometry[:, 5:, pixels] = 1
    return geometry


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("foreign", [True, False])
def test_views_are_repaired_alike(seed: int, foreign: bool) -> None:
    views = dirty(seed).view(np.uint16).reshape(3, 7, -1)
    fast, slow = views.copy(), views.copy()
    assert repair._repair_views(fast, foreign=foreign) == repair._repair_by_numpy(
        slow, foreign=foreign
    )
    assert np.array_equal(fast, slow)
    assert not np.array_equal(fast, views)


@FEW
@given(arrays(np.uint8, (6, 5, 3)))
def test_masks_are_cut_alike(image: np.ndarray) -> None:
    out = image.copy()
    changed, a, b = kernels.cut_masks(out.reshape(len(out), -1))
    expected = np.where(image >= 128, 255, 0).astype(np.uint8)
    expected[..., 0] = image[..., 0]
    assert np.array_equal(out, expected)
    assert changed == (expected != image).sum()
    assert (a, b) == (expected[..., 1].any(), expected[..., 2].any())


@pytest.mark.parametrize("library", ["libdeflate", "isal"])
@pytest.mark.parametrize("raw", [True, False])
def test_inflating_is_exact_or_an_error(
    library: str, raw: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library == "isal":
        monkeypatch.setattr(compiled, "_libdeflate", lambda: None)
    content = np.random.default_rng(0).integers(0, 4, 50_000).astype(np.uint8).tobytes()
    packer = zlib.compressobj(6, zlib.DEFLATED, -15 if raw else 15)
    data = packer.compress(content) + packer.flush()
    assert compiled.inflate(memoryview(data), len(content), raw=raw).tobytes() == content
    for size in (len(content) - 1, len(content) + 1):
        with pytest.raises(compiled.InflateError, match=f"declared {size} bytes"):
            compiled.inflate(data, size, raw=raw)
    with pytest.raises(compiled.InflateError):
        compiled.inflate(data[: len(data) // 2], len(content), raw=raw)
    with pytest.raises(compiled.InflateError):
        compiled.inflate(b"\xff" * 50, 100, raw=raw)
