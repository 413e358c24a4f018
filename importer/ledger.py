"""What is about to be sent, was sent, was answered: all SQL of the importer, and the state table.

A lead's intent is durable before its first byte leaves, its outcome after. Many leads share one commit (group commit):
one writer thread takes whatever waits, commits once (WAL, `synchronous=FULL`), and wakes everybody who waited.

People's data: identities, numbers and values are keyed hashes (HMAC-SHA-256, cut to 16 bytes). A lead's number and
payload stand in clear only while its outcome is open, for settling, and are erased with the outcome.
"""

import asyncio
import hmac
import json
import os
import queue
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import orjson

from importer.errors import LeadImporterError, Refused, Stopped
from importer.records import Lead, Outcome, Person, Status

#: The states of a lead, and who may follow whom. SQL refuses any other step (the trigger below).
#:   sending    an intent: its bytes may have left
#:   created, duplicate, rejected, failed, unknown    as the statuses of the result file
#:   deleted    created by a run and taken back by `undo`
TRANSITIONS: dict[str, frozenset[str]] = {
    "sending": frozenset({"created", "duplicate", "rejected", "failed", "unknown"}),
    "rejected": frozenset({"sending"}),
    "failed": frozenset({"sending"}),
    "duplicate": frozenset({"sending"}),  # only with --include duplicate
    "unknown": frozenset({"sending", "created", "duplicate", "failed"}),  # --include unknown, or settled
    "created": frozenset({"deleted"}),
    "deleted": frozenset({"sending"}),
}

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE transitions (old TEXT NOT NULL, new TEXT NOT NULL, PRIMARY KEY (old, new)) WITHOUT ROWID;
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, command TEXT NOT NULL, service TEXT NOT NULL, started_at TEXT NOT NULL, finished_at TEXT,
    tool_version TEXT NOT NULL, config_hash TEXT, who TEXT, exit_status INTEGER, counts TEXT
) WITHOUT ROWID;
CREATE TABLE inputs (
    run_id TEXT NOT NULL, position INTEGER NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL, result_path TEXT,
    PRIMARY KEY (run_id, position)
) WITHOUT ROWID;
CREATE INDEX inputs_by_result ON inputs (result_path);
CREATE TABLE leads (
    identity BLOB PRIMARY KEY, service TEXT NOT NULL, campaign INTEGER NOT NULL, state TEXT NOT NULL,
    run_id TEXT NOT NULL, attempts INTEGER NOT NULL, payload_hash BLOB NOT NULL, number TEXT, payload BLOB,
    intended_at TEXT NOT NULL, finished_at TEXT, lead_id TEXT, code TEXT, message TEXT, field TEXT, http_status INTEGER
) WITHOUT ROWID;
CREATE INDEX leads_open ON leads (service, state) WHERE state IN ('sending', 'unknown');
CREATE INDEX leads_by_run ON leads (run_id);
CREATE TABLE members (
    identity BLOB NOT NULL, position INTEGER NOT NULL, number BLOB NOT NULL, contact_id TEXT,
    PRIMARY KEY (identity, position)
) WITHOUT ROWID;
CREATE INDEX members_by_number ON members (number);
CREATE TABLE member_values (
    identity BLOB NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (identity, position, name)
) WITHOUT ROWID;
CREATE TABLE occurrences (
    run_id TEXT NOT NULL, content BLOB NOT NULL, sheet TEXT NOT NULL, row INTEGER NOT NULL, occurrence INTEGER NOT NULL,
    PRIMARY KEY (run_id, content, sheet, row)
) WITHOUT ROWID;
CREATE TABLE services (address TEXT PRIMARY KEY, facts TEXT NOT NULL) WITHOUT ROWID;
CREATE TRIGGER leads_begin BEFORE INSERT ON leads WHEN NEW.state <> 'sending'
BEGIN SELECT RAISE(ABORT, 'a lead begins with its intent'); END;
CREATE TRIGGER leads_step BEFORE UPDATE OF state ON leads
WHEN NOT EXISTS (SELECT 1 FROM transitions WHERE old = OLD.state AND new = NEW.state)
BEGIN SELECT RAISE(ABORT, 'no such step between states'); END;
"""


def new_run_id(now: datetime, prefix: str = "") -> str:
    """Return a run's name: sortable by time, safe in a file name."""
    return f"{prefix}{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger holds of a lead that has a given number, as its primary (`position` 0) or its n-th contact."""

    identity: bytes
    position: int
    state: str
    run_id: str
    lead_id: str | None
    code: str | None
    message: str | None
    field: str | None
    http_status: int | None
    attempts: int
    finished_at: str | None


@dataclass(frozen=True, slots=True)
class Member:
    """The primary (`position` 0) or a contact of a lead in the ledger, by keyed hashes."""

    position: int
    number: bytes
    contact_id: str | None
    values: dict[str, bytes]


class Hashes:
    """Keyed hashes of people's data for one service address."""

    def __init__(self, key: bytes, service: str) -> None:
        self._key = key
        self._service = service.encode()

    def _of(self, *parts: bytes) -> bytes:
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, framed, "sha256")[:16]

    def number(self, campaign_id: int, phone: str) -> bytes:
        """Hash a number in a campaign of this service."""
        return self._of(b"number", self._service, b"%d" % campaign_id, phone.encode())

    def content(self, lead: Lead) -> bytes:
        """Hash all that goes out for a lead, whatever the order of its contacts."""
        people = [lead.primary, *sorted(lead.contacts, key=lambda person: person.phone)]
        said = [text.encode() for person in people for text in (person.phone, person.variables)]
        return self._of(b"content", self._service, b"%d" % lead.campaign_id, *said)

    def identity(self, lead: Lead) -> bytes:
        """Hash what a lead is known by (contract, "Identity")."""
        if not lead.allow_duplicate:
            return self._of(b"lead", self._service, b"%d" % lead.campaign_id, lead.primary.phone.encode())
        return self._of(b"occurrence", self.content(lead), b"%d" % lead.occurrence)

    def values(self, variables: str) -> dict[str, bytes]:
        """Hash each variable of a person by itself, so that changes can be named."""
        return {
            name: self._of(b"value", name.encode(), orjson.dumps(value))
            for name, value in orjson.loads(variables).items()
        }

    def payload(self, payload: bytes) -> bytes:
        """Hash a request body."""
        return self._of(b"payload", payload)


class Ledger:
    """The memory of what was sent, in one SQLite file. Close it, or use it as a context manager.

    Reads answer at once and may be called from the thread that opened it; `intend` and `finish` are awaited and return
    when the disk has it. A disk that is full or read-only raises `Stopped`, and nothing of that call is kept.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Open the ledger at `path`, made if missing (mode 0600) unless `create` is false.

        Raises `Refused` when it can't be opened, is another program's, newer, or when its key is missing or another.
        """
        self.path = path
        self._read_only = not create
        fresh = not path.exists() or path.stat().st_size == 0
        if fresh and not create:
            raise FileNotFoundError(path)
        try:
            if fresh:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = self._connect()
            if fresh:
                self._make()
            self._key = self._load_key()
        except (sqlite3.Error, OSError) as error:
            raise Refused(
                f"ledger {path}: it can't be {'read' if self._read_only else 'written'} ({error}). Without it nothing is sent, because what was "
                "created before would be sent again. Put the file right, or name another place with --ledger."
            ) from error
        self._queue: queue.SimpleQueue[tuple[_Write, _Waiter] | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None

    def _connect(self) -> sqlite3.Connection:
        if self._read_only:
            db = sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
        else:
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=30)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
        return db

    def _make(self) -> None:
        key = secrets.token_bytes(32)
        self._write_key(key)
        self._db.executescript("BEGIN IMMEDIATE;" + _SCHEMA)
        self._db.executemany(
            "INSERT INTO transitions VALUES (?, ?)", [(old, new) for old, after in TRANSITIONS.items() for new in after]
        )
        check = Hashes(key, "").payload(b"check")
        self._db.executemany("INSERT INTO meta VALUES (?, ?)", [("schema", _SCHEMA_VERSION), ("key_check", check)])
        self._db.execute("COMMIT")

    @property
    def key_path(self) -> Path:
        """Where the key of the hashes lies: beside the ledger."""
        return self.path.with_name(self.path.name + ".key")

    def _write_key(self, key: bytes) -> None:
        descriptor = os.open(self.key_path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(key.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _load_key(self) -> bytes:
        try:
            meta = dict(self._db.execute("SELECT name, value FROM meta"))
        except sqlite3.DatabaseError as error:
            raise Refused(
                f"ledger {self.path}: this is no ledger of lead-importer ({error}). Name another place with --ledger."
            ) from error
        if meta.get("schema") != _SCHEMA_VERSION:
            raise Refused(
                f"ledger {self.path}: it was written by another version (layout {meta.get('schema')!r}; this one reads {_SCHEMA_VERSION}). Use that version."
            )
        advice = "A new key would forget every lead and send them all again. Put the file back from your backup, beside the ledger."
        try:
            key = bytes.fromhex(self.key_path.read_text().strip())
        except (OSError, ValueError) as error:
            raise Refused(f"ledger {self.path}: its key {self.key_path} can't be read ({error}). {advice}") from error
        if not hmac.compare_digest(Hashes(key, "").payload(b"check"), meta["key_check"]):
            raise Refused(f"ledger {self.path}: {self.key_path} is the key of another ledger. {advice}")
        return key

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what waits and close; safe to repeat."""
        if self._writer is not None:
            self._queue.put(None)
            self._writer.join()
            self._writer = None
        with suppress(sqlite3.Error):
            self._db.close()

    def hashes(self, service: str) -> Hashes:
        """Return the hashes for a service address."""
        return Hashes(self._key, service)

    # What is known.

    def is_empty(self) -> bool:
        """Tell whether no lead was ever about to be sent."""
        return self._db.execute("SELECT 1 FROM leads LIMIT 1").fetchone() is None

    def known(self, numbers: Sequence[bytes]) -> dict[bytes, list[Known]]:
        """Return what is held of each number hash; numbers that nobody has are left out."""
        found: dict[bytes, list[Known]] = {}
        for start in range(0, len(numbers), 500):
            part = numbers[start : start + 500]
            marks = ",".join("?" * len(part))
            rows = self._db.execute(
                "SELECT m.number, m.identity, m.position, l.state, l.run_id, l.lead_id, l.code, l.message, l.field,"  # noqa: S608 - question marks only
                " l.http_status, l.attempts, l.finished_at"
                f" FROM members m JOIN leads l USING (identity) WHERE m.number IN ({marks})",
                part,
            )
            for number, *rest in rows:
                found.setdefault(number, []).append(Known(*rest))
        return found

    def members(self, identity: bytes) -> list[Member]:
        """Return the people of a lead, the primary first."""
        values: dict[int, dict[str, bytes]] = {}
        for position, name, value in self._db.execute(
            "SELECT position, name, value FROM member_values WHERE identity = ?", (identity,)
        ):
            values.setdefault(position, {})[name] = value
        rows = self._db.execute(
            "SELECT position, number, contact_id FROM members WHERE identity = ? ORDER BY position", (identity,)
        )
        return [Member(position, number, contact_id, values.get(position, {})) for position, number, contact_id in rows]

    def has_lead_id(self, service: str, lead_id: str) -> bool:
        """Tell whether a lead with this ID of the server's is held as created."""
        query = "SELECT 1 FROM leads WHERE service = ? AND lead_id = ? AND state = 'created' LIMIT 1"
        return self._db.execute(query, (service, lead_id)).fetchone() is not None

    def occurrence(self, run_id: str, content: bytes, sheet: str, row: int) -> int | None:
        """Return which of several leads alike to the letter a row of an earlier run was; None where it is not noted."""
        query = "SELECT occurrence FROM occurrences WHERE run_id = ? AND content = ? AND sheet = ? AND row = ?"
        found = self._db.execute(query, (run_id, content, sheet, row)).fetchone()
        return None if found is None else int(found[0])

    def has_run(self, run_id: str) -> bool:
        """Tell whether this ledger knows a run."""
        return self._db.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone() is not None

    def run_of_result(self, path: Path) -> str | None:
        """Return the last run that wrote a result file to `path`."""
        query = "SELECT max(run_id) FROM inputs WHERE result_path = ?"
        found = self._db.execute(query, (str(path.resolve()),)).fetchone()
        return None if found is None else found[0]

    def facts(self, address: str) -> dict[str, Any]:
        """Return what was learnt of an address (its pace, its instance); empty where nothing was."""
        found = self._db.execute("SELECT facts FROM services WHERE address = ?", (address,)).fetchone()
        return {} if found is None else json.loads(found[0])

    # What happens once a run; these wait for the disk.

    def remember(self, address: str, **facts: object) -> None:
        """Keep what was learnt of an address beside what is known already."""
        merged = self.facts(address) | facts
        self._now(
            "INSERT INTO services VALUES (?, ?) ON CONFLICT DO UPDATE SET facts = excluded.facts",
            (address, json.dumps(merged)),
        )

    def begin_run(
        self, run_id: str, *, command: str, service: str, tool_version: str, config_hash: str, who: str
    ) -> None:
        """Note that a run begins."""
        self._now(
            "INSERT INTO runs (run_id, command, service, started_at, tool_version, config_hash, who) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (run_id, command, service, _stamp(), tool_version, config_hash, who),
        )

    def note_input(self, run_id: str, position: int, path: Path, sha256: str) -> None:
        """Note an input of a run."""
        self._now(
            "INSERT INTO inputs (run_id, position, path, sha256) VALUES (?, ?, ?, ?)",
            (run_id, position, str(path.resolve()), sha256),
        )

    def note_result(self, run_id: str, position: int, path: Path) -> None:
        """Note where the result of an input was written."""
        self._now(
            "UPDATE inputs SET result_path = ? WHERE run_id = ? AND position = ?",
            (str(path.resolve()), run_id, position),
        )

    def note_occurrences(self, run_id: str, found: Iterable[tuple[bytes, str, int, int]]) -> None:
        """Note (content, sheet, row, occurrence) of leads that stand more than once, for `retry`."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "INSERT OR REPLACE INTO occurrences VALUES (?, ?, ?, ?, ?)", ((run_id, *line) for line in found)
            )
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise _unwritable(self.path, error) from error

    def end_run(self, run_id: str, *, exit_status: int, counts: dict[str, int]) -> None:
        """Note how a run ended."""
        self._now(
            "UPDATE runs SET finished_at = ?, exit_status = ?, counts = ? WHERE run_id = ?",
            (_stamp(), exit_status, json.dumps(counts), run_id),
        )

    def close_intents(self, service: str, run_id: str) -> int:
        """Turn intents that an earlier run left without an outcome into `unknown`; return how many.

        Only for the holder of the address's lock: nobody else may be sending.
        """
        try:
            cursor = self._db.execute(
                "UPDATE leads SET state = 'unknown', finished_at = ?, code = 'interrupted',"
                " message = 'the run was cut off while this lead was being sent; it may or may not have been created'"
                " WHERE service = ? AND state = 'sending' AND run_id <> ?",
                (_stamp(), service, run_id),
            )
        except sqlite3.Error as error:
            raise _unwritable(self.path, error) from error
        return cursor.rowcount

    def _now(self, sql: str, values: Sequence[object]) -> None:
        try:
            self._db.execute(sql, values)
        except sqlite3.Error as error:
            raise _unwritable(self.path, error) from error

    # What happens for every lead: group commit.

    async def intend(
        self, identity: bytes, lead: Lead, payload: bytes, *, hashes: Hashes, service: str, run_id: str
    ) -> None:
        """Make it durable that this lead is about to be sent. Raises `Stopped` where it can't be; then don't send."""
        people = (lead.primary, *lead.contacts)
        await self._later(
            _intent(identity, lead, payload, people, hashes=hashes, service=service, run_id=run_id),
        )

    async def finish(self, identity: bytes, outcome: Outcome) -> None:
        """Make a lead's outcome durable, and erase its number and payload unless it is still open."""
        await self._later(_outcome(identity, outcome))

    async def _later(self, write: "_Write") -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_batches, name="ledger", daemon=True)
            self._writer.start()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._queue.put((write, _Waiter(loop, done)))
        await done

    def _write_batches(self) -> None:
        """Commit whatever waits, again and again, until None comes."""
        db = self._connect()
        try:
            while True:
                first = self._queue.get()
                if first is None:
                    return
                batch, ended = [first], False
                while len(batch) < 1000:
                    try:
                        more = self._queue.get_nowait()
                    except queue.Empty:
                        break
                    if more is None:
                        ended = True
                        break
                    batch.append(more)
                self._commit(db, batch)
                if ended:
                    return
        finally:
            db.close()

    def _commit(self, db: sqlite3.Connection, batch: list[tuple["_Write", "_Waiter"]]) -> None:
        """Write a batch in one transaction; where that fails, each write by itself, so that one can't spoil the rest."""
        error = _try(db, [write for write, _ in batch])
        if error is None or len(batch) == 1:
            _wake(self.path, [(waiter, error) for _, waiter in batch])
            return
        _wake(self.path, [(waiter, _try(db, [write])) for write, waiter in batch])


_Write = list[tuple[str, Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class _Waiter:
    """Somebody in an event loop who waits for the disk."""

    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[None]"


def _try(db: sqlite3.Connection, writes: list[_Write]) -> sqlite3.Error | None:
    try:
        db.execute("BEGIN IMMEDIATE")
        for write in writes:
            for sql, values in write:
                db.execute(sql, values)
        db.execute("COMMIT")
    except sqlite3.Error as error:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        return error
    return None


def _wake(path: Path, waiters: list[tuple[_Waiter, sqlite3.Error | None]]) -> None:
    """Tell all who waited, with one call into their loop."""

    def tell() -> None:
        for waiter, error in waiters:
            if waiter.done.cancelled():
                continue
            if error is None:
                waiter.done.set_result(None)
            else:
                waiter.done.set_exception(_unwritable(path, error))

    with suppress(RuntimeError):  # the loop is gone: nobody waits any more, and the disk has it
        waiters[0][0].loop.call_soon_threadsafe(tell)


def _unwritable(path: Path, error: sqlite3.Error) -> LeadImporterError:
    return Stopped(
        f"ledger {path}: it can't be written ({error}). Nothing more is sent, because what is not written down could be sent twice. "
        "Free some space or put the file right, then run the same command again: it goes on from here."
    )


def _intent(
    identity: bytes,
    lead: Lead,
    payload: bytes,
    people: tuple[Person, ...],
    *,
    hashes: Hashes,
    service: str,
    run_id: str,
) -> _Write:
    write: _Write = [
        (
            "INSERT INTO leads (identity, service, campaign, state, run_id, attempts, payload_hash, number, payload, intended_at)"
            " VALUES (?, ?, ?, 'sending', ?, 1, ?, ?, ?, ?)"
            " ON CONFLICT (identity) DO UPDATE SET state = 'sending', run_id = excluded.run_id, attempts = attempts + 1,"
            " payload_hash = excluded.payload_hash, number = excluded.number, payload = excluded.payload,"
            " intended_at = excluded.intended_at, finished_at = NULL, lead_id = NULL, code = NULL, message = NULL,"
            " field = NULL, http_status = NULL",
            (
                identity,
                service,
                lead.campaign_id,
                run_id,
                hashes.payload(payload),
                lead.primary.phone,
                payload,
                _stamp(),
            ),
        ),
        ("DELETE FROM members WHERE identity = ?", (identity,)),
        ("DELETE FROM member_values WHERE identity = ?", (identity,)),
    ]
    for position, person in enumerate(people):
        number = hashes.number(lead.campaign_id, person.phone)
        write.append(
            ("INSERT INTO members (identity, position, number) VALUES (?, ?, ?)", (identity, position, number))
        )
        write += [
            ("INSERT INTO member_values VALUES (?, ?, ?, ?)", (identity, position, name, value))
            for name, value in hashes.values(person.variables).items()
        ]
    return write


def _outcome(identity: bytes, outcome: Outcome) -> _Write:
    keep = outcome.status is Status.UNKNOWN
    erase = "" if keep else ", number = NULL, payload = NULL"
    write: _Write = [
        (
            "UPDATE leads SET state = ?, run_id = ?, attempts = ?, finished_at = ?, lead_id = ?, code = ?, message = ?, field = ?,"  # noqa: S608 - one of two constants
            f" http_status = ?{erase} WHERE identity = ?",
            (
                outcome.status.value,
                outcome.run_id,
                max(outcome.attempts, 1),
                (outcome.finished_at or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds"),
                outcome.lead_id,
                outcome.code,
                outcome.message,
                outcome.field,
                outcome.http_status,
                identity,
            ),
        )
    ]
    write += [
        ("UPDATE members SET contact_id = ? WHERE identity = ? AND position = ?", (contact_id, identity, position))
        for position, contact_id in enumerate(outcome.contact_ids, start=1)
    ]
    return write


def _stamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
