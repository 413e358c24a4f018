"""Delete the leads that a run created and that nobody has touched since.

Each delete is written down before it is asked for, and again when it is done; so a cut off `undo` goes on where it
was, and no lead is taken for deleted that is not.
"""

import time
from asyncio import CancelledError
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
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
                for lead_id, lead in wanted.items():
                    tell(lead_id, await _one(connection, lead, shown.get(lead_id)))


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


async def _one(connection: Connection, lead: _Ours, seen: tuple[Created, float] | None) -> str | None:
    """Delete one lead; return why it was kept, None where it is gone."""
    ledger = connection.ledger
    shown = await _fresh(connection, lead, seen)
    is_resumed = lead.state == "deleting"
    why = None if is_resumed and shown is None else _why_kept(connection.hashes, lead, shown, ledger)
    if why is None:
        if not is_resumed:
            ledger.deleting(lead.identity)
        why = await _delete(connection, lead, shown)
        if why is None:
            ledger.deleted(lead.identity)
        else:
            ledger.kept(lead.identity)
    elif is_resumed:
        ledger.kept(lead.identity)
    return why


async def _fresh(connection: Connection, lead: _Ours, seen: tuple[Created, float] | None) -> Created | None:
    """Return the lead as it is now: what was listed a while ago is looked up again by its number."""
    if seen is None or time.monotonic() - seen[1] <= _FRESH:
        return seen[0] if seen else None
    return await _now(connection, lead, seen[0])


async def _now(connection: Connection, lead: _Ours, shown: Created) -> Created | None:
    await connection.gate.wait()
    try:
        leads = await connection.service.find_leads(lead.campaign_id, shown.phone)
    except LookupFailed as failure:
        raise Stopped(f"lead {lead.lead_id} can't be looked up: {failure}. Run undo again to go on.") from failure
    return next((found for found in leads or () if found.lead_id == lead.lead_id), None)


async def _stands(connection: Connection, lead: _Ours, shown: Created) -> bool:
    return await _now(connection, lead, shown) is not None


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


async def _delete(connection: Connection, lead: _Ours, shown: Created | None) -> str | None:
    """Ask for the delete until there is an answer; return why the lead was kept, None where it is gone."""
    for attempt in range(_TRIES):
        await connection.gate.wait()
        verdict = await connection.service.delete_lead(lead.lead_id)
        if verdict.meaning is Meaning.CREATED:
            return None
        stands = shown is not None and await _stands(connection, lead, shown) if verdict.code == "gone" else False
        if verdict.http_status in (405, 501) or stands:  # a 404 may also say that there is no such call
            connection.ledger.kept(lead.identity)
            raise Refused("this server does not let anybody delete leads. Delete them in the platform.")
        if verdict.code == "gone":
            return None
        if verdict.meaning is Meaning.REJECTED:
            return str(verdict.message)
        if verdict.meaning is Meaning.STOP:  # an earlier try may have done it: undoing again tells
            raise Stopped(f"{verdict.message} Run undo again to go on.")
        if attempt < _TRIES - 1:
            await anyio.sleep(min(verdict.retry_after or 0.5 * 2**attempt, 60.0))
    raise Stopped(f"lead {lead.lead_id} can't be deleted now: {verdict.message}. Run undo again to go on.")
