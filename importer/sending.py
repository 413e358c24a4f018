"""One run's dealings with the service: key, lock and ledger, the look before the first lead, and the delivery.

`send` opens everything in order and leaves it open in `Sent` until the results are written; `rehearse` goes the same
way without a network, a key or a new ledger.
"""

import getpass
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Self

import anyio
import polars as pl

from importer.api import Campaign, Service, normalise_address
from importer.config import Config, parse_rate
from importer.deliver import Delivery, Planned, Stop
from importer.errors import ExitStatus, Refused, Stopped
from importer.ledger import Hashes, Ledger
from importer.machine import api_key, ledger_path, sole_sender
from importer.pace import Learned, Limit, Pacer
from importer.plan import Place, Plan, Work, plan, planned
from importer.records import Outcome, Status

if TYPE_CHECKING:
    from importer.pipeline import Request, Screen

DEFAULT_ADDRESS = "https://call.otonistark.com.br/api"

_SIGNALS = {signal.SIGINT: ExitStatus.INTERRUPTED, signal.SIGTERM: ExitStatus.TERMINATED}


@dataclass(slots=True)
class Sent:
    """What a command came to before its result files are written. Holds the ledger and the lock until it is closed."""

    plan: Plan
    outcomes: dict[Place, Outcome]
    otherwise: Outcome
    """What leads carry that have no outcome: `ready`, or `not_sent` and why."""
    ledger: Ledger | None = None
    statuses: set[ExitStatus] = field(default_factory=set)
    cause: str | None = None
    leads_sent: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    held_open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.held_open.close()

    def close_run(self, run_id: str, status: ExitStatus, counts: Counter[str]) -> None:
        """Note in the ledger how the run ended."""
        if self.ledger is not None:
            self.ledger.end_run(run_id, exit_status=int(status), counts=dict(counts))


def rehearse(request: "Request", config: Config, works: Sequence[Work], run_id: str) -> Sent:
    """Decide what would be sent, with what the ledger knows, and leave no trace."""
    where = ledger_path(request.ledger, config.ledger)
    address = _address(request, config)
    ledger, hashes = None, None
    if not request.sandbox and where.exists():
        ledger = Ledger(where, create=False)
        hashes = ledger.hashes(_with_instance(address, ledger.facts(address).get("instance")))
    made = plan(
        works,
        ledger=ledger,
        hashes=hashes,
        allow_duplicate=config.allow_duplicate,
        include=request.include,
        run_id=run_id,
    )
    outcomes = dict(made.outcomes)
    if request.limit is not None:
        outcomes |= {place: _limited(run_id, request.limit) for place in made.to_send[request.limit :]}
    if ledger is not None:
        ledger.close()
    return Sent(made, outcomes, Outcome(Status.READY, run_id, None))


def send(request: "Request", config: Config, works: Sequence[Work], run_id: str, screen: "Screen") -> Sent:
    """Open key, ledger and lock, and deliver what is not done yet."""
    session = _Session(request, config, works, run_id, screen)
    try:
        return session.run()
    except BaseException:
        session.held_open.close()
        raise


def _address(request: "Request", config: Config) -> str:
    return normalise_address(request.base_url or config.api.base_url or DEFAULT_ADDRESS)


def _with_instance(address: str, instance: str | None) -> str:
    """Return what identities are made of: a sandbox that starts anew knows nothing of its former leads."""
    return f"{address}#{instance}" if instance else address


def _limited(run_id: str, limit: int) -> Outcome:
    return Outcome(
        Status.NOT_SENT, run_id, None, code="limit", message=f"held back by --limit {limit}; the next run goes on"
    )


class _Session:
    """One run's sending, step by step."""

    def __init__(
        self, request: "Request", config: Config, works: Sequence[Work], run_id: str, screen: "Screen"
    ) -> None:
        self.request = request
        self.config = config
        self.works = works
        self.run_id = run_id
        self.screen = screen
        self.held_open = ExitStack()
        self.seconds: dict[str, float] = {}
        self.outcomes: dict[Place, Outcome] = {}

    def run(self) -> Sent:
        limits = self._limits()
        where = ledger_path(self.request.ledger, self.config.ledger)
        if self.request.sandbox:
            base, key, where = self._sandbox()
        else:
            base, key = (
                _address(self.request, self.config),
                api_key(self.config.api.key_env, self.config.api.key_file_env),
            )
        self.held_open.enter_context(sole_sender(base, key, run_id=self.run_id))
        ledger = self.held_open.enter_context(Ledger(where))
        return anyio.run(self._online, base, key, ledger, limits, backend_options={"use_uvloop": _has_uvloop()})

    def _limits(self) -> tuple[Limit, ...] | None:
        """Return the limits that were set; None where the pace is to be found."""
        try:
            rates = parse_rate(self.request.rate) if self.request.rate else self.config.delivery.rate
        except ValueError as error:
            raise Refused(f"--rate {self.request.rate}: {error}") from error
        return tuple(_whole(rate.count, rate.seconds) for rate in rates) or None

    def _sandbox(self) -> tuple[str, str, Path]:
        from importer.sandbox import Options, Sandbox

        box = self.held_open.enter_context(Sandbox(Options()))
        folder = self.held_open.enter_context(tempfile.TemporaryDirectory(prefix="lead-importer-"))
        self.screen.say(
            f"Rehearsing against a sandbox at {box.url}: nobody is called, and its lead IDs exist nowhere else."
        )
        return normalise_address(box.url), "sandbox", Path(folder) / "ledger.sqlite3"

    async def _online(self, base: str, key: str, ledger: Ledger, limits: tuple[Limit, ...] | None) -> Sent:
        delivery = self.config.delivery
        self.concurrency = self.request.concurrency or delivery.concurrency
        async with Service(
            base,
            key,
            timeout=delivery.timeout,
            connections=self.concurrency,
            duplicate_texts=self.config.api.duplicate_texts,
        ) as service:
            campaigns = None
            if _is_loopback(base):  # only there can a sandbox be, and its instance is part of its address
                campaigns = await service.campaigns()
            address = _with_instance(base, service.instance)
            ledger.remember(base, instance=service.instance)
            hashes = ledger.hashes(address)
            self._note_run(ledger, address)
            cut = ledger.close_intents(address, self.run_id)
            if cut:
                self.screen.say(
                    f"{cut} leads were being sent when an earlier run was cut off; whether they were created is unknown."
                )
            made = self._plan(ledger, hashes)
            if not made.to_send:
                return self._sent(made, ledger, Stop(), total=0)
            if campaigns is None and not _is_loopback(base):
                campaigns = await service.campaigns()
            self._show_campaigns(campaigns, made)
            self._confirm(made)
            return await self._deliver(service, ledger, hashes, made, address=address, base=base, limits=limits)

    def _note_run(self, ledger: Ledger, address: str) -> None:
        ledger.begin_run(
            self.run_id,
            command=self.request.command,
            service=address,
            tool_version=version("lead-importer"),
            config_hash=self.config.fingerprint(),
            who=_user(),
        )
        for position, work in enumerate(self.works):
            ledger.note_input(self.run_id, position, work.table.path, work.table.sha256)

    def _plan(self, ledger: Ledger, hashes: Hashes) -> Plan:
        began = time.monotonic()
        made = plan(
            self.works,
            ledger=ledger,
            hashes=hashes,
            allow_duplicate=self.config.allow_duplicate,
            include=self.request.include,
            run_id=self.run_id,
        )
        if made.noted:
            ledger.note_occurrences(self.run_id, made.noted)
        self.seconds["asking the ledger"] = time.monotonic() - began
        return made

    # Before the first lead.

    def _show_campaigns(self, campaigns: list[Campaign] | None, made: Plan) -> None:
        """Print the campaigns that leads go to; refuse unknown ones (api.md: a wrong campaign is a wrong call)."""
        counts = self._by_campaign(made)
        if campaigns is None:
            for campaign_id, leads in counts.items():
                self.screen.say(f"Campaign {campaign_id}: {leads} leads. Its name can't be looked up on this server.")
            return
        known = {campaign.id: campaign for campaign in campaigns}
        missing = [str(campaign_id) for campaign_id in counts if campaign_id not in known]
        if missing:
            listed = ", ".join(f"{campaign.id} {campaign.name!r}" for campaign in known.values()) or "none"
            raise Refused(
                f"campaign {', '.join(missing)}: the server does not know it. Campaigns that this key can see: {listed}. "
                "Put campaign_id or --campaign right. Nothing was sent."
            )
        for campaign_id, leads in counts.items():
            campaign = known[campaign_id]
            self.screen.say(
                f"Campaign {campaign_id} {campaign.name!r} ({campaign.status or 'status not told'}): {leads} leads."
            )

    def _by_campaign(self, made: Plan) -> dict[int, int]:
        counts: Counter[int] = Counter()
        for number, work in enumerate(self.works):
            wanted = [lead for table, lead in made.to_send[: self.request.limit] if table == number]
            leads = work.grouped.leads.filter(pl.col("lead").is_in(wanted))
            counts.update(dict(leads["campaign"].value_counts().iter_rows()))
        return dict(sorted(counts.items()))

    def _confirm(self, made: Plan) -> None:
        if self.request.yes:
            return
        leads = len(made.to_send[: self.request.limit])
        if self.screen.ask(f"Send {leads} leads? Each may be called within minutes.") is False:
            raise Stopped("Nothing was sent, as you said no. Run the same command again when you are ready.")

    # The delivery.

    async def _deliver(
        self,
        service: Service,
        ledger: Ledger,
        hashes: Hashes,
        made: Plan,
        *,
        address: str,
        base: str,
        limits: tuple[Limit, ...] | None,
    ) -> Sent:
        learned = ledger.facts(base).get("pace")
        pacer = Pacer(limits, learned=Learned(**learned) if learned else None, now=time.monotonic())
        stop = Stop()
        delivery = Delivery(
            service,
            ledger,
            hashes,
            pacer,
            address=address,
            run_id=self.run_id,
            concurrency=self.concurrency,
            grace=self.config.delivery.stop_after.grace,
            stop=stop,
            report=self._report,
            announce=self.screen.say,
        )
        leads = planned(self.works, made, hashes, allow_duplicate=self.config.allow_duplicate, limit=self.request.limit)
        self.screen.begin(len(made.to_send[: self.request.limit]))
        began = time.monotonic()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_signals, stop)
            await delivery.run(leads)
            tasks.cancel_scope.cancel()
        self.screen.end()
        spent = time.monotonic() - began
        self.seconds["waiting for the limit"] = min(delivery.waited, spent)
        self.seconds["sending"] = max(spent - delivery.waited, 0.0)
        found = pacer.learned(time.monotonic())
        if found is not None:
            ledger.remember(base, pace={"per_second": found.per_second, "window": found.window, "limit": found.limit})
        return self._sent(made, ledger, stop, total=len(self.outcomes))

    def _report(self, planned: Planned, outcome: Outcome) -> None:
        self.outcomes[planned.place] = self._placed(planned, outcome)
        self.screen.step(outcome)

    def _placed(self, lead: Planned, outcome: Outcome) -> Outcome:
        """Name the user's column, and of a contact the row, where the server refused a field."""
        if outcome.field is None:
            return outcome
        from dataclasses import replace

        work = self.works[lead.place[0]]
        columns = work.mapped.field_columns or {}
        parts = outcome.field.split(".")
        person, rest, where = lead.lead.primary, outcome.field, ""
        if (
            parts[0] == "secondary_contacts"
            and len(parts) > 2
            and parts[1].isdigit()
            and int(parts[1]) < len(lead.lead.contacts)
        ):
            person, rest = lead.lead.contacts[int(parts[1])], ".".join(parts[2:])
            row = work.table.places["row"][person.index]
            where = f" (secondary contact in row {row}{f' as contact {person.slot}' if person.slot else ''})"
        if person.slot:
            column = columns.get(f"slot.{person.slot}.{rest}")
        elif rest == "phone_number":
            mine = work.grouped.people.filter((pl.col("index") == person.index) & (pl.col("slot") == 0))
            column = mine["phone_column"][0] if mine.height else None
        else:
            column = columns.get(rest)
        return replace(outcome, column=column, message=f"{outcome.message or ''}{where}")

    async def _watch_signals(self, stop: Stop) -> None:
        """Stop gently at the first signal, at once at the second: the ledger knows what was sent."""
        with anyio.open_signal_receiver(*_SIGNALS) as signals:
            async for received in signals:
                if stop.signal is not None:
                    self.screen.end()
                    self.screen.say(
                        "Leaving at once. The ledger knows what was sent: run the same command again to go on."
                    )
                    _leave(int(_SIGNALS[signal.Signals(received)]))
                stop.now("stopped by a signal", int(received))
                self.screen.say(
                    "Stopping: leads in flight are finished, no new one is taken. Press again to leave at once."
                )

    def _sent(self, made: Plan, ledger: Ledger, stop: Stop, *, total: int) -> Sent:
        statuses: set[ExitStatus] = set()
        if stop.signal is not None:
            statuses.add(_SIGNALS[signal.Signals(stop.signal)])
        elif stop.cause is not None:
            statuses.add(ExitStatus.STOPPED)
        otherwise = Outcome(Status.NOT_SENT, self.run_id, None, code="stopped", message=f"not sent: {stop.cause}")
        if stop.cause is None and self.request.limit is not None:
            otherwise = _limited(self.run_id, self.request.limit)
        return Sent(
            plan=made,
            outcomes=made.outcomes | self.outcomes,
            otherwise=otherwise,
            ledger=ledger,
            statuses=statuses,
            cause=stop.cause,
            leads_sent=sum(outcome.status is not Status.NOT_SENT for outcome in self.outcomes.values()),
            seconds=self.seconds,
            held_open=self.held_open,
        )


def _whole(count: float, seconds: float) -> Limit:
    """Return a limit of whole requests: half a request a second is one in two."""
    return Limit(int(count), seconds) if count >= 1 else Limit(1, seconds / count)


def _leave(status: int) -> None:
    import os

    os._exit(status)


def _is_loopback(address: str) -> bool:
    from ipaddress import ip_address
    from urllib.parse import urlsplit

    host = urlsplit(address).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def _has_uvloop() -> bool:
    from importlib.util import find_spec

    return find_spec("uvloop") is not None
