"""The worker pool: pace, intend, post, record; settle what is in doubt; stop gently.

Each layer is named after what it adds: `_work` takes one turn after another, `_deliver` gives one lead its outcome
whatever happens, `_attempts` repeats what surely was not sent, `_attempt` makes one request under the ledger's intent.
A lead whose attempt had no provable answer leaves its worker: `_settle` looks it up beside the pool, and where it may
be sent again, it goes back in line.
"""

import random
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import anyio

from importer.answers import digits, read_time
from importer.api import Service, payload, read_payload
from importer.breakers import Breakers, Thresholds
from importer.errors import LeadImporterError, SentElsewhere
from importer.gate import Gate, Places, Stop
from importer.hashes import Hashes
from importer.inflight import InFlight
from importer.ledger import Ledger
from importer.outcomes import Ids
from importer.records import PROBABLY_OURS, Created, Doubt, Lead, Meaning, Outcome, Planned, Status, Verdict
from importer.settle import Finding, Found, Settler, is_old

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

_STATUS = {
    Meaning.CREATED: Status.CREATED,
    Meaning.DUPLICATE: Status.DUPLICATE,
    Meaning.REJECTED: Status.REJECTED,
    Meaning.AMBIGUOUS: Status.UNKNOWN,
    Meaning.STOP: Status.FAILED,
    Meaning.UNREACHED: Status.FAILED,
    Meaning.LATER: Status.FAILED,
}

#: What ends every doubt about earlier attempts too: there is one lead with this number.
_PROVEN = frozenset({Meaning.CREATED, Meaning.DUPLICATE})

#: The back-off between tries of a lead that surely was not sent: half a second, doubled each time, ±50 %.
_FIRST_BACK_OFF = 0.5
#: Attempts in doubt of one lead in one run; each was settled before the next.
_MOST_DOUBTS = 6
#: Answers running that prove nothing, after which nothing is sent again before the server answers properly once more.
_MOST_RUNNING = 4
#: Leads settled at once. More wait in their workers, so that a server in trouble is not given ever more.
_MOST_SETTLING = 64

_CUT_OFF = Verdict(
    Meaning.AMBIGUOUS,
    "cut_off",
    "the run was stopped while this lead was being sent, so it may or may not have been created",
)


class Report(Protocol):
    """Told of every lead's outcome as soon as it is known."""

    def __call__(self, planned: Planned, outcome: Outcome, created: Created | None) -> None:
        """Take one lead's outcome, and the lead as the server showed it last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How leads are sent; times in seconds."""

    concurrency: int | None
    """Creates in flight at once; None: as many as help."""
    is_ahead: bool
    """Whether leads may be made ready before there is a place for them in flight."""
    timeout: float
    settle_window: float
    grace: float
    tries: int
    """For a lead that surely was not sent."""
    thresholds: Thresholds


@dataclass(slots=True)
class _Turn:
    """A lead on its way through the pool, and what is known of its attempts so far."""

    planned: Planned
    attempts: int = 0
    doubt: Doubt | None = None
    """What is to be settled before anything else."""
    since: float | None = None
    """When the first attempt in doubt, else the last one, was meant, by the server's clock; what it created is no older."""
    doubts: int = 0
    is_absent: bool = False
    """Look-ups have shown that no attempt in doubt created it."""
    last: Verdict | None = None
    outcome: Outcome | None = None
    """What the last attempt came to, as the ledger has it."""

    @property
    def lead(self) -> Lead:
        return self.planned.lead

    @property
    def is_open(self) -> bool:
        """Whether some attempt may have created it, whatever the last one came to."""
        return self.doubt is not None or (self.doubts > 0 and not self.is_absent)


class Delivery:
    """One run's sending. `run` returns when every lead taken has its outcome."""

    def __init__(
        self,
        service: Service,
        ledger: Ledger,
        hashes: Hashes,
        gate: Gate,
        *,
        run_id: str,
        settings: Settings,
        stop: Stop,
        report: Report,
    ) -> None:
        self._service = service
        self._ledger = ledger
        self._hashes = hashes
        self._run_id = run_id
        self._settings = settings
        self._stop = stop
        self._report = report
        self._gate = gate
        self._breakers = Breakers(settings.thresholds)
        self.settler = Settler(
            service,
            self._knows,
            lambda lead_id: ledger.intended_at(hashes.service, lead_id),
            lambda lead, of: ledger.has_contact(hashes.number(lead.campaign_id, lead.primary.phone), of),
            window=settings.settle_window,
            turn=gate.wait,
        )
        self._places = Places(InFlight(settings.concurrency, now=time.monotonic(), is_ahead=settings.is_ahead))
        self._workers = 0
        self._pool: TaskGroup | None = None
        self._in_flight = self._in_doubt = 0
        self._again: deque[_Turn] = deque()
        self._unproven: list[_Turn] = []
        self._busy: dict[tuple[int, str], deque[_Turn]] = {}
        self._changed = anyio.Event()
        self._ids = Ids()
        self._has_past = ledger.has_created()
        #: Attempts that had no provable answer, in all and running.
        self.doubted = 0
        self._running = 0
        self._answered_at = 0.0

    async def run(self, leads: Iterable[Planned], *, is_last: bool = True) -> None:
        """Send the leads; those not taken when a stop comes are left out.

        Unless `is_last`, leads whose fate only a later lead's success can prove stay open for the next call. Cancelled,
        or past the grace after a stop, what is in flight is left in doubt in the ledger.
        """
        async with anyio.create_task_group() as outer:
            outer.start_soon(self._limit_grace, outer.cancel_scope)
            async with anyio.create_task_group() as self._pool:
                line, self._workers = iter(leads), 0
                self._hire(line, is_last)
            outer.cancel_scope.cancel()
        if self._stop.cause is not None:
            self._leave_open()

    def _leave_open(self) -> None:
        """Tell of those that a stop keeps from being settled or sent again; fresh leads are just not sent."""
        turns = [*self._again, *self._unproven]
        self._again.clear()
        self._unproven.clear()
        for turn in turns:
            if turn.doubts or turn.doubt is not None:
                self._end(turn, self._unknown(turn, "", for_now=True))

    async def _limit_grace(self, scope: anyio.CancelScope) -> None:
        """After a stop, wait for what is in flight, but not for ever."""
        await self._stop.event.wait()
        await anyio.sleep(self._settings.grace)
        scope.cancel()

    # One turn after another.

    def _hire(self, line: Iterator[Planned], is_last: bool) -> None:
        """Have as many workers as there may be leads under way."""
        assert self._pool is not None
        while self._workers < self._places.inflight.workers:
            self._workers += 1
            self._pool.start_soon(self._work, line, is_last)

    async def _work(self, line: Iterator[Planned], is_last: bool) -> None:
        while (turn := await self._next(line, is_last)) is not None:
            self._in_flight += 1
            try:
                await self._deliver(turn)
            finally:
                self._in_flight -= 1
                if self._unproven:
                    self._tell_of_change()
            if self._workers > self._places.inflight.workers:
                self._workers -= 1
                return
            self._hire(line, is_last)

    async def _next(self, line: Iterator[Planned], is_last: bool) -> _Turn | None:
        """Return the next turn, those that come back first; None when nothing is left, or a stop came."""
        while self._stop.cause is None:
            if self._again:
                return self._again.popleft()
            planned = next(line, None)
            if planned is not None:
                doubt = planned.doubt
                turn = _Turn(planned, doubt.attempts, doubt, doubt.intended_at) if doubt else _Turn(planned)
                if self._claims(turn):
                    return turn
            elif self._in_doubt or (self._unproven and self._in_flight):  # those may come back, or prove something
                with anyio.move_on_after(1.0):
                    await self._changed.wait()
            elif not (is_last and await self._prove_the_rest()):
                return None
        return None

    def _claims(self, turn: _Turn) -> bool:
        """Take a number's only place; False where it is taken, and the turn waits behind it.

        Only where duplicates are allowed: else a look-up for one lead could find another that is on its way.
        """
        if not turn.lead.allow_duplicate:
            return True
        number = (turn.lead.campaign_id, turn.lead.primary.phone)
        if number in self._busy:
            self._busy[number].append(turn)
            return False
        self._busy[number] = deque()
        return True

    def _end(self, turn: _Turn, outcome: Outcome, created: Created | None = None) -> None:
        """Tell of an outcome, and let the next lead of the same number go."""
        self._report(turn.planned, outcome, created)
        if turn.lead.allow_duplicate:
            waiting = self._busy.pop((turn.lead.campaign_id, turn.lead.primary.phone), None)
            if waiting:
                self._again.append(waiting.popleft())
                self._busy[turn.lead.campaign_id, turn.lead.primary.phone] = waiting

    async def _deliver(self, turn: _Turn) -> None:
        """Give one lead its outcome, whatever happens, and tell of it; or have it settled beside the pool."""
        try:
            outcome = None if turn.doubt is not None else await self._attempts(turn)
            while outcome is None and self._in_doubt >= _MOST_SETTLING:
                await self._changed.wait()
        except SentElsewhere as error:
            outcome = self._elsewhere(turn, str(error))
        except LeadImporterError as error:  # the ledger can't be written: nothing may be sent any more
            self._stop.now(str(error))
            outcome = self._stopped(turn)
        except anyio.get_cancelled_exc_class():
            self._end(turn, self._stopped(turn))
            raise
        if outcome is None:
            self._begin_to_settle(turn)
        else:
            self._end(turn, outcome, turn.last.lead if turn.last else None)

    # One attempt after another.

    async def _attempts(self, turn: _Turn) -> Outcome | None:
        """Send a lead until something is proven; None where the last attempt is in doubt (`turn.doubt`)."""
        body = payload(turn.lead)
        unreached = 0
        while True:
            waited = self._gate.waited
            if not await self._gate.may_go():
                return self._stopped(turn)
            if not self._settings.is_ahead and self._gate.waited == waited:  # another one could have left as well
                self._places.inflight.waited()
            verdict = await self._attempt(turn, body, self._gate.taken_at)
            if verdict is None:
                return self._stopped(turn)
            if verdict.meaning is Meaning.LATER:
                continue
            if verdict.meaning is Meaning.STOP:
                self._stop.now(verdict.message or "the server refuses the key")
            if turn.doubt is not None:
                return None
            if verdict.meaning is not Meaning.UNREACHED:
                return self._ended(turn, verdict)
            unreached += 1
            if unreached >= self._settings.tries:
                self._stop.now(f"the server can't be reached: {verdict.message}")
                return self._ended(turn, verdict)
            await self._back_off(unreached, verdict.message or "no connection could be made")

    def _ended(self, turn: _Turn, verdict: Verdict) -> Outcome:
        if turn.is_open and verdict.meaning not in _PROVEN:
            return self._unknown(turn, "an earlier attempt is in doubt", for_now=True)
        assert turn.outcome is not None
        return turn.outcome

    async def _attempt(self, turn: _Turn, body: bytes, taken_at: float) -> Verdict | None:
        """Make one request; None where a stop came before it left.

        Its intent is durable before; its outcome is handed over also where the task is cancelled.
        """
        planned, intended_at = turn.planned, self._service.clock.at(time.monotonic())
        try:
            await self._ledger.intend(
                planned.identity,
                turn.lead,
                body,
                hashes=self._hashes,
                run_id=self._run_id,
                at=intended_at,
                is_new=planned.is_new and not turn.attempts,
                is_first=planned.doubt is None and not turn.doubts,
            )
        except anyio.get_cancelled_exc_class():  # it may become durable all the same
            self._withdraw(turn)
            raise
        has_left = False
        try:
            async with self._places:
                await self._gate.resume(taken_at)
                if self._stop.cause is not None:
                    return None
                began, has_left, verdict = time.monotonic(), True, _CUT_OFF
                turn.attempts += 1
                answer = await self._service.create(body, turn.lead)
            self._gate.listen(answer)
            verdict = self._held_against_the_ledger(answer.verdict)
            if verdict.meaning is Meaning.DUPLICATE and turn.doubts and self.settler.offers_lookup is False:
                verdict = _probably_ours(verdict)
            if verdict.meaning is Meaning.LATER:
                turn.attempts -= 1
            return verdict
        finally:
            if has_left:
                self._note(turn, verdict, body=body, intended_at=intended_at)
                self._count(verdict, began)
            else:
                self._withdraw(turn)

    def _withdraw(self, turn: _Turn) -> None:
        self._ledger.withdraw(turn.planned.identity, run_id=self._run_id, in_doubt=turn.is_open)

    def _note(self, turn: _Turn, verdict: Verdict, *, body: bytes, intended_at: float | None) -> None:
        """Note what an attempt came to, and what is to be settled of it."""
        if turn.doubt is None and not turn.doubts:
            turn.since = intended_at
        if self._is_in_doubt(turn, verdict):
            own = (turn.planned.identity, self._run_id, turn.lead.primary.phone, body)
            turn.doubt = Doubt(*own, turn.since, turn.attempts, verdict.code)
            turn.doubts += 1
        turn.last, turn.outcome = verdict, self._outcome(turn, verdict)
        self._record(turn, turn.outcome)

    def _count(self, verdict: Verdict, began: float) -> None:
        """Count what proved nothing, and stop where going on would only do harm.

        Attempts that hang are the last to end, long after others were answered properly: that says nothing of the
        server now.
        """
        is_late = verdict.meaning is Meaning.AMBIGUOUS and began < self._answered_at
        if verdict.meaning is not Meaning.AMBIGUOUS:
            self._running, self._answered_at = 0, time.monotonic()
        else:
            self.doubted += 1
            self._running += not is_late
        cause = self._breakers.hear(verdict, is_late=is_late)
        if cause is not None:
            self._stop.now(cause)

    def _is_in_doubt(self, turn: _Turn, verdict: Verdict) -> bool:
        """Tell what is to be settled: no proof, or a duplicate that an earlier attempt in doubt may have made."""
        if verdict.meaning is Meaning.DUPLICATE:
            return turn.doubts > 0 and self.settler.offers_lookup is not False
        return verdict.meaning is Meaning.AMBIGUOUS

    def _held_against_the_ledger(self, verdict: Verdict) -> Verdict:
        """Take a lead that we know already for what it is: another row's."""
        created = verdict.lead
        if verdict.meaning is not Meaning.CREATED or created is None:
            return verdict
        if self._knows(created.lead_id):
            return replace(
                verdict,
                meaning=Meaning.DUPLICATE,
                code="known_lead",
                message=f"the server answered with lead {created.lead_id}, which an earlier row created",
            )
        self._ids.add(created.lead_id)
        self._learn_dates(created, verdict.date)
        return verdict

    def _learn_dates(self, created: Created, date: datetime | None) -> None:
        """Learn how the server dates leads; kept before the lead's outcome is, so that a run that is killed has it too."""
        moment, clock = read_time(created.created_at), self._service.clock
        if date is not None and moment is not None and clock.hear_created(moment, date):
            with suppress(LeadImporterError):  # the next intent can't be written either, and stops the run
                self._ledger.remember(self._service.address, created_ahead=clock.created_ahead)

    def _knows(self, lead_id: str) -> bool:
        """Tell whether a lead of the server's is one that we created, this run's included."""
        return lead_id in self._ids or (self._has_past and self._ledger.has_lead_id(self._hashes.service, lead_id))

    def _record(self, turn: _Turn, outcome: Outcome) -> None:
        self._ledger.finish(turn.planned.identity, outcome)
        if outcome.status is Status.CREATED and outcome.lead_id and turn.lead.allow_duplicate:
            self.settler.witness(turn.lead.campaign_id, turn.lead.primary.phone, outcome.lead_id, turn.since)
            self._reconsider(turn.lead.campaign_id)

    async def _back_off(self, attempts: int, why: str) -> None:
        seconds = _FIRST_BACK_OFF * 2 ** (attempts - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
        self._gate.tell_unreached(why, seconds)
        with anyio.move_on_after(seconds):
            await self._stop.event.wait()

    # What is in doubt.

    def _begin_to_settle(self, turn: _Turn) -> None:
        assert self._pool is not None
        self._in_doubt += 1
        self._pool.start_soon(self._settle, turn)

    async def _settle(self, turn: _Turn) -> None:
        """Find out what became of an attempt, and end the turn or send it round again."""
        try:
            outcome = await self._settled(turn)
        except LeadImporterError as error:  # the key is refused, or the ledger can't be read
            self._stop.now(str(error))
            outcome = self._unknown(turn, "", for_now=True)
        except anyio.get_cancelled_exc_class():
            self._end(turn, self._unknown(turn, "", for_now=True))
            raise
        finally:
            self._in_doubt -= 1
            self._tell_of_change()
        if outcome is not None:
            self._end(turn, outcome, turn.last.lead if turn.last else None)

    def _tell_of_change(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def _settled(self, turn: _Turn) -> Outcome | None:
        assert turn.doubt is not None
        window, timeout = self._settings.settle_window, self._settings.timeout
        is_ours_of_old = turn.planned.doubt is turn.doubt and is_old(
            turn.doubt, self._service.clock, timeout=timeout, window=window
        )
        finding = await self.settler.settle(turn.doubt, read_payload(turn.doubt.payload), is_old=is_ours_of_old)
        match finding.found:
            case Found.OURS:
                return self._found(turn, finding, Meaning.CREATED)
            case Found.OTHERS:
                return self._found(turn, finding, Meaning.DUPLICATE)
            case Found.UNCLEAR if not turn.lead.allow_duplicate:
                return self._found(turn, finding, Meaning.DUPLICATE)
            case Found.UNCLEAR:
                return self._unknown(turn, finding.why)
        if turn.last is not None and turn.last.meaning is Meaning.DUPLICATE:
            turn.last = _probably_ours(turn.last)
            outcome = self._outcome(turn, turn.last, is_settled=True)
            self._record(turn, outcome)
            return outcome
        return await self._not_found(turn, finding)

    async def _not_found(self, turn: _Turn, finding: Finding) -> Outcome | None:
        """Send a lead again where that can't call anybody twice; else its outcome stays unknown."""
        if turn.doubt is not None and turn.doubt.is_elsewhere and not turn.planned.force:
            turn.last = turn.last or Verdict(
                Meaning.AMBIGUOUS, turn.doubt.code, "the server answered with another lead"
            )
            return self._unknown(turn, finding.why, for_now=finding.found is Found.NO_ANSWER)
        turn.is_absent = finding.found is Found.NOT_THERE and not turn.lead.allow_duplicate
        if turn.planned.force or not turn.lead.allow_duplicate:  # the server's own check stands guard
            return self._send_again(turn)
        if finding.found is not Found.NOT_THERE:
            return self._unknown(turn, finding.why, for_now=finding.found is Found.NO_ANSWER)
        proven = await self.settler.is_proven(turn.lead.campaign_id)
        if proven:
            turn.is_absent = True
            return self._send_again(turn)
        if proven is None:
            self._unproven.append(turn)
            return None
        return self._unknown(turn, "the look-up does not show leads that we created, so it proves nothing")

    def _send_again(self, turn: _Turn) -> Outcome | None:
        if turn.doubts >= _MOST_DOUBTS:
            return self._unknown(turn, f"{turn.doubts} attempts had no answer that proves anything", for_now=True)
        if self._running >= _MOST_RUNNING:
            return self._unknown(turn, "the server answers nothing that proves anything", for_now=True)
        turn.doubts = max(turn.doubts, 1)
        turn.doubt = None
        self._again.append(turn)
        return None

    def _reconsider(self, campaign_id: int) -> None:
        """Settle what waited for a lead of ours to be created, by which the look-up can be proven."""
        waiting = [turn for turn in self._unproven if turn.lead.campaign_id == campaign_id]
        self._unproven = [turn for turn in self._unproven if turn.lead.campaign_id != campaign_id]
        for turn in waiting:
            self._begin_to_settle(turn)

    async def _prove_the_rest(self) -> bool:
        """Conclude what waited for a lead of ours, now that no more come; tell whether any goes back in line."""
        waiting, self._unproven = self._unproven, []
        for turn in waiting:
            why = "no lead of ours shows whether the look-up can be trusted"
            turn.is_absent = bool(await self.settler.is_proven(turn.lead.campaign_id))
            outcome = self._send_again(turn) if turn.is_absent else self._unknown(turn, why, for_now=True)
            if outcome is not None:
                self._end(turn, outcome)
        return bool(self._again)

    def _found(self, turn: _Turn, finding: Finding, meaning: Meaning) -> Outcome:
        """Give a lead the outcome that a look-up proves."""
        message = None if meaning is Meaning.CREATED else finding.why
        code = None if meaning is Meaning.CREATED else "found_by_lookup"
        status = turn.last.http_status if turn.last else None
        turn.last = Verdict(meaning, code, message, lead=finding.lead, http_status=status)
        if meaning is Meaning.CREATED:
            turn.last = self._held_against_the_ledger(turn.last)
        outcome = self._outcome(turn, turn.last, is_settled=True)
        self._record(turn, outcome)
        return outcome

    def _unknown(self, turn: _Turn, why: str, *, for_now: bool = False) -> Outcome:
        """Give up settling: for good, or `for_now`, so that the next run begins with it."""
        last = turn.last or _CUT_OFF
        after = "the next run looks it up first" if for_now else "it is not sent again by itself"
        told = [text for text in (last.message, why, after) if text]
        outcome = replace(self._outcome(turn, replace(last, meaning=Meaning.AMBIGUOUS)), message="; ".join(told))
        if not for_now:
            outcome = replace(outcome, in_doubt=False)
            self._record(turn, outcome)
        return outcome

    # Outcomes.

    def _outcome(self, turn: _Turn, verdict: Verdict, *, is_settled: bool = False) -> Outcome:
        in_doubt = turn.is_open and not is_settled and (turn.doubt is not None or verdict.meaning not in _PROVEN)
        created = verdict.lead
        return Outcome(
            status=Status.UNKNOWN if in_doubt else _STATUS[verdict.meaning],
            run_id=self._run_id,
            finished_at=datetime.now(UTC),
            lead_id=created.lead_id if created else None,
            contact_ids=contact_ids(turn.lead, created) if verdict.meaning is Meaning.CREATED else (),
            code=verdict.code,
            message=verdict.message,
            field=verdict.field,
            http_status=verdict.http_status,
            attempts=turn.attempts,
            in_doubt=in_doubt,
        )

    def _stopped(self, turn: _Turn) -> Outcome:
        """Return what a lead comes to whose next attempt a stop forbids."""
        if turn.doubts or turn.doubt is not None:
            return self._unknown(turn, "", for_now=True)
        return self._not_sent() if turn.last is None else self._outcome(turn, turn.last)

    def _elsewhere(self, turn: _Turn, why: str) -> Outcome:
        """Return what a lead comes to that another run took before its intent was written down."""
        if turn.doubts or turn.doubt is not None:
            return self._unknown(turn, why, for_now=True)
        return Outcome(Status.NOT_SENT, self._run_id, datetime.now(UTC), code="sent_elsewhere", message=why)

    def _not_sent(self) -> Outcome:
        return Outcome(
            Status.NOT_SENT, self._run_id, datetime.now(UTC), code="stopped", message=f"not sent: {self._stop.cause}"
        )


def _probably_ours(refusal: Verdict) -> Verdict:
    """Say what a refusal as duplicate most likely means after an attempt that had no answer."""
    return replace(
        refusal,
        code=PROBABLY_OURS,
        message="an earlier attempt had no answer, and this one was refused as a duplicate: most likely the lead is ours, "
        f"and its ID can't be told ({refusal.message})",
    )


def contact_ids(lead: Lead, created: Created | None) -> tuple[str | None, ...]:
    """Match the contacts of a created lead by their numbers' digits; None for one that it lacks (api.md, "The answer")."""
    ids = {digits(contact.phone): contact.lead_id for contact in created.contacts} if created else {}
    return tuple(ids.get(digits(person.phone)) for person in lead.contacts)
