"""Many writes, one commit: whatever waits by the time the disk is free is made durable together.

It knows SQLite and event loops, and nothing of what is written. Statements run in the loop's thread and only `COMMIT`
waits for the disk in a thread of its own: SQLite lets go of the GIL at every statement, and a second thread that runs
them gets it back late while the loop is busy (measured: a third of the leads per second).
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

#: Writes in one commit at most: bounds what one failed commit does over again, and how long the loop is held up.
_MOST_AT_ONCE = 1000
#: Seconds to wait for another process that writes.
_PATIENCE = 30.0


def durable(path: Path) -> sqlite3.Connection:
    """Open a database so that what is committed outlasts a power cut; it waits for others at most `_PATIENCE` seconds.

    While several make one file at once, SQLite refuses the change to WAL without waiting.
    """
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_PATIENCE)
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)
    db.execute("PRAGMA synchronous=FULL")
    return db


class Write(NamedTuple):
    """Statements with their values, done all or not at all. Writes about the same `key` are done in their order."""

    key: bytes
    statements: list[tuple[str, Sequence[Any]]]


class _Waiting(NamedTuple):
    """A write, and who waits for the disk; None: nobody."""

    write: Write
    done: "asyncio.Future[None] | None"


class GroupCommit:
    """The one writer of a database. Each commit holds all that was handed over before it.

    The first write that fails with nobody waiting for it is kept in `failure`; from then on nothing more is written,
    and everybody who waits is told, so that no caller goes on as if the disk had it.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], failed: Callable[[sqlite3.Error], Exception]) -> None:
        self._connect = connect
        self._failed = failed
        self._db: sqlite3.Connection | None = None
        self._pending: list[_Waiting] = []
        self._is_under_way = False
        self._begun: queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, list[_Waiting]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.failure: sqlite3.Error | None = None

    def put(self, write: Write) -> None:
        """Hand a write over and go on: no later commit is without it. For use in an event loop."""
        self._add(_Waiting(write, None))

    async def wait(self, write: Write) -> None:
        """Hand a write over and return when the disk has it. Raises what `failed` makes of the database's error."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._add(_Waiting(write, done))
        await done

    def close(self) -> None:
        """Write what waits and end; safe to repeat. For use when no loop runs any more."""
        if self._thread is not None:
            self._begun.put(None)
            self._thread.join()
            self._thread = None
        if self._pending and self.failure is None:
            self._alone([self._pending.pop(0) for _ in list(self._pending)])
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _add(self, waiting: _Waiting) -> None:
        self._pending.append(waiting)
        if not self._is_under_way:
            self._is_under_way = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self._begin, loop)

    # One commit: begun in the loop, waited for in the thread, ended in the loop.

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._pending = self._pending[:_MOST_AT_ONCE], self._pending[_MOST_AT_ONCE:]
        if self.failure is None and self._written(batch):
            self._start()
            self._begun.put((loop, batch))
        else:
            self._end(loop, batch, self._alone(batch))

    def _written(self, batch: list[_Waiting]) -> bool:
        """Begin a transaction and write a batch into it; False where that fails, and nothing of it is kept."""
        try:
            self._opened().execute("BEGIN IMMEDIATE")
            for statement, values in _grouped(batch):
                self._opened().executemany(statement, values)
        except sqlite3.Error:
            self._roll_back()
            return False
        return True

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._commit_what_is_begun, name="ledger", daemon=True)
            self._thread.start()

    def _commit_what_is_begun(self) -> None:
        while (begun := self._begun.get()) is not None:
            loop, batch = begun
            try:
                self._opened().execute("COMMIT")
                told: list[sqlite3.Error | None] | None = [None] * len(batch)
            except sqlite3.Error:
                self._roll_back()
                told = None
            with suppress(RuntimeError):  # the loop is gone: nobody waits any more
                loop.call_soon_threadsafe(self._committed, loop, batch, told)

    def _committed(
        self, loop: asyncio.AbstractEventLoop, batch: list[_Waiting], told: list[sqlite3.Error | None] | None
    ) -> None:
        self._end(loop, batch, self._alone(batch) if told is None else told)

    def _end(self, loop: asyncio.AbstractEventLoop, batch: list[_Waiting], told: list[sqlite3.Error | None]) -> None:
        """Wake everybody who waited, and begin the next commit."""
        for (_, done), error in zip(batch, told, strict=True):
            if done is None or done.done():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(self._failed(error))
        if self._pending:
            loop.call_soon(self._begin, loop)
        else:
            self._is_under_way = False

    # Where a commit fails: each write by itself, so that one can't spoil the rest.

    def _alone(self, batch: list[_Waiting]) -> list[sqlite3.Error | None]:
        return [self._one(waiting) for waiting in batch]

    def _one(self, waiting: _Waiting) -> sqlite3.Error | None:
        if self.failure is not None:
            return self.failure
        try:
            self._opened().execute("BEGIN IMMEDIATE")
            for statement, values in waiting.write.statements:
                self._opened().execute(statement, values)
            self._opened().execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            if waiting.done is None:
                self.failure = error
            return error
        return None

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = self._connect()
        return self._db

    def _roll_back(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")


def _grouped(batch: list[_Waiting]) -> list[tuple[str, list[Sequence[Any]]]]:
    """Put alike statements together, to be run as one; those of one write, and those about one key, stay in their order."""
    groups: list[dict[str, list[Sequence[Any]]]] = [{}]
    seen: set[bytes] = set()
    for (key, statements), _ in batch:
        if key in seen or not _keeps_its_order(statements, groups[-1]):
            groups.append({})
            seen.clear()
        seen.add(key)
        for statement, values in statements:
            groups[-1].setdefault(statement, []).append(values)
    return [item for group in groups for item in group.items()]


def _keeps_its_order(statements: list[tuple[str, Sequence[Any]]], group: dict[str, list[Sequence[Any]]]) -> bool:
    """Tell whether a write's statements would run in their own order in a group that runs its own one after another."""
    places = {statement: place for place, statement in enumerate(group)}
    last = -1
    for statement, _ in statements:
        place = places.setdefault(statement, len(places))
        if place < last:
            return False
        last = place
    return True
