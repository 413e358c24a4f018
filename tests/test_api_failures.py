"""The client on the wire, against a server that is nothing but a socket: what each failure proves, and what not."""

import gzip
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import anyio
import pytest

from importer.api import _FAILURES, Answer, LookupFailed, Service, payload
from importer.errors import Refused, Stopped
from importer.records import Lead, Meaning, Person, Verdict

KEY = "12|Zq8sMockKeyForTests"
LEAD = Lead(Person("+12125550100", '{"customer_name":"Ann"}', 0), 7)
GOOD = json.dumps(
    {"message": "Lead created successfully", "data": {"id": 55, "campaign_id": 7, "phone_number": "+12125550100"}}
)
#: Where a time-out is what is waited for, and where none may come in the way.
SHORT, LONG = 0.6, 10.0

pytestmark = pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])


# The server.


class Wire:
    """One accepted connection."""

    def __init__(self, server: "RawServer", sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self._buffer = b""

    def peek(self) -> None:
        """Wait for the request's first byte and leave it where it is."""
        self.sock.recv(1, socket.MSG_PEEK)

    def request(self) -> bytes:
        """Read one whole request; empty at the end of the connection."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._more():
                return b""
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        needed = int(length[1]) if length else 0
        while len(rest) < needed and self._more():
            rest = self._buffer.partition(b"\r\n\r\n")[2]
        self._buffer = rest[needed:]
        self.server.requests.append(head + b"\r\n\r\n" + rest[:needed])
        return self.server.requests[-1]

    def _more(self) -> bool:
        got = self.sock.recv(65536)
        self._buffer += got
        return bool(got)

    def send(self, *parts: str | bytes) -> None:
        for part in parts:
            self.sock.sendall(part.encode() if isinstance(part, str) else part)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def wait(self) -> None:
        """Hold the connection open, silently, until the test is over."""
        self.server.over.wait(10)


Script = Callable[[Wire], None]


class RawServer:
    """A loopback port whose every connection runs a script in a thread of its own."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self.port: int = self._listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}/api"
        self.accepted = 0
        self.requests: list[bytes] = []
        self.over = threading.Event()

    def __enter__(self) -> Self:
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in [self._acceptor, *self._threads]:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            sock.settimeout(10)
            try:
                self._script(Wire(self, sock))
            except OSError:
                return


def reply(
    body: str | bytes = GOOD, status: str = "200 OK", *, kind: str = "application/json", extra: str = ""
) -> bytes:
    content = body.encode() if isinstance(body, str) else body
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{extra}Content-Length: {len(content)}\r\n\r\n".encode() + content
    )


def answering(*replies: bytes) -> Script:
    """Answer the requests of each connection one after another, the last reply again and again."""

    def script(wire: Wire) -> None:
        served = 0
        while wire.request():
            wire.send(replies[min(served, len(replies) - 1)])
            served += 1

    return script


def run(uvloop: bool, do: Callable[[], Awaitable[Any]]) -> Any:
    return anyio.run(do, backend_options={"use_uvloop": uvloop})


def service(address: str, *, timeout: float = LONG, connections: int = 4) -> Service:
    return Service(address, KEY, timeout=timeout, connections=connections)


def post(uvloop: bool, address: str, *, times: int = 1, timeout: float = LONG) -> Answer:
    """Post the lead on one connection; the last answer counts."""

    async def do() -> Answer:
        async with service(address, timeout=timeout) as api:
            for _ in range(times):
                answer = await api.create(payload(LEAD), LEAD)
            return answer

    answer: Answer = run(uvloop, do)
    assert KEY.rpartition("|")[2] not in f"{answer}"
    return answer


# Never sent.


@contextmanager
def closed_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    yield f"http://127.0.0.1:{port}/api"


@contextmanager
def full_backlog() -> Iterator[str]:
    """Listen without accepting: once the queue is full, the system leaves further connections waiting."""
    with ExitStack() as held:
        listener = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = held.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api"


@contextmanager
def no_such_host() -> Iterator[str]:
    yield "https://does-not-exist.invalid/api"


@contextmanager
def no_web_address() -> Iterator[str]:
    yield "ftp://127.0.0.1/api"


def tls_over(script: Script) -> Callable[[], Any]:
    @contextmanager
    def serve() -> Iterator[str]:
        with RawServer(script) as server:
            yield server.address.replace("http:", "https:")

    return serve


def _hang_up_in_handshake(wire: Wire) -> None:
    wire.peek()
    wire.reset()


def _end_in_handshake(wire: Wire) -> None:
    wire.sock.recv(65536)


def _self_signed(wire: Wire) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(wire.server.certificate)  # type: ignore[attr-defined]
    with context.wrap_socket(wire.sock, server_side=True) as tls:
        wire.server.requests.append(tls.recv(65536))


@pytest.mark.parametrize(
    ("place", "code"),
    [
        pytest.param(closed_port, "no_connection", id="refused"),
        pytest.param(no_such_host, "no_such_host", id="DNS"),
        pytest.param(full_backlog, "connect_timeout", id="connect time-out"),
        pytest.param(tls_over(lambda wire: wire.send("SSH-2.0-OpenSSH_9.6\r\n")), "tls", id="TLS: not spoken there"),
        pytest.param(tls_over(Wire.wait), "connect_timeout", id="TLS: time-out"),
        pytest.param(tls_over(_hang_up_in_handshake), "no_connection", id="TLS: reset in the handshake"),
        pytest.param(tls_over(_end_in_handshake), "no_connection", id="TLS: ended in the handshake"),
        pytest.param(no_web_address, "address", id="no URL of the web"),
    ],
)
def test_what_fails_before_a_connection_stands_was_surely_not_sent(uvloop: bool, place: Any, code: str) -> None:
    with place() as address:
        verdict = post(uvloop, address, timeout=SHORT if code == "connect_timeout" else LONG).verdict
    assert (verdict.meaning, verdict.code, verdict.http_status) == (Meaning.UNREACHED, code, None), verdict


def test_a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent(
    uvloop: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    certificate = tmp_path_factory.mktemp("tls") / "self_signed.pem"
    certificate.write_text(SELF_SIGNED)
    with RawServer(_self_signed) as server:
        server.certificate = certificate  # type: ignore[attr-defined]
        verdict = post(uvloop, server.address.replace("http:", "https:")).verdict
    assert (verdict.meaning, verdict.code) == (Meaning.UNREACHED, "certificate"), verdict
    assert server.requests == []


def test_waiting_in_vain_for_a_free_connection_was_surely_not_sent(uvloop: bool) -> None:
    verdicts: list[Verdict] = []

    async def do() -> None:
        async with service(server.address, timeout=SHORT, connections=1) as api, anyio.create_task_group() as tasks:

            async def one() -> None:
                verdicts.append((await api.create(payload(LEAD), LEAD)).verdict)

            tasks.start_soon(one)
            await anyio.sleep(0.05)
            tasks.start_soon(one)

    with RawServer(Wire.wait) as server:
        run(uvloop, do)
    by_code = {verdict.code: verdict.meaning for verdict in verdicts}
    assert by_code == {"connect_timeout": Meaning.UNREACHED, "timeout": Meaning.AMBIGUOUS}
    assert server.accepted == 1


# Perhaps taken: the connection fails.


def fin_before_read(wire: Wire) -> None:
    wire.peek()
    wire.sock.shutdown(socket.SHUT_WR)
    wire.wait()


def rst_before_read(wire: Wire) -> None:
    wire.peek()
    wire.reset()


def fin_after_read(wire: Wire) -> None:
    wire.request()


def rst_after_read(wire: Wire) -> None:
    wire.request()
    wire.reset()


def hang(wire: Wire) -> None:
    wire.request()
    wire.wait()


def send_and_end(*parts: str | bytes) -> Script:
    def script(wire: Wire) -> None:
        wire.request()
        wire.send(*parts)

    return script


def drip(text: str | bytes, *, after: str = "") -> Script:
    def script(wire: Wire) -> None:
        wire.request()
        wire.send(after)
        for letter in text:
            wire.send(letter if isinstance(letter, str) else bytes([letter]))
            time.sleep(0.05)

    return script


HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
UNPACKED = b"[" + b" " * (5 * 2**20) + b"]"

CONNECTION_FAILS = [
    pytest.param(fin_before_read, "disconnected", id="FIN before the request was read"),
    pytest.param(rst_before_read, "connection_lost", id="RST before the request was read"),
    pytest.param(fin_after_read, "disconnected", id="FIN after the request was read"),
    pytest.param(rst_after_read, "connection_lost", id="RST after the request was read"),
    pytest.param(hang, "timeout", id="hang"),
    pytest.param(drip(reply()), "timeout", id="dripping headers"),
    pytest.param(drip(GOOD * 3, after=f"{HEAD}Content-Length: 500\r\n\r\n"), "timeout", id="dripping body"),
    pytest.param(send_and_end(HEAD), "disconnected", id="reply cut in its headers"),
    pytest.param(send_and_end(HEAD, "Content-Length: 500\r\n\r\n", GOOD), "answer_cut", id="reply cut in its body"),
    pytest.param(
        send_and_end(HEAD, 'Transfer-Encoding: chunked\r\n\r\n5\r\n{"mes'), "answer_cut", id="reply cut in a chunk"
    ),
    pytest.param(send_and_end("SSH-2.0-OpenSSH_9.6\r\n\r\n"), "not_http", id="not HTTP"),
    pytest.param(send_and_end(HEAD, f"X-Huge: {'x' * 100_000}\r\n\r\n"), "not_http", id="oversize header"),
    pytest.param(send_and_end(reply("[" + " " * (5 * 2**20) + "]")), "answer_too_large", id="endless body"),
    pytest.param(
        send_and_end(reply(gzip.compress(UNPACKED), extra="Content-Encoding: gzip\r\n")),
        "answer_too_large",
        id="body that unpacks without end",
    ),
    pytest.param(
        send_and_end(reply("no gzip", extra="Content-Encoding: gzip\r\n")), "not_decodable", id="broken packing"
    ),
]


@pytest.mark.parametrize("kept_alive", [False, True], ids=["fresh", "kept alive"])
@pytest.mark.parametrize(("script", "code"), CONNECTION_FAILS)
def test_what_fails_once_the_request_was_handed_over_leaves_the_lead_in_doubt(
    uvloop: bool, script: Script, code: str, kept_alive: bool
) -> None:
    def whole(wire: Wire) -> None:
        if kept_alive:
            wire.request()
            wire.send(reply())
        script(wire)

    with RawServer(whole) as server:
        timeout = SHORT if code == "timeout" else LONG
        answer = post(uvloop, server.address, times=2 if kept_alive else 1, timeout=timeout)
    verdict = answer.verdict
    assert (verdict.meaning, verdict.code, verdict.lead) == (Meaning.AMBIGUOUS, code, None), verdict
    assert verdict.systemic == ("timeout" if code == "timeout" else None)
    assert answer.limits is None
    assert server.accepted == 1, "a POST was sent again"
    assert answer.seconds < timeout + 2, "the whole attempt is bounded, not each chunk"


@pytest.mark.parametrize("later", range(len(_FAILURES)))
def test_no_row_of_the_failure_table_hides_behind_an_earlier_one(uvloop: bool, later: int) -> None:
    assert not [row for row in _FAILURES[:later] if issubclass(_FAILURES[later].raised, row.raised)]


def test_an_exception_that_nobody_foresaw_leaves_the_lead_in_doubt(
    uvloop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def do() -> Verdict:
        async with service("http://127.0.0.1:9/api") as api:

            def fails(*_: object, **__: object) -> None:
                raise RuntimeError(f"boom with {KEY}")

            monkeypatch.setattr(api._session, "post", fails)
            return (await api.create(payload(LEAD), LEAD)).verdict

    verdict = run(uvloop, do)
    assert (verdict.meaning, verdict.code) == (Meaning.AMBIGUOUS, "unforeseen")
    assert KEY not in verdict.message


# Perhaps taken, or not: the answer tells.


@pytest.mark.parametrize(
    ("answer", "meaning", "code", "systemic"),
    [
        pytest.param(reply(), Meaning.CREATED, None, None, id="created"),
        pytest.param(reply(status="201 Created"), Meaning.CREATED, None, None, id="created with 201"),
        pytest.param(
            reply(gzip.compress(GOOD.encode()), extra="Content-Encoding: gzip\r\n"),
            Meaning.CREATED,
            None,
            None,
            id="packed",
        ),
        pytest.param(
            reply('{"message": "Server Error"}', "500 Oops"), Meaning.AMBIGUOUS, "http_500", None, id="500 JSON"
        ),
        pytest.param(
            reply("<h1>Bad Gateway</h1>", "502 Bad", kind="text/html"),
            Meaning.AMBIGUOUS,
            "http_502",
            "html",
            id="502 HTML",
        ),
        pytest.param(reply("{}", "503 No"), Meaning.AMBIGUOUS, "http_503", None, id="503"),
        pytest.param(
            reply("{}", "503 No", extra="Retry-After: 3\r\n"),
            Meaning.LATER,
            "http_503",
            None,
            id="503 with Retry-After",
        ),
        pytest.param(reply("<h1>Log in</h1>", kind="text/html"), Meaning.AMBIGUOUS, "not_json", "html", id="200 HTML"),
        pytest.param(reply('{"message": "ok"}'), Meaning.AMBIGUOUS, "no_lead_id", None, id="200 without ID"),
        pytest.param(reply(GOOD[:40]), Meaning.AMBIGUOUS, "not_json", None, id="200 with half a body"),
        pytest.param(reply("", "204 No Content"), Meaning.AMBIGUOUS, "not_json", None, id="204"),
        pytest.param(reply('{"message": "Too Many Attempts."}', "429 Slow"), Meaning.LATER, "http_429", None, id="429"),
        pytest.param(reply('{"message": "Unauthenticated."}', "401 No"), Meaning.STOP, "http_401", "key", id="401"),
    ],
)
def test_the_answer_decides(
    uvloop: bool, answer: bytes, meaning: Meaning, code: str | None, systemic: str | None
) -> None:
    with RawServer(answering(answer)) as server:
        verdict = post(uvloop, server.address).verdict
    assert (verdict.meaning, verdict.code, verdict.systemic) == (meaning, code, systemic), verdict
    assert len(server.requests) == 1


def test_an_answer_that_ends_with_the_connection_is_whole(uvloop: bool) -> None:
    with RawServer(send_and_end(HEAD, "\r\n", GOOD)) as server:
        assert post(uvloop, server.address).verdict.meaning is Meaning.CREATED


def test_a_redirect_is_not_followed_and_the_key_goes_nowhere_else(uvloop: bool) -> None:
    with RawServer(answering(reply())) as elsewhere:
        moved = reply("", "302 Found", extra=f"Location: http://127.0.0.1:{elsewhere.port}/login?token=secret\r\n")
        with RawServer(answering(moved)) as server:
            verdict = post(uvloop, server.address).verdict
            with pytest.raises(Stopped, match="'/login'"):
                run(uvloop, lambda: _with(server.address, lambda api: api.campaigns()))
    assert (verdict.meaning, verdict.systemic) == (Meaning.STOP, "login")
    assert "/login" in (verdict.message or "")
    assert "secret" not in (verdict.message or "")
    assert "127.0.0.1" not in (verdict.message or "")
    assert elsewhere.accepted == 0


# How requests are made.


def test_the_request_is_what_the_vendors_page_says(uvloop: bool) -> None:
    with RawServer(
        answering(reply(extra="X-RateLimit-Limit: 60\r\nX-RateLimit-Remaining: 59\r\nX-Sandbox-Instance: abc\r\n"))
    ) as server:

        async def one(api: Service) -> tuple[Answer, str | None]:
            return await api.create(payload(LEAD), LEAD), api.instance

        answer, instance = run(uvloop, lambda: _with(server.address, one))
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    assert lines[0] == "POST /api/user/lead HTTP/1.1"
    assert fields["authorization"] == f"Bearer {KEY}"
    assert (fields["accept"], fields["content-type"]) == ("application/json", "application/json")
    assert json.loads(body) == {
        "phone_number": "+12125550100",
        "campaign_id": 7,
        "variables": {"customer_name": "Ann"},
        "allow_dupplicate": False,
    }
    assert (answer.limits.limit, answer.limits.remaining, instance) == (60, 59, "abc")


def test_connections_are_kept_but_not_one_that_the_server_has_closed(uvloop: bool) -> None:
    def once(wire: Wire) -> None:
        for _ in range(3):
            wire.request()
            wire.send(reply())

    async def do(api: Service) -> list[Meaning]:
        found = []
        for place in range(5):
            found.append((await api.create(payload(LEAD), LEAD)).verdict.meaning)
            if place == 2:
                await anyio.sleep(0.1)  # the server's FIN arrives while nothing is asked
        return found

    with RawServer(once) as server:
        assert run(uvloop, lambda: _with(server.address, do)) == [Meaning.CREATED] * 5
    assert server.accepted == 2


def test_no_more_connections_are_open_than_were_allowed(uvloop: bool) -> None:
    def slow(wire: Wire) -> None:
        while wire.request():
            time.sleep(0.02)
            wire.send(reply())

    async def do(api: Service) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(12):
                tasks.start_soon(api.create, payload(LEAD), LEAD)

    with RawServer(slow) as server:
        run(uvloop, lambda: _with(server.address, do, connections=3))
    assert (server.accepted, len(server.requests)) == (3, 12)


def test_being_cancelled_is_the_only_thing_that_leaves_a_create(uvloop: bool) -> None:
    async def do(api: Service) -> bool:
        with anyio.move_on_after(0.1) as scope:
            await api.create(payload(LEAD), LEAD)
        return scope.cancelled_caught

    with RawServer(hang) as server:
        assert run(uvloop, lambda: _with(server.address, do, patience=5))


def test_proxies_and_cookies_are_not_used(uvloop: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with RawServer(answering(reply(extra="Set-Cookie: laravel_session=abc; path=/\r\n"))) as server:
        assert post(uvloop, server.address, times=2).verdict.meaning is Meaning.CREATED
    assert b"cookie" not in server.requests[1].lower()


def test_the_key_is_in_no_text_even_if_a_debug_page_shows_it(uvloop: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    page = reply(f"<h1>Whoops</h1><td>Authorization</td><td>Bearer {KEY}</td>", "500 Oops", kind="text/html")
    with RawServer(answering(page)) as server:
        verdict = post(uvloop, server.address).verdict
        said = [verdict.message or "", repr(service(server.address)), caplog.text]
        with pytest.raises(LookupFailed) as raised:
            run(uvloop, lambda: _with(server.address, lambda api: api.find_leads(7, "12125550100")))
    said += [str(raised.value), repr(raised.value), repr(raised.value.verdict)]
    assert "Bearer ***" in said[0]
    assert not [text for text in said if "Zq8sMockKeyForTests" in text]


@pytest.mark.parametrize("key", ["", "12|abc def", "12|abc\n", "“12|abcdefghij”"])
def test_a_key_that_can_not_go_into_a_header_is_refused_and_not_shown(uvloop: bool, key: str) -> None:
    with pytest.raises(Refused) as raised:
        Service("https://example.com/api", key, timeout=1, connections=1)
    assert "abc" not in str(raised.value)


# Questions.


async def _with(
    address: str, do: Callable[[Service], Awaitable[Any]], *, patience: float = LONG, connections: int = 4
) -> Any:
    async with service(address, timeout=patience, connections=connections) as api:
        return await do(api)


def routes(answer: Callable[[str, dict[str, str]], bytes]) -> Script:
    """Answer by path and query."""

    def script(wire: Wire) -> None:
        while asked := wire.request():
            target = asked.split(b" ")[1].decode()
            path, _, query = target.partition("?")
            wire.send(answer(path, dict(pair.split("=") for pair in query.split("&") if pair)))

    return script


def lead(number: int, phone: str, campaign: int = 7, **more: Any) -> dict[str, Any]:
    return {"id": number, "phone_number": phone, "campaign_id": campaign, "variables": {}, **more}


def found_ids(uvloop: bool, script: Script) -> list[str] | None:
    with RawServer(script) as server:
        found = run(uvloop, lambda: _with(server.address, lambda api: api.find_leads(7, "12125550100")))
    return None if found is None else [one.lead_id for one in found]


def test_a_look_up_pages_by_number_and_never_goes_where_next_page_url_points(uvloop: bool) -> None:
    with RawServer(answering(reply("[]"))) as elsewhere:

        def answer(path: str, query: dict[str, str]) -> bytes:
            assert path == "/api/user/leads"
            assert (query["campaign_id"], query["phone_number"], query["per_page"]) == ("7", "12125550100", "100")
            page = int(query["page"])
            rows = [lead(page, "+1 (212) 555-0100"), lead(100 + page, "+12125550199")]
            url = f"http://127.0.0.1:{elsewhere.port}/api/user/leads?page={page + 1}"
            return reply(json.dumps({"current_page": page, "data": rows, "last_page": 3, "next_page_url": url}))

        assert found_ids(uvloop, routes(answer)) == ["1", "2", "3"]
    assert elsewhere.accepted == 0


@pytest.mark.parametrize(
    "body",
    [
        [lead(1, "+12125550100"), lead(2, "+12125550100", 8), lead(3, "+121255501001")],
        {"data": [lead(1, "+12125550100")]},
        {"leads": [lead(1, "12125550100")]},
        {"data": {"current_page": 1, "data": [lead(1, "+12125550100")], "last_page": 1}},
        {"data": [lead(1, "+12125550199", secondary_contacts=[lead(9, "+1-212-555-0100")])], "meta": {"last_page": 1}},
        [{**lead(1, "+12125550100"), "campaign_id": None, "campaign": {"id": 7, "name": "Spring"}}, {"id": None}, "?"],
    ],
)
def test_a_look_up_reads_every_shape_and_filters_again(uvloop: bool, body: Any) -> None:
    assert found_ids(uvloop, routes(lambda *_: reply(json.dumps(body)))) == ["1"]


@pytest.mark.parametrize("shape", ["links", "next_page_url", "bare"])
def test_a_list_that_does_not_tell_its_last_page_is_read_to_its_end(uvloop: bool, shape: str) -> None:
    def answer(_: str, query: dict[str, str]) -> bytes:
        page = int(query["page"])
        rows = [lead(page * 1000 + place, "+12125550100" if place == 0 else "+12125550199") for place in range(100)]
        rows = rows if page < 3 else rows[:50]
        more = "http://elsewhere.invalid/" if page < 3 else None
        body = {
            "links": {"data": rows, "links": {"next": more}},
            "next_page_url": {"data": rows, "next_page_url": more},
            "bare": rows,
        }
        return reply(json.dumps(body[shape]))

    assert found_ids(uvloop, routes(answer)) == ["1000", "2000", "3000"]


def test_a_look_up_on_a_server_that_ignores_pages_ends(uvloop: bool) -> None:
    rows = [lead(number, "+12125550100") for number in range(1, 101)]
    assert found_ids(uvloop, routes(lambda *_: reply(json.dumps(rows)))) == [str(number) for number in range(1, 101)]


@pytest.mark.parametrize("status", ["404 Not Found", "405 No", "501 No", "403 No"])
def test_a_server_without_look_up_or_campaigns_is_told_apart(uvloop: bool, status: str) -> None:
    with RawServer(answering(reply('{"message": "no"}', status))) as server:
        assert run(uvloop, lambda: _with(server.address, lambda api: api.find_leads(7, "12125550100"))) is None
        assert run(uvloop, lambda: _with(server.address, lambda api: api.campaigns())) is None
        assert run(uvloop, lambda: _with(server.address, lambda api: api.me())) is None


def test_a_page_of_html_is_no_list_and_says_nothing_of_a_lead(uvloop: bool) -> None:
    with RawServer(answering(reply("<h1>Welcome</h1>", kind="text/html"))) as server:
        with pytest.raises(LookupFailed):
            run(uvloop, lambda: _with(server.address, lambda api: api.find_leads(7, "12125550100")))
        assert run(uvloop, lambda: _with(server.address, lambda api: api.offers_lookup(7))) is None
        assert run(uvloop, lambda: _with(server.address, lambda api: api.campaigns())) is None


@pytest.mark.parametrize(
    ("script", "meaning", "wait"),
    [
        (answering(reply("{}", "429 Slow", extra="Retry-After: 7\r\n")), Meaning.LATER, 7.0),
        (answering(reply("{}", "500 Oops")), Meaning.AMBIGUOUS, None),
        (hang, Meaning.AMBIGUOUS, None),
        (
            routes(
                lambda _, query: (
                    reply(json.dumps({"data": [lead(1, "+1")], "last_page": 2}))
                    if query["page"] == "1"
                    else reply("{}", "500 Oops")
                )
            ),
            Meaning.AMBIGUOUS,
            None,
        ),
        (
            routes(
                lambda _, query: (
                    reply(json.dumps({"data": [lead(1, "+1")], "last_page": 2}))
                    if query["page"] == "1"
                    else reply("{}", "404 Gone")
                )
            ),
            Meaning.AMBIGUOUS,
            None,
        ),
    ],
    ids=["429", "500", "hang", "500 on the second page", "404 on the second page"],
)
def test_a_look_up_that_fails_is_never_read_as_not_there(
    uvloop: bool, script: Script, meaning: Meaning, wait: float | None
) -> None:
    patience = SHORT if script is hang else LONG
    with RawServer(script) as server, pytest.raises(LookupFailed) as raised:
        run(uvloop, lambda: _with(server.address, lambda api: api.find_leads(7, "12125550100"), patience=patience))
    assert (raised.value.verdict.meaning, raised.value.verdict.retry_after) == (meaning, wait)


@pytest.mark.parametrize(
    ("more", "pages"), [({"last_page": 10**9}, 7), ({"next_page_url": "/user/leads?page=2"}, 5)], ids=["told", "untold"]
)
def test_a_list_without_end_is_never_read_as_not_there(
    uvloop: bool, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], pages: int
) -> None:
    monkeypatch.setattr("importer.api._MOST_PAGES", 5)
    monkeypatch.setattr("importer.api._MOST_TOLD_PAGES", 7)
    asked: list[int] = []

    def answer(_: str, query: dict[str, str]) -> bytes:
        asked.append(int(query["page"]))
        return reply(json.dumps({"data": [lead(asked[-1], "+1")], **more}))

    with RawServer(routes(answer)) as server, pytest.raises(LookupFailed, match=f"did not end after {pages} pages"):
        run(uvloop, lambda: _with(server.address, lambda api: api.find_leads(7, "12125550100")))
    assert asked == list(range(1, pages + 1))


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"data": rows}, lambda rows: {"campaigns": rows}])
def test_campaigns_come_bare_or_wrapped(uvloop: bool, wrap: Callable[[Any], Any]) -> None:
    rows = [{"id": 7, "name": "Spring", "status": "active"}, {"id": "8", "name": None}, {"name": "no ID"}]
    with RawServer(answering(reply(json.dumps(wrap(rows))))) as server:
        found = run(uvloop, lambda: _with(server.address, lambda api: api.campaigns()))
    assert [(one.id, one.name, one.status) for one in found] == [(7, "Spring", "active"), (8, "", None)]


def test_campaigns_are_read_to_the_last_page(uvloop: bool) -> None:
    def answer(_: str, query: dict[str, str]) -> bytes:
        page = int(query.get("page", "1"))
        return reply(json.dumps({"data": [{"id": page, "name": f"C{page}"}], "last_page": 3}))

    with RawServer(routes(answer)) as server:
        found = run(uvloop, lambda: _with(server.address, lambda api: api.campaigns()))
    assert [one.id for one in found] == [1, 2, 3]


def test_a_refused_key_and_an_unreachable_server_stop_the_first_question(
    uvloop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importer.api._FIRST_BACK_OFF", 0.01)
    with (
        RawServer(answering(reply('{"message": "Unauthenticated."}', "401 No"))) as server,
        pytest.raises(Stopped, match="key"),
    ):
        run(uvloop, lambda: _with(server.address, lambda api: api.campaigns()))
    with closed_port() as address, pytest.raises(Stopped, match="can't be reached"):
        run(uvloop, lambda: _with(address, lambda api: api.campaigns()))


def test_the_first_question_waits_where_the_server_asks_to(uvloop: bool) -> None:
    slow = reply("{}", "429 Slow", extra="Retry-After: 0\r\n")
    with RawServer(answering(slow, slow, reply('[{"id": 7, "name": "Spring"}]'))) as server:
        found = run(uvloop, lambda: _with(server.address, lambda api: api.campaigns()))
    assert [one.id for one in found] == [7]


def test_whose_key_it_is_comes_bare_or_wrapped(uvloop: bool) -> None:
    for body in (
        {"name": "Ann", "email": "a@example.com", "total_balance": 12.5},
        {"data": {"name": "Ann", "email": "a@example.com", "total_balance": "12.5"}},
    ):
        with RawServer(answering(reply(json.dumps(body)))) as server:
            account = run(uvloop, lambda: _with(server.address, lambda api: api.me()))
        assert (account.name, account.email, account.balance) == ("Ann", "a@example.com", "12.5")


@pytest.mark.parametrize(
    ("answer", "meaning", "code"),
    [
        (reply('{"message": "Lead deleted"}'), Meaning.CREATED, "deleted"),
        (reply("", "204 No Content"), Meaning.CREATED, "deleted"),
        (reply('{"message": "Not found"}', "404 No"), Meaning.REJECTED, "gone"),
        (reply('{"message": "Not yours"}', "403 No"), Meaning.REJECTED, "http_403"),
        (reply('{"success": false, "error": "busy", "error_code": "busy"}'), Meaning.REJECTED, "busy"),
        (reply('{"message": "in a call"}', "409 No"), Meaning.REJECTED, "http_409"),
        (reply("<h1>?</h1>", kind="text/html"), Meaning.AMBIGUOUS, "not_json"),
        (reply("<h1>?</h1>", "404 No", kind="text/html"), Meaning.REJECTED, "http_404"),
        (reply('{"message": "Unauthenticated."}', "401 No"), Meaning.STOP, "http_401"),
    ],
)
def test_a_delete_is_judged(uvloop: bool, answer: bytes, meaning: Meaning, code: str) -> None:
    with RawServer(answering(answer)) as server:
        verdict = run(uvloop, lambda: _with(server.address, lambda api: api.delete_lead("5 5/../6")))
    assert (verdict.meaning, verdict.code) == (meaning, code)
    assert server.requests[0].startswith(b"DELETE /api/user/leads/5%205%2F..%2F6 ")


def test_every_answer_to_a_question_tells_of_the_limit(uvloop: bool) -> None:
    heard: list[Any] = []

    async def do(api: Service) -> None:
        api.on_limits = lambda status, limits, wait, seconds: heard.append(
            (status, limits.remaining, wait, seconds < 1)
        )
        with pytest.raises(LookupFailed):
            await api.find_leads(7, "12125550100")
        await api.delete_lead("5")

    with RawServer(
        answering(
            reply("{}", "429 Slow", extra="Retry-After: 7\r\nX-RateLimit-Remaining: 0\r\n"),
            reply("{}", extra="X-RateLimit-Remaining: 9\r\n"),
        )
    ) as server:
        run(uvloop, lambda: _with(server.address, do))
    assert heard == [(429, 0, 7.0, True), (200, 9, None, True)]


#: For 127.0.0.1, good for a hundred years, trusted by nobody; made for these tests and used nowhere else.
SELF_SIGNED = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQ3k9iJKlbF1HqJ9W
LSTCA6iV9djQk8/fLmoCS0UABDGhRANCAARKZTlg6dFW7MlwG1HZ7kVITtGl1gk9
SwZNcXtF/kUt/CkyZj0HpgjwR1aBfienWjIPkFqDANYdjp2PQbPyPvuC
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUdyIlt2DZSzMnihTGo579DGp65VIwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNDAzMDIyM1oYDzIxMjYxMDMx
MDMwMjIzWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARKZTlg6dFW7MlwG1HZ7kVITtGl1gk9SwZNcXtF/kUt/CkyZj0Hpgjw
R1aBfienWjIPkFqDANYdjp2PQbPyPvuCo28wbTAdBgNVHQ4EFgQU1YZbRaETiAEF
x9WHshP21HNLqiAwHwYDVR0jBBgwFoAU1YZbRaETiAEFx9WHshP21HNLqiAwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARhwR/AAABgglsb2NhbGhvc3QwCgYIKoZI
zj0EAwIDSQAwRgIhAPyk6u6Y1t161QRPZ0sFgSOsGxM3FiNAXMPuBrYYp4j3AiEA
3So6v+eaP8LJBElrVSfR0g8NgzgbGG1C22lLSyUujts=
-----END CERTIFICATE-----
"""
