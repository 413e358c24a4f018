"""Sheets of cells → one table: which sheets, where the header stands, what is hidden. For every kind that has sheets."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import starmap
from pathlib import Path
from typing import Any

import polars as pl

from importer.errors import Refused
from importer.headers import is_result_header, unique_names
from importer.number_formats import is_amount
from importer.records import Source, Table, no_formats
from importer.wording import count_of

#: Rows looked at for the header, from the first filled one.
HEADER_SEARCH = 50

#: Texts of numbers; what stands in a number cell and looks otherwise is a date.
NUMBER = r"^-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"


#: Digits that Excel keeps of a number, and shows.
_DIGITS = 15

#: Number cells by their place on the sheet, from 0.
CELLS: dict[str, Any] = {"row": pl.UInt32, "column": pl.UInt32, "format": pl.String}


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a sheet beside its texts; rows and columns from 0, as on the sheet."""

    notes: tuple[str, ...] = ()
    numbers: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CELLS))
    """Number cells (schema `CELLS`); `format` is null where it is not telling (`number_formats`)."""
    hidden_rows: frozenset[int] = frozenset()
    hidden_columns: frozenset[int] = frozenset()
    is_filtered: bool = False
    merged: tuple[tuple[int, int, int, int], ...] = ()
    """First row, first column, last row, last column."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet from its row 1 on, without blank rows at the end."""

    name: str
    cells: pl.DataFrame
    first_column: int = 0
    """Place of the first column that holds anything, from 0."""
    is_hidden: bool = False
    facts: Facts = field(default_factory=Facts)

    @property
    def result_row(self) -> int | None:
        """Where the header of a result file of ours stands, from 0."""
        rows = self.cells.head(HEADER_SEARCH).iter_rows()
        return next((place for place, row in enumerate(rows) if is_result_header(row)), None)


@dataclass(frozen=True, slots=True)
class _Part:
    """A sheet cut at its header."""

    headers: list[str]
    cells: pl.DataFrame
    places: pl.DataFrame
    numbers: pl.DataFrame
    formats: pl.DataFrame
    amounts: pl.DataFrame
    notes: list[str]


def trimmed(cells: pl.DataFrame) -> pl.DataFrame:
    """Return texts with null for empty ones, and without blank rows at the end."""
    cells = cells.select(pl.when(pl.all() != "").then(pl.all()))
    if not cells.width:
        return cells
    filled = cells.select(pl.any_horizontal(pl.all().is_not_null())).to_series().arg_true()
    return cells.head(int(filled[-1]) + 1 if filled.len() else 0)


def table_of(path: Path, sheets: Sequence[Sheet], *, kind: str, source: Source, sha256: str) -> Table:
    """Make one table of the sheet that `source` names, or of all.

    The header is the row that was set, or found: the first row that fills more than half as many cells as the fullest
    row near the top, so that titles above are passed over. A result file's own header goes before both, and of a
    result nothing is skipped. Raises `Refused` for a sheet or a header row that is not there.
    """
    results = [found for found in sheets if found.result_row is not None]
    chosen = results or _chosen(path, sheets, source)
    skip = source.hidden == "skip" and not results
    parts = [_part(path, found, source.header_row, skip=skip) for found in chosen if found.cells.height]
    cells = pl.concat([part.cells for part in parts], how="diagonal") if parts else pl.DataFrame()
    headers = {
        name: header for part in reversed(parts) for name, header in zip(part.cells.columns, part.headers, strict=True)
    }
    return Table(
        path,
        kind,
        tuple(headers[name] for name in cells.columns),
        cells,
        pl.concat([pl.DataFrame(schema={"sheet": pl.String, "row": pl.Int64}), *(part.places for part in parts)]),
        sha256,
        notes=tuple(_notes(sheets, chosen, parts, skip=skip)),
        numbers=_numbers(parts),
        formats=_formats(parts),
        amounts=_amounts(parts),
    )


# Which sheets.


def _chosen(path: Path, sheets: Sequence[Sheet], source: Source) -> list[Sheet]:
    """Return the sheets to import (contract, `source.sheet`)."""
    wanted = source.sheet
    filled = [sheet for sheet in sheets if sheet.cells.height and not (source.hidden == "skip" and sheet.is_hidden)]
    if wanted == "*":
        return filled
    if wanted is None:
        if len(filled) > 1:
            raise Refused(
                f"{path}: several sheets hold data: {_listed(filled)}. "
                'Name the one to import in the config (source.sheet), or "*" for all; lead-importer init writes one.'
            )
        return filled
    if isinstance(wanted, int):
        if not 1 <= wanted <= len(sheets):
            raise Refused(
                f"{path}: there is no sheet number {wanted} (source.sheet); there are {len(sheets)}: "
                f"{_listed(sheets)}. Set its name or its number."
            )
        return [sheets[wanted - 1]]
    found = [sheet for sheet in sheets if sheet.name == wanted]
    found = found or [sheet for sheet in sheets if _loose(sheet.name) == _loose(wanted)]
    if len(found) == 1:
        return found
    near = difflib.get_close_matches(_loose(wanted), [_loose(sheet.name) for sheet in sheets], n=1)
    hint = "".join(f" Did you mean {sheet.name!r}?" for sheet in sheets if [_loose(sheet.name)] == near)
    raise Refused(
        f"{path}: there is no sheet {wanted!r} (source.sheet); there are: {_listed(sheets)}.{hint} Set one of these."
    )


def _loose(name: str) -> str:
    return " ".join(name.split()).casefold()


def _listed(sheets: Sequence[Sheet]) -> str:
    return ", ".join(repr(sheet.name) + (" (hidden)" if sheet.is_hidden else "") for sheet in sheets) or "none"


# The table on a sheet.


def _part(path: Path, sheet: Sheet, header_row: int | None, *, skip: bool) -> _Part:
    """Cut a sheet at its header row; columns with neither header nor data are left out."""
    place, notes = _header_place(path, sheet, header_row)
    header, body = sheet.cells.row(place), sheet.cells.slice(place + 1)
    columns = [
        at
        for at in range(sheet.cells.width)
        if (_filled(header[at : at + 1]) or body.to_series(at).count())
        and not (skip and sheet.first_column + at in sheet.facts.hidden_columns)
    ]
    headers = [header[at] or "" for at in columns]
    names, repeated = _names(headers, [sheet.first_column + at for at in columns])
    body = body.select(pl.nth(columns))
    body.columns = names
    on_sheet = pl.int_range(place + 1, place + 1 + body.height, dtype=pl.UInt32, eager=True).alias("row")
    hidden = on_sheet.is_in(sorted(sheet.facts.hidden_rows)) if sheet.facts.hidden_rows else None
    if skip and hidden is not None:
        body, on_sheet = body.filter(~hidden), on_sheet.filter(~hidden)
    places = on_sheet.to_frame().select(sheet=pl.lit(sheet.name), row=pl.col("row").cast(pl.Int64) + 1)
    numbers, formats, amounts = _typed(sheet, body, on_sheet, dict(zip(columns, names, strict=True)))
    notes += [*repeated, *_told(sheet, place, hidden, skip=skip)]
    return _Part(headers, _without_tails(body, numbers), places, numbers, formats, amounts, notes)


def _header_place(path: Path, sheet: Sheet, header_row: int | None) -> tuple[int, list[str]]:
    cells, place = sheet.cells, sheet.result_row
    if place is not None:
        return place, []
    if header_row is not None:
        place = header_row - 1
        if place >= cells.height or not _filled(cells.row(place)):
            found = "the row is blank" if place < cells.height else f"the sheet has {count_of(cells.height, 'row')}"
            raise Refused(
                f'{path}, sheet "{sheet.name}": the header should stand in row {header_row} (source.header_row), but '
                f"{found}. Set the row of the column names."
            )
        return place, []
    place = _likely_header(cells)
    if not any(map(_filled, cells.head(place).iter_rows())):
        return place, []
    note = (
        f'sheet "{sheet.name}": the header was found in row {place + 1}, below other text. '
        "If that is wrong, set source.header_row"
    )
    return place, [note]


def _likely_header(cells: pl.DataFrame) -> int:
    """Find the header, from 0: the first row more than half as full as the fullest, so that of two columns both are filled."""
    first = next((place for place, row in enumerate(cells.iter_rows()) if _filled(row)), 0)
    counts = [_filled(row) for row in cells.head(first + HEADER_SEARCH).iter_rows()]
    enough = max(counts, default=0) // 2 + 1
    return next((place for place, count in enumerate(counts) if count >= enough), 0)


def _names(headers: Sequence[str], columns: Sequence[int]) -> tuple[list[str], list[str]]:
    """Name the kept columns by their place on the sheet, those left out in between not counted."""
    width = columns[-1] + 1 if columns else 0
    blank = [f"\0{place}" for place in range(width)]  # stands where a column was left out; no header holds a NUL
    for place, header in zip(columns, headers, strict=True):
        blank[place] = header
    names, notes = unique_names(blank)
    return [names[place] for place in columns], notes


def _filled(row: Sequence[str | None]) -> int:
    return sum(1 for cell in row if cell and cell.strip())


# What the cells were.


def _typed(
    sheet: Sheet, body: pl.DataFrame, on_sheet: pl.Series, names: dict[int, str]
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return `Table.numbers`, `formats` and `amounts` of one part; `on_sheet` are the rows kept, `names` by place."""
    index = pl.DataFrame({"row": on_sheet, "index": pl.int_range(on_sheet.len(), dtype=pl.UInt32, eager=True)})
    cells = sheet.facts.numbers.join(index, on="row", how="inner")
    codes = sheet.facts.numbers["format"].drop_nulls().unique(maintain_order=True).to_list()
    of_amounts = pl.Enum([code for code in codes if is_amount(code)])
    numbers, formats, amounts = [], [no_formats()], []
    for (column,), group in cells.group_by("column", maintain_order=True):
        name = names.get(int(str(column)) - sheet.first_column)
        if name is None:
            continue
        is_number = pl.repeat(value=False, n=body.height, dtype=pl.Boolean, eager=True).scatter(group["index"], True)
        is_number &= body[name].str.contains(NUMBER).fill_null(value=False)
        if is_number.any():
            numbers.append(is_number.alias(name))
        shown = group.filter(pl.col("format").is_not_null() & is_number.gather(group["index"]))
        amount = pl.col("format").cast(of_amounts, strict=False)
        formats.append(shown.filter(amount.is_null()).select("index", pl.lit(name).alias("column"), "format"))
        if (of_column := shown.select("index", amount).drop_nulls()).height:
            empty = pl.repeat(None, body.height, dtype=of_amounts, eager=True)
            amounts.append(empty.scatter(of_column["index"], of_column["format"]).alias(name))
    ordered = sorted(numbers, key=lambda series: body.columns.index(series.name))
    return pl.DataFrame(ordered), pl.concat(formats).sort("index", maintain_order=True), pl.DataFrame(amounts)


def _without_tails(body: pl.DataFrame, numbers: pl.DataFrame) -> pl.DataFrame:
    """Write decimals in 15 digits where these are the same number: calamine's nine places make 99999999.1 end in 099999994."""
    changed = []
    for is_number in numbers:
        texts = body[is_number.name]
        digits = texts.str.len_bytes() - texts.str.starts_with("-").cast(pl.UInt32) - 1
        places = (is_number & (digits > _DIGITS) & texts.str.contains(".", literal=True)).arg_true()
        if places.len():
            exact = [_shortest(text) for text in texts.gather(places).to_list()]
            changed.append(texts.scatter(places, exact))
    return body.with_columns(changed)


def _shortest(text: str) -> str:
    shorter = format(float(text), f".{_DIGITS}g")
    return shorter if "e" not in shorter and float(shorter) == float(text) else text


def _numbers(parts: Sequence[_Part]) -> pl.DataFrame:
    if not any(part.numbers.width for part in parts):
        return pl.DataFrame()
    padded = [
        part.numbers if part.numbers.width else part.cells.select(pl.nth(0).is_null() & False).rename(lambda _: "\0")
        for part in parts
        if part.cells.width
    ]
    frame = pl.concat(padded, how="diagonal")
    return frame.select(pl.exclude("\0").fill_null(value=False))


def _amounts(parts: Sequence[_Part]) -> pl.DataFrame:
    """Join the parts' amounts; each knows its own formats only."""
    found = [part.amounts for part in parts if part.amounts.width]
    if not found:
        return pl.DataFrame()
    codes = pl.Enum(
        pl.concat(column.drop_nulls().unique().cast(pl.String) for frame in found for column in frame).unique()
    )
    frames = [
        part.amounts.cast(codes)
        if part.amounts.width
        else pl.repeat(None, part.cells.height, dtype=codes, eager=True).to_frame("\0")
        for part in parts
    ]
    return pl.concat(frames, how="diagonal").select(pl.exclude("\0"))


def _formats(parts: Sequence[_Part]) -> pl.DataFrame:
    frames, above = [no_formats()], 0
    for part in parts:
        frames.append(part.formats.with_columns(pl.col("index") + pl.lit(above, pl.UInt32)))
        above += part.cells.height
    return pl.concat(frames)


# What the summary says.


def _told(sheet: Sheet, header: int, hidden: pl.Series | None, *, skip: bool) -> Iterator[str]:
    facts = sheet.facts
    last = sheet.cells.height - 1
    rows = 0 if hidden is None else int(hidden.sum())
    columns = sum(
        sheet.first_column <= place < sheet.first_column + sheet.cells.width for place in facts.hidden_columns
    )
    what = [_count(rows, "row"), _count(columns, "column")]
    if rows or columns:
        by = " (a filter is on)" if facts.is_filtered else ""
        done = "left out" if skip else "read all the same. To leave them out, set source.hidden: skip"
        yield f'sheet "{sheet.name}": {" and ".join(filter(None, what))} hidden in Excel{by}, and {done}'
    elif facts.is_filtered:
        yield f'sheet "{sheet.name}": a filter is on, but hides no row'
    merged = [area for area in facts.merged if area[2] > header and area[0] <= last]
    if merged:
        yield (
            f'sheet "{sheet.name}": {_count(len(merged), "merged area")} among the rows (the first from row '
            f"{merged[0][0] + 1}). Only its first cell holds the text; the others came as empty"
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}" if number else ""


def _notes(sheets: Sequence[Sheet], chosen: Sequence[Sheet], parts: Sequence[_Part], *, skip: bool) -> Iterator[str]:
    if not parts:
        yield "there is nothing in the workbook" if not chosen else f"there is nothing on sheet {_listed(chosen)}"
    for part in parts:
        yield from part.notes
    for sheet in chosen:
        yield from starmap('sheet "{}": {}'.format, ((sheet.name, note) for note in sheet.facts.notes))
        if sheet.is_hidden and sheet.cells.height:
            yield f'sheet "{sheet.name}" is hidden in Excel, and was read all the same'
    others = [sheet for sheet in sheets if sheet.cells.height and sheet not in chosen]
    if others:
        why = ", as it is hidden (source.hidden: skip)" if skip and all(sheet.is_hidden for sheet in others) else ""
        yield f"Warning: other sheets hold data too, and were not read{why}: {_listed(others)}"
