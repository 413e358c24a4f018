"""What became of a lead whose attempt had no provable answer: looked up, compared, and never guessed.

A lead found under the number is ours only if the ledger does not know its ID, it is not older than our intent by the
server's clock, and its variables and contacts are what was sent. Not found counts only after look-ups over a window,
since a new lead may take a moment to appear.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import anyio
import orjson

from importer.answers import digits, read_time
from importer.api import LookupFailed, Service
from importer.clock import ServerClock
from importer.records import Created, Doubt, Lead, Person

#: Seconds before the first look-up; each further pause is twice as long.
_FIRST_PAUSE = 0.25
#: Look-ups with no answer after the window is over, before that is given up.
_MORE_TRIES = 3
#: Pages of a campaign's list in which a lead of ours is looked for, to prove the look-up by.
_WITNESS_PAGES = 3


class Found(StrEnum):
    """What look-ups of one lead came to."""

    OURS = "ours"
    OTHERS = "others"
    """Somebody else's lead has the number."""
    UNCLEAR = "unclear"
    """A lead that may be ours, but for what it holds."""
    NOT_THERE = "not_there"
    NO_LOOKUP = "no_lookup"
    """The server offers none."""
    NO_ANSWER = "no_answer"
    """It offers one, and did not answer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What look-ups came to, the lead that was found, and what to say of it."""

    found: Found
    lead: Created | None = None
    why: str = ""


def whose(lead: Created, sent: Lead, intended_at: float | None, clock: ServerClock, *, is_known: bool) -> Found:
    """Tell whose a lead under our number is. `is_known`: the ledger holds its ID, so it is another one of ours.

    Where its age can't be told (no `Date`, a bare time of an unknown zone), its ID and what it holds decide.
    """
    if is_known or clock.was_before(read_time(lead.created_at), intended_at):
        return Found.OTHERS
    if sent.allow_duplicate and lead.variables is None:  # several leads of ours may have the number
        return Found.UNCLEAR
    return Found.OURS if holds_what_was_sent(lead, sent) else Found.UNCLEAR


def holds_what_was_sent(lead: Created, sent: Lead) -> bool:
    """Tell whether a lead's variables, and its contacts as far as it has them, are what was sent."""
    contacts = {digits(contact.phone): contact for contact in sent.contacts}
    if not _same(lead.variables, sent.primary):
        return False
    return all(
        (contact := contacts.get(digits(told.phone))) is not None and _same(told.variables, contact)
        for told in lead.contacts
    )


def _same(told: Mapping[str, Any] | None, sent: Person) -> bool:
    """Compare variables; servers may give numbers back as texts. What is not told can't differ."""
    return told is None or as_texts(told) == as_texts(orjson.loads(sent.variables))


def as_texts(variables: Mapping[str, Any]) -> dict[str, str]:
    """Return variables as texts that compare alike however the server keeps them: `17` and "17", `true` and 1."""
    return {name: text for name, value in variables.items() if (text := as_text(value)) is not None}


def as_text(value: Any) -> str | None:
    """Return one value as a text; None for what says nothing."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str):
        return {"true": "1", "false": "0"}.get(value, value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def pauses(window: float) -> Iterator[float]:
    """Yield the pauses before each look-up: growing, and with the last one the window is over."""
    pause, left = _FIRST_PAUSE, window
    while left > pause:
        yield pause
        left -= pause
        pause *= 2
    yield left


class Settler:
    """Looks up what is in doubt, at one address.

    `knows` tells whether an ID is that of a lead that we created, `intended_at` when one was first meant (epoch seconds by
    the server's clock), and `is_contact` whether a lead's number has this ID as a contact of ours; `turn` waits for a place
    in the pace that all requests share. `window` is in seconds.
    """

    def __init__(
        self,
        service: Service,
        knows: Callable[[str], bool],
        intended_at: Callable[[str], float | None],
        is_contact: Callable[[Lead, str], bool],
        *,
        window: float,
        turn: Callable[[], Awaitable[None]],
    ) -> None:
        self._service = service
        self._knows = knows
        self._intended_at = intended_at
        self._is_contact = is_contact
        self._window = window
        self._turn = turn
        self._witnesses: dict[int, tuple[str, str, float | None]] = {}
        self._proven: dict[int, bool] = {}
        self.lookups = 0
        self.offers_lookup: bool | None = None
        """Whether the server has a look-up; None until it was asked."""

    async def settle(self, doubt: Doubt, sent: Lead, *, is_old: bool = False) -> Finding:
        """Look a lead up until it is found or the window is over; with `is_old` once, since the window is long over.

        Raises `Stopped` where the key is refused. A cancel leaves nothing behind.
        """
        waits = [0.0] if is_old else list(pauses(self._window))
        more = [_FIRST_PAUSE * 4**number for number in range(_MORE_TRIES)]
        finding = Finding(Found.NO_LOOKUP if self.offers_lookup is False else Found.NO_ANSWER)
        for number, pause in enumerate(waits + more):
            if number >= len(waits) and finding.found is not Found.NO_ANSWER:
                break
            await anyio.sleep(pause)
            if self.offers_lookup is False:
                continue  # the window is waited for all the same: another attempt may follow
            finding = await self._look(doubt, sent)
            if finding.found is Found.NO_LOOKUP and self.offers_lookup:  # it had one a moment ago
                finding = Finding(Found.NO_ANSWER, why="the look-up is gone for now")
            elif finding.found is not Found.NO_ANSWER:
                self.offers_lookup = finding.found is not Found.NO_LOOKUP
            if finding.found in (Found.OURS, Found.OTHERS, Found.UNCLEAR):
                return finding
        return Finding(Found.NO_LOOKUP, why="this server has no look-up") if self.offers_lookup is False else finding

    async def _look(self, doubt: Doubt, sent: Lead) -> Finding:
        await self._turn()
        self.lookups += 1
        try:
            leads = await self._service.find_leads(sent.campaign_id, sent.primary.phone)
        except LookupFailed as failure:  # a part of the list may show it, and never shows that it is not there
            ours = [lead for found, lead in self._told(failure.found, sent, doubt) if found is Found.OURS]
            why = f"it could not be looked up: {failure}"
            return Finding(Found.OURS, ours[0]) if ours else Finding(Found.NO_ANSWER, why=why)
        if leads is None:
            return Finding(Found.NO_LOOKUP)
        told = self._told(leads, sent, doubt)
        ranked = (Found.OURS, Found.UNCLEAR) if sent.allow_duplicate else (Found.OURS, Found.UNCLEAR, Found.OTHERS)
        for found in ranked:
            for kind, lead in told:
                if kind is found:
                    return Finding(kind, lead, _words(kind, lead))
        return Finding(Found.NOT_THERE, why="the server does not have it")

    def _told(self, leads: Sequence[Created], sent: Lead, doubt: Doubt) -> list[tuple[Found, Created]]:
        """Say whose each lead with the number is; a contact may stand in the list once more, like a lead.

        By ID and number: contacts may be numbered by themselves, and one have the ID of a lead.
        """
        contacts = {(contact.lead_id, digits(contact.phone)) for lead in leads for contact in lead.contacts}
        own = [lead for lead in leads if _has_number(lead, sent) and (lead.lead_id, digits(lead.phone)) not in contacts]
        return [(self._whose(lead, sent, doubt), lead) for lead in own]

    def _whose(self, lead: Created, sent: Lead, doubt: Doubt) -> Found:
        is_known = self._knows(lead.lead_id) or self._is_contact(sent, lead.lead_id)
        return whose(lead, sent, doubt.intended_at, self._service.clock, is_known=is_known)

    # Proof: whether this look-up shows leads of ours at all.

    def witness(self, campaign_id: int, phone: str, lead_id: str, intended_at: float | None) -> None:
        """Take a lead that this run created, by which the look-up of its campaign can be proven."""
        self._witnesses[campaign_id] = (phone, lead_id, intended_at)

    async def is_proven(self, campaign_id: int) -> bool | None:
        """Tell whether a look-up has shown a lead of ours in this campaign; None while there is none to look for.

        One that it dates before we meant it proves nothing: so it would date the lead that is looked for, which would be
        taken for somebody else's.
        """
        if campaign_id not in self._proven:
            witness = self._witnesses.get(campaign_id) or await self._older_witness(campaign_id)
            if witness is None:
                return None
            phone, lead_id, intended_at = witness
            shown = await self.show(campaign_id, phone, lead_id)
            self._proven[campaign_id] = shown is not None and not self._service.clock.was_before(
                read_time(shown.created_at), intended_at
            )
        return self._proven[campaign_id]

    async def show(self, campaign_id: int, phone: str, lead_id: str) -> Created | None:
        """Return a lead as the server shows it, looked up over the window; None where it does not show it."""
        for pause in (0.0, *pauses(self._window)):
            await anyio.sleep(pause)
            await self._turn()
            try:
                leads = await self._service.find_leads(campaign_id, phone)
            except LookupFailed:
                continue
            if leads is None:
                return None
            if shown := next((lead for lead in leads if lead.lead_id == lead_id), None):
                return shown
        return None

    async def _older_witness(self, campaign_id: int) -> tuple[str, str, float | None] | None:
        """Find a lead of ours in the campaign's list: its ID is in the ledger, its number in the list."""
        await self._turn()
        pages = self._service.pages(campaign_id)
        try:
            read = 0
            async for leads in pages:
                for lead in leads or ():
                    if lead.phone and self._knows(lead.lead_id):
                        return lead.phone, lead.lead_id, self._intended_at(lead.lead_id)
                read += 1
                if read == _WITNESS_PAGES:
                    return None
                await self._turn()
        except LookupFailed:
            return None
        finally:
            await pages.aclose()
        return None


def _has_number(lead: Created, sent: Lead) -> bool:
    return digits(lead.phone) == digits(sent.primary.phone)


def _words(kind: Found, lead: Created) -> str:
    match kind:
        case Found.OURS:
            return ""
        case Found.OTHERS:
            return f"the server has this number as lead {lead.lead_id}, which this attempt did not create"
        case _:
            return f"the server has this number as lead {lead.lead_id}, whose variables or contacts are not shown as what was sent"


def guarantee(*, allow_duplicate: bool, offers_lookup: bool | None) -> str:
    """Say what a run can promise for leads whose answer never came, by what the server offers."""
    if offers_lookup and allow_duplicate:
        return "no lead twice: what is in doubt is looked up, and what no look-up proves stays unknown"
    if offers_lookup:
        return "no lead twice: what is in doubt is looked up, and the server's own duplicate check stands guard"
    if allow_duplicate:
        return "no lead twice: the server has no look-up, so that what is in doubt stays unknown"
    return "no lead twice: the server has no look-up; its own duplicate check stands guard when what is in doubt is sent again"


def is_old(doubt: Doubt, clock: ServerClock, *, timeout: float, window: float) -> bool:
    """Tell whether an attempt is so long ago that what it created must show by now; times in seconds.

    Both times are the server's, which are known to a second and the duration of an exchange.
    """
    now = clock.at(time.monotonic())
    if now is None or doubt.intended_at is None:
        return False
    return now - doubt.intended_at > 2 * timeout + window + 1.0
