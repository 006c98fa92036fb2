"""predictions.parquet: the documented form of a submission, written and strictly read.

Columns: ``combined_sample_hash`` (string) and, for binary tasks, ``score`` (float64, probability of
label 1) or, for mask tasks, ``split_mask_{front,side,top}`` (binary: a grey 8-bit PNG of
224 x 224 pixels, 0 = side A, 128 = side B; which side is called A does not matter, pixels outside
the segment neither). The schema metadata hold, under ``segmend``, a JSON object of ``format``,
``task``, ``task_version``, ``model``, ``run``, ``benchmark`` (sha256 of its ``shards.csv``) and
``split``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, ReadFailedError, SegmendError
from segmend.core.sample import (
    IMAGE_SIZE,
    SPLIT_MASK_A,
    SPLIT_MASK_B,
    SPLIT_MASK_COLUMNS,
)
from segmend.models.model import Predictions
from segmend.shards.codecs import decode_png, encode_png
from segmend.store.atomic import atomic_file
from segmend.tasks.registry import TASKS

FORMAT = 1
KEY, SCORE = "combined_sample_hash", "score"

_METADATA_KEY = b"segmend"
_FACTS = ("task", "task_version", "model", "run", "benchmark", "split")
_SHOWN = 3


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write predictions, whole or not at all.

    Raises:
        OutputError: if the file cannot be written.
    """
    facts = {"format": FORMAT, **{name: getattr(predictions, name) for name in _FACTS}}
    columns: dict[str, Any] = {KEY: pa.array(predictions.hashes, pa.string())}
    if predictions.scores is not None:
        columns[SCORE] = pa.array(predictions.scores, pa.float64())
    if predictions.packed_masks is not None:
        columns |= _mask_columns(predictions)
    table = pa.table(columns).replace_schema_metadata({_METADATA_KEY: json.dumps(facts)})
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary)


def read_predictions(path: str | Path) -> Predictions:
    """Read and check predictions, as far as that needs no benchmark.

    Raises:
        ReadFailedError: if it is no Parquet file.
        BadInputError: for missing metadata or columns, NaN, scores outside [0, 1], masks of
            another form, or a hash that occurs twice, with counts and examples.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ReadFailedError(f"cannot read predictions from {path}", found=str(error)) from error
    facts = _facts(table, path)
    columns = _columns_of(facts["task"])
    if dict(zip(table.column_names, table.schema.types, strict=True)) != columns:
        raise BadInputError(
            f"{path} has other columns than predictions for '{facts['task']}'",
            found=", ".join(f"{f.name}: {f.type}" for f in table.schema),
            fix=f"Columns: {', '.join(f'{name}: {kind}' for name, kind in columns.items())}",
        )
    if table[KEY].null_count:
        nameless = np.flatnonzero(table[KEY].is_null().to_numpy()).astype(str)
        _refuse(f"of {len(table)} rows of {path} have no hash", (f"row {i}" for i in nameless))
    hashes = tuple(str(key) for key in table[KEY].to_pylist())
    _refuse("hashes occur more than once", (h for h, n in Counter(hashes).items() if n > 1))
    values = {name: facts[name] for name in _FACTS}
    if SCORE in columns:
        return Predictions(hashes=hashes, scores=_scores(table, hashes), **values)
    return Predictions(hashes=hashes, packed_masks=_masks(table, hashes), **values)


def check_hashes(predictions: Predictions, expected: Iterable[str]) -> None:
    """Check that there is exactly one prediction per row.

    Args:
        predictions: Predictions of one split.
        expected: Primary keys of the rows of the task in that split.

    Raises:
        BadInputError: for duplicate, missing or unknown hashes, with counts and examples.
    """
    wanted, given = set(expected), Counter(predictions.hashes)
    _refuse("hashes occur more than once", (h for h, n in given.items() if n > 1))
    where = f"of '{predictions.task}' in split '{predictions.split}'"
    _refuse(f"rows {where} have no prediction", wanted - given.keys())
    _refuse(f"predictions are for no row {where}", given.keys() - wanted)


def _refuse(what: str, culprits: Iterable[str]) -> None:
    found = sorted(culprits)
    if found:
        raise BadInputError(f"{len(found)} {what}", found=f"e.g. {', '.join(found[:_SHOWN])}")


def _columns_of(task: str) -> dict[str, pa.DataType]:
    if TASKS[task].target_kind == "binary":
        return {KEY: pa.string(), SCORE: pa.float64()}
    return {KEY: pa.string(), **dict.fromkeys(SPLIT_MASK_COLUMNS, pa.binary())}


def _mask_columns(predictions: Predictions) -> dict[str, Any]:
    sides = np.array([SPLIT_MASK_A, SPLIT_MASK_B], dtype=np.uint8)
    encoded: list[list[bytes]] = [[] for _ in SPLIT_MASK_COLUMNS]
    for row in range(len(predictions.hashes)):
        for images, mask in zip(encoded, predictions.mask(row), strict=True):
            images.append(encode_png(sides[mask.astype(np.intp)]))
    return {
        name: pa.array(images, pa.binary())
        for name, images in zip(SPLIT_MASK_COLUMNS, encoded, strict=True)
    }


def _facts(table: pa.Table, path: str | Path) -> Mapping[str, Any]:
    raw = (table.schema.metadata or {}).get(_METADATA_KEY)
    try:
        facts = json.loads(raw) if raw is not None else None
    except ValueError:
        facts = None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise BadInputError(
            f"{path} does not say what it predicts",
            found="its schema metadata hold no JSON object 'segmend' of format 1",
            fix=f"Write one with format, {', '.join(_FACTS)}",
        )
    _refuse("facts are missing from the metadata", (n for n in _FACTS if not _is_text(facts, n)))
    return facts


def _is_text(facts: Mapping[str, Any], name: str) -> bool:
    return isinstance(facts.get(name), str)


def _scores(table: pa.Table, hashes: tuple[str, ...]) -> NDArray[np.float64]:
    scores = np.array(
        [np.nan if v is None else v for v in table[SCORE].to_pylist()], dtype=np.float64
    )
    check_scores(scores, hashes)
    return scores


def check_scores(scores: NDArray[np.float64], hashes: tuple[str, ...]) -> None:
    """Check that every row has a probability.

    Args:
        scores: One per row.
        hashes: Primary keys of the rows.

    Raises:
        BadInputError: for NaN, numbers outside [0, 1] and another number of scores than of rows,
            with counts and examples.
    """
    if scores.shape != (len(hashes),):
        raise BadInputError(f"there are {len(hashes)} hashes and scores of shape {scores.shape}")
    keys = np.array(hashes, dtype=object)
    _refuse("scores are missing or not a number", keys[np.isnan(scores)])
    _refuse("scores are not a probability in [0, 1]", keys[~((scores >= 0) & (scores <= 1))])


def _masks(table: pa.Table, hashes: tuple[str, ...]) -> NDArray[np.uint8]:
    columns = [table[name] for name in SPLIT_MASK_COLUMNS]
    masks, wrong = np.zeros((len(hashes), len(columns), IMAGE_SIZE, IMAGE_SIZE // 8), np.uint8), {}
    for row, key in enumerate(hashes):
        try:
            views = np.stack([_decoded(column[row].as_py()) for column in columns])
            masks[row] = np.packbits(views, axis=-1)
        except SegmendError as error:
            wrong[key] = str(error)
    _refuse("rows have masks that cannot be read", (f"{key} ({why})" for key, why in wrong.items()))
    return masks


def _decoded(png: bytes | None) -> NDArray[np.bool_]:
    if png is None:
        raise BadInputError("a mask is missing")
    image = decode_png(png, (IMAGE_SIZE, IMAGE_SIZE))
    wrong = image[(image != SPLIT_MASK_A) & (image != SPLIT_MASK_B)]
    if wrong.size:
        raise BadInputError(
            f"a mask holds other values than {SPLIT_MASK_A} and {SPLIT_MASK_B}",
            found=f"{wrong.size} pixels, e.g. {wrong[0]}",
        )
    return np.asarray(image == SPLIT_MASK_B)
