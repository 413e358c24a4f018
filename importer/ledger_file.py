"""The file of the ledger: its layout with the state table, its key, and what is said where one of them is not right.

One SQLite database, and beside it the key of the hashes that it holds. A key is never made for a ledger that was there
before, and none is ever replaced: either would forget every lead. What is recorded in the file `ledger` knows.
"""

import hmac
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from importer.errors import LeadImporterError, Refused, SentElsewhere, Stopped
from importer.group_commit import durable
from importer.hashes import Hashes

#: The states of a lead, and who may follow whom. SQL refuses any other step (the trigger below).
#:   sending    an intent: its bytes may have left; `withdraw` takes one back whose bytes surely did not
#:   doubtful   an attempt ended with no proof of what became of it; to be settled before anything else
#:   created, duplicate, rejected, failed, unknown    as the statuses of the result file
#:   deleting   a delete by `undo` is under way; deleted: it is done
#: So no lead is sent again whose last attempt was not answered, or settled, or proven never to have left.
TRANSITIONS: dict[str, frozenset[str]] = {
    "sending": frozenset({"created", "duplicate", "rejected", "failed", "doubtful"}),
    "doubtful": frozenset({"sending", "created", "duplicate", "failed", "unknown"}),
    "rejected": frozenset({"sending"}),
    "failed": frozenset({"sending"}),
    "duplicate": frozenset({"sending"}),  # only with --include duplicate
    "unknown": frozenset({"sending", "doubtful", "created", "duplicate", "failed"}),  # --include unknown, or settled
    "created": frozenset({"deleting"}),
    "deleting": frozenset({"created", "deleted"}),
    "deleted": frozenset({"sending"}),
}

_SCHEMA_VERSION = 4
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE transitions (old TEXT NOT NULL, new TEXT NOT NULL, PRIMARY KEY (old, new)) WITHOUT ROWID;
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, command TEXT NOT NULL, service TEXT NOT NULL, started_at TEXT NOT NULL, finished_at TEXT,
    tool_version TEXT NOT NULL, config_hash TEXT, request TEXT NOT NULL, who TEXT, guarantee TEXT, cause TEXT,
    exit_status INTEGER, counts TEXT
) WITHOUT ROWID;
CREATE TABLE inputs (
    run_id TEXT NOT NULL, position INTEGER NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL, result_path TEXT,
    result_sha256 TEXT, PRIMARY KEY (run_id, position)
) WITHOUT ROWID;
CREATE INDEX inputs_by_result ON inputs (result_path);
CREATE TABLE leads (
    lead INTEGER PRIMARY KEY, identity BLOB NOT NULL UNIQUE, service TEXT NOT NULL, campaign INTEGER NOT NULL, state TEXT NOT NULL,
    run_id TEXT NOT NULL, attempts INTEGER NOT NULL, payload_hash BLOB NOT NULL, number TEXT, payload BLOB,
    intended_at REAL, lead_id TEXT
);
CREATE INDEX leads_open ON leads (service, state) WHERE state IN ('sending', 'doubtful', 'unknown', 'deleting');
CREATE INDEX leads_by_run ON leads (run_id);
CREATE INDEX leads_by_id ON leads (lead_id) WHERE lead_id IS NOT NULL;
CREATE TABLE members (
    lead INTEGER NOT NULL, position INTEGER NOT NULL, number BLOB NOT NULL, variables TEXT NOT NULL, contact_id TEXT,
    PRIMARY KEY (lead, position)
) WITHOUT ROWID;
CREATE INDEX members_by_number ON members (number);
CREATE TABLE outcomes (
    lead INTEGER NOT NULL, run_id TEXT NOT NULL, status TEXT NOT NULL, finished_at TEXT NOT NULL,
    attempts INTEGER NOT NULL, lead_id TEXT, code TEXT, message TEXT, field TEXT, http_status INTEGER,
    PRIMARY KEY (lead, run_id)
) WITHOUT ROWID;
CREATE TABLE occurrences (
    run_id TEXT NOT NULL, content BLOB NOT NULL, sheet TEXT NOT NULL, row INTEGER NOT NULL, occurrence INTEGER NOT NULL,
    PRIMARY KEY (run_id, content, sheet, row)
) WITHOUT ROWID;
CREATE TABLE canaries (batch TEXT NOT NULL, shape TEXT NOT NULL, PRIMARY KEY (batch, shape)) WITHOUT ROWID;
CREATE TABLE services (address TEXT PRIMARY KEY, facts TEXT NOT NULL) WITHOUT ROWID;
CREATE TRIGGER leads_begin BEFORE INSERT ON leads WHEN NEW.state <> 'sending'
BEGIN SELECT RAISE(ABORT, 'a lead begins with its intent'); END;
CREATE TRIGGER leads_step BEFORE UPDATE OF state ON leads
WHEN NOT EXISTS (SELECT 1 FROM transitions WHERE old = OLD.state AND new = NEW.state)
BEGIN SELECT RAISE(ABORT, 'no such step between states'); END;
"""
#: What SQLite says then. One run alone makes only steps that are declared.
_NO_STEP = "no such step between states"


class LedgerFile:
    """An open ledger file of this version: `path`, the database `db`, and `key`, the 32 bytes of its hashes."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Open the ledger at `path`, made if missing (mode 0600) unless `create` is false: then it is only read.

        Raises `FileNotFoundError` where it is only read and is not there, `Refused` when it can't be opened, is another
        program's, newer, or when its key is missing or another.
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
            self.db = self.connect()
            if create and self._is_empty_file():
                self._make()
            self.key = self._load_key()
        except (sqlite3.Error, OSError) as error:
            raise Refused(
                f"ledger {path}: it can't be {'read' if self._read_only else 'written'} ({error}). Without it nothing is sent, because what was "
                "created before would be sent again. Put the file right, or name another place with --ledger."
            ) from error

    @property
    def key_path(self) -> Path:
        """Where the key of the hashes lies: beside the ledger."""
        return self.path.with_name(self.path.name + ".key")

    def connect(self) -> sqlite3.Connection:
        """Return another connection to the file, for reading alone where it was opened so."""
        if self._read_only:
            return sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
        return durable(self.path)

    def close(self) -> None:
        """Close the database; safe to repeat."""
        with suppress(sqlite3.Error):
            self.db.close()

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """Give a transaction that is durable at the end of the block; raise `Stopped` where it can't be."""
        try:
            self.db.execute("BEGIN IMMEDIATE")
            yield self.db
            self.db.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self.db.execute("ROLLBACK")
            raise self.unwritable(error) from error

    def unwritable(self, error: sqlite3.Error) -> LeadImporterError:
        """Return what ends a run that could not write: the database's error, and what to do."""
        if _NO_STEP in str(error):
            return SentElsewhere(
                "another run, with another key, has just taken it. Run this again when that has ended: it says then what became of it."
            )
        return Stopped(
            f"ledger {self.path}: it can't be written ({error}). Nothing more is sent, because what is not written down could be sent twice. "
            "Free some space or put the file right, then run the same command again: it goes on from here."
        )

    def _is_empty_file(self) -> bool:
        return self.db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None

    def _make(self) -> None:
        """Make the key and the tables, unless another process is quicker. A key that is there already is never replaced."""
        self.db.execute("BEGIN IMMEDIATE")
        if not self._is_empty_file():
            self.db.execute("ROLLBACK")
            return
        key = secrets.token_bytes(32)
        self._write_key(key)
        try:
            self._fill(key)
            self.db.execute("COMMIT")
        except sqlite3.Error:
            self.key_path.unlink()
            raise
        with suppress(OSError):  # the names too are to outlast a power cut; some file systems can't promise that
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _fill(self, key: bytes) -> None:
        for statement in _statements(_SCHEMA):
            self.db.execute(statement)
        self.db.executemany(
            "INSERT INTO transitions VALUES (?, ?)", [(old, new) for old, after in TRANSITIONS.items() for new in after]
        )
        check = Hashes(key, "").payload(b"check")
        self.db.executemany("INSERT INTO meta VALUES (?, ?)", [("schema", _SCHEMA_VERSION), ("key_check", check)])

    def _write_key(self, key: bytes) -> None:
        try:
            descriptor = os.open(self.key_path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise Refused(
                f"ledger {self.path}: it is empty, or not there, and its key {self.key_path} is. A new ledger would forget every "
                "lead and send them all again. Put the ledger back from your backup; or, if nothing was sent with it, "
                "remove the key."
            ) from error
        with os.fdopen(descriptor, "w") as file:
            file.write(key.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _load_key(self) -> bytes:
        try:
            meta = dict(self.db.execute("SELECT name, value FROM meta"))
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


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
