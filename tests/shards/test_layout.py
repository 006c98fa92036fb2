from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmend.core.errors import BadInputError, ReadFailedError
from segmend.core.sample import SPLITS
from segmend.shards.layout import (
    ShardRecord,
    read_shards_csv,
    shard_of,
    shard_path,
    write_shards_csv,
)

RECORDS = (
    ShardRecord("train/train-00000.parquet", "train", 0, 10, 100, "a" * 64),
    ShardRecord("train/train-00001.parquet", "train", 1, 5, 50, "b" * 64),
    ShardRecord("val/val-00000.parquet", "validation", 0, 3, 30, "c" * 64),
)


def test_paths_are_those_of_the_published_card() -> None:
    assert shard_path("train", 0) == "train/train-00000.parquet"
    assert shard_path("validation", 12) == "val/val-00012.parquet"
    assert shard_path("test", 123456) == "test/test-123456.parquet"


@given(st.sampled_from(SPLITS), st.integers(0, 10**7))
def test_a_path_says_its_split_and_number(split: str, number: int) -> None:
    assert shard_of("/any/where/" + shard_path(split, number)) == (split, number)


@pytest.mark.parametrize("name", ["x/x-00000.parquet", "train/train-000001.parquet", "a", "/"])
def test_other_paths_are_refused(name: str) -> None:
    with pytest.raises(BadInputError, match="not the path of a shard"):
        shard_of(name)


@pytest.mark.parametrize(("split", "number"), [("val", 0), ("train", -1)])
def test_there_is_no_path_for_other_shards(split: str, number: int) -> None:
    with pytest.raises(BadInputError, match="there is no shard"):
        shard_path(split, number)


def test_the_list_of_shards_survives_and_other_readers_see_it(tmp_path: Path) -> None:
    write_shards_csv(tmp_path, reversed(RECORDS))
    assert read_shards_csv(tmp_path) == RECORDS
    with (tmp_path / "shards.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "split", "shard_id", "n_samples", "size_bytes", "sha256"]
    assert rows[2]["split"] == "validation"
    assert rows[2]["n_samples"] == "3"


LINE = "train/train-00000.parquet,train,0,10,100," + "a" * 64


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "other columns"),
        ("path,split\n", "other columns"),
        ("{head}\n" + LINE.replace("train/train", "../train/train"), "line 2"),
        ("{head}\n" + LINE.replace("train/train-00000", "/etc/passwd"), "line 2"),
        ("{head}\n" + LINE.replace(",train,", ",val,"), "line 2"),
        ("{head}\n" + LINE.replace(",10,", ",ten,"), "line 2"),
        ("{head}\n" + LINE.replace(",10,", ",0,"), "line 2"),
        ("{head}\n" + LINE[:-1], "line 2"),
        ("{head}\n" + LINE + ",more", "line 2"),
        ("{head}\n" + LINE + "\n" + LINE, "lists a shard twice"),
        ("{head}\n\udcff", "cannot read"),
    ],
)
def test_a_wrong_list_of_shards_is_named(tmp_path: Path, content: str, what: str) -> None:
    head = "path,split,shard_id,n_samples,size_bytes,sha256"
    text = content.replace("{head}", head)
    (tmp_path / "shards.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ReadFailedError, match=what):
        read_shards_csv(tmp_path)


def test_the_columns_that_a_card_names_are_enough(tmp_path: Path) -> None:
    # "shards.csv (path, sha256, n_samples, size)" of the published cards.
    lines = [f"{r.path},{r.sha256},{r.n_samples},{r.size_bytes}" for r in RECORDS]
    (tmp_path / "shards.csv").write_text("\n".join(["path,sha256,n_samples,size", *lines]))
    assert read_shards_csv(tmp_path) == RECORDS
