import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from segmend.core.errors import OutputError
from segmend.store.atomic import atomic_file, sha256_file


def test_a_file_appears_with_its_whole_content(tmp_path: Path) -> None:
    final = tmp_path / "a.txt"
    with atomic_file(final) as temporary:
        temporary.write_text("half")
        assert not final.exists()
        assert temporary.parent == tmp_path
        temporary.write_text("whole")
    assert final.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [final]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_after_an_error_the_old_file_stands_and_nothing_is_left(
    tmp_path: Path, error: type[BaseException]
) -> None:
    final = tmp_path / "a.txt"
    final.write_text("old")

    def fail_midway() -> None:
        with atomic_file(final) as temporary:
            temporary.write_text("new")
            raise error

    with pytest.raises(error):
        fail_midway()
    assert final.read_text() == "old"
    assert list(tmp_path.iterdir()) == [final]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="its folder does not exist"),
        atomic_file(tmp_path / "no" / "a.txt"),
    ):
        pass


def test_writing_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file"), atomic_file(tmp_path / "a.txt"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_way_is_an_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OutputError), atomic_file(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


WRITE_MANY = """
import sys
from segmend.store.atomic import atomic_file
for _ in range(20):
    with atomic_file(sys.argv[1]) as temporary:
        temporary.write_text(sys.argv[2] * 100_000)
"""


def test_two_writers_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    command = [sys.executable, "-c", WRITE_MANY, str(path)]
    writers = [subprocess.Popen([*command, letter]) for letter in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert path.read_text() in ("a" * 100_000, "b" * 100_000)
    assert list(tmp_path.iterdir()) == [path]


def test_sha256_is_that_of_hashlib(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 10_000)
    assert sha256_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()
