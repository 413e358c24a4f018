"""Commands, help, exit status: the only place that prints.

Nothing heavy is imported until a command runs, so that `--help` answers at once.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from importer import cli_past
from importer.errors import ExitStatus, Refused
from importer.options import (
    EXIT_STATUS,
    BaseUrl,
    Campaign,
    Concurrency,
    ConfigFile,
    Deadline,
    Include,
    Inputs,
    LedgerFile,
    Limit,
    LogFormat,
    Logs,
    NoCanary,
    NoProgress,
    Out,
    Rate,
    Region,
    SandboxFlag,
    Wait,
    Yes,
    end,
)
from importer.telling import run_telling
from importer.usage import Command, Commands, duration, number, path_of, whole

app = typer.Typer(
    name="lead-importer",
    cls=Commands,
    help="Get lead lists from CSV and Excel into OtoniStark: no lead twice, no lead lost.",
    epilog=EXIT_STATUS,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"lead-importer {version('lead-importer')}")
        raise typer.Exit


@app.callback()
def _every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@app.command(cls=Command, epilog=EXIT_STATUS)
def run(
    inputs: Inputs,
    config: ConfigFile = None,
    sandbox: SandboxFlag = False,
    out: Out = None,
    campaign: Campaign = None,
    region: Region = None,
    base_url: BaseUrl = None,
    limit: Limit = None,
    rate: Rate = None,
    concurrency: Concurrency = None,
    yes: Yes = False,
    no_canary: NoCanary = False,
    wait: Wait = "0",
    deadline: Deadline = None,
    no_progress: NoProgress = False,
    log_format: Logs = LogFormat.TEXT,
    ledger: LedgerFile = None,
    include: Include = None,
) -> None:
    """Import lead lists.

    Creates the leads and writes the same rows with their lead IDs, or the reason why not, to <name>.results.<ext>.
    Running it again sends only what is not yet created.

    \b
    Example:
      lead-importer run sample_data/spring_fair.csv -c configs/spring_fair.yaml --sandbox
    """
    _carry_out("run", **locals())


@app.command(cls=Command, epilog=EXIT_STATUS)
def check(
    inputs: Inputs,
    config: ConfigFile = None,
    sandbox: SandboxFlag = False,
    out: Out = None,
    campaign: Campaign = None,
    region: Region = None,
    base_url: BaseUrl = None,
    limit: Limit = None,
    no_progress: NoProgress = False,
    log_format: Logs = LogFormat.TEXT,
    ledger: LedgerFile = None,
    include: Include = None,
) -> None:
    """Do everything but send.

    Nothing leaves the machine and no key is needed. Writes <name>.check.<ext>: status ready where run would send, and
    the reason where it would not.

    \b
    Example:
      lead-importer check sample_data/mistakes.csv -c configs/mistakes.yaml
    """
    _carry_out("check", **locals())


@app.command(cls=Command, epilog=EXIT_STATUS)
def retry(
    results: Annotated[
        list[str],
        typer.Argument(
            metavar="RESULT",
            help="Result files, as they are or after you edited, sorted or re-saved them.",
            show_default=False,
        ),
    ],
    config: ConfigFile = None,
    sandbox: SandboxFlag = False,
    out: Out = None,
    campaign: Campaign = None,
    region: Region = None,
    base_url: BaseUrl = None,
    limit: Limit = None,
    rate: Rate = None,
    concurrency: Concurrency = None,
    yes: Yes = False,
    no_canary: NoCanary = False,
    wait: Wait = "0",
    deadline: Deadline = None,
    no_progress: NoProgress = False,
    log_format: Logs = LogFormat.TEXT,
    ledger: LedgerFile = None,
    include: Include = None,
) -> None:
    """Send what a result file shows as not done.

    Takes the file back after people edited it and writes it again with all its rows. Rows that are created, duplicate,
    already imported, suppressed or filtered are left alone.

    \b
    Example:
      lead-importer retry sample_data/spring_fair.results.csv -c configs/spring_fair.yaml
    """
    _carry_out("retry", **{("inputs" if name == "results" else name): value for name, value in locals().items()})


@app.command(cls=Command, epilog=EXIT_STATUS)
def init(
    input: Annotated[Path, typer.Argument(metavar="INPUT", help="A CSV or Excel file.", show_default=False)],  # noqa: A002
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="CONFIG",
            parser=path_of("--out", "the config to write"),
            help="Where the config goes. Default: <name>.yaml beside the input.",
        ),
    ] = None,
    sheet: Annotated[
        str | None, typer.Option("--sheet", metavar="NAME|N", help="Sheet of a workbook. Default: found.")
    ] = None,
    campaign: Campaign = None,
    region: Region = None,
) -> None:
    """Write a commented starter config.

    Guesses from the headers and the values what each column is, says how sure it is, and tries the config on the
    file. Nothing leaves the machine, and a file that exists is never overwritten.

    \b
    Example:
      lead-importer init sample_data/kunden.csv -o kunden.yaml
    """
    from importer.starter import start
    from importer.starter_text import Asked

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    def work() -> ExitStatus:
        number = int(sheet) if sheet is not None and sheet.isdecimal() else sheet
        starter = start(Asked(input, out, number, campaign, region))
        for line in starter.told:
            say(line)
        print(starter.path)
        return ExitStatus.OK

    end(work, say)


@app.command(cls=Command, epilog=EXIT_STATUS)
def schema() -> None:
    """Print the JSON Schema of the config.

    Editors that know it complete and check the YAML while you write.

    \b
    Example:
      lead-importer schema > lead-importer.schema.json
    """
    import json

    from importer import config

    print(json.dumps(config.schema(), indent=2, ensure_ascii=False))


@app.command(cls=Command)
def sandbox(
    port: Annotated[
        int,
        typer.Option(
            "--port",
            metavar="PORT",
            parser=whole("--port", "port", low=0, high=65535),
            help="Port on loopback; 0 finds a free one.",
        ),
    ] = 0,
    limit: Annotated[
        str | None,
        typer.Option("--limit", metavar="N/s|N/min", help="Answer 429 beyond this rate, with the platform's headers."),
    ] = None,
    no_limit_headers: Annotated[
        bool, typer.Option("--no-limit-headers", help="Leave the limit's headers out.")
    ] = False,
    latency: Annotated[
        float,
        typer.Option(
            "--latency",
            metavar="SECONDS",
            parser=number("--latency", "time in seconds", example="0.2"),
            help="Wait before each answer.",
        ),
    ] = 0.0,
    faults: Annotated[
        float | None,
        typer.Option(
            "--faults",
            metavar="SHARE",
            parser=number("--faults", "share", high=1, example="0.07"),
            help="Share of creates that go wrong, such as 0.07. Default: all where --fault names a kind, else none.",
            show_default=False,
        ),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            metavar="KIND",
            help="A kind of fault: hang, reset, close, cut_headers, cut_body, drip, 500, 502, 503, garbage, html_200 (a web page), "
            "no_id, busy (429); some also with _before behind, where the lead is not stored. May be repeated. Default: all alike.",
            show_default=False,
        ),
    ] = None,
    lookup_faults: Annotated[
        float,
        typer.Option(
            "--lookup-faults",
            metavar="SHARE",
            parser=number("--lookup-faults", "share", high=1, example="0.07"),
            help="Share of look-ups that go wrong, in the same kinds.",
        ),
    ] = 0.0,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar="N", parser=whole("--seed", "number", low=0), help="Makes the faults repeatable."
        ),
    ] = None,
    no_lookup: Annotated[bool, typer.Option("--no-lookup", help="Don't offer the look-up of leads.")] = False,
    refuse_key: Annotated[bool, typer.Option("--refuse-key", help="Answer 401, as to a key that is wrong.")] = False,
) -> None:
    """Serve a local OtoniStark API.

    Keeps leads in memory, calls nobody and takes any key, so that imports can be rehearsed, with faults and limits as
    you choose. Ctrl-C ends it.

    \b
    Example:
      lead-importer sandbox --port 8123 --limit 60/min --faults 0.05
    """
    from importer.config_values import parse_rate
    from importer.sandbox import Options, serve

    def work() -> ExitStatus:
        try:
            limits = {one.seconds: int(one.count) for one in (parse_rate(limit) if limit else ())}
        except ValueError as error:
            raise Refused(f"--limit {limit}: right is {error}.") from None
        if limits.keys() - {1.0, 60.0}:
            raise Refused(f"--limit {limit}: the sandbox counts per second or per minute, such as 5/s or 60/min.")
        options = Options(
            port=port,
            per_second=limits.get(1.0),
            per_minute=limits.get(60.0),
            headers=not no_limit_headers,
            latency=latency,
            fault_rate=faults,
            faults=dict.fromkeys(fault or (), 1.0),
            lookup_fault_rate=lookup_faults,
            seed=seed,
            lookup=not no_lookup,
            keys=() if refuse_key else None,
        )
        serve(options, print)
        if sys.stdout.isatty():  # behind the ^C; whoever reads a pipe may be gone
            print("The sandbox has ended, and its leads are gone.")
        return ExitStatus.OK

    end(work, lambda text: print(text, file=sys.stderr))


cli_past.add_to(app)


def _carry_out(command: str, **options: Any) -> None:
    from importer.pipeline import Request
    from importer.pipeline import run as carry_out
    from importer.screen import screen

    asked = dict(options)
    no_progress, log_format = asked.pop("no_progress"), asked.pop("log_format")
    asked["inputs"] = tuple(asked["inputs"])
    if command != "check":
        asked["canary"] = not asked.pop("no_canary")
        asked["wait"] = duration("--wait", asked["wait"])
    asked["include"] = frozenset(status.value for status in asked["include"] or ())
    request = Request(command=command, **asked)  # type: ignore[arg-type]
    shown = screen(progress=not no_progress, as_json=log_format is LogFormat.JSON)
    end(lambda: carry_out(request, shown), shown.problem)


def main() -> None:
    """Run the command line."""
    run_telling(app, only_tells=sys.argv[1:2] not in (["run"], ["retry"], ["settle"], ["undo"]))
