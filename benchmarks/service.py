"""A service that is far faster than its clients: what throughput and memory are measured against.

    python benchmarks/service.py [--core N] [--latency SECONDS]

Prints its base address, then answers until its stdin ends. A create is answered after `latency` with a lead of its own
ID and with what was sent; there is one campaign, number 7, and no look-up. `GET /count` tells how many creates came
since the last count, and how many numbers were in them.
"""

import argparse
import asyncio
import os
import re
import sys
import threading
from collections.abc import Callable
from email.utils import formatdate
from typing import cast

import uvloop

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding: *chunked")
_PHONE = re.compile(rb'"phone_number": ?"(\+\d+)"')
_VARIABLES = re.compile(rb'"variables": ?(\{[^}]*\})')

_CAMPAIGNS = b'[{"id":7,"name":"Benchmark","status":"in-progress"}]'
_CREATED = (
    b'{"message":"Lead created successfully","data":{"id":%d,"campaign_id":7,"phone_number":"%s",'
    b'"variables":%s,"status":"created",'
    b'"created_at":"2030-01-01T00:00:00.000000Z","updated_at":"2030-01-01T00:00:00.000000Z","secondary_contacts":[]}}'
)


class Count:
    """What came so far."""

    def __init__(self) -> None:
        self.last_id = 0
        self.forget()

    def forget(self) -> None:
        self.creates = 0
        self.numbers: set[bytes] = set()


class Connection(asyncio.Protocol):
    """Just enough of HTTP/1.1 for well-behaved clients."""

    def __init__(self, count: Count, latency: float) -> None:
        self._count = count
        self._latency = latency
        self._loop = asyncio.get_running_loop()
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = _LENGTH.search(head)
            if length is None and _CHUNKED.search(head):
                raise NotImplementedError("chunked requests")
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"POST"):
            phone, variables = _PHONE.search(body), _VARIABLES.search(body)
            assert phone is not None
            assert variables is not None
            self._count.creates += 1
            self._count.last_id += 1
            self._count.numbers.add(phone[1])
            content = _CREATED % (self._count.last_id, phone[1], variables[1])
            if self._latency:
                self._loop.call_later(self._latency, self._write, content)
            else:
                self._write(content)
        elif head.startswith(b"GET /count"):
            self._write(b'{"creates":%d,"numbers":%d}' % (self._count.creates, len(self._count.numbers)))
            self._count.forget()
        elif b"/user/campaigns" in head.partition(b"\r")[0]:
            self._write(_CAMPAIGNS)
        else:
            self._write(b'{"message":"Not Found"}', status=b"404 Not Found")

    def _write(self, content: bytes, status: bytes = b"200 OK") -> None:
        if not self._transport.is_closing():
            self._transport.write(
                b"HTTP/1.1 %s\r\nDate: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (status, _date(self._loop), len(content), content)
            )


_dates = [(-1.0, b"")]


def _date(loop: asyncio.AbstractEventLoop) -> bytes:
    now = loop.time()
    if now - _dates[0][0] > 0.5:
        _dates[0] = now, formatdate(usegmt=True).encode()
    return _dates[0][1]


async def serve(latency: float, ready: Callable[[str], None]) -> None:
    """Serve until stdin ends."""
    count, ended, loop = Count(), asyncio.Event(), asyncio.get_running_loop()

    def wait() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, daemon=True).start()
    server = await loop.create_server(lambda: Connection(count, latency), "127.0.0.1", 0)
    ready(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api")
    await ended.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--core", type=int)
    parser.add_argument("--latency", type=float, default=0.0)
    asked = parser.parse_args()
    if asked.core is not None:
        os.sched_setaffinity(0, {asked.core})
    uvloop.run(serve(asked.latency, lambda address: print(address, flush=True)))


if __name__ == "__main__":
    main()
