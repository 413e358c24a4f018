"""Workbooks → text cells, through fastexcel (calamine); row numbers as Excel shows them."""

import difflib
from pathlib import Path
from typing import Any

import fastexcel
import polars as pl

from importer.errors import Refused
from importer.headers import is_result_header, unique_names
from importer.records import Table

#: Rows looked at for the header.
_HEADER_SEARCH = 50


def read_workbook(
    path: Path, kind: str, content: bytes, sheet: str | int | None, header_row: int | None, sha256: str
) -> Table:
    """Read one sheet of a workbook, or with sheet `*` all that hold data."""
    try:
        reader = fastexcel.read_excel(content)
        sheets = {name: _cells(reader, name) for name in _wanted(path, reader.sheet_names, sheet)}
    except Refused:
        raise
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
            raise
        raise Refused(
            f"{path}: the workbook is damaged or of a kind that can't be read ({error}). Open it in Excel, save it as .xlsx, and run this again."
        ) from error
    results = {name: cells for name, cells in sheets.items() if _result_row(cells) is not None}
    if results:
        sheets, header_row = results, None
    filled = {name: cells for name, cells in sheets.items() if cells.height}
    chosen = list(filled) if sheet == "*" or results else list(_one(path, filled, sheet))
    found = [_part(path, name, sheets[name], header_row) for name in chosen]
    parts = [part for part in found if part is not None]
    if not parts:
        empty = pl.DataFrame(schema={"sheet": pl.String, "row": pl.Int64})
        return Table(path, kind, (), pl.DataFrame(), empty, sha256, notes=("the workbook is empty",))
    cells = pl.concat([part[0] for part in parts], how="diagonal")
    places = pl.concat([part[1] for part in parts])
    headers = tuple(parts[0][2]) if len(parts) == 1 else tuple(cells.columns)
    notes = [note for part in parts for note in part[3]]
    others = [name for name in filled if name not in chosen]
    if others:
        notes.append(f"other sheets hold data too and were not read: {', '.join(repr(name) for name in others)}")
    return Table(path, kind, headers, cells, places, sha256, notes=tuple(notes))


def _wanted(path: Path, names: list[str], sheet: str | int | None) -> list[str]:
    """Return the sheets to load: all, as results are found by their headers and other sheets are told of."""
    if isinstance(sheet, int) and not 1 <= sheet <= len(names):
        return names
    return names


def _cells(reader: Any, name: str) -> pl.DataFrame:
    """Return a sheet from its first row on, without blank rows at the end."""
    loaded = reader.load_sheet(name, header_row=None, skip_rows=0, dtypes="string", schema_sample_rows=1)
    frame: pl.DataFrame = loaded.to_polars()
    if not frame.width:
        return frame
    frame = frame.select(pl.all().cast(pl.String).replace("", None))
    filled = frame.select(pl.any_horizontal(pl.all().is_not_null())).to_series().arg_true()
    return frame.head(int(filled[-1]) + 1 if filled.len() else 0)


def _one(path: Path, filled: dict[str, pl.DataFrame], sheet: str | int | None) -> list[str]:
    listed = ", ".join(repr(name) for name in filled) or "none"
    if sheet is None:
        if len(filled) > 1:
            raise Refused(
                f'{path}: several sheets hold data: {listed}. Name the one to import in the config (source.sheet), or "*" for all.'
            )
        return list(filled)
    if isinstance(sheet, int):
        if not 1 <= sheet <= len(filled):
            raise Refused(f"{path}: there is no sheet number {sheet}. Sheets with data: {listed}.")
        return [list(filled)[sheet - 1]]
    found = [name for name in filled if name == sheet] or [
        name for name in filled if name.strip().casefold() == sheet.strip().casefold()
    ]
    if not found:
        near = difflib.get_close_matches(sheet, list(filled), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise Refused(f"{path}: there is no sheet {sheet!r} with data.{hint} Sheets with data: {listed}.")
    return found[:1]


def _result_row(cells: pl.DataFrame) -> int | None:
    for place, row in enumerate(cells.head(5).iter_rows()):
        if is_result_header(row):
            return place
    return None


def _part(
    path: Path, name: str, cells: pl.DataFrame, header_row: int | None
) -> tuple[pl.DataFrame, pl.DataFrame, list[str], list[str]] | None:
    """Cut one sheet at its header row."""
    if not cells.height:
        return None
    place = _result_row(cells)
    if place is None:
        place = _header_place(cells) if header_row is None else header_row - 1
    if place >= cells.height:
        raise Refused(
            f'{path}, sheet "{name}": source.header_row is {header_row}, but the sheet has only {cells.height} rows.'
        )
    header = [cell or "" for cell in cells.row(place)]
    keep = [at for at in range(cells.width) if header[at].strip() or cells[:, at].slice(place + 1).is_not_null().any()]
    header = [header[at] for at in keep]
    names, notes = unique_names(header)
    if (
        place
        and header_row is None
        and cells.head(place).select(pl.any_horizontal(pl.all().is_not_null())).to_series().any()
    ):
        notes.append(f'the header was found in row {place + 1} of sheet "{name}"')
    body = cells.slice(place + 1).select(pl.nth(keep))
    body.columns = names
    places = pl.DataFrame(
        {
            "sheet": pl.Series([name], dtype=pl.String).new_from_index(0, body.height),
            "row": pl.int_range(place + 2, place + 2 + body.height, dtype=pl.Int64, eager=True),
        }
    )
    return body, places, header, notes


def _header_place(cells: pl.DataFrame) -> int:
    """Find the header: the first row about as full as the fullest near it, so that banners above are passed over."""
    counts = (
        cells.head(_HEADER_SEARCH)
        .select(pl.sum_horizontal(pl.all().is_not_null().cast(pl.Int32)))
        .to_series()
        .to_list()
    )
    widest = max(counts)
    return next(place for place, count in enumerate(counts) if count >= min(widest, max(2, (widest + 1) // 2)))
