"""Links and states of Neuroglancer, against its own Python package."""

import json
from urllib.parse import quote, unquote

import neuroglancer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import segmend as sg
from segmend.catalog.viewer_links import SITES, pasted_state, state_link
from segmend.catalog.viewer_state import ViewerState, read_viewer_state
from segmend.catalog.viewer_write import viewer_state
from segmend.core.errors import BadInputError, UnknownNameError
from segmend.testing.servers import range_server
from segmend.testing.standins import write_standin

IDS = st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=5)
NAMES = ("microns", "malecns", "flywire", "h01", "fish1", "hemibrain", "manc")
BIG = 864691135697050522


def points(box):
    return st.tuples(*(st.floats(a, b, width=32) for a, b in zip(box.start, box.stop, strict=True)))


SPACE = points(sg.Box((0, 0, 0), (4e6, 4e6, 4e6)))


def near(found, expected):
    """To float32, in which their package keeps positions."""
    np.testing.assert_allclose(found, expected, rtol=3e-7, atol=1e-6)


@given(st.sampled_from(NAMES), SPACE, IDS, st.sampled_from(sorted(SITES)))
def test_what_is_written_is_read_back(name, at, ids, dialect):
    dataset = sg.open(name)
    state = read_viewer_state(state_link(viewer_state(dataset, at=at, segments=ids), dialect))
    assert state.dialect == dialect
    assert state.segments == tuple(ids)
    assert state.voxel_size_nm == dataset.layers["image"].voxel_size_nm
    np.testing.assert_allclose(state.position_nm, at, rtol=0, atol=1e-6)
    sources = {layer.name: layer.sources for layer in state.layers}
    assert sources["image"] == (f"precomputed://{dataset.layers['image'].urls[0]}",)


@given(st.sampled_from(NAMES), SPACE, IDS)
def test_neuroglancers_own_package_reads_the_same_from_our_links(name, at, ids):
    dataset = sg.open(name)
    box = sg.Box.around(at, 4000)
    link = state_link(viewer_state(dataset, at=at, box=box, segments=ids), "mainline")
    theirs = neuroglancer.parse_url(link)
    size = np.array(dataset.layers["image"].voxel_size_nm[::-1])
    assert theirs.dimensions.names == ("x", "y", "z")
    assert theirs.dimensions.units == ("m", "m", "m")
    np.testing.assert_allclose(theirs.dimensions.scales, size * 1e-9, rtol=1e-15)
    near(theirs.position * size, at[::-1])
    assert set(theirs.layers["neurons"].segments) == set(ids)
    assert theirs.layers["neurons"].source[0].url.endswith(dataset.layers["neurons"].urls[0])
    (drawn,) = theirs.layers["box"].annotations
    assert drawn.type == "axis_aligned_bounding_box"
    near(drawn.point_a * size, box.start[::-1])
    near(drawn.point_b * size, box.stop[::-1])


@given(SPACE, IDS, st.tuples(*[st.sampled_from([4.0, 8.0, 11.24, 16.0, 30.0, 33.0, 40.0])] * 3))
def test_states_of_neuroglancers_own_package_are_read(at, ids, size):
    theirs = neuroglancer.ViewerState()
    theirs.dimensions = neuroglancer.CoordinateSpace(
        names=["x", "y", "z"], units="nm", scales=size[::-1]
    )
    theirs.position = np.divide(at, size)[::-1]
    theirs.layers["em"] = neuroglancer.ImageLayer(source="precomputed://gs://bucket/it's_&_em")
    theirs.layers["seg"] = neuroglancer.SegmentationLayer(
        source="graphene://https://a/b", segments=ids
    )
    for text in (neuroglancer.to_url(theirs), json.dumps(theirs.to_json())):
        state = read_viewer_state(text)
        assert state.voxel_size_nm == size
        near(state.position_nm, at)
        em, seg = state.layers
        assert em.sources == ("precomputed://gs://bucket/it's_&_em",)
        assert (seg.name, seg.kind) == ("seg", "segmentation")
        assert set(seg.segments) == set(ids)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_the_url_safe_json_of_neuroglancer_is_json_again(value):
    from neuroglancer.url_state import json_to_url_safe

    text = json_to_url_safe(json.dumps({"a": value}))
    link = f"https://viewer.example/#!{quote(text)}"
    assert pasted_state(link).state == {"a": value}
    plain = f"https://viewer.example/#!{quote(json.dumps({'a': value}))}"
    assert pasted_state(plain).state == {"a": value}


LEGACY = {
    "layers": {
        "em": {"type": "image", "source": "precomputed://gs://b/em"},
        "seg": {
            "type": "segmentation_with_graph",
            "source": "graphene://https://a.example/seg",
            "segments": [str(BIG), "17"],
            "hiddenSegments": ["99"],
        },
    },
    "navigation": {
        "pose": {"position": {"voxelSize": [4, 4, 40], "voxelCoordinates": [100.5, 200, 7]}},
        "zoomFactor": 8,
    },
    "perspectiveZoom": 2000,
}


def test_the_legacy_dialect_gives_voxels_of_a_size_in_nm():
    state = read_viewer_state("https://ngl.example/#!" + quote(json.dumps(LEGACY)))
    assert state.dialect == "legacy"
    assert state.voxel_size_nm == (40, 4, 4)
    assert state.position_nm == (280, 800, 402)
    em, seg = state.layers
    assert (em.name, em.kind, em.sources) == ("em", "image", ("precomputed://gs://b/em",))
    assert (seg.kind, seg.segments, seg.hidden) == ("segmentation", (BIG, 17), (99,))


def test_the_legacy_dialect_may_give_nm_and_a_list_of_layers():
    pose = {"position": {"spatialCoordinates": [1, 2, 3.5]}}
    layers = [{"name": "seg", "type": "segmentation", "source": "a://b"}, "ignored"]
    state = read_viewer_state(json.dumps({"navigation": {"pose": pose}, "layers": layers[:1]}))
    assert state.position_nm == (3.5, 2, 1)
    assert state.voxel_size_nm is None
    assert [layer.name for layer in state.layers] == ["seg"]
    with pytest.raises(BadInputError, match="'layer' that is no object"):
        read_viewer_state(json.dumps({"layers": layers}))


def test_spelunker_is_told_by_its_site_and_hidden_segments_by_their_mark():
    written = {
        "dimensions": {"z": [40, "nm"], "t": [1, "s"], "x": [8e-9, "m"], "y": [8e-3, "um"]},
        "position": [10, 3, 1.5, 2],
        "layers": [
            {
                "name": "seg",
                "type": "segmentation",
                "source": [{"url": "gs://b/seg/|neuroglancer-precomputed:"}, {"url": "a://b"}],
                "segments": ["!5", str(BIG), 7],
            }
        ],
    }
    link = SITES["spelunker"] + "#!" + quote(json.dumps(written))
    state = read_viewer_state(link)
    assert state == ViewerState("spelunker", state.layers, (40, 8, 8), (400, 16, 12))
    (seg,) = state.layers
    assert seg.sources == ("precomputed://gs://b/seg", "a://b")
    assert (seg.segments, seg.hidden) == ((BIG, 7), (5,))


@pytest.mark.parametrize(
    ("link", "place"),
    [
        ("https://a.example/?json_url=https://b.example/1", "https://b.example/1"),
        ("https://a.example/#!middleauth+https://b.example/2", "middleauth+https://b.example/2"),
        ("https://a.example/#!gs://b/state.json", "gs://b/state.json"),
    ],
)
def test_a_link_that_only_refers_to_a_state_says_where_it_is(link, place):
    with pytest.raises(BadInputError, match="refers to one") as failed:
        read_viewer_state(link)
    assert place in str(failed.value)


def seg(**layer):
    return {"layers": [{"name": "s", "type": "segmentation", **layer}]}


METRES = {"x": [8e-9, "m"], "y": [8e-9, "m"], "z": [8e-9, "m"]}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (seg(segments=[BIG]), "written as a number"),
        (seg(segments=[8.6e17]), "written as a number"),
        (seg(segments=["1.5"]), "whole number"),
        (seg(segments=["-1"]), "whole number"),
        (seg(segments=[str(2**64)]), "uint64"),
        (seg(segments={"1": True}), "no list"),
        ({"position": [1, 2, 3]}, "a position and no dimensions"),
        ({"dimensions": METRES, "position": [1, 2]}, "no list of 3 numbers"),
        ({"dimensions": METRES, "position": [1, 2, "3"]}, "no list of 3 numbers"),
        ({"dimensions": METRES, "position": [1, 2, float("inf")]}, "no list of 3 numbers"),
        ({"dimensions": METRES | {"z": [1, "s"]}}, "unit that is no length"),
        ({"dimensions": METRES | {"z": [1, ""]}}, "unit that is no length"),
        ({"dimensions": {"x": [8e-9, "m"], "y": [8e-9, "m"]}}, "no length for axis z"),
        # A mistake that is found in the wild: metres that say they are nanometres.
        ({"dimensions": METRES | {"x": [8e-9, "nm"]}}, "must be positive"),
        ({"navigation": {"pose": {"position": {"voxelCoordinates": [1, 2, 3]}}}}, "no voxel size"),
        ({"navigation": []}, "no object"),
        ({"layers": 3}, "no list"),
    ],
)
def test_what_cannot_be_trusted_is_refused(state, message):
    with pytest.raises(BadInputError, match=message):
        read_viewer_state(json.dumps(state))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nowhere.json",
        "{",
        "https://a.example/",
        "https://a.example/#!{'a'",
        "https://[/#!{}",
        "{" * 99_999,
    ],
)
def test_what_holds_no_state_is_refused(text):
    with pytest.raises(BadInputError):
        read_viewer_state(text)


def test_a_file_may_hold_the_state_or_the_link(tmp_path):
    state = viewer_state(sg.open("malecns"), segments=[BIG])
    file = tmp_path / "state.json"
    file.write_text(json.dumps(state))
    from_state = read_viewer_state(file)
    file.write_text(state_link(state, "mainline") + "\n")
    assert read_viewer_state(str(file)) == from_state
    assert from_state.segments == (BIG,)


def test_ids_are_strings_and_lengths_are_decimal_in_what_is_written():
    state = viewer_state(sg.open("microns"), segments=[BIG, "17", BIG])
    text = unquote(state_link(state, "spelunker"))
    assert f'"segments":["{BIG}","17"]' in text
    assert '"x":[8e-09,"m"],"y":[8e-09,"m"],"z":[4e-08,"m"]' in text
    shown = [layer["name"] for layer in state["layers"] if layer.get("visible", True)]
    assert shown == ["image", "neurons"]


def test_the_version_and_the_layer_of_the_ids_can_be_chosen():
    state = viewer_state(sg.open("microns", version="v343"), segments=[5], layer="nuclei")
    layers = {layer["name"]: layer for layer in state["layers"]}
    assert layers["neurons"]["source"].endswith("seg_m343")
    assert "segments" not in layers["neurons"]
    assert layers["nuclei"]["segments"] == ["5"]
    with pytest.raises(UnknownNameError, match="Did you mean 'nuclei'"):
        viewer_state(sg.open("microns"), layer="nucleii")
    with pytest.raises(BadInputError, match="whole number"):
        viewer_state(sg.open("microns"), segments=[1.0])


def test_a_linked_layer_opens_where_the_link_says(tmp_path, segmend_cache):
    """The way there and back: from a link to the voxels at its position."""
    with range_server(tmp_path) as server:
        dataset = sg.open(str(write_standin("flywire", tmp_path, url=server.url)))
        state = read_viewer_state(state_link(viewer_state(dataset), "mainline"))
        neurons = next(layer for layer in state.layers if layer.name == "neurons")
        there = sg.open_volume(neurons.sources[0]).at((40, 16, 16))
        box = sg.Box.around(state.position_nm, 100)
        np.testing.assert_array_equal(there[box], dataset.labels["neurons"][box])


OWN = """
name = "own"
title = "Image at a URL, labels in a file"
species = "fly"
version = "1"
citation = "None."
grid_origin_nm = [0, 0, 0]
default_box_nm = [[0, 0, 0], [80, 80, 80]]
licence = { state = "unstated" }
[layers.image]
doc = "EM"
urls = ["https://a.example/em"]
driver = "precomputed"
voxel_size_nm = [8, 8, 8]
"""
LABELS = """
[files.main]
path = "own.h5"
[layers.neurons]
doc = "Neurons"
labels = { kind = "instance", as_class = "neuron" }
"""


def test_layers_in_files_are_left_out_unless_their_segments_are_asked_for(tmp_path, shared_data):
    file = tmp_path / "own.toml"
    file.write_text(OWN)
    with pytest.raises(BadInputError, match="no label layer to select segments in"):
        viewer_state(sg.open(str(file)), segments=[1])
    file.write_text(OWN + LABELS)
    state = viewer_state(sg.open(str(file)))
    assert [layer["name"] for layer in state["layers"]] == ["image"]
    assert state["position"] == [5, 5, 5]
    with pytest.raises(BadInputError, match=r"layer 'neurons' of 'own'.*lies in a file"):
        viewer_state(sg.open(str(file)), segments=[1])
    with pytest.raises(BadInputError, match="viewers read from URLs"):
        viewer_state(sg.open("fib25", path=shared_data / "fib25" / "fib25.h5"))
