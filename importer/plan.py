"""Which leads will be sent: what the ledger, the cells of a result file and the other rows say.

Everything is decided before the first request, so that an interruption changes nothing of it.
"""

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Protocol

import polars as pl

from importer.group import Grouped, Repeats, find_repeats
from importer.hashes import Hashes
from importer.ledger import Known, Ledger, Member
from importer.mapping import Mapped
from importer.outcomes import Outcomes, Place
from importer.records import PROBABLY_OURS, Lead, Outcome, PastResult, Planned, Status, Table

#: States that mean: somebody with this number is, or may be, in the calling queue already.
_MAY_BE_CALLED = ("created", "deleting", "unknown", "doubtful", "sending")
_GRAVEST = (*_MAY_BE_CALLED, "duplicate", "rejected", "failed", "deleted")

#: States that are settled before anything else is done with a lead; `sending` is one that was cut off.
_IN_DOUBT = ("sending", "doubtful", "unknown")

#: Cells of rows whose lead stands, with its ID beside it.
_STANDS = ("created", "already_imported")

#: Cells that hold a lead back on `retry` where the ledger does not know it.
_HELD_BY_CELL = ("created", "already_imported", "duplicate", "unknown")


@dataclass(frozen=True, slots=True)
class Work:
    """One input on its way: the table, what its columns mean, its leads, and on `retry` the cells we wrote before."""

    table: Table
    mapped: Mapped
    grouped: Grouped
    previous: pl.DataFrame | None = None
    """The result columns of the file that came back (String, one line per row), None for a fresh input."""
    replaces: PastResult | None = None
    """The result of an earlier run that stands where this one's will be."""

    @property
    def source(self) -> str:
        """Return the input's name without `.results`, by which occurrences are noted."""
        return self.table.path.name.split(".")[0]


@dataclass(slots=True)
class Plan:
    """What will be sent, in order, and what became of the other leads already."""

    to_send: "list[array[int]]"
    """For each table its leads, in order. By the number alone: a million of them take 4 MB."""
    outcomes: Outcomes
    """Of leads that are not sent; leads that `Grouped` refused are not in here."""
    held: set[Place]
    """Leads whose cells from an earlier run stand (`retry`)."""
    repeats: Repeats
    doubtful: dict[Place, Outcome] = field(default_factory=dict)
    """Of leads to be sent: those with an earlier attempt in doubt, and what they carry until it is settled."""
    forced: set[Place] = field(default_factory=set)
    """Of those, the ones that are sent even where nothing is proven (`--include unknown`)."""
    anew: int = 0
    """How many leads to be sent have a number that earlier runs created with other content (`allow_duplicate`)."""
    known: set[Place] = field(default_factory=set)
    """Of leads to be sent: those that the ledger has had before."""
    occurrences: dict[Place, int] = field(default_factory=dict)
    """Which of several leads alike to the letter it is, where not the first."""
    renumbered: list[Place] = field(default_factory=list)
    """Leads that stand, and whose number in a result that came back is another than they were created with."""
    noted: list[tuple[bytes, str, int, int]] = field(default_factory=list)
    """(content, sheet, row, occurrence) of those, for the ledger."""

    def count(self, limit: int | None = None) -> int:
        """Return how many leads will be sent, at most `limit`."""
        total = sum(map(len, self.to_send))
        return total if limit is None else min(total, limit)

    def first(self, limit: int | None = None) -> "Iterator[tuple[int, array[int]]]":
        """Yield each table's number with its leads that will be sent, the first `limit` of all."""
        left = self.count(limit)
        for number, leads in enumerate(self.to_send):
            yield number, leads[:left]
            left -= min(len(leads), left)

    def beyond(self, limit: int) -> Iterator[Place]:
        """Yield the leads that `limit` holds back."""
        for number, leads in self.first(limit):
            yield from ((number, lead) for lead in self.to_send[number][len(leads) :])


def forget_undone(works: list[Work], ledger: Ledger, service: str) -> None:
    """Take out of the cells of results that came back what `undo` has taken back since: such rows are new ones.

    Rows of leads of which an undo was cut off are `unknown`. Changes `works` in place.
    """
    if all(work.previous is None for work in works):
        return
    states = ledger.undone(service)
    for number, work in enumerate(works if states else ()):
        if work.previous is not None:
            works[number] = replace(work, previous=_without_undone(work.previous, states))


def _without_undone(previous: pl.DataFrame, states: Mapping[tuple[str, str], str]) -> pl.DataFrame:
    """Empty the status of rows whose lead is deleted, and say of those whose lead may be that nobody knows."""
    columns = {
        name: previous.get_column(name).to_list() for name in ("import_status", "import_error_code", "import_error")
    }
    names = previous.select("import_run_id", "import_lead_id").iter_rows()
    for row, (run_id, lead_id) in enumerate(names):
        state = states.get((run_id, lead_id))
        if state is None or columns["import_status"][row] not in _HELD_BY_CELL:
            continue
        columns["import_status"][row] = None if state == "deleted" else Status.UNKNOWN.value
        if state == "deleting":
            columns["import_error_code"][row], columns["import_error"][row] = _undo_cut_off(run_id)
    return previous.with_columns(pl.Series(name, cells, dtype=pl.String) for name, cells in columns.items())


def _undo_cut_off(run_id: str) -> tuple[str, str]:
    """Return code and message of a lead of a run whose undo has begun to delete it and was cut off."""
    told = f"an undo was cut off while it deleted this lead, which may be gone. Go on with lead-importer undo {run_id}, then run this again."
    return "undo_cut_off", told


class Memory(Protocol):
    """What a plan asks the ledger: as it is now, or as it was before a past run (`replay`)."""

    def is_empty(self) -> bool:
        """Tell whether no lead is known."""

    def known(self, numbers: Sequence[bytes]) -> dict[bytes, list[Known]]:
        """Return what is held of each number hash."""

    def members(self, identity: bytes) -> list[Member]:
        """Return the people of a lead."""

    def numbers_of(self, service: str, lead_id: str) -> tuple[int, set[bytes]] | None:
        """Return campaign and number hashes of the people of a created lead, by its ID; None: unknown."""

    def occurrence(self, run_id: str, content: bytes, sheet: str, row: int) -> int | None:
        """Return which of several leads alike to the letter a row of an earlier run was."""


def plan(
    works: Sequence[Work],
    *,
    ledger: Memory | None,
    hashes: Hashes | None,
    allow_duplicate: bool,
    include: Collection[str],
    run_id: str,
    elsewhere: Collection[str] = (),
) -> Plan:
    """Decide about every lead. `ledger` is None where there is none yet (`check`, before the first run).

    `elsewhere` are other runs that are going on now, with another key: what they are sending is left to them.
    """
    repeats = Repeats({}, {}, {}) if allow_duplicate else find_repeats([work.grouped for work in works])
    made = Plan([array("I") for _ in works], Outcomes(), set(), repeats)
    rows = LeadRows(works, {*repeats.swapped, *(earlier for _, earlier in repeats.swapped.values())})
    for place, (reason, earlier) in repeats.swapped.items():
        said = f"{reason} the lead in {rows.told(earlier, beside=place)}: somebody would be called twice. Put both into one group."
        made.outcomes[place] = _refused(said, run_id)
    known = ledger if ledger is not None and not ledger.is_empty() else None
    alike = _Alike()
    if allow_duplicate and hashes and known is not None:
        for work in works:
            for content, occurrence, is_new in _Judge(work, known, hashes, include=include, run_id=run_id).noted():
                (alike.left if is_new else alike.noted).add((content, occurrence))
    for number, work in enumerate(works):
        left_out = [lead for table, lead in (*repeats.follows, *repeats.swapped) if table == number]
        fit = pl.col("status").is_null() & ~pl.col("lead").is_in(left_out)
        wanted = array("I", work.grouped.leads.filter(fit)["lead"].to_list())
        if known is None and work.previous is None and not (allow_duplicate and hashes):
            made.to_send[number] = wanted
            continue
        judge = _Judge(work, known, hashes, include=include, run_id=run_id, elsewhere=elsewhere)
        leads = work.grouped.build(wanted, allow_duplicate=allow_duplicate, source=work.source)
        for part in _parts(leads, 1000):
            if allow_duplicate and hashes:
                part = [(lead, judge.tell_apart(number, lead, content, alike, made)) for lead, content in part]
            judge.decide(number, part, made)
    return made


class LeadRows:
    """Tells in which row a lead stands, with its sheet and its file where these are not those of the row that says so."""

    def __init__(self, works: Sequence[Work], leads: Collection[Place]) -> None:
        self._paths = [work.table.path for work in works]
        self._rows: dict[Place, int] = {}
        self._sheets: dict[Place, str] = {}
        for number, work in enumerate(works):
            wanted = [lead for table, lead in leads if table == number]
            if not wanted:
                continue
            found = work.grouped.leads.filter(pl.col("lead").is_in(wanted)).select("lead", "row", "index")
            self._rows |= {(number, lead): row for lead, row, _ in found.iter_rows()}
            sheets = work.table.places["sheet"]
            if sheets.n_unique() > 1:
                named = zip(found["lead"], sheets.gather(found["index"]), strict=True)
                self._sheets |= {(number, lead): sheet for lead, sheet in named}

    def told(self, lead: Place, *, beside: Place) -> str:
        """Name the row of a lead in the row of another."""
        sheet, is_elsewhere = self._sheets.get(lead), lead[0] != beside[0]
        parts = [f"row {self._rows[lead]}"]
        if sheet is not None and (is_elsewhere or sheet != self._sheets.get(beside)):
            parts.append(f'of sheet "{sheet}"')
        return " ".join([*parts, *([f"of {self._paths[lead[0]]}"] if is_elsewhere else [])])


def _parts(leads: Iterator[tuple[int, Lead]], size: int) -> Iterator[list[tuple[int, Lead]]]:
    while part := list(islice(leads, size)):
        yield part


def _refused(reason: str, run_id: str, *, code: str = "group_changed") -> Outcome:
    return Outcome(Status.INVALID, run_id, datetime.now(UTC), code=code, message=reason)


class _Alike:
    """Leads of a command that are alike to the letter, told apart by counting them.

    `noted` are (content, occurrence) of rows that an earlier run counted: each keeps its own, and no other row gets it,
    be it changed into the same words, or copied. `left` are those of rows whose status was emptied: they keep their own
    where no other row has it, since they may be copies, which are new rows.
    """

    def __init__(self) -> None:
        self.noted: set[tuple[bytes, int]] = set()
        self.left: set[tuple[bytes, int]] = set()
        self._claimed: set[tuple[bytes, int]] = set()
        self._last: dict[bytes, int] = {}

    def claims(self, content: bytes, occurrence: int, *, is_new: bool) -> bool:
        """Take a noted occurrence; False where another row of this command has it."""
        name = (content, occurrence)
        is_free = name not in self._claimed and not (is_new and name in self.noted)
        if is_free:
            self._claimed.add(name)
        return is_free

    def next(self, content: bytes) -> int:
        """Return the next occurrence that no noted row has."""
        occurrence = self._last.get(content, 0) + 1
        while (content, occurrence) in self.noted or (content, occurrence) in self.left:
            occurrence += 1
        self._last[content] = occurrence
        return occurrence


class _Judge:
    """Decides about the leads of one input."""

    def __init__(
        self,
        work: Work,
        ledger: Memory | None,
        hashes: Hashes | None,
        *,
        include: Collection[str],
        run_id: str,
        elsewhere: Collection[str] = (),
    ) -> None:
        self._work = work
        self._ledger = ledger
        self._hashes = hashes
        self._include = include
        self._run_id = run_id
        self._elsewhere = elsewhere
        self._cells = None if work.previous is None else work.previous.get_column("import_status").to_list()
        self._anew: set[int] = set()
        """Leads that no earlier run counted as they are now: what the ledger holds of their like is another row's."""

    def noted(self) -> Iterator[tuple[bytes, int, bool]]:
        """Yield content and occurrence of the leads of a result file as an earlier run counted them, and who is new now."""
        assert self._hashes is not None
        if self._work.previous is None:
            return
        grouped = self._work.grouped
        for _, lead in grouped.build(grouped.fit(), allow_duplicate=True, source=self._work.source):
            content = self._hashes.content(lead)
            occurrence = self._noted(content, *self._original(lead.primary.index), lead.primary.index)
            if occurrence is not None:
                yield content, occurrence, self._is_new(lead.primary.index)

    def tell_apart(self, number: int, place: int, lead: Lead, alike: "_Alike", made: Plan) -> Lead:
        """Count leads that are alike to the letter, on `retry` as they were counted in the original."""
        assert self._hashes is not None
        content = self._hashes.content(lead)
        sheet, row = self._original(lead.primary.index)
        occurrence = self._noted(content, sheet, row, lead.primary.index)
        if occurrence is None or not alike.claims(content, occurrence, is_new=self._is_new(lead.primary.index)):
            occurrence = alike.next(content)
            self._anew.add(place)
        if occurrence > 1:
            made.occurrences[number, place] = occurrence
        made.noted.append((content, sheet, row, occurrence))
        return replace(lead, occurrence=occurrence)

    def _original(self, index: int) -> tuple[str, int]:
        """Return the sheet and row in the original input."""
        previous = self._work.previous
        if previous is not None:
            row = previous.item(index, "import_row")
            if row is not None and str(row).isdigit():
                return f"{self._work.source}/{previous.item(index, 'import_sheet') or ''}", int(row)
        places = self._work.table.places
        return f"{self._work.source}/{places.item(index, 'sheet') or ''}", int(places.item(index, "row"))

    def _is_new(self, index: int) -> bool:
        """Tell whether a row of a result file is a new one: its status is blank."""
        return self._cells is not None and self._cells[index] is None

    def _noted(self, content: bytes, sheet: str, row: int, index: int) -> int | None:
        if self._work.previous is None or self._ledger is None:
            return None
        run_id = self._work.previous.item(index, "import_run_id")
        return None if run_id is None else self._ledger.occurrence(run_id, content, sheet, row)

    def decide(self, number: int, leads: list[tuple[int, Lead]], made: Plan) -> None:
        """Put each lead among those to be sent, or give it its outcome."""
        known = self._known([lead for _, lead in leads])
        for place, lead in leads:
            outcome = self._by_ledger(lead, known) if known else None
            cell = None if self._cells is None else self._cells[lead.primary.index]
            if cell in _STANDS and self._is_renumbered(lead, outcome):
                made.renumbered.append((number, place))
            if outcome is not None:
                if self._says(lead, cell, outcome):
                    made.held.add((number, place))
                made.outcomes[number, place] = outcome
            elif self._held_by(cell, place, lead, known):
                made.held.add((number, place))
                made.outcomes[number, place] = self._as_the_cells_say(lead)
            elif (torn := self._torn(cell, place, lead, known)) is not None:
                made.outcomes[number, place] = torn
            else:
                made.to_send[number].append(place)
                self._note_past(number, place, lead, known, made)
                made.anew += lead.allow_duplicate and self._was_called(lead, known)

    def _is_renumbered(self, lead: Lead, outcome: Outcome | None) -> bool:
        """Tell whether the lead beside a row that is done was created with another number, by the ledger.

        By the lead's ID and in its own campaign: how the number is written, and which campaign is asked for now, is no matter.
        """
        previous = self._work.previous
        assert previous is not None
        lead_id = previous.item(lead.primary.index, "import_lead_id")
        if self._ledger is None or self._hashes is None or not lead_id or (outcome and outcome.lead_id == lead_id):
            return False
        created = self._ledger.numbers_of(self._hashes.service, lead_id)
        return created is not None and self._hashes.number(created[0], lead.primary.phone) not in created[1]

    def _says(self, lead: Lead, cell: str | None, outcome: Outcome) -> bool:
        """Tell whether the cells of a row that came back say what the ledger does, the lead's ID included."""
        if outcome.status.value != cell and not (cell == "created" and outcome.status is Status.ALREADY_IMPORTED):
            return False
        previous = self._work.previous
        assert previous is not None
        return outcome.lead_id in (None, previous.item(lead.primary.index, "import_lead_id"))

    def _note_past(self, number: int, place: int, lead: Lead, known: dict[bytes, list[Known]], made: Plan) -> None:
        own = self._own(lead, known) if known else []
        if own:
            made.known.add((number, place))
        if not own or own[0].state not in _IN_DOUBT:
            return
        if "unknown" in self._include:  # its row was told so, be it open still or given up
            made.forced.add((number, place))
        told = self._again(lead, own[0], Status.UNKNOWN)
        made.doubtful[number, place] = replace(told, in_doubt=own[0].state != "unknown")

    def _was_called(self, lead: Lead, known: dict[bytes, list[Known]]) -> bool:
        """Tell whether the number is the primary of another lead of ours, or may be."""
        if self._hashes is None or self._own(lead, known):
            return False
        entries = known.get(self._hashes.number(lead.campaign_id, lead.primary.phone), [])
        return any(entry.position == 0 and _may_be_called(entry) for entry in entries)

    def _held_by(self, cell: str | None, place: int, lead: Lead, known: dict[bytes, list[Known]]) -> bool:
        if cell not in _HELD_BY_CELL or cell in self._include:
            return False
        if self._hashes is None:
            return True
        return place in self._anew or not self._own(lead, known)  # the ledger beats the cell where both know the lead

    def _torn(self, cell: str | None, place: int, lead: Lead, known: dict[bytes, list[Known]]) -> Outcome | None:
        """Refuse who is, by the cells, part of a lead that stands already: a contact alone, or under a new primary."""
        if self._cells is None or cell in _HELD_BY_CELL:
            return None
        is_known = self._hashes is not None and place not in self._anew and bool(self._own(lead, known))
        previous = self._work.previous
        assert previous is not None
        lead_id = previous.item(lead.primary.index, "import_lead_id")
        if cell and lead_id and not is_known:
            reason = f"its lead {lead_id} was created without it, and a contact can't be added later. Add it in the platform; or, to send it as a lead of its own, empty its import_status."
            told = _refused(reason, self._run_id, code="lead_exists")
            return replace(told, lead_id=lead_id, contact_ids=(None,) * len(lead.contacts))
        for contact in lead.contacts:
            held = self._cells[contact.index]
            if contact.slot == 0 and held in _HELD_BY_CELL and held not in self._include:
                row = self._work.table.places.item(contact.index, "row")
                reason = f"its contact in row {row} is {held} already, as part of another lead: somebody would be called twice. Take that row out of this group."
                return _refused(reason, self._run_id)
        return None

    def _as_the_cells_say(self, lead: Lead) -> Outcome:
        """Return what a kept row says of its lead; its contacts that were not done by then are not part of it."""
        previous = self._work.previous
        assert previous is not None
        assert self._cells is not None
        row = previous.row(lead.primary.index, named=True)
        absent = tuple(
            place
            for place, contact in enumerate(lead.contacts)
            if contact.slot == 0 and self._cells[contact.index] not in _HELD_BY_CELL
        )
        return Outcome(
            Status(row["import_status"]),
            row["import_run_id"] or self._run_id,
            datetime.now(UTC),
            lead_id=row["import_lead_id"],
            contact_ids=self._contact_ids(lead),
            absent=absent,
        )

    def _contact_ids(self, lead: Lead) -> tuple[str | None, ...]:
        """Return the contacts' IDs as the cells say; those of one row stand joined, in order."""
        previous = self._work.previous
        assert previous is not None
        rows = {contact.index for contact in lead.contacts}
        left = {row: iter((previous.item(row, "import_contact_id") or "").split(";")) for row in rows}
        return tuple(next(left[contact.index], "") or None for contact in lead.contacts)

    def _known(self, leads: list[Lead]) -> dict[bytes, list[Known]]:
        if self._ledger is None or self._hashes is None:
            return {}
        numbers = {
            self._hashes.number(lead.campaign_id, person.phone)
            for lead in leads
            for person in (lead.primary, *lead.contacts)
        }
        return self._ledger.known(list(numbers))

    def _by_ledger(self, lead: Lead, known: dict[bytes, list[Known]]) -> Outcome | None:
        """Return what the ledger says of a lead; None where it may be sent."""
        assert self._hashes is not None
        own = self._own(lead, known)
        if own and own[0].state == "created":
            return self._already_imported(lead, own[0])
        if own and own[0].state == "deleting":
            code, message = _undo_cut_off(own[0].run_id)
            return replace(self._again(lead, own[0], Status.UNKNOWN), code=code, message=message)
        if own and own[0].state == "sending" and own[0].run_id in self._elsewhere:
            message = f"run {own[0].run_id} is sending it right now. Run this again when that has ended."
            return Outcome(Status.NOT_SENT, self._run_id, None, code="sent_elsewhere", message=message)
        if own and own[0].state in ("unknown", "duplicate") and own[0].state not in self._include:
            return self._again(lead, own[0], Status(own[0].state))
        is_open = own and own[0].state in _IN_DOUBT and "unknown" not in self._include
        if is_open and own[0].identity != self._hashes.identity(lead):  # meant under another allow_duplicate
            told = self._again(lead, own[0], Status.UNKNOWN)
            return replace(told, message=f"an earlier attempt is in doubt: lead-importer settle {own[0].run_id}")
        entries = known.get(self._hashes.number(lead.campaign_id, lead.primary.phone), [])
        if not lead.allow_duplicate:
            swapped = self._swapped(lead, entries, known)
            if swapped:
                return _refused(swapped, self._run_id)
        return None

    def _own(self, lead: Lead, known: dict[bytes, list[Known]]) -> list[Known]:
        """Return what the ledger holds of this very lead, the gravest first."""
        assert self._hashes is not None
        entries = known.get(self._hashes.number(lead.campaign_id, lead.primary.phone), [])
        own = [entry for entry in entries if entry.position == 0]
        if own and lead.allow_duplicate:
            identity = self._hashes.identity(lead)
            own = [entry for entry in own if entry.identity == identity or self._was_sent_alone(entry, lead)]
        return sorted(own, key=lambda entry: _GRAVEST.index(entry.state))

    def _was_sent_alone(self, entry: Known, lead: Lead) -> bool:
        """Tell whether this very content was, or may have been, created before duplicates were allowed."""
        assert self._hashes is not None
        assert self._ledger is not None
        alone = self._hashes.identity(replace(lead, allow_duplicate=False))
        if entry.identity != alone or lead.occurrence > 1 or not _may_be_called(entry):
            return False
        held = {member.number: member.values for member in self._ledger.members(alone)}
        people = (lead.primary, *lead.contacts)
        return held == {
            self._hashes.number(lead.campaign_id, person.phone): self._hashes.values(person.variables)
            for person in people
        }

    def _swapped(self, lead: Lead, entries: list[Known], known: dict[bytes, list[Known]]) -> str | None:
        assert self._hashes is not None
        for entry in entries:
            if entry.position > 0 and _may_be_called(entry):
                return f"this number is a secondary contact of lead {entry.lead_id or '(ID unknown)'}, which an earlier run created: somebody would be called twice."
        for contact in lead.contacts:
            for entry in known.get(self._hashes.number(lead.campaign_id, contact.phone), []):
                if entry.position == 0 and _may_be_called(entry):
                    return f"its contact's number is the primary of lead {entry.lead_id or '(ID unknown)'}, which an earlier run created: somebody would be called twice."
        return None

    def _again(self, lead: Lead, entry: Known, status: Status) -> Outcome:
        return Outcome(
            status,
            entry.run_id,
            _time(entry.finished_at),
            lead_id=entry.lead_id,
            contact_ids=(None,) * len(lead.contacts),
            code=entry.code,
            message=entry.message,
            http_status=entry.http_status,
            attempts=entry.attempts,
        )

    def _already_imported(self, lead: Lead, entry: Known) -> Outcome:
        assert self._hashes is not None
        assert self._ledger is not None
        members = {member.number: member for member in self._ledger.members(entry.identity)}
        contacts = [members.get(self._hashes.number(lead.campaign_id, contact.phone)) for contact in lead.contacts]
        changes = self._changes(lead, members, contacts)
        return Outcome(
            Status.ALREADY_IMPORTED,
            entry.run_id,
            _time(entry.finished_at),
            lead_id=entry.lead_id,
            contact_ids=tuple(member.contact_id if member else None for member in contacts),
            absent=tuple(place for place, member in enumerate(contacts) if member is None or member.position == 0),
            code="lead_changed" if changes else None,
            message=f"not sent again, though {' and '.join(changes)} since it was created. Change the lead in the platform."
            if changes
            else None,
        )

    def _changes(self, lead: Lead, members: dict[bytes, Member], contacts: list[Member | None]) -> list[str]:
        """Name what differs from what was created, in words."""
        assert self._hashes is not None
        changes = []
        own = members.get(self._hashes.number(lead.campaign_id, lead.primary.phone))
        if own is not None and (names := _differing(own.values, self._hashes.values(lead.primary.variables))):
            changes.append("variables changed (" + ", ".join(names) + ")")
        rows = self._work.table.places["row"]
        for contact, member in zip(lead.contacts, contacts, strict=True):
            where = f"row {rows[contact.index]}" + (f" as contact {contact.slot}" if contact.slot else "")
            if member is None:
                changes.append(f"a contact was added ({where})")
            elif names := _differing(member.values, self._hashes.values(contact.variables)):
                changes.append(f"a contact's variables changed ({where}: {', '.join(names)})")
        here = {self._hashes.number(lead.campaign_id, contact.phone) for contact in lead.contacts}
        gone = sum(member.position > 0 and member.number not in here for member in members.values())
        return changes + ([f"{gone} of its contacts {'was' if gone == 1 else 'were'} left out here"] if gone else [])


def _may_be_called(entry: Known) -> bool:
    """Tell whether people of a lead are in the calling queue by us, or may be; a duplicate may be one of itself."""
    return entry.state in _MAY_BE_CALLED or (entry.state == "duplicate" and entry.code == PROBABLY_OURS)


def _differing(before: dict[str, str], now: dict[str, str]) -> list[str]:
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def _time(text: str | None) -> datetime:
    return datetime.fromisoformat(text) if text else datetime.now(UTC)


def planned(
    works: Sequence[Work], made: Plan, ledger: Ledger, hashes: Hashes, *, allow_duplicate: bool, limit: int | None
) -> Iterator[Planned]:
    """Yield the leads to be sent one by one, at most `limit`: those in doubt first, the others in order."""
    wanted = dict(made.first(limit))
    in_doubt = {
        number: array("I", [lead for lead in leads if (number, lead) in made.doubtful])
        for number, leads in (wanted.items() if made.doubtful else ())
    }
    if in_doubt:
        yield from _with_doubts(_planned(works, made, hashes, in_doubt, allow_duplicate=allow_duplicate), made, ledger)
        for number, leads in wanted.items():
            wanted[number] = array("I", [lead for lead in leads if (number, lead) not in made.doubtful])
    yield from _planned(works, made, hashes, wanted, allow_duplicate=allow_duplicate)


def _with_doubts(leads: Iterator[Planned], made: Plan, ledger: Ledger) -> Iterator[Planned]:
    for lead in leads:
        doubt = ledger.doubts([lead.identity]).get(lead.identity)
        yield replace(lead, doubt=doubt, force=lead.place in made.forced)


def _planned(
    works: Sequence[Work], made: Plan, hashes: Hashes, wanted: "Mapping[int, array[int]]", *, allow_duplicate: bool
) -> Iterator[Planned]:
    for number, leads in wanted.items():
        work = works[number]
        for name, lead in work.grouped.build(leads, allow_duplicate=allow_duplicate, source=work.source):
            occurrence = made.occurrences.get((number, name), 1)
            told = lead if occurrence == 1 else replace(lead, allow_duplicate=True, occurrence=occurrence)
            yield Planned((number, name), told, hashes.identity(told), is_new=(number, name) not in made.known)


def with_column(outcome: Outcome, lead: Lead, work: Work) -> Outcome:
    """Name the user's column, and of a contact the row, where the server refused a field."""
    if outcome.field is None:
        return outcome
    columns = work.mapped.field_columns or {}
    parts = outcome.field.split(".")
    person, rest, where = lead.primary, outcome.field, ""
    is_contact = parts[0] == "secondary_contacts" and len(parts) > 2 and parts[1].isdigit()
    if is_contact and int(parts[1]) < len(lead.contacts):
        person, rest = lead.contacts[int(parts[1])], ".".join(parts[2:])
        row = work.table.places["row"][person.index]
        where = f" (secondary contact in row {row}{f' as contact {person.slot}' if person.slot else ''})"
    if person.slot:
        column = columns.get(f"slot.{person.slot}.{rest}")
    elif rest == "phone_number":
        people = work.grouped.people
        column = people["phone_column"][people["index"].search_sorted(person.index)]
    else:
        column = columns.get(rest)
    return replace(outcome, column=column, message=f"{outcome.message or ''}{where}")
