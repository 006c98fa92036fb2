"""Builds that were killed, damaged, doubled or moved: they go on, or say why they cannot."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from segmend.build import units
from segmend.build.commits import commit_path
from segmend.build.engines.processes import Processes
from segmend.build.frozen import ROWS_FILE, read_frozen
from segmend.build.lease import LeaseWatch, lease
from segmend.build.pipeline import freeze
from segmend.build.resume import rebuild, resume, status
from segmend.build.settings import load_settings
from segmend.core.errors import (
    BadInputError,
    OutputError,
    PlanError,
    ReadFailedError,
    WorkerLostError,
)
from segmend.shards.layout import PLAN_FILE, SHARDS_CSV
from segmend.shards.reader import Benchmark

pytestmark = pytest.mark.slow


def files(folder: Path) -> dict[str, str]:
    return {
        str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(folder.rglob("*"))
        if f.is_file()
    }


@pytest.fixture
def begun(plan, tmp_path) -> Path:
    """A folder with a frozen plan and nothing else."""
    freeze(plan, tmp_path / "bench")
    return tmp_path / "bench"


@pytest.fixture
def go_on(plan_file):
    """Resumes a build."""

    def run(folder: Path, engine=None):
        return resume(load_settings(plan_file), plan_file.parent, folder, engine=engine)

    return run


def test_a_frozen_plan_is_built_as_if_in_one_go(built, begun, go_on) -> None:
    go_on(begun)
    assert files(begun) == files(built.folder)
    with pytest.raises(OutputError, match="finished already"):
        go_on(begun)


STAGES = (".build/leases/*", "*/.*.tmp", "*/*.parquet", ".build/commits/*.json")
"""What a worker leaves behind as it goes: lease, temporary file, shard, commit record."""


@pytest.mark.timeout(1200)  # twelve builds and more, on a machine that may be busy
def test_kills_at_seeded_points_cost_at_most_a_shard_each(built, begun, plan_file) -> None:
    """A real coordinator with two workers: one is killed, another, then all, again and again."""
    draw, before, kills = random.Random(0), 0, 0
    while kills < int(os.environ.get("SEGMEND_TEST_KILLS", "12")):
        if status(begun).finished:  # a build has no room for more kills than these
            shutil.rmtree(begun)
            freeze_again(built, begun)
            before = 0
        process = _start(["build", plan_file, "--out", begun, "--resume", "--workers", "2"])
        for target in (_worker_of, _worker_of, lambda pid: -pid):
            _await(process, begun, draw.choice(STAGES))
            time.sleep(draw.uniform(0, 0.1))
            kills += _kill(target(process.pid)) if process.poll() is None else 0
        process.wait()
        done = status(begun).done
        assert done >= before  # what is committed stays so
        before = done
    if not status(begun).finished:
        _run(begun, plan_file)
    assert files(begun) == files(built.folder)


def _await(process: subprocess.Popen[bytes], folder: Path, stage: str) -> None:
    """Wait until a build leaves something new of a stage behind, or ends."""
    seen = set(folder.glob(stage))
    while process.poll() is None and not set(folder.glob(stage)) - seen:
        time.sleep(0.002)


def _worker_of(pid: int) -> int:
    """A worker process of a coordinator, 0 if it has none just now."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    return 0


def _kill(pid: int) -> bool:
    """Kill a process, or with a negative number its whole group; whether it was there."""
    if not pid:
        return False
    try:
        (os.killpg if pid < 0 else os.kill)(abs(pid), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def freeze_again(built, folder: Path) -> None:
    folder.mkdir()
    for name in (PLAN_FILE, ROWS_FILE):
        shutil.copy(built.folder / name, folder / name)


def _run(folder: Path, plan_file: Path) -> subprocess.Popen[bytes]:
    command = ["build", plan_file, "--out", folder, "--resume", "--workers", "2"]
    process = _start(command)
    assert process.wait(120) == 0
    return process


def _start(command: list[object]) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "segmend.apps.cli.main", *map(str, command)]
    return subprocess.Popen(
        line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def test_a_killed_worker_costs_its_shard_alone(built, begun, plan_file, go_on, monkeypatch) -> None:
    """Kill one of two workers in the middle of a shard; every other shard is drawn once."""
    seen = begun.parent / "seen"
    seen.mkdir()
    monkeypatch.setenv("SEGMEND_TEST_SEEN", str(seen))
    settings = load_settings(plan_file)
    folder = plan_file.parent
    monkeypatch.setattr("segmend.build.pipeline.make_shard", _watched)
    resume(settings, folder, begun, engine=Processes(2))
    drawn = sorted(path.name.rpartition(".")[0] for path in seen.iterdir())
    planned = [f"{s.split}-{s.shard_id}" for s in read_frozen(begun).shards]
    assert drawn == sorted([*planned, planned[1]])
    assert files(begun) == files(built.folder)


def _watched(unit, folder):
    """`make_shard`, killed once in the middle of the second training shard."""
    seen = Path(os.environ["SEGMEND_TEST_SEEN"])
    name = f"{unit.split}-{unit.shard_id}"
    (seen / f"{name}.{len(list(seen.glob(name + '.*')))}").touch()
    if name == "train-1" and not (seen / f"{name}.1").exists():
        draw, left = units.draw_row, iter(range(3))

        def last(candidate, unit):
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return draw(candidate, unit)

        units.draw_row = last
    return units.make_shard(unit, folder)


def test_a_worker_that_always_dies_ends_the_build(begun, go_on, monkeypatch) -> None:
    monkeypatch.setattr("segmend.build.pipeline.make_shard", _out_of_memory)
    with pytest.raises(WorkerLostError, match="use fewer --workers"):
        go_on(begun, Processes(2))
    monkeypatch.undo()
    assert status(begun).done == 0
    go_on(begun)
    assert status(begun).finished


def _out_of_memory(unit, folder):
    os.kill(os.getpid(), signal.SIGKILL)


def test_two_builds_in_one_folder_share_the_work(built, begun, plan_file) -> None:
    both = [
        _start(["build", plan_file, "--out", begun, "--resume", "--workers", "1"]) for _ in range(2)
    ]
    assert sorted(process.wait(120) for process in both) in ([0, 0], [0, 5])
    assert files(begun) == files(built.folder)


def test_a_shard_that_another_build_makes_is_waited_for(built, begun, go_on) -> None:
    held = units.lease_path(begun, "train", 0)
    held.parent.mkdir(parents=True)
    waiting = threading.Event()

    def other() -> None:
        with lease(held) as free:
            assert free
            waiting.set()
            time.sleep(3)

    thread = threading.Thread(target=other)
    thread.start()
    waiting.wait()
    go_on(begun)
    thread.join()
    assert files(begun) == files(built.folder)


def test_a_plan_edited_after_the_start_is_refused(begun, plan_file, tmp_path) -> None:
    settings = load_settings(plan_file, ["seed=9", "em.pixel_size_nm=7"])
    with pytest.raises(PlanError, match="different: seed, em"):
        resume(settings, plan_file.parent, begun)
    header = json.loads((begun / PLAN_FILE).read_text())
    header["shards"][0]["rows"] -= 1
    (begun / PLAN_FILE).write_text(json.dumps(header))
    with pytest.raises(PlanError, match="not the one that was frozen"):
        resume(load_settings(plan_file), plan_file.parent, begun)
    (begun / PLAN_FILE).unlink()
    with pytest.raises(PlanError, match="holds no plan"):
        resume(load_settings(plan_file), plan_file.parent, begun)


def test_a_volume_that_changed_since_the_plan_is_refused(begun, plan_file) -> None:
    header = json.loads((begun / PLAN_FILE).read_text())
    plan = read_frozen(begun)
    sources = [dict(source) for source in plan.sources]
    sources[1]["fingerprint"] = "sha256:another"
    changed = dataclasses.replace(plan, sources=tuple(sources))
    header["sources"] = sources
    header["content_hash"] = _rehash(changed)
    (begun / PLAN_FILE).write_text(json.dumps(header))
    with pytest.raises(PlanError, match=r"volume 'v2' is not the one.*fingerprint"):
        resume(load_settings(plan_file), plan_file.parent, begun)


def _rehash(plan) -> str:
    try:
        plan.check_unchanged()
    except PlanError as error:
        return error.found.split()[4].rstrip(",")
    return plan.content_hash


def test_a_damaged_commit_record_is_named(begun, go_on) -> None:
    path = commit_path(begun, "train", 0)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(ReadFailedError, match=r"train-00000\.json"):
        go_on(begun)
    path.unlink()
    go_on(begun)


def test_rebuild_makes_missing_and_damaged_shards_again_and_no_other(
    built, plan_file, tmp_path
) -> None:
    copy = shutil.copytree(built.folder, tmp_path / "copy")
    shards = sorted(copy.glob("*/*-0*.parquet"))
    damaged = bytearray(shards[0].read_bytes())
    damaged[len(damaged) // 2] ^= 4
    shards[0].write_bytes(damaged)
    shards[-1].unlink()
    kept = {path: path.stat().st_mtime_ns for path in shards[1:-1]}
    again = rebuild(load_settings(plan_file), plan_file.parent, copy)
    assert sorted(again) == sorted(str(p.relative_to(copy)) for p in (shards[0], shards[-1]))
    assert files(copy) == files(built.folder)
    assert {path: path.stat().st_mtime_ns for path in shards[1:-1]} == kept
    assert rebuild(load_settings(plan_file), plan_file.parent, copy) == ()


def test_an_unfinished_folder_is_no_benchmark(begun) -> None:
    with pytest.raises(BadInputError, match=r"unfinished build.*--resume"):
        Benchmark.open(begun)
    assert not (begun / SHARDS_CSV).exists()


def test_a_full_disk_is_an_error_and_leaves_no_torn_file(built, begun, plan_file) -> None:
    """No file may grow beyond 200 kB: the system refuses the write in the middle of a shard."""
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); "
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "from segmend.apps.cli.main import main; main()"
    )
    line = [sys.executable, "-c", script, "build", plan_file, "--out", begun, "--resume"]
    done = subprocess.run(
        [*map(str, line), "--workers", "1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 5, done.stderr
    assert "cannot write" in done.stderr
    assert not list(begun.glob("*/*.parquet"))
    _run(begun, plan_file)
    assert files(begun) == files(built.folder)


class TestLease:
    def test_it_is_held_by_one_and_free_afterwards(self, tmp_path) -> None:
        with lease(tmp_path / "l") as mine:
            assert mine
            assert LeaseWatch().held(tmp_path / "l")
            with lease(tmp_path / "l") as theirs:
                assert not theirs
            assert (tmp_path / "l").exists()
        assert not LeaseWatch().held(tmp_path / "l")

    def test_a_holder_that_was_killed_holds_nothing(self, tmp_path) -> None:
        script = (
            "import os, pathlib, signal; from segmend.build.lease import lease\n"
            f"with lease(pathlib.Path({str(tmp_path / 'l')!r})):\n"
            "    os.kill(os.getpid(), signal.SIGKILL)"
        )
        subprocess.run([sys.executable, "-c", script], check=False)
        assert (tmp_path / "l").exists()
        assert not LeaseWatch().held(tmp_path / "l")
        assert not (tmp_path / "l").exists()

    def test_elsewhere_it_is_dead_when_it_no_longer_changes_whatever_the_clocks(
        self, tmp_path, monkeypatch
    ) -> None:
        now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: now)
        monkeypatch.setattr(time, "time", lambda: pytest.fail("no clock that can jump"))
        path, watch = tmp_path / "l", LeaseWatch()

        def write(beat: int) -> None:
            path.write_text(json.dumps({"host": "another", "pid": 1, "start": "1", "beat": beat}))

        write(0)
        os.utime(path, (0, 0))  # as if written in 1970
        assert watch.held(path)
        now += 50
        write(1)
        assert watch.held(path)
        now += 50
        assert watch.held(path)
        now += 11
        assert not watch.held(path)

    def test_a_lease_torn_by_a_crash_ends_too(self, tmp_path) -> None:
        (tmp_path / "l").write_text("")
        watch = LeaseWatch(dead_s=0)
        assert not watch.held(tmp_path / "l")
        assert not (tmp_path / "l").exists()

    def test_a_folder_that_cannot_be_written_is_an_error(self, tmp_path) -> None:
        with pytest.raises(OutputError, match="cannot write"), lease(tmp_path / "none" / "l"):
            pass
