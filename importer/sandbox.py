"""A local OtoniStark API with selectable faults and limits, for rehearsals and tests.

It serves the vendor's page (create-lead.txt) and the other calls of api.md strictly, on loopback only and in memory.
Numbers that end in 66, 67 and 68 after two zeros are refused, so that refusals can be rehearsed (`MAGIC`).
"""

import asyncio
import random
import re
import secrets
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

import orjson
import uvicorn

#: The last digits of a number → what the sandbox answers: status and body.
MAGIC: dict[str, tuple[int, dict[str, Any]]] = {
    "0066": (
        422,
        {"message": "The given data was invalid.", "errors": {"variables.email": ["must be a valid e-mail address"]}},
    ),
    "0067": (
        422,
        {"message": "The given data was invalid.", "errors": {"phone_number": ["is not a number that can be called"]}},
    ),
    "0068": (402, {"success": False, "error": "Insufficient balance", "error_code": "insufficient_balance"}),
}

#: Faults on a create: whether the lead is stored first, and what is answered. `hang` answers nothing at all.
FAULTS: dict[str, tuple[bool, int, str]] = {
    "hang": (True, 0, ""),
    "hang_before": (False, 0, ""),
    "500": (True, 500, "json"),
    "502": (True, 502, "html"),
    "503": (True, 503, "html"),
    "500_before": (False, 500, "json"),
    "html_200": (True, 200, "html"),
    "no_id": (True, 200, "no_id"),
    "cut_body": (True, 200, "cut"),
    "reset": (True, 0, "reset"),
    "reset_before": (False, 0, "reset"),
    "garbage": (True, 0, "garbage"),
    "busy": (False, 503, "busy"),
}

CAMPAIGNS = ((7, "Spring fair", "active"), (8, "Autumn call-back", "active"), (9, "Old list", "stopped"))

_PHONE = re.compile(r"\+[1-9]\d{6,14}")
_KEYS = {"phone_number", "campaign_id", "variables", "allow_dupplicate", "secondary_contacts"}


@dataclass(frozen=True, slots=True)
class Options:
    """How the sandbox behaves. Limits are Laravel's: a counter per window, with its headers on every answer."""

    port: int = 0
    keys: frozenset[str] | None = None
    """The keys it takes; None: any."""
    campaigns: tuple[tuple[int, str, str], ...] = CAMPAIGNS
    limit: int | None = None
    window: float = 60.0
    limit_headers: bool = True
    latency: float = 0.0
    fault_rate: float = 0.0
    faults: Mapping[str, float] = field(
        default_factory=lambda: dict.fromkeys(("hang", "reset", "cut_body", "500", "502", "503", "garbage"), 1.0)
    )
    """Kinds of faults and their shares."""
    seed: int | None = None
    lookup: bool = True
    filters: bool = True
    delete: bool = True
    list_campaigns: bool = True


_Send = Callable[[dict[str, Any]], Awaitable[None]]
_Receive = Callable[[], Awaitable[dict[str, Any]]]


@dataclass(slots=True)
class _Reply:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def _json(status: int, value: Any, **headers: str) -> _Reply:
    return _Reply(status, orjson.dumps(value), {"content-type": "application/json", **headers})


def _html(status: int, text: str) -> _Reply:
    return _Reply(
        status, f"<!doctype html><html><body><h1>{text}</h1></body></html>".encode(), {"content-type": "text/html"}
    )


class Memory:
    """What the server knows: the judge of every rehearsal."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.instance = secrets.token_hex(4)
        self.leads: dict[int, dict[str, Any]] = {}
        self.by_number: dict[tuple[int, str], int] = {}
        self.posts = 0
        self.refused_duplicates = 0
        self.faults: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.random = random.Random(options.seed)  # noqa: S311 - faults, not secrets
        self.window_began = 0.0
        self.window_count = 0
        self._last_id = 1000

    def store(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Store a lead and its contacts; return it as the API shows it."""
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        name = {number: name for number, name, _ in self.options.campaigns}[asked["campaign_id"]]
        lead = self._person(asked, now) | {
            "campaign_id": asked["campaign_id"],
            "campaign": {"id": asked["campaign_id"], "name": name},
        }
        lead["secondary_contacts"] = [self._person(contact, now) for contact in asked.get("secondary_contacts", [])]
        lead["allow_dupplicate"] = asked.get("allow_dupplicate", False)
        self.leads[lead["id"]] = lead
        self.by_number.setdefault((lead["campaign_id"], lead["phone_number"]), lead["id"])
        return lead

    def _person(self, asked: dict[str, Any], now: str) -> dict[str, Any]:
        self._last_id += 1
        return {
            "id": self._last_id,
            "phone_number": asked["phone_number"],
            "variables": asked.get("variables") or {},
            "status": "created",
            "created_at": now,
            "updated_at": now,
        }

    def shown(self) -> dict[str, Any]:
        """Return everything, for a judge in another process."""
        return {
            "instance": self.instance,
            "leads": list(self.leads.values()),
            "posts": self.posts,
            "refused_duplicates": self.refused_duplicates,
            "faults": dict(self.faults),
            "answers": dict(self.answers),
        }


class _App:
    """The ASGI application."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.options = memory.options

    async def __call__(self, scope: dict[str, Any], receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if self.options.latency:
            await asyncio.sleep(self.options.latency)
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        reply = await self._answer(scope, headers, body)
        if reply is None:
            return
        self.memory.answers[str(reply.status)] += 1
        sent = {"x-sandbox-instance": self.memory.instance, "date": formatdate(usegmt=True), **reply.headers}
        if "content-length" not in sent:
            sent["content-length"] = str(len(reply.body))
        await send(
            {
                "type": "http.response.start",
                "status": reply.status,
                "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
            }
        )
        await send({"type": "http.response.body", "body": reply.body})

    async def _answer(self, scope: dict[str, Any], headers: dict[str, str], body: bytes) -> _Reply | None:
        method, path = scope["method"], scope["path"]
        if path == "/sandbox/memory":
            return _json(200, self.memory.shown())
        if not path.startswith("/api/"):
            return _html(200, "Login") if path == "/login" else _html(404, "Not found")
        key = headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not key or (self.options.keys is not None and key not in self.options.keys):
            if "application/json" in headers.get("accept", ""):
                return _json(401, {"message": "Unauthenticated."})
            return _Reply(302, b"", {"location": "/login"})
        over, limit_headers = self._limit()
        reply = over or await self._route(method, path.removeprefix("/api"), scope, body)
        if reply is not None:
            reply.headers |= limit_headers
        return reply

    def _limit(self) -> tuple[_Reply | None, dict[str, str]]:
        limit, memory = self.options.limit, self.memory
        if limit is None:
            return None, {}
        now = time.time()
        if now - memory.window_began >= self.options.window:
            memory.window_began, memory.window_count = now, 0
        if memory.window_count >= limit:
            wait = max(memory.window_began + self.options.window - now, 0.0)
            seconds = str(int(wait) + 1)
            reply = _json(
                429,
                {"message": "Too Many Attempts.", "retry_after": int(seconds)},
                **{"retry-after": seconds, "x-ratelimit-reset": str(int(now + wait) + 1)},
            )
            return reply, self._limit_headers(0)
        memory.window_count += 1
        return None, self._limit_headers(limit - memory.window_count)

    def _limit_headers(self, remaining: int) -> dict[str, str]:
        if not self.options.limit_headers:
            return {}
        return {"x-ratelimit-limit": str(self.options.limit), "x-ratelimit-remaining": str(remaining)}

    async def _route(self, method: str, path: str, scope: dict[str, Any], body: bytes) -> _Reply | None:
        if path == "/user/lead":
            return (
                await self._create(body, scope) if method == "POST" else _json(405, {"message": "Method not allowed."})
            )
        if path == "/user/me" and method == "GET":
            return _json(200, {"name": "Sandbox", "email": "sandbox@example.com", "total_balance": 100})
        if path == "/user/campaigns" and method == "GET" and self.options.list_campaigns:
            return _json(
                200, [{"id": number, "name": name, "status": status} for number, name, status in self.options.campaigns]
            )
        if path == "/user/leads" and method == "GET" and self.options.lookup:
            return self._look_up({name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()})
        if method == "DELETE" and self.options.delete and (match := re.fullmatch(r"/user/leads/(\d+)", path)):
            return self._delete(int(match[1]))
        return _json(404, {"message": f"The route {path} could not be found."})

    async def _create(self, body: bytes, scope: dict[str, Any]) -> _Reply | None:
        memory = self.memory
        memory.posts += 1
        try:
            asked = orjson.loads(body)
        except orjson.JSONDecodeError:
            return _json(400, {"message": "The body is no JSON."})
        errors = _errors(asked, {number for number, _, _ in self.options.campaigns})
        if errors:
            return _json(422, {"message": "The given data was invalid.", "errors": errors})
        fault = self._fault()
        if fault is not None and not FAULTS[fault][0]:
            return await self._broken(fault, {}, scope)
        refused = _magic(asked)
        if refused is not None:
            return refused
        known = (asked["campaign_id"], asked["phone_number"]) in memory.by_number
        if known and not asked.get("allow_dupplicate", False):
            memory.refused_duplicates += 1
            return _json(
                422,
                {
                    "message": "The lead already exists in this campaign.",
                    "errors": {"phone_number": ["has already been taken"]},
                },
            )
        lead = memory.store(asked)
        if fault is not None:
            return await self._broken(fault, lead, scope)
        return _json(200, {"message": "Lead created successfully", "data": lead})

    def _fault(self) -> str | None:
        memory = self.memory
        if memory.random.random() >= self.options.fault_rate:
            return None
        kinds = list(self.options.faults)
        fault = memory.random.choices(kinds, [self.options.faults[kind] for kind in kinds])[0]
        memory.faults[fault] += 1
        return fault

    async def _broken(self, fault: str, lead: dict[str, Any], scope: dict[str, Any]) -> _Reply | None:
        _, status, shape = FAULTS[fault]
        transport = scope.get("extensions", {}).get("transport")
        if shape in ("reset", "garbage") and transport is not None:
            if shape == "garbage":
                transport.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
                transport.close()
            else:
                transport.abort()
            return None
        if status == 0:
            await asyncio.sleep(3600)
            return None
        if shape == "html":
            return _html(status, "Something went wrong")
        if shape == "no_id":
            return _json(status, {"message": "Lead created successfully"})
        if shape == "busy":
            return _json(status, {"message": "Busy."}, **{"retry-after": "1"})
        whole = orjson.dumps({"message": "Lead created successfully", "data": lead})
        if shape == "cut":
            return _Reply(
                status,
                whole[: len(whole) // 2],
                {"content-type": "application/json", "content-length": str(len(whole))},
            )
        return _json(status, {"message": "Server Error"})

    def _look_up(self, query: dict[str, str]) -> _Reply:
        leads = sorted(self.memory.leads.values(), key=lambda lead: -lead["id"])
        if not self.options.filters:
            return _json(200, leads)
        wanted = re.sub(r"\D", "", query.get("phone_number", ""))
        found = [
            lead
            for lead in leads
            if query.get("campaign_id") in (None, str(lead["campaign_id"]))
            and query.get("status") in (None, lead["status"])
            and any(wanted in person["phone_number"] for person in (lead, *lead["secondary_contacts"]))
        ]
        per_page, page = min(int(query.get("per_page", 15)), 100), int(query.get("page", 1))
        last = max(-(-len(found) // per_page), 1)
        return _json(
            200,
            {
                "current_page": page,
                "data": found[(page - 1) * per_page : page * per_page],
                "last_page": last,
                "per_page": per_page,
                "total": len(found),
                # Another host on purpose: a client that follows it gives its key away.
                "next_page_url": f"http://127.0.0.2:9/api/user/leads?page={page + 1}" if page < last else None,
            },
        )

    def _delete(self, lead_id: int) -> _Reply:
        lead = self.memory.leads.get(lead_id)
        if lead is None:
            return _json(404, {"message": "Lead not found."})
        if lead["status"] not in ("created", "scheduled"):
            return _json(403, {"message": "The lead is being called."})
        del self.memory.leads[lead_id]
        if self.memory.by_number.get((lead["campaign_id"], lead["phone_number"])) == lead_id:
            del self.memory.by_number[lead["campaign_id"], lead["phone_number"]]
        return _json(200, {"message": "Lead deleted."})


def _magic(asked: dict[str, Any]) -> _Reply | None:
    if answer := MAGIC.get(asked["phone_number"][-4:]):
        return _json(*answer)
    for place, contact in enumerate(asked.get("secondary_contacts", [])):
        if contact["phone_number"].endswith("0067"):
            return _json(
                422,
                {
                    "message": "The given data was invalid.",
                    "errors": {f"secondary_contacts.{place}.phone_number": ["is not a number that can be called"]},
                },
            )
    return None


def _errors(asked: Any, campaigns: set[int]) -> dict[str, list[str]]:
    """Hold a body against the vendor's page, strictly."""
    if not isinstance(asked, dict):
        return {"body": ["must be an object"]}
    errors: dict[str, list[str]] = {name: ["is not a field of this call"] for name in asked.keys() - _KEYS}
    errors |= _person_errors(asked, "")
    campaign = asked.get("campaign_id")
    if not isinstance(campaign, int) or isinstance(campaign, bool):
        errors["campaign_id"] = ["must be an integer"]
    elif campaign not in campaigns:
        errors["campaign_id"] = ["The selected campaign is unknown."]
    if not isinstance(asked.get("allow_dupplicate", False), bool):
        errors["allow_dupplicate"] = ["must be true or false"]
    contacts = asked.get("secondary_contacts", [])
    if not isinstance(contacts, list) or len(contacts) > 10:
        return errors | {"secondary_contacts": ["must be a list of at most 10"]}
    numbers = {asked.get("phone_number")}
    for place, contact in enumerate(contacts):
        if not isinstance(contact, dict):
            errors[f"secondary_contacts.{place}"] = ["must be an object"]
            continue
        errors |= {
            f"secondary_contacts.{place}.{name}": ["is not a field of a contact"]
            for name in contact.keys() - {"phone_number", "variables"}
        }
        errors |= _person_errors(contact, f"secondary_contacts.{place}.")
        if contact.get("phone_number") in numbers:
            errors[f"secondary_contacts.{place}.phone_number"] = ["stands twice in this lead"]
        numbers.add(contact.get("phone_number"))
    return errors


def _person_errors(person: dict[str, Any], prefix: str) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = {}
    phone, variables = person.get("phone_number"), person.get("variables", {})
    if not isinstance(phone, str) or not _PHONE.fullmatch(phone):
        errors[f"{prefix}phone_number"] = ["must be in E.164 format"]
    if not isinstance(variables, dict):
        errors[f"{prefix}variables"] = ["must be an object"]
    else:
        errors |= {
            f"{prefix}variables.{name}": ["must be a text, number or boolean, and not empty"]
            for name, value in variables.items()
            if not isinstance(value, (str, int, float)) or value == ""
        }
    return errors


# Serving.


def _protocol() -> type[asyncio.Protocol]:
    """Return uvicorn's protocol, with the transport in reach of the application for faults on the wire."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Protocol(HttpToolsProtocol):
        def on_headers_complete(self) -> None:
            self.scope["extensions"] = {"transport": self.transport}  # type: ignore[dict-item]
            super().on_headers_complete()

    return Protocol


class Sandbox:
    """A sandbox in a thread of this process; a context manager. `url` is the base address of its API."""

    def __init__(self, options: Options) -> None:
        self.memory = Memory(options)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", options.port))
        self._socket.listen(512)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/api"
        config = uvicorn.Config(
            _App(self.memory),
            http=_protocol(),
            log_level="critical",
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._serve, name="sandbox", daemon=True)

    def _serve(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(timeout=5)
        self._socket.close()


def serve(options: Options, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. Raises `OSError` where the port is taken."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with Sandbox(options) as box:
        announce(f"OtoniStark sandbox at {box.url} (any key will do). Ctrl-C ends it.")
        for campaign, name, status in options.campaigns:
            announce(f"  campaign {campaign}: {name!r} ({status})")
        announce(f"What it was told: {box.url.removesuffix('/api')}/sandbox/memory")
        sys.stdout.flush()
        ended.wait()
