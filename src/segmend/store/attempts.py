"""Ask one thing of a server until it answers, or nobody can."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from segmend.core.errors import ReadFailedError
from segmend.store.options import StoreOptions
from segmend.store.place import Place
from segmend.store.response import AttemptFailedError, summary

T = TypeVar("T")


def until_answered(what: str, place: Place, options: StoreOptions, ask: Callable[[], T]) -> T:
    """What ``ask`` gives, after as many attempts as the options allow.

    Args:
        what: What cannot be done if nobody answers, for the message.
        place: Of whom it is asked.
        options: How often, and how long.
        ask: One attempt; it raises `AttemptFailedError`.

    Raises:
        ReadFailedError: if every attempt failed; the message says how.
    """
    failures: list[AttemptFailedError] = []
    began = time.monotonic()
    while True:
        try:
            return ask()
        except AttemptFailedError as error:
            failures.append(error)
            elapsed = time.monotonic() - began
            wait = options.retry.wait(len(failures), elapsed, retry_after_s=error.retry_after_s)
            if wait is None or not error.again:
                raise ReadFailedError(
                    f"cannot {what} {place}",
                    found=summary(failures),
                    fix=error.fix,
                    reason=error.reason,
                    url=str(place),
                    attempts=len(failures),
                ) from error
            time.sleep(wait)
