"""Run the importer and kill it, as `kill -9` does, at a chosen point: `python killed_at.py POINT N WORDS…`.

The product has no hooks for this: its functions are wrapped from outside, and the process ends itself at the N-th call
(from 1) of the one that stands for the point.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from importer import write
from importer.__main__ import main
from importer.api import Service
from importer.ledger import Ledger


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Countdown:
    """Dies at the `left`-th call."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            die()


def before(owner: Any, name: str) -> Callable[[Countdown], None]:
    """Die at the beginning of a call."""

    def arm(count: Countdown) -> None:
        function = getattr(owner, name)

        def wrapped(*words: Any, **named: Any) -> Any:
            count()
            return function(*words, **named)

        setattr(owner, name, wrapped)

    return arm


def while_it_runs(owner: Any, name: str) -> Callable[[Countdown], None]:
    """Die a moment after an awaited call began: for a server that does not answer."""

    def arm(count: Countdown) -> None:
        function = getattr(owner, name)

        async def wrapped(*words: Any, **named: Any) -> Any:
            asyncio.get_running_loop().call_later(0.3, count)
            return await function(*words, **named)

        setattr(owner, name, wrapped)

    return arm


def after(owner: Any, name: str) -> Callable[[Countdown], None]:
    """Die at the end of an awaited call."""

    def arm(count: Countdown) -> None:
        function = getattr(owner, name)

        async def wrapped(*words: Any, **named: Any) -> Any:
            found = await function(*words, **named)
            count()
            return found

        setattr(owner, name, wrapped)

    return arm


def half_a_result(count: Countdown) -> None:
    """Die when half of the result file's bytes are written."""
    whole = write.WRITERS["csv"]

    def half(file: Any, *words: Any) -> None:
        whole(file, *words)
        file.flush()
        file.truncate(file.tell() // 2)
        count()

    write.WRITERS = {**write.WRITERS, "csv": half}


def written_not_moved(count: Countdown) -> None:
    """Die when the result file is written whole under its temporary name."""
    replace = Path.replace

    def wrapped(path: Path, target: Path) -> Path:
        if path.suffix == ".tmp":
            count()
        return replace(path, target)

    Path.replace = wrapped  # type: ignore[method-assign]


POINTS: dict[str, Callable[[Countdown], None]] = {
    "before the intent": before(Ledger, "intend"),
    "between intent and send": after(Ledger, "intend"),
    "between send and answer": while_it_runs(Service, "create"),
    "between answer and outcome": before(Ledger, "finish"),
    "with half of the result written": half_a_result,
    "before the result is moved into place": written_not_moved,
}

#: Points that only a run which is told to stop comes to.
OF_A_STOP = {"between intent and withdrawal": before(Ledger, "withdraw")}

#: Seconds by which the machine's clock is wrong, by this name in the environment.
CLOCK_AHEAD = "CLOCK_AHEAD"


def set_clock(ahead: float) -> None:
    right = time.time
    time.time = lambda: right() + ahead  # type: ignore[assignment]


if __name__ == "__main__":
    set_clock(float(os.environ.get(CLOCK_AHEAD, "0")))
    (POINTS | OF_A_STOP)[sys.argv[1]](Countdown(int(sys.argv[2])))
    sys.argv[1:] = sys.argv[3:]
    main()
