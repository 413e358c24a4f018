"""The client on the wire, against a server that is nothing but a socket: what each failure proves, and what not."""

import gzip
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import anyio
import pytest
from raw_server import (
    GOOD,
    KEY,
    LEAD,
    LONG,
    SHORT,
    RawServer,
    Script,
    Wire,
    answering,
    closed_port,
    hang,
    post,
    reply,
    run,
    service,
    with_service,
)

from importer.api import _FAILURES, Answer, LookupFailed, Service, payload
from importer.errors import Refused, Stopped
from importer.records import Meaning, Verdict

pytestmark = pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])


# Never sent.


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

            monkeypatch.setattr(api._poster, "post", fails)
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
                run(uvloop, lambda: with_service(server.address, lambda api: api.campaigns()))
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

        answer, instance = run(uvloop, lambda: with_service(server.address, one))
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
        assert run(uvloop, lambda: with_service(server.address, do)) == [Meaning.CREATED] * 5
    assert server.accepted == 2


def test_answers_in_pieces_after_interim_ones_are_read_like_others(uvloop: bool) -> None:
    def piecemeal(wire: Wire) -> None:
        wire.request()
        wire.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        chunked = "".join(f"{len(part):x}\r\n{part}\r\n" for part in (GOOD[:7], GOOD[7:], ""))
        for letter in f"{HEAD}Transfer-Encoding: chunked\r\n\r\n{chunked}":
            wire.send(letter)

    with RawServer(piecemeal) as server:
        assert post(uvloop, server.address).verdict.meaning is Meaning.CREATED


@pytest.mark.parametrize("apart", [False, True], ids=["with the answer", "while nothing is asked"])
def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_leads(uvloop: bool, apart: bool) -> None:
    unasked = reply('{"message": "Unauthenticated."}', "401 No")

    def twice(wire: Wire) -> None:
        while wire.request():
            for sent in (reply(), unasked) if apart else (reply() + unasked,):
                wire.send(sent)
                time.sleep(0.05)

    async def do(api: Service) -> list[Meaning]:
        found = []
        for _ in range(2):
            found.append((await api.create(payload(LEAD), LEAD)).verdict.meaning)
            await anyio.sleep(0.15)
        return found

    with RawServer(twice) as server:
        assert run(uvloop, lambda: with_service(server.address, do)) == [Meaning.CREATED] * 2
    assert (server.accepted, len(server.requests)) == (2, 2)


def test_a_certificate_of_a_named_authority_is_trusted(
    uvloop: bool, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = tmp_path_factory.mktemp("tls") / "self_signed.pem"
    certificate.write_text(SELF_SIGNED)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    def answers(wire: Wire) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        with context.wrap_socket(wire.sock, server_side=True) as tls:
            wire.server.requests.append(tls.recv(65536))
            tls.sendall(reply())

    with RawServer(answers) as server:
        assert post(uvloop, server.address.replace("http:", "https:")).verdict.meaning is Meaning.CREATED
    assert len(server.requests) == 1


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
        run(uvloop, lambda: with_service(server.address, do, connections=3))
    assert (server.accepted, len(server.requests)) == (3, 12)


def test_being_cancelled_is_the_only_thing_that_leaves_a_create(uvloop: bool) -> None:
    async def do(api: Service) -> bool:
        with anyio.move_on_after(0.1) as scope:
            await api.create(payload(LEAD), LEAD)
        return scope.cancelled_caught

    with RawServer(hang) as server:
        assert run(uvloop, lambda: with_service(server.address, do, patience=5))


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
            run(uvloop, lambda: with_service(server.address, lambda api: api.find_leads(7, "12125550100")))
    said += [str(raised.value), repr(raised.value), repr(raised.value.verdict)]
    assert "Bearer ***" in said[0]
    assert not [text for text in said if "Zq8sMockKeyForTests" in text]


@pytest.mark.parametrize("key", ["", "12|abc def", "12|abc\n", "“12|abcdefghij”"])
def test_a_key_that_can_not_go_into_a_header_is_refused_and_not_shown(uvloop: bool, key: str) -> None:
    with pytest.raises(Refused) as raised:
        Service("https://example.com/api", key, timeout=1, connections=1)
    assert "abc" not in str(raised.value)


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
