"""Look-ups that show leads otherwise than they were sent, with duplicates allowed: nothing is sent twice, nothing lost."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from conftest import Desk
from odd_server import Json, OddServer, dated, odd_server

CONFIG = """\
campaign_id: 7
phone: {column: Phone, region: US}
variables: {customer_name: Name}
secondary_contacts: {group_by: Account, primary_when: {column: Role, in: [P]}}
allow_duplicate: ALLOW
delivery: {settle_window: 500ms, timeout: 2s, canary: false, rate: 500/s, concurrency: 1}
"""
ROWS = ["A,P,Ada,+12125550100", "B,P,Bea,+12125550101", "C,P,Cid,+12125550102", "D,P,Dan,+12125550103"]


@pytest.fixture
def odd() -> Iterator[OddServer]:
    with odd_server() as server:
        yield server


def run(
    folder: Path, odd: OddServer, rows: list[str], *, status: int, name: str = "a.csv", allow: str = "true"
) -> list[dict[str, str]]:
    desk = Desk(folder, odd.url)
    desk.write("c.yaml", CONFIG.replace("ALLOW", allow))
    desk.write(name, "\n".join(["Account,Role,Name,Phone", *rows, ""]))
    ended = desk.run("run", name, "-c", "c.yaml", "--yes")
    assert ended.status == status, ended.err
    return desk.rows(name.replace(".", ".results."))


@pytest.mark.parametrize(
    ("pattern", "ahead", "status"),
    [
        ("%Y-%m-%dT%H:%M:%SZ", -10800.0, 5),
        ("%Y-%m-%d %H:%M:%S", -10800.0, 0),  # without a zone a time says nothing, and the content tells
        ("%Y-%m-%d", -86400.0, 0),
    ],
)
def test_a_look_up_that_dates_leads_otherwise_than_their_creates_proves_nothing(
    tmp_path: Path, odd: OddServer, pattern: str, ahead: float, status: int
) -> None:
    odd.shown = lambda leads: [dated(lead, pattern, ahead) for lead in leads]
    odd.lost = {2: "stored"}
    for _ in range(2):
        run(tmp_path, odd, ROWS, status=status)
        assert sorted(odd.numbers()) == sorted(row[-12:] for row in ROWS)


@pytest.mark.parametrize("allow", ["true", "false"])
def test_a_lead_that_is_kept_under_another_number_is_not_sent_again(tmp_path: Path, odd: OddServer, allow: str) -> None:
    odd.kept = lambda lead: lead | {"phone_number": lead["phone_number"].replace("0101", "90101")}
    for _ in range(2):
        rows = run(tmp_path, odd, ROWS, status=5, allow=allow)
        assert (rows[1]["import_status"], rows[1]["import_error_code"]) == ("unknown", "other_lead")
        Desk(tmp_path, odd.url).run("settle", rows[1]["import_run_id"], "-c", "c.yaml")
    assert odd.posts == len(ROWS)


def test_a_contact_that_the_look_up_lists_as_a_lead_is_not_taken_for_a_lead_of_that_number(
    tmp_path: Path, odd: OddServer
) -> None:
    def with_contacts(leads: list[Json]) -> list[Json]:
        listed = [(lead, one) for lead in leads for one in lead["secondary_contacts"]]
        return [dated(row) for row in [*leads, *({**lead, "secondary_contacts": [], **one} for lead, one in listed)]]

    odd.shown = with_contacts
    odd.lost = {1: "refused"}
    ada = ROWS[0]
    rows = run(tmp_path, odd, [ada, *ROWS[1:], ada.replace("A,P", "B,C")], status=0)
    assert {row["import_status"] for row in rows} == {"created"}
    assert sorted(odd.numbers()) == sorted(row[-12:] for row in ROWS)


def test_a_lead_that_has_the_id_of_its_own_contact_is_found(tmp_path: Path, odd: OddServer) -> None:
    odd.contact_ids, odd.lost = count(1002), {2: "stored"}
    rows = run(tmp_path, odd, [*ROWS, "B,C,Bob,+12125550110"], status=0)
    assert {row["import_status"] for row in rows} == {"created"}
    assert sorted(odd.numbers()) == sorted(row[-12:] for row in ROWS)


def test_leads_of_one_number_are_not_told_apart_by_a_look_up_without_variables(tmp_path: Path, odd: OddServer) -> None:
    odd.lost, odd.shown = {1: "refused", 2: "stored"}, lambda _: []
    ann = ROWS[0].replace("Ada", "Ann")
    for name, row in (("a.csv", ROWS[0]), ("b.csv", ann)):
        assert run(tmp_path, odd, [row], status=5, name=name)[0]["import_status"] == "unknown"
    odd.shown = lambda leads: [row for row in map(dated, leads) if row.pop("variables")]
    for name, row in (("a.csv", ROWS[0]), ("b.csv", ann)):
        assert run(tmp_path, odd, [row, *ROWS[1:]], status=5, name=name)[0]["import_status"] == "unknown"
    assert [lead["variables"]["customer_name"] for lead in odd.leads].count("Ann") == 1


def test_a_list_of_which_pages_repeat_and_leave_out_leads_proves_nothing(tmp_path: Path, odd: OddServer) -> None:
    numbers = [f"+1212{exchange}0199" for exchange in range(555, 665)]
    rows = [f"{number},P,Ada,{number}" for number in numbers]
    run(tmp_path, odd, rows, status=0)

    def never_shown(leads: list[Json]) -> list[Json]:  # it is on the page that is not asked for
        return [dated(lead) for lead in sorted(leads, key=lambda lead: (lead["id"] == 1111) == (odd.page == 1))]

    odd.filters, odd.shown, odd.lost = False, never_shown, {len(rows) + 1: "stored"}
    assert run(tmp_path, odd, [*rows, *ROWS[:2]], status=5)[-2]["import_status"] == "unknown"
    assert odd.numbers().count("+12125550100") == 1
