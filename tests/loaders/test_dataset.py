from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from segmend.core.errors import NoSamplesError
from segmend.core.sample import channel, em_channel
from segmend.loaders.dataset import TaskDataset, swapped
from segmend.loaders.examples import examples
from segmend.loaders.order import epoch_order
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS
from segmend.testing.tasks import assert_equal_inputs

DUAL, SINGLE, MASKS = (
    TASKS[name]
    for name in ("false_split_correction", "false_merge_identification", "split_mask_generation")
)


@pytest.mark.parametrize("task", [DUAL, SINGLE, MASKS])
def test_an_item_holds_the_example_as_tensors(benchmark: Benchmark, task) -> None:
    item, example = TaskDataset(benchmark, task, "train")[1], examples(benchmark, task, "train")[1]
    assert item["hash"] == example.sample_hash
    assert item["geometry"].dtype == item["em"].dtype == torch.float32
    np.testing.assert_array_equal(
        item["geometry"].numpy(), example.inputs.geometry.astype(np.float32)
    )
    grey = example.inputs.em[0, ..., em_channel("em")] / np.float32(255)
    np.testing.assert_array_equal(item["em"][0, em_channel("em")].numpy(), grey)
    assert item["em"].shape == (len(task.planes), 3, 224, 224)
    assert 0 <= item["em"].min() <= item["em"].max() == 1
    np.testing.assert_array_equal(item["target"].numpy(), example.target)
    assert item["target"].dtype == (torch.uint8 if task is MASKS else torch.float32)


def test_without_targets_an_item_has_none(benchmark: Benchmark) -> None:
    assert "target" not in TaskDataset(benchmark, DUAL, "train", targets=False)[0]


@pytest.mark.slow
def test_spawned_workers_give_the_same_batches(benchmark: Benchmark) -> None:
    dataset = TaskDataset(benchmark, DUAL, "train", swap_ab=True, seed=1)
    dataset.set_epoch(2)
    order = epoch_order(len(dataset), 0, 2).tolist()
    batches = []
    for workers in (0, 2):
        loader = DataLoader(
            dataset,
            batch_size=4,
            sampler=order,
            num_workers=workers,
            multiprocessing_context="spawn" if workers else None,
        )
        batches.append(list(loader))
    for first, second in zip(*batches, strict=True):
        assert first["hash"] == second["hash"]
        for key in ("geometry", "em", "target"):
            assert torch.equal(first[key], second[key])
    assert [h for b in batches[0] for h in b["hash"]] == [dataset.examples.hashes[i] for i in order]


def test_swapping_twice_gives_the_example_back(benchmark: Benchmark) -> None:
    for task in (DUAL, SINGLE, MASKS):
        example = examples(benchmark, task, "train")[0]
        again = swapped(swapped(example, dual=task.dual), dual=task.dual)
        assert_equal_inputs(again.inputs, example.inputs)
        np.testing.assert_array_equal(again.target, example.target)


def test_swapping_exchanges_a_and_b_everywhere_and_nothing_else(benchmark: Benchmark) -> None:
    example = examples(benchmark, DUAL, "train")[0]
    other = swapped(example, dual=True)
    a, b = channel("mask_a"), channel("mask_b")
    before, after = example.inputs.geometry, other.inputs.geometry
    np.testing.assert_array_equal(after[:, [a, b]], before[:, [b, a]])
    np.testing.assert_array_equal(after[:, :a], before[:, :a])
    a, b = em_channel("mask_a"), em_channel("mask_b")
    np.testing.assert_array_equal(other.inputs.em[..., [a, b]], example.inputs.em[..., [b, a]])
    assert other.target == example.target


def test_swapping_a_mask_task_changes_the_answer_only(benchmark: Benchmark) -> None:
    example = examples(benchmark, MASKS, "train")[0]
    other = swapped(example, dual=False)
    assert_equal_inputs(other.inputs, example.inputs)
    assert ((other.target == 0) == (example.target == 128)).all()
    assert ((other.target == 128) == (example.target == 0)).all()
    assert ((other.target == 255) == (example.target == 255)).all()


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
