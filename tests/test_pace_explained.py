"""Which limits explain what was refused: the true one always does, and few others for long."""

import math
import runpy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from importer.pace_explained import Counting, Explanation, Likely, worth_trying

BENCH = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "pacing.py"))
Case, simulate, SERVERS = BENCH["Case"], BENCH["simulate"], BENCH["SERVERS"]

LATENCY, UNDER = 0.02, 0.01


def send(explanation: Explanation, server: Any, rates: Iterable[float], start: float) -> float:
    """Send at each rate until it is refused, pausing a second after each refusal; return when the last pause is over."""
    now = start
    for rate in rates:
        for _ in range(int(3 * rate)):
            accepted = server.arrive(now + LATENCY / 2)[0]
            explanation.saw(now, now + LATENCY, accepted=accepted)
            if not accepted:
                explanation.refused(rate, 3, now + 1.05)
                break
            now += 1 / rate
        now += 1.05
    return now


def explained(explanation: Explanation, limit: float) -> list[Counting]:
    """Return the ways of counting with which a limit explains what was seen; a request may be counted with the next."""
    return [one for one in explanation._countings() if one.least * 0.99 - 1 <= limit <= one.most * 1.01 + 1]


@given(
    kind=st.sampled_from(["fixed", "clock", "sliding", "bucket"]),
    limit=st.integers(5, 200),
    over=st.lists(st.floats(1.05, 3.0), min_size=1, max_size=4),
    start=st.floats(0, 1000),
)
@settings(max_examples=150, deadline=None)
def test_the_true_limit_explains_whatever_was_refused(kind: str, limit: int, over: list[float], start: float) -> None:
    explanation = Explanation(second=0.0, under=UNDER)
    send(explanation, SERVERS[kind](limit, 1.0), [share * limit for share in over], start)
    assume(not all(accepted for _, accepted in explanation._seen))  # a bucket's savings may last
    assert explained(explanation, limit)


@given(kind=st.sampled_from(["fixed", "sliding"]), limit=st.integers(8, 200), start=st.floats(0, 1000))
@settings(max_examples=60, deadline=None)
def test_two_refusals_tell_a_window_that_a_request_begins_or_ends(kind: str, limit: int, start: float) -> None:
    explanation = Explanation(second=0.0, under=UNDER)
    now = send(explanation, SERVERS[kind](limit, 1.0), [1.6 * limit, 1.3 * limit], start)
    chosen = explanation.limit(now, 0.0)
    assert chosen is not None
    assert chosen == pytest.approx(limit, abs=max(1.0, 0.015 * limit))


def test_the_seconds_of_utc_weigh_as_much_as_all_others() -> None:
    def weight(second: float) -> float:
        explanation = Explanation(second, UNDER)
        send(explanation, SERVERS["clock"](100, 1.0, phase=0.37), [160.0], 0.3)
        return sum(one.weight for one in explained(explanation, 100) if one.how == "clock")

    assert weight(0.37) > 2 * max(weight(0.37 + place / 10) for place in range(2, 9))


@pytest.mark.parametrize(("held", "under"), [(60, 2 * UNDER), (3, UNDER)])
def test_a_pace_that_held_for_a_while_is_refused_by_chance_and_kept_further_below_the_limit(
    held: int, under: float
) -> None:
    explanation = Explanation(second=0.0, under=UNDER)
    explanation.refused(40.0, 100, 1.0)
    assert explanation.under == UNDER
    explanation.refused(19.8, 100, 2.0)
    assert explanation.under == UNDER
    explanation.refused(19.8, held, 3.0)
    assert explanation.under == under


@pytest.mark.parametrize(("least", "most"), [(3.9, 4.0), (40.0, 41.0)])
def test_a_narrow_range_of_limits_is_less_likely_than_a_wide_one(least: float, most: float) -> None:
    assert Counting(least, most, 1.0, "bucket").mass < Counting(least, 1.2 * most, 1.0, "bucket").mass
    assert Counting(4, 4, 1.0, "window").mass > Counting(40, 40, 1.0, "window").mass


def test_what_held_longer_is_not_explained_away() -> None:
    explanation = Explanation(second=0.0, under=UNDER)
    explanation.begin(0.0, math.inf, anew=False, at_least=100.0)
    now = send(explanation, SERVERS["sliding"](50, 1.0), [80.0, 70.0], 0.0)
    assert explanation.limit(now, 0.0) is None


@pytest.mark.parametrize("at", [0.98, 1.003])
def test_what_is_refused_as_a_window_ends_is_of_that_window(at: float) -> None:
    """By when it left; it would else have begun the next one, and been accepted."""
    explanation = Explanation(second=0.0, under=UNDER)
    for place in range(5):
        explanation.saw(place / 5, place / 5 + LATENCY, accepted=True)
    explanation.saw(at, at + LATENCY, accepted=False)
    for place in range(5):
        explanation.saw(2 + place / 5, 2 + place / 5 + LATENCY, accepted=True)
    assert {one.least for one in explained(explanation, 5) if one.how == "window" and one.weight == 2.0} == {5}


def test_what_left_before_the_search_began_tells_nothing() -> None:
    explanation = Explanation(second=0.0, under=UNDER)
    explanation.begin(5.0, math.inf, anew=True)
    for place in range(40):
        explanation.saw(4.0 + place / 40, 5.2, accepted=place < 20)
    assert explanation.limit(6.0, 0.0) is None


def test_nothing_is_explained_where_nothing_was_refused_or_nothing_accepted() -> None:
    for accepted in (True, False):
        explanation = Explanation(second=0.0, under=UNDER)
        for place in range(40):
            explanation.saw(place / 40, place / 40 + LATENCY, accepted=accepted)
        assert explanation.limit(2.0, 0.0) is None


def test_so_much_is_sent_that_only_the_last_is_looked_at() -> None:
    explanation = Explanation(second=0.0, under=UNDER)
    for place in range(30_000):
        explanation.saw(place / 300, place / 300 + LATENCY, accepted=True)
    server = SERVERS["fixed"](200, 1.0)
    now = send(explanation, server, [300.0, 250.0], 102.0)
    assert len(explanation._seen) <= 10_000
    assert explanation.limit(now, 0.0) is None or explained(explanation, 200)


# What to try.


@pytest.mark.parametrize(
    ("likely", "tried", "stays"),
    [
        ([Likely(20.0, told=1.0)], 20.0, True),
        ([Likely(10.0, told=0.01), Likely(20.0, told=1.0)], 20.0, True),
        ([Likely(19.9, told=1.0), Likely(20.0, told=0.01)], 19.9, True),
        ([Likely(10.0, told=1.0), Likely(20.0, told=1.0)], 20.0, True),
        ([Likely(18.0, untold=1.0), Likely(19.0, untold=1.0), Likely(20.0, untold=1.0)], 19.0, False),
    ],
)
def test_what_costs_least_is_tried(likely: list[Likely], tried: float, stays: bool) -> None:
    assert worth_trying(likely) == (tried, stays)


LIKELY = st.lists(
    st.tuples(st.floats(1, 200), st.floats(0.01, 1), st.floats(0.01, 1)),
    min_size=1,
    max_size=12,
    unique_by=lambda x: x[0],
).map(lambda found: [Likely(*one) for one in sorted(found)])


@given(likely=LIKELY, by=st.floats(0.1, 10))
@settings(max_examples=100, deadline=None)
def test_what_is_tried_is_one_of_them_and_their_unit_does_not_matter(likely: list[Likely], by: float) -> None:
    tried, stays = worth_trying(likely)
    assert tried in [one.limit for one in likely]
    if tried == likely[-1].limit:
        assert stays
    scaled, still = worth_trying([Likely(by * one.limit, one.told, one.untold) for one in likely])
    assert scaled == pytest.approx(by * tried)
    assert still == stays


# What it is for: the first minute at a server that tells nothing.


@pytest.mark.parametrize("told", ["retry", "none"])
@pytest.mark.parametrize("kind", ["fixed", "sliding", "bucket"])
@pytest.mark.parametrize("number", [8, 20, 40])
def test_a_limit_is_found_in_the_first_ten_seconds(number: int, kind: str, told: str) -> None:
    done = simulate(Case(kind, number, 1.0, told, 0.05, seconds=62.0))
    assert done.of_limit(10, 60) >= (0.96 if kind == "bucket" else 0.97)
    assert done.of_limit(0, 60) >= 0.83
    assert done.count_refused(0, 60) <= max(0.005 * 60 * number, 4)


@pytest.mark.parametrize("kind", ["fixed", "sliding"])
def test_a_limit_that_is_halved_soon_after_it_was_found_is_found_again(kind: str) -> None:
    done = simulate(Case(kind, 40, 1.0, "retry", 0.05, seconds=60.0, changes=((25.0, 20),)))
    assert done.count_refused(28, 60) == 0
    assert done.of_limit(32, 60) >= 0.97
