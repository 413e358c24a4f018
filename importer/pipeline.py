"""Joins the stages: read → map → group → plan → deliver → results. The first file to read.

`run` is the story of a command from its inputs to its result files. What a person sees and says goes through `Screen`.
"""

import shlex
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import polars as pl

from importer import config as configs
from importer import results
from importer.cells import mend
from importer.columns import check_columns, column_uses, resolve
from importer.config import Config
from importer.config_values import parse_region
from importer.errors import ExitStatus, LeadImporterError, Refused, gravest
from importer.group import Grouped, group_people
from importer.ledger import SANDBOX_RUN, Ledger, Run, new_run_id
from importer.machine import finishing, process_of
from importer.mapping import Mapped, map_rows, regions_of
from importer.plan import Work
from importer.platform_layout import platform_layout
from importer.read import expand, is_pattern
from importer.receipt import Facts, move_along, past_result, receipt_path, sha256_of, write_receipt
from importer.records import RESULT_COLUMNS, Outcome, PastResult, Source, Status, Table
from importer.rehearse import Sent, rehearse
from importer.replay import replay
from importer.suppress import suppression_list
from importer.titles import IsHeader, read_titled
from importer.wording import count_of
from importer.write import colliding, fits, names_folder, result_path, write_result


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for; None where it says nothing."""

    command: Literal["run", "check", "retry"]
    inputs: tuple[str, ...]
    config: Path | None = None
    sandbox: bool = False
    out: str | None = None
    """As it is written: with a slash at its end it is a folder."""
    campaign: int | None = None
    region: str | None = None
    base_url: str | None = None
    limit: int | None = None
    rate: str | None = None
    concurrency: int | None = None
    yes: bool = False
    ledger: Path | None = None
    include: frozenset[str] = frozenset()
    wait: float = 0.0
    """Seconds to wait for another sender to end."""
    canary: bool = True
    results: tuple[Path | None, ...] = ()
    """Where the results of a past run were written, one for each input."""
    targets: tuple[Path, ...] = ()
    """Where results go, one for each input, as soon as that is known."""
    deadline: str | None = None
    """HH:MM by the machine's clock: from then on nothing new is sent."""

    def as_json(self) -> dict[str, Any]:
        """Return what decides which leads are sent where, and where results go, for the ledger."""
        return {
            "command": self.command,
            "config": None if self.config is None else str(self.config.resolve()),
            "campaign": self.campaign,
            "region": self.region,
            "base_url": self.base_url,
            "ledger": None if self.ledger is None else str(self.ledger.resolve()),
            "limit": self.limit,
            "include": sorted(self.include),
            "targets": [str(target.resolve()) for target in self.targets],
        }


class Screen(Protocol):
    """Where a command talks to people."""

    def say(self, text: str) -> None:
        """Show a line of talk."""

    def show(self, text: str) -> None:
        """Show a line to a person at a terminal, and to no log: it may tell of people."""

    def ask(self, question: str) -> bool | None:
        """Ask a person; None where nobody is there to be asked."""

    def begin(self, total: int, done_by: Callable[[], str | None]) -> None:
        """Begin to show progress over `total` leads; `done_by` says when all is done, None while that is unknown."""

    def step(self, outcome: Outcome) -> None:
        """Show that one more lead has its outcome."""

    def end(self) -> None:
        """End the progress."""

    def summary(self, summary: "Summary") -> None:
        """Show what came of it all."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a command ends with; the numbers are rows."""

    command: str
    run_id: str
    rows: int
    counts: dict[str, int]
    reasons: list[tuple[str, str, int]]
    """The commonest (status, code, rows) of what is not done."""
    mendings: list[tuple[str, str, int]]
    """(column, what, cells) of what was restored."""
    left_out: list[tuple[str | None, str, int]]
    """(column, code, rows) of variables and contacts that leads go without."""
    leads_sent: int
    guarantee: str | None
    written: tuple[Path, ...]
    cause: str | None
    """Why the run ended early."""
    seconds: dict[str, float]
    retry: str | None
    """The command that sends what is not done, when that is put right."""
    before: int
    """Of a retry's rows those that an earlier run created."""
    exit_status: ExitStatus


@dataclass(slots=True)
class _Inputs:
    """The inputs of a command, understood: one config, works and result paths side by side."""

    config: Config
    works: list[Work]
    targets: list[Path]
    seconds: dict[str, float] = field(default_factory=dict)
    config_sha256: str | None = None
    """Of the config file, as it was when it was read."""


def run(request: Request, screen: Screen) -> ExitStatus:
    """Carry out `run`, `check` or `retry`. Raises `LeadImporterError` where nothing was begun."""
    run_id = new_run_id(datetime.now(UTC), SANDBOX_RUN if request.sandbox else "")
    tables, seconds = _read(request, screen)
    inputs = _understand(request, screen, tables, seconds)
    request = replace(request, targets=tuple(inputs.targets))
    if request.command == "check":
        sent = rehearse(request, inputs.config, inputs.works, run_id, screen)
    else:
        from importer.sending import send  # brings the libraries of the network, which `check` does not need

        sent = send(request, inputs.config, inputs.works, run_id, screen)
    with (
        sent,
        finishing(f"Left while the result was being written. To have it: lead-importer results {run_id}") as signals,
    ):
        return gravest({_hand_back(request, screen, inputs, sent, run_id), *signals})


def write_again(ledger: Ledger, run: Run, screen: Screen, *, out: str | None = None) -> ExitStatus:
    """Write the result files of a past run again, by what the ledger knows of it.

    Raises `Refused` where an input or the config is not what it was, or the run is still going on.
    """
    request = _request_of(ledger, run, out)
    tables, seconds = _read(request, screen)
    inputs = _understand(request, screen, tables, seconds)
    if inputs.config.fingerprint() != run.config_hash:
        raise Refused(
            f"run {run.run_id}: its config {request.config or '(none: the columns themselves)'} decides otherwise now than it did then. "
            "Put it back as it was; the result can't be told without it."
        )
    _refuse_other_lists(run, inputs.config)
    for before, target in zip(request.results, inputs.targets, strict=True):
        if out is not None and before is not None and not before.is_file() and before != target.resolve():
            screen.say(f"{before} is not there any more: {target} is the result of the run from now on.")
    told = replay(inputs.works, ledger, run, allow_duplicate=inputs.config.allow_duplicate)
    sent = Sent(
        told.plan, told.outcomes, told.otherwise, ledger=ledger, cause=run.cause, guarantee=run.guarantee, run=run
    )
    return _hand_back(request, screen, inputs, sent, run.run_id)


def _request_of(ledger: Ledger, run: Run, out: str | None) -> Request:
    """Return what a past run was asked for; refuse where its inputs are not what they were."""
    if (process := process_of(run.run_id, run.request.get("locks"))) is not None:
        raise Refused(f"run {run.run_id}: it is still going on (process {process}). Its result comes when it ends.")
    recorded = ledger.inputs(run.run_id)
    problems = [_changed(one.path) for one in recorded if not one.path.is_file() or sha256_of(one.path) != one.sha256]
    if problems or not recorded:
        raise Refused(*(problems or [f"run {run.run_id}: no input of it is recorded."]))
    if run.command not in ("run", "retry"):
        raise Refused(f"run {run.run_id}: it was a {run.command!r}, which has no result file.")
    said = run.request
    return Request(
        command="retry" if run.command == "retry" else "run",
        inputs=tuple(str(one.path) for one in recorded),
        config=Path(said["config"]) if said.get("config") else None,
        out=out,
        campaign=said.get("campaign"),
        region=said.get("region"),
        base_url=said.get("base_url"),
        ledger=Path(said["ledger"]) if said.get("ledger") else None,
        limit=said.get("limit"),
        include=frozenset(said.get("include") or ()),
        results=tuple(one.result_path for one in recorded),
        targets=tuple(Path(target) for target in said.get("targets") or ()),
    )


def _refuse_other_lists(run: Run, config: Config) -> None:
    """Refuse where a suppression list says otherwise than it did: a row that was created would read `suppressed`."""
    recorded = run.request.get("suppress") or ()
    changed = [path for path, sha256 in zip(config.suppress, recorded, strict=False) if sha256_of(path) != sha256]
    if changed:
        raise Refused(
            f"suppression list {', '.join(map(str, changed))}: it was changed since, so whom run {run.run_id} held back "
            "can't be told. Put it back as it was; or run the same command again: what was created is not sent again, "
            "and its IDs stand in the new result."
        )


def _changed(path: Path) -> str:
    found = "it was changed since" if path.is_file() else "it is not there any more"
    return f"{path}: {found}, so the run's rows can't be told apart. Put the file back as it was, under this name."


# Read.


def _read(request: Request, screen: Screen) -> tuple[list[Table], dict[str, float]]:
    """Read all inputs, or refuse them all with every problem at once."""
    began = time.monotonic()
    paths, notes = expand(request.inputs, retry=request.command == "retry")
    for note in notes:
        screen.say(note)
    config = None if request.config is None else _load(request.config)
    source = Source() if config is None else _source(config)
    has_all = _has_all(None if config is None else _in_region(config, request.region))
    tables: list[Table] = []
    problems: list[str] = []
    for path in paths:
        try:
            table = read_titled(path, source, has_all)
        except Refused as refusal:
            problems += refusal.problems
            continue
        tables.append(table)
        problems += _wrong_command(request, table)
    if problems:
        raise Refused(*problems)
    for table in tables:
        for note in table.notes:
            screen.say(f"{table.path.name}: {note}")
        if not table.cells.height:
            screen.say(f"Warning: {table.path.name} has no data rows.")
    return tables, {"reading": time.monotonic() - began}


def _load(path: Path) -> Config:
    try:
        return configs.load(path)
    except Refused:
        # Lists that are not there are told as well; where nothing else is wrong, with the columns that are not there.
        configs.load(path, lists=True)
        raise


def _source(config: Config) -> Source:
    found = config.source
    return Source(found.sheet, found.header_row, found.hidden, found.encoding, found.delimiter, found.short_rows)


def _has_all(config: Config | None) -> IsHeader:
    """Return what tells whether columns are those that a config names, or that the platform's own layout needs."""
    names = {"phone_number"} if config is None else {name for _, name in column_uses(config)}
    return lambda columns: all(resolve(columns, name) is not None for name in names)


def _wrong_command(request: Request, table: Table) -> list[str]:
    taken = [name for name in table.columns if name in RESULT_COLUMNS]
    lost = [name for name in ("import_status", "import_run_id") if name not in taken]
    if request.command == "retry" and lost and len(taken) > 1:
        return [
            f"{table.path}: its column {lost[0]!r} is gone, by which a result is known. Put it back as it was, or have the "
            "file written again: lead-importer results RUN; see lead-importer history."
        ]
    if taken and not table.is_result:
        return [f"{table.path}: column {taken[0]!r} has a name that results use for their own. Rename it in the input."]
    if request.command == "run" and table.is_result:
        return [
            f"{table.path}: this is a result file of an earlier run. To send its rows that are not done: {_again('retry', request, [table.path])}"
        ]
    if request.command == "retry" and not table.is_result:
        return [
            f"{table.path}: this is no result file, since it has no columns import_status and import_run_id. "
            f"To import it: {_again('run', request, [table.path])}"
        ]
    if request.command == "retry" and not request.sandbox:
        rehearsed = table.cells["import_run_id"].fill_null("").str.starts_with(SANDBOX_RUN)
        if rehearsed.any():
            return [
                f"{table.path}: this result comes from a rehearsal in the sandbox, whose leads exist nowhere. Run the original file instead."
            ]
    return []


# Map and group.


def _understand(request: Request, screen: Screen, tables: Sequence[Table], seconds: dict[str, float]) -> _Inputs:
    """Map and group every table, and see that each result has a place to go to."""
    parted = [results.split(table) for table in tables]
    users = [user for user, _ in parted]
    config = _config(request, users)
    _refuse_what_lacks(config, users)
    regions = regions_of(users, config) if config.suppress else set()
    suppressed, warnings = suppression_list(config.suppress, regions)
    for warning in warnings:
        screen.say(warning)
    called_anyway: Collection[str] = ()
    if "suppressed" in request.include:
        called_anyway, suppressed = set(suppressed), {}
    groups = config.secondary_contacts
    if config.allow_duplicate and groups and groups.group_by and groups.primary_when is None:
        screen.say(
            "Note: the first row of each group is its lead, and duplicates are allowed: the same list sorted otherwise makes "
            "other leads. secondary_contacts.primary_when says who leads whatever the order."
        )
    works = []
    for table, (user, previous) in zip(tables, parted, strict=True):
        works.append(_work(user, previous, config, suppressed, request.include, seconds))
        for note in works[-1].mapped.notes:
            screen.say(f"{table.path.name}: {note}")
        if works[-1].grouped.empty_keys:
            rows = count_of(works[-1].grouped.empty_keys, "row has", plural="rows have")
            screen.say(f"{table.path.name}: {rows} an empty group key; each is a lead of its own.")
    numbers_called = pl.col("phone").is_in(list(called_anyway))
    if called_anyway and (count := sum(work.grouped.people.filter(numbers_called).height for work in works)):
        numbers, are = count_of(count, "number"), "is" if count == 1 else "are"
        screen.say(f"Note: {numbers} on a suppression list {are} sent all the same (--include suppressed).")
    targets = _targets(request, config, tables)
    works = [replace(work, replaces=one) for work, one in zip(works, _replaced(request, targets), strict=True)]
    config_sha256 = None if request.config is None else sha256_of(request.config)
    return _Inputs(config, works, targets, seconds, config_sha256)


def _refuse_what_lacks(config: Config, tables: Sequence[Table]) -> None:
    """Refuse where lists or columns are not there that the config names, all at once."""
    problems = config.absent_lists()
    for table in tables:
        try:
            if table.columns:
                check_columns(config, table.columns, str(table.path))
        except Refused as refusal:
            problems += refusal.problems
    if problems:
        raise Refused(*problems)


def _config(request: Request, tables: Sequence[Table]) -> Config:
    """Return the config file's settings, or those of the platform's own layout, with the command line's on top."""
    if request.config is not None:
        config = configs.load(request.config)
    else:
        layouts = [_platform_layout(table) for table in tables if table.columns]
        if any(layout.fingerprint() != layouts[0].fingerprint() for layout in layouts):
            raise Refused(
                "the inputs have different columns. Without a config they must be alike: run them one by one, or write a config with -c."
            )
        config = layouts[0] if layouts else platform_layout(["phone_number"])
    if request.campaign is not None:
        if config.campaign_id is not None and not isinstance(config.campaign_id, int):
            raise Refused(
                f"--campaign {request.campaign}: the campaign comes from column {config.campaign_id.column!r} already. Leave one of them out."
            )
        config = config.model_copy(update={"campaign_id": request.campaign})
    config = _in_region(config, request.region)
    if config.campaign_id is None:
        raise Refused(
            "no campaign: give its number with --campaign, or set campaign_id in the config. Nothing is sent without one."
        )
    return config


def _platform_layout(table: Table) -> Config:
    try:
        return platform_layout(table.columns)
    except Refused as error:
        raise Refused(*(f"{table.path}: {problem}" for problem in error.problems)) from None


def _in_region(config: Config, region: str | None) -> Config:
    """Put the command line's region in place of the config's; None: it says nothing."""
    if region is None:
        return config
    return config.model_copy(update={"phone": config.phone.model_copy(update={"region": _region(region)})})


def _region(text: str) -> str:
    try:
        return parse_region(text)
    except ValueError as error:
        raise Refused(f"--region {text}: right is {error}.") from None


def _work(
    table: Table,
    previous: pl.DataFrame | None,
    config: Config,
    suppressed: dict[str, str],
    include: frozenset[str],
    seconds: dict[str, float],
) -> Work:
    if not table.columns:
        return Work(table, Mapped.nothing(), Grouped.nothing(), previous)
    began = time.monotonic()
    if "filtered" in include:  # asked for beside a `where` that leaves them out
        config = config.model_copy(update={"where": None})
    mended = mend(table, config)
    mapped = map_rows(mended, config)
    _add(seconds, "phones", mapped.phone_seconds)
    _add(seconds, "mapping", max(time.monotonic() - began - mapped.phone_seconds, 0.0))
    # As far as a number format shows what the number has not, the result shows it too; phones and IDs are texts there.
    table = replace(table, cells=mended.shown, amounts=mended.amounts)
    rows = table.places["row"]
    order = rows
    if previous is not None:
        previous = results.numbered(previous, rows)
        order = previous["import_row"].cast(pl.Int64)
        left_out = previous["import_status"].is_in(list({"filtered", "suppressed"} - include)).fill_null(value=False)
        stays = pl.col("filtered") | left_out.gather(mapped.people["index"])
        mapped = replace(mapped, people=mapped.people.with_columns(filtered=stays))
    began = time.monotonic()
    grouped = group_people(mapped, config, rows=rows, order=order, suppressed=suppressed)
    _add(seconds, "grouping", time.monotonic() - began)
    # Its people are in `grouped` now, and need not be held twice.
    return Work(table, replace(mapped, people=mapped.people.clear()), grouped, previous)


def _add(seconds: dict[str, float], stage: str, more: float) -> None:
    seconds[stage] = seconds.get(stage, 0.0) + more


def _targets(request: Request, config: Config, tables: Sequence[Table]) -> list[Path]:
    targets: list[Path] = []
    by_pattern = any(map(is_pattern, request.inputs))
    for number, table in enumerate(tables):
        if request.out is None and (before := _before(request, number)) is not None:
            targets.append(before)
            continue
        same = "csv" if table.delimiter is not None else "xlsx"
        kind = same if config.result.format == "same" else config.result.format
        targets.append(
            result_path(
                table.path,
                None if request.out is None else Path(request.out),
                into_folder=request.out is not None
                and names_folder(request.out, several=len(tables) > 1, by_pattern=by_pattern),
                kind=kind,
                check=request.command == "check",
                is_result=table.is_result,
            )
        )
        fits(_kind(targets[-1]), table.cells.height, table.cells.width)
    problems = colliding(targets, [table.path for table in tables])
    if problems:
        raise Refused(*problems)
    return targets


def _before(request: Request, number: int) -> Path | None:
    """Return where a past run wrote an input's result or, where it was killed before that, would have written it."""
    wrote = request.results[number] if request.results else None
    return wrote or (request.targets[number] if request.targets else None)


def _replaced(request: Request, targets: Sequence[Path]) -> list[PastResult | None]:
    """Return the results of earlier runs where `run` writes; the rows of `retry` say themselves what is done."""
    if request.command == "retry" or request.results:
        return [None for _ in targets]
    if request.command == "check":
        targets = [target.with_name(target.name.replace(".check.", ".results.")) for target in targets]
    return [past_result(target) for target in targets]


# Results.


def _hand_back(request: Request, screen: Screen, inputs: _Inputs, sent: Sent, run_id: str) -> ExitStatus:
    """Write the result files, show the summary, and say how it ended."""
    began = time.monotonic()
    inputs.works[:] = [replace(work, grouped=work.grouped.without_variables()) for work in inputs.works]
    outcomes = results.with_followers(sent.plan, sent.outcomes, sent.otherwise, inputs.works)
    told = [
        results.result_columns(work, number, outcomes, held=sent.plan.held, otherwise=sent.otherwise, run_id=run_id)
        for number, work in enumerate(inputs.works)
    ]
    frames = [one.columns for one in told]
    written = [
        _write(request, work, frame, target, sent.ledger, run_id, number)
        for number, (work, frame, target) in enumerate(zip(inputs.works, frames, inputs.targets, strict=True))
    ]
    status = gravest(sent.statuses | results.exit_status(frames, left_out=any(one.lacks_contacts for one in told)))
    counts = results.counted(frames)
    seconds = inputs.seconds | sent.seconds
    seconds["writing"] = time.monotonic() - began
    if request.command != "check":
        status = _note_end(request, screen, inputs, sent, run_id, status, frames, written)
    screen.summary(
        Summary(
            command=request.command,
            run_id=run_id,
            rows=sum(frame.height for frame in frames),
            counts=dict(counts),
            reasons=results.reasons(frames),
            mendings=_mended(inputs.works),
            left_out=results.left_out(told),
            leads_sent=sent.leads_sent,
            guarantee=sent.guarantee,
            written=tuple(written),
            cause=sent.cause,
            seconds=dict(seconds),
            retry=_again("retry", request, written) if results.retriable(frames) else None,
            before=_done_before(frames, run_id) if request.command == "retry" else 0,
            exit_status=status,
        )
    )
    return status


def _again(command: str, request: Request, files: Sequence[Path]) -> str:
    """Return a command line to copy that does this to files, at the same place and by the same config."""
    said = [
        ("-c", request.config),
        ("--campaign", request.campaign),
        ("--region", request.region),
        ("--base-url", request.base_url),
        ("--ledger", request.ledger),
    ]
    options = [word for option, value in said if value is not None for word in (option, str(value))]
    return shlex.join(["lead-importer", command, *map(str, files), *options])


def _done_before(frames: Sequence[pl.DataFrame], run_id: str) -> int:
    created = pl.col("import_status") == "created"
    return sum(frame.filter(created & (pl.col("import_run_id") != run_id)).height for frame in frames)


def _mended(works: Sequence[Work]) -> list[tuple[str, str, int]]:
    cells: Counter[tuple[str, str]] = Counter()
    for work in works:
        for mending in work.mapped.mendings:
            cells[mending.column, mending.what] += mending.cells
    return [(column, what, count) for (column, what), count in cells.most_common()]


def _write(
    request: Request, work: Work, frame: pl.DataFrame, target: Path, ledger: Ledger | None, run_id: str, number: int
) -> Path:
    """Write one result file; if rows and outcomes ever disagree, all rows go to a `.broken` file and the run ends in a traceback."""
    complete = (
        frame.height == work.table.cells.height
        and frame["import_status"].is_in([status.value for status in Status]).all()
    )
    if not complete:
        broken = target.with_name(target.name.removesuffix(target.suffix) + ".broken" + target.suffix)
        write_result(broken, work.table, frame, kind=_kind(target))
        raise AssertionError(f"{broken}: rows read and outcomes don't add up; every row is in this file")
    older = ledger.run_of_result(target) if ledger is not None else None
    aside = write_result(target, work.table, frame, kind=_kind(target), older_run_id=older)
    if aside is not None:
        move_along(target, aside)
    if ledger is not None and request.command != "check":
        with suppress(LeadImporterError):  # the file is written; `_note_end` tells what the ledger can't take
            if aside is not None:
                ledger.note_moved(target, aside)
            if not _is_copy(request, number, target):
                ledger.note_result(run_id, number, target, sha256_of(target))
    return target


def _is_copy(request: Request, number: int, target: Path) -> bool:
    """Tell whether the result of a past run is written beside the one on record, which stays that."""
    before = request.results[number] if request.results and request.out is not None else None
    return before is not None and before != target.resolve() and before.is_file()


def _note_end(
    request: Request,
    screen: Screen,
    inputs: _Inputs,
    sent: Sent,
    run_id: str,
    status: ExitStatus,
    frames: Sequence[pl.DataFrame],
    written: Sequence[Path],
) -> ExitStatus:
    """Note how the run ended, and leave a receipt beside each result. What can't be noted hides no result."""
    try:
        run = sent.close_run(run_id, status, results.counted(frames))
    except LeadImporterError as error:
        screen.say(str(error))
        return gravest({status, error.exit_status})
    if run is None:
        return status
    recorded = sent.ledger.inputs(run_id) if sent.ledger is not None else []
    for work, frame, target, source in zip(inputs.works, frames, written, recorded, strict=True):
        try:
            write_receipt(
                target,
                Facts.of(run),
                source=source.path,
                source_sha256=work.table.sha256,
                config=request.config,
                config_sha256=inputs.config_sha256,
                counts=results.counted([frame]),
            )
        except OSError as error:
            screen.say(f"{receipt_path(target)}: the receipt can't be written ({error}); the result is complete.")
    return status


def _kind(target: Path) -> Literal["csv", "xlsx"]:
    """Return how a result of this name is written."""
    return "xlsx" if target.suffix.lower() == ".xlsx" else "csv"
