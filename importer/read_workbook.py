"""Workbooks → text cells, through fastexcel (calamine); row numbers as Excel shows them.

What fastexcel 0.21 does to cells, pinned by `tests/test_read.py`: a number comes as its shortest text (`17`, not
`17.0`; decimals to 15 digits, so no float tails), a boolean as `true`, text as it stands, an empty text as null. A day
comes as `2026-01-05 00:00:00`, a time of day as one in 1899, an error cell as null; integers of more than 15 digits
come as the nearest float. These four are put right here (`sheet_xml` tells what fastexcel does not).
"""

import difflib
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Any

import fastexcel
import polars as pl

from importer.errors import Refused
from importer.headers import is_result_header, unique_names
from importer.records import Table
from importer.sheet_xml import Told, tell

#: Rows looked at for the header, from the first filled one.
_HEADER_SEARCH = 50

#: How calamine writes date cells; text cells may look the same.
_DATE_LIKE = r"^\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d.*| 00:00:00)$|^1899-12-31 "


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A sheet from its row 1 on, without blank rows at the end."""

    name: str
    cells: pl.DataFrame
    first_column: int = 0
    """Place of the first column that holds anything, from 0."""
    is_hidden: bool = False
    notes: tuple[str, ...] = ()

    @property
    def result_row(self) -> int | None:
        """Where the header of a result file of ours stands, from 0."""
        rows = self.cells.head(_HEADER_SEARCH).iter_rows()
        return next((place for place, row in enumerate(rows) if is_result_header(row)), None)


@dataclass(frozen=True, slots=True)
class _Part:
    """A sheet cut at its header."""

    headers: list[str]
    cells: pl.DataFrame
    places: pl.DataFrame
    notes: list[str]


def read_workbook(
    path: Path, content: bytes, *, kind: str, sheet: str | int | None, header_row: int | None, sha256: str
) -> Table:
    """Read one sheet of a workbook, or with `sheet` "*" all that hold data.

    The header is `header_row`, or found: the first row that fills more than half as many cells as the fullest row near
    the top, so that titles above are passed over. A result file's own header goes before both. Raises `Refused` for
    a workbook that can't be read, and for a sheet or a header row that is not there.
    """
    sheets = _sheets(path, content, kind)
    chosen = [found for found in sheets if found.result_row is not None] or _chosen(path, sheets, sheet)
    parts = [_part(path, found, header_row) for found in chosen if found.cells.height]
    cells = pl.concat([part.cells for part in parts], how="diagonal") if parts else pl.DataFrame()
    places = pl.concat([_no_places(), *(part.places for part in parts)])
    headers = {
        name: header for part in reversed(parts) for name, header in zip(part.cells.columns, part.headers, strict=True)
    }
    return Table(
        path,
        kind,
        tuple(headers[name] for name in cells.columns),
        cells,
        places,
        sha256,
        notes=tuple(_notes(sheets, chosen, parts)),
    )


def peek_workbook(path: Path, content: bytes) -> bool:
    """Tell whether a workbook is a result file of ours; of those that can't be one, only the raw XML is looked at."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = [name for name in archive.namelist() if re.search(r"sharedStrings|worksheets/|content\.xml", name)]
            if parts and not any(b"import_run_id" in archive.read(name) for name in parts if name.endswith(".xml")):
                return False
    except (zipfile.BadZipFile, RuntimeError, OSError):
        pass  # .xls is no archive, and calamine judges what is damaged
    with _calamine(path):
        reader = fastexcel.read_excel(content)
        for name in reader.sheet_names:
            top = _load(reader, name, n_rows=_HEADER_SEARCH).to_polars()
            if any(map(is_result_header, top.iter_rows())):
                return True
    return False


def _no_places() -> pl.DataFrame:
    return pl.DataFrame(schema={"sheet": pl.String, "row": pl.Int64})


# Sheets.


@contextmanager
def _calamine(path: Path) -> Iterator[None]:
    """Refuse what calamine can't read, or panics at."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, fastexcel.FastExcelError) and type(error).__name__ != "PanicException":
            raise
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Refused(
            f"{path}: the workbook is damaged, or of a kind that can't be read ({why}). Open it in Excel, "
            "save it as .xlsx, and run this again."
        ) from error


def _load(reader: fastexcel.ExcelReader, name: str, **how: Any) -> fastexcel.ExcelSheet:
    """Load a sheet with nothing skipped: `skip_rows=0` keeps the blank rows at the top, and so the row numbers."""
    dtypes = how.pop("dtypes", "string")
    sheet: fastexcel.ExcelSheet = reader.load_sheet(
        name, header_row=None, skip_rows=0, dtypes=dtypes, schema_sample_rows=1, **how
    )
    return sheet


def _sheets(path: Path, content: bytes, kind: str) -> list[_Sheet]:
    """Load all sheets: those that hold data are to be told of, and a result is found by its header."""
    with _calamine(path):
        reader = fastexcel.read_excel(content)
        loaded = [_load(reader, name) for name in reader.sheet_names]
        cells = [sheet.to_polars() for sheet in loaded]
        long_integers = any(column.str.contains(r"^-?\d{16,}$").any() for frame in cells for column in frame)
        told = tell(content, kind, reader.sheet_names, long_integers=long_integers)
        return [_sheet(reader, sheet, frame, told[sheet.name]) for sheet, frame in zip(loaded, cells, strict=True)]


def _sheet(reader: fastexcel.ExcelReader, loaded: fastexcel.ExcelSheet, cells: pl.DataFrame, told: Told) -> _Sheet:
    name = loaded.name
    is_hidden = loaded.visible != "visible"
    if not cells.width:
        return _Sheet(name, cells, is_hidden=is_hidden)
    first = loaded.available_columns()[0].absolute_index
    cells = _with_dates(reader, name, cells, first, told).select(pl.when(pl.all() != "").then(pl.all()))
    cells = _patched(cells, first, told)
    filled = cells.select(pl.any_horizontal(pl.all().is_not_null())).to_series().arg_true()
    cells = cells.head(int(filled[-1]) + 1 if filled.len() else 0)
    return _Sheet(name, cells, first, is_hidden, told.notes)


def _with_dates(reader: fastexcel.ExcelReader, name: str, cells: pl.DataFrame, first: int, told: Told) -> pl.DataFrame:
    """Write date cells in ISO 8601: `2026-01-05`, `2026-01-05 13:30:00`, times of day as `13:30:00`.

    Where texts may look like dates, the columns are loaded once more, as dates: such texts come as null then.
    """
    likely = [place for place, column in enumerate(cells) if column.str.contains(_DATE_LIKE).any()]
    if not likely:
        return cells
    texts = [cells.to_series(place) for place in likely]
    is_date = [text.str.contains(_DATE_LIKE) for text in texts]
    if told.has_date_texts or any(text.str.contains(r"^\d{4}-\d\d-\d\dT").any() for text in texts):
        columns = [first + place for place in likely]
        is_date = [
            date.is_not_null() for date in _load(reader, name, dtypes="datetime", use_columns=columns).to_polars()
        ]
    changed = []
    for text, dates in zip(texts, is_date, strict=True):
        written = (
            pl.when(text.str.starts_with("1899-12-31 "))
            .then(text.str.slice(11))
            .when(text.str.ends_with(" 00:00:00"))
            .then(text.str.head(10))
            .otherwise(text.str.replace("T", " ", literal=True))
        )
        changed.append(pl.when(dates).then(written).otherwise(text).alias(text.name))
    return cells.with_columns(changed)


def _patched(cells: pl.DataFrame, first: int, told: Told) -> pl.DataFrame:
    for column, texts in told.cells.items():
        inside = {row: text for row, text in texts.items() if row < cells.height}
        if inside and first <= column < first + cells.width:
            series = cells.to_series(column - first)
            cells = cells.with_columns(series.scatter(list(inside), list(inside.values())))
    return cells


def _chosen(path: Path, sheets: Sequence[_Sheet], wanted: str | int | None) -> list[_Sheet]:
    """Return the sheets to import (contract, `source.sheet`)."""
    filled = [sheet for sheet in sheets if sheet.cells.height]
    if wanted == "*":
        return filled
    if wanted is None:
        if len(filled) > 1:
            raise Refused(
                f"{path}: several sheets hold data: {_listed(filled)}. "
                'Name the one to import in the config (source.sheet), or "*" for all.'
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


def _listed(sheets: Sequence[_Sheet]) -> str:
    return ", ".join(repr(sheet.name) + (" (hidden)" if sheet.is_hidden else "") for sheet in sheets) or "none"


# The table on a sheet.


def _part(path: Path, sheet: _Sheet, header_row: int | None) -> _Part:
    """Cut a sheet at its header row; columns with neither header nor data are left out."""
    cells, place, notes = sheet.cells, sheet.result_row, []
    if place is None and header_row is not None:
        place = header_row - 1
        if place >= cells.height or not _filled(cells.row(place)):
            found = "the row is blank" if place < cells.height else f"the sheet has {cells.height} rows"
            raise Refused(
                f'{path}, sheet "{sheet.name}": the header should stand in row {header_row} (source.header_row), but '
                f"{found}. Set the row of the column names."
            )
    elif place is None:
        place = _header_place(cells)
        if any(map(_filled, cells.head(place).iter_rows())):
            notes.append(
                f'sheet "{sheet.name}": the header was found in row {place + 1}, below other text. '
                "If that is wrong, set source.header_row"
            )
    header, body = cells.row(place), cells.slice(place + 1)
    keep = [at for at in range(cells.width) if _filled(header[at : at + 1]) or body.to_series(at).count()]
    headers = [header[at] or "" for at in keep]
    names, repeated = _names(headers, [sheet.first_column + at for at in keep])
    body = body.select(pl.nth(keep))
    body.columns = names
    row = pl.int_range(place + 2, place + 2 + body.height, dtype=pl.Int64, eager=True).alias("row")
    places = row.to_frame().select(sheet=pl.lit(sheet.name), row=pl.col("row"))
    return _Part(headers, body, places, [*notes, *repeated])


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


def _header_place(cells: pl.DataFrame) -> int:
    """Find the header, from 0: the first row more than half as full as the fullest, so that of two columns both are filled."""
    first = next((place for place, row in enumerate(cells.iter_rows()) if _filled(row)), 0)
    counts = [_filled(row) for row in cells.head(first + _HEADER_SEARCH).iter_rows()]
    fullest = max(counts, default=0)
    enough = fullest // 2 + 1
    return next((place for place, count in enumerate(counts) if count >= enough), 0)


def _notes(sheets: Sequence[_Sheet], chosen: Sequence[_Sheet], parts: Sequence[_Part]) -> Iterator[str]:
    if not parts:
        yield "there is nothing in the workbook" if not chosen else f"there is nothing on sheet {_listed(chosen)}"
    for part in parts:
        yield from part.notes
    for sheet in chosen:
        yield from starmap('sheet "{}": {}'.format, ((sheet.name, note) for note in sheet.notes))
        if sheet.is_hidden and sheet.cells.height:
            yield f'sheet "{sheet.name}" is hidden in Excel, and was read all the same'
    others = [sheet for sheet in sheets if sheet.cells.height and sheet not in chosen]
    if others:
        yield f"other sheets hold data too, and were not read: {_listed(others)}"
