"""What the benchmarks share: the peers' environment, pinned processes and what they took, tables, plots."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
_VENV = ROOT / ".venv-bench"
_REQUIREMENTS = FOLDER / "requirements.txt"


def peers_python() -> Path:
    """Return the Python of the peers' own virtual environment, made if missing or out of date."""
    python = _VENV / ("Scripts" if os.name == "nt" else "bin") / "python"
    done = _VENV / ".installed"
    if not done.exists() or done.read_text() != _REQUIREMENTS.read_text():
        print("Installing the peers into .venv-bench …", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", _VENV], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", _REQUIREMENTS]
        subprocess.run(install, check=True)
        done.write_text(_REQUIREMENTS.read_text())
    return python


def peer_versions(*names: str) -> str:
    """Name the versions of peers, as installed."""
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    told = subprocess.run([peers_python(), "-c", code, *names], check=True, capture_output=True, text=True).stdout
    return ", ".join(f"{name} {number}" for name, number in zip(names, told.split(), strict=True))


def machine() -> str:
    """Say on what and when this was measured."""
    models = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if sys.platform == "linux" else []
    cpu = models[0] if models else platform.processor() or platform.machine()
    load = f"; load before: {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {os.cpu_count()} cores of {cpu}; {platform.system()} "
        f"{platform.release()}; Python {platform.python_version()}; lead-importer {version('lead-importer')}{load}"
    )


# Processes.


@dataclass(frozen=True)
class Took:
    """What a process took: seconds, CPU seconds with those of its children, and its largest memory in bytes."""

    seconds: float
    cpu: float
    most_bytes: int
    stdout: str
    stderr: str


def cores() -> tuple[int | None, int | None]:
    """Return a core for the client and one for the server; None where there are no two, or none can be chosen."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    mine = sorted(os.sched_getaffinity(0))
    return (mine[0], mine[1]) if len(mine) > 1 else (None, None)


def run(
    command: Sequence[str | Path],
    *,
    core: int | None = None,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    fine: Sequence[int] = (0,),
) -> Took:
    """Run a process to its end. Raises `RuntimeError` where its exit status is not among `fine`."""
    began = datetime.now(UTC)
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = process.stdout.read(), process.stderr.read()  # a few lines each: no pipe is filled
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = (datetime.now(UTC) - began).total_seconds()
    if process.returncode not in fine:
        raise RuntimeError(f"{command}: exit status {process.returncode}\n{out}\n{err}")
    scale = 1 if sys.platform == "darwin" else 1024
    return Took(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * scale, out, err)


@contextmanager
def service(*, latency: float, core: int | None) -> Iterator[str]:
    """Run `service.py`; give its base address."""
    command = [str(peers_python()), str(FOLDER / "service.py"), "--latency", str(latency)]
    command += [] if core is None else ["--core", str(core)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


# Tables.


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, all but the first column to the right."""
    lines = [head, ["---", *(["---:"] * (len(head) - 1))], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bars(title: str, values: Sequence[tuple[str, float]]) -> str:
    """Draw named values as horizontal bars from 0 (SVG); the first is ours."""
    width, left, step = 640, 215, 34
    height = 60 + step * len(values)
    scale = (width - left - 80) / max(value for _, value in values)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="20" y="28" font-size="15">{title}</text>',
    ]
    for place, (name, value) in enumerate(values):
        y = 50 + step * place
        colour = "#1f6fb2" if place == 0 else "#b8c4ce"
        lines.append(f'<text x="{left - 10}" y="{y + 16}" text-anchor="end">{name}</text>')
        lines.append(f'<rect x="{left}" y="{y}" width="{max(value * scale, 1):.0f}" height="22" fill="{colour}"/>')
        lines.append(f'<text x="{left + max(value * scale, 1) + 8:.0f}" y="{y + 16}">{value:,.0f}</text>')
    return "\n".join([*lines, "</svg>", ""])
