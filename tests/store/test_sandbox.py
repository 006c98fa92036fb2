"""A child that crashes, hangs, lies or eats memory is a typed error; the next request works."""

import os
import textwrap

import pytest

from segmend.core.errors import ReadFailedError
from segmend.store.sandbox import Sandbox

CHILD = """
import os, sys, time
from segmend.store.sandboxed import serve

def lie(request):
    sys.stdout.buffer.write(bytes([255]) * 64)
    sys.stdout.buffer.flush()
    os._exit(0)

def fail(request):
    raise ValueError("no such thing")

def write(request):
    with open(request["path"], "wb") as file:
        file.write(bytes(2**20))
        file.flush()
    return {}

serve({
    "pid": lambda request: {"pid": os.getpid()},
    "crash": lambda request: os.abort(),
    "hang": lambda request: time.sleep(60),
    "eat": lambda request: {"size": len(bytearray(2**35))},
    "leave": lambda request: os._exit(3),
    "lie": lie,
    "fail": fail,
    "write": write,
})
"""


@pytest.fixture
def box(tmp_path, monkeypatch):
    (tmp_path / "segmend_test_child.py").write_text(textwrap.dedent(CHILD))
    monkeypatch.syspath_prepend(str(tmp_path))
    made = Sandbox("segmend_test_child")
    yield made
    made.close()


def ask(box, do, seconds=30.0, **more):
    return box.ask({"do": do, **more}, what="a.h5", seconds=seconds)


@pytest.mark.parametrize(
    ("do", "message"),
    [("crash", "signal 6"), ("leave", "ended without an answer"), ("lie", "claims")],
)
def test_a_child_that_dies_or_lies_is_an_error_and_is_replaced(box, do, message):
    first = ask(box, "pid")["pid"]
    with pytest.raises(ReadFailedError, match=f"a.h5.*{message}") as failed:
        ask(box, do)
    assert failed.value.reason == "corrupt"
    assert ask(box, "pid")["pid"] not in (first, os.getpid())


def test_a_child_that_hangs_is_ended(box):
    with pytest.raises(ReadFailedError, match=r"more than 0\.5 s") as failed:
        ask(box, "hang", seconds=0.5)
    assert failed.value.reason == "timeout"
    assert ask(box, "pid")["pid"] != os.getpid()


def test_memory_is_limited_and_the_child_survives(box):
    first = ask(box, "pid")["pid"]
    assert "MemoryError" in ask(box, "eat")["error"]
    assert ask(box, "pid")["pid"] == first


def test_errors_of_the_library_come_back_as_text(box):
    assert ask(box, "fail") == {"error": "ValueError: no such thing"}


def test_the_child_cannot_write_files(box, tmp_path):
    path = tmp_path / "written"
    try:
        assert "error" in ask(box, "write", path=str(path))
    except ReadFailedError as error:
        assert error.reason == "corrupt"  # noqa: PT017  ended by the signal instead
    assert not path.exists() or path.stat().st_size == 0
