"""Harvesting a fake CAVE: the known history comes back whole, or every gap has a name."""

from __future__ import annotations

import logging
import sqlite3
from datetime import UTC, datetime

import pytest

from segmend.core.errors import BadInputError, ReadFailedError
from segmend.edits.cave_record import load_cave_record, read_cave_record, record_names
from segmend.edits.cave_server import Manners, open_cave
from segmend.edits.coverage import coverage_of
from segmend.edits.harvest import harvest, record_of
from segmend.edits.ledger import FILE, Ledger
from segmend.edits.normalise import freeze_harvest
from segmend.store.retry import RetryPolicy, TimeLimits
from segmend.testing import faults
from segmend.testing.fake_cave import TOKEN, FakeCave, fake_cave, write_token
from segmend.testing.fake_cave_defects import Defects, every_defect
from segmend.testing.servers import Server

QUICK = Manners(
    policy=RetryPolicy(attempts=4, base_s=0.01, cap_s=0.02),
    limits=TimeLimits(connect_s=2, first_byte_s=2, total_s=5),
)


pytestmark = pytest.mark.usefixtures("token_home")


def record(cave, **settings):
    return read_cave_record(cave.record(**settings), where="the test's")


def gather(cave, folder, until, *, manners=QUICK, **settings):
    """Harvest into a folder; its ledger, still open."""
    ledger = Ledger(folder, create=True)
    made = record(cave, **settings)
    harvest(ledger, open_cave(made, manners=manners), made, until=until, workers=manners.workers)
    return ledger


def outcomes(ledger, tmp_path, name="frozen"):
    frozen = freeze_harvest(ledger, tmp_path / name)
    assert frozen.closure.closed
    return frozen


@pytest.fixture(scope="module")
def good(history, until, tmp_path_factory):
    """A harvest without faults, frozen."""
    folder = tmp_path_factory.mktemp("good")
    patch = pytest.MonkeyPatch()
    patch.setenv("HOME", str(folder))
    write_token(folder)
    with fake_cave(history) as cave:
        ledger = gather(cave, folder / "h", until, rules="min_smaller_chunks = 1")
        frozen = freeze_harvest(ledger, folder / "frozen")
        ledger.close()
    patch.undo()
    return frozen


def test_every_true_edit_comes_back_as_it_was_made(good, history):
    """The oracle is the history that the server was filled from."""
    kept = {int(op.operation_id): op for op in good.edits()}
    truth = {n: o for n, o in history.operations.items() if n in kept}
    assert len(kept) == 12  # as many as there are true edits
    for number, operation in truth.items():
        op = kept[number]
        assert (op.kind, op.before_ids, op.after_ids) == (
            operation.kind,
            operation.before,
            operation.after,
        )
        assert op.timestamp == operation.time_ms // 1000
        x, y, z = operation.sources[0]
        assert op.source_points_nm == (((z + 0.5) * 20, (y + 0.5) * 10, (x + 0.5) * 10),)
        assert op.cluster_id in history.latest(1e18)
        assert op.dataset == "fake"
        assert op.facts["supervoxels"] == [[str(a), str(b)] for a, b in operation.edges]


def test_of_undone_and_redone_merges_the_last_is_kept(good, history):
    dropped = {int(one.operation_id) for one in good.outcomes() if one.reason == "undone"}
    chains = [
        (n, n + 1, n + 2)
        for n, o in history.operations.items()
        if n + 2 in history.operations
        and history.operations[n + 1].truth is None
        and o.truth is not None
    ]
    assert dropped == {n for chain in chains for n in chain[:2]}
    assert len(dropped) == 4


def test_the_account_closes_and_every_root_has_an_outcome(good, history):
    closure = good.closure
    assert (closure.known, closure.kept) == (len(history.operations), 12)
    assert closure.known == closure.kept + closure.dropped.total() + closure.failed.total()
    roots = good.roots().to_pylist()
    assert {row["root_id"] for row in roots} == set(history.latest(1e18))
    edited = {r for r in history.latest(1e18) if history.change_log(r, filtered=True)}
    assert {row["root_id"] for row in roots if row["outcome"] == "ok"} == edited
    assert all(row["outcome"] == "no edits" for row in roots if row["root_id"] not in edited)
    assert all(row["size"] == len(history.leaves(row["root_id"], 2)) for row in roots)


def test_it_says_where_it_is_from(good, until):
    manifest = good.manifest
    assert manifest["source"]["until"] == until.isoformat()
    assert manifest["source"]["versions"]["chunkedgraph"] == "3.0.20"
    assert (manifest["licence"], manifest["species"]) == ("CC0-1.0", "synthetic")
    op = next(good.edits())
    assert op.facts["provenance"]["before_ids"] == "tabular_change_log"


def test_delta_roots_find_the_same_edits(history, until, tmp_path, good):
    with fake_cave(history, proofread_table="") as cave:
        ledger = gather(cave, tmp_path / "h", until, delta=True, rules="min_smaller_chunks = 1")
    assert list(outcomes(ledger, tmp_path).edits()) == list(good.edits())
    ledger.close()


def test_eight_requests_are_in_flight(history, until, tmp_path):
    with fake_cave(history, latency_s=0.02) as cave:
        gather(cave, tmp_path / "h", until).close()
        assert cave.server.most_at_once == 8


def test_a_rate_limits_all_requests_together(history, until, tmp_path):
    slow = Manners(per_second=50, policy=QUICK.policy, limits=QUICK.limits)
    began = datetime.now(UTC)
    with fake_cave(history) as cave:
        gather(cave, tmp_path / "h", until, manners=slow, most=20).close()
        asked = len(cave.server.log)
    assert (datetime.now(UTC) - began).total_seconds() > (asked - 1) / 50 * 0.9


def test_two_harvests_give_the_same_bytes(history, until, tmp_path):
    with fake_cave(history, latency_s=0.002) as cave:
        for name in "ab":
            ledger = gather(cave, tmp_path / f"h{name}", until, rules="min_smaller_chunks = 1")
            outcomes(ledger, tmp_path, name)
            ledger.close()
    for file in sorted(p.name for p in (tmp_path / "a").iterdir()):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


NETWORK = [
    faults.status(503),
    faults.status(500),
    faults.status(429, {"Retry-After": "0"}),
    faults.reset(3),
    faults.hang_up(),
    faults.cut(5),
]


def test_with_calls_failing_the_same_edits_come_back(history, until, tmp_path, good):
    """5 % of all calls fail in one of six ways: retries get them all, or a name says why not."""
    with fake_cave(history, faults=faults.seeded(7, NETWORK, rate=0.05)) as cave:
        ledger = gather(cave, tmp_path / "h", until, rules="min_smaller_chunks = 1")
    assert list(outcomes(ledger, tmp_path).edits()) == list(good.edits())
    ledger.close()


def test_a_server_that_asks_for_patience_is_given_it(history, until, tmp_path):
    busy = faults.status(429, {"Retry-After": "1"})
    pending = [True]

    def once(asked):
        hit = "operation_details" in asked.path and pending
        return busy if hit and pending.pop() else None

    began = datetime.now(UTC)
    with fake_cave(history, faults=once) as cave:
        gather(cave, tmp_path / "h", until).close()
    assert (datetime.now(UTC) - began).total_seconds() > 1


def test_all_defects_at_once_lose_nothing_without_a_name(history, until, tmp_path, good):
    """What is kept is right; what is not kept is named; and the two add up."""
    true = {op.operation_id: op for op in good.edits()}
    network = faults.seeded(3, NETWORK, rate=0.05)
    with fake_cave(history, defects=every_defect(0.15, seed=5), faults=network) as cave:
        ledger = gather(cave, tmp_path / "h", until, rules="min_smaller_chunks = 1")
    frozen = outcomes(ledger, tmp_path)
    for op in frozen.edits():
        assert (op.kind, op.before_ids, op.after_ids, op.timestamp) == (
            true[op.operation_id].kind,
            true[op.operation_id].before_ids,
            true[op.operation_id].after_ids,
            true[op.operation_id].timestamp,
        )
    assert all(one.reason for one in frozen.outcomes())
    missing = coverage_of(ledger).reasons
    assert missing["roots: timeout"] + missing["roots: forbidden"] > 0
    named = {row["outcome"] for row in frozen.roots().to_pylist()}
    assert "pending" not in named
    ledger.close()


CASES = [
    ("one_new_root", {}, "new roots from supervoxels"),
    ("no_time", {}, "time from its new roots"),
    ("seconds", {}, "seconds read as milliseconds"),
    ("string_ids", {}, "ids from strings"),
    ("lost_details", {"no details": 16}, ""),
    ("contrary", {"inconsistent: kind": 16}, ""),
    ("swapped", {"inconsistent: clicked roots before": 16}, ""),
    ("outside", {"outside the volume": 16}, ""),
    ("wrong_latest", {}, ""),
    ("early_fails", {}, ""),
    ("empty_log_times_out", {}, ""),
    ("late_originals", {}, ""),
    ("expired", {}, ""),
    ("no_edges", {}, ""),
    ("empty_delta_fails", {}, ""),
    ("echoes_token", {}, ""),
]


@pytest.mark.parametrize(("defect", "lost", "applied"), CASES)
def test_each_defect_is_repaired_or_named(history, until, tmp_path, good, defect, lost, applied):
    with fake_cave(history, defects=Defects(**{defect: True})) as cave:
        ledger = gather(cave, tmp_path / "h", until)
    frozen = outcomes(ledger, tmp_path)
    ledger.close()
    found = frozen.closure.dropped + frozen.closure.failed
    if lost:
        for reason, number in lost.items():
            assert found[reason] == number, found
    else:
        kept = {(op.operation_id, op.kind, op.before_ids, op.after_ids) for op in frozen.edits()}
        assert kept == {
            (op.operation_id, op.kind, op.before_ids, op.after_ids) for op in good.edits()
        }, found
    if applied:
        assert frozen.manifest["applied"][applied] > 0


def test_a_defect_of_one_root_does_not_take_its_batch_with_it(history, until, tmp_path):
    defects = Defects(seed=1, slow_lineage=0.3, forbidden=0.05)
    with fake_cave(history, defects=defects) as cave:
        ledger = gather(cave, tmp_path / "h", until)
    rows = {int(r): o for r, o in ledger.rows("SELECT root, outcome FROM roots")}
    ledger.close()
    for root, outcome in rows.items():
        edited = bool(history.change_log(root, filtered=True))
        expected = "ok" if edited else "no edits"
        if edited and defects.hit("slow_lineage", root):
            expected = "timeout"
        if defects.hit("forbidden", root):
            expected = "forbidden"
        assert outcome == expected
    assert {"timeout", "forbidden", "ok", "no edits"} <= set(rows.values())


def test_a_failure_is_retried_three_rounds_and_then_left_alone(history, until, tmp_path):
    with fake_cave(history, defects=Defects(forbidden=1)) as cave:
        ledger = gather(cave, tmp_path / "h", until, most=9)
        made = record(cave, most=9)
        for _ in range(2):
            assert ledger.requeue(quarantined=False) == 9
            harvest(ledger, open_cave(made, manners=QUICK), made)
        assert coverage_of(ledger).quarantined == 9
        assert ledger.requeue(quarantined=False) == 0
        assert ledger.requeue(quarantined=True) == 9
    ledger.close()


def test_a_retry_gets_what_failed_and_nothing_else(history, until, tmp_path, good):
    down = faults.always(faults.status(503))
    lose = [True]

    def choose(asked):
        return down(asked) if lose[0] and "operation_details" in asked.path else None

    with fake_cave(history, faults=choose) as cave:
        ledger = gather(cave, tmp_path / "h", until)
        assert coverage_of(ledger).reasons == {"operations: server error": 16}
        lose[0] = False
        ledger.requeue(quarantined=False)
        before = len(cave.server.log)
        harvest(ledger, open_cave(record(cave), manners=QUICK), record(cave))
        paths = [asked.path for asked in cave.server.log[before:]]
    assert not any("tabular_change_log" in path for path in paths)
    assert [op.operation_id for op in outcomes(ledger, tmp_path).edits()] == [
        op.operation_id for op in good.edits()
    ]
    ledger.close()


def test_what_a_failed_operation_may_have_undone_is_not_kept(history, until, tmp_path, good):
    """The details of an undo cannot be had: whether the merge before it stands is not known."""
    undo = next(n for n, o in history.operations.items() if o.kind == "split" and o.truth is None)
    lose = [True]

    def choose(asked):
        hit = lose[0] and "operation_details" in asked.path and str(undo) in asked.path
        return faults.status(503) if hit else None

    with fake_cave(history, faults=choose) as cave:
        ledger = gather(cave, tmp_path / "h", until)
        found = outcomes(ledger, tmp_path, "without")
        named = {one.operation_id: (one.reason, one.detail) for one in found.outcomes()}
        assert named[str(undo)][0] == "details: server error"
        assert named[str(undo - 1)][0] == "perhaps undone"
        assert str(undo) in named[str(undo - 1)][1]
        assert {op.operation_id for op in found.edits()} == {op.operation_id for op in good.edits()}
        lose[0] = False
        ledger.requeue(quarantined=False)
        harvest(ledger, open_cave(record(cave), manners=QUICK), record(cave))
        again = outcomes(ledger, tmp_path, "with")
    ledger.close()
    named = {one.operation_id: one.reason for one in again.outcomes()}
    assert named[str(undo - 1)] == named[str(undo)] == "undone"


def test_an_interrupted_harvest_goes_on_where_it_was(history, until, tmp_path, good):
    """Stopped after every few steps, again and again: the end is the same."""

    class StoppedError(Exception):
        pass

    def stopping(allowed):
        left = [allowed]

        def report(_stage, done, _total):
            left[0] -= done > 0
            if left[0] < 0:
                raise StoppedError

        return report

    asked = []
    with fake_cave(history) as cave:
        made = record(cave, rules="min_smaller_chunks = 1")
        while True:
            with Ledger(tmp_path / "h", create=True) as ledger:
                try:
                    harvest(
                        ledger,
                        open_cave(made, manners=QUICK),
                        made,
                        until=until,
                        report=stopping(9),
                    )
                except StoppedError:
                    asked.append(1)
                    continue
                frozen = outcomes(ledger, tmp_path)
                break
    assert len(asked) > 3
    assert list(frozen.edits()) == list(good.edits())


def test_freezing_what_is_not_finished_is_refused(history, until, tmp_path):
    with fake_cave(history) as cave, Ledger(tmp_path / "h", create=True) as ledger:
        made = record(cave)

        def stop(stage, _done, _total):
            if stage == "operations":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            harvest(ledger, open_cave(made, manners=QUICK), made, until=until, report=stop)
        with pytest.raises(BadInputError, match="operations wait"):
            freeze_harvest(ledger, tmp_path / "frozen")
    assert not (tmp_path / "frozen").exists()


@pytest.mark.parametrize("ask", [record_of, coverage_of])
def test_a_harvest_whose_server_never_answered_is_said_to_be_one(tmp_path, ask):
    with (
        Ledger(tmp_path / "h", create=True) as ledger,
        pytest.raises(BadInputError, match="has not begun"),
    ):
        ask(ledger)
    with (
        Ledger(tmp_path / "h") as ledger,
        pytest.raises(BadInputError, match="has not begun"),
    ):
        freeze_harvest(ledger, tmp_path / "f")
    assert not (tmp_path / "f").exists()


def test_a_kill_while_a_ledger_is_made_leaves_one_that_opens(tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "fact", killed)
        patch.setattr(Ledger, "set_fact", killed)
        with pytest.raises(KeyboardInterrupt):
            Ledger(tmp_path / "h", create=True)
    with Ledger(tmp_path / "h", create=True) as ledger:
        assert ledger.count("roots") == {}


def test_a_ledger_of_something_else_is_refused(history, until, tmp_path):
    with fake_cave(history) as cave, gather(cave, tmp_path / "h", until) as ledger:
        other = record(cave, rules="max_root_chunks = 5")
        with pytest.raises(BadInputError, match="another record"):
            harvest(ledger, open_cave(other, manners=QUICK), other)
        same = record(cave)
        with pytest.raises(BadInputError, match="until"):
            harvest(ledger, open_cave(same, manners=QUICK), same, until=datetime.now(UTC))
    (tmp_path / "n").mkdir()
    with pytest.raises(BadInputError, match="segmend edits harvest makes one"):
        Ledger(tmp_path / "n")
    (tmp_path / "n" / FILE).write_bytes(b"not a data base, but long enough to be one" * 40)
    with pytest.raises(BadInputError, match="not a harvest"):
        Ledger(tmp_path / "n")


def test_the_token_is_shown_and_kept_nowhere(history, until, tmp_path, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    defects = Defects(echoes_token=True, forbidden=0.5)
    with fake_cave(history, defects=defects) as cave:
        ledger = gather(cave, tmp_path / "h", until)
        outcomes(ledger, tmp_path)
        ledger.close()
        assert any(TOKEN in asked.headers["authorization"] for asked in cave.server.log)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path
    captured = capsys.readouterr()
    assert TOKEN not in caplog.text + captured.out + captured.err


def test_a_body_that_repeats_the_token_is_censored(history, monkeypatch):
    with (
        fake_cave(
            history,
            faults=faults.always(
                faults.Fault(lambda _r, _a: faults.Reply(403, {}, f"no, {TOKEN}".encode()))
            ),
        ) as cave,
        pytest.raises(ReadFailedError, match="403") as refused,
    ):
        open_cave(record(cave), manners=QUICK)
    assert TOKEN not in str(refused.value)
    assert "<token>" in str(refused.value)


@pytest.mark.parametrize("shown", ["", "ffff"])
def test_without_a_good_token_it_says_how_to_get_one(history, tmp_path, monkeypatch, shown):
    monkeypatch.setenv("HOME", str(tmp_path))
    if shown:
        write_token(tmp_path, shown)
    with fake_cave(history) as cave, pytest.raises(ReadFailedError, match=r"docs/edits\.md") as no:
        open_cave(record(cave), manners=QUICK)
    assert no.value.reason == "forbidden"


@pytest.mark.parametrize("fault", [faults.silence(), faults.stall(3), faults.drip(1, 0.1)])
def test_a_server_that_says_nothing_ends_in_a_time_out(history, fault):
    hasty = Manners(
        policy=RetryPolicy(attempts=2, base_s=0.01),
        limits=TimeLimits(connect_s=0.2, first_byte_s=0.2, total_s=0.3),
    )
    always = faults.always(fault)
    with fake_cave(history, faults=always) as cave, pytest.raises(ReadFailedError) as late:
        open_cave(record(cave), manners=hasty)
    assert late.value.reason == "timeout"


def test_a_server_that_is_not_there_is_named():
    gone = FakeCave(Server("http://127.0.0.1:1"), "fake", TOKEN)
    made = record(gone)
    with pytest.raises(ReadFailedError) as failed:
        open_cave(made, manners=QUICK)
    assert failed.value.reason == "connection"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"scales": []}', b"\xff"])
def test_answers_that_are_none_are_failures(history, body):
    def choose(asked):
        if asked.path.endswith("/info"):
            return faults.Fault(lambda _r, _a: faults.Reply(200, {}, body))
        return None

    with fake_cave(history, faults=choose) as cave, pytest.raises((ReadFailedError, BadInputError)):
        open_cave(record(cave), manners=QUICK)


def test_every_shipped_record_loads_and_names_the_published_settings():
    assert record_names() == ("fish1", "flywire", "h01", "microns")
    assert load_cave_record("microns").roots.table == "proofreading_status_and_strategy"
    assert load_cave_record("flywire").roots.most == 20_000
    assert load_cave_record("h01").rules.max_root_chunks == 6500
    assert load_cave_record("fish1").roots.source == "delta"


GOOD = FakeCave(Server("http://h"), "fake", TOKEN).record()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "does not hold"),
        ("name = 'a'", "missing required field"),
        (GOOD.replace("http://h", "ftp://h"), "server"),
        (GOOD.replace("http://h", "http://me:secret@h"), "server"),
        (GOOD.replace("table = ", "tables = "), "tables"),
        (GOOD.replace('table = "proofreading_status_and_strategy"', ""), r"roots\.table is empty"),
        (GOOD + "chain_hop = 1", "chain_hop"),
    ],
)
def test_records_that_do_not_hold_are_refused(tmp_path, text, message):
    file = tmp_path / "r.toml"
    file.write_text(text)
    with pytest.raises(BadInputError, match=message):
        load_cave_record(str(file))
    with pytest.raises(BadInputError, match="cannot read"):
        load_cave_record(str(tmp_path / "absent.toml"))
    with pytest.raises(BadInputError, match="edit history"):
        load_cave_record("micron")


def test_the_ledger_is_plain_sqlite(history, until, tmp_path):
    with fake_cave(history) as cave:
        gather(cave, tmp_path / "h", until).close()
    db = sqlite3.connect(tmp_path / "h" / FILE)
    assert db.execute("SELECT count(*) FROM operations").fetchone() == (16,)
    db.close()
