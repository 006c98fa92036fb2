"""Builds into a real S3 server: the bytes of a build in a folder, whoever stops on the way."""

from __future__ import annotations

import hashlib
import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

import segmend as sg
from segmend.build.engines.processes import Processes
from segmend.build.in_bucket import (
    adopt,
    build_in,
    check_bucket,
    complete_in,
    freeze_in,
    is_finished,
)
from segmend.build.pipeline import Built
from segmend.build.plan import Plan
from segmend.build.resume import template_of
from segmend.build.settings import load_settings
from segmend.core.errors import BadInputError, OutputError, PlanError, ReadFailedError
from segmend.shards.layout import SHARDS_CSV
from segmend.store.bucket import Bucket

pytestmark = pytest.mark.slow

LOGIN = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a real S3 server (moto) ."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (LOGIN | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}).items():
        monkeypatch.setenv(name, value)
    found = boto3.client("s3")
    yield found
    found.close()
    server.stop()


@pytest.fixture
def bucket(client: Any) -> Bucket:
    """A prefix of a new bucket; all servers of one process share their buckets."""
    name = f"bench-{secrets.token_hex(4)}"
    client.create_bucket(Bucket=name, ACL="public-read-write")
    return Bucket(f"s3://{name}/bench")


class StoppedAfter:
    """An engine whose machine is switched off after some shards."""

    def __init__(self, shards: int) -> None:
        self.shards = shards

    def run(
        self,
        work: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        done: Callable[[Any], None] = lambda _: None,
    ) -> list[Any]:
        for i, item in enumerate(items):
            if i == self.shards:
                raise KeyboardInterrupt
            done(work(item))
        return []


def verb(*arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "segmend.apps.cli.main", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done


def objects(client: Any, name: str) -> dict[str, str]:
    """sha256 of every object below the prefix, by Amazon's own client."""
    found = client.list_objects_v2(Bucket=name, Prefix="bench/")["Contents"]
    bodies = {o["Key"]: client.get_object(Bucket=name, Key=o["Key"])["Body"] for o in found}
    return {
        key.removeprefix("bench/"): hashlib.sha256(body.read()).hexdigest()
        for key, body in bodies.items()
    }


def test_a_build_begun_on_one_machine_and_ended_on_another_is_the_one_in_a_folder(
    client: Any, bucket: Bucket, plan: Plan, plan_file: Path, built: Built, tmp_path: Path
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    begun = freeze_in(bucket, plan, one)
    settings = load_settings(plan_file)
    template = template_of(begun, settings, plan_file.parent)
    with pytest.raises(KeyboardInterrupt):
        complete_in(bucket, begun, template, engine=StoppedAfter(2))
    # The third shard is there as if its worker had been killed before its commit record.
    shard = sorted(p.relative_to(built.folder) for p in built.folder.rglob("train-*.parquet"))[2]
    bucket.create(shard.as_posix(), built.folder / shard)
    assert not is_finished(bucket)
    assert json.loads(verb("build", "status", bucket.url, "--json", status=7).stdout)["done"] == 2
    taken = adopt(bucket, other)
    seen: list[int] = []
    template = template_of(taken, settings, plan_file.parent)
    ended = complete_in(
        bucket, taken, template, engine=Processes(2), done=lambda o: seen.append(o.planned)
    )
    assert ended.closure == built.closure
    assert sum(seen) == plan.n_rows
    expected = {
        p.relative_to(built.folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in built.folder.rglob("*")
        if p.is_file()
    }
    assert objects(client, bucket.url.split("/")[2]) == expected
    assert not list(other.rglob("train-*.parquet")), "shards are kept nowhere else"
    benchmark = sg.benchmark(bucket.url)
    assert len(benchmark) == built.closure.committed
    told = json.loads(verb("build", "status", bucket.url, "--json").stdout)
    assert (told["finished"], told["committed"]) == (True, len(benchmark))


def test_damaged_and_missing_shards_are_made_again_where_they_lie(
    client: Any, bucket: Bucket, plan: Plan, plan_file: Path, tmp_path: Path
) -> None:
    build_in(bucket, plan, tmp_path / "work")
    name = bucket.url.split("/")[2]
    whole = objects(client, name)
    bucket.write("train/train-00001.parquet", bucket.content("train/train-00001.parquet")[:-9])
    bucket.remove(["test/test-00000.parquet"])
    told = json.loads(verb("rebuild", plan_file, bucket.url, "--json").stdout)
    assert told == {"rebuilt": ["train/train-00001.parquet", "test/test-00000.parquet"]}
    assert objects(client, name) == whole
    assert "0 shards made again" in verb("rebuild", plan_file, bucket.url).stdout
    bucket.remove([SHARDS_CSV])
    assert "--resume" in verb("rebuild", plan_file, bucket.url, status=5).stderr


def test_a_shard_of_another_build_is_never_replaced(
    bucket: Bucket, plan: Plan, plan_file: Path, tmp_path: Path
) -> None:
    frozen = freeze_in(bucket, plan, tmp_path / "work")
    bucket.create("train/train-00000.parquet", b"something else")
    template = template_of(frozen, load_settings(plan_file), plan_file.parent)
    with pytest.raises(OutputError, match="another shard than the plan's"):
        complete_in(bucket, frozen, template)
    assert bucket.read("train/train-00000.parquet") == b"something else"
    assert bucket.read(SHARDS_CSV) is None


def test_a_bucket_with_something_in_it_is_refused(
    bucket: Bucket, plan: Plan, tmp_path: Path
) -> None:
    freeze_in(bucket, plan, tmp_path / "work")
    with pytest.raises(OutputError, match="--resume"):
        check_bucket(bucket)
    other = Bucket(f"{bucket.url}-other")
    assert bucket.create("plan.txt", b"")
    assert not bucket.create("plan.txt", b"x")
    with pytest.raises(OutputError, match="--work"):
        freeze_in(other, plan, tmp_path / "work")
    (tmp_path / "work" / "plan.json").write_text("{}")
    with pytest.raises(PlanError, match="another build"):
        adopt(bucket, tmp_path / "work")
    with pytest.raises(PlanError, match="holds no plan"):
        adopt(other, tmp_path / "nothing")


@pytest.mark.usefixtures("client")
def test_a_place_that_cannot_be_written_is_an_error_that_names_it() -> None:
    with pytest.raises(OutputError, match="no-such-bucket/x/a"):
        Bucket("s3://no-such-bucket/x").create("a", b"1")
    for wrong in ("s3://bucket", "https://host/x", "folder"):
        with pytest.raises(BadInputError, match="no prefix of a bucket"):
            Bucket(wrong)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "s3://bench-out/x", "--audit"], "segmend audit"),
        (["--out", "folder", "--work", "w"], "--work"),
    ],
)
def test_options_that_do_not_go_with_a_place_are_refused(
    arguments: list[str], said: str, plan_file: Path
) -> None:
    assert said in verb("build", plan_file, *arguments, status=2).stderr


def test_a_plan_of_which_a_part_is_gone_is_an_error(
    bucket: Bucket, plan: Plan, tmp_path: Path
) -> None:
    freeze_in(bucket, plan, tmp_path / "one")
    bucket.remove(["plan.parquet"])
    with pytest.raises(ReadFailedError, match=r"plan\.parquet.*no such object"):
        adopt(bucket, tmp_path / "other")
    assert not (tmp_path / "other" / "plan.json").exists()
