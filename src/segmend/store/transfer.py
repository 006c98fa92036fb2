"""One object on its way: a libcurl handle, its time-outs and its failures."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pycurl

from segmend.store.options import StoreOptions
from segmend.store.origin import Login
from segmend.store.redirect import REDIRECTS, is_public, private_target
from segmend.store.response import AttemptFailedError, Response
from segmend.store.retry import TimeLimits
from segmend.store.store import Request

# Wait where libcurl has no socket to wait for, for example while it looks up a name.
NO_SOCKETS_S = 0.001


@dataclass(slots=True, eq=False)
class Transfer:
    """One request, over all its redirects and attempts.

    Attributes:
        position: Place among the requests of the reading.
        request: What is read.
        urls: First URL, then those of the redirects of this attempt.
        began_s: When the first attempt started.
        failures: Why earlier attempts failed.
        public: Whether the first host of this attempt has a public address.
        packed: Whether ``KEY.gz`` is read, since ``KEY`` is missing.
    """

    position: int
    request: Request
    urls: list[str]
    began_s: float
    failures: list[AttemptFailedError] = field(default_factory=list)
    public: bool = False
    packed: bool = False
    head: list[bytes] = field(default_factory=list)
    body: list[bytes] = field(default_factory=list)
    started_s: float = 0.0
    checked_s: float = 0.0
    checked_bytes: int = 0
    refused: AttemptFailedError | None = None

    @property
    def redirected(self) -> bool:
        """Whether the next URL is that of a redirect."""
        return len(self.urls) > 1

    @property
    def at_home(self) -> bool:
        """Whether the next URL has the host of the first; credentials go nowhere else."""
        return not self.redirected or urlsplit(self.urls[-1])[:2] == urlsplit(self.urls[0])[:2]

    def start(self, curl: pycurl.Curl, options: StoreOptions, login: Login, now_s: float) -> None:
        """Set a handle, made by `prepare` for the same login, to the next URL."""
        self.head, self.body, self.refused = [], [], None
        self.started_s = self.checked_s = now_s
        self.checked_bytes = 0
        curl.setopt(pycurl.URL, self.urls[-1])
        curl.setopt(pycurl.HEADERFUNCTION, self.head.append)
        curl.setopt(pycurl.WRITEFUNCTION, self.body.append)
        # Whole: a bucket sends what it stores, with its checksum. A range of gzip would be useless.
        accept = "gzip" if self.request.whole else "identity"
        curl.setopt(pycurl.HTTPHEADER, [f"Accept-Encoding: {accept}", *login.headers])
        if self.request.whole:
            curl.unsetopt(pycurl.RANGE)
        else:
            curl.setopt(pycurl.RANGE, _range(self.request))
        if self.redirected and self.public and not options.private_redirects:
            curl.setopt(pycurl.PREREQFUNCTION, self._allow)

    def _allow(self, address: str, *_local: object) -> int:
        """Called by libcurl when it is connected and has not sent the request."""
        if is_public(address):
            return pycurl.PREREQFUNC_OK
        self.refused = private_target(self.urls[-1])
        return pycurl.PREREQFUNC_ABORT

    def response(self, curl: pycurl.Curl) -> Response:
        """The answer of a transfer that libcurl calls complete."""
        status = curl.getinfo(pycurl.RESPONSE_CODE)
        if status in REDIRECTS and not self.redirected:
            self.public = _is_public(curl)
        return Response(status, b"".join(self.head), b"".join(self.body))

    def overdue(
        self, curl: pycurl.Curl, limits: TimeLimits, now_s: float
    ) -> AttemptFailedError | None:
        """Why the transfer has taken too long, if it has."""
        if now_s - self.started_s > limits.total_s:
            return _late(f"not complete after {limits.total_s:g} s")
        connected_s = curl.getinfo(pycurl.PRETRANSFER_TIME)
        if not connected_s:
            if now_s - self.started_s > limits.connect_s:
                return _late(f"no connection after {limits.connect_s:g} s")
            return None
        if not self.head:
            if now_s - self.started_s - connected_s > limits.first_byte_s:
                return _late(f"no answer after {limits.first_byte_s:g} s")
            return None
        if now_s - self.checked_s > limits.stall_s:
            size = int(curl.getinfo(pycurl.SIZE_DOWNLOAD_T))
            if size - self.checked_bytes < limits.stall_bytes:
                return _late(f"stalled after {size} bytes for {limits.stall_s:g} s")
            self.checked_s, self.checked_bytes = now_s, size
        return None


def _late(found: str) -> AttemptFailedError:
    return AttemptFailedError("timeout", found, again=True)


def _range(request: Request) -> str:
    start = request.start or 0
    if start < 0:
        return str(start)
    return f"{start}-" if request.stop is None else f"{start}-{request.stop - 1}"


def _is_public(curl: pycurl.Curl) -> bool:
    address = curl.getinfo(pycurl.PRIMARY_IP)
    return bool(address) and is_public(address)


def prepare(curl: pycurl.Curl, options: StoreOptions, login: Login) -> None:
    """Set what does not change from object to object."""
    curl.reset()
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    # One object per connection at a time: a lost packet delays one object, and buckets of S3 speak
    # nothing newer.
    curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    curl.setopt(pycurl.MAXFILESIZE_LARGE, options.object_limit)
    curl.setopt(pycurl.BUFFERSIZE, 1 << 18)
    curl.setopt(pycurl.TCP_KEEPALIVE, 1)
    curl.setopt(pycurl.USERAGENT, "segmend")
    if login.sigv4:
        curl.setopt(pycurl.AWS_SIGV4, login.sigv4)
        curl.setopt(pycurl.USERPWD, login.user)
    for option, value in _authorities():
        curl.setopt(option, value)


def _authorities() -> tuple[tuple[int, str], ...]:
    """Where this system keeps the certificates it trusts; a wheel of libcurl may look elsewhere.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name others.
    """
    paths = ssl.get_default_verify_paths()
    found = [(pycurl.CAINFO, paths.cafile), (pycurl.CAPATH, paths.capath)]
    return tuple((option, value) for option, value in found if value)


_REASONS = {
    pycurl.E_OPERATION_TIMEDOUT: "timeout",
    pycurl.E_PARTIAL_FILE: "truncated",
    pycurl.E_FILESIZE_EXCEEDED: "refused",
    pycurl.E_URL_MALFORMAT: "refused",
    pycurl.E_UNSUPPORTED_PROTOCOL: "refused",
}
_FINAL = {
    pycurl.E_FILESIZE_EXCEEDED,
    pycurl.E_URL_MALFORMAT,
    pycurl.E_UNSUPPORTED_PROTOCOL,
    pycurl.E_PEER_FAILED_VERIFICATION,
    pycurl.E_SSL_CACERT_BADFILE,
}


def curl_failure(code: int, text: str) -> AttemptFailedError:
    """What an error of libcurl means; most may pass."""
    fix = ""
    if code == pycurl.E_FILESIZE_EXCEEDED:
        fix = "Raise StoreOptions(object_limit=...) if objects are that large"
    if code == pycurl.E_PEER_FAILED_VERIFICATION:
        fix = "Check the host; SSL_CERT_FILE names the certificates to trust"
    found = f"{text} (libcurl {code})"
    return AttemptFailedError(
        _REASONS.get(code, "connection"), found, fix=fix, again=code not in _FINAL
    )
