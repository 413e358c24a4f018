"""The first few leads: sent alone, read back, and held against what was sent before the rest goes. Pure.

One lead for each shape that a mapping may get wrong. What the server dropped or cut is named, never shown.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from importer.answers import digits
from importer.records import Created, Lead, Person, Planned
from importer.settle import as_text

#: Leads looked at for the shapes: enough to meet each, few enough to take no time.
LOOKED_AT = 2_000
#: Leads kept of each shape: where one is refused, or stays in doubt, the next is taken.
_CANDIDATES = 5

_SHAPES: Mapping[str, Callable[[Lead], bool]] = {
    "with contacts": lambda lead: bool(lead.contacts),
    "without contacts": lambda lead: not lead.contacts,
    "with letters beyond ASCII": lambda lead: not all(person.variables.isascii() for person in _people(lead)),
}
_FULLEST = "fullest"


def batch_of(address: str, inputs: Iterable[str], config: str) -> str:
    """Name what a canary is sent once for: these inputs (their hashes) under this config (its fingerprint) there."""
    return hashlib.sha256("\n".join((address, config, *sorted(inputs))).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Canary:
    """Leads of one shape, the first ones that were found."""

    shape: str
    candidates: tuple[Planned, ...]


def choose(leads: Iterable[Planned], done: Collection[str]) -> list[Canary]:
    """Return candidates for each shape that is not `done` and that the first leads show; none is in two shapes."""
    first = list(islice((lead for lead in leads if lead.doubt is None), LOOKED_AT))
    fullest = sorted(first, key=lambda planned: -_fullness(planned.lead))
    fitting_by_shape = {shape: [lead for lead in first if has(lead.lead)] for shape, has in _SHAPES.items()}
    fitting_by_shape[_FULLEST] = fullest[:_CANDIDATES]
    taken: set[bytes] = set()
    chosen = []
    for shape, fitting in sorted(fitting_by_shape.items(), key=lambda item: len(item[1])):  # the rarest chooses first
        candidates = [lead for lead in fitting if lead.identity not in taken][:_CANDIDATES]
        if shape not in done and candidates:
            taken |= {lead.identity for lead in candidates}
            chosen.append(Canary(shape, tuple(candidates)))
    return chosen


def _people(lead: Lead) -> tuple[Person, ...]:
    return (lead.primary, *lead.contacts)


def _fullness(lead: Lead) -> int:
    return sum(len(person.variables) for person in _people(lead))


def differences(sent: Lead, stored: Created) -> list[str]:
    """Say what the server did not keep as it was sent, field by field; nothing where all is well.

    What an answer does not tell (no `variables` at all) is passed over.
    """
    found = _of_person("", sent.primary, stored.variables)
    if stored.campaign_id not in (None, sent.campaign_id):
        found.append(f"campaign {sent.campaign_id} was stored as {stored.campaign_id}")
    told = {digits(contact.phone): contact for contact in stored.contacts}
    for number, contact in enumerate(sent.contacts, start=1):
        whose = f"secondary contact {number}: "
        if (kept := told.get(digits(contact.phone))) is None:
            found.append(f"secondary contact {number} was dropped")
        else:
            found += _of_person(whose, contact, kept.variables)
    return found


def _of_person(whose: str, sent: Person, stored: Mapping[str, Any] | None) -> list[str]:
    if stored is None:
        return []
    found = []
    for name, value in orjson.loads(sent.variables).items():
        was, now = as_text(value) or "", as_text(stored.get(name))
        if was and now is None:
            found.append(f'{whose}variable "{name}" was dropped')
        elif was and now != was:
            cut = f"cut from {len(was)} to {len(now)} characters" if was.startswith(now or "") and now else "changed"
            found.append(f'{whose}variable "{name}" was {cut}')
    return found
