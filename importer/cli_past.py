"""The commands about past runs and about the service alone; with `cli` the only place that prints."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from importer.errors import ExitStatus
from importer.options import (
    EXIT_STATUS,
    BaseUrl,
    Campaign,
    ConfigFile,
    LedgerFile,
    Out,
    Rate,
    RunId,
    Wait,
    duration,
    end,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from importer.ledger import Ledger, Run

AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (verify, history, show, results, settle, undo):
        app.command(epilog=EXIT_STATUS)(command)


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
            "--receipt", metavar="FILE", help="Hold this receipt against its input, result and ledger instead."
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
        return verify_receipt(receipt, asked, print) if receipt is not None else test(asked, campaign, print)

    end(work, _say)


def history(
    config: ConfigFile = None,
    ledger: LedgerFile = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Show the newest N runs.")] = 20,
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
        if not where.exists():
            print("" if as_json else f"No run yet: there is no ledger at {where}.")
            return ExitStatus.OK
        with Ledger(where, create=False) as opened:
            print(tell_history(opened, limit=limit, as_json=as_json))
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

    end(lambda: _with_run(run, config, ledger, tell), _say)


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
    run: RunId, config: ConfigFile = None, ledger: LedgerFile = None, rate: Rate = None, wait: Wait = "0"
) -> None:
    """Look up every lead of a run whose outcome is unknown.

    At the address that the run sent to. What is found is created (or somebody else's: duplicate), what is surely not there is failed and sent by retry or
    the next run; the result file is written again. Nothing is sent.

    \b
    Example:
      lead-importer settle last -c configs/spring_fair.yaml
    """

    def look_up(opened: "Ledger", found: "Run") -> ExitStatus:
        from importer.connect import Asked, Terms
        from importer.errors import LeadImporterError
        from importer.pipeline import write_again
        from importer.screen import mask, screen
        from importer.settle_run import settle_run

        terms = Terms.of(Asked(config=config, ledger=ledger, rate=rate, wait=duration("--wait", wait)))
        told = settle_run(terms, opened, found, lambda text: _say(mask(text)))
        if not told:
            return ExitStatus.OK
        _say("Settled: " + ", ".join(f"{count:,} {status}" for status, count in told.most_common()))
        try:
            write_again(opened, found, screen(progress=False, as_json=False))
        except LeadImporterError as error:
            _say(f"The result file is not written again: {error}")
        return ExitStatus.SOME_UNKNOWN if told["unknown"] else ExitStatus.OK

    end(lambda: _with_run(run, config, ledger, look_up), _say)


def undo(
    run: RunId,
    config: ConfigFile = None,
    ledger: LedgerFile = None,
    rate: Rate = None,
    wait: Wait = "0",
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Don't ask before deleting. With no terminal nothing is asked anyway.")
    ] = False,
) -> None:
    """Delete a run's leads that nobody has touched.

    At the address that the run sent to. Only while a lead's status is still "created" and what is stored is what was sent; what is kept is listed with the
    reason (status 1). Asks first at a terminal. Cut off, it goes on where it was.

    \b
    Example:
      lead-importer undo last -c configs/spring_fair.yaml
    """

    def delete(opened: "Ledger", found: "Run") -> ExitStatus:
        from importer.connect import Asked, Terms
        from importer.screen import screen
        from importer.undo import undo as take_back

        ask = screen(progress=False, as_json=False).ask

        def confirm(leads: int) -> bool:
            files = ", ".join(one.path.name for one in opened.inputs(found.run_id))
            question = f"Delete up to {leads:,} leads that run {found.run_id} created from {files}? That is final."
            _say(f"Run {found.run_id}: {leads:,} leads from {files}, at {found.service.partition('#')[0]}.")
            return yes or ask(question) is not False

        terms = Terms.of(Asked(config=config, ledger=ledger, rate=rate, wait=duration("--wait", wait)))
        undone = take_back(terms, opened, found, confirm=confirm, say=_say)
        for lead_id, why in undone.kept:
            print(f"kept lead {lead_id}: {why}")
        print(f"{len(undone.deleted):,} leads deleted, {len(undone.kept):,} kept.")
        return ExitStatus.SOME_ROWS_ARE_NOT if undone.kept else ExitStatus.OK

    end(lambda: _with_run(run, config, ledger, delete), _say)


def _with_run(
    wanted: str, config: Path | None, ledger: Path | None, work: "Callable[[Ledger, Run], ExitStatus]"
) -> ExitStatus:
    """Open the ledger, find the run, and do the work."""
    from importer.connect import Asked, Terms, open_ledger
    from importer.past import find_run

    with open_ledger(Terms.of(Asked(config=config, ledger=ledger)).ledger) as opened:
        return work(opened, find_run(opened, wanted))
