"""How long to wait for a server, and how often to ask again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from segmend.core.errors import BadInputError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed attempt is followed by another.

    Attempt ``n`` waits a uniform draw from ``[0, min(cap_s, base_s * 2**(n - 1)))``: exponential
    back-off with full jitter (M. Brooker, "Exponential Backoff and Jitter", AWS, 2015). A wait that
    the server asks for (``Retry-After``) is a lower bound.

    Attributes:
        attempts: Attempts in all.
        base_s: Bound of the first wait.
        cap_s: Largest bound of a wait.
        retry_after_cap_s: Longest wait a server may ask for; beyond it the read fails.
        budget_s: No attempt starts later than this after the first.
    """

    attempts: int = 6
    base_s: float = 0.25
    cap_s: float = 30.0
    retry_after_cap_s: float = 120.0
    budget_s: float = 600.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or min(self.base_s, self.cap_s, self.budget_s) < 0:
            raise BadInputError(f"{self} cannot be followed", found="attempts are at least 1")

    def wait(
        self,
        failed: int,
        elapsed_s: float,
        *,
        retry_after_s: float = 0.0,
        unit: float | None = None,
    ) -> float | None:
        """Seconds to wait before the next attempt; None if there is none.

        Args:
            failed: Attempts that failed so far.
            elapsed_s: Time since the first one began.
            retry_after_s: What the server asked for.
            unit: Draw in [0, 1); default: a random one, so that clients do not march in step.
        """
        if failed >= self.attempts or retry_after_s > self.retry_after_cap_s:
            return None
        draw = random.random() if unit is None else unit
        wait = max(retry_after_s, draw * min(self.cap_s, self.base_s * 2.0 ** (failed - 1)))
        return None if elapsed_s + wait > self.budget_s else wait


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Time-outs of one attempt, by phase.

    Attributes:
        connect_s: Name look-up, TCP and TLS.
        first_byte_s: From the request sent to the first byte of the answer.
        stall_s: Longest time in which fewer than ``stall_bytes`` arrive.
        stall_bytes: See above; a slow drip counts as a stall.
        total_s: The whole attempt.
    """

    connect_s: float = 15.0
    first_byte_s: float = 60.0
    stall_s: float = 30.0
    stall_bytes: int = 4096
    total_s: float = 600.0

    def __post_init__(self) -> None:
        if min(self.connect_s, self.first_byte_s, self.stall_s, self.total_s) <= 0:
            raise BadInputError(f"{self} cannot be kept", found="a time-out is positive")


def parse_retry_after(value: str, now_s: float) -> float:
    """Seconds that a ``Retry-After`` asks for (RFC 9110, 10.2.3: seconds or an HTTP date).

    Args:
        value: The header's value.
        now_s: Seconds since 1970, to compare a date with.

    Returns:
        Seconds, not negative; 0 for a value that is neither.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(date.timestamp() - now_s, 0.0)
