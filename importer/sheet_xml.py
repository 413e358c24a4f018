"""What calamine does not tell of a workbook, from its own XML: number formats, hidden rows, errors, bare formulas, bounds.

It runs before calamine, so that what would eat the machine never gets there. A sheet's XML is searched, not parsed
(ECMA-376 Part 1, 18.3.1; OpenDocument 1.3 Part 3, 9.1); only what is needed is looked for, and only where it is.
"""

import io
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import unescape
from itertools import zip_longest
from pathlib import Path
from posixpath import join, normpath
from xml.etree import ElementTree

import polars as pl

from importer.errors import Refused
from importer.headers import letter
from importer.number_formats import BUILT_IN_AMOUNTS, BUILT_IN_DATES, is_telling, may_show_dates
from importer.sheets import CELLS, Facts
from importer.unpack import free_memory, read_part
from importer.wording import count_of

#: Cells from the first filled row and column to the last: calamine makes room for each. A million rows of 70 columns.
MAX_CELLS = 75_000_000

#: Rows and columns of a sheet (Microsoft, "Excel specifications and limits").
MAX_ROWS, MAX_COLUMNS = 1_048_576, 16_384

#: Filled cells that those of an OpenDocument file may stand for by repeating: so many, or so many times as many.
_MOST_REPEATED, _MOST_TIMES = 1_000_000, 20

#: Tables inside one another; each is a call inside another of calamine's.
_MAX_DEPTH = 8

#: Bytes that calamine, fastexcel and polars take together for a cell, empty ones too (measured: 73 M cells, 3.7 GB).
_BYTES_PER_CELL = 50

#: Bytes of XML that are searched at once; bounds the memory of what is found.
_PIECE = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Told:
    """What is put right in calamine's texts, and what is known beside them."""

    cells: dict[int, dict[int, str]] = field(default_factory=dict)
    """Texts of cells by column and row, both from 0."""
    has_date_texts: bool = True
    """Whether some text of the sheet may look like calamine's writing of a date cell."""
    facts: Facts = field(default_factory=Facts)
    knows_numbers: bool = False
    """Whether `facts.numbers` is complete; else calamine is asked once more."""
    dateless: frozenset[int] = frozenset()
    """Styles of dates whose cells hold numbers that are none (`with_plain_numbers`)."""


# Attributes never reach over a "<", so that a tag without an end costs its own length only. Spaces may stand between
# all parts, and attributes of any name, since people's own programs write so.
_ATTRIBUTE = r"(?:[^t\s=<>/][^\s=<>/]*|t[^\s=<>/]+)\s*=\s*(?:\"[^\"<]*\"|'[^'<]*')"  # of any name but t
_TYPED = rf"<(?:\w+:)?c(?:\s+(?:{_ATTRIBUTE}|t\s*=\s*[\"']n[\"']))+\s*>"
_FORMULA = r"<(?:\w+:)?f(?:\s[^<>]*)?(?:/>|>[^<]*</(?:\w+:)?f>)"
_NUMBERS = rf"{_TYPED}\s*(?:{_FORMULA}\s*)?<(?:\w+:)?v(?:\s[^<>]*)?>[^<]*"
_CELL = r"<(?:\w+:)?c"
_FILLED = r"<(?:\w+:)?c\s[^<>]*[^/<>]>\s*<(?:\w+:)?(?:v|is|f)[\s>]"
_UNPLACED = rf"{_CELL}(?:[>/]|\s+(?:[^r\s]|r(?:[^=]|=(?:[^\"']|[\"'][^A-Z]))))"

_START = rb"<(?:\w+:)?c\s(%s[^<>]*[^/<>])>\s*"
_VALUE = rb"<(?:\w+:)?v(?:\s[^<>]*)?>(%s)</(?:\w+:)?v>"
_ERRORS = re.compile(
    _START % rb"(?=[^<>]*\bt\s*=\s*[\"']e[\"'])" + rb"(?:%s\s*)?" % _FORMULA.encode() + _VALUE % rb"[^<]*"
)
_BARE = re.compile(
    _START % rb"(?![^<>]*\bt\s*=\s*[\"'](?:str|e))"
    + _FORMULA.encode()
    + rb"\s*(?:<(?:\w+:)?v\s*/>\s*|<v>\s*</v>\s*)?</(?:\w+:)?c>"
)
_PLACE = re.compile(rb"\br\s*=\s*[\"']([A-Z]+)(\d+)[\"']")
_HIDDEN_ROW = r"<(?:\w+:)?row\s[^<>]*\bhidden\s*=\s*[\"'](?:1|true)[\"'][^<>]*>"
_HIDDEN_COLUMN = re.compile(rb"<(?:\w+:)?col\s(?=[^<>]*\bhidden\s*=\s*[\"'](?:1|true)[\"'])([^<>]*)>")
_MERGED = re.compile(rb"<(?:\w+:)?mergeCell\s[^<>]*?ref=[\"']([A-Z]+)(\d+):([A-Z]+)(\d+)[\"']")


# .xlsx and .xlsm.


def tell_xlsx(path: Path, archive: zipfile.ZipFile) -> dict[str, Told]:
    """Return what is known of each sheet by its name.

    Raises `Refused` for what would not fit, and `KeyError`, `ParseError` or what `zipfile` raises for what is damaged.
    """
    shared = any(_holds_date_text(_part(path, archive, name)) for name in archive.namelist() if "sharedStrings" in name)
    styles = _styles(_part(path, archive, "xl/styles.xml")) if "xl/styles.xml" in archive.namelist() else {}
    formats = {style: code for style, code in styles.items() if is_telling(code)}
    dates = frozenset(style for style, code in styles.items() if may_show_dates(code))
    told = {}
    for name, part in _sheet_parts(path, archive).items():
        xml = _part(path, archive, part)
        pieces = _pieces(xml)
        is_placed = _is_placed(pieces)
        refuse_cells(path, name, _extent(path, name, pieces, is_placed=is_placed))
        told[name] = _of_sheet(xml, pieces, formats, dates, has_date_texts=shared, is_placed=is_placed)
    return told


def refuse_cells(path: Path, sheet: str, cells: int) -> None:
    """Raise `Refused` for a sheet whose cells, from the first to the last, are too many, or larger than free memory."""
    free = free_memory()
    if cells > MAX_CELLS:
        raise Refused(too_many_cells(path, sheet))
    if free is not None and cells * _BYTES_PER_CELL > free:
        raise Refused(
            f'{path}, sheet "{sheet}": its cells span {cells:,} from the first to the last, which is more than fits into '
            f"the memory that is free ({free // 1024**2:,} MiB). Take out cells far off the table, or split the list."
        )


def too_many_cells(path: Path, sheet: str) -> str:
    """Say that a sheet spans more cells than can be read."""
    return (
        f'{path}, sheet "{sheet}": its cells span more than {MAX_CELLS:,} from the first to the last; '
        "that is more than a list holds. Take out cells far off the table, or save the list as CSV."
    )


def _part(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    """Return a part's bytes. No spreadsheet program declares entities; a billion laughs begins that way."""
    content = read_part(path, archive, name)
    if b"<!DOCTYPE" in content[:4096] or b"<!ENTITY" in content[:4096]:
        raise Refused(
            f"{path}: its part {name!r} declares entities, which no spreadsheet program does. "
            "The file may be an attack. Get it anew from where it came."
        )
    return content


def _sheet_parts(path: Path, archive: zipfile.ZipFile) -> dict[str, str]:
    """Return the path of each sheet's XML by the sheet's name."""
    targets = {}
    for relation in ElementTree.fromstring(_part(path, archive, "xl/_rels/workbook.xml.rels")):  # noqa: S314 - no entities
        targets[relation.get("Id")] = normpath(join("/xl", relation.get("Target", ""))).lstrip("/")
    parts = {}
    for element in ElementTree.fromstring(_part(path, archive, "xl/workbook.xml")).iter():  # noqa: S314
        if element.tag.endswith("}sheet"):
            relation_id = next((value for key, value in element.items() if key.endswith("}id")), None)
            part = targets.get(relation_id, "")
            if "worksheets/" in part:
                parts[element.get("name", "")] = part
    return parts


def _styles(styles: bytes) -> dict[int, str]:
    """Return the number format of each style of cells that has another than "General"."""
    root = ElementTree.fromstring(styles)  # noqa: S314
    codes = {str(number): code for number, code in (BUILT_IN_AMOUNTS | BUILT_IN_DATES).items()}
    for element in root.iter():
        if element.tag.endswith("}numFmt"):
            codes[element.get("numFmtId", "")] = element.get("formatCode", "")
    styles_of_cells = next((element for element in root if element.tag.endswith("}cellXfs")), ())
    return {
        place: codes[style.get("numFmtId", "")]
        for place, style in enumerate(styles_of_cells)
        if style.get("numFmtId") in codes
    }


# How far a sheet reaches.


def _extent(path: Path, name: str, pieces: pl.Series, *, is_placed: bool) -> int:
    """Return how many cells calamine makes room for at most; counted cell by cell only where a rough look does not do."""
    if is_placed and _has_room(_ROUGH) and not _any(pieces, _BEYOND):
        return _ROUGH
    rows = next((most for sign, most in _DEEP.items() if not _any(pieces, _AT.replace("{}", sign))), 10**10)
    columns = next((most for sign, most in _FAR.items() if not _any(pieces, _AT.replace("{}", sign))), 10**10)
    if not is_placed:  # then a cell stands beside the one before
        rows = max(rows, _count(pieces, r"<(?:\w+:)?row[\s>/]"))
        columns = max(columns, _widest(pieces))
    if (rows <= MAX_ROWS and rows * columns <= MAX_CELLS) or not is_placed:
        return rows * columns
    cells = pl.concat(_places(_matches(piece, _FILLED)).select("row", "column") for piece in _each(pieces))
    if not cells.height:
        return 0
    (low_row, low), (high_row, high) = cells.min().row(0), cells.max().row(0)
    if high_row >= MAX_ROWS or high >= MAX_COLUMNS:
        raise Refused(
            f'{path}, sheet "{name}": a cell stands in row {high_row + 1:,}, column {high + 1:,}; '
            f"a sheet ends at row {MAX_ROWS:,}, column {MAX_COLUMNS:,}. The workbook is damaged. Export it again."
        )
    return int((high_row - low_row + 1) * (high - low + 1))


#: Where a cell or a row says that it stands; calamine takes small letters too.
_AT = r"\br\s*=\s*[\"']{}"


def _has_room(cells: int) -> bool:
    free = free_memory()
    return free is None or cells * _BYTES_PER_CELL <= free


_PAST_THE_LAST_ROW = r"[A-Za-z]*(?:\d{8}|[2-9]\d{6}|1[1-9]\d{5}|10[5-9]\d{4})"
_PAST_Z = r"[A-Za-z]{2,}\d"

#: Which digits only rows further down than so many have; calamine takes zeros in front.
_DEEP = {
    r"[A-Za-z]*\d{6}": 99_999,
    _PAST_THE_LAST_ROW: MAX_ROWS,
}

#: Which letters only columns further right than so many have.
_FAR = {
    _PAST_Z: 26,
    r"(?:[A-Za-z]{3,}|[B-Zb-z][A-Za-z])\d": 52,
    r"[A-Za-z]{3,}\d": 702,
    r"[A-Za-z]{4,}\d": 18_278,
}


#: A sheet of 26 columns to its last row, and what stands beyond that.
_ROUGH = 26 * MAX_ROWS
_BEYOND = _AT.replace("{}", f"(?:{_PAST_Z}|{_PAST_THE_LAST_ROW})")


def _is_placed(pieces: pl.Series) -> bool:
    """Tell whether all cells say where they stand."""
    return not _any(pieces, _UNPLACED) or _count(pieces, rf"{_CELL}(?:\s[^<>]*)?\sr\s*=\s*[\"'][A-Z]") == _count(
        pieces, rf"{_CELL}[\s>/]"
    )


def _widest(pieces: pl.Series) -> int:
    """Return how many cells the fullest row has."""
    rows = pieces.str.split("row>").explode()
    return max(rows.str.count_matches(rf"{_CELL}[\s>/]").to_list(), default=0)


def _pieces(xml: bytes) -> pl.Series:
    """Return the XML in pieces that end with a row, for Rust's regular expressions, ten times as fast as Python's."""
    pieces, start = [], 0
    while start < len(xml):
        end = min(start + _PIECE, len(xml))
        row = xml.rfind(b"row>", start, end)
        row = row if row >= start and end < len(xml) else xml.find(b"row>", end)
        end = row + 4 if row >= 0 else len(xml)
        pieces.append(xml[start:end])
        start = end
    try:
        parts = [pl.Series([piece], dtype=pl.Binary) for piece in pieces or [b""]]  # one by one is twice as fast
        return pl.concat(parts, rechunk=False).cast(pl.String)
    except pl.exceptions.PolarsError:  # it is not UTF-8
        return pl.Series([piece.decode("utf-8", errors="replace") for piece in pieces], dtype=pl.String)


def _each(pieces: pl.Series) -> Iterator[pl.Series]:
    return (pieces.slice(place, 1) for place in range(pieces.len()))


def _any(pieces: pl.Series, pattern: str) -> bool:
    return bool(pieces.str.contains(pattern).any())


def _count(pieces: pl.Series, pattern: str) -> int:
    return int(pieces.str.count_matches(pattern).sum())


def _matches(piece: pl.Series, pattern: str) -> pl.DataFrame:
    return piece.str.extract_all(pattern).explode().drop_nulls().to_frame("cell")


def _places(cells: pl.DataFrame) -> pl.DataFrame:
    """Add the row and column of cells, from 0, by their XML; cells that do not say it are left out."""
    place = pl.col("cell").str.extract_groups(r"\sr\s*=\s*[\"'](?<letters>[A-Z]{1,3})(?<row>\d+)[\"']")
    found = cells.with_columns(place.struct.unnest()).with_columns(pl.col("row").cast(pl.UInt32, strict=False) - 1)
    found = found.drop_nulls(["letters", "row"])
    known = {letters: column_of(letters) for letters in found["letters"].unique()}
    column = pl.col("letters").replace_strict(known, default=None, return_dtype=pl.UInt32)
    return found.with_columns(column=column)


def column_of(letters: str) -> int:
    """Return a column's place from 0 by its letters."""
    place = 0
    for sign in letters:
        place = place * 26 + ord(sign) - 64
    return place - 1


# What is on it.


def _of_sheet(
    xml: bytes,
    pieces: pl.Series,
    formats: dict[int, str],
    dates: frozenset[int],
    *,
    has_date_texts: bool,
    is_placed: bool,
) -> Told:
    cells: dict[int, dict[int, str]] = {}
    notes = []
    errors = list(_ERRORS.finditer(xml)) if _any(pieces, r"[\"']e[\"']") else []
    for error in errors:
        _put(cells, error[1], error[2].decode())
    if errors:
        some = _some([_name(error[1]) for error in errors])
        notes.append(
            f"{count_of(len(errors), 'cell holds', plural='cells hold')} an error such as #N/A ({some}), which is read as a text"
        )
    bare = [_name(match[1]) for match in _BARE.finditer(xml)] if _any(pieces, r"[<:]f[\s>/]") else []
    if bare:
        notes.append(
            f"{count_of(len(bare), 'formula has', plural='formulas have')} no stored value ({_some(bare)}), and so no text. "
            "Open the workbook in Excel, save it, and run this again"
        )
    found = [_numbers(piece, formats, dates) for piece in _each(pieces)]
    numbers = pl.concat([pl.DataFrame(schema=CELLS), *(numbers for numbers, _, _ in found)])
    for row, column, text in (long for _, more, _ in found for long in more):
        cells.setdefault(column, {})[row] = text
    no_dates = [cell for _, _, more in found for cell in more]
    if no_dates:
        some = _some([f"{letter(column)}{row + 1}" for row, column, _ in no_dates])
        notes.append(
            f"{count_of(len(no_dates), 'cell holds', plural='cells hold')} a number too large for the date that its format "
            f"shows ({some}), and is read as the number"
        )
    # Comments and the like may stand amid the cells, where no search looks for them.
    knows_numbers = is_placed and not _any(pieces, "<!") and not xml.startswith(_UTF_16)
    if not knows_numbers and formats:
        notes.append(
            "its cells do not say where they stand, so zeros that only a number format shows were not restored"
        )
    facts = replace(_hidden(xml, pieces), notes=tuple(notes), numbers=numbers)
    has_date_texts = has_date_texts or _any(pieces, _DATE_TEXT)
    return Told(cells, has_date_texts, facts, knows_numbers, frozenset(style for _, _, style in no_dates))


#: What calamine writes for dates, and texts may hold too.
_DATE_TEXT = " 00:00:00|1899-12-31 "
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def _numbers(
    piece: pl.Series, formats: dict[int, str], dates: frozenset[int]
) -> tuple[pl.DataFrame, list[tuple[int, int, str]], list[tuple[int, int, int]]]:
    """Return the number cells of a piece of XML (schema `CELLS`), and what calamine would damage of them.

    These are, by row and column, the integers beyond 15 digits as they stand, and the styles of dates that are none.
    """
    found = _places(_matches(piece, _NUMBERS))
    large = found.filter(pl.col("cell").str.contains(rf">\s*{_NO_DATE}"))
    long = large.filter(pl.col("cell").str.contains(r">\s*-?\d{16,}\s*$"))
    texts = long.select("row", "column", pl.col("cell").str.extract(r"(-?\d+)\s*$")).rows()
    style = pl.col("cell").str.extract(r"\ss\s*=\s*[\"'](\d+)").cast(pl.Int64, strict=False).fill_null(0)
    no_dates = large.select("row", "column", style=style).filter(pl.col("style").is_in(sorted(dates))).rows()
    if not formats:
        return found.select("row", "column", format=pl.lit(None, pl.String)), texts, no_dates
    shown = style.replace_strict(formats, default=None, return_dtype=pl.String)
    return found.select("row", "column", format=shown), texts, no_dates


#: A number from 2,958,466 on: the last date is the last day of the year 9999 (Microsoft, "Excel specifications and limits").
_NO_DATE = r"-?(?:\d{8}|[3-9]\d{6}|29[6-9]\d{4}|2959\d{3}|2958(?:46[6-9]|4[7-9]\d|[5-9]\d\d)|\d(?:\.\d+)?[eE]\+?(?:\d{2}|[7-9]))"


def with_plain_numbers(path: Path, archive: zipfile.ZipFile, told: Mapping[str, Told]) -> bytes:
    """Return a workbook with no format where a number is too large for a date: calamine reads nothing there, or panics."""
    sheets = {part: told[name].dateless for name, part in _sheet_parts(path, archive).items() if told[name].dateless}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as copy:
        for part in archive.namelist():
            xml = read_part(path, archive, part)
            if part in sheets:
                styles = "|".join(map(str, sorted(sheets[part])))
                cell = rf"(<(?:\w+:)?c\s[^<>]*?)\ss\s*=\s*[\"'](?:{styles})[\"']([^<>]*>\s*(?:{_FORMULA}\s*)?<(?:\w+:)?v[^<>]*>\s*{_NO_DATE})"
                xml = re.sub(cell.encode(), rb"\1\2", xml)
            copy.writestr(part, xml)
    return content.getvalue()


def _hidden(xml: bytes, pieces: pl.Series) -> Facts:
    """Tell what is hidden, filtered and merged: columns stand above the rows, filters and merged cells below."""
    rows = (
        pl.concat(_matches(piece, _HIDDEN_ROW) for piece in _each(pieces))["cell"] if _any(pieces, "hidden") else None
    )
    columns: set[int] = set()
    for match in _HIDDEN_COLUMN.finditer(xml, 0, max(0, xml.find(b"sheetData"))):
        ends = dict(re.findall(rb"\b(min|max)=[\"'](\d+)", match[1]))
        if len(ends) == 2:
            columns |= set(range(int(ends[b"min"]) - 1, min(int(ends[b"max"]), MAX_COLUMNS)))
    below = max(0, xml.rfind(b"sheetData"))
    merged = tuple(
        (int(match[2]) - 1, column_of(match[1].decode()), int(match[4]) - 1, column_of(match[3].decode()))
        for match in _MERGED.finditer(xml, below)
    )
    numbers = [] if rows is None else rows.str.extract(r"\br=[\"'](\d{1,7})").cast(pl.Int64).drop_nulls().to_list()
    return Facts(
        hidden_rows=frozenset(number - 1 for number in numbers),
        hidden_columns=frozenset(columns),
        is_filtered=xml.find(b"filterColumn", below) >= 0,
        merged=merged,
    )


def _holds_date_text(xml: bytes) -> bool:
    return b" 00:00:00" in xml or b"1899-12-31 " in xml


def _put(cells: dict[int, dict[int, str]], attributes: bytes, text: str) -> None:
    place = _PLACE.search(attributes)
    if place:
        cells.setdefault(column_of(place[1].decode()), {})[int(place[2]) - 1] = text


def _name(attributes: bytes) -> str:
    place = _PLACE.search(attributes)
    return (place[1] + place[2]).decode() if place else "?"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


# .ods.

# Starts and ends are searched for themselves, since a search from a start to its end takes for ever where the ends are gone.
_ODS_TABLE = re.compile(rb"<table:table\s([^<>]*)>|</table:table>")
_ODS_COLUMN = re.compile(rb"<table:table-column([^<>]*)>")
_ODS_CELL = re.compile(rb"<table:(?:covered-)?table-cell([^<>]*)>")
_ODS_NOTE = re.compile(rb"<(/?)office:annotation[\s>]")
_ODS_TEXT = re.compile(rb"<(/?)text:p[\s>/]")
_TAG = re.compile(rb"<[^<>]*>")
_DURATION = re.compile(rb"PT(\d+)H(\d+)M(\d+)(?:[.,]\d+)?S")


def tell_ods(path: Path, archive: zipfile.ZipFile) -> dict[str, Told]:
    """Return what is known of each sheet of an OpenDocument spreadsheet; raises as `tell_xlsx` does."""
    xml = _part(path, archive, "content.xml")
    told, cells = {}, 0
    for attributes, rows in _ods_tables(xml):
        name = _unescaped(_attribute(attributes, b"table:name") or b"")
        told[name], size = _of_ods_table(path, name, rows)
        cells += size
        refuse_cells(path, name, cells)
    return told


def _ods_tables(xml: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the attributes and the inside of each table; one inside another belongs to it."""
    open_: list[re.Match[bytes]] = []
    for tag in _ODS_TABLE.finditer(xml):
        if tag[1] is not None:
            open_.append(tag)
        elif open_:
            start = open_.pop()
            if not open_:
                yield start[1], xml[start.end() : tag.start()]
        if len(open_) > _MAX_DEPTH:
            raise ValueError(f"tables stand in one another {_MAX_DEPTH} deep")
    if open_:
        raise ValueError("a table has no end")


def _of_ods_table(path: Path, name: str, xml: bytes) -> tuple[Told, int]:
    """Return what is known of one sheet, and how many cells calamine makes room for."""
    head, *rows = xml.split(b"<table:table-row")
    found = _OdsCells()
    row = last = width = 0
    hidden: set[int] = set()
    for text in rows:
        attributes = text[: text.find(b">")]
        many = _repeat(attributes, b"rows")
        if b'table:visibility="collapse"' in attributes or b'table:visibility="filter"' in attributes:
            hidden |= set(range(row, min(row + many, MAX_ROWS)))
        filled = found.add(text, row, many)
        row += many
        if filled:
            last, width = row, max(width, filled)
        if last * width > MAX_CELLS:
            raise Refused(too_many_cells(path, name))
        if found.repeated > found.most:
            raise Refused(
                f'{path}, sheet "{name}": each of its cells stands for more than {_MOST_TIMES} others; no list repeats '
                "itself so. Take out what is repeated, or save the list as CSV."
            )
    facts = Facts(
        notes=found.notes(),
        numbers=pl.DataFrame(found.numbers, schema=CELLS, orient="row"),
        hidden_rows=frozenset(place for place in hidden if place < last),
        hidden_columns=frozenset(_hidden_ods_columns(head, width)),
        is_filtered=b'table:visibility="filter"' in xml,
        merged=tuple(found.merged),
    )
    return Told(found.texts, facts=facts, knows_numbers=True), last * width


@dataclass(slots=True)
class _OdsCells:
    """What the cells of an OpenDocument sheet have to tell, row by row."""

    texts: dict[int, dict[int, str]] = field(default_factory=dict)
    numbers: list[tuple[int, int, str | None]] = field(default_factory=list)
    merged: list[tuple[int, int, int, int]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    told: int = 0
    """Filled cells that stand in the file."""
    repeated: int = 0
    """Filled cells that they stand for."""

    @property
    def most(self) -> int:
        """How many cells may be repeated."""
        return max(_MOST_REPEATED, _MOST_TIMES * self.told)

    def add(self, xml: bytes, row: int, many: int) -> int:
        """Take one row that stands `many` times; return its width without empty cells at the end."""
        column = width = 0
        cells = list(_ODS_CELL.finditer(xml))
        for cell, after in zip_longest(cells, cells[1:]):
            attributes = cell[1]
            inside = b"" if attributes.endswith(b"/") else xml[cell.end() : after.start() if after else len(xml)]
            count = _repeat(attributes, b"columns")
            kind = _attribute(attributes, b"office:value-type")
            if b"-spanned=" in attributes:
                down, right = (
                    max(1, int(_attribute(attributes, b"table:number-%s-spanned" % what) or b"1"))
                    for what in (b"rows", b"columns")
                )
                if down * right > 1:
                    self.merged.append((row, column, row + down - 1, column + right - 1))
            self.told += kind is not None
            self.repeated += many * count if kind is not None else 0
            if kind is not None and self.repeated <= self.most:
                self._take(
                    attributes,
                    inside,
                    kind,
                    range(row, min(row + many, row + MAX_ROWS)),
                    range(column, min(column + count, column + MAX_COLUMNS)),
                )
            column += count
            width = column if kind is not None else width
        return width

    def _take(self, attributes: bytes, inside: bytes, kind: bytes, rows: range, columns: range) -> None:
        shown = _unescaped(_shown(inside))
        is_error = _attribute(attributes, b"calcext:value-type") == b"error"
        if is_error:
            self.errors.append(f"{letter(columns[0])}{rows[0] + 1}")
        duration = _DURATION.fullmatch(_attribute(attributes, b"office:time-value") or b"")
        if is_error or duration:
            text = shown if is_error or duration is None else ":".join(part.decode() for part in duration.groups())
            for column in columns:
                self.texts.setdefault(column, {}).update(dict.fromkeys(rows, text))
        elif kind in (b"float", b"percentage", b"currency"):
            value = (_attribute(attributes, b"office:value") or b"").decode("ascii", "replace")
            format_ = _format_of(shown, value) if kind == b"float" else None
            self.numbers += [(row, column, format_) for row in rows for column in columns]

    def notes(self) -> tuple[str, ...]:
        """Say what was found."""
        if not self.errors:
            return ()
        return (
            f"{count_of(len(self.errors), 'cell holds', plural='cells hold')} an error such as #N/A ({_some(self.errors)}), which is read as a text",
        )


def _shown(inside: bytes) -> bytes:
    """Return the text of a cell, without the comment on it."""
    inside = inside.partition(b"</table:")[0]
    notes = [note.start() for note in _ODS_NOTE.finditer(inside)]
    if notes:
        inside = inside[: notes[0]] + inside[notes[-1] :].partition(b">")[2]
    lines, start = [], None
    for tag in _ODS_TEXT.finditer(inside):
        if tag[1] and start is not None:
            lines.append(_TAG.sub(b"", inside[start : tag.start()].partition(b">")[2]))
            start = None
        elif not tag[1]:
            start = tag.start()
    return b"\n".join(lines)


def _format_of(shown: str, value: str) -> str | None:
    """Return the number format that shows a whole number so, where it adds zeros or a plus: the file's own is a tree."""
    digits = re.sub(r"\D", "", shown)
    if digits.lstrip("0") != value or (digits == value and not shown.startswith("+")):
        return None
    return re.sub(r"[^0]", r"\\\g<0>", re.sub(r"\d", "0", shown))


def _hidden_ods_columns(head: bytes, width: int) -> Iterator[int]:
    place = 0
    for match in _ODS_COLUMN.finditer(head):
        many = _repeat(match[1], b"columns")
        if b'table:visibility="collapse"' in match[1] or b'table:visibility="filter"' in match[1]:
            yield from range(place, min(place + many, width))
        place += many


def _repeat(attributes: bytes, what: bytes) -> int:
    found = _attribute(attributes, b"table:number-%s-repeated" % what)
    return max(1, int(found)) if found and found.isdigit() else 1


def _attribute(attributes: bytes, name: bytes) -> bytes | None:
    found = re.search(rb"(?:^|\s)%s=(?:\"([^\"]*)\"|'([^']*)')" % name, attributes)
    return found and (found[1] or found[2] or b"")


def _unescaped(text: bytes) -> str:
    return unescape(text.decode("utf-8", errors="replace"))
