"""The pace that the server's headers tell: the limit, and the window that they do not name, inferred."""

import math

from importer.schedule import LONGEST_PAUSE, MARGIN, SLOWEST, WINDOWS, Sent, snapped

#: Headers are believed for so long.
_STALE = 900.0
#: Windows through which what is used must stay at half of what was sent, for the window to be doubted.
_DOUBTED = 3


class Headers:
    """What `X-RateLimit-Limit` and `-Remaining` tell, and the window that they do not name.

    Used = limit - remaining counts requests of the last window at most, whatever the server's method. So the window
    is at least as long as the n-th last request is old, n being used: the shortest usual window not contradicted by
    that is taken. It is `known` once a good part of the limit was seen to come back within it; until then no more is
    sent than remains, those in flight included.
    """

    def __init__(self, now: float) -> None:
        self.limit: int | None = None
        self.window = WINDOWS[0]
        self.known = False
        self._factor = 1.0
        self._factor_at = now
        self._heard = -math.inf
        self._heard_at = -math.inf
        self._remaining = 0
        self._reset = now
        self._most_used = (0, -math.inf)
        self._begun = now
        self._proven: float | None = None
        """The window that was known when the limit was last lowered."""
        self._peak = 0
        self._peak_since = now
        """The most used since then, with the window as it is."""
        self._changed_at = -math.inf
        self._fastest = math.inf
        """The shortest time that an answer took."""

    def pace(self, now: float) -> float | None:
        """Return the requests per second that the headers allow; None where none came, or not for long."""
        if self.limit is None or now - self._heard_at > max(_STALE, 2 * self.window):
            return None
        margin = 2 * MARGIN if self.window <= 1.0 else MARGIN  # the network's jitter is nothing to a minute
        share = (1 - margin) * self._factor if self.known else 0.9
        return max(share * self.limit / self.window, SLOWEST)

    def wait(self, now: float, sent: Sent) -> float:
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
        self, now: float, sent: float, limit: int | None, remaining: int | None, sents: Sent, *, refused: bool
    ) -> None:
        """Learn from one answer's headers; nonsense is passed over."""
        if limit is None or remaining is None or not 0 < limit < 10**9 or not 0 <= remaining <= limit:
            return
        if refused and remaining > 0:
            return
        used = limit - remaining
        if sent >= self._heard and self.limit is not None and limit != self.limit:
            self._changed_at = sent
            if limit < self.limit and self.known:
                self._proven = self.window
            self.known = self.known and limit > self.limit
        if not refused:
            self._infer(now, sent, used, limit, sents)
        if sent < self._heard:
            return
        self.limit, self._remaining, self._heard, self._heard_at = limit, remaining, sent, now
        self._reset = sents.nth_last(sent, max(used, 1)) + self.window + (now - sent) + 0.02

    def _infer(self, now: float, sent: float, used: int, limit: int, sents: Sent) -> None:
        self._fastest = min(self._fastest, now - sent)
        jitter = (now - sent) + 0.02
        # A request that took longer than the fastest may have been overtaken by what left after it.
        age = sent - sents.nth_last(max(now - self._fastest, sent), used) - jitter
        settled = sent > self._changed_at + 1.5 * self.window
        if age > self.window * 1.02 and (settled or self._changed_at < 0):
            self._take_for(snapped(age), now)
        self._doubt(now, used, sents)
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

    def _take_for(self, window: float, now: float) -> None:
        self.window, self.known = window, False
        self._peak, self._peak_since = 0, now

    def _doubt(self, now: float, used: int, sents: Sent) -> None:
        """Go back to the window that was known before where the longer one does not show.

        A limit that is lowered in mid-window tells of more used than was sent since, once; at the slow pace that follows
        from it nothing would ever contradict it.
        """
        self._peak = max(self._peak, used)
        if self._proven is None or self._proven >= self.window or now - self._peak_since < _DOUBTED * self.window:
            return
        if 2 * self._peak <= sents.count(now - self.window, now):
            self._take_for(self._proven, now)
            self._proven = None  # once: where the longer one shows again, it is right
        self._peak, self._peak_since = used, now

    def _came_back_at_once(self, now: float, sent: float) -> None:
        """Shorten a window that was thought longer than the time between two refills."""
        longest = now - self._begun
        self._begun = sent
        if self.window > longest * 1.1:
            self.window = min(snapped(longest * 0.9), self.window)

    def refused(self, now: float, sent: float, wait: float | None, sents: Sent) -> None:
        """Learn from a refusal: a little slower, and a long pause shows the window."""
        if self.known:
            self._factor, self._factor_at = max(self._factor * 0.99, 0.5), now
        if wait is not None and 1.5 < wait <= LONGEST_PAUSE and self.limit is not None:
            window = snapped(now + wait - sents.nth_last(sent, self.limit) - 1.5)
            if window > self.window:
                self._take_for(window, now)
        self._remaining, self._heard, self._heard_at = 0, sent, now
        self._reset = now + (wait or 1.0)
