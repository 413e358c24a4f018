"""The server's clock, learnt from its answers: how far it is from ours, and the zone of its bare times. No I/O.

A lead that was there before we meant to send it is not ours. Its `created_at` is by the server's clock, in whole
seconds and perhaps without a zone; our intent is by this machine's. Times are epoch seconds.
"""

import math
from collections import deque
from datetime import UTC, datetime, timedelta, timezone

#: Answers whose `Date` counts: the last ones, so that a clock that is set right in mid-run is followed.
_ANSWERS = 64
#: Zones are whole quarters of an hour, from -12 h to +14 h.
_QUARTER, _WESTERNMOST, _EASTERNMOST = 900, -12 * 3600, 14 * 3600
#: Between a lead's `created_at` and the `Date` of the answer that tells of it, at most.
_LATE = 120


class ServerClock:
    """What is known of the server's clock. `zone` is the offset of its bare times from UTC in seconds, None: unknown."""

    def __init__(self, zone: int | None = None) -> None:
        self.zone = zone
        self._bounds: deque[tuple[float, float]] = deque(maxlen=_ANSWERS)

    def hear(self, date: datetime, sent_at: float, received_at: float) -> None:
        """Learn from an answer's `Date`: it was true at some time between the request and the answer."""
        told = date.timestamp()
        self._bounds.append((told - received_at, told + 1 - sent_at))

    def hear_created(self, created_at: datetime, date: datetime) -> None:
        """Learn the zone of bare times from a lead of ours: its `created_at` against the `Date` of its answer."""
        if created_at.tzinfo is not None:
            return
        apart = created_at.replace(tzinfo=UTC).timestamp() - date.timestamp()
        zone = round(apart / _QUARTER) * _QUARTER
        if _WESTERNMOST <= zone <= _EASTERNMOST and abs(apart - zone) <= _LATE:
            self.zone = zone

    def was_before(self, created_at: datetime | None, intended_at: float) -> bool | None:
        """Tell whether a lead is older than an intent, in whole seconds, equal counting as not; None: can't be told."""
        if created_at is None or not self._bounds:
            return None
        if created_at.tzinfo is None:
            if self.zone is None:
                return None
            created_at = created_at.replace(tzinfo=timezone(timedelta(seconds=self.zone)))
        return math.floor(created_at.timestamp()) < math.floor(intended_at + self._ahead())

    def _ahead(self) -> float:
        """Return how far the server's clock is at least ahead of ours; several clocks that disagree: the slowest."""
        lowest = max(low for low, _ in self._bounds)
        highest = min(high for _, high in self._bounds)
        return min(lowest, highest)
