"""The worker pool: pace, intend, post, record; stop gently.

Each layer is named after what it adds: `_work` takes leads one after another, `_deliver` gives one lead its outcome
whatever happens, `_attempts` repeats what surely was not sent, `_attempt` makes one request under the ledger's intent.
"""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

import anyio

from importer.api import Answer, Service, payload
from importer.errors import LeadImporterError
from importer.ledger import Hashes, Ledger
from importer.pace import Pacer
from importer.records import Lead, Meaning, Outcome, Status, Verdict

_STATUS = {
    Meaning.CREATED: Status.CREATED,
    Meaning.DUPLICATE: Status.DUPLICATE,
    Meaning.REJECTED: Status.REJECTED,
    Meaning.AMBIGUOUS: Status.UNKNOWN,
    Meaning.STOP: Status.FAILED,
    Meaning.UNREACHED: Status.FAILED,
    Meaning.LATER: Status.FAILED,
}

#: Tries for a lead that surely was not sent, and the back-off between them: half a second, doubled each time, ±50 %.
_TRIES, _FIRST_BACK_OFF = 5, 0.5


@dataclass(frozen=True, slots=True)
class Planned:
    """A lead whose turn will come; `place` is its (table, lead) in the command."""

    place: tuple[int, int]
    lead: Lead
    identity: bytes


@dataclass(slots=True)
class Stop:
    """Why no further lead is taken; empty while the run goes on."""

    cause: str | None = None
    signal: int | None = None
    event: anyio.Event = field(default_factory=anyio.Event)

    def now(self, cause: str, signal: int | None = None) -> None:
        """Take no further lead. The first cause stays."""
        if self.cause is None:
            self.cause, self.signal = cause, signal
        self.event.set()


class Report(Protocol):
    """Told of every lead's outcome as soon as it is known."""

    def __call__(self, planned: Planned, outcome: Outcome) -> None:
        """Take one lead's outcome."""


class Delivery:
    """One run's sending. `run` returns when every lead taken has its outcome."""

    def __init__(
        self,
        service: Service,
        ledger: Ledger,
        hashes: Hashes,
        pacer: Pacer,
        *,
        address: str,
        run_id: str,
        concurrency: int,
        grace: float,
        stop: Stop,
        report: Report,
        announce: Callable[[str], None],
    ) -> None:
        self._service = service
        self._ledger = ledger
        self._hashes = hashes
        self._pacer = pacer
        self._address = address
        self._run_id = run_id
        self._concurrency = concurrency
        self._grace = grace
        self._stop = stop
        self._report = report
        self._announce = announce
        self._turn = anyio.Lock()
        #: Time that workers waited for the limit, summed up until the next lead could go.
        self.waited = 0.0

    async def run(self, leads: Iterator[Planned]) -> None:
        """Send the leads; those not taken when a stop comes are left in the iterator."""
        async with anyio.create_task_group() as outer:
            outer.start_soon(self._limit_grace, outer.cancel_scope)
            async with anyio.create_task_group() as pool:
                for _ in range(self._concurrency):
                    pool.start_soon(self._work, leads)
            outer.cancel_scope.cancel()

    async def _limit_grace(self, scope: anyio.CancelScope) -> None:
        """After a stop, wait for what is in flight, but not for ever."""
        await self._stop.event.wait()
        await anyio.sleep(self._grace)
        scope.cancel()

    async def _work(self, leads: Iterator[Planned]) -> None:
        while self._stop.cause is None:
            planned = next(leads, None)
            if planned is None:
                return
            await self._deliver(planned)

    async def _deliver(self, planned: Planned) -> None:
        """Give one lead its outcome, whatever happens, and tell of it."""
        try:
            outcome = await self._attempts(planned)
        except LeadImporterError as error:  # the ledger can't be written: nothing may be sent any more
            self._stop.now(str(error))
            outcome = self._not_sent()
        self._report(planned, outcome)

    async def _attempts(self, planned: Planned) -> Outcome:
        body = payload(planned.lead)
        attempts = 0
        last: Verdict | None = None
        while True:
            if not await self._may_go():
                return self._not_sent() if last is None else self._outcome(last, planned.lead, attempts)
            answer = await self._attempt(planned, body, attempts + 1)
            last = answer.verdict
            if last.meaning is Meaning.LATER:
                continue
            attempts += 1
            if last.meaning is Meaning.STOP:
                self._stop.now(last.message or "the server refuses the key")
            if last.meaning is not Meaning.UNREACHED:
                return self._outcome(last, planned.lead, attempts)
            if attempts >= _TRIES:
                self._stop.now(f"the server can't be reached: {last.message}")
                return self._outcome(last, planned.lead, attempts)
            await self._back_off(attempts)

    async def _attempt(self, planned: Planned, body: bytes, attempt: int) -> Answer:
        """Make one request. Its intent is durable before, its outcome after, also where the task is cancelled."""
        await self._ledger.intend(
            planned.identity, planned.lead, body, hashes=self._hashes, service=self._address, run_id=self._run_id
        )
        verdict = Verdict(
            Meaning.AMBIGUOUS,
            "cut_off",
            "the run was stopped while this lead was being sent; it may or may not have been created",
        )
        try:
            answer = await self._service.create(body, planned.lead)
            self._listen(answer)
            verdict = answer.verdict
            if (
                verdict.meaning is Meaning.CREATED
                and verdict.lead
                and self._ledger.has_lead_id(self._address, verdict.lead.lead_id)
            ):
                verdict = replace(
                    verdict,
                    meaning=Meaning.DUPLICATE,
                    code="known_lead",
                    message="the server answered with a lead that an earlier row created",
                )
                answer = replace(answer, verdict=verdict)
            return answer
        finally:
            with anyio.CancelScope(shield=True):
                outcome = self._outcome(verdict, planned.lead, attempt)
                await self._record(planned, outcome)

    async def _record(self, planned: Planned, outcome: Outcome) -> None:
        try:
            await self._ledger.finish(planned.identity, outcome)
        except (
            LeadImporterError
        ) as error:  # what was sent stays said in the result; the intent stays open in the ledger
            self._stop.now(str(error))

    def _listen(self, answer: Answer) -> None:
        """Let the pace hear what the answer says of the limit."""
        now, verdict, limits = time.monotonic(), answer.verdict, answer.limits
        if verdict.http_status is None:
            return
        self._pacer.answered(
            now,
            status=verdict.http_status,
            limit=limits.limit if limits else None,
            remaining=limits.remaining if limits else None,
            reset_in=limits.reset - time.time() if limits and limits.reset is not None else None,
            retry_after=verdict.retry_after,
            sent_at=now - answer.seconds,
        )
        notice = self._pacer.notice
        if notice:
            self._announce(notice)

    async def _may_go(self) -> bool:
        """Wait for the next place in the pace; False when a stop came first."""
        began = time.monotonic()
        async with self._turn:
            while self._stop.cause is None:
                delay = self._pacer.delay(time.monotonic())
                if delay <= 0:
                    self._pacer.take(time.monotonic())
                    self.waited += time.monotonic() - began
                    return True
                with anyio.move_on_after(min(delay, 60.0)):
                    await self._stop.event.wait()
        return False

    async def _back_off(self, attempts: int) -> None:
        seconds = _FIRST_BACK_OFF * 2 ** (attempts - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
        with anyio.move_on_after(seconds):
            await self._stop.event.wait()

    def _outcome(self, verdict: Verdict, lead: Lead, attempts: int) -> Outcome:
        created = verdict.lead
        return Outcome(
            status=_STATUS[verdict.meaning],
            run_id=self._run_id,
            finished_at=datetime.now(UTC),
            lead_id=created.lead_id if created else None,
            contact_ids=_contact_ids(lead, verdict),
            code=verdict.code,
            message=verdict.message,
            field=verdict.field,
            http_status=verdict.http_status,
            attempts=attempts,
        )

    def _not_sent(self) -> Outcome:
        return Outcome(
            Status.NOT_SENT, self._run_id, datetime.now(UTC), code="stopped", message=f"not sent: {self._stop.cause}"
        )


def _contact_ids(lead: Lead, verdict: Verdict) -> tuple[str | None, ...]:
    """Match the contacts of an answer by their numbers' digits; None for one that it lacks (api.md, "The answer")."""
    if verdict.meaning is not Meaning.CREATED or verdict.lead is None:
        return ()
    ids = {_digits(contact.phone): contact.lead_id for contact in verdict.lead.contacts}
    return tuple(ids.get(_digits(person.phone)) for person in lead.contacts)


def _digits(phone: str) -> str:
    return "".join(letter for letter in phone if letter.isdigit())
