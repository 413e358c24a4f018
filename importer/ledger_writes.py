"""The statements that write what happens to every lead: its intent, its outcome, and an intent taken back.

They go to disk many in one commit (`group_commit`); what they write to is laid out in `ledger_file`.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from importer.group_commit import Write
from importer.hashes import Hashes
from importer.records import Lead, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: The number that a lead goes by, of its identity.
LEAD = "(SELECT lead FROM leads WHERE identity = ?)"

_INTENT = (
    "INSERT INTO leads (identity, service, campaign, state, run_id, attempts, payload_hash, number, payload, intended_at)"
    " VALUES (?, ?, ?, 'sending', ?, 1, ?, ?, ?, ?)"
    " ON CONFLICT (identity) DO UPDATE SET state = 'sending', run_id = excluded.run_id, attempts = attempts + 1,"
    " payload_hash = excluded.payload_hash, number = excluded.number, payload = excluded.payload, lead_id = NULL,"
    " intended_at = CASE WHEN leads.state IN ('doubtful', 'unknown') THEN leads.intended_at ELSE excluded.intended_at END"
)
# Of who knows of no earlier attempt in doubt: one that another run has by now is that run's to settle (no such state: refused).
_OTHERS_DOUBT = "leads.state IN ('doubtful', 'unknown') AND leads.run_id <> excluded.run_id"
_FIRST_INTENT = _INTENT.replace(
    "SET state = 'sending'", f"SET state = CASE WHEN {_OTHERS_DOUBT} THEN 'elsewhere' ELSE 'sending' END"
)
# An intent taken back. What no run has an outcome of was new, and goes without a trace.
_MEANT = "identity = ? AND run_id = ? AND state = 'sending'"
_LAST = "(SELECT o.{} FROM outcomes o WHERE o.lead = leads.lead ORDER BY o.run_id DESC LIMIT 1)"
_IS_NEW = "NOT EXISTS (SELECT 1 FROM outcomes o WHERE o.lead = leads.lead)"
_UNKNOWN_PEOPLE = f"DELETE FROM members WHERE lead = (SELECT lead FROM leads WHERE {_MEANT} AND {_IS_NEW})"  # noqa: S608 - constants
_NEVER_MEANT = f"DELETE FROM leads WHERE {_MEANT} AND {_IS_NEW}"  # noqa: S608
_STOOD = ", ".join(f"{name} = coalesce({_LAST.format(name)}, {name})" for name in ("run_id", "attempts"))
_BACK_IN_DOUBT = f"UPDATE leads SET state = 'doubtful', {_STOOD} WHERE {_MEANT}"  # noqa: S608
_AS_BEFORE = (
    f"UPDATE leads SET state = CASE {_LAST.format('status')} WHEN 'duplicate' THEN 'duplicate'"  # noqa: S608
    f" WHEN 'rejected' THEN 'rejected' ELSE 'failed' END, {_STOOD}, number = NULL, payload = NULL WHERE {_MEANT}"
)
_FORGET_MEMBERS = f"DELETE FROM members WHERE lead = {LEAD}"  # noqa: S608 - a constant, like the others below
_MEMBER = f"INSERT OR REPLACE INTO members (lead, position, number, variables) VALUES ({LEAD}, ?, ?, ?)"  # noqa: S608
_STANDING = "UPDATE leads SET state = ?, run_id = ?, attempts = ?, lead_id = ? WHERE identity = ?"
_STANDING_ERASED = "UPDATE leads SET state = ?, run_id = ?, attempts = ?, lead_id = ?, number = NULL, payload = NULL WHERE identity = ?"
_OUTCOME = f"INSERT OR REPLACE INTO outcomes VALUES ({LEAD}, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_CONTACT_ID = f"UPDATE members SET contact_id = ? WHERE lead = {LEAD} AND position = ?"  # noqa: S608


def of_intent(
    identity: bytes,
    lead: Lead,
    payload: bytes,
    *,
    hashes: Hashes,
    run_id: str,
    at: float | None,
    is_new: bool,
    is_first: bool,
) -> Write:
    """Return what makes an intent durable: the lead with its payload, and the hashes of its people."""
    people = (lead.primary, *lead.contacts)
    told = (lead.campaign_id, run_id, hashes.payload(payload), lead.primary.phone, payload, at)
    intent = _FIRST_INTENT if is_first else _INTENT
    statements: list[tuple[str, Sequence[Any]]] = [(intent, (identity, hashes.service, *told))]
    if not is_new:
        statements.append((_FORGET_MEMBERS, (identity,)))
    for position, person in enumerate(people):
        number = hashes.number(lead.campaign_id, person.phone)
        values = orjson.dumps(hashes.values(person.variables)).decode()
        statements.append((_MEMBER, (identity, position, number, values)))
    return Write(identity, statements)


def of_outcome(identity: bytes, outcome: Outcome, state: str) -> Write:
    """Return what makes an outcome durable, and the lead's new state; what it was sent with is erased unless that is open."""
    standing = _STANDING if state in ("doubtful", "unknown") else _STANDING_ERASED
    finished = (outcome.finished_at or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
    run_id, attempts, lead_id = outcome.run_id, max(outcome.attempts, 1), outcome.lead_id
    why = (outcome.code, outcome.message, outcome.field, outcome.http_status)
    statements: list[tuple[str, Sequence[Any]]] = [
        (standing, (state, run_id, attempts, lead_id if state == "created" else None, identity)),
        (_OUTCOME, (identity, run_id, outcome.status.value, finished, attempts, lead_id, *why)),
    ]
    statements += [
        (_CONTACT_ID, (contact_id, identity, position))
        for position, contact_id in enumerate(outcome.contact_ids, start=1)
    ]
    return Write(identity, statements)


def of_contacts(identity: bytes, contact_ids: "Mapping[int, str]") -> Write:
    """Return what makes durable that a lead has these contacts, by their positions from 1."""
    told = contact_ids.items()
    return Write(identity, [(_CONTACT_ID, (contact_id, identity, position)) for position, contact_id in told])


def of_withdrawal(identity: bytes, run_id: str, *, in_doubt: bool) -> Write:
    """Return what takes an intent of a run back, so that the lead stands as it did before."""
    own = (identity, run_id)
    if in_doubt:
        return Write(identity, [(_BACK_IN_DOUBT, own)])
    return Write(identity, [(_UNKNOWN_PEOPLE, own), (_NEVER_MEANT, own), (_AS_BEFORE, own)])
