"""Result files that people edited: whatever they change, what was done is not done again, nor what may have been done."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import Desk, memory
from hypothesis import given, settings
from hypothesis import strategies as st
from test_group import settings_of
from test_laws import COLUMNS, ROW, config, table

from importer.config import Config
from importer.ledger import Ledger
from importer.pipeline import _work
from importer.plan import Plan, Work, plan, planned
from importer.records import PROBABLY_OURS, RESULT_COLUMNS, Lead, Outcome, Status
from importer.results import result_columns, with_followers
from importer.sandbox import Sandbox

Row = tuple[str, ...]
DONE = ("created", "already_imported", "duplicate", "unknown")
END = st.sampled_from(["created", "duplicate", "rejected", "failed", "unknown", "doubtful", "not_sent"])


class Office:
    """A ledger, and the runs and retries that fill it; no server."""

    def __init__(self, ledger: Ledger, config: Config) -> None:
        self.ledger = ledger
        self.config = config
        self.hashes = ledger.hashes("here")
        self.runs = 0

    def work(self, rows: list[Row], previous: pl.DataFrame | None = None) -> Work:
        return _work(table(rows), previous, self.config, {"+12125550107": "dnc"}, frozenset(), {})

    def plan(self, work: Work) -> Plan:
        return plan(
            [work],
            ledger=self.ledger,
            hashes=self.hashes,
            allow_duplicate=self.config.allow_duplicate,
            include=(),
            run_id=f"r{self.runs}",
        )

    def send(self, rows: list[Row], ends: list[str], previous: pl.DataFrame | None = None) -> pl.DataFrame:
        """Send what a list or a result file says; the leads end as `ends` says. Returns the result's own columns."""
        self.runs += 1
        work = self.work(rows, previous)
        made = self.plan(work)
        outcomes = made.outcomes.update(made.doubtful)
        if made.noted:
            self.ledger.note_occurrences(f"r{self.runs}", made.noted)
        chosen = iter(ends * len(rows))
        for one in planned(
            [work], made, self.ledger, self.hashes, allow_duplicate=self.config.allow_duplicate, limit=None
        ):
            if one.doubt is None and (end := next(chosen)) != "not_sent":
                outcomes[one.place] = self._sent(one.identity, one.lead, end)
        otherwise = Outcome(Status.NOT_SENT, f"r{self.runs}", None, code="stopped", message="not sent")
        told = with_followers(made, outcomes, otherwise, [work])
        return result_columns(work, 0, told, held=made.held, otherwise=otherwise, run_id=f"r{self.runs}").columns

    def _sent(self, identity: bytes, lead: Lead, end: str) -> Outcome:
        outcome = Outcome(
            {"doubtful": Status.UNKNOWN, PROBABLY_OURS: Status.DUPLICATE}.get(end) or Status(end),
            f"r{self.runs}",
            None,
            code=PROBABLY_OURS if end == PROBABLY_OURS else None,
            lead_id=f"{self.runs}/{lead.primary.index}" if end == "created" else None,
            contact_ids=tuple(f"{contact.index}" for contact in lead.contacts) if end == "created" else (),
            attempts=1,
            in_doubt=end == "doubtful",
        )

        async def write() -> None:
            await self.ledger.intend(identity, lead, b"{}", hashes=self.hashes, run_id=f"r{self.runs}", at=None)
            if end == "unknown":  # given up, after it was looked up in vain
                self.ledger.finish(identity, replace(outcome, in_doubt=True))
            self.ledger.finish(identity, outcome)
            await self.ledger.flush()

        asyncio.run(write())
        return outcome


def edited(rows: list[Row], told: pl.DataFrame, edits: list[tuple[str, int, int, Row]]) -> tuple[list[Row], Any]:
    """Change, remove, move and add rows of a result file as people do; its own columns go with their rows."""
    lines: list[tuple[Row, dict[str, str | None]]] = list(zip(rows, told.to_dicts(), strict=True))
    for what, where, cell, new in edits:
        place = where % len(lines) if lines else 0
        if what == "add" or not lines:
            lines.insert(place, (new, dict.fromkeys(RESULT_COLUMNS)))
        elif what == "remove":
            del lines[place]
        elif what == "move":
            lines.append(lines.pop(place))
        else:
            row = list(lines[place][0])
            row[cell] = new[cell]
            lines[place] = (tuple(row), lines[place][1])
    frame = pl.DataFrame([line for _, line in lines], schema=dict.fromkeys(RESULT_COLUMNS, pl.String))
    return [row for row, _ in lines], frame


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["change", "change", "remove", "move", "add"]),
        st.integers(0, 20),
        st.integers(0, len(COLUMNS) - 1),
        ROW,
    ),
    max_size=6,
)
GOOD = st.tuples(
    st.sampled_from(["", "A", "B"]),
    st.sampled_from(["Primary", ""]),
    st.sampled_from([f"+1212555{number:04d}" for number in range(100, 112)] + ["12"]),
    st.sampled_from(["7", "7", "8"]),
    st.just("New"),
    st.sampled_from(["Ada", "Bea"]),
)


@given(
    st.lists(GOOD, min_size=1, max_size=8),
    st.lists(END, min_size=1, max_size=8),
    st.lists(EDITS, min_size=1, max_size=2),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_a_row_that_was_done_is_in_no_lead_that_is_sent_however_its_file_was_edited(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Row],
    ends: list[str],
    rounds: list[list[tuple[str, int, int, Row]]],
    allow: bool,
    flagged: bool,
) -> None:
    chosen = config(primary_when=flagged, hold=False).model_copy(update={"allow_duplicate": allow})
    with Ledger(tmp_path_factory.mktemp("ledger") / "l.sqlite3") as ledger:
        office = Office(ledger, chosen)
        told = office.send(rows, ends)
        for edits in rounds:
            rows, told = edited(rows, told, edits)
            work = office.work(rows, told)
            made = office.plan(work)
            wanted = [lead for lead in made.to_send[0] if (0, lead) not in made.doubtful]
            for _, lead in work.grouped.build(wanted, allow_duplicate=allow, source=""):
                cells = [told["import_status"][person.index] for person in (lead.primary, *lead.contacts)]
                assert not [cell for cell in cells if cell in DONE], rows
            told = office.send(rows, ends[::-1], told)


# The same by examples: decided with a ledger that knows the first run, and once by the whole command.


def row(account: str, role: str, phone: str, name: str = "Ada") -> Row:
    return (account, role, phone, "7", "New", name)


def told_after(
    folder: Path, rows: list[Row], ends: list[str], change: Callable[[list[Row], pl.DataFrame], Any], **how: bool
) -> tuple[list[str], list[str | None], list[str | None]]:
    """Send rows, change what came back, and return statuses, codes and IDs of a retry that creates all it may send."""
    allow = how.pop("allow", False)
    chosen = config(hold=False, **how).model_copy(update={"allow_duplicate": allow})
    with Ledger(folder / "l.sqlite3") as ledger:
        office = Office(ledger, chosen)
        told = office.send(rows, ends)
        rows, told = change(rows, told)
        again = office.send(rows, ["created"], told)
    return tuple(again[name].to_list() for name in ("import_status", "import_error_code", "import_lead_id"))  # type: ignore[return-value]


def renamed(rows: list[Row], told: pl.DataFrame) -> tuple[list[Row], pl.DataFrame]:
    return [(*row[:5], "Renamed") for row in rows], told


@pytest.mark.parametrize("end", ["created", "duplicate", "unknown", "doubtful"])
@pytest.mark.parametrize("allow", [False, True])
def test_a_row_that_is_done_or_in_doubt_stays_so_on_retry_though_a_variable_was_changed(
    tmp_path: Path, end: str, allow: bool
) -> None:
    rows = [row("A", "Primary", "+12125550100"), row("B", "Primary", "+12125550101")]
    statuses, _, ids = told_after(tmp_path, rows, [end, "failed"], renamed, allow=allow)
    assert statuses == ["unknown" if end == "doubtful" else end, "created"]
    assert ids == ["1/0" if end == "created" else None, "2/1"]


def test_a_contact_that_was_left_out_is_not_sent_by_itself_though_its_primary_was_taken_off_the_file(
    tmp_path: Path,
) -> None:
    def only_the_contact(rows: list[Row], told: pl.DataFrame) -> tuple[list[Row], pl.DataFrame]:
        return [row("A", "", "+12125550101")], told[1:]

    rows = [row("A", "", "+12125550100"), row("A", "", "12")]
    statuses, codes, ids = told_after(tmp_path, rows, ["created"], only_the_contact, primary_when=False)
    assert (statuses, codes, ids) == (["invalid"], ["lead_exists"], ["1/0"])


def test_a_contact_whose_cells_were_emptied_is_a_row_like_any_new_one(tmp_path: Path) -> None:
    def emptied(rows: list[Row], told: pl.DataFrame) -> tuple[list[Row], pl.DataFrame]:
        return [row("A", "", "+12125550101")], told[1:].with_columns(import_status=pl.lit(None, pl.String))

    rows = [row("A", "", "+12125550100"), row("A", "", "12")]
    statuses, _, ids = told_after(tmp_path, rows, ["created"], emptied, primary_when=False)
    assert (statuses, ids) == (["created"], ["2/0"])


@pytest.mark.parametrize("allow", [False, True])
def test_a_lead_that_was_created_does_not_become_a_contact_of_a_new_row(tmp_path: Path, allow: bool) -> None:
    def demoted(rows: list[Row], told: pl.DataFrame) -> tuple[list[Row], pl.DataFrame]:
        new = pl.DataFrame([dict.fromkeys(RESULT_COLUMNS)], schema=told.schema)
        return [row("A", "", "+12125550100"), row("A", "Primary", "+12125550101")], pl.concat([told, new])

    rows = [row("A", "Primary", "+12125550100")]
    statuses, codes, _ = told_after(tmp_path, rows, ["created"], demoted, allow=allow)
    assert (statuses[1], codes[1]) == ("invalid", "group_changed")


@pytest.mark.parametrize(("first", "then"), [(False, True), (True, False)])
@pytest.mark.parametrize("end", ["created", "unknown", "doubtful", PROBABLY_OURS])
def test_allowing_duplicates_afterwards_or_no_more_sends_nothing_again(
    tmp_path: Path, first: bool, then: bool, end: str
) -> None:
    rows = [row("A", "Primary", "+12125550100"), row("A", "", "+12125550102"), row("B", "Primary", "+12125550101")]
    with Ledger(tmp_path / "l.sqlite3") as ledger:
        told = []
        for allow in (first, then):
            chosen = config().model_copy(update={"allow_duplicate": allow})
            office = Office(ledger, chosen)
            office.runs = len(told)
            told.append(office.send(rows, [end, "failed"] if not told else ["created"])["import_status"].to_list())
    kept = {"created": "already_imported", PROBABLY_OURS: "duplicate"}.get(end, "unknown")
    assert told[1] == [kept, kept, "created"]


@pytest.mark.parametrize(("end", "then"), [(PROBABLY_OURS, "invalid"), ("duplicate", "created")])
def test_a_contact_of_a_lead_that_is_most_likely_ours_is_not_called_by_itself(
    tmp_path: Path, end: str, then: str
) -> None:
    with Ledger(tmp_path / "l.sqlite3") as ledger:
        office = Office(ledger, config())
        office.send([row("A", "Primary", "+12125550100"), row("A", "", "+12125550102")], [end])
        assert office.send([row("B", "Primary", "+12125550102")], ["created"])["import_status"].to_list() == [then]


def test_who_allows_duplicates_to_have_them_sent_has_them_sent(tmp_path: Path) -> None:
    rows = [row("A", "Primary", "+12125550100"), row("B", "Primary", "+12125550101")]
    with Ledger(tmp_path / "l.sqlite3") as ledger:
        Office(ledger, config()).send(rows, ["duplicate", "created"])
        office = Office(ledger, config().model_copy(update={"allow_duplicate": True}))
        office.runs = 1
        # The server's duplicate goes now, and so do one of another content and a second one like the first.
        again = [*rows, row("D", "Primary", "+12125550101", "Bea"), row("E", "Primary", "+12125550101")]
        told = office.send(again, ["created"])["import_status"].to_list()
    assert told == ["created", "already_imported", "created", "created"]


def test_a_row_that_was_copied_within_its_file_is_counted_anew(tmp_path: Path) -> None:
    def copied(rows: list[Row], told: pl.DataFrame) -> tuple[list[Row], pl.DataFrame]:
        return [*rows, *rows], pl.concat([told, told])

    rows = [row("", "", "+12125550100"), row("", "", "+12125550101")]
    statuses, _, ids = told_after(tmp_path, rows, ["created", "failed"], copied, allow=True)
    assert statuses == ["created"] * 4
    assert ids == ["1/0", "2/1", "1/0", "2/3"]


def test_a_row_that_became_like_another_takes_nothing_from_it(tmp_path: Path) -> None:
    def alike(rows: list[Row], told: pl.DataFrame) -> tuple[list[Row], pl.DataFrame]:
        return [rows[1], rows[1]], told  # the created row now reads like the one that failed

    rows = [row("", "", "+12125550100"), row("", "", "+12125550101")]
    statuses, _, ids = told_after(tmp_path, rows, ["created", "failed"], alike, allow=True)
    assert (statuses, ids) == (["created"] * 2, ["1/0", "2/1"])


def added(rows: list[Row], told: pl.DataFrame, new: Row) -> tuple[list[Row], pl.DataFrame]:
    """Put a new row above the others."""
    blank = pl.DataFrame([dict.fromkeys(RESULT_COLUMNS)], schema=dict.fromkeys(RESULT_COLUMNS, pl.String))
    return [new, *rows], pl.concat([blank, told])


def test_a_new_row_where_another_stood_is_sent_by_the_retry_after_next_too(tmp_path: Path) -> None:
    rows = [row("", "", "+12125550100"), row("", "", "+12125550101")]
    with Ledger(tmp_path / "l.sqlite3") as ledger:
        office = Office(ledger, config().model_copy(update={"allow_duplicate": True}))
        rows, told = added(rows, office.send(rows, ["created"]), rows[0])  # like the row whose line it takes
        told = office.send(rows, ["rejected"], told)
        assert told["import_row"].to_list() == ["4", "2", "3"]
        again = office.send(rows, ["created"], told)
    assert again["import_status"].to_list() == ["created"] * 3
    assert again["import_lead_id"].to_list() == ["3/0", "1/0", "1/1"]


def test_who_was_added_above_a_group_is_not_its_lead_at_the_retry_after_next_either(tmp_path: Path) -> None:
    rows = [row("B", "", "+12125550105"), row("A", "", "+12125550100"), row("A", "", "+12125550101")]
    with Ledger(tmp_path / "l.sqlite3") as ledger:
        office = Office(ledger, config(primary_when=False))
        rows, told = added(rows, office.send(rows, ["created", "rejected"]), row("A", "", "+12125550102"))
        told = office.send(rows, ["rejected"], told)
        assert office.send(rows, ["created"], told)["import_lead_id"].to_list() == ["3/2", "1/0", "3/2", "3/2"]


@pytest.mark.parametrize("above", [True, False])
def test_a_copy_whose_status_was_emptied_is_a_new_lead_wherever_it_stands(tmp_path: Path, above: bool) -> None:
    def copied(rows: list[Row], told: pl.DataFrame) -> tuple[list[Row], pl.DataFrame]:
        copy = told.with_columns(import_status=pl.lit(None, pl.String))
        return [*rows, *rows], pl.concat([copy, told] if above else [told, copy])

    statuses, _, ids = told_after(tmp_path, [row("", "", "+12125550100")], ["created"], copied, allow=True)
    assert (statuses, ids) == (["created"] * 2, ["2/0", "1/0"] if above else ["1/0", "2/1"])


def test_the_second_of_alike_rows_is_sent_though_the_first_was_taken_off_and_its_status_emptied(tmp_path: Path) -> None:
    def second(rows: list[Row], told: pl.DataFrame) -> tuple[list[Row], pl.DataFrame]:
        return rows[1:], told[1:].with_columns(import_status=pl.lit(None, pl.String))

    rows = [row("", "", "+12125550100"), row("", "", "+12125550100")]
    assert told_after(tmp_path, rows, ["created", "rejected"], second, allow=True)[0] == ["created"]


def test_an_id_that_was_lost_is_told_again(tmp_path: Path) -> None:
    def lost(rows: list[Row], told: pl.DataFrame) -> tuple[list[Row], pl.DataFrame]:
        return rows, told.with_columns(import_lead_id=pl.lit(None, pl.String))

    rows = [row("A", "Primary", "+12125550100"), row("A", "", "+12125550101")]
    statuses, _, ids = told_after(tmp_path, rows, ["created"], lost)
    assert (statuses, ids) == (["already_imported"] * 2, ["1/0"] * 2)


@pytest.mark.parametrize("before", ["", "+12125550101"])
def test_a_contact_that_is_new_in_the_row_of_a_created_lead_is_told_there(tmp_path: Path, before: str) -> None:
    chosen = settings_of("columns")  # contacts are in Account and Role
    with Ledger(tmp_path / "l.sqlite3") as ledger:
        office = Office(ledger, chosen)
        told = office.send([row(before, "", "+12125550100")], ["created"])
        again = office.send([row("+12125550102", "", "+12125550100")], ["created"], told)
    assert again["import_status"].to_list() == ["created"]
    assert again["import_error_code"].to_list() == ["lead_exists"]
    assert "contact 1: its lead was created without this contact" in again["import_error"][0]


def test_a_contact_that_got_another_number_after_its_lead_was_created_is_told_in_its_row(tmp_path: Path) -> None:
    def changed(rows: list[Row], told: pl.DataFrame) -> tuple[list[Row], pl.DataFrame]:
        return [rows[0], row("A", "", "+12125550102")], told

    rows = [row("A", "Primary", "+12125550100"), row("A", "", "+12125550101")]
    statuses, codes, _ = told_after(tmp_path, rows, ["created"], changed)
    assert (statuses, codes) == (["created"] * 2, [None, "lead_exists"])


def test_a_changed_file_and_a_changed_setting_call_nobody_twice(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("a.csv", "Name,Phone\nAda,+12125550100\nBea,+12125550101\n")
    settings = "campaign_id: 7\nphone: {column: Phone}\nvariables: {customer_name: Name}\nallow_duplicate: "
    fast = ("-c", "c.yaml", "--yes", "--rate", "500/s")
    desk.write("c.yaml", settings + "false\n")
    assert desk.run("run", "a.csv", *fast).status == 0
    desk.write("c.yaml", settings + "true\n")
    assert desk.run("run", "a.csv", *fast).status == 0
    desk.write("a.results.csv", (desk.folder / "a.results.csv").read_text().replace("Ada,", "Ada Lovelace,"))
    assert desk.run("retry", "a.results.csv", *fast).status == 0
    assert memory(sandbox)["posts"] == 2


def test_a_number_that_was_changed_after_its_lead_was_created_is_told_and_not_sent(
    desk: Desk, sandbox: Sandbox
) -> None:
    desk.write("a.csv", "Name,Phone\nAda,+12125550100\nBea,2125550101\nCid,+12125550102\n")
    config = "campaign_id: 7\nphone: {column: Phone, region: US}\nvariables: {customer_name: Name}\n"
    fast = ("-c", "c.yaml", "--yes", "--rate", "500/s")
    desk.write("c.yaml", config)
    assert desk.run("run", "a.csv", *fast).status == 0
    text = (desk.folder / "a.results.csv").read_text(encoding="utf-8-sig")
    desk.write("a.results.csv", text.replace(",2125550101,", ",(212) 555-0101,").replace("Cid,", "Sid,"))
    unharmed = desk.run("retry", "a.results.csv", *fast)
    assert "another number" not in unharmed.err
    desk.write("a.results.csv", text.replace("+12125550100", "+12125550199"))
    told = desk.run("retry", "a.results.csv", *fast)
    assert told.status == 0, told.err
    assert (
        "1 row that is done has another number than its lead was created with (row 2). Nothing is sent for it"
        in told.err
    )
    assert "empty the row's import_status" in told.err
    assert "another config" not in told.err
    assert desk.rows("a.results.csv")[0]["import_status"] == "created"
    desk.write("c.yaml", config.replace("customer_name", "name"))
    assert "created by another config" in desk.run("check", "a.results.csv", "-c", "c.yaml").err
    elsewhere = desk.run("retry", "a.results.csv", *fast, "--ledger", "other.sqlite3")
    assert "another number" not in elsewhere.err  # that ledger knows no lead
    assert memory(sandbox)["posts"] == 3


@pytest.mark.parametrize("allow", [True, False])
def test_only_a_number_that_the_lead_has_not_is_taken_for_changed(tmp_path: Path, allow: bool) -> None:
    rows = [row("A", "Primary", "+12125550100"), row("A", "", "+12125550101"), row("B", "Primary", "+12125550102")]
    with Ledger(tmp_path / "l.sqlite3") as ledger:
        office = Office(ledger, config(primary_when=False).model_copy(update={"allow_duplicate": allow}))
        told = office.send(rows, ["created", "created"])
        assert not office.plan(office.work(rows, told)).renumbered
        assert not office.plan(office.work(rows[1:], told[1:])).renumbered  # a contact whose primary is taken out
        swapped = [row("C", "Primary", "+12125550102"), row("B", "Primary", "+12125550100")]
        assert len(office.plan(office.work(swapped, told[::2])).renumbered) == 2
        office.config = office.config.model_copy(update={"campaign_id": 8})
        assert not office.plan(office.work(rows, told)).renumbered
