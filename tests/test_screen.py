"""What people see of a run at their terminal."""

import io
import re
import time
from datetime import UTC, datetime

import polars as pl
import pytest

from importer.records import Outcome, Status
from importer.results import left_out, reasons
from importer.screen import screen


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _outcome(status: Status) -> Outcome:
    return Outcome(status, "20270101T000000Z-aaaaaa", datetime(2027, 1, 1, tzinfo=UTC))


def test_leads_that_a_stopped_run_never_sent_are_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    seen = screen(progress=True, as_json=False)
    seen.begin(20, lambda: "done by 06:00")
    for status in [Status.CREATED] * 7 + [Status.NOT_SENT] * 12:
        seen.step(_outcome(status))
    seen.end()
    last = terminal.getvalue().rstrip().split("\r")[-1]
    assert "7/20" in last
    assert last.endswith("7 created")


def test_beside_the_bar_stands_what_became_of_the_leads_that_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    seen = screen(progress=True, as_json=False)
    seen.begin(3, lambda: None)
    for _ in range(3):
        time.sleep(0.11)  # the bar is drawn ten times a second at most
        seen.step(_outcome(Status.CREATED))
    drawn = re.findall(r"(\d)/3,[^\r]*, (\d) created", terminal.getvalue())
    assert drawn == [("1", "1"), ("2", "2"), ("3", "3")]


def test_what_leads_go_without_is_counted_by_column() -> None:
    rows = [
        ("created", "value_not_email", "E-Mail"),
        ("ready", "value_not_email", "E-Mail"),
        ("created", "cell_restored", "Name"),
        ("invalid", "value_not_date", "Day"),
        ("created", None, None),
    ]
    columns = ["import_status", "import_error_code", "import_error_column"]
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    assert left_out([frame]) == [("E-Mail", "value_not_email", 2)]


def test_duplicates_that_are_most_likely_ours_are_among_the_reasons() -> None:
    rows = [("created", None), ("duplicate", "old_lead"), ("duplicate", "probably_ours"), ("invalid", "phone_missing")]
    frame = pl.DataFrame(rows, schema=["import_status", "import_error_code"], orient="row")
    assert reasons([frame]) == [("invalid", "phone_missing", 1), ("duplicate", "probably_ours", 1)]
