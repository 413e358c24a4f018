"""What people and log collectors see on stderr: talk, questions, progress, and the summary.

Phones and e-mails are masked in whatever is shown while a run goes on; the result file has them in full.
"""

import json
import re
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from importer.errors import Interrupted
from importer.records import Outcome, Status
from importer.wording import count_of

if TYPE_CHECKING:
    from importer.pipeline import Summary

#: A run's ID, which people copy; or what may be a phone number.
_PHONE = re.compile(r"\b\d{8}T\d{6}Z-[0-9a-f]{6}\b|\+?\d[\d ()./-]{5,}\d")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+")

#: Seconds between two plain progress lines where stderr is no terminal.
_LINE_EVERY = 10.0
#: … and between two looks at the forecast where there is a bar.
_BAR_EVERY = 0.5

_MEANINGS = {
    Status.CREATED: "created now",
    Status.ALREADY_IMPORTED: "created by an earlier run",
    Status.DUPLICATE: "on the server already, or twice in the file",
    Status.SUPPRESSED: "on a suppression list",
    Status.FILTERED: "left out by where, or blank",
    Status.READY: "would be sent",
    Status.INVALID: "failed our checks; put them right and use retry",
    Status.REJECTED: "refused by the server; put them right and use retry",
    Status.FAILED: "could not be delivered, surely not created; use retry",
    Status.UNKNOWN: "may or may not have been created; never sent again before it is looked up",
    Status.NOT_SENT: "the run ended before their turn; run again",
}


def _meaning(status: Status, summary: "Summary") -> str:
    if status is Status.INVALID and summary.command == "check":  # nothing to retry yet
        return "failed our checks; put them right in the list, or in the config"
    if status is not Status.CREATED or not summary.before:
        return _MEANINGS[status]
    return f"{summary.counts[status] - summary.before:,} now, {summary.before:,} by earlier runs"


def mask(text: str) -> str:
    """Hide phones but for their last two digits, and e-mails but for their first letter."""
    text = _EMAIL.sub(lambda found: f"{found[0][0]}…@…", text)
    return _PHONE.sub(lambda found: _mask_number(found[0]), text)


def _mask_number(text: str) -> str:
    digits = sum(letter.isdigit() for letter in text)
    # Dates and times, row numbers and short figures are no phones.
    if digits < 7 or "Z-" in text or re.fullmatch(r"\d{4}-\d{2}-\d{2}.*", text):
        return text
    return f"…{text[-2:]}"


@contextmanager
def _heard_at_once() -> Iterator[None]:
    """Let Ctrl-C end the reading of an answer. An event loop would only note it, and the reading would go on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def screen(*, progress: bool, as_json: bool) -> "_Screen":
    """Return the screen that fits where stderr goes."""
    if as_json:
        return _JsonScreen(sys.stderr, progress=progress)
    return _TextScreen(sys.stderr, progress=progress)


class _Screen(ABC):
    """What text and JSON have in common: counting, masking, asking."""

    def __init__(self, stream: TextIO, *, progress: bool) -> None:
        self._stream = stream
        self._progress = progress
        self._counts: Counter[str] = Counter()
        self._total = 0
        self._began = time.monotonic()
        self._last_line = 0.0
        self._done_by: Callable[[], str | None] = lambda: None

    @abstractmethod
    def say(self, text: str) -> None: ...

    def show(self, text: str) -> None:
        """Show a line to a person at a terminal, and to no log."""
        if self._stream.isatty():
            self.say(text)

    @abstractmethod
    def problem(self, text: str) -> None: ...

    @abstractmethod
    def summary(self, summary: "Summary") -> None: ...

    def ask(self, question: str) -> bool | None:
        """Ask a person at the terminal; None where there is none. Raises `Interrupted` on Ctrl-C.

        No answer (Ctrl-D) is a no.
        """
        if sys.stdin is None or not (sys.stdin.isatty() and self._stream.isatty()):
            return None
        answer = ""
        try:
            with _heard_at_once():
                self._stream.write(f"{question} [y/N] ")
                self._stream.flush()
                answer = sys.stdin.readline()
        except KeyboardInterrupt:
            raise Interrupted("Interrupted at the question: nothing was done.") from None
        finally:
            if not answer.endswith("\n"):  # neither key ends the line of the question
                print(file=self._stream, flush=True)
        return answer.strip().lower() in ("y", "yes")

    def begin(self, total: int, done_by: Callable[[], str | None]) -> None:
        self._total, self._began, self._done_by = total, time.monotonic(), done_by
        self._last_line = self._began

    def step(self, outcome: Outcome) -> None:
        """Count a lead that has its outcome. What a run that stops leaves unsent is no progress."""
        if outcome.status is not Status.NOT_SENT:
            self._counts[outcome.status.value] += 1
            self._moved()

    @abstractmethod
    def _moved(self) -> None: ...

    def end(self) -> None:
        return None

    def _due(self) -> bool:
        now = time.monotonic()
        if not self._progress or now - self._last_line < _LINE_EVERY:
            return False
        self._last_line = now
        return True

    def _pace(self) -> float:
        return sum(self._counts.values()) / max(time.monotonic() - self._began, 1e-3)


class _TextScreen(_Screen):
    """Lines for people; a tqdm bar where stderr is a terminal."""

    _bar: Any = None
    _forecast: str | None = None

    def say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(mask(text), file=self._stream)
        else:
            print(mask(text), file=self._stream, flush=True)

    def problem(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def begin(self, total: int, done_by: Callable[[], str | None]) -> None:
        super().begin(total, done_by)
        if self._progress and self._stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                unit=" leads",
                file=self._stream,
                dynamic_ncols=True,
                smoothing=0.1,
                bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}, {rate_noinv_fmt}{postfix}",
            )

    def _moved(self) -> None:
        if self._bar is not None:
            if time.monotonic() - self._last_line >= _BAR_EVERY:
                self._last_line = time.monotonic()
                self._forecast = self._done_by()
            self._beside_bar(self._forecast)
            self._bar.update()
        elif self._due():
            print(self._line(), file=self._stream, flush=True)

    def _beside_bar(self, done_by: str | None) -> None:
        counts = [f"{count:,} {status}" for status, count in self._counts.most_common()]
        self._bar.set_postfix_str(", ".join(filter(None, [done_by, *counts])), refresh=False)

    def _line(self) -> str:
        counts = ", ".join(f"{count:,} {status}" for status, count in sorted(self._counts.items()))
        done_by = self._done_by()
        when = f", {done_by}" if done_by else ""
        return f"{sum(self._counts.values()):,} of {self._total:,} leads, {self._pace():,.1f}/s{when}: {counts}"

    def end(self) -> None:
        if self._bar is not None:
            self._beside_bar(None)
            self._bar.close()
            self._bar = None

    def summary(self, summary: "Summary") -> None:
        lines = [""]
        if summary.cause:
            lines.append(f"Stopped early: {mask(summary.cause).rstrip('.')}.")
        rows = count_of(summary.rows, "row")
        lines.append(f"{rows} read:" if summary.rows else f"{rows} read.")
        lines += [
            f"  {summary.counts[status]:>9,}  {status.value:<17} {_meaning(status, summary)}"
            for status in Status
            if summary.counts.get(status)
        ]
        if summary.mendings:
            lines.append("Restored in cells, and said in their rows:")
            lines += [f"  {count:>9,}  column {column!r}: {what}" for column, what, count in summary.mendings]
        if summary.left_out:
            lines.append("Left out of leads, and said in their rows:")
            lines += [
                f"  {count:>9,}  column {column!r}: {code}" if column else f"  {count:>9,}  {code}"
                for column, code, count in summary.left_out
            ]
        if summary.reasons:
            lines.append("Most frequent reasons:")
            lines += [f"  {count:>9,}  {status}: {code}" for status, code, count in summary.reasons]
        spent = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in summary.seconds.items() if seconds >= 0.05)
        if summary.guarantee:
            lines.append(f"Guarantee: {summary.guarantee}.")
        lines.append(f"Run {summary.run_id}" + (f"; time: {spent}" if spent else ""))
        print("\n".join(lines), file=self._stream, flush=True)
        for path in summary.written:
            print(path)
        if summary.retry and summary.command != "check" and not summary.run_id.startswith("sandbox-"):
            wrong = summary.counts.get(Status.INVALID) or summary.counts.get(Status.REJECTED)
            when = "When the rows are put right" if wrong else "To send what is not done"
            print(f"{when}: {summary.retry}", file=self._stream, flush=True)


class _JsonScreen(_Screen):
    """One JSON object a line, for log collectors."""

    def _write(self, event: str, **facts: object) -> None:
        told = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **facts}
        print(json.dumps(told, ensure_ascii=False), file=self._stream, flush=True)

    def say(self, text: str) -> None:
        self._write("said", text=mask(text))

    def show(self, text: str) -> None:
        """Nothing: this is a log."""

    def problem(self, text: str) -> None:
        self._write("problem", text=mask(text))

    def begin(self, total: int, done_by: Callable[[], str | None]) -> None:
        super().begin(total, done_by)
        self._write("begin", leads=total)

    def _moved(self) -> None:
        if self._due():
            self._write(
                "progress",
                leads=self._total,
                counts=dict(self._counts),
                per_second=round(self._pace(), 2),
                forecast=self._done_by(),
            )

    def summary(self, summary: "Summary") -> None:
        self._write(
            "summary",
            run_id=summary.run_id,
            rows=summary.rows,
            counts=summary.counts,
            restored=[{"column": column, "what": what, "cells": count} for column, what, count in summary.mendings],
            left_out=[{"column": column, "code": code, "rows": count} for column, code, count in summary.left_out],
            guarantee=summary.guarantee,
            cause=mask(summary.cause) if summary.cause else None,
            seconds={stage: round(seconds, 3) for stage, seconds in summary.seconds.items()},
            results=[str(path) for path in summary.written],
            exit_status=int(summary.exit_status),
        )
        for path in summary.written:
            print(path)
