"""From a candidate to its pictures, on drawn tissue and on real tissue."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from segmend.core.errors import BadInputError, GridMismatchError, RenderError
from segmend.core.sample import PLANES, VIEWS, channel, em_channel
from segmend.render.frame import draw
from segmend.render.site import Layers, ViewStyle, render_candidate
from segmend.samples.candidate import Candidate
from segmend.segments.mesh import mesh_from_mask
from segmend.volumes.drivers.hdf5 import open_hdf5
from segmend.volumes.drivers.memory import from_array

VOXEL = 10.0
SHAPE = (60, 64, 68)
STYLE = ViewStyle(em_pixel_size_nm=2.0)
CENTER = (300.0, 320.0, 340.0)


def tissue():
    """Two rods (1, 2) that meet end to end, a third (3) beside them and a fourth (4) right through.

    The truth: 1 and 2 are neuron 10; segment 3 is wrongly one of neurons 20 and 30.
    """
    z, y, x = np.indices(SHAPE)
    middle = (x >= 6) & (x < 62)
    rod = (((z - 30) ** 2 + (y - 32) ** 2) < 6**2) & middle
    beside = (((z - 30) ** 2 + (y - 45) ** 2) < 5**2) & middle
    through = ((z - 30) ** 2 + (y - 57) ** 2) < 4**2
    automatic = np.zeros(SHAPE, np.uint64)
    automatic[rod & (x < 34)], automatic[rod & (x >= 34)], automatic[beside] = 1, 2, 3
    automatic[through] = 4
    neurons = np.zeros(SHAPE, np.uint64)
    neurons[rod], neurons[beside & (x < 34)], neurons[beside & (x >= 34)] = 10, 20, 30
    image = np.where(automatic > 0, 180, 90) + np.indices(SHAPE).sum(0) % 7
    return image.astype(np.uint8), automatic, neurons


@pytest.fixture(scope="module")
def layers():
    return Layers(*(from_array(a, (VOXEL,) * 3) for a in tissue()))


def candidate(kind, segments, sides=(), center=CENTER, extent=250.0):
    return Candidate(
        kind,
        "drawn",
        "v1",
        "one",
        "synthetic",
        "op",
        "",
        center,
        segments,
        sides,
        False,
        center,
        extent,
        10,
    )


def shown(views, name):
    return views.geometry[:, channel(name)] > 0


def test_a_pair_is_drawn_with_both_segments_in_every_picture(layers):
    views = render_candidate(candidate("merge_edit", (1, 2)), layers, STYLE)
    assert views.geometry.shape == (3, 7, 224, 224)
    assert tuple(views.em) == PLANES
    assert views.split_masks == {}
    a, b = shown(views, "mask_a"), shown(views, "mask_b")
    assert a.any((1, 2)).all()
    assert b.any((1, 2)).all()
    # The rods meet in the middle: A on the left (towards -x) in the views whose right is +x.
    for view in (VIEWS.index("side"), VIEWS.index("top")):
        assert np.nonzero(a[view])[1].max() <= 113
        assert np.nonzero(b[view])[1].min() >= 110
    assert views.facts["empty_geometry_masks"] == []
    assert views.facts["empty_em_masks"] == ["yz.mask_a"] or views.facts["empty_em_masks"] == []


def test_the_facts_state_what_was_drawn_and_are_json(layers):
    views = render_candidate(candidate("adjacent_control", (1, 2)), layers, STYLE)
    facts = json.loads(json.dumps(views.facts))
    assert facts["view_extent_nm"] == 250.0
    assert facts["pixel_size_nm"] == pytest.approx(500 / 224)
    assert facts["encoding"] == "metric"
    assert facts["em_pixel_size_nm"] == 2.0
    assert facts["em_coverage"] == pytest.approx(1)
    # The rods meet at x = 340 nm: the nearest voxel centre of either side, as [x, y, z].
    x, y, z = facts["em_center_nm"]
    assert (x in (335.0, 345.0), y in (315.0, 325.0), z in (295.0, 305.0)) == (True,) * 3
    assert np.cross(facts["em_best_axes"]["row"], facts["em_best_axes"]["column"]) == pytest.approx(
        np.array(facts["em_best_axes"]["normal"])
    ) or np.cross(facts["em_best_axes"]["column"], facts["em_best_axes"]["row"]) == pytest.approx(
        np.array(facts["em_best_axes"]["normal"])
    )


def test_the_order_of_the_segments_decides_which_is_a(layers):
    first = render_candidate(candidate("merge_edit", (1, 2)), layers, STYLE)
    second = render_candidate(candidate("merge_edit", (2, 1)), layers, STYLE)
    assert np.array_equal(shown(first, "mask_a"), shown(second, "mask_b"))
    assert np.array_equal(shown(first, "silhouette"), shown(second, "silhouette"))
    for plane in ("xy", "xz"):
        a, b = first.em[plane], second.em[plane]
        assert np.array_equal(a[..., em_channel("mask_a")], b[..., em_channel("mask_b")])


def test_a_junction_shows_one_segment_and_no_b(layers):
    views = render_candidate(candidate("junction_control", (3,)), layers, STYLE)
    assert shown(views, "mask_a").any((1, 2)).all()
    assert not shown(views, "mask_b").any()
    assert np.array_equal(shown(views, "mask_a"), shown(views, "silhouette"))
    assert not any(image[..., em_channel("mask_b")].any() for image in views.em.values())
    assert views.facts["empty_em_masks"] == []
    # The centre lies beside the segment and is moved to its nearest voxel.
    x, y, _ = views.facts["em_center_nm"]
    assert y == 415.0
    assert x in (335.0, 345.0)


def test_a_split_shows_one_segment_and_its_sides_in_masks(layers):
    views = render_candidate(candidate("split_edit", (3,), (20, 30)), layers, STYLE)
    assert not shown(views, "mask_b").any()
    whole = shown(views, "silhouette")
    for i, view in enumerate(VIEWS):
        mask = views.split_masks[view]
        assert set(np.unique(mask).tolist()) <= {0, 128, 255}
        sides = mask < 255
        # The two closed sides round their edges at the cut.
        assert not (sides & ~whole[i]).any()
        assert sides.sum() > 0.95 * whole[i].sum()
    side = VIEWS.index("side")
    assert np.nonzero(views.split_masks["side"] == 0)[1].max() <= 113
    assert np.nonzero(views.split_masks["side"] == 128)[1].min() >= 110
    assert whole[side].any()
    best = views.em["best"]
    assert best[..., em_channel("mask_a")].any()
    assert best[..., em_channel("mask_b")].any()


def test_a_split_geometry_has_no_seam(layers):
    split = render_candidate(candidate("split_edit", (3,), (20, 30)), layers, STYLE)
    one = render_candidate(candidate("junction_control", (3,)), layers, STYLE)
    assert split.geometry.tobytes() == one.geometry.tobytes()


def test_the_volumes_border_is_open_where_it_cuts_a_segment(layers):
    """Seen along +x a rod that leaves through the border is an open tube: its walls are edge-on."""
    at_border = candidate("junction_control", (4,), center=(300.0, 570.0, 30.0), extent=100.0)
    views = render_candidate(at_border, layers, STYLE)
    assert [shown(views, "silhouette")[i].any() for i in range(3)] == [False, True, True]
    assert views.facts["empty_geometry_masks"] == ["front.mask_a"]
    assert views.facts["em_coverage"] < 1


def test_the_same_candidate_gives_the_same_bytes(layers):
    one = render_candidate(candidate("merge_edit", (1, 2)), layers, STYLE)
    two = render_candidate(candidate("merge_edit", (1, 2)), layers, STYLE)
    assert one.geometry.tobytes() == two.geometry.tobytes()
    assert all(np.array_equal(one.em[p], two.em[p]) for p in PLANES)
    assert one.facts == two.facts


def test_threads_draw_what_one_thread_draws(layers):
    asked = [candidate("merge_edit", (1, 2), center=(300.0, 320.0, x)) for x in range(300, 380, 10)]
    serial = [render_candidate(c, layers, STYLE).geometry.tobytes() for c in asked]
    with ThreadPoolExecutor(2) as pool:
        threaded = list(pool.map(lambda c: render_candidate(c, layers, STYLE).geometry, asked))
    assert [g.tobytes() for g in threaded] == serial


def test_a_wide_em_window_around_a_far_snapped_centre_is_read_again(layers):
    """The window leaves what was read for the view; its masks must still be there."""
    far = candidate("junction_control", (3,), center=(300.0, 320.0, 340.0), extent=110.0)
    views = render_candidate(far, layers, ViewStyle(em_pixel_size_nm=1.0))
    near = candidate("junction_control", (3,), center=(300.0, 415.0, 335.0), extent=110.0)
    again = render_candidate(near, layers, ViewStyle(em_pixel_size_nm=1.0))
    assert views.facts["em_center_nm"][1] == 415.0
    assert np.array_equal(
        views.em["xz"][..., em_channel("mask_a")].any(1),
        again.em["xz"][..., em_channel("mask_a")].any(1),
    )


LEFT_OF_THE_CONTACT = candidate("merge_edit", (1, 2), center=(300.0, 320.0, 90.0), extent=100.0)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (candidate("merge_edit", (1, 77)), "segment_not_in_view"),
        (candidate("junction_control", (77,)), "segment_not_in_view"),
        (LEFT_OF_THE_CONTACT, "segment_not_in_view"),
        (candidate("split_edit", (3,), (20, 10)), "side_not_in_view"),
        (candidate("merge_edit", (1, 2), center=(9e4, 9e4, 9e4)), "segment_not_in_view"),
    ],
)
def test_what_cannot_be_seen_is_an_error_with_a_reason(layers, asked, reason):
    with pytest.raises(RenderError) as caught:
        render_candidate(asked, layers, STYLE)
    assert caught.value.reason == reason


def test_candidates_that_do_not_fit_their_type_are_refused(layers):
    without_truth = dataclasses.replace(layers, neurons=None)
    for asked, given_layers, message in (
        (candidate("merge_edit", (1,)), layers, r"shows 2 segment"),
        (candidate("merge_edit", (1, 1)), layers, r"shows 2 segment"),
        (candidate("junction_control", (1, 2)), layers, r"shows 1 segment"),
        (candidate("split_edit", (3,), (20, 20)), layers, "two different sides"),
        (candidate("merge_edit", (1, 2), (20, 30)), layers, "no sides"),
        (candidate("split_edit", (3,), (20, 30)), without_truth, r"Give Layers\(neurons="),
        (candidate("merge_edit", (0, 2)), layers, "background"),
    ):
        with pytest.raises(BadInputError, match=message):
            render_candidate(asked, given_layers, STYLE)


def test_layers_on_different_grids_are_refused():
    image, automatic, _ = tissue()
    with pytest.raises(GridMismatchError, match="grid of"):
        Layers(from_array(image, (VOXEL,) * 3), from_array(automatic, (VOXEL, VOXEL, 8.0)))


def test_a_real_pair_touches_at_its_em_centre_and_is_drawn_as_its_voxels_mesh(shared_data):
    file = shared_data / "fib25" / "fib25.h5"
    real = Layers(open_hdf5(file, "volumes/raw"), open_hdf5(file, "volumes/labels/automatic"))
    with h5py.File(file) as f:
        labels = f["volumes/labels/automatic"][60:120, 90:160, 90:160]
    first, second = labels[:, :, :-1], labels[:, :, 1:]
    met = (first != second) & (first > 0) & (second > 0)
    pairs, count = np.unique(np.stack([first[met], second[met]], 1), axis=0, return_counts=True)
    a, b = (int(v) for v in pairs[count.argmax()])
    where = np.argwhere(met & (first == a) & (second == b))
    z, y, x = (where[len(where) // 2] + (60, 90, 90) + 0.5) * 10
    views = render_candidate(
        candidate("merge_edit", (a, b), center=(z, y, x), extent=300.0), real, ViewStyle(3.0)
    )
    center = views.facts["em_center_nm"][::-1]
    voxel = np.floor(np.array(center) / 10).astype(int) - (60, 90, 90)
    around = labels[tuple(slice(v - 1, v + 2) for v in voxel)]
    assert {a, b} <= {int(v) for v in np.unique(around)}
    whole = real.automatic.read_voxels(real.automatic.grid.voxels).data
    meshes = [mesh_from_mask(whole == i, real.automatic.grid) for i in (a, b)]
    frame = draw(meshes, center_nm=(z, y, x), half_extent_nm=300.0)
    # The cut-out changes nothing inside the view cube.
    assert np.array_equal(shown(views, "mask_a"), frame.cover_a)
    assert np.array_equal(shown(views, "mask_b"), frame.cover_b)
    normal_x = views.geometry[:, channel("normal_x")]
    assert np.array_equal(normal_x, frame.normals[:, 0].astype(np.float16))
