"""Tables that are not what they should be: a clear error that names the place, nothing guessed."""

import shutil

import h5py
import numpy as np
import pytest

from segmend.annotations.neurites import read_axons, read_dendrites, read_spine_heads
from segmend.annotations.segments_table import read_segments
from segmend.annotations.synapses import read_synapses
from segmend.core.errors import ReadFailedError, SchemaError

READERS = {
    "axons": read_axons,
    "dendrites": read_dendrites,
    "segments": read_segments,
    "synapses": read_synapses,
}


def replace(file, key, values):
    attributes = dict(file[key].attrs) if key in file else {}
    if key in file:
        del file[key]
    file[key] = values
    file[key].attrs.update(attributes)


def other_way(file, key):
    replace(file, key, file[key][()].T)


def nameless(file, key):
    for name in list(file[key].attrs):
        del file[key].attrs[name]


def long_skeleton(file):
    """The nodes of a skeleton that can lie only one way."""
    skeletons = file["axons/skeleton"]
    return next(f"{g.name}/nodes" for g in skeletons.values() if len(g["segIds"]) > 3)


def far_nodes(file):
    """All nodes as uint64, one of which no int64 can hold."""
    for group in file["axons/skeleton"].values():
        replace(group, "nodes", group["nodes"][()].astype(np.uint64))
    file["axons/skeleton/2/nodes"][0, 0] = 2**64 - 5


def unwritten(file, key):
    shape = file[key].shape
    del file[key]
    file.create_dataset(key, shape, np.uint32)


def half_written(file, key):
    values = file[key][()]
    del file[key]
    made = file.create_dataset(key, values.shape, "u4", chunks=(2, 2), compression="gzip")
    made[:2] = values[:2]


def elsewhere(file, key):
    del file[key]
    file[key] = h5py.ExternalLink("/etc/passwd", "/data")


def virtual(file, key):
    shape = file[key].shape
    del file[key]
    layout = h5py.VirtualLayout(shape, np.uint32)
    layout[:] = h5py.VirtualSource("/tmp/other.hdf5", "data", shape)
    file.create_virtual_dataset(key, layout)


SKELETON = "axons/skeleton/2"

BAD = {
    "a matrix the other way round": (
        "synapses", lambda f: other_way(f, "synapses/prePosition"), "the other way round than"
    ),
    "a skeleton the other way round": (
        "axons", lambda f: other_way(f, long_skeleton(f)), "the other way round than"
    ),
    "no class": ("axons", lambda f: f.__delitem__("axons/class"), "there is no '/axons/class'"),
    "no skeletons": ("dendrites", lambda f: f.__delitem__("dendrites/skeleton"), "there is no"),
    "no nodes": ("axons", lambda f: f.__delitem__(f"{SKELETON}/nodes"), "cell 2 has no 'nodes'"),
    "another group": ("axons", lambda f: f.move("axons", "axonClasses"), "there is no '/axons'"),
    "a code without a name": (
        "axons", lambda f: f["axons/class"].__setitem__(0, 77), "code 77 has no name"
    ),
    "no categories": (
        "axons", lambda f: nameless(f, "axons/class"), "has no name"
    ),
    "two names for a code": (
        "axons", lambda f: f["axons/class"].attrs.__setitem__("twin", np.uint8(1)), "share a code"
    ),
    "a code beyond uint8": (
        "axons", lambda f: f["axons/class"].attrs.__setitem__("late", 300), "the code 300"
    ),
    "coordinates beyond int64": (
        "axons", far_nodes, "a coordinate is beyond"
    ),
    "a size beyond all voxels": (
        "segments",
        lambda f: replace(f, "segments/voxelCount", np.array([2**63, 1], np.uint64)),
        "entry 1 is",
    ),
    "a missing cell": (
        "axons", lambda f: f.__delitem__("axons/agglomerate/3"), r"are not 1 to"
    ),
    "a cell with a padded name": (
        "axons", lambda f: f.move("axons/agglomerate/3", "axons/agglomerate/003"), "'003'"
    ),
    "fewer classes": (
        "axons",
        lambda f: replace(f, "axons/class", f["axons/class"][:-1]),
        "do not belong together",
    ),
    "segment 0": (
        "axons", lambda f: replace(f, "axons/agglomerate/2", np.zeros(3, np.uint32)), "segment 0"
    ),
    "float ids": (
        "axons", lambda f: replace(f, "axons/class", f["axons/class"][()] * 1.0), "without sign"
    ),
    "mixed dtypes": (
        "axons", lambda f: replace(f, "axons/agglomerate/2", np.ones(3, np.uint64)), "cell 2 holds"
    ),
    "signed ids": (
        "synapses", lambda f: replace(f, "synapses/preAxonId", np.array([-1, 2])), "without sign"
    ),
    "texts": ("segments", lambda f: replace(f, "segments/voxelCount", [b"a", b"b"]), "not plain"),
    "three columns for edges": (
        "axons", lambda f: replace(f, f"{SKELETON}/edges", np.ones((3, 4), np.uint32)), "not N x 2"
    ),
    "an edge from node 0": (
        "axons", lambda f: replace(f, f"{SKELETON}/edges", np.array([0, 1], np.uint32)), r"\[0, 1\]"
    ),
    "an edge beyond the nodes": (
        "axons", lambda f: replace(f, f"{SKELETON}/edges", np.array([1, 9999], np.uint32)), "9999"
    ),
    "a loop that is not (1, 1)": (
        "axons", lambda f: replace(f, f"{SKELETON}/edges", np.array([2, 2], np.uint32)), r"\[2, 2\]"
    ),
    "a node at voxel 0": (
        "axons", lambda f: f[f"{SKELETON}/nodes"].__setitem__((0, 0), 0), "voxels count from one"
    ),
    "a node that is none": (
        "axons", lambda f: f[f"{SKELETON}/nodes"].__setitem__((slice(None), 0), 0), "count from one"
    ),
    "fewer segment ids than nodes": (
        "axons",
        lambda f: replace(f, f"{SKELETON}/segIds", np.ones(99, np.uint32)),
        "99 segment ids",
    ),
    "a segment without position": (
        "segments", lambda f: f["segments/position"].__setitem__((slice(None), 4), 0), "segment 5"
    ),
    "a negative area": (
        "synapses", lambda f: f["synapses/asiArea"].__setitem__(0, -1), "entry 1 is -1"
    ),
    "positions never written": (
        "segments", lambda f: unwritten(f, "segments/position"), "not all written"
    ),
    "positions half written": (
        "segments", lambda f: half_written(f, "segments/position"), "never written"
    ),
    "a link into another file": (
        "segments", lambda f: elsewhere(f, "segments/position"), "a link to"
    ),
    "a cell in another file": ("axons", lambda f: elsewhere(f, "axons/agglomerate/1"), "a link to"),
    "a virtual data set": (
        "segments", lambda f: virtual(f, "segments/position"), "in other files"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_table_is_refused(case, matlab, tmp_path):
    name, spoil, message = BAD[case]
    path = tmp_path / f"{name}.hdf5"
    shutil.copy(matlab.folder / path.name, path)
    READERS[name](path)  # good before
    with h5py.File(path, "r+") as file:
        spoil(file)
    with pytest.raises(SchemaError, match=message) as refused:
        READERS[name](path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("limit", "what"), [("axons", "preAxonId"), ("dendrites", "postDendriteId")]
)
def test_an_id_out_of_range_is_refused(matlab, limit, what):
    path = matlab.folder / "synapses.hdf5"
    with h5py.File(path) as file:
        most = int(file[f"synapses/{what}"][()].max())
    assert len(read_synapses(path, **{limit: most}))
    with pytest.raises(SchemaError, match=f"{what}.*there are {most - 1} {limit}"):
        read_synapses(path, **{limit: most - 1})


def test_a_volume_must_be_positive(tmp_path):
    path = tmp_path / "heads.hdf5"
    for volume in (0, -1, np.nan, np.inf):
        with h5py.File(path, "w") as file:
            file["spineHeads/agglomerate/1"] = np.array([4], np.uint32)
            file["spineHeads/volume"] = np.array([volume], np.float32)
        with pytest.raises(SchemaError, match="entry 1 is"):
            read_spine_heads(path)


@pytest.mark.parametrize("name", READERS)
def test_a_truncated_file_is_an_error_wherever_it_ends(matlab, tmp_path, name):
    whole = (matlab.folder / f"{name}.hdf5").read_bytes()
    path = tmp_path / f"{name}.hdf5"
    for share in (0, 0.001, 0.3, 0.7, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises((ReadFailedError, SchemaError)):
            READERS[name](path)


def test_flipped_bytes_are_an_error_or_change_numbers_only(matlab, tmp_path):
    """Whatever a damaged file does to the HDF5 library, it is one of our errors or a value."""
    whole = bytearray((matlab.folder / "dendrites.hdf5").read_bytes())
    rng = np.random.default_rng(4)
    path = tmp_path / "dendrites.hdf5"
    outcomes = set()
    for _ in range(40):
        spoilt = whole.copy()
        for at in rng.integers(0, min(len(whole), 6000), 6):
            spoilt[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoilt)
        try:
            outcomes.add(len(read_dendrites(path)))
        except (ReadFailedError, SchemaError) as error:
            outcomes.add(type(error))
    assert outcomes & {ReadFailedError, SchemaError}


def test_a_missing_file_and_a_file_of_text_are_named(tmp_path):
    with pytest.raises(ReadFailedError, match="there is no file") as failed:
        read_axons(tmp_path / "axons.hdf5")
    assert failed.value.reason == "missing"
    (tmp_path / "axons.hdf5").write_text("<html>not found</html>")
    with pytest.raises(ReadFailedError, match="cannot read"):
        read_axons(tmp_path / "axons.hdf5")
