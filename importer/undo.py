"""Delete the leads that a run created and that nobody has touched since, several at once.

Each delete is written down before it is asked for, and again when it is done; so a cut off `undo` goes on where it
was, and no lead is taken for deleted that is not. What ends an undo lets those in flight have their answers first.
"""

import time
from asyncio import CancelledError
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import anyio
import orjson

from importer.api import LookupFailed
from importer.connect import Connection, Terms, connect
from importer.errors import ExitStatus, LeadImporterError, Refused, Stopped
from importer.hashes import Hashes
from importer.ledger import Ledger, Member, Run, new_run_id
from importer.listed import e164, listed
from importer.machine import lock_folder, user
from importer.records import Created, Meaning
from importer.settle import as_text

#: A lead's status that says nobody has begun to work on it (api.md).
_UNTOUCHED = "created"
#: Seconds after which a lead is looked at again before it is deleted.
_FRESH = 30.0
_TRIES = 5
#: Deletes in flight, unless the config says how many.
_AT_ONCE = 8

#: Told of each lead by its ID: why it was kept, None where it is deleted.
Report = Callable[[str, str | None], None]


@dataclass(frozen=True, slots=True)
class _Ours:
    """A lead of the run as the ledger holds it.

    `intended_at` is when it was first about to be sent: epoch seconds by the server's clock, None: unknown.
    """

    identity: bytes
    state: str
    campaign_id: int
    lead_id: str
    intended_at: float | None


@dataclass(slots=True)
class _Turn:
    """A lead whose turn it is, and how the server showed it last; None: it does not."""

    lead: _Ours
    shown: Created | None
    seen_at: float
    is_begun: bool
    """Whether a delete of it may have been asked for already."""

    @classmethod
    def of(cls, lead: _Ours, seen: tuple[Created, float] | None) -> "_Turn":
        shown, at = seen or (None, 0.0)
        return cls(lead, shown, at, is_begun=lead.state == "deleting")

    def is_stale(self) -> bool:
        """Tell whether it is to be looked at again; only what was shown has a number to look for."""
        return self.shown is not None and time.monotonic() - self.seen_at > _FRESH


def undo(
    terms: Terms,
    ledger: Ledger,
    run: Run,
    *,
    confirm: Callable[[int], bool],
    report: Report,
    say: Callable[[str], None],
) -> None:
    """Delete what a run created and nobody touched; `confirm` is asked once, with how many leads may go.

    Raises `Busy` while another sender is at work, `Refused` where the server offers no look-up or no delete, `Stopped`
    where it can't go on now; what was deleted by then stays deleted, and undoing again goes on.
    """
    if any(ledger.created_by(run.run_id)):
        anyio.run(_online, terms, ledger, run, confirm, report, say)
    else:
        say(f"Run {run.run_id} created no lead that is still there.")


async def _online(
    terms: Terms, ledger: Ledger, run: Run, confirm: Callable[[int], bool], report: Report, say: Callable[[str], None]
) -> None:
    undo_id = new_run_id(datetime.now(UTC))
    doing = f"undo of run {run.run_id}"
    async with connect(terms, ledger, run, say, doing=doing, own_id=undo_id) as connection:
        # Only now: until the lock is held, another undo may be at work.
        ours = [_Ours(*row) for row in ledger.created_by(run.run_id)]
        if not confirm(len(ours)):
            raise Stopped("Nothing was deleted, as you said no.")
        with _noted(ledger, run, report, undo_id) as tell:
            for campaign_id in sorted({lead.campaign_id for lead in ours}):
                wanted = {lead.lead_id: lead for lead in ours if lead.campaign_id == campaign_id}
                shown = await _listed(connection, campaign_id, wanted)
                turns = [_Turn.of(lead, shown.get(lead_id)) for lead_id, lead in wanted.items()]
                await _Deletes(connection, tell).run(turns)


@contextmanager
def _noted(ledger: Ledger, run: Run, report: Report, undo_id: str) -> Iterator[Report]:
    """Let the history have the undo: when, by whom, how many, and how it ended."""
    counts: Counter[str] = Counter()
    ledger.begin_run(
        replace(
            run,
            run_id=undo_id,
            command="undo",
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            tool_version=version("lead-importer"),
            config_hash=None,
            request={"run": run.run_id, "locks": str(lock_folder())},
            who=user(),
        )
    )

    def tell(lead_id: str, why: str | None) -> None:
        counts["deleted" if why is None else "kept"] += 1
        report(lead_id, why)

    def end(status: ExitStatus, cause: str | None = None) -> None:
        ledger.end_run(undo_id, exit_status=int(status), counts=dict(counts), guarantee=None, cause=cause)

    try:
        yield tell
    except LeadImporterError as error:
        with suppress(LeadImporterError):
            end(error.exit_status, str(error))
        raise
    except (KeyboardInterrupt, CancelledError):  # the event loop makes the one of the other
        with suppress(LeadImporterError):
            end(ExitStatus.INTERRUPTED, "interrupted")
        raise
    end(ExitStatus.SOME_ROWS_ARE_NOT if counts["kept"] else ExitStatus.OK)


async def _listed(
    connection: Connection, campaign_id: int, wanted: Mapping[str, _Ours]
) -> dict[str, tuple[Created, float]]:
    """Return those wanted of a campaign's leads, by ID, each with when it was seen."""
    try:
        found = await listed(connection, campaign_id, {lead.lead_id: lead.intended_at for lead in wanted.values()})
    except LookupFailed as failure:
        raise Stopped(f"the leads can't be listed: {failure}. Run undo again to go on.") from failure
    if found is None:
        raise Refused(
            "this server has no look-up, so nobody can tell whether the leads were touched since. "
            "Nothing was deleted; delete them in the platform."
        )
    return found


class _Deletes:
    """The deletes of one campaign's leads, each worker one lead after another; whoever fails stops all."""

    def __init__(self, connection: Connection, tell: Report) -> None:
        self._connection = connection
        self._ledger = connection.ledger
        self._tell = tell
        self._line = anyio.Lock()
        """Of those that wait for their first place, so that at most one of them is before who has looked again."""
        self._failure: Exception | None = None

    async def run(self, turns: Iterable[_Turn]) -> None:
        """Delete what may go, and tell of each lead; raise what stopped it, when those in flight are done."""
        line = iter(turns)
        async with anyio.create_task_group() as workers:
            for _ in range(self._connection.terms.delivery.concurrency or _AT_ONCE):
                workers.start_soon(self._work, line)
        if self._failure is not None:
            raise self._failure

    async def _work(self, line: Iterator[_Turn]) -> None:
        stop = self._connection.stop
        while stop.cause is None and (turn := next(line, None)) is not None:
            try:
                self._tell(turn.lead.lead_id, await self._one(turn))
            except Exception as failure:  # noqa: BLE001 - raised by `run`, also what nobody thought of
                self._failure = self._failure or failure
                stop.now(str(failure))

    async def _one(self, turn: _Turn) -> str | None:
        """Delete one lead; return why it was kept, None where it is gone."""
        why = self._why_kept(turn)
        if why is None:
            async with self._line:
                await self._place()
            if turn.is_stale():
                why = await self._look(turn)
        if why is None:
            why = await self._delete(turn)
        if not turn.is_begun:
            return why
        if why is None:
            self._ledger.deleted(turn.lead.identity)
        else:
            self._ledger.kept(turn.lead.identity)
        return why

    async def _place(self) -> None:
        """Wait for the next place in the pace, for a request that leaves at once; raise where a stop comes first."""
        if not await self._connection.gate.may_go():
            raise Stopped(str(self._connection.stop.cause))

    async def _pause(self, attempt: int, retry_after: float | None) -> None:
        """Wait before the next try, and for its place."""
        with anyio.move_on_after(min(retry_after or 0.5 * 2 ** (attempt - 1), 60.0)):
            await self._connection.stop.event.wait()
        await self._place()

    async def _look(self, turn: _Turn) -> str | None:
        """Look at a lead again, in the place just taken; return why it is kept, None with a place for its delete."""
        turn.shown, turn.seen_at = await self._now(turn), time.monotonic()
        why = self._why_kept(turn)
        if why is None:
            await self._place()
        return why

    async def _now(self, turn: _Turn) -> Created | None:
        """Return a lead as the server shows it now, looked up by its number in the place just taken."""
        assert turn.shown is not None
        attempt = 0
        while True:
            try:
                leads = await self._connection.service.find_leads(turn.lead.campaign_id, turn.shown.phone)
                return next((found for found in leads or () if found.lead_id == turn.lead.lead_id), None)
            except LookupFailed as failed:
                attempt += 1
                if attempt == _TRIES:
                    raise Stopped(
                        f"lead {turn.lead.lead_id} can't be looked up: {failed}. Run undo again to go on."
                    ) from failed
                retry_after = failed.verdict.retry_after
            await self._pause(attempt, retry_after)

    async def _delete(self, turn: _Turn) -> str | None:
        """Ask for the delete, in the place just taken, until there is an answer; return why it was kept, None: gone."""
        lead, attempt = turn.lead, 0
        while True:
            if not turn.is_begun:
                self._ledger.deleting(lead.identity)
                turn.is_begun = True
            verdict = await self._connection.service.delete_lead(lead.lead_id)
            if verdict.meaning is Meaning.CREATED:
                return None
            stands = verdict.code == "gone" and await self._stands(turn)
            if verdict.http_status in (405, 501) or stands:  # a 404 may also say that there is no such call
                self._ledger.kept(lead.identity)
                raise Refused("this server does not let anybody delete leads. Delete them in the platform.")
            if verdict.code == "gone":
                return None
            if verdict.meaning is Meaning.REJECTED:
                return str(verdict.message)
            if verdict.meaning is Meaning.STOP:  # an earlier try may have done it: undoing again tells
                raise Stopped(f"{verdict.message} Run undo again to go on.")
            attempt += 1
            if attempt == _TRIES:
                raise Stopped(f"lead {lead.lead_id} can't be deleted now: {verdict.message}. Run undo again to go on.")
            await self._pause(attempt, verdict.retry_after)
            if turn.is_stale() and (why := await self._look(turn)) is not None:
                return why

    async def _stands(self, turn: _Turn) -> bool:
        if turn.shown is None:
            return False
        await self._connection.gate.wait()  # also where a stop came: it decides what the delete came to
        return await self._now(turn) is not None

    def _why_kept(self, turn: _Turn) -> str | None:
        if turn.is_begun and turn.shown is None:
            return None
        return _why_kept(self._connection.hashes, turn.lead, turn.shown, self._ledger)


def _why_kept(hashes: Hashes, lead: _Ours, shown: Created | None, ledger: Ledger) -> str | None:
    """Say why a lead is left alone; None where it may go."""
    if shown is None:
        return "the server does not show it; it may be deleted already"
    people = [shown, *shown.contacts]
    touched = sorted({str(person.status) for person in people} - {_UNTOUCHED})
    if touched:
        return f"its status is {' and '.join(touched)}, no longer {_UNTOUCHED}"
    changed = _changed(hashes, lead, shown, ledger.members(lead.identity))
    return f"what is stored is not what was sent: {', '.join(changed)}" if changed else None


def _changed(hashes: Hashes, lead: _Ours, shown: Created, members: list[Member]) -> list[str]:
    """Name what is stored otherwise than it was sent, by the hashes of what was sent."""
    changed = []
    told = {hashes.number(lead.campaign_id, e164(person.phone)): person for person in shown.contacts}
    for member in members:
        whose = "" if member.position == 0 else f"contact {member.position}'s "
        person = shown if member.position == 0 else told.pop(member.number, None)
        if person is None:
            changed.append(f"contact {member.position} is gone")
        elif member.position == 0 and hashes.number(lead.campaign_id, e164(person.phone)) != member.number:
            changed.append("its number")
        elif person.variables is not None:
            changed += [f"{whose}variable {name!r}" for name in _differing(hashes, person.variables, member.values)]
    return changed + (["a contact was added"] if told else [])


def _differing(hashes: Hashes, stored: Mapping[str, Any], sent: Mapping[str, str]) -> list[str]:
    """Name the variables whose stored value has not the hash of what was sent, however the server writes it."""
    values = {name: value for name, value in stored.items() if as_text(value) is not None}
    return sorted(
        name
        for name in values.keys() | sent.keys()
        if name not in values
        or not any(
            hashes.values(orjson.dumps({name: spelling}).decode())[name] == sent.get(name)
            for spelling in _spellings(values[name])
        )
    )


def _spellings(value: Any) -> Iterator[Any]:
    """Yield the values that a server may give back as this one: it may keep numbers and booleans as texts."""
    yield value
    text = str(as_text(value))
    yield text
    for kind in (float, int):
        with suppress(ValueError, OverflowError):
            number = kind(text)
            if as_text(number) == text and (kind is float or abs(number) < 2**63):  # what JSON can say
                yield number
    if text == "0":
        yield -0.0
    if text in ("0", "1"):
        yield text == "1"
        yield "true" if text == "1" else "false"
