import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmend.core.errors import ReadFailedError
from segmend.store.redirect import is_public, next_url
from segmend.store.response import AttemptFailedError, Response, content, summary
from segmend.store.store import Request

OBJECT = bytes(range(200))


def answer(status: int, body: bytes = b"", **headers: str) -> Response:
    headers.setdefault("content_length", str(len(body)))
    lines = [f"HTTP/1.1 {status} X"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Response(status, "\r\n".join([*lines, "", ""]).encode(), body)


def partial(first: int, stop: int, size: int | str = len(OBJECT)) -> Response:
    said = f"bytes {first}-{stop - 1}/{size}"
    return answer(206, OBJECT[first:stop], content_range=said)


requests = st.one_of(
    st.builds(Request, st.just("a"), st.integers(0, 250)),
    st.builds(Request, st.just("a"), st.integers(-250, -1)),
    st.tuples(st.integers(0, 250), st.integers(1, 250)).map(
        lambda pair: Request("a", pair[0], pair[0] + pair[1])
    ),
)


def expected(request: Request) -> bytes | None:
    """The slice, or None if it reaches past the end: Python's own rules, no code of ours."""
    if (request.stop or request.start or 0) > len(OBJECT):
        return None
    return OBJECT[request.start : request.stop]


@given(requests)
def test_a_server_that_ignores_range_is_cut_to_the_very_slice(request: Request) -> None:
    right = expected(request)
    if right is None:
        with pytest.raises(AttemptFailedError) as caught:
            content(request, answer(200, OBJECT), limit=999)
        assert caught.value.reason == "truncated"
    else:
        assert content(request, answer(200, OBJECT), limit=999) == right


@given(requests, st.integers(0, 199), st.integers(1, 200))
def test_a_range_is_taken_only_if_it_is_the_very_one(
    request: Request, first: int, length: int
) -> None:
    stop = min(first + length, 200)
    response = partial(first, stop)
    if expected(request) == OBJECT[first:stop] and _first_byte(request) == first:
        assert content(request, response, limit=999) == OBJECT[first:stop]
        return
    with pytest.raises(AttemptFailedError) as caught:
        content(request, response, limit=999)
    assert caught.value.reason in ("corrupt", "truncated")


def _first_byte(request: Request) -> int:
    return slice(request.start, request.stop).indices(len(OBJECT))[0]


def test_an_unknown_size_will_do_for_a_closed_range_alone() -> None:
    assert content(Request("a", 3, 9), partial(3, 9, "*"), limit=999) == OBJECT[3:9]
    with pytest.raises(AttemptFailedError):
        content(Request("a", 3), partial(3, 9, "*"), limit=999)
    with pytest.raises(AttemptFailedError):
        content(Request("a", -6), partial(3, 9, "*"), limit=999)


@pytest.mark.parametrize(
    "said", ["", "bytes 3-8", "bytes */200", "items 3-8/200", "bytes 3-8/7", "bytes 8-3/200"]
)
def test_a_content_range_that_makes_no_sense_is_refused(said: str) -> None:
    with pytest.raises(AttemptFailedError) as caught:
        content(Request("a", 3, 9), answer(206, OBJECT[3:9], content_range=said), limit=999)
    assert caught.value.reason == "corrupt"
    assert caught.value.again


def test_a_part_for_a_whole_is_refused() -> None:
    with pytest.raises(AttemptFailedError):
        content(Request("a"), partial(0, 200), limit=999)


def test_a_part_of_a_compressed_object_is_refused() -> None:
    response = answer(206, b"x", content_range="bytes 0-0/9", content_encoding="gzip")
    with pytest.raises(AttemptFailedError) as caught:
        content(Request("a", 0, 1), response, limit=999)
    assert caught.value.reason == "refused"


def test_a_range_beyond_the_end_is_empty_only_where_it_may_be() -> None:
    beyond = answer(416, content_range="bytes */200")
    assert content(Request("a", 200), beyond, limit=999) == b""
    for request in (Request("a", 201), Request("a", 200, 201)):
        with pytest.raises(AttemptFailedError, match="200 bytes") as caught:
            content(request, beyond, limit=999)
        assert caught.value.reason == "truncated"


@pytest.mark.parametrize(
    ("status", "reason", "again"),
    [
        (401, "forbidden", False),
        (403, "forbidden", False),
        (408, "timeout", True),
        (429, "rate_limited", True),
        (400, "server_error", False),
        (204, "server_error", False),
        (500, "server_error", True),
        (503, "server_error", True),
    ],
)
def test_a_status_is_never_taken_for_data_or_absence(status: int, reason: str, again: bool) -> None:
    with pytest.raises(AttemptFailedError) as caught:
        content(Request("a"), answer(status, b"an explanation"), limit=999)
    assert (caught.value.reason, caught.value.again) == (reason, again)


@pytest.mark.parametrize("status", [404, 410])
def test_only_not_found_and_gone_certify_absence(status: int) -> None:
    assert content(Request("a"), answer(status, b"sorry"), limit=999) is None


def test_headers_of_an_interim_answer_do_not_count() -> None:
    head = b"HTTP/1.1 103 X\r\nContent-Encoding: gzip\r\n\r\n"
    head += b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n"
    assert content(Request("a"), Response(200, head, b"ab"), limit=9) == b"ab"


# MD5 and CRC32C of b"hello": RFC 1321's algorithm by `printf hello | md5sum`, and the CRC that the
# documentation of `gcloud storage hash` prints for the same file content.
MD5, MD5_BASE64, CRC32C = "5d41402abc4b2a76b9719d911017c592", "XUFAKrxLKna5cZ2REBfFkg==", "mnG7TA=="


@pytest.mark.parametrize(
    "headers",
    [
        {"etag": f'"{MD5}"', "x_amz_request_id": "1"},
        {"etag": f'"{MD5}"', "server": "AmazonS3", "x_amz_server_side_encryption": "AES256"},
        {"x_goog_hash": f"crc32c={CRC32C},md5={MD5_BASE64}"},
        {"x_goog_hash": f"md5={MD5_BASE64}"},
    ],
)
def test_checksums_are_compared(headers: dict[str, str]) -> None:
    assert content(Request("a"), answer(200, b"hello", **headers), limit=9) == b"hello"
    with pytest.raises(ReadFailedError) as caught:
        content(Request("a"), answer(200, b"hellO", **headers), limit=9)
    assert caught.value.reason == "corrupt"


@pytest.mark.parametrize(
    "headers",
    [
        {"etag": f'"{MD5}-2"', "x_amz_request_id": "1"},  # uploaded in parts
        {"etag": f'"{MD5}"'},  # nobody says that it is an MD5
        {"etag": f'"{MD5}"', "server": "AmazonS3", "x_amz_server_side_encryption": "aws:kms"},
        {"x_goog_hash": f"md5={MD5_BASE64}", "x_goog_stored_content_encoding": "gzip"},
    ],
)
def test_what_is_no_checksum_of_these_bytes_raises_no_alarm(headers: dict[str, str]) -> None:
    assert content(Request("a"), answer(200, b"other", **headers), limit=9) == b"other"


def test_repeated_outcomes_are_counted() -> None:
    failures = [AttemptFailedError("x", text) for text in ("a", "a", "b")]
    assert summary(failures) == "a (2 times); then b"


@pytest.mark.parametrize(
    ("urls", "location", "target"),
    [
        (["http://h/a"], "/b", "http://h/b"),
        (["http://h/a"], "https://other/b#c", "https://other/b"),
        (["https://h/x/a"], "../b?c=d", "https://h/b?c=d"),
    ],
)
def test_a_redirect_is_resolved(urls: list[str], location: str, target: str) -> None:
    assert next_url(urls, location) == target


@pytest.mark.parametrize(
    ("urls", "location", "evidence"),
    [
        (["https://h/a"], "http://h/a", "from https to http"),
        (["http://h/a"], "file:///etc/passwd", "scheme 'file'"),
        (["http://h/a"], "gopher://h/", "scheme 'gopher'"),
        (["http://h/a"], "http://me:secret@h/", "user name"),
        (["http://h/a"], "http://[::1/", "not a URL"),
        (["http://h/a"], None, "without Location"),
        (["http://h/a", "http://h/b"], "/a", "circle of 2"),
        ([f"http://h/{i}" for i in range(6)], "/6", "more than 5"),
    ],
)
def test_a_redirect_to_a_worse_place_is_refused(
    urls: list[str], location: str | None, evidence: str
) -> None:
    with pytest.raises(AttemptFailedError, match=evidence) as caught:
        next_url(urls, location)
    assert caught.value.reason == "redirect"
    assert "secret" not in caught.value.found


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("10.1.2.3", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),  # where clouds keep their machines' credentials
        ("fe80::1%eth0", False),
        ("::ffff:127.0.0.1", False),
    ],
)
def test_private_addresses_are_known(address: str, public: bool) -> None:
    assert is_public(address) == public
