from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from segmend.core.errors import BadInputError, NoSamplesError, ReadFailedError
from segmend.core.sample import ROW_SCHEMA
from segmend.loaders.examples import Example, Reading, examples
from segmend.shards.reader import Benchmark
from segmend.shards.rows import decode_row
from segmend.tasks.registry import TASKS
from segmend.testing.tasks import assert_equal_inputs


def assert_equal_examples(first: Example, second: Example) -> None:
    assert first.sample_hash == second.sample_hash
    assert_equal_inputs(first.inputs, second.inputs)
    np.testing.assert_array_equal(first.target, second.target)


@pytest.mark.parametrize("name", TASKS)
def test_examples_are_the_routed_rows_through_the_task(benchmark: Benchmark, name: str) -> None:
    task = TASKS[name]
    found = examples(benchmark, task, "train")
    rows = benchmark.read_rows(range(15), ROW_SCHEMA.names).to_pylist()
    routed = [row for row in rows if name in row["task_routing"]]
    assert len(found) == len(routed) > 0
    assert list(found.hashes) == [row["combined_sample_hash"] for row in routed]
    for i, row in enumerate(routed):
        decoded = decode_row(row, ROW_SCHEMA.names)
        example = found[i]
        assert example.sample_hash == row["combined_sample_hash"]
        assert_equal_inputs(example.inputs, task.inputs(decoded))
        np.testing.assert_array_equal(example.target, task.target(decoded))


@pytest.mark.parametrize("threads", [1, 3])
def test_iterating_and_indexing_agree(benchmark: Benchmark, threads: int) -> None:
    found = examples(benchmark, TASKS["false_split_correction"], "train", Reading(threads=threads))
    listed = list(found)
    assert len(listed) == len(found)
    for i, example in enumerate(listed):
        assert_equal_examples(example, found[i])


def test_stopping_early_leaves_no_thread_waiting(benchmark: Benchmark) -> None:
    found = examples(benchmark, TASKS["false_split_correction"], "train", Reading(threads=2))
    assert next(iter(found)).sample_hash == found.hashes[0]


def test_threads_may_share_examples(benchmark: Benchmark) -> None:
    found = examples(benchmark, TASKS["false_split_correction"], "train")
    expected = [found[i] for i in range(len(found))]
    with ThreadPoolExecutor(4) as pool:
        for i, example in enumerate(pool.map(found.__getitem__, range(len(found)))):
            assert_equal_examples(example, expected[i])


def test_examples_can_be_pickled(benchmark: Benchmark) -> None:
    found = examples(benchmark, TASKS["split_mask_generation"], "train")
    assert_equal_examples(pickle.loads(pickle.dumps(found))[1], found[1])


def test_without_targets_answers_are_not_even_read(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    original = Benchmark.read_groups

    def recording(self, positions, columns):
        read.extend(columns)
        return original(self, positions, columns)

    monkeypatch.setattr(Benchmark, "read_groups", recording)
    for task in TASKS.values():
        found = examples(benchmark, task, "train", Reading(targets=False))
        assert found[0].target is None
        assert all(e.target is None for e in found)
    assert set(read) <= {"combined_sample_hash", *ROW_SCHEMA.with_role("input")}


def test_labels_come_without_reading_pictures(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = examples(benchmark, TASKS["false_split_correction"], "train")
    targets = [example.target for example in found]
    monkeypatch.setattr(Benchmark, "read_groups", None)
    assert found.labels.tolist() == targets


def test_a_mask_task_has_no_labels(benchmark: Benchmark) -> None:
    with pytest.raises(BadInputError, match="no label per row"):
        _ = examples(benchmark, TASKS["split_mask_generation"], "train").labels


@pytest.mark.parametrize(
    ("name", "split"),
    [("false_merge_identification", "test"), ("false_split_correction", "validation")],
)
def test_no_rows_is_an_error_that_names_task_and_split(benchmark, name, split) -> None:
    with pytest.raises(NoSamplesError, match=f"task '{name}' in split '{split}'"):
        examples(benchmark, TASKS[name], split)


def test_unknown_splits_and_no_threads_are_refused(benchmark: Benchmark) -> None:
    task = TASKS["false_split_correction"]
    with pytest.raises(BadInputError, match="no split 'val'"):
        examples(benchmark, task, "val")
    with pytest.raises(BadInputError, match="at least one thread"):
        examples(benchmark, task, "train", Reading(threads=0))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_damaged_picture_names_its_row(benchmark, monkeypatch, threads: int) -> None:
    found = examples(benchmark, TASKS["false_split_correction"], "train", Reading(threads=threads))

    def damaged(payload, shape):
        raise ReadFailedError("a PNG is damaged")

    monkeypatch.setattr("segmend.shards.rows.decode_png", damaged)
    with pytest.raises(ReadFailedError, match=f"row {found.hashes[0]}: em_xy_before"):
        list(found)


def test_numpy_users_need_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import segmend.loaders.examples"
    subprocess.run([sys.executable, "-c", code], check=True)
