"""Whole shards to this machine: verified, resumed, mended."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import segmend as sg
from segmend.apps.cli.main import segmend
from segmend.core.errors import BadInputError, NoSamplesError, ReadFailedError
from segmend.shards.download import choose_shards, fetch_benchmark
from segmend.shards.verify import verify
from segmend.store.atomic import sha256_file
from segmend.store.options import StoreOptions
from segmend.store.retry import RetryPolicy, TimeLimits
from segmend.testing import faults
from segmend.testing.servers import range_server

KEY = "combined_sample_hash"
QUICK = StoreOptions(
    retry=RetryPolicy(attempts=5, base_s=0.01), limits=TimeLimits(stall_s=0.5, first_byte_s=0.5)
)
WHICH = pytest.mark.parametrize("which", ["bench", "published"])
FIRST = "train/train-00000.parquet"


@WHICH
def test_a_fetched_benchmark_is_the_same(
    which: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(which)
    some = [faults.reset(70_000), faults.cut(10_000), faults.status(503), faults.shorter(9)]
    with range_server(folder, faults=faults.seeded(3, some, rate=0.3)) as server:
        there = sg.benchmark(server.url, options=QUICK)
        made = fetch_benchmark(there, tmp_path / "copy")
    assert (made.n_shards, made.kept, made.mended) == (len(there.shards), 0, {})
    for path in (p for p in folder.rglob("*") if p.is_file() and p.name != "shards.csv"):
        assert (tmp_path / "copy" / path.relative_to(folder)).read_bytes() == path.read_bytes()
    assert verify(tmp_path / "copy").problems == verify(folder).problems == ()
    here = sg.benchmark(tmp_path / "copy")
    assert here.shards == there.shards
    assert here.revision == there.revision


def test_a_broken_download_goes_on(bench: Path, tmp_path: Path) -> None:
    with range_server(bench) as server:
        there = sg.benchmark(server.url, options=QUICK)
        part = there.shards[:1]
        fetch_benchmark(there, tmp_path / "copy", shards=part)
        server.log.clear()
        made = fetch_benchmark(there, tmp_path / "copy")
        assert made.kept == 1
        assert not [a for a in server.log if a.path.endswith(FIRST)]
    assert verify(tmp_path / "copy").ok


@WHICH
def test_a_part_is_a_benchmark_of_its_own(
    which: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    there = sg.benchmark(request.getfixturevalue(which))
    chosen = [shard for shard in there.shards if shard.shard_id == 0]
    fetch_benchmark(there, tmp_path / "part", shards=chosen)
    here = sg.benchmark(tmp_path / "part")
    assert list(here.shards) == chosen
    assert len(here.sidecar()) == sum(shard.n_samples for shard in chosen)
    for row in here.rows(range(len(here)), [KEY]):
        assert there.row(row.values[KEY], [KEY]).values == row.values
    assert verify(tmp_path / "part").problems == ()


def test_shards_are_chosen_by_split_and_size(published: Path) -> None:
    benchmark = sg.benchmark(published)
    assert {s.split for s in choose_shards(benchmark, splits=["test"])} == {"test"}
    total = sum(shard.size_bytes for shard in benchmark.shards)
    some = choose_shards(benchmark, n_bytes=int(total * 0.8))
    assert sum(shard.size_bytes for shard in some) <= total * 0.8
    assert {shard.split for shard in some} == {"train", "test"}
    with pytest.raises(NoSamplesError, match="do not hold a shard of each split"):
        choose_shards(benchmark, n_bytes=1000)
    with pytest.raises(NoSamplesError, match="no shards of validation"):
        choose_shards(benchmark, splits=["validation"])
    with pytest.raises(BadInputError, match="no split 'val'"):
        choose_shards(benchmark, splits=["val"])


def large_shard(folder: Path) -> tuple[Path, int, int]:
    """A shard, and where the pictures of its second row group lie."""
    path = folder / FIRST
    chunk = pq.read_metadata(path).row_group(0).column(15)
    return path, chunk.data_page_offset, chunk.total_compressed_size


@WHICH
def test_only_damaged_row_groups_are_fetched_again(
    which: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(which)
    copy = tmp_path / "copy"
    with range_server(folder) as server:
        there = sg.benchmark(server.url, options=QUICK)
        fetch_benchmark(there, copy)
        path, start, size = large_shard(copy)
        content = bytearray(path.read_bytes())
        content[start + size // 2] ^= 4
        content[-5] ^= 1  # the footer too
        path.write_bytes(content)
        server.log.clear()
        made = fetch_benchmark(there, copy)
        assert made.mended == {FIRST: 1}
        assert all("range" in a.headers for a in server.log if a.path.endswith(FIRST))
    assert sha256_file(path) == there.shards[0].sha256
    assert not list(copy.rglob("*.mended"))


def test_a_shard_that_cannot_be_mended_is_fetched_whole(published: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    there = sg.benchmark(published)
    fetch_benchmark(there, copy)
    path = copy / FIRST
    path.write_bytes(bytes(path.stat().st_size))
    fetch_benchmark(there, copy)
    assert sha256_file(path) == there.shards[0].sha256


def test_a_shard_that_is_another_is_refused(published: Path, tmp_path: Path) -> None:
    with range_server(published, faults=lambda a: _flipped(a, published)) as server:
        there = sg.benchmark(server.url, options=QUICK)
        with pytest.raises(ReadFailedError, match=r"test-00000\.parquet.*sha256"):
            fetch_benchmark(there, tmp_path / "copy")
    assert not (tmp_path / "copy/shards.csv").exists()
    assert not (tmp_path / "copy/test/test-00000.parquet").exists()


def _flipped(asked: object, _folder: Path) -> faults.Fault | None:
    path = str(getattr(asked, "path", ""))
    return faults.flip(2, seed=3) if path.endswith("test-00000.parquet") else None


def test_a_folder_with_other_things_in_it_is_left_alone(
    bench: Path, published: Path, tmp_path: Path
) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(BadInputError, match="is not empty"):
        fetch_benchmark(sg.benchmark(bench), tmp_path)
    fetch_benchmark(sg.benchmark(bench), tmp_path / "copy")
    with pytest.raises(BadInputError, match="holds another benchmark"):
        fetch_benchmark(sg.benchmark(published), tmp_path / "copy")


def test_the_verb_fetches_a_part(published: Path, tmp_path: Path) -> None:
    to = str(tmp_path / "copy")
    with range_server(published) as server:
        asked = ["fetch", server.url, "--benchmark", "--split", "test", "--to", to, "--json"]
        done = CliRunner().invoke(segmend, asked, catch_exceptions=False)
    said = json.loads(done.stdout)
    assert (said["shards"], said["licence"], said["kept"]) == (1, "other", 0)
    assert sg.benchmark(to).splits == ("test",)
    refused = CliRunner().invoke(segmend, ["fetch", "a.h5", "--split", "test", "--to", to])
    assert isinstance(refused.exception, BadInputError)
    assert "--split" in str(refused.exception)
