"""What a command comes to before its results are written; and the rehearsal, which comes to it without sending.

`rehearse` goes the way of `sending` without a network, a key or a new ledger.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import polars as pl

from importer.address import base_address, with_instance
from importer.config import Config
from importer.errors import ExitStatus, Refused
from importer.first_lead import first_lead
from importer.ledger import Ledger, Run
from importer.machine import going_on, ledger_path
from importer.outcomes import Outcomes
from importer.plan import Plan, Work, forget_undone, plan
from importer.receipt import forgotten
from importer.records import Outcome, Status
from importer.wording import count_of

#: Rows that are named where several are told of.
_NAMED = 5

if TYPE_CHECKING:
    from importer.pipeline import Request, Screen


@dataclass(slots=True)
class Sent:
    """What a command came to before its result files are written. Holds the ledger and the lock until it is closed."""

    plan: Plan
    outcomes: Outcomes
    otherwise: Outcome
    """What leads carry that have no outcome: `ready`, or `not_sent` and why."""
    ledger: Ledger | None = None
    statuses: set[ExitStatus] = field(default_factory=set)
    cause: str | None = None
    guarantee: str | None = None
    """What the run could promise for leads whose answer never came; None where it sent nothing."""
    run: Run | None = None
    """A past run whose results are written again."""
    leads_sent: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    held_open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.held_open.close()

    def close_run(self, run_id: str, status: ExitStatus, counts: Counter[str]) -> Run | None:
        """Note in the ledger how the run ended, and return what it holds of it; a past run ended as it did."""
        if self.ledger is None:
            return None
        if self.run is None:
            self.ledger.end_run(
                run_id, exit_status=int(status), counts=dict(counts), guarantee=self.guarantee, cause=self.cause
            )
        return self.ledger.run(run_id)


def rehearse(request: "Request", config: Config, works: list[Work], run_id: str, screen: "Screen") -> Sent:
    """Decide what would be sent, with what the ledger knows, and leave no trace."""
    where = ledger_path(request.ledger, config.ledger)
    address = base_address(request.base_url, config.api.base_url)
    ledger, hashes = None, None
    if not request.sandbox and where.exists():
        ledger = Ledger(where, create=False)
        address = with_instance(address, ledger.facts(address).get("instance"))
        hashes = ledger.hashes(address)
    if not request.sandbox:
        refuse_forgotten(works, ledger, address, config, screen)
    if ledger is not None:
        forget_undone(works, ledger, address)
    made = plan(
        works,
        ledger=ledger,
        hashes=hashes,
        allow_duplicate=config.allow_duplicate,
        include=request.include,
        run_id=run_id,
        elsewhere=going_on(ledger.sending(address)) if ledger else (),
    )
    if ledger is not None:
        tell_of_other_numbers(works, made, ledger, config, screen)
    # With --include unknown a lead is sent whatever the look-up, which a run begins with, shows or not.
    open_ones = {place: told for place, told in made.doubtful.items() if place not in made.forced}
    outcomes = made.outcomes.update(open_ones)
    if request.limit is not None:
        outcome = held_back(run_id, request.limit)
        for place in made.beyond(request.limit):
            outcomes[place] = outcome
    if ledger is not None:
        ledger.close()
    looked_up = len(open_ones.keys() - (made.beyond(request.limit) if request.limit is not None else ()))
    if looked_up:
        screen.say(f"{count_of(looked_up, 'lead')} would be looked up first, and sent where nothing is found.")
    if leads := made.count(request.limit) - looked_up:  # contacts and repeated numbers are rows, and no leads
        screen.say(f"{count_of(leads, 'lead')} would be sent.")
        screen.show(first_lead(works, made, request.limit) or "")
    return Sent(made, outcomes, Outcome(Status.READY, run_id, None))


def refuse_forgotten(
    works: Sequence[Work], ledger: Ledger | None, address: str, config: Config, screen: "Screen"
) -> None:
    """Refuse to send what a run created that this ledger does not know; warn where the server's check stands guard."""
    told = forgotten([work.replaces for work in works], ledger, address)
    if told and config.allow_duplicate:
        raise Refused(*told)
    for warning in told:
        screen.say(f"Warning: {warning}")


def tell_of_other_numbers(works: Sequence[Work], made: Plan, ledger: Ledger, config: Config, screen: "Screen") -> None:
    """Say of which rows that are done the number was changed since: nothing is sent for them, and their leads stand."""
    for number, work in enumerate(works):
        leads = [lead for table, lead in made.renumbered if table == number]
        if leads:
            found = work.grouped.leads.filter(pl.col("lead").is_in(leads)).sort("row")
            said = _with_other_numbers(found["row"])
            screen.say(
                f"Warning: {work.table.path.name}: {said}{_by_another_config(work, found['index'], ledger, config)}"
            )


def _with_other_numbers(rows: pl.Series) -> str:
    named = ", ".join(f"{row:,}" for row in rows.head(_NAMED)) + (", …" if rows.len() > _NAMED else "")
    one = rows.len() == 1
    done, own = ("is done has", "its lead was") if one else ("are done have", "their leads were")
    sent, where = ("it: its lead stands", "row") if one else ("them: their leads stand", "rows")
    return (
        f"{count_of(rows.len(), 'row')} that {done} another number than {own} created with ({where} {named}). Nothing is sent "
        f"for {sent} with the old number. Change it in the platform (import_lead_id); or, to call the new number as a lead of "
        "its own, empty the row's import_status."
    )


def _by_another_config(work: Work, rows: pl.Series, ledger: Ledger, config: Config) -> str:
    """Say where it may be the config that has changed, and no cell."""
    assert work.previous is not None
    run_ids = set(work.previous["import_run_id"].gather(rows).drop_nulls())
    then = {run.config_hash for run_id in run_ids if (run := ledger.run(run_id)) is not None}
    if then <= {config.fingerprint()}:
        return ""
    return " They were created by another config: where no cell was changed, put phone and region there as they were."


def held_back(run_id: str, limit: int) -> Outcome:
    """Return what leads carry that `--limit` leaves for the next run."""
    return Outcome(
        Status.NOT_SENT, run_id, None, code="limit", message=f"held back by --limit {limit}; the next run goes on"
    )
