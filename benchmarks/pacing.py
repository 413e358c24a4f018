"""Pace against simulated servers in virtual time, and print what came of it as a Markdown table.

    python benchmarks/pacing.py [--quick] [--seeds N]

Nothing sleeps: a minute of sending takes milliseconds. Each server counts in its own way, sees requests half a latency
after they left, and refuses with 429. `of limit` is what it accepted against what it allows, over the first minute and
after a slow start of ten seconds; `429` is their share of all requests; `late 429` are those after the first minute.
"""

import heapq
import math
import random
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from importer.pace import Learned, Limit, Pacer


class Server(Protocol):
    """A limit of `number` requests in `window` seconds, which may change while it runs."""

    number: int
    window: float

    def arrive(self, now: float) -> tuple[bool, int, float]:
        """Tell whether a request is accepted, what remains after it, and the seconds until there is room."""


@dataclass
class Fixed:
    """Laravel's: a counter that is forgotten `window` seconds after its first request."""

    number: int
    window: float
    began: float = -math.inf
    used: int = 0

    def begin(self, now: float) -> float:
        return now

    def arrive(self, now: float) -> tuple[bool, int, float]:
        if now >= self.began + self.window:
            self.began, self.used = self.begin(now), 0
        accepted = self.used < self.number
        self.used += accepted
        return accepted, max(self.number - self.used, 0), self.began + self.window - now


@dataclass
class Clock(Fixed):
    """A counter that is forgotten when the clock's second or minute is over."""

    phase: float = 0.37

    def begin(self, now: float) -> float:
        return math.floor((now - self.phase * self.window) / self.window) * self.window + self.phase * self.window


@dataclass
class Sliding:
    """At most `number` in the last `window` seconds, looked up in a log."""

    number: int
    window: float
    log: deque[float] = field(default_factory=deque)

    def arrive(self, now: float) -> tuple[bool, int, float]:
        while self.log and self.log[0] <= now - self.window:
            self.log.popleft()
        accepted = len(self.log) < self.number
        if accepted:
            self.log.append(now)
        return (
            accepted,
            max(self.number - len(self.log), 0),
            self.log[-min(self.number, len(self.log))] + self.window - now,
        )


@dataclass
class Bucket:
    """A token bucket of `number`, refilled evenly over `window`."""

    number: int
    window: float
    tokens: float | None = None
    at: float = 0.0

    def arrive(self, now: float) -> tuple[bool, int, float]:
        per_second = self.number / self.window
        tokens = self.number if self.tokens is None else min(self.number, self.tokens + (now - self.at) * per_second)
        accepted = tokens >= 1
        self.tokens, self.at = tokens - accepted, now
        return accepted, int(self.tokens), (1 - self.tokens) / per_second


SERVERS: dict[str, Callable[[int, float], Server]] = {
    "fixed": Fixed,
    "clock": Clock,
    "sliding": Sliding,
    "bucket": Bucket,
}


@dataclass(frozen=True)
class Case:
    kind: str
    number: int
    window: float
    headers: str = "all"
    """all: limit and remaining on every answer, Retry-After on 429; retry: only that; none: a bare 429."""
    latency: float = 0.1
    seconds: float = 305.0
    changes: tuple[tuple[float, int], ...] = ()
    """(second, number allowed from then on)."""
    in_flight: int = 128
    limits: tuple[Limit, ...] | None = None
    learned: Learned | None = None
    spikes: float = 0.0
    """Share of requests that take half as long again on one way."""
    seed: int = 1

    @property
    def name(self) -> str:
        changes = "".join(f" → {number} at {at:.0f} s" for at, number in self.changes)
        return f"{self.kind} {self.number}/{self.window:g} s{changes}"


@dataclass
class Result:
    case: Case
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    pacer: Pacer | None = None
    asked: int = 0

    def of_limit(self, start: float, end: float) -> float:
        """Return what was accepted against what was allowed between two times."""
        allowed, number, at = 0.0, self.case.number, 0.0
        for change, then in (*self.case.changes, (math.inf, 0)):
            low, high = max(start, at), min(end, change)
            allowed += max(high - low, 0) * number / self.case.window
            number, at = then, change
        return sum(start <= time < end for time in self.accepted) / max(allowed, 1e-9)

    def count_refused(self, start: float = 0.0, end: float = math.inf) -> int:
        return sum(start <= time < end for time in self.refused)

    @property
    def share_refused(self) -> float:
        return len(self.refused) / max(len(self.refused) + len(self.accepted), 1)


def simulate(case: Case) -> Result:
    """Send as fast as the pacer allows, through a network and a scheduler that are never quite on time."""
    chance = random.Random(case.seed)
    server = SERVERS[case.kind](case.number, case.window)
    began = 1000.0 + chance.random()
    pacer = Pacer(case.limits, learned=case.learned, now=began)
    result = Result(case, pacer=pacer)
    changes = deque(case.changes)
    events: list[tuple[float, int, str, tuple[object, ...]]] = []
    order = iter(range(10**9))
    flying = 0
    wake_at = math.inf

    def later(at: float, what: str, *told: object) -> None:
        heapq.heappush(events, (at, next(order), what, told))

    def wake(at: float) -> None:
        nonlocal wake_at
        if at < wake_at:
            wake_at = at
            later(at, "wake")

    wake(began)
    while events:
        now, _, what, told = heapq.heappop(events)
        if now > began + case.seconds:
            break
        while changes and now >= began + changes[0][0]:
            server.number = changes.popleft()[1]
        if what == "arrive":
            (sent,) = told
            assert isinstance(sent, float)
            accepted, remaining, wait = server.arrive(now)
            (result.accepted if accepted else result.refused).append(now - began)
            headers: dict[str, float | int] = {}
            if case.headers == "all":
                headers |= {"limit": server.number, "remaining": remaining}
            if case.headers != "none" and not accepted:
                headers["retry_after"] = math.ceil(wait)
            later(now + _half(case, chance), "answer", 201 if accepted else 429, headers, sent)
        elif what == "answer":
            status, headers_told, sent = told
            flying -= 1
            pacer.answered(now, status=status, sent_at=sent, **headers_told)  # type: ignore[arg-type]
            wake(now)
        else:
            if now < wake_at:
                continue
            wake_at = math.inf
            while flying < case.in_flight:
                result.asked += 1
                delay = pacer.delay(now)
                assert delay >= 0
                if delay > 0:
                    wake(now + delay + abs(chance.gauss(0, 0.0005)))
                    break
                pacer.take(now)
                flying += 1
                later(now + _half(case, chance), "arrive", now)
                now += 0.00005
    return result


def _half(case: Case, chance: random.Random) -> float:
    """One way of the latency, which differs by up to 5 %."""
    return case.latency / 2 * (1 + 0.05 * chance.random() + (0.5 if chance.random() < case.spikes else 0.0))


#: (number, window) of the limits tried.
LIMITS = ((1, 1.0), (5, 1.0), (40, 1.0), (200, 1.0), (60, 60.0), (300, 60.0), (2400, 60.0))


def cases(*, quick: bool = False) -> Iterator[Case]:
    latencies = (0.1,) if quick else (0.02, 0.1, 0.3)
    for headers in ("all", "retry", "none"):
        for kind in SERVERS:
            for number, window in LIMITS:
                for latency in latencies:
                    yield Case(kind, number, window, headers, latency)
            yield Case(kind, 40, 1.0, headers, spikes=0.002)
            for number, window, then in ((40, 1.0, 20), (20, 1.0, 40), (120, 60.0, 60), (60, 60.0, 120)):
                yield Case(kind, number, window, headers, seconds=480.0, changes=((120.0, then),))


def row(results: list[Result]) -> str:
    case = results[0].case
    end = case.seconds
    latency = f"{1000 * case.latency:.0f} ms" + (", spikes" if case.spikes else "")
    minute = min(result.of_limit(0, 60) for result in results)
    start = 10.0 if case.window <= 10 else 65.0
    if case.changes:
        start = case.changes[-1][0] + (60.0 if case.headers == "all" else 150.0)
    after = min(result.of_limit(start, end) for result in results)
    share = max(result.share_refused for result in results)
    most = max(len(result.refused) for result in results)
    late = max(result.count_refused(60) for result in results)
    small = most <= 2
    met = (
        minute >= 0.83
        and after >= 0.97
        and (share <= 0.005 or small)
        and not (case.headers == "all" and late and not case.changes)
    )
    return f"| {case.name} | {case.headers} | {latency} | {minute:.1%} | {after:.1%} | {most} | {share:.2%} | {late} | {'yes' if met else '**no**'} |"


def main() -> None:
    seeds = int(sys.argv[sys.argv.index("--seeds") + 1]) if "--seeds" in sys.argv else 3
    print("| server | headers | latency | first minute | after 10 s | 429s | share | late 429 | met |")
    print("|---|---|---|---|---|---|---|---|---|")
    for case in cases(quick="--quick" in sys.argv):
        print(row([simulate(replace(case, seed=seed)) for seed in range(1, seeds + 1)]), flush=True)


if __name__ == "__main__":
    main()
