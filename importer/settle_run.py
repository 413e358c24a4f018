"""Look up every lead of a past run whose outcome is unknown, and contacts that no answer named; nothing is ever sent."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import anyio

from importer.api import LookupFailed, read_payload
from importer.connect import Connection, Terms, connect
from importer.deliver import contact_ids
from importer.errors import LeadImporterError
from importer.ledger import Ledger, Run, Unconfirmed
from importer.listed import e164, listed
from importer.machine import going_on
from importer.records import Created, Doubt, Lead, Outcome, Status
from importer.settle import Finding, Found, Settler, is_old
from importer.wording import count_of

#: Look-ups at once.
_AT_ONCE = 8

#: What people can do about a contact of which the server tells nothing.
_BY_HAND = "look at the lead in the platform (import_lead_id in the row), and add the contact there if it lacks it"


@dataclass(frozen=True, slots=True)
class Settled:
    """What settling a run came to: its leads by status (`unknown`: still open), and contacts of those that stand."""

    leads: Counter[str]
    confirmed: int
    """Contacts whose IDs are known now."""
    is_open: bool
    """Whether something of the run is still unknown."""
    failure: LeadImporterError | None
    """What ended it early."""


def settle_run(terms: Terms, ledger: Ledger, run: Run, say: Callable[[str], None]) -> Settled:
    """Look up the leads of a run that are in doubt, and the contacts that no answer has named; send nothing.

    Raises `Busy` while another sender is at work, and whatever keeps it from beginning.
    """
    return anyio.run(_online, terms, ledger, run, say)


async def _online(terms: Terms, ledger: Ledger, run: Run, say: Callable[[str], None]) -> Settled:
    async with connect(terms, ledger, run, say, doing=f"settle of run {run.run_id}") as connection:
        begun = ledger.sending(run.service)
        ledger.cut_off(run.service, begun.keys() - going_on(begun))
        doubts, lacking = ledger.doubts_of(run.run_id), ledger.unconfirmed(run.run_id)
        say(_what_is_open(run, len(doubts), sum(len(lead.numbers) for lead in lacking)))
        settling = _Settling(connection, run)
        await settling.settle(doubts)
        confirming = _Confirming(connection)
        if settling.failure is None:  # of leads found just now contacts may be lacking, too
            await confirming.confirm(ledger.unconfirmed(run.run_id))
    for why, count in settling.reasons.most_common():
        say(f"Still unknown, {count:,} of them: {why}.")
    for why, count in confirming.reasons.most_common():
        say(f"Still not confirmed, {count_of(count, 'contact')}: {why}.")
    elsewhere = _elsewhere(ledger, run) if not doubts and not lacking else []
    if elsewhere:
        commands = "; ".join(f"lead-importer settle {one}" for one in elsewhere)
        say(
            f"Its unknown rows are of leads that runs before it sent (their import_run_id). Settle those: {commands}; "
            f"then write its result again: lead-importer results {run.run_id}"
        )
    is_open = bool(settling.told["unknown"] or confirming.reasons or elsewhere)
    return Settled(settling.told, confirming.confirmed, is_open, settling.failure or confirming.failure)


def _what_is_open(run: Run, leads: int, contacts: int) -> str:
    said = f"Run {run.run_id}: {count_of(leads, 'lead is', plural='leads are')} in doubt"
    if contacts:
        are = count_of(contacts, "contact", plural="contacts")
        said += f", and {are} of its created leads {'is' if contacts == 1 else 'are'} not confirmed"
    return f"{said}.{' Looking up; nothing is sent.' if leads or contacts else ''}"


def _elsewhere(ledger: Ledger, run: Run) -> list[str]:
    """Return the runs before this one that left open what its rows tell as unknown."""
    return ledger.open_before(run.service, run.run_id) if run.counts.get(Status.UNKNOWN) else []


class _Settling:
    """The look-ups of one run."""

    def __init__(self, connection: Connection, run: Run) -> None:
        self._connection = connection
        self._run_id = run.run_id
        self._settler = Settler(
            connection.service,
            lambda lead_id: connection.ledger.has_lead_id(run.service, lead_id),
            lambda lead_id: connection.ledger.intended_at(run.service, lead_id),
            lambda lead, of: connection.ledger.has_contact(
                connection.hashes.number(lead.campaign_id, lead.primary.phone), of
            ),
            window=connection.terms.delivery.settle_window,
            turn=connection.gate.wait,
        )
        self._one_number = anyio.Lock()
        self.told: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        """Why leads are still unknown."""
        self.failure: LeadImporterError | None = None

    async def settle(self, doubts: list[Doubt]) -> None:
        limiter = anyio.CapacityLimiter(_AT_ONCE)
        async with anyio.create_task_group() as tasks:

            async def one(doubt: Doubt) -> None:
                try:
                    await self._one(doubt)
                except LeadImporterError as failure:  # the key is refused, or the ledger can't be written
                    self.failure = self.failure or failure
                    tasks.cancel_scope.cancel()
                finally:
                    limiter.release_on_behalf_of(doubt)

            for doubt in doubts:
                await limiter.acquire_on_behalf_of(doubt)
                tasks.start_soon(one, doubt)

    async def _one(self, doubt: Doubt) -> None:
        lead = read_payload(doubt.payload)
        if lead.allow_duplicate:  # of leads alike to the letter each must find one of its own
            async with self._one_number:
                outcome = await self._outcome(doubt, lead)
        else:
            outcome = await self._outcome(doubt, lead)
        self.told[outcome.status.value] += 1
        if outcome.status is Status.UNKNOWN:
            self.reasons[outcome.message or "the look-up tells nothing"] += 1

    async def _outcome(self, doubt: Doubt, lead: Lead) -> Outcome:
        """Look one lead up, and write down what is proven; what is not stays open."""
        delivery = self._connection.terms.delivery
        clock = self._connection.service.clock
        old = is_old(doubt, clock, timeout=delivery.timeout, window=delivery.settle_window)
        finding = await self._settler.settle(doubt, lead, is_old=old)
        outcome = await self._meaning(doubt, lead, finding)
        if outcome.status is not Status.UNKNOWN:
            self._connection.ledger.finish(doubt.identity, outcome)
            await self._connection.ledger.flush()
        return outcome

    async def _meaning(self, doubt: Doubt, lead: Lead, finding: Finding) -> Outcome:
        outcome = Outcome(Status.UNKNOWN, self._run_id, datetime.now(UTC), message=finding.why, attempts=doubt.attempts)
        found = finding.lead
        match finding.found:
            case Found.OURS if found is not None:
                ids = contact_ids(lead, found)
                return replace(outcome, status=Status.CREATED, lead_id=found.lead_id, contact_ids=ids, message=None)
            case Found.OTHERS | Found.UNCLEAR if found is not None and not lead.allow_duplicate:
                return replace(outcome, status=Status.DUPLICATE, lead_id=found.lead_id, code="found_by_lookup")
            case Found.NOT_THERE:
                return outcome if doubt.is_elsewhere else await self._not_there(lead, outcome)
            case Found.NO_LOOKUP if not lead.allow_duplicate:
                advice = "; --include unknown sends it again, under the server's own check for duplicates"
                return replace(outcome, message=finding.why + advice)
            case _:
                return outcome

    async def _not_there(self, lead: Lead, outcome: Outcome) -> Outcome:
        """Take "not there" for an answer where the server's own check stands guard, or its look-up shows leads of ours."""
        if lead.allow_duplicate and not await self._settler.is_proven(lead.campaign_id):
            why = "the server does not show it, nor any lead of ours by which that could be trusted"
            return replace(outcome, message=why)
        message = "looked up, and surely not created; retry and the next run send it"
        return replace(outcome, status=Status.FAILED, code="not_found", message=message)


class _Confirming:
    """The look for contacts of created leads that no answer has named: each in its lead, by the ID and its number."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.confirmed = 0
        self.reasons: Counter[str] = Counter()
        """Why contacts are still not confirmed."""
        self.failure: LeadImporterError | None = None

    async def confirm(self, lacking: list[Unconfirmed]) -> None:
        try:
            for campaign_id in sorted({lead.campaign_id for lead in lacking}):
                await self._in_campaign(campaign_id, [lead for lead in lacking if lead.campaign_id == campaign_id])
        except LeadImporterError as failure:  # the key is refused, or the ledger can't be written
            self.failure = failure

    async def _in_campaign(self, campaign_id: int, lacking: list[Unconfirmed]) -> None:
        contacts = sum(len(lead.numbers) for lead in lacking)
        try:
            shown = await listed(self._connection, campaign_id, {lead.lead_id: lead.intended_at for lead in lacking})
        except LookupFailed as failure:
            self.reasons[f"the leads can't be listed ({failure}); settle again to go on"] += contacts
            return
        if shown is None:
            self.reasons[f"this server has no look-up; {_BY_HAND}"] += contacts
            return
        for lead in lacking:
            found = shown.get(lead.lead_id)
            self._one(lead, found[0] if found else None)

    def _one(self, lead: Unconfirmed, shown: Created | None) -> None:
        """Take the IDs of those contacts that the lead has by now, and say why the others stay as they are."""

        def hashed(person: Created) -> bytes:
            return self._connection.hashes.number(lead.campaign_id, e164(person.phone))

        if shown is None or hashed(shown) != lead.number:
            why = "does not list their lead" if shown is None else "shows another number for their lead"
            self.reasons[f"the server {why}; {_BY_HAND}"] += len(lead.numbers)
            return
        there = {hashed(contact): contact.lead_id for contact in shown.contacts}
        ids = {position: there[number] for position, number in lead.numbers.items() if number in there}
        if ids:
            self._connection.ledger.confirm(lead.identity, ids)
        self.confirmed += len(ids)
        if missing := len(lead.numbers) - len(ids):
            self.reasons[f"the server shows their lead without them; {_BY_HAND}"] += missing
