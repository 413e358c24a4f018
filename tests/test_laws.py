"""Laws of the way from a table to its result, whatever the table."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from importer.cells import mend
from importer.config import Config
from importer.group import Grouped, find_repeats, group_people
from importer.mapping import map_rows
from importer.plan import Work, plan
from importer.records import DONE, Outcome, Status, Table
from importer.results import counted, result_columns, with_followers

PHONES = st.sampled_from(
    [f"+1212555{number:04d}" for number in range(100, 108)] + ["12", "", "1-800-FLOWERS", "(212) 555-0100"]
)
ROW = st.tuples(
    st.sampled_from(["", "A", "B", "C", " A "]),
    st.sampled_from(["Primary", "Spouse", "", "Main"]),
    PHONES,
    st.sampled_from(["", "7", "8", "x"]),
    st.sampled_from(["New", "Old", ""]),
    st.text(max_size=5),
)
COLUMNS = ("Account", "Role", "Phone", "Campaign", "State", "Name")


def table(rows: list[tuple[str, ...]]) -> Table:
    cells = pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.String), orient="row").with_columns(
        pl.all().replace("", None)
    )
    places = pl.DataFrame(
        {
            "sheet": pl.Series([None] * len(rows), dtype=pl.String),
            "row": pl.Series(range(2, len(rows) + 2), dtype=pl.Int64),
        }
    )
    return Table(Path("a.csv"), "csv", COLUMNS, cells, places, "", delimiter=",")


def config(*, primary_when: bool = True, hold: bool = True, by_column: bool = True) -> Config:
    contacts: dict[str, Any] = {"group_by": "Account", "on_invalid": "hold" if hold else "drop"}
    if primary_when:
        contacts["primary_when"] = {"column": "Role", "in": ["Primary", "Main"]}
    return Config.model_validate(
        {
            "phone": {"column": "Phone"},
            "campaign_id": {"column": "Campaign"} if by_column else 7,
            "variables": {"name": {"column": "Name"}},
            "secondary_contacts": contacts,
            "where": {"column": "State", "in": ["New", ""]},
        }
    )


def grouped(made: Table, settings: Config) -> tuple[Work, Grouped]:
    mapped = map_rows(mend(made, settings), settings)
    found = group_people(
        mapped, settings, rows=made.places["row"], order=made.places["row"], suppressed={"+12125550107": "dnc"}
    )
    return Work(made, mapped, found), found


rows_of_any_kind = st.lists(ROW, max_size=14)


#: A group with two primaries, both suppressed, and a contact, who is told which rows are meant.
_SUPPRESSED_PRIMARIES = [
    ("A", "Primary", "+12125550107", "", "New", ""),
    ("A", "Primary", "+12125550107", "", "New", ""),
    ("A", "Spouse", "+12125550100", "", "New", ""),
]


@given(rows_of_any_kind, st.booleans(), st.booleans(), st.sampled_from(list(Status)))
@example(_SUPPRESSED_PRIMARIES, True, False, Status.CREATED)
@settings(max_examples=100, deadline=None)
def test_every_row_gets_exactly_one_status(
    rows: list[tuple[str, ...]], primary_when: bool, hold: bool, end: Status
) -> None:
    made = table(rows)
    work, _ = grouped(made, config(primary_when=primary_when, hold=hold))
    planned = plan([work], ledger=None, hashes=None, allow_duplicate=False, include=(), run_id="r")
    outcomes = {place: Outcome(end, "r", datetime.now(UTC), lead_id="1") for place in planned.beyond(0)}
    told = with_followers(planned, planned.outcomes.update(outcomes), Outcome(Status.READY, "r", None), [work])
    frame = result_columns(work, 0, told, held=set(), otherwise=Outcome(Status.READY, "r", None), run_id="r").columns
    assert frame.height == len(rows)
    assert frame["import_status"].is_in([status.value for status in Status]).all()
    assert sum(counted([frame]).values()) == len(rows)
    undone = frame.filter(~pl.col("import_status").is_in([*(status.value for status in DONE), end.value]))
    assert undone["import_error"].is_not_null().all()
    assert undone["import_error_code"].is_not_null().all()


@given(st.lists(ROW, max_size=10, unique_by=lambda row: row[:3]), st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=100, deadline=None)
def test_with_primary_when_groups_do_not_depend_on_the_order_of_rows(
    rows: list[tuple[str, ...]], chance: Any, hold: bool
) -> None:
    def leads(given: list[tuple[str, ...]]) -> set[Any]:
        _, found = grouped(table(given), config(hold=hold))
        wanted = found.leads.filter(pl.col("status").is_null())["lead"].to_list()
        return {
            (
                lead.primary.phone,
                lead.campaign_id,
                lead.primary.variables,
                frozenset((one.phone, one.variables) for one in lead.contacts),
            )
            for _, lead in found.build(wanted, allow_duplicate=False, source="")
        }

    # A number that stands twice in a group is dropped where it stands second, so that law is for whole groups only.
    shuffled = list(rows)
    chance.shuffle(shuffled)
    if hold:
        assert leads(rows) == leads(shuffled)
    else:
        assert {(lead[0], lead[1]) for lead in leads(rows)} == {(lead[0], lead[1]) for lead in leads(shuffled)}


@given(rows_of_any_kind, st.booleans())
@settings(max_examples=150, deadline=None)
def test_nobody_is_called_twice_within_one_command(rows: list[tuple[str, ...]], hold: bool) -> None:
    made = table(rows)
    work, found = grouped(made, config(hold=hold))
    planned = plan([work], ledger=None, hashes=None, allow_duplicate=False, include=(), run_id="r")
    leads = [lead for _, lead in found.build(planned.to_send[0], allow_duplicate=False, source="")]
    primaries = [(lead.campaign_id, lead.primary.phone) for lead in leads]
    assert len(primaries) == len(set(primaries))
    for lead in leads:
        numbers = [lead.primary.phone, *(contact.phone for contact in lead.contacts)]
        assert len(numbers) == len(set(numbers))
        assert len(lead.contacts) <= 10
        assert "+12125550107" not in numbers
        assert not {(lead.campaign_id, contact.phone) for contact in lead.contacts} & set(primaries)


@given(rows_of_any_kind)
@settings(max_examples=100, deadline=None)
def test_a_later_repeat_follows_an_earlier_lead(rows: list[tuple[str, ...]]) -> None:
    _, found = grouped(table(rows), config(primary_when=False))
    repeats = find_repeats([found])
    place = dict(found.leads.select("lead", "order").iter_rows())
    assert all(place[later[1]] > place[earlier[1]] for later, earlier in repeats.follows.items())
    assert not repeats.follows.keys() & set(repeats.follows.values())
