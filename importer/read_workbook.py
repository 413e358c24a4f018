"""Workbooks → sheets of text cells, through fastexcel (calamine); row numbers as Excel shows them.

What fastexcel 0.21 does to cells, pinned by `tests/test_read.py`: a number comes as its shortest text (`17`, not
`17.0`; decimals to nine places, which `sheets` rids of tails), a boolean as `true`, text as it stands, an empty text as null. A day
comes as `2026-01-05 00:00:00`, a time of day as one in 1899, an error cell as null; integers of more than 15 digits
come as the nearest float. These four are put right here (`sheet_xml` and `sheet_records` tell what fastexcel does not).
"""

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import fastexcel
import polars as pl

from importer.errors import Refused
from importer.headers import is_result_header
from importer.records import Source, Table
from importer.sheet_records import tell_xls, tell_xlsb
from importer.sheet_xml import Told, tell_ods, tell_xlsx, with_plain_numbers
from importer.sheets import CELLS, HEADER_SEARCH, NUMBER, Sheet, table_of, trimmed
from importer.unpack import MAX_BYTES, MAX_RATIO, SMALL, read_part

#: How calamine writes date cells; text cells may look the same.
_DATE_LIKE = r"^\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d.*| 00:00:00)$|^1899-12-31 "

#: Parts of a workbook; Excel makes a few for each sheet, a chart or a picture.
_MAX_PARTS = 20_000

_TELLERS: dict[str, Callable[[Path, zipfile.ZipFile], dict[str, Told]]] = {
    "xlsx": tell_xlsx,
    "ods": tell_ods,
    "xlsb": tell_xlsb,
}

#: What a damaged archive, or damaged XML in it, raises.
_DAMAGE = (
    zipfile.BadZipFile,
    LookupError,  # a part, or an encoding, that is not there
    ParseError,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    NotImplementedError,
    zlib.error,
)


def read_workbook(path: Path, content: bytes, *, kind: str, source: Source, sha256: str) -> Table:
    """Read one sheet of a workbook, or all that hold data (`sheets.table_of`).

    Raises `Refused` for a workbook that can't be read, that would not fit into bounds, or that has no such sheet.
    """
    return table_of(path, _sheets(path, content, kind), kind=kind, source=source, sha256=sha256)


def peek_workbook(path: Path, content: bytes) -> bool:
    """Tell whether a workbook is a result file of ours; of those that can't be one, only the raw XML is looked at."""
    if content.startswith(b"PK"):
        with _archive(path, content) as archive:
            parts = [name for name in archive.namelist() if re.search(r"sharedStrings|worksheets/|content\.xml", name)]
            if not any(b"import_run_id" in read_part(path, archive, name) for name in parts if name.endswith(".xml")):
                return False
    with _calamine(path):
        reader = fastexcel.read_excel(content)
        for name in reader.sheet_names:
            top = _load(reader, name, n_rows=HEADER_SEARCH).to_polars()
            if any(map(is_result_header, top.iter_rows())):
                return True
    return False


# Guarded.


@contextmanager
def _archive(path: Path, content: bytes) -> Iterator[zipfile.ZipFile]:
    """Open a workbook's archive, and refuse one that is damaged, or a bomb."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
            size = sum(part.file_size for part in parts)
            if len(parts) > _MAX_PARTS or size > MAX_BYTES or (size > SMALL and size > MAX_RATIO * len(content)):
                raise Refused(
                    f"{path}: the workbook unpacks to {size / 1024**2:,.0f} MiB in {len(parts):,} parts, "
                    f"{size / max(1, len(content)):,.0f} times its size; no list does. Save the list as CSV."
                )
            yield archive
    except _DAMAGE as error:
        raise Refused(_damaged(path, error)) from error


@contextmanager
def _calamine(path: Path) -> Iterator[None]:
    """Refuse what calamine can't read, or panics at."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, fastexcel.FastExcelError) and type(error).__name__ != "PanicException":
            raise
        raise Refused(_damaged(path, error)) from error


def _damaged(path: Path, error: BaseException) -> str:
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"{path}: the workbook is damaged, or of a kind that can't be read ({why}). Open it in Excel, "
        "save it as .xlsx, and run this again."
    )


# Sheets.


def _load(reader: fastexcel.ExcelReader, name: str, **how: Any) -> fastexcel.ExcelSheet:
    """Load a sheet with nothing skipped: `skip_rows=0` keeps the blank rows at the top, and so the row numbers."""
    dtypes = how.pop("dtypes", "string")
    sheet: fastexcel.ExcelSheet = reader.load_sheet(
        name, header_row=None, skip_rows=0, dtypes=dtypes, schema_sample_rows=1, **how
    )
    return sheet


def _sheets(path: Path, content: bytes, kind: str) -> list[Sheet]:
    """Load all sheets: those that hold data are to be told of, and a result is found by its header."""
    if kind == "xls":
        told = tell_xls(path, content)
    else:
        with _archive(path, content) as archive:
            told = _TELLERS[kind](path, archive)
            if any(sheet.dateless for sheet in told.values()):
                content = with_plain_numbers(path, archive, told)
    with _calamine(path):
        reader = fastexcel.read_excel(content)
        return [_sheet(reader, name, told.get(name, Told())) for name in reader.sheet_names]


def _sheet(reader: fastexcel.ExcelReader, name: str, told: Told) -> Sheet:
    loaded = _load(reader, name)
    cells = loaded.to_polars()
    is_hidden = loaded.visible != "visible"
    if not cells.width:
        return Sheet(name, cells, is_hidden=is_hidden, facts=told.facts)
    first = loaded.available_columns()[0].absolute_index
    cells = _with_dates(reader, name, cells, first, told)
    facts = told.facts
    if not told.knows_numbers:
        facts = replace(facts, numbers=_numbers(reader, name, cells, first))
    return Sheet(name, trimmed(_patched(cells, first, told)), first, is_hidden, facts)


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


def _numbers(reader: fastexcel.ExcelReader, name: str, cells: pl.DataFrame, first: int) -> pl.DataFrame:
    """Return the number cells by loading once more, as booleans: texts come as null then, numbers do not."""
    if not any(column.str.contains(NUMBER).any() for column in cells):
        return pl.DataFrame(schema=CELLS)
    frames = [pl.DataFrame(schema=CELLS)]
    for place, column in enumerate(_load(reader, name, dtypes="boolean").to_polars()):
        row = column.is_not_null().arg_true().cast(pl.UInt32)
        frames.append(
            pl.DataFrame({"row": row}).with_columns(
                column=pl.lit(first + place, pl.UInt32), format=pl.lit(None, pl.String)
            )
        )
    return pl.concat(frames)
