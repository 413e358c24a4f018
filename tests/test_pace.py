"""The pacer as numbers, its laws, and its targets against simulated servers in virtual time."""

import math
import runpy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.pace import Already, Learned, Limit, Pacer

BENCH = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "pacing.py"))
Case, simulate = BENCH["Case"], BENCH["simulate"]

LATENCY = 0.05


def send(pacer: Pacer, seconds: float, *, start: float = 0.0, status: int = 201, **told: Any) -> list[float]:
    """Send as fast as allowed, each answered a latency later, before the next; return when each left."""
    now, sent = start, []
    while True:
        now += pacer.delay(now)
        if now >= start + seconds:
            return sent
        pacer.take(now)
        sent.append(now)
        pacer.answered(now + LATENCY, status=status, sent_at=now, **told)


def most_in(times: list[float], seconds: float) -> int:
    """Return the most requests within any window of so many seconds."""
    return max((sum(at <= time < at + seconds for time in times) for at in times), default=0)


# What the pacer does, as a table.


@pytest.mark.parametrize(
    ("limits", "seconds", "fewest", "most"),
    [
        ((Limit(1, 1.0),), 60, 58, 60),
        ((Limit(40, 1.0),), 10, 394, 400),
        ((Limit(60, 60.0),), 60, 59, 60),
        ((Limit(1, 2.0),), 60, 29, 30),
        ((Limit(5, 1.0), Limit(60, 60.0)), 60, 59, 60),
        ((Limit(60, 60.0), Limit(5, 1.0)), 60, 59, 60),
        ((Limit(5, 1.0), Limit(100, 86_400.0)), 3600, 100, 100),
        ((Limit(1000, 3600.0),), 360, 98, 100),
    ],
)
def test_limits_that_are_set_are_used_and_kept(
    limits: tuple[Limit, ...], seconds: float, fewest: int, most: int
) -> None:
    assert fewest <= len(send(Pacer(limits, now=0.0), seconds)) <= most


@pytest.mark.parametrize(
    ("already", "sent", "wait"),
    [
        ((), 100, 86_400),
        (((3600.0, 60),), 40, 82_800),
        (((3600.0, 30), (7200.0, 30)), 40, 79_200),
        (((90_000.0, 60),), 100, 86_400),
        (((3600.0, 100),), 0, 82_800),
        (((3600.0, 500),), 0, 82_800),
    ],
)
def test_a_days_limit_counts_earlier_runs(already: tuple[Already, ...], sent: int, wait: float) -> None:
    pacer = Pacer((Limit(5, 1.0), Limit(100, 86_400.0)), now=0.0, already=already)
    assert len(send(pacer, 600)) == sent
    now = 600.0
    assert now + pacer.delay(now) == pytest.approx(wait, abs=61)
    assert "used up" in (pacer.notice or "")
    assert pacer.notice is None


def test_what_was_sent_can_be_handed_to_the_next_run() -> None:
    first = Pacer((Limit(5, 1.0), Limit(100, 86_400.0)), now=0.0)
    send(first, 10)
    sent = sum(count for _, count in first.already(10.0))
    assert len(send(Pacer(first.limits, now=0.0, already=first.already(10.0)), 600)) == 100 - sent


@pytest.mark.parametrize(
    ("status", "told", "wait"),
    [
        (429, {"retry_after": 7.0}, 7.05),
        (429, {"retry_after": 0.0}, 1.05),
        (429, {"reset_in": 30.0}, 30.05),
        (429, {"retry_after": 7.0, "reset_in": 30.0}, 7.05),
        (429, {}, 1.05),
        (429, {"retry_after": -3.0}, 1.05),
        (429, {"retry_after": math.nan}, 1.05),
        (429, {"retry_after": math.inf}, 900.05),
        (429, {"retry_after": 86_400.0}, 900.05),
        (503, {"retry_after": 12.0}, 12.05),
    ],
)
def test_an_answer_that_asks_to_wait_pauses_everybody(status: int, told: dict[str, float], wait: float) -> None:
    pacer = Pacer((Limit(100, 1.0),), now=0.0)
    pacer.take(0.0)
    pacer.answered(0.1, status=status, sent_at=0.0, **told)  # type: ignore[arg-type]
    assert pacer.delay(0.1) == pytest.approx(wait)
    assert pacer.paused_until == pytest.approx(0.1 + wait)


@pytest.mark.parametrize(
    ("retry_after", "notice"),
    [
        (1.0, None),
        (30.0, "The server asks to wait 30 s; everything waits."),
        (86_400.0, "The server asks to wait 86,400 s. That is capped: waiting 900 s."),
        (math.inf, "The server asks to wait inf s. That is capped: waiting 900 s."),
    ],
)
def test_a_long_pause_is_announced_once(retry_after: float, notice: str | None) -> None:
    pacer = Pacer(None, now=0.0)
    for _ in range(3):
        pacer.take(0.0)
    for _ in range(3):
        pacer.answered(0.1, status=429, sent_at=0.0, retry_after=retry_after)
    assert pacer.notice == notice
    assert pacer.notice is None


def test_a_503_without_retry_after_is_no_pause() -> None:
    pacer = Pacer((Limit(100, 1.0),), now=0.0)
    pacer.take(0.0)
    pacer.answered(0.1, status=503, sent_at=0.0)
    assert pacer.delay(0.1) == 0.0


@pytest.mark.parametrize("together", [1, 2, 64])
def test_a_burst_of_refusals_slows_once(together: int) -> None:
    pacer = Pacer(None, learned=Learned(40.0), now=0.0)
    send(pacer, 5)
    for place in range(together):
        pacer.take(5.0 + place / 1000)
    for place in range(together):
        pacer.answered(5.1 + place / 1000, status=429, sent_at=5.0 + place / 1000)
    assert pacer.rate(5.2) == pytest.approx(39.6)


def test_the_pace_found_is_remembered_and_begun_with() -> None:
    case = Case("sliding", 40, 1.0, "none", seconds=60.0)
    found = simulate(case).pacer.learned(10_000.0)
    assert found.per_second == pytest.approx(39.5, rel=0.03)
    again = simulate(Case("sliding", 40, 1.0, "none", seconds=20.0, learned=found))
    assert again.of_limit(0, 10) > 0.95
    assert Pacer((Limit(5, 1.0),), learned=found, now=0.0).learned(1.0) is None
    assert Pacer(None, now=0.0).learned(1.0) is None


@pytest.mark.parametrize("per_second", [0.0, -1.0, math.nan, math.inf])
def test_nonsense_that_was_remembered_is_not_begun_with(per_second: float) -> None:
    assert Pacer(None, learned=Learned(per_second), now=0.0).rate(0.0) == Pacer(None, now=0.0).rate(0.0)


@pytest.mark.parametrize(
    ("pacer", "known"),
    [
        (Pacer((Limit(5, 1.0),), now=0.0), True),
        (Pacer(None, now=0.0), False),
        (Pacer(None, learned=Learned(5.0), now=0.0), True),
    ],
)
def test_a_pace_is_known_when_set_or_found(pacer: Pacer, known: bool) -> None:
    assert pacer.is_known(0.0) is known


def test_no_more_is_sent_than_remains_while_the_window_is_unknown() -> None:
    pacer = Pacer(None, now=0.0)
    pacer.take(0.0)
    pacer.answered(0.05, status=201, sent_at=0.0, limit=60, remaining=3)
    sent = 0
    now = 0.05
    while now < 0.9 and sent < 60:
        now += max(pacer.delay(now), 0.001)
        if pacer.delay(now) == 0 and now < 0.9:
            pacer.take(now)
            sent += 1
    assert sent <= 3


# Its laws.

TIMES = st.floats(0, 0.3)
LIMITS = st.lists(
    st.tuples(st.integers(1, 60), st.sampled_from([1.0, 2.0, 60.0, 300.0, 3600.0])), min_size=1, max_size=3
)


@given(limits=LIMITS, late=st.lists(TIMES, min_size=1, max_size=200), start=st.floats(0, 1e6))
@settings(max_examples=150, deadline=None)
def test_never_more_than_the_set_limits_in_any_window(
    limits: list[tuple[int, float]], late: list[float], start: float
) -> None:
    made = tuple(Limit(requests, seconds) for requests, seconds in limits)
    pacer, now, sent = Pacer(made, now=start), start, []
    for lateness in late:
        now += lateness
        while (delay := pacer.delay(now)) > 0:
            now += delay
        pacer.take(now)
        sent.append(now)
    for limit in made:
        assert most_in(sent, limit.seconds * (1 - 1e-6)) <= limit.requests


MAYBE = st.none() | st.integers(-5, 200)
WAITS = st.none() | st.floats(allow_nan=True, allow_infinity=True)
EVENTS = st.lists(
    st.tuples(
        st.floats(-3, 20),
        st.booleans(),
        st.sampled_from([0, 200, 201, 401, 422, 429, 503]),
        st.tuples(MAYBE, MAYBE, WAITS, WAITS),
        st.floats(-30, 5) | st.just(math.nan),
    ),
    max_size=80,
)


@given(
    events=EVENTS,
    limits=st.none() | st.just((Limit(5, 1.0), Limit(50, 3600.0))),
    learned=st.none() | st.builds(Learned, st.floats(), st.none() | st.floats(), st.none() | st.integers(-5, 100)),
)
@settings(max_examples=300, deadline=None)
def test_whatever_comes_in_whatever_order_the_delay_is_finite_and_never_negative(
    events: list[tuple[float, bool, int, tuple[int | None, int | None, float | None, float | None], float]],
    limits: tuple[Limit, ...] | None,
    learned: Learned | None,
) -> None:
    now, pacer = 100.0, Pacer(limits, learned=learned, now=100.0)
    for step, takes, status, (limit, remaining, reset_in, retry_after), sent in events:
        now += step
        if takes:
            pacer.take(now)
        else:
            pacer.answered(
                now,
                status=status,
                limit=limit,
                remaining=remaining,
                reset_in=reset_in,
                retry_after=retry_after,
                sent_at=now + sent,
            )
        assert 0 <= pacer.delay(now) < math.inf
        assert 0 < pacer.rate(now) <= 10_000


@given(
    limit=st.integers(-(10**12), 0) | st.integers(10**9, 10**30) | st.none(),
    remaining=MAYBE,
    other=st.integers(101, 10**6),
)
@settings(max_examples=100, deadline=None)
def test_nonsense_headers_change_nothing(limit: int | None, remaining: int | None, other: int) -> None:
    plain = send(Pacer(None, now=0.0), 4)
    assert send(Pacer(None, now=0.0), 4, limit=limit, remaining=remaining) == plain
    assert send(Pacer(None, now=0.0), 4, limit=100, remaining=other) == plain


# Its targets, in short; all of them: benchmarks/pacing.py.


@pytest.mark.parametrize("kind", ["fixed", "clock", "sliding", "bucket"])
@pytest.mark.parametrize(("number", "window"), [(1, 1.0), (40, 1.0), (60, 60.0), (300, 60.0)])
def test_with_headers_the_limit_is_used_and_nothing_refused_when_steady(kind: str, number: int, window: float) -> None:
    done = simulate(Case(kind, number, window, "all", seconds=130.0))
    assert done.of_limit(0, 60) >= 0.83
    assert done.of_limit(10.0 if window == 1 else 65.0, 130) >= 0.97
    assert done.count_refused(60) == 0
    assert done.share_refused <= 0.005


@pytest.mark.parametrize("kind", ["fixed", "clock", "sliding", "bucket"])
@pytest.mark.parametrize(("number", "window"), [(5, 1.0), (40, 1.0), (300, 60.0)])
def test_without_headers_the_limit_is_found(kind: str, number: int, window: float) -> None:
    done = simulate(Case(kind, number, window, "none", seconds=185.0))
    assert done.of_limit(0, 60) >= 0.83
    assert done.of_limit(10.0 if window == 1 else 65.0, 185) >= 0.94
    assert done.bursts() <= done.asked / 200 + 4


@pytest.mark.parametrize("kind", ["fixed", "clock", "sliding", "bucket"])
@pytest.mark.parametrize(("before", "after"), [(40, 20), (20, 40)])
def test_a_limit_that_changes_is_followed(kind: str, before: int, after: int) -> None:
    done = simulate(Case(kind, before, 1.0, "all", seconds=90.0, changes=((30.0, after),)))
    assert done.of_limit(50, 90) >= 0.97
    assert done.share_refused <= 0.005


def test_a_window_that_was_taken_for_longer_once_is_not_for_ever() -> None:
    pacer, now, sent = Pacer(None, now=0.0), 0.0, []
    while now < 120.0:
        now += pacer.delay(now)
        pacer.take(now)
        sent.append(now)
        limit = 40 if now < 18 else 20
        used = min(sum(int(time) == int(now) for time in sent[-40:]), limit)
        if any(moment < now < moment + 0.5 for moment in (20, 21.5)):  # the server tells of more than was sent since
            used = limit
        pacer.answered(now + LATENCY, status=201, sent_at=now, limit=limit, remaining=limit - used)
        if 20 < now < 21:
            now += 1.5
    assert 10 < sum(30 < time < 40 for time in sent) < 100, "it was not taken for longer"
    assert sum(time > 90 for time in sent) >= 0.9 * 20 * 30


def test_a_raised_limit_per_minute_does_not_stall() -> None:
    done = simulate(Case("bucket", 60, 60.0, "all", seconds=300.0, changes=((120.0, 120),)))
    assert done.of_limit(180, 300) >= 0.97


@pytest.mark.parametrize("kind", ["fixed", "clock", "sliding", "bucket"])
@pytest.mark.parametrize("remembered", [79.0, 19.75])
def test_a_remembered_pace_that_fits_no_more_is_corrected(kind: str, remembered: float) -> None:
    done = simulate(Case(kind, 40, 1.0, "none", seconds=120.0, learned=Learned(remembered)))
    assert done.of_limit(60, 120) >= 0.88


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_request_that_was_overtaken_does_not_make_the_window_longer(seed: int) -> None:
    done = simulate(Case("sliding", 40, 1.0, "all", seconds=230.0, spikes=0.002, seed=seed))
    assert done.of_limit(190, 230) >= 0.93


def trying_for_more() -> tuple[Pacer, float]:
    """Return a pacer that tries for more than the 40/s it remembers, and the time."""
    pacer = Pacer(None, learned=Learned(40.0), now=0.0)
    send(pacer, 12)
    assert pacer.rate(12.0) > 40.0
    return pacer, 12.0


@pytest.mark.parametrize(("told", "wait"), [({}, 0.15), ({"retry_after": 1.0}, 1.05)])
def test_a_failed_try_for_more_pauses_as_long_as_it_must(told: dict[str, float], wait: float) -> None:
    pacer, now = trying_for_more()
    pacer.take(now)
    pacer.answered(now + LATENCY, status=429, sent_at=now, **told)  # type: ignore[arg-type]
    assert pacer.delay(now + LATENCY) == pytest.approx(wait)


def test_what_is_refused_after_a_brief_pause_too_has_a_second_and_no_window_is_made_of_it() -> None:
    pacer, now = trying_for_more()
    for wait in (0.15, 1.05):
        pacer.take(now)
        pacer.answered(now + LATENCY, status=429, sent_at=now)
        assert pacer.delay(now + LATENCY) == pytest.approx(wait)
        now = pacer.paused_until
    send(pacer, 1, start=now)
    assert pacer.learned(now + 1).window is None  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["fixed", "clock", "sliding", "bucket"])
def test_a_pace_of_an_earlier_run_is_brought_up_to_what_headers_tell_at_once(kind: str) -> None:
    done = simulate(Case(kind, 40, 1.0, "all", seconds=62.0, learned=Learned(19.75)))
    assert done.of_limit(0, 60) >= 0.95
    assert not done.refused


def test_the_pause_after_a_try_at_a_low_limit_is_two_places_in_the_pace() -> None:
    """At 1/s the clock's second that refused is far from over after a tenth."""
    pacer = Pacer(None, learned=Learned(4.0), now=0.0)
    send(pacer, 14)
    pacer.take(14.0)
    pacer.answered(14.0 + LATENCY, status=429, sent_at=14.0)
    assert pacer.delay(14.0 + LATENCY) == pytest.approx(2 / 4.0 + 0.05, rel=0.05)


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("told", ["retry", "none"])
def test_tries_for_more_at_a_low_limit_are_rare(told: str, seed: int) -> None:
    """Where the clock's seconds hide that the limit is reached until the pace is a fifth above it."""
    done = simulate(Case("clock", 1, 1.0, told, 0.05, seconds=2000.0, seed=seed))
    assert done.share_refused <= 0.005
    assert done.count_refused(60) <= 6


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", ["fixed", "clock", "sliding", "bucket"])
def test_a_failed_try_for_more_keeps_the_last_step_that_held(kind: str, seed: int) -> None:
    done = simulate(Case(kind, 40, 1.0, "none", 0.05, seconds=185.0, seed=seed))
    assert done.of_limit(60, 185) >= 0.97


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("kind", ["fixed", "clock", "sliding"])
def test_a_limit_per_second_that_is_set_holds_on_a_network_with_jitter(kind: str, seed: int) -> None:
    done = simulate(Case(kind, 40, 1.0, "none", seconds=60.0, limits=(Limit(40, 1.0),), seed=seed))
    assert not done.refused
    assert done.of_limit(1, 60) >= 0.98


@pytest.mark.parametrize(("number", "seconds", "bursts"), [(60, 2000.0, 15), (300, 305.0, 8)])
def test_a_buckets_savings_are_known_again(number: int, seconds: float, bursts: int) -> None:
    done = simulate(Case("bucket", number, 60.0, "none", 0.3, seconds=seconds))
    assert done.bursts() <= bursts
    assert done.of_limit(65, seconds) >= 0.97


@pytest.mark.parametrize("ready", [0, 12])
def test_a_pace_that_is_refused_again_and_again_is_lowered_also_where_answers_take_a_second(ready: int) -> None:
    done = simulate(Case("clock", 20, 1.0, "retry", 1.0, seconds=185.0, in_flight=24, ready=ready))
    assert done.bursts() <= 12  # 29 where what left before a refusal was heard is taken for what came after its pause
    assert done.of_limit(10.0, 185.0) >= 0.9


def test_what_a_failed_try_left_too_high_falls_back_to_what_held_before() -> None:
    pacer, now, rates = Pacer(None, learned=Learned(38.0), now=0.0), 14.0, []
    send(pacer, now)
    for _ in range(2):
        pacer.take(now)
        pacer.answered(now + LATENCY, status=429, sent_at=now)
        rates.append(pacer.rate(now + LATENCY))
        send(pacer, 6.0, start=pacer.paused_until)
        now = pacer.paused_until + 6.0
    after_the_try, after_that = rates
    assert after_the_try > 38.0
    assert after_that == 38.0
