"""What the sandbox knows: its leads and counts, and which of them a look-up asks for."""

import math
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.datastructures import QueryParams


@dataclass(slots=True)
class Person:
    """Somebody with a number: what a lead and a contact have in common. Times are epoch seconds."""

    id: int
    phone_number: str
    variables: dict[str, Any]
    status: str
    created_at: float
    updated_at: float


@dataclass(slots=True)
class Lead(Person):
    """A lead as it is stored."""

    campaign_id: int
    allow_dupplicate: bool
    contacts: list[Person]
    numbers: str
    """All its numbers in one text, for partial matches."""


class Memory:
    """The leads and counts of one sandbox; only its server's loop changes them."""

    def __init__(self, *, drop_variable: str | None = None, cut_variable: tuple[str, int] | None = None) -> None:
        self._drop_variable = drop_variable
        self._cut_variable = cut_variable
        self.instance = secrets.token_hex(8)
        self.leads: dict[int, Lead] = {}
        self.taken: Counter[tuple[int, str]] = Counter()
        """How many leads a campaign has of a number."""
        self.posts = 0
        self.refused_duplicates = 0
        self.deleted: list[int] = []
        self.faults: Counter[str] = Counter()
        self.lookup_faults: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()
        """Whole answers of the API by status."""
        self._last_id = 1000

    def store(self, asked: dict[str, Any]) -> Lead:
        """Keep a create that was found sound, under new IDs."""
        now = time.time()
        lead_id, variables = self._new_id(), self._kept(asked)
        contacts = [
            Person(self._new_id(), contact["phone_number"], self._kept(contact), "created", now, now)
            for contact in asked.get("secondary_contacts", ())
        ]
        phone, campaign_id = asked["phone_number"], asked["campaign_id"]
        numbers = "|".join((phone, *(contact.phone_number for contact in contacts)))
        allow = asked.get("allow_dupplicate", False)
        lead = Lead(lead_id, phone, variables, "created", now, now, campaign_id, allow, contacts, numbers)
        self.leads[lead_id] = lead
        self.taken[campaign_id, phone] += 1
        return lead

    def delete(self, lead: Lead) -> None:
        """Forget a lead, but for its ID."""
        del self.leads[lead.id]
        self.taken[lead.campaign_id, lead.phone_number] -= 1
        self.deleted.append(lead.id)

    def person(self, wanted: int) -> Person | None:
        """Find a lead or, slowly, a contact."""
        contacts = (contact for lead in self.leads.values() for contact in lead.contacts)
        return self.leads.get(wanted) or next((contact for contact in contacts if contact.id == wanted), None)

    def judged(self) -> list[dict[str, Any]]:
        """Return the leads as judges see them; safe in any thread."""
        return [
            {
                **judged(lead),
                "campaign_id": lead.campaign_id,
                "allow_dupplicate": lead.allow_dupplicate,
                "created_at_epoch": lead.created_at,
                "contacts": [judged(contact) for contact in lead.contacts],
            }
            for lead in list(self.leads.values())
        ]

    def shown(self) -> dict[str, Any]:
        """Return everything a judge may ask for."""
        return self.counts() | {"deleted": self.deleted, "leads": self.judged()}

    def counts(self) -> dict[str, Any]:
        """Return what is cheap to ask for again and again."""
        names = ("instance", "posts", "refused_duplicates", "faults", "lookup_faults", "answers")
        return {name: getattr(self, name) for name in names}

    def _new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _kept(self, asked: dict[str, Any]) -> dict[str, Any]:
        variables: dict[str, Any] = asked.get("variables", {})
        if self._drop_variable is not None:
            variables.pop(self._drop_variable, None)
        if self._cut_variable is not None:
            name, length = self._cut_variable
            if isinstance(value := variables.get(name), str):
                variables[name] = value[:length]
        return variables


def judged(person: Person) -> dict[str, Any]:
    """Return what judges see of a lead and of a contact."""
    return {name: getattr(person, name) for name in ("id", "phone_number", "variables", "status")}


def wanted(query: QueryParams) -> Callable[[Lead], bool]:
    """Return what a look-up filters by; raise ValueError, with a text for the client, where it makes no sense."""
    campaign_id = whole(query.get("campaign_id") or "0", "campaign_id")
    digits, status = re.sub(r"\D", "", query.get("phone_number", "")), query.get("status")
    since = _epoch(query.get("date_from"), "date_from") or 0.0
    until = _epoch(query.get("date_to"), "date_to", day_ends=True) or math.inf
    return lambda lead: (
        digits in lead.numbers
        and campaign_id in (0, lead.campaign_id)
        and (not status or status == lead.status)
        and since <= lead.created_at < until
    )


def whole(text: str, name: str, least: int = 0, most: int = 10**9) -> int:
    """Read a whole number of a query; raise ValueError, with a text for the client, for anything else."""
    if not re.fullmatch(r"[0-9]{1,10}", text) or not least <= int(text) <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}")
    return int(text)


def _epoch(text: str | None, name: str, *, day_ends: bool = False) -> float | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} must be a date") from None
    if day_ends and len(text) <= len("2025-06-30"):
        moment += timedelta(days=1)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
