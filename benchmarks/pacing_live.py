"""The pace of the real command against the sandbox, whose limit it is not told.

    python benchmarks/pacing_live.py [--ahead]

Each run is `lead-importer run` in a process of its own, with its ledger; the sandbox counts windows as Laravel does, for
all requests. Runs go side by side, as none needs more than a few percent of a core: all in little more than two minutes. With
`--ahead`: what leads that are made ready beside those in flight do to the number of 429s, by latency.
"""

import argparse
import faulthandler
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import report
from throughput import made

from importer.sandbox import Options, Sandbox
from importer.sandbox_api import App
from importer.sandbox_faults import Headers, Reply
from importer.sandbox_rules import Limits

#: The command, and the same without leads made ready.
_WITH = [sys.executable, "-m", "importer"]
_WITHOUT_CODE = """
from importer import deliver
made = deliver.Settings
deliver.Settings = lambda **settings: made(**{**settings, "is_ahead": False})
from importer.cli import app
app()
"""
_WITHOUT = [sys.executable, "-c", _WITHOUT_CODE]


@dataclass(frozen=True)
class Case:
    """A limit of `number` requests in `window` seconds, from `change[0]` seconds after the first one `change[1]`."""

    number: int
    window: float
    leads: int
    headers: bool
    latency: float = 0.05
    change: tuple[float, int] | None = None
    is_ahead: bool = True

    @property
    def name(self) -> str:
        unit = "s" if self.window == 1 else "min"
        changed = f" → {self.change[1]} at {self.change[0]:.0f} s" if self.change else ""
        return f"{self.number}/{unit}{changed}, {1000 * self.latency:.0f} ms"


@dataclass
class Seen:
    """When requests were accepted and refused, in seconds since the first."""

    case: Case
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    @property
    def end(self) -> float:
        return max([*self.accepted, *self.refused])

    def used(self, start: float, end: float) -> float:
        """Return the share of what was allowed between two times."""
        change, then = self.case.change or (float("inf"), 0)
        allowed = max(min(end, change) - start, 0.0) * self.case.number + max(end - max(change, start), 0.0) * then
        return sum(start <= at < end for at in self.accepted) * self.case.window / allowed

    @property
    def share_refused(self) -> float:
        return len(self.refused) / (len(self.refused) + len(self.accepted))


class _Watched(Limits):
    """The sandbox's limit, watched, and changed in mid-run. The window of the change is a new one."""

    def __init__(self, case: Case) -> None:
        per_second, per_minute = (case.number, None) if case.window == 1 else (None, case.number)
        super().__init__(per_second=per_second, per_minute=per_minute, headers=case.headers)
        self.seen = Seen(case)
        self._began = 0.0
        self._change = case.change

    def take(self, key: str) -> tuple[Reply | None, Headers]:
        """Count a request as the sandbox does, and note it."""
        self._began = self._began or time.monotonic()
        at = time.monotonic() - self._began
        if self._change and at >= self._change[0]:
            self._rules = [(self._change[1], self.seen.case.window)]
            self._change = None
        refusal, headers = super().take(key)
        (self.seen.accepted if refusal is None else self.seen.refused).append(at)
        return refusal, headers


def measure(case: Case) -> Seen:
    """Run the command once; return what the server saw of it."""
    with Sandbox(Options(latency=case.latency, magic=False)) as box, tempfile.TemporaryDirectory() as name:
        app = box._server.config.app  # noqa: SLF001 - the sandbox is not made to be watched
        assert isinstance(app, App)
        app._limits = watched = _Watched(case)  # noqa: SLF001
        folder = Path(name)
        path = made(folder / "leads.csv", case.leads)
        words = [*(_WITH if case.is_ahead else _WITHOUT), "run", str(path), "--campaign", "7", "--base-url", box.url]
        state = {"XDG_STATE_HOME": str(folder), "OTONISTARK_API_KEY": "benchmark"}
        report.run([*words, "--yes"], folder=folder, environment=state)
        assert len(box.leads) == case.leads
        return watched.seen


#: The last part of each is as long as what comes before it, or longer.
CASES = (
    Case(60, 60.0, 110, headers=True),
    Case(60, 60.0, 110, headers=False),
    Case(20, 1.0, 1100, headers=True),
    Case(20, 1.0, 1100, headers=False),
    Case(20, 1.0, 1700, headers=True, change=(25.0, 40)),
    Case(20, 1.0, 1700, headers=False, change=(25.0, 40)),
    Case(40, 1.0, 1700, headers=True, change=(25.0, 20)),
    Case(40, 1.0, 1700, headers=False, change=(25.0, 20)),
)


def pace() -> None:
    """Print the table of the command's pace, by limit."""
    with ThreadPoolExecutor(len(CASES)) as pool:
        runs = list(pool.map(measure, CASES))
    rows = []
    for seen in runs:
        slow, steady = (10.0, 25.0) if seen.case.window == 1 else (0.0, 60.0)
        change = seen.case.change[0] if seen.case.change else None
        after = f"{seen.used(change + 20, seen.end):.1%}" if change else ""
        rows.append(
            [
                seen.case.name,
                "yes" if seen.case.headers else "no",
                f"{seen.used(0.0, min(seen.end, 60.0)):.1%}",
                f"{seen.used(slow, change or seen.end):.1%}",
                after,
                f"{seen.share_refused:.2%} ({len(seen.refused)} of {len(seen.refused) + len(seen.accepted):,})",
                str(sum(at >= steady and not (change and change <= at < change + 20) for at in seen.refused)),
            ]
        )
    head = [
        "server, latency",
        "headers",
        "first minute",
        "after 10 s",
        "20 s after the change",
        "429",
        "429 when steady",
    ]
    print(report.table(head, rows))


def ahead(rounds: int = 3) -> None:
    """Print the table of 429s with and without leads made ready, by latency."""
    kinds = [Case(20, 1.0, 200, headers=False, latency=latency) for latency in (0.1, 0.3, 1.0)]
    kinds += [Case(100, 1.0, 900, headers=False, latency=latency) for latency in (0.1, 0.3)]
    rows = []
    for kind in kinds:
        both = [replace(kind, is_ahead=is_ahead) for is_ahead in (True, False) for _ in range(rounds)]
        with ThreadPoolExecutor(len(both)) as pool:
            runs = list(pool.map(measure, both))
        cells = [kind.name]
        for some in (runs[:rounds], runs[rounds:]):
            cells += [_median_of(some, _in_first_burst), _median_of(some, _behind), _median_of(some, _all)]
        rows.append(cells)
        print(*cells, sep="; ", file=sys.stderr, flush=True)
    names = ("with the first", "up to 3 s later", "in all")
    head = ["server, latency", *(f"ready-ahead: {name}" for name in names), *(f"none: {name}" for name in names)]
    print(report.table(head, rows))


def _in_first_burst(seen: Seen) -> int:
    return sum(at < seen.refused[0] + 1.0 for at in seen.refused) if seen.refused else 0


def _behind(seen: Seen) -> int:
    return sum(seen.refused[0] + 1.0 <= at < seen.refused[0] + 4.0 for at in seen.refused) if seen.refused else 0


def _all(seen: Seen) -> int:
    return len(seen.refused)


def _median_of(runs: Sequence[Seen], count: Callable[[Seen], int]) -> str:
    counts = sorted(map(count, runs))
    return f"{statistics.median(counts):g} ({counts[0]}–{counts[-1]})"


#: Seconds after which something hangs.
_LONGEST = 600


def main() -> None:
    """Print one of the tables."""
    faulthandler.dump_traceback_later(_LONGEST, exit=True)
    parser = argparse.ArgumentParser()
    parser.add_argument("--ahead", action="store_true", help="429s with and without leads made ready")
    print(f"{report.machine()}.\n")
    if parser.parse_args().ahead:
        ahead()
    else:
        pace()


if __name__ == "__main__":
    main()
