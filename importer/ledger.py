"""What is about to be sent, was sent, was answered: all questions to it; `ledger_writes` has what is written of a lead.

A lead's intent is durable before its first byte leaves, its outcome after (`group_commit`: WAL, `synchronous=FULL`).
`leads` holds where each lead stands now, `outcomes` what each run made of it; so the result file of any run can be
written again. Within the file leads go by a number in the order of their intents: by their identity, which is a hash,
every row would lie on a page of its own, and each commit would write all of those.

People's data: identities, numbers and values are keyed hashes (`hashes`). A lead's number and payload stand in clear
only while its outcome is open, for settling, and are erased when it is settled.
"""

import json
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import orjson

from importer.group_commit import GroupCommit, Write
from importer.hashes import Hashes
from importer.ledger_file import LedgerFile
from importer.ledger_writes import LEAD, of_contacts, of_intent, of_outcome, of_withdrawal
from importer.records import Doubt, Lead, Outcome, Status

#: What is told of a lead that has a number: its standing, and the last outcome.
_KNOWN = (
    "l.identity, m.position, l.state, l.run_id, o.lead_id, o.code, o.message, o.field, o.http_status, l.attempts,"
    " o.finished_at"
)


#: Run IDs of rehearsals begin like this, so that their results are never taken for real ones.
SANDBOX_RUN = "sandbox-"


def new_run_id(now: datetime, prefix: str = "") -> str:
    """Return a run's name: sortable by time, within a second too, and safe in a file name."""
    fraction = now.microsecond * 0x10000 // 1_000_000
    return f"{prefix}{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{fraction:04x}{secrets.token_hex(1)}"


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
    """The primary (`position` 0) or a contact of a lead in the ledger, by keyed hashes; `values` in hex by name."""

    position: int
    number: bytes
    contact_id: str | None
    values: dict[str, str]


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A created lead of which the server has not confirmed all contacts; `numbers` are hashed, by `Member.position`."""

    identity: bytes
    campaign_id: int
    lead_id: str
    intended_at: float | None
    number: bytes
    """The primary's, hashed."""
    numbers: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Run:
    """One run as the ledger keeps it; times are ISO 8601 in UTC, `finished_at` None where it was cut off.

    `request` is what the command line asked for, `counts` rows by status; `guarantee` and `cause` are words for people.
    """

    run_id: str
    command: str
    service: str
    started_at: str
    finished_at: str | None
    tool_version: str
    config_hash: str | None
    request: dict[str, Any]
    who: str | None
    guarantee: str | None
    cause: str | None
    exit_status: int | None
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a run: where it lay, what was in it, and the result that was written for it."""

    path: Path
    sha256: str
    result_path: Path | None
    result_sha256: str | None


class Ledger:
    """The memory of what was sent, in one SQLite file. Close it, or use it as a context manager.

    Reads answer at once and may be called from the thread that opened it. `intend` is awaited and returns when the disk
    has it; `finish` is handed over at once, and is durable before any later intent is. A disk that is full or
    read-only raises `Stopped`, and nothing of that call is kept.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Open the ledger at `path`, made if missing, unless `create` is false: then it is only read.

        Raises as `LedgerFile` does.
        """
        self._file = LedgerFile(path, create=create)
        self._db = self._file.db
        self._writes = GroupCommit(self._file.connect, self._file.unwritable)

    @property
    def path(self) -> Path:
        """Where the ledger lies."""
        return self._file.path

    @property
    def key_path(self) -> Path:
        """Where the key of its hashes lies."""
        return self._file.key_path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what waits and close; safe to repeat."""
        self._writes.close()
        self._file.close()

    def hashes(self, service: str) -> Hashes:
        """Return the hashes for a service address."""
        return Hashes(self._file.key, service)

    # What is known of leads.

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
                f"SELECT m.number, {_KNOWN} FROM members m JOIN leads l USING (lead)"  # noqa: S608 - question marks only
                " LEFT JOIN outcomes o ON o.lead = l.lead AND o.run_id = l.run_id"
                f" WHERE m.number IN ({marks})",
                part,
            )
            for number, *rest in rows:
                found.setdefault(number, []).append(Known(*rest))
        return found

    def members(self, identity: bytes) -> list[Member]:
        """Return the people of a lead, the primary first."""
        rows = self._db.execute(
            f"SELECT position, number, contact_id, variables FROM members WHERE lead = {LEAD} ORDER BY position",  # noqa: S608 - a constant
            (identity,),
        )
        return [
            Member(position, number, contact_id, orjson.loads(values)) for position, number, contact_id, values in rows
        ]

    def has_lead_id(self, service: str, lead_id: str) -> bool:
        """Tell whether a lead with this ID of the server's is held as created; one taken back may be given out again."""
        query = "SELECT service FROM leads WHERE lead_id = ? AND state IN ('created', 'deleting')"
        return any(row[0] == service for row in self._db.execute(query, (lead_id,)))

    def numbers_of(self, service: str, lead_id: str) -> tuple[int, set[bytes]] | None:
        """Return campaign and number hashes of the people of a created lead, by its ID of the server's; None: unknown."""
        query = (
            "SELECT l.campaign, m.number FROM leads l JOIN members m USING (lead)"
            " WHERE l.lead_id = ? AND l.service = ? AND l.state = 'created'"
        )
        rows = self._db.execute(query, (lead_id, service)).fetchall()
        return (rows[0][0], {number for _, number in rows}) if rows else None

    def has_contact(self, number: bytes, contact_id: str) -> bool:
        """Tell whether a lead of ours has a contact with this number (hashed) and this ID of the server's."""
        query = "SELECT 1 FROM members WHERE number = ? AND contact_id = ?"
        return self._db.execute(query, (number, contact_id)).fetchone() is not None

    def intended_at(self, service: str, lead_id: str) -> float | None:
        """Return when a lead with this ID of the server's was first meant (epoch seconds by its clock); None: unknown."""
        query = "SELECT intended_at FROM leads WHERE lead_id = ? AND service = ? AND state <> 'deleted'"
        found = self._db.execute(query, (lead_id, service)).fetchone()
        return None if found is None else found[0]

    def lead_states(self, service: str) -> dict[str, str]:
        """Return the state of each lead of a service that has an ID of the server's."""
        query = "SELECT lead_id, state FROM leads WHERE service = ? AND lead_id IS NOT NULL ORDER BY state = 'created'"
        return dict(self._db.execute(query, (service,)))

    def undone(self, service: str) -> dict[tuple[str, str], str]:
        """Return by run and lead ID which created leads were deleted, or are perhaps (`deleting`), and not sent since."""
        query = (
            "SELECT run_id, lead_id, state FROM leads"
            " WHERE service = ? AND state IN ('deleting', 'deleted') AND lead_id IS NOT NULL"
        )
        return {(run_id, lead_id): state for run_id, lead_id, state in self._db.execute(query, (service,))}

    def has_created(self) -> bool:
        """Tell whether any lead of any service was ever created."""
        return self._db.execute("SELECT 1 FROM leads WHERE lead_id IS NOT NULL LIMIT 1").fetchone() is not None

    def outcomes(self, identities: Sequence[bytes], run_id: str) -> dict[bytes, list[Outcome]]:
        """Return the outcomes of leads up to and with a run, oldest first; leads without any are left out."""
        found: dict[bytes, list[Outcome]] = {}
        for start in range(0, len(identities), 500):
            part = identities[start : start + 500]
            marks = ",".join("?" * len(part))
            rows = self._db.execute(
                "SELECT l.identity, o.status, o.run_id, o.finished_at, o.lead_id, o.code, o.message, o.field,"  # noqa: S608 - question marks only
                " o.http_status, o.attempts FROM leads l JOIN outcomes o USING (lead)"
                f" WHERE l.identity IN ({marks}) AND o.run_id <= ? ORDER BY lead, o.run_id",
                (*part, run_id),
            )
            for identity, *rest in rows:
                found.setdefault(identity, []).append(_outcome(*rest))
        return found

    def begun(self, identities: Sequence[bytes], run_id: str) -> set[bytes]:
        """Return those leads that a run was about to send, and that nobody knows more of."""
        found: set[bytes] = set()
        for start in range(0, len(identities), 500):
            part = identities[start : start + 500]
            marks = ",".join("?" * len(part))
            query = f"SELECT identity FROM leads WHERE identity IN ({marks}) AND run_id = ? AND state = 'sending'"  # noqa: S608 - question marks only
            found.update(row[0] for row in self._db.execute(query, (*part, run_id)))
        return found

    def standings(self, run_id: str) -> dict[str, int]:
        """Count by state the leads that a run was the last to have to do with."""
        return dict(self._db.execute("SELECT state, count(*) FROM leads WHERE run_id = ? GROUP BY state", (run_id,)))

    def created_by(self, run_id: str) -> Iterator[tuple[bytes, str, int, str, float | None]]:
        """Yield identity, state, campaign, lead ID and first intent of what a run created and nobody took back yet."""
        query = (
            "SELECT identity, state, campaign, lead_id, intended_at FROM leads"
            " WHERE run_id = ? AND state IN ('created', 'deleting') ORDER BY campaign, lead_id"
        )
        yield from self._db.execute(query, (run_id,))

    # Contacts that no answer has named.

    def unconfirmed(self, run_id: str) -> list[Unconfirmed]:
        """Return the leads that a run created and whose contacts the server has not all confirmed."""
        rows = self._db.execute(
            "SELECT l.identity, l.campaign, l.lead_id, l.intended_at, p.number, m.position, m.number FROM leads l"
            " JOIN members m ON m.lead = l.lead AND m.position > 0 AND m.contact_id IS NULL"
            " JOIN members p ON p.lead = l.lead AND p.position = 0"
            " WHERE l.run_id = ? AND l.state = 'created' AND l.lead_id IS NOT NULL ORDER BY l.lead",
            (run_id,),
        )
        found: dict[bytes, Unconfirmed] = {}
        for identity, campaign_id, lead_id, intended_at, primary, position, number in rows:
            lead = found.setdefault(identity, Unconfirmed(identity, campaign_id, lead_id, intended_at, primary, {}))
            lead.numbers[position] = number
        return list(found.values())

    def confirm(self, identity: bytes, contact_ids: Mapping[int, str]) -> None:
        """Make it durable that a created lead has these contacts, by their positions."""
        with self._file.changing() as db:
            write = of_contacts(identity, contact_ids)
            for statement, values in write.statements:
                db.execute(statement, values)

    def open_before(self, service: str, run_id: str) -> list[str]:
        """Return the runs before one that left leads in doubt, or contacts not confirmed, oldest first."""
        query = (
            "SELECT DISTINCT run_id FROM leads l WHERE service = ? AND run_id < ? AND (state IN ('doubtful', 'unknown')"
            " OR (state = 'created' AND EXISTS (SELECT 1 FROM members m"
            " WHERE m.lead = l.lead AND m.position > 0 AND m.contact_id IS NULL))) ORDER BY run_id"
        )
        return [row[0] for row in self._db.execute(query, (service, run_id))]

    # What is in doubt.

    def doubts(self, identities: Sequence[bytes]) -> dict[bytes, Doubt]:
        """Return what is to be settled of leads in doubt or of unknown outcome; others are left out."""
        found: dict[bytes, Doubt] = {}
        for start in range(0, len(identities), 500):
            part = identities[start : start + 500]
            marks = ",".join("?" * len(part))
            found |= self._doubts(f"identity IN ({marks})", part)
        return found

    def doubts_of(self, run_id: str) -> list[Doubt]:
        """Return what is to be settled of one run's leads, oldest first."""
        return sorted(self._doubts("run_id = ?", (run_id,)).values(), key=lambda doubt: doubt.intended_at or 0.0)

    def _doubts(self, where: str, values: Sequence[object]) -> dict[bytes, Doubt]:
        rows = self._db.execute(
            "SELECT identity, run_id, number, payload, intended_at, attempts,"  # noqa: S608 - one of two constants
            " (SELECT o.code FROM outcomes o WHERE o.lead = leads.lead AND o.run_id = leads.run_id) FROM leads"
            f" WHERE {where} AND state IN ('doubtful', 'unknown') AND payload IS NOT NULL",
            values,
        )
        return {row[0]: Doubt(*row) for row in rows}

    def sending(self, service: str) -> dict[str, str | None]:
        """Return the runs that have intents without an outcome, going on or cut off, and where their locks are told of."""
        query = (
            "SELECT DISTINCT run_id, json_extract(r.request, '$.locks') FROM leads LEFT JOIN runs r USING (run_id)"
            " WHERE leads.service = ? AND state = 'sending'"
        )
        return dict(self._db.execute(query, (service,)))

    def cut_off(self, service: str, run_ids: Collection[str]) -> int:
        """Put the intents that these runs left without an outcome in doubt; return how many. They must have ended."""
        marks = ",".join("?" * len(run_ids))
        cut = f"service = ? AND state = 'sending' AND run_id IN ({marks})"
        with self._file.changing() as db:
            db.execute(
                "INSERT OR REPLACE INTO outcomes (lead, run_id, status, finished_at, attempts, code, message)"  # noqa: S608 - a constant
                " SELECT lead, run_id, 'unknown', ?, attempts, 'interrupted',"
                " 'the run was cut off while this lead was being sent; the next run looks it up first'"
                f" FROM leads WHERE {cut}",
                (_stamp(), service, *run_ids),
            )
            return db.execute(f"UPDATE leads SET state = 'doubtful' WHERE {cut}", (service, *run_ids)).rowcount  # noqa: S608

    def requests_since(self, service: str, seconds: float) -> tuple[tuple[float, int], ...]:
        """Return the attempts of the last `seconds`, by the minute: (seconds ago, how many), oldest first."""
        now = datetime.now(UTC)
        since = (now - timedelta(seconds=seconds)).isoformat(timespec="seconds")
        query = (
            "SELECT substr(o.finished_at, 1, 16), sum(o.attempts) FROM outcomes o JOIN runs r USING (run_id)"
            " WHERE r.service = ? AND o.finished_at >= ? GROUP BY 1 ORDER BY 1"
        )
        return tuple(
            (max((now - datetime.fromisoformat(f"{minute}:00+00:00")).total_seconds() - 60.0, 0.0), count)
            for minute, count in self._db.execute(query, (service, since))
        )

    # Runs and services: what happens once a run. These wait for the disk.

    def begin_run(self, run: Run) -> None:
        """Note that a run begins."""
        with self._file.changing() as db:
            db.execute(
                "INSERT INTO runs (run_id, command, service, started_at, tool_version, config_hash, request, who)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    run.run_id,
                    run.command,
                    run.service,
                    run.started_at,
                    run.tool_version,
                    run.config_hash,
                    json.dumps(run.request),
                    run.who,
                ),
            )

    def end_run(
        self, run_id: str, *, exit_status: int, counts: dict[str, int], guarantee: str | None, cause: str | None
    ) -> None:
        """Note how a run ended."""
        with self._file.changing() as db:
            db.execute(
                "UPDATE runs SET finished_at = ?, exit_status = ?, counts = ?, guarantee = ?, cause = ? WHERE run_id = ?",
                (_stamp(), exit_status, json.dumps(counts), guarantee, cause, run_id),
            )

    def runs(self) -> list[Run]:
        """Return all runs, newest first."""
        query = (
            "SELECT run_id, command, service, started_at, finished_at, tool_version, config_hash, request, who,"
            " guarantee, cause, exit_status, counts FROM runs ORDER BY started_at DESC, run_id DESC"
        )
        return [_run(*row) for row in self._db.execute(query)]

    def run(self, run_id: str) -> Run | None:
        """Return one run; None where this ledger does not know it."""
        return next((run for run in self.runs() if run.run_id == run_id), None)

    def note_input(self, run_id: str, position: int, path: Path, sha256: str) -> None:
        """Note an input of a run."""
        with self._file.changing() as db:
            db.execute(
                "INSERT INTO inputs (run_id, position, path, sha256) VALUES (?, ?, ?, ?)",
                (run_id, position, str(path.resolve()), sha256),
            )

    def note_result(self, run_id: str, position: int, path: Path, sha256: str) -> None:
        """Note where the result of an input was written, and its hash."""
        with self._file.changing() as db:
            db.execute(
                "UPDATE inputs SET result_path = ?, result_sha256 = ? WHERE run_id = ? AND position = ?",
                (str(path.resolve()), sha256, run_id, position),
            )

    def note_moved(self, old: Path, new: Path) -> None:
        """Note that an older result was given another name: as a result, and as an input of `retry`."""
        names = (str(new.resolve()), str(old.resolve()))
        with self._file.changing() as db:
            db.execute("UPDATE inputs SET result_path = ? WHERE result_path = ?", names)
            db.execute("UPDATE inputs SET path = ? WHERE path = ?", names)

    def inputs(self, run_id: str) -> list[Input]:
        """Return the inputs of a run, in order."""
        query = "SELECT path, sha256, result_path, result_sha256 FROM inputs WHERE run_id = ? ORDER BY position"
        return [
            Input(Path(path), sha256, Path(result) if result else None, result_sha256)
            for path, sha256, result, result_sha256 in self._db.execute(query, (run_id,))
        ]

    def run_of_result(self, path: Path) -> str | None:
        """Return the last run that wrote a result file to `path`."""
        query = "SELECT max(run_id) FROM inputs WHERE result_path = ?"
        found = self._db.execute(query, (str(path.resolve()),)).fetchone()
        return None if found is None else found[0]

    def note_occurrences(self, run_id: str, found: Iterable[tuple[bytes, str, int, int]]) -> None:
        """Note (content, sheet, row, occurrence) of leads that stand more than once, for `retry`."""
        with self._file.changing() as db:
            db.executemany(
                "INSERT OR REPLACE INTO occurrences VALUES (?, ?, ?, ?, ?)", ((run_id, *line) for line in found)
            )

    def occurrence(self, run_id: str, content: bytes, sheet: str, row: int) -> int | None:
        """Return which of several leads alike to the letter a row of an earlier run was; None where it is not noted."""
        query = "SELECT occurrence FROM occurrences WHERE run_id = ? AND content = ? AND sheet = ? AND row = ?"
        found = self._db.execute(query, (run_id, content, sheet, row)).fetchone()
        return None if found is None else int(found[0])

    def canaries(self, batch: str) -> set[str]:
        """Return the shapes of a batch (input and config) that were read back and found right."""
        return {row[0] for row in self._db.execute("SELECT shape FROM canaries WHERE batch = ?", (batch,))}

    def note_canaries(self, batch: str, shapes: Iterable[str]) -> None:
        """Note that leads of these shapes were read back and found right."""
        with self._file.changing() as db:
            db.executemany("INSERT OR IGNORE INTO canaries VALUES (?, ?)", ((batch, shape) for shape in shapes))

    def facts(self, address: str) -> dict[str, Any]:
        """Return what was learnt of an address (its pace, what it can do); empty where nothing was."""
        found = self._db.execute("SELECT facts FROM services WHERE address = ?", (address,)).fetchone()
        return {} if found is None else json.loads(found[0])

    def remember(self, address: str, **facts: object) -> None:
        """Keep what was learnt of an address beside what is known already."""
        with self._file.changing() as db:
            db.execute(
                "INSERT INTO services VALUES (?, ?) ON CONFLICT DO UPDATE SET facts = excluded.facts",
                (address, json.dumps(self.facts(address) | facts)),
            )

    # What happens for every lead: many in one commit.

    async def intend(
        self,
        identity: bytes,
        lead: Lead,
        payload: bytes,
        *,
        hashes: Hashes,
        run_id: str,
        at: float | None,
        is_new: bool = False,
        is_first: bool = False,
    ) -> None:
        """Make it durable that this lead is about to be sent. Raises `Stopped` where it can't be; then don't send.

        `at` is now by the server's clock (epoch seconds), None where that is unknown. Of a lead in doubt or unknown the
        time of its first attempt stays: what that may have created is no older. `is_new` spares looking for an earlier attempt of
        it, where the ledger is known to have none. `is_first`: no attempt in doubt is known; where another run has one by now,
        it is refused.
        """
        if self._writes.failure is not None:
            raise self._file.unwritable(self._writes.failure)
        told = of_intent(identity, lead, payload, hashes=hashes, run_id=run_id, at=at, is_new=is_new, is_first=is_first)
        await self._writes.wait(told)

    def finish(self, identity: bytes, outcome: Outcome) -> None:
        """Hand a lead's outcome over; its number and payload are erased with it unless it stays open.

        Not awaited, so that no cancellation breaks it. It is durable before the next intent is; where it can't be
        written, the lead stays in doubt and the next `intend` raises `Stopped`.
        """
        state = "doubtful" if outcome.in_doubt else outcome.status.value
        self._writes.put(of_outcome(identity, outcome, state))

    def withdraw(self, identity: bytes, *, run_id: str, in_doubt: bool) -> None:
        """Hand over that an intent of this run was surely not carried out: the lead stands again as it did before.

        Not awaited, like `finish`; a crash before it is durable leaves the lead to be settled. `in_doubt`: an earlier
        attempt still is.
        """
        self._writes.put(of_withdrawal(identity, run_id, in_doubt=in_doubt))

    async def flush(self) -> None:
        """Return when everything handed over is durable. Raises `Stopped` where it can't be."""
        await self._writes.wait(Write(b"", []))

    def deleting(self, identity: bytes) -> None:
        """Make it durable that a delete of a created lead is about to be asked for."""
        self._step(identity, "deleting")

    def deleted(self, identity: bytes) -> None:
        """Make it durable that a lead is gone from the server; it may be sent again then."""
        self._step(identity, "deleted")

    def kept(self, identity: bytes) -> None:
        """Make it durable that a lead was not deleted after all."""
        self._step(identity, "created")

    def _step(self, identity: bytes, state: str) -> None:
        with self._file.changing() as db:
            db.execute("UPDATE leads SET state = ? WHERE identity = ?", (state, identity))


def _run(*row: Any) -> Run:
    *told, request, who, guarantee, cause, exit_status, counts = row
    ended = (who, guarantee, cause, exit_status, json.loads(counts or "{}"))
    return Run(*told, json.loads(request), *ended)  # type: ignore[call-arg] # the columns of `runs` in their order


def _outcome(status: str, run_id: str, finished_at: str, *rest: Any) -> Outcome:
    lead_id, code, message, field, http_status, attempts = rest
    return Outcome(
        Status(status),
        run_id,
        datetime.fromisoformat(finished_at),
        lead_id=lead_id,
        code=code,
        message=message,
        field=field,
        http_status=http_status,
        attempts=attempts,
    )


def _stamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
