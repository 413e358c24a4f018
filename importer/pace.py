"""When the next request may go: arithmetic only. Nothing here sleeps, and every call is told the time.

Times are monotonic seconds. Four things hold a request back, and the longest wait counts:

- a pause that the server asked for with a 429 or 503 (`Pacer`): everybody waits, and slows down once;
- the limits that were set: short ones on an absolute schedule (GCRA, `_Evenly`), long ones by counting (`_Counted`);
- what the server's headers tell (`_Headers`): the limit, and the window that they do not name, inferred;
- where they tell nothing, the pace found by trying (`_Search`): it doubles each second until the first 429, comes back
  from below in small steps to the second, and stays a little under it; then it is tried again, rarely.
"""

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

#: Kept below a limit, because clocks and networks jitter; and the share of a window that a late request may make up
#: for: a schedule with steps 1 % too long and that much slack fits every window exactly.
_MARGIN = 0.01
_SLACK = 0.0099
#: Kept below a limit that was found by running into it, and the slack there.
_UNDER = 0.0125
_SLACK_FOUND = 0.006
#: Lateness that is made up for at most, so that a pause is not followed by a burst.
_MOST_SLACK = 0.5
#: Limits for longer than this are counted; shorter ones, and the shortest, are spread evenly.
EVEN_SECONDS = 60.0
#: A counted window is kept in so many parts: enough to lose no more than a minute of a day.
_PARTS = 1440
#: Windows that limits are counted in; a window that is inferred is one of these.
_WINDOWS = (1.0, 10.0, 60.0, 3600.0)
#: Longest pause that a server is believed.
_LONGEST_PAUSE = 900.0
#: A pause from here on is worth telling people.
_TOLD_PAUSE = 5.0
#: Added to a pause: servers round, and count from when a request arrived.
_AFTER_PAUSE = 0.05
#: Between two tries for more than the last 429 allowed: doubled after each failure, and at least so many requests, so
#: that one 429 each is half a percent. A pace of an earlier run is tried sooner.
_PROBE_EVERY, _LONGEST_PROBE_EVERY, _PROBE_REQUESTS = 30.0, 120.0, 200.0
_PROBE_SOON = 10.0
#: Growth each second: the slow start; coming back from below; a try for more; following a limit whose window is known.
_FIRST = 0.98
_DOUBLE, _CLIMB, _PROBE, _PROBE_LONG, _CATCH_UP = 2.0, 1.05, 1.01, 1.05, 4.0
#: A try that goes well grows so much faster with each step; then, for limits per minute: each
#: minute, and up to what.
_FASTER, _FASTER_LONG, _MOST_LONG = 1.5, 4.0, 1.3
#: Where to begin again after the slow start: a clock's window that began late took that much less than the last second.
_COME_BACK = 0.75
#: The same, and the growth then, when that was refused in less than so many seconds.
_COME_BACK_AGAIN, _CLIMB_AGAIN, _AT_ONCE = 0.9, 1.025, 2.5
#: A try that is refused so near to the pace that held was no bucket's saving: those last longer.
_NEAR = 1.1
#: Requests that are enough to tell a pace from.
_ENOUGH = 10
#: From this growth on it is a slow start.
_FAST = 1.5
#: A steady pace that is refused so soon after a pause was in vain.
_IN_VAIN = 20.0
#: Nobody calls faster or slower than this.
_FASTEST, _SLOWEST = 10_000.0, 0.001
#: A request that found no answer for so long is no longer counted as in flight.
_LOST = 120.0
#: Requests whose times are kept.
_KEPT = 50_000
#: Headers are believed for so long.
_STALE = 900.0

#: Requests of earlier runs that count in a limit: how many seconds ago, and how many.
Already = tuple[float, int]


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


class Pacer:
    """The pace of all requests of one run: ask `delay`; when it is 0, `take` and send; tell `answered`.

    `limits` None: the server's limit is found. `already` are requests of earlier runs, for the limits longer than a
    minute. `paused_until` is when a pause of the server ends, or ended.
    """

    def __init__(
        self,
        limits: tuple[Limit, ...] | None,
        *,
        learned: Learned | None = None,
        now: float,
        already: Sequence[Already] = (),
    ) -> None:
        self.limits = limits
        ordered = sorted(limits or (), key=lambda limit: limit.seconds)
        evenly = [limit for limit in ordered if limit.seconds <= EVEN_SECONDS] or ordered[:1]
        self._evenly = [
            _Evenly(limit.seconds / limit.requests * (1 + _MARGIN), limit.seconds * _SLACK) for limit in evenly
        ]
        self._counted = [_Counted(limit, now, already) for limit in ordered if limit.seconds > EVEN_SECONDS]
        self._sent = _Sent(now)
        self._headers = _Headers(now)
        ceiling = min([_FASTEST, *(limit.requests / limit.seconds for limit in evenly)])
        self._search = _Search(self._sent, self._headers, ceiling, at_once=limits is not None, now=now)
        self._found = _Evenly(0.0, 0.0)
        self.paused_until = -math.inf
        self._notice: str | None = None
        self._waits_for: _Counted | None = None
        if learned is not None and limits is None and _usable(learned.per_second):
            self._search.begin_with(learned, now)

    # Asked.

    @property
    def notice(self) -> str | None:
        """Return what people should be told since the last look, and forget it."""
        text, self._notice = self._notice, None
        return text

    def rate(self, now: float) -> float:
        """Return the requests per second aimed at now."""
        told = self._headers.pace(now)
        return max(min(self._search.rate, _FASTEST if told is None else told), _SLOWEST)

    def is_known(self, now: float) -> bool:
        """Tell whether the pace is set, told by headers or found, and not still being looked for."""
        told = self._headers.pace(now) is not None and self._headers.known
        return bool(self.limits) or told or (self._search.found and self._search.settled)

    def learned(self, now: float) -> Learned | None:
        """Return the pace found; None where none was found yet, or it was set."""
        if self.limits is not None:
            return None
        told = self._headers.pace(now)
        if told is not None and self._headers.known:
            return Learned(told, self._headers.window, self._headers.limit)
        return self._search.learned(self.rate(now))

    def already(self, now: float) -> tuple[Already, ...]:
        """Return what was sent in the longest window that is counted, earlier runs included, oldest first."""
        return self._counted[-1].already(now) if self._counted else ()

    def delay(self, now: float) -> float:
        """Return the seconds until a request may leave; 0 for now. Ask again after an answer, or after that time."""
        self._search.grow(now, self.paused_until)
        waits = [evenly.wait(now) for evenly in self._evenly]
        waits += [self._wait_for_room(now), self.paused_until - now, self._found.wait(now, 1.0 / self.rate(now))]
        waits += [self._headers.wait(now, self._sent), self._search.wait(now)]
        return max(0.0, *waits)

    def _wait_for_room(self, now: float) -> float:
        """Return the seconds until the limits that are counted have room, and note when people should be told."""
        wait, counted = max(
            ((one.wait(now), one) for one in self._counted), key=lambda pair: pair[0], default=(0.0, None)
        )
        if wait >= _TOLD_PAUSE and counted is not None and counted is not self._waits_for:
            self._waits_for = counted
            self._notice = (
                f"The limit set of {counted.limit.requests:,} in {counted.limit.seconds / 3600:g} h is used up: "
                f"the next may leave in {wait / 60:,.0f} min."
            )
        if wait == 0.0:
            self._waits_for = None
        return wait

    # Told.

    def take(self, now: float) -> None:
        """Count a request that leaves now."""
        self._sent.take(now)
        for evenly in self._evenly:
            evenly.take(now)
        for counted in self._counted:
            counted.take(now)
        window = max(self._headers.window if self._headers.pace(now) else self._search.window or 1.0, 1.0)
        self._found.take(now, 1.0 / self.rate(now), slack=window * _SLACK_FOUND)

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
        if status == 503 and wait is not None:
            self._pause(now, wait)
            return
        if status == 429:
            self._sent.drop(sent)
        self._headers.hear(now, sent, limit, remaining, self._sent, refused=status == 429)
        if status == 429:
            self._refused(now, sent, wait if wait is not None else _seconds(reset_in))
        else:
            self._search.accepted(now, sent, self.paused_until)

    def _refused(self, now: float, sent: float, wait: float | None) -> None:
        """Pause everybody; slow down once for all refusals of requests that were sent before the pause."""
        if not self._search.is_new(sent):
            if wait is not None:
                self._pause(now, wait)
            return
        self._pause(now, wait or self._search.back_off(now, sent))
        self._search.refused(now, sent, wait or None, self.paused_until)

    def _pause(self, now: float, wait: float) -> None:
        longer = now + min(wait, _LONGEST_PAUSE) > self.paused_until + 1
        if wait > _LONGEST_PAUSE and longer:
            self._notice = f"The server asks to wait {wait:,.0f} s. That is capped: waiting {_LONGEST_PAUSE:.0f} s."
        elif wait >= _TOLD_PAUSE and longer:
            self._notice = f"The server asks to wait {wait:.0f} s; everything waits."
        self.paused_until = max(self.paused_until, now + min(wait, _LONGEST_PAUSE) + _AFTER_PAUSE)


class _Search:
    """The pace where no header tells it, found by trying.

    It grows by `_growth` each second (each window, where that is longer) that was used and answered; 1.0 is settled,
    until `_probe_at`, when it tries for more. Where a refusal shows a longer window, `window` and `limit` are counted.
    """

    def __init__(self, sent: "_Sent", headers: "_Headers", ceiling: float, *, at_once: bool, now: float) -> None:
        self._sent, self._headers, self._ceiling = sent, headers, ceiling
        self.rate, self._growth = (ceiling, 1.0) if at_once else (_FIRST, _DOUBLE)
        self.window: float | None = None
        self.limit: int | None = None
        self.found = False
        self._step_at = now
        self._step_answers = 0
        self._probing = False
        self._probe_at = math.inf
        self._probe_began = now
        self._probe_every = _PROBE_EVERY
        #: What was accepted before growing went on: in the last step, before the last try, and when it settled.
        self._safe, self._held, self._settled_at = 0.0, 0.0, math.inf
        #: Steady paces that were refused soon, one after the other.
        self._in_vain = 0
        #: The last try went well for no longer than a bucket's savings last: the next one tells.
        self._doubted = False
        #: The last refusal ended a try for more.
        self._failed_probe = False
        #: Not to be grown beyond: what the first refusal told.
        self._top = math.inf
        #: The last refusal that counted: when it was sent, when it was heard, and when its pause was over.
        self._refused_at = self._slowed_at = self._resumed = -math.inf
        #: Refusals with nothing accepted between them, and when the first of them was sent.
        self._failures, self._failing_since = 0, now
        self._one_by_one = False

    @property
    def settled(self) -> bool:
        """Tell whether the pace neither grows nor is tried."""
        return self._growth == 1.0 or self._probing

    def begin_with(self, learned: Learned, now: float) -> None:
        """Begin with the pace of an earlier run, and soon try whether it still holds."""
        self.rate, self._growth, self.found = min(learned.per_second, _FASTEST), 1.0, True
        self._settled_at = self.rate
        if _usable(learned.window):
            self.window, self.limit = learned.window, learned.limit
            if learned.limit is not None and learned.limit > 0:
                self._headers.window, self._headers.known = learned.window or 1.0, True
        self._probe_at = now + max(_PROBE_SOON, self.window or 0.0)

    def learned(self, rate: float) -> Learned | None:
        """Return the pace found; None where none was."""
        return Learned(rate, self.window, self.limit) if self.found else None

    def wait(self, now: float) -> float:
        """Return the seconds until the window that was found has room; after a bare 429 one request tries alone."""
        alone = 0.05 if self._one_by_one and self._sent.in_flight(now) else 0.0
        if self.window is None or self.limit is None or self.window <= 1.0 or not self.settled:
            return alone
        if self._probing or self._headers.pace(now):
            return alone
        return max(alone, self._sent.room(now, self.limit, self.window))

    def accepted(self, now: float, sent: float, paused_until: float) -> None:
        """Count an answer that was no refusal."""
        if sent < self._slowed_at:
            return
        self._step_answers += 1
        self._one_by_one = False
        if self._failures >= 2 and self._headers.pace(now) is None:
            self._take_for_window(now, paused_until)
        self._failures = 0

    def _take_for_window(self, now: float, paused_until: float) -> None:
        """Refused over and over, and now no more: the window is what it took."""
        if self.window is not None and self.limit is not None:
            self.limit = max(self.limit if self._failed_probe else int(0.7 * self.limit), 1)
        else:
            self.window = _snapped(now - self._failing_since)
            self.limit = max(self._sent.count(self._failing_since - self.window, self._failing_since), 1)
        self._settle(now, (1 - _UNDER) * self.limit / self.window, paused_until)

    # Growing.

    def grow(self, now: float, paused_until: float) -> None:
        """Step up once a second, where the pace was used and answers came."""
        if now >= self._probe_at:
            self._begin_probe(now)
        step, growth = self._step()
        elapsed = now - self._step_at
        if growth == 1.0 or elapsed < 0.97 * step or now < paused_until:
            return
        told = self._headers.pace(now)
        aimed = self.rate if told is None else min(self.rate, told)
        used = self._sent.count(self._step_at - 1e-6, now) >= 0.5 * math.floor(aimed * elapsed)
        if used and self._step_answers and (told is None or self.rate < told):
            self._safe = self.rate
            if self.rate * growth >= self._top:
                self._settle(now, self._top, paused_until)
                return
            if told is not None and self._headers.known and self._growth >= _DOUBLE:
                growth *= _CATCH_UP / _DOUBLE
            self.rate = min(self.rate * growth, self._ceiling)
            if (
                self.rate > (_NEAR if self._length == 1.0 else 1.04) * self._settled_at
            ):  # the limit is elsewhere now: look for it faster
                faster, most = (_FASTER, _DOUBLE) if self._length == 1.0 else (_FASTER_LONG, _MOST_LONG)
                self._growth = min(1 + (self._growth - 1) * faster, most)
                self._probe_every = _PROBE_EVERY / 2  # doubled when this ends
        self._step_at, self._step_answers = max(self._step_at + step, now - 0.5 * step), 0

    def _step(self) -> tuple[float, float]:
        """Return the seconds between two steps, and the growth with each."""
        step = self._length
        if self._growth >= _DOUBLE and self.rate >= 4.0:
            return step / 2, math.sqrt(self._growth)
        return step, self._growth

    @property
    def _length(self) -> float:
        """Return the seconds that a limit is thought to be counted in."""
        return max(self.window or 1.0, 1.0)

    def _begin_probe(self, now: float) -> None:
        self._probe_at, self._growth = math.inf, _PROBE if self._length == 1.0 else _PROBE_LONG
        self._probing, self._step_at, self._step_answers = True, now, 0
        self._held = self._safe = self.rate
        self._probe_began = now

    def _settle(self, now: float, rate: float, paused_until: float) -> None:
        """Stay at a pace until it is time to try for more."""
        self.rate = min(max(rate, _SLOWEST), self._ceiling)
        self._settled_at, self._growth, self.found, self._top = self.rate, 1.0, True, math.inf
        if self._probing:
            self._probe_every = min(self._probe_every * 2, _LONGEST_PROBE_EVERY)
        self._probing = False
        requests = _PROBE_REQUESTS * max(self._probe_every / _PROBE_EVERY, 1.0)
        after = max(self._probe_every, 2 * (self.window or 0.0), min(requests / self.rate, 3600.0))
        self._probe_at = max(now, paused_until) + after

    # Refused.

    def is_new(self, sent: float) -> bool:
        """Tell whether a refused request was sent after everybody had slowed down."""
        return sent >= self._slowed_at

    def back_off(self, now: float, sent: float) -> float:
        """Return the pause after a 429 that asks for none: to where the next longer window would be over."""
        if not self._failures:
            return 1.0
        begun = self._sent.first_since(self._failing_since - 60.0)
        ends = [begun + window - now for window in _WINDOWS[1:3] if begun + window > now + 1.0]
        return max(ends[0] if ends else 60.0, 1.0)

    def refused(self, now: float, sent: float, wait: float | None, paused_until: float) -> None:
        """Set the pace to what was accepted before a refusal; `wait` is what the server asked for."""
        nothing_since = self._failures and self._sent.count(max(self._refused_at, self._resumed), now) == 0
        if not self._failures:
            self._failing_since = sent
        self._failures += 1
        self._one_by_one = wait is None
        if self._headers.pace(now) is not None:
            self._headers.refused(now, sent, wait, self._sent)
        elif not nothing_since:
            self._slow(now, sent, wait, paused_until)
        self._refused_at, self._slowed_at, self._resumed = sent, now, paused_until
        self._step_at, self._step_answers = paused_until, 0

    def _slow(self, now: float, sent: float, wait: float | None, paused_until: float) -> None:
        if wait is not None and wait > 1.5 and self._slow_by_window(now, sent, wait, paused_until):
            return
        told, rate, growth = self._told(sent), self.rate, self._growth
        held_for = sent - self._resumed
        self._in_vain = self._in_vain + 1 if growth == 1.0 and held_for <= max(_IN_VAIN, 2 * self._length) else 0
        self._failed_probe = self._probing
        if growth == 1.0 and held_for > _LONGEST_PROBE_EVERY:  # the limit has changed: tries begin anew
            self._probe_every = _PROBE_EVERY
        if growth >= _FAST and told > 2:  # the slow start is over
            self._come_back(_COME_BACK * told, told)
        elif self._held < rate and 0.96 * told < self._held:  # a failed try for more: what held, holds
            self._settle(now, self._held, paused_until)
        elif self._probing:
            self._end_probe(now, sent, told, paused_until)
        elif growth > 1.0 and held_for < _AT_ONCE and told > 2:
            self._come_back(_COME_BACK_AGAIN * told, told / _CLIMB, _CLIMB_AGAIN)
        else:
            self._settle(now, self._lower(sent, told), paused_until)
        if self.window is not None and self.window > 1.0:
            self.limit = max(round(self.rate * self.window / (1 - _UNDER)), 1)

    def _lower(self, sent: float, told: float) -> float:
        """Return a pace under one that was refused: further under, the more often that happened in a row.

        A bucket takes more for a while after each pause; what it refills is the least it can be.
        """
        if self._in_vain and self._sent.count(self._refused_at, sent) >= _ENOUGH:
            lower: float = self.rate * (1 - _UNDER * 2.0 ** (self._in_vain - 1))
            return max(min(lower, told), self._refilled(sent, saved=self._length))
        known = self._safe if self._growth < _FAST and self._safe else self.rate
        return max((1 - _UNDER) * min(told, known), 0.4 * self.rate)

    def _end_probe(self, now: float, sent: float, told: float, paused_until: float) -> None:
        """Settle between what held before a try for more, and what its last step told."""
        saved = told > _NEAR * self._held and self._was_saved(sent)
        self._doubted = saved and not self._doubted
        if self._doubted:
            self._settle(now, self._held, paused_until)
        elif self._growth > _CLIMB and not saved and self._length == 1.0:
            self._come_back(max(self._safe / _CLIMB, self._held), told, _CLIMB_AGAIN)
        else:
            over = self._growth if self._growth > _CLIMB_AGAIN else 1.0  # a window may end a step later
            over = math.sqrt(over) if self._length > 1.0 else over
            self._settle(now, max(self._held, (1 - _UNDER) * min(told, self._safe) / over), paused_until)

    def _come_back(self, rate: float, told: float, growth: float = _CLIMB) -> None:
        """Climb from below to what a refusal told."""
        self.found, self._growth, self.rate = True, growth, rate
        self._top, self._safe, self._held = (1 - _UNDER) * told, 0.0, 0.0
        self._probing, self._probe_at = False, math.inf

    def _was_saved(self, sent: float) -> bool:
        """Tell whether what a try took beyond the pace that held may be what a bucket had saved up."""
        taken = self._sent.count(self._probe_began, sent)
        return taken - self._held * (sent - self._probe_began) < 1.5 * self._held * self._length

    def _refilled(self, sent: float, *, saved: float = math.inf) -> float:
        """Return the requests per second accepted since the last refusal, up to `saved` seconds of its pause included."""
        paused = min(self._resumed - self._refused_at, saved)
        return max(self._sent.count(self._refused_at, sent), 0.5) / max(sent - self._resumed + paused, 0.5)

    def _told(self, sent: float) -> float:
        """Return the requests per second that a refusal shows to be too many: what was accepted in the window before."""
        accepted = self._sent.count(sent - self._length, sent)
        if self._length > 1.0:
            return min(accepted / self._length, self.rate)
        if sent - self._resumed < 1.0 and accepted < 0.3 * self.rate:  # nothing was saved up: that is what refills
            return self._refilled(sent)
        return min(float(accepted), self.rate) if accepted else self.rate / 2

    def _slow_by_window(self, now: float, sent: float, wait: float, paused_until: float) -> bool:
        """Take the end of the pause for the end of a window, and count what was accepted in it."""
        window = max(_snapped(wait), self.window or 60.0, 60.0)
        begun = now + wait - window
        accepted = self._sent.count(begun - 1.0, sent)
        if not accepted:
            return False
        self.window, self.limit = window, accepted
        self._settle(now, (1 - _UNDER) * accepted / window, paused_until)
        return True


class _Evenly:
    """When the next request is due (GCRA). Being late by up to the slack does not shift those behind."""

    def __init__(self, step: float, slack: float) -> None:
        self._step, self._slack = step, slack
        self._last = -math.inf

    def wait(self, now: float, step: float | None = None) -> float:
        return self._last + (self._step if step is None else step) - now

    def take(self, now: float, step: float | None = None, *, slack: float | None = None) -> None:
        slack = min(self._slack if slack is None else slack, _MOST_SLACK)
        self._last = max(self._last + (self._step if step is None else step), now - slack)


class _Counted:
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
        until, count = self._parts[-1] if self._parts else (-math.inf, 0)
        if now <= until:
            self._parts[-1] = (until, count + 1)
        else:
            self._parts.append((now + self.limit.seconds / _PARTS, 1))
        self._sum += 1

    def wait(self, now: float) -> float:
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
        return tuple((max(now - until, 0.0), count) for until, count in self._parts)


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
        if sent >= self._heard and self.limit is not None and limit != self.limit:
            self._changed_at = sent
            self.known = self.known and limit > self.limit
        if not refused:
            self._infer(now, sent, used, limit, sents)
        if sent < self._heard:
            return
        self.limit, self._remaining, self._heard, self._heard_at = limit, remaining, sent, now
        self._reset = sents.nth_last(sent, max(used, 1)) + self.window + (now - sent) + 0.02

    def _infer(self, now: float, sent: float, used: int, limit: int, sents: _Sent) -> None:
        jitter = (now - sent) + 0.02
        age = sent - sents.nth_last(sent, used) - jitter
        settled = sent > self._changed_at + 1.5 * self.window
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
