"""Targets beside other people's definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from lsd_lite import get_lsds
from scipy.ndimage import center_of_mass, distance_transform_edt
from skimage.segmentation import find_boundaries

import segmend as sg
from segmend.core.errors import BadInputError
from segmend.patches.relabel import dense
from segmend.patches.targets import Truth
from segmend.patches.turns import in_order


def truth(labels, known=None, voxel_size=(30.0, 6.0, 6.0)):
    seen = np.ones(labels.shape, np.uint8) if known is None else known
    return Truth(labels.astype(np.int32), seen, None, voxel_size)


@pytest.fixture(scope="module")
def blobs():
    """Boxes of ids with background between: shape (7, 20, 23)."""
    draw = np.random.default_rng(4)
    labels = np.zeros((7, 20, 23), np.int32)
    for number in range(1, 14):
        z, y, x = (int(draw.integers(n - 3)) for n in labels.shape)
        labels[z : z + 4, y : y + 8, x : x + 9] = number
    return labels


def slow_affinities(labels, known, offset, zero_is):
    values, valid = np.zeros(labels.shape, np.uint8), np.zeros(labels.shape, np.uint8)
    for v in np.ndindex(labels.shape):
        w = tuple(a + b for a, b in zip(v, offset, strict=True))
        if all(0 <= a < n for a, n in zip(w, labels.shape, strict=True)):
            values[v] = labels[v] == labels[w] != 0
            both = labels[v] != 0 and labels[w] != 0
            valid[v] = known[v] and known[w] and (zero_is == "boundary" or both)
    return values, valid


@pytest.mark.parametrize("zero_is", ["unknown", "boundary"])
def test_affinities_are_those_of_a_loop(blobs, zero_is):
    known = (np.random.default_rng(0).random(blobs.shape) < 0.9).astype(np.uint8)
    offsets = [(1, 0, 0), (-1, 0, 0), (0, 3, -5), (-2, -4, 6), (0, 0, 23), (0, 0, -40), (9, 0, 0)]
    got = sg.Affinities(offsets, zero_is=zero_is).of(truth(blobs, known))
    for c, offset in enumerate(offsets):
        expected = slow_affinities(blobs, known, offset, zero_is)
        assert np.array_equal(got[0][c], expected[0])
        assert np.array_equal(got[1][c], expected[1])


@settings(max_examples=60)
@given(
    hnp.arrays(np.int32, (2, 4, 5), elements=st.integers(0, 3)),
    hnp.arrays(np.uint8, (2, 4, 5), elements=st.integers(0, 1)),
    st.lists(st.tuples(*[st.integers(-6, 6)] * 3).filter(any), min_size=1, max_size=3),
    st.sampled_from(["unknown", "boundary"]),
    st.booleans(),
)
def test_affinities_edge_by_edge(labels, known, offsets, zero_is, many):
    if many:  # ids that 16 bits do not hold
        labels = np.where(labels, labels * 40_000, 0)
    values, valid = sg.Affinities(offsets, zero_is=zero_is).of(truth(labels, known))
    for c, offset in enumerate(offsets):
        expected = slow_affinities(labels, known, offset, zero_is)
        assert np.array_equal(values[c], expected[0])
        assert np.array_equal(valid[c], expected[1])


def test_the_two_conventions_are_one_edge_kept_at_either_end(blobs):
    source, destination = (
        sg.Affinities([(1, 2, -3)], kept_at=end, zero_is="boundary").of(truth(blobs))
        for end in ("source", "destination")
    )
    for a, b in zip(source, destination, strict=True):
        assert np.array_equal(a[0, :-1, :-2, 3:], b[0, 1:, 2:, :-3])
    inverted, _ = sg.Affinities([(1, 2, -3)], inverted=True).of(truth(blobs))
    assert np.array_equal(1 - inverted, source[0])


@pytest.mark.parametrize("mode", ["thick", "inner"])
def test_boundaries_are_those_of_scikit_image(blobs, mode):
    values, valid = sg.Boundaries(mode).of(truth(blobs))
    assert np.array_equal(values[0], find_boundaries(blobs, mode=mode, connectivity=1))
    assert valid.all()


STEPS = st.tuples(*[st.sampled_from([slice(None), slice(None, None, -1), slice(1, None, 2)])] * 3)


@settings(max_examples=150, deadline=None)
@given(
    hnp.array_shapes(min_dims=3, max_dims=3, min_side=2, max_side=11),
    st.sampled_from(["int32", "uint8", "uint16", "uint32", "uint64"]),
    STEPS,
    st.permutations(range(3)),
    st.integers(0, 2**32),
)
def test_targets_that_compare_take_ids_of_any_width_however_they_lie(
    shape, dtype, steps, axes, seed
):
    draw, most = np.random.default_rng(seed), np.iinfo(dtype).max
    few = np.array([0, 1, most - 1, most, most // 2], dtype)
    ids = np.ascontiguousarray(draw.choice(few, shape).repeat(2, 2)).transpose(axes)[steps]
    known = (draw.random(ids.shape) < 0.9).astype(np.uint8)
    for mode in ("thick", "inner"):
        values, valid = sg.Boundaries(mode).of(Truth(ids, known, None, (1.0, 1.0, 1.0)))
        numbers = np.searchsorted(few[[0, 1, 4, 2, 3]], ids)
        assert np.array_equal(values[0], find_boundaries(numbers, mode=mode, connectivity=1))
        assert np.array_equal(valid[0], known)
    if dtype == "int32":  # which says that ids are dense
        return
    small = dense(ids).labels
    for target in (sg.Affinities([(1, 0, -1)]), sg.Affinities([(0, 1, 0)], zero_is="boundary")):
        got = target.of(Truth(ids, known, None, (1.0, 1.0, 1.0)))
        expected = target.of(Truth(small, known, None, (1.0, 1.0, 1.0)))
        assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


@settings(max_examples=60, deadline=None)
@given(
    hnp.array_shapes(min_dims=3, max_dims=3, max_side=40),
    st.sampled_from(["bool", "int8", "uint8", "float32", "int64", "uint64"]),
    STEPS,
    st.permutations(range(3)),
)
def test_patches_are_brought_into_order_as_numpy_does(shape, dtype, steps, axes):
    values = (np.arange(np.prod(shape)) % 127).astype(dtype).reshape(shape)
    turned = values.transpose(axes)[steps]
    for wanted in (None, np.int64):
        got = in_order(turned, wanted)
        assert got.flags.c_contiguous
        assert got.dtype == (wanted or dtype)
        assert np.array_equal(got, turned)


def test_signed_distance_is_that_of_scipy_per_segment(blobs):
    values, valid = sg.SignedDistance().of(truth(blobs))
    expected = -distance_transform_edt(blobs == 0, sampling=(30, 6, 6))
    for number in np.unique(blobs[blobs > 0]):
        inside = distance_transform_edt(blobs == number, sampling=(30, 6, 6))
        expected[blobs == number] = inside[blobs == number]
    np.testing.assert_allclose(values[0], expected, rtol=1e-5)
    assert valid.all()
    scaled, _ = sg.SignedDistance(scale=50.0).of(truth(blobs))
    np.testing.assert_allclose(scaled[0], np.tanh(expected / 50), rtol=1e-4)


def test_one_segment_alone_has_no_distance():
    values, valid = sg.SignedDistance().of(truth(np.ones((3, 4, 5))))
    assert np.isfinite(values).all()
    assert not valid.any()


def test_centres_are_those_of_scipy(blobs):
    values, valid = sg.Centres().of(truth(blobs))
    at = np.indices(blobs.shape)
    for number in np.unique(blobs[blobs > 0]):
        centre = center_of_mass(blobs == number)
        for axis, size in enumerate((30, 6, 6)):
            expected = (centre[axis] - at[axis]) * size
            here = blobs == number
            np.testing.assert_allclose(values[axis][here], expected[here], atol=1e-3)
    assert np.array_equal(valid[0], blobs != 0)


def slow_local_shape(labels, voxel_size, sigma):
    """The definition, voxel by voxel, in float64: Sheridan et al. 2023, equations of the LSDs.

    Weighted count, mean offset and covariance of the voxels of one's own segment; the weight is a
    Gaussian of the distance, cut at three sigmas on each axis and normalised over the whole window.
    """
    size = np.array(voxel_size, float)
    reach = (3 * sigma / size + 0.5).astype(int)
    window = [
        np.exp(-0.5 * (np.arange(-r, r + 1) * s / sigma) ** 2)
        for r, s in zip(reach, size, strict=True)
    ]
    total = np.prod([w.sum() for w in window])
    out = np.zeros((10, *labels.shape))
    voxels = np.argwhere(labels > 0)
    for v in voxels:
        own = voxels[labels[tuple(voxels.T)] == labels[tuple(v)]]
        own = own[(abs(own - v) <= reach).all(axis=1)]
        away = (own - v) * size
        weight = np.exp(-0.5 * (away**2).sum(axis=1) / sigma**2)
        mean = weight @ away / weight.sum()
        covariance = (weight[:, None] * (away - mean)).T @ (away - mean) / weight.sum()
        variance = np.maximum(np.diag(covariance), 1e-3)
        pairs = ([0, 0, 1], [1, 2, 2])
        pearson = covariance[pairs] / np.sqrt(variance[pairs[0]] * variance[pairs[1]])
        out[(slice(None), *v)] = np.concatenate(
            [mean / sigma / 2 + 0.5, variance / sigma**2, pearson / 2 + 0.5, [weight.sum() / total]]
        )
    return out.clip(0, 1)


@pytest.mark.parametrize("sigma", [10.0, 45.0])
def test_local_shape_is_that_of_the_definition(blobs, sigma):
    labels = blobs[:5, :16, :17].copy()
    labels[1, 3:9, 2] = 99  # a thin process, of which two variances are next to nothing
    values, valid = sg.LocalShape(sigma).of(truth(labels))
    expected = slow_local_shape(labels, (30, 6, 6), sigma)
    np.testing.assert_allclose(values, expected, atol=2e-4)
    assert np.array_equal(valid[0], labels > 0)
    assert values[:, labels == 0].max() == 0


def test_local_shape_is_that_of_the_authors_library(blobs):
    labels = blobs[:, :16, :17].astype(np.uint32)
    values, _ = sg.LocalShape(20.0).of(truth(labels))
    theirs = get_lsds(labels, sigma=(20.0,) * 3, voxel_size=(30, 6, 6))
    np.testing.assert_allclose(values, theirs, atol=2e-3)


def test_local_shape_may_count_only_where_its_window_fits(blobs):
    _, valid = sg.LocalShape(20.0, whole=True).of(truth(blobs))
    inner = np.zeros(blobs.shape, bool)
    inner[2:-2, 10:-10, 10:-10] = True  # 3 x 20 nm: 2 sections of 30 nm, 10 voxels of 6
    assert np.array_equal(valid[0], (blobs > 0) & inner)
    assert not sg.LocalShape(400.0, whole=True).of(truth(blobs))[1].any()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40), st.integers(0, 2**32))
def test_dense_labels_and_their_table_give_the_ids_back(ids, seed):
    labels = np.random.default_rng(seed).choice(np.array(ids, np.uint64), (3, 5, 7))
    found = dense(labels)
    assert np.array_equal(found.ids[found.labels], labels)
    assert len(np.unique(found.ids)) == len(found.ids)
    assert found.ids[0] == 0
    assert np.array_equal(found.labels == 0, labels == 0)


@settings(max_examples=60, deadline=None)
@given(
    hnp.array_shapes(min_dims=3, max_dims=3, max_side=40),
    st.sampled_from(["uint8", "uint16", ">u4", "uint32", "int64", "uint64"]),
    st.integers(1, 400),
    st.integers(0, 2**32),
)
def test_dense_labels_number_ids_as_they_first_occur(shape, dtype, many, seed):
    draw = np.random.default_rng(seed)
    ids = draw.integers(0, np.iinfo(dtype).max, many, np.dtype(dtype).newbyteorder("="))
    labels = draw.choice(ids, shape).astype(dtype)
    found, numbers = dense(labels), {0: 0}
    for value in labels.ravel().tolist():
        numbers.setdefault(value, len(numbers))
    assert found.ids.tolist() == list(numbers)
    assert np.array_equal(found.ids[found.labels], labels)


def test_more_ids_than_the_first_table_holds():
    labels = np.random.default_rng(0).integers(1, 2**63, (8, 50, 50)).astype(np.uint64)
    found = dense(labels)
    assert np.array_equal(found.ids[found.labels], labels)


def test_floats_are_no_ids():
    with pytest.raises(BadInputError):
        dense(np.ones((2, 2, 2)))
    with pytest.raises(BadInputError, match="negative"):
        dense(np.full((2, 2, 2), -1))


@pytest.mark.parametrize("bad", [{"offsets": []}, {"offsets": [(0, 0, 0)]}])
def test_offsets_that_mean_nothing_are_refused(bad):
    with pytest.raises(BadInputError, match="offsets"):
        sg.Affinities(**bad)


def test_unknown_conventions_are_refused():
    with pytest.raises(BadInputError, match="kept_at"):
        sg.Affinities([(1, 0, 0)], kept_at="banis")
    with pytest.raises(BadInputError, match="mode"):
        sg.Boundaries("outer")
    with pytest.raises(BadInputError, match="scale"):
        sg.SignedDistance(scale=0)
    with pytest.raises(BadInputError, match="sigma"):
        sg.LocalShape(0)
