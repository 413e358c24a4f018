"""The commands about past runs and about the service alone; with `cli` the only place that prints."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from importer.errors import ExitStatus, LeadImporterError
from importer.options import (
    EXIT_STATUS,
    BaseUrl,
    Campaign,
    ConfigFile,
    LedgerFile,
    Out,
    Rate,
    RunId,
    RunUrl,
    Wait,
    end,
)
from importer.usage import Command, duration, path_of, whole
from importer.wording import count_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from importer.estimate import Progress
    from importer.ledger import Ledger, Run

AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


#: What the exit statuses of commands mean that import nothing.
_EXIT_STATUS = {
    "verify": "0  all is well (with --receipt: all agrees)\n"
    "  1  with --receipt: something differs\n"
    "  2  command, config or key refused, or a campaign that the server does not know\n"
    "  3  the server refuses the key, or can't be reached",
    "history": "0  told\n  2  refused\n  3  what was told could not be written, such as on a full disk",
    "show": "0  told\n  2  refused, or no such run\n  3  what was told could not be written, such as on a full disk",
    "settle": "0  nothing of the run is unknown any more\n"
    "  2  refused\n"
    "  3  stopped before its end: settle again to go on\n"
    "  4  another sender holds the same address and key\n"
    "  5  some outcomes are still unknown",
    "undo": "0  all that the run created is deleted\n"
    "  1  some leads were kept\n"
    "  2  refused, such as by a server that lets nobody delete\n"
    "  3  stopped before its end, or you said no: undo again to go on\n"
    "  4  another sender holds the same address and key\n"
    "  5  deleted, but some leads of the run are in doubt: settle it, then undo again\n"
    "  130  stopped by Ctrl-C: undo again to go on",
}


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (verify, history, show, results, settle, undo):
        own = _EXIT_STATUS.get(command.__name__)
        app.command(cls=Command, epilog=f"\b\nEXIT STATUS\n  {own}\n" if own else EXIT_STATUS)(command)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def verify(
    config: ConfigFile = None,
    base_url: BaseUrl = None,
    campaign: Campaign = None,
    ledger: LedgerFile = None,
    receipt: Annotated[
        Path | None,
        typer.Option(
            "--receipt",
            metavar="FILE",
            parser=path_of("--receipt", "a receipt"),
            help="Hold this receipt against its input, result and ledger instead.",
        ),
    ] = None,
) -> None:
    """Test key, address and campaigns.

    Says whose key it is, what the server can do, and which guarantee a run would have. With --receipt it names what
    differs from a run's receipt, with no key and no network; status 1 where something does.

    \b
    Example:
      lead-importer verify -c configs/spring_fair.yaml
      lead-importer verify --receipt sample_data/spring_fair.results.receipt.json
    """

    def work() -> ExitStatus:
        from importer.connect import Asked
        from importer.verify import verify as test
        from importer.verify import verify_receipt

        asked = Asked(config=config, ledger=ledger, base_url=base_url)
        if receipt is not None:
            return verify_receipt(receipt, asked, print)
        return test(asked, campaign, print, on_wait=_say)

    end(work, _say)


def history(
    config: ConfigFile = None,
    ledger: LedgerFile = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", metavar="N", parser=whole("--limit", "number of runs", low=1), help="Show the newest N runs."
        ),
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """List past runs, newest first.

    Each with its time, command, exit status, inputs and rows by status. A run that was cut off is shown as such.

    \b
    Example:
      lead-importer history
    """

    def work() -> ExitStatus:
        from importer.connect import Asked, Terms
        from importer.ledger import Ledger
        from importer.past import tell_history

        where = Terms.of(Asked(config=config, ledger=ledger)).ledger
        told = "" if as_json else f"No run yet: there is no ledger at {where}."
        if where.exists():
            with Ledger(where, create=False) as opened:
                told = tell_history(opened, limit=limit, as_json=as_json)
        if told:
            print(told)
        return ExitStatus.OK

    end(work, _say)


def show(run: RunId, config: ConfigFile = None, ledger: LedgerFile = None, as_json: AsJson = False) -> None:
    """Show one past run.

    What was asked, by whom and when, what came of it, which guarantee it had, and where its results are.

    \b
    Example:
      lead-importer show last
    """

    def tell(opened: "Ledger", found: "Run") -> ExitStatus:
        from importer.past import tell_run

        print(tell_run(opened, found, as_json=as_json))
        return ExitStatus.OK

    end(lambda: _with_run(run, config, ledger, tell, only_read=True), _say)


def results(run: RunId, config: ConfigFile = None, ledger: LedgerFile = None, out: Out = None) -> None:
    """Write the result file of a past run again.

    By the recorded input, its config and the ledger: also of a run that was cut off, or whose result could not be
    written. Refused where input or config have changed since. Nothing is sent.

    \b
    Example:
      lead-importer results last
    """

    def write(opened: "Ledger", found: "Run") -> ExitStatus:
        from importer.pipeline import write_again
        from importer.screen import screen

        return write_again(opened, found, screen(progress=False, as_json=False), out=out)

    end(lambda: _with_run(run, config, ledger, write), _say)


def settle(
    run: RunId,
    config: ConfigFile = None,
    base_url: RunUrl = None,
    ledger: LedgerFile = None,
    rate: Rate = None,
    wait: Wait = "0",
) -> None:
    """Look up every lead of a run whose outcome is unknown.

    At the address that the run sent to. What is found is created (or somebody else's: duplicate), what is surely not
    there is failed and sent by retry or the next run; contacts that were not confirmed get their IDs. The result file is
    written again. Nothing is sent.

    \b
    Example:
      lead-importer settle last -c configs/spring_fair.yaml
    """
    patience = duration("--wait", wait)

    def look_up(opened: "Ledger", found: "Run") -> ExitStatus:
        from importer.connect import Asked, Terms
        from importer.pipeline import write_again
        from importer.screen import mask, screen
        from importer.settle_run import settle_run

        asked = Asked(config, ledger, base_url, rate, patience)
        terms = Terms.of_run(asked, found)
        settled = settle_run(terms, opened, found, lambda text: _say(mask(text)))
        if settled.leads:
            _say("They are now: " + ", ".join(f"{count:,} {status}" for status, count in settled.leads.most_common()))
        if settled.confirmed:
            _say(f"Confirmed, with an ID: {count_of(settled.confirmed, 'contact')}.")
        if settled.leads or settled.confirmed:
            try:
                write_again(opened, found, screen(progress=False, as_json=False))
            except LeadImporterError as error:
                _say(f"The result file is not written again: {error}")
        if settled.failure is not None:
            raise settled.failure
        return ExitStatus.SOME_UNKNOWN if settled.is_open else ExitStatus.OK

    end(lambda: _with_run(run, config, ledger, look_up), _say)


def undo(
    run: RunId,
    config: ConfigFile = None,
    base_url: RunUrl = None,
    ledger: LedgerFile = None,
    rate: Rate = None,
    wait: Wait = "0",
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Don't ask before deleting. With no terminal nothing is asked anyway.")
    ] = False,
) -> None:
    """Delete a run's leads that nobody has touched.

    At the address that the run sent to. Only while a lead's status is still "created" and what is stored is what was
    sent; what is kept is listed with the reason (status 1). Asks first at a terminal. Cut off, it goes on where it was.

    \b
    Example:
      lead-importer undo last -c configs/spring_fair.yaml
    """
    patience = duration("--wait", wait)

    def delete(opened: "Ledger", found: "Run") -> ExitStatus:
        from importer.connect import Asked, Terms
        from importer.estimate import duration as time_span
        from importer.estimate import rates, seconds_to_send
        from importer.screen import screen
        from importer.undo import undo as take_back

        ask = screen(progress=False, as_json=False).ask
        before = _before(opened, found, [("-c", config), ("--base-url", base_url), ("--ledger", ledger)])

        def confirm(leads: int) -> bool:
            files = ", ".join(one.path.name for one in opened.inputs(found.run_id))
            question = (
                f"Delete up to {count_of(leads, 'lead')} that run {found.run_id} created from {files}? That is final."
            )
            _say(f"Run {found.run_id}: {count_of(leads, 'lead')} from {files}, at {found.service.partition('#')[0]}.")
            progress.begin(before)
            if terms.limits is not None:
                least = seconds_to_send(leads, terms.limits)
                _say(f"At {rates(terms.limits)} that takes {time_span(max(least, 1.0))} or more.")
            agreed = yes or ask(question) is not False
            progress.count(leads)
            return agreed

        asked = Asked(config, ledger, base_url, rate, patience)
        terms = Terms.of_run(asked, found)
        progress = _Undone()
        try:
            take_back(terms, opened, found, confirm=confirm, report=progress.hear, say=_say)
        except KeyboardInterrupt:
            _say("Interrupted. To go on: undo the same run again.")
            progress.end(whole=False)
            return ExitStatus.INTERRUPTED
        except LeadImporterError:
            progress.end(whole=False)
            raise
        progress.begin(before)  # where there was nothing to ask for
        progress.end(whole=True)
        return progress.status(opened, found)

    end(lambda: _with_run(run, config, ledger, delete), _say)


def _before(ledger: "Ledger", run: "Run", options: "Sequence[tuple[str, object]]") -> str:
    """Say of a retry that it is undone alone, and by which commands those before it are whose leads stand; else nothing."""
    import shlex

    from importer.past import still_to_undo

    if run.command != "retry":
        return ""
    standing = still_to_undo(ledger, run)
    if standing == []:
        return ""
    said = [word for option, value in options if value is not None for word in (option, str(value))]
    commands = [shlex.join(["lead-importer", "undo", one, *said]) for one in standing or ()]
    stay = f"Run {run.run_id} is a retry: what was created before it stays. To undo that, too: "
    return stay + ("; ".join(commands) or "name the run that it went on from; see lead-importer history")


class _Undone:
    """Counts what an undo did to each lead, and tells of those kept and, now and then, of how far it is."""

    _EVERY = 10.0

    def __init__(self) -> None:
        self.deleted = self.kept = 0
        self._told_at = time.monotonic()
        self._has_begun = False
        self._progress: Progress | None = None

    def begin(self, notice: str) -> None:
        """Tell once what is not undone."""
        if notice and not self._has_begun:
            _say(notice)
        self._has_begun = True

    def count(self, leads: int) -> None:
        """Begin to measure how long so many leads take."""
        from importer.estimate import Progress

        self._progress = Progress(leads, time.monotonic())

    def hear(self, lead_id: str, why: str | None) -> None:
        if why is None:
            self.deleted += 1
        else:
            self.kept += 1
            print(f"kept lead {lead_id}: {why}", flush=True)
        now = time.monotonic()
        if self._progress is not None:
            self._progress.step(now, paused_until=now)  # what the server has all wait is time that it takes
        if now - self._told_at > self._EVERY:
            self._told_at = now
            _say(f"{count_of(self.deleted, 'lead')} deleted so far, {self.kept:,} kept{self._rest()}.")

    def _rest(self) -> str:
        """Say how many leads are left, and how long they take at the pace of late; nothing where that is not known."""
        from importer.estimate import duration as time_span

        left = self._progress.total - self._progress.done if self._progress is not None else 0
        per_second = self._progress.measured() if self._progress is not None else None
        return f"; {left:,} to go, about {time_span(max(left / per_second, 1.0))}" if per_second else ""

    def end(self, *, whole: bool) -> None:
        """Tell what was done; of an undo that ended before its first lead nothing."""
        if whole or self.deleted or self.kept:
            print(f"{count_of(self.deleted, 'lead')} deleted, {self.kept:,} kept.", flush=True)

    def status(self, ledger: "Ledger", run: "Run") -> ExitStatus:
        """Return how the undo ended; leads of the run that may have been created, and have no ID, are told of."""
        standings = ledger.standings(run.run_id)
        in_doubt = sum(standings.get(state, 0) for state in ("sending", "doubtful", "unknown"))
        if in_doubt:
            _say(
                f"{count_of(in_doubt, 'lead')} of the run may have been created too, and not deleted. To look up: "
                f"lead-importer settle {run.run_id}, then undo again."
            )
            return ExitStatus.SOME_UNKNOWN
        return ExitStatus.SOME_ROWS_ARE_NOT if self.kept else ExitStatus.OK


def _with_run(
    wanted: str,
    config: Path | None,
    ledger: Path | None,
    work: "Callable[[Ledger, Run], ExitStatus]",
    *,
    only_read: bool = False,
) -> ExitStatus:
    """Open the ledger, find the run, and do the work."""
    from importer.connect import Asked, Terms, open_ledger
    from importer.past import find_run

    with open_ledger(Terms.of(Asked(config=config, ledger=ledger)).ledger, only_read=only_read) as opened:
        return work(opened, find_run(opened, wanted))
