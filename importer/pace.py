"""When the next request may go: arithmetic only. Nothing here sleeps, and every call is told the time.

Times are monotonic seconds. Four things hold a request back, and the longest wait counts:

- a pause that the server asked for with a 429 or 503 (`Pacer`): everybody waits, and slows down once;
- the limits that were set (`schedule`): short ones on an absolute schedule (GCRA), long ones by counting;
- what the server's headers tell (`pace_told`): the limit, and the window that they do not name, inferred;
- where they tell nothing, the pace found by trying (`pace_found`): it doubles each second until the first 429, goes on
  with a limit that explains that (`pace_explained`), and stays a little under it; then it is tried again, rarely.
"""

import math
from collections.abc import Sequence

from importer.pace_found import Learned, Search, is_usable
from importer.pace_told import Headers
from importer.schedule import (
    EVEN_SECONDS,
    FASTEST,
    LONGEST_PAUSE,
    MARGIN,
    SLOWEST,
    Already,
    Counted,
    Evenly,
    Limit,
    Sent,
)

__all__ = ["EVEN_SECONDS", "Already", "Learned", "Limit", "Pacer"]

#: The share of a window that a late request may make up for: a schedule with steps 1 % too long and 0.99 % slack fits
#: every window exactly, and what is less is left to the network's jitter, which is nothing to a minute; the same under
#: a limit that was found by running into it.
_SLACK, _SLACK_SHORT = 0.0099, 0.006
_SLACK_FOUND = 0.006
#: A pause from here on is worth telling people.
_TOLD_PAUSE = 5.0
#: Added to a pause: servers round, and count from when a request arrived.
_AFTER_PAUSE = 0.05


class Pacer:
    """The pace of all requests of one run: ask `delay`; when it is 0, `take` and send; tell `answered`.

    `limits` None: the server's limit is found. `already` are requests of earlier runs, for the limits longer than a
    minute. `second` is when a second of UTC began, as some servers count by those. `paused_until` is when a pause of the server ends, or ended.
    """

    def __init__(
        self,
        limits: tuple[Limit, ...] | None,
        *,
        learned: Learned | None = None,
        now: float,
        already: Sequence[Already] = (),
        second: float = 0.0,
    ) -> None:
        self.limits = limits
        ordered = sorted(limits or (), key=lambda limit: limit.seconds)
        evenly = [limit for limit in ordered if limit.seconds <= EVEN_SECONDS] or ordered[:1]
        self._evenly = [
            Evenly(
                limit.seconds / limit.requests * (1 + MARGIN),
                limit.seconds * (_SLACK_SHORT if limit.seconds <= 10.0 else _SLACK),
            )
            for limit in evenly
        ]
        self._counted = [Counted(limit, now, already) for limit in ordered if limit.seconds > EVEN_SECONDS]
        self._sent = Sent(now)
        self._headers = Headers(now)
        ceiling = min([FASTEST, *(limit.requests / limit.seconds for limit in evenly)])
        self._search = Search(self._sent, self._headers, ceiling, at_once=limits is not None, now=now, second=second)
        self._found = Evenly(0.0, 0.0)
        self.paused_until = -math.inf
        self._notice: str | None = None
        self._waits_for: Counted | None = None
        if learned is not None and limits is None and is_usable(learned.per_second):
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
        return max(min(self._search.rate, FASTEST if told is None else told), SLOWEST)

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

    def give_back(self, taken: float) -> None:
        """Forget a request that did not leave after all; `taken` is when it was counted."""
        self._sent.give_back(taken)

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
        self._search.saw(now, sent_at if math.isfinite(sent_at) else sent, refused=status == 429)
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
        longer = now + min(wait, LONGEST_PAUSE) > self.paused_until + 1
        if wait > LONGEST_PAUSE and longer:
            self._notice = f"The server asks to wait {wait:,.0f} s. That is capped: waiting {LONGEST_PAUSE:.0f} s."
        elif wait >= _TOLD_PAUSE and longer:
            self._notice = f"The server asks to wait {wait:.0f} s; everything waits."
        self.paused_until = max(self.paused_until, now + min(wait, LONGEST_PAUSE) + _AFTER_PAUSE)


def _seconds(value: float | None) -> float | None:
    """Return seconds that can be waited for; None for nonsense. Infinity stays, to be capped."""
    if value is None or math.isnan(value) or value < 0:
        return None
    return value
