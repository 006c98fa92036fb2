"""Asking a server about a file without reading it."""

from __future__ import annotations

import base64
import hashlib

import pytest

from segmend.core.errors import ReadFailedError
from segmend.store.options import StoreOptions
from segmend.store.probe import probe
from segmend.store.retry import RetryPolicy
from segmend.testing.faults import Fault, first, status
from segmend.testing.servers import range_server

CONTENT = b"published" * 100_000
MD5 = hashlib.md5(CONTENT, usedforsecurity=False)
OPTIONS = StoreOptions(retry=RetryPolicy(attempts=2, base_s=0.01))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "file.bin").write_bytes(CONTENT)
    (tmp_path / "empty.bin").write_bytes(b"")
    return tmp_path


def test_the_size_is_known_from_one_byte(folder):
    with range_server(folder) as server:
        assert probe(f"{server.url}/file.bin").size == len(CONTENT)
        assert probe(f"{server.url}/empty.bin").size == 0
        assert server.log[0].headers["range"] == "bytes=0-0"
    assert probe(folder / "file.bin").size == len(CONTENT)
    assert probe((folder / "file.bin").as_uri()).size == len(CONTENT)


def test_a_server_without_ranges_is_not_read_to_its_end(folder):
    with range_server(folder, faults=lambda _: Fault(ignores_range=True)) as server:
        assert probe(f"{server.url}/file.bin").size == len(CONTENT)


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"x-goog-hash": f"crc32c=AAAAAA==,md5={base64.b64encode(MD5.digest()).decode()}"}, True),
        ({"ETag": f'"md5:{MD5.hexdigest()}"'}, True),
        ({"Server": "AmazonS3", "ETag": f'"{MD5.hexdigest()}"'}, True),
        ({"Server": "AmazonS3", "ETag": f'"{MD5.hexdigest()}-3"'}, False),
        (
            {
                "Server": "AmazonS3",
                "ETag": f'"{MD5.hexdigest()}"',
                "x-amz-server-side-encryption": "aws:kms",
            },
            False,
        ),
        ({"ETag": f'"{MD5.hexdigest()}"'}, False),  # of a server whose ETags mean nothing
        ({"x-goog-hash": "md5=broken"}, False),
    ],
)
def test_the_md5_is_taken_only_where_the_server_means_one(folder, headers, said):
    with range_server(folder) as server:
        server.headers.update(headers)
        assert probe(f"{server.url}/file.bin").md5 == (MD5.hexdigest() if said else "")


def test_what_is_not_there_or_does_not_answer_is_an_error(folder):
    with range_server(folder) as server:
        with pytest.raises(ReadFailedError, match="status 404") as missing:
            probe(f"{server.url}/none.bin", OPTIONS)
        gone = server.url
    assert missing.value.reason == "missing"
    assert missing.value.attempts == 1
    with pytest.raises(ReadFailedError, match="2 times") as lost:
        probe(f"{gone}/file.bin", OPTIONS)
    assert lost.value.reason == "connection"
    for place in (folder, folder / "none.bin"):
        with pytest.raises(ReadFailedError, match="cannot find"):
            probe(place)


def test_a_failure_that_passes_is_asked_again(folder):
    with range_server(folder, faults=first(1, status(503))) as server:
        assert probe(f"{server.url}/file.bin", OPTIONS).size == len(CONTENT)
        assert len(server.log) == 2


def test_redirects_are_followed(folder):
    with range_server(folder) as target:
        away = first(1, status(302, {"Location": f"{target.url}/file.bin"}))
        with range_server(folder, faults=away) as server:
            assert probe(f"{server.url}/short").size == len(CONTENT)
