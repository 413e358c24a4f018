"""The first lead as it would go out, shown to the person who is about to send it.

Counts tell nothing of two columns that were swapped in the config; one look at a lead does.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from importer.plan import Plan, Work
from importer.records import Lead, Person
from importer.wording import count_of

#: So much of a value is shown, and so many variables.
_LETTERS, _VARIABLES = 60, 12


def first_lead(works: Sequence[Work], made: Plan, limit: int | None) -> str | None:
    """Describe the first lead that would be sent in a line; None where none would be.

    It holds what people have written of a person: for a screen, and for no log.
    """
    for number, leads in made.first(limit):
        for _, lead in works[number].grouped.build(leads[:1], allow_duplicate=False, source=""):
            row = works[number].table.places["row"][lead.primary.index]
            return f"The first, as it goes out (row {row} of {works[number].table.path.name}): {_described(lead)}"
    return None


def _described(lead: Lead) -> str:
    parts = [f"campaign {lead.campaign_id}", *_person(lead.primary)]
    if lead.contacts:
        parts += [f"with {count_of(len(lead.contacts), 'contact')}, the first: {', '.join(_person(lead.contacts[0]))}"]
    return "; ".join(parts) + "."


def _person(person: Person) -> list[str]:
    variables: dict[str, Any] = json.loads(person.variables)
    shown = [f"{name} = {_short(value)}" for name, value in list(variables.items())[:_VARIABLES]]
    return [person.phone, *shown, *_more(len(variables) - len(shown))]


def _more(count: int) -> Iterable[str]:
    return [f"{count_of(count, 'variable')} more"] if count > 0 else []


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"
