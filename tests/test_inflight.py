import heapq
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.inflight import InFlight


def places_over(
    seconds: float,
    takes: Callable[[float, int], float],
    *,
    asked: int | None = None,
    pace: float = 1e6,
) -> list[tuple[float, int]]:
    """Send for some seconds at most `pace` requests per second, each of which `takes(now, in flight)`.

    Returns the number of places each time it changed, and when.
    """
    now, due = 0.0, 0.0
    inflight = InFlight(asked, now=now)
    flying: list[float] = []
    told = [(now, inflight.places)]
    waiting = False
    while now < seconds:
        if len(flying) < inflight.places and due <= now:
            heapq.heappush(flying, now + takes(now, len(flying) + 1))
            due, waiting = max(due, now - 0.01) + 1 / pace, False
        elif due > now and (not flying or due < flying[0]):
            now = due
        else:
            if due <= now and not waiting:
                inflight.waited()
                waiting = True
            now = max(heapq.heappop(flying), now)
            inflight.answered(now)
            if inflight.places != told[-1][1]:
                told.append((now, inflight.places))
    return told


def network(latency: float) -> Callable[[float, int], float]:
    return lambda now, flying: latency


def one_at_a_time(work: float) -> Callable[[float, int], float]:
    """Serve like a server with one worker: what is in flight before a request is answered first."""
    return lambda now, flying: flying * work


@pytest.mark.parametrize("latency", [0.02, 0.1, 0.5])
def test_where_the_network_takes_the_time_all_places_are_used_soon(latency: float) -> None:
    told = places_over(60 * latency + 5, network(latency))
    assert [places for _, places in told] == [8, 16, 32, 64]


@pytest.mark.parametrize("work", [0.001, 0.02])
def test_where_the_server_is_the_bound_a_growth_is_taken_back(work: float) -> None:
    told = places_over(50, one_at_a_time(work))
    assert [places for _, places in told] == [8, 16, 8]


def test_a_growth_that_did_not_help_is_tried_again_but_seldom() -> None:
    told = places_over(300, one_at_a_time(0.005))
    grown = [at for at, places in told if places == 16]
    assert 4 <= len(grown) <= 6
    assert all(later - before >= 60 for before, later in pairwise(grown))


def test_where_the_pace_is_the_bound_nothing_grows() -> None:
    assert places_over(60, network(0.1), pace=40) == [(0.0, 8)]


def test_a_network_that_becomes_slower_gets_more_places() -> None:
    told = places_over(60, lambda now, flying: 0.01 if now < 20 else 0.4, pace=100)
    assert told[0] == (0.0, 8)
    assert [places for at, places in told] == [8, 16, 32, 64]
    assert told[1][0] >= 20


@settings(max_examples=30)
@given(told=st.lists(st.tuples(st.booleans(), st.floats(0, 2)), max_size=400))
def test_whatever_is_told_there_are_places_and_never_too_many(told: list[tuple[bool, float]]) -> None:
    now = 0.0
    inflight = InFlight(None, now=now)
    for waited, seconds in told:
        now += seconds
        if waited:
            inflight.waited()
        inflight.answered(now)
        assert inflight.places in (8, 16, 32, 64)


@settings(max_examples=10)
@given(asked=st.integers(1, 256), latency=st.sampled_from([0.01, 0.2]))
def test_a_number_that_was_set_stays(asked: int, latency: float) -> None:
    assert places_over(3, network(latency), asked=asked) == [(0.0, asked)]
