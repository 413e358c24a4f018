"""What can go wrong, by what happens next.

    LeadImporterError
    ├── Refused      nothing was sent and nothing will be: put the command, config or file right      exit 2
    ├── Stopped      the run ended before its end: run it again to go on                               exit 3
    │   └── SentElsewhere  another run has this lead: it is not sent, and the run goes on
    ├── Busy         another sender holds the same address and key                                     exit 4
    └── Interrupted  Ctrl-C at the question: nothing was done                                          exit 130

A row's own problem is none of these: it travels with the row to the result file.
"""

from collections.abc import Iterable
from enum import IntEnum


class ExitStatus(IntEnum):
    """What the command says to the shell that called it (contract, "Exit status")."""

    OK = 0
    SOME_ROWS_ARE_NOT = 1
    REFUSED = 2
    STOPPED = 3
    BUSY = 4
    SOME_UNKNOWN = 5
    INTERRUPTED = 130
    TERMINATED = 143


_GRAVEST_FIRST = (
    ExitStatus.REFUSED,
    ExitStatus.BUSY,
    ExitStatus.INTERRUPTED,
    ExitStatus.TERMINATED,
    ExitStatus.STOPPED,
    ExitStatus.SOME_UNKNOWN,
    ExitStatus.SOME_ROWS_ARE_NOT,
    ExitStatus.OK,
)


def gravest(statuses: Iterable[ExitStatus]) -> ExitStatus:
    """Return the one exit status to end with where several hold; `OK` for none."""
    found = set(statuses)
    return next((status for status in _GRAVEST_FIRST if status in found), ExitStatus.OK)


class LeadImporterError(Exception):
    """Anything that ends a command with a message instead of a traceback.

    `problems` are whole sentences for people: where, what was found, what would be right, what to do.
    """

    exit_status = ExitStatus.REFUSED

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Refused(LeadImporterError):
    """The command, the config or an input can't be taken as it is; nothing was sent."""

    exit_status = ExitStatus.REFUSED


class Stopped(LeadImporterError):
    """The run can't go on (key refused, server unreachable, "no" at the question); running again goes on."""

    exit_status = ExitStatus.STOPPED


class SentElsewhere(Stopped):
    """Another run, with another key, has this lead: nothing may be sent of it, and of all others may."""


class Busy(LeadImporterError):
    """Another process sends to the same address with the same key."""

    exit_status = ExitStatus.BUSY


class Interrupted(LeadImporterError):
    """A person pressed Ctrl-C where they were asked; nothing was done."""

    exit_status = ExitStatus.INTERRUPTED
