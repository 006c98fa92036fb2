"""VI, adapted Rand and CREMI score against scikit-image and the published definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.metrics import adapted_rand_error
from skimage.metrics import variation_of_information as skimage_vi

from segmend.core.errors import BadInputError
from segmend.metrics.segmentation import contingency as counting
from segmend.metrics.segmentation.contingency import contingency, merged
from segmend.metrics.segmentation.information import variation_of_information
from segmend.metrics.segmentation.neurons import border_mask, neuron_scores
from segmend.metrics.segmentation.rand import adapted_rand

SHAPE = (3, 5, 7)
LABELS = hnp.arrays(np.uint32, SHAPE, elements=st.integers(0, 4))
ROOT = np.uint64(864_691_136_617_970_907)


def tissue(seed: int = 0, shape: tuple[int, ...] = (20, 60, 70)) -> tuple[np.ndarray, np.ndarray]:
    """Ground truth in blocks, and a segmentation that cuts and joins them; both hold zeros."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 9, tuple(-(-n // 7) for n in shape))
    truth = np.kron(coarse, np.ones((7, 7, 7), int))[tuple(slice(n) for n in shape)]
    found = np.where(rng.random(shape) < 0.05, 0, np.roll(truth, 2, axis=2) * 2)
    found[:, : shape[1] // 2] += found[:, : shape[1] // 2] > 0
    return found.astype(np.uint64), truth.astype(np.uint64)


def table_of(found: np.ndarray, truth: np.ndarray) -> dict[tuple[int, int], int]:
    """The slow way: every voxel by itself."""
    table: dict[tuple[int, int], int] = {}
    for pair in zip(found.ravel().tolist(), truth.ravel().tolist(), strict=True):
        table[pair] = table.get(pair, 0) + 1
    return table


def as_dict(table) -> dict[tuple[int, int], int]:
    pairs = zip(table.segments.tolist(), table.truth.tolist(), strict=True)
    return dict(zip(pairs, table.voxels.tolist(), strict=True))


@settings(deadline=None)  # compiles
@given(LABELS, LABELS)
def test_the_table_counts_every_pair(found, truth) -> None:
    assert as_dict(contingency(found, truth)) == table_of(found, truth)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i8", "u8", ">u4"])
def test_any_integer_dtype_and_layout(dtype) -> None:
    found, truth = tissue()
    wanted = table_of(found, truth)
    for arrange in (
        np.ascontiguousarray,
        np.asfortranarray,
        lambda a: np.repeat(a, 2, 2)[..., ::2],
    ):
        table = contingency(arrange(found.astype(dtype)), arrange(truth))
        assert as_dict(table) == wanted
    flat = contingency(np.repeat(found.ravel(), 2)[::2], truth.ravel())
    assert as_dict(flat) == wanted


def test_many_pairs_and_long_runs_across_spans() -> None:
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 9000, 300)
    found = np.repeat(rng.integers(0, 2**63, 300, dtype=np.uint64), lengths)
    noise = rng.integers(0, 2**40, 60_000, dtype=np.uint64)  # each its own pair: the hash grows
    found = np.concatenate([found, noise])
    truth = np.concatenate([np.roll(found[:-60_000], 17), noise[::-1]])
    pairs, counts = np.unique(np.stack([truth, found], 1), axis=0, return_counts=True)
    table = contingency(found, truth)
    np.testing.assert_array_equal(np.stack([table.truth, table.segments], 1), pairs)
    np.testing.assert_array_equal(table.voxels, counts)


IDS = st.sampled_from([0, 1, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1])


@settings(deadline=None)
@given(
    st.lists(st.tuples(IDS, IDS, st.integers(1, 200)), min_size=1, max_size=80),
    st.sampled_from([50, 64, 1000, 10**6]),
)
def test_runs_end_at_any_place_whatever_their_ids_and_the_parts(runs, part) -> None:
    found, truth = (np.array([run[k] for run in runs], np.uint64) for k in (0, 1))
    lengths = [run[2] for run in runs]
    expected: dict[tuple[int, int], int] = {}
    for x, y, length in runs:
        expected[x, y] = expected.get((x, y), 0) + length
    with pytest.MonkeyPatch.context() as patch:  # parts so small that threads share a volume
        patch.setattr(counting, "PART", part)
        table = contingency(np.repeat(found, lengths), np.repeat(truth, lengths))
    assert as_dict(table) == expected


@given(LABELS, LABELS, st.integers(1, 2))
def test_tables_of_blocks_add_up(found, truth, cut) -> None:
    blocks = [contingency(found[s], truth[s]) for s in (np.s_[:cut], np.s_[cut:])]
    assert as_dict(merged(blocks)) == table_of(found, truth)
    assert as_dict(merged([])) == {}


def test_scores_of_root_ids_equal_those_of_small_ids() -> None:
    found, truth = tissue()
    small = contingency(found, truth)
    large = contingency(np.where(found > 0, found + ROOT, 0), np.where(truth > 0, truth + ROOT, 0))
    assert variation_of_information(large) == variation_of_information(small)
    for rules in ("snemi3d", "cremi", "scikit-image"):
        assert adapted_rand(large, rules=rules) == adapted_rand(small, rules=rules)


@given(LABELS, LABELS.filter(lambda a: len(np.unique(a[a > 0])) > 0))
def test_vi_equals_scikit_image(found, truth) -> None:
    kept = truth != 0
    # H(second | first), then H(first | second); base 2.
    merge, split = skimage_vi(found[kept], truth[kept])
    ours = variation_of_information(contingency(found, truth))
    np.testing.assert_allclose((ours.split, ours.merge), (split, merge), atol=1e-9)


def test_a_split_counts_as_split_and_a_merge_as_merge() -> None:
    truth = np.repeat([1, 2], 8)
    halves = np.repeat([1, 2, 3, 4], 4)
    split = variation_of_information(contingency(halves, truth))
    assert (split.split, split.merge) == (1.0, 0.0)  # one bit: which half of the neuron
    merge = variation_of_information(contingency(np.ones_like(truth), truth))
    assert (merge.split, merge.merge) == (0.0, 1.0)
    perfect = variation_of_information(contingency(truth * 5, truth))
    assert perfect.total == 0


@pytest.mark.parametrize("seed", range(3))
def test_adapted_rand_equals_scikit_image(seed) -> None:
    found, truth = tissue(seed)
    # It names them the other way round: its precision divides by the pairs of the truth.
    error, recall, precision = adapted_rand_error(truth, found, ignore_labels=(0,))
    ours = adapted_rand(contingency(found, truth), rules="scikit-image")
    np.testing.assert_allclose(
        (ours.error, ours.precision, ours.recall), (error, precision, recall), rtol=1e-9
    )


def test_adapted_rand_of_the_challenge_makes_every_voxel_of_segment_0_its_own() -> None:
    found, truth = tissue(4)
    alone = found.copy()
    zeros = found == 0
    alone[zeros] = np.arange(1000, 1000 + zeros.sum())
    ours = adapted_rand(contingency(found, truth))
    spelt = adapted_rand(contingency(alone, truth))  # no zeros left: rules cannot matter
    np.testing.assert_allclose(ours.error, spelt.error, rtol=1e-12)
    assert adapted_rand(contingency(alone, truth), rules="cremi").error == spelt.error


def test_adapted_rand_of_cremi_divides_the_singletons() -> None:
    found, truth = tissue(5)
    n = found.size
    pairs = {k: v for k, v in table_of(found, truth).items() if k[1] != 0}
    alone = sum(v for (segment, _), v in pairs.items() if segment == 0) / n
    rows: dict[int, int] = {}
    columns: dict[int, int] = {}
    for (segment, true), voxels in pairs.items():
        rows[true] = rows.get(true, 0) + voxels
        if segment:
            columns[segment] = columns.get(segment, 0) + voxels
    shared = sum(v**2 for (segment, _), v in pairs.items() if segment) + alone
    precision = shared / (sum(v**2 for v in columns.values()) + alone)
    recall = shared / sum(v**2 for v in rows.values())
    ours = adapted_rand(contingency(found, truth), rules="cremi")
    np.testing.assert_allclose((ours.precision, ours.recall), (precision, recall), rtol=1e-12)
    np.testing.assert_allclose(ours.error, 1 - 2 * precision * recall / (precision + recall))


def test_the_cremi_score_is_the_geometric_mean() -> None:
    scores = neuron_scores(contingency(*tissue()))
    assert scores.cremi == pytest.approx(
        np.sqrt((scores.information.split + scores.information.merge) * scores.rand.error)
    )
    _, truth = tissue()
    assert neuron_scores(contingency(truth, truth)).cremi == 0


@settings(deadline=None)  # compiles
@given(
    hnp.arrays(np.uint64, (2, 9, 8), elements=st.integers(0, 2)),
    st.floats(0, 5, allow_nan=False),
)
def test_the_border_mask_equals_the_distance_transform(truth, distance) -> None:
    wanted = np.zeros(truth.shape, bool)
    for section, out in zip(truth, wanted, strict=True):
        padded = np.pad(section, 1, mode="edge")
        inside = np.ones(section.shape, bool)
        for y, x in ((0, 1), (2, 1), (1, 0), (1, 2)):
            inside &= padded[y : y + 9, x : x + 8] == section
        if not inside.all():
            out[:] = ndimage.distance_transform_edt(inside) <= distance
    np.testing.assert_array_equal(border_mask(truth, distance), wanted)


def test_a_block_with_a_margin_has_the_mask_of_the_volume() -> None:
    _, truth = tissue()
    whole = border_mask(truth, 3.5)
    part = border_mask(truth[:, 10:40, 20:60], 3.5)
    np.testing.assert_array_equal(part[:, 5:-5, 5:-5], whole[:, 15:35, 25:55])


def test_what_cannot_be_scored_is_refused() -> None:
    truth = np.ones((2, 2, 2), np.uint64)
    with pytest.raises(BadInputError, match="of its own shape"):
        contingency(truth[:1], truth)
    with pytest.raises(BadInputError, match="must be integers"):
        contingency(truth.astype(float), truth)
    with pytest.raises(BadInputError, match="not be negative"):
        contingency(-truth.astype(np.int64), truth)
    nothing = contingency(truth, 0 * truth)
    with pytest.raises(BadInputError, match="nothing to score"):
        variation_of_information(nothing)
    with pytest.raises(BadInputError, match="no voxel has ground truth"):
        adapted_rand(nothing)
    with pytest.raises(BadInputError, match="not defined"):
        adapted_rand(contingency(np.arange(8), np.ones(8, int)), rules="scikit-image")
    with pytest.raises(BadInputError, match="distance from borders"):
        border_mask(truth, -1)
    with pytest.raises(BadInputError, match=r"integers \(z, y, x\)"):
        border_mask(truth[0], 1)
