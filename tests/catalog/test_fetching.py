"""Files of a data set: fetched once, checked, unpacked, linked; or refused."""

import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from segmend.catalog.fetching import fetch_files
from segmend.catalog.record import File, Licence, load_record
from segmend.core.box import Box
from segmend.core.errors import (
    BadInputError,
    OutOfBoundsError,
    OutputError,
    ReadFailedError,
    UnknownNameError,
)
from segmend.store.fetch import fetch
from segmend.testing.servers import range_server
from segmend.testing.standins import l4dense, write_standin


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A server of the stand-ins of three data sets, and their records."""
    folder = tmp_path_factory.mktemp("published")
    with range_server(folder) as server:
        records = {}
        for name in ("snemi3d", "cremi-a", "l4dense2019"):
            file = write_standin(name, folder / name, url=f"{server.url}/{name}")
            records[name], _ = load_record(str(file))
        yield server, records


def replaced(record, name, **changes):
    files = {name: msgspec.structs.replace(record.files[name], **changes)}
    return msgspec.structs.replace(record, files=record.files | files)


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def test_a_file_with_a_known_sha256_is_fetched_once(published, tmp_path):
    server, records = published
    (first,) = fetch_files(records["cremi-a"], tmp_path)
    assert first.path == tmp_path / "cremi3d" / "sample_A_20160501.hdf"
    assert (first.checked, first.fresh) == ("sha256", True)
    asked = len(server.log)
    (again,) = fetch_files(records["cremi-a"], tmp_path)
    assert (again.checked, again.fresh) == ("sha256", False)
    assert len(server.log) == asked
    first.path.write_bytes(b"damaged")
    (repaired,) = fetch_files(records["cremi-a"], tmp_path)
    assert repaired.fresh
    digest = hashlib.sha256(first.path.read_bytes()).hexdigest()
    assert digest == records["cremi-a"].files["main"].sha256


def test_the_files_are_those_of_the_volume_that_is_wanted(published, tmp_path):
    _, records = published
    made = fetch_files(records["cremi-a"], tmp_path, volume="test")
    assert [f.path.name for f in made] == ["sample_A+_20160601.hdf"]
    assert made[0].checked == "", "nobody has published its checksum"
    every = fetch_files(records["cremi-a"], tmp_path, volume="all")
    assert sorted(f.path.name for f in every if f.fresh) == [
        "20170312_mala_v2",
        "sample_A+_padded_20160601.hdf",
        "sample_A_20160501.hdf",
        "sample_A_padded_20160501.hdf",
    ]
    assert not [f for f in fetch_files(records["cremi-a"], tmp_path, volume="all") if f.fresh]


def test_an_archive_is_unpacked_and_not_kept(published, tmp_path):
    server, records = published
    (made,) = fetch_files(records["snemi3d"], tmp_path)
    assert (made.checked, made.fresh) == ("md5", True)
    assert names(tmp_path / "snemi3d") == [
        "snemi",
        "snemi/.segmend.json",
        "snemi/image",
        "snemi/image/test-input.tif",
        "snemi/image/train-input.tif",
        "snemi/seg",
        "snemi/seg/train-labels.tif",
    ]
    asked = len(server.log)
    (again,) = fetch_files(records["snemi3d"], tmp_path)
    assert (again.checked, again.fresh) == ("md5", False)
    assert len(server.log) == asked
    other = replaced(records["snemi3d"], "main", md5="0" * 32)
    with pytest.raises(OutputError, match=r"another archive.*Remove the folder"):
        fetch_files(other, tmp_path)


def test_an_archive_that_is_there_already_is_used_and_kept(published, tmp_path):
    server, records = published
    archive = tmp_path / "snemi3d" / "snemi.zip"
    archive.parent.mkdir()
    fetch(records["snemi3d"].files["main"].urls, archive)
    asked = len(server.log)
    (made,) = fetch_files(records["snemi3d"], tmp_path)
    assert (made.checked, made.fresh) == ("md5", False)
    assert len(server.log) == asked
    assert archive.exists()


@pytest.mark.parametrize("sums", [{"md5": "0" * 32}, {"md5": "", "sha256": "0" * 64}])
def test_other_bytes_than_recorded_are_refused_and_nothing_is_left(published, tmp_path, sums):
    _, records = published
    wrong = replaced(records["snemi3d"], "main", **sums)
    with pytest.raises(ReadFailedError, match="should be 000"):
        fetch_files(wrong, tmp_path)
    assert not (tmp_path / "snemi3d" / "snemi").exists()
    assert not [n for n in names(tmp_path) if "zip" in n]


def test_the_mirror_with_the_recorded_md5_is_taken(published, tmp_path):
    _, records = published
    urls = records["snemi3d"].files["main"].urls
    mirror = records["snemi3d"].files["mirror"].urls  # another archive of the same name
    record = replaced(records["snemi3d"], "main", urls=(*mirror, *urls))
    (made,) = fetch_files(record, tmp_path)
    assert made.checked == "md5"
    assert not (made.path / "seg" / "test-labels.h5").exists()


def test_links_keep_the_bytes_elsewhere(published, tmp_path):
    _, records = published
    data, scratch = tmp_path / "data", tmp_path / "scratch"
    for name in ("snemi3d", "cremi-a"):
        (made,) = fetch_files(records[name], data, link=scratch)
        assert made.path.is_symlink()
    assert (data / "snemi3d" / "snemi").resolve() == scratch / "snemi"
    assert (data / "cremi3d" / "sample_A_20160501.hdf").resolve().parent == scratch
    for link in (scratch, None):  # with or without saying it again
        assert not fetch_files(records["cremi-a"], data, link=link)[0].fresh
    with pytest.raises(OutputError, match="something is there already"):
        fetch_files(records["cremi-a"], data, link=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_of_cubes_only_those_that_a_box_touches_are_fetched(published, tmp_path):
    _, records = published
    record = records["l4dense2019"]
    edge = l4dense.CUBE * 28
    with pytest.raises(BadInputError, match="--box"):
        fetch_files(record, tmp_path)
    made = fetch_files(record, tmp_path, box=Box((edge - 1, 0, 0), (edge + 1, 9, 9)))
    cubes = {"x0y0z0.hdf5", "x0y0z1.hdf5"}
    tables = {Path(record.files[name].path).name for name in l4dense.TABLES}
    assert {f.path.name for f in made} == cubes | tables
    # Four folders of cubes (two layers share one), and every table once.
    assert len(made) == 4 * 2 + len(tables)
    one = fetch_files(record, tmp_path, box=Box((0, 0, 0), (9, 9, 9)), layers=["image"])
    assert [(f.path.parent.name, f.fresh) for f in one] == [("electron-microscopy-volume", False)]
    with pytest.raises(OutOfBoundsError, match="outside layer 'image'"):
        fetch_files(record, tmp_path, box=Box((1e6, 0, 0), (2e6, 9, 9)))


def test_what_cannot_be_fetched_is_said(published, tmp_path):
    _, records = published
    record = records["cremi-a"]
    for wrong in ({"version": "2"}, {"volume": "croped"}, {"layers": ["neuron"]}):
        with pytest.raises(UnknownNameError):
            fetch_files(record, tmp_path, **wrong)
    licence = Licence("custom", name="Own terms", source="their page", forbids=("download",))
    with pytest.raises(BadInputError, match=r"forbid download.*Own terms.*cremi\.org"):
        fetch_files(msgspec.structs.replace(record, licence=licence), tmp_path)
    with pytest.raises(BadInputError, match="published nowhere"):
        fetch_files(replaced(record, "main", urls=()), tmp_path)
    gone = replaced(record, "main", urls=(record.files["main"].urls[0] + ".gone",))
    with pytest.raises(ReadFailedError, match="404"):
        fetch_files(gone, tmp_path)
    assert not list(tmp_path.rglob("*.hdf"))


def test_a_folder_unpacked_by_hand_is_left_as_it_is(published, tmp_path):
    _, records = published
    place = tmp_path / "snemi3d" / "snemi"
    place.mkdir(parents=True)
    (made,) = fetch_files(records["snemi3d"], tmp_path)
    assert (made.checked, made.fresh) == ("", False)
    assert names(place) == []
    (place / ".segmend.json").write_text(json.dumps({"md5": "1"}))
    with pytest.raises(OutputError, match="another archive"):
        fetch_files(records["snemi3d"], tmp_path)


def test_the_size_is_checked_where_it_is_recorded(published, tmp_path):
    _, records = published
    with pytest.raises(ReadFailedError, match="bytes"):
        fetch_files(replaced(records["cremi-a"], "main", size_bytes=5), tmp_path)
    assert File(path="a.tar.gz", unpack="tar.gz").contents == "a"
