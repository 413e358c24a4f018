"""What tests of past runs have in common: a desk with a small list, and what may happen to a run and its leads."""

import json
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any, Protocol

from conftest import Desk, memory

from importer.sandbox import Sandbox

CONFIG = """\
campaign_id: 7
phone: {column: Phone, region: US}
variables: {customer_name: Name}
secondary_contacts: {group_by: Account}
delivery: {settle_window: 1s, timeout: 1s}
"""
FAST = ("--rate", "500/s", "--yes", "--concurrency", "4")


class Server(Protocol):
    """What has an address."""

    @property
    def url(self) -> str: ...


def desk_with(folder: Path, box: Server, count: int = 6, *, config: str = CONFIG) -> Desk:
    desk = Desk(folder, box.url)
    rows = [f"{n},Ada {n},+12125550{100 + n}" for n in range(count)] + ["0,Abe,+12125550190"]
    desk.write("a.csv", "Account,Name,Phone\n" + "\n".join(rows) + "\n")
    desk.write("c.yaml", config)
    return desk


def run(desk: Desk, *more: str, status: int = 0) -> str:
    ended = desk.run("run", "a.csv", "-c", "c.yaml", *FAST, *more)
    assert ended.status == status, ended.err
    return desk.rows("a.results.csv")[0]["import_run_id"]


def change(box: Sandbox, lead_id: str, **what: Any) -> None:
    url = f"{box.url.removesuffix('/api')}/sandbox/lead/{lead_id}"
    urllib.request.urlopen(urllib.request.Request(url, json.dumps(what).encode(), method="POST")).close()


def told(rows: list[dict[str, str]]) -> list[tuple[str, ...]]:
    names = ("import_status", "import_lead_id", "import_contact_id", "import_error_code", "import_row", "import_run_id")
    return [tuple(row[name] for name in names) for row in rows]


def kill(desk: Desk, box: Sandbox, *more: str, posts: int) -> None:
    """Begin a run, and kill it when the server has had so many creates."""
    command = desk.command("run", "a.csv", "-c", "c.yaml", "--rate", "20/s", *more)
    running = subprocess.Popen(command, cwd=desk.folder, env=desk.environment(), stderr=subprocess.DEVNULL)
    for _ in range(300):
        if memory(box)["posts"] >= posts:
            break
        time.sleep(0.1)
    assert "still going on" in desk.run("results", "last").err
    assert "still going on" in desk.run("history").out
    running.send_signal(signal.SIGKILL)
    running.wait()
