"""The server's clocks, learnt from its answers: what time it is there, and how its `created_at` differs from that. No I/O.

A lead that was there before we meant to send it is not ours. This machine's clock may be wrong then and right in the
next run, so an intent is dated by the server's clock, as `Date` told it, and counted on by a clock that nobody sets. A
`created_at` may come from another clock yet, and say no zone, or a wrong one: leads of ours show how far it is off.

Every estimate errs to the side of "may be ours": what is taken for older is sent again, and a person is called twice.
Times are epoch seconds by the server's clock; moments are seconds of `time.monotonic()`.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime

#: Answers whose `Date` counts: the last ones, between one and two such lots.
_LOT = 64
#: Bare times jump by an hour twice a year, where the server's zone has daylight saving.
_DAYLIGHT_SAVING = 3600.0
#: How far a `created_at` may be off in an answer about a lead that was just created: zones reach from -12 h to +14 h,
#: and the answer may have taken a while. What is further off says something else.
_EARLIEST, _LATEST = -12 * 3600 - 120.0, 14 * 3600 + 120.0


class ServerClock:
    """What is known of the server's clocks.

    `remembered` is how far `created_at` was behind (below 0) or ahead of `Date` in an earlier run, in seconds: times that
    are "bare" and those that are "zoned", which may differ by where the server shows them; empty: unknown.
    """

    def __init__(self, remembered: Mapping[str, float] | None = None) -> None:
        self.remembered = dict(remembered or {})
        self._learnt: dict[str, float] = {}
        self._answers = 0
        self._before = self._now = (-math.inf, math.inf)

    @property
    def created_ahead(self) -> dict[str, float]:
        """How far `created_at` is at least ahead of `Date`: as this run has shown it, else as it is remembered."""
        return self.remembered | self._learnt

    def hear(self, date: datetime, sent_at: float, received_at: float) -> None:
        """Learn from an answer's `Date`: it was true at some moment between the request and the answer."""
        if self._answers == _LOT:
            self._before, self._now, self._answers = self._now, (-math.inf, math.inf), 0
        told, (low, high) = date.timestamp(), self._now
        self._now = max(low, told - received_at), min(high, told + 1 - sent_at)
        self._answers += 1

    def hear_created(self, created_at: datetime, date: datetime) -> bool:
        """Learn from a lead of ours that was just created how its `created_at` differs from the `Date` of its answer.

        Return whether that is news, by a second or more, to be remembered before anything else is.
        """
        kind = _kind(created_at)
        ahead, before = _as_utc(created_at) - date.timestamp(), self._learnt.get(kind)
        if not _EARLIEST <= ahead <= _LATEST or (before is not None and ahead >= before):
            return False
        self._learnt[kind] = ahead
        return before is None or math.floor(ahead) < math.floor(before)

    def at(self, moment: float) -> float | None:
        """Return the server's time at a moment, or a little before it; None where no answer told it yet.

        Several clocks that disagree: the slowest.
        """
        low, high = max(self._before[0], self._now[0]), min(self._before[1], self._now[1])
        return None if math.isinf(low) else moment + min(low, high)

    def was_before(self, created_at: datetime | None, intended_at: float | None) -> bool | None:
        """Tell whether a lead is surely older than an intent, in whole seconds; None: can't be told."""
        if created_at is None or intended_at is None:
            return None
        ahead, slack = self.created_ahead.get(_kind(created_at)), 0.0
        if created_at.tzinfo is None:
            if ahead is None:
                return None
            slack = _DAYLIGHT_SAVING
        else:
            ahead = min(ahead or 0.0, 0.0)
        return math.floor(_as_utc(created_at) - ahead + slack) < math.floor(intended_at)


def _kind(created_at: datetime) -> str:
    return "bare" if created_at.tzinfo is None else "zoned"


def _as_utc(created_at: datetime) -> float:
    return (created_at if created_at.tzinfo else created_at.replace(tzinfo=UTC)).timestamp()
