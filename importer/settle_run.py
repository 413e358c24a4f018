"""Look up every lead of a past run whose outcome is unknown; nothing is ever sent."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import anyio

from importer.api import read_payload
from importer.connect import Connection, Terms, connect
from importer.deliver import contact_ids
from importer.errors import LeadImporterError
from importer.ledger import Ledger, Run
from importer.machine import going_on
from importer.records import Doubt, Lead, Outcome, Status
from importer.settle import Finding, Found, Settler, is_old
from importer.wording import count_of

#: Look-ups at once.
_AT_ONCE = 8


def settle_run(
    terms: Terms, ledger: Ledger, run: Run, say: Callable[[str], None]
) -> tuple[Counter[str], LeadImporterError | None]:
    """Settle what is open of a run; return how many leads came to which status, and what ended it early.

    `unknown` are those still open. Raises `Busy` while another sender is at work, and whatever keeps it from beginning.
    """
    return anyio.run(_online, terms, ledger, run, say)


async def _online(
    terms: Terms, ledger: Ledger, run: Run, say: Callable[[str], None]
) -> tuple[Counter[str], LeadImporterError | None]:
    async with connect(terms, ledger, run, say) as connection:
        begun = ledger.sending(run.service)
        ledger.cut_off(run.service, begun.keys() - going_on(begun))
        doubts = ledger.doubts_of(run.run_id)
        leads = count_of(len(doubts), "lead is", plural="leads are")
        say(f"Run {run.run_id}: {leads} in doubt." + (" Looking up; nothing is sent." if doubts else ""))
        settling = _Settling(connection, run)
        await settling.settle(doubts)
    for why, count in settling.reasons.most_common():
        say(f"Still unknown, {count:,} of them: {why}.")
    return settling.told, settling.failure


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
