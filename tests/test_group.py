"""Leads and their contacts: laws that hold for any table, then the rules one by one."""

from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_laws import COLUMNS, ROW, config, grouped, table

from importer import mapping, results
from importer.config import Config
from importer.group import MOST_CONTACTS
from importer.outcomes import Outcomes
from importer.plan import plan
from importer.records import Outcome, Status

ROWS = st.lists(ROW, max_size=14)
READY = Outcome(Status.READY, "r", None)
KINDS = st.sampled_from(["first row", "flagged", "columns"])


def settings_of(kind: str, *, hold: bool = True) -> Config:
    if kind != "columns":
        return config(primary_when=kind == "flagged", hold=hold)
    contacts = [{"phone": "Account", "variables": {}}, {"phone": "Role", "variables": {"name": "Name"}}]
    return Config.model_validate(
        {
            "phone": {"column": "Phone"},
            "campaign_id": {"column": "Campaign"},
            "variables": {"name": {"column": "Name"}},
            "secondary_contacts": {"columns": contacts, "on_invalid": "hold" if hold else "drop"},
            "where": {"column": "State", "in": ["New", ""]},
        }
    )


def told(rows: list[tuple[str, ...]], chosen: Config) -> pl.DataFrame:
    """Return what `check` would tell every row."""
    work, _ = grouped(table(rows), chosen)
    made = plan([work], ledger=None, hashes=None, allow_duplicate=False, include=(), run_id="r")
    outcomes = results.with_followers(made, made.outcomes, READY, [work])
    return results.result_columns(work, 0, outcomes, held=set(), otherwise=READY, run_id="r").columns


# Laws.


@given(ROWS, KINDS, st.booleans(), st.integers(1, 5))
@settings(max_examples=35, deadline=None)
def test_nothing_depends_on_how_many_rows_are_handled_at_once(
    rows: list[tuple[str, ...]], kind: str, hold: bool, size: int
) -> None:
    chosen = settings_of(kind, hold=hold)
    whole = told(rows, chosen)
    with pytest.MonkeyPatch.context() as patched:
        for module in (mapping, results):
            patched.setattr(module, "_SLICE", size)
        assert told(rows, chosen).equals(whole)


@given(ROWS, KINDS, st.booleans())
@settings(max_examples=35, deadline=None)
def test_every_row_is_in_exactly_one_lead_named_after_its_first_row(
    rows: list[tuple[str, ...]], kind: str, hold: bool
) -> None:
    _, found = grouped(table(rows), settings_of(kind, hold=hold))
    own = found.people.filter(pl.col("slot") == 0)
    assert own["index"].to_list() == list(range(len(rows)))
    assert found.leads["lead"].to_list() == sorted(set(found.people["lead"]))
    by_key: dict[str, int] = {}
    for place, (row, lead) in enumerate(zip(rows, own["lead"], strict=True)):
        key = row[0].strip() if kind != "columns" else ""
        assert lead == (by_key.setdefault(key, place) if key else place)


@given(ROWS, KINDS, st.booleans())
@example(
    # The primary stands between its contacts.
    [
        ("A", "", "+12125550101", "7", "New", ""),
        ("A", "Primary", "+12125550100", "7", "New", ""),
        ("A", "", "+12125550102", "7", "New", ""),
    ],
    "flagged",
    True,
)
@settings(max_examples=35, deadline=None)
def test_a_contacts_id_is_told_to_the_row_of_that_contact(rows: list[tuple[str, ...]], kind: str, hold: bool) -> None:
    work, found = grouped(table(rows), settings_of(kind, hold=hold))
    wanted = found.leads.filter(pl.col("status").is_null())["lead"].to_list()
    leads = dict(found.build(wanted, allow_duplicate=False, source=""))
    outcomes = {
        (0, lead): Outcome(
            Status.CREATED,
            "r",
            None,
            lead_id=f"L{lead}",
            contact_ids=tuple(f"{contact.index}.{contact.slot}" for contact in built.contacts),
        )
        for lead, built in leads.items()
    }
    frame = results.result_columns(work, 0, Outcomes(outcomes), held=set(), otherwise=READY, run_id="r").columns
    expected: dict[int, list[str]] = {}
    for built in leads.values():
        for contact in built.contacts:
            expected.setdefault(contact.index, []).append(f"{contact.index}.{contact.slot}")
    ids = {row: text.split(";") for row, text in enumerate(frame["import_contact_id"]) if text}
    assert ids == expected


@given(st.lists(ROW, max_size=10), st.randoms(use_true_random=False))
@settings(max_examples=35, deadline=None)
def test_with_primary_when_a_rows_status_does_not_depend_on_the_order_of_rows(
    rows: list[tuple[str, ...]], chance: Any
) -> None:
    rows = [(*row[:5], str(number)) for number, row in enumerate(rows)]

    def statuses(given_rows: list[tuple[str, ...]]) -> dict[str, Any]:
        _, found = grouped(table(given_rows), config())
        people = found.people.sort("index")
        return {row[5]: line for row, line in zip(given_rows, people.select("status", "code").iter_rows(), strict=True)}

    shuffled = list(rows)
    chance.shuffle(shuffled)
    assert statuses(rows) == statuses(shuffled)


# The rules. Rows are (Account, Role, Phone, Campaign, State, Name).


def row(account: str, role: str, last: int | str, campaign: str = "7", state: str = "New") -> tuple[str, ...]:
    made = (account, role, f"+12125550{last}" if isinstance(last, int) else last, campaign, state, "")
    assert len(made) == len(COLUMNS)
    return made


@pytest.mark.parametrize(
    ("rows", "codes", "words"),
    [
        (
            [row("A", "Spouse", 100), row("A", "Child", 101)],
            ["group_no_primary"] * 2,
            "rows 2, 3",
        ),
        (
            [row("A", "Primary", 100), row("A", "Primary", 101), row("A", "", 102)],
            ["group_two_primaries"] * 3,
            "rows 2, 3.",
        ),
        (
            [row("A", "Primary", 100), row("A", "", 100)],
            ["group_same_number"] * 2,
            "row 2 and in row 3",
        ),
        (
            [row("A", "Primary", 100), row("A", "", 101, campaign="8")],
            ["contact_invalid", "group_campaigns_differ"],
            "row 3",
        ),
        (
            [row("A", "Primary", 100, campaign=""), row("A", "", 101)],
            ["campaign_missing", "lead_invalid"],
            "campaign",
        ),
        (
            [row("A", "", 101), row("A", "Primary", 100, state="Old")],
            ["lead_filtered", "filtered"],
            "its primary in row 3",
        ),
        (
            [row("A", "", 101), row("A", "Primary", 107)],
            ["lead_suppressed", "suppressed"],
            "its primary in row 3",
        ),
        (
            [row("A", "Primary", 100), *(row("A", "", 101 + place) for place in range(MOST_CONTACTS + 1))],
            ["group_too_many"] * (MOST_CONTACTS + 2),
            "11 secondary contacts",
        ),
    ],
)
def test_a_group_that_cannot_be_sent_says_why_in_every_row(
    rows: list[tuple[str, ...]], codes: list[str], words: str
) -> None:
    made = [line if line[2] != "+12125550107" or codes[1] == "suppressed" else row("A", "", 150) for line in rows]
    frame = told(made, config())
    assert frame["import_error_code"].to_list() == codes
    assert words in frame["import_error"][0]


def test_on_invalid_drop_leaves_out_the_contact_alone() -> None:
    rows = [row("A", "Primary", 100), row("A", "", "12"), row("A", "", 102)]
    assert told(rows, config(hold=False))["import_status"].to_list() == ["ready", "invalid", "ready"]
    assert told(rows, config(hold=True))["import_status"].to_list() == ["invalid"] * 3


def test_a_contact_without_a_campaign_has_its_primarys() -> None:
    _, found = grouped(table([row("A", "Primary", 100), row("A", "", 101, campaign="")]), config())
    [(_, lead)] = found.build([0], allow_duplicate=False, source="")
    assert (lead.campaign_id, [contact.phone for contact in lead.contacts]) == (7, ["+12125550101"])


def test_ten_contacts_are_not_too_many() -> None:
    others = [number for number in range(101, 112) if number != 107]
    rows = [row("A", "Primary", 100), *(row("A", "", number) for number in others)]
    assert len(others) == MOST_CONTACTS
    assert set(told(rows, config())["import_status"]) == {"ready"}


@pytest.mark.parametrize("contact_ids", [(), (None,), ("12",)])
@pytest.mark.parametrize("kind", ["flagged", "columns"])
def test_no_contact_of_a_duplicate_is_said_to_be_confirmed(kind: str, contact_ids: tuple[str | None, ...]) -> None:
    in_rows = [row("A", "Primary", 100), row("A", "", 101)]
    in_columns = [("+12125550101", "", "+12125550100", "7", "New", "")]
    work, _ = grouped(table(in_rows if kind == "flagged" else in_columns), settings_of(kind))
    outcome = Outcome(Status.DUPLICATE, "r", None, contact_ids=contact_ids, code="http_422", message="exists")
    told = results.result_columns(work, 0, Outcomes({(0, 0): outcome}), held=set(), otherwise=READY, run_id="r")
    frame = told.columns
    assert (set(frame["import_status"]), told.lacks_contacts) == ({"duplicate"}, False)
    assert frame["import_contact_id"].null_count() == frame.height
    assert "not confirmed" in frame["import_error"][-1]
    assert frame["import_error"][0].startswith("exists")
