"""How a remote store is read."""

from __future__ import annotations

from dataclasses import dataclass, field

from segmend.core.errors import BadInputError
from segmend.store.retry import RetryPolicy, TimeLimits

# Chunks are 10 kB to a few MB and indices at most some 100 MB; an object beyond this is a mistake
# or an attack (a gzip bomb), and up to `concurrency` of them are in memory at once.
OBJECT_LIMIT = 256 * 2**20


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Options of a remote store.

    Attributes:
        concurrency: Transfers at once per host in this process, over all threads.
        retry: When to try again.
        limits: Time-outs.
        object_limit: Bytes one read may hold, before and after decoding a Content-Encoding.
        endpoint: URL in place of the public one of S3 or Google Cloud Storage.
        anonymous: Send no credentials, even where the environment has them (S3 and Google; the
            hub gets the token that its own client would send).
        private_redirects: Follow a redirect from a public host to a private or loopback address.
    """

    concurrency: int = 64
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    limits: TimeLimits = field(default_factory=TimeLimits)
    object_limit: int = OBJECT_LIMIT
    endpoint: str | None = None
    anonymous: bool = True
    private_redirects: bool = False

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.object_limit < 1:
            raise BadInputError(
                f"{self} cannot be used", found="concurrency and object_limit are at least 1"
            )
