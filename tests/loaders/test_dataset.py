from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from segmend.core.errors import BadInputError, NoSamplesError
from segmend.core.sample import channel, em_channel
from segmend.loaders.dataset import TaskDataset, ViewDataset, on_device
from segmend.loaders.examples import Reading, examples
from segmend.loaders.stream import BatchStream
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS

DUAL, SINGLE, MASKS = (
    TASKS[name]
    for name in ("false_split_correction", "false_merge_identification", "split_mask_generation")
)
SIDES = [channel("mask_a"), channel("mask_b")]
EM_SIDES = [em_channel("mask_a"), em_channel("mask_b")]


def same(first, second) -> bool:
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    return first == second


def assert_same_batches(first, second) -> None:
    for one, other in itertools.zip_longest(first, second):
        assert one.keys() == other.keys()
        assert all(same(one[name], other[name]) for name in one)


@pytest.mark.parametrize("task", [DUAL, SINGLE, MASKS])
def test_an_item_holds_the_example_in_its_stored_types(benchmark: Benchmark, task) -> None:
    item, example = TaskDataset(benchmark, task, "train")[1], examples(benchmark, task, "train")[1]
    assert item["hash"] == example.sample_hash
    assert item["geometry"].dtype == torch.float16
    assert item["em"].dtype == torch.uint8
    np.testing.assert_array_equal(item["geometry"].numpy(), example.inputs.geometry)
    np.testing.assert_array_equal(item["em"].numpy(), np.moveaxis(example.inputs.em, -1, 1))
    assert item["em"].shape == (len(task.planes), 3, 224, 224)
    np.testing.assert_array_equal(item["target"].numpy(), example.target)
    assert item["target"].dtype == (torch.uint8 if task is MASKS else torch.float32)


def test_without_targets_an_item_has_none(benchmark: Benchmark) -> None:
    assert "target" not in TaskDataset(benchmark, DUAL, "train", Reading(targets=False))[0]


@pytest.mark.parametrize("task", [DUAL, SINGLE, MASKS])
def test_a_batch_holds_the_same_as_its_examples(benchmark: Benchmark, task) -> None:
    data = TaskDataset(benchmark, task, "train", swap_ab=True, seed=1)
    schedule = data.schedule(batch_size=2, seed=4)
    schedule.set_epoch(3)
    data.set_epoch(3)
    numbers = {key: i for i, key in enumerate(data.examples.hashes)}
    for batch in DataLoader(data, sampler=schedule, batch_size=None):
        for slot, key in enumerate(batch["hash"]):
            item = data[numbers[key]]
            assert all(same(batch[name][slot], item[name]) for name in item)


def test_rows_that_repeat_in_a_batch_are_all_there(benchmark: Benchmark) -> None:
    data = TaskDataset(benchmark, DUAL, "train")
    step = next(iter(data.schedule(batch_size=9)))
    rows = np.array([4, 1, 4, 0])
    batch = data[type(step)(0, 4, rows)]
    for slot, row in enumerate(rows):
        assert batch["hash"][slot] == data.examples.hashes[row]
        assert torch.equal(batch["geometry"][slot], data[int(row)]["geometry"])


def test_a_device_gets_normalised_pictures(benchmark: Benchmark) -> None:
    (batch,) = TaskDataset(benchmark, DUAL, "train").schedule(batch_size=9)
    stored = TaskDataset(benchmark, DUAL, "train")[batch]
    moved = on_device(stored)
    assert moved["geometry"].dtype == moved["em"].dtype == torch.float32
    assert torch.equal(moved["geometry"], stored["geometry"].float())
    assert torch.equal(moved["em"], stored["em"] / 255)
    assert moved["hash"] == stored["hash"]


def batches(data, *, stream=False, **settings):
    schedule = data.schedule(batch_size=4, seed=1)
    schedule.set_epoch(2)
    if stream:
        return list(DataLoader(BatchStream(data, schedule), batch_size=None, **settings))
    return list(DataLoader(data, sampler=schedule, batch_size=None, **settings))


@pytest.mark.slow
def test_spawned_workers_and_threads_give_the_same_batches(benchmark: Benchmark) -> None:
    data = TaskDataset(benchmark, DUAL, "train", swap_ab=True, seed=1)
    expected = batches(data)
    for stream, workers in ((False, 1), (True, 2)):  # those of a stream share its steps
        spawned = {"num_workers": workers, "multiprocessing_context": "spawn"}
        assert_same_batches(expected, batches(data, stream=stream, **spawned))
    for threads in (0, 1, 3):
        schedule = data.schedule(batch_size=4, seed=1)
        schedule.set_epoch(2)
        assert_same_batches(expected, BatchStream(data, schedule, threads=threads))
        assert schedule.epoch == 3


def test_a_stock_loader_may_also_sample_and_collate_itself(benchmark: Benchmark) -> None:
    data = TaskDataset(benchmark, SINGLE, "train")
    batch = next(iter(DataLoader(data, batch_size=3)))
    assert batch["geometry"].shape == (3, 3, 7, 224, 224)
    assert batch["hash"] == list(data.examples.hashes[:3])
    assert len(list(data)) == len(data)


def test_swapping_exchanges_a_and_b_everywhere_and_nothing_else(benchmark: Benchmark) -> None:
    plain, swapped = (
        TaskDataset(benchmark, DUAL, "train", swap_ab=swap, seed=3) for swap in (False, True)
    )
    changed = 0
    for before, after in zip(plain, swapped, strict=True):
        if torch.equal(before["geometry"], after["geometry"]):
            assert torch.equal(before["em"], after["em"])
            continue
        changed += 1
        for name, sides in (("geometry", SIDES), ("em", EM_SIDES)):
            exchanged = before[name].clone()
            exchanged[:, sides] = before[name][:, sides[::-1]]
            assert torch.equal(after[name], exchanged)
        assert after["target"] == before["target"]
    assert 0 < changed < len(plain)


def test_swapping_a_mask_task_changes_the_answer_only(benchmark: Benchmark) -> None:
    plain = list(TaskDataset(benchmark, MASKS, "train"))
    seen = set()
    for epoch in range(6):
        data = TaskDataset(benchmark, MASKS, "train", swap_ab=True)
        data.set_epoch(epoch)
        for before, after in zip(plain, data, strict=True):
            assert torch.equal(after["geometry"], before["geometry"])
            assert torch.equal(after["em"], before["em"])
            exchanged = before["target"].clone()
            exchanged[before["target"] == 0] = 128
            exchanged[before["target"] == 128] = 0
            swapped = torch.equal(after["target"], exchanged)
            assert swapped or torch.equal(after["target"], before["target"])
            seen.add(swapped)
    assert seen == {True, False}


def swaps(dataset: TaskDataset, plain: list[torch.Tensor]) -> list[bool]:
    return [not torch.equal(dataset[i]["geometry"], p) for i, p in enumerate(plain)]


def test_which_items_are_swapped_depends_on_seed_and_epoch_alone(benchmark: Benchmark) -> None:
    plain = [item["geometry"] for item in TaskDataset(benchmark, DUAL, "train")]
    chosen = set()
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        dataset = TaskDataset(benchmark, DUAL, "train", swap_ab=True, seed=seed)
        dataset.set_epoch(epoch)
        first = swaps(dataset, plain)
        assert first == swaps(dataset, plain)
        assert any(first)
        assert not all(first)
        chosen.add(tuple(first))
    assert len(chosen) == 3


def test_a_task_without_rows_is_named(benchmark: Benchmark) -> None:
    with pytest.raises(NoSamplesError, match="'split_mask_generation' in split 'test'"):
        TaskDataset(benchmark, MASKS, "test")


@pytest.mark.parametrize("task", [DUAL, SINGLE, MASKS])
def test_views_one_by_one_are_those_of_the_whole_row(benchmark: Benchmark, task) -> None:
    whole = TaskDataset(benchmark, task, "train")
    views = ViewDataset(benchmark, task, "train")
    names = ["front", "side", "top", *(() if task is MASKS else task.planes)]
    assert len(views) == len(whole) * len(names)
    schedule = views.schedule(batch_size=5, seed=2)
    numbers = {key: i for i, key in enumerate(whole.examples.hashes)}
    seen = []
    for batch in DataLoader(views, sampler=schedule, batch_size=None):
        rows = [whole[numbers[key]] for key in batch["hash"]]
        for name, order in (("geometry", ("front", "side", "top")), ("em", task.planes)):
            assert len(batch[name]) == len(batch[f"{name}_slot"])
            for picture, slot in zip(batch[name], batch[f"{name}_slot"].tolist(), strict=True):
                at = order.index(batch["look"][slot])
                assert torch.equal(picture, rows[slot][name][at])
                answer = rows[slot]["target"][at] if task is MASKS else rows[slot]["target"]
                assert torch.equal(batch["target"][slot], answer)
        assert len(batch["geometry"]) + len(batch["em"]) == len(batch["hash"])
        seen += zip(batch["hash"], batch["look"], strict=True)
    assert sorted(seen) == sorted((key, name) for key in numbers for name in names)


def test_one_view_by_number_reads_only_its_picture(benchmark, monkeypatch) -> None:
    views = ViewDataset(benchmark, DUAL, "train", Reading(targets=False))
    assert views[4]["look"] == "xz"
    assert set(views[4]) == {"hash", "look", "em"}
    read: list[str] = []
    original = Benchmark.read_groups

    def recording(self, positions, columns):
        read.extend(columns)
        return original(self, positions, columns)

    monkeypatch.setattr(Benchmark, "read_groups", recording)
    assert views[4]["em"].shape == (3, 224, 224)
    assert read == ["combined_sample_hash", "em_xz_before"]


def test_balance_is_by_label_and_species(benchmark: Benchmark) -> None:
    data = TaskDataset(benchmark, DUAL, "train")
    labels = data.examples.labels
    assert 2 * labels.sum() != len(labels)
    order = data.schedule(batch_size=4, balance=("label", "species")).order(0)
    assert abs(2 * labels[order].sum() - len(labels)) <= 1
    with pytest.raises(BadInputError, match="cannot be balanced by hash"):
        data.schedule(batch_size=4, balance=("hash",))
