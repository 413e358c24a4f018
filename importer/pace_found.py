"""The pace where no header tells it, found by trying.

It doubles each second (up to 12/s twice a second) until the first 429. What limit explains that is tried next
(`pace_explained`) until one holds, and the pace stays a little under it; then more is tried, rarely. Found once, it is
`Learned`.
"""

import math
from dataclasses import dataclass

from importer.pace_explained import Explanation
from importer.pace_told import Headers
from importer.schedule import FASTEST, SLOWEST, WINDOWS, Sent, snapped

#: Kept below a limit that was found by running into it: for a second, and for longer windows.
_UNDER, _UNDER_LONG = 0.01, 0.0125
#: Between two tries for more than the last 429 allowed, at first and at most, where a 429 asks to wait (for a second at
#: least), and where the pause is brief: doubled after each failure, and at least so many requests, so that one or two 429s
#: each are half a percent; after a failure twice as many. A pace of an earlier run is tried sooner.
_PROBE_EVERY, _PROBE_EVERY_BRIEF, _PROBE_REQUESTS = (60.0, 120.0), (45.0, 60.0), 500.0
_PROBE_SOON = 10.0
#: Growth each second: the slow start; coming back from below; a try for more; following a limit whose window is known.
_FIRST = 0.98
_DOUBLE, _CLIMB, _PROBE, _PROBE_LONG, _CATCH_UP = 2.0, 1.05, 1.01, 1.05, 4.0
#: A try that goes well grows so much faster with each step; then, for limits per minute: each
#: minute, and up to what.
_FASTER, _FASTER_LONG, _MOST_LONG = 1.5, 4.0, 1.3
#: Where nothing explains what was refused, the slow start begins again below it: a clock's window that began late took
#: that much less than the last second. And the growth after a try that led far.
_COME_BACK, _CLIMB_AGAIN = 0.75, 1.025
#: A try that is refused so near to the pace that held was no bucket's saving: those last longer.
_NEAR = 1.1
#: A try was in vain that left the pace so near to the one before; what a later one takes up to so many times as much is
#: known for a bucket's savings, so often.
_IN_ALL_VAIN, _SAVED_AGAIN, _KNOWN_AGAIN = 1.05, 2.5, 3
#: So many requests may be taken beyond a limit before two fall into the wrong second of a clock.
_BY_CHANCE = 2.0
#: Requests that are enough to tell a pace from.
_ENOUGH = 10
#: The pause after a bare 429 that ends a try for more in windows of a second, at least, and in places at the pace: at so
#: little over the limit, the window is over as soon. Refused again, it is a whole second.
_BRIEF, _BRIEF_PLACES = 0.1, 2.0
#: A pace of an earlier run below this share of what the headers tell is brought up to that at once.
_NEAR_TOLD = 0.9
#: So few a second are doubled twice a second.
_FEW = 12.0
#: From this growth on it is a slow start.
_FAST = 1.5
#: A steady pace that is refused so soon after a pause was in vain.
_IN_VAIN = 20.0


@dataclass(frozen=True, slots=True)
class Learned:
    """The pace found for an address and key, to begin with next time.

    `window` (seconds) and `limit` (requests in it) are None where the server did not show them.
    """

    per_second: float
    window: float | None = None
    limit: int | None = None


class Search:
    """The pace where no header tells it, found by trying.

    It grows by `_growth` each second (each window, where that is longer) that was used and answered; 1.0 is settled,
    until `_probe_at`, when it tries for more. Where a refusal shows a longer window, `window` and `limit` are counted.
    """

    def __init__(
        self, sent: Sent, headers: Headers, ceiling: float, *, at_once: bool, now: float, second: float
    ) -> None:
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
        (self._first_probe, self._longest_probe), self._probe_every = _PROBE_EVERY, _PROBE_EVERY[0]
        #: What was accepted before growing went on: in the last step, before the last try, and when it settled.
        self._safe, self._held, self._settled_at = 0.0, 0.0, math.inf
        #: Steady paces that were refused soon, one after the other.
        self._in_vain = 0
        #: The last try went well for no longer than a bucket's savings last: the next one tells.
        self._doubted = False
        #: A try that seemed to find more: the pace that held before, and what it took beyond that; and where it was in
        #: vain, how often what it took is known again for a bucket's savings before that is doubted.
        self._tried, self._beyond, self._known_again = 0.0, 0.0, 0
        #: The last refusal ended a try for more.
        self._failed_probe = False
        #: Not to be grown beyond: what the first refusal told.
        self._top = math.inf
        #: The last refusal that counted: when it was sent, when it was heard, and when its pause was over.
        self._refused_at = self._slowed_at = self._resumed = -math.inf
        #: Refusals with nothing accepted between them, and when the first of them was sent.
        self._failures, self._failing_since = 0, now
        self._one_by_one = False
        self._explanation = Explanation(second, _UNDER)
        #: The pause after the last 429 was brief.
        self._brief = False

    @property
    def settled(self) -> bool:
        """Tell whether the pace neither grows nor is tried."""
        return self._growth == 1.0 or self._probing

    def begin_with(self, learned: Learned, now: float) -> None:
        """Begin with the pace of an earlier run, and soon try whether it still holds."""
        self.rate, self._growth, self.found = min(learned.per_second, FASTEST), 1.0, True
        self._settled_at = self.rate
        self._explanation.begin(now, now + _IN_VAIN, anew=True)
        if is_usable(learned.window) and (learned.window or 0.0) <= WINDOWS[-1]:
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

    def saw(self, now: float, sent: float, *, refused: bool) -> None:
        """Note any answer, in whatever order they come."""
        self._explanation.saw(sent, now, accepted=not refused)

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
            self.window = snapped(now - self._failing_since)
            self.limit = max(self._sent.count(self._failing_since - self.window, self._failing_since), 1)
        self._settle(now, (1 - _UNDER_LONG) * self.limit / self.window, paused_until)

    # Growing.

    def grow(self, now: float, paused_until: float) -> None:
        """Step up once a second, where the pace was used and answers came."""
        if self._explanation.is_due(now) and self._length == 1.0:
            self._explain(now, paused_until)
        told = self._headers.pace(now)
        if now >= self._probe_at:
            self._begin_probe(now)
        elif self._growth == 1.0 and self._headers.known and told is not None and self.rate < _NEAR_TOLD * told:
            self._begin_probe(now)  # an earlier run found less than the headers tell
            self._growth = _DOUBLE
        step, growth = self._step()
        elapsed = now - self._step_at
        if growth == 1.0 or elapsed < 0.97 * step or now < paused_until:
            return
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
            if self._is_elsewhere(now):
                faster, most = (_FASTER, _DOUBLE) if self._length == 1.0 else (_FASTER_LONG, _MOST_LONG)
                self._growth = min(1 + (self._growth - 1) * faster, most)
                self._probe_every = self._first_probe / 2  # doubled when this ends
        self._step_at, self._step_answers = max(self._step_at + step, now - 0.5 * step), 0

    def _is_elsewhere(self, now: float) -> bool:
        """Tell whether so much more is taken than what held that the limit must have changed: it is looked for faster."""
        if self.rate <= (_NEAR if self._length == 1.0 else 1.04) * self._settled_at:
            return False
        return not self._probing or self._length > 1.0 or self._taken_beyond(now) > _BY_CHANCE

    def _step(self) -> tuple[float, float]:
        """Return the seconds between two steps, and the growth with each."""
        step = self._length
        if self._growth >= _DOUBLE:
            return step / 2, self._growth if self.rate < _FEW else math.sqrt(self._growth)
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
        self._explanation.begin(now, math.inf, anew=False, at_least=self.rate)
        if self._tried:
            self._known_again = _KNOWN_AGAIN if self.rate <= _IN_ALL_VAIN * self._tried else 0
            self._tried = 0.0

    def _settle(self, now: float, rate: float, paused_until: float) -> None:
        """Stay at a pace until it is time to try for more."""
        self.rate = min(max(rate, SLOWEST), self._ceiling)
        self._settled_at, self._growth, self.found, self._top = self.rate, 1.0, True, math.inf
        if self._probing:
            self._probe_every = min(self._probe_every * 2, self._longest_probe)
        self._probing = False
        requests = _PROBE_REQUESTS * (2.0 if self._probe_every > self._first_probe else 1.0)
        after = max(self._probe_every, 2 * (self.window or 0.0), min(requests / self.rate, 3600.0))
        self._probe_at = max(now, paused_until) + after

    def _explain(self, now: float, paused_until: float) -> None:
        """Try the limit that is worth it, of those that explain what was accepted and refused."""
        held = self.rate / (1 - _UNDER) if now > self._resumed + 1.0 else 0.0
        limit = self._explanation.limit(now, held)
        if limit is not None:
            self._in_vain, self._probing = 0, False
            self._settle(now, (1 - self._explanation.under) * limit, paused_until)

    # Refused.

    def is_new(self, sent: float) -> bool:
        """Tell whether a refused request was sent after everybody had slowed down."""
        return sent >= self._slowed_at

    def back_off(self, now: float, sent: float) -> float:
        """Return the pause after a 429 that asks for none: to where the next longer window would be over."""
        if not self._failures:
            self._brief = self._probing and self._length == 1.0
            return min(max(_BRIEF, _BRIEF_PLACES / self.rate), 1.0) if self._brief else 1.0
        if self._brief:
            return 1.0
        begun = self._sent.first_since(self._failing_since - 60.0)
        ends = [begun + window - now for window in WINDOWS[1:3] if begun + window > now + 1.0]
        return max(ends[0] if ends else 60.0, 1.0)

    def refused(self, now: float, sent: float, wait: float | None, paused_until: float) -> None:
        """Set the pace to what was accepted before a refusal; `wait` is what the server asked for."""
        nothing_since = self._failures and self._sent.count(max(self._refused_at, self._resumed), now) == 0
        if not self._failures:
            self._failing_since = sent
        if not self._brief or not self._failures:
            self._failures += 1
        else:
            self._brief = False
        self._one_by_one = wait is None
        if not self.found and wait is None:
            self._first_probe, self._longest_probe = _PROBE_EVERY_BRIEF
            self._probe_every = self._first_probe
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
        held_for, taken = sent - self._resumed, self._sent.count(self._resumed, sent)
        self._in_vain = self._in_vain + 1 if growth == 1.0 and held_for <= max(_IN_VAIN, 2 * self._length) else 0
        self._failed_probe = self._probing
        if growth == 1.0 and held_for > self._longest_probe:  # the limit has changed: tries begin anew
            self._probe_every = self._first_probe
        if self._probing and self._known_again and self._taken_beyond(sent) < _SAVED_AGAIN * self._beyond:
            self._known_again -= 1
            self._settle(now, self._held, paused_until)
        elif growth >= _FAST and told > 2:  # the slow start is over, or a try that led far
            if self._probing:
                self._tried, self._beyond = self._held, self._taken_beyond(sent)
            self._come_back(_COME_BACK * told, told)
            self._explanation.refused(rate, taken, paused_until)
        elif not self._probing and self._length == 1.0 and self._explanation.explains(sent):
            self._settle(now, self._lower(sent, told), paused_until)
            self._explanation.refused(rate, taken, paused_until)
        elif self._held < rate and 0.96 * told < self._held:  # a failed try for more: what held, holds
            self._settle(now, self._still_held(told) if self._probing else self._held, paused_until)
        elif self._probing:
            self._end_probe(now, sent, told, paused_until)
        else:
            self._settle(now, self._lower(sent, told), paused_until)
            self._explanation.begin(now, paused_until + _IN_VAIN, anew=True)
            self._explanation.refused(rate, taken, math.inf)
        if self.window is not None and self.window > 1.0:
            self.limit = max(round(self.rate * self.window / (1 - _UNDER_LONG)), 1)

    def _lower(self, sent: float, told: float) -> float:
        """Return a pace under one that was refused: further under, the more often that happened in a row.

        A bucket takes more for a while after each pause; what it refills is the least it can be.
        """
        if self._in_vain and self._sent.count(self._refused_at, sent) >= _ENOUGH:
            lower: float = self.rate * (1 - _UNDER * 2.0 ** (self._in_vain - 1))
            return max(min(lower, told), self._refilled(sent, saved=self._length))
        known = self._safe if self._growth < _FAST and self._safe else self.rate
        is_refill = self._is_refill(sent) and self._in_vain == 0
        return max((1 - _UNDER) * min(told, known), 0.0 if is_refill else 0.4 * self.rate)

    def _still_held(self, told: float) -> float:
        """Return what a failed try for more leaves: what held before, or the last of its steps that was no more than told."""
        return max(self._held, min(self._safe, (1 - 1.5 * _UNDER) * told)) if self._length == 1.0 else self._held

    def _end_probe(self, now: float, sent: float, told: float, paused_until: float) -> None:
        """Settle between what held before a try for more, and what its last step told."""
        beyond = self._taken_beyond(sent)
        saved = told > _NEAR * self._held and beyond < 1.5 * self._held * self._length
        self._doubted = saved and not self._doubted
        if self._doubted:
            self._settle(now, self._held, paused_until)
            return
        if told > _NEAR * self._held:
            self._explanation.refused(self.rate, 0, paused_until)
        if self._growth > _CLIMB and not saved and self._length == 1.0:
            self._tried, self._beyond = self._held, beyond
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

    def _taken_beyond(self, sent: float) -> float:
        """Return how many requests a try took beyond the pace that held: a bucket may have saved them up."""
        return self._sent.count(self._probe_began, sent) - self._held * (sent - self._probe_began)

    def _refilled(self, sent: float, *, saved: float = math.inf, unseen: float = 0.0) -> float:
        """Return the requests per second accepted since the last refusal, up to `saved` seconds of its pause included.

        What left before that was heard counts with the time that it took. `unseen` are requests that may be on their way
        to be refilled.
        """
        paused = self._slowed_at - self._refused_at + min(self._resumed - self._slowed_at, saved)
        return max(self._sent.count(self._refused_at, sent) + unseen, 0.5) / max(sent - self._resumed + paused, 0.5)

    def _told(self, sent: float) -> float:
        """Return the requests per second that a refusal shows to be too many: what was accepted in the window before."""
        accepted = self._sent.count(sent - self._length, sent)
        if self._length > 1.0:
            return min(accepted / self._length, self.rate)
        if self._is_refill(sent):
            return self._refilled(sent, unseen=1.0)
        return min(float(accepted), self.rate) if accepted else self.rate / 2

    def _is_refill(self, sent: float) -> bool:
        """Tell whether so little was taken soon after a pause that nothing was saved up: it is what refills."""
        return (
            self._length == 1.0 and sent - self._resumed < 1.0 and self._sent.count(sent - 1.0, sent) < 0.3 * self.rate
        )

    def _slow_by_window(self, now: float, sent: float, wait: float, paused_until: float) -> bool:
        """Take the end of the pause for the end of a window, and count what was accepted in it."""
        window = max(snapped(wait), self.window or 60.0, 60.0)
        begun = now + wait - window
        accepted = self._sent.count(begun - 1.0, sent)
        if not accepted:
            return False
        accepted -= accepted // 200  # some that left before were overtaken, and will be refused
        if self._probing:  # what held is not lost to a wait that tells when there is room, not when the window ends
            accepted = max(accepted, round(self._held * window / (1 - _UNDER_LONG)))
        self.window, self.limit = window, accepted
        self._settle(now, (1 - _UNDER_LONG) * accepted / window, paused_until)
        return True


def is_usable(value: float | None) -> bool:
    """Tell whether what was remembered is a number to begin with."""
    return value is not None and math.isfinite(value) and value > 0
