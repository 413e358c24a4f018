"""How long a run takes and when it is done: tables of numbers, in a time that is told."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.estimate import (
    Progress,
    duration,
    estimate,
    leads_within,
    parse_deadline,
    rate,
    rates,
    say_deadline,
    say_estimate,
    seconds_to_send,
)
from importer.pace import Learned, Limit, Pacer

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = datetime(2026, 11, 25, 1, 0, tzinfo=UTC)
PER_MINUTE, PER_SECOND, PER_DAY = Limit(60, 60.0), Limit(10, 1.0), Limit(5000, 86400.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (41, "41 s"), (250, "4 min 10 s"), (10_080, "2 h 48 min"), (3600, "1 h"), (273_600, "3 d 4 h")],
)
def test_time_spans_are_told_in_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("per_second", "words"), [(39.5, "39.5/s"), (0.99, "59.4/min"), (0.005, "18/h"), (100, "100/s")]
)
def test_a_pace_is_told_in_the_unit_that_people_use(per_second: float, words: str) -> None:
    assert rate(per_second) == words


def test_limits_are_told_as_they_are_written() -> None:
    assert rates([PER_DAY, PER_SECOND]) == "10/s and 5,000/d"


def test_ten_thousand_leads_at_sixty_a_minute() -> None:
    made = estimate(10_000, limits=(PER_MINUTE,))
    assert made.seconds == pytest.approx(10_000 * 1.01, rel=0.01)
    assert say_estimate(made, NIGHT, zone=BERLIN) == "10,000 leads, about 2 h 48 min at 60/min, done by 04:49."


def test_an_unknown_pace_is_said_to_be_found() -> None:
    assert "found while sending" in say_estimate(estimate(5, limits=None), NIGHT)
    assert leads_within(60, 5, limits=None) is None


def test_a_days_limit_waits_for_the_next_window() -> None:
    assert seconds_to_send(5_001, (PER_DAY,)) >= 86_400
    assert seconds_to_send(100, (PER_SECOND, PER_DAY)) == pytest.approx(10, rel=0.05)
    assert seconds_to_send(10, (PER_SECOND, PER_DAY), [(3600.0, 5000)]) >= 86_400 - 3600


@given(st.integers(1, 50_000), st.floats(1, 100_000))
def test_what_fits_into_a_time_takes_no_longer(leads: int, seconds: float) -> None:
    fit = leads_within(seconds, leads, limits=(PER_SECOND, PER_DAY))
    assert fit is not None
    assert 0 <= fit <= leads
    if fit:
        assert seconds_to_send(fit, (PER_SECOND, PER_DAY)) <= seconds


@pytest.mark.parametrize(
    ("text", "now", "expected"),
    [
        ("06:00", NIGHT, datetime(2026, 11, 25, 5, 0, tzinfo=UTC)),  # Berlin is an hour ahead in winter
        ("01:30", NIGHT, datetime(2026, 11, 26, 0, 30, tzinfo=UTC)),  # past today: tomorrow
        ("6:00", datetime(2026, 7, 1, 1, 0, tzinfo=UTC), datetime(2026, 7, 1, 4, 0, tzinfo=UTC)),
        ("02:30", datetime(2026, 10, 24, 23, 0, tzinfo=UTC), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),  # shown twice
    ],
)
def test_a_deadline_is_the_next_time_that_a_clock_shows_it(text: str, now: datetime, expected: datetime) -> None:
    assert parse_deadline(text, now, zone=BERLIN) == expected


@pytest.mark.parametrize("text", ["25:00", "6", "06:60", "six", "", "06:00:00"])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HH:MM"):
        parse_deadline(text, NIGHT)


def test_a_deadline_says_how_many_leads_it_leaves_time_for() -> None:
    made = estimate(10_000, limits=(PER_MINUTE,))
    late = NIGHT + timedelta(hours=1)
    fit = leads_within(3600, 10_000, limits=(PER_MINUTE,))
    assert "about 3,56" in say_deadline(made, late, NIGHT, fit=fit, zone=BERLIN)
    early = say_deadline(made, NIGHT + timedelta(hours=5), NIGHT, fit=10_000, zone=BERLIN)
    assert "all are done 2 h 12 min earlier" in early


@pytest.mark.parametrize("per_second", [0.5, 5.0, 50.0])
def test_the_forecast_is_right_within_a_tenth_once_a_tenth_is_done(per_second: float) -> None:
    total = int(per_second * 600)
    pacer = Pacer(None, learned=Learned(per_second), now=0.0)
    progress = Progress(total, 0.0)
    for done in range(1, total // 10 + 1):
        progress.step(done / per_second, paused_until=-1.0)
    now = total / 10 / per_second
    assert progress.seconds_left(now, pacer) == pytest.approx(540, rel=0.1)


def test_a_pause_that_is_over_does_not_count() -> None:
    pacer = Pacer(None, learned=Learned(10.0), now=0.0)
    progress = Progress(1_000, 0.0)
    for done in range(1, 101):
        progress.step(done / 10 + (60 if done > 50 else 0), paused_until=65.0 if done > 50 else -1.0)
    assert progress.seconds_left(70.0, pacer) == pytest.approx(90, rel=0.1)
