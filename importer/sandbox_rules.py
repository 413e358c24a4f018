"""What the sandbox refuses: creates that are not as create-lead.txt says, magic numbers, and requests above a limit."""

import math
import re
import time
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from importer.sandbox_faults import Headers, Reply, invalid, json_reply


class Magic(NamedTuple):
    """A refusal that a number asks for: the status, the field it names ("" for none) and the text."""

    status: int
    field: str
    text: str


#: The last four digits of a number → how the sandbox refuses it.
MAGIC: Mapping[str, Magic] = {
    "0066": Magic(422, "variables.email", "must be a valid e-mail address"),
    "0067": Magic(422, "phone_number", "is not a number that can be called"),
    "0068": Magic(402, "", "Insufficient balance"),
}

_KEYS = {"phone_number", "campaign_id", "variables", "allow_dupplicate", "secondary_contacts"}
_CONTACT_KEYS = {"phone_number", "variables"}
_MOST_CONTACTS = 10
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")


def errors_in(asked: Any, campaigns: Collection[int]) -> dict[str, list[str]]:
    """Hold a body against create-lead.txt, strictly; return what is wrong by field, {} for nothing."""
    if not isinstance(asked, dict):
        return {"body": ["must be an object"]}
    errors = _person_errors(asked, "", _KEYS)
    campaign_id = asked.get("campaign_id")
    if type(campaign_id) is not int:
        errors["campaign_id"] = ["must be an integer"]
    elif campaign_id not in campaigns:
        errors["campaign_id"] = ["The selected campaign is invalid."]
    if type(asked.get("allow_dupplicate", False)) is not bool:
        errors["allow_dupplicate"] = ["must be true or false"]
    contacts = asked.get("secondary_contacts", [])
    if not isinstance(contacts, list) or len(contacts) > _MOST_CONTACTS:
        return errors | {"secondary_contacts": [f"must be a list of at most {_MOST_CONTACTS}"]}
    numbers = [asked.get("phone_number")]
    for place, contact in enumerate(contacts):
        prefix = f"secondary_contacts.{place}"
        if not isinstance(contact, dict):
            errors[prefix] = ["must be an object"]
            continue
        errors |= _person_errors(contact, f"{prefix}.", _CONTACT_KEYS)
        number = contact.get("phone_number")
        if number in numbers:
            errors.setdefault(f"{prefix}.phone_number", ["must differ from the lead's other numbers"])
        numbers.append(number)
    return errors


def _person_errors(person: dict[str, Any], prefix: str, keys: set[str]) -> dict[str, list[str]]:
    errors = {f"{prefix}{name}": ["is not a field of this call"] for name in person.keys() - keys}
    phone = person.get("phone_number")
    if not isinstance(phone, str) or not _PHONE.fullmatch(phone):
        errors[f"{prefix}phone_number"] = ["must be in E.164 format"]
    variables = person.get("variables", {})
    if not isinstance(variables, dict):
        return errors | {f"{prefix}variables": ["must be an object"]}
    for name, value in variables.items():
        if not name or not isinstance(value, str | int | float) or (isinstance(value, str) and not value.strip()):
            errors[f"{prefix}variables.{name}"] = ["must be a text, a number, true or false, and not empty"]
    return errors


def refused_by_magic(asked: dict[str, Any]) -> Reply | None:
    """Return the refusal that a number of a lead or contact asks for; None where none does."""
    contacts = enumerate(asked.get("secondary_contacts", ()))
    people = [("", asked), *((f"secondary_contacts.{place}.", contact) for place, contact in contacts)]
    for prefix, person in people:
        magic = MAGIC.get(person["phone_number"][-4:])
        if magic is None:
            continue
        if magic.field:
            return invalid({prefix + magic.field: [magic.text]})
        return json_reply(magic.status, {"success": False, "error": magic.text, "error_code": "insufficient_balance"})
    return None


class Limits:
    """Laravel's rate limiter: for each key a count in a window that opens with its first request."""

    def __init__(self, *, per_second: int | None, per_minute: int | None, headers: bool) -> None:
        self._rules = [(most, seconds) for most, seconds in ((per_second, 1.0), (per_minute, 60.0)) if most]
        self._show = headers
        self._windows: dict[tuple[str, float], tuple[float, int]] = {}
        """When each window ends, and the requests in it."""

    def take(self, key: str) -> tuple[Reply | None, Headers]:
        """Count a request; return the refusal if it is one too many, and the headers for its answer."""
        if not self._rules:
            return None, ()
        now = time.monotonic()
        after = []
        for most, seconds in self._rules:
            ends, count = self._windows.get((key, seconds), (0.0, 0))
            if now >= ends:
                ends, count = now + seconds, 0
            if count >= most:
                return self._too_many(ends - now), self._headers(most, 0)
            after.append((most, seconds, ends, count + 1))
        for _, seconds, ends, count in after:
            self._windows[key, seconds] = (ends, count)
        # Of several limits Laravel shows the one that has least left.
        most, left = min(((most, most - count) for most, _, _, count in after), key=lambda pair: pair[1])
        return None, self._headers(most, left)

    def _headers(self, most: int, left: int) -> Headers:
        shown = ((b"x-ratelimit-limit", b"%d" % most), (b"x-ratelimit-remaining", b"%d" % left))
        return shown if self._show else ()

    def _too_many(self, wait: float) -> Reply:
        seconds = math.ceil(wait)
        reset = math.ceil(time.time() + wait)
        headers = ((b"retry-after", b"%d" % seconds), (b"x-ratelimit-reset", b"%d" % reset)) if self._show else ()
        return json_reply(429, {"message": "Too Many Attempts.", "retry_after": seconds}, *headers)
