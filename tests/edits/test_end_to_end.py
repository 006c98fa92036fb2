"""From a CAVE to a verified benchmark: harvest, freeze, plan, build, verify; twice, same bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from segmend.apps.building import Order, build_benchmark
from segmend.apps.progress import Progress
from segmend.build.frozen import read_frozen
from segmend.build.plan import make_plan
from segmend.build.settings import load_settings
from segmend.core.errors import PlanError, VerificationError
from segmend.core.sample import SAMPLE_TYPES
from segmend.edits.cave_record import read_cave_record
from segmend.edits.cave_server import Manners, open_cave
from segmend.edits.frozen import open_frozen
from segmend.edits.harvest import harvest
from segmend.edits.imported_log import Tissue, import_log
from segmend.edits.ledger import Ledger
from segmend.edits.normalise import freeze_harvest
from segmend.edits.operation import EditOp, Identity
from segmend.edits.overlap import OverlapRules
from segmend.edits.overlap_table import overlap_table
from segmend.edits.placed import Ground, placed_edits
from segmend.segments.contacts import find_contacts
from segmend.shards.verify import verify
from segmend.store.retry import RetryPolicy
from segmend.testing import faults
from segmend.testing.edit_logs import dvid_messages, webknossos_versions, write_tissue
from segmend.testing.fake_cave import fake_cave, write_token
from segmend.testing.fake_cave_defects import every_defect
from segmend.testing.plans import TISSUE, write_plan

pytestmark = pytest.mark.usefixtures("token_home")

SAMPLES = """
adjacent_per_merge = 1
junction_min_purity = 0.9
max_rows = { adjacent_control = 4, junction_control = 4 }
"""

CONTROLS = """
adjacent = 3
edits = ["merge", "split"]
proofread = "proofreading_status_and_strategy"
synapses = "synapses"
scores = ["cleft_score", "connection_score", "ach"]
"""


def planned(file: Path, source: str, more: str) -> Path:
    """A plan with edits from a source, and what its volume says besides."""
    return write_plan(file, edits=f'source = "{source}"', samples=SAMPLES, source=more)


def frozen_from(history, until, folder: Path, *, choose=faults.no_fault, defects=None):
    manners = Manners(policy=RetryPolicy(attempts=4, base_s=0.01, cap_s=0.02))
    with (
        fake_cave(history, faults=choose, defects=defects) as cave,
        Ledger(folder / "h", create=True) as ledger,
    ):
        record = read_cave_record(cave.record(controls=CONTROLS), where="the test's")
        harvest(ledger, open_cave(record, manners=manners), record, until=until)
        # The port of a loopback server is not part of a history.
        ledger.set_fact("record", str(ledger.fact("record")).replace(cave.url, "http://fake"))
        return freeze_harvest(ledger, folder / "edits")


@pytest.fixture(scope="module")
def frozen(history, until, tmp_path_factory):
    """A harvest without faults, frozen, for whoever only reads it."""
    folder = tmp_path_factory.mktemp("frozen")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        write_token(folder)
        return frozen_from(history, until, folder)


def asked_by(file: Path, *overrides: str) -> set[tuple[object, ...]]:
    """The edits that a plan asks about."""
    plan = make_plan(load_settings(file, overrides), file.parent)
    rows = (row for unit in plan.units for row in unit.candidates)
    return {
        (row.kind, *sorted(row.segments), *sorted(row.sides))
        for row in rows
        if row.kind.endswith("_edit")
    }


@pytest.fixture(scope="module")
def true_questions(tmp_path_factory):
    """The oracle: a plan that takes the history from the tissue itself."""
    return asked_by(plan_file(tmp_path_factory.mktemp("true"), "synthetic-log"), EDITS_ONLY)


EDITS_ONLY = 'samples.types=["merge_edit", "split_edit"]'


def plan_file(folder: Path, source: str) -> Path:
    edits = 'edits = "edits"' if source == "frozen" else ""
    return planned(folder / f"{source}.toml", source, TISSUE + edits)


def built(folder: Path, file: Path | None = None) -> Path:
    with Progress(quiet=True) as progress:
        order = Order(file or plan_file(folder, "frozen"), workers=1)
        made, _ = build_benchmark(order, folder / "bench", progress)
    return made.folder


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_a_benchmark_from_a_cave_is_the_same_bytes_twice_even_where_calls_fail(
    history, until, tmp_path
):
    failing = [faults.status(503), faults.hang_up(), faults.cut(5), faults.status(500)]
    choices = {"a": faults.no_fault, "b": faults.seeded(11, failing, rate=0.05)}
    found = {}
    for name, choose in choices.items():
        (tmp_path / name).mkdir()
        frozen_from(history, until, tmp_path / name, choose=choose)
        bench = built(tmp_path / name)
        assert verify(bench).problems == ()
        found[name] = bytes_of(bench)
        kinds = {kind for kind, _ in read_frozen(bench).counts()}
        assert kinds == set(SAMPLE_TYPES)
    assert found["a"].keys() == found["b"].keys()
    assert found["a"] == found["b"]


def test_with_every_defect_the_questions_are_the_same_or_named(frozen, history, until, tmp_path):
    """5 % of the calls fail besides: what is asked is what would be asked, the rest is counted."""
    failing = faults.seeded(3, [faults.status(503), faults.hang_up(), faults.cut(5)], rate=0.05)
    wrong = every_defect(0.15, seed=5)
    broken = frozen_from(history, until, tmp_path, choose=failing, defects=wrong)
    found, asked = {"a": frozen, "b": broken}, {}
    for name, one in found.items():
        folder = one.folder.parent
        settings = load_settings(plan_file(folder, "frozen"), ["samples.max_rows={}"])
        plan = make_plan(settings, folder)
        asked[name] = {row.combined_hash for unit in plan.units for row in unit.candidates}
        # The account of the history is in the plan's.
        for kind in found[name].control_kinds:
            closure = found[name].control_closure(kind)
            for reason, number in (closure.dropped + closure.failed).items():
                assert plan.excluded[f"samples: {kind}: {reason}"] >= number
    assert set() != asked["b"] < asked["a"]
    for kind in found["b"].control_kinds:
        controls = [{(c.source_id, c.root_ids) for c in found[n].controls(kind)} for n in "ab"]
        assert controls[1] <= controls[0]
    assert found["b"].closure.failed
    assert found["b"].control_closure("synapse_control").failed.total() == 0


def test_the_questions_are_those_of_the_true_log(frozen, true_questions):
    folder = frozen.folder.parent
    assert asked_by(plan_file(folder, "frozen"), EDITS_ONLY) == true_questions != set()


def test_a_plan_by_blocks_places_them_as_the_whole_does(frozen):
    folder = frozen.folder.parent
    hashes = {
        make_plan(load_settings(plan_file(folder, "frozen"), blocks), folder).content_hash
        for blocks in ([], ["edits.block=[30, 70, 128]"])
    }
    assert len(hashes) == 1


def test_a_plan_says_what_its_frozen_edits_are(frozen, tmp_path):
    shutil.copytree(frozen.folder, tmp_path / "edits")
    settings = load_settings(plan_file(tmp_path, "frozen"), [EDITS_ONLY])
    plan = make_plan(settings, tmp_path)
    assert plan.sources[0]["edits"]["sha256"] == frozen.manifest["sha256"]
    assert plan.sources[0]["edits"]["licence"] == "CC0-1.0"
    assert plan.excluded["edits: undone"] == 4
    file = tmp_path / "edits" / "edits.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(VerificationError, match=r"edits\.parquet"):
        make_plan(settings, tmp_path)


@pytest.mark.parametrize(("source", "edits"), [("frozen", ""), ("overlap", 'edits = "e"')])
def test_a_plan_with_frozen_edits_names_their_folder_and_no_other_does(tmp_path, source, edits):
    file = planned(tmp_path / "p.toml", source, TISSUE + edits)
    with pytest.raises(PlanError, match="'edits'"):
        load_settings(file)


RULES = OverlapRules(50, 0.8, 5, 30, 0.0)


@pytest.fixture(scope="module")
def placed(tissue):
    """Place edits on the tissue."""
    automatic, neurons = tissue.segments("automatic"), tissue.segments("neurons")
    grid = tissue.labels["neurons"].grid
    table, contacts = overlap_table(automatic, neurons, grid), find_contacts(automatic, grid)
    identity = Identity("synthetic", "1", "v1")

    def place(*ops: EditOp):
        return placed_edits(
            ops, Ground(automatic, neurons, grid), table, contacts, rules=RULES, identity=identity
        )

    return place


def op(kind: str, source, sink) -> EditOp:
    before, after = ((1, 2), (3,)) if kind == "merge" else ((1,), (2, 3))
    return EditOp(
        "7",
        kind,
        before,
        after,
        (10.0, 10.0, 10.0),
        3,
        "d",
        "1",
        "",
        "CAVE",
        source_points_nm=source,
        sink_points_nm=sink,
    )


HERE = ((10.0, 5.0, 5.0),)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (op("merge", (), HERE), "merge: no clicks"),
        (op("merge", HERE, ((1e7, 5.0, 5.0),)), "merge: click outside the volume"),
        (op("merge", HERE, HERE), "merge: clicks in one segment"),
        (op("split", HERE, HERE), "split: clicks in one neuron"),
    ],
)
def test_clicks_that_cannot_be_placed_are_named(placed, edit, reason):
    found = placed(edit)
    assert found.ops == ()
    assert found.excluded == {reason: 1}


def test_no_server_and_no_token_are_needed_to_read_them_again(frozen, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    again = open_frozen(frozen.folder)
    assert len(list(again.edits())) == 12
    text = json.dumps(again.manifest)
    assert "token" not in text.lower()


@pytest.mark.parametrize(("log", "positions"), [("dvid", False), ("webknossos", True)])
def test_a_log_of_another_program_gives_the_questions_of_the_true_log(
    tissue, history, true_questions, tmp_path, log, positions
):
    """File -> plan -> build -> verify, on a stand-in for an agglomerated segmentation."""
    record = write_tissue(tmp_path, tissue, history)
    automatic = tissue.segments("automatic")
    entries = dvid_messages(history, automatic)
    if log == "webknossos":
        entries = webknossos_versions(history, automatic, positions=positions)
    (tmp_path / "log.json").write_text(json.dumps(entries))
    volume = Tissue(history.supervoxels, automatic, history.grid, Identity("agglo", "1", ""))
    import_log(tmp_path / "log.json", tmp_path / "edits", log=log, tissue=volume, licence="CC0-1.0")
    volume_of_log = f'dataset = "{record.name}"\npath = "tissue.h5"\nedits = "edits"'
    file = planned(tmp_path / "frozen.toml", "frozen", volume_of_log)
    assert asked_by(file, EDITS_ONLY) == true_questions != set()
    edits_only = file.read_text().replace("[samples]", f"[samples]\n{EDITS_ONLY[8:]}")
    file.write_text(edits_only)
    assert verify(built(tmp_path, file)).problems == ()
