"""The gate and the places: who waits, in which order, and what a stop or a pause does to those who wait.

Nothing here is fast or slow enough to fail: pauses are only ever held against their lower bound.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.answers import RateHeaders
from importer.clock import ServerClock
from importer.gate import Gate, Places, Stop
from importer.inflight import InFlight
from importer.pace import Limit, Pacer

#: Seconds that the server asks to wait in these tests.
PAUSE = 0.3
UNTOLD = RateHeaders(None, None, None)


def gate(stop: Stop | None = None) -> Gate:
    """Return a gate that would let a thousand requests a second go."""
    return Gate(Pacer((Limit(1000, 1.0),), now=time.monotonic()), stop or Stop(), lambda _: None)


def pause(gate: Gate, seconds: float = PAUSE) -> float:
    """Let the gate hear a 429; return when its pause is over at the earliest."""
    told = time.monotonic()
    gate.hear(429, UNTOLD, seconds, 0.0)
    return told + seconds


def going(do: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(do())  # type: ignore[arg-type]


# The word that stops a run.


def test_the_first_cause_of_a_stop_stays() -> None:
    async def do() -> None:
        stop = Stop()
        assert not stop.event.is_set()
        stop.now("the key is refused")
        stop.now("stopped by a signal", 2)
        assert (stop.cause, stop.signal, stop.event.is_set()) == ("the key is refused", None, True)

    going(do)


def test_after_a_stop_nobody_may_go_though_the_pace_is_free_but_what_is_in_flight_is_finished() -> None:
    async def do() -> None:
        stop = Stop()
        shared = gate(stop)
        assert await shared.may_go()
        stop.now("enough")
        assert not await shared.may_go()
        await shared.wait()

    going(do)


# The pause.


@pytest.mark.parametrize("way", ["may_go", "wait", "resume"])
def test_nobody_leaves_while_the_server_has_everybody_pause(way: str) -> None:
    async def do() -> None:
        shared = gate()
        left: list[float] = []

        async def one() -> None:
            await (shared.resume(0.0) if way == "resume" else getattr(shared, way)())
            left.append(time.monotonic())

        over = pause(shared)
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(one)
        assert len(left) == 5
        assert min(left) >= over

    going(do)


def test_a_server_that_only_asks_to_wait_is_told_of_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    now = 1000.0
    monkeypatch.setattr("importer.gate.time.monotonic", lambda: now)
    shared = Gate(Pacer((Limit(1000, 1.0),), now=now), Stop(), said.append)
    for status, after in [(200, 30), *[(429, 5)] * 60, (200, 1), *[(503, 10)] * 8]:
        now += after
        shared.hear(status, UNTOLD, 1.0 if status > 200 else None, 0.01)
    assert [text.split(" the server")[0] for text in said] == ["For 60 s", "For 2 min", "For 4 min", "For 60 s"]
    assert "answers 429, to wait" in said[0]


def test_a_server_that_can_not_be_reached_is_told_of_at_once_and_then_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[tuple[float, str]] = []
    now = 1000.0
    monkeypatch.setattr("importer.gate.time.monotonic", lambda: now)
    shared = Gate(Pacer((Limit(1000, 1.0),), now=now), Stop(), lambda text: said.append((now, text)))
    for after in (*[0.0] * 8, *[1.0] * 100, 59.0, 60.0, 0.0):  # many find it out at once; then it is well for a minute
        now += after
        shared.tell_unreached("no connection could be made (connection refused)", 0.4)
    assert [at - 1000 for at, _ in said] == [0, 10, 30, 70, 159, 219]
    assert said[0][1] == (
        "The server can't be reached: no connection could be made (connection refused). Trying again in 1 s."
    )


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_a_pause_until_a_reset_is_by_the_servers_clock(ahead: float) -> None:
    clock = ServerClock()
    date = datetime.now(UTC) + timedelta(seconds=ahead)
    clock.hear(date, time.monotonic(), time.monotonic())
    shared = Gate(Pacer((Limit(1000, 1.0),), now=time.monotonic()), Stop(), lambda _: None, clock)
    shared.hear(429, RateHeaders(60, 0, date.timestamp() + 5), None, 0.01)
    assert 4 < shared.pacer.paused_until - time.monotonic() < 8


def test_a_pause_that_is_told_again_holds_who_waits_for_the_first_one() -> None:
    async def do() -> None:
        shared = gate()
        pause(shared)
        overs: list[float] = []

        async def again() -> None:
            await anyio.sleep(PAUSE / 2)
            overs.append(pause(shared))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(again)
            await shared.resume(0.0)
            assert time.monotonic() >= overs[0]

    going(do)


def test_who_had_a_place_in_the_pace_goes_on_at_once_and_takes_another_only_after_a_pause() -> None:
    async def do() -> None:
        pacer = Pacer((Limit(1000, 1.0),), now=time.monotonic())
        shared = Gate(pacer, Stop(), lambda _: None)
        assert await shared.may_go()
        taken_at = shared.taken_at
        await shared.resume(taken_at)
        assert shared.taken_at == taken_at
        pause(shared)
        await shared.resume(taken_at)
        assert shared.taken_at >= taken_at + PAUSE
        sent = pacer._sent
        assert sent.in_flight(time.monotonic()) == sent.count(0.0, math.inf) == 1, "the place before was given back"

    going(do)


def test_who_was_ready_leaves_at_the_pace_when_a_pause_is_over_and_not_all_at_once() -> None:
    async def do() -> None:
        shared = Gate(Pacer((Limit(20, 1.0),), now=time.monotonic()), Stop(), lambda _: None)
        left: list[float] = []

        async def one() -> None:
            await shared.resume(0.0)
            left.append(time.monotonic())

        pause(shared)
        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(one)
        assert left[-1] - left[0] >= 4 / 20

    going(do)


@pytest.mark.parametrize("way", ["may_go", "resume"])
def test_a_stop_ends_the_wait_for_the_end_of_a_pause(way: str) -> None:
    async def do() -> None:
        stop = Stop()
        shared = gate(stop)
        pause(shared, 300.0)
        told: list[object] = []

        async def one() -> None:
            told.append(await (shared.resume(0.0) if way == "resume" else shared.may_go()))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(one)
                await anyio.sleep(0.05)
                assert told == []
                stop.now("enough")
        assert len(told) == 3
        assert not any(told)

    going(do)


def test_a_wait_that_is_cancelled_leaves_the_line_to_the_next() -> None:
    async def do() -> None:
        shared = gate()
        pause(shared)
        with anyio.move_on_after(PAUSE / 3):
            await shared.may_go()
        with anyio.fail_after(30):
            assert await shared.may_go()

    going(do)


# The places in flight.

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.just(0)),
        st.tuples(st.just("leave"), st.integers(0, 9)),
        st.tuples(st.just("cancel"), st.integers(0, 9)),
        st.tuples(st.just("leave and cancel"), st.integers(0, 9)),
        st.tuples(st.just("places"), st.integers(1, 6)),
    ),
    max_size=40,
)


class Street:
    """Tasks that come for a place, hold it until they are told to leave, and what became of them."""

    def __init__(self, places: int) -> None:
        self.inflight = InFlight(places, now=0.0)
        self.places = Places(self.inflight)
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.ends: dict[int, asyncio.Event] = {}
        self.inside: list[int] = []
        self.served: list[int] = []

    async def stay(self, number: int) -> None:
        async with self.places:
            self.inside.append(number)
            self.served.append(number)
            try:
                await self.ends[number].wait()
            finally:
                self.inside.remove(number)

    def waiting(self) -> list[int]:
        return [number for number, task in self.tasks.items() if not task.done() and number not in self.inside]

    def do(self, what: str, number: int) -> None:
        if what == "come":
            name = len(self.tasks)
            self.ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.get_running_loop().create_task(self.stay(name))
        elif what == "places":
            self.inflight.places = number
        elif "leave" in what and self.inside:
            self.ends[self.inside[number % len(self.inside)]].set()
        if "cancel" in what and (waiting := self.waiting()):
            # With "leave" in the same step: perhaps the very one whom the place is given.
            self.tasks[waiting[0 if "leave" in what else number % len(waiting)]].cancel()


async def settle_down() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@given(st.integers(1, 4), STEPS)
@settings(max_examples=150)
def test_places_are_given_in_order_never_too_many_and_none_is_lost(places: int, steps: list[tuple[str, int]]) -> None:
    async def do() -> None:
        street = Street(places)
        for what, number in steps:
            before = len(street.inside)
            street.do(what, number)
            await settle_down()
            # Fewer places take none away from who is in flight.
            assert len(street.inside) <= max(street.inflight.places, before)
            assert street.served == sorted(street.served)
        street.inflight.places = places
        while street.inside or street.waiting():
            assert street.inside, "somebody waits while nobody is in flight"
            street.do("leave", 0)
            await settle_down()
        assert all(task.done() for task in street.tasks.values())
        async with anyio.create_task_group() as tasks:  # all places are there again
            for _ in range(places):
                street.do("come", 0)
            await settle_down()
            assert len(street.inside) == places
            for event in street.ends.values():
                event.set()
            tasks.start_soon(settle_down)

    going(do)


def test_a_place_that_is_given_to_somebody_who_is_cancelled_at_once_goes_to_the_next() -> None:
    async def do() -> None:
        street = Street(1)

        async def first() -> None:
            async with street.places:
                street.do("come", 0)
                street.do("come", 0)
                await settle_down()
            street.tasks[0].cancel()  # its turn has just come, and it has not run yet

        await first()
        await settle_down()
        assert street.tasks[0].cancelled()
        assert street.inside == [1]
        street.ends[1].set()
        await settle_down()

    going(do)


def test_being_cancelled_in_the_line_as_a_place_becomes_free_is_nothing_but_a_cancel() -> None:
    async def do() -> None:
        places = Places(InFlight(1, now=time.monotonic()))

        async def hold() -> None:
            async with places:
                pass

        await places.__aenter__()
        waiting = [asyncio.create_task(hold()) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await places.__aexit__()  # before the cancelled one has its turn
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in ended] == [asyncio.CancelledError, type(None)]
        async with asyncio.timeout(1), places:  # no place is lost
            pass

    going(do)
