"""When the next request may go: arithmetic only. Nothing here sleeps, and every call is told the time.

Times are monotonic seconds. Three things hold a request back, and the longest wait counts: the limits that were set,
the pace found so far, and a pause that the server asked for.

- Limits that were set follow an absolute schedule (GCRA): evenly spread, and never more than allowed in any window.
- Where the server's headers tell the limit, `_Headers` infers the window that they do not name, and keeps to both.
- Where they tell nothing, the pace doubles each second until the first 429, comes back from below in small steps to
  the second, and stays a little under it; it is tried again at most every half minute.
"""

import math
import re
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass

_UNITS = {
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
}

#: Kept below a limit, because clocks and networks jitter; and the share of a window that a late request may make up
#: for: a schedule with steps 1 % too long and that much slack fits every window exactly.
_MARGIN = 0.01
_SLACK = 0.0099
#: Kept below a limit that was found by running into it, and the slack there.
_UNDER = 0.0125
_SLACK_FOUND = 0.006
#: Lateness that is made up for at most, so that a pause is not followed by a burst.
_MOST_SLACK = 0.5
#: Windows that limits are counted in; a window that is inferred is one of these.
_WINDOWS = (1.0, 10.0, 60.0, 3600.0)
#: Longest pause that a server is believed.
_LONGEST_PAUSE = 900.0
#: A pause from here on is worth telling people.
_TOLD_PAUSE = 5.0
#: Added to a pause: servers round, and count from when a request arrived.
_AFTER_PAUSE = 0.05
#: Between two tries for more than the last 429 allowed: doubled after each failure, and at least so many requests.
_PROBE_EVERY, _LONGEST_PROBE_EVERY, _PROBE_REQUESTS = 30.0, 120.0, 200.0
#: Per second: the slow start; coming back from below; a try for more; following a limit whose window is known.
_FIRST = 0.98
_DOUBLE, _CLIMB, _PROBE, _PROBE_LONG, _CATCH_UP = 2.0, 1.05, 1.01, 1.05, 4.0
#: Where to begin again after the slow start: a clock's window that began late took that much less than the last second.
_COME_BACK = 0.75
#: Nobody calls faster or slower than this.
_FASTEST, _SLOWEST = 10_000.0, 0.001
#: A request that found no answer for so long is no longer counted as in flight.
_LOST = 120.0
#: Requests whose times are kept.
_KEPT = 50_000
#: Headers are believed for so long.
_STALE = 900.0


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `requests` in any `seconds`."""

    requests: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Learned:
    """The pace found for an address and key, to begin with next time.

    `window` (seconds) and `limit` (requests in it) are None where the server did not show them.
    """

    per_second: float
    window: float | None = None
    limit: int | None = None


def parse_rate(text: str) -> tuple[Limit, ...] | None:
    """Read `5/s`, `60/min`, `1000/h`, `20000/d`; None for `auto`. Raises `ValueError`."""
    if text.strip().lower() == "auto":
        return None
    right = "Right is auto, or requests over time as 5/s, 60/min, 1000/h or 20000/d"
    match = re.fullmatch(r"\s*(\d{1,12}(?:\.\d{1,9})?)\s*/\s*([a-z]+)\s*", text.lower())
    if match is None:
        raise ValueError(f"{text!r} is no rate. {right}.")
    if match[2] not in _UNITS:
        raise ValueError(f"{text!r}: the unit {match[2]!r} is not known. {right}.")
    requests, seconds = float(match[1]), _UNITS[match[2]]
    if requests <= 0:
        raise ValueError(f"{text!r} would never send anything. {right}.")
    if requests < 1 or requests != int(requests):  # half a request a second is one in two
        return (Limit(1, seconds / requests),)
    return (Limit(int(requests), seconds),)


class Pacer:
    """The pace of all requests of one run: ask `delay`; when it is 0, `take` and send; tell `answered`."""

    def __init__(self, limits: tuple[Limit, ...] | None, *, learned: Learned | None = None, now: float) -> None:
        self._limits = limits
        self._schedules = [(_Schedule(), limit) for limit in limits or ()]
        self._even = _Schedule()
        self._sent = _Sent(now)
        self._headers = _Headers(now)
        self._ceiling = min([_FASTEST, *(limit.requests / limit.seconds for limit in limits or ())])
        self._rate, self._growth = (_FIRST, _DOUBLE) if limits is None else (self._ceiling, 1.0)
        self._window: float | None = None
        self._limit: int | None = None
        self._found = False
        self._step_at = now
        self._step_answers = 0
        self._probe_at = math.inf
        self._probe_every = _PROBE_EVERY
        self._probing = False
        self._accepted_rate = math.inf
        self._safe = 0.0
        self._held = 0.0
        self._top = math.inf
        self._resumed = -math.inf
        self._refused_at = -math.inf
        self._slowed_at = -math.inf
        self._failures = 0
        self._failing_since = now
        self._half_open = False
        self.paused_until = -math.inf
        self._notice: str | None = None
        if learned is not None and limits is None and _usable(learned.per_second):
            self._begin_with(learned, now)

    def _begin_with(self, learned: Learned, now: float) -> None:
        self._rate, self._growth, self._found = min(learned.per_second, _FASTEST), 1.0, True
        self._accepted_rate = self._rate
        self._probe_at = now + self._probe_after()
        if _usable(learned.window):
            self._window, self._limit = learned.window, learned.limit
            if learned.limit is not None and learned.limit > 0:
                self._headers.window, self._headers.known = learned.window or 1.0, True

    # Asked.

    @property
    def notice(self) -> str | None:
        """Return what people should be told since the last look, and forget it."""
        text, self._notice = self._notice, None
        return text

    def rate(self, now: float) -> float:
        """Return the requests per second aimed at now."""
        told = self._headers.pace(now)
        return max(min(self._rate, self._ceiling, _FASTEST if told is None else told), _SLOWEST)

    def learned(self, now: float) -> Learned | None:
        """Return the pace found; None where none was found yet, or it was set."""
        if self._limits is not None:
            return None
        told = self._headers.pace(now)
        if told is not None and self._headers.known:
            return Learned(told, self._headers.window, self._headers.limit)
        return Learned(self.rate(now), self._window, self._limit) if self._found else None

    def delay(self, now: float) -> float:
        """Return the seconds until a request may leave; 0 for now. Ask again after an answer, or after that time."""
        self._grow(now)
        waits = [schedule.wait(now, _step(limit)) for schedule, limit in self._schedules]
        waits += [self.paused_until - now, self._even.wait(now, 1.0 / self.rate(now))]
        waits += [self._headers.wait(now, self._sent), self._window_wait(now)]
        if self._half_open and self._sent.in_flight(now):
            waits.append(0.05)
        return max(0.0, *waits)

    def _window_wait(self, now: float) -> float:
        """Return the seconds until the long window that was found has room, by what was sent in it."""
        window, limit = self._window, self._limit
        if window is None or limit is None or window <= 1.0 or self._growth != 1.0 or self._headers.pace(now):
            return 0.0
        return self._sent.room(now, limit, window)

    # Told.

    def take(self, now: float) -> None:
        """Count a request that leaves now."""
        self._sent.take(now)
        for schedule, limit in self._schedules:
            schedule.take(now, _step(limit), slack=limit.seconds * _SLACK)
        window = max(self._headers.window if self._headers.pace(now) else self._window or 1.0, 1.0)
        self._even.take(now, 1.0 / self.rate(now), slack=window * _SLACK_FOUND)

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
        """Learn from an answer, whatever it was to; `status` 0 where none came.

        `reset_in` and `retry_after` are seconds from now. Answers may come in any order.
        """
        sent = self._sent.landed(sent_at, now)
        if status <= 0:
            return
        wait = _seconds(retry_after)
        if status == 429:
            self._sent.drop(sent)
            self._headers.hear(now, sent, limit, remaining, self._sent, refused=True)
            self._refused(now, sent, wait if wait is not None else _seconds(reset_in))
            return
        if status == 503 and wait is not None:
            self._pause(now, wait)
            return
        self._headers.hear(now, sent, limit, remaining, self._sent, refused=False)
        if sent >= self._slowed_at:
            self._accepted(now)

    def _accepted(self, now: float) -> None:
        self._step_answers += 1
        self._half_open = False
        if self._failures >= 2 and self._headers.pace(now) is None:
            # Refused over and over, and now no more: the window is what it took.
            if self._window is not None and self._limit is not None:
                self._limit = max(int(0.7 * self._limit), 1)
            else:
                self._window = _snapped(now - self._failing_since)
                self._limit = max(self._sent.count(self._failing_since - self._window, self._failing_since), 1)
            self._settle(now, (1 - _UNDER) * self._limit / self._window)
        self._failures = 0

    # The pace where no header tells it.

    def _grow(self, now: float) -> None:
        """Step up once a second, where the pace was used and answers came."""
        if now >= self._probe_at:
            self._probe_at, self._growth = math.inf, _PROBE if (self._window or 1.0) <= 1.0 else _PROBE_LONG
            self._probing, self._step_at, self._step_answers = True, now, 0
            self._held = self._safe = self._rate
        step, growth = max(self._window or 1.0, 1.0), self._growth
        if growth >= _DOUBLE and self._rate >= 4.0:
            step, growth = step / 2, math.sqrt(growth)
        elapsed = now - self._step_at
        if self._growth == 1.0 or elapsed < 0.97 * step or now < self.paused_until:
            return
        used = self._sent.count(self._step_at - 1e-6, now) >= 0.5 * math.floor(self.rate(now) * elapsed)
        told = self._headers.pace(now)
        if used and self._step_answers and (told is None or self._rate < told):
            self._safe = self._rate
            if self._rate * growth >= self._top:
                self._settle(now, self._top)
                return
            self._rate = min(self._rate * growth, self._ceiling)
            if told is not None and self._headers.known and self._growth >= _DOUBLE:
                self._rate = min(self._rate * _CATCH_UP / _DOUBLE, self._ceiling)
            if self._rate > 1.05 * self._accepted_rate:  # the limit is elsewhere now: look for it faster
                self._growth = min(1 + (self._growth - 1) * 1.5, _DOUBLE)
                self._probe_every = _PROBE_EVERY / 2  # doubled when this ends
        self._step_at, self._step_answers = max(self._step_at + step, now - 0.5 * step), 0

    def _refused(self, now: float, sent: float, wait: float | None) -> None:
        """Pause everybody; slow down once for all refusals of requests that were sent before the pause."""
        again = sent < self._slowed_at
        if again and wait is None:
            return
        asked = wait is not None and wait > 0
        if not again:
            nothing_since = self._sent.count(max(self._refused_at, self._resumed), now) == 0
            self._failures = self._failures + 1 if self._failures else 1
            if self._failures == 1:
                self._failing_since = sent
            self._half_open = not asked
        if wait is None or not asked:
            wait = 0.0 if again else self._back_off(now)
        self._pause(now, wait)
        if not again:
            self._slow(now, sent, wait if asked else None, nothing_since=nothing_since and self._failures > 1)
        if not again:
            self._refused_at, self._slowed_at, self._resumed = sent, now, self.paused_until
            self._step_at, self._step_answers = self.paused_until, 0

    def _back_off(self, now: float) -> float:
        """Return the pause after a 429 that asks for none: to where the next longer window would be over."""
        if self._failures == 1:
            return 1.0
        begun = self._sent.first_since(self._failing_since - 60.0)
        ends = [begun + window - now for window in _WINDOWS[1:3] if begun + window > now + 1.0]
        return max(ends[0] if ends else 60.0, 1.0)

    def _pause(self, now: float, wait: float) -> None:
        if wait > _LONGEST_PAUSE:
            if now + _LONGEST_PAUSE > self.paused_until + 1:
                self._notice = f"The server asks to wait {wait:,.0f} s. That is capped: waiting {_LONGEST_PAUSE:.0f} s."
            wait = _LONGEST_PAUSE
        elif wait >= _TOLD_PAUSE and now + wait > self.paused_until + 1:
            self._notice = f"The server asks to wait {wait:.0f} s; everything waits."
        self.paused_until = max(self.paused_until, now + wait + _AFTER_PAUSE)

    def _slow(self, now: float, sent: float, wait: float | None, *, nothing_since: bool) -> None:
        """Set the pace to what was accepted before a refusal."""
        if self._headers.pace(now) is not None:
            self._headers.refused(now, sent, wait, self._sent)
            return
        if nothing_since:
            return
        if wait is not None and wait > 1.5 and self._slow_by_window(now, sent, wait):
            return
        if self._window is not None and self._window > 1.0:
            self._limit = max(min(self._limit or 1, self._sent.count(sent - self._window, sent)), 1)
            self._settle(now, (1 - _UNDER) * self._limit / self._window)
            return
        accepted, rate = self._sent.count(sent - 1.0, sent), self._rate
        told = min(float(accepted), rate) if accepted else rate / 2
        if sent - self._resumed < 1.0 and accepted < 0.3 * rate:  # nothing was saved up: that is what refills
            told = max(self._sent.count(self._refused_at, sent), 0.5) / max(sent - self._refused_at, 0.5)
        if self._growth >= 1.5 and told > 2:
            self._found, self._growth, self._rate = True, _CLIMB, _COME_BACK * told
            self._top, self._safe, self._held, self._probe_at = (1 - _UNDER) * told, 0.0, 0.0, math.inf
        elif 0.96 * told < self._held < rate:  # a failed try for more, or a bucket's savings are gone: what held, holds
            self._settle(now, self._held)
        else:
            self._held = 0.0
            if self._growth < 1.5:
                told = min(told, self._safe or (1 - _UNDER) * rate)
            self._settle(now, max((1 - _UNDER) * told, 0.4 * rate))

    def _slow_by_window(self, now: float, sent: float, wait: float) -> bool:
        """Take the end of the pause for the end of a window, and count what was accepted in it."""
        window = max(_snapped(wait), self._window or 60.0, 60.0)
        begun = now + wait - window
        accepted = self._sent.count(begun - 1.0, sent)
        if not accepted:
            return False
        self._window, self._limit = window, accepted
        self._settle(now, (1 - _UNDER) * accepted / window)
        return True

    def _settle(self, now: float, rate: float) -> None:
        """Stay at a pace until it is time to try for more."""
        self._rate = min(max(rate, _SLOWEST), self._ceiling)
        self._accepted_rate, self._growth, self._found, self._top = self._rate, 1.0, True, math.inf
        if self._probing:
            self._probe_every = min(self._probe_every * 2, _LONGEST_PROBE_EVERY)
        self._probing = False
        self._probe_at = max(now, self.paused_until) + self._probe_after()

    def _probe_after(self) -> float:
        return max(self._probe_every, 2 * (self._window or 0.0), min(_PROBE_REQUESTS / self._rate, 3600.0))


class _Schedule:
    """When the next request is due (GCRA). Being late by up to the slack does not shift those behind."""

    def __init__(self) -> None:
        self._last = -math.inf

    def wait(self, now: float, step: float) -> float:
        return self._last + step - now

    def take(self, now: float, step: float, *, slack: float) -> None:
        self._last = max(self._last + step, now - min(slack, _MOST_SLACK))


class _Sent:
    """The times of the requests sent, refused ones left out, and which are in flight."""

    def __init__(self, now: float) -> None:
        self.began = now
        self._times: list[float] = []
        self._flying: list[float] = []

    def take(self, now: float) -> None:
        insort(self._times, now)
        insort(self._flying, now)
        if len(self._times) > 2 * _KEPT:
            del self._times[:_KEPT]

    def landed(self, sent_at: float, now: float) -> float:
        """Return the time that the answered request was taken, and count it as in flight no more."""
        if not math.isfinite(sent_at):
            sent_at = now
        if not self._flying:
            return min(sent_at, now)
        return self._flying.pop(max(bisect_right(self._flying, sent_at + 1e-6) - 1, 0))

    def drop(self, sent: float) -> None:
        place = bisect_left(self._times, sent)
        if place < len(self._times) and self._times[place] == sent:
            del self._times[place]

    def in_flight(self, now: float) -> int:
        return len(self._flying) - bisect_left(self._flying, now - _LOST)

    def count(self, after: float, until: float) -> int:
        """Count requests with `after` < time ≤ `until`."""
        return max(bisect_right(self._times, until) - bisect_right(self._times, after), 0)

    def nth_last(self, until: float, number: int) -> float:
        """Return the time of the n-th last request up to `until`; where there were fewer, when the run began."""
        place = bisect_right(self._times, until) - number
        return self._times[place] if 0 <= place < len(self._times) else self.began

    def room(self, now: float, limit: int, window: float) -> float:
        """Return the seconds until fewer than `limit` requests were sent in the last `window` seconds."""
        place = len(self._times) - limit
        return max(self._times[place] + window + 0.02 - now, 0.0) if 0 <= place < len(self._times) else 0.0

    def first_since(self, when: float) -> float:
        place = bisect_left(self._times, when)
        return self._times[place] if place < len(self._times) else max(self.began, when)


class _Headers:
    """What `X-RateLimit-Limit` and `-Remaining` tell, and the window that they do not name.

    Used = limit - remaining counts requests of the last window at most, whatever the server's method. So the window
    is at least as long as the n-th last request is old, n being used: the shortest usual window not contradicted by
    that is taken. It is `known` once a good part of the limit was seen to come back within it; until then no more is
    sent than remains, those in flight included.
    """

    def __init__(self, now: float) -> None:
        self.limit: int | None = None
        self.window = _WINDOWS[0]
        self.known = False
        self._factor = 1.0
        self._factor_at = now
        self._heard = -math.inf
        self._heard_at = -math.inf
        self._remaining = 0
        self._reset = now
        self._most_used = (0, -math.inf)
        self._begun = now
        self._changed_at = -math.inf

    def pace(self, now: float) -> float | None:
        """Return the requests per second that the headers allow; None where none came, or not for long."""
        if self.limit is None or now - self._heard_at > max(_STALE, 2 * self.window):
            return None
        margin = 2 * _MARGIN if self.window <= 1.0 else _MARGIN  # the network's jitter is nothing to a minute
        share = (1 - margin) * self._factor if self.known else 0.9
        return max(share * self.limit / self.window, _SLOWEST)

    def wait(self, now: float, sent: _Sent) -> float:
        """Return the seconds to wait so that no more is sent than remains; 0 where the window is known."""
        if self.pace(now) is None:
            return 0.0
        if self.known:
            return sent.room(now, self.limit or 1, self.window) if self.window > 1.0 else 0.0
        left = self._remaining - sent.count(self._heard, now)
        last = sent.nth_last(now, 1)
        if now > self._reset:  # it should have refilled: one request will tell
            return 0.0 if left > 0 or sent.in_flight(now) == 0 else 0.05
        longest = last + 60.0 - now
        if left <= 0:
            return max(min(self._reset - now + 0.01, longest), 0.01 if sent.in_flight(now) else 0.0)
        if self.window <= 1.0:
            return 0.0
        return min(last + (self._reset - last) / left - now, longest) if left < 0.15 * (self.limit or 0) else 0.0

    def hear(
        self, now: float, sent: float, limit: int | None, remaining: int | None, sents: _Sent, *, refused: bool
    ) -> None:
        """Learn from one answer's headers; nonsense is passed over."""
        if limit is None or remaining is None or not 0 < limit < 10**9 or not 0 <= remaining <= limit:
            return
        if refused and remaining > 0:
            return
        used = limit - remaining
        if not refused:
            self._infer(now, sent, used, limit, sents)
        if sent < self._heard:
            return
        if self.limit is not None and limit != self.limit:
            self._changed_at = sent
            self.known = self.known and limit > self.limit
        self.limit, self._remaining, self._heard, self._heard_at = limit, remaining, sent, now
        self._reset = sents.nth_last(sent, max(used, 1)) + self.window + (now - sent) + 0.02

    def _infer(self, now: float, sent: float, used: int, limit: int, sents: _Sent) -> None:
        jitter = (now - sent) + 0.02
        age = sent - sents.nth_last(sent, used) - jitter
        settled = limit == self.limit and sent > self._changed_at + 1.5 * self.window
        if age > self.window * 1.02 and (settled or self._changed_at < 0):
            self.window, self.known = _snapped(age), False
        most, most_at = self._most_used
        if sent > most_at and used <= most:  # something came back
            if used <= most / 2 and most >= 4:
                self._came_back_at_once(now, sent)
            self._most_used = (used, now)
        elif used > most:
            self._most_used = (used, now)
        came_back = sents.count(sent - 2 * self.window - jitter, sent) - used
        if not self.known and came_back >= max(1, math.ceil(0.25 * limit)):
            self.known = True
        if self.known and self._factor < 1.0 and now - self._factor_at > 60.0:
            self._factor, self._factor_at = min(self._factor + 0.005, 1.0), now

    def _came_back_at_once(self, now: float, sent: float) -> None:
        """Shorten a window that was thought longer than the time between two refills."""
        longest = now - self._begun
        self._begun = sent
        if self.window > longest * 1.1:
            self.window = min(_snapped(longest * 0.9), self.window)

    def refused(self, now: float, sent: float, wait: float | None, sents: _Sent) -> None:
        """Learn from a refusal: a little slower, and a long pause shows the window."""
        if self.known:
            self._factor, self._factor_at = max(self._factor * 0.99, 0.5), now
        if wait is not None and 1.5 < wait <= _LONGEST_PAUSE and self.limit is not None:
            window = _snapped(now + wait - sents.nth_last(sent, self.limit) - 1.5)
            if window > self.window:
                self.window, self.known = window, False
        self._remaining, self._heard, self._heard_at = 0, sent, now
        self._reset = now + (wait or 1.0)


def _step(limit: Limit) -> float:
    return limit.seconds / limit.requests * (1 + _MARGIN)


def _snapped(seconds: float) -> float:
    """Return the shortest usual window that is not shorter."""
    return next((window for window in _WINDOWS if seconds <= window * 1.02), _WINDOWS[-1])


def _seconds(value: float | None) -> float | None:
    """Return seconds that can be waited for; None for nonsense. Infinity stays, to be capped."""
    if value is None or math.isnan(value) or value < 0:
        return None
    return value


def _usable(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0
