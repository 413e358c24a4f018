"""The ledger's laws: what it refuses, what it keeps, what it erases, whatever way the writes come."""

import asyncio
import json
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.errors import ExitStatus, Refused, Stopped
from importer.group_commit import GroupCommit, Write
from importer.hashes import Hashes
from importer.ledger import Ledger, new_run_id
from importer.ledger_file import TRANSITIONS
from importer.options import end
from importer.records import Lead, Outcome, Person, Status

LEAD = Lead(Person("+12125550100", '{"name":"Ada"}', 0), 7, (Person("+12125550101", '{"name":"Abe"}', 1),))
CREATED = Outcome(Status.CREATED, "r1", datetime(2026, 6, 1, tzinfo=UTC), lead_id="5", contact_ids=("6",), attempts=1)
UNKNOWN = replace(CREATED, status=Status.UNKNOWN, lead_id=None, contact_ids=(), code="timeout")


def numbered(number: int) -> Lead:
    return Lead(Person(f"+1212555{number:04d}", "{}", 0), 7)


def work(ledger: Ledger, steps: Callable[[Ledger, Hashes], Awaitable[None]]) -> None:
    asyncio.run(steps(ledger, ledger.hashes("here")))  # type: ignore[arg-type]


async def send(
    ledger: Ledger, hashes: Hashes, lead: Lead, outcome: Outcome | None, *, run_id: str = "r1", at: float = 1.0
) -> bytes:
    identity = hashes.identity(lead)
    await ledger.intend(identity, lead, b"{}", hashes=hashes, run_id=run_id, at=at)
    if outcome is not None:
        ledger.finish(identity, replace(outcome, run_id=run_id))
        await ledger.flush()
    return identity


@given(st.lists(st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)), min_size=2, max_size=2, unique=True))
def test_runs_are_in_the_order_of_their_names_within_a_second_too(times: list[datetime]) -> None:
    earlier, later = sorted(moment.replace(tzinfo=UTC) for moment in times)
    if (later - earlier).total_seconds() > 0.0001:
        assert new_run_id(earlier) < new_run_id(later)
    within = [new_run_id(earlier.replace(microsecond=part)) for part in (0, 20, 999_000, 999_999)]
    assert within == sorted(within)
    assert all(len(one) == len("20260101T000000Z-000000") for one in within)


def test_several_that_make_one_ledger_at_once_have_one_key(tmp_path: Path) -> None:
    for attempt in range(3):
        path, start = tmp_path / f"{attempt}.sqlite3", threading.Barrier(4)

        def opened(_: int, path: Path = path, start: threading.Barrier = start) -> bytes:
            start.wait()
            with Ledger(path) as ledger:
                return ledger.hashes("here").payload(b"x")

        with ThreadPoolExecutor(4) as pool:
            found = set(pool.map(opened, range(4)))
        with Ledger(path) as ledger:
            assert found == {ledger.hashes("here").payload(b"x")}


@pytest.mark.parametrize("left", ["nothing", "an empty file"])
def test_a_key_whose_ledger_is_gone_is_not_replaced(tmp_path: Path, left: str) -> None:
    path = tmp_path / "l.sqlite3"
    with Ledger(path) as ledger:
        key = ledger.key_path.read_text()
    path.unlink() if left == "nothing" else path.write_bytes(b"")
    with pytest.raises(Refused, match="from your backup"):
        Ledger(path)
    assert ledger.key_path.read_text() == key


def test_a_damaged_ledger_ends_a_command_with_a_message(tmp_path: Path) -> None:
    path, said = tmp_path / "l.sqlite3", list[str]()
    Ledger(path).close()
    pages = path.read_bytes()
    path.write_bytes(pages[: 2 * 4096] + b"x" * (len(pages) - 2 * 4096))

    def read() -> ExitStatus:
        with Ledger(path, create=False) as ledger:
            ledger.known([b"number"])
        return ExitStatus.OK

    with pytest.raises(SystemExit) as ended:
        end(read, said.append)
    assert (ended.value.code, len(said)) == (ExitStatus.STOPPED, 1)
    assert "from your backup" in said[0]


def test_a_created_lead_is_known_by_all_its_numbers_and_its_own_is_erased(tmp_path: Path) -> None:
    async def steps(ledger: Ledger, hashes: Hashes) -> None:
        identity = await send(ledger, hashes, LEAD, CREATED)
        numbers = [hashes.number(7, person.phone) for person in (LEAD.primary, *LEAD.contacts)]
        known = ledger.known(numbers)
        assert [(known[number][0].position, known[number][0].lead_id) for number in numbers] == [(0, "5"), (1, "5")]
        assert [member.contact_id for member in ledger.members(identity)] == [None, "6"]
        assert ledger.has_lead_id("here", "5")
        assert not ledger.has_lead_id("there", "5")

    with Ledger(tmp_path / "l.sqlite3") as ledger:
        work(ledger, steps)
    assert b"+1212555" not in b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.name != "x")


@pytest.mark.parametrize("in_doubt", [True, False])
def test_what_is_in_doubt_keeps_what_was_sent_and_since_when(tmp_path: Path, in_doubt: bool) -> None:
    async def steps(ledger: Ledger, hashes: Hashes) -> None:
        identity = await send(ledger, hashes, LEAD, replace(UNKNOWN, in_doubt=True))
        first = ledger.doubts([identity])[identity]
        assert (first.phone, first.payload, first.run_id) == (LEAD.primary.phone, b"{}", "r1")
        await send(ledger, hashes, LEAD, replace(UNKNOWN, in_doubt=True), run_id="r2", at=2.0)
        ledger.finish(identity, replace(UNKNOWN, in_doubt=in_doubt, run_id="r2"))
        await ledger.flush()
        assert ledger.doubts([identity])[identity].intended_at == first.intended_at == 1.0
        if not in_doubt:  # sent again as it was asked for: either attempt may have created it
            await send(ledger, hashes, LEAD, None, run_id="r2", at=3.0)
            ledger.finish(identity, replace(UNKNOWN, run_id="r2", in_doubt=True))
            await ledger.flush()
            assert ledger.doubts([identity])[identity].intended_at == 1.0
        assert [doubt.identity for doubt in ledger.doubts_of("r2")] == [identity]

    with Ledger(tmp_path / "l.sqlite3") as ledger:
        if in_doubt:
            with pytest.raises(Stopped):  # from doubt to doubt there is no step
                work(ledger, steps)
        else:
            work(ledger, steps)


@pytest.mark.parametrize("in_doubt", [True, False])
def test_what_another_run_has_in_doubt_by_now_is_sent_only_by_who_knows_of_it(tmp_path: Path, in_doubt: bool) -> None:
    async def steps(ledger: Ledger, hashes: Hashes) -> None:
        identity = await send(ledger, hashes, LEAD, replace(UNKNOWN, in_doubt=True))
        if not in_doubt:
            ledger.finish(identity, UNKNOWN)
        with pytest.raises(Stopped, match="another run"):
            await ledger.intend(identity, LEAD, b"{}", hashes=hashes, run_id="r2", at=2.0, is_first=True)
        assert ledger.doubts([identity])[identity].run_id == "r1"
        await ledger.intend(identity, LEAD, b"{}", hashes=hashes, run_id="r2", at=2.0)

    with Ledger(tmp_path / "l.sqlite3") as ledger:
        work(ledger, steps)


def test_an_intent_that_was_cut_off_is_in_doubt_for_the_next_run(tmp_path: Path) -> None:
    async def cut(ledger: Ledger, hashes: Hashes) -> None:
        await send(ledger, hashes, LEAD, None)

    with Ledger(tmp_path / "l.sqlite3") as ledger:
        work(ledger, cut)
    with Ledger(tmp_path / "l.sqlite3") as ledger:
        identity = ledger.hashes("here").identity(LEAD)
        assert ledger.sending("here") == {"r1": None}
        assert ledger.sending("there") == {}
        assert ledger.cut_off("there", ["r1"]) == 0
        assert ledger.cut_off("here", ["r2"]) == ledger.cut_off("here", []) == 0
        assert ledger.cut_off("here", ["r2", "r1"]) == 1
        assert ledger.cut_off("here", ["r1"]) == 0
        assert ledger.doubts([identity])
        (told,) = ledger.outcomes([identity], "r1")[identity]
        assert (told.status, told.code) == (Status.UNKNOWN, "interrupted")


@pytest.mark.parametrize("old", TRANSITIONS)
@pytest.mark.parametrize("new", TRANSITIONS)
def test_sql_refuses_every_step_that_is_not_declared(tmp_path: Path, old: str, new: str) -> None:
    with Ledger(tmp_path / "l.sqlite3") as ledger:
        work(ledger, lambda ledger, hashes: send(ledger, hashes, LEAD, None))  # type: ignore[arg-type, return-value]
    db = sqlite3.connect(tmp_path / "l.sqlite3", isolation_level=None)
    db.execute("DROP TRIGGER leads_step")
    db.execute("UPDATE leads SET state = ?", (old,))
    with Ledger(tmp_path / "other.sqlite3"):
        pass
    (trigger,) = (
        sqlite3.connect(tmp_path / "other.sqlite3")
        .execute("SELECT sql FROM sqlite_master WHERE name = 'leads_step'")
        .fetchone()
    )
    db.execute(trigger)
    if new in TRANSITIONS[old]:
        db.execute("UPDATE leads SET state = ?", (new,))
    else:
        with pytest.raises(sqlite3.IntegrityError, match="no such step"):
            db.execute("UPDATE leads SET state = ?", (new,))


def test_no_way_leads_from_an_intent_to_the_next_without_an_answer_or_a_settling() -> None:
    assert "sending" not in TRANSITIONS["sending"]
    assert "sending" not in TRANSITIONS["created"]
    assert TRANSITIONS["created"] == {"deleting"}


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["created", "failed", "rejected", "doubt"])), max_size=30))
@settings(max_examples=30, deadline=None)
def test_each_run_keeps_its_outcome_and_created_leads_stay_created(
    tmp_path_factory: pytest.TempPathFactory, attempts: list[tuple[int, str]]
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "l.sqlite3"
    expected: dict[int, list[tuple[str, str]]] = {}

    async def steps(ledger: Ledger, hashes: Hashes) -> None:
        for place, (number, word) in enumerate(attempts):
            run_id, lead = f"r{place:03d}", numbered(number)
            if any(status == "created" for _, status in expected.get(number, [])):
                with pytest.raises(Stopped):
                    await send(ledger, hashes, lead, None, run_id=run_id)
                continue
            status = Status.UNKNOWN if word == "doubt" else Status(word)
            outcome = replace(UNKNOWN, status=status, in_doubt=word == "doubt", lead_id=f"{place}")
            await send(ledger, hashes, lead, outcome, run_id=run_id)
            expected.setdefault(number, []).append((run_id, status.value))

    with Ledger(path) as ledger:
        work(ledger, steps)
        hashes = ledger.hashes("here")
        for number, told in expected.items():
            found = ledger.outcomes([hashes.identity(numbered(number))], "s")
            assert [(one.run_id, one.status.value) for one in next(iter(found.values()))] == told


def test_an_outcome_handed_over_is_on_disk_before_the_next_intent(tmp_path: Path) -> None:
    async def steps(ledger: Ledger, hashes: Hashes) -> None:
        first, second = numbered(100), numbered(101)
        await ledger.intend(hashes.identity(first), first, b"{}", hashes=hashes, run_id="r1", at=None)
        ledger.finish(hashes.identity(first), CREATED)
        await ledger.intend(hashes.identity(second), second, b"{}", hashes=hashes, run_id="r1", at=None)
        seen = sqlite3.connect(tmp_path / "l.sqlite3").execute("SELECT state FROM leads ORDER BY state").fetchall()
        assert seen == [("created",), ("sending",)]

    with Ledger(tmp_path / "l.sqlite3") as ledger:
        work(ledger, steps)


def test_many_intents_share_few_commits(tmp_path: Path) -> None:
    commits: list[str] = []
    database = tmp_path / "x.sqlite3"

    def connect() -> sqlite3.Connection:
        db = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
        db.execute("CREATE TABLE IF NOT EXISTS t (x PRIMARY KEY)")
        db.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
        return db

    async def fill() -> None:
        group = GroupCommit(connect, lambda error: Stopped(str(error)))
        async with asyncio.TaskGroup() as tasks:
            for number in range(640):
                tasks.create_task(group.wait(Write(b"%d" % number, [("INSERT INTO t VALUES (?)", (number,))])))
        group.close()

    asyncio.run(fill())
    assert sqlite3.connect(database).execute("SELECT count(*) FROM t").fetchone() == (640,)
    assert len(commits) < 64


def test_a_write_keeps_its_order_whatever_shares_its_commit(tmp_path: Path) -> None:
    def connect() -> sqlite3.Connection:
        db = sqlite3.connect(tmp_path / "x.sqlite3", isolation_level=None, check_same_thread=False)
        db.executescript("CREATE TABLE IF NOT EXISTS t (x); CREATE TABLE IF NOT EXISTS u (x);")
        return db

    def write(number: int, *, forget: bool) -> Write:
        forgetting = [("DELETE FROM u WHERE x = ?", (number,))] if forget else []
        return Write(b"%d" % number, [("INSERT INTO t VALUES (?)", (number,)), *forgetting, ("INSERT INTO u VALUES (?)", (number,))])  # fmt: skip

    async def fill() -> None:
        group = GroupCommit(connect, lambda error: Stopped(str(error)))
        await asyncio.gather(*(group.wait(write(number, forget=number % 2 == 1)) for number in range(10)))
        group.close()

    asyncio.run(fill())
    db = sqlite3.connect(tmp_path / "x.sqlite3")
    assert [db.execute(f"SELECT count(*) FROM {table}").fetchone() for table in "tu"] == [(10,), (10,)]


def test_a_write_that_fails_spoils_only_itself_and_stops_those_that_nobody_waits_for(tmp_path: Path) -> None:
    def connect() -> sqlite3.Connection:
        db = sqlite3.connect(tmp_path / "x.sqlite3", isolation_level=None, check_same_thread=False)
        db.execute("CREATE TABLE IF NOT EXISTS t (x PRIMARY KEY)")
        return db

    async def fill() -> None:
        group = GroupCommit(connect, lambda error: Stopped(str(error)))
        writes = [Write(b"%d" % number, [("INSERT INTO t VALUES (?)", (number,))]) for number in (1, 2, 2, 3)]
        told = await asyncio.gather(*(group.wait(write) for write in writes), return_exceptions=True)
        assert [isinstance(one, Stopped) for one in told] == [False, False, True, False]
        group.put(writes[0])
        with pytest.raises(Stopped):
            await group.wait(Write(b"9", [("INSERT INTO t VALUES (?)", (9,))]))
        group.close()

    asyncio.run(fill())
    assert sqlite3.connect(tmp_path / "x.sqlite3").execute("SELECT x FROM t ORDER BY x").fetchall() == [
        (1,),
        (2,),
        (3,),
    ]


@pytest.mark.parametrize("harm", ["no key", "another key", "no ledger of ours", "another layout"])
def test_a_ledger_that_can_not_be_trusted_is_refused(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "l.sqlite3"
    with Ledger(path) as ledger:
        key = ledger.key_path
    match harm:
        case "no key":
            key.unlink()
        case "another key":
            key.write_text("00" * 32)
        case "no ledger of ours":
            path.write_bytes(b"not a database" * 1000)
        case _:
            db = sqlite3.connect(path)
            db.execute("UPDATE meta SET value = 1 WHERE name = 'schema'")
            db.commit()
    with pytest.raises(Refused) as refusal:
        Ledger(path)
    assert str(path) in str(refusal.value)


def test_ledger_and_key_are_for_their_owner_only(tmp_path: Path) -> None:
    with Ledger(tmp_path / "deep" / "l.sqlite3") as ledger:
        assert [oct(path.stat().st_mode)[-3:] for path in (ledger.path, ledger.key_path)] == ["600", "600"]


def test_facts_of_an_address_are_kept_beside_each_other(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite3") as ledger:
        ledger.remember("here", pace={"per_second": 3.0})
        ledger.remember("here", lookup=True)
        assert ledger.facts("here") == {"pace": {"per_second": 3.0}, "lookup": True}
        assert ledger.facts("there") == {}
        assert json.dumps(ledger.facts("here"))
