"""The service: its address, its requests, and what may have happened where no answer came.

The wire is httpx over aiohttp. A POST is handed to the transport as a ready `httpx.Request`: the client's layers above
it (redirects, cookies, auth flows) are nothing this API may use.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import anyio
import httpx
import orjson
from httpx_aiohttp import AiohttpTransport

from importer.answers import RateHeaders, digits, judge, rate_headers, read_lead
from importer.errors import Refused, Stopped
from importer.records import Created, Lead, Meaning, Verdict

_MOST_BYTES = 4 * 2**20
_PER_PAGE = 100
_MOST_PAGES = 1000

#: What proves that no byte of a request left, by the cause under httpx's exception. httpx-aiohttp reports a connection
#: that was reset after the server took the lead as `httpx.ConnectTimeout` too, so httpx's own class proves nothing.
_NEVER_SENT: tuple[type[BaseException], ...] = (
    aiohttp.ClientConnectorError,  # refused, unreachable, name not found, TLS handshake or certificate
    aiohttp.ConnectionTimeoutError,  # no connection in time, or none free in the pool
    aiohttp.InvalidURL,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)


def normalise_address(text: str) -> str:
    """Return the service's base address from what people paste: the host, `…/api`, `…/api/` or the whole endpoint.

    Raises `Refused` for anything but https, except on loopback.
    """
    said = text.strip()
    if "://" not in said:
        host = said.split("/")[0].rsplit(":", 1)[0]
        said = ("http://" if _is_loopback(host) else "https://") + said
    parts = urlsplit(said)
    right = "Right is, for instance, https://call.otonistark.com.br/api."
    try:
        port = parts.port
    except ValueError:
        raise Refused(f"address {text!r}: its port is no number. {right}") from None
    host = (parts.hostname or "").lower()
    if (
        parts.scheme.lower() not in ("http", "https")
        or not host
        or parts.username
        or parts.password
        or parts.query
        or parts.fragment
    ):
        raise Refused(f"address {_bare(parts, host)!r}: this is no address of a service. {right}")
    if parts.scheme.lower() == "http" and not _is_loopback(host):
        raise Refused(f"address {text!r}: the key and people's data would go out unencrypted. Write https://.")
    path = parts.path.rstrip("/")
    for ending in ("/user/leads", "/user/lead"):
        path = path.removesuffix(ending)
    shown = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}[parts.scheme.lower()]
    return (
        f"{parts.scheme.lower()}://{shown}{f':{port}' if port and port != default else ''}{path.rstrip('/') or '/api'}"
    )


def _bare(parts: Any, host: str) -> str:
    return f"{parts.scheme}://{host}{parts.path}"


def _is_loopback(host: str) -> bool:
    try:
        return host.lower() == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def payload(lead: Lead) -> bytes:
    """Return the body of a create (create-lead.txt). `allow_dupplicate` is the API's own spelling."""
    text = (
        f'{{"phone_number":"{lead.primary.phone}","campaign_id":{lead.campaign_id},"variables":{lead.primary.variables},'
        f'"allow_dupplicate":{"true" if lead.allow_duplicate else "false"}'
    )
    if lead.contacts:
        people = ",".join(
            f'{{"phone_number":"{person.phone}","variables":{person.variables}}}' for person in lead.contacts
        )
        text += f',"secondary_contacts":[{people}]'
    return (text + "}").encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's verdict, what the answer said of the limit, and how many seconds it took."""

    verdict: Verdict
    limits: RateHeaders | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign as the server lists it."""

    id: str
    name: str
    status: str | None


class LookupFailed(Exception):
    """A look-up got no answer that says anything; it may be asked again."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message or verdict.code or "no answer")
        self.verdict = verdict


class Service:
    """The service at one address, with one key. An async context manager; safe for many tasks at once."""

    def __init__(
        self, address: str, key: str, *, timeout: float, connections: int, duplicate_texts: Sequence[str] = ()
    ) -> None:
        self._address = address
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": "lead-importer",
        }
        self._timeout = timeout
        self._connections = connections
        self._duplicate_texts = duplicate_texts
        #: Which sandbox answered, if one did.
        self.instance: str | None = None

    def __repr__(self) -> str:
        return f"Service({self._address!r})"

    async def __aenter__(self) -> Self:
        tls = httpx.create_ssl_context()
        connector = aiohttp.TCPConnector(limit=self._connections, ssl=tls, keepalive_timeout=30)
        session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
        self._transport = AiohttpTransport(client=session)
        self._url = httpx.URL(f"{self._address}/user/lead")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.aclose()

    # Creating.

    async def create(self, body: bytes, lead: Lead) -> Answer:
        """Post one lead. Never raises for what happens on the wire: that is the verdict."""
        began = time.monotonic()
        request = httpx.Request("POST", self._url, headers=self._headers, content=body)
        answer = await self._exchange(request)
        seconds = time.monotonic() - began
        if isinstance(answer, Verdict):
            return Answer(answer, None, seconds)
        status, headers, content = answer
        verdict = judge(
            status, headers, content, sent=lead, duplicate_texts=self._duplicate_texts, now=datetime.now(UTC)
        )
        return Answer(verdict, rate_headers(headers), seconds)

    async def _exchange(self, request: httpx.Request) -> tuple[int, dict[str, str], bytes] | Verdict:
        """Send a request and read the answer whole, in bounded time and size; a verdict where none came."""
        request.extensions = {"timeout": {"connect": self._timeout, "read": self._timeout, "pool": self._timeout}}
        try:
            with anyio.fail_after(self._timeout + 1):
                response = await self._transport.handle_async_request(request)
                try:
                    content = await _bounded(response)
                finally:
                    with anyio.CancelScope(shield=True):
                        await response.aclose()
        except Exception as error:  # noqa: BLE001 - whatever happens once a request was begun, the lead needs a verdict
            return _no_answer(error, self._timeout)
        headers = {name.lower(): value for name, value in response.headers.items()}
        self.instance = headers.get("x-sandbox-instance", self.instance)
        return response.status_code, headers, content

    # Asking.

    async def _get(self, path: str, **query: str | int) -> tuple[int, dict[str, str], Any]:
        """Ask once, and again after a short while where no answer came; raises `LookupFailed`."""
        request = httpx.Request("GET", f"{self._address}{path}", params=query, headers=self._headers)
        answer = await self._exchange(request)
        if isinstance(answer, Verdict):
            raise LookupFailed(answer)
        status, headers, content = answer
        if status in (401, 302, 301, 303, 307, 308):
            verdict = judge(status, headers, content, sent=None, now=datetime.now(UTC))
            raise Stopped(f"{self._address}: {verdict.message}")
        if status == 429 or status >= 500:
            raise LookupFailed(judge(status, headers, content, sent=None, now=datetime.now(UTC)))
        try:
            return status, headers, orjson.loads(content)
        except orjson.JSONDecodeError:
            return status, headers, None

    async def campaigns(self) -> list[Campaign] | None:
        """List the campaigns; None where the server can't.

        Raises `Stopped` where the key is refused or the server is not reached after a few tries.
        """
        for attempt in range(4):
            try:
                return await self._campaigns()
            except LookupFailed as failure:
                if failure.verdict.meaning is not Meaning.UNREACHED and failure.verdict.meaning is not Meaning.LATER:
                    return None
                if attempt == 3:
                    if failure.verdict.meaning is Meaning.LATER:
                        return None
                    raise Stopped(
                        f"{self._address}: the server can't be reached ({failure.verdict.message}). Nothing was sent. Check the address and the network, then run this again."
                    ) from None
                await anyio.sleep(min(failure.verdict.retry_after or 0.5 * 2**attempt, 30.0))
        return None

    async def _campaigns(self) -> list[Campaign] | None:
        found: list[Campaign] = []
        for page in range(1, _MOST_PAGES):
            status, _, data = await self._get("/user/campaigns", **({"page": page} if page > 1 else {}))
            rows = _rows(data, "campaigns")
            if status >= 300 or rows is None:
                return None
            found += [
                Campaign(str(one["id"]), str(one.get("name") or ""), one.get("status"))
                for one in rows
                if isinstance(one, dict) and str(one.get("id", "")).isdigit()
            ]
            if not isinstance(data, dict) or page >= int(data.get("last_page") or 1):
                return found
        return found

    async def find_leads(self, campaign_id: int, phone: str) -> list[Created] | None:
        """Look a number up in a campaign, as a primary or as a contact; None where the server has no look-up.

        Filters again here, since older servers ignore the query, and pages by number, since `next_page_url` may name
        another host. Raises `LookupFailed` where it may be asked again.
        """
        wanted = digits(phone)
        found: list[Created] = []
        for page in range(1, _MOST_PAGES):
            status, _, data = await self._get(
                "/user/leads", campaign_id=campaign_id, phone_number=wanted, per_page=_PER_PAGE, page=page
            )
            rows = _rows(data, "leads")
            if status >= 300 or rows is None:
                return None
            leads = [
                lead for row in rows if (lead := read_lead(row)) is not None and lead.campaign_id in (None, campaign_id)
            ]
            found += [
                lead
                for lead in leads
                if wanted in {digits(lead.phone), *(digits(contact.phone) for contact in lead.contacts)}
            ]
            if not isinstance(data, dict) or page >= int(data.get("last_page") or 1):
                return found
        return found


async def _bounded(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > _MOST_BYTES:
            raise httpx.DecodingError("the answer is larger than any lead")
    return bytes(content)


def _rows(data: Any, name: str) -> list[Any] | None:
    """Return the rows of a bare array, or of `{data: […]}` or `{<name>: […]}`."""
    if isinstance(data, dict):
        data = data.get("data", data.get(name))
    return data if isinstance(data, list) else None


def _no_answer(error: BaseException, timeout: float) -> Verdict:
    """Judge a request that got no answer: surely never sent, or nobody knows."""
    cause = error if isinstance(error, _NEVER_SENT) else error.__cause__
    words = str(cause or error) or type(cause or error).__name__
    if isinstance(cause, _NEVER_SENT):
        return Verdict(Meaning.UNREACHED, "unreached", words)
    if isinstance(error, (TimeoutError, httpx.ReadTimeout)) or isinstance(cause, TimeoutError):
        return Verdict(
            Meaning.AMBIGUOUS,
            "timeout",
            f"no answer within {timeout:.0f} s; the lead may or may not have been created",
            systemic="timeout",
        )
    return Verdict(
        Meaning.AMBIGUOUS,
        "connection_lost",
        f"the connection broke before the answer was complete ({words}); the lead may or may not have been created",
    )
