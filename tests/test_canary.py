"""The first few leads are read back before the rest goes; breakers count what repeats."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Desk, memory

from importer.breakers import Breakers
from importer.canary import choose, differences
from importer.records import Created, Lead, Meaning, Person, Planned, Verdict
from importer.sandbox import Sandbox

CONFIG = """\
campaign_id: 7
phone: {column: Phone, region: US}
variables: {customer_name: Name, company: Company}
secondary_contacts: {group_by: Account}
delivery: {settle_window: 1s, timeout: 1s}
"""
FAST = ("--rate", "900/s", "--yes", "--concurrency", "8")


def many(count: int = 120) -> str:
    rows = [f"{n},Ada {n},Firma {n},+1212{555 + n // 100}0{100 + n % 100}" for n in range(count)]
    return "Account,Name,Company,Phone\n" + "\n".join(
        [*rows, "5,Abe,,+12129550100", f"{count},Zoë,Müller & Söhne GmbH,+12129550101", ""]
    )


def desk_with(folder: Path, box: Sandbox) -> Desk:
    desk = Desk(folder, box.url)
    desk.write("a.csv", many())
    desk.write("c.yaml", CONFIG)
    return desk


@pytest.mark.parametrize("lookup", [True, False])
@pytest.mark.parametrize(
    ("options", "words"),
    [({"drop_variable": "company"}, "was dropped"), ({"cut_variable": ("company", 4)}, "was cut from")],
)
def test_a_variable_that_the_server_does_not_keep_stops_the_run(
    tmp_path: Path, serve: Callable[..., Sandbox], options: dict[str, Any], words: str, lookup: bool
) -> None:
    box = serve(lookup=lookup, **options)
    desk = desk_with(tmp_path, box)
    ended = desk.run("run", "a.csv", "-c", "c.yaml", *FAST)
    assert ended.status == 3
    assert 'variable "company"' in ended.err
    assert words in ended.err
    assert memory(box)["posts"] <= 4
    assert desk.run("run", "a.csv", "-c", "c.yaml", "--no-canary", *FAST).status == 0
    assert len(memory(box)["leads"]) == 121


@pytest.mark.parametrize("faults", [{}, {1: "hang", 2: "reset_before", 3: "500"}])
def test_a_sound_server_gets_each_shape_first_and_then_the_rest(
    tmp_path: Path, serve: Callable[..., Sandbox], faults: dict[int, str]
) -> None:
    box = serve(fault_at=faults)
    desk = desk_with(tmp_path, box)
    assert desk.run("run", "a.csv", "-c", "c.yaml", *FAST).status == 0
    leads = memory(box)["leads"]
    assert len(leads) == 121
    assert any(lead["contacts"] for lead in leads[:5])
    assert any("Zoë" in str(lead["variables"]) for lead in leads[:5])
    assert {row["import_status"] for row in desk.rows("a.results.csv")} == {"created"}


def test_a_canary_is_sent_once_for_an_input_and_a_config(tmp_path: Path, serve: Callable[..., Sandbox]) -> None:
    box = serve()
    desk = desk_with(tmp_path, box)
    assert desk.run("run", "a.csv", "-c", "c.yaml", "--limit", "101", *FAST).status == 0
    lookups = memory(box)["answers"]["200"] - 101
    assert lookups > 4
    desk.write("a.csv", many())
    before = memory(box)["answers"]["200"]
    assert desk.run("run", "a.csv", "-c", "c.yaml", *FAST).status == 0
    assert memory(box)["answers"]["200"] - before == 20 + 2  # the campaigns, and whether there is a look-up


# Pure.


def planned(number: int, variables: str = '{"n":1}', contacts: int = 0) -> Planned:
    people = tuple(Person(f"+1212555{n:04d}", "{}", n) for n in range(contacts))
    lead = Lead(Person(f"+1213555{number:04d}", variables, number), 7, people)
    return Planned((0, number), lead, b"%d" % number)


def test_each_shape_has_leads_of_its_own() -> None:
    leads = [
        planned(1),
        planned(2, contacts=2),
        planned(3, '{"n":"é"}'),
        planned(4, '{"n":"' + "x" * 99 + '"}'),
        *map(planned, range(5, 50)),
    ]
    chosen = choose(leads, ())
    assert {canary.shape for canary in chosen} == {
        "with contacts",
        "without contacts",
        "with letters beyond ASCII",
        "fullest",
    }
    places = [lead.place for canary in chosen for lead in canary.candidates]
    assert len(set(places)) == len(places)
    assert choose(leads, {canary.shape for canary in chosen}) == []


SENT = Lead(Person("+12125550100", '{"a":"text","n":17,"b":true}', 0), 7, (Person("+12125550101", '{"a":"x"}', 1),))


@pytest.mark.parametrize(
    ("variables", "contacts", "expected"),
    [
        ({"a": "text", "n": "17", "b": 1}, [("+1 212 555 0101", {"a": "x"})], []),
        (None, [("12125550101", None)], []),
        (
            {"a": "te", "n": 17, "b": True},
            [("12125550101", {})],
            ['"a" was cut from 4 to 2', 'contact 1: variable "a"'],
        ),
        ({"a": "text", "n": 18, "b": True}, [], ['"n" was changed', "contact 1 was dropped"]),
        ({}, [("12125550101", {"a": "x"})], ['"a" was dropped', '"n" was dropped', '"b" was dropped']),
    ],
)
def test_differences_are_named_field_by_field(
    variables: dict[str, Any] | None, contacts: list[tuple[str, dict[str, Any] | None]], expected: list[str]
) -> None:
    told = tuple(Created("6", phone, None, values, ()) for phone, values in contacts)
    found = differences(SENT, Created("5", "+12125550100", 7, variables, told))
    assert len(found) == len(expected)
    for part in expected:
        assert any(part in text for text in found), found


@dataclass
class Most:
    same_refusal: int = 5
    html: int = 5
    timeouts: int = 3
    doubtful: int = 10
    rejected_share: float = 0.5
    rejected_after: int = 50


CREATED, DUPLICATE = Verdict(Meaning.CREATED), Verdict(Meaning.DUPLICATE)
PHONE = Verdict(Meaning.REJECTED, field="phone_number")
BALANCE, CAMPAIGN = (Verdict(Meaning.REJECTED, systemic=cause, message="no") for cause in ("balance", "campaign"))
TIMEOUT = Verdict(Meaning.AMBIGUOUS, systemic="timeout")
HTML, GARBAGE = Verdict(Meaning.AMBIGUOUS, systemic="html"), Verdict(Meaning.AMBIGUOUS)


@pytest.mark.parametrize(
    ("verdicts", "stops_at"),
    [
        ([BALANCE] * 5, 5),
        ([BALANCE, DUPLICATE, PHONE] * 5, 13),
        ([BALANCE] * 4 + [CREATED] + [BALANCE] * 4, None),
        ([BALANCE, CAMPAIGN] * 20, None),
        ([HTML] * 5, 5),
        ([HTML, CREATED] * 20, None),
        ([TIMEOUT] * 3, 3),
        ([TIMEOUT, TIMEOUT, CREATED] * 9, None),
        ([GARBAGE] * 10, 10),
        ([PHONE] * 60, 50),
        ([CREATED] * 30 + [PHONE] * 60, 61),
        ([DUPLICATE] * 200, None),
        ([CREATED, PHONE] * 100, None),
    ],
)
def test_breakers_stop_at_the_declared_count(verdicts: list[Verdict], stops_at: int | None) -> None:
    breakers = Breakers(Most())
    stops = [place for place, verdict in enumerate(verdicts, start=1) if breakers.hear(verdict)]
    assert (stops[0] if stops else None) == stops_at
