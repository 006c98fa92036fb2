"""Archives from strangers: unpacked whole, inside their folder, or not at all."""

import io
import os
import stat
import tarfile
import tempfile
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmend.catalog import unpacking
from segmend.catalog.unpacking import unpack
from segmend.core.errors import OutputError, ReadFailedError

FILES = {"image/a.tif": b"abc" * 1000, "seg/b.tif": os.urandom(5000), "empty.txt": b""}


def zipped(path, files, *, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tarred(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def plain(name, **changes):
    member = tarfile.TarInfo(name)
    for key, value in changes.items():
        setattr(member, key, value)
    return member


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


@pytest.mark.parametrize("top", ["", "data/", "other/"])
@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_a_folder_of_its_own_name_is_left_out_and_no_other(tmp_path, form, top):
    files = {top + name: data for name, data in FILES.items()}
    path = tmp_path / f"data.{form}"
    if form == "zip":
        zipped(path, files | {"__MACOSX/data/._a.tif": b"fork", f"{top}.DS_Store": b"x"})
    else:
        tarred(path, [(plain(name), data) for name, data in files.items()])
    unpack(path, tmp_path / "data", form=form)
    kept = {name.removeprefix("data/"): data for name, data in files.items()}
    assert contents(tmp_path / "data") == kept
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", path.name]


def refused(path, form, message):
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(ReadFailedError, match=message) as caught:
        unpack(path, path.parent / "data", form=form)
    assert sorted(path.parent.rglob("*")) == before, "something was left behind"
    return caught.value


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "a/../../evil", "C:\\evil", "a\\..\\evil", "evil\n", "C:evil"]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    refused(zipped(tmp_path / "a.zip", {"ok": b"1", name: b"2"}), "zip", "is named")
    refused(tarred(tmp_path / "a.tar.gz", [(plain(name), b"2")]), "tar.gz", "is named")


@given(
    st.lists(st.text(st.sampled_from("ab./\\: \n\u202eé~$"), min_size=1, max_size=8), min_size=1)
)
def test_whatever_the_names_nothing_is_written_elsewhere(names):
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of one name twice, which is the point
        place = Path(folder) / "in" / "here"
        place.mkdir(parents=True)
        path = zipped(place / "x.zip", dict.fromkeys(names, b"1"))
        with suppress(ReadFailedError):
            unpack(path, place / "data", form="zip")
        assert {p.name for p in place.iterdir()} <= {"x.zip", "data"}
        assert [p.name for p in Path(folder).iterdir()] == ["in"]
        assert not [p for p in place.rglob("*") if p.is_symlink()]


def test_what_a_killed_process_left_is_taken_away_and_what_a_living_one_has_is_not(tmp_path):
    path = zipped(tmp_path / "a.zip", FILES)
    left, used = (tmp_path / f".data.{name}.tmp" for name in ("left", "used"))
    for folder in (left, used):
        (folder / "image").mkdir(parents=True)
    with unpacking._locked(used) as mine:
        assert mine
        unpack(path, tmp_path / "data", form="zip")
    assert not left.exists()
    assert (used / "image").exists()


def test_links_and_devices_are_refused(tmp_path):
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        member = plain("link", type=kind, linkname="/etc/passwd")
        path = tarred(tmp_path / "a.tar.gz", [(member, b"")])
        refused(path, "tar.gz", "link or a device")
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    refused(path, "zip", "link or a device")


def test_one_name_twice_is_refused(tmp_path):
    path = tarred(tmp_path / "a.tar.gz", [(plain("a"), b"1"), (plain("./a"), b"2")])
    refused(path, "tar.gz", "a occurs twice")
    refused(zipped(tmp_path / "a.zip", {"a": b"1", "a/b": b"2"}), "zip", "a/b occurs twice")


def test_bombs_stop_before_they_are_large(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "FREE_BYTES", 100_000)
    bomb = {f"{i}.bin": bytes(3_000_000) for i in range(3)}
    refused(zipped(tmp_path / "a.zip", bomb), "zip", "200 times")
    members = [(plain(name), data) for name, data in bomb.items()]
    refused(tarred(tmp_path / "a.tar.gz", members), "tar.gz", "200 times")
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 2)
    refused(zipped(tmp_path / "b.zip", FILES), "zip", "3 members")
    members = [(plain(name), data) for name, data in FILES.items()]
    refused(tarred(tmp_path / "b.tar.gz", members), "tar.gz", "more than 2 members")


def test_a_header_that_claims_a_huge_length_is_not_believed(tmp_path):
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 2**33
    path = tmp_path / "a.tar.gz"
    with path.open("wb") as file:
        import gzip

        with gzip.GzipFile(fileobj=file, mode="wb") as packed:
            packed.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(100_000))
    refused(path, "tar.gz", "claims 8589934592 bytes")


def test_damage_anywhere_is_found(tmp_path):
    good = zipped(tmp_path / "a.zip", FILES, compression=zipfile.ZIP_STORED).read_bytes()
    broken = tmp_path / "b.zip"
    at = good.index(FILES["seg/b.tif"]) + 100
    for data in (good[:at] + b"\0\0\0\0" + good[at + 4 :], good[:-30], b"", b"no archive"):
        broken.write_bytes(data)
        assert refused(broken, "zip", "damaged").reason == "corrupt"
    path = tarred(tmp_path / "a.tar.gz", [(plain("a"), FILES["seg/b.tif"])])
    packed = path.read_bytes()
    for data in (packed[:-1000], packed[:100] + b"\xff" * 20 + packed[120:], b"no archive"):
        path.write_bytes(data)
        refused(path, "tar.gz", "damaged|another size")


def test_a_folder_that_is_there_is_never_touched(tmp_path):
    path = zipped(tmp_path / "a.zip", FILES)
    (tmp_path / "data").mkdir()
    with pytest.raises(OutputError, match="it exists"):
        unpack(path, tmp_path / "data", form="zip")
