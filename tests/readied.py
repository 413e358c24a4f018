"""The command from a process that has loaded its libraries: a quarter of the processor time that a new one takes.

What runs is the command itself, in a process of its own with its own folder, environment, streams and exit status; that
process is forked from one which has done nothing yet but import. What that can't show, whether each module finds what
it imports by itself, is shown by the arrows in `test_structure.py` and by the tests that start a new process.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

#: Loaded by a command when it needs them.
LATER = ("anyio._backends._asyncio", "email_validator", "uvloop")
_MOST_BYTES = 1 << 17


def run(
    words: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float
) -> "subprocess.CompletedProcess[str]":
    """Run `python WORDS` with nothing to read, and return what it said. Raises `subprocess.TimeoutExpired`."""
    if sys.platform != "linux":
        return subprocess.run(
            [sys.executable, *words],
            cwd=cwd,
            env=env,
            timeout=timeout,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
    with (
        open(os.devnull) as nothing,  # noqa: PTH123 - no path
        tempfile.TemporaryFile("w+", encoding="utf-8") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8") as err,
    ):
        status = _status(
            json.dumps([str(cwd), dict(env), *words]), [nothing.fileno(), out.fileno(), err.fileno()], timeout
        )
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(words, status, out.read(), err.read())


def _status(asked: str, streams: list[int], timeout: float) -> int:
    """Have a process forked, and return its exit status when it has ended."""
    hears, tells = os.pipe()
    with open(hears, "rb", buffering=0) as told:  # noqa: PTH123 - no path
        socket.send_fds(_readied(), [asked.encode()], [*streams, tells])
        os.close(tells)
        pid = int(told.readline())
        if not select.select([told], [], [], timeout)[0]:
            os.kill(pid, signal.SIGKILL)
            told.readline()  # it is gone
            raise subprocess.TimeoutExpired(asked, timeout)
        return int(told.readline())


@cache
def _readied() -> socket.socket:
    """Start the process that has the libraries, and return the line to it: it ends when the line is closed."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with there:
        process = subprocess.Popen([sys.executable, __file__, str(there.fileno())], pass_fds=[there.fileno()])

    def end() -> None:
        here.close()
        process.wait()

    atexit.register(end)
    return here


# In the readied process, and in those that are forked from it.


def _asked(line: socket.socket) -> list[str]:
    """Fork for each that is asked for; return in the process that is to be it, with the words for Python."""
    running: dict[int, int] = {}
    """Processes, and where the exit status of each is told."""
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready = select.select([line, woken], [], [])[0]
        if woken in ready:
            os.read(woken, _MOST_BYTES)
            _tell_of_ended(running)
        if line not in ready:
            continue
        asked, fds, _, _ = socket.recv_fds(line, _MOST_BYTES, 4)
        if not asked:
            sys.exit()
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            _close(line.detach(), woken, wakes, *running.values())
            return _dressed(asked, fds)
        *streams, running[pid] = fds
        _close(*streams)
        os.write(running[pid], f"{pid}\n".encode())


def _tell_of_ended(running: dict[int, int]) -> None:
    with suppress(ChildProcessError):  # none is running any more
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            tells = running.pop(ended[0])
            with suppress(BrokenPipeError):  # who asked is gone
                os.write(tells, f"{os.waitstatus_to_exitcode(ended[1])}\n".encode())
            os.close(tells)


def _dressed(asked: bytes, fds: list[int]) -> list[str]:
    """Take on the streams, folder and environment of the process that was asked for, and return its words."""
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number)
    _close(*fds)
    cwd, env, *words = json.loads(asked)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return words


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def _be_ready() -> None:
    import importer

    for module in pkgutil.iter_modules(importer.__path__, "importer."):
        if module.name != "importer.__main__":
            importlib.import_module(module.name)
    for name in LATER:
        importlib.import_module(name)
    # The threads that Polars starts when it is imported wait for what no import does, and hold nothing.
    warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who ask
    gc.freeze()  # or each collection in a forked process would copy all of it


if __name__ == "__main__":
    _be_ready()
    sys.argv[1:] = _asked(socket.socket(fileno=int(sys.argv[1])))
    if sys.argv[1] == "-m":
        del sys.argv[1]
        name = sys.argv.pop(1)
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv.pop(1), run_name="__main__")
