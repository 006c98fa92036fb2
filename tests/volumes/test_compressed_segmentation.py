"""The decoder of compressed_segmentation against the words of its specification."""

import os
import subprocess
import sys

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.core.errors import ReadFailedError
from segmend.volumes.codecs.compressed_segmentation import decode_compressed_segmentation
from segmend.volumes.codecs.piece import Piece


def by_the_words(words, piece, block):
    """The wanted voxels, one by one in Python integers; IndexError beyond the data."""
    out = np.zeros([s.stop - s.start for s in piece.part], piece.dtype)
    words = words.tolist()
    for place in np.ndindex(*out.shape):
        voxel = [p + s.start for p, s in zip(place, piece.part, strict=True)]
        out[place] = one_voxel(words, piece, block, voxel)
    return out


def one_voxel(words, piece, block, voxel):
    wide = piece.dtype.itemsize // 4
    blocks = [-(-n // b) for n, b in zip(piece.shape, block, strict=True)]
    cell, inside = zip(*(divmod(v, b) for v, b in zip(voxel, block, strict=True)), strict=True)
    channel = words[piece.channel]
    at = channel + 2 * ((cell[0] * blocks[1] + cell[1]) * blocks[2] + cell[2])
    table, bits, values = words[at] & 0xFFFFFF, words[at] >> 24, words[at + 1]
    index = 0
    if bits:
        bit = bits * ((inside[0] * block[1] + inside[1]) * block[2] + inside[2])
        index = words[channel + values + bit // 32] >> bit % 32 & (1 << bits) - 1
    entry = channel + table + index * wide
    return sum(words[entry + i] << 32 * i for i in range(wide))


def part_of(shape, draw):
    corners = [sorted(draw(st.lists(st.integers(0, n), min_size=2, max_size=2))) for n in shape]
    return tuple(slice(a, b) for a, b in corners)


@st.composite
def chunks(draw):
    """A chunk of random blocks whose offsets are all right, and what is wanted of it."""
    shape = draw(st.tuples(*[st.integers(1, 11)] * 3))
    block = draw(st.sampled_from([(8, 8, 8), (4, 4, 4), (1, 2, 8), (3, 5, 7), (2, 2, 16)]))
    dtype = np.dtype(draw(st.sampled_from(["uint32", "uint64"])))
    channels = draw(st.integers(1, 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    words = list(rng.integers(0, 2**32, channels))
    blocks = np.prod([-(-n // b) for n, b in zip(shape, block, strict=True)])
    for channel in range(channels):
        words[channel] = len(words)
        headers, body = [], []
        for _ in range(blocks):
            bits = int(rng.choice([0, 1, 2, 4, 8]))
            values = rng.integers(0, 2**32, -(-int(np.prod(block)) * bits // 32))
            table = rng.integers(0, 2**32, 2**bits * dtype.itemsize // 4)
            start = 2 * blocks + len(body)
            headers += [start + len(values) | bits << 24, start]
            body += [*values, *table]
        words += headers + body
    channel = draw(st.integers(0, channels - 1))
    piece = Piece(dtype, shape, part_of(shape, draw), channel, channels)
    return np.array(words, "<u4"), piece, block


@settings(deadline=None)
@given(chunks())
def test_any_part_of_any_chunk_decodes_as_specified(chunk):
    words, piece, block = chunk
    expected = by_the_words(words, piece, block)
    around = np.full([n + 2 for n in expected.shape], 77, piece.dtype)
    out = around[1:-1, 1:-1, 1:-1]
    decode_compressed_segmentation(words.tobytes(), piece, out, block=block)
    np.testing.assert_array_equal(out, expected)
    out[...] = 77
    assert (around == 77).all()


@settings(deadline=None)
@given(chunks(), st.randoms(use_true_random=False))
def test_damage_is_corrupt_or_decodes_as_specified_never_beyond_the_end(chunk, random):
    words, piece, block = chunk
    words = words.copy()
    for _ in range(random.choice([0, 1, 1, 5])):
        words[random.randrange(len(words))] = random.choice([random.getrandbits(32), 2**24, 2**31])
    words = words[: random.choice([len(words), random.randrange(len(words))])]
    out = np.zeros([s.stop - s.start for s in piece.part], piece.dtype)
    reason = None
    try:
        decode_compressed_segmentation(words.tobytes(), piece, out, block=block)
    except ReadFailedError as error:
        reason = error.reason
    if reason is None:
        np.testing.assert_array_equal(out, by_the_words(words, piece, block))
    assert reason in (None, "corrupt")


def test_no_read_ever_leaves_the_data():
    """The same trials without the compiler, where NumPy checks every index."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(
        [*command, "-k", "as_specified"],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
