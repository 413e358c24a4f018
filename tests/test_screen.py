"""What people see of a run at their terminal."""

import csv
import io
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from conftest import Ended

from importer.records import Outcome, Status
from importer.results import reasons
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


LACKING = """\
campaign_id: 7
phone: {column: Phone, region: US, missing_plus: restore}
variables:
  mail: {column: E-mail, type: email, on_error: drop}
  day: {column: Day, type: date, on_error: drop}
secondary_contacts:
  on_invalid: drop
  columns: [{phone: Phone 2, variables: {mail: {column: E-mail 2, type: email, on_error: drop}}}]
"""


def test_whatever_leads_go_without_is_counted_by_column_whatever_else_is_said_of_the_row(
    tmp_path: Path, command: Callable[..., Ended]
) -> None:
    rows = [
        "493023125001,nobody,,,",  # its + is restored, too
        "+12125550102,nobody,someday,,",
        "+12125550103,ada@example.com,2026-01-31,+12125550104,cy@example.com",
        "+12125550105,nobody,,12,nobody",
        '="+12125550106",,,+12125550107,nobody',
        "12,nobody,,,",  # no lead
    ]
    (tmp_path / "a.csv").write_text("\n".join(["Phone,E-mail,Day,Phone 2,E-mail 2", *rows]) + "\n")
    (tmp_path / "c.yaml").write_text(LACKING)
    ended = command("check", "a.csv", "-c", "c.yaml", "--log-format", "json")
    facts = json.loads(ended.err.splitlines()[-1])
    assert {(one["column"], one["code"]): one["rows"] for one in facts["left_out"]} == {
        ("E-mail", "value_not_email"): 3,
        ("Day", "value_not_date"): 1,
        ("Phone 2", "phone_too_short"): 1,
        ("E-mail 2", "value_not_email"): 1,
    }
    with (tmp_path / "a.check.csv").open(encoding="utf-8-sig", newline="") as file:
        said = [row["import_error"] for row in csv.DictReader(file)]
    assert [text.count("was left out") for text in said] == [1, 2, 0, 2, 1, 1], said


def test_duplicates_that_are_most_likely_ours_are_among_the_reasons() -> None:
    rows = [("created", None), ("duplicate", "old_lead"), ("duplicate", "probably_ours"), ("invalid", "phone_missing")]
    frame = pl.DataFrame(rows, schema=["import_status", "import_error_code"], orient="row")
    assert reasons([frame]) == [("invalid", "phone_missing", 1), ("duplicate", "probably_ours", 1)]
