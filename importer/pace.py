"""When the next request may go: arithmetic only. Nothing here sleeps, and every call is told the time.

Times are monotonic seconds. Fixed limits follow an absolute schedule (GCRA): a late request does not shift the ones
behind it, and an early one is never let through. `auto` begins at 1/s and doubles every second until the server's
headers or its first 429 say where the limit is.
"""

import math
import re
from collections import deque
from dataclasses import dataclass

_UNITS = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

#: Kept below a limit, because clocks and networks jitter.
_MARGIN = 0.01
#: Between two tries for more than the last 429 allowed.
_PROBE_EVERY = 30.0
#: Longest pause that a server is believed.
_LONGEST_PAUSE = 900.0
#: Pauses after a 429 that names none: doubled each time.
_FIRST_PAUSE = 1.0
#: Nobody calls faster than this: what `auto` grows to where nothing ever refuses.
_FASTEST = 10_000.0


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `requests` in any `seconds`."""

    requests: int
    seconds: float


def parse_rate(text: str) -> tuple[Limit, ...] | None:
    """Read `5/s`, `60/min`, `1000/h`, `20000/d`; None for `auto`. Raises `ValueError`."""
    if text.strip().lower() == "auto":
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*/\s*(s|sec|min|m|h|d)\s*", text.lower())
    if not match or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is no rate. Right is auto, or requests over time as 5/s, 60/min or 1000/h")
    requests, seconds = float(match[1]), _UNITS[match[2]]
    if requests < 1:
        requests, seconds = 1.0, seconds / requests
    return (Limit(int(requests), seconds),)


@dataclass(frozen=True, slots=True)
class Learned:
    """The pace found for an address, to begin with next time."""

    per_second: float
    window: float | None = None
    limit: int | None = None


class Pacer:
    """The pace of all requests of one run. Ask `delay`; when it is 0, `take` and send; tell `answered`."""

    def __init__(self, limits: tuple[Limit, ...] | None, *, learned: Learned | None = None, now: float) -> None:
        self._limits = limits
        self._due = [now] * len(limits or ())
        self._rate = learned.per_second if learned else 1.0
        self._growing = learned is None
        self._began = now
        self._next = now
        self._found = learned is not None
        self._probe_at = now + _PROBE_EVERY
        self._pauses = 0
        self._slowed_at = -math.inf
        self._in_flight = 0
        self._remaining: int | None = None
        self._limit = learned.limit if learned else None
        self._window = learned.window if learned else None
        self._taken: deque[float] = deque(maxlen=20_000)
        self.paused_until = -math.inf
        self._notice: str | None = None

    @property
    def notice(self) -> str | None:
        """Return what people should be told since the last look, and forget it."""
        text, self._notice = self._notice, None
        return text

    def rate(self, now: float) -> float:
        """Return the requests per second aimed at."""
        if self._limits is not None:
            return min(limit.requests / limit.seconds for limit in self._limits)
        if self._growing:
            self._rate = min(2.0 ** math.floor(max(now - self._began, 0.0)), _FASTEST)
        return self._rate

    def learned(self, now: float) -> Learned | None:
        """Return the pace found, None where none was found or it was set."""
        if self._limits is not None or not self._found:
            return None
        return Learned(self.rate(now), self._window, self._limit)

    def delay(self, now: float) -> float:
        """Return the seconds until a request may leave; 0 for now."""
        wait = max(self.paused_until - now, 0.0)
        if self._limits is not None:
            return max(wait, *(due - now for due in self._due))
        # Until the window is known, never more than the server says is left, those in flight included.
        if self._remaining is not None and self._window is None and self._remaining <= 0:
            wait = max(wait, self._refill_at - now)
        return max(wait, self._next - now, 0.0)

    _refill_at = -math.inf

    def take(self, now: float) -> None:
        """Count a request that leaves now."""
        self._in_flight += 1
        self._taken.append(now)
        if self._remaining is not None:
            self._remaining -= 1
        if self._limits is not None:
            for place, limit in enumerate(self._limits):
                step = limit.seconds / limit.requests * (1 + _MARGIN)
                self._due[place] = max(self._due[place], now - step * 0.5) + step
            return
        rate = self.rate(now)
        self._next = max(self._next, now - 0.5 / rate) + 1.0 / rate

    def answered(
        self,
        now: float,
        *,
        status: int,
        limit: int | None = None,
        remaining: int | None = None,
        reset_in: float | None = None,
        retry_after: float | None = None,
        sent_at: float,
    ) -> None:
        """Learn from an answer, whatever it was to. `reset_in` and `retry_after` are seconds from now."""
        self._in_flight = max(self._in_flight - 1, 0)
        if status == 429 or (status == 503 and retry_after is not None):
            self._refused(now, sent_at, _sane(retry_after) or _sane(reset_in))
            return
        self._pauses = 0
        if self._limits is None:
            self._follow_headers(now, limit, remaining, _sane(reset_in))
            self._probe(now)

    def _refused(self, now: float, sent_at: float, wait: float | None) -> None:
        """Pause everybody; slow down once for all refusals of requests that were sent before the pause."""
        self._remaining = None
        if wait is None:
            wait = min(_FIRST_PAUSE * 2.0**self._pauses, 60.0)
        if wait > _LONGEST_PAUSE:
            self._notice = f"The server asks to wait {wait:.0f} s; waiting {_LONGEST_PAUSE:.0f} s."
            wait = _LONGEST_PAUSE
        elif now + wait > self.paused_until + 1 and wait >= 5:
            self._notice = f"The server asks to wait {wait:.0f} s; everything waits."
        self.paused_until = max(self.paused_until, now + wait)
        if sent_at < self._slowed_at:
            return
        self._pauses += 1
        self._slowed_at = self.paused_until
        if self._limits is not None:
            return
        span = max(wait, 1.0)
        accepted = sum(1 for taken in self._taken if taken > sent_at - span) - 1
        self._rate = max(min(self.rate(now), accepted / span) * (1 - _MARGIN), 0.01)
        self._growing, self._found = False, True
        self._probe_at = self.paused_until + _PROBE_EVERY
        self._next = self.paused_until

    def _follow_headers(self, now: float, limit: int | None, remaining: int | None, reset_in: float | None) -> None:
        if limit is None or remaining is None or limit <= 0 or not 0 <= remaining <= limit:
            return
        left = max(remaining - self._in_flight, 0)
        if (
            self._remaining is not None
            and self._window is None
            and left > self._remaining + 1
            and self._low_at is not None
        ):
            # It refilled: the window is the time from its first request to here.
            self._window = min(_WINDOWS, key=lambda window: abs(window - (now - self._window_began)))
            self._rate = limit / self._window * (1 - _MARGIN)
            self._growing, self._found = False, True
            self._next = now
        if self._limit is None or limit != self._limit:
            self._limit, self._window_began = limit, now
            if self._window is not None:
                self._rate = limit / self._window * (1 - _MARGIN)
        self._remaining = left
        self._low_at = now
        if left <= 0:
            self._refill_at = now + (reset_in if reset_in is not None else 1.0)

    _low_at: float | None = None
    _window_began = 0.0

    def _probe(self, now: float) -> None:
        """Try a little more, at most every half minute, where no header tells the limit."""
        if self._growing or now < self._probe_at or self._window is not None:
            return
        self._rate = min(self._rate * 1.05, _FASTEST)
        self._probe_at = now + _PROBE_EVERY


#: Windows that limits are counted in.
_WINDOWS = (1.0, 10.0, 60.0, 3600.0)


def _sane(seconds: float | None) -> float | None:
    """Return seconds that can be waited for, None for nonsense."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return None
    return seconds
