import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.server import ThreadedMotoServer

from segmend.core.errors import BadInputError, ReadFailedError
from segmend.store.gs import gs_login, gs_origin
from segmend.store.open import open_store
from segmend.store.options import StoreOptions
from segmend.store.place import parse_place
from segmend.store.retry import RetryPolicy
from segmend.store.s3 import s3_origin
from segmend.store.store import Request
from segmend.testing import faults
from segmend.testing.servers import fault_proxy, range_server

FAST = RetryPolicy(attempts=3, base_s=0.01)
KEYS = ["info", "8_8_8/0-64_0-64_0-64", "a b+c/%ü~!$&'()*,;=:@.x", "large"]


def content(key: str) -> bytes:
    return key.encode() * (5000 if key == "large" else 3)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Endpoint of a real S3 server (moto) with a bucket that anybody may read."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    client.create_bucket(Bucket="em-data", ACL="public-read-write")
    for key in KEYS:
        client.put_object(
            Bucket="em-data", Key=f"volume/{key}", Body=content(key), ACL="public-read"
        )
    yield endpoint
    client.close()
    server.stop()


def opened(url: str, endpoint: str, **options: Any) -> Any:
    return open_store(url, StoreOptions(endpoint=endpoint, retry=FAST, **options))


def test_objects_of_a_bucket_are_read_anonymously(s3: str) -> None:
    store = opened("s3://em-data/volume", s3)
    got = dict(store.read_many([Request(key) for key in [*KEYS, "nope"]]))
    assert got == {i: content(key) for i, key in enumerate(KEYS)} | {len(KEYS): None}
    assert store.url == "s3://em-data/volume"


def test_ranges_of_an_object_are_read(s3: str) -> None:
    store = opened("s3://em-data/volume", s3)
    whole = content("large")
    assert store.read("large", 7, 99) == whole[7:99]
    assert store.read("large", -16) == whole[-16:]
    assert store.read("large", 24_000) == whole[24_000:]
    with pytest.raises(ReadFailedError) as caught:
        store.read("large", 0, len(whole) + 1)
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_the_environment_names_the_endpoint(
    s3: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, s3)
    assert open_store("s3://em-data/volume").read("info") == content("info")


def test_a_flipped_bit_is_caught_by_the_etag(s3: str) -> None:
    with fault_proxy(s3, faults=faults.first(1, faults.flip(1, 7))) as proxy:
        assert opened("s3://em-data/volume", proxy.url).read("large") == content("large")
        assert len(proxy.log) == 2
    with fault_proxy(s3, faults=faults.always(faults.flip(1, 7))) as proxy:
        with pytest.raises(ReadFailedError, match="ETag") as caught:
            opened("s3://em-data/volume", proxy.url).read("large")
        assert (caught.value.reason, caught.value.attempts) == ("corrupt", 3)
        assert caught.value.url == "s3://em-data/volume/large"


@pytest.mark.parametrize(
    ("url", "environment", "base"),
    [
        ("s3://b/p/q", {}, "https://b.s3.amazonaws.com/p/q"),
        ("s3://b", {"AWS_REGION": "eu-west-1"}, "https://b.s3.eu-west-1.amazonaws.com"),
        ("s3://a.b/p", {"AWS_DEFAULT_REGION": "x"}, "https://s3.x.amazonaws.com/a.b/p"),
        ("s3://b/p", {"AWS_ENDPOINT_URL": "http://h:9/"}, "http://h:9/b/p"),
    ],
)
def test_addresses_of_s3(url: str, environment: dict[str, str], base: str) -> None:
    assert s3_origin(parse_place(url), None, environment).base == base


@pytest.mark.parametrize(
    ("environment", "base"),
    [
        ({}, "https://storage.googleapis.com/b/p"),
        ({"STORAGE_EMULATOR_HOST": "localhost:4443"}, "http://localhost:4443/b/p"),
        ({"STORAGE_EMULATOR_HOST": "http://h:1/"}, "http://h:1/b/p"),
    ],
)
def test_addresses_of_google(environment: dict[str, str], base: str) -> None:
    assert gs_origin(parse_place("gs://b/p"), None, environment).base == base


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("token", ["", "session-token"])
def test_signatures_are_those_of_botocore(
    tmp_path: Any, key: str, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    with range_server(tmp_path) as server:
        assert opened("s3://b/p", server.url, anonymous=False).read(key) is None
        (asked,) = server.log
    sent = asked.headers["authorization"]
    signed = re.search("SignedHeaders=([^,]+)", sent)
    assert signed is not None
    names = signed[1].split(";")
    request = AWSRequest("GET", server.url + asked.path)
    for name in names:
        request.headers[name] = asked.headers[name]
    del request.headers["host"]
    signer = auth.S3SigV4Auth(
        Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", token or None), "s3", "eu-west-1"
    )
    stamp = datetime.strptime(asked.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    monkeypatch.setattr(auth, "get_current_datetime", lambda *_, **__: stamp.replace(tzinfo=None))
    signer.add_auth(request)
    assert request.headers["Authorization"].replace(" ", "") == sent.replace(" ", "")
    if token:
        assert asked.headers["x-amz-security-token"] == token
        assert "x-amz-security-token" in names


def test_without_keys_in_the_environment_nothing_is_signed(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with pytest.raises(BadInputError, match="AWS_ACCESS_KEY_ID"):
        opened("s3://em-data/volume", s3, anonymous=False).read("info")


def test_keys_in_the_environment_are_not_sent_unasked(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    with range_server(tmp_path) as server:
        opened("s3://b", server.url).read("info")
        assert "authorization" not in server.log[0].headers


def test_a_google_token_goes_to_the_bucket_and_not_where_it_redirects(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "ya29.token")
    (tmp_path / "x").write_bytes(b"there")
    with range_server(tmp_path) as other:
        there = faults.always(faults.redirect(f"{other.url}/x"))
        with range_server(tmp_path, faults=there) as google:
            store = opened("gs://b", google.url, anonymous=False)
            assert store.read("x") == b"there"
            assert google.log[0].headers["authorization"] == "Bearer ya29.token"
        assert "authorization" not in other.log[0].headers
    monkeypatch.delenv("GOOGLE_OAUTH_ACCESS_TOKEN")
    with pytest.raises(BadInputError, match="gcloud auth"):
        gs_login({})


def test_credentials_for_a_plain_web_server_are_refused() -> None:
    with pytest.raises(BadInputError, match="anonymous=False"):
        open_store("http://127.0.0.1:9", StoreOptions(anonymous=False)).read("x")
