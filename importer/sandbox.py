"""A local OtoniStark API with selectable faults and limits, for rehearsals and tests.

It serves what create-lead.txt and api.md say, strictly, on loopback only and in memory:

    with Sandbox(Options(per_minute=60)) as box:
        httpx.get(f"{box.url}/user/me", headers={"Authorization": "Bearer any"})

Numbers whose last four digits are in `MAGIC` are refused, as a lead's and as a contact's, so that refusals can be
rehearsed: 0066 refuses the e-mail, 0067 the number, 0068 says that the balance is spent. `FAULTS` has what can go
wrong on the way. Outside the API, for judges in other processes and with no key: `GET /sandbox/memory` shows
everything, `GET /sandbox/counts` the same without the leads, `POST /sandbox/lead/{id}` changes the `status` or
`variables` of a lead or contact.
"""

import asyncio
import math
import os
import random
import re
import secrets
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http import HTTPStatus
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import orjson
import uvicorn
from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from importer.errors import Refused


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

CAMPAIGNS: Sequence[Mapping[str, Any]] = (
    {"id": 7, "name": "Spring fair", "status": "active"},
    {"id": 8, "name": "Autumn call-back", "status": "active"},
    {"id": 9, "name": "Old list", "status": "stopped"},
    {"id": 10, "name": "Winter sale", "status": "draft"},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the sandbox behaves; the defaults are today's server on a good day."""

    port: int = 0
    """0: any free one."""
    keys: Collection[str] | None = None
    """The keys that it takes; None: any."""
    campaigns: Sequence[Mapping[str, Any]] = CAMPAIGNS
    """Each with `id`, `name` and `status`."""
    per_second: int | None = None
    """Requests of one key in a window that opens with the first of them, as Laravel counts."""
    per_minute: int | None = None
    headers: bool = True
    """Whether the limits show in headers; without them a 429 has only its body's `retry_after`."""
    latency: float = 0.0
    fault_rate: float | None = None
    """The part of `POST /user/lead` that is hit; None: all where `faults` names any, else none."""
    faults: Mapping[str, float] = field(default_factory=dict)
    """Kinds of `FAULTS` and their shares among the hits; empty: all kinds alike."""
    fault_at: Mapping[int, str] = field(default_factory=dict)
    """Which creates, counted from 1, are hit by which kind, whatever the rate; a rate of their own hits the others."""
    lookup_fault_rate: float = 0.0
    """The part of `GET /user/leads` that is hit, by the same kinds."""
    seed: int | None = None
    magic: bool = True
    """Whether `MAGIC` numbers are refused; a load test with counted-up numbers wants False."""
    lookup: bool = True
    """Whether there is `GET /user/leads`."""
    filters: bool = True
    """False: an old server, whose look-up is a bare array of everything."""
    delete: bool = True
    campaigns_listed: bool = True
    ids: Literal["int", "str"] = "int"
    wrap_list: bool = False
    """Whether the answer to a create stands in a list."""
    created_at: Literal["iso", "bare"] = "iso"
    """`2025-06-30T11:53:20.000000Z` or `2025-06-30 11:53:20`; both UTC."""
    drop_variable: str | None = None
    """A variable that the server loses without a word."""
    cut_variable: tuple[str, int] | None = None
    """A variable whose text the server cuts without a word, and to how many characters."""

    def __post_init__(self) -> None:
        if unknown := sorted({*self.faults, *self.fault_at.values()} - FAULTS.keys()):
            raise Refused(f"Sandbox: there is no fault {unknown[0]!r}. There are: {', '.join(FAULTS)}.")
        if any(share < 0 for share in self.faults.values()) or (self.faults and not any(self.faults.values())):
            raise Refused(f"Sandbox: the faults' shares are {dict(self.faults)}; none may be negative, nor all 0.")
        for rate in (self.hit_rate, self.lookup_fault_rate):
            if not 0 <= rate <= 1:
                raise Refused(f"Sandbox: the fault rate is {rate}; it is a part of all, from 0 to 1.")
        if any(limit is not None and limit < 1 for limit in (self.per_second, self.per_minute)):
            raise Refused("Sandbox: a limit must let at least 1 request through.")

    @property
    def hit_rate(self) -> float:
        """The part of the creates that a fault hits."""
        return float(bool(self.faults)) if self.fault_rate is None else self.fault_rate


# Answers and faults.

_Headers = tuple[tuple[bytes, bytes], ...]
_JSON = (b"content-type", b"application/json")
_HTML = (b"content-type", b"text/html; charset=utf-8")


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: bytes
    headers: _Headers
    act: "Callable[[_Wire], Awaitable[None]] | None" = None
    """What happens on the wire instead of this answer."""


def _json(status: int, value: Any, *headers: tuple[bytes, bytes]) -> _Reply:
    return _Reply(status, orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS), (_JSON, *headers))


def _html(status: int, title: str) -> _Reply:
    return _Reply(status, f"<!doctype html><title>{title}</title><body><h1>{title}</h1></body>\n".encode(), (_HTML,))


def _invalid(errors: Mapping[str, Sequence[str]], message: str = "The given data was invalid.") -> _Reply:
    return _json(422, {"message": message, "errors": errors})


class _Wire:
    """One request's connection, below HTTP. Every method ends when the connection does."""

    def __init__(self, scope: Scope, receive: Receive, answer: bytes) -> None:
        self.transport: asyncio.Transport = scope["sandbox.transport"]
        self.receive = receive
        self.answer = answer
        """The bytes that a sound server would send."""

    async def hang(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def close(self) -> None:
        self.transport.close()
        await self.hang()

    async def reset(self) -> None:
        # A zero linger time turns the close into a RST (RFC 9293, 3.10.4; socket(7)).
        raw = self.transport.get_extra_info("socket")
        shape = "hh" if os.name == "nt" else "ii"
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(shape, 1, 0))
        self.transport.abort()
        await self.hang()

    async def cut_headers(self) -> None:
        await self._send_and_close(self.answer[: self.answer.index(b"\r\n\r\n") // 2])

    async def cut_body(self) -> None:
        body = self.answer.index(b"\r\n\r\n") + 4
        await self._send_and_close(self.answer[: (body + len(self.answer)) // 2])

    async def garbage(self) -> None:
        await self._send_and_close(b"\x16\x03\x01 this is no HTTP\r\n\r\n")

    async def drip(self) -> None:
        for place in range(len(self.answer)):
            if self.transport.is_closing():
                break
            self.transport.write(self.answer[place : place + 1])
            await asyncio.sleep(1)
        await self.close()

    async def _send_and_close(self, data: bytes) -> None:
        self.transport.write(data)
        await self.close()


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with a create: whether the lead is stored first, then another answer or an act on the wire."""

    stored: bool
    what: _Reply | Callable[[_Wire], Awaitable[None]]


_ME = _json(200, {"name": "Sandbox", "email": "sandbox@example.com", "total_balance": 100.0})
_ERROR = _json(500, {"message": "Server Error"})
_BUSY = _json(503, {"message": "Service Unavailable"}, (b"retry-after", b"1"))

FAULTS: Mapping[str, Fault] = {
    "hang": Fault(True, _Wire.hang),
    "hang_before": Fault(False, _Wire.hang),
    "reset": Fault(True, _Wire.reset),
    "reset_before": Fault(False, _Wire.reset),
    "close": Fault(True, _Wire.close),
    "close_before": Fault(False, _Wire.close),
    "cut_headers": Fault(True, _Wire.cut_headers),
    "cut_body": Fault(True, _Wire.cut_body),
    "drip": Fault(True, _Wire.drip),
    "500": Fault(True, _ERROR),
    "500_before": Fault(False, _ERROR),
    "502": Fault(True, _html(502, "Bad Gateway")),
    "503": Fault(True, _html(503, "Service Unavailable")),
    "garbage": Fault(True, _Wire.garbage),
    "html_200": Fault(True, _html(200, "Welcome")),
    "no_id": Fault(True, _json(200, {"message": "Lead created successfully", "data": {}})),
    "busy": Fault(False, _BUSY),
}


# What the server knows.


@dataclass(slots=True)
class _Person:
    id: int
    phone_number: str
    variables: dict[str, Any]
    status: str
    created_at: float
    updated_at: float


@dataclass(slots=True)
class _Lead(_Person):
    campaign_id: int
    allow_dupplicate: bool
    contacts: list[_Person]
    numbers: str
    """All its numbers in one text, for partial matches."""


class _Memory:
    """The leads and counts of one sandbox; only its server's loop changes them."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.instance = secrets.token_hex(8)
        self.leads: dict[int, _Lead] = {}
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

    def store(self, asked: dict[str, Any]) -> _Lead:
        now = time.time()
        lead_id, variables = self._new_id(), self._kept(asked)
        contacts = [
            _Person(self._new_id(), contact["phone_number"], self._kept(contact), "created", now, now)
            for contact in asked.get("secondary_contacts", ())
        ]
        phone, campaign_id = asked["phone_number"], asked["campaign_id"]
        numbers = "|".join((phone, *(contact.phone_number for contact in contacts)))
        allow = asked.get("allow_dupplicate", False)
        lead = _Lead(lead_id, phone, variables, "created", now, now, campaign_id, allow, contacts, numbers)
        self.leads[lead_id] = lead
        self.taken[campaign_id, phone] += 1
        return lead

    def delete(self, lead: _Lead) -> None:
        del self.leads[lead.id]
        self.taken[lead.campaign_id, lead.phone_number] -= 1
        self.deleted.append(lead.id)

    def person(self, wanted: int) -> _Person | None:
        """Find a lead or, slowly, a contact."""
        contacts = (contact for lead in self.leads.values() for contact in lead.contacts)
        return self.leads.get(wanted) or next((contact for contact in contacts if contact.id == wanted), None)

    def judged(self) -> list[dict[str, Any]]:
        """Return the leads as judges see them; safe in any thread."""
        return [
            {
                **_judged(lead),
                "campaign_id": lead.campaign_id,
                "allow_dupplicate": lead.allow_dupplicate,
                "created_at_epoch": lead.created_at,
                "contacts": [_judged(contact) for contact in lead.contacts],
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
        if self.options.drop_variable is not None:
            variables.pop(self.options.drop_variable, None)
        if self.options.cut_variable is not None:
            name, length = self.options.cut_variable
            if isinstance(value := variables.get(name), str):
                variables[name] = value[:length]
        return variables


def _judged(person: _Person) -> dict[str, Any]:
    return {name: getattr(person, name) for name in ("id", "phone_number", "variables", "status")}


# The API.


class _Request(NamedTuple):
    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    body: bytes


class _App:
    """The ASGI application. Handlers are plain functions, so that each changes the memory in one go."""

    def __init__(self, memory: _Memory) -> None:
        options = memory.options
        self.memory = memory
        self.options = options
        self._limits = _Limits(options)
        self._random = random.Random(options.seed)  # noqa: S311 - faults, not secrets
        #: Of its own, so that look-ups don't change which creates are hit.
        self._lookup_random = random.Random(options.seed)  # noqa: S311 - faults, not secrets
        self._faults = dict(options.faults) or dict.fromkeys(FAULTS, 1.0)
        self._campaigns = {campaign["id"]: campaign for campaign in options.campaigns}
        self._routes: dict[str, dict[str, Callable[[_Request], _Reply]]] = {
            "/api/user/lead": {"POST": self._create},
            "/api/user/me": {"GET": lambda _: _ME},
        }
        if options.campaigns_listed:
            listed = _json(200, [dict(campaign) for campaign in options.campaigns])
            self._routes["/api/user/campaigns"] = {"GET": lambda _: listed}
        if options.lookup:
            self._routes["/api/user/leads"] = {"GET": self._look_up}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body = body + message["body"] if body else message["body"]
            more = message["more_body"]
        request = _Request(scope["method"], scope["path"], scope["query_string"], dict(scope["headers"]), body)
        if request.path.startswith("/api/"):
            if self.options.latency:
                await asyncio.sleep(self.options.latency)
            reply = self._api(request)
            if reply.act is not None:
                await reply.act(_Wire(scope, receive, self._bytes(reply)))
                return
            self.memory.answers[reply.status] += 1
        else:
            reply = self._beside(request)
        headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    def _bytes(self, reply: _Reply) -> bytes:
        """Return a whole answer as uvicorn would send it on a connection that ends with it."""
        headers = (
            (b"date", formatdate(usegmt=True).encode()),
            (b"x-sandbox-instance", self.memory.instance.encode()),
            *reply.headers,
            (b"content-length", b"%d" % len(reply.body)),
            (b"connection", b"close"),
        )
        status = f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n".encode()
        return status + b"".join(b"%b: %b\r\n" % header for header in headers) + b"\r\n" + reply.body

    def _api(self, request: _Request) -> _Reply:
        scheme, _, key = request.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else ""
        over, limit_headers = self._limits.take(key)
        reply = over or self._refused_key(key, request) or self._routed(request)
        return replace(reply, headers=reply.headers + limit_headers) if limit_headers else reply

    def _refused_key(self, key: str, request: _Request) -> _Reply | None:
        if key and (self.options.keys is None or key in self.options.keys):
            return None
        if b"application/json" in request.headers.get(b"accept", b""):
            return _json(401, {"message": "Unauthenticated."})
        return replace(_html(302, "Redirecting to /login"), headers=(_HTML, (b"location", b"/login")))

    def _routed(self, request: _Request) -> _Reply:
        methods = self._routes.get(request.path)
        if methods is None and self.options.delete and re.fullmatch(r"/api/user/leads/[^/]+", request.path):
            methods = {"DELETE": self._delete}
        if methods is None:
            return _json(404, {"message": f"The route {request.path[1:]} could not be found."})
        if request.method in methods:
            return methods[request.method](request)
        text = f"The {request.method} method is not supported for route {request.path[1:]}."
        allowed = ", ".join(methods)
        return _json(405, {"message": f"{text} Supported methods: {allowed}."}, (b"allow", allowed.encode()))

    def _create(self, request: _Request) -> _Reply:
        memory = self.memory
        memory.posts += 1
        kind = self._draw_fault(self._random, self.options.hit_rate)
        kind = self.options.fault_at.get(memory.posts, kind)
        if kind is not None and not FAULTS[kind].stored:
            return self._faulty(kind, _ERROR, memory.faults)
        try:
            asked = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            return _invalid({"body": ["must be JSON"]})
        if errors := _errors(asked, self._campaigns.keys()):
            return _invalid(errors)
        if self.options.magic and (refusal := _magic(asked)):
            return refusal
        if memory.taken[asked["campaign_id"], asked["phone_number"]] and not asked.get("allow_dupplicate", False):
            memory.refused_duplicates += 1
            taken = {"phone_number": ["has already been taken"]}
            return _invalid(taken, "The lead already exists in this campaign.")
        answer = {"message": "Lead created successfully", "data": self._shown(memory.store(asked))}
        reply = _json(200, [answer] if self.options.wrap_list else answer)
        return reply if kind is None else self._faulty(kind, reply, memory.faults)

    def _draw_fault(self, chance: random.Random, rate: float) -> str | None:
        if chance.random() >= rate:
            return None
        return chance.choices(list(self._faults), list(self._faults.values()))[0]

    def _faulty(self, kind: str, reply: _Reply, counted: Counter[str]) -> _Reply:
        counted[kind] += 1
        what = FAULTS[kind].what
        return what if isinstance(what, _Reply) else replace(reply, act=what)

    def _look_up(self, request: _Request) -> _Reply:
        kind = self._draw_fault(self._lookup_random, self.options.lookup_fault_rate)
        reply = self._found(request)
        return reply if kind is None else self._faulty(kind, reply, self.memory.lookup_faults)

    def _found(self, request: _Request) -> _Reply:
        leads: Iterable[_Lead] = reversed(self.memory.leads.values())
        if not self.options.filters:
            return _json(200, [self._shown(lead) for lead in leads])
        try:
            query = QueryParams(request.query)
            found = list(filter(_wanted(query), leads))
            per_page = _whole(query.get("per_page", "15"), "per_page", 1, 100)
            page = _whole(query.get("page", "1"), "page", 1)
        except ValueError as error:
            return _invalid({"query": [str(error)]})
        last = max(math.ceil(len(found) / per_page), 1)
        shown = {
            "current_page": page,
            "data": [self._shown(lead) for lead in found[(page - 1) * per_page : page * per_page]],
            "last_page": last,
            "per_page": per_page,
            "total": len(found),
            # Another host, on purpose: a client that follows it gives its key away.
            "next_page_url": f"http://169.254.0.1/api/user/leads?page={page + 1}" if page < last else None,
        }
        return _json(200, shown)

    def _delete(self, request: _Request) -> _Reply:
        lead = self.memory.leads.get(_id_in(request.path))
        if lead is None:
            return _json(404, {"message": "Lead not found."})
        if lead.status not in ("created", "scheduled"):
            return _json(403, {"message": f"The lead is {lead.status} and can't be deleted."})
        self.memory.delete(lead)
        return _json(200, {"message": "Lead deleted successfully"})

    def _shown(self, lead: _Lead) -> dict[str, Any]:
        campaign = {"id": lead.campaign_id, "name": self._campaigns[lead.campaign_id]["name"]}
        return self._person(lead) | {
            "campaign_id": lead.campaign_id,
            "campaign": campaign,
            "secondary_contacts": [self._person(contact) for contact in lead.contacts],
        }

    def _person(self, person: _Person) -> dict[str, Any]:
        return {
            "id": person.id if self.options.ids == "int" else str(person.id),
            "phone_number": person.phone_number,
            "variables": person.variables,
            "status": person.status,
            "created_at": self._time(person.created_at),
            "updated_at": self._time(person.updated_at),
        }

    def _time(self, epoch: float) -> str:
        shape = "%Y-%m-%dT%H:%M:%S.000000Z" if self.options.created_at == "iso" else "%Y-%m-%d %H:%M:%S"
        return time.strftime(shape, time.gmtime(epoch))

    # Beside the API.

    def _beside(self, request: _Request) -> _Reply:
        if request.path == "/sandbox/memory" and request.method == "GET":
            return _json(200, self.memory.shown())
        if request.path == "/sandbox/counts" and request.method == "GET":
            return _json(200, self.memory.counts())
        if request.path.startswith("/sandbox/lead/") and request.method == "POST":
            return self._change(request)
        return _html(200, "Log in") if request.path == "/login" else _html(404, "Not found")

    def _change(self, request: _Request) -> _Reply:
        person = self.memory.person(_id_in(request.path))
        if person is None:
            return _json(404, {"message": "Lead not found."})
        try:
            change = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            change = None
        if not isinstance(change, dict) or not change or change.keys() - {"status", "variables"}:
            return _invalid({"body": ["must be an object with status, variables or both"]})
        person.status = change.get("status", person.status)
        person.variables = change.get("variables", person.variables)
        person.updated_at = time.time()
        return _json(200, _judged(person))


def _id_in(path: str) -> int:
    """Read the number that a path ends with; -1, which no lead has, for anything else."""
    last = path.rpartition("/")[2]
    return int(last) if last.isascii() and last.isdigit() and len(last) < 20 else -1


class _Limits:
    """Laravel's rate limiter: for each key a count in a window that opens with its first request."""

    def __init__(self, options: Options) -> None:
        self._rules = [
            (most, seconds) for most, seconds in ((options.per_second, 1.0), (options.per_minute, 60.0)) if most
        ]
        self._show = options.headers
        self._windows: dict[tuple[str, float], tuple[float, int]] = {}
        """When each window ends, and the requests in it."""

    def take(self, key: str) -> tuple[_Reply | None, _Headers]:
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

    def _headers(self, most: int, left: int) -> _Headers:
        shown = ((b"x-ratelimit-limit", b"%d" % most), (b"x-ratelimit-remaining", b"%d" % left))
        return shown if self._show else ()

    def _too_many(self, wait: float) -> _Reply:
        seconds = math.ceil(wait)
        reset = math.ceil(time.time() + wait)
        headers = ((b"retry-after", b"%d" % seconds), (b"x-ratelimit-reset", b"%d" % reset)) if self._show else ()
        return _json(429, {"message": "Too Many Attempts.", "retry_after": seconds}, *headers)


def _wanted(query: QueryParams) -> Callable[[_Lead], bool]:
    """Return what a look-up filters by; raise ValueError, with a text for the client, where it makes no sense."""
    campaign_id = _whole(query.get("campaign_id") or "0", "campaign_id")
    digits, status = re.sub(r"\D", "", query.get("phone_number", "")), query.get("status")
    since = _epoch(query.get("date_from"), "date_from") or 0.0
    until = _epoch(query.get("date_to"), "date_to", day_ends=True) or math.inf
    return lambda lead: (
        digits in lead.numbers
        and campaign_id in (0, lead.campaign_id)
        and (not status or status == lead.status)
        and since <= lead.created_at < until
    )


def _whole(text: str, name: str, least: int = 0, most: int = 10**9) -> int:
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


# What a create may hold.

_KEYS = {"phone_number", "campaign_id", "variables", "allow_dupplicate", "secondary_contacts"}
_CONTACT_KEYS = {"phone_number", "variables"}
_MOST_CONTACTS = 10
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")


def _errors(asked: Any, campaigns: Collection[int]) -> dict[str, list[str]]:
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


def _magic(asked: dict[str, Any]) -> _Reply | None:
    contacts = enumerate(asked.get("secondary_contacts", ()))
    people = [("", asked), *((f"secondary_contacts.{place}.", contact) for place, contact in contacts)]
    for prefix, person in people:
        magic = MAGIC.get(person["phone_number"][-4:])
        if magic is None:
            continue
        if magic.field:
            return _invalid({prefix + magic.field: [magic.text]})
        return _json(magic.status, {"success": False, "error": magic.text, "error_code": "insufficient_balance"})
    return None


# Serving.


class _Protocol(HttpToolsProtocol):
    """uvicorn's HTTP, with the transport in reach of the application: faults happen below HTTP."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["sandbox.transport"] = self.transport  # type: ignore[typeddict-unknown-key]


class _Server(uvicorn.Server):
    """uvicorn's server, which tells when it listens and ends at once: a hanging request is no reason to wait."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.when_ready: Callable[[], None] = lambda: None

    async def main_loop(self) -> None:
        ticks = 0
        while not await self.on_tick(ticks // 10):  # uvicorn counts tenths of a second
            ticks += 1
            await asyncio.sleep(0.01)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.when_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # lets each request see that its connection is gone

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End on a signal without raising it again afterwards, as uvicorn would: it is the way to stop a sandbox."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()


class Sandbox:
    """A sandbox in a thread of this process; a context manager. Its port is bound from the start."""

    def __init__(self, options: Options | None = None) -> None:
        options = options or Options()
        self._memory = _Memory(options)
        self._socket = _bound(options.port)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/api"
        """The base address of the API."""
        self.instance = self._memory.instance
        """What tells this sandbox's leads from another's; every answer names it."""
        self._server = _Server(
            uvicorn.Config(
                _App(self._memory),
                http=_Protocol,
                ws="none",
                timeout_keep_alive=75,  # as proxies in front of such services have it
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                headers=[("x-sandbox-instance", self.instance)],
            )
        )
        self._thread: threading.Thread | None = None

    @property
    def leads(self) -> list[dict[str, Any]]:
        """The leads as `/sandbox/memory` shows them, oldest first."""
        return self._memory.judged()

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=self.run, args=(ready.set,), name="sandbox", daemon=True)
        self._thread.start()
        while not ready.wait(0.1):
            if not self._thread.is_alive():
                raise RuntimeError("the sandbox's server did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def run(self, when_ready: Callable[[], None]) -> None:
        """Serve in this thread until `stop`, or a signal where this is the main thread."""
        self._server.when_ready = when_ready
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """End the server and every connection, answered or not; may be called again."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._socket.close()


def serve(options: Options, announce: Callable[[str], None]) -> None:
    """Serve in this thread until SIGINT or SIGTERM; `announce` gets lines for people once the sandbox is reachable."""
    box = Sandbox(options)

    def say() -> None:
        key = "any key will do" if options.keys is None else "only its own keys will do"
        announce(f"OtoniStark sandbox at {box.url} ({key}). Ctrl-C ends it.")
        for campaign in options.campaigns:
            announce(f"  campaign {campaign['id']}: {campaign['name']!r} ({campaign['status']})")
        announce(f"What it was told: {box.url.removesuffix('/api')}/sandbox/memory")
        sys.stdout.flush()  # whoever reads a pipe waits for the address

    box.run(say)


def _bound(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name != "nt":  # there it would let two servers share a port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        bound.listen(1024)
    except (OSError, OverflowError) as error:
        bound.close()
        raise Refused(
            f"Sandbox: port {port} of 127.0.0.1 can't be had ({error}). Name another, or 0 for a free one."
        ) from error
    return bound
