"""Posts on connections that aiohttp opens, keeps and reads, past its client: whose layers take as long as all the rest.

A post is one write, never repeated, under no redirect, cookie or proxy. What is raised is aiohttp's, so that `api` can
tell what surely never left (`connect`) from all else; the parts used here are not among those that aiohttp documents,
so its version is held narrowly (`pyproject.toml`), and `tests/test_api_failures.py` holds what they raise.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

import aiohttp
import httpx
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from yarl import URL


class TooLarge(Exception):
    """An answer larger than any that is worth reading."""


#: Of an answer. A lead is a kilobyte, a page of a hundred leads a few hundred.
MOST_BYTES = 4 * 2**20
#: Connections given up for one post, as the server sent something unasked on them: some say 408 before they hang up.
_MOST_SPOILT = 100
#: Written by the post itself.
_OF_THE_BODY = frozenset({"content-length", "content-type"})


class Came(NamedTuple):
    """An answer as it came, its body unpacked."""

    status: int
    headers: Iterable[tuple[bytes, bytes]]
    body: bytes


class Poster:
    """Posts JSON to one address. `timeout` bounds each whole post in seconds, `connect` the part until it is connected."""

    def __init__(
        self,
        connector: aiohttp.BaseConnector,
        address: str,
        headers: Mapping[str, str],
        *,
        timeout: float,
        connect: float,
    ) -> None:
        self._connector = connector
        self._address = address
        self._headers = dict(headers)
        self._timeout = timeout
        self._until_connected = aiohttp.ClientTimeout(timeout, connect=connect, ceil_threshold=timeout)

    async def post(self, body: bytes) -> Came:
        """Post once. Raises aiohttp's exceptions, `TooLarge`, `TimeoutError`, and httpx's for what can't be unpacked."""
        async with asyncio.timeout(self._timeout):
            connection = await self._connected()
            try:
                came = await self._exchanged(connection, body)
            except BaseException:
                connection.close()
                raise
            connection.release()  # the connector closes it where the answer was not read to its end
            return came

    @cached_property
    def _request(self) -> aiohttp.ClientRequest:
        """A request that tells the connector where to, and is never sent."""
        try:
            url = URL(self._address)
            if url.scheme not in self._connector.allowed_protocol_schema_set:
                raise aiohttp.NonHttpUrlClientError(self._address)
            return aiohttp.ClientRequest("POST", url, headers=self._headers, loop=asyncio.get_running_loop())
        except ValueError as error:
            raise aiohttp.InvalidUrlClientError(self._address) from error

    @cached_property
    def _head(self) -> bytes:
        """What stands before a body, up to its length."""
        told = {name: value for name, value in self._request.headers.items() if name.lower() not in _OF_THE_BODY}
        told |= {"Content-Type": "application/json", "Content-Length": ""}
        lines = [f"POST {self._request.url.raw_path_qs} HTTP/1.1", *(f"{name}: {told[name]}" for name in told)]
        return "\r\n".join(lines).encode()

    async def _connected(self) -> Connection:
        """Return a connection on which nothing is under way: what came unasked would be taken for this lead's answer."""
        for _ in range(_MOST_SPOILT):
            try:
                connection = await self._connector.connect(self._request, [], self._until_connected)
            except TimeoutError as error:
                raise aiohttp.ConnectionTimeoutError from error
            if connection.protocol is not None and not connection.protocol.should_close:
                return connection
            connection.close()
        raise aiohttp.ServerDisconnectedError

    async def _exchanged(self, connection: Connection, body: bytes) -> Came:
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None:
            raise aiohttp.ServerDisconnectedError
        protocol.set_response_params(auto_decompress=False, read_until_eof=True)
        transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        try:
            message, content = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:  # only announced (RFC 9110 §15.2)
                message, content = await protocol.read()
        except HttpProcessingError as error:
            raise aiohttp.ClientResponseError(self._request.request_info, ()) from error
        if "Content-Encoding" in message.headers:  # httpx unpacks it, in bounded size
            unpacked = httpx.Response(message.code, headers=message.raw_headers, stream=_Packed(content))
            return Came(message.code, message.raw_headers, await at_most(MOST_BYTES, unpacked.aiter_bytes()))
        if content.is_eof():  # most often it comes in one piece with its head
            whole = content.read_nowait()
            if len(whole) > MOST_BYTES:
                raise TooLarge
            return Came(message.code, message.raw_headers, whole)
        return Came(message.code, message.raw_headers, await at_most(MOST_BYTES, content.iter_any()))


class _Packed(httpx.AsyncByteStream):
    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._content.iter_any():
            yield chunk


async def at_most(most_bytes: int, chunks: AsyncIterator[bytes]) -> bytes:
    """Join chunks. Raises `TooLarge` past `most_bytes`."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > most_bytes:
            raise TooLarge
    return bytes(body)
