from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmend.core.errors import BadInputError
from segmend.store.retry import RetryPolicy, TimeLimits, parse_retry_after

POLICY = RetryPolicy(attempts=6, base_s=0.5, cap_s=3, retry_after_cap_s=20, budget_s=60)


def test_waits_double_up_to_the_cap() -> None:
    waits = [POLICY.wait(n, 0, unit=1.0) for n in range(1, 6)]
    assert waits == [0.5, 1, 2, 3, 3]


@given(st.integers(1, 5), st.floats(0, 1, exclude_max=True))
def test_jitter_is_over_the_whole_interval(failed: int, unit: float) -> None:
    bound = POLICY.wait(failed, 0, unit=1.0)
    assert bound is not None
    assert POLICY.wait(failed, 0, unit=unit) == pytest.approx(unit * bound)


def test_there_are_no_more_attempts_than_allowed() -> None:
    assert POLICY.wait(6, 0, unit=0) is None


def test_no_attempt_starts_after_the_budget() -> None:
    assert POLICY.wait(1, 59.9, unit=0.1) is not None
    assert POLICY.wait(1, 59.9, unit=0.9) is None


def test_retry_after_is_a_lower_bound_and_a_long_one_ends_the_read() -> None:
    assert POLICY.wait(1, 0, retry_after_s=7, unit=0.2) == 7
    assert POLICY.wait(1, 0, retry_after_s=21) is None


def test_clients_do_not_march_in_step() -> None:
    assert len({POLICY.wait(5, 0) for _ in range(50)}) > 40


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 17 ", 17),
        (formatdate(1_000_100, usegmt=True), 100),
        (formatdate(999_000, usegmt=True), 0),
        ("Thu, 01 Jan 1970 00:00:00 -0000", 0),
        ("-5", 0),
        ("soon", 0),
        ("٣", 0),
        ("", 0),
        ("1" * 400, 111_111_111),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float) -> None:
    assert parse_retry_after(value, now_s=1_000_000) == seconds


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"base_s": -1}, {"budget_s": -1}])
def test_a_policy_that_cannot_be_followed_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(BadInputError):
        RetryPolicy(**wrong)


def test_a_time_out_of_zero_is_refused() -> None:
    with pytest.raises(BadInputError):
        TimeLimits(stall_s=0)
