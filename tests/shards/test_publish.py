"""A benchmark goes to the hub through its real client; the hub is a stand-in on loopback."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

from segmend.apps.cli.main import segmend
from segmend.core.errors import BadInputError, OutputError
from segmend.shards import publish
from segmend.shards.publish import publication, upload
from segmend.shards.reader import Benchmark
from segmend.testing.faults import Reply
from segmend.testing.servers import Asked, serving

AUDIT = {"benchmark_sha256": "", "checks": [{"name": "view", "status": "accepted"}]}


@pytest.fixture
def ready(bench: Path, tmp_path: Path) -> Benchmark:
    """A copy that is audited and clean."""
    folder = Path(shutil.copytree(bench, tmp_path / "ready"))
    opened = Benchmark.open(folder)
    (folder / "audit.json").write_text(json.dumps(AUDIT | {"benchmark_sha256": opened.sha256}))
    return opened


@dataclass
class Hub:
    """What a stand-in of the hub was given."""

    url: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[list[str]] = field(default_factory=list)
    refuse: bool = False

    def __call__(self, asked: Asked) -> Reply:
        path = asked.path.partition("?")[0]
        if self.refuse:
            return Reply(403, {"X-Error-Message": "no such token"}, b"{}")
        if path == "/api/validate-yaml":
            return answer({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return answer({"url": f"{self.url}/datasets/lab/b", "id": "lab/b", "name": "lab/b"})
        if path.startswith("/api/datasets/lab/b/preupload/"):
            said = json.loads(asked.body)["files"]
            return answer({"files": [self.mode(f["path"]) for f in said]})
        if path == "/datasets/lab/b.git/info/lfs/objects/batch":
            objects = json.loads(asked.body)["objects"]
            return answer({"transfer": "basic", "objects": [self.batch(o) for o in objects]})
        if path.startswith("/lfs/") and asked.method == "PUT":
            self.blobs[path.removeprefix("/lfs/")] = asked.body
            return Reply(200, {}, b"")
        if path.startswith("/api/datasets/lab/b/commit/"):
            return self.commit([json.loads(line) for line in asked.body.splitlines()])
        return Reply(404, {}, b"{}")

    def mode(self, path: str) -> dict:
        kind = "lfs" if path.endswith((".parquet", ".png")) else "regular"
        return {"path": path, "uploadMode": kind, "shouldIgnore": False, "oid": None}

    def batch(self, wanted: dict) -> dict:
        known = wanted["oid"] in self.blobs
        href = {"upload": {"href": f"{self.url}/lfs/{wanted['oid']}"}}
        return wanted if known else wanted | {"actions": href}

    def commit(self, lines: list[dict]) -> Reply:
        made = []
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                assert hashlib.sha256(self.blobs[value["oid"]]).hexdigest() == value["oid"]
                self.files[value["path"]] = self.blobs[value["oid"]]
            else:
                continue
            made.append(value["path"])
        self.commits.append(made)
        oid = f"{len(self.commits):040x}"
        return answer({"commitUrl": f"{self.url}/datasets/lab/b/commit/{oid}", "commitOid": oid})


def answer(content: dict) -> Reply:
    return Reply(200, {"Content-Type": "application/json"}, json.dumps(content).encode())


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    one = Hub()
    with serving(one) as server:
        one.url = server.url
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield one


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the hub's client, of httpx
def test_every_file_arrives_and_the_list_comes_last(
    ready: Benchmark, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "FILES_PER_COMMIT", 5)
    commit = upload(ready, "lab/b", publication(ready))
    here = {
        p.relative_to(ready.folder).as_posix(): p.read_bytes()
        for p in ready.folder.rglob("*")
        if p.is_file()
    }
    assert hub.files == here
    assert max(map(len, hub.commits)) <= 5
    assert "shards.csv" in hub.commits[-1]
    assert commit == f"{len(hub.commits):040x}"


def test_a_hub_that_refuses_is_named(ready: Benchmark, hub: Hub) -> None:
    hub.refuse = True
    with pytest.raises(OutputError, match="cannot publish to lab/b"):
        upload(ready, "lab/b", publication(ready))


def test_what_is_not_audited_or_leaks_is_refused(bench: Path, ready: Benchmark) -> None:
    assert publication(ready).problems == ()
    assert publication(Benchmark.open(bench)).problems == ("it is not audited: run segmend audit",)
    leaking = AUDIT | {"checks": [{"name": "operation", "status": "leaks"}]}
    (ready.folder / "audit.json").write_text(json.dumps(leaking))
    problems = publication(ready).problems
    assert problems[0].startswith("its audit is of another state")
    assert problems[1] == "its audit found leaks: operation"
    with pytest.raises(BadInputError, match="cannot be published"):
        upload(ready, "lab/b", publication(ready))


@pytest.mark.parametrize(
    ("source", "agreed", "problem"),
    [
        ({"licence": "own", "forbids": ["redistribution"]}, True, "the terms of x forbid"),
        ({"licence": "unstated", "forbids": []}, False, "x is under a licence that is unstated"),
        ({"licence": "unstated", "forbids": []}, True, ""),
        ({"licence": "CC-BY-4.0", "forbids": ["commercial"]}, False, ""),
    ],
)
def test_licences_are_enforced(ready: Benchmark, source: dict, agreed: bool, problem: str) -> None:
    plan = {"sources": [source | {"dataset": "x"}]}
    (ready.folder / "plan.json").write_text(json.dumps(plan))
    problems = publication(ready, licence_agreed=agreed).problems
    assert [p.startswith(problem) for p in problems] == ([True] if problem else [])


def test_limits_of_the_hub_are_checked(ready: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "MAX_FILES", 5)
    monkeypatch.setattr(publish, "MAX_ENTRIES", 2)
    monkeypatch.setattr(publish, "MAX_FILE_BYTES", 10)
    monkeypatch.setattr(publish, "MAX_ROW_GROUP_BYTES", 10)
    what = publication(ready)
    text = "; ".join(what.problems)
    assert "files, the hub takes fewer than 5" in text
    assert "entries in train, the hub takes fewer than 2" in text
    assert "train/train-00000.parquet has 0 GB" in text
    assert "row groups of" in what.advice[0]


def test_a_dry_run_sends_nothing(ready: Benchmark, hub: Hub) -> None:
    arguments = ["publish", str(ready.folder), "lab/b", "--dry-run", "--json"]
    told = json.loads(CliRunner().invoke(segmend, arguments).stdout)
    assert told["files"] == len([p for p in ready.folder.rglob("*") if p.is_file()])
    assert told["problems"] == []
    assert hub.commits == []
