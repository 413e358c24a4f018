"""Leads whose intent is durable before there is a place for them in flight, and intents that are taken back.

A lead that surely did not leave is as if it had never been meant. Where the process dies before that is written down,
it is settled like any other.
"""

import asyncio
import json
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import Desk, memory
from hypothesis import given, settings
from hypothesis import strategies as st
from test_chaos import MODES, RUN, all_is_well, prepared, started, wait_for_posts
from test_ledger import CREATED, LEAD, UNKNOWN, numbered, send, work

from importer.errors import Stopped
from importer.hashes import Hashes
from importer.ledger import Ledger
from importer.records import Lead, Outcome, Status
from importer.sandbox import Sandbox

# The ledger: an intent that is taken back.

REFUSED = replace(UNKNOWN, code="balance", message="no balance")


def everything(path: Path) -> list[list[tuple[object, ...]]]:
    """Return all that a ledger holds of leads, but for what an intent writes over and nobody reads of a settled lead."""
    db = sqlite3.connect(path)
    leads = db.execute("SELECT identity, campaign, state, run_id, attempts, number, payload, lead_id FROM leads")
    told = [sorted(leads.fetchall(), key=repr)]
    told += [sorted(db.execute(f"SELECT * FROM {table}").fetchall(), key=repr) for table in ("members", "outcomes")]
    db.close()
    return told


async def meant(ledger: Ledger, hashes: Hashes, lead: Lead, *, in_doubt: bool = False, run_id: str = "r2") -> None:
    """Mean to send a lead, and take that back."""
    identity = hashes.identity(lead)
    await ledger.intend(identity, lead, b"{}", hashes=hashes, run_id=run_id, at=None)
    ledger.withdraw(identity, run_id=run_id, in_doubt=in_doubt)
    await ledger.flush()


def test_a_new_lead_whose_intent_is_taken_back_leaves_no_trace(tmp_path: Path) -> None:
    async def steps(ledger: Ledger, hashes: Hashes) -> None:
        await send(ledger, hashes, numbered(199), CREATED)
        before = everything(ledger.path)
        await meant(ledger, hashes, LEAD)
        assert everything(ledger.path) == before
        assert ledger.sending("here") == {}
        assert ledger.known([hashes.number(7, LEAD.primary.phone)]) == {}
        await send(ledger, hashes, LEAD, CREATED, run_id="r3")

    with Ledger(tmp_path / "l.sqlite3") as ledger:
        work(ledger, steps)


@pytest.mark.parametrize(
    ("outcome", "in_doubt"),
    [
        (replace(REFUSED, status=Status.DUPLICATE), False),
        (replace(REFUSED, status=Status.REJECTED), False),
        (replace(REFUSED, status=Status.FAILED), False),
        (replace(UNKNOWN, in_doubt=True), True),
    ],
    ids=["duplicate", "rejected", "failed", "doubtful"],
)
def test_a_known_lead_whose_intent_is_taken_back_stands_as_it_did(
    tmp_path: Path, outcome: Outcome, in_doubt: bool
) -> None:
    async def steps(ledger: Ledger, hashes: Hashes) -> None:
        identity = await send(ledger, hashes, LEAD, outcome)
        before, doubts = everything(ledger.path), ledger.doubts([identity])
        await meant(ledger, hashes, LEAD, in_doubt=in_doubt)
        assert everything(ledger.path) == before
        assert ledger.doubts([identity]) == doubts
        assert bool(doubts) == in_doubt
        (known,) = ledger.known([hashes.number(7, LEAD.primary.phone)])[hashes.number(7, LEAD.primary.phone)]
        assert (known.code, known.run_id) == (outcome.code, "r1")

    with Ledger(tmp_path / "l.sqlite3") as ledger:
        work(ledger, steps)


def test_what_was_deleted_and_not_sent_after_all_may_still_be_sent(tmp_path: Path) -> None:
    async def steps(ledger: Ledger, hashes: Hashes) -> None:
        identity = await send(ledger, hashes, LEAD, CREATED)
        ledger.deleting(identity)
        ledger.deleted(identity)
        await meant(ledger, hashes, LEAD)
        assert await send(ledger, hashes, LEAD, CREATED, run_id="r3") == identity

    with Ledger(tmp_path / "l.sqlite3") as ledger:
        work(ledger, steps)


def test_an_intent_nobody_waits_for_any_more_can_be_taken_back_too(tmp_path: Path) -> None:
    async def steps(ledger: Ledger, hashes: Hashes) -> None:
        identity = hashes.identity(LEAD)
        intending = asyncio.create_task(ledger.intend(identity, LEAD, b"{}", hashes=hashes, run_id="r1", at=None))
        await asyncio.sleep(0)
        intending.cancel()
        ledger.withdraw(identity, run_id="r1", in_doubt=False)
        await ledger.flush()
        assert intending.cancelled()
        assert everything(ledger.path) == [[], [], []]

    with Ledger(tmp_path / "l.sqlite3") as ledger:
        work(ledger, steps)


@pytest.mark.parametrize("in_doubt", [True, False])
@pytest.mark.parametrize(
    "outcome", [CREATED, replace(UNKNOWN, in_doubt=True), None], ids=["created", "doubtful", "other"]
)
def test_only_an_intent_of_the_same_run_that_has_no_outcome_is_taken_back(
    tmp_path: Path, outcome: Outcome | None, in_doubt: bool
) -> None:
    async def steps(ledger: Ledger, hashes: Hashes) -> None:
        identity = await send(ledger, hashes, LEAD, outcome)
        before = everything(ledger.path)
        ledger.withdraw(identity, run_id="r1" if outcome else "another", in_doubt=in_doubt)
        await ledger.flush()
        assert everything(ledger.path) == before
        with pytest.raises(Stopped) if outcome is None or outcome is CREATED else _nothing():
            await send(ledger, hashes, LEAD, None, run_id="r2")

    with Ledger(tmp_path / "l.sqlite3") as ledger:
        work(ledger, steps)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["created", "failed", "rejected", "duplicate", "doubt", "back"])),
        max_size=25,
    )
)
@settings(max_examples=30, deadline=None)
def test_intents_that_were_taken_back_change_nothing_of_a_history(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str]]
) -> None:
    """Two ledgers live through the same, one of them without the intents that were taken back."""
    folder = tmp_path_factory.mktemp("ledgers")

    def live(path: Path, *, with_those: bool) -> list[list[tuple[object, ...]]]:
        created, doubtful = set[int](), set[int]()

        async def all_steps(ledger: Ledger, _: Hashes) -> None:
            hashes = Hashes(b"k", "here")
            for place, (number, word) in enumerate(steps):
                if number in created:
                    continue
                run_id = f"r{place:03d}"
                if word == "back":
                    if with_those:
                        await meant(ledger, hashes, numbered(number), in_doubt=number in doubtful, run_id=run_id)
                    continue
                status = Status.UNKNOWN if word == "doubt" else Status(word)
                outcome = replace(UNKNOWN, status=status, in_doubt=word == "doubt", lead_id=f"{place}")
                await send(ledger, hashes, numbered(number), outcome, run_id=run_id)
                doubtful.discard(number)
                {"created": created, "doubt": doubtful}.get(word, set()).add(number)

        with Ledger(path) as ledger:
            work(ledger, all_steps)
        return everything(path)[0]

    assert live(folder / "a.sqlite3", with_those=True) == live(folder / "b.sqlite3", with_those=False)


# The command: leads that wait for a place when a stop comes.

WAITING = ("--concurrency", "2")  # two are in flight, and a third is ready


def states(folder: Path) -> Counter[str]:
    db = sqlite3.connect(folder / ".state" / "lead-importer" / "ledger.sqlite3")
    found = Counter(state for (state,) in db.execute("SELECT state FROM leads"))
    db.close()
    return found


def test_a_lead_that_waits_for_a_place_when_a_stop_comes_is_not_sent_and_not_remembered(
    tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve(latency=0.25)
    desk = Desk(tmp_path, box.url)
    wanted = prepared(desk, MODES["allowed-lookup"], leads=8)  # the server's own check must not do our work
    with started(desk, *WAITING) as process:
        wait_for_posts(box, 2)
        ready = states(tmp_path)["sending"]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert ready == 3, "none was ready ahead of its place"
    stored = len(memory(box)["leads"])
    assert states(tmp_path) == {"created": stored}
    refs = {lead.primary.ref for lead in wanted}
    statuses = Counter(row["import_status"] for row in desk.rows("leads.results.csv") if row["Ref"] in refs)
    assert statuses == {"created": stored, "not_sent": len(wanted) - stored}
    all_is_well(desk, box, wanted, "--concurrency", "8")
    assert memory(box)["posts"] == len(wanted)


def killed(desk: Desk, box: Sandbox, point: str, posts: int) -> None:
    """Run until the server has had so many creates, stop it, and have it die at a point of its stopping."""
    command = desk.command(*RUN, *WAITING)
    place = command.index("importer")
    words = [command[0], str(Path(__file__).with_name("killed_at.py")), point, "1", *command[place + 1 :]]
    with subprocess.Popen(words, cwd=desk.folder, env=desk.environment(), stdin=subprocess.DEVNULL) as process:
        wait_for_posts(box, posts)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == -signal.SIGKILL


@pytest.mark.parametrize("mode", ["allowed-lookup", "guarded-blind"])
def test_a_death_between_an_intent_and_its_withdrawal_is_made_good(
    mode: str, tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve(latency=0.25, lookup=MODES[mode].lookup)
    desk = Desk(tmp_path, box.url)
    wanted = prepared(desk, MODES[mode], leads=6)
    killed(desk, box, "between intent and withdrawal", posts=2)
    assert states(tmp_path)["sending"] >= 1
    all_is_well(desk, box, wanted, "--concurrency", "8")
    assert memory(box)["refused_duplicates"] <= 2  # those in flight at the death, where nothing can be looked up


# The command: leads that wait for a place when the server has everybody pause.

PAUSE = 1


class Pausing:
    """A server that says 429 to a create while others are in flight, and to all that come before the pause is over."""

    def __init__(self, *, first_refused: int) -> None:
        self.came: list[float] = []
        self.bodies: list[str] = []
        self.refused = 0
        self.paused_at: float | None = None
        self._first = first_refused
        self._lock = threading.Lock()

    def create(self, body: bytes) -> tuple[int, dict[str, str], object]:
        with self._lock:
            now = time.monotonic()
            self.came.append(now)
            number = len(self.came)
            phone = json.loads(body)["phone_number"]
            is_paused = self.paused_at is not None and now < self.paused_at + PAUSE
            if number == self._first or is_paused:
                self.paused_at = self.paused_at or now
                self.refused += 1
                return 429, {"Retry-After": str(PAUSE)}, {"message": "Too Many Attempts."}
            self.bodies.append(phone)
        time.sleep(0.2)  # so that the others are in flight, or ready, when the 429 comes
        return 200, {}, {"data": {"id": 1000 + number, "campaign_id": 7, "phone_number": phone}}

    def during_the_pause(self) -> int:
        """Count the creates that came after the 429 had been told, and before its time was over."""
        assert self.paused_at is not None
        return sum(self.paused_at < at < self.paused_at + PAUSE - 0.1 for at in self.came)


@contextmanager
def serving(pausing: Pausing) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _say(self, status: int, headers: dict[str, str], told: object) -> None:
            body = json.dumps(told).encode()
            self.send_response(status)
            for name, value in {
                **headers,
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._say(200, {}, {"current_page": 1, "data": [], "last_page": 1} if "leads" in self.path else [{"id": 7}])

        def do_POST(self) -> None:
            self._say(*pausing.create(self.rfile.read(int(self.headers["Content-Length"]))))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    server.server_close()


def test_ready_leads_stay_while_the_server_has_everybody_pause_and_then_go_once(tmp_path: Path) -> None:
    leads, places = 24, 4
    pausing = Pausing(first_refused=6)
    with serving(pausing) as url:
        desk = Desk(tmp_path, url)
        desk.write("a.csv", "Phone\n" + "".join(f"+1212555{number:04d}\n" for number in range(100, 100 + leads)))
        desk.write("c.yaml", "phone: {column: Phone}\ncampaign_id: 7\ndelivery: {canary: false}\n")
        ended = desk.run("run", "a.csv", "-c", "c.yaml", "--yes", "--rate", "500/s", "--concurrency", str(places))
    assert ended.status == 0, ended.err
    assert sorted(pausing.bodies) == [f"+1212555{number:04d}" for number in range(100, 100 + leads)]
    # After one 429 nothing leaves but what left before it was heard, and that was in flight beside it.
    assert pausing.during_the_pause() <= places - 1
    assert pausing.refused <= places
    attempts = {row["import_attempts"] for row in desk.rows("a.results.csv")}
    assert attempts == {"1"}, "a 429 uses up no attempt"
