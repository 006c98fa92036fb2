"""SynEM's interface files against the tissue they were written from, in both layouts."""

from dataclasses import replace as replaced

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from segmend.annotations.interfaces import (
    interface_table,
    read_interface_folder,
    read_interfaces,
)
from segmend.annotations.names import split_of
from segmend.catalog.interface_volumes import interface_volumes
from segmend.core.errors import ReadFailedError, SchemaError
from segmend.testing.standins.l4dense_interfaces import (
    BORDER,
    FILES,
    VOXEL_SIZE,
    interface_truth,
    write_folder,
    write_interfaces,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interfaces")
    write_folder(folder)
    return folder


@pytest.fixture(scope="module")
def truth():
    return interface_truth("training-1")


@pytest.fixture(scope="module")
def plain(tmp_path_factory, truth):
    path = tmp_path_factory.mktemp("plain") / "training-1.hdf5"
    write_interfaces(path, truth)
    return path


@pytest.mark.parametrize("columns_first", [True, False])
@pytest.mark.parametrize("layout", ["root", "group"])
def test_both_layouts_in_both_orientations(tmp_path, truth, layout, columns_first):
    path = tmp_path / "training-1.hdf5"
    write_interfaces(path, truth, layout=layout, columns_first=columns_first)
    made = read_interfaces(path)
    assert made.layout == layout
    np.testing.assert_array_equal(made.edges, np.array(truth.edges, np.uint64))
    assert made.edges.dtype == np.uint64
    assert [made.labels.name(row) for row in range(len(made))] == list(truth.labels)
    assert [made.target_types.name(row) for row in range(len(made))] == list(truth.targets)
    for row in range(len(made)):
        np.testing.assert_array_equal(made.voxels[row], truth.voxels[row])
    # A voxel of an interface lies in one of its two segments: places and orientation fit.
    for row in range(0, len(made), 7):
        z, y, x = made.voxels_of(row).T
        assert set(truth.segments[z, y, x].tolist()) == set(truth.edges[row])


def test_the_table_of_a_folder_is_typed_and_knows_its_split(folder):
    made = read_interface_folder(folder)
    table = interface_table(made)
    truths = {f"{name}.hdf5": interface_truth(name) for name in sorted(FILES)}
    assert table.num_rows == sum(len(t.edges) for t in truths.values())
    for name in ("interface_id", "segment_a", "segment_b", "pre_segment_id", "post_segment_id"):
        assert table.schema.field(name).type == pa.uint64()
    rows = table.to_pylist()
    split = {name: "test" if name.startswith("test") else "train" for name in truths}
    assert {(r["file"], r["split"]) for r in rows} == set(split.items())
    expected = [
        (name, *edge, label, target)
        for name, t in truths.items()
        for edge, label, target in zip(t.edges, t.labels, t.targets, strict=True)
    ]
    columns = ("file", "segment_a", "segment_b", "label", "target_type")
    assert [tuple(r[c] for c in columns) for r in rows] == expected
    assert set(table["label"].to_pylist()) == {
        "nosynapse", "pretopostsynapse", "posttopresynapse"
    }  # fmt: skip
    for row in rows:
        pair = (row["segment_a"], row["segment_b"])
        partners = (row["pre_segment_id"], row["post_segment_id"])
        turned = {"pretopostsynapse": pair, "posttopresynapse": pair[::-1]}
        assert partners == turned.get(row["label"], (None, None))
    assert pc.all(pc.is_null(table["scores"])).as_py()


def test_image_and_segmentation_lie_on_one_frame(plain, truth):
    image, segmentation = interface_volumes(plain)
    np.testing.assert_array_equal(segmentation[segmentation.box], truth.segments)
    np.testing.assert_array_equal(
        image[segmentation.box], truth.em[tuple(slice(b, -b) for b in BORDER)]
    )
    assert segmentation.grid.offset == tuple(
        b * size for b, size in zip(BORDER, VOXEL_SIZE, strict=True)
    )


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("training-1", "train"),
        ("SynEM_TestSet", "test"),
        ("trainingSetCube3", "train"),
        ("train-and-test", None),
        ("cube-4", None),
        ("contest-2", None),
    ],
)
def test_only_a_word_of_the_name_tells_the_split(name, split):
    assert split_of(name) == split


@pytest.mark.parametrize("columns", [1, 2])
def test_scores_are_read_where_there_are_some(plain, truth, columns):
    scores = np.random.default_rng(1).random((len(truth.edges), columns)).astype(np.float32)
    with edited(plain) as file:
        file["scores"] = scores.T if columns == 2 else scores[:, 0]
    made = read_interfaces(plain)
    np.testing.assert_allclose(made.scores, scores)
    assert made.to_table()["scores"].to_pylist()[3] == pytest.approx(scores[3].tolist())


@pytest.mark.parametrize(
    ("rows", "shape"),
    [(1, (1,)), (1, (1, 1)), (1, (2, 1)), (1, (1, 2)), (2, (2,)), (2, (2, 1)), (2, (1, 2))],
)
def test_scores_of_few_interfaces_keep_their_columns(tmp_path, truth, rows, shape):
    few = replaced(
        truth,
        edges=truth.edges[:rows],
        labels=truth.labels[:rows],
        targets=truth.targets[:rows],
        voxels=truth.voxels[:rows],
    )
    path, scores = tmp_path / "train.hdf5", np.random.default_rng(1).random(shape)
    write_interfaces(path, few, columns_first=shape != (1, 2))
    with h5py.File(path, "r+") as file:
        file["scores"] = scores
    np.testing.assert_array_equal(read_interfaces(path).scores, scores.reshape(rows, -1))


def test_whole_doubles_are_ids(plain, truth):
    with edited(plain) as file:
        for key in ("edges", *(f"interfaces/{n}" for n in range(1, len(truth.edges) + 1))):
            replace(file, key, file[key][()].astype(np.float64))
    np.testing.assert_array_equal(read_interfaces(plain).edges, np.array(truth.edges))


def test_two_segments_may_touch_twice_but_an_interface_occurs_once(plain, truth):
    again = truth.edges[0][::-1]
    with edited(plain) as file:
        edges = file["edges"][()]
        edges[:, 1] = again
        file["edges"][...] = edges
    assert len(read_interfaces(plain)) == len(truth.edges)
    with edited(plain) as file:
        replace(file, "interfaces/2", file["interfaces/1"][()][::-1])
    with pytest.raises(SchemaError, match="interfaces 1 and 2 are the same"):
        read_interfaces(plain)


class edited:  # noqa: N801  used as a function
    """A file to change in place."""

    def __init__(self, path):
        self._path = path

    def __enter__(self):
        self._file = h5py.File(self._path, "r+")
        return self._file

    def __exit__(self, *_):
        self._file.close()


@pytest.fixture(autouse=True)
def whole_again(plain):
    before = plain.read_bytes()
    yield
    plain.write_bytes(before)


def replace(file, key, values):
    del file[key]
    file[key] = values


def change(file, key, at, value):
    values = file[key][()]
    values[at] = value
    file[key][...] = values


BAD = {
    "both layouts": (lambda f: f.create_dataset("interfaces/edges", data=f["edges"][()]),
                     "which layout it has cannot be told"),
    "neither": (lambda f: [f.__delitem__(k) for k in ("edges", "labels", "targetTypes")],
                "which layout it has cannot be told: it has none"),
    "no labels": (lambda f: f.__delitem__("labels"), "there is no '/labels'"),
    "no voxels": (lambda f: f.__delitem__("interfaces"), "there is no '/interfaces'"),
    "no segmentation": (lambda f: f.__delitem__("segmentation"), "there is no '/segmentation'"),
    "a cell is missing": (lambda f: f.__delitem__("interfaces/3"), "are not 1 to"),
    "segment 0": (lambda f: change(f, "edges", (0, 4), 0), "edge 5 is .*segment 0 is none"),
    "itself": (lambda f: change(f, "edges", (slice(None), 2), 7), "edge 3 .*with itself"),
    "unknown code": (lambda f: change(f, "labels", 0, 9), "code 9 has no name"),
    "unknown name": (lambda f: f["labels"].attrs.__setitem__("gapjunction", np.uint8(4))
                     or change(f, "labels", 0, 4), "'gapjunction' is not known"),
    "a code of the other": (lambda f: change(f, "targetTypes", 0, 6), "code 6 has no name"),
    "lengths": (lambda f: replace(f, "edges", f["edges"][()][:, :-1]), "do not belong together"),
    "outside": (lambda f: change(f, "interfaces/2", 0, 2**31), "interfaces/2.*counted from one"),
    "voxel 0": (lambda f: change(f, "interfaces/4", 0, 0), "interfaces/4.*voxel 0"),
    "three columns": (lambda f: replace(f, "edges", np.ones((5, 9), np.uint32)), "not N x 2"),
    "half an id": (lambda f: replace(f, "edges", f["edges"][()] + 0.5), "no whole number"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_file_names_the_fault(plain, fault):
    break_it, says = BAD[fault]
    with edited(plain) as file:
        break_it(file)
    with pytest.raises(SchemaError, match=says):
        read_interfaces(plain)


def test_a_border_of_two_widths_and_a_folder_without_files_are_refused(plain, tmp_path):
    with edited(plain) as file:
        replace(file, "segmentation", file["segmentation"][()][1:])
    with pytest.raises(SchemaError, match="no border of one width"):
        interface_volumes(plain)
    with pytest.raises(ReadFailedError, match="holds no interfaces"):
        read_interface_folder(tmp_path)
