"""What was sent, and when the next may go by a limit that is known: evenly, or counted. Arithmetic only, told the time."""

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

#: Kept below a limit, because clocks and networks jitter.
MARGIN = 0.01
#: Lateness that is made up for at most, so that a pause is not followed by a burst.
_MOST_SLACK = 0.5
#: Limits for longer than this are counted; shorter ones, and the shortest, are spread evenly.
EVEN_SECONDS = 60.0
#: A counted window is kept in so many parts: enough to lose no more than a minute of a day.
_PARTS = 1440
#: Windows that limits are counted in; a window that is inferred is one of these.
WINDOWS = (1.0, 10.0, 60.0, 3600.0)
#: Longest pause that a server is believed.
LONGEST_PAUSE = 900.0
#: Nobody calls faster or slower than this.
FASTEST, SLOWEST = 10_000.0, 0.001
#: A request that found no answer for so long is no longer counted as in flight.
_LOST = 120.0
#: Requests whose times are kept.
_KEPT = 50_000

#: Requests of earlier runs that count in a limit: how many seconds ago, and how many.
Already = tuple[float, int]


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `requests` in any `seconds`."""

    requests: int
    seconds: float


class Evenly:
    """When the next request is due (GCRA). Being late by up to the slack does not shift those behind."""

    def __init__(self, step: float, slack: float) -> None:
        self._step, self._slack = step, slack
        self._last = -math.inf

    def wait(self, now: float, step: float | None = None) -> float:
        """Return the seconds until the next is due, negative where it is late; `step` for one other than the usual."""
        return self._last + (self._step if step is None else step) - now

    def take(self, now: float, step: float | None = None, *, slack: float | None = None) -> None:
        """Count one that leaves now."""
        slack = min(self._slack if slack is None else slack, _MOST_SLACK)
        self._last = max(self._last + (self._step if step is None else step), now - slack)


class Counted:
    """What was sent within a long window, earlier runs included. Its parts count as sent at their end."""

    def __init__(self, limit: Limit, now: float, already: Sequence[Already]) -> None:
        self.limit = limit
        self._parts: deque[tuple[float, int]] = deque()
        self._sum = 0
        for age, count in sorted(already, reverse=True):
            if 0 <= age < limit.seconds and count > 0:
                self._parts.append((now - age, count))
                self._sum += count

    def take(self, now: float) -> None:
        """Count one that leaves now."""
        until, count = self._parts[-1] if self._parts else (-math.inf, 0)
        if now <= until:
            self._parts[-1] = (until, count + 1)
        else:
            self._parts.append((now + self.limit.seconds / _PARTS, 1))
        self._sum += 1

    def wait(self, now: float) -> float:
        """Return the seconds until the window has room; 0 for now."""
        while self._parts and self._parts[0][0] + self.limit.seconds < now:
            self._sum -= self._parts.popleft()[1]
        over = self._sum - self.limit.requests
        if over < 0:
            return 0.0
        for until, count in self._parts:
            over -= count
            if over < 0:
                return max(until + self.limit.seconds - now, 0.0) + 0.001
        return 0.0

    def already(self, now: float) -> tuple[Already, ...]:
        """Return what was sent in the window, oldest first."""
        return tuple((max(now - until, 0.0), count) for until, count in self._parts)


class Sent:
    """The times of the requests sent, refused ones left out, and which are in flight."""

    def __init__(self, now: float) -> None:
        self.began = now
        self._times: list[float] = []
        self._flying: list[float] = []

    def take(self, now: float) -> None:
        """Count one that leaves now, as in flight too."""
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
        """Forget a request that was refused."""
        place = bisect_left(self._times, sent)
        if place < len(self._times) and self._times[place] == sent:
            del self._times[place]

    def give_back(self, taken: float) -> None:
        """Forget a request that did not leave when it could have; `taken` is its time."""
        for times in (self._times, self._flying):
            place = bisect_left(times, taken)
            if place < len(times) and times[place] == taken:
                del times[place]

    def in_flight(self, now: float) -> int:
        """Count what has found no answer yet and is not lost."""
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
        """Return the time of the first request since then; where there was none, that moment, or when the run began."""
        place = bisect_left(self._times, when)
        return self._times[place] if place < len(self._times) else max(self.began, when)


def snapped(seconds: float) -> float:
    """Return the shortest usual window that is not shorter."""
    return next((window for window in WINDOWS if seconds <= window * 1.02), WINDOWS[-1])
