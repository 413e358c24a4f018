"""What an answer of the service means: pure judging of status, headers and body (api.md, "The answer" and "Errors").

Only two things count as proof. *Created*: 2xx, JSON and a usable `data.id` of the lead that was sent. *Not created*:
the server said so. Whatever proves neither is `AMBIGUOUS`.
"""

import html
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import orjson

from importer.records import OTHER_LEAD, Created, Lead, Meaning, Verdict

#: A lead that the server dates more seconds than this before its own answer is an old one. Workers of one platform
#: may differ by seconds; two minutes leave room.
_OLD = 120.0
#: But a local time that is called UTC by mistake is off by quarters of an hour, up to fourteen hours, and no lead of ours
#: is an old one for that.
_QUARTER, _EASTERNMOST, _AT_ONCE = 900.0, 14 * 3600.0 + 5.0, 5.0
#: Characters kept of the server's own words.
_LONGEST_TEXT = 500
#: Earlier "epoch seconds" (2001) are no times of a reset, but something else that some gateway counts there.
_FIRST_EPOCH = 1e9

#: How "that number is there already" sounds in Laravel's translations and in free text; accents folded, lower case.
_DUPLICATE = re.compile(
    r"already (exist|been (taken|added|used|registered)|taken|registered|added|in use|present)"
    r"|\bduplicat(?!\w* request)|\bdoublon|\bduplikat"
    r"|\bja (existe|esta (em uso|cadastrad|registrad|sendo utilizad)|foi (cadastrad|registrad|utilizad|adicionad|usad)|cadastrad)"
    r"|\bya (existe|esta (en uso|registrad)|ha sido (registrad|tomad|utilizad|usad)|registrad)"
    r"|bereits (vergeben|vorhanden|angelegt|registriert|verwendet)|(existiert|besteht) bereits|schon (vergeben|vorhanden)|existiert schon"
    r"|existe deja|deja (existant|utilise|pris|enregistre|present)|esiste gia|gia (esistente|presente|utilizzat|registrat)"
)
#: … what such a text is about instead of the lead's own number, whatever else it names …
_ABOUT_OTHERS = re.compile(
    r"secondary|secundari|secondaire|sekundar|allow.?dup|black.?list|do.not.call|\bdnc\b|blocked|suppress"
)
#: … and what it is about unless it names a number too.
_ABOUT_VARIABLES = re.compile(r"e-?mail|variable|variave")
_ABOUT_NUMBER = re.compile(r"\bphone|number|numero|nummer|telefon|telephone")
_OWN_NUMBER = frozenset({"phone_number", "phone", "lead", "lead.phone_number", "data.phone_number"})

#: Names of the API that `error` may hold as fields.
_FIELDS = frozenset({"phone_number", "campaign_id", "variables", "secondary_contacts"})

#: Words of refusals that would meet every lead alike, first match first (`Verdict.systemic`); accents folded.
_SYSTEMIC: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "balance",
        re.compile(r"\bbalance|\bsaldo|\bcredit|\bguthaben|\bsolde\b|payment required|insufficient funds|top.?up"),
    ),
    ("key", re.compile(r"unauthenticated|unauthori[sz]ed|(invalid|expired|revoked) (api )?(key|token)")),
    ("campaign", re.compile(r"campaign|campanha|campana|kampagne|campagne")),
    (
        "account",
        re.compile(
            r"\bplan\b|\bplano\b|\blimite?\b|\bquota\b|permission|permiss|subscription|\baccount\b|suspended|not allowed"
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class RateHeaders:
    """What an answer says of the limit. `reset` is epoch seconds by the server's clock. None: not said, or nonsense."""

    limit: int | None
    remaining: int | None
    reset: float | None


def limits(headers: Mapping[str, str]) -> RateHeaders:
    """Read `X-RateLimit-*`, which this platform sends on every answer, successes too; names in lower case."""
    reset = _number(headers.get("x-ratelimit-reset"))
    return RateHeaders(
        limit=_count(headers.get("x-ratelimit-limit")),
        remaining=_count(headers.get("x-ratelimit-remaining")),
        reset=reset if reset is not None and reset >= _FIRST_EPOCH else None,
    )


def judge(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    sent: Lead | None,
    duplicate_texts: Sequence[str] = (),
    now: datetime,
) -> Verdict:
    """Tell what an answer to a create means; `sent` is the lead that was posted (None: an answer to something else).

    Names of `headers` in lower case. `duplicate_texts` are further texts by which a refusal is recognised as a
    duplicate. `now` stands in for the answer's `Date` where it has none. The server's own words stay in the message,
    folded and cut to 500 characters.
    """
    answer = _Answer(status, headers, body, now)
    verdict = _meaning(answer, sent, duplicate_texts)
    if verdict.http_status is not None:
        return verdict
    return replace(verdict, http_status=status, date=answer.date)


def told_date(headers: Mapping[str, str]) -> datetime | None:
    """Return an answer's `Date`, the server's clock; header names in lower case."""
    return _date(headers.get("date"))


def judge_delete(status: int, headers: Mapping[str, str], body: bytes, *, now: datetime) -> Verdict:
    """Tell what an answer to a delete means: `CREATED` with code `deleted` reads "done" here.

    Already gone (404, 410) is `REJECTED` with code `gone`, and not ours to delete (403) is `REJECTED`, since neither
    says anything about the next lead.
    """
    answer = _Answer(status, headers, body, now)
    if 200 <= status < 300 and not answer.refuses:
        verdict = _deleted(answer)
    elif status in (404, 410) and answer.is_json:
        verdict = Verdict(Meaning.REJECTED, "gone", f"the server has no such lead (any more): {answer.words}")
    elif status == 403:
        verdict = Verdict(
            Meaning.REJECTED, answer.code, f"the server does not let this key delete the lead: {answer.words}"
        )
    else:
        verdict = _meaning(answer, None, ())
        if verdict.meaning is Meaning.DUPLICATE:  # a 409 to a delete: the lead is busy
            verdict = Verdict(Meaning.REJECTED, answer.code, answer.words)
    return replace(verdict, http_status=status, date=answer.date)


def _deleted(answer: "_Answer") -> Verdict:
    if answer.is_json or not answer.body.strip():
        return Verdict(Meaning.CREATED, "deleted")
    return Verdict(Meaning.AMBIGUOUS, "not_json", f"the server's answer to the delete is no JSON: {answer.words}")


def _meaning(answer: "_Answer", sent: Lead | None, duplicate_texts: Sequence[str]) -> Verdict:
    status = answer.status
    if 200 <= status < 300:
        return _success(answer, sent, duplicate_texts)
    if 300 <= status < 400:
        return _redirected(answer)
    if status == 401:
        return Verdict(
            Meaning.STOP,
            answer.code,
            f"the server refuses the key: {answer.words.rstrip('.')}. Check the key.",
            systemic="key",
        )
    if status == 403:
        return Verdict(
            Meaning.STOP,
            answer.code,
            f"the server forbids it: {answer.words.rstrip('.')}. Check the key's rights, the campaign's owner and the plan.",
            systemic="account",
        )
    if status == 429 or (status == 503 and "retry-after" in answer.headers):
        return Verdict(
            Meaning.LATER, answer.code, f"the server asks to wait: {answer.words}", retry_after=answer.wait()
        )
    if 400 <= status < 500 and status != 408:
        return _refusal(answer, duplicate_texts)
    return Verdict(
        Meaning.AMBIGUOUS,
        answer.code,
        f"the server failed with status {status}, so the lead may or may not have been created: {answer.words}",
        systemic="html" if answer.is_html else None,
    )


def _redirected(answer: "_Answer") -> Verdict:
    """Judge a login page: a key may be refused so. Of `Location` only the path is told, since a query may be secret."""
    try:
        path = urlsplit(answer.headers.get("location", "")).path[:100]
    except ValueError:
        path = ""
    return Verdict(
        Meaning.STOP,
        answer.code,
        f"the server redirects to {path or 'another page'!r} instead of answering: this is how it refuses a key. "
        "Check the key, then the address.",
        systemic="login",
    )


def _success(answer: "_Answer", sent: Lead | None, duplicate_texts: Sequence[str]) -> Verdict:
    unsure = "so the lead may or may not have been created"
    if not answer.is_json:
        systemic = "html" if answer.is_html else None
        return Verdict(
            Meaning.AMBIGUOUS,
            "not_json",
            f"the server's answer is no JSON, {unsure}: {answer.words}",
            systemic=systemic,
        )
    lead = read_lead(answer.envelope.get("data"))
    if answer.refuses:
        refusal = _refusal(answer, duplicate_texts)
        if lead is None or refusal.meaning is Meaning.DUPLICATE:
            return replace(refusal, lead=lead)
        return Verdict(
            Meaning.AMBIGUOUS,
            "contradiction",
            f"the server names a lead and an error at once, {unsure}: {answer.words}",
        )
    if lead is None:
        return Verdict(
            Meaning.AMBIGUOUS, "no_lead_id", f"the server's answer names no lead ID, {unsure}: {answer.words}"
        )
    if sent is not None and not _is_same(lead, sent):
        return Verdict(
            Meaning.AMBIGUOUS,
            OTHER_LEAD,
            f"the server answered with lead {lead.lead_id}, whose number or campaign is another, {unsure}",
        )
    if _is_old(lead, answer.date):
        return Verdict(
            Meaning.DUPLICATE,
            "old_lead",
            f"the server answered with lead {lead.lead_id}, which it had created before, at {lead.created_at}",
            field="phone_number",
            lead=lead,
        )
    return Verdict(Meaning.CREATED, http_status=answer.status, lead=lead, date=answer.date)


def _is_same(lead: Created, sent: Lead) -> bool:
    """Compare what the answer says; servers re-format numbers, and need not repeat everything."""
    return lead.campaign_id in (None, sent.campaign_id) and (
        lead.phone == sent.primary.phone or digits(lead.phone) in ("", digits(sent.primary.phone))
    )


def _is_old(lead: Created, date: datetime | None) -> bool:
    """Tell whether the lead is clearly older than the answer, both by the server's clock and with a zone."""
    created = read_time(lead.created_at)
    if created is None or created.tzinfo is None or date is None:
        return False
    apart = (date - created).total_seconds()
    off = abs(apart - round(apart / _QUARTER) * _QUARTER)
    return apart > _OLD and (apart > _EASTERNMOST or off > _AT_ONCE)


def _refusal(answer: "_Answer", duplicate_texts: Sequence[str]) -> Verdict:
    said = answer.said
    if _is_duplicate(answer, said, duplicate_texts):
        return Verdict(Meaning.DUPLICATE, answer.code, answer.words, field="phone_number")
    field = next((field for field, _ in said if field), None)
    return Verdict(Meaning.REJECTED, answer.code, answer.words, field=field, systemic=_systemic(answer, said))


def _is_duplicate(answer: "_Answer", said: "Sequence[_Said]", duplicate_texts: Sequence[str]) -> bool:
    """Tell whether the lead's own number is what the server has already.

    Where fields are named, only the number's own field counts: Laravel's top message merely repeats the first one.
    """
    if answer.is_html:
        return False
    if any(field for field, _ in said):
        texts = [_folded(text) for field, text in said if field in _OWN_NUMBER]
    else:
        texts = [_folded(text) for _, text in said]
    texts = [text for text in texts if not _is_about_others(text)]
    if answer.status == 409 and (texts or not said):
        return True
    own = [_folded(text) for text in duplicate_texts if text.strip()]
    return any(_DUPLICATE.search(text) or any(word in text for word in own) for text in texts)


def _is_about_others(text: str) -> bool:
    if _ABOUT_OTHERS.search(text):
        return True
    return bool(_ABOUT_VARIABLES.search(text)) and not _ABOUT_NUMBER.search(text)


def _systemic(answer: "_Answer", said: "Sequence[_Said]") -> str | None:
    """Name what would refuse every lead alike; a fault of a number, a variable or a contact would not."""
    if answer.is_html:
        return "html"
    roots = [field.split(".")[0] for field, _ in said if field]
    if not roots:
        if answer.status == 402:
            return "balance"
        if answer.status in (404, 405):  # no such campaign, or no such address: Laravel answers both alike
            return "campaign"
    text = " ".join(_folded(one) for one in (roots or [text for _, text in said]))
    return next((name for name, words in _SYSTEMIC if words.search(text)), None)


# Leads, as answers and look-ups show them.


def read_lead(value: Any) -> Created | None:
    """Read a lead in any of the shapes seen (api.md, "The answer"); None where it has no usable ID.

    A usable ID is an integer above 0 or a text that is not empty (nor "0").
    """
    value = _unwrapped(value)
    if not isinstance(value, dict) or (lead_id := _usable_id(value.get("id"))) is None:
        return None
    variables = value.get("variables")
    if isinstance(variables, list):
        variables = {} if not variables else variables[0]
    contacts = value.get("secondary_contacts")
    return Created(
        lead_id=lead_id,
        phone=_text(value.get("phone_number")) or "",
        campaign_id=_campaign_id(value),
        variables=variables if isinstance(variables, dict) else None,
        contacts=tuple(found for one in contacts if (found := read_lead(one))) if isinstance(contacts, list) else (),
        status=_text(value.get("status")),
        created_at=_text(value.get("created_at")),
    )


def _usable_id(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    text = str(value).strip()
    return None if text in ("", "0") or (isinstance(value, int) and value <= 0) else text


def _campaign_id(value: dict[str, Any]) -> int | None:
    campaign = value.get("campaign")
    for found in (value.get("campaign_id"), campaign.get("id") if isinstance(campaign, dict) else None):
        if (number := _count(found)) is not None:
            return number
    return None


def digits(phone: str) -> str:
    """Return a number's digits: servers format numbers as they like."""
    return "".join(letter for letter in phone if letter in "0123456789")


def read_time(text: str | None) -> datetime | None:
    """Read a timestamp of the server's, ISO or `2025-06-30 11:53:20`; it may lack a zone. None for anything else."""
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def read_json(body: bytes) -> Any:
    """Read JSON; None for anything else."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


# One answer, read.

#: A field's path (None: no field is named) and what was said.
_Said = tuple[str | None, str]


class _Answer:
    """An answer with its four envelopes read alike: `{message}`, `{message, errors}`, `{error}`, `{success, error}`."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.date = _date(headers.get("date"))
        self._now = now
        content = read_json(body)
        self.is_json = isinstance(content, (dict, list))
        unwrapped = _unwrapped(content)
        self.envelope: dict[str, Any] = unwrapped if isinstance(unwrapped, dict) else {}

    @property
    def is_html(self) -> bool:
        """Whether a page stands where JSON should be."""
        said = self.headers.get("content-type", "").lower()
        return not self.is_json and ("html" in said or self.body.lstrip()[:1] == b"<")

    @property
    def refuses(self) -> bool:
        """Whether the body says that this failed, whatever the status says."""
        return (
            self.envelope.get("success") is False
            or bool(self.envelope.get("error"))
            or bool(self.envelope.get("errors"))
        )

    @property
    def code(self) -> str:
        """The server's own error code, where it has one."""
        code = self.envelope.get("error_code")
        return _clean(str(code))[:100] if isinstance(code, (str, int)) and code else f"http_{self.status}"

    @property
    def said(self) -> list[_Said]:
        """Everything that the body says went wrong, what names a field first."""
        if not self.is_json:
            return [] if self.is_html or not self.body.strip() else [(None, self.words)]
        said = list(_flattened(self.envelope.get("errors")))
        for name in ("message", "error", "error_code"):
            for path, text in _flattened(self.envelope.get(name)):
                said.append((path if path and path.split(".")[0] in _FIELDS else None, text))
        return sorted(said, key=lambda one: one[0] is None)

    @property
    def words(self) -> str:
        """The server's words for people, at most 500 characters."""
        told = [*_flattened(self.envelope.get("errors"))]
        tops = [text for name in ("message", "error") for _, text in _flattened(self.envelope.get(name))]
        # Laravel's message is the first error again, with "(and 2 more errors)".
        top = [text for text in tops if not any(text.startswith(one) for _, one in told)]
        parts = [*top, *(f"{field}: {text}" if field else text for field, text in told)]
        text = "; ".join(dict.fromkeys(parts)) or self.body[:20_000].decode("utf-8", "replace")
        return _clean(_without_tags(text) if self.is_html else text)[:_LONGEST_TEXT] or "it gave no reason"

    def wait(self) -> float | None:
        """Return the seconds to wait (RFC 9110 §10.2.3): the header, then the body, then the time of the reset."""
        date = self.date or self._now
        said = self.headers.get("retry-after", "")
        seconds = _number(said)
        if seconds is None and (until := _date(said)) is not None:
            seconds = max((until - date).total_seconds(), 0.0)
        if seconds is None:
            seconds = _number(self.envelope.get("retry_after"))
        if seconds is None and (reset := limits(self.headers).reset) is not None:
            seconds = max(reset - date.timestamp(), 0.0)
        return seconds


def _flattened(value: Any, path: str | None = None) -> Iterator[_Said]:
    """Read errors however they are nested: texts, lists, objects by field, lists of `{field, message}`."""
    if isinstance(value, dict):
        if isinstance(value.get("message"), str):
            named = value.get("field")
            yield (str(named) if named else path), value["message"]
            yield from _flattened(value.get("errors"), path)
            return
        for name, inner in value.items():
            yield from _flattened(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _flattened(inner, path)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool) and str(value).strip():
        yield path, str(value)


def _unwrapped(value: Any) -> Any:
    """Return an object out of the list that some servers wrap it in."""
    return value[0] if isinstance(value, list) and value else value


def _without_tags(page: str) -> str:
    page = re.sub(r"<(script|style)\b.*?</\1\s*>|<!--.*?-->", " ", page, flags=re.DOTALL | re.IGNORECASE)
    return html.unescape(re.sub(r"<[^>]*>", " ", page))


def _clean(text: str) -> str:
    """Fold white space, and drop what would disturb a terminal."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())


def _folded(text: str) -> str:
    """Return a text without accents and case, for comparing words across translations."""
    spaced = text.replace("_", " ") if " " not in text else text
    return "".join(
        letter for letter in unicodedata.normalize("NFKD", spaced.casefold()) if not unicodedata.combining(letter)
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


@lru_cache(maxsize=16)  # a quarter of the time of judging, and answers of one second have one date
def _date(text: str | None) -> datetime | None:
    """Read an HTTP date; RFC 9110 knows no other zone than GMT."""
    try:
        found = parsedate_to_datetime(text) if text else None
    except (ValueError, OverflowError):
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found


def _number(value: Any) -> float | None:
    """Read a number from 0 up, finite; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _count(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    number = _number(value)
    return int(number) if number is not None and number.is_integer() else None
