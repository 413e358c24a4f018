"""The one place in the pace that all requests of a run share, the places in flight, and the word that stops it.

`pace` and `inflight` do the arithmetic; here it meets the clock, the tasks that wait, and the stop.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import anyio

from importer.answers import RateHeaders
from importer.api import Answer
from importer.clock import ServerClock
from importer.inflight import InFlight
from importer.pace import Already, Learned, Limit, Pacer

#: Seconds in which the server lets nothing through, before people are told.
_SILENCE = 60.0
#: Seconds between two notices that the server can't be reached at first; each time twice as many, until it was well so long.
_UNREACHED_SILENCE = 10.0


@dataclass(slots=True)
class Stop:
    """Why no further lead is taken; empty while the run goes on."""

    cause: str | None = None
    signal: int | None = None
    event: anyio.Event = field(default_factory=anyio.Event)

    def now(self, cause: str, signal: int | None = None) -> None:
        """Take no further lead. The first cause stays."""
        if self.cause is None:
            self.cause, self.signal = cause, signal
        self.event.set()


def pacer_from_now(limits: tuple[Limit, ...] | None, learned: Learned | None, already: Sequence[Already] = ()) -> Pacer:
    """Return the pace of a run that begins now, by the clocks of this machine."""
    now = time.monotonic()
    return Pacer(limits, learned=learned, now=now, already=already, second=now - time.time() % 1.0)


class Gate:
    """The one place in the pace that all requests share: creates, look-ups and deletes."""

    def __init__(
        self, pacer: Pacer, stop: Stop, announce: Callable[[str], None], clock: ServerClock | None = None
    ) -> None:
        self.pacer = pacer
        self._clock = clock
        self._stop = stop
        self._announce = announce
        self._line = anyio.Lock()
        self._standing = 0
        """Requests that stand in the line, its first included."""
        self.waited = 0.0
        self._refused_since, self._silence = time.monotonic(), _SILENCE
        """Since when the server has let nothing through, and after how many seconds of that people are told next."""
        self._unreached_at, self._unreached_next, self._unreached_silence = -math.inf, 0.0, _UNREACHED_SILENCE
        """When the server could last not be reached, from when on that is told again, and how long it is not after that."""
        self.taken_at = 0.0
        """When the last place was taken; for who just did."""

    async def may_go(self) -> bool:
        """Wait for the next place; False when a stop came first."""
        return self._stop.cause is None and await self._take(self._stop.event)

    async def wait(self) -> None:
        """Wait for the next place, stop or not: what is in flight is finished."""
        await self._take(None)

    async def _take(self, stop: anyio.Event | None) -> bool:
        now = time.monotonic()
        if not self._standing and self.pacer.delay(now) <= 0:
            self.pacer.take(now)
            self.taken_at = now
            return True
        self._standing += 1
        try:
            async with self._line:
                return await self._take_as_first(stop)
        finally:
            self._standing -= 1

    async def _take_as_first(self, stop: anyio.Event | None) -> bool:
        began = time.monotonic()
        while stop is None or not stop.is_set():
            now = time.monotonic()
            delay = self.pacer.delay(now)
            if delay <= 0:
                self.pacer.take(now)
                self.taken_at = now
                self.waited += now - began
                return True
            with anyio.move_on_after(min(delay, 60.0)):
                await (stop.wait() if stop is not None else anyio.sleep(delay))
        return False

    async def resume(self, taken_at: float) -> None:
        """Let a request go that took its place before; where the server had everybody pause since, it takes another.

        Else all that were ready would leave at once when the pause is over, and count as sent long before.
        """
        if self.pacer.paused_until > taken_at:
            self.pacer.give_back(taken_at)
            await self._take(self._stop.event)

    def listen(self, answer: Answer) -> None:
        """Let the pace hear what an answer to a create says of the limit."""
        verdict, limits = answer.verdict, answer.limits or RateHeaders(None, None, None)
        self.hear(verdict.http_status or 0, limits, verdict.retry_after, answer.seconds)

    def hear(self, status: int, limits: RateHeaders, retry_after: float | None, seconds: float) -> None:
        """Let the pace hear any answer: status, limits, the seconds that it asks to wait, and that it took."""
        now = time.monotonic()
        self.pacer.answered(
            now,
            status=status,
            limit=limits.limit,
            remaining=limits.remaining,
            reset_in=limits.reset - self._there(now) if limits.reset is not None else None,
            retry_after=retry_after,
            sent_at=now - seconds,
        )
        if notice := self.pacer.notice:
            self._announce(notice)
        self._tell_of_refusals(now, status, is_to_wait=status == 429 or (status == 503 and retry_after is not None))

    def _tell_of_refusals(self, now: float, status: int, *, is_to_wait: bool) -> None:
        """Say, ever more seldom, that the server has let nothing through for long: a run may wait so for ever."""
        if not is_to_wait:
            self._refused_since = now if status else self._refused_since
            self._silence = _SILENCE
            return
        for_seconds = now - self._refused_since
        if for_seconds >= self._silence:
            self._silence = 2 * for_seconds
            minutes = f"{for_seconds / 60:,.0f} min" if for_seconds >= 100 else f"{for_seconds:.0f} s"
            self._announce(
                f"For {minutes} the server has let nothing through: it answers {status}, to wait. It is tried on; "
                "--deadline ends that at a time, Ctrl-C now."
            )

    def tell_unreached(self, why: str, seconds: float | None = None) -> None:
        """Say at once that the server can't be reached, and when it is tried again; once for all who find that out.

        `seconds` are None where whoever asked decides about that.
        """
        now = time.monotonic()
        if now - self._unreached_at >= _SILENCE:
            self._unreached_next, self._unreached_silence = now, _UNREACHED_SILENCE
        self._unreached_at = now
        if now >= self._unreached_next:
            self._unreached_next, self._unreached_silence = now + self._unreached_silence, 2 * self._unreached_silence
            again = "" if seconds is None else f" in {max(seconds, 1.0):.0f} s"
            self._announce(f"The server can't be reached: {why}. Trying again{again}.")

    def _there(self, now: float) -> float:
        """Return the server's time, by whose clock a limit is counted anew; by ours where it told none."""
        there = self._clock.at(now) if self._clock is not None else None
        return time.time() if there is None else there


class Places:
    """The places of creates in flight, given in order. Each is held in an `async with`."""

    def __init__(self, inflight: InFlight) -> None:
        self.inflight = inflight
        self._taken = 0
        self._line: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if self._taken < self.inflight.places and not self._line:
            self._taken += 1
            return
        self.inflight.waited()
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):  # a place that became free meanwhile has passed it over
                    self._line.remove(turn)
            else:  # given and cancelled at once
                self._give_back()
            raise

    async def __aexit__(self, *_: object) -> None:
        self.inflight.answered(time.monotonic())
        self._give_back()

    def _give_back(self) -> None:
        self._taken -= 1
        while self._line and self._taken < self.inflight.places:
            turn = self._line.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)
