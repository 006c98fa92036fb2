from __future__ import annotations

import contextlib
import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.core.errors import BadInputError, OutputError, ReadFailedError, SegmendError
from segmend.loaders.dataset import TaskDataset, ViewDataset
from segmend.loaders.examples import Reading, examples
from segmend.loaders.packed.blocks import DENSE, PIXELS, SHAPES, SPARSE, pack_block, unpack_block
from segmend.loaders.packed.build import pack
from segmend.loaders.packed.files import MANIFEST, index_path, pack_path
from segmend.loaders.packed.reader import PackedRows, Pictures, Wanted
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS
from segmend.testing.rows import random_benchmark
from segmend.testing.tasks import assert_equal_inputs

DUAL = TASKS["false_split_correction"]
SHARD = "train/train-00000.parquet"
ONE = np.float16(1).view(np.uint16)


def assert_same_examples(benchmark: Benchmark, place: Path, **options) -> int:
    """Both routes give the same bits; how many examples were compared."""
    compared = 0
    for task in TASKS.values():
        plain = examples(benchmark, task, "train", Reading(**options))
        fast = examples(benchmark, task, "train", Reading(packed=place, **options))
        for first, second in zip(plain, fast, strict=True):
            assert first.sample_hash == second.sample_hash
            assert_equal_inputs(first.inputs, second.inputs)
            np.testing.assert_array_equal(first.target, second.target)
            assert type(first.target) is type(second.target)
            compared += 1
    return compared


def test_a_packed_cache_gives_the_same_bits_as_the_shards(benchmark, packed: Path) -> None:
    assert assert_same_examples(benchmark, packed) == 18


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("repaired", [True, False])
def test_published_rows_too(published, tmp_path: Path, version: str, repaired: bool) -> None:
    """As corrected, and as they are: grey masks and coded normals come back bit for bit."""
    benchmark = Benchmark.open(published[version])
    assert benchmark.version == version
    pack(benchmark, tmp_path / "cache", repaired=repaired)
    assert assert_same_examples(benchmark, tmp_path / "cache", repaired=repaired) >= 6


@pytest.mark.parametrize("kind", [TaskDataset, ViewDataset])
def test_batches_are_the_same_too(benchmark: Benchmark, packed: Path, kind) -> None:
    for task in TASKS.values():
        plain, fast = (
            kind(benchmark, task, "train", Reading(packed=place), swap_ab=True)
            for place in (None, packed)
        )
        schedule = plain.schedule(batch_size=7, seed=1)
        steps = list(schedule)
        with ThreadPoolExecutor(3) as pool:
            for first, second in zip(
                map(plain.__getitem__, steps), pool.map(fast.__getitem__, steps), strict=True
            ):
                assert first.keys() == second.keys()
                for name, value in first.items():
                    if isinstance(value, torch.Tensor):
                        assert torch.equal(value, second[name])
                    else:
                        assert value == second[name]


def test_a_cache_can_be_pickled(benchmark: Benchmark, packed: Path) -> None:
    found = examples(benchmark, DUAL, "train", Reading(packed=packed))
    again = pickle.loads(pickle.dumps(found))
    assert_equal_inputs(again[2].inputs, found[2].inputs)


MASK = st.binary(min_size=PIXELS // 64, max_size=PIXELS // 64).map(
    lambda bits: np.repeat(np.unpackbits(np.frombuffer(bits, np.uint8)), 8).astype(bool)
)


def round_trip(kind, picture) -> int:
    mode, block = pack_block(kind, picture)
    out = np.empty(*SHAPES[kind])
    unpack_block(kind, mode, np.frombuffer(block, np.uint8), out)
    assert out.tobytes() == picture.tobytes()
    return mode


@settings(max_examples=8, deadline=None)
@given(silhouette=MASK, a=MASK, seed=st.integers(0, 2**32 - 1))
def test_any_view_comes_back(silhouette, a, seed: int) -> None:
    rng = np.random.default_rng(seed)
    view = rng.integers(0, 2**16, SHAPES["view"][0]).astype("<u2")  # NaN and negative zero too
    assert round_trip("view", view) == DENSE
    view[1:5] *= silhouette
    for channel, mask in ((0, silhouette), (5, a), (6, ~a)):
        view[channel] = mask * ONE
    assert round_trip("view", view) == SPARSE


@settings(max_examples=8, deadline=None)
@given(a=MASK, b=MASK, seed=st.integers(0, 2**32 - 1))
def test_any_slice_and_any_split_mask_comes_back(a, b, seed: int) -> None:
    plane = np.random.default_rng(seed).integers(0, 256, SHAPES["plane"][0], np.uint8)
    assert round_trip("plane", plane) == DENSE
    plane[1], plane[2] = a * np.uint8(255), b * np.uint8(255)
    assert round_trip("plane", plane) == SPARSE
    assert round_trip("sides", plane[0]) == DENSE
    assert round_trip("sides", np.where(a, 0, np.where(b, 128, 255)).astype(np.uint8)) == SPARSE


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_block_writes_outside_its_picture(data) -> None:
    """Lengths that lie, bytes that are noise: an error, or a picture; never a crash."""
    kind = data.draw(st.sampled_from(sorted(SHAPES)))
    shape, dtype = SHAPES[kind]
    picture = np.zeros(shape, dtype)
    if kind == "sides":
        picture[:] = 255
    _, block = pack_block(kind, picture)
    damaged = bytearray(block)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, min(len(block), 60) - 1))] = data.draw(st.integers(0, 255))
    guarded = np.full((3, *shape), 7, dtype)
    with contextlib.suppress(ReadFailedError):
        mode = data.draw(st.sampled_from([DENSE, SPARSE]))
        unpack_block(kind, mode, np.frombuffer(damaged, np.uint8), guarded[1])
    assert (guarded[[0, 2]] == 7).all()


@pytest.fixture
def cache(packed: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(packed, tmp_path / "copy"))


def read_all(benchmark: Benchmark, place: Path) -> None:
    list(examples(benchmark, DUAL, "train", Reading(packed=place)))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "what"),
    [("pack", r"row \d+ of train.*em_\w+: its CRC-32|geometry: its CRC-32"), ("index", "sha256")],
)
def test_a_flipped_bit_is_found(benchmark, cache: Path, file: str, what: str) -> None:
    flip((cache / SHARD).with_suffix(f".{file}"), 1000 if file == "pack" else -1)
    with pytest.raises(ReadFailedError, match=what):
        read_all(benchmark, cache)


def test_lost_and_truncated_files_are_named(benchmark: Benchmark, cache: Path) -> None:
    path = pack_path(cache, SHARD)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ReadFailedError, match=r"train-00000\.pack.*bytes, not"):
        read_all(benchmark, cache)
    path.unlink()
    with pytest.raises(ReadFailedError, match=r"train-00000\.pack"):
        read_all(benchmark, cache)
    index_path(cache, SHARD).write_bytes(b"{}\n")
    with pytest.raises(ReadFailedError, match=r"train-00000\.index"):
        read_all(benchmark, cache)
    (cache / MANIFEST).write_text("{")
    with pytest.raises(ReadFailedError, match=r"pack\.json"):
        read_all(benchmark, cache)


def test_a_cache_of_something_else_is_refused(benchmark, packed: Path, tmp_path: Path) -> None:
    other = Benchmark.open(random_benchmark(tmp_path / "b", {"train": {"merge_edit": 2}}))
    with pytest.raises(BadInputError, match="packed from another benchmark"):
        PackedRows(packed, other)
    with pytest.raises(BadInputError, match="packed with repaired=True"):
        PackedRows(packed, benchmark, repaired=False)
    with pytest.raises(BadInputError, match="no finished packed cache"):
        PackedRows(tmp_path / "nowhere", benchmark)


def test_packing_again_reuses_what_is_whole_and_mends_the_rest(benchmark, cache: Path) -> None:
    before = {p: p.read_bytes() for p in cache.rglob("*") if p.is_file()}
    assert pack(benchmark, cache).reused == len(benchmark.shards) > 1
    pack_path(cache, SHARD).write_bytes(b"cut")
    stray = cache / "train" / ".train-00009.pack.1.tmp"
    stray.write_bytes(b"left by a kill")
    done = pack(benchmark, cache)
    assert done.reused == done.shards - 1
    assert not stray.exists()
    assert {p: p.read_bytes() for p in cache.rglob("*") if p.is_file()} == before
    assert done.size < 1.2 * done.source_size
    assert json.loads((cache / MANIFEST).read_text())["benchmark_sha256"] == benchmark.sha256


def test_a_cache_that_was_not_finished_is_not_used(benchmark, tmp_path: Path, monkeypatch) -> None:
    place = tmp_path / "cache"

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("segmend.loaders.packed.build.write_manifest", killed)
    with pytest.raises(KeyboardInterrupt):
        pack(benchmark, place)
    with pytest.raises(BadInputError, match="no finished packed cache"):
        read_all(benchmark, place)
    monkeypatch.undo()
    assert pack(benchmark, place).reused == len(benchmark.shards)


def test_a_folder_of_other_things_is_left_alone(benchmark: Benchmark, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match=r"holds thesis\.tex"):
        pack(benchmark, tmp_path)
    with pytest.raises(BadInputError, match="at least one process"):
        pack(benchmark, tmp_path / "cache", workers=0)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


@pytest.mark.slow
def test_processes_write_the_same_bytes(benchmark: Benchmark, packed: Path, tmp_path) -> None:
    pack(benchmark, tmp_path / "cache", workers=2)
    for path in packed.rglob("*"):
        if path.is_file():
            assert (tmp_path / "cache" / path.relative_to(packed)).read_bytes() == path.read_bytes()


def test_a_missing_picture_is_an_error(benchmark: Benchmark, packed: Path) -> None:
    rows = PackedRows(packed, benchmark)
    wanted = Wanted(sides=rows.blocks("split_mask_front"))
    lacking = next(i for i in range(len(benchmark)) if not _has_masks(benchmark, i))
    nothing = (np.empty((0, *SHAPES[kind][0]), SHAPES[kind][1]) for kind in ("view", "plane"))
    out = Pictures(*nothing, np.empty((1, PIXELS), np.uint8))
    with pytest.raises(SegmendError) as raised:
        rows.read(lacking, wanted, out)
    assert "split_mask_front: it is missing" in str(raised.value)


def _has_masks(benchmark: Benchmark, position: int) -> bool:
    (row,) = benchmark.read_rows([position], ["has_after_mask"]).to_pylist()
    return row["has_after_mask"]
