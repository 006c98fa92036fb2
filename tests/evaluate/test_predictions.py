"""The submission format: what goes through, and what is refused."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from segmend.core.errors import BadInputError, OutputError, ReadFailedError
from segmend.evaluate.predictions import check_hashes, read_predictions, write_predictions


def rewrite(path: Path, **columns: pa.Array) -> None:
    """Replace columns of a predictions file, or drop them where None."""
    table = pq.read_table(path)
    for name, values in columns.items():
        index = table.column_names.index(name)
        table = (
            table.drop_columns([name]) if values is None else table.set_column(index, name, values)
        )
    pq.write_table(table, path)


def test_scores_come_back_as_they_were(labelled, written) -> None:
    write_predictions(written, labelled)
    again = read_predictions(written)
    np.testing.assert_array_equal(again.scores, labelled.scores)
    assert replace(again, scores=None) == replace(labelled, scores=None)


def test_masks_come_back_as_they_were(masked, written) -> None:
    write_predictions(written, masked)
    again = read_predictions(written)
    np.testing.assert_array_equal(again.packed_masks, masked.packed_masks)
    assert again.mask(1).dtype == bool
    assert again.scores is None


def test_a_mask_is_a_png_that_anyone_can_read(masked, written) -> None:
    write_predictions(written, masked)
    (png,) = pq.read_table(written)["split_mask_side"][:1].to_pylist()
    image = np.asarray(Image.open(io.BytesIO(png)))
    np.testing.assert_array_equal(image, np.where(masked.mask(0)[1], 128, 0))


def test_a_file_made_with_pyarrow_alone_is_read(labelled, written) -> None:
    facts = {
        "format": 1,
        "task": labelled.task,
        "task_version": "1",
        "model": "theirs",
        "run": "",
        "benchmark": labelled.benchmark,
        "split": "test",
    }
    table = pa.table({"combined_sample_hash": ["a", "b"], "score": [0.0, 1.0]})
    pq.write_table(table.replace_schema_metadata({"segmend": json.dumps(facts)}), written)
    assert read_predictions(written).hashes == ("a", "b")


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (float("nan"), "1 scores are missing or not a number"),
        (None, "1 scores are missing or not a number"),
        (1.5, r"1 scores are not a probability"),
        (-0.1, r"1 scores are not a probability"),
        (float("inf"), r"1 scores are not a probability"),
    ],
)
def test_a_score_that_is_no_probability_is_refused_by_name(
    labelled, written, value, complaint
) -> None:
    write_predictions(written, labelled)
    scores = labelled.scores.tolist()
    scores[2] = value
    rewrite(written, score=pa.array(scores, pa.float64()))
    with pytest.raises(BadInputError, match=f"{complaint}.*{labelled.hashes[2]}"):
        read_predictions(written)


def test_a_hash_that_occurs_twice_is_refused_by_name(labelled, written) -> None:
    write_predictions(written, labelled)
    hashes = [*labelled.hashes[:-1], labelled.hashes[0]]
    rewrite(written, combined_sample_hash=pa.array(hashes))
    with pytest.raises(BadInputError, match=f"1 hashes occur more than once.*{hashes[0]}"):
        read_predictions(written)


def test_a_row_without_a_hash_is_refused_by_number(labelled, written) -> None:
    write_predictions(written, labelled)
    hashes = [None, *labelled.hashes[1:-1], None]
    rewrite(written, combined_sample_hash=pa.array(hashes, pa.string()))
    last = len(hashes) - 1
    with pytest.raises(BadInputError, match=rf"2 of {len(hashes)} rows.*row 0, row {last}"):
        read_predictions(written)


def test_columns_of_another_task_or_type_are_refused(labelled, masked, written) -> None:
    write_predictions(written, labelled)
    rewrite(written, score=None)
    with pytest.raises(BadInputError, match=r"other columns.*score: double"):
        read_predictions(written)
    write_predictions(written, labelled)
    rewrite(written, score=pa.array([1] * len(labelled.hashes)))
    with pytest.raises(BadInputError, match="score: int64"):
        read_predictions(written)
    write_predictions(written, replace(masked, task="false_split_correction"))
    with pytest.raises(BadInputError, match="other columns"):
        read_predictions(written)


@pytest.mark.parametrize(
    "metadata", [None, {}, {"segmend": "no JSON"}, {"segmend": '{"format": 2}'}, {"segmend": "[]"}]
)
def test_a_file_that_does_not_say_what_it_predicts_is_refused(written, metadata) -> None:
    table = pa.table({"combined_sample_hash": ["a"], "score": [0.5]})
    pq.write_table(table.replace_schema_metadata(metadata), written)
    with pytest.raises(BadInputError, match="does not say what it predicts"):
        read_predictions(written)


def test_missing_facts_and_unknown_tasks_are_named(labelled, written) -> None:
    table = pa.table({"combined_sample_hash": ["a"], "score": [0.5]})
    facts = {"format": 1, "task": "false_split_correction"}
    pq.write_table(table.replace_schema_metadata({"segmend": json.dumps(facts)}), written)
    with pytest.raises(BadInputError, match=r"5 facts are missing.*benchmark"):
        read_predictions(written)
    write_predictions(written, replace(labelled, split="test"))
    facts = json.loads(pq.read_schema(written).metadata[b"segmend"]) | {"task": "merging"}
    pq.write_table(table.replace_schema_metadata({"segmend": json.dumps(facts)}), written)
    with pytest.raises(BadInputError, match="no task named 'merging'"):
        read_predictions(written)


def png_of(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("png", "complaint"),
    [
        (None, "a mask is missing"),
        (b"not a png", "PNG"),
        (png_of(np.zeros((10, 10), np.uint8)), "10"),
        (png_of(np.full((224, 224), 255, np.uint8)), "50176 pixels, e.g. 255"),
    ],
)
def test_a_mask_of_another_form_is_refused_by_row(masked, written, png, complaint) -> None:
    write_predictions(written, masked)
    images = pq.read_table(written)["split_mask_top"].to_pylist()
    rewrite(written, split_mask_top=pa.array([png, *images[1:-1], png], pa.binary()))
    with pytest.raises(BadInputError, match=rf"2 rows have masks.*{complaint}") as caught:
        read_predictions(written)
    assert masked.hashes[0] in str(caught.value)
    assert masked.hashes[-1] in str(caught.value)


def test_what_is_no_parquet_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    with pytest.raises(ReadFailedError, match="cannot read predictions"):
        read_predictions(path)
    path.write_text("hash,score")
    with pytest.raises(ReadFailedError, match="cannot read predictions"):
        read_predictions(path)


def test_a_folder_that_does_not_exist_is_not_written(labelled, tmp_path) -> None:
    with pytest.raises(OutputError):
        write_predictions(tmp_path / "no" / "p.parquet", labelled)


def test_missing_unknown_and_duplicate_hashes_are_counted_with_examples(labelled) -> None:
    expected = labelled.hashes
    check_hashes(labelled, expected)
    with pytest.raises(BadInputError, match=f"1 rows of .* have no prediction: e.g. {expected[3]}"):
        check_hashes(replace(labelled, hashes=expected[:3] + expected[4:]), expected)
    with pytest.raises(BadInputError, match=r"2 predictions are for no row .*: e\.g\. x, y"):
        check_hashes(replace(labelled, hashes=(*expected, "x", "y")), expected)
    with pytest.raises(BadInputError, match="1 hashes occur more than once"):
        check_hashes(replace(labelled, hashes=(*expected, expected[0])), expected)
