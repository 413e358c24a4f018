"""A service that keeps or shows leads otherwise than the sandbox does; loopback only, in memory."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]


class OddServer:
    """Stores every create. `lost` are the creates, from 1, that get a 500: "stored" or "refused" beforehand.

    `kept` makes of a create what is stored, `shown` of the stored leads (with `moment`, epoch seconds) what a look-up
    lists; both may be changed at any time. `filters`: whether the number that is
    asked for counts.
    """

    def __init__(self) -> None:
        self.leads: list[Json] = []
        self.posts = 0
        self.page = 0
        """Of the list, asked for last."""
        self.lost: dict[int, str] = {}
        self.kept: Callable[[Json], Json] = lambda lead: lead
        self.shown: Callable[[list[Json]], list[Json]] = lambda leads: [dated(lead) for lead in leads]
        self.filters = True
        self.url = ""
        self._ids = self.contact_ids = count(1001)
        """Of leads and of contacts, which may be numbered by themselves."""
        self._lock = threading.Lock()

    def create(self, asked: Json) -> tuple[int, Any]:
        with self._lock:
            self.posts += 1
            lost = self.lost.get(self.posts)
            if lost == "refused":
                return 500, {"message": "Server Error"}
            contacts = [one | {"id": next(self.contact_ids)} for one in asked.get("secondary_contacts", ())]
            lead = {"id": next(self._ids), "status": "created", "moment": time.time()} | self.kept(asked)
            self.leads.append(lead | {"secondary_contacts": contacts})
        return (500, {"message": "Server Error"}) if lost else (201, {"data": dated(self.leads[-1])})

    def look_up(self, query: dict[str, str]) -> Json:
        with self._lock:
            self.page = int(query["page"])
            rows = self.shown(list(self.leads))
        if self.filters:
            wanted = query.get("phone_number", "")
            rows = [row for row in rows if wanted in json.dumps([row["phone_number"], row.get("secondary_contacts")])]
        size, page = int(query["per_page"]), int(query["page"])
        return {
            "data": rows[(page - 1) * size : page * size],
            "current_page": page,
            "last_page": -(-len(rows) // size),
            "total": len(rows),
        }

    def numbers(self) -> list[str]:
        return [lead["phone_number"] for lead in self.leads]


def dated(lead: Json, pattern: str = "%Y-%m-%dT%H:%M:%SZ", ahead: float = 0.0) -> Json:
    """Return a lead as the server tells it, its time written by `pattern`."""
    moment = datetime.fromtimestamp(lead["moment"] + ahead, UTC)
    return {name: value for name, value in lead.items() if name != "moment"} | {"created_at": moment.strftime(pattern)}


@contextmanager
def odd_server() -> Iterator[OddServer]:
    """Serve until the end of the block."""
    odd = OddServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version, disable_nagle_algorithm = "HTTP/1.1", True  # or a body waits 40 ms for its head

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/api/user/leads":
                self._say(200, odd.look_up({name: values[0] for name, values in parse_qs(url.query).items()}))
            else:
                self._say(200, [{"id": 7, "name": "Spring fair", "status": "active"}])

        def do_POST(self) -> None:
            self._say(*odd.create(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        def _say(self, status: int, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    odd.url = f"http://127.0.0.1:{server.server_port}/api"
    try:
        yield odd
    finally:
        server.shutdown()
        server.server_close()
