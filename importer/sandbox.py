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
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from importer.errors import Refused
from importer.sandbox_api import CAMPAIGNS, App, Options
from importer.sandbox_faults import FAULTS
from importer.sandbox_memory import Memory
from importer.sandbox_rules import MAGIC

__all__ = ["CAMPAIGNS", "FAULTS", "MAGIC", "Options", "Sandbox", "serve"]


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
        self._memory = Memory(drop_variable=options.drop_variable, cut_variable=options.cut_variable)
        self._socket = _bound(options.port)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/api"
        """The base address of the API."""
        self.instance = self._memory.instance
        """What tells this sandbox's leads from another's; every answer names it."""
        self._server = _Server(
            uvicorn.Config(
                App(options, self._memory),
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
        others = "only its own keys will do" if options.keys else "no key will do"
        key = "any key will do" if options.keys is None else others
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
