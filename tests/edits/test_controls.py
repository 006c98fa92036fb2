"""Controls from CAVE: the known tissue and its history are the oracle."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest

from segmend.core.errors import BadInputError, SchemaError
from segmend.core.grid import VoxelGrid
from segmend.edits.cave_record import load_cave_record, read_cave_record
from segmend.edits.cave_server import CaveServer, Manners, open_cave
from segmend.edits.coverage import coverage_of
from segmend.edits.harvest import harvest
from segmend.edits.ledger import Ledger
from segmend.edits.normalise import freeze_harvest
from segmend.edits.placed import Ground
from segmend.edits.placed_controls import placed_controls
from segmend.store.retry import RetryPolicy
from segmend.synthetic.history import Synapse, TrueEdit
from segmend.testing import faults
from segmend.testing.fake_cave import TOKEN, FakeCave, fake_cave, write_token
from segmend.testing.fake_cave_defects import Defects
from segmend.testing.fake_cave_history import record_history
from segmend.testing.fake_cave_tables import synapse_scores
from segmend.testing.servers import Server

pytestmark = pytest.mark.usefixtures("token_home")

QUICK = Manners(policy=RetryPolicy(attempts=3, base_s=0.01, cap_s=0.02))
ALL = """
adjacent = 3
edits = ["merge", "split"]
cube_nm = 300
proofread = "proofreading_status_and_strategy"
synapses = "synapses"
per_root = 2
scores = ["cleft_score", "ach"]
min_scores = { cleft_score = 60 }
"""


def gather(cave, folder, until, *, controls=ALL, rules=""):
    made = read_cave_record(cave.record(controls=controls, rules=rules), where="the test's")
    ledger = Ledger(folder / "h", create=True)
    harvest(ledger, open_cave(made, manners=QUICK), made, until=until)
    return ledger


@pytest.fixture(scope="module")
def small():
    """Four bars of one neuron side by side, two of another above; three merges, five synapses."""
    bars = np.arange(1, 5, dtype=np.uint64).repeat(8)
    automatic = np.zeros((12, 16, 32), np.uint64)
    automatic[:, :8], automatic[:, 8:] = bars, 5 + (np.arange(32) // 16).astype(np.uint64)
    neurons = np.where(automatic < 5, np.uint64(101), np.uint64(102))
    grid = VoxelGrid((20, 10, 10), (0, 0, 0), automatic.shape)

    # Roots as the log names them: segments at first, then what the merges make.
    roots = [((1, 2), 11), ((3, 11), 12), ((4, 12), 13)]
    edits = [
        TrueEdit(
            "merge",
            (nth + 1, nth + 2),
            before,
            (after,),
            (101,),
            (120.0, 40.0, 80.0 * (nth + 1)),
            1_600_000_000 + 60 * nth,
            "thin neck",
        )
        for nth, (before, after) in enumerate(roots)
    ]
    synapses = tuple(
        Synapse(n, 101, 102, 1, 5, (10.0, 80.0, x), (10.0, 75.0, x), (10.0, 85.0, x))
        for n, x in enumerate((5.0, 15.0, 25.0, 35.0, 45.0), 1)
    )
    return (
        automatic,
        neurons,
        record_history(automatic, neurons, grid, edits, chunk=(8, 8, 8), synapses=synapses),
    )


def roots_of(history, time_ms):
    table = [0, *(history.root_at(p, time_ms) for p in range(len(history.timeline)))]
    return np.array(table, np.uint64)[history.pieces]


def touching(labels, base):
    """The slow rule: every label that shares a face with one."""
    found = set()
    for axis in range(3):
        a, b = (np.moveaxis(labels, axis, 0)[s] for s in (slice(None, -1), slice(1, None)))
        for one, two in ((a, b), (b, a)):
            found |= set(np.unique(two[one == base]).tolist())
    return found - {0, base}


@pytest.fixture(scope="module")
def frozen(history, until, tmp_path_factory):
    folder = tmp_path_factory.mktemp("controls")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        write_token(folder)
        with fake_cave(history) as cave:
            ledger = gather(cave, folder, until, rules="min_smaller_chunks = 1")
            made = freeze_harvest(ledger, folder / "frozen")
            ledger.close()
    return made


def test_neighbours_are_those_of_the_segmentation_at_that_moment(frozen, history):
    """Just before a merge, just after a split; every neighbour in the cube is accounted for."""
    edits = {op.operation_id: op for op in frozen.edits()}
    controls = list(frozen.controls("adjacent_control"))
    assert {edits[one.source_id].kind for one in controls} == {"merge", "split"}
    number = 0
    for op in edits.values():
        time_ms = history.operations[int(op.operation_id)].time_ms
        merge = op.kind == "merge"
        bases = op.before_ids if merge else op.after_ids
        roots = roots_of(history, time_ms - 50 if merge else time_ms + 50)
        low = [max(0, int((p - 150) // s)) for p, s in zip(op.point_nm, (20, 10, 10), strict=True)]
        high = [int(-(-(p + 150) // s)) for p, s in zip(op.point_nm, (20, 10, 10), strict=True)]
        cube = roots[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        around = {(b, n) for b in bases for n in touching(cube, b) - set(bases)}
        mine = [one for one in controls if one.source_id == op.operation_id]
        assert {one.root_ids for one in mine} <= around
        assert len(mine) == min(3, len(around))
        number += len(around)
        away = [np.linalg.norm(np.subtract(one.point_nm, op.point_nm)) for one in mine]
        assert all(a <= b for a, b in pairwise(away))
        for one in mine:
            voxels = [history.grid.voxel_at(point) for point in one.points_nm]
            assert [int(roots[v]) for v in voxels] == list(one.root_ids)
            assert np.abs(np.subtract(*voxels)).sum() == 1  # the two sides of one face
    closure = frozen.control_closure("adjacent_control")
    assert closure.known == number + closure.dropped["edit not kept"]


def test_neurons_are_the_proofread_ones_each_with_a_point_inside(frozen, history):
    final = roots_of(history, 1e18)
    found = {one.root_ids[0]: one.point_nm for one in frozen.controls("junction_control")}
    assert set(found) == set(history.latest(1e18))
    assert all(int(final[history.grid.voxel_at(p)]) == root for root, p in found.items())


def test_synapses_have_partners_scores_and_a_cleft(frozen, history, tissue, until):
    final = roots_of(history, 1e18)
    good = [s for s in tissue.synapses if synapse_scores(s.cleft_id)["cleft_score"] >= 60]
    found = {int(one.source_id): one for one in frozen.controls("synapse_control")}
    assert set(found) == {s.cleft_id for s in good}
    for one in good:
        control = found[one.cleft_id]
        at = [history.grid.voxel_at(p) for p in (one.pre_point_nm, one.post_point_nm)]
        assert control.root_ids == tuple(int(final[voxel]) for voxel in at)
        assert history.grid.voxel_at(control.point_nm) == history.grid.voxel_at(one.center_nm)
        scores = synapse_scores(one.cleft_id)
        assert control.facts == {name: scores[name] for name in ("cleft_score", "ach")}
        assert control.cutout_timestamp == int(until.timestamp())
    dropped = frozen.control_closure("synapse_control").dropped
    assert dropped["cleft_score below 60"] == len(tissue.synapses) - len(good) > 0


def test_both_forms_and_the_manifest_tell_the_same(frozen):
    text = (frozen.folder / "controls.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    every = [one for kind in frozen.control_kinds for one in frozen.controls(kind)]
    assert [(a["kind"], a["root_ids"]) for a in lines] == [
        (b.kind, [str(root) for root in b.root_ids]) for b in every
    ]
    assert {"controls.parquet", "controls.jsonl", "control_outcomes.parquet"} <= set(
        frozen.manifest["sha256"]
    )
    for kind in frozen.control_kinds:
        left = Counter()
        for one in frozen.control_outcomes():
            left[one.outcome] += one.number * (one.kind == kind)
        closure = frozen.control_closure(kind)
        assert closure.known == closure.kept + left["dropped"] + left["failed"]


def test_a_neighbour_that_is_merged_later_is_no_control(small, tmp_path):
    """At the first merge the third bar touches the second: later they are one neuron."""
    automatic, _, history = small
    until = datetime.fromtimestamp(1_600_003_600, UTC)
    with fake_cave(history) as cave, gather(cave, tmp_path, until) as ledger:
        found = freeze_harvest(ledger, tmp_path / "f")
    dropped = found.control_closure("adjacent_control").dropped
    assert dropped["merged later"] == 2  # bar 3 beside 2, then bar 4 beside 3
    pieces = {int(history.root_at(p, 0)): s for s, p in _first_pieces(automatic, history).items()}
    first = min(int(one.source_id) for one in found.controls("adjacent_control"))
    here = [one for one in found.controls("adjacent_control") if int(one.source_id) == first]
    assert {pieces[root] for one in here for root in one.root_ids} == {1, 2, 5}


def test_a_supervoxel_without_a_root_does_not_hide_that_they_merge(small, tmp_path, monkeypatch):
    """The upper half of every bar has none at the end, the lower is in the merged neuron."""
    _, _, history = small
    until = datetime.fromtimestamp(1_600_003_600, UTC)
    asked = CaveServer.roots_at

    def forgetful(server, supervoxels, time_s):
        roots = asked(server, supervoxels, time_s)
        if time_s != until.timestamp():
            return roots
        upper = [history.coding.place(one)[0] == 0 for one in supervoxels]
        return [0 if gone else root for gone, root in zip(upper, roots, strict=True)]

    monkeypatch.setattr(CaveServer, "roots_at", forgetful)
    with fake_cave(history) as cave, gather(cave, tmp_path, until) as ledger:
        found = freeze_harvest(ledger, tmp_path / "f")
    assert found.control_closure("adjacent_control").dropped["merged later"] == 2


@contextmanager
def killed_before_neighbours(history, folder):
    """A harvest that knows its edits and no controls yet, its server still there; its record."""

    def stop(stage, _done, _total):
        if stage == "neighbours":
            raise KeyboardInterrupt

    with fake_cave(history) as cave, Ledger(folder / "h", create=True) as ledger:
        made = read_cave_record(cave.record(controls=ALL), where="the test's")
        with pytest.raises(KeyboardInterrupt):
            harvest(ledger, open_cave(made, manners=QUICK), made, report=stop)
        yield ledger, made


def test_an_edit_that_turns_out_contradictory_is_asked_about_no_more(small, tmp_path):
    """The log of another root comes late, and says something else."""
    _, _, history = small
    with killed_before_neighbours(history, tmp_path) as (ledger, made):
        ((number, row),) = ledger.rows("SELECT operation, row FROM log LIMIT 1")
        other = json.loads(row) | {"before_root_ids": [7, 8]}
        with ledger.change() as db:
            db.execute("INSERT INTO log VALUES (?, '77', ?)", (number, json.dumps(other)))
        harvest(ledger, open_cave(made, manners=QUICK), made)
        found = freeze_harvest(ledger, tmp_path / "f")
    assert found.closure.failed == {"inconsistent: roots before": 1}
    others = {one.subject for one in found.control_outcomes() if one.kind == "adjacent_control"}
    assert str(number) not in others | {o.source_id for o in found.controls("adjacent_control")}


def _first_pieces(automatic, history):
    return {s: int(history.pieces[automatic == s][0]) - 1 for s in np.unique(automatic).tolist()}


def test_of_one_root_the_same_few_synapses_are_taken(small, tmp_path):
    _, _, history = small
    until = datetime.fromtimestamp(1_600_003_600, UTC)
    taken = []
    for most in (1, 3):
        folder = tmp_path / str(most)
        controls = f'synapses = "synapses"\nper_root = {most}'
        with fake_cave(history) as cave, gather(cave, folder, until, controls=controls) as ledger:
            found = freeze_harvest(ledger, folder / "f")
        assert found.control_kinds == ("synapse_control",)
        closure = found.control_closure("synapse_control")
        assert closure.dropped[f"more than {most} of one root"] == 5 - most
        taken.append({one.source_id for one in found.controls("synapse_control")})
    assert taken[0] < taken[1]


def test_a_table_without_clefts_has_the_midpoint(small, tmp_path):
    """As FlyWire's."""
    _, _, history = small
    until = datetime.fromtimestamp(1_600_003_600, UTC)
    controls = 'synapses = "synapses"\nper_root = 9\ncleft = ""'
    with fake_cave(history) as cave, gather(cave, tmp_path, until, controls=controls) as ledger:
        found = freeze_harvest(ledger, tmp_path / "f")
    places = {int(one.source_id): one.point_nm for one in found.controls("synapse_control")}
    grid = history.grid
    for one in history.synapses:
        ends = [np.array(grid.voxel_at(p)) for p in (one.pre_point_nm, one.post_point_nm)]
        assert places[one.cleft_id] == tuple(np.mean(ends, axis=0) * grid.voxel_size)


def test_placing_them_on_the_volume_finds_what_they_were_made_from(small, tmp_path):
    automatic, neurons, history = small
    until = datetime.fromtimestamp(1_600_003_600, UTC)
    with fake_cave(history) as cave, gather(cave, tmp_path, until) as ledger:
        found = freeze_harvest(ledger, tmp_path / "f")
    placed = placed_controls(found, Ground(automatic, neurons, history.grid))
    assert set(placed.proofread) == {101, 102}
    assert {(s.pre_segment, s.post_segment, s.pre_neuron) for s in placed.synapses} == {(1, 5, 101)}
    assert {one.segments for one in placed.neighbours} >= {(1, 5), (2, 5)}
    elsewhere = VoxelGrid((20, 10, 10), (9e6, 0, 0), automatic.shape)
    beyond = placed_controls(found, Ground(automatic, neurons, elsewhere))
    assert (beyond.neighbours, beyond.synapses, beyond.proofread) == ((), (), {})
    kept = sum(found.control_closure(kind).kept for kind in found.control_kinds)
    outside = [n for why, n in beyond.excluded.items() if why.endswith("point outside the volume")]
    assert sum(outside) == kept


def test_what_cannot_be_read_has_a_name_and_can_be_asked_for_again(small, tmp_path):
    _, _, history = small
    until = datetime.fromtimestamp(1_600_003_600, UTC)
    down, lose = faults.always(faults.status(503)), [True]

    def choose(asked):
        hit = "/watershed/mip0" in asked.path or "synapses" in asked.path
        hit |= b"synapses" in asked.body
        return down(asked) if lose[0] and hit else None

    with fake_cave(history, faults=choose) as cave:
        ledger = gather(cave, tmp_path, until)
        reasons = coverage_of(ledger).reasons
        assert reasons["neighbours: server error"] == len(history.operations)
        assert reasons["synapses: server error"] == len(history.latest(1e18))
        failed = freeze_harvest(ledger, tmp_path / "failed")
        assert failed.control_closure("adjacent_control").failed == {
            "neighbours: server error": len(history.operations)
        }
        lose[0] = False
        ledger.requeue(quarantined=False)
        made = read_cave_record(cave.record(controls=ALL), where="the test's")
        harvest(ledger, open_cave(made, manners=QUICK), made)
        again = freeze_harvest(ledger, tmp_path / "again")
        ledger.close()
    for kind in again.control_kinds:
        assert not again.control_closure(kind).failed
        assert again.control_closure(kind).kept > 0


def test_a_synapse_without_a_place_fails_by_name(small, tmp_path, monkeypatch):
    _, _, history = small
    until = datetime.fromtimestamp(1_600_003_600, UTC)
    asked = CaveServer.rows_of_table

    def nowhere(server, *arguments, **how):
        found = asked(server, *arguments, **how)
        for name in [n for n in found if n.startswith("ctr_pt_position")]:
            found[name] = np.where(found["id"] == 3, np.nan, found[name])
        return found

    monkeypatch.setattr(CaveServer, "rows_of_table", nowhere)
    controls = 'synapses = "synapses"'
    with fake_cave(history) as cave, gather(cave, tmp_path, until, controls=controls) as ledger:
        found = freeze_harvest(ledger, tmp_path / "f")
    assert found.control_closure("synapse_control").failed == {"synapses: corrupt": 1}


def test_a_score_that_is_no_number_fails_by_name(small, tmp_path, monkeypatch):
    _, _, history = small
    until = datetime.fromtimestamp(1_600_003_600, UTC)
    asked = CaveServer.rows_of_table

    def worded(server, *arguments, **how):
        found = asked(server, *arguments, **how)
        return {n: v.astype(str) if n == "cleft_score" else v for n, v in found.items()}

    monkeypatch.setattr(CaveServer, "rows_of_table", worded)
    controls = 'synapses = "synapses"\nscores = ["cleft_score"]\nmin_scores = { cleft_score = 60 }'
    with fake_cave(history) as cave, gather(cave, tmp_path, until, controls=controls) as ledger:
        assert set(coverage_of(ledger).reasons) == {"synapses: corrupt"}


def test_a_table_that_the_server_cuts_is_not_taken_for_whole(small, tmp_path):
    _, _, history = small
    until = datetime.fromtimestamp(1_600_003_600, UTC)
    controls = 'synapses = "synapses"'
    with (
        fake_cave(history, most_rows=4) as cave,
        gather(cave, tmp_path, until, controls=controls) as ledger,
    ):
        found = freeze_harvest(ledger, tmp_path / "f")
    assert found.control_closure("synapse_control").failed == {"synapses: too many rows": 1}


def test_without_a_materialised_version_the_same_controls_come_back(small, tmp_path, caplog):
    _, _, history = small
    until, found = datetime.fromtimestamp(1_600_003_600, UTC), []
    for name, defects in (("a", Defects()), ("b", Defects(expired=True))):
        with (
            fake_cave(history, defects=defects) as cave,
            gather(cave, tmp_path / name, until) as ledger,
        ):
            found.append(freeze_harvest(ledger, tmp_path / name / "f").manifest["sha256"])
    assert found[0]["controls.parquet"] == found[1]["controls.parquet"]
    assert caplog.text == ""


def test_controls_that_were_not_asked_for_yet_are_waited_for(small, tmp_path):
    _, _, history = small
    with (
        killed_before_neighbours(history, tmp_path) as (ledger, _),
        pytest.raises(BadInputError, match="controls wait"),
    ):
        freeze_harvest(ledger, tmp_path / "frozen")


def test_a_column_that_is_not_there_is_named(small, tmp_path):
    _, _, history = small
    until = datetime.fromtimestamp(1_600_003_600, UTC)
    controls = 'synapses = "synapses"\nscores = ["beauty"]'
    with fake_cave(history) as cave, pytest.raises(SchemaError, match="beauty"):
        gather(cave, tmp_path, until, controls=controls)


def test_a_score_that_is_compared_must_be_kept():
    text = FakeCave(Server("http://h"), "fake", TOKEN).record(controls="min_scores = { a = 1 }")
    with pytest.raises(BadInputError, match="min_scores"):
        read_cave_record(text, where="the test's")


def test_shipped_records_ask_for_the_published_controls():
    for name in ("microns", "flywire"):
        assert load_cave_record(name).controls.asked == (
            "adjacent_control",
            "junction_control",
            "synapse_control",
        )
    for name in ("h01", "fish1"):
        assert load_cave_record(name).controls.asked == ("adjacent_control",)
