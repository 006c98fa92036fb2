"""Leaks put in on purpose are found; benchmarks without any are clean."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from segmend.apps.cli.main import segmend
from segmend.core.errors import VerificationError
from segmend.core.sample import Split
from segmend.evaluate.audit.audit import Audit, audit, read_audit
from segmend.evaluate.audit.fingerprints import em_fingerprint, exact, geometry_fingerprint
from segmend.evaluate.audit.nearness import nearness
from segmend.evaluate.audit.strata import within
from segmend.evaluate.audit.twins import exact_twins, near_twins
from segmend.shards.finish import finish
from segmend.shards.layout import shard_path
from segmend.shards.reader import Benchmark
from segmend.shards.rows import Row, decode_row
from segmend.shards.writer import write_shard
from segmend.testing.rows import STANDIN_FACTS, random_row

BITS = 512


def written(folder: Path, rows: dict[Split, list[Row]]) -> Benchmark:
    records = [
        write_shard(folder / shard_path(split, 0), of_split) for split, of_split in rows.items()
    ]
    finish(folder, records, STANDIN_FACTS)
    return Benchmark.open(folder)


def told(row: Row, **metadata: object) -> Row:
    return row | {"metadata": json.dumps(json.loads(row["metadata"]) | metadata)}


def found(audited: Audit, name: str, task: str = "") -> object:
    return next(c for c in audited.checks if c.name == name and task in ("", c.task))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    kinds = ("merge_edit", "adjacent_control", "split_edit", "junction_control")
    rows: dict[Split, list[Row]] = {
        split: [random_row(kind, 10 * s + i, split=split) for kind in kinds for i in range(4)]
        for s, split in enumerate(("train", "test"))
    }
    return written(tmp_path_factory.mktemp("clean"), rows)


def test_rows_that_share_nothing_are_clean(clean: Benchmark) -> None:
    audited = audit(clean, resamples=100)
    leaks = {c.name: c.status for c in audited.checks if c.group == "leak"}
    assert set(leaks.values()) == {"clean"}
    twins = {f"{near}duplicate{here}" for near in ("", "near_") for here in ("", "_here")}
    assert set(leaks) == twins | {"operation", "lineage", "view"}
    assert audited.rows == 32


def test_what_two_splits_share_is_found_with_its_rows(tmp_path: Path) -> None:
    train = [random_row("merge_edit", i) for i in range(6)]
    test = [random_row("merge_edit", i + 50, split="test") for i in range(6)]
    place = {"render_center_nm": [5e4, 5e4, 5e4], "view_extent_nm": 100.0}
    far = {"render_center_nm": [9e4, 5e4, 5e4], "view_extent_nm": 100.0}
    beside = {"render_center_nm": [5e4 + 239, 5e4, 5e4], "view_extent_nm": 100.0}
    apart = {"render_center_nm": [5e4, 5e4 + 241, 5e4], "view_extent_nm": 100.0}
    train[0] = told(train[0], operation_id="17", **place)
    test[0] = told(test[0], source_operation_id="17", **beside)
    test[1] = told(test[1], root_ids=json.loads(train[1]["metadata"])["root_ids"], **apart)
    test[2] = test[2] | {"geometry": train[2]["geometry"]}
    test[3] = told(test[3], **far)
    audited = audit(written(tmp_path, {"train": train, "test": test}), resamples=20)
    for name, pair in {
        "operation": (test[0], train[0]),
        "lineage": (test[1], train[1]),
        "duplicate": (test[2], train[2]),
        "view": (test[0], train[0]),
    }.items():
        check = found(audited, name)
        assert check.status == "leaks"
        assert check.examples == (tuple(r["combined_sample_hash"] for r in pair),), name
    with pytest.raises(VerificationError, match="complete but not clean"):
        audited.check()


def test_an_accepted_leak_is_shown_and_passes(tmp_path: Path) -> None:
    rows = [random_row("merge_edit", 0), random_row("merge_edit", 1, split="test")]
    rows[1] = told(rows[1], cluster_id=json.loads(rows[0]["metadata"])["cluster_id"])
    bench = written(tmp_path, {"train": rows[:1], "test": rows[1:]})
    (tmp_path / "plan.json").write_text('{"accepted_leaks": ["lineage"]}')
    audited = audit(bench, resamples=20)
    assert found(audited, "lineage").status == "accepted"
    assert not audited.leaks


def test_one_picture_of_one_place_is_a_leak_of_the_view(tmp_path: Path) -> None:
    place = {"render_center_nm": [5e4, 5e4, 5e4], "view_extent_nm": 100.0}
    train = [told(random_row("merge_edit", i), **place) for i in range(2)]
    test = [told(random_row("merge_edit", i + 9, split="test"), **place) for i in range(2)]
    test[0] = test[0] | {"em_xy_before": train[1]["em_xy_before"]}
    bench = written(tmp_path, {"train": train, "test": test})
    (tmp_path / "plan.json").write_text('{"accepted_leaks": ["view"]}')
    audited = audit(bench, resamples=20)
    assert found(audited, "duplicate").status == "clean"
    assert (found(audited, "duplicate_here").n, audited.leaks) == (1, ())
    assert found(audited, "duplicate_here").status == "accepted"


def test_an_order_that_tells_the_label_is_an_artefact(tmp_path: Path) -> None:
    def larger_first(row: Row, *, first: bool) -> Row:
        from segmend.shards.codecs import encode_geometry

        geometry = np.array(decode_row(row, ["geometry"])["geometry"])
        a, b = (geometry[:, i].sum(dtype=float) for i in (5, 6))
        if (a > b) != first:
            geometry[:, [5, 6]] = geometry[:, [6, 5]]
        return row | {"geometry": encode_geometry(geometry)}

    rows = [larger_first(random_row("merge_edit", i), first=True) for i in range(16)]
    rows += [larger_first(random_row("adjacent_control", i), first=False) for i in range(16)]
    audited = audit(written(tmp_path, {"train": rows}), resamples=200)
    order = found(audited, "order_geometry")
    assert order.status == "leaks"
    assert order.auroc == 1.0
    assert found(audited, "area_geometry").status == "reported"


def test_the_verb_keeps_the_audit_in_the_card(clean: Benchmark, tmp_path: Path) -> None:
    folder = tmp_path / "bench"
    shutil.copytree(clean.folder, folder)
    assert "Not audited since it was built" in (folder / "README.md").read_text()
    result = CliRunner().invoke(segmend, ["audit", str(folder), "--resamples", "20", "--json"])
    audited = read_audit(folder)
    assert json.loads(result.stdout)["rows"] == audited.rows == 32
    card = (folder / "README.md").read_text()
    assert "Audited 32 rows" in card
    assert "| duplicate | 0 of 32 | clean |" in card
    assert card.count("## Leak audit") == 1


# --- parts ------------------------------------------------------------------------------------


def picture(seed: int) -> np.ndarray:
    return decode_row(random_row("merge_edit", seed), ["em_xy_before"])["em_xy_before"]


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.bitwise_count(a ^ b).sum() / np.bitwise_count(a | b).sum())


def test_fingerprints_survive_noise_and_contrast_but_not_other_tissue() -> None:
    rng = np.random.default_rng(0)
    one = picture(0)
    grey = one.astype(float)
    changed = np.clip(grey * 0.85 + 12 + rng.normal(scale=4, size=grey.shape), 0, 255)
    assert distance(em_fingerprint(one), em_fingerprint(changed.astype(np.uint8))) < 0.2
    others = [distance(em_fingerprint(one), em_fingerprint(picture(i))) for i in range(1, 9)]
    assert min(others) > 0.5
    swapped = one[..., [0, 2, 1]]
    assert (em_fingerprint(swapped) == em_fingerprint(one)).all()
    geometry = decode_row(random_row("merge_edit", 0), ["geometry"])["geometry"]
    assert (
        geometry_fingerprint(geometry[:, [0, 1, 2, 3, 4, 6, 5]]) == geometry_fingerprint(geometry)
    ).all()
    assert exact(np.zeros((3, 3))) is None


def test_near_twins_are_those_that_all_pairs_give() -> None:
    rng = np.random.default_rng(1)
    bits = rng.random((600, BITS)) < 0.3
    for i in range(200, 300):  # copies of earlier rows with 0 to 14 changed bits
        bits[i] = bits[i - 200]
        flipped = rng.choice(BITS, (i % 15), replace=False)
        bits[i, flipped] ^= True
    prints, splits = np.packbits(bits, axis=1), rng.integers(0, 3, 600)
    differ = (bits[:, None] ^ bits[None]).sum(2) / np.maximum(
        (bits[:, None] | bits[None]).sum(2), 1
    )
    expected = {i for i in range(600) if ((differ[i] <= 0.2) & (splits < splits[i])).any()}
    twins = near_twins(prints, splits)
    assert set(twins.rows.tolist()) == expected
    assert len(expected) > 20
    assert (splits[twins.twin] < splits[twins.rows]).all()


def test_exact_twins_need_another_split() -> None:
    twins = exact_twins([b"a", b"a", b"b", b"a", None, None], np.array([0, 0, 0, 2, 0, 1]))
    assert (twins.rows.tolist(), twins.twin.tolist()) == ([3], [0])


@pytest.mark.parametrize("spread", [300.0, 6_000.0])
def test_nearness_is_what_all_pairs_give(spread: float) -> None:
    rng = np.random.default_rng(2)
    n = 300
    centers, extents = rng.random((n, 3)) * spread, rng.uniform(80, 120, n)
    centers[:3] = np.nan
    volumes, split = rng.integers(0, 2, n), rng.integers(0, 2, n)
    one, other = np.flatnonzero(split == 0), np.flatnonzero(split == 1)
    near = nearness(centers, extents, volumes, one=one, other=other)
    assert set(near.rows) == {i for i in other if i > 2}
    reach = 1.2 * (extents[one].max() + extents[other].max())
    for k, i in enumerate(near.rows):
        same = np.array([j for j in one if volumes[j] == volumes[i] and j > 2])
        gap = np.abs(centers[same] - centers[i])
        meets = (gap < 1.2 * (extents[same] + extents[i])[:, None]).all(axis=1)
        assert near.overlapping[k] == meets.any()
        length = np.linalg.norm(gap, axis=1).min()
        if length <= 0.9 * reach:
            assert near.distance_nm[k] == pytest.approx(length)
        if np.isfinite(near.distance_nm[k]):
            assert near.distance_nm[k] == pytest.approx(length)


def test_ranks_compare_within_a_data_set_only() -> None:
    ranks = within(np.array([1.0, 2, 2, 100, 300]), np.array([0, 0, 0, 1, 1]))
    assert ranks == pytest.approx([0.25, 0.625, 0.625, 1 / 3, 2 / 3])
