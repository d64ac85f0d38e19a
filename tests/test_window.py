"""When a window of the day is open."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.window import opens_in_s

UTC = datetime.UTC


def at(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(f"2026-03-04T{text}+00:00")


@pytest.mark.parametrize(
    ("window", "now", "seconds"),
    [
        ("02:00-04:00", "02:00:00", 0),
        ("02:00-04:00", "03:59:59", 0),
        ("02:00-04:00", "04:00:00", 22 * 3600),
        ("02:00-04:00", "01:59:30", 30),
        ("22:00-04:30", "23:59:59", 0),
        ("22:00-04:30", "00:00:00", 0),
        ("22:00-04:30", "04:29:59", 0),
        ("22:00-04:30", "04:30:00", 17.5 * 3600),
        ("22:00-04:30", "21:59:59", 1),
        ("08:00-08:00", "07:59:59", 0),
        ("08:00-08:00", "08:00:00", 0),
        ("00:00-00:01", "00:01:00", 24 * 3600 - 60),
    ],
)
def test_until_it_opens(window: str, now: str, seconds: float) -> None:
    assert opens_in_s(window, at(now)) == seconds


def test_it_is_in_utc_whatever_the_moment_is_told_in() -> None:
    here = datetime.timezone(datetime.timedelta(hours=2))
    assert opens_in_s("02:00-04:00", datetime.datetime(2026, 3, 4, 3, 30, tzinfo=here)) == 1800


MOMENTS = st.datetimes(timezones=st.just(UTC), min_value=datetime.datetime(2000, 1, 2)).filter(
    lambda moment: moment.year < 9000
)
MINUTES = st.integers(0, 24 * 60 - 1)


@given(MINUTES, MINUTES, MOMENTS)
def test_it_is_open_once_it_was_waited_for(since: int, until: int, now: datetime.datetime) -> None:
    window = "-".join(f"{end // 60:02}:{end % 60:02}" for end in (since, until))
    wait_s = opens_in_s(window, now)
    assert 0 <= wait_s < 24 * 3600
    assert opens_in_s(window, now + datetime.timedelta(seconds=wait_s)) == 0.0
