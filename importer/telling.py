"""Standard output and error that can't be written: a full disk, or a reader that has gone.

What is told is not what a command does: a run goes on and writes its results, and only at the end it is said that what
was told is not whole. A reader that has gone (`history | head -1`) has had enough, so nothing is said then.
"""

import errno
import gc
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TextIO, cast

from importer.errors import ExitStatus


def run_telling(command: Callable[[], object], *, only_tells: bool) -> NoReturn:
    """Run a command that prints, and leave with its exit status.

    Where its output can't be written and it `only_tells`, that is 3 in place of 0; what it did besides stays as it was.
    """
    out, err = _Outlet.over(sys.stdout), _Outlet.over(sys.stderr)
    sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", err)
    status: str | int | None = None
    try:
        command()
    except SystemExit as ended:
        status = ended.code
    failure = out.end() if out is not None else None
    if failure is not None and failure.errno != errno.EPIPE:
        if err is not None:
            err.write(
                f"standard output: it can't be written ({failure.strerror or failure}), so what was told is not whole. Free some "
                "space, or send it elsewhere, and run the same command again: no lead is sent twice.\n"
            )
        status = status or (int(ExitStatus.STOPPED) if only_tells else 0)
    gc.freeze()  # at its own end Python looks through all that stands for circles: 0.2 s for what goes anyway
    raise SystemExit(status)  # the outlets stay: at its own end Python flushes them once more, and would complain


class _Outlet:
    """A text stream whose writing never fails; the first failure is kept."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._failure: OSError | None = None

    @classmethod
    def over(cls, stream: TextIO | None) -> "_Outlet | None":
        """Return an outlet; None where there is no stream, as under a service that closes it."""
        return None if stream is None else cls(stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as failure:
            self._failure = self._failure or failure
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as failure:
            self._failure = self._failure or failure

    def end(self) -> OSError | None:
        """Write what waits, and return the first failure."""
        self.flush()
        return self._failure
