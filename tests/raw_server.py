"""A service by raw sockets, for what no HTTP library would do; and a client of it."""

import json
import re
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import anyio

from importer.api import Answer, Service, payload
from importer.records import Lead, Person

KEY = "12|Zq8sMockKeyForTests"
LEAD = Lead(Person("+12125550100", '{"customer_name":"Ann"}', 0), 7)
GOOD = json.dumps(
    {"message": "Lead created successfully", "data": {"id": 55, "campaign_id": 7, "phone_number": "+12125550100"}}
)
#: Where a time-out is what is waited for, and where none may come in the way.
SHORT, LONG = 0.6, 10.0


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


async def with_service(
    address: str, do: Callable[[Service], Awaitable[Any]], *, patience: float = LONG, connections: int = 4
) -> Any:
    async with service(address, timeout=patience, connections=connections) as api:
        return await do(api)


def hang(wire: Wire) -> None:
    wire.request()
    wire.wait()


@contextmanager
def closed_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    yield f"http://127.0.0.1:{port}/api"
