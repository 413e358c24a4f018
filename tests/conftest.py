"""What the tests stand on: a real server on loopback, and the real command in a subprocess."""

import csv
import json
import os
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import readied
from hypothesis import settings

from importer.config import Config, load
from importer.errors import Refused
from importer.sandbox import Options, Sandbox

# Machines that run these tests are shared: how long an example takes says nothing. In CI a failure is to repeat; new
# examples are looked for everywhere else.
settings.register_profile("untimed", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("untimed")

KEY = "17|a-key-that-must-never-be-seen"


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Desk:
    """A folder with a state of its own, in which commands are run against one server."""

    folder: Path
    url: str | None = None

    def environment(self, **more: str) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("OTONISTARK", "LEAD_IMPORTER"))
        }
        return kept | {"XDG_STATE_HOME": str(self.folder / ".state"), "OTONISTARK_API_KEY": KEY} | more

    def command(self, *words: str | Path) -> list[str]:
        online = words[0] in ("run", "retry", "check") and self.url is not None and "--base-url" not in words
        return [sys.executable, "-m", "importer", *map(str, words), *(["--base-url", self.url or ""] if online else [])]

    def run(self, *words: str | Path, timeout: float = 120, **more: str) -> Ended:
        """Run a command; the key must not show in anything it says."""
        done = readied.run(self.command(*words)[1:], cwd=self.folder, env=self.environment(**more), timeout=timeout)
        assert KEY not in done.stdout + done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def rows(self, name: str, delimiter: str = ",") -> list[dict[str, str]]:
        with (self.folder / name).open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file, delimiter=delimiter))


@pytest.fixture
def serve() -> Iterator[Callable[..., Sandbox]]:
    """Start sandboxes that end with the test."""
    started: list[Sandbox] = []

    def start(**options: Any) -> Sandbox:
        box = Sandbox(Options(**options)).__enter__()
        started.append(box)
        return box

    yield start
    for box in started:
        box.__exit__(None, None, None)


@pytest.fixture
def sandbox(serve: Callable[..., Sandbox]) -> Sandbox:
    return serve()


@pytest.fixture
def desk(tmp_path: Path, sandbox: Sandbox) -> Desk:
    return Desk(tmp_path, sandbox.url)


#: Status and body by method and by path after /api/user/.
Answers = dict[tuple[str, str], tuple[int, str]]


@pytest.fixture
def answering() -> Iterator[Callable[[Answers], str]]:
    """Serve answers by method and path, 404 to all else; what is changed in them counts at once."""
    servers = []

    def start(answers: Answers) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

            def _say(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = self.path.partition("?")[0].removeprefix("/api/user/")
                status, body = answers.get((self.command, path), (404, '{"message": "The route could not be found."}'))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/login")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            do_GET = do_POST = do_DELETE = _say  # noqa: N815 - names that the base class looks for

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/api"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def memory(box: Sandbox) -> dict[str, Any]:
    """Return what the server knows, asked over the wire."""
    with urllib.request.urlopen(box.url.removesuffix("/api") + "/sandbox/memory") as answer:
        return json.load(answer)


# Init.


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., tuple[Config, str, str]]:
    """Run init on rows; return the config, its text, and what is said."""
    from importer.starter import start
    from importer.starter_text import Asked

    def run(rows: Sequence[Sequence[str]] | bytes, **asked: Any) -> tuple[Config, str, str]:
        path = tmp_path / ("leads.csv" if not isinstance(rows, bytes) else "leads.xlsx")
        if isinstance(rows, bytes):
            path.write_bytes(rows)
        else:
            with path.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows(rows)
        target = tmp_path / "leads.yaml"
        target.unlink(missing_ok=True)
        starter = start(Asked(path, **asked))
        assert starter.path == target
        return load(target), target.read_text(encoding="utf-8"), "\n".join(starter.told)

    return run


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Run a command in this process, in a folder and a state of its own: loading all libraries anew takes longer."""
    from importer.cli import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / ".state"))
    monkeypatch.setenv("OTONISTARK_API_KEY", KEY)

    def run(*words: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            app(words)
        said = capsys.readouterr()
        return Ended(int(ended.value.code or 0), said.out, said.err)

    return run


# Configs.


@pytest.fixture
def config_file(tmp_path):
    def write(text):
        path = tmp_path / "x.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def loaded(config_file):
    return lambda text: load(config_file(text))


@pytest.fixture
def with_phone(loaded):
    return lambda text: loaded(f"phone: Phone\n{text}\n")


@pytest.fixture
def problems(config_file):
    def find(text):
        path = config_file(text)
        with pytest.raises(Refused) as refused:
            load(path)
        return [problem.replace(str(path), "x.yaml") for problem in refused.value.problems]

    return find
