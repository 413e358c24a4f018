"""Finds the header of a text file that stands below a title, and says what was assumed where that is not sure.

In workbooks `sheets` finds it, by how full the rows are; in a text file a short first row may be the header, too.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from importer.cells import INVISIBLE
from importer.errors import Refused
from importer.headers import unique_names
from importer.phones import phone_shaped
from importer.read import Opened
from importer.records import RESULT_COLUMNS, Source, Table
from importer.sheets import HEADER_SEARCH

#: The first rows of a text file.
Rows = Sequence[Sequence[str]]
#: Tells whether a row is a header.
IsHeader = Callable[[Sequence[str]], bool]


@dataclass(frozen=True, slots=True)
class Below:
    """A row below others that seems to be the header, numbered from 1, where `delimiter` parts the cells."""

    row: int
    delimiter: str
    cells: int
    above: int
    """Filled cells of the row, and of the fullest above it."""
    may_lose: bool
    """Whether a row above holds a number or an address as those of people do, or lines that a broken quote may hide."""

    @property
    def is_sure(self) -> bool:
        """Tell whether all above is titles: single cells, or rows that are half as full at most."""
        return not self.may_lose and self.above <= max(1, self.cells // 2)


def read_titled(path: Path, source: Source, has_all: IsHeader) -> Table:
    """Read an input, whose header is the row that `has_all` columns; in a text file also below titles.

    Where the first row has them, or no row surely, it is read as `read` does; in the latter case the table's notes say what
    was assumed, and what may be set. Raises as `read` does.
    """
    opened = Opened.load(path)
    first = _as_it_stands(opened, source)
    if isinstance(first, Table) and (has_all(first.columns) or not _may_stand_below(first, source)):
        return first
    found = [] if source.header_row is not None else found_below(opened, source, lambda _: _with(has_all))
    lower = next(_lower(opened, source, has_all, found), None)
    if lower is not None:
        return lower
    if isinstance(first, Refused):
        raise first
    return replace(first, notes=(*first.notes, *_assumed(opened, source, first, found)))


def _as_it_stands(opened: Opened, source: Source) -> Table | Refused:
    try:
        return opened.read(source)
    except Refused as refusal:  # a title may have a broken quote
        return refusal


def _with(has_all: IsHeader) -> IsHeader:
    return lambda row: has_all(unique_names(row)[0])


def _lower(opened: Opened, source: Source, has_all: IsHeader, found: Sequence[Below]) -> Iterator[Table]:
    """Yield what is read from a row that surely is the header."""
    for below in found:
        if below.is_sure:
            table = opened.read(replace(source, header_row=below.row))
            note = f"the header was found in row {below.row}, below other text. If that is wrong, set source.header_row"
            if table.delimiter == below.delimiter and has_all(table.columns):
                yield replace(table, notes=(note, *table.notes))


def found_below(opened: Opened, source: Source, telling: Callable[[Rows], IsHeader]) -> list[Below]:
    """Return where a text file's header may stand below other rows, once for each delimiter that it may have.

    `telling` takes the first rows, and returns what tells the header among them. The highest row goes first.
    """
    parted = opened.top(source, HEADER_SEARCH)
    found = [below for delimiter, rows in parted.items() if (below := _below(rows, delimiter, telling(rows)))]
    return sorted(found, key=lambda below: below.row)


def _below(rows: Rows, delimiter: str, is_header: IsHeader) -> Below | None:
    place = next((place for place, row in enumerate(rows) if is_header(row)), None)
    if place is None or not any(map(_filled, rows[:place])):
        return None
    above, header = rows[:place], rows[place]
    fullest = max(1 if _is_prose(row) and not _is_prose(header) else _filled(row) for row in above)
    return Below(place + 1, delimiter, _filled(header), fullest, any(map(_may_be_people, above)))


def _is_prose(row: Sequence[str]) -> bool:
    """Tell one text whose own commas part it, as in "Leads, spring 2026": a space follows each."""
    return len(row) > 1 and all(cell.startswith(" ") for cell in row[1:] if cell)


def _may_be_people(row: Sequence[str]) -> bool:
    """Tell by any part of a row: people may stand above that another delimiter parts."""
    parts = [part for cell in row for part in re.split(r"[,;\t|]", cell)]
    cells = pl.Series(parts, dtype=pl.String).str.strip_chars(INVISIBLE + "=\"'")
    is_somebodys = phone_shaped(cells) | cells.str.contains(r"^\S+@\S+\.\S+$") | cells.str.contains(r"[\r\n]")
    return bool(is_somebodys.any())


def _filled(row: Sequence[str]) -> int:
    return sum(1 for cell in row if cell.strip())


def _may_stand_below(table: Table, source: Source) -> bool:
    """Tell a text file whose header row was neither set, nor is that of a result."""
    is_text = table.delimiter is not None
    return (
        is_text and source.header_row is None and bool(table.columns) and not set(table.columns) & set(RESULT_COLUMNS)
    )


def _assumed(opened: Opened, source: Source, table: Table, found: Sequence[Below]) -> Iterator[str]:
    """Say which row was taken for the header, where another may be meant."""
    rows = opened.top(source, HEADER_SEARCH)
    first = next((place for place, row in enumerate(rows[table.delimiter or ""], start=1) if _filled(row)), 1)
    fullest = max((_filled(row) for parted in rows.values() for row in parted), default=0)
    taken = f"the header was taken to be row {first}"
    if found and found[0].may_lose:
        yield (
            f"{taken}. Row {found[0].row} has the columns that are wanted, but rows above it may be people. Move it to the top "
            f"of the file; or, if they are none, set source.header_row: {found[0].row} in the config"
        )
    elif found:
        yield (
            f"{taken}. Row {found[0].row} has the columns that are wanted, but more than a title stands above it. If it is the "
            f"header, set source.header_row: {found[0].row} in the config"
        )
    elif sum(1 for header in table.headers if header.strip()) <= fullest // 2:
        yield (
            f"{taken}, which has fewer cells than rows below. If that is a title, set "
            "source.header_row in the config to the row of the header"
        )
