"""What the machine gives: the key, the ledger's place, the lock that lets one sender at a time, and its signals."""

import getpass
import hashlib
import json
import os
import shlex
import signal
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_state_path

from importer.errors import Busy, ExitStatus, Refused

_APP = "lead-importer"

#: Seconds for which a lock may be held by a command that only looks whether anybody holds it (`process_of`).
_PROBE = 0.2

#: Locks that this process holds, by what is told of them: process IDs of several containers may be alike.
_held: set[Path] = set()

#: The signals that stop a run, and how it ends then.
SIGNALS = {signal.SIGINT: ExitStatus.INTERRUPTED, signal.SIGTERM: ExitStatus.TERMINATED}


def api_key(key_env: str, key_file_env: str, *, say: Callable[[str], None]) -> str:
    """Return the key from the environment variable `key_env`, or from the file that `key_file_env` names.

    `say` is told of a file that others may read. Raises `Refused`, never showing what was found.
    """
    key = os.environ.get(key_env, "").strip()
    if not key and (name := os.environ.get(key_file_env, "").strip()):
        try:
            file = Path(name).expanduser()
            key = file.read_text(encoding="utf-8-sig").strip()
            if _others_may_read(file):
                say(
                    f"Warning: key file {name!r}: others may read it. Let nobody else: chmod 600 {shlex.quote(str(file))}"
                )
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise Refused(
                f"key file {name!r} (from {key_file_env}): it can't be read ({reason}). It should hold the API key alone on one line."
            ) from error
        if not key:
            raise Refused(
                f"key file {name!r} (from {key_file_env}): it is empty. It should hold the API key alone on one line."
            )
    if not key:
        raise Refused(
            f"no API key: {key_env} is not set, and neither is {key_file_env}. Set one of them "
            f"(export {key_env}='…', in quotes because keys hold a |), or rehearse with --sandbox, which needs none."
        )
    if not key.isascii() or any(letter.isspace() or not letter.isprintable() for letter in key):
        raise Refused(
            f"the API key in {key_env} or its file is damaged: it holds spaces, line breaks or letters that no key has. Copy it again."
        )
    return key


def _others_may_read(file: Path) -> bool:
    """Tell whether a file of this user's is open to others; False where files have no such modes.

    One of another's, which is ours to read by group or by everybody, can't be changed by us: so services get theirs.
    """
    if not hasattr(os, "geteuid"):
        return False
    found = file.stat()
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and bool(found.st_mode & 0o044)


def user() -> str:
    """Return who runs this; empty where the machine does not say."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def ledger_path(option: Path | None, configured: Path | None) -> Path:
    """Return where the ledger lies: --ledger, LEAD_IMPORTER_LEDGER, the config, or the user's state folder."""
    named = os.environ.get("LEAD_IMPORTER_LEDGER", "").strip()
    return (
        option
        or (Path(named).expanduser() if named else None)
        or configured
        or user_state_path(_APP) / "ledger.sqlite3"
    )


@contextmanager
def sole_sender(
    address: str,
    key: str,
    *,
    run_id: str,
    doing: str | None = None,
    wait: float = 0,
    announce: Callable[[str], None] = lambda _: None,
) -> Iterator[None]:
    """Be the only sender to this address with this key on this machine; wait at most `wait` seconds.

    `run_id` is the run that is carried out; others are told of it by this ID, or by what it is `doing`. The lock is the
    operating system's: one left by a dead process is free. Raises `Busy`, saying who holds it since when.
    """
    folder = lock_folder()
    name = hashlib.sha256(f"{address}\n{key}".encode()).hexdigest()[:24]
    told = folder / f"{name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(folder / f"{name}.lock", mode=0o600)
        _acquire(lock, wait, lambda: announce(f"Waiting for another sender to {address}: {_holder(told)}."))
    except Timeout as error:
        raise Busy(
            f"another sender holds {address} with the same key: {_holder(told)}. "
            "Run this again when it has ended, or let it wait with --wait 10m."
        ) from error
    except OSError as error:
        raise _no_lock(folder, error) from error
    try:
        _held.add(told)
        _tell(told, run_id, doing or f"run {run_id}")
        yield
    finally:
        _held.discard(told)
        lock.release()


def _tell(told: Path, run_id: str, doing: str) -> None:
    """Say who holds a lock: others leave alone what that run is sending."""
    who = {"pid": os.getpid(), "run": run_id, "doing": doing, "since": datetime.now(UTC).isoformat(timespec="seconds")}
    try:
        told.write_text(json.dumps(who))
    except OSError as error:
        raise _no_lock(told.parent, error) from error


def _no_lock(folder: Path, error: OSError) -> Refused:
    return Refused(
        f"{folder}: the lock that keeps two senders apart can't be made ({error.strerror}). Free some space, or set XDG_STATE_HOME to a folder that can be written."
    )


def _acquire(lock: FileLock, wait: float, say_so: Callable[[], None]) -> None:
    try:
        lock.acquire(timeout=_PROBE, poll_interval=_PROBE / 4)
    except Timeout:
        if not wait:
            raise
        say_so()
        lock.acquire(timeout=wait, poll_interval=0.2)


def lock_folder() -> Path:
    """Return where locks lie here. A run that shares the ledger may have its own elsewhere (XDG_STATE_HOME)."""
    return user_state_path(_APP) / "locks"


def going_on(runs: Mapping[str, str | None]) -> set[str]:
    """Return those runs that a process other than this one is carrying out right now; `runs` says where their locks lie."""
    return {run_id for run_id, folder in runs.items() if process_of(run_id, folder) is not None}


def process_of(run_id: str, folder: str | None) -> int | None:
    """Return the process that carries a run out right now, its lock here or in `folder`; None where none does."""
    folders = {lock_folder(), Path(folder) if folder else lock_folder()}
    for told in (told for one in folders for told in one.glob("*.json")):
        try:
            who = json.loads(told.read_text())
            lock = FileLock(told.with_suffix(".lock"), mode=0o600)
            if who["run"] == run_id and told not in _held:
                lock.acquire(timeout=0)
                lock.release()
        except Timeout:
            return int(who["pid"])
        except (OSError, ValueError, KeyError):
            continue
    return None


@contextmanager
def finishing(leaving: str) -> Iterator[set[ExitStatus]]:
    """Let what the block does be finished on a first signal; give the exit statuses of those that came.

    A second one leaves at once, with `leaving` said. Only for the main thread.
    """
    received: set[ExitStatus] = set()

    def hear(number: int, _: object) -> None:
        status = SIGNALS[signal.Signals(number)]
        if received:
            os.write(2, f"{leaving}\n".encode())
            os._exit(int(status))
        received.add(status)

    before = {number: signal.signal(number, hear) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _holder(told: Path) -> str:
    try:
        who = json.loads(told.read_text())
        since = datetime.fromisoformat(who["since"]).astimezone()
        return f"{who['doing']}, process {who['pid']}, since {since:%Y-%m-%d %H:%M}"
    except (OSError, ValueError, KeyError):
        return "who it is can't be told"
