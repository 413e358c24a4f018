"""The service: its address, its requests, and what may have happened where no answer came.

The wire is httpx over aiohttp. A question is a ready `httpx.Request` that goes straight to the transport, past
`httpx.AsyncClient`: what the client would add (redirects, cookies, auth flows, proxies of the environment) is nothing
that may happen to a lead or to the key. A post goes past the rest of httpx and past aiohttp's client as well, through
the same connections (`wire`), since those layers take longer than the rest of it (`benchmarks/throughput.py`). TLS
certificates are always verified; a company's own authority is named by `SSL_CERT_FILE` or `SSL_CERT_DIR`.
"""

import asyncio
import os
import re
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import aiohttp
import anyio
import httpx
import orjson
from httpx_aiohttp import AiohttpTransport

from importer.answers import RateHeaders, digits, judge, judge_delete, limits, read_json, read_lead, told_date
from importer.clock import ServerClock
from importer.errors import Refused, Stopped
from importer.records import Created, Lead, Meaning, Person, Verdict
from importer.wire import MOST_BYTES, Poster, TooLarge, at_most

# What happened where no answer came.


@dataclass(frozen=True, slots=True)
class _Failure:
    """One row of the table: what was raised, and what it proves."""

    raised: type[BaseException]
    meaning: Meaning
    code: str
    words: str
    systemic: str | None = None


_SURELY, _MAYBE = Meaning.UNREACHED, Meaning.AMBIGUOUS

#: The failure table; the first row that fits counts. It is read by aiohttp's exception, the `__cause__` under httpx's:
#: httpx-aiohttp reports a connection that was lost *after the server took the lead* as `httpx.ConnectTimeout`, just
#: like one that was never made. Only what aiohttp raises before a connection has the request proves that nothing left.
_FAILURES: tuple[_Failure, ...] = (
    # Before the request left.
    _Failure(aiohttp.ClientConnectorDNSError, _SURELY, "no_such_host", "the service's name is not known to the DNS"),
    _Failure(aiohttp.ClientConnectorCertificateError, _SURELY, "certificate", "the service's certificate is not valid"),
    _Failure(aiohttp.ClientConnectorSSLError, _SURELY, "tls", "no encrypted connection could be made"),
    _Failure(aiohttp.ClientConnectorError, _SURELY, "no_connection", "no connection could be made"),
    _Failure(
        aiohttp.ConnectionTimeoutError, _SURELY, "connect_timeout", "no connection stood, or became free, in time"
    ),
    _Failure(aiohttp.InvalidUrlClientError, _SURELY, "address", "the service's address is no URL"),
    _Failure(aiohttp.NonHttpUrlClientError, _SURELY, "address", "the service's address is no URL of the web"),
    # After that, nobody knows: the server may have taken the lead.
    _Failure(TimeoutError, _MAYBE, "timeout", "no whole answer came in time", systemic="timeout"),
    _Failure(aiohttp.ServerDisconnectedError, _MAYBE, "disconnected", "the server hung up before it answered"),
    _Failure(aiohttp.ClientOSError, _MAYBE, "connection_lost", "the connection broke"),
    _Failure(aiohttp.ClientPayloadError, _MAYBE, "answer_cut", "the answer broke off"),
    _Failure(aiohttp.ClientResponseError, _MAYBE, "not_http", "the answer is no HTTP"),
    _Failure(httpx.DecodingError, _MAYBE, "not_decodable", "the answer can't be unpacked"),
    _Failure(TooLarge, _MAYBE, "answer_too_large", "the answer is larger than any about a lead"),
    _Failure(Exception, _MAYBE, "unforeseen", "something unforeseen happened"),
)


def _no_answer(error: Exception) -> Verdict:
    """Judge a request that got no answer, by the table. Only `str` of an error is told: its `repr` may hold the key."""
    raised = error.__cause__ if isinstance(error, httpx.TransportError) and error.__cause__ else error
    row = next(row for row in _FAILURES if isinstance(raised, row.raised))
    doubt = "" if row.meaning is _SURELY else ", so the lead may or may not have been created"
    detail = _detail(raised, row.code)
    told = f"{row.words}{doubt}" + (f" ({detail})" if detail else "")
    return Verdict(row.meaning, row.code, told, systemic=row.systemic)


def _detail(raised: BaseException, code: str) -> str:
    """Say more of a failure than its row does, in the words of the system rather than those of a library."""
    if code == "unforeseen":
        return " ".join(str(raised).split())[:200] or type(raised).__name__
    if isinstance(raised, aiohttp.ClientConnectorCertificateError):
        return str(getattr(raised.certificate_error, "verify_message", ""))
    if isinstance(raised, aiohttp.ClientSSLError):
        return str(getattr(raised.os_error, "reason", None) or "").replace("_", " ").lower()
    is_of_the_system = isinstance(raised, aiohttp.ClientOSError) and code != "no_such_host"
    return os.strerror(raised.errno).lower() if is_of_the_system and raised.errno else ""  # type: ignore[attr-defined]


# What goes out and comes back.


def payload(lead: Lead) -> bytes:
    """Return the body of a create (create-lead.txt). `allow_dupplicate` is the API's own spelling.

    Put together from `Person.variables`, which is JSON already: the text that was hashed is the text that is sent.
    """
    allowed = "true" if lead.allow_duplicate else "false"
    members = [_person(lead.primary), f'"campaign_id":{lead.campaign_id}', f'"allow_dupplicate":{allowed}']
    if lead.contacts:
        contacts = ",".join(f"{{{_person(contact)}}}" for contact in lead.contacts)
        members.append(f'"secondary_contacts":[{contacts}]')
    return f"{{{','.join(members)}}}".encode()


def _person(person: Person) -> str:
    return f'"phone_number":"{person.phone}","variables":{person.variables}'


def read_payload(body: bytes) -> Lead:
    """Return the lead that a body of ours was put together from (`payload`), without its places in an input."""
    told = orjson.loads(body)
    primary, *contacts = (
        Person(one["phone_number"], orjson.dumps(one["variables"]).decode(), 0)
        for one in (told, *told.get("secondary_contacts", ()))
    )
    return Lead(primary, told["campaign_id"], tuple(contacts), allow_duplicate=told["allow_dupplicate"])


@dataclass(frozen=True, slots=True)
class Answer:
    """What one create came to, what the answer said of the limit (None: no answer), and the seconds it took."""

    verdict: Verdict
    limits: RateHeaders | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign as the server lists it; `status` None where it does not say."""

    id: int
    name: str
    status: str | None


@dataclass(frozen=True, slots=True)
class Account:
    """Whose key it is; None where the server does not say. `balance` as it stood."""

    name: str | None
    email: str | None
    balance: str | None


class LookupFailed(Exception):
    """A question got no answer that says anything: it may be asked again after `verdict.retry_after`."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message or verdict.code or "no answer")
        self.verdict = verdict
        self.found: tuple[Created, ...] = ()
        """What a look-up had shown of the number by then."""


class _Reply(NamedTuple):
    """An answer as it came; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


#: What the service gives at most on a page of leads.
_PER_PAGE = 100
#: Pages after which a list counts as endless: where it does not say its last page, and where it does (ten million
#: leads in a campaign). Never read as "not there".
_MOST_PAGES, _MOST_TOLD_PAGES = 1_000, 100_000
#: Seconds that an idle connection is kept: under the 5 s after which common servers (Apache, Node, uvicorn) hang up.
#: Whether a lead that was sent just then was taken is anybody's guess; a new connection costs milliseconds.
_KEEP_IDLE = 4.0
#: Share of an attempt's time in which a connection must stand, so that its lack is told from that of an answer.
_CONNECT_SHARE = 0.5
#: Tries of the first question of a run, and the seconds between them: half a second, doubled each time.
_TRIES, _FIRST_BACK_OFF, _LONGEST_WAIT = 4, 0.5, 60.0
#: Seconds without an answer to a first question, after which people are told what is waited for.
_LONG = 2.0


class Service:
    """The service at one address, with one key. An async context manager; safe for many tasks at once.

    `timeout` bounds each whole attempt in seconds, from waiting for a connection to the answer's last byte. At most
    `connections` are open at once. Redirects are never followed; proxies and .netrc of the environment are not used.
    """

    def __init__(
        self, address: str, key: str, *, timeout: float, connections: int, duplicate_texts: Sequence[str] = ()
    ) -> None:
        if not re.fullmatch(r"[!-~]+", key):
            raise Refused(
                "the API key: it is empty, or holds white space or letters outside ASCII. "
                "Copy it again, in one piece and with no quotes around it."
            )
        self.address = address
        #: `X-Sandbox-Instance` of the last answer that had one.
        self.instance: str | None = None
        #: Hears every answer.
        self.clock = ServerClock()
        #: Told of every answer to a question or a delete: status, limits, seconds that it asks to wait, seconds it took.
        self.on_limits: Callable[[int, RateHeaders, float | None, float], None] | None = None
        #: Told once what is waited for before the first lead, and until when.
        self.on_wait: Callable[[str], None] = lambda _: None
        #: Told of each question or delete that could not be sent, why.
        self.on_unreached: Callable[[str], None] = lambda _: None
        self._timeout = timeout
        self._connections = connections
        self._duplicate_texts = tuple(duplicate_texts)
        self._secrets = _secrets(key)
        self._headers = httpx.Headers(
            {
                "Authorization": f"Bearer {key}",
                "Accept": "application/json",
                "Accept-Encoding": "gzip, deflate",  # what httpx can always unpack
                "User-Agent": "lead-importer",
            }
        )
        self._extensions = {"timeout": {"pool": timeout * _CONNECT_SHARE}}  # aiohttp: everything until connected
        self._endpoint = f"{address}/user/lead"

    def __repr__(self) -> str:
        return f"Service({self.address!r})"

    async def __aenter__(self) -> Self:
        # The authorities (certifi's) take 35 ms to load. An http address needs none: then nobody is trusted.
        plain = self.address.startswith("http:")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else httpx.create_ssl_context()
        connector = aiohttp.TCPConnector(limit=self._connections, ssl=tls, keepalive_timeout=_KEEP_IDLE)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=dict(self._headers),
            trust_env=False,
        )
        self._transport = AiohttpTransport(client=self._session, verify=tls)
        self._poster = Poster(
            connector, self._endpoint, self._headers, timeout=self._timeout, connect=self._timeout * _CONNECT_SHARE
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._transport.aclose()

    # Creating and deleting.

    async def create(self, lead_payload: bytes, lead: Lead) -> Answer:
        """Post one lead, once. Raises nothing that happens on the wire: that is the verdict. Never repeats."""
        began = time.monotonic()
        reply = await self._exchange(self._post(lead_payload))
        seconds = time.monotonic() - began
        if isinstance(reply, Verdict):
            return Answer(reply, None, seconds)
        verdict = judge(*reply, sent=lead, duplicate_texts=self._duplicate_texts, now=datetime.now(UTC))
        return Answer(verdict, limits(reply.headers), seconds)

    async def delete_lead(self, lead_id: str) -> Verdict:
        """Delete a lead, for good; `CREATED` with code `deleted` reads "done" (see `judge_delete`). Safe to repeat."""
        reply = await self._ask("DELETE", f"/user/leads/{quote(lead_id, safe='')}")
        return reply if isinstance(reply, Verdict) else judge_delete(*reply, now=datetime.now(UTC))

    # Asking.

    async def me(self) -> Account | None:
        """Say whose key this is; None where the server can't tell. Raises `Stopped` where it refuses the key."""
        reply = await self._ask_patiently("/user/me")
        found = read_json(reply.body) if reply else None
        found = found.get("data", found) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            return None
        balance = found.get("total_balance", found.get("balance"))
        told = [None if value is None else str(value) for value in (found.get("name"), found.get("email"), balance)]
        return Account(*told) if any(told) else None

    async def campaigns(self) -> list[Campaign] | None:
        """List the campaigns; None where the server can't tell.

        Raises `Stopped` where the key is refused, or no connection could be made in a few tries.
        """
        found: dict[int, Campaign] = {}
        for page in range(1, _MOST_PAGES + 1):
            reply = await self._ask_patiently("/user/campaigns", page=page)
            listed = _Page.read(reply.body, "campaigns") if reply else None
            if listed is None:
                return None
            known = len(found)
            found |= {campaign.id: campaign for row in listed.rows if (campaign := _campaign(row))}
            if not listed.goes_on(page) or len(found) == known:
                break
        return list(found.values())

    async def find_leads(self, campaign_id: int, digits_wanted: str) -> list[Created] | None:
        """Look a number up in a campaign, as a lead's own or as one of its contacts'; None: there is no look-up.

        Filters again here, since older servers ignore the query. A lead whose campaign the server does not say is kept.
        Raises `LookupFailed` where that says nothing yet, `Stopped` where the key is refused.
        """
        wanted = digits(digits_wanted)
        found: dict[str, Created] = {}
        try:
            async for leads in self.pages(campaign_id, whole=True, phone_number=wanted):
                if leads is None:
                    return None
                found |= {lead.lead_id: lead for lead in leads if _is_about(lead, campaign_id, wanted)}
        except LookupFailed as failure:
            failure.found = tuple(found.values())
            raise
        return list(found.values())

    async def offers_lookup(self, campaign_id: int) -> bool | None:
        """Tell whether there is a look-up; None where the server does not say now. Raises `Stopped` for the key."""
        try:
            with self._waiting(self._timeout):
                reply = await self._look("/user/leads", {"campaign_id": campaign_id, "per_page": 1, "page": 1})
        except LookupFailed:
            return None
        return None if reply is not None and _Page.read(reply.body, "leads") is None else reply is not None

    async def honours_filters(self, campaign_id: int, nobody: str) -> bool:
        """Tell whether a look-up leaves out what was not asked for; `nobody` are digits that no lead has."""
        async for leads in self.pages(campaign_id, phone_number=nobody):
            return not leads
        return True

    async def offers_delete(self) -> bool | None:
        """Tell whether leads can be deleted, by asking for one that can't be (IDs begin at 1); None: not told."""
        reply = await self._ask("DELETE", "/user/leads/0")
        if isinstance(reply, Verdict):
            return None
        told = " ".join(str(read_json(reply.body) or "").split()).lower()
        if reply.status in (405, 501) or (reply.status == 404 and "route" in told):
            return False
        return True if reply.status in (404, 410) and "lead" in told else None

    async def pages(
        self, campaign_id: int, *, whole: bool = False, **query: str
    ) -> AsyncGenerator[list[Created] | None, None]:
        """Yield the leads of a campaign page by page; None, once, where there is no look-up.

        `query` are further filters of the server's (api.md), which it may ignore. Asks by number, since `next_page_url`
        may name another host, and ends where a page brings nothing new. Raises as `find_leads` does; with `whole` also where
        several pages had fewer leads than the first one told of: a server that lists them in another order each time.
        """
        seen: set[str] = set()
        total = 0
        for page in count(1):
            asked: dict[str, int | str] = {"campaign_id": campaign_id, **query, "per_page": _PER_PAGE, "page": page}
            reply = await self._look("/user/leads", asked)
            if reply is None and page == 1:
                yield None
                return
            listed = _Page.read(reply.body, "leads") if reply else None
            if listed is None:
                raise LookupFailed(Verdict(_MAYBE, "page_missing", f"page {page} of a look-up could not be read"))
            leads = [lead for row in listed.rows if (lead := read_lead(row))]
            yield leads
            fresh = {lead.lead_id for lead in leads} - seen
            total = (listed.total or 0) if page == 1 else total
            if whole and page > 1 and not (listed.goes_on(page) and fresh) and len(seen | fresh) < total:
                raise LookupFailed(
                    Verdict(_MAYBE, "list_not_whole", f"a look-up showed {len(seen | fresh)} of {total} leads")
                )
            if not listed.goes_on(page) or not fresh:  # nothing new: a server that ignores the page too
                return
            if page >= min(max(_MOST_PAGES, listed.last_page or 0), _MOST_TOLD_PAGES):
                raise LookupFailed(Verdict(_MAYBE, "endless_list", f"a look-up did not end after {page} pages"))
            seen |= fresh

    async def _ask_patiently(self, path: str, **query: int | str) -> _Reply | None:
        """Ask what a run begins with, again where the server could not be reached or asks to wait; None: no use."""
        pauses = [_FIRST_BACK_OFF * 2**attempt for attempt in range(_TRIES - 1)]
        with self._waiting(_TRIES * self._timeout + sum(pauses)) as waiting:
            for pause in (*pauses, None):
                try:
                    return await self._look(path, query)
                except LookupFailed as failure:
                    verdict = failure.verdict
                if verdict.meaning not in (Meaning.UNREACHED, Meaning.LATER):
                    return None
                if pause is not None:
                    await anyio.sleep(waiting.again(verdict, pause))
        if verdict.meaning is Meaning.LATER:
            return None
        raise Stopped(
            f"{self.address}: the service can't be reached: {verdict.message}. Nothing was sent. "
            "Check the address and the network, then run this again."
        )

    @contextmanager
    def _waiting(self, seconds: float) -> Iterator["_Waiting"]:
        """Tell people once, where it takes long, what is waited for and until when; `seconds` are the most it takes."""
        waiting = _Waiting(self.on_wait, self.address, time.time() + seconds)
        alarm = asyncio.get_running_loop().call_later(_LONG, waiting.tell)
        try:
            yield waiting
        finally:
            alarm.cancel()

    async def _look(self, path: str, query: Mapping[str, int | str]) -> _Reply | None:
        """Ask once; None where the server has no such question. Raises `LookupFailed`, or `Stopped` for the key."""
        reply = await self._ask("GET", path, query)
        if isinstance(reply, Verdict):
            raise LookupFailed(reply)
        if 200 <= reply.status < 300:
            return reply
        if reply.status in (403, 404, 405, 501):
            return None
        verdict = judge(*reply, sent=None, now=datetime.now(UTC))
        if verdict.meaning is Meaning.STOP:
            raise Stopped(f"{self.address}: {verdict.message}")
        raise LookupFailed(verdict)

    async def _ask(self, method: str, path: str, query: Mapping[str, int | str] | None = None) -> _Reply | Verdict:
        url = httpx.URL(f"{self.address}{path}", params=dict(query) if query else None)
        request = httpx.Request(method, url, headers=self._headers, extensions=self._extensions)
        began = time.monotonic()
        reply = await self._exchange(self._request(request))
        if isinstance(reply, Verdict) and reply.meaning is Meaning.UNREACHED:
            self.on_unreached(reply.message or "no connection could be made")
        if self.on_limits is not None and isinstance(reply, _Reply):
            verdict = judge(*reply, sent=None, now=datetime.now(UTC))
            self.on_limits(reply.status, limits(reply.headers), verdict.retry_after, time.monotonic() - began)
        return reply

    # One attempt.

    async def _exchange(self, attempt: Coroutine[Any, Any, _Reply]) -> _Reply | Verdict:
        """Wait for one answer; a verdict where none came."""
        sent_at = time.monotonic()
        try:
            reply = await attempt
        except Exception as error:  # noqa: BLE001 - once a request was begun, anything at all leaves its lead in doubt
            verdict = _no_answer(error)
            return replace(verdict, message=self._masked((verdict.message or "").encode("utf-8", "replace")).decode())
        self.instance = reply.headers.get("x-sandbox-instance", self.instance)
        if (date := told_date(reply.headers)) is not None:
            self.clock.hear(date, sent_at, time.monotonic())
        return reply

    async def _post(self, body: bytes) -> _Reply:
        return self._reply(*await self._poster.post(body))

    async def _request(self, request: httpx.Request) -> _Reply:
        async with asyncio.timeout(self._timeout):
            response = await self._transport.handle_async_request(request)
            content = await _read(response)
        return self._reply(response.status_code, response.headers.raw, content)

    def _reply(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> _Reply:
        named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
        return _Reply(status, named, self._masked(body))  # debug pages show the request's headers

    def _masked(self, text: bytes) -> bytes:
        for secret in self._secrets:
            text = text.replace(secret, b"***")
        return text


class _Waiting:
    """What people are told, once, while a first question has no answer; `until` is the machine's time, epoch seconds."""

    def __init__(self, announce: Callable[[str], None], address: str, until: float) -> None:
        self._announce, self._address, self._until = announce, address, until
        self._has_told = False

    def tell(self, why: str = "") -> None:
        """Tell, unless that was done; `why` a try failed."""
        if self._has_told:
            return
        self._has_told = True
        until = datetime.fromtimestamp(self._until).astimezone()
        found = f"The server can't be reached: {why}" if why else f"{self._address} has not answered yet"
        self._announce(
            f"{found}. Nothing was done yet; it is tried until {until:%H:%M:%S} at the latest. Ctrl-C ends that now."
        )

    def again(self, verdict: Verdict, pause: float) -> float:
        """Tell why it is tried again, and return the seconds until then: what the server asks for, else `pause`."""
        wait = pause if verdict.retry_after is None else min(verdict.retry_after, _LONGEST_WAIT)
        self._until += max(wait - pause, 0.0)
        if verdict.meaning is Meaning.UNREACHED:
            self.tell(verdict.message or "no connection could be made")
        elif wait >= _LONG and not self._has_told:
            self._has_told = True
            self._announce(
                f"{self._address} answers {verdict.http_status}, to wait. It is asked again in {wait:.0f} s."
            )
        return wait


def _secrets(key: str) -> tuple[bytes, ...]:
    """Return the key, and its random part where it is `<number>|<random>`."""
    random_part = key.rpartition("|")[2]
    return tuple(part.encode() for part in dict.fromkeys((key, random_part)) if len(part) >= 8)


async def _read(response: httpx.Response) -> bytes:
    """Read an answer's body, unpacked. The connection is given back only if it was read to its end."""
    try:
        return await at_most(MOST_BYTES, response.aiter_bytes())
    except BaseException:
        with anyio.move_on_after(1, shield=True), suppress(Exception):  # what went wrong first is what counts
            await response.aclose()
        raise


# Lists.


@dataclass(frozen=True, slots=True)
class _Page:
    """One page of a list: a bare array, `{data: […]}`, `{<name>: […]}`, or any of Laravel's paginators."""

    rows: list[Any]
    last_page: int | None
    says_more: bool
    total: int | None = None
    """Of rows on all pages; None where it is not told."""

    @classmethod
    def read(cls, body: bytes, name: str) -> Self | None:
        """Read a page; None where the body is no list."""
        content = read_json(body)
        if isinstance(content, list):
            return cls(content, None, len(content) == _PER_PAGE)
        about = content
        for key in ("data", name):
            if isinstance(content, dict) and isinstance(content.get(key), dict):
                about = content = content[key]
        if not isinstance(content, dict):
            return None
        rows = next((content[key] for key in ("data", name) if isinstance(content.get(key), list)), None)
        if rows is None:
            return None
        about = content["meta"] if isinstance(content.get("meta"), dict) else about
        links = content["links"] if isinstance(content.get("links"), dict) else {}
        last, total = (_whole_number(about.get(name)) for name in ("last_page", "total"))
        # `next_page_url` is believed as far as that there is a next page, never where it is.
        more = bool(content.get("next_page_url") or links.get("next"))
        return cls(rows, last, more, total)

    def goes_on(self, page: int) -> bool:
        """Whether there are pages after this one."""
        return bool(self.rows) and (page < self.last_page if self.last_page is not None else self.says_more)


def _whole_number(value: Any) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdecimal() else None


def _campaign(row: Any) -> Campaign | None:
    number = _whole_number(row.get("id")) if isinstance(row, dict) else None
    if number is None:
        return None
    status = row.get("status")
    return Campaign(number, str(row.get("name") or ""), None if status is None else str(status))


def _is_about(lead: Created, campaign_id: int, wanted: str) -> bool:
    numbers = {digits(lead.phone), *(digits(contact.phone) for contact in lead.contacts)}
    return wanted in numbers and lead.campaign_id in (None, campaign_id)
