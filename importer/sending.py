"""One run's dealings with the service: key, lock and ledger, the look before the first lead, and the delivery.

`send` opens everything in order and leaves it open in `Sent` until the results are written.
"""

import gc
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import polars as pl

from importer import canary
from importer.address import base_address, is_loopback, normalise_address, with_instance
from importer.api import Service
from importer.briefing import Pace, show_campaigns, show_estimate
from importer.config import CampaignColumn, Config
from importer.connect import limits_of
from importer.deliver import Delivery, Settings
from importer.errors import ExitStatus, Interrupted, LeadImporterError, Refused, Stopped
from importer.estimate import Progress, clock, parse_deadline
from importer.first_lead import first_lead
from importer.gate import Gate, Stop, pacer_from_now
from importer.hashes import Hashes
from importer.inflight import MOST
from importer.ledger import Ledger, Run
from importer.machine import SIGNALS, api_key, going_on, ledger_path, lock_folder, sole_sender, user
from importer.outcomes import Outcomes, Place
from importer.pace import EVEN_SECONDS, Already, Learned, Limit, Pacer
from importer.plan import Plan, Work, forget_undone, plan, planned, with_column
from importer.receipt import sha256_of
from importer.records import Created, Outcome, Planned, Status
from importer.rehearse import Sent, held_back, refuse_forgotten, tell_of_other_numbers
from importer.settle import guarantee
from importer.wording import count_of

if TYPE_CHECKING:
    from importer.pipeline import Request, Screen

#: Connections for look-ups, beside those of the creates.
_BESIDE = 8
#: Seconds after which it is told why a run that stops has not ended yet.
_LONG = 1.0


def send(request: "Request", config: Config, works: list[Work], run_id: str, screen: "Screen") -> Sent:
    """Open key, ledger and lock, and deliver what is not done yet."""
    session = _Session(request, config, works, run_id, screen)
    try:
        return session.run()
    except BaseException as error:
        session.note_refusal(error)
        session.held_open.close()
        raise


class _Session:
    """One run's sending, step by step."""

    def __init__(self, request: "Request", config: Config, works: list[Work], run_id: str, screen: "Screen") -> None:
        self.request = request
        self.config = config
        self.works = works
        self.run_id = run_id
        self.screen = screen
        self.held_open = ExitStack()
        self.seconds: dict[str, float] = {}
        self.outcomes = Outcomes()
        self.told = self.leads_sent = 0
        """Leads that were delivered, and those of them that left."""
        self.tried: set[Place] = set()
        """Leads of the canary."""
        self.shown: dict[Place, Created] = {}
        """Those as the server's answers showed them."""
        self.offers_lookup: bool | None = None
        self.guarantee: str | None = None
        self.deadline: datetime | None = None
        self.ledger: Ledger | None = None

    def run(self) -> Sent:
        limits = limits_of(self.request.rate, self.config.delivery)
        self.deadline = _deadline(self.request.deadline)
        where = ledger_path(self.request.ledger, self.config.ledger)
        if self.request.sandbox:
            base, key, where = self._sandbox()
        else:
            base, key = (
                base_address(self.request.base_url, self.config.api.base_url),
                api_key(self.config.api.key_env, self.config.api.key_file_env, say=self.screen.say),
            )
        self.held_open.enter_context(
            sole_sender(base, key, run_id=self.run_id, wait=self.request.wait, announce=self.screen.say)
        )
        ledger = self.ledger = self.held_open.enter_context(Ledger(where))
        return anyio.run(self._online, base, key, ledger, limits, backend_options={"use_uvloop": _has_uvloop()})

    def _sandbox(self) -> tuple[str, str, Path]:
        from importer.sandbox import Options, Sandbox

        box = self.held_open.enter_context(Sandbox(Options()))
        folder = self.held_open.enter_context(tempfile.TemporaryDirectory(prefix="lead-importer-"))
        self.screen.say(
            f"Rehearsing against a sandbox at {box.url}: nobody is called, and its lead IDs exist nowhere else."
        )
        return normalise_address(box.url), "sandbox", Path(folder) / "ledger.sqlite3"

    def note_refusal(self, error: BaseException) -> None:
        """Note of a run that was begun and refused before its first lead how it ended: it is no crash."""
        if isinstance(error, KeyboardInterrupt):  # while it was connecting; once it sends, `_watch_signals` hears it
            error = Interrupted("interrupted before anything was sent")
        if self.ledger is None or not isinstance(error, LeadImporterError) or self.told:
            return
        with suppress(LeadImporterError):
            self.ledger.end_run(
                self.run_id, exit_status=int(error.exit_status), counts={}, guarantee=None, cause=str(error)
            )

    async def _online(self, base: str, key: str, ledger: Ledger, limits: tuple[Limit, ...] | None) -> Sent:
        delivery = self.config.delivery
        self.concurrency = self.request.concurrency or delivery.concurrency
        async with Service(
            base,
            key,
            timeout=delivery.timeout,
            connections=(self.concurrency or MOST) + _BESIDE,
            duplicate_texts=self.config.api.duplicate_texts,
        ) as service:
            service.on_wait = self.screen.say
            campaigns = None
            if is_loopback(base):  # only there can a sandbox be, and its instance is part of its address
                campaigns = await service.campaigns()
            address = with_instance(base, service.instance)
            facts = ledger.facts(base)
            service.clock.remembered = dict(facts.get("created_ahead") or {})
            ledger.remember(base, instance=service.instance)
            hashes = ledger.hashes(address)
            refuse_forgotten(self.works, ledger, address, self.config, self.screen)
            self._note_run(ledger, address)
            begun = ledger.sending(address)
            ledger.cut_off(address, begun.keys() - going_on(begun))
            made = self._plan(ledger, hashes)
            self._tell_of_doubts(made)
            tell_of_other_numbers(self.works, made, ledger, self.config, self.screen)
            stop = Stop()
            if not made.count(self.request.limit):
                return self._sent(made, ledger, stop)
            if campaigns is None and not is_loopback(base):
                campaigns = await service.campaigns()
            leads = self._by_campaign(made)
            show_campaigns(campaigns, leads, self.screen.say, stands=lambda campaign: self._stands(made, campaign))
            learned = Learned(**facts["pace"]) if facts.get("pace") else None
            pace = Pace(limits, learned, self._already(ledger, address, limits))
            show_estimate(made.count(self.request.limit), pace, self.deadline, self.screen.say)
            self.screen.show(first_lead(self.works, made, self.request.limit) or "")
            self._confirm(made)
            await self._promise(service, ledger, base, next(iter(leads)))
            pacer = pacer_from_now(limits, learned, pace.already)
            gate = Gate(pacer, stop, self.screen.say, service.clock)
            service.on_limits = gate.hear
            await self._deliver(service, ledger, hashes, gate, stop, made)
            self._remember(ledger, base, pacer)
            return self._sent(made, ledger, stop)

    def _note_run(self, ledger: Ledger, address: str) -> None:
        ledger.begin_run(
            Run(
                self.run_id,
                command=self.request.command,
                service=address,
                started_at=datetime.now(UTC).isoformat(timespec="seconds"),
                finished_at=None,
                tool_version=version("lead-importer"),
                config_hash=self.config.fingerprint(),
                request=self.request.as_json()
                | {"suppress": [sha256_of(path) for path in self.config.suppress], "locks": str(lock_folder())},
                who=user(),
                guarantee=None,
                cause=None,
                exit_status=None,
                counts={},
            )
        )
        for position, work in enumerate(self.works):
            ledger.note_input(self.run_id, position, work.table.path, work.table.sha256)

    def _remember(self, ledger: Ledger, base: str, pacer: Pacer) -> None:
        """Keep what the next run can begin with: the pace found."""
        found = pacer.learned(time.monotonic())
        if found is None:
            return
        with suppress(LeadImporterError):  # the leads are sent and told of; the next run can find this out again
            pace = {"per_second": found.per_second, "window": found.window, "limit": found.limit}
            ledger.remember(base, pace=pace)

    def _plan(self, ledger: Ledger, hashes: Hashes) -> Plan:
        began = time.monotonic()
        forget_undone(self.works, ledger, hashes.service)
        made = plan(
            self.works,
            ledger=ledger,
            hashes=hashes,
            allow_duplicate=self.config.allow_duplicate,
            include=self.request.include,
            run_id=self.run_id,
            elsewhere=going_on(ledger.sending(hashes.service)),
        )
        self.outcomes = made.outcomes.update(made.doubtful)
        if made.noted:
            ledger.note_occurrences(self.run_id, made.noted)
        self.seconds["asking the ledger"] = time.monotonic() - began
        return made

    def _tell_of_doubts(self, made: Plan) -> None:
        if made.anew:
            have = count_of(made.anew, "lead has a number", plural="leads have numbers")
            self.screen.say(
                f"Note: {have} for which earlier runs created leads with other content; as duplicates are allowed, these are "
                "called again."
            )
        if made.forced:
            leads = count_of(len(made.forced), "lead")
            self.screen.say(
                f"Note: {leads} may have been created already, and what no look-up shows is sent again (--include unknown)."
            )
        count = sum(outcome.in_doubt for outcome in made.doubtful.values())
        if count:
            leads, they = count_of(count, "lead"), "it is" if count == 1 else "they are"
            self.screen.say(f"An earlier run left {leads} of this list without an outcome; {they} looked up first.")

    # Before the first lead.

    def _already(self, ledger: Ledger, address: str, limits: tuple[Limit, ...] | None) -> tuple[Already, ...]:
        """Return the requests of earlier runs that the longest limit still counts."""
        longest = max((limit.seconds for limit in limits or ()), default=0.0)
        return ledger.requests_since(address, longest) if longest > EVEN_SECONDS else ()

    def _by_campaign(self, made: Plan) -> dict[int, int]:
        counts: Counter[int] = Counter()
        for number, wanted in made.first(self.request.limit):
            leads = self.works[number].grouped.leads.filter(pl.col("lead").is_in(pl.Series(wanted, dtype=pl.UInt32)))
            counts.update(dict(leads["campaign"].value_counts().iter_rows()))
        return dict(sorted(counts.items()))

    def _stands(self, made: Plan, campaign_id: int) -> str:
        """Say in which column a campaign stands, for how many leads, and where first; empty where it is no column's."""
        if not isinstance(self.config.campaign_id, CampaignColumn):
            return ""
        found: list[str] = []
        count = 0
        for number, wanted in made.first(self.request.limit):
            work = self.works[number]
            of_it = pl.col("lead").is_in(pl.Series(wanted, dtype=pl.UInt32)) & (pl.col("campaign") == campaign_id)
            rows = work.grouped.leads.filter(of_it)["row"]
            count += rows.len()
            found += [f"row {rows.sort()[0]} of {work.table.path.name}"] if rows.len() else []
        first = f"{', the first' if count > 1 else ''} in {found[0]}"
        return f"column {self.config.campaign_id.column!r}, {count_of(count, 'lead')}{first}"

    def _confirm(self, made: Plan) -> None:
        if self.request.yes:
            return
        leads = made.count(self.request.limit)
        if self.screen.ask(f"Send {count_of(leads, 'lead')}? Each may be called within minutes.") is False:
            raise Stopped("Nothing was sent, as you said no. Run the same command again when you are ready.")

    async def _promise(self, service: Service, ledger: Ledger, base: str, campaign_id: int) -> None:
        """Find out whether there is a look-up: it decides what can be promised."""
        self.offers_lookup = await service.offers_lookup(campaign_id)
        if self.offers_lookup is None:
            self.offers_lookup = ledger.facts(base).get("lookup")
        ledger.remember(base, lookup=self.offers_lookup)
        self.guarantee = guarantee(allow_duplicate=self.config.allow_duplicate, offers_lookup=bool(self.offers_lookup))

    # The delivery.

    async def _deliver(
        self, service: Service, ledger: Ledger, hashes: Hashes, gate: Gate, stop: Stop, made: Plan
    ) -> None:
        delivery = Delivery(
            service,
            ledger,
            hashes,
            gate,
            run_id=self.run_id,
            settings=self._settings(),
            stop=stop,
            report=self._report,
        )
        delivery.settler.offers_lookup = self.offers_lookup
        leads = self._planned(made, ledger, hashes, self.request.limit)
        self.gate, self.progress = gate, Progress(made.count(self.request.limit), time.monotonic())
        self.screen.begin(self.progress.total, self._done_by)
        began = time.monotonic()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_signals, stop)
            tasks.start_soon(self._watch_clock, stop)
            tasks.start_soon(self._tell_of_stop, stop)
            if self._wants_canary(made):
                await self._send_canary(delivery, ledger, hashes, stop, made)
            gc.collect()
            gc.freeze()  # what stands by now stays; looking through it again and again costs some 20 µs a lead
            await delivery.run(lead for lead in leads if lead.place not in self.tried)
            with anyio.CancelScope(shield=True):
                await self._flush(ledger, stop)
            tasks.cancel_scope.cancel()
        self.screen.end()
        spent = time.monotonic() - began
        self.seconds["waiting for the limit"] = min(gate.waited, spent)
        self.seconds["sending"] = max(spent - gate.waited, 0.0)

    def _settings(self) -> Settings:
        delivery = self.config.delivery
        return Settings(
            concurrency=self.concurrency,
            is_ahead=bool(self.offers_lookup) or not self.config.allow_duplicate,
            timeout=delivery.timeout,
            settle_window=delivery.settle_window,
            grace=delivery.stop_after.grace,
            tries=delivery.stop_after.unreached,
            thresholds=delivery.stop_after,
        )

    def _planned(self, made: Plan, ledger: Ledger, hashes: Hashes, limit: int | None) -> Iterator[Planned]:
        return planned(self.works, made, ledger, hashes, allow_duplicate=self.config.allow_duplicate, limit=limit)

    async def _flush(self, ledger: Ledger, stop: Stop) -> None:
        try:
            await ledger.flush()
        except LeadImporterError as error:  # what could not be written stays in doubt, and is settled next time
            stop.now(str(error))

    # The canary.

    def _wants_canary(self, made: Plan) -> bool:
        wanted = self.config.delivery.canary and self.request.canary
        return wanted and made.count(self.request.limit) > self.config.delivery.canary_above

    async def _send_canary(self, delivery: Delivery, ledger: Ledger, hashes: Hashes, stop: Stop, made: Plan) -> None:
        """Send a lead of each shape, read it back, and stop where the server did not keep what was sent."""
        inputs = [self.works[number].table.sha256 for number, leads in made.first() if leads]
        batch = canary.batch_of(hashes.service, inputs, self.config.fingerprint())
        first = self._planned(
            made, ledger, hashes, min(canary.LOOKED_AT + len(made.doubtful), self.request.limit or 10**9)
        )
        waiting = {one.shape: list(one.candidates) for one in canary.choose(first, ledger.canaries(batch))}
        while waiting and stop.cause is None:
            leads = {shape: candidates.pop(0) for shape, candidates in waiting.items() if candidates}
            waiting = {shape: candidates for shape, candidates in waiting.items() if shape in leads}
            self.tried |= {lead.place for lead in leads.values()}
            await delivery.run(leads.values(), is_last=False)
            for shape, lead in leads.items():
                if await self._is_kept(delivery, lead, stop):
                    self._note_canary(ledger, batch, shape, stop)
                    del waiting[shape]

    def _note_canary(self, ledger: Ledger, batch: str, shape: str, stop: Stop) -> None:
        try:
            ledger.note_canaries(batch, [shape])
        except LeadImporterError as error:  # a full disk: what was sent still comes back in the result
            stop.now(str(error))

    async def _is_kept(self, delivery: Delivery, lead: Planned, stop: Stop) -> bool:
        """Tell whether a lead was created and is stored as it was sent; stop the run where it is not."""
        outcome = self.outcomes.get(lead.place)
        if outcome is None or outcome.status is not Status.CREATED or outcome.lead_id is None:
            return False
        shown = None
        if self.offers_lookup:
            shown = await delivery.settler.show(lead.lead.campaign_id, lead.lead.primary.phone, outcome.lead_id)
        shown = shown or self.shown.get(lead.place)
        found = canary.differences(lead.lead, shown) if shown else []
        if found:
            row = self.works[lead.place[0]].table.places["row"][lead.lead.primary.index]
            stop.now(
                f"the first leads were read back, and the server did not keep what was sent (row {row}, lead {outcome.lead_id}): "
                f"{'; '.join(found)}. Check the names of the variables in the config against the campaign's assistant, then "
                "run this again; or send all the same with --no-canary"
            )
        return not found

    def _report(self, planned: Planned, outcome: Outcome, created: Created | None) -> None:
        self.outcomes[planned.place] = with_column(outcome, planned.lead, self.works[planned.place[0]])
        self.told += 1
        self.leads_sent += outcome.status is not Status.NOT_SENT
        if created is not None and planned.place in self.tried:
            self.shown[planned.place] = created
        self.progress.step(time.monotonic(), paused_until=self.gate.pacer.paused_until)
        self.screen.step(outcome)

    def _done_by(self) -> str | None:
        """Say when all is done, by the pace so far; None while that is unknown."""
        left = self.progress.seconds_left(time.monotonic(), self.gate.pacer)
        now = datetime.now(UTC)
        return None if left is None else f"done by {clock(now + timedelta(seconds=left), now, up=True)}"

    async def _watch_clock(self, stop: Stop) -> None:
        """Stop gently at the deadline."""
        while self.deadline is not None and stop.cause is None:
            left = (self.deadline - datetime.now(UTC)).total_seconds()
            if left <= 0:
                at = clock(self.deadline, datetime.now(UTC))
                stop.now(f"the deadline ({at}) has come. Run the same command again to go on")
            with anyio.move_on_after(min(left, 60.0)):  # the machine may sleep, or its clock be set
                await stop.event.wait()

    async def _watch_signals(self, stop: Stop) -> None:
        """Stop gently at the first signal, at once at the second: the ledger knows what was sent."""
        with anyio.open_signal_receiver(*SIGNALS) as signals:
            async for received in signals:
                if stop.signal is not None:
                    self.screen.end()
                    self.screen.say(
                        "Leaving at once. The ledger knows what was sent: run the same command again to go on."
                    )
                    _leave(int(SIGNALS[signal.Signals(received)]))
                asked = "Ctrl-C" if received == signal.SIGINT else signal.Signals(received).name
                stop.now(f"a stop was asked for ({asked}). Run the same command again to go on", int(received))
                self.screen.say(
                    "Stopping: leads in flight are finished, no new one is taken. Press again to leave at once."
                )

    async def _tell_of_stop(self, stop: Stop) -> None:
        """Say why no new lead is taken, where finishing those in flight takes long; of a signal that is said already."""
        await stop.event.wait()
        await anyio.sleep(_LONG)
        if stop.cause is not None and stop.signal is None:
            self.screen.say(f"Stopping: {stop.cause.rstrip('.')}. Leads in flight are finished or looked up.")

    def _sent(self, made: Plan, ledger: Ledger, stop: Stop) -> Sent:
        statuses: set[ExitStatus] = set()
        if stop.signal is not None:
            statuses.add(SIGNALS[signal.Signals(stop.signal)])
        elif stop.cause is not None:
            statuses.add(ExitStatus.STOPPED)
        otherwise = Outcome(Status.NOT_SENT, self.run_id, None, code="stopped", message=f"not sent: {stop.cause}")
        if stop.cause is None and self.request.limit is not None:
            otherwise = held_back(self.run_id, self.request.limit)
        return Sent(
            plan=made,
            outcomes=self.outcomes,
            otherwise=otherwise,
            ledger=ledger,
            statuses=statuses,
            cause=stop.cause,
            guarantee=self.guarantee,
            leads_sent=self.leads_sent,
            seconds=self.seconds,
            held_open=self.held_open,
        )


def _deadline(text: str | None) -> datetime | None:
    try:
        return parse_deadline(text, datetime.now(UTC)) if text is not None else None
    except ValueError as error:
        raise Refused(f"--deadline: {error}") from None


def _leave(status: int) -> None:
    import os

    os._exit(status)


def _has_uvloop() -> bool:
    from importlib.util import find_spec

    return find_spec("uvloop") is not None
