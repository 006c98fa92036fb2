"""Ranges that lie side by side come as one, and nobody can tell."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from segmend.store.open import open_store
from segmend.store.ranges import MOST_BYTES, join_ranges
from segmend.store.store import Request
from segmend.testing.servers import range_server

CONTENT = {"a": bytes(range(200)), "b": bytes(range(100, 160))}


@st.composite
def some_requests(draw: st.DrawFn) -> list[Request]:
    found = []
    for key in draw(st.lists(st.sampled_from(sorted(CONTENT)), max_size=30)):
        low, high = sorted(draw(st.tuples(*[st.integers(0, len(CONTENT[key]))] * 2)))
        span = draw(st.sampled_from([(low, high), (None, high), (low, None), (-high, None), ()]))
        found.append(Request(key, *span) if low < high else Request(key))
    return found


@given(some_requests())
def test_every_request_is_answered_once_with_its_own_bytes(requests: list[Request]) -> None:
    answers: dict[int, bytes | None] = {}
    for joined in join_ranges(requests):
        content = CONTENT[joined.request.key]
        span = joined.request.span(len(content))
        assert span is not None
        for position, data in joined.split(content[slice(*span)]):
            assert position not in answers
            answers[position] = data
    expected = {}
    for position, request in enumerate(requests):
        span = request.span(len(CONTENT[request.key]))
        assert span is not None
        expected[position] = CONTENT[request.key][slice(*span)]
    assert answers == expected


def test_only_neighbours_of_one_object_are_joined_whatever_their_order() -> None:
    asked = [("a", 20, 30), ("a", 0, 10), ("b", 10, 20), ("a", 10, 20), ("a", 31, 40)]
    joined = join_ranges([Request(*one) for one in asked])
    found = [(one.request.key, one.request.start, one.request.stop) for one in joined]
    assert found == [("a", 0, 30), ("b", 10, 20), ("a", 31, 40)]


def test_joined_ranges_stay_short() -> None:
    size = MOST_BYTES // 4
    joined = join_ranges([Request("a", i * size, (i + 1) * size) for i in range(10)])
    assert [len(one.positions) for one in joined] == [4, 4, 2]
    alone = join_ranges(
        [Request("a", 0, 3 * MOST_BYTES), Request("a", 3 * MOST_BYTES, 4 * MOST_BYTES)]
    )
    assert [len(one.positions) for one in alone] == [1, 1]


def test_a_server_is_asked_once_for_neighbours(tmp_path: Path) -> None:
    (tmp_path / "shard").write_bytes(CONTENT["a"])
    with range_server(tmp_path) as server:
        requests = [Request("shard", i, i + 20) for i in range(0, 200, 20)]
        requests.append(Request("missing", 0, 5))
        answers = dict(open_store(server.url).read_many(requests))
        assert [asked.headers["range"] for asked in server.log if asked.path == "/shard"] == [
            "bytes=0-199"
        ]
    assert answers == {i: CONTENT["a"][20 * i : 20 * i + 20] for i in range(10)} | {10: None}
