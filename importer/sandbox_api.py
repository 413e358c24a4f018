"""The sandbox's HTTP: its options, its routes, and what each does with the memory."""

import asyncio
import math
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Literal, NamedTuple

import orjson
from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from importer.errors import Refused
from importer.sandbox_faults import ERROR, FAULTS, HTML, Reply, Wire, html_reply, invalid, json_reply
from importer.sandbox_memory import Lead, Memory, Person, judged, wanted, whole
from importer.sandbox_rules import Limits, errors_in, refused_by_magic

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
    """`2025-06-30T11:53:20.000000Z` or `2025-06-30 11:53:20`."""
    created_at_ahead: float = 0.0
    """Seconds by which it is ahead of UTC: a local time, or a clock that is wrong."""
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


_ME = json_reply(200, {"name": "Sandbox", "email": "sandbox@example.com", "total_balance": 100.0})


class _Request(NamedTuple):
    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    body: bytes


class App:
    """The ASGI application. Handlers are plain functions, so that each changes the memory in one go."""

    def __init__(self, options: Options, memory: Memory) -> None:
        self.memory = memory
        self.options = options
        self._limits = Limits(per_second=options.per_second, per_minute=options.per_minute, headers=options.headers)
        self._random = random.Random(options.seed)  # noqa: S311 - faults, not secrets
        #: Of its own, so that look-ups don't change which creates are hit.
        self._lookup_random = random.Random(options.seed)  # noqa: S311 - faults, not secrets
        self._faults = dict(options.faults) or dict.fromkeys(FAULTS, 1.0)
        self._campaigns = {campaign["id"]: campaign for campaign in options.campaigns}
        self._routes: dict[str, dict[str, Callable[[_Request], Reply]]] = {
            "/api/user/lead": {"POST": self._create},
            "/api/user/me": {"GET": lambda _: _ME},
        }
        if options.campaigns_listed:
            listed = json_reply(200, [dict(campaign) for campaign in options.campaigns])
            self._routes["/api/user/campaigns"] = {"GET": lambda _: listed}
        if options.lookup:
            self._routes["/api/user/leads"] = {"GET": self._look_up}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or do to its connection what a fault says."""
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
                await reply.act(Wire(scope, receive, self._bytes(reply)))
                return
            self.memory.answers[reply.status] += 1
        else:
            reply = self._beside(request)
        headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    def _bytes(self, reply: Reply) -> bytes:
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

    def _api(self, request: _Request) -> Reply:
        scheme, _, key = request.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else ""
        over, limit_headers = self._limits.take(key)
        reply = over or self._refused_key(key, request) or self._routed(request)
        return replace(reply, headers=reply.headers + limit_headers) if limit_headers else reply

    def _refused_key(self, key: str, request: _Request) -> Reply | None:
        if key and (self.options.keys is None or key in self.options.keys):
            return None
        if b"application/json" in request.headers.get(b"accept", b""):
            return json_reply(401, {"message": "Unauthenticated."})
        return replace(html_reply(302, "Redirecting to /login"), headers=(HTML, (b"location", b"/login")))

    def _routed(self, request: _Request) -> Reply:
        methods = self._routes.get(request.path)
        if methods is None and self.options.delete and re.fullmatch(r"/api/user/leads/[^/]+", request.path):
            methods = {"DELETE": self._delete}
        if methods is None:
            return json_reply(404, {"message": f"The route {request.path[1:]} could not be found."})
        if request.method in methods:
            return methods[request.method](request)
        text = f"The {request.method} method is not supported for route {request.path[1:]}."
        allowed = ", ".join(methods)
        return json_reply(405, {"message": f"{text} Supported methods: {allowed}."}, (b"allow", allowed.encode()))

    def _create(self, request: _Request) -> Reply:
        memory = self.memory
        memory.posts += 1
        kind = self._draw_fault(self._random, self.options.hit_rate)
        kind = self.options.fault_at.get(memory.posts, kind)
        if kind is not None and not FAULTS[kind].stored:
            return self._faulty(kind, ERROR, memory.faults)
        try:
            asked = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            return invalid({"body": ["must be JSON"]})
        if errors := errors_in(asked, self._campaigns.keys()):
            return invalid(errors)
        if self.options.magic and (refusal := refused_by_magic(asked)):
            return refusal
        if memory.taken[asked["campaign_id"], asked["phone_number"]] and not asked.get("allow_dupplicate", False):
            memory.refused_duplicates += 1
            taken = {"phone_number": ["has already been taken"]}
            return invalid(taken, "The lead already exists in this campaign.")
        answer = {"message": "Lead created successfully", "data": self._shown(memory.store(asked))}
        reply = json_reply(200, [answer] if self.options.wrap_list else answer)
        return reply if kind is None else self._faulty(kind, reply, memory.faults)

    def _draw_fault(self, chance: random.Random, rate: float) -> str | None:
        if chance.random() >= rate:
            return None
        return chance.choices(list(self._faults), list(self._faults.values()))[0]

    def _faulty(self, kind: str, reply: Reply, counted: Counter[str]) -> Reply:
        counted[kind] += 1
        what = FAULTS[kind].what
        return what if isinstance(what, Reply) else replace(reply, act=what)

    def _look_up(self, request: _Request) -> Reply:
        kind = self._draw_fault(self._lookup_random, self.options.lookup_fault_rate)
        reply = self._found(request)
        return reply if kind is None else self._faulty(kind, reply, self.memory.lookup_faults)

    def _found(self, request: _Request) -> Reply:
        leads: Iterable[Lead] = reversed(self.memory.leads.values())
        if not self.options.filters:
            return json_reply(200, [self._shown(lead) for lead in leads])
        try:
            query = QueryParams(request.query)
            found = list(filter(wanted(query), leads))
            per_page = whole(query.get("per_page", "15"), "per_page", 1, 100)
            page = whole(query.get("page", "1"), "page", 1)
        except ValueError as error:
            return invalid({"query": [str(error)]})
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
        return json_reply(200, shown)

    def _delete(self, request: _Request) -> Reply:
        lead = self.memory.leads.get(_id_in(request.path))
        if lead is None:
            return json_reply(404, {"message": "Lead not found."})
        if lead.status not in ("created", "scheduled"):
            return json_reply(403, {"message": f"The lead is {lead.status} and can't be deleted."})
        self.memory.delete(lead)
        return json_reply(200, {"message": "Lead deleted successfully"})

    def _shown(self, lead: Lead) -> dict[str, Any]:
        campaign = {"id": lead.campaign_id, "name": self._campaigns[lead.campaign_id]["name"]}
        return self._person(lead) | {
            "campaign_id": lead.campaign_id,
            "campaign": campaign,
            "secondary_contacts": [self._person(contact) for contact in lead.contacts],
        }

    def _person(self, person: Person) -> dict[str, Any]:
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
        return time.strftime(shape, time.gmtime(epoch + self.options.created_at_ahead))

    # Beside the API.

    def _beside(self, request: _Request) -> Reply:
        if request.path == "/sandbox/memory" and request.method == "GET":
            return json_reply(200, self.memory.shown())
        if request.path == "/sandbox/counts" and request.method == "GET":
            return json_reply(200, self.memory.counts())
        if request.path.startswith("/sandbox/lead/") and request.method == "POST":
            return self._change(request)
        return html_reply(200, "Log in") if request.path == "/login" else html_reply(404, "Not found")

    def _change(self, request: _Request) -> Reply:
        person = self.memory.person(_id_in(request.path))
        if person is None:
            return json_reply(404, {"message": "Lead not found."})
        try:
            change = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            change = None
        if not isinstance(change, dict) or not change or change.keys() - {"status", "variables"}:
            return invalid({"body": ["must be an object with status, variables or both"]})
        person.status = change.get("status", person.status)
        person.variables = change.get("variables", person.variables)
        person.updated_at = time.time()
        return json_reply(200, judged(person))


def _id_in(path: str) -> int:
    """Read the number that a path ends with; -1, which no lead has, for anything else."""
    last = path.rpartition("/")[2]
    return int(last) if last.isascii() and last.isdigit() and len(last) < 20 else -1
