"""The options that commands share, and how a command ends. Nothing heavy is imported here."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from importer.errors import ExitStatus, LeadImporterError
from importer.usage import one_of, path_of, path_text_of, whole

EXIT_STATUS = """\b
EXIT STATUS
  0        every row is created, duplicate, already imported, suppressed or filtered (or ready)
  1        finished, but some rows are not, or a contact was left out of a created lead
  2        command, config, key or input refused: nothing was sent
  3        stopped early or not started: run it again to go on
  4        another sender holds the same address and key
  5        finished, and some outcomes are unknown
  130/143  stopped by a signal, result file written
"""


class LogFormat(StrEnum):
    """How talk and progress look on stderr."""

    TEXT = "text"
    JSON = "json"


class Includable(StrEnum):
    """Statuses that --include can send again. What was created is never sent again."""

    UNKNOWN = "unknown"
    DUPLICATE = "duplicate"
    SUPPRESSED = "suppressed"
    FILTERED = "filtered"


Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT", help="CSV or Excel files, or patterns such as 'lists/*.csv'.", show_default=False),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        parser=path_of("--config", "a YAML file"),
        help="YAML file that maps columns. Without it the platform's own column layout is read.",
    ),
]
SandboxFlag = Annotated[
    bool, typer.Option("--sandbox", help="Import into a throw-away local API: no account, no key, nobody is called.")
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        metavar="PATH",
        parser=path_text_of("--out", "the result, or of a folder for several"),
        help="Where the result goes: a file, or a folder for several inputs, a pattern, or with / at its end (made if "
        "missing). Default: beside each input.",
    ),
]
Campaign = Annotated[
    int | None,
    typer.Option(
        "--campaign",
        metavar="ID",
        parser=whole(
            "--campaign",
            "campaign's number",
            low=1,
            advice="For several campaigns name a column that says which (campaign_id in the config), or run once for each.",
        ),
        help="Campaign number, in place of the config's.",
    ),
]
Region = Annotated[
    str | None, typer.Option("--region", metavar="CC", help="Country of numbers written without +, such as US or DE.")
]
BaseUrl = Annotated[
    str | None, typer.Option("--base-url", metavar="URL", help="Address of the service, in place of the config's.")
]
RunUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="Address that the run sent to; a run of another address is refused. Default: the run's own.",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        metavar="N",
        parser=whole("--limit", "number of leads", low=0),
        help="Send the first N leads only; the next run goes on.",
    ),
]
Rate = Annotated[
    str | None,
    typer.Option(
        "--rate",
        metavar="N/s|N/min|auto",
        help="Highest pace. auto (the default) finds the server's limit and keeps to it.",
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        metavar="N",
        parser=whole("--concurrency", "number of leads in flight", low=1, high=256),
        help="Leads in flight at once, 256 at most. Default: found out, 8 to 64, more only while it helps.",
    ),
]
Wait = Annotated[
    str,
    typer.Option(
        "--wait",
        metavar="DURATION",
        help="Wait so long for another sender to end, such as 30s, 10m or 1h; a number alone is seconds. Default: not at all.",
    ),
]
Deadline = Annotated[
    str | None,
    typer.Option(
        "--deadline", metavar="HH:MM", help="Send nothing new from this time on; the next run goes on with the rest."
    ),
]
NoCanary = Annotated[
    bool,
    typer.Option(
        "--no-canary", help="Don't send a few leads first and read them back before the rest (more than 100 leads)."
    ),
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Don't ask before sending. With no terminal nothing is asked anyway.")
]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress bar and no progress lines.")]
Logs = Annotated[
    LogFormat,
    typer.Option(
        "--log-format",
        metavar="text|json",
        parser=one_of("--log-format", "format of a log", LogFormat),
        help="Talk and progress on stderr as text, or as one JSON object a line.",
    ),
]
LedgerFile = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        metavar="PATH",
        parser=path_of("--ledger", "the ledger's file"),
        help="The ledger that knows what was sent. Default: in the user's state folder.",
    ),
]
Include = Annotated[
    list[Includable] | None,
    typer.Option(
        "--include",
        metavar="STATUS",
        parser=one_of("--include", "status that can be included", Includable),
        help="Send rows of this status too: unknown, duplicate, suppressed or filtered.",
        show_default=False,
    ),
]
RunId = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run's ID, its beginning, or last; see history.", show_default=False),
]


def end(work: Callable[[], ExitStatus], problem: Callable[[str], None]) -> None:
    """Do the work and leave with its exit status; what was refused or stopped is told without a traceback."""
    try:
        status = work()
    except LeadImporterError as error:
        for text in error.problems:
            problem(text)
        raise SystemExit(int(error.exit_status)) from None
    except KeyboardInterrupt:
        problem("Interrupted before anything was sent.")
        raise SystemExit(int(ExitStatus.INTERRUPTED)) from None
    except Exception as error:
        if type(error).__module__ != "sqlite3":  # which is not loaded for the help
            raise
        problem(
            f"the ledger can't be read ({error}). Nothing more is sent, because what was created before would be sent again. "
            "If it is damaged, put it back from your backup, together with its key."
        )
        raise SystemExit(int(ExitStatus.STOPPED)) from error
    raise SystemExit(int(status))
