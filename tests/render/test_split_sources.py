"""Sides of a split from neurons, from after-ids and from a supervoxel cut, on real tissue."""

import dataclasses

import h5py
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from segmend.core.errors import BadInputError, RenderError, SegmentNotFoundError
from segmend.core.sample import PLANES, VIEWS, channel, em_channel
from segmend.render.site import Layers, ViewStyle, render_candidate
from segmend.samples.candidate import Candidate
from segmend.volumes.drivers.memory import from_array

SIZE = (10.0, 10.0, 10.0)
STYLE = ViewStyle(em_pixel_size_nm=4.0)
EXTENT = 250.0
BIG = 2**60
"""After-ids and neurons lie above it: through a float they would become their neighbours."""

SEGMENT = 23098
"""A segment of FIB-25 with nine supervoxels."""

CUT = ((23098, 26538), (27612, 24919))
"""Two of them on either side; the others are on neither."""

SIDES = {"neurons": (BIG + 1, BIG + 2), "after": (BIG + 21, BIG + 22), "supervoxels": (7, 8)}
"""A split_edit names its sides, whatever tells their voxels apart."""


@dataclasses.dataclass(frozen=True)
class Tissue:
    layers: Layers
    codes: np.ndarray
    """The truth of this test: 1 A, 2 B, with the rest of the segment in the larger."""
    center: tuple[float, float, float]


@pytest.fixture(scope="module")
def tissue(shared_data):
    with h5py.File(shared_data / "fib25" / "fib25.h5") as file:
        image = file["volumes/raw"][:]
        automatic, supervoxels = (
            file[f"volumes/labels/{name}"][:] for name in ("automatic", "supervoxels")
        )
    inside = automatic == SEGMENT
    in_a, in_b = (inside & np.isin(supervoxels, np.uint64(side)) for side in CUT)
    assert (inside & ~in_a & ~in_b).sum() > 100
    # The neurons go on beyond the segment, and a third one holds the rest of it.
    neurons = np.where(supervoxels % 2 == 0, np.uint64(BIG + 1), np.uint64(BIG + 2))
    neurons[inside] = BIG + 3
    neurons[in_a], neurons[in_b] = BIG + 1, BIG + 2
    after = np.where(inside, neurons + np.uint64(20), automatic)
    volumes = (from_array(v, SIZE) for v in (image, automatic, neurons, after, supervoxels))
    codes = np.where(in_b, 2, inside).astype(np.uint8)
    z, y, x = (np.argwhere(supervoxels == CUT[1][0]).mean(0) + 0.5) * 10
    return Tissue(Layers(*volumes), codes, (z, y, x))


def split(tissue, sides_in, *, swapped=False):
    turn = -1 if swapped else 1
    return Candidate(
        *("split_edit", "fib25", "1", "one", "fly", "op", ""),
        anchor_nm=tissue.center,
        segments=(SEGMENT,),
        sides=SIDES[sides_in][::turn],
        swapped=swapped,
        render_center_nm=tissue.center,
        view_extent_nm=EXTENT,
        cluster_id=1,
        sides_in=sides_in,
        cut=CUT[::turn] if sides_in == "supervoxels" else (),
    )


@pytest.fixture(scope="module")
def drawn(tissue):
    return {name: render_candidate(split(tissue, name), tissue.layers, STYLE) for name in SIDES}


@pytest.mark.parametrize("sides_in", ["after", "supervoxels"])
def test_one_split_looks_the_same_whatever_tells_its_sides_apart(drawn, sides_in):
    one, other = drawn["neurons"], drawn[sides_in]
    assert all(np.array_equal(one.split_masks[v], other.split_masks[v]) for v in VIEWS)
    assert all(np.array_equal(one.em[p], other.em[p]) for p in PLANES)
    assert one.geometry.tobytes() == other.geometry.tobytes()
    assert one.facts == other.facts


def first_hits(codes, center):
    """Code of the first voxel that the ray through each pixel enters, for the three views.

    0 where there is none, 9 where the ray starts inside the segment: there the surface is open.
    """
    half = 1.2 * EXTENT
    at = (np.arange(224) - 111.5) * 2 * EXTENT / 224
    down, right = np.meshgrid(at, at, indexing="ij")
    rays = {
        "front": lambda d: (-down, -right, d - half),
        "side": lambda d: (-down, d - half, right),
        "top": lambda d: (half - d, -down, right),
    }
    for view, place in rays.items():
        hits = np.zeros((224, 224), np.uint8)
        for depth in np.arange(1.0, 2 * half, 2.0):
            z, y, x = (
                np.broadcast_to(np.floor((p + c) / 10).astype(int), hits.shape)
                for p, c in zip(place(depth), center, strict=True)
            )
            code = np.where((depth == 1.0) & (codes[z, y, x] > 0), 9, codes[z, y, x])
            hits = np.where(hits == 0, code, hits)
        yield view, hits


def test_the_masks_show_the_side_that_a_ray_meets_first_and_lie_on_the_geometry(tissue, drawn):
    views = drawn["supervoxels"]
    silhouette = views.geometry[:, channel("silhouette")] > 0
    shown = 0
    for i, (view, hits) in enumerate(first_hits(tissue.codes, tissue.center)):
        mask, closed = views.split_masks[view], hits != 9
        seen, hit = mask < 255, (hits > 0) & closed
        assert not (seen & ~silhouette[i]).any()
        assert (seen & silhouette[i]).sum() > 0.99 * silhouette[i].sum()
        # Edges of voxels are rounded by the surface.
        assert (seen & hit).sum() > 0.97 * ((seen | hit) & closed).sum()
        assert ((hits == 1) == (mask == 0))[seen & hit].mean() > 0.995
        shown += (mask == 128).sum()
    assert shown > 1000


@pytest.mark.parametrize("seed", range(6))
def test_swapping_is_exact_where_many_triangles_have_one_depth(seed):
    """Noise: the two sides meet in thousands of places, edge-on and at corners."""
    rng = np.random.default_rng(seed)
    shape = (60, 60, 60)
    automatic = (gaussian_filter(rng.random(shape), 2) > 0.5) * np.uint64(3)
    neurons = np.where(gaussian_filter(rng.random(shape), 1) > 0.5, np.uint64(20), np.uint64(30))
    image = rng.integers(0, 255, shape).astype(np.uint8)
    layers = Layers(*(from_array(a, SIZE) for a in (image, automatic, neurons)))
    center = (300.0, 300.0, 300.0)
    one, other = (
        render_candidate(
            Candidate(
                *("split_edit", "noise", "1", "one", "synthetic", "op", "", center, (3,), sides),
                swapped=False,
                render_center_nm=center,
                view_extent_nm=200.0,
                cluster_id=1,
            ),
            layers,
            STYLE,
        ).split_masks
        for sides in ((20, 30), (30, 20))
    )
    for view in VIEWS:
        assert (one[view] == 128).sum() > 1000
        assert np.array_equal(one[view] == 0, other[view] == 128)
        assert np.array_equal(one[view] == 128, other[view] == 0)


@pytest.mark.parametrize("sides_in", SIDES)
def test_swapping_a_and_b_swaps_the_values_of_the_masks_and_nothing_else(tissue, drawn, sides_in):
    one = drawn[sides_in]
    other = render_candidate(split(tissue, sides_in, swapped=True), tissue.layers, STYLE)
    turned = np.arange(256, dtype=np.uint8)
    turned[[0, 128]] = 128, 0
    for view in VIEWS:
        assert np.array_equal(turned[one.split_masks[view]], other.split_masks[view])
    assert one.geometry.tobytes() == other.geometry.tobytes()
    channels = [em_channel(name) for name in ("em", "mask_b", "mask_a")]
    for plane in PLANES:
        assert np.array_equal(one.em[plane][..., channels], other.em[plane])
    renamed = str(one.facts).replace("mask_a", "mask_?").replace("mask_b", "mask_?")
    assert renamed == str(other.facts).replace("mask_a", "mask_?").replace("mask_b", "mask_?")


def test_supervoxels_of_other_segments_take_no_part(tissue, drawn):
    others = (*CUT[0], 35577)
    wide = dataclasses.replace(split(tissue, "supervoxels"), cut=(others, CUT[1]))
    views = render_candidate(wide, tissue.layers, STYLE)
    for view in VIEWS:
        assert np.array_equal(views.split_masks[view], drawn["neurons"].split_masks[view])


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ((), "that many sets"),
        (((23098,),), "that many sets"),
        (((23098,), ()), "that many sets"),
        (((23098,), (27612, 23098)), "23098 is named more than once"),
        (((23098, 23098), (27612,)), "23098 is named more than once"),
        (((23098,), (27612, 0)), "0 is none"),
    ],
)
def test_what_is_no_cut_is_refused(tissue, cut, message):
    bad = dataclasses.replace(split(tissue, "supervoxels"), cut=cut)
    with pytest.raises(BadInputError, match=message):
        render_candidate(bad, tissue.layers, STYLE)


def test_a_cut_of_something_else_than_supervoxels_is_refused(tissue):
    bad = dataclasses.replace(split(tissue, "after"), cut=CUT)
    with pytest.raises(BadInputError, match="the sides are in 'after'"):
        render_candidate(bad, tissue.layers, STYLE)


@pytest.mark.parametrize("sides_in", SIDES)
def test_a_missing_layer_is_named(tissue, sides_in):
    layers = dataclasses.replace(tissue.layers, **{sides_in: None})
    with pytest.raises(BadInputError, match=rf"Give Layers\({sides_in}="):
        render_candidate(split(tissue, sides_in), layers, STYLE)


def test_a_side_that_is_elsewhere_is_not_in_view(tissue):
    elsewhere = dataclasses.replace(split(tissue, "supervoxels"), cut=((23098,), (2**63,)))
    with pytest.raises(RenderError) as caught:
        render_candidate(elsewhere, tissue.layers, STYLE)
    assert caught.value.reason == "side_not_in_view"


def test_an_id_that_the_layer_cannot_hold_is_refused(tissue):
    array = tissue.layers.supervoxels.driver.array.astype(np.uint32)
    layers = dataclasses.replace(tissue.layers, supervoxels=from_array(array, SIZE))
    large = dataclasses.replace(split(tissue, "supervoxels"), cut=((23098,), (2**32 + 27612,)))
    with pytest.raises(SegmentNotFoundError, match="cannot occur"):
        render_candidate(large, layers, STYLE)
