"""Boxes, tensors, mixes: what the peers get wrong is pinned here."""

import multiprocessing as mp
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.segmentation import find_boundaries
from torch.utils.data import DataLoader

import segmend as sg
from segmend.catalog.labels import IGNORED, LabelSpec
from segmend.core.errors import BadInputError, GridMismatchError, NoSamplesError, UnknownNameError
from segmend.patches.augment import CutOut, Flips, Intensity, Sections
from segmend.patches.deform import Elastic, Misalignment
from segmend.patches.patches import collate
from segmend.patches.resample import linear, nearest
from segmend.patches.sampling import MaskedStarts, Query, box_sums
from segmend.patches.sources import Source
from segmend.volumes.drivers.memory import MemoryDriver
from segmend.volumes.volume import Volume

HUGE = 864691136617970907  # a MICrONS root id


def volume(array, voxel_size=(30, 6, 6)):
    grid = sg.VoxelGrid(voxel_size, (0, 0, 0), array.shape)
    return Volume(MemoryDriver(array, grid, "memory"))


def source(shape=(10, 24, 28), *, name="a", voxel_size=(30, 6, 6), classes=None, **kwargs):
    """The image tells where its voxel was: value = position modulo 251."""
    image = (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape)
    labels = np.full(shape, HUGE, np.uint64)
    labels[:, :, shape[2] // 2 :] += np.uint64(1)  # one apart: one float32 value
    labels[:2] = 0
    kwargs.setdefault("labels", volume(labels, voxel_size))
    return Source(name, volume(image, voxel_size), classes=classes, licence="CC-BY-4.0", **kwargs)


def one(made):
    return sg.Mix((made,), (1.0,))


def test_every_start_is_drawn_the_last_included_and_equally_often():
    # torch_em never draws the last start (reference/datasets.md, C.3)
    sampler = sg.RandomSampler(one(source((3, 4, 6))), (2, 4, 4), 6000, seed=1)
    starts = Counter(query.voxels.start for query in sampler)
    assert set(starts) == {(z, 0, x) for z in range(2) for x in range(3)}
    assert all(850 < n < 1150 for n in starts.values())


@pytest.mark.parametrize("shape", [(100, 40, 33), (125, 16, 16), (16, 17, 31)])
def test_a_grid_covers_every_voxel(shape):
    # `neurons` loses the last 4 of 100 and 13 of 125 sections (A.6, 1)
    covered = np.zeros(shape, bool)
    for query in sg.GridSampler(one(source(shape)), (16, 16, 16), overlap=(8, 0, 2)):
        assert query.voxels.shape == (16, 16, 16)
        covered[query.voxels.slices] = True
    assert covered.all()


def test_samples_are_the_same_for_any_number_of_workers_and_threads():
    made = one(source())
    patches = sg.Patches(
        made,
        (4, 8, 8),
        targets=[sg.Affinities([(1, 0, 0)], zero_is="boundary")],
        augment=[Flips(), Intensity(), Sections(0.5)],
    )
    sampler = sg.RandomSampler(made, (4, 8, 8), 6, seed=3)
    alone = [patches[query] for query in sampler]
    threads = list(sg.batches(patches, sampler, threads=2))
    loader = DataLoader(
        patches,
        batch_size=1,
        sampler=sampler,
        num_workers=2,
        collate_fn=collate,
        multiprocessing_context="spawn",
    )
    for a, b, c in zip(alone, threads, loader, strict=True):
        for key in ("image", "labels", "affinities", "affinities_valid"):
            assert torch.equal(a[key], b[key][0])
            assert torch.equal(a[key], c[key][0])
        assert a["box"] == b["box"][0] == c["box"][0]
    first = [query.voxels for query in sampler]
    sampler.set_epoch(1)
    assert first != [query.voxels for query in sampler]


def _read(patches, query, answers):
    try:
        patches[query]
    except BadInputError as error:
        answers.put(str(error))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_worker_is_refused():
    patches = sg.Patches(source(), (4, 8, 8))
    query = sg.GridSampler(patches.mix, (4, 8, 8))[0]
    context = mp.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_read, args=(patches, query, answers))
    child.start()
    assert "spawn" in answers.get(timeout=60)
    child.join()


def test_ids_never_pass_through_floats():
    # torch_em's augmentation makes these two ids one (C.7)
    assert np.float32(HUGE) == np.float32(HUGE + 1)
    patches = sg.Patches(source(), (10, 24, 28), augment=[Flips(), Intensity()])
    query = sg.GridSampler(patches.mix, patches.size)[0]
    sample = patches[query]
    assert sample["labels"].dtype == torch.int64
    assert sorted(sample["ids"].tolist()) == [0, HUGE, HUGE + 1]
    back = sample["ids"][sample["labels"].numpy()]
    stored, _ = patches.mix.sources[0].read_labels(query.voxels)
    assert sorted(Counter(back.ravel().tolist()).items()) == sorted(
        Counter(stored.ravel().tolist()).items()
    )


class Remembering:
    """Memory of which one corner is certified absent."""

    def __init__(self, array):
        self.inner = MemoryDriver(array, sg.VoxelGrid((30, 6, 6), (0, 0, 0), array.shape), "memory")
        self.dtype, self.grid, self.source = array.dtype, self.inner.grid, "memory"

    def read(self, voxels, out):
        self.inner.read(voxels, out)
        absent = voxels.intersect(sg.VoxelBox((0, 0, 0), (3, 9, 11)))
        return [absent] if absent else []


def ids_with_gaps(dtype):
    """Boxes of ids as large as the dtype holds; 0 is background, 5 and the largest are invalid."""
    most, draw = np.iinfo(dtype).max, np.random.default_rng(3)
    labels = np.zeros((10, 24, 28), dtype)
    for number in [5, most, *draw.integers(most // 2, most, 30, dtype=dtype)]:
        z, y, x = (int(draw.integers(n - 3)) for n in labels.shape)
        labels[z : z + 4, y : y + 9, x : x + 8] = number
    return labels, LabelSpec("instance", invalid=(5, int(most), 2**64 - 2))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.uint64])
@pytest.mark.parametrize("change", [Flips(), Elastic(chance=1.0), Misalignment(0.5)])
def test_targets_are_the_same_without_labels(dtype, change):
    # Without labels ids stay as stored, with them they are dense.
    labels, spec = ids_with_gaps(dtype)
    targets = [
        sg.Boundaries("inner"),
        sg.Boundaries("thick", name="thick"),
        sg.Binary(),
        sg.Affinities([(1, 0, 0), (0, -3, 2)], zero_is="boundary"),
        sg.Affinities([(0, 0, 1)], name="known"),
    ]
    made = source(labels=Volume(Remembering(labels)), spec=spec)
    whole, bare = (
        sg.Patches(made, (7, 20, 20), targets=targets, augment=[change], labels=wanted)
        for wanted in (True, False)
    )
    for query in sg.RandomSampler(whole.mix, whole.size, 12):
        one, other = whole[query], bare[query]
        assert set(one) - set(other) == {"labels", "ids"}
        ids = one["ids"][one["labels"].numpy()]
        assert not set(ids.ravel().tolist()) & set(spec.invalid)
        assert np.array_equal(one["thick"][0], find_boundaries(ids, connectivity=1))
        for target in targets:
            for key in (target.name, f"{target.name}_valid"):
                assert torch.equal(one[key], other[key]), key
    query = Query(0, sg.VoxelBox((0, 0, 0), (7, 20, 20)))
    seen = bare.answer(query, augmented=False)["binary_valid"][0].numpy().astype(bool)
    stored = labels[:7, :20, :20]
    expected = ~np.isin(stored, [5, np.iinfo(dtype).max])
    expected[:3, :9, :11] = False
    assert np.array_equal(seen, expected)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u4", "uint32", "int64", "uint64"])
def test_values_that_are_no_segments_become_nothing_whatever_their_width(dtype):
    labels = np.random.default_rng(2).integers(1, 9, (4, 6, 8)).astype(dtype)
    spec = LabelSpec("instance", background=3, invalid=(7, 2**64 - 1))
    made = source((4, 6, 8), labels=volume(labels), spec=spec)
    ids, known = made.read_labels(made.voxels)
    assert ids.dtype.kind == "u"
    assert ids.dtype.itemsize == labels.dtype.itemsize
    assert np.array_equal(ids, np.where(np.isin(labels, (3, 7)), 0, labels))
    assert np.array_equal(known, labels != 7)


def test_background_of_another_value_is_known_though_0_is_invalid():
    labels = np.random.default_rng(2).integers(1, 9, (4, 6, 8), np.uint64)
    spec = LabelSpec("instance", background=8, invalid=(0,))
    ids, known = source((4, 6, 8), labels=volume(labels), spec=spec).read_labels(
        sg.VoxelBox((0, 0, 0), (4, 6, 8))
    )
    assert np.array_equal(ids, np.where(labels == 8, 0, labels))
    assert known.all()


def test_image_and_labels_move_together_and_unequal_axes_are_never_swapped():
    labels = np.arange(8 * 8 * 8, dtype=np.uint64).reshape(8, 8, 8)
    seen = set()
    for seed in range(200):
        draw = np.random.default_rng(seed)
        image, ids = Flips()([(labels % 251).astype(np.uint8), labels], (30, 6, 6), draw)
        assert np.array_equal(image, ids % 251)
        steps = np.diff(ids.astype(np.int64), axis=0)
        assert set(np.unique(steps).tolist()) <= {64, -64}  # z stays z
        seen.add(ids.tobytes())
    assert len(seen) == 16  # 8 mirrors, y and x swapped or not


def test_augmentation_never_writes_into_what_was_read():
    # MissingSection of `neurons` edits the cached array in place (A.6, 12)
    image = np.random.default_rng(0).integers(1, 255, (12, 16, 16)).astype(np.uint8)
    before, ids = image.copy(), np.ones_like(image, np.uint64)
    for change in (Sections(1.0), CutOut(1.0), Intensity()):
        changed, same = change([image, ids], (30, 6, 6), np.random.default_rng(5))
        assert same is ids
        assert changed.dtype == np.uint8
        assert not np.array_equal(changed, image)
        assert np.array_equal(image, before)


def test_weight_is_the_share_of_samples_whatever_the_sizes():
    # `neurons` multiplies weights by lengths (A.3)
    small, large = source((4, 8, 8), name="small"), source((20, 64, 64), name="large")
    mix = sg.mix({small: 3.0, large: 1.0})
    counts = Counter(query.source for query in sg.RandomSampler(mix, (4, 8, 8), 4000))
    assert abs(counts[0] / 4000 - 0.75) < 0.03


def test_batches_of_several_data_sets_carry_where_they_are_from():
    # default_collate fails on these in `neurons` (A.6, 5)
    mix = sg.mix({source(name="a"): 1, source(name="b", voxel_size=(40, 4, 4)): 1})
    patches = sg.Patches(mix, (4, 8, 8), targets=[sg.Boundaries()])
    queries = list(sg.GridSampler(mix, (4, 8, 8)))
    batch = next(sg.batches(patches, [queries[0], queries[-1]], batch_size=2))
    assert batch["image"].shape == (2, 1, 4, 8, 8)
    assert batch["dataset"] == ["a", "b"]
    assert batch["voxel_size"] == [(30, 6, 6), (40, 4, 4)]
    assert batch["licence"] == ["CC-BY-4.0"] * 2
    assert batch["box"][0] == sg.Box((0, 0, 0), (120, 48, 48))


def test_ignored_classes_do_not_count_and_are_no_background():
    classes = np.ones((10, 24, 28), np.uint8)
    classes[:, :12] = IGNORED
    patches = sg.Patches(source(classes=volume(classes)), (10, 24, 28), targets=[sg.Semantic()])
    sample = patches[sg.GridSampler(patches.mix, patches.size)[0]]
    assert torch.equal(sample["semantic_valid"][0] == 0, torch.from_numpy(classes == IGNORED))
    assert (sample["semantic"][sample["semantic_valid"] == 1] == 1).all()


def test_invalid_values_do_not_count():
    # CREMI's 2**64 - 2 is not handled by `neurons` (A.6, 7)
    labels = np.full((4, 8, 8), 7, np.uint64)
    labels[0] = 2**64 - 2
    made = source(
        (4, 8, 8), labels=volume(labels), spec=LabelSpec("instance", invalid=(2**64 - 2,))
    )
    patches = sg.Patches(made, (4, 8, 8), targets=[sg.Binary()])
    sample = patches[sg.GridSampler(patches.mix, patches.size)[0]]
    assert not sample["binary_valid"][0, 0].any()
    assert sample["binary_valid"][0, 1:].all()
    assert sample["ids"].tolist() == [0, 7]


def test_a_mix_at_one_voxel_size():
    fine = source((8, 32, 32), voxel_size=(40, 4, 4), name="fine")
    coarse = source((8, 16, 16), voxel_size=(40, 8, 8), name="coarse")
    mix = sg.mix({fine: 1, coarse: 1}, voxel_size=(40, 8, 8))
    patches = sg.Patches(mix, (4, 8, 8))
    for query in sg.GridSampler(mix, (4, 8, 8)):
        sample = patches[query]
        assert sample["image"].shape == (1, 4, 8, 8)
        assert sample["box"].size == (160, 64, 64)
        assert sample["voxel_size"] == (40, 8, 8)


@pytest.mark.parametrize("wanted", [(40, 7, 7), (30, 4.5, 11.24), (50, 6, 6.1), (29, 16, 3.3)])
def test_the_stated_voxel_size_and_box_are_those_of_the_voxels(wanted):
    # `neurons` and torch_em have one constant voxel size (A.6, 9; F)
    shape, stored = (20, 60, 60), (30, 6, 6)
    at = np.indices(shape).astype(np.float64)
    made = []
    for axis in range(3):  # the image is a ramp: its grey value tells where a voxel lies
        ramp = source(shape, name=f"{axis}")
        ramp = replace(ramp, image=volume((at[axis] * 4).astype(np.uint8), stored), labels=None)
        made.append(ramp)
    mix = sg.mix(dict.fromkeys(made, 1), voxel_size=wanted)
    patches = sg.Patches(mix, (6, 10, 10))
    covered = np.zeros(shape, bool)
    for query in sg.GridSampler(mix, (6, 10, 10)):
        sample, axis = patches[query], query.source
        box = sample["box"]
        np.testing.assert_allclose(box.size, np.multiply(wanted, (6, 10, 10)), atol=1e-3)
        # Interpolated between voxel centres, the ramp is exact but for rounding to grey values.
        steps = np.arange((6, 10, 10)[axis]) + 0.5
        nm = box.start[axis] + steps * wanted[axis]
        grey = 4 * (nm / stored[axis] - 0.5).clip(query.voxels.start[axis])
        seen = np.moveaxis(sample["image"][0].numpy(), axis, 0)[:, 0, 0]
        inside = grey <= 4 * (query.voxels.stop[axis] - 1)
        np.testing.assert_allclose(seen[inside], grey[inside], atol=0.51)
        if axis == 0:
            covered[query.voxels.slices] = True
    assert covered.all()


def test_resampling_of_a_ramp_is_exact_and_of_labels_takes_only_what_is_there():
    ramp = np.broadcast_to(np.arange(0, 160, 10, dtype=np.uint8), (2, 4, 16))
    assert np.array_equal(linear(ramp, (2, 4, 8), (1, 1, 2))[0, 0], np.arange(5, 160, 20))
    ids = np.array([[[1, 1, HUGE, HUGE + 1]]], np.uint64)
    assert nearest(ids, (1, 1, 8), (1, 1, 0.5)).tolist() == [
        [[1, 1, 1, 1, HUGE, HUGE, HUGE + 1, HUGE + 1]]
    ]


def test_masked_starts_are_those_of_a_slow_count():
    mask = np.random.default_rng(0).random((5, 7, 9)) < 0.1
    sums = box_sums(mask, (2, 3, 4))
    slow = np.lib.stride_tricks.sliding_window_view(mask, (2, 3, 4)).sum((3, 4, 5))
    assert np.array_equal(sums, slow)
    starts = MaskedStarts(source((5, 7, 9)), sums, least=4)
    draw = np.random.default_rng(1)
    drawn = {starts.draw(draw) for _ in range(2000)}
    assert drawn == set(map(tuple, np.argwhere(slow >= 4).tolist()))


def test_contact_samples_hold_two_segments():
    made = source((10, 24, 40))
    sampler = sg.RandomSampler(one(made), (4, 8, 8), 100, want="contact")
    for query in sampler:
        ids, _ = made.read_labels(query.voxels)
        assert len(np.unique(ids[ids > 0])) == 2
    starts = {query.voxels.start[2] for query in sampler}
    assert starts == set(range(13, 20))


def test_classes_are_balanced():
    classes = np.zeros((10, 24, 28), np.uint8)
    classes[5, 20, 20] = 2
    mix = one(source(classes=volume(classes)))
    sampler = sg.RandomSampler(mix, (2, 4, 4), 400, balance=("background", "cleft"))
    held = [(classes[query.voxels.slices] == 2).any() for query in sampler]
    assert 0.4 < np.mean(held) < 0.6


def test_points_are_inside_their_boxes():
    made = source()
    points = [(15, 3, 3), (285, 141, 165), (150, 70, 80)]
    sampler = sg.PointSampler(one(made), (4, 8, 8), {"a": points})
    for query, point in zip(sampler, points, strict=True):
        assert made.image.grid.to_box(query.voxels).contains_point(point)
        assert made.voxels.contains(query.voxels)


def test_bad_input_is_refused_before_the_first_batch():
    made = source()
    with pytest.raises(BadInputError, match="does not fit"):
        sg.Patches(made, (11, 8, 8))
    with pytest.raises(BadInputError, match="does not fit"):
        sg.RandomSampler(one(made), (4, 8, 80), 1)
    with pytest.raises(GridMismatchError, match="different grids"):
        source(labels=volume(np.zeros((10, 24, 28), np.uint64), (30, 6, 7)))
    with pytest.raises(BadInputError, match="no target"):
        sg.Patches(made, (4, 8, 8), targets=["affinities"])
    with pytest.raises(BadInputError, match="two targets"):
        sg.Patches(made, (4, 8, 8), targets=[sg.Binary(), sg.Binary()])
    with pytest.raises(BadInputError, match="no classes"):
        sg.Patches(made, (4, 8, 8), targets=[sg.Semantic()])
    with pytest.raises(UnknownNameError, match="mitos"):
        sg.RandomSampler(one(made), (4, 8, 8), 1, balance=("mitos",))
    with pytest.raises(UnknownNameError, match="foregrund"):
        sg.RandomSampler(one(made), (4, 8, 8), 1, want="foregrund")
    with pytest.raises(BadInputError, match="overlap"):
        sg.GridSampler(one(made), (4, 8, 8), overlap=(4, 0, 0))
    with pytest.raises(BadInputError, match="outside"):
        sg.PointSampler(one(made), (4, 8, 8), {"a": [(0, 0, 10_000)]})


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), True])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(BadInputError, match="weight"):
        sg.mix({source(): weight})
    with pytest.raises(UnknownNameError, match="snemi3d"):
        sg.mix({"snemi3": 1.0})


def test_no_foreground_is_said_at_once():
    # torch_em gives up after 500 attempts, in the middle of a training (C.8)
    empty = source(labels=volume(np.zeros((10, 24, 28), np.uint64)))
    with pytest.raises(NoSamplesError, match="best patch has 0"):
        sg.RandomSampler(one(empty), (4, 8, 8), 1, want="foreground")
    patches = sg.Patches(empty, (4, 8, 8), targets=[sg.Affinities([(1, 0, 0)])])
    with pytest.raises(NoSamplesError, match="no voxel of 'a' counts"):  # before any is asked for
        sg.batches(patches, sg.GridSampler(patches.mix, (4, 8, 8)))


def test_nothing_known_is_said_at_once_and_unknown_patches_are_not_drawn():
    classes = np.full((10, 24, 28), IGNORED, np.uint8)
    classes[4:, 10:, 20:] = 0
    one_corner = one(source(classes=volume(classes), labels=None))
    sampler = sg.RandomSampler(one_corner, (2, 4, 4), 50, want="known", share=0.5)
    assert all((classes[query.voxels.slices] == 0).mean() >= 0.5 for query in sampler)
    classes[:] = IGNORED
    blind = one(source(classes=volume(classes), labels=None))
    with pytest.raises(NoSamplesError, match="best patch has 0"):
        sg.RandomSampler(blind, (2, 4, 4), 1, want="known")
    patches = sg.Patches(blind, (2, 4, 4), targets=[sg.Semantic()])
    with pytest.raises(NoSamplesError, match="8 patches were tried for semantic"):
        sg.batches(patches, sg.RandomSampler(blind, (2, 4, 4), 100))
    with pytest.raises(BadInputError, match="no labels"):
        sg.RandomSampler(one(source(labels=None)), (2, 4, 4), 1, want="known")


def test_a_batch_of_which_nothing_counts_is_named():
    labels = np.zeros((10, 24, 28), np.uint64)
    labels[:, :8] = 1
    patches = sg.Patches(source(labels=volume(labels)), (10, 8, 28), targets=[sg.Centres()])
    coming = sg.batches(patches, sg.GridSampler(patches.mix, patches.size))
    next(coming)
    with pytest.raises(NoSamplesError, match="no voxel of a batch"):
        next(coming)
