"""How long a run takes, when it is done, and what is done by a deadline: arithmetic only, and its words for people.

Before the start all that is known is the number of leads and the limits that were set, or the pace that an earlier run
found. While sending, `Progress` corrects that by what was measured.
"""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from importer.pace import EVEN_SECONDS, Already, Learned, Limit, Pacer
from importer.wording import count_of

#: The pacer's steps are that much longer than a set limit's, so that no window is ever overfull.
_LONGER = 1.01
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: A time of day alone is clear for so long ahead.
_CLEAR = timedelta(hours=20)
#: Marks kept of a run's progress; when there are more, every other one goes.
_MARKS = 512
#: Before so many leads or seconds nothing was measured.
_MEASURED_LEADS, _MEASURED_SECONDS = 5, 2.0


# Before the start.


@dataclass(frozen=True, slots=True)
class Estimate:
    """What can be said before the first lead. `seconds` is None where the pace is still to be found."""

    leads: int
    seconds: float | None
    pace: str
    """The limits or the pace reckoned with, as "60/min"; empty where unknown."""


def estimate(
    leads: int, *, limits: tuple[Limit, ...] | None, learned: Learned | None = None, already: Sequence[Already] = ()
) -> Estimate:
    """Reckon a run's time by the limits set, else by the pace that an earlier run found."""
    if limits:
        return Estimate(leads, seconds_to_send(leads, limits, already), rates(limits))
    if learned is not None and learned.per_second > 0:
        return Estimate(leads, max(leads - 1, 0) / learned.per_second, f"{rate(learned.per_second)}, as found before")
    return Estimate(leads, None, "")


def seconds_to_send(leads: int, limits: Sequence[Limit], already: Sequence[Already] = ()) -> float:
    """Return the seconds until the last of so many leads may leave, where nothing but the limits holds it back.

    `already` are requests of earlier runs as (seconds ago, how many). Limits of up to a minute, and the shortest one,
    spread their requests evenly; of the longer ones a window may be used up at once.
    """
    if leads <= 1 or not limits:
        return 0.0 if not limits else _first_room(1, max(limits, key=lambda one: one.seconds), already)
    *shorter, longest = sorted(limits, key=lambda one: one.seconds)
    if not shorter or longest.seconds <= EVEN_SECONDS:
        evenly = (leads - 1) * longest.seconds / longest.requests * _LONGER
        return max(evenly, seconds_to_send(leads, shorter)) if shorter else evenly
    windows, rest = divmod(leads - 1, longest.requests)
    within = seconds_to_send(rest + 1, shorter, already)
    return max(
        windows * longest.seconds + within + _first_room(rest + 1, longest, already),
        seconds_to_send(leads, shorter, already),
    )


def _first_room(leads: int, limit: Limit, already: Sequence[Already]) -> float:
    """Return the seconds until a window has room for so many leads beside what earlier runs sent in it."""
    counted = sorted(((age, count) for age, count in already if age < limit.seconds), reverse=True)
    over = leads + sum(count for _, count in counted) - limit.requests
    for age, count in counted:
        if over <= 0:
            break
        over -= count
        if over <= 0:
            return limit.seconds - age
    return 0.0


def leads_within(
    seconds: float,
    leads: int,
    *,
    limits: tuple[Limit, ...] | None,
    learned: Learned | None = None,
    already: Sequence[Already] = (),
) -> int | None:
    """Return how many of the leads may leave in so many seconds; None where the pace is still to be found."""
    if estimate(1, limits=limits, learned=learned).seconds is None:
        return None
    low, high = 0, leads
    while low < high:
        middle = (low + high + 1) // 2
        needed = estimate(middle, limits=limits, learned=learned, already=already).seconds
        if needed is not None and needed <= seconds:
            low = middle
        else:
            high = middle - 1
    return low


def say_estimate(made: Estimate, now: datetime, *, zone: tzinfo | None = None) -> str:
    """Return "10,000 leads, about 2 h 48 min at 60/min, done by 04:50." `now` is aware; `zone` None: the machine's."""
    leads = count_of(made.leads, "lead")
    if made.seconds is None:
        return f"{leads}; the server's pace is found while sending, and then how long they take is told."
    done = clock(now + timedelta(seconds=made.seconds), now, zone=zone, up=True)
    return f"{leads}, about {duration(max(made.seconds, 1))} at {made.pace}, done by {done}."


# The deadline.


def parse_deadline(text: str, now: datetime, *, zone: tzinfo | None = None) -> datetime:
    """Return when a clock shows HH:MM next, in UTC; a time that is past today is tomorrow's. Raises `ValueError`.

    Where clocks are put back and show it twice, the first that is still to come; where they are put forward past it,
    an hour early rather than late. `now` is aware; `zone` None: the machine's.
    """
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no time of day. Right is HH:MM from 00:00 to 23:59, as 06:00 or 18:30.")
    today = now.astimezone(zone).replace(
        hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0, tzinfo=zone, fold=0
    )
    shown = [today + timedelta(days=days) for days in (0, 1, 2)]
    moments = [at.replace(fold=fold).astimezone(UTC) for at in shown for fold in (0, 1)]
    return min(moment for moment in moments if moment > now)


def say_deadline(
    made: Estimate, deadline: datetime, now: datetime, *, fit: int | None, zone: tzinfo | None = None
) -> str:
    """Return whether all leads will be done by the deadline, else how many: `fit`, of `leads_within`."""
    at, left = clock(deadline, now, zone=zone), (deadline - now).total_seconds()
    if made.seconds is None or fit is None:
        needed = rate(made.leads / max(left, 1.0))
        return (
            f"Deadline {at}, in {duration(left)}: {count_of(made.leads, 'lead')} are done by then at {needed} or more."
        )
    if fit >= made.leads:
        return f"Deadline {at}: by this estimate all are done {duration(left - made.seconds)} earlier."
    return (
        f"Deadline {at}: by this estimate about {fit:,} of {count_of(made.leads, 'lead')} are sent by then. "
        "The rest will be not_sent, and the next run goes on with them."
    )


# While sending.


class Progress:
    """What is done of a run, and by that how long the rest takes. Times are the pacer's: monotonic seconds.

    The pace is the lower of what the pacer aims at and what was measured over the later half of the time that was not
    a pause: so neither the slow start counts, nor a pause that is over.
    """

    def __init__(self, total: int, now: float) -> None:
        self.total = total
        self.done = 0
        self._began = now
        self._paused = 0.0
        self._pause_ends = -float("inf")
        self._seen = now
        self._marks: deque[tuple[float, int]] = deque([(0.0, 0)])

    def step(self, now: float, *, paused_until: float) -> None:
        """Count a lead that is done. `paused_until` is the pacer's."""
        self._watch(now, paused_until)
        self.done += 1
        self._marks.append((self._active(now), self.done))
        if len(self._marks) > _MARKS:
            self._marks = deque(mark for place, mark in enumerate(self._marks) if place % 2 == 0)

    def _watch(self, now: float, paused_until: float) -> None:
        """Note how much of the time since the last look was a pause."""
        if now > self._seen:
            self._paused += max(min(now, self._pause_ends) - self._seen, 0.0)
            self._seen = now
        self._pause_ends = max(self._pause_ends, paused_until)

    def _active(self, now: float) -> float:
        return max(now - self._began - self._paused, 0.0)

    def measured(self) -> float | None:
        """Return the leads per second of the later half of the time that was not a pause; None in the beginning."""
        at, done = self._marks[-1]
        since, before = next(mark for mark in self._marks if mark[0] >= at / 2)
        if done - before < _MEASURED_LEADS or at - since < _MEASURED_SECONDS:
            return None
        return (done - before) / (at - since)

    def seconds_left(self, now: float, pacer: Pacer) -> float | None:
        """Return the seconds until all is done; None where the pace is not known yet."""
        left = self.total - self.done
        if left <= 0:
            return 0.0
        self._watch(now, pacer.paused_until)
        pause = max(pacer.paused_until - now, 0.0)
        paces = [pacer.rate(now)] if pacer.is_known(now) else []
        if (measured := self.measured()) is not None:
            paces.append(measured)
        if not paces:
            return None
        return max(left / min(paces) + pause, seconds_to_send(left, pacer.limits or (), pacer.already(now)))


# Words.


def duration(seconds: float) -> str:
    """Return a time span for people, with the two largest units that matter: 41 s, 4 min 10 s, 2 h 48 min, 3 d 4 h."""
    whole = round(max(seconds, 0.0))
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return _units(whole, 60, "min", 1, "s")
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return _units(minutes, 60, "h", 1, "min")
    return _units(round(seconds / 3600), 24, "d", 1, "h")


def _units(amount: int, size: int, large: str, _: int, small: str) -> str:
    many, rest = divmod(amount, size)
    return f"{many:,} {large} {rest} {small}" if rest else f"{many:,} {large}"


def clock(moment: datetime, now: datetime, *, zone: tzinfo | None = None, up: bool = False) -> str:
    """Return a moment's time of day, with its date where that is not clear: 04:50, Thu 26 Nov 04:50."""
    local = moment.astimezone(zone)
    if up and (local.second or local.microsecond):
        local = (moment + timedelta(seconds=60 - local.second)).astimezone(zone)
    time = f"{local.hour:02}:{local.minute:02}"
    if moment - now < _CLEAR:
        return time
    return f"{_DAYS[local.weekday()]} {local.day} {_MONTHS[local.month - 1]} {time}"


def rate(per_second: float) -> str:
    """Return a pace in the unit that people would use: 39.5/s, 59.4/min, 20/h."""
    for times, unit in ((1.0, "s"), (60.0, "min"), (3600.0, "h")):
        if per_second * times >= 1.5 or unit == "h":
            return f"{_figure(per_second * times)}/{unit}"
    raise AssertionError


def rates(limits: Sequence[Limit]) -> str:
    """Return limits as they are written: 5/s, 60/min and 20,000/d."""
    units = {1.0: "s", 60.0: "min", 3600.0: "h", 86400.0: "d"}
    said = [
        f"{one.requests:,}/{units[one.seconds]}"
        if one.seconds in units
        else f"{one.requests:,} in {duration(one.seconds)}"
        for one in sorted(limits, key=lambda one: one.seconds)
    ]
    return " and ".join(filter(None, (", ".join(said[:-1]), said[-1])))


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.3g}"
