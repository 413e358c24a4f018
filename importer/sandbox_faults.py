"""The sandbox's answers, and what can go wrong with them: another answer, or an act on the wire below HTTP."""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.types import Receive, Scope

Headers = tuple[tuple[bytes, bytes], ...]
_JSON = (b"content-type", b"application/json")
HTML = (b"content-type", b"text/html; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    body: bytes
    headers: Headers
    act: "Callable[[Wire], Awaitable[None]] | None" = None
    """What happens on the wire instead of this answer."""


def json_reply(status: int, value: Any, *headers: tuple[bytes, bytes]) -> Reply:
    """Return an answer in JSON."""
    return Reply(status, orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS), (_JSON, *headers))


def html_reply(status: int, title: str) -> Reply:
    """Return a page."""
    return Reply(status, f"<!doctype html><title>{title}</title><body><h1>{title}</h1></body>\n".encode(), (HTML,))


def invalid(errors: Mapping[str, Sequence[str]], message: str = "The given data was invalid.") -> Reply:
    """Return the refusal of what is wrong by field."""
    return json_reply(422, {"message": message, "errors": errors})


class Wire:
    """One request's connection, below HTTP. Every method ends when the connection does."""

    def __init__(self, scope: Scope, receive: Receive, answer: bytes) -> None:
        self.transport: asyncio.Transport = scope["sandbox.transport"]
        self.receive = receive
        self.answer = answer
        """The bytes that a sound server would send."""

    async def hang(self) -> None:
        """Answer nothing."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def close(self) -> None:
        """End the connection in order (FIN)."""
        self.transport.close()
        await self.hang()

    async def reset(self) -> None:
        """Break the connection off (RST)."""
        # A zero linger time turns the close into a RST (RFC 9293, 3.10.4; socket(7)).
        raw = self.transport.get_extra_info("socket")
        shape = "hh" if os.name == "nt" else "ii"
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(shape, 1, 0))
        self.transport.abort()
        await self.hang()

    async def cut_headers(self) -> None:
        """Send half of the headers and end."""
        await self._send_and_close(self.answer[: self.answer.index(b"\r\n\r\n") // 2])

    async def cut_body(self) -> None:
        """Send half of the body and end."""
        body = self.answer.index(b"\r\n\r\n") + 4
        await self._send_and_close(self.answer[: (body + len(self.answer)) // 2])

    async def garbage(self) -> None:
        """Send what is not HTTP and end."""
        await self._send_and_close(b"\x16\x03\x01 this is no HTTP\r\n\r\n")

    async def drip(self) -> None:
        """Send a byte each second."""
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
    what: Reply | Callable[[Wire], Awaitable[None]]


ERROR = json_reply(500, {"message": "Server Error"})
_BUSY = json_reply(503, {"message": "Service Unavailable"}, (b"retry-after", b"1"))

FAULTS: Mapping[str, Fault] = {
    "hang": Fault(True, Wire.hang),
    "hang_before": Fault(False, Wire.hang),
    "reset": Fault(True, Wire.reset),
    "reset_before": Fault(False, Wire.reset),
    "close": Fault(True, Wire.close),
    "close_before": Fault(False, Wire.close),
    "cut_headers": Fault(True, Wire.cut_headers),
    "cut_body": Fault(True, Wire.cut_body),
    "drip": Fault(True, Wire.drip),
    "500": Fault(True, ERROR),
    "500_before": Fault(False, ERROR),
    "502": Fault(True, html_reply(502, "Bad Gateway")),
    "503": Fault(True, html_reply(503, "Service Unavailable")),
    "garbage": Fault(True, Wire.garbage),
    "html_200": Fault(True, html_reply(200, "Welcome")),
    "no_id": Fault(True, json_reply(200, {"message": "Lead created successfully", "data": {}})),
    "busy": Fault(False, _BUSY),
}
