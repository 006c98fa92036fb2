"""Which files a folder of a WebDAV server holds: what plain HTTP cannot say (RFC 4918, 9.1)."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit
from xml.parsers import expat

from segmend.core.errors import ReadFailedError, SchemaError, require
from segmend.store.attempts import until_answered
from segmend.store.options import StoreOptions
from segmend.store.place import parse_place
from segmend.store.response import AttemptFailedError, Response, refusal

MAX_FILES = 10_000
"""Files and folders."""

MAX_DEPTH = 8
"""Folders inside one another."""

MAX_BYTES = 2**24
"""Of one answer; ten thousand entries take some megabytes."""

MULTI_STATUS = 207
ASKED = b'<?xml version="1.0"?><propfind xmlns="DAV:"><prop><resourcetype/></prop></propfind>'


def list_files(url: str | Path, options: StoreOptions | None = None) -> tuple[str, ...]:
    """Files of a folder and of the folders in it.

    Args:
        url: ``https`` or ``http`` address of a WebDAV folder, or a folder of this machine.
        options: How to ask.

    Returns:
        Paths relative to the folder, sorted.

    Raises:
        ReadFailedError: if it is not there, nobody answers, or the server speaks no WebDAV.
        SchemaError: if the answer is not a listing, names what lies elsewhere, or never ends.
    """
    place = parse_place(url)
    if place.scheme == "file":
        return _on_disk(Path(place.path))
    require("pycurl", extra="build")
    top = str(place).rstrip("/") + "/"
    found: set[str] = set()
    waiting, seen = [""], {""}
    while waiting:
        folder = waiting.pop()
        files, folders = _members(top, folder, options or StoreOptions())
        found.update(files)
        # A server may name a folder again: deeper than it was asked, or beside itself.
        waiting += sorted(set(folders) - seen)
        seen.update(folders)
        if len(found) + len(seen) > MAX_FILES or folder.count("/") > MAX_DEPTH:
            raise SchemaError(
                f"{top} holds too much to be listed",
                found=f"more than {MAX_FILES} files and folders, or folders {MAX_DEPTH} deep",
            )
    return tuple(sorted(found))


def _on_disk(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise ReadFailedError(f"there is no folder {folder}", reason="missing", url=str(folder))
    files = (path for path in folder.rglob("*") if path.is_file())
    return tuple(sorted(path.relative_to(folder).as_posix() for path in files))


def _members(top: str, folder: str, options: StoreOptions) -> tuple[list[str], list[str]]:
    """Files and folders of one folder, as paths below ``top``; those of folders end in a slash."""
    here = top + quote(folder)
    place = parse_place(here)
    data = until_answered("list", place, options, lambda: _ask(here, options))
    root = unquote(urlsplit(top).path)
    files: list[str] = []
    folders: list[str] = []
    for href, is_folder in _entries(data, here):
        path = unquote(urlsplit(urljoin(here, href)).path)
        below = path.removeprefix(root).rstrip("/")
        own = path.rstrip("/") == (root + unquote(folder)).rstrip("/")
        if not own and (not path.startswith(root) or not _plain(below)):
            raise SchemaError(f"the listing of {here} is refused", found=f"it names {href[:200]!r}")
        if not own:
            (folders if is_folder else files).append(below + "/" * is_folder)
    return files, folders


def _plain(path: str) -> bool:
    """Whether a path can only lead to a place below."""
    parts = path.split("/")
    return path.isprintable() and "\\" not in path and not {"", ".", ".."} & set(parts)


def _ask(url: str, options: StoreOptions) -> bytes:
    """One request; the body of the answer."""
    import pycurl

    from segmend.store.origin import Login
    from segmend.store.transfer import curl_failure, prepare

    body, head = bytearray(), bytearray()

    def take(piece: bytes) -> int:
        body.extend(piece)
        return -1 if len(body) > MAX_BYTES else len(piece)

    curl = pycurl.Curl()
    try:
        prepare(curl, options, Login())
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.POSTFIELDS, ASKED)
        curl.setopt(pycurl.CUSTOMREQUEST, "PROPFIND")
        curl.setopt(pycurl.HTTPHEADER, ["Depth: 1", "Content-Type: application/xml"])
        curl.setopt(pycurl.HEADERFUNCTION, head.extend)
        curl.setopt(pycurl.WRITEFUNCTION, take)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, int(1000 * options.limits.connect_s))
        curl.setopt(pycurl.TIMEOUT_MS, int(1000 * options.limits.total_s))
        try:
            curl.perform()
        except pycurl.error as error:
            code, text = error.args
            if code == pycurl.E_WRITE_ERROR:
                raise AttemptFailedError("refused", f"more than {MAX_BYTES} bytes came") from error
            raise curl_failure(code, text) from error
        status = curl.getinfo(pycurl.RESPONSE_CODE)
    finally:
        curl.close()
    if status in (405, 501) or (200 <= status < 300 and status != MULTI_STATUS):
        raise AttemptFailedError(
            "refused", f"status {status}: it speaks no WebDAV", fix="Copy the folder by hand"
        )
    if status != MULTI_STATUS:
        raise refusal(Response(status, bytes(head), b""))
    return bytes(body)


def _entries(data: bytes, where: str) -> list[tuple[str, bool]]:
    """Address of every entry of a listing, and whether it is a folder."""
    found: list[tuple[str, bool]] = []
    href: list[str] = []
    state = {"open": "", "folder": ""}

    def start(tag: str, _: object) -> None:
        state["open"] = tag
        if tag == "DAV: response":
            href.clear()
            state["folder"] = ""
        elif tag == "DAV: collection":
            state["folder"] = "yes"

    def end(tag: str) -> None:
        state["open"] = ""
        if tag == "DAV: response":
            found.append(("".join(href).strip(), bool(state["folder"])))

    def text(piece: str) -> None:
        if state["open"] == "DAV: href":
            href.append(piece)

    def doctype(*_: object) -> None:
        raise SchemaError(f"the listing of {where} is refused", found="it has a document type")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text, doctype
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError) as error:
        raise SchemaError(f"the listing of {where} is no XML", found=str(error)) from error
    if not found or not all(address for address, _ in found):
        raise SchemaError(f"the listing of {where} names nothing", found=f"{len(found)} entries")
    return found
