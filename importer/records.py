"""The nouns: what travels between the stages. No I/O, and nothing of ours is imported here.

Frames carry rows until they are grouped; from there one frozen `Lead` each. Every frame's columns are listed where its
schema stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import polars as pl


class Status(StrEnum):
    """What became of a row (contract, "The result file")."""

    CREATED = "created"
    DUPLICATE = "duplicate"
    ALREADY_IMPORTED = "already_imported"
    SUPPRESSED = "suppressed"
    FILTERED = "filtered"
    INVALID = "invalid"
    REJECTED = "rejected"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_SENT = "not_sent"
    READY = "ready"


#: Statuses that leave nothing to do: `retry` keeps the cells of such rows.
DONE = frozenset({Status.CREATED, Status.DUPLICATE, Status.ALREADY_IMPORTED, Status.SUPPRESSED, Status.FILTERED})

#: The columns that a result file adds, in order (contract, "The result file").
RESULT_COLUMNS = (
    "import_status",
    "import_lead_id",
    "import_contact_id",
    "import_error_code",
    "import_error",
    "import_error_column",
    "import_http_status",
    "import_attempts",
    "import_finished_at",
    "import_sheet",
    "import_row",
    "import_run_id",
)

#: One line per thing found about a row. `index` is the row's place in its table from 0, `slot` 0 for the row's own
#: person and n for its n-th contact in columns; `column` is the user's header at fault (null: the whole row);
#: `blocking` is false for what is only said (a dropped value), true for what makes the person `invalid`.
PROBLEMS: dict[str, Any] = {
    "index": pl.UInt32,
    "slot": pl.UInt8,
    "code": pl.String,
    "column": pl.String,
    "message": pl.String,
    "blocking": pl.Boolean,
}


def no_problems() -> pl.DataFrame:
    """Return an empty frame of the `PROBLEMS` schema."""
    return pl.DataFrame(schema=PROBLEMS)


@dataclass(frozen=True, slots=True)
class Source:
    """Where in a file the table is, and how it is written (contract, `source`); None: found."""

    sheet: str | int | None = None
    """Name, number from 1, or "*" for all; None: the only sheet with data."""
    header_row: int | None = None
    """From 1."""
    hidden: Literal["keep", "skip"] = "keep"
    """What to do with hidden rows, columns and sheets."""
    encoding: str | None = None
    """Python's name of a text file's encoding."""
    delimiter: str | None = None
    """Of a text file, one character."""
    short_rows: Literal["invalid", "fill"] = "invalid"
    """What a text file's row with fewer cells than the header is: cut off, or without the empty cells at its end."""


#: Number cells that a workbook shows with digits or signs that the number itself has not (zeros in front, a plus,
#: brackets). `index` is the row's place in its table from 0, `column` its unique name, `format` the number format as
#: Excel writes it (ECMA-376 Part 1, 18.8.31), such as `00000`, `0##########` or `(000) 000-0000`.
FORMATS: dict[str, Any] = {"index": pl.UInt32, "column": pl.String, "format": pl.String}


def no_formats() -> pl.DataFrame:
    """Return an empty frame of the `FORMATS` schema."""
    return pl.DataFrame(schema=FORMATS)


@dataclass(frozen=True, slots=True)
class Table:
    """One input as text cells, each row with its place in the file.

    `cells` has one String column per column of the input, in order and under unique names (`columns`); an empty cell
    is null. `headers` are the header cells as they stand in the file, which may be empty or repeated. `places` has
    `sheet` (String, null for text files) and `row` (Int64, from 1, as Excel shows it), one line per row of `cells`.
    `problems` (schema `PROBLEMS`, slot 0) are rows that the reader could not trust, such as a broken line.
    """

    path: Path
    kind: str
    """What the content is: "csv", "xlsx", "xls", "xlsb", "ods", …; not what the name says."""
    headers: tuple[str, ...]
    cells: pl.DataFrame
    places: pl.DataFrame
    sha256: str
    """Of the file's bytes, in hex."""
    problems: pl.DataFrame = field(default_factory=no_problems)
    notes: tuple[str, ...] = ()
    """What the summary has to say about the file: a guessed encoding, other sheets with data, hidden rows."""
    numbers: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Which cells a workbook holds as numbers, not as texts: a Boolean column for each column that has such cells, under
    its unique name, as high as `cells`; dates, times and booleans are no numbers. No columns for text files."""
    formats: pl.DataFrame = field(default_factory=no_formats)
    """Number cells shown with more than their number (schema `FORMATS`)."""
    amounts: pl.DataFrame = field(default_factory=pl.DataFrame)
    """How a workbook shows its amounts: for each column that has some an Enum column of number formats (such as
    `#,##0.00`, or Excel's own number for one), under its unique name, null for all other cells. It is looks only."""
    delimiter: str | None = None
    """Of a text file."""
    encoding: str | None = None
    """Of a text file."""
    left_over: tuple[tuple[int, str], ...] = ()
    """Cells of a text file beyond its header, which are in no column: the row's place from 0, and the cell."""
    ends_in_cell: bool = False
    """Whether a text file ends within a cell, for all that is known: its last line has no line end."""

    @property
    def columns(self) -> Sequence[str]:
        """The unique column names, in the order of the file."""
        return self.cells.columns

    def may_be_cut(self, column: str) -> bool:
        """Tell whether the last cell of a column is the one that the file ends in, so that it may be incomplete.

        Not where the row is known to be, since it lacks cells.
        """
        if not self.ends_in_cell or not self.cells.height:
            return False
        last = self.cells.row(-1)
        is_refused = (self.problems["index"] == self.cells.height - 1).any()
        return not is_refused and all(cell is None for cell in last[self.cells.columns.index(column) + 1 :])

    @property
    def is_result(self) -> bool:
        """Whether this is a result file of ours (contract, "Commands")."""
        return {"import_status", "import_run_id"} <= set(self.cells.columns)


@dataclass(frozen=True, slots=True)
class Person:
    """A lead or one of its contacts, as it goes on the wire.

    `variables` is the text of a JSON object with sorted names and no spaces; `index` and `slot` say which row and
    which contact column of the table it came from (see `PROBLEMS`).
    """

    phone: str
    variables: str
    index: int
    slot: int = 0


@dataclass(frozen=True, slots=True)
class Lead:
    """One POST: a primary and at most ten secondary contacts.

    `occurrence` counts from 1 the leads of one input that are alike to the letter, which only `allow_duplicate` tells
    apart. `source` names the input.
    """

    primary: Person
    campaign_id: int
    contacts: tuple[Person, ...] = ()
    allow_duplicate: bool = False
    occurrence: int = 1
    source: str = ""


class Meaning(StrEnum):
    """What one attempt came to, by what may happen next."""

    CREATED = "created"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    LATER = "later"
    """The server asks to wait (429, 503 with Retry-After): surely not created, uses up no attempt."""
    UNREACHED = "unreached"
    """Surely not sent: may be tried again freely."""
    AMBIGUOUS = "ambiguous"
    """May or may not have been created: never sent again without proof."""
    STOP = "stop"
    """Not created, and no other lead would be: the key is refused or a login page answered."""


@dataclass(frozen=True, slots=True)
class Created:
    """A lead as the server shows it, in an answer to a create or in a look-up."""

    lead_id: str
    phone: str
    campaign_id: int | None
    variables: dict[str, Any] | None
    """None where the answer does not say."""
    contacts: tuple["Created", ...]
    status: str | None = None
    created_at: str | None = None
    """As it stood; may lack a zone."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one attempt came to, and what the server said.

    `field` is the API's path of what it refused (`variables.email`, `secondary_contacts.0.phone_number`);
    `retry_after` seconds to wait, None where the server names none; `systemic` names what would refuse every lead
    alike ("campaign", "account", "balance", "key", "login", "html", "timeout"), else None.
    """

    meaning: Meaning
    code: str | None = None
    message: str | None = None
    field: str | None = None
    http_status: int | None = None
    lead: Created | None = None
    retry_after: float | None = None
    systemic: str | None = None
    date: datetime | None = None
    """The answer's `Date`, by the server's clock."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one lead, as the ledger keeps it and the result file shows it.

    `contact_ids` stand in the order of `Lead.contacts`; None for one that the server did not confirm. `finished_at`
    is UTC.
    """

    status: Status
    run_id: str
    finished_at: datetime | None
    lead_id: str | None = None
    contact_ids: tuple[str | None, ...] = ()
    code: str | None = None
    message: str | None = None
    field: str | None = None
    http_status: int | None = None
    attempts: int = 0
    absent: tuple[int, ...] = ()
    """Places in `Lead.contacts` of those that the created lead is known not to have."""
    column: str | None = None
    """The user's column at fault, where it is known."""
    in_doubt: bool = False
    """Whether it is `unknown` only until it is settled, which the next run does by itself."""


@dataclass(frozen=True, slots=True)
class PastResult:
    """A result that stands where a new one will be written, as its receipt tells it."""

    path: Path
    run_id: str
    service: str
    started_at: str
    finished_at: str | None
    rows: int
    """That are created, or may be."""


#: The code of an answer that names a lead with another number or campaign than was sent.
OTHER_LEAD = "other_lead"

#: The code of a refusal as duplicate after an attempt in doubt: most likely it is that attempt's lead.
PROBABLY_OURS = "probably_ours"


@dataclass(frozen=True, slots=True)
class Doubt:
    """An attempt of which nobody knows what became: what was sent, and since when it may be there.

    `payload` is the body as it was posted, `intended_at` the time of the first attempt in question or a little before
    it (epoch seconds by the server's clock; None: no answer had told it), `attempts` those made so far.
    """

    identity: bytes
    run_id: str
    phone: str
    payload: bytes
    intended_at: float | None
    attempts: int
    code: str | None = None
    """Of the last attempt's answer."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether the server answered with a lead of another number or campaign.

        Then it may have changed the number it keeps, and no look-up of ours will ever find the lead: that it is not found
        proves nothing.
        """
        return self.code == OTHER_LEAD


@dataclass(frozen=True, slots=True)
class Planned:
    """A lead whose turn will come; `place` is its (table, lead) in the command.

    `doubt` is an earlier attempt of it, which is settled first; `force` sends it then even where nothing is proven.
    """

    place: tuple[int, int]
    lead: Lead
    identity: bytes
    doubt: Doubt | None = None
    force: bool = False
    is_new: bool = False
    """Whether the ledger has never had it."""
