"""Logs of DVID and webKnossos, written from a known history, give that history's edits."""

from __future__ import annotations

import json

import numpy as np
import pytest

from segmend.core.errors import BadInputError, SchemaError
from segmend.core.grid import VoxelGrid
from segmend.edits.bodies import Bodies
from segmend.edits.imported_log import Tissue, import_log
from segmend.edits.operation import Identity
from segmend.testing.edit_logs import (
    dvid_messages,
    first_bodies,
    webknossos_versions,
    write_lines,
    write_tissue,
)

IDENTITY = Identity("agglo", "1", "")


@pytest.fixture(scope="module")
def volume(tissue, history) -> Tissue:
    return Tissue(history.supervoxels, tissue.segments("automatic"), history.grid, IDENTITY)


@pytest.fixture(scope="module")
def log_files(tissue, history, tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    automatic = tissue.segments("automatic")
    write_lines(folder / "dvid", dvid_messages(history, automatic))
    for name, positions in (("old", True), ("new", False)):
        versions = webknossos_versions(history, automatic, positions=positions)
        (folder / name).write_text(json.dumps(versions))
    return folder


def imported(path, folder, log, tissue):
    return import_log(path, folder / "x", log=log, tissue=tissue, licence="CC0-1.0")


@pytest.mark.parametrize(
    ("name", "log"), [("dvid", "dvid"), ("old", "webknossos"), ("new", "webknossos")]
)
def test_every_operation_becomes_an_edit_with_its_kind_time_and_sides(
    history, volume, log_files, tmp_path, name, log
):
    frozen = imported(log_files / name, tmp_path, log, volume)
    ops = list(frozen.edits())
    operations = [history.operations[n] for n in sorted(history.operations)]
    assert frozen.closure.closed
    assert len(ops) == len(operations) == frozen.closure.known
    pairs = zip(history.supervoxels.flat, history.pieces.flat, strict=True)
    at = {int(supervoxel): int(piece) for supervoxel, piece in pairs if piece}
    for op, known in zip(ops, operations, strict=True):
        assert op.kind == known.kind
        assert op.timestamp == known.time_ms // 1000
        # The oracle: the roots of the fake server that hold the clicked supervoxels just before.
        roots = set()
        for (point,) in (op.source_points_nm, op.sink_points_nm):
            supervoxel = int(history.supervoxels[history.grid.voxel_at(point)])
            roots.add(history.root_at(at[supervoxel] - 1, known.time_ms - 1))
        assert roots == set(known.before)


def test_dvid_names_bodies_and_the_supervoxels_of_each_side(history, volume, log_files, tmp_path):
    ops = list(imported(log_files / "dvid", tmp_path, "dvid", volume).edits())
    cleave = next(op for op in ops if op.kind == "split")
    assert cleave.sides_in == "supervoxels"
    operation = history.operations[int(cleave.operation_id)]
    sides = {tuple(history.leaves(root, 1)) for root in operation.after}
    assert set(cleave.cut) == sides
    assert cleave.before_ids[0] in cleave.after_ids
    assert cleave.facts["missing"] == ["point_nm", "clicks"]
    assert cleave.facts["user"] == "lab"


def test_a_point_lies_on_the_contact_and_clicks_beside_it(history, volume, log_files, tmp_path):
    for op in imported(log_files / "dvid", tmp_path, "dvid", volume).edits():
        for (click,) in (op.source_points_nm, op.sink_points_nm):
            assert np.abs(np.subtract(click, op.point_nm)).max() < 250


def test_positions_of_webknossos_are_voxel_centres(history, volume, log_files, tmp_path):
    frozen = imported(log_files / "old", tmp_path, "webknossos", volume)
    first = next(frozen.edits())
    z, y, x = history.operations[min(history.operations)].sources[0][::-1]
    expected = (np.array([z, y, x]) + 0.5) * history.grid.voxel_size
    assert first.source_points_nm[0] == pytest.approx(expected)
    assert "segmentPosition" not in first.facts["missing"]


GRID = VoxelGrid((10, 10, 10), (0, 0, 0), (4, 4, 12))


@pytest.fixture
def bars() -> Tissue:
    """Bodies 1 (supervoxels 11, 12) and 2 (13), in a row; 3 (14) lies apart."""
    supervoxels = np.zeros(GRID.shape, np.uint64)
    for i, one in enumerate((11, 12, 13)):
        supervoxels[:, :, 3 * i : 3 * i + 3] = one
    supervoxels[0, 0, 11] = 14
    automatic = np.select(
        [supervoxels == 14, supervoxels == 13, supervoxels > 0],
        [np.uint64(3), np.uint64(2), np.uint64(1)],
        np.uint64(0),
    )
    return Tissue(supervoxels, automatic, GRID, IDENTITY)


def dvid(folder, tissue, *messages):
    write_lines(folder / "log", messages)
    return imported(folder / "log", folder, "dvid", tissue)


def message(action, number=1, **fields):
    return {"Action": action, "MutationID": number, "UUID": "a", **fields}


CLEAVE = {"OrigLabel": 1, "CleavedLabel": 9, "CleavedSupervoxels": [12]}


def test_a_log_is_replayed_in_order(bars, tmp_path):
    frozen = dvid(
        tmp_path,
        bars,
        message("cleave", 1, **CLEAVE),
        message("renumber", 2, OrigLabel=9, NewLabel=8),
        message("merge", 3, Target=2, Labels=[8]),
        message("split-supervoxel", 4, Supervoxel=11, SplitSupervoxel=15, RemainSupervoxel=16),
    )
    cleave, merge = frozen.edits()
    assert (cleave.before_ids, cleave.after_ids, cleave.cut) == ((1,), (1, 9), ((11,), (12,)))
    assert cleave.point_nm == (15, 15, 30)  # of the four nearest to the mean, the first
    assert cleave.timestamp is None
    assert cleave.facts["missing"][-1] == "timestamp"
    assert (merge.before_ids, merge.after_ids) == ((2, 8), (2,))
    assert merge.point_nm == (15, 15, 60)
    assert merge.facts["contact_faces"] == 16
    assert (cleave.cluster_id, merge.cluster_id) == (1, 2)
    assert frozen.closure.dropped == {"another name for a body": 1, "within one body": 1}


def test_a_merge_of_several_labels_is_several_edits(bars, tmp_path):
    first = message("cleave", 1, **CLEAVE)
    frozen = dvid(tmp_path, bars, first, message("merge", 2, Target=9, Labels=[1, 2]))
    assert [op.operation_id for op in frozen.edits()] == ["1", "2.1", "2.2"]
    assert list(frozen.edits())[1].facts["merged_together"] == ["1", "2"]


def test_a_split_by_voxels_goes_by_the_supervoxels_it_made(bars, tmp_path):
    split = message("split", Target=1, NewLabel=9, SVSplits={"7": {"Split": 12, "Remain": 11}})
    (op,) = dvid(tmp_path, bars, split).edits()
    assert (op.after_ids, op.cut) == ((1, 9), ((11,), (12,)))


def test_messages_that_are_the_end_alone_count_as_the_mutation(bars, tmp_path):
    (op,) = dvid(tmp_path, bars, message("cleave-complete", 5, **CLEAVE)).edits()
    assert (op.operation_id, op.kind) == ("5", "split")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (message("merge", Target=1, Labels=[7]), "inconsistent: body not there"),
        (message("merge", Target=1, Labels=[3]), "sides do not touch"),
        (message("cleave", **CLEAVE | {"OrigLabel": 5}), "inconsistent: body not there"),
        (
            message("cleave", **CLEAVE | {"CleavedLabel": 2}),
            "inconsistent: new body is there already",
        ),
        (
            message("cleave", **CLEAVE | {"CleavedSupervoxels": [13]}),
            "inconsistent: supervoxels of another body",
        ),
        (
            message("cleave", **CLEAVE | {"CleavedSupervoxels": [11, 12]}),
            "inconsistent: nothing stays behind",
        ),
        (
            message("cleave", **CLEAVE | {"CleavedSupervoxels": [99]}),
            "supervoxel outside the volume",
        ),
        (message("split", Target=1, NewLabel=9), "names no supervoxels of the volume"),
        (message("blend", Target=1), "unknown action"),
    ],
)
def test_what_a_mutation_lacks_is_named(bars, tmp_path, entry, reason):
    frozen = dvid(tmp_path, bars, entry)
    assert frozen.closure.failed == {reason: 1}
    assert frozen.closure.kept == 0


def test_a_mutation_without_its_end_failed(bars, tmp_path):
    frozen = dvid(tmp_path, bars, message("cleave", 1, **CLEAVE), message("merge-complete", 2))
    assert frozen.closure.failed == {"no message that it is complete": 1}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"MutationID": 1}, "'Action'"),
        ({"Action": "merge"}, "'MutationID'"),
        (message("merge", Target=1), "'Labels'"),
        (message("merge", Target=1, Labels=[]), "'Labels'"),
        (message("merge", Target=1, Labels=[2, 2]), "'Labels' names an id twice"),
        (message("merge", Target=1.0, Labels=[2]), "'Target'"),
        (message("merge", Target=0, Labels=[2]), "'Target' is 0"),
        (message("merge", Target=2**64, Labels=[2]), "'Target'"),
        (message("merge", Target=1, Labels=[2], Timestamp="noon"), "'Timestamp'"),
        (
            message("merge", Target=1, Labels=[2], Timestamp="2019-99-10 12:00:00 +0000"),
            "'Timestamp'",
        ),
        (message("merge", Target=1, Labels=[2], User=3), "'User'"),
        (message("split", Target=1, NewLabel=9, SVSplits=[1]), "'SVSplits'"),
    ],
)
def test_a_message_that_is_none_is_refused_with_its_line(bars, tmp_path, entry, told):
    good = message("renumber", 7, OrigLabel=2, NewLabel=5)
    with pytest.raises(SchemaError, match="log, line 2 is no entry") as caught:
        dvid(tmp_path, bars, good, entry)
    assert told in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["log"]


def test_a_mutation_that_comes_twice_must_be_the_same(bars, tmp_path):
    one = message("cleave", 1, **CLEAVE)
    (tmp_path / "a").mkdir()
    assert dvid(tmp_path / "a", bars, one, one).closure.known == 1
    with pytest.raises(SchemaError, match=r"line 2(?s:.*)another one"):
        dvid(tmp_path, bars, one, message("renumber", 1, OrigLabel=2, NewLabel=5))


def test_supervoxels_must_lie_in_segments(bars):
    automatic = bars.automatic.copy()
    automatic[0, 0, 0] = 2
    with pytest.raises(BadInputError, match="supervoxel 11 does not lie in one segment"):
        Bodies(bars.supervoxels, automatic, GRID)


def webknossos(folder, tissue, *versions):
    entries = [{"version": i, "value": value} for i, value in enumerate(versions, 1)]
    (folder / "log").write_text(json.dumps(entries[::-1]))
    return imported(folder / "log", folder, "webknossos", tissue)


def action(name, **value):
    return {"name": name, "value": {"actionTracingId": "t", **value}}


MERGE = {"agglomerateId1": 1, "agglomerateId2": 2, "segmentId1": 12, "segmentId2": 13}
SPLIT = {"agglomerateId": 1, "segmentId1": 11, "segmentId2": 12}


def test_the_splits_of_one_cut_are_one_edit(bars, tmp_path):
    splits = [action("splitAgglomerate", **SPLIT), action("splitAgglomerate", **SPLIT)]
    other = action("splitAgglomerate", **SPLIT | {"agglomerateId": 2, "segmentId1": 13})
    frozen = webknossos(tmp_path, bars, [*splits, action("updateTdCamera"), other])
    assert [op.operation_id for op in frozen.edits()] == ["1.0", "1.1"]
    op = next(frozen.edits())
    assert (op.before_ids, op.after_ids) == ((1,), (11, 12))
    assert op.facts["missing"] == ["after_ids", "segmentPosition", "timestamp"]
    assert op.facts["segments"] == [["11"], ["12"]]


def test_ids_that_newer_versions_do_not_log_are_named_as_missing(bars, tmp_path):
    value = {"segmentId1": 12, "segmentId2": 13, "actionTimestamp": 1_600_000_000_123}
    (op,) = webknossos(tmp_path, bars, [action("mergeAgglomerate", **value)]).edits()
    assert op.before_ids == (12, 13)
    assert op.facts["missing"] == ["agglomerateId1", "agglomerateId2", "segmentPosition"]
    assert op.timestamp == 1_600_000_000


def test_reverted_versions_are_dropped(bars, tmp_path):
    frozen = webknossos(
        tmp_path,
        bars,
        [action("mergeAgglomerate", **MERGE)],
        [action("splitAgglomerate", **SPLIT)],
        [action("revertToVersion", sourceVersion=1)],
    )
    assert [op.kind for op in frozen.edits()] == ["merge"]
    assert frozen.closure.dropped == {"reverted": 1}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"agglomerateId1": 1, "agglomerateId2": 2}, "names no segments"),
        (MERGE | {"segmentId1": 99}, "supervoxel outside the volume"),
        (MERGE | {"segmentPosition1": [99, 0, 0]}, "supervoxel outside the volume"),
        (MERGE | {"segmentPosition1": [0, 0, 0]}, "inconsistent: segment at position"),
        (MERGE | {"segmentId2": 14}, "sides do not touch"),
        (MERGE | {"agglomerateId2": 1}, "within one agglomerate"),
        (MERGE | {"segmentId2": 12}, "within one segment"),
    ],
)
def test_what_an_action_lacks_is_named(bars, tmp_path, value, reason):
    closure = webknossos(tmp_path, bars, [action("mergeAgglomerate", **value)]).closure
    assert closure.dropped + closure.failed == {reason: 1}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"value": []}, "'version'"),
        ({"version": True, "value": []}, "'version'"),
        ({"version": 1, "value": {}}, "'value'"),
        ({"version": 1, "value": [{"name": "x"}]}, "name and value"),
        (
            {"version": 1, "value": [action("mergeAgglomerate", **MERGE | {"segmentId1": -1})]},
            "'segmentId1'",
        ),
        (
            {
                "version": 1,
                "value": [action("mergeAgglomerate", **MERGE | {"segmentPosition1": [1.5, 0, 0]})],
            },
            "'segmentPosition1'",
        ),
        (
            {
                "version": 1,
                "value": [action("mergeAgglomerate", **MERGE | {"actionTimestamp": 1_600_000_000})],
            },
            "'actionTimestamp'",
        ),
        ({"version": 1, "value": [action("revertToVersion")]}, "'sourceVersion'"),
        (7, "not an object"),
    ],
)
def test_an_entry_that_is_none_is_refused_with_its_place(bars, tmp_path, entry, told):
    (tmp_path / "log").write_text(json.dumps([entry]))
    with pytest.raises(SchemaError, match="entry 0 is no entry") as caught:
        imported(tmp_path / "log", tmp_path, "webknossos", bars)
    assert told in str(caught.value)


def test_a_log_that_is_no_json_or_mixes_layers_is_refused(bars, tmp_path):
    (tmp_path / "log").write_text("[{]")
    with pytest.raises(SchemaError, match="is no log"):
        imported(tmp_path / "log", tmp_path, "webknossos", bars)
    mixed = [
        action("mergeAgglomerate", **MERGE),
        action("splitAgglomerate", **SPLIT | {"actionTracingId": "u"}),
    ]
    with pytest.raises(BadInputError, match="several layers"):
        webknossos(tmp_path, bars, mixed)
    with pytest.raises(BadInputError, match="cannot read"):
        imported(tmp_path / "absent", tmp_path, "dvid", bars)


def test_first_bodies_are_the_segments(tissue, history):
    automatic = tissue.segments("automatic")
    assert set(first_bodies(history, automatic).values()) == set(np.unique(automatic).tolist()) - {
        0
    }


def test_the_stand_in_opens_as_a_data_set(tissue, history, tmp_path):
    import segmend as sg

    opened = sg.open(str(write_tissue(tmp_path, tissue, history)), path=tmp_path / "tissue.h5")
    assert np.array_equal(opened.segments("supervoxels"), history.supervoxels)
