"""Delete the leads that a run created and that nobody has touched since.

Each delete is written down before it is asked for, and again when it is done; so a cut off `undo` goes on where it
was, and no lead is taken for deleted that is not.
"""

import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import anyio
import orjson

from importer.api import LookupFailed
from importer.connect import Connection, Terms, connect
from importer.errors import Refused, Stopped
from importer.hashes import Hashes
from importer.ledger import Ledger, Member, Run
from importer.records import Created, Meaning

#: A lead's status that says nobody has begun to work on it (api.md).
_UNTOUCHED = "created"
#: Seconds after which a lead is looked at again before it is deleted.
_FRESH = 30.0
_TRIES = 5


@dataclass(slots=True)
class Undone:
    """What an undo came to: IDs of leads that are gone, and of those kept with the reason."""

    deleted: list[str] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Ours:
    """A lead of the run as the ledger holds it."""

    identity: bytes
    state: str
    campaign_id: int
    lead_id: str


def undo(
    terms: Terms, ledger: Ledger, run: Run, *, confirm: Callable[[int], bool], say: Callable[[str], None]
) -> Undone:
    """Delete what a run created and nobody touched; `confirm` is asked once, with how many leads may go.

    Raises `Refused` where the server offers no look-up or no delete, `Stopped` where it can't go on now.
    """
    return anyio.run(_online, terms, ledger, run, confirm, say)


async def _online(
    terms: Terms, ledger: Ledger, run: Run, confirm: Callable[[int], bool], say: Callable[[str], None]
) -> Undone:
    ours = {lead.lead_id: lead for lead in (_Ours(*row) for row in ledger.created_by(run.run_id))}
    undone = Undone()
    if not ours:
        say(f"Run {run.run_id} created no lead that is still there.")
        return undone
    async with connect(terms, ledger, run, say) as connection:
        if not confirm(len(ours)):
            raise Stopped("Nothing was deleted, as you said no.")
        for campaign_id in sorted({lead.campaign_id for lead in ours.values()}):
            shown = await _listed(connection, campaign_id, run)
            for lead in (lead for lead in ours.values() if lead.campaign_id == campaign_id):
                await _one(connection, lead, shown.get(lead.lead_id), undone)
    return undone


async def _listed(connection: Connection, campaign_id: int, run: Run) -> dict[str, tuple[Created, float]]:
    """Return the leads of a campaign since the day before the run, by ID, each with when it was seen."""
    since = (datetime.fromisoformat(run.started_at) - timedelta(days=1)).date().isoformat()
    failure: LookupFailed | None = None
    for attempt in range(_TRIES):
        try:
            return await _read_pages(connection, campaign_id, since)
        except LookupFailed as failed:
            failure = failed
            await anyio.sleep(2.0**attempt)
    raise Stopped(f"the leads can't be listed: {failure}. Run undo again to go on.")


async def _read_pages(connection: Connection, campaign_id: int, since: str) -> dict[str, tuple[Created, float]]:
    found: dict[str, tuple[Created, float]] = {}
    async with aclosing(connection.service.pages(campaign_id, date_from=since)) as pages:
        await connection.gate.wait()
        async for leads in pages:
            if leads is None:
                raise Refused(
                    "this server has no look-up, so nobody can tell whether the leads were touched since. "
                    "Nothing was deleted; delete them in the platform."
                )
            found |= {lead.lead_id: (lead, time.monotonic()) for lead in leads}
            await connection.gate.wait()
    return found


async def _one(connection: Connection, lead: _Ours, seen: tuple[Created, float] | None, undone: Undone) -> None:
    ledger = connection.ledger
    shown = await _fresh(connection, lead, seen)
    why = None if lead.state == "deleting" and shown is None else _why_kept(connection.hashes, lead, shown, ledger)
    if why is not None:
        if lead.state == "deleting":
            ledger.kept(lead.identity)
        undone.kept.append((lead.lead_id, why))
        return
    if lead.state != "deleting":
        ledger.deleting(lead.identity)
    why = await _delete(connection, lead, shown)
    if why is None:
        ledger.deleted(lead.identity)
        undone.deleted.append(lead.lead_id)
    else:
        ledger.kept(lead.identity)
        undone.kept.append((lead.lead_id, why))


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
    return f"it was changed since: {', '.join(changed)}" if changed else None


def _changed(hashes: Hashes, lead: _Ours, shown: Created, members: list[Member]) -> list[str]:
    """Name what is stored otherwise than it was sent, by the hashes of what was sent."""
    changed = []
    told = {hashes.number(lead.campaign_id, _e164(person.phone)): person for person in shown.contacts}
    for member in members:
        whose = "" if member.position == 0 else f"contact {member.position}'s "
        person = shown if member.position == 0 else told.pop(member.number, None)
        if person is None:
            changed.append(f"contact {member.position} is gone")
        elif member.position == 0 and hashes.number(lead.campaign_id, _e164(person.phone)) != member.number:
            changed.append("its number")
        elif person.variables is not None:
            now = hashes.values(orjson.dumps(person.variables).decode())
            names = sorted(
                name for name in now.keys() | member.values.keys() if now.get(name) != member.values.get(name)
            )
            changed += [f"{whose}variable {name!r}" for name in names]
    return changed + (["a contact was added"] if told else [])


def _e164(phone: str) -> str:
    """Return a number as it is hashed, however the server writes it."""
    return "+" + "".join(letter for letter in phone if letter in "0123456789")


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
        if verdict.meaning is Meaning.STOP:
            connection.ledger.kept(lead.identity)
            raise Stopped(str(verdict.message))
        await anyio.sleep(min(verdict.retry_after or 0.5 * 2**attempt, 60.0))
    raise Stopped(f"lead {lead.lead_id} can't be deleted now: {verdict.message}. Run undo again to go on.")
