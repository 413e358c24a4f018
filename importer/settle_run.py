"""Look up every lead of a past run whose outcome is unknown; nothing is ever sent."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import anyio

from importer.api import read_payload
from importer.connect import Connection, Terms, connect
from importer.deliver import contact_ids
from importer.ledger import Ledger, Run
from importer.records import Doubt, Lead, Outcome, Status
from importer.settle import Finding, Found, Settler, is_old

#: Look-ups at once.
_AT_ONCE = 8


def settle_run(terms: Terms, ledger: Ledger, run: Run, say: Callable[[str], None]) -> Counter[str]:
    """Settle what is open of a run, and return how many leads came to which status (`unknown`: still open).

    Raises `Busy` while another sender is at work, `Stopped` where the key is refused or the service can't be reached.
    """
    return anyio.run(_online, terms, ledger, run, say)


async def _online(terms: Terms, ledger: Ledger, run: Run, say: Callable[[str], None]) -> Counter[str]:
    told: Counter[str] = Counter()
    async with connect(terms, ledger, run, say) as connection:
        ledger.cut_off(run.service, "")
        doubts = ledger.doubts_of(run.run_id)
        say(f"{len(doubts)} leads of run {run.run_id} are in doubt." + (" They are looked up." if doubts else ""))
        settler = Settler(
            connection.service,
            lambda lead_id: ledger.has_lead_id(run.service, lead_id),
            window=terms.delivery.settle_window,
            turn=connection.gate.wait,
        )
        one_number = anyio.Lock()
        async with anyio.create_task_group() as tasks:
            limiter = anyio.CapacityLimiter(_AT_ONCE)
            for doubt in doubts:
                await limiter.acquire_on_behalf_of(doubt)
                tasks.start_soon(_one, connection, settler, run, doubt, told, limiter, one_number, say)
    return told


async def _one(
    connection: Connection,
    settler: Settler,
    run: Run,
    doubt: Doubt,
    told: Counter[str],
    limiter: anyio.CapacityLimiter,
    one_number: anyio.Lock,
    say: Callable[[str], None],
) -> None:
    lead = read_payload(doubt.payload)
    try:
        if lead.allow_duplicate:  # of leads alike to the letter each must find one of its own
            async with one_number:
                outcome = await _outcome(connection, settler, run, doubt, lead)
                await connection.ledger.flush()
        else:
            outcome = await _outcome(connection, settler, run, doubt, lead)
    finally:
        limiter.release_on_behalf_of(doubt)
    told[outcome.status.value] += 1
    if outcome.status is Status.UNKNOWN and outcome.message:
        say(f"Still unknown: {outcome.message}.")


async def _outcome(connection: Connection, settler: Settler, run: Run, doubt: Doubt, lead: Lead) -> Outcome:
    """Look one lead up, and write down what is proven; what is not stays open."""
    delivery = connection.terms.delivery
    old = is_old(doubt, timeout=delivery.timeout, window=delivery.settle_window)
    finding = await settler.settle(doubt, lead, is_old=old)
    outcome = await _meaning(settler, run, doubt, lead, finding)
    if outcome.status is not Status.UNKNOWN:
        connection.ledger.finish(doubt.identity, outcome)
        await connection.ledger.flush()
    return outcome


async def _meaning(settler: Settler, run: Run, doubt: Doubt, lead: Lead, finding: Finding) -> Outcome:
    outcome = Outcome(Status.UNKNOWN, run.run_id, datetime.now(UTC), message=finding.why, attempts=doubt.attempts)
    match finding.found:
        case Found.OURS if finding.lead is not None:
            ids = contact_ids(lead, finding.lead)
            return replace(outcome, status=Status.CREATED, lead_id=finding.lead.lead_id, contact_ids=ids, message=None)
        case Found.OTHERS | Found.UNCLEAR if finding.lead is not None and not lead.allow_duplicate:
            return replace(
                outcome,
                status=Status.DUPLICATE,
                lead_id=finding.lead.lead_id,
                code="found_by_lookup",
                message=finding.why,
            )
        case Found.NOT_THERE:
            return await _not_there(settler, lead, outcome)
        case Found.NO_LOOKUP:
            advice = "; where duplicates are not allowed, --include unknown sends it under the server's own check"
            return replace(outcome, message=finding.why + ("" if lead.allow_duplicate else advice))
        case _:
            return outcome


async def _not_there(settler: Settler, lead: Lead, outcome: Outcome) -> Outcome:
    """Take "not there" for an answer where the server's own check stands guard, or its look-up shows leads of ours."""
    if lead.allow_duplicate and not await settler.is_proven(lead.campaign_id):
        return replace(
            outcome, message="the server does not show it, nor any lead of ours by which that could be trusted"
        )
    message = "looked up, and surely not created; retry and the next run send it"
    return replace(outcome, status=Status.FAILED, code="not_found", message=message)
