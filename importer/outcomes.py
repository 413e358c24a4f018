"""What became of every lead of a command, held in a few bytes each: a run of a million leads keeps a million of these.

Leads are numbered within their table, and nearly all outcomes of a run say the same but for the lead's ID and the time.
So these stand in arrays by the lead's number, and what outcomes have in common stands once.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Self

import polars as pl

from importer.records import Outcome, Status

#: A lead of a command: the place of its table among the inputs, and its number in that table.
Place = tuple[int, int]

#: IDs of more digits are kept as texts.
_LONGEST_NUMBER = 18
#: IDs that are kept as they come, before they are put in order.
_LATEST = 32_768


def _is_number(text: str) -> bool:
    """Tell whether an ID is the same when it is written as a number."""
    return 0 < len(text) <= _LONGEST_NUMBER and text.isdecimal() and text.isascii() and text[0] != "0"


class Ids:
    """IDs of the server's: a set that only grows, of which each of the earlier ones takes eight bytes."""

    def __init__(self) -> None:
        self._latest: set[str] = set()
        self._earlier: list[array[int]] = []
        """In order, each."""
        self._texts: set[str] = set()
        self._length = 0

    def add(self, text: str) -> None:
        """Take an ID that is not in yet."""
        self._latest.add(text)
        self._length += 1
        if len(self._latest) == _LATEST:
            numbers = sorted(int(one) for one in self._latest if _is_number(one))
            self._texts.update(one for one in self._latest if not _is_number(one))
            if numbers:
                self._earlier.append(array("q", numbers))
            self._latest.clear()

    def __len__(self) -> int:
        return self._length

    def __contains__(self, text: str) -> bool:
        if text in self._latest or text in self._texts:
            return True
        if not self._earlier or not _is_number(text):
            return False
        number = int(text)
        return any(
            some[0] <= number <= some[-1] and some[bisect_left(some, number)] == number for some in self._earlier
        )


class _Common(NamedTuple):
    """What outcomes have in common."""

    status: Status
    run_id: str
    code: str | None
    message: str | None
    field: str | None
    http_status: int | None
    absent: tuple[int, ...]
    column: str | None
    in_doubt: bool


class _Table:
    """The outcomes of one table's leads, by number; where `common` is 0 there is none."""

    def __init__(self) -> None:
        self.common = array("I")
        """From 1, among all that outcomes have in common."""
        self.lead_id = array("q")
        self.finished_at = array("I")
        """Epoch seconds; 0: not told."""
        self.attempts = array("I")
        self.contacts = array("I")
        """From 1, where its contacts' IDs begin among all; 0: none."""

    def reach(self, lead: int) -> None:
        if lead >= len(self.common):
            more = bytes(4 * max(lead + 1 - len(self.common), len(self.common) // 8))
            for column in (self.common, self.finished_at, self.attempts, self.contacts):
                column.frombytes(more)
            self.lead_id.frombytes(more + more)


class Outcomes(Mapping[Place, Outcome]):
    """Outcomes by place. Times are kept to the second, as results and ledger tell them."""

    def __init__(self, outcomes: Mapping[Place, Outcome] | None = None) -> None:
        self._tables: dict[int, _Table] = {}
        self._common: list[_Common] = []
        self._places: dict[_Common, int] = {}
        """Where each stands in that list, from 1."""
        self._contact_ids = array("q")
        """For each lead that has any: how many, then the IDs."""
        self._texts: list[str] = []
        """IDs that are no plain numbers."""
        self._length = 0
        self.update(outcomes or {})

    def __setitem__(self, place: Place, outcome: Outcome) -> None:
        table = self._tables.get(place[0])
        if table is None:
            table = self._tables[place[0]] = _Table()
        lead = place[1]
        table.reach(lead)
        self._length += table.common[lead] == 0
        common = _Common(
            outcome.status,
            outcome.run_id,
            outcome.code,
            outcome.message,
            outcome.field,
            outcome.http_status,
            outcome.absent,
            outcome.column,
            outcome.in_doubt,
        )
        found = self._places.get(common)
        if found is None:
            self._common.append(common)
            found = self._places[common] = len(self._common)
        table.common[lead] = found
        table.lead_id[lead] = self._packed(outcome.lead_id)
        table.finished_at[lead] = int(outcome.finished_at.timestamp()) if outcome.finished_at else 0
        table.attempts[lead] = outcome.attempts
        table.contacts[lead] = self._packed_contacts(outcome.contact_ids)

    def update(self, outcomes: Mapping[Place, Outcome]) -> Self:
        """Take these too, instead of what is there for the same places."""
        for place, outcome in outcomes.items():
            self[place] = outcome
        return self

    def __getitem__(self, place: Place) -> Outcome:
        number, lead = place
        table = self._tables.get(number)
        if table is None or not 0 <= lead < len(table.common) or not table.common[lead]:
            raise KeyError(place)
        return self._outcome(table, lead)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Place]:
        for number, table in self._tables.items():
            yield from ((number, lead) for lead, common in enumerate(table.common) if common)

    def values(self) -> Iterator[Outcome]:  # type: ignore[override] # no view: they are made one by one
        """Yield the outcomes, table by table."""
        return (outcome for _, outcome in self.items())

    def items(self) -> Iterator[tuple[Place, Outcome]]:  # type: ignore[override]
        """Yield places and outcomes, table by table."""
        for number, lead in self:
            yield (number, lead), self._outcome(self._tables[number], lead)

    def _outcome(self, table: _Table, lead: int) -> Outcome:
        finished_at = table.finished_at[lead]
        return Outcome(
            finished_at=datetime.fromtimestamp(finished_at, UTC) if finished_at else None,
            lead_id=self._unpacked(table.lead_id[lead]),
            contact_ids=self._unpacked_contacts(table.contacts[lead]),
            attempts=table.attempts[lead],
            **self._common[table.common[lead] - 1]._asdict(),
        )

    # IDs.

    def _packed(self, text: str | None) -> int:
        if text is None:
            return 0
        if _is_number(text):
            return int(text)
        self._texts.append(text)
        return -len(self._texts)

    def _unpacked(self, number: int) -> str | None:
        if number < 0:
            return self._texts[-number - 1]
        return str(number) if number else None

    def _packed_contacts(self, contact_ids: Sequence[str | None]) -> int:
        if not contact_ids:
            return 0
        place = len(self._contact_ids) + 1
        self._contact_ids.append(len(contact_ids))
        self._contact_ids.extend([self._packed(one) for one in contact_ids])
        return place

    def _unpacked_contacts(self, place: int) -> tuple[str | None, ...]:
        if not place:
            return ()
        many = self._contact_ids[place - 1]
        return tuple(self._unpacked(one) for one in self._contact_ids[place : place + many])

    # In columns.

    def frame(self, number: int) -> pl.DataFrame:
        """Return the outcomes of one table without those of contacts, a line per lead.

        Columns: `lead` (UInt32), `status`, `lead_id`, `code`, `message`, `column`, `finished_at`, `run_id` (String; times
        as `2026-01-05T10:00:00Z`), `http_status` and `attempts` (Int64).
        """
        table = self._tables.get(number) or _Table()
        held = pl.DataFrame(
            {
                "common": pl.Series(table.common, dtype=pl.UInt32),
                "lead_id": self._ids(table.lead_id),
                "at": pl.Series(table.finished_at, dtype=pl.UInt32),
                "attempts": pl.Series(table.attempts, dtype=pl.Int64),
            }
        ).with_row_index("lead")
        common = pl.DataFrame(
            [
                (place, told.status.value, told.code, told.message, told.column, told.http_status, told.run_id or None)
                for place, told in enumerate(self._common, start=1)
            ],
            schema={
                "common": pl.UInt32,
                "status": pl.String,
                "code": pl.String,
                "message": pl.String,
                "column": pl.String,
                "http_status": pl.Int64,
                "run_id": pl.String,
            },
            orient="row",
        )
        return (
            held.filter(pl.col("common") > 0)
            .join(common, on="common", how="left", maintain_order="left")
            .select(
                "lead",
                "status",
                "lead_id",
                "code",
                "message",
                "column",
                "http_status",
                pl.when(pl.col("attempts") > 0).then("attempts"),
                pl.when(pl.col("at") > 0)
                .then(pl.from_epoch("at").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
                .alias("finished_at"),
                "run_id",
            )
        )

    def _ids(self, packed: "array[int]") -> pl.Series:
        numbers = pl.Series(packed, dtype=pl.Int64)
        told = numbers.cast(pl.String).set(numbers == 0, None)
        if not self._texts:
            return told
        return pl.Series(self._texts).gather((-numbers - 1).clip(0)).zip_with(numbers < 0, told)

    def with_contacts(self, number: int) -> Iterator[tuple[int, Outcome]]:
        """Yield the leads of one table that have contacts with their outcomes."""
        table = self._tables.get(number) or _Table()
        for lead, place in enumerate(table.contacts):
            if place:
                yield lead, self._outcome(table, lead)
