"""How many requests may be in flight at once: arithmetic only, told the time, like `pace`.

More in flight helps only while the network's way is what takes the time. So the places are doubled where requests had
to wait for one, and that stays only if more answers came; else the server was the bound, and more at once would merely
make each answer later.
"""

#: Places to begin with, and at most, where no number was set.
_FIRST, MOST = 8, 64
#: Seconds and answers that a rate is measured over, at least; the answers as a multiple of the places, so that those
#: which left under other conditions weigh little.
_SECONDS, _ROUNDS = 0.25, 4
#: Share of a measure's requests that waited for a place, from which the places are the bound.
_BOUND = 0.5
#: What twice the places must bring to stay: a fifth more answers.
_WORTH = 1.2
#: Seconds after which a growth that did not help is tried once more: networks and servers change.
_AGAIN = 60.0


#: Leads that are made ready beside those in flight, as a share of the places: their intents are durable by the time that
#: a place is free, so that neither the disk nor this machine leaves it empty. A crash leaves them in doubt as well, so
#: none are made ready where no doubt can be settled.
_AHEAD = 0.5


class InFlight:
    """The places of one run. Tell `waited` and `answered`; `places` says how many requests may be in flight.

    `places` stays as it is where it was set (`asked`). Unless `is_ahead`, no lead is made ready before there is a place.
    """

    def __init__(self, asked: int | None, *, now: float, is_ahead: bool = True) -> None:
        self.is_ahead = is_ahead
        self.places = _FIRST if asked is None else asked
        self.most = MOST if asked is None else asked
        self._before: float | None = None
        """Answers per second with half the places, while twice as many are tried."""
        self._not_before = now
        self._measure(now)

    def _measure(self, now: float) -> None:
        self._since, self._answers, self._waits = now, 0, 0

    @property
    def workers(self) -> int:
        """How many leads may be under way at once: in flight, or ready for a place."""
        return self.places + (int(_AHEAD * self.places) if self.is_ahead else 0)

    def waited(self) -> None:
        """Count a request that could have left but for a free place."""
        self._waits += 1

    def answered(self, now: float) -> None:
        """Count a request that is in flight no more, whatever came of it."""
        self._answers += 1
        if now - self._since >= _SECONDS and self._answers >= _ROUNDS * self.places:
            self._judge(now, self._answers / (now - self._since))

    def _judge(self, now: float, rate: float) -> None:
        bound = self._waits >= _BOUND * self._answers
        before, self._before = self._before, None
        if before is not None and rate < _WORTH * before:
            self.places //= 2
            self._not_before = now + _AGAIN
        elif bound and 2 * self.places <= self.most and now >= self._not_before:
            self._before = rate
            self.places *= 2
        self._measure(now)
