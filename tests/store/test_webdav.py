"""Folders listed by a server that speaks WebDAV, and answers that are none."""

import pytest

from segmend.core.errors import ReadFailedError, SchemaError
from segmend.store.options import StoreOptions
from segmend.store.retry import RetryPolicy
from segmend.store.webdav import list_files
from segmend.testing.faults import Reply
from segmend.testing.servers import range_server, serving

OPTIONS = StoreOptions(retry=RetryPolicy(attempts=2, base_s=0.01, budget_s=5.0))
NAMES = ("a.nml", "box 1/b&c.nml", "box 1/deep/ü.nml", "z.hdf5")


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        place = tmp_path / "top" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x")
    return tmp_path


def test_files_of_all_folders_are_listed(folder):
    with range_server(folder) as server:
        assert list_files(f"{server.url}/top", OPTIONS) == NAMES
        assert {asked.method for asked in server.log} == {"PROPFIND"}
        assert list_files(f"{server.url}/top/box%201/", OPTIONS) == ("b&c.nml", "deep/ü.nml")
        with pytest.raises(ReadFailedError, match="404") as caught:
            list_files(f"{server.url}/nowhere", OPTIONS)
        assert caught.value.reason == "missing"


def test_a_folder_of_this_machine(folder):
    assert list_files(folder / "top") == NAMES
    assert list_files((folder / "top").as_uri()) == NAMES
    with pytest.raises(ReadFailedError, match="no folder"):
        list_files(folder / "nowhere")


def answer(*hrefs, start="", tail=""):
    rows = "".join(f"<d:response><d:href>{h}</d:href>{tail}</d:response>" for h in hrefs)
    return f'{start}<d:multistatus xmlns:d="DAV:">{rows}</d:multistatus>'.encode()


ENTITY = '<!DOCTYPE d [<!ENTITY a "b">]>'


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (answer("/top/", "/elsewhere/a"), "names '/elsewhere/a'"),
        (answer("/top/", "/top/../../etc/passwd"), "is refused"),
        (answer("/top/", "/top/%2e%2e/a"), "is refused"),
        (answer("/top/", "/top/a%5Cb"), "is refused"),
        (answer("/top/", "/top/a%0Ab"), "is refused"),
        (answer("/top/", "/top//a"), "is refused"),
        (answer("/top/", start=ENTITY), "document type"),
        (answer("/top/")[:-9], "is no XML"),
        (answer(), "names nothing"),
        (answer("/top/", ""), "names nothing"),
    ],
)
def test_a_listing_that_leads_elsewhere_is_refused(body, says):
    with serving(lambda _: Reply(207, {}, body)) as server, pytest.raises(SchemaError, match=says):
        list_files(f"{server.url}/top", OPTIONS)


def test_folders_without_end_are_refused():
    def deeper(asked):
        tail = "<d:propstat><d:prop><d:collection/></d:prop></d:propstat>"
        return Reply(207, {}, answer(asked.path, f"{asked.path}a/", tail=tail))

    with serving(deeper) as server, pytest.raises(SchemaError, match="too much to be listed"):
        list_files(f"{server.url}/top", OPTIONS)


def folders_in(asked, *names):
    tail = "<d:propstat><d:prop><d:collection/></d:prop></d:propstat>"
    return Reply(207, {}, answer(asked.path, *names, tail=tail))


def test_many_empty_folders_are_refused_as_many_files_are():
    def wide(asked):
        return folders_in(asked, *(f"{asked.path}{n}/" for n in range(2000)))

    with serving(wide) as server, pytest.raises(SchemaError, match="too much to be listed"):
        list_files(f"{server.url}/top", OPTIONS)


def test_folders_that_name_each_other_are_asked_once():
    def circle(asked):
        return folders_in(asked, "/top/a/", "/top/b/")

    with serving(circle) as server:
        assert list_files(f"{server.url}/top", OPTIONS) == ()
        assert sorted(asked.path for asked in server.log) == ["/top/", "/top/a/", "/top/b/"]


def test_a_server_that_lists_all_depths_names_no_file_twice():
    folder = "<d:response><d:href>/top/a/</d:href><d:collection/></d:response>"
    body = answer("/top/a/b").replace(b"<d:response>", f"{folder}<d:response>".encode(), 1)
    with serving(lambda _: Reply(207, {}, body)) as server:
        assert list_files(f"{server.url}/top", OPTIONS) == ("a/b",)


@pytest.mark.parametrize("status", [200, 405, 501])
def test_a_server_without_webdav_is_said_at_once(status):
    with serving(lambda _: Reply(status, {}, b"<html></html>")) as server:
        with pytest.raises(ReadFailedError, match=f"{status}: it speaks no WebDAV"):
            list_files(f"{server.url}/top", OPTIONS)
        assert len(server.log) == 1


def test_a_busy_server_is_asked_again(folder):
    with range_server(folder) as good, serving(lambda _: Reply(503, {}, b"")) as busy:
        assert list_files(f"{good.url}/top", OPTIONS) == NAMES
        with pytest.raises(ReadFailedError, match=r"status 503 .*2 times"):
            list_files(f"{busy.url}/top", OPTIONS)
        assert len(busy.log) == 2
