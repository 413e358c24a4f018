"""The result as a workbook: the rows of the input with what became of them, looking like the input.

A workbook's frame (styles, filter, widths) is XlsxWriter's; its rows are put in as XML that polars builds by the column,
since no library at hand writes text cells as fast with repeated headers and single marked cells (`benchmarks/results.py`).
"""

import io
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import IO

import polars as pl
import xlsxwriter

from importer.looks import Looks, looks_of
from importer.records import RESULT_COLUMNS, Status, Table

#: What a sheet of a workbook holds (Microsoft, "Excel specifications and limits").
MAX_ROWS = 1_048_576
MAX_COLUMNS = 16_384
MAX_CHARS = 32_767  # of a cell, in UTF-16 units, as Excel counts
_MAX_SHEET_NAME = 31

_CUT = "… [cut]"
_NUMBERS = ("import_http_status", "import_attempts", "import_row")

_FILLS = {
    Status.CREATED: "#E2F0D9",
    Status.ALREADY_IMPORTED: "#E2F0D9",
    Status.DUPLICATE: "#EDEDED",
    Status.SUPPRESSED: "#EDEDED",
    Status.FILTERED: "#EDEDED",
    Status.INVALID: "#FCE4D6",
    Status.REJECTED: "#FCE4D6",
    Status.FAILED: "#FCE4D6",
    Status.UNKNOWN: "#FFF2CC",
    Status.NOT_SENT: "#FFF2CC",
    Status.READY: "#DDEBF7",
}
#: Of the cell at fault, and of one that was put right.
_MARK, _MENDED = "#F8B4B4", "#FFF2CC"

#: Rows whose lead stands, or would be sent: what is said of a cell of theirs is no fault.
_STANDS = (Status.CREATED, Status.ALREADY_IMPORTED, Status.READY)

#: Cells per piece of XML: some 20 MB, so that memory does not grow with the file.
_CELLS_AT_ONCE = 150_000
#: Excel holds some 200 number formats (Microsoft, "Excel specifications and limits"); with more, amounts come as texts.
_MOST_FORMATS = 150
#: Signs that a format adds to an amount: separators, decimals and a currency.
_FOR_FORMAT = 8

_PACKING = 1  # from 3 on, packing takes longer than building the rows does


def too_big(kind: str, rows: int, columns: int) -> str | None:
    """Return why a result of this kind can't hold so much; None where it can."""
    if kind != "xlsx":
        return None
    if rows + 1 > MAX_ROWS:
        return f"{rows:,} rows and a header were found; a workbook's sheet holds {MAX_ROWS:,} rows"
    if columns > MAX_COLUMNS:
        return f"{columns:,} columns, ours included, were found; a workbook's sheet holds {MAX_COLUMNS:,}"
    return None


def write_xlsx(file: IO[bytes], table: Table, user: pl.DataFrame, headers: Sequence[str], ours: pl.DataFrame) -> None:
    """Write one sheet: header frozen and bold, filter, marked cells, the input's widths.

    Cells are texts, but our counts, and the days and amounts that the input has as such, which keep their format.
    """
    # An empty header is written too, as an empty text: else readers take the sheet to begin at the first filled column.
    names = [*headers, *RESULT_COLUMNS]
    top = pl.DataFrame({str(place): pl.Series([text], dtype=pl.String) for place, text in enumerate(names)})
    top, _ = _cut(top, headers)
    user, notes = _cut(user, headers)
    ours, _ = _cut(_with_notes(ours, notes), RESULT_COLUMNS)
    ours = _with_numbers(ours)
    rows = side_by_side(user, ours)
    looks, amounts = looks_of(table), _amounts(table, user)
    widths = _widths(top, rows, user.columns, looks, amounts)
    book = _frame(_sheet_name(table.places), top, rows, widths, [*looks.dates.values(), *_formats(amounts)])
    dates = {place: book.formats[looks.dates[name]] for place, name in enumerate(user.columns) if name in looks.dates}
    marks = _marked(user.columns, headers, ours["import_error_column"])
    styles = _styles(book, user.width, ours, marks)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_PACKING) as packed:
        for name, content in book.parts.items():
            packed.writestr(name, content)
        with packed.open(book.sheet, "w", force_zip64=True) as sheet:
            sheet.write(book.before)
            sheet.write(_rows(top, 1, [book.header] * top.width))
            for piece in _pieces(rows.hstack(amounts.get_columns()), styles, book, dates):
                sheet.write(piece)
            sheet.write(book.after)


@dataclass(frozen=True, slots=True)
class _Book:
    """A workbook but for its rows: `before` and `after` are the XML of its sheet around them; the rest are styles."""

    parts: dict[str, bytes]
    sheet: str
    before: bytes
    after: bytes
    header: str
    text: str
    number: str
    mark: str
    mended: str
    fills: dict[str, str]
    """Of the status cell, by status."""
    formats: dict[str | int, str]
    """Of days and amounts, by number format."""


def _frame(
    name: str, top: pl.DataFrame, rows: pl.DataFrame, widths: Sequence[float], own_formats: Iterable[str | int]
) -> _Book:
    """Let XlsxWriter make the workbook around the rows; blank cells in its last row tell the styles' numbers."""
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, {"in_memory": True}) as book:
        sheet = book.add_worksheet(name)
        # "@": what people type into such a cell stays text too: 0170… keeps its zero.
        text = {"num_format": "@"}
        colors = list(dict.fromkeys(_FILLS.values()))
        formats = list(dict.fromkeys(own_formats))
        made = [
            book.add_format(style)
            for style in (
                {"bold": True, "num_format": "@"},
                text,
                {"num_format": "0"},
                {**text, "bg_color": _MARK},
                {**text, "bg_color": _MENDED},
                *({**text, "bg_color": color} for color in colors),
                *({"num_format": code} for code in formats),
            )
        ]
        for place, width in enumerate(widths):
            sheet.set_column(place, place, width, made[1] if rows.dtypes[place] == pl.String else made[2])
        sheet.freeze_panes(1, 0)
        sheet.autofilter(0, 0, rows.height, rows.width - 1)
        if rows.height:
            sheet.ignore_errors(
                {"number_stored_as_text": xlsxwriter.utility.xl_range(1, 0, rows.height, rows.width - 1)}
            )
        sheet.write_blank(0, 0, None, made[0])
        sheet.write_blank(rows.height, rows.width - 1, None, made[0])
        for place, style in enumerate(made):
            sheet.write_blank(rows.height, place, None, style)
    with zipfile.ZipFile(content) as packed:
        parts = {part: packed.read(part) for part in packed.namelist()}
    path = "xl/worksheets/sheet1.xml"
    before, cells, after = re.split(rb"(?<=<sheetData>)(.*)(?=</sheetData>)", parts.pop(path), flags=re.DOTALL)
    numbers = re.findall(rf'<c r="[A-Z]+{rows.height + 1}" s="(\d+)"/>', cells.decode())
    header, plain, number, mark, mended, *fills = numbers[: len(made)]
    by_color = dict(zip(colors, fills, strict=False))
    by_format = dict(zip(formats, fills[len(colors) :], strict=True))
    by_status = {status.value: by_color[color] for status, color in _FILLS.items()}
    return _Book(parts, path, before, after, header, plain, number, mark, mended, by_status, by_format)


def _sheet_name(places: pl.DataFrame) -> str:
    """Return the first input sheet's name as Excel allows it, else "Results"."""
    name = places["sheet"].first() if places.height else None
    if not isinstance(name, str):
        return "Results"
    name = re.sub(r"[\[\]:*?/\\\x00-\x1f\ufffe\uffff]", "_", name)
    name = _shortened(name, _MAX_SHEET_NAME).strip("'")
    # Excel keeps the name History for itself.
    return "Results" if not name.strip() or name.casefold() == "history" else name


def _amounts(table: Table, user: pl.DataFrame) -> pl.DataFrame:
    """Return the formats of amounts by cell, as `amount 0` for the first of the user's columns, and so on."""
    places = {name: place for place, name in enumerate(user.columns)}
    known = [column for column in table.amounts if column.name in places]
    if len({code for column in known for code in _codes(column)}) > _MOST_FORMATS:
        return pl.DataFrame()
    return pl.DataFrame([column.alias(f"amount {places[column.name]}") for column in known])


def _formats(amounts: pl.DataFrame) -> list[str | int]:
    """Return formats as XlsxWriter takes them: a code, or the number that Excel has for it (`Table.amounts`)."""
    return [int(code) if code.isdigit() else code for column in amounts for code in _codes(column)]


def _codes(column: pl.Series) -> list[str]:
    return column.drop_nulls().unique().cast(pl.String).sort().to_list()


def _widths(
    top: pl.DataFrame, rows: pl.DataFrame, names: Sequence[str], looks: Looks, amounts: pl.DataFrame
) -> list[float]:
    """Return a width per column, in characters: the input's, else its widest cell among the first thousand, 8 to 50."""
    lengths = pl.all().cast(pl.String).str.len_chars().max().fill_null(0)
    body = rows.head(1000).select(lengths).row(0)
    # The filter's button takes three characters of the header.
    fitting = [min(max(8, 3 + head, 1 + cell), 50) for head, cell in zip(top.select(lengths).row(0), body, strict=True)]
    fitting = [fit + _FOR_FORMAT * (f"amount {place}" in amounts.columns) for place, fit in enumerate(fitting)]
    own = [looks.widths.get(name, fit) for name, fit in zip(names, fitting, strict=False)]
    return [*own, *fitting[len(own) :]]


def _marked(names: Sequence[str], headers: Sequence[str], at_fault: pl.Series) -> dict[int, list[str]]:
    """Return, by the place of a user's column, which cells of `import_error_column` mean it."""
    places: dict[str, int] = {}
    for place, name in [*enumerate(names), *enumerate(headers)]:
        places.setdefault(name, place)
    marks: dict[int, list[str]] = defaultdict(list)
    for said in at_fault.unique().drop_nulls().to_list():
        for name in [said] if said in places else str(said).split("; "):
            if name in places:
                marks[places[name]].append(said)
    return marks


def _styles(book: _Book, width: int, ours: pl.DataFrame, marks: dict[int, list[str]]) -> list[str | pl.Expr]:
    """Return the style of each column's cells: one for all, or an expression over the row."""
    at_fault = pl.col(str(width + RESULT_COLUMNS.index("import_error_column")))
    is_bad = ~pl.col(str(width)).is_in([status.value for status in _STANDS])
    mark = pl.when(is_bad).then(pl.lit(book.mark)).otherwise(pl.lit(book.mended))
    users: list[str | pl.Expr] = [
        pl.when(at_fault.is_in(marks[place])).then(mark).otherwise(pl.lit(book.text)) if place in marks else book.text
        for place in range(width)
    ]
    status = pl.col(str(width)).cast(pl.String).replace_strict(book.fills, default=book.text, return_dtype=pl.String)
    rest = [book.text if dtype == pl.String else book.number for dtype in ours.dtypes[1:]]
    return [*users, status, *rest]


def _with_numbers(ours: pl.DataFrame) -> pl.DataFrame:
    """Return our counts as integers where all of a column's cells are; Excel holds 15 digits."""
    for name in _NUMBERS:
        column = ours[name]
        numbers = column.cast(pl.Int64, strict=False)
        if numbers.null_count() == column.null_count() and (numbers.abs() < 10**15).all():
            ours = ours.with_columns(numbers.alias(name))
        else:
            ours = ours.with_columns(column.cast(pl.String))
    return ours


def _with_notes(ours: pl.DataFrame, notes: dict[int, list[str]]) -> pl.DataFrame:
    if not notes:
        return ours
    errors = ours["import_error"].to_list()
    for row, said in notes.items():
        # Ours first: what stands behind may be cut itself.
        errors[row] = "; ".join([*said, *([errors[row]] if errors[row] else [])])
    return ours.with_columns(pl.Series("import_error", errors, dtype=pl.String))


def _cut(cells: pl.DataFrame, headers: Sequence[str]) -> tuple[pl.DataFrame, dict[int, list[str]]]:
    """Shorten what is too long for a cell of a workbook; return it with what is to be said, by row."""
    notes: dict[int, list[str]] = defaultdict(list)
    for place, column in enumerate(cells.get_columns()):
        if column.dtype != pl.String:
            continue
        long = (column.str.len_bytes() > MAX_CHARS).fill_null(value=False).arg_true()
        texts = {row: text for row in long.to_list() if _units(text := column[row]) > MAX_CHARS}
        if texts:
            shorter = [_shortened(text, MAX_CHARS - len(_CUT)) + _CUT for text in texts.values()]
            cells = cells.with_columns(column.scatter(list(texts), shorter))
        for row, text in texts.items():
            notes[row].append(
                f'column "{_shortened(headers[place], 100)}": {len(text):,} characters; a cell of a workbook holds'
                f" {MAX_CHARS:,}, so it is cut here. Set result.format: csv to keep it whole"
            )
    return cells, notes


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _shortened(text: str, units: int) -> str:
    return text.encode("utf-16-le")[: 2 * units].decode("utf-16-le", errors="ignore")


def _pieces(
    rows: pl.DataFrame, styles: Sequence[str | pl.Expr], book: _Book, dates: Mapping[int, str]
) -> Iterable[bytes]:
    """Yield the rows' XML; the next piece is built while this one is packed."""
    step = max(1, _CELLS_AT_ONCE // rows.width)
    with ThreadPoolExecutor(1) as builder:
        ahead = None
        for start in range(0, rows.height, step):
            following = builder.submit(_rows, rows.slice(start, step), start + 2, styles, book, dates)
            if ahead is not None:
                yield ahead.result()
            ahead = following
        if ahead is not None:
            yield ahead.result()


def _rows(
    rows: pl.DataFrame,
    first: int,
    styles: Sequence[str | pl.Expr],
    book: _Book | None = None,
    dates: Mapping[int, str] = MappingProxyType({}),
) -> bytes:
    """Return `<row>` elements (ECMA-376, 18.3.1.73) for cells of text and integers, numbered from `first`.

    `dates` are the styles of the columns whose days are written as such, and columns `amount N` of `rows` are formats of
    cells that are written as numbers; a marked cell is neither.
    """
    # Styles go by the cells as they were, before escaping.
    chosen = [
        rows.select(style).to_series().alias(f"style {place}")
        for place, style in enumerate(styles)
        if isinstance(style, pl.Expr)
    ]
    number = pl.int_range(first, first + rows.height, eager=True).cast(pl.String).alias("number")
    cells = [_cell(place, dtype, style) for place, (dtype, style) in enumerate(zip(rows.dtypes, styles, strict=False))]
    if book:
        for place, value in _valued(rows, book, dates):
            plain = pl.col(f"style {place}") == book.text if isinstance(styles[place], pl.Expr) else pl.lit(True)
            cells[place] = pl.coalesce(pl.when(plain).then(value), cells[place])
    line = pl.concat_str(pl.lit('<row r="'), "number", pl.lit('">'), *cells, pl.lit("</row>"), ignore_nulls=True)
    xml = _as_xml(rows).with_columns(number, *chosen).select(line.str.join("")).item()
    return (xml or "").encode()


def _cell(place: int, dtype: pl.DataType, style: str | pl.Expr) -> pl.Expr:
    """Return one column's `<c>` elements; null for an empty cell, unless it may bear a style of its own."""
    own = isinstance(style, pl.Expr)
    start = [pl.lit(f'<c r="{xlsxwriter.utility.xl_col_to_name(place)}'), pl.col("number"), pl.lit('" s="')]
    start.append(pl.col(f"style {place}") if own else pl.lit(style))
    # Inline: a table of shared strings would have to hold every text until the end.
    before, after = ('" t="inlineStr"><is><t xml:space="preserve">', "</t></is></c>")
    if dtype != pl.String:
        before, after = '"><v>', "</v></c>"
    full = pl.concat_str(*start, pl.lit(before), pl.col(str(place)).cast(pl.String), pl.lit(after))
    return pl.coalesce(full, pl.concat_str(*start, pl.lit('"/>'))) if own else full


def _valued(rows: pl.DataFrame, book: _Book, dates: Mapping[int, str]) -> Iterator[tuple[int, pl.Expr]]:
    """Yield the `<c>` elements of days and amounts with the place of their column."""
    for place, style in dates.items():
        yield place, _day(place, style)
    styles = {str(code): style for code, style in book.formats.items()}
    for name in rows.columns:
        if name.startswith("amount "):
            place = int(name.removeprefix("amount "))
            yield place, _amount(place, styles)


#: Excel counts days from here; before March 1900 it counts one that never was.
_DAY_ZERO, _FIRST_DAY = date(1899, 12, 30), date(1900, 3, 1)
_MOMENT = r"^(\d{4}-\d\d-\d\d)(?: ([01]\d|2[0-3]):([0-5]\d):([0-5]\d))?$"


def _day(place: int, style: str) -> pl.Expr:
    """Return the `<c>` elements of a column's days, with or without a time; null for every other text."""
    text = pl.col(str(place))
    day = text.str.extract(_MOMENT).str.to_date("%Y-%m-%d", strict=False)
    days = (day - _DAY_ZERO).dt.total_days()
    since = [
        text.str.extract(_MOMENT, part).cast(pl.Float64) * seconds for part, seconds in ((2, 3600), (3, 60), (4, 1))
    ]
    whole, part = days.cast(pl.String), (days + pl.sum_horizontal(since) / 86_400).cast(pl.String)
    is_whole = text.str.len_bytes() == len("2026-01-05")
    count = pl.when(day >= _FIRST_DAY).then(pl.when(is_whole).then(whole).otherwise(part))
    start = pl.lit(f'<c r="{xlsxwriter.utility.xl_col_to_name(place)}')
    return pl.concat_str(start, "number", pl.lit(f'" s="{style}"><v>'), count, pl.lit("</v></c>"))


#: A number that reads back as the same text: Excel keeps 15 digits.
_SAME = r"^(-?(?:0|[1-9]\d{0,14})(?:\.\d{0,14}[1-9])?)$"
_DIGITS = 15


def _amount(place: int, styles: Mapping[str, str]) -> pl.Expr:
    """Return the `<c>` elements of a column's amounts; null for those that may not come back as they are, and for texts."""
    text = pl.col(str(place)).str.extract(_SAME)
    short = text.str.count_matches(r"\d") <= _DIGITS
    value = pl.when(short & (text != "-0")).then(text)
    style = pl.col(f"amount {place}").cast(pl.String).replace_strict(styles, default=None, return_dtype=pl.String)
    start = pl.lit(f'<c r="{xlsxwriter.utility.xl_col_to_name(place)}')
    return pl.concat_str(start, "number", pl.lit('" s="'), style, pl.lit('"><v>'), value, pl.lit("</v></c>"))


def _as_xml(rows: pl.DataFrame) -> pl.DataFrame:
    """Escape the text cells, where they need it, which few columns do."""
    texts = pl.selectors.string()
    markup = rows.select(texts.str.contains("[&<>]").any())
    codes = rows.select(texts.str.contains(_NO_XML).any())
    changed = []
    for name in markup.columns:
        column = rows[name]
        if codes[name].item():
            column = _coded(column)
        if markup[name].item():
            column = column.str.replace_many(["&", "<", ">"], ["&amp;", "&lt;", "&gt;"])
        if column is not rows[name]:
            changed.append(column)
    return rows.with_columns(changed)


#: What XML can't hold, or a carriage return, which it turns into a line feed; and what looks like our way to write it.
_NO_XML = r"[\x00-\x08\x0b-\x1f\x{fffe}\x{ffff}]|_x[0-9A-Fa-f]{4}_"
_TO_CODE = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")


def _coded(column: pl.Series) -> pl.Series:
    """Write what XML can't hold as Excel does: `_x000B_` (ECMA-376, 22.9.2.19, ST_Xstring)."""
    found = column.str.contains(_NO_XML).fill_null(value=False).arg_true()
    coded = [_TO_CODE.sub(lambda match: f"_x{ord(match[0]):04X}_", text) for text in column.gather(found).to_list()]
    return column.scatter(found, coded)


def side_by_side(user: pl.DataFrame, ours: pl.DataFrame) -> pl.DataFrame:
    """Return all columns under the names "0", "1", …: the user's may repeat ours."""
    columns = [*user.get_columns(), *ours.get_columns()]
    return pl.DataFrame([column.alias(str(place)) for place, column in enumerate(columns)])
