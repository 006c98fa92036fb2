"""Training data by configuration: shipped ones name what exists, and a real Trainer takes them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import segmend as sg
from segmend.catalog.record import load_record
from segmend.core.box import Box
from segmend.core.errors import BadInputError, LeakError, UnknownNameError
from segmend.patches.config import AUGMENTATIONS, TARGETS, _made, prepare, read_config, shipped

NAMES = ("combine", "cremi", "microns", "mitoem2", "snemi3d")


RECORD = """
name = "{name}"
title = "Noise with blocks for ids"
species = "synthetic"
version = "1"
tissue = "none"
modality = "drawn"
grid_origin_nm = [0.0, 0.0, 0.0]
citation = "Drawn for a test."
homepage = "https://example.org"
[licence]
state = "unstated"
[files.main]
path = "{name}.h5"
[layers.image]
key = "raw"
doc = "Image"
[layers.neurons]
key = "neurons"
doc = "Blocks"
labels = {{ kind = "instance", as_class = "neuron" }}
[layers.mitochondria]
key = "mitochondria"
doc = "Classes"
[layers.mitochondria.labels]
kind = "semantic"
classes = {{ 0 = "background", 1 = "mitochondria", 2 = "mito_boundary" }}
"""


def write(folder: Path, name: str, voxel: tuple[float, ...], offset: tuple[int, ...]) -> None:
    """A record and its file; the labels begin some voxels inside the image and end before it."""
    draw = np.random.default_rng(len(name))
    shape = (12, 60, 60)
    inner = tuple(n - 2 * o for n, o in zip(shape, offset, strict=True))
    blocks = np.indices(inner)[1] // 12 * 9 + np.indices(inner)[2] // 12 + 1
    with h5py.File(folder / f"{name}.h5", "w") as file:
        file["raw"] = draw.integers(0, 255, shape).astype(np.uint8)
        file["neurons"] = blocks.astype(np.uint64)
        file["mitochondria"] = draw.integers(0, 3, inner).astype(np.uint8)
        for key in file:
            file[key].attrs["resolution"] = voxel
        for key in ("neurons", "mitochondria"):
            file[key].attrs["offset"] = np.multiply(offset, voxel)
    (folder / f"{name}.toml").write_text(RECORD.format(name=name))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets: one whose labels cover its image, one whose labels are smaller."""
    folder = tmp_path_factory.mktemp("records")
    write(folder, "fine", (30.0, 6.0, 6.0), (0, 0, 0))
    write(folder, "padded", (40.0, 4.0, 4.0), (2, 3, 5))
    return folder


def named(records: Path, name: str) -> str:
    return str(records / f"{name}.toml")


def part(records: Path, name: str, **more):
    return {"dataset": named(records, name), "path": str(records / f"{name}.h5"), **more}


def tables(records: Path, **changes):
    """A mix of all three at one voxel size."""
    given = {
        "size": [4, 24, 24],
        "length": 6,
        "batch_size": 2,
        "threads": 1,
        "classes": True,
        "ignore": ["mito_boundary"],
        "voxel_size_nm": [40, 8, 7.5],
        "targets": [
            {"kind": "affinities", "offsets": [[1, 0, 0], [0, 0, 3]]},
            {"kind": "semantic"},
        ],
        "augment": [{"kind": "flips"}, {"kind": "elastic", "amplitude": 10, "spacing": 80}],
        "train": [
            part(records, "fine", weight=3, box_nm=[[0, 0, 0], [180, 360, 360]]),
            part(records, "padded", labels="neurons"),
        ],
        "validation": [part(records, "fine", box_nm=[[180, 0, 0], [360, 360, 360]])],
    }
    return given | changes


def ids_of(source, voxels):
    return source.read_labels(voxels)[0]


def test_what_is_shipped() -> None:
    assert tuple(shipped()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_shipped_configurations_name_what_exists_and_learn_from_no_test(name) -> None:
    config, _ = read_config(name)
    for table in config.targets:
        assert _made("target", TARGETS, table).name
    for table in config.augment:
        assert callable(_made("augmentation", AUGMENTATIONS, table))
    boxes: dict[str, list[Box]] = {"train": [], "validation": []}
    for kind in boxes:
        for part in getattr(config, kind):
            record, _ = load_record(part.dataset)
            role = record.volumes[record.volume].role if record.volume else "train"
            assert role in ("train", "none")
            assert "test" not in part.volume
            if part.box_nm is None:
                continue
            box = Box(*part.box_nm)
            layers = record.volumes[record.volume].layers if record.volume else record.layers
            image = layers["image"]
            if image.shape:
                start = image.offset_nm or (0, 0, 0)
                size = np.multiply(image.shape, image.voxel_size_nm)
                assert Box(start, np.add(start, size)).contains(box)
            grown = np.subtract(box.stop, box.start)
            voxel = config.voxel_size_nm or image.voxel_size_nm
            assert (grown >= np.multiply(config.size, voxel)).all()  # a patch fits
            boxes[kind].append((part.dataset, box))
    for dataset, box in boxes["train"]:
        assert all(d != dataset or box.intersect(b) is None for d, b in boxes["validation"])


def test_a_mix_of_stand_ins_at_one_voxel_size(records) -> None:
    config, folder = read_config(tables(records))
    made = prepare(config, folder)
    samples = [made.train[query] for query in made.train_sampler]
    for sample in samples:
        assert sample["image"].shape == (1, 4, 24, 24)
        assert sample["voxel_size"] == (40, 8, 7.5)
        assert sample["box"].size == (160, 192, 180)
    assert [source.name for source in made.train.mix.sources] == ["fine", "padded"]
    assert made.train.mix.shares == (0.75, 0.25)
    # The labels of the padded volume are smaller than its image: patches stay where both are, and
    # each layer is read where it is.
    padded = made.train.mix.sources[1]
    assert padded.box == padded.labels.box != padded.image.box
    assert padded.voxels == sg.VoxelBox((2, 3, 5), (10, 57, 55))
    one = sg.VoxelBox((3, 4, 6), (5, 9, 20))
    with h5py.File(records / "padded.h5") as file:
        assert np.array_equal(padded.read_image(one)[0], file["raw"][3:5, 4:9, 6:20])
        assert np.array_equal(ids_of(padded, one), file["neurons"][1:3, 1:6, 1:15])
    ignored = sum(int((sample["semantic_valid"] == 0).sum()) for sample in samples)
    assert ignored > 0  # mito_boundary


def test_paths_start_at_the_file_and_keys_can_be_replaced(records) -> None:
    text = 'size = [2, 8, 8]\nseed = 4\n[[train]]\ndataset = "fine.toml"\npath = "fine.h5"\n'
    (records / "mine.toml").write_text(text)
    assert read_config(records / "mine.toml")[0].seed == 4
    config, folder = read_config(records / "mine.toml", seed=9)
    assert config.seed == 9
    assert prepare(config, folder).train.mix.sources[0].name == "fine"


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"sizes": 1}, BadInputError, "sizes"),
        ({"size": [4, 24]}, BadInputError, "size"),
        ({"size": [4, 24, 2400]}, BadInputError, "does not fit"),
        ({"train": []}, BadInputError, "train"),
        ({"batch_size": 0}, BadInputError, "batch_size"),
        ({"want": "foregrund"}, BadInputError, "want"),
        ({"targets": [{"kind": "affinites"}]}, UnknownNameError, "affinities"),
        ({"targets": [{"kind": "affinities", "offset": [[1, 0, 0]]}]}, UnknownNameError, "offsets"),
        ({"targets": [{"kind": "affinities", "offsets": 3}]}, BadInputError, "affinities"),
        ({"augment": [{"kind": "elastic", "amplitude": -1}]}, BadInputError, "amplitude"),
        ({"ignore": ["mito"]}, UnknownNameError, "mito"),
    ],
)
def test_configurations_that_do_not_hold_are_refused(records, changes, error, words) -> None:
    with pytest.raises(error, match=words):
        prepare(*read_config(tables(records, **changes)))


def test_what_is_learnt_from_is_not_validated_on(records, tmp_path) -> None:
    with pytest.raises(LeakError, match="both learnt from and validated on"):
        prepare(*read_config(tables(records, validation=[part(records, "fine")])))
    with pytest.raises(UnknownNameError, match="snemi3d"):
        read_config("snemi")
    (tmp_path / "bad.toml").write_text("size = [")
    with pytest.raises(BadInputError, match="no TOML"):
        read_config(tmp_path / "bad.toml")


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch 2.13, from lightning
@pytest.mark.filterwarnings("ignore:.*num_workers.*", "ignore:.*log_every_n_steps.*")
@pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.rank_zero.LightningDeprecationWarning"
)
def test_a_trainer_fits_and_every_epoch_has_other_patches(records, tmp_path) -> None:
    from lightning.pytorch import LightningModule, Trainer

    from segmend.patches.data_module import Batches, PatchesModule

    class Network(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv3d(1, 2, 1)
            self.seen: list[str] = []
            self.validated: list[str] = []

        def training_step(self, batch, _number):
            self.seen += [str(box) for box in batch["box"]]
            values = self.layer(batch["image"].float() / 255)
            counts = batch["affinities_valid"]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                values, batch["affinities"].float(), reduction="none"
            )
            return (loss * counts).sum() / counts.sum().clamp(min=1)

        def validation_step(self, batch, _number) -> None:
            self.validated += [str(box) for box in batch["box"]]

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module, network = PatchesModule(tables(records)), Network()
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    )
    trainer.fit(network, datamodule=module)
    made = module.prepared
    for epoch in range(2):
        made.train_sampler.set_epoch(epoch)
        wanted = [
            str(made.train.mix.box(made.train.mix.sources[q.source], q.voxels, (4, 24, 24)))
            for q in made.train_sampler
        ]
        assert network.seen[6 * epoch : 6 * (epoch + 1)] == wanted
    assert len(set(network.validated)) == len(made.validation_sampler)
    # Ranks share an epoch out: as many batches each, none twice.
    shared = [
        list(Batches(made.train, made.train_sampler, batch_size=1, threads=0, rank=(k, 2)))
        for k in range(2)
    ]
    assert [len(part) for part in shared] == [3, 3]
    boxes = [str(batch["box"][0]) for pair in zip(*shared, strict=True) for batch in pair]
    assert boxes == network.seen[6:]
    with pytest.raises(BadInputError, match="every rank"):
        Batches(made.train, made.train_sampler, batch_size=4, threads=0, rank=(0, 2))
