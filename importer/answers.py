"""What an answer of the service means: pure judging of status, headers and body (api.md, "The answer", "Errors")."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from importer.records import Created, Lead, Meaning, Verdict

#: How "the number is there already" sounds, on this platform's brands and in their languages.
_DUPLICATE = (
    "already exist",
    "already been taken",
    "already taken",
    "duplicate",
    "já existe",
    "ya existe",
    "existe déjà",
    "existiert bereits",
    "bereits vorhanden",
    "já foi",
    "duplicad",
)
_BALANCE = ("balance", "credit", "saldo", "payment required")
_CAMPAIGN = ("campaign", "campanha", "campaña", "kampagne")
_ACCOUNT = ("plan", "subscription", "account", "permission", "not allowed", "limit reached")

#: A lead that the server dates this long before its own answer is an old one.
_OLD = 120.0
_LONGEST_TEXT = 500


@dataclass(frozen=True, slots=True)
class RateHeaders:
    """What an answer says of the limit; `reset` is epoch seconds."""

    limit: int | None
    remaining: int | None
    reset: float | None


def rate_headers(headers: Mapping[str, str]) -> RateHeaders | None:
    """Read the limit's headers; None where there are none."""
    limit, remaining = _integer(headers.get("x-ratelimit-limit")), _integer(headers.get("x-ratelimit-remaining"))
    reset = _float(headers.get("x-ratelimit-reset"))
    return None if limit is None and remaining is None and reset is None else RateHeaders(limit, remaining, reset)


def judge(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    sent: Lead | None,
    duplicate_texts: Sequence[str] = (),
    now: datetime,
) -> Verdict:
    """Tell what an answer to a create means. `headers` have lower-case names."""
    date = _date(headers.get("date"))
    data = _json(body)
    text = _words(data, body)
    told: dict[str, Any] = {"http_status": status, "message": text, "date": date}
    if 300 <= status < 400:
        where = re.sub(r"[?#].*", "", headers.get("location", ""))
        return Verdict(
            Meaning.STOP,
            "redirected",
            f"the server redirects to {where or 'another page'} instead of answering; a refused key looks like this. Check the key and the address.",
            systemic="login",
            http_status=status,
            date=date,
        )
    if status == 401:
        return Verdict(
            Meaning.STOP,
            "key_refused",
            f"the server refuses the key: {text}",
            systemic="key",
            http_status=status,
            date=date,
        )
    if status == 403:
        return Verdict(
            Meaning.STOP,
            "forbidden",
            f"the server forbids it: {text}. Check the key's rights and the plan.",
            systemic="account",
            http_status=status,
            date=date,
        )
    if status == 429 or (status == 503 and "retry-after" in headers):
        return Verdict(
            Meaning.LATER,
            f"http_{status}",
            retry_after=_wait(headers, data, date or now),
            http_status=status,
            date=date,
        )
    if 200 <= status < 300:
        return _success(data, told, sent, date, duplicate_texts)
    if status == 408 or status >= 500 or status < 200:
        html = data is None and b"<" in body[:200]
        return Verdict(
            Meaning.AMBIGUOUS,
            f"http_{status}",
            f"the server failed ({status}: {text}); the lead may or may not have been created",
            systemic="html" if html else None,
            http_status=status,
            date=date,
        )
    return _refusal(status, data, body, text, date, duplicate_texts)


def _success(
    data: Any, told: dict[str, Any], sent: Lead | None, date: datetime | None, duplicate_texts: Sequence[str]
) -> Verdict:
    if data is None:
        return Verdict(
            Meaning.AMBIGUOUS,
            "not_json",
            "the server answered with something that is no JSON; the lead may or may not have been created",
            systemic="html",
            http_status=told["http_status"],
            date=date,
        )
    whole = data[0] if isinstance(data, list) and data else data
    lead = read_lead(whole.get("data")) if isinstance(whole, dict) else None
    if lead is None:
        if isinstance(whole, dict) and (whole.get("success") is False or whole.get("error")):
            return _refusal(told["http_status"], data, b"", told["message"], date, duplicate_texts)
        return Verdict(
            Meaning.AMBIGUOUS,
            "no_lead_id",
            f"the server's answer names no lead ID ({told['message']}); the lead may or may not have been created",
            http_status=told["http_status"],
            date=date,
        )
    if sent is not None and not _same(lead, sent):
        return Verdict(
            Meaning.AMBIGUOUS,
            "other_lead",
            f"the server answered with another lead ({lead.lead_id}); this one may or may not have been created",
            http_status=told["http_status"],
            date=date,
        )
    created = when(lead.created_at)
    if (
        created is not None
        and created.tzinfo is not None
        and date is not None
        and (date - created).total_seconds() > _OLD
    ):
        return Verdict(
            Meaning.DUPLICATE,
            "old_lead",
            f"the server answered with a lead that it created before, at {lead.created_at}",
            http_status=told["http_status"],
            lead=lead,
            date=date,
        )
    return Verdict(Meaning.CREATED, http_status=told["http_status"], lead=lead, date=date)


def _refusal(
    status: int, data: Any, body: bytes, text: str, date: datetime | None, duplicate_texts: Sequence[str]
) -> Verdict:
    field = _field(data)
    lowered = text.casefold()
    about_number = field in (None, "phone_number")
    if (
        about_number and any(word in lowered for word in (*_DUPLICATE, *(more.casefold() for more in duplicate_texts)))
    ) or (status == 409 and about_number):
        return Verdict(Meaning.DUPLICATE, "on_server", text, "phone_number", http_status=status, date=date)
    code = data.get("error_code") if isinstance(data, dict) else None
    systemic = _systemic(status, field, lowered, html=data is None and b"<" in body[:200])
    return Verdict(
        Meaning.REJECTED, str(code) if code else f"http_{status}", text, field, status, systemic=systemic, date=date
    )


def _systemic(status: int, field: str | None, text: str, *, html: bool) -> str | None:
    if html:
        return "html"
    if field is not None:
        return "campaign" if field == "campaign_id" else None
    if status == 402 or any(word in text for word in _BALANCE):
        return "balance"
    if status in (404, 405) or any(word in text for word in _CAMPAIGN):
        return "campaign"
    return "account" if any(word in text for word in _ACCOUNT) else None


# Leads, as answers and look-ups show them.


def read_lead(value: Any) -> Created | None:
    """Read a lead in any of the shapes seen; None where it has no usable ID."""
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        return None
    lead_id = value.get("id")
    if isinstance(lead_id, bool) or not isinstance(lead_id, (int, str)) or not str(lead_id).strip() or lead_id == 0:
        return None
    variables = value.get("variables")
    if isinstance(variables, list):
        variables = variables[0] if variables and isinstance(variables[0], dict) else {}
    contacts = value.get("secondary_contacts")
    campaign = value.get("campaign_id")
    return Created(
        lead_id=str(lead_id).strip(),
        phone=str(value.get("phone_number") or ""),
        campaign_id=int(str(campaign)) if str(campaign).isdigit() else None,
        variables=variables if isinstance(variables, dict) else None,
        contacts=tuple(found for one in contacts if (found := read_lead(one)) is not None)
        if isinstance(contacts, list)
        else (),
        status=str(value["status"]) if value.get("status") is not None else None,
        created_at=str(value["created_at"]) if value.get("created_at") is not None else None,
    )


def digits(phone: str) -> str:
    """Return a number's digits: servers format numbers as they like."""
    return "".join(letter for letter in phone if letter.isdigit())


def _same(lead: Created, sent: Lead) -> bool:
    other_number = lead.phone and digits(lead.phone) != digits(sent.primary.phone)
    return not other_number and lead.campaign_id in (None, sent.campaign_id)


def when(text: str | None) -> datetime | None:
    """Read a timestamp of the server's; it may lack a zone."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


# Small readings.


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _words(data: Any, body: bytes) -> str:
    """Return what the server says, from any of its four envelopes, or the text of a page."""
    if isinstance(data, list) and data:
        data = data[0]
    if isinstance(data, dict):
        parts = [str(data[name]) for name in ("message", "error") if isinstance(data.get(name), (str, int))]
        errors = data.get("errors")
        if isinstance(errors, dict):
            parts += [
                f"{name}: {' '.join(map(str, said)) if isinstance(said, list) else said}"
                for name, said in errors.items()
            ]
        text = "; ".join(parts) or orjson.dumps(data).decode()
    else:
        text = re.sub(
            r"<(script|style).*?</\1>|<[^>]*>",
            " ",
            body[:20_000].decode("utf-8", "replace"),
            flags=re.DOTALL | re.IGNORECASE,
        )
    text = re.sub(r"\s+", " ", text).strip()
    return text[:_LONGEST_TEXT] or "no words"


def _field(data: Any) -> str | None:
    errors = data.get("errors") if isinstance(data, dict) else None
    return str(next(iter(errors))) if isinstance(errors, dict) and errors else None


def _wait(headers: Mapping[str, str], data: Any, now: datetime) -> float | None:
    """Return the seconds to wait: Retry-After (RFC 9110 §10.2.3), then the body, then the reset time."""
    said = headers.get("retry-after", "").strip()
    seconds = _float(said)
    if seconds is None and said and (until := _date(said)) is not None:
        seconds = (until - now).total_seconds()
    if seconds is None and isinstance(data, dict):
        seconds = _float(data.get("retry_after"))
    if seconds is None and (reset := _float(headers.get("x-ratelimit-reset"))) is not None:
        seconds = reset - now.timestamp()
    return max(seconds, 0.0) if seconds is not None else None


def _date(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found


def _float(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _integer(value: Any) -> int | None:
    number = _float(value)
    return None if number is None else int(number)
