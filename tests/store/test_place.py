from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmend.core.errors import BadInputError, ReadFailedError
from segmend.store.files import FileStore
from segmend.store.open import open_store
from segmend.store.place import Place, parse_place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("some/folder", Place("file", "", "some/folder")),
        ("/a b#c?d", Place("file", "", "/a b#c?d")),
        ("file:///data/a%20b", Place("file", "", "/data/a b")),
        ("https://host:8080/a/b/", Place("https", "host:8080", "a/b")),
        ("https://host/a?token=x", Place("https", "host", "a", "token=x")),
        ("s3://bucket", Place("s3", "bucket", "")),
        ("s3://bucket/a/b", Place("s3", "bucket", "a/b")),
        ("gs://bucket.with.dots/a", Place("gs", "bucket.with.dots", "a")),
        ("http://[::1]:80/a", Place("http", "[::1]:80", "a")),
    ],
)
def test_paths_and_urls_are_taken_apart(text: str, place: Place) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize(
    ("text", "evidence"),
    [
        ("ftp://host/a", "'ftp' is none of"),
        ("precomputed://https://host/a", "'precomputed' is none of"),
        ("s3:///a", "no bucket"),
        ("gs://", "no bucket"),
        ("https:///a", "no host"),
        ("https://me:secret@host/a", "user name or password"),
        ("https://host/a b", "spaces or control"),
        ("https://host/a\nX: y", "spaces or control"),
        ("https://host:port/a", "Port could not be cast"),
        ("https://host/a#b", "fragment"),
        ("https://host/a/../b", "'..' part"),
        ("https://host/a/%2e%2e/b", "'..' part"),
        ("s3://bucket/a?versionId=1", "%3F"),
        ("file://other/a", "this machine"),
        ("", "not a path"),
        ("a\0b", "not a path"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(text: str, evidence: str) -> None:
    with pytest.raises(BadInputError, match=evidence) as caught:
        parse_place(text)
    assert "secret" not in str(caught.value)


@given(st.text(max_size=40), st.sampled_from(["", "s3://", "https://", "gs://b/", "file:///"]))
def test_any_text_gives_a_place_or_a_typed_error(text: str, scheme: str) -> None:
    try:
        place = parse_place(scheme + text)
    except BadInputError:
        return
    assert place.scheme == "file" or place.host


def test_the_query_of_a_url_is_never_shown() -> None:
    store = open_store("https://host/a?X-Amz-Signature=secret")
    assert store.url == "https://host/a"
    assert "secret" not in f"{store!r} {store.url}"


def test_a_local_folder_opens_and_a_missing_one_is_an_error_at_once(tmp_path: Path) -> None:
    assert open_store(tmp_path) == open_store(f"file://{tmp_path}") == FileStore(tmp_path)
    with pytest.raises(ReadFailedError, match="no such folder") as caught:
        open_store(tmp_path / "no")
    assert caught.value.reason == "missing"
