"""What a past run made of its rows, told from its inputs and the ledger: so its result file can be written again.

The plan is made once more with the ledger as it was before the run; what the run itself made of a lead goes first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from importer.hashes import Hashes
from importer.ledger import Known, Ledger, Member, Run
from importer.outcomes import Outcomes, Place
from importer.plan import Plan, Work, plan, planned, with_column
from importer.records import Lead, Outcome, Status

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Replayed:
    """A past run's plan, the outcomes of its leads, and what those carry that it never came to."""

    plan: Plan
    outcomes: Outcomes
    otherwise: Outcome


def replay(works: Sequence[Work], ledger: Ledger, run: Run, *, allow_duplicate: bool) -> Replayed:
    """Tell what a run made of its leads. The inputs and the config must be those of the run."""
    hashes = ledger.hashes(run.service)
    include = frozenset(run.request.get("include") or ())
    made = plan(
        works,
        ledger=_Before(ledger, run.run_id),
        hashes=hashes,
        allow_duplicate=allow_duplicate,
        include=include,
        run_id=run.run_id,
    )
    outcomes = made.outcomes.update(made.doubtful)
    for place, outcome in _own(works, made, ledger, hashes, run, allow_duplicate=allow_duplicate):
        outcomes[place] = outcome
        made.held.discard(place)
    return Replayed(made, outcomes, _never_reached(run))


def _never_reached(run: Run) -> Outcome:
    limit = run.request.get("limit")
    if run.cause is None and run.finished_at is not None and limit is not None:
        message = f"held back by --limit {limit}; the next run goes on"
        return Outcome(Status.NOT_SENT, run.run_id, None, code="limit", message=message)
    message = f"not sent: {run.cause or 'the run was cut off'}"
    return Outcome(Status.NOT_SENT, run.run_id, None, code="stopped", message=message)


def _own(
    works: Sequence[Work], made: Plan, ledger: Ledger, hashes: Hashes, run: Run, *, allow_duplicate: bool
) -> Iterator[tuple[Place, Outcome]]:
    """Yield what the run itself made of leads, be they sent or only begun."""
    everything = _all_fit(works, made)
    leads = planned(works, everything, ledger, hashes, allow_duplicate=allow_duplicate, limit=None)
    while part := list(islice(leads, _AT_ONCE)):
        told = ledger.outcomes([lead.identity for lead in part], run.run_id)
        begun = ledger.begun([lead.identity for lead in part], run.run_id)
        for lead in part:
            last = told[lead.identity][-1] if lead.identity in told else None
            if last is not None and last.run_id == run.run_id:
                done = replace(last, contact_ids=_contact_ids(lead.lead, last, ledger.members(lead.identity), hashes))
                yield lead.place, with_column(done, lead.lead, works[lead.place[0]])
            elif lead.identity in begun:
                yield lead.place, _interrupted(run)


def _all_fit(works: Sequence[Work], made: Plan) -> Plan:
    """Return the plan as if everything that was fit had been sent: what was created since may have been sent then."""
    return replace(
        made,
        to_send=[work.grouped.fit() for work in works],
        doubtful={},
    )


def _interrupted(run: Run) -> Outcome:
    message = "the run was cut off while this lead was being sent; the next run looks it up first"
    return Outcome(Status.UNKNOWN, run.run_id, None, code="interrupted", message=message)


def _contact_ids(lead: Lead, outcome: Outcome, members: list[Member], hashes: Hashes) -> tuple[str | None, ...]:
    if outcome.status is not Status.CREATED:
        return ()
    ids = {member.number: member.contact_id for member in members if member.position}
    return tuple(ids.get(hashes.number(lead.campaign_id, contact.phone)) for contact in lead.contacts)


class _Before:
    """The ledger as it was before a run began."""

    def __init__(self, ledger: Ledger, run_id: str) -> None:
        self._ledger = ledger
        self._run_id = run_id

    def is_empty(self) -> bool:
        return self._ledger.is_empty()

    def known(self, numbers: Sequence[bytes]) -> dict[bytes, list[Known]]:
        now = self._ledger.known(numbers)
        identities = list({entry.identity for entries in now.values() for entry in entries})
        told = self._ledger.outcomes(identities, self._run_id)
        earlier = {
            identity: [outcome for outcome in outcomes if outcome.run_id < self._run_id]
            for identity, outcomes in told.items()
        }
        then = {
            number: [_as_it_was(entry, earlier[entry.identity][-1]) for entry in entries if earlier.get(entry.identity)]
            for number, entries in now.items()
        }
        return {number: entries for number, entries in then.items() if entries}

    def members(self, identity: bytes) -> list[Member]:
        return self._ledger.members(identity)

    def numbers_of(self, service: str, lead_id: str) -> tuple[int, set[bytes]] | None:
        return self._ledger.numbers_of(service, lead_id)

    def occurrence(self, run_id: str, content: bytes, sheet: str, row: int) -> int | None:
        return self._ledger.occurrence(run_id, content, sheet, row)


def _as_it_was(entry: Known, outcome: Outcome) -> Known:
    return replace(
        entry,
        state=outcome.status.value,
        run_id=outcome.run_id,
        lead_id=outcome.lead_id,
        code=outcome.code,
        message=outcome.message,
        field=outcome.field,
        http_status=outcome.http_status,
        attempts=outcome.attempts,
        finished_at=outcome.finished_at.isoformat() if outcome.finished_at else None,
    )
