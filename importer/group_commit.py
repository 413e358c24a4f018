"""Many writes, one commit: a thread that makes whatever waits durable together, again and again.

It knows SQLite and threads, and nothing of what is written. A write is a list of statements that hold together.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from typing import Any, NamedTuple

#: Statements with their values, done all or not at all.
Write = list[tuple[str, Sequence[Any]]]

#: Writes in one commit at most: bounds what one failed commit does over again.
_MOST_AT_ONCE = 1000


class _Waiting(NamedTuple):
    """A write, and who waits for the disk in an event loop; None: nobody."""

    write: Write
    loop: asyncio.AbstractEventLoop | None
    done: "asyncio.Future[None] | None"


class GroupCommit:
    """The one writer of a database. Writes are done in the order in which they were handed over.

    The first write that fails with nobody waiting for it is kept in `failure`; from then on nothing more is written,
    and everybody who waits is told, so that no caller goes on as if the disk had it.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], failed: Callable[[sqlite3.Error], Exception]) -> None:
        self._connect = connect
        self._failed = failed
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.failure: sqlite3.Error | None = None

    def put(self, write: Write) -> None:
        """Hand a write over and go on: it is durable before any later write is."""
        self._start()
        self._queue.put(_Waiting(write, None, None))

    async def wait(self, write: Write) -> None:
        """Hand a write over and return when the disk has it. Raises what `failed` makes of the database's error."""
        self._start()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._queue.put(_Waiting(write, loop, done))
        await done

    def close(self) -> None:
        """Write what waits, and end the thread; safe to repeat."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        ended = False
        with ExitStack() as opened:
            try:
                db = opened.enter_context(closing(self._connect()))
            except sqlite3.Error as error:
                self.failure, db = error, None
            while not ended:
                batch, ended = self._batch()
                self._commit(db, batch)

    def _batch(self) -> tuple[list[_Waiting], bool]:
        """Wait for a write, and take what else waits by then; the flag says that the end was asked for."""
        batch: list[_Waiting] = []
        while len(batch) < _MOST_AT_ONCE:
            try:
                waiting = self._queue.get() if not batch else self._queue.get_nowait()
            except queue.Empty:
                break
            if waiting is None:
                return batch, True
            batch.append(waiting)
        return batch, False

    def _commit(self, db: sqlite3.Connection | None, batch: list[_Waiting]) -> None:
        """Write a batch in one transaction; where that fails, each write by itself, so that one can't spoil the rest."""
        if not batch:
            return
        if db is not None and self.failure is None and _try(db, [waiting.write for waiting in batch]) is None:
            self._tell([(waiting, None) for waiting in batch])
            return
        self._tell([(waiting, self._alone(db, waiting)) for waiting in batch])

    def _alone(self, db: sqlite3.Connection | None, waiting: _Waiting) -> sqlite3.Error | None:
        if db is None or self.failure is not None:
            return self.failure
        error = _try(db, [waiting.write])
        if error is not None and waiting.done is None:
            self.failure = error
        return error

    def _tell(self, written: list[tuple[_Waiting, sqlite3.Error | None]]) -> None:
        """Wake everybody who waits, with one call into each loop."""
        for loop in {waiting.loop for waiting, _ in written if waiting.loop is not None}:
            told = [(waiting.done, error) for waiting, error in written if waiting.loop is loop and waiting.done]
            with suppress(RuntimeError):  # the loop is gone: nobody waits any more, and the disk has it
                loop.call_soon_threadsafe(self._wake, told)

    def _wake(self, told: "list[tuple[asyncio.Future[None], sqlite3.Error | None]]") -> None:
        for done, error in told:
            if done.done():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(self._failed(error))


def _try(db: sqlite3.Connection, writes: list[Write]) -> sqlite3.Error | None:
    try:
        db.execute("BEGIN IMMEDIATE")
        for write in writes:
            for sql, values in write:
                db.execute(sql, values)
        db.execute("COMMIT")
    except sqlite3.Error as error:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        return error
    return None
