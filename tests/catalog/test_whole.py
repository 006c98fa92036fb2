"""What no box cuts is known by name, file and size, or its size is said to be unknown."""

from __future__ import annotations

import msgspec
import pytest

from segmend.catalog.record import Record, load_record
from segmend.catalog.whole import cut_layers, mapped_layers, told, whole_files
from segmend.testing.servers import range_server


@pytest.fixture
def record(tmp_path):
    """L4dense2019, whose tables a server has, but for one; the first mirror is gone."""
    files = dict(load_record("l4dense2019")[0].files)
    (tmp_path / "served").mkdir()
    with range_server(tmp_path / "served") as server:
        for number, name in enumerate(("axons", "dendrites", "synapses", "segments")):
            (tmp_path / "served" / name).write_bytes(bytes(1_000_000 * (number + 1)))
            urls = (f"{server.url}/gone/{name}", f"{server.url}/{name}")
            files[name] = msgspec.structs.replace(files[name], urls=urls)
        files["connectome"] = msgspec.structs.replace(
            files["connectome"], urls=(f"{server.url}/gone",)
        )
        yield msgspec.structs.replace(load_record("l4dense2019")[0], files=files)


def test_files_are_named_with_what_lies_in_them(record: Record, tmp_path) -> None:
    left = {one.path: one for one in whole_files(record, tmp_path)}
    assert left["l4dense2019/dendrites.hdf5"].names == ("dendrites", "spine-heads")
    assert left["l4dense2019/dendrites.hdf5"].n_bytes == 2_000_000
    assert left["l4dense2019/connectome.csv"].n_bytes is None
    folders = {one.names for one in left.values() if one.folder}
    assert ("typeem-cubes",) in folders
    assert len(folders) == 6
    named = {name for one in left.values() for name in one.names}
    assert named == set(record.annotations)
    assert cut_layers(record) == ("image", "supervoxels", "neurons", "vessels")


def test_an_unknown_size_is_said(record: Record, tmp_path) -> None:
    lines = told(whole_files(record, tmp_path), mapped_layers(record))
    assert "5 files, of unknown size; " in lines[0]
    assert "l4dense2019/synapses.hdf5 (synapses): 3 MB" in lines[0]
    assert "l4dense2019/connectome.csv (connectome): of unknown size" in lines[0]
    assert "6 folders" in lines[1]
    (tmp_path / "l4dense2019").mkdir()
    (tmp_path / "l4dense2019" / "connectome.csv").touch()  # it is there: nothing to ask for
    lines = told(whole_files(record, tmp_path), mapped_layers(record))
    assert "4 files, 10 MB; " in lines[0]
    assert "connectome" not in lines[0]


def test_nothing_is_said_where_nothing_is_left() -> None:
    assert told((), {"neurites": ("axons",)}) == ()
