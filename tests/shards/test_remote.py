"""Benchmarks read where they lie: over HTTP with ranges, from S3, from a hub on loopback."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

import segmend as sg
from segmend.core.errors import BadInputError, ReadFailedError, VerificationError
from segmend.core.sample import EM_COLUMNS
from segmend.shards.layout import read_shards_csv
from segmend.store.options import StoreOptions
from segmend.store.retry import RetryPolicy, TimeLimits
from segmend.testing import faults
from segmend.testing.servers import Asked, Reply, Server, fault_proxy, range_server, serving

KEY = "combined_sample_hash"
QUICK = StoreOptions(
    retry=RetryPolicy(attempts=4, base_s=0.01), limits=TimeLimits(stall_s=0.5, first_byte_s=0.5)
)


def everything(folder: Path) -> pa.Table:
    """All rows, by pyarrow alone, in the order of shards.csv."""
    return pa.concat_tables(pq.read_table(folder / r.path) for r in read_shards_csv(folder))


def sent(server: Server, folder: Path, name: str) -> int:
    """Bytes of a file that were asked for."""
    total = 0
    for asked in server.log:
        if asked.path.endswith(name):
            size = (folder / name).stat().st_size
            low, high = asked.headers["range"].removeprefix("bytes=").split("-")
            total += min(int(high) + 1 if high else size, size) - int(low)
    return total


@pytest.mark.parametrize("which", ["bench", "published", "published_v1"])
def test_rows_over_http_are_the_rows_of_the_folder(
    which: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(which)
    with range_server(folder) as server:
        there, here = sg.benchmark(server.url, options=QUICK), sg.benchmark(folder)
        assert there.version == here.version == ("v1" if which == "published_v1" else "v2")
        assert there.sidecar().equals(here.sidecar())
        columns = there.schema.names
        table = there.read_rows(range(len(there)), columns)
        assert table.to_pylist() == everything(folder).select(list(columns)).to_pylist()


def test_opening_reads_no_rows(published: Path) -> None:
    with range_server(published) as server:
        benchmark = sg.benchmark(server.url, options=QUICK)
        chosen = benchmark.select("train").where(sample_type="merge_edit")
        assert len(chosen) == 2
        read = {asked.path for asked in server.log}
    assert read <= {
        *("/shards.csv", "/README.md", "/README.md.gz", "/source.json", "/source.json.gz"),
        *("/train/train-00000.parquet", "/metadata/train.parquet"),
    }
    footer = pq.read_metadata(published / "train/train-00000.parquet").serialized_size
    assert sent(server, published, "train/train-00000.parquet") <= max(footer + 8, 2**17)


def test_a_projection_fetches_its_columns_and_no_more(published: Path) -> None:
    name = "train/train-00000.parquet"
    with range_server(published) as server:
        benchmark = sg.benchmark(server.url, options=QUICK)
        for columns in (("geometry",), EM_COLUMNS):
            before = len(server.log)
            told = benchmark.bytes_to_read(range(6), columns)
            benchmark.read_rows(range(6), columns)
            server.log[:] = server.log[before:]
            assert sent(server, published, name) == told
    metadata = pq.read_metadata(published / name)
    chunks = [metadata.row_group(0).column(i) for i in range(metadata.num_columns)]
    em = sum(c.total_compressed_size for c in chunks if c.path_in_schema.startswith("em_"))
    assert told == em


def test_faults_on_the_way_change_nothing(published: Path) -> None:
    expected = everything(published).to_pylist()
    some = [
        faults.status(503),
        faults.reset(100),
        faults.cut(50),
        faults.shorter(7),
        faults.hang_up(),
        faults.flip(3, seed=1),
        faults.wrong_content_range(5),
    ]
    # Text without checksum of its own is what `flip` can spoil unseen in published files, which
    # have none: so only pictures, whose codecs have one, and only where it is noticed.
    safe = [fault for fault in some if fault is not some[5]]
    with range_server(published, faults=faults.seeded(4, safe, rate=0.3)) as server:
        benchmark = sg.benchmark(server.url, options=QUICK)
        table = benchmark.read_rows(range(len(benchmark)), benchmark.schema.names)
    assert table.to_pylist() == expected
    assert len({a.path for a in server.log}) < len(server.log)


def test_a_damaged_row_group_is_fetched_again(bench: Path) -> None:
    """Pages of ours carry checksums: a flip on the way is noticed and asked for once more."""

    def once(asked: Asked) -> faults.Fault | None:
        low = int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        footer = asked.path.endswith("train-00000.parquet") and low < geometry
        return faults.flip(1, seed=2) if footer and not spoiled.append(low) and first() else None

    def first() -> bool:
        return len(spoiled) == 1

    spoiled: list[int] = []
    chunk = pq.read_metadata(bench / "train/train-00000.parquet").row_group(0).column(15)
    geometry = chunk.data_page_offset + chunk.total_compressed_size
    with range_server(bench, faults=once) as server:
        benchmark = sg.benchmark(server.url, options=QUICK)
        spoiled.clear()
        got = benchmark.read_rows([0], ["geometry", KEY]).to_pylist()
    assert spoiled
    assert got == everything(bench).select(["geometry", KEY]).slice(0, 1).to_pylist()


def test_damage_that_stays_is_an_error_that_names_the_row_group(bench: Path) -> None:
    def pages(asked: Asked) -> faults.Fault | None:
        low = asked.headers.get("range", "bytes=0-").removeprefix("bytes=").split("-")[0]
        shard = asked.path.endswith("train-00000.parquet")
        return faults.flip(1, seed=2) if shard and low != footer else None

    size = (bench / "train/train-00000.parquet").stat().st_size
    footer = str(max(size - 2**17, 0))
    with range_server(bench, faults=pages) as server:
        benchmark = sg.benchmark(server.url, options=QUICK)
        with pytest.raises(ReadFailedError, match=r"train-00000\.parquet row group 0"):
            benchmark.read_rows([0], ["geometry"])


def test_a_shard_of_another_size_is_not_read(bench: Path, tmp_path: Path) -> None:
    with (
        range_server(bench, faults=lambda a: _longer(a, bench)) as server,
        pytest.raises(ReadFailedError, match=r"train-00000\.parquet"),
    ):
        sg.benchmark(server.url, options=QUICK)


def _longer(asked: Asked, folder: Path) -> faults.Fault | None:
    """The server has another file: four bytes were put in front of the end."""
    if not asked.path.endswith("train-00000.parquet"):
        return None
    body = (folder / "train/train-00000.parquet").read_bytes()
    body = body[:-4] + b"\0\0\0\0" + body[-4:]
    return faults.Fault(lambda _reply, a: _part(body, a.headers["range"]))


def _part(body: bytes, wanted: str) -> Reply:
    low, high = wanted.removeprefix("bytes=").split("-")
    headers = {"Content-Range": f"bytes {low}-{high}/{len(body)}"}
    return Reply(206, headers, body[int(low) : int(high) + 1])


def test_what_was_read_is_kept(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGMEND_CACHE", str(tmp_path))
    monkeypatch.setenv("SEGMEND_CACHE_BYTES", str(2**30))
    with range_server(published) as server:
        first = sg.benchmark(server.url, options=QUICK)
        rows = first.read_rows([0, 7], ["geometry", "species"])
        sites = first.sidecar(columns=["anchor_x_nm", "root_ids"])
        server.log.clear()
        again = sg.benchmark(server.url, options=QUICK)
        assert again.read_rows([0, 7], ["geometry", "species"]).equals(rows)
        assert again.sidecar(columns=["anchor_x_nm", "root_ids"]).equals(sites)
        assert not [a.path for a in server.log if "parquet" in a.path]


def test_kept_ranges_that_rot_are_read_again(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGMEND_CACHE", str(tmp_path))
    monkeypatch.setenv("SEGMEND_CACHE_BYTES", str(2**30))
    with range_server(bench) as server:
        expected = sg.benchmark(server.url, options=QUICK).read_rows(range(9), ["geometry"])
        for blob in tmp_path.rglob("blobs/*/*"):
            content = bytearray(blob.read_bytes())
            content[len(content) // 2] ^= 1
            blob.write_bytes(content)
        again = sg.benchmark(server.url, options=QUICK)
        assert again.read_rows(range(9), ["geometry"]).equals(expected)


# --- S3 and the hub ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3(published: Path) -> Iterator[str]:
    """Endpoint of a real S3 server (moto) that holds the published rows."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    login = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **login)
    client.create_bucket(Bucket="benchmarks", ACL="public-read-write")
    for path in sorted(p for p in published.rglob("*") if p.is_file()):
        name = f"cb2/{path.relative_to(published)}"
        client.put_object(Bucket="benchmarks", Key=name, Body=path.read_bytes(), ACL="public-read")
    yield endpoint
    client.close()
    server.stop()


def test_a_bucket_is_read_with_faults_in_front(s3: str, published: Path) -> None:
    some = [faults.status(503), faults.reset(40), faults.cut(9)]
    with fault_proxy(s3, faults=faults.seeded(2, some, rate=0.2)) as proxy:
        options = StoreOptions(endpoint=proxy.url, retry=QUICK.retry, limits=QUICK.limits)
        benchmark = sg.benchmark("s3://benchmarks/cb2", options=options)
        assert benchmark.licence == "other"
        got = benchmark.read_rows([0, 11], ["geometry", KEY])
    expected = everything(published).select(["geometry", KEY]).take([0, 11])
    assert got.to_pylist() == expected.to_pylist()


COMMITS = {"main": "a" * 40, "v2": "b" * 40}


def hub(folder: Path, asked: Asked) -> Reply:
    """A hub that knows one data set: its API, and files at a commit behind a redirect."""
    parts = asked.path.partition("?")[0].strip("/").split("/")
    if parts[:2] == ["api", "datasets"]:
        revision = parts[5] if len(parts) > 4 else "main"
        if parts[2:4] != ["lab", "cb2"] or revision not in (*COMMITS, *COMMITS.values()):
            return Reply(404, {"X-Error-Code": "RevisionNotFound"}, b"{}")
        commit = COMMITS.get(revision, revision)
        return Reply(
            200,
            {"Content-Type": "application/json"},
            json.dumps(
                {"id": "lab/cb2", "sha": commit, "siblings": [], "private": False, "tags": []}
            ).encode(),
        )
    if parts[:3] == ["datasets", "lab", "cb2"] and parts[4] == COMMITS["v2"]:
        return Reply(302, {"Location": "/cdn/" + "/".join(parts[5:])}, b"")
    path = folder / "/".join(parts[1:])
    if parts[0] != "cdn" or not path.is_file():
        return Reply(404, {}, b"")
    body = path.read_bytes()
    return _part(body, asked.headers["range"]) if "range" in asked.headers else Reply(200, {}, body)


@pytest.fixture
def hub_server(published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(lambda asked: hub(published, asked)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def test_a_revision_of_the_hub_is_pinned_to_its_commit(hub_server: Server, published: Path) -> None:
    benchmark = sg.benchmark("hf://lab/cb2", revision="v2", options=QUICK)
    assert benchmark.revision == COMMITS["v2"]
    assert benchmark.source.url == f"hf://lab/cb2@{COMMITS['v2']}"
    assert "licence other" in repr(benchmark)
    got = benchmark.read_rows([3], ["em_xy_before"]).to_pylist()
    assert got == everything(published).select(["em_xy_before"]).slice(3, 1).to_pylist()
    assert sg.benchmark("hf://datasets/lab/cb2@v2", options=QUICK).revision == COMMITS["v2"]
    asked = {a.path for a in hub_server.log if a.path.startswith("/datasets/")}
    assert asked
    assert all(COMMITS["v2"] in path for path in asked)


def test_what_the_hub_does_not_know_is_named(hub_server: Server) -> None:
    with pytest.raises(ReadFailedError, match="revision 'v3'"):
        sg.benchmark("hf://lab/cb2", revision="v3")
    with pytest.raises(BadInputError, match="names no data set"):
        sg.benchmark("hf://cb2")
    with pytest.raises(BadInputError, match="another revision"):
        sg.benchmark("hf://lab/cb2@v2", revision="main")


def test_a_hub_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ReadFailedError, match="hf://lab/cb2"):
        sg.benchmark("hf://lab/cb2")


# --- revisions elsewhere ----------------------------------------------------------------------


def test_a_folder_is_its_list_of_shards(bench: Path) -> None:
    benchmark = sg.benchmark(bench)
    assert benchmark.revision == f"sha256:{benchmark.sha256}"
    for same in (benchmark.revision, benchmark.sha256, benchmark.sha256[:7]):
        assert sg.benchmark(bench, revision=same).revision == benchmark.revision
    with pytest.raises(VerificationError, match="is not revision 'v2'"):
        sg.benchmark(bench, revision="v2")
    with pytest.raises(VerificationError, match="is not revision"):
        sg.benchmark(bench, revision=benchmark.sha256[:6])


def test_a_place_without_a_list_is_no_benchmark(tmp_path: Path) -> None:
    with range_server(tmp_path) as server, pytest.raises(BadInputError, match=r"no shards\.csv"):
        sg.benchmark(server.url, options=QUICK)


def test_another_process_reads_the_same(published: Path) -> None:
    import pickle

    with range_server(published) as server:
        benchmark = sg.benchmark(server.url, options=QUICK)
        again: Any = pickle.loads(pickle.dumps(benchmark))
        assert again.read_rows([2], ["geometry"]).equals(benchmark.read_rows([2], ["geometry"]))
        assert np.array_equal(again.select("test").positions, benchmark.select("test").positions)


# --- sidecars far away ------------------------------------------------------------------------

SIDECAR = "metadata/train.parquet"


def of_sidecar(fault: faults.Fault, times: int | None = None) -> tuple[Any, list[str]]:
    """Spoils answers with a sidecar: all of them, or the first few; and a list of those."""
    spoilt: list[str] = []

    def choose(asked: Asked) -> faults.Fault | None:
        if SIDECAR not in asked.path or (times is not None and len(spoilt) >= times):
            return None
        spoilt.append(asked.path)
        return fault

    return choose, spoilt


@pytest.mark.parametrize("seed", range(6))
def test_a_flipped_bit_in_a_sidecar_is_an_error_or_changes_nothing(bench: Path, seed: int) -> None:
    """Its pages have checksums; bits of the footer that say nothing may flip unseen."""
    expected = sg.benchmark(bench).sidecar("train")
    choose, spoilt = of_sidecar(faults.flip(1 + 4 * seed, seed))
    with range_server(bench, faults=choose) as server:
        benchmark = sg.benchmark(server.url, options=QUICK)
        try:
            found = benchmark.sidecar("train")
        except (ReadFailedError, BadInputError) as error:
            named = SIDECAR in str(error)
        else:
            named = found.equals(expected)
    assert named
    assert spoilt


def test_a_sidecar_damaged_on_the_way_is_fetched_once_more(bench: Path) -> None:
    pages = np.frombuffer((bench / SIDECAR).read_bytes(), np.uint8).copy()
    pages[200] ^= 1
    choose, spoilt = of_sidecar(faults.changed(pages.tobytes(), '"a"'), times=1)
    with range_server(bench, faults=choose) as server:
        found = sg.benchmark(server.url, options=QUICK).sidecar("train")
    assert found.equals(sg.benchmark(bench).sidecar("train"))
    assert len(spoilt) == 1


@pytest.mark.parametrize("kept", [0, 4, 1000, -1])
def test_a_sidecar_that_is_cut_short_is_named(bench: Path, kept: int) -> None:
    """By the server itself: it says that this is all there is."""
    body = (bench / SIDECAR).read_bytes()[:kept]
    choose, _ = of_sidecar(faults.Fault(lambda _reply, _asked: Reply(200, {}, body)))
    with range_server(bench, faults=choose) as server:
        benchmark = sg.benchmark(server.url, options=QUICK)
        with pytest.raises(ReadFailedError, match=SIDECAR):
            benchmark.sidecar("train")


def test_a_sidecar_of_other_rows_is_named(bench: Path, tmp_path: Path) -> None:
    pq.write_table(pq.read_table(bench / SIDECAR).slice(1), tmp_path / "fewer.parquet")
    body = (tmp_path / "fewer.parquet").read_bytes()
    choose, _ = of_sidecar(faults.Fault(lambda _reply, _asked: Reply(200, {}, body)))
    with range_server(bench, faults=choose) as server:
        benchmark = sg.benchmark(server.url, options=QUICK)
        with pytest.raises(ReadFailedError, match=rf"{SIDECAR} disagrees .* 9 rows instead of 10"):
            benchmark.select("train").to_pandas()


# --- the token of the hub ---------------------------------------------------------------------

TOKEN = "hf_" + "s3cret" * 6


@pytest.mark.parametrize("place", ["HF_TOKEN", "file", "disabled"])
def test_the_token_of_the_hub_goes_to_the_hub_and_nowhere_else(
    place: str,
    published: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A private data set: the hub wants the token, then sends on to a host that must not see it."""
    if place == "file":
        (tmp_path / "token").write_text(TOKEN + "\n")
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    else:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    off = "huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN"  # the variable, once imported
    monkeypatch.setattr(off, place == "disabled")
    caplog.set_level("DEBUG")
    with range_server(published) as elsewhere:

        def private(asked: Asked) -> Reply:
            if asked.headers.get("authorization") != f"Bearer {TOKEN}":
                return Reply(401, {"X-Error-Code": "GatedRepo"}, b"{}")
            reply = hub(published, asked)
            if reply.status == 302:  # the files lie on another host
                name = reply.headers["Location"].removeprefix("/cdn/")
                return Reply(302, {"Location": f"{elsewhere.url}/{name}"}, b"")
            return reply

        with serving(private) as server:
            monkeypatch.setenv("HF_ENDPOINT", server.url)
            if place == "disabled":
                with pytest.raises(ReadFailedError, match="401") as raised:
                    sg.benchmark("hf://lab/cb2", revision="v2", options=QUICK)
                assert TOKEN not in str(raised.value)
                assert not any("authorization" in asked.headers for asked in server.log)
                return
            benchmark = sg.benchmark("hf://lab/cb2", revision="v2", options=QUICK)
            got = benchmark.read_rows([3], [KEY]).to_pylist()
            monkeypatch.setenv("HF_TOKEN", TOKEN[:-1])  # refused: the error must not repeat it
            with pytest.raises(ReadFailedError) as refused:
                sg.benchmark("hf://lab/cb2", revision="v2", options=QUICK)
    assert got == everything(published).select([KEY]).slice(3, 1).to_pylist()
    assert elsewhere.log
    assert not any("authorization" in asked.headers for asked in elsewhere.log)
    said = "".join(capfd.readouterr()) + caplog.text + repr(benchmark) + repr(refused.value)
    assert TOKEN[:-1] not in said + repr(benchmark.source) + str(pickle.dumps(benchmark))
