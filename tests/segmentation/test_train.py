"""Training: the same from the same seed, exactly resumed; and the folder of a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from segmend.catalog.labels import IGNORED, LabelSpec
from segmend.core.box import Box
from segmend.core.errors import (
    BadInputError,
    GridMismatchError,
    NoSamplesError,
    OutputError,
    ReadFailedError,
    SegmendError,
)
from segmend.patches.sources import Source
from segmend.segmentation.affinities import NEAREST
from segmend.segmentation.lessons import Lessons, held_back, lessons, targets_of
from segmend.segmentation.network import NetworkShape
from segmend.segmentation.run import RunFolder, as_function, load_network, read_log
from segmend.segmentation.train import (
    LEAST_SHARE,
    TrainSettings,
    _balanced,
    class_weights_of,
    learning_rate,
    train,
)
from segmend.volumes.drivers.memory import from_array

VOXEL = (10.0, 10.0, 10.0)
SHAPE = NetworkShape(NEAREST, ("outside", "cell"), ((1, 2, 2),), width=4)
QUICK = TrainSettings(steps=6, validate_every=2, seed=5)


def tissue(low: int, high: int, **changes) -> Source:
    """Bright cells with dark walls, sections low to high: blocks of 12 x 12, no wall in z."""
    rng = np.random.default_rng(0)
    ids = np.kron(np.arange(1, 37).reshape(1, 6, 6), np.ones((12, 12, 12), int)).astype(np.uint64)
    wall = np.zeros(ids.shape, bool)
    wall[:, ::12] = wall[:, :, ::12] = True
    image = np.where(wall, 60, 190) + rng.normal(0, 8, ids.shape)
    layers = (image.astype(np.uint8), ids, np.where(wall, 0, 1).astype(np.uint8))
    em, neurons, classes = (from_array(layer, VOXEL) for layer in layers)
    within = Box((10 * low, 0, 0), (10 * high, 720, 720))
    made = Source("blocks", em, neurons, LabelSpec("instance"), classes, within=within)
    return replace(made, **changes)


def taught(settings: TrainSettings = QUICK, **changes) -> Lessons:
    source = tissue(0, 8, **changes)
    return lessons(
        source,
        (4, 32, 32),
        targets_of(source, NEAREST),
        length=settings.steps * settings.crops,
        seed=settings.seed,
    )


@pytest.fixture(scope="module")
def readers() -> Lessons:
    apart = tissue(8, 12)
    patches = held_back(apart, (4, 32, 32), targets_of(apart, NEAREST))
    return replace(taught(), held_back=patches)


def run(folder: Path, learnt, settings=QUICK, *, resume: bool = False, stop: int | None = None):
    """Train into a folder; ``stop`` kills it after the checkpoint of that step."""
    out = RunFolder(folder)
    state = out.begin(SHAPE, settings, {"dataset": "blocks"}, resume=resume)

    def save(state) -> None:
        out.save(state)
        if state.step == stop:
            raise KeyboardInterrupt

    train(state, learnt, settings, class_weights=[1.0, 1.0], save=save)
    out.finish(state)
    return state


def losses(log) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in log]


@pytest.fixture(scope="module")
def finished(readers, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("run") / "whole"
    return folder, run(folder, readers)


def test_a_patch_depends_on_the_seed_and_its_number_alone() -> None:
    one, again, other = (taught(TrainSettings(seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(one.sample(7)["image"], again.sample(7)["image"])
    assert torch.equal(one.sample(7)["affinities"], again.sample(7)["affinities"])
    assert not torch.equal(one.sample(7)["image"], other.sample(7)["image"])
    assert not torch.equal(one.sample(7)["image"], one.sample(8)["image"])
    # From a checkpoint on, batches are those of a run that was not stopped.
    for a, b in zip(one.batches(0, 2), range(3), strict=False):
        assert torch.equal(a["image"][1], one.sample(2 * b + 1)["image"])
    assert torch.equal(next(one.batches(6, 1))["image"][0], one.sample(6)["image"])


def test_patches_stay_in_their_box_and_keep_layers_together(readers) -> None:
    learnt = taught(TrainSettings(steps=40))
    for number in range(40):
        made = learnt.sample(number)
        assert made["box"].stop[0] <= 80
        # A wall is dark and of class 0: whatever was turned was turned together.
        image, said = made["image"].float(), made["semantic"]
        assert image[said == 0].median() + 60 < image[said == 1].median()
        # Every block is a cell: an edge inside a cell joins.
        counts = made["affinities_valid"] > 0
        assert made["affinities"][counts].float().mean() > 0.8
    assert [patch["box"][0].start for patch in readers.held_back] == [
        (80, y, x) for y in (0, 320, 400) for x in (0, 320, 400)
    ]


def test_classes_that_are_rare_count_more() -> None:
    learnt = taught(TrainSettings(steps=16))
    wall, cell = class_weights_of(learnt, 2)
    assert wall > 1 > cell
    counts = np.zeros(2)
    for n in range(16):
        counts += np.bincount(learnt.sample(n)["semantic"].numpy().ravel(), minlength=2)
    assert (wall * counts[0] + cell * counts[1]) / counts.sum() == pytest.approx(1)
    assert wall / cell == pytest.approx(np.sqrt(counts[1] / counts[0]))
    assert class_weights_of(learnt, 0) == []


def test_the_learning_rate_rises_and_falls() -> None:
    settings = TrainSettings(steps=100, learning_rate=1.0)
    rates = [learning_rate(step, settings) for step in range(100)]
    assert max(rates) == 1 == rates[4]
    assert rates[0] == 0.2
    assert rates[-1] < 0.001


def test_training_lowers_the_loss(finished) -> None:
    folder, state = finished
    log = read_log(folder)
    assert log == state.log  # exact: floats are written in full
    assert [row["step"] for row in log] == [1, 2, 3, 4, 5, 6]
    held_back = [row["validation_loss"] for row in log if "validation_loss" in row]
    assert held_back[-1] < held_back[0]
    config = json.loads((folder / "config.json").read_text())
    assert config["settings"]["seed"] == 5
    assert config["versions"]["torch"]


def test_the_same_seed_gives_the_same_weights_and_a_resumed_run_too(
    finished, readers, tmp_path
) -> None:
    _, whole = finished
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", readers, stop=4)
    resumed = run(tmp_path / "run", readers, resume=True)
    assert losses(resumed.log) == losses(whole.log)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    reloaded = load_network(tmp_path / "run")
    image = np.random.default_rng(0).integers(0, 255, (4, 16, 16)).astype(np.uint8)
    np.testing.assert_array_equal(as_function(reloaded)(image), as_function(whole.network)(image))


def test_a_run_is_not_overwritten_nor_resumed_as_another(finished, readers, tmp_path) -> None:
    folder, _ = finished
    with pytest.raises(OutputError, match="not empty"):
        run(folder, readers)
    with pytest.raises(BadInputError, match="a run of something else"):
        run(folder, readers, TrainSettings(steps=6, validate_every=2, seed=6), resume=True)
    with pytest.raises(BadInputError, match="is not a run"):
        run(tmp_path / "none", readers, resume=True)


def test_damaged_and_unfinished_runs_are_named(finished, tmp_path) -> None:
    folder, _ = finished
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(BadInputError, match="not finished"):
        load_network(copy)
    (copy / "weights.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ReadFailedError, match="holds no safetensors"):
        load_network(copy)
    (copy / "config.json").write_text("[]")
    with pytest.raises(BadInputError, match="not the configuration of a run"):
        load_network(copy)


def test_a_loss_that_is_not_finite_stops_training(readers, tmp_path) -> None:
    settings = TrainSettings(steps=4, learning_rate=1e30)
    with pytest.raises(SegmendError, match="diverged in step"):
        run(tmp_path / "run", readers, settings)


def test_what_cannot_be_learnt_is_refused_before_the_first_step() -> None:
    with pytest.raises(NoSamplesError, match="nothing to learn"):
        targets_of(tissue(0, 8, labels=None, classes=None), NEAREST)
    with pytest.raises(GridMismatchError, match="different grids"):
        tissue(0, 8, labels=from_array(np.zeros((2, 2, 2), np.uint64), (10.0, 10.0, 9.0)))
    with pytest.raises(BadInputError, match="does not fit"):
        taught(within=Box((0, 0, 0), (40, 40, 40)))
    with pytest.raises(BadInputError, match="at least one step"):
        TrainSettings(steps=0)


@pytest.mark.parametrize("classes", [None, IGNORED])
def test_tissue_of_which_nothing_counts_is_refused_before_the_first_step(classes) -> None:
    nothing = from_array(np.zeros((12, 72, 72), np.uint64), VOXEL)
    if classes is not None:
        classes = from_array(np.full((12, 72, 72), classes, np.uint8), VOXEL)
    # Id 0 alone says something (background) only where classes are learnt beside it.
    blind = {"labels": None if classes else nothing, "classes": classes}
    with pytest.raises(NoSamplesError, match="holds enough"):
        taught(**blind)
    source = tissue(8, 12, **blind)
    with pytest.raises(NoSamplesError, match="counts for any target"):
        held_back(source, (4, 32, 32), targets_of(source, NEAREST))


def test_patches_are_where_something_is_known() -> None:
    classes = np.full((12, 72, 72), IGNORED, np.uint8)
    classes[2:6, 40:, 50:] = 1
    learnt = taught(TrainSettings(steps=60), labels=None, classes=from_array(classes, VOXEL))
    shares = [learnt.sample(n)["semantic_valid"].float().mean() for n in range(60)]
    assert min(shares) >= 0.05


def test_edges_that_cut_count_as_much_as_those_that_join() -> None:
    wanted = torch.ones(2, 2, 4, 8, 8)
    wanted[:, 0, :, :, :2] = 0  # a quarter of one channel cuts
    wanted[:, 1, 0, 0, 0] = 0  # hardly any of the other
    valid = torch.ones_like(wanted, dtype=torch.bool)
    valid[1] = False  # what is not valid counts nothing
    weight = _balanced(wanted, valid)
    assert not weight[1].any()
    cut, join = ((weight * (wanted == k)).sum((0, 2, 3, 4)) for k in (0, 1))
    assert cut[0].item() == pytest.approx(join[0].item())
    assert weight.max().item() == pytest.approx(0.5 / LEAST_SHARE)  # one edge is not everything
