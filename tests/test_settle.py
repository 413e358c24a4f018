"""What is in doubt is settled, never guessed: by the real command against a server that loses answers."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from conftest import Answers, Desk, memory
from hypothesis import given
from hypothesis import strategies as st

from importer.clock import ServerClock
from importer.records import Created, Doubt, Lead, Person
from importer.sandbox import Sandbox
from importer.settle import Found, as_texts, holds_what_was_sent, is_old, pauses, whose

CONFIG = """\
campaign_id: 7
phone: {{column: Phone, region: US}}
variables: {{customer_name: Name}}
secondary_contacts: {{group_by: Account}}
allow_duplicate: {allow}
delivery: {{settle_window: 1s, timeout: 1s, canary: false}}
"""
FAST = ("--rate", "500/s", "--yes", "--concurrency", "4")
ROWS = [("A", "Ada", "+12125550100"), ("A", "Abe", "+12125550101"), ("B", "Bea", "+12125550102")]


def desk_with(folder: Path, box: Sandbox, *, allow: bool = False, rows: list[tuple[str, str, str]] = ROWS) -> Desk:
    desk = Desk(folder, box.url)
    desk.write("a.csv", "Account,Name,Phone\n" + "".join(",".join(row) + "\n" for row in rows))
    desk.write("c.yaml", CONFIG.format(allow=str(allow).lower()))
    return desk


def run(desk: Desk, *more: str, status: int = 0) -> list[dict[str, str]]:
    ended = desk.run("run", "a.csv", "-c", "c.yaml", *FAST, *more)
    assert ended.status == status, ended.err
    return desk.rows("a.results.csv")


def created_once(box: Sandbox) -> dict[str, Any]:
    """Return the leads by number; each stands there once."""
    leads = memory(box)["leads"]
    numbers = [lead["phone_number"] for lead in leads]
    assert len(set(numbers)) == len(numbers)
    return {lead["phone_number"]: lead for lead in leads}


@pytest.mark.parametrize("kind", ["hang", "reset", "cut_body", "500", "no_id", "garbage"])
def test_a_lead_that_was_taken_without_an_answer_is_found_with_its_ids(
    tmp_path: Path, serve: Callable[..., Sandbox], kind: str
) -> None:
    box = serve(fault_at={1: kind, 2: kind})
    rows = run(desk_with(tmp_path, box))
    leads = created_once(box)
    assert [row["import_status"] for row in rows] == ["created"] * 3
    assert rows[0]["import_lead_id"] == rows[1]["import_lead_id"] == str(leads["+12125550100"]["id"])
    assert rows[1]["import_contact_id"] == str(leads["+12125550100"]["contacts"][0]["id"])
    assert memory(box)["posts"] == 2


@pytest.mark.parametrize("allow", [False, True])
def test_a_lead_that_was_not_taken_is_sent_again(tmp_path: Path, serve: Callable[..., Sandbox], allow: bool) -> None:
    box = serve(fault_at={1: "reset_before", 2: "500_before"})
    rows = run(desk_with(tmp_path, box, allow=allow, rows=[*ROWS, ("C", "Cid", "+12125550103")]))
    assert [row["import_status"] for row in rows] == ["created"] * 4
    assert created_once(box).keys() == {"+12125550100", "+12125550102", "+12125550103"}
    assert memory(box)["posts"] == 5


def test_with_duplicates_allowed_and_no_lead_of_ours_nothing_is_sent_again(
    tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve(fault_at={1: "reset_before"})
    desk = desk_with(tmp_path, box, allow=True, rows=ROWS[2:])
    rows = run(desk, status=5)
    assert [row["import_status"] for row in rows] == ["unknown"]
    assert memory(box)["posts"] == 1
    # The next night another lead shows that the look-up can be trusted.
    desk.write("a.csv", (desk.folder / "a.csv").read_text() + "C,Cid,+12125550103\n")
    assert [row["import_status"] for row in run(desk)] == ["created", "created"]
    assert created_once(box).keys() == {"+12125550102", "+12125550103"}


def test_without_a_look_up_the_servers_own_check_stands_guard(tmp_path: Path, serve: Callable[..., Sandbox]) -> None:
    box = serve(fault_at={1: "reset", 2: "reset_before"}, lookup=False)
    rows = run(desk_with(tmp_path, box))
    created_once(box)
    told = {(row["import_status"], row["import_error_code"]) for row in rows}
    assert told == {("duplicate", "probably_ours"), ("created", "")}


def test_without_a_look_up_and_with_duplicates_allowed_it_stays_unknown(
    tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve(fault_at={1: "reset", 2: "reset_before"}, lookup=False)
    desk = desk_with(tmp_path, box, allow=True)
    assert {row["import_status"] for row in run(desk, status=5)} == {"unknown"}
    assert {row["import_status"] for row in run(desk, status=5)} == {"unknown"}
    assert memory(box)["posts"] == 2


def test_an_old_server_that_ignores_the_filters_is_read_as_well(tmp_path: Path, serve: Callable[..., Sandbox]) -> None:
    box = serve(fault_at={1: "reset", 2: "500_before"}, filters=False, created_at="bare")
    assert [row["import_status"] for row in run(desk_with(tmp_path, box))] == ["created"] * 3
    assert memory(box)["posts"] == 3


def test_alike_leads_are_each_created_once_though_answers_are_lost(
    tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve(fault_at={1: "reset", 2: "reset_before", 3: "cut_body"})
    alike = [(f"{number}", "Ada", "+12125550100") for number in range(4)]
    rows = run(desk_with(tmp_path, box, allow=True, rows=[*alike, ("x", "Bea", "+12125550101")]))
    assert {row["import_status"] for row in rows} == {"created"}
    assert len({row["import_lead_id"] for row in rows}) == len(memory(box)["leads"]) == 5


def test_include_unknown_looks_before_it_sends(tmp_path: Path, serve: Callable[..., Sandbox]) -> None:
    box = serve(fault_at={1: "reset", 2: "reset_before"}, lookup=False)
    desk = desk_with(tmp_path, box, allow=True)
    run(desk, status=5)
    ended = desk.run("run", "a.csv", "-c", "c.yaml", *FAST, "--include", "unknown")
    assert ended.status == 0, ended.err
    assert "Note: 2 leads may have been created already" in ended.err
    assert {row["import_status"] for row in desk.rows("a.results.csv")} == {"created"}
    assert memory(box)["posts"] == 4


@pytest.mark.parametrize("status", [402, 500, 200])
def test_breakers_stop_a_run_that_only_does_harm(tmp_path: Path, serve: Callable[..., Sandbox], status: int) -> None:
    kinds = {402: {}, 500: {"500_before": 1.0}, 200: {"html_200": 1.0}}
    box = serve(faults=kinds[status])
    last = "0068" if status == 402 else "0100"
    numbers = [f"+1212{exchange}{last}" for exchange in range(555, 655)]
    desk = desk_with(tmp_path, box, rows=[(number, "Ada", number) for number in numbers])
    ended = desk.run("run", "a.csv", "-c", "c.yaml", *FAST)
    rows = desk.rows("a.results.csv")
    assert ended.status == 3, ended.err
    assert memory(box)["posts"] < 20
    assert sum(row["import_status"] == "not_sent" for row in rows) > 80
    assert "Stopped early" in ended.err


# Whose lead it is.

SENT = Lead(Person("+12125550100", '{"name":"Ada","seats":17}', 0), 7, (Person("+12125550101", '{"name":"Abe"}', 1),))
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def shown(**more: Any) -> Created:
    told: dict[str, Any] = {
        "lead_id": "5",
        "phone": "+1 212 555 0100",
        "campaign_id": 7,
        "variables": {"name": "Ada", "seats": 17},
        "contacts": (Created("6", "12125550101", 7, {"name": "Abe"}, ()),),
        "created_at": NOON.isoformat(),
    }
    return Created(**(told | more))


def clock_at(now: datetime, **remembered: float) -> ServerClock:
    """Return a clock of a server where it is `now` when ours has counted to 0."""
    clock = ServerClock(remembered)
    for tenth in range(-10, 0):  # ten answers within a second tell the clock to a tenth
        date = datetime.fromtimestamp(int(now.timestamp() + tenth / 10), UTC)
        clock.hear(date, tenth / 10 - 0.001, tenth / 10)
    return clock


@pytest.mark.parametrize(
    ("lead", "expected"),
    [
        (shown(), Found.OURS),
        (shown(variables={"name": "Ada", "seats": "17"}), Found.OURS),
        (shown(variables={"name": "Ada"}), Found.UNCLEAR),
        (shown(contacts=()), Found.OURS),
        (shown(contacts=(Created("6", "+12125550199", 7, {}, ()),)), Found.UNCLEAR),
        (shown(created_at=(NOON - timedelta(seconds=1)).isoformat()), Found.OTHERS),
        (shown(created_at="2026-06-01 11:00:00"), Found.OURS),  # a bare time of an unknown zone says nothing
        (shown(created_at=None), Found.OURS),
    ],
)
def test_a_lead_is_ours_by_its_age_and_by_what_it_holds(lead: Created, expected: Found) -> None:
    assert whose(lead, SENT, NOON.timestamp() + 0.4, clock_at(NOON), is_known=False) is expected
    assert whose(lead, SENT, NOON.timestamp() + 0.4, clock_at(NOON), is_known=True) is Found.OTHERS


@given(
    st.lists(
        st.tuples(st.floats(0, 600), st.floats(0, 5), st.sampled_from([0.0, 0.0, -40.0])), min_size=1, max_size=200
    )
)
def test_the_servers_time_is_never_told_later_than_it_is(answers: list[tuple[float, float, float]]) -> None:
    """`Date` is cut to the second, answers take a while, and one of several servers may be slow."""
    clock = ServerClock()
    assert clock.at(0.0) is None
    slowest = 0.0
    for moment, took, behind in sorted(answers):
        slowest = min(slowest, behind)
        there = NOON + timedelta(seconds=moment + took / 2 + behind)
        clock.hear(there.replace(microsecond=0), moment, moment + took)
        told = clock.at(moment + took)
        assert told is not None
        # To a second and the duration of an exchange; where they disagree, to how far apart they are.
        assert -47 < told - (NOON.timestamp() + moment + took) < 1e-3
        if len({behind for _, _, behind in answers}) == 1:
            assert told <= NOON.timestamp() + moment + took + behind + 1e-3


@pytest.mark.parametrize("off", [-10800.0, -3.0, 0.0, 3.0, 19800.0])
def test_age_is_by_how_the_server_dates_leads_of_ours(off: float) -> None:
    clock = clock_at(NOON)
    assert clock.at(0.0) == pytest.approx(NOON.timestamp(), abs=0.11)
    bare = (NOON + timedelta(seconds=off)).replace(tzinfo=None)
    assert clock.was_before(bare, NOON.timestamp()) is None
    clock.hear_created(bare, NOON)
    assert clock.was_before(bare, NOON.timestamp()) is False
    assert clock.was_before(bare - timedelta(seconds=3600), NOON.timestamp()) is False  # another season
    assert clock.was_before(bare - timedelta(seconds=3601), NOON.timestamp()) is True
    assert clock.was_before(bare.replace(tzinfo=UTC), NOON.timestamp()) is (
        off < 0
    )  # nothing is known of such times yet
    clock.hear_created(bare.replace(tzinfo=UTC), NOON)
    named = bare.replace(tzinfo=UTC) - timedelta(seconds=max(off, 0.0))  # what is dated too late is just not older
    assert clock.was_before(named, NOON.timestamp()) is False
    assert clock.was_before(named - timedelta(seconds=4), NOON.timestamp()) is True
    assert clock.was_before(named - timedelta(seconds=4), None) is None  # meant when no answer had told the time


def test_what_an_earlier_run_learnt_of_dates_holds_until_this_one_learns_it() -> None:
    clock = clock_at(NOON, bare=-7200.0)
    assert clock.was_before(NOON.replace(tzinfo=None), NOON.timestamp() + 7200 + 3601) is True
    assert clock.was_before(NOON.replace(tzinfo=None), NOON.timestamp() + 7200 + 3599) is False
    assert not clock.hear_created(NOON - timedelta(days=9), NOON)  # no time of a lead that was just created
    assert clock.created_ahead == {"bare": -7200.0}
    assert clock.hear_created(NOON.replace(tzinfo=None), NOON)
    assert clock.hear_created(NOON - timedelta(seconds=2), NOON)
    assert not clock.hear_created(NOON - timedelta(seconds=1), NOON)
    assert clock.created_ahead == {"bare": 0.0, "zoned": -2.0}


@pytest.mark.parametrize(
    ("ago", "expected"), [(30 + 15 + 30 + 2, True), (30 + 15, False), (-3600, False), (None, False)]
)
def test_an_attempt_is_old_by_the_servers_clock_alone(
    monkeypatch: pytest.MonkeyPatch, ago: float | None, expected: bool
) -> None:
    monkeypatch.setattr("importer.settle.time.monotonic", lambda: 0.0)
    doubt = Doubt(b"", "r1", "", b"", None if ago is None else NOON.timestamp() - ago, 1)
    assert is_old(doubt, clock_at(NOON), timeout=30, window=15) is expected
    assert not is_old(doubt, ServerClock(), timeout=30, window=15)


@given(st.floats(0, 3600, allow_nan=False))
def test_the_last_look_up_is_at_the_end_of_the_window(window: float) -> None:
    waits = list(pauses(window))
    assert sum(waits) == pytest.approx(window)
    assert all(wait >= 0 for wait in waits)
    assert len(waits) < 20


VALUES = st.one_of(
    st.text(), st.integers(-(10**15), 10**15), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)
)


@given(st.dictionaries(st.text(min_size=1), VALUES))
def test_what_a_server_gives_back_as_texts_is_what_was_sent(variables: dict[str, Any]) -> None:
    sent = Lead(Person("+12125550100", orjson.dumps(variables).decode(), 0), 7)
    assert holds_what_was_sent(shown(variables=as_texts(variables), contacts=()), sent)
    assert not holds_what_was_sent(shown(variables=as_texts(variables) | {"extra": "x"}, contacts=()), sent)


EMPTY = '{"current_page": 1, "data": [], "last_page": 1}'
STORED = '{"data": {"id": 77, "campaign_id": 7, "phone_number": "+12125550102"}}'


def test_what_is_unknown_is_sent_when_asked_for_and_never_again_unasked_whatever_the_answer(
    tmp_path: Path, answering: Callable[[Answers], str]
) -> None:
    # A look-up that shows nothing, ever, proves nothing.
    answers = {("GET", "campaigns"): (200, '[{"id": 7}]'), ("GET", "leads"): (200, EMPTY), ("POST", "lead"): (500, "")}
    desk = desk_with(tmp_path, SimpleNamespace(url=answering(answers)), allow=True, rows=ROWS[2:])
    assert run(desk, status=5)[0]["import_status"] == "unknown"
    asked = desk.run("check", "a.csv", "-c", "c.yaml", "--include", "unknown")
    assert asked.status == 0
    assert "1 lead would be sent." in asked.err
    assert desk.rows("a.check.csv")[0]["import_status"] == "ready"
    answers["POST", "lead"] = (402, '{"message": "Insufficient balance"}')
    told = run(desk, "--include", "unknown", status=5)[0]
    assert (told["import_status"], told["import_http_status"]) == ("unknown", "402")
    answers["POST", "lead"] = (200, STORED)
    assert run(desk, status=5)[0]["import_status"] == "unknown"
    assert run(desk, "--include", "unknown")[0]["import_lead_id"] == "77"


def _lead(number: int, phone: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "campaign_id": 7, "phone_number": phone} | more


def test_a_contact_that_no_answer_named_is_looked_up_and_never_guessed(
    tmp_path: Path, answering: Callable[[Answers], str]
) -> None:
    def listed(*contacts: dict[str, Any], phone: str = "12125550100") -> tuple[int, str]:
        return 200, orjson.dumps([_lead(77, phone, secondary_contacts=list(contacts))]).decode()

    answers = {
        ("GET", "campaigns"): (200, '[{"id": 7}]'),
        ("GET", "leads"): listed(),
        ("POST", "lead"): (200, orjson.dumps({"data": _lead(77, "+12125550100")}).decode()),
    }
    desk = desk_with(tmp_path, SimpleNamespace(url=answering(answers)), rows=ROWS[:2])
    first = run(desk, status=5)
    assert [(row["import_status"], row["import_error_code"]) for row in first] == [
        ("created", ""),
        ("unknown", "contact_not_confirmed"),
    ]
    desk.write("copy.results.csv", (desk.folder / "a.results.csv").read_text(encoding="utf-8-sig"))
    assert "1 contact" in desk.run("show", "last").out
    for there, why in [
        (listed(), "shows their lead without them"),
        (listed(_lead(78, "+12125550101"), phone="12125550177"), "shows another number for their lead"),
        ((200, EMPTY), "does not list their lead"),
        ((404, ""), "has no look-up"),
    ]:
        answers["GET", "leads"] = there
        ended = desk.run("settle", "last")
        assert ended.status == 5, ended.err
        assert "0 leads are in doubt, and 1 contact of its created leads is not confirmed" in ended.err
        assert "Still not confirmed, 1 contact: " in ended.err
        assert why in ended.err
        assert "add the contact there" in ended.err
        assert [row["import_status"] for row in desk.rows("a.results.csv")] == ["created", "unknown"]
    again = run(desk, status=5)  # the lead is told again, and nothing is sent
    assert [row["import_status"] for row in again] == ["already_imported", "unknown"]
    ended = desk.run("settle", "last")
    assert ended.status == 5
    assert f"lead-importer settle {first[0]['import_run_id']}" in ended.err
    answers["GET", "leads"] = listed(_lead(79, "+1 212 555 0199"), _lead(78, "+1 (212) 555-0101"))
    ended = desk.run("settle", first[0]["import_run_id"])
    assert ended.status == 0, ended.err
    assert "Confirmed, with an ID: 1 contact." in ended.err
    told = desk.rows(f"a.results.{first[0]['import_run_id']}.csv")
    assert [(row["import_status"], row["import_contact_id"], row["import_error_code"]) for row in told] == [
        ("created", "", ""),
        ("created", "78", ""),
    ]
    assert desk.run("settle", first[0]["import_run_id"]).status == 0
    assert [row["import_contact_id"] for row in run(desk)] == ["", "78"]
    ended = desk.run("retry", "copy.results.csv", "-c", "c.yaml", *FAST)
    assert ended.status == 0, ended.err
    assert [row["import_contact_id"] for row in desk.rows("copy.results.csv")] == ["", "78"]
