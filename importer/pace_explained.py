"""The limit that explains what was accepted and what was refused, where a second is what the server counts in.

A server counts in windows that begin with a request, in the clock's seconds, in the last second, or by a bucket that
refills. Each way of counting allows a range of limits, given when requests arrived and which were refused. The first
refusal leaves many, a second one few: so what is tried next is what costs least, by how likely each of them is.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

#: Refusals are explained together that follow each other in so many seconds; the most answers that are kept for it.
_TOGETHER, _KEPT = 20.0, 10_000
#: So many requests were accepted at a pace that was refused by chance, so that the limit may be right.
_HELD = 10
#: How much later than others a request may arrive, in seconds: at least, and as a share of the time to an answer; at most.
_TOLERANCE, _TOLERANCE_SHARE, _MOST_TOLERANCE = 0.004, 0.02, 0.1
#: The clock's seconds begin anywhere, so many places are tried.
_PLACES = 50
#: How likely are windows that begin with a request, the last second, UTC's seconds, and those of another clock.
_BY_REQUEST, _BY_LAST_SECOND, _BY_UTC, _BY_ANY_CLOCK = 2.0, 1.0, 1.0, 1.0
#: What a bucket holds, in seconds of its refill, and how likely that is beside the windows.
_HOLDS = {1.0: 1.0, 0.25: 0.1, 0.5: 0.1, 2.0: 0.1, 5.0: 0.1, 10.0: 0.1, 60.0: 0.1}
#: A bucket's limit is found to this share.
_CLOSE = 0.004
#: So many limits stand for a range; limits that differ by less are one, and of all no more than so many are weighed.
_VALUES, _ALIKE, _WEIGHED = 8, 1.015, 40
#: In seconds: what a refusal costs; for how long a limit is tried; for how long one is kept that is not tried on.
_REFUSED, _TRIED, _KEPT_FOR = 1.5, 1.6, 100.0
#: A refusal tells a limit by the clock the better, the higher it is.
_CLOCK_TELLS = 300.0


@dataclass(frozen=True, slots=True)
class Counting:
    """A way of counting, the limits (requests per second) with which it explains all that was seen, and its weight."""

    least: float
    most: float
    weight: float
    how: str

    def limits(self) -> list[float]:
        """Return limits that stand for the range: whole ones where whole requests are counted."""
        if self.how == "bucket":
            return [self.least + (self.most - self.least) * share for share in (0.25, 0.75)]
        step = max((self.most - self.least) / _VALUES, 1.0)
        return [self.most - step * place for place in range(int((self.most - self.least) / step) + 1)]

    @property
    def mass(self) -> float:
        """Return how likely a limit is to be in the range, where each order of magnitude is as likely."""
        wide = 0.0 if self.how == "bucket" else 0.5
        return math.log((self.most + wide) / (self.least - wide))


class Explanation:
    """What was seen since the search for a limit began, and the limit to try next."""

    def __init__(self, second: float, under: float) -> None:
        """Begin; `second` is when a second of UTC began, by the clock of all other times.

        The pace is kept the share `under` below the limit tried, at first.
        """
        self._second, self._under = second, under
        self.begin(-math.inf, math.inf, anew=True)

    def begin(self, now: float, until: float, *, anew: bool, at_least: float = 0.0) -> None:
        """Forget what was seen, and look at what is sent from now on, at least until then.

        `anew` tells whether no window is open that began before; `at_least` is a limit that is sure.
        """
        self._since, self._anew, self._at_least = now, anew, at_least
        self._seen: list[tuple[float, bool]] = []
        self._fastest = math.inf
        self._whole = True
        self._buckets = {held: Counting(0.05, math.inf, weight, "bucket") for held, weight in _HOLDS.items()}
        self._until = until
        self._too_much, self._again, self._chosen = math.inf, 0, 0.0
        self._due = math.inf

    def saw(self, sent: float, heard: float, *, accepted: bool) -> None:
        """Note an answer.

        Its request is thought to have arrived as long after it left as all others: how long the answer took tells little
        of that, as servers take their time after they have counted it.
        """
        if sent < self._since or heard > self._until:
            return
        if len(self._seen) >= _KEPT:
            del self._seen[: _KEPT // 2]
            self._anew = self._whole = False
        self._seen.append((sent, accepted))
        self._fastest = min(self._fastest, max(heard - sent, 0.0))

    def explains(self, sent: float) -> bool:
        """Tell whether a refusal belongs to what is looked at."""
        return sent <= self._until

    def refused(self, rate: float, held: int, paused_until: float) -> None:
        """Note the pace that was refused, to be explained when the pause is over and all answers are there.

        `held` requests were accepted at that pace before.
        """
        by_chance = rate >= 0.999 * self._too_much and held >= _HELD
        self._again = self._again + 1 if by_chance else 0
        self._too_much = min(self._too_much, rate if by_chance or rate < self._too_much else (1 - self._under) * rate)
        self._due = paused_until

    @property
    def under(self) -> float:
        """Return the share that the pace is to be kept below the limit: more where the one before was refused again."""
        return self._under * (1 + self._again)

    def is_due(self, now: float) -> bool:
        """Tell whether there is something to explain."""
        return now >= self._due

    def limit(self, now: float, held: float) -> float | None:
        """Return the limit to try next; None where nothing explains what was seen, which is forgotten then.

        `held` was not refused.
        """
        self._due, self._until = math.inf, now + _TOGETHER
        sure = [one for one in self._countings() if one.most >= self._at_least]
        most, least = self._too_much / (1 - self._under) + 1e-6, max(held, self._at_least / (1 - self._under))
        likely = _likely(sure, least, most) if least <= most else []
        if not likely:  # the limit has changed: only what comes now tells of it
            too_much = self._too_much
            self.begin(now, now + _TOGETHER, anew=True)
            self._too_much = too_much
            return None
        chosen, stays = worth_trying(likely)
        if not (stays and chosen == self._chosen):
            self._due = now + _TRIED
        self._chosen = chosen
        return chosen

    def _countings(self) -> list[Counting]:
        seen = sorted(self._seen)
        taken = [at for at, accepted in seen if accepted]
        refused = [at for at, accepted in seen if not accepted]
        if not taken or not refused:
            return []
        tolerance = min(max(_TOLERANCE, _TOLERANCE_SHARE * self._fastest), _MOST_TOLERANCE)
        unsure = tolerance * _fastest_rate([at for at, _ in seen]) + 0.02
        self._buckets = {
            held: narrower
            for held, known in self._buckets.items()
            if self._whole and (narrower := _bucket(seen, held, unsure, known)) is not None
        }
        windows = [_last_second(taken, refused, tolerance), self._from_a_request(taken, refused, tolerance)]
        windows += [
            _clock(taken, refused, tolerance, self._second - self._fastest / 2, place) for place in range(_PLACES)
        ]
        return [one for one in windows if one is not None] + list(self._buckets.values())

    def _from_a_request(self, taken: Sequence[float], refused: Sequence[float], tolerance: float) -> Counting | None:
        if self._anew:
            return _from_a_request(taken, refused, tolerance)
        paused = next((later for earlier, later in pairwise(taken) if later - earlier > 1.0), math.inf)
        taken, refused = taken[bisect_left(taken, paused) :], refused[bisect_left(refused, paused) :]
        return _from_a_request(taken, refused, tolerance) if taken else None


# Ways of counting.


def _fastest_rate(times: Sequence[float]) -> float:
    """Return the most requests per second that arrived in a tenth of a second."""
    return max(10.0 * (place + 1 - bisect_right(times, at - 0.1)) for place, at in enumerate(times))


def _counting(least: float, most: float, weight: float, how: str) -> Counting | None:
    return Counting(least, most, weight, how) if 0 < least <= most < math.inf else None


def _last_second(taken: Sequence[float], refused: Sequence[float], tolerance: float) -> Counting | None:
    least = max(place + 1 - bisect_right(taken, at - 1.0 + tolerance) for place, at in enumerate(taken))
    most = min(bisect_right(taken, at + tolerance) - bisect_right(taken, at - 1.0 - tolerance) for at in refused)
    return _counting(least, most, _BY_LAST_SECOND, "window")


def _from_a_request(taken: Sequence[float], refused: Sequence[float], tolerance: float) -> Counting | None:
    starts = list(_starts(taken, tolerance))
    least, most = 0, math.inf
    for (early, late), (following, _) in zip(starts, [*starts[1:], (math.inf, math.inf)], strict=True):
        first = bisect_left(taken, late)
        least = max(least, bisect_left(taken, min(early + 1.0, following) - tolerance) - first)
        stopped = bisect_left(refused, late)
        # What is refused near the end of a window is of that one: it would have begun the next, and been accepted.
        ends = max(early + 1.0 - tolerance, min(late + 1.0 + tolerance, following))
        if stopped < len(refused) and refused[stopped] < ends:
            most = min(most, bisect_right(taken, refused[stopped] + tolerance) - bisect_left(taken, early))
    return _counting(least, most, _BY_REQUEST, "window")


def _starts(taken: Sequence[float], tolerance: float) -> Iterator[tuple[float, float]]:
    """Yield when windows began, at the earliest and at the latest: each with the first request after the one before."""
    early = late = taken[0]
    while True:
        yield early, late
        following = bisect_left(taken, (early + late) / 2 + 1.0)
        if following == len(taken):
            return
        if taken[following] > late + 1.5:  # after a pause there is no doubt
            early = late = taken[following]
        else:
            early = taken[bisect_left(taken, early + 1.0 - tolerance)]
            late = taken[min(bisect_right(taken, late + 1.0 + tolerance), len(taken) - 1)]


def _clock(
    taken: Sequence[float], refused: Sequence[float], tolerance: float, second: float, place: int
) -> Counting | None:
    begins, slack = second + place / _PLACES, max(tolerance, 0.5 / _PLACES)
    least, number = 0, math.floor(taken[0] - begins)
    while True:
        start = number + begins
        least = max(least, bisect_left(taken, start + 1.0 - slack) - bisect_left(taken, start + slack))
        following = bisect_left(taken, start + 1.0)
        if following == len(taken):
            break
        number = max(number + 1, math.floor(taken[following] - begins))
    most = min(
        bisect_right(taken, at + tolerance) - bisect_left(taken, math.floor(at - slack - begins) + begins - slack)
        for at in refused
    )
    is_utc = min(place, _PLACES - place) <= 1
    return _counting(least, most, _BY_UTC / 3 if is_utc else _BY_ANY_CLOCK / _PLACES, "clock")


def _bucket(seen: Sequence[tuple[float, bool]], held: float, unsure: float, known: Counting) -> Counting | None:
    """Search, as the more a bucket refills, the more it explains of what was accepted, and the less of what was refused."""
    highest = min(known.most, 8.0 * max(len(seen) / max(seen[-1][0] - seen[0][0], 1.0), 1.0))
    least = _lowest(lambda limit: _refills(seen, limit, held, unsure)[0], known.least * 0.99, highest)
    if not _refills(seen, least, held, unsure)[1]:
        return None
    most = _lowest(lambda limit: not _refills(seen, limit, held, unsure)[1], least, highest)
    return _counting(least, most, known.weight, "bucket")


def _lowest(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Return the lowest limit for which it holds; the highest where it holds for none."""
    while high - low > _CLOSE * high:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _refills(seen: Sequence[tuple[float, bool]], limit: float, held: float, unsure: float) -> tuple[bool, bool]:
    """Tell whether a bucket that was full had enough for all that was accepted, and too little for all that was not.

    So many requests as `unsure` may have come earlier or later.
    """
    holds = max(limit * held, 1.0)
    left, before, enough, little = holds, seen[0][0], True, True
    for at, accepted in seen:
        left = min(left + (at - before) * limit, holds)
        before = at
        if accepted:
            enough = enough and left >= 1 - unsure
            left -= 1
        else:
            little = little and left < 1 + unsure
    return enough, little


# What to try.


@dataclass(slots=True)
class Likely:
    """A limit, and how likely it is: in ways of counting that a refusal would tell the limit of, and in others."""

    limit: float
    told: float = 0.0
    untold: float = 0.0

    @property
    def weight(self) -> float:
        """Return both together."""
        return self.told + self.untold


def _likely(countings: Sequence[Counting], held: float, refused: float) -> list[Likely]:
    """Return the limits that differ enough, between what held and what was refused, lowest first."""
    found = [
        (max(limit, held), one.weight * one.mass / len(limits), one.how)
        for one in countings
        for limits in (one.limits(),)
        for limit in limits
        if limit <= refused
    ]
    likely: list[Likely] = []
    found.sort()
    alike = max(_ALIKE, (found[-1][0] / found[0][0]) ** (1 / _WEIGHED)) if found else _ALIKE
    for limit, weight, how in found:
        if not likely or limit > alike * likely[-1].limit:
            likely.append(Likely(limit))
        untold = weight * max(1 - limit / _CLOCK_TELLS, 0.0) if how == "clock" else 0.0
        likely[-1].told += weight - untold
        likely[-1].untold += untold
    return likely


def worth_trying(likely: Sequence[Likely]) -> tuple[float, bool]:
    """Return the limit to try next, the lowest first, and whether it is to be kept where it holds.

    A try that is refused costs a pause, and then the limit is told, or the lower ones are left; one that holds costs what
    is missed of the limit meanwhile; so does what is kept.
    """
    costs: dict[tuple[int, int], tuple[float, int]] = {}

    def missed(at: int, last: int, seconds: float) -> float:
        return seconds * sum(one.weight * (1 - likely[at].limit / one.limit) for one in likely[at : last + 1])

    def on(at: int, last: int) -> tuple[float, int]:
        """Return what it costs to go on from one that held, and the next to try: itself where it is kept."""
        if (at, last) not in costs:
            options = [(missed(at, last, _KEPT_FOR), at)]
            options += [(tried(at, next_, last), next_) for next_ in range(at + 1, last + 1)]
            costs[at, last] = min(options)
        return costs[at, last]

    def tried(first: int, at: int, last: int) -> float:
        below = likely[first:at]
        weight = sum(one.weight for one in below)
        untold = sum(one.untold for one in below)
        again = untold / weight * on(first, at - 1)[0] if untold else 0.0
        return _REFUSED * weight + again + missed(at, last, _TRIED) + on(at, last)[0]

    last = len(likely) - 1
    first = min(range(last + 1), key=lambda at: tried(0, at, last))
    return likely[first].limit, on(first, last)[1] == first
