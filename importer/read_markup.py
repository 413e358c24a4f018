"""Web pages and XML spreadsheets of 2003 that are called .xls → sheets of text cells.

Web programs hand out tables as HTML under a workbook's name, since Excel opens them. Row numbers count the rows of the
table, as Excel does where the page holds nothing else.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from html.parser import HTMLParser
from pathlib import Path
from xml.parsers import expat

import polars as pl

from importer.encodings import to_utf8
from importer.errors import Refused
from importer.number_formats import is_telling
from importer.records import Source, Table
from importer.sheet_xml import MAX_CELLS, MAX_COLUMNS, MAX_ROWS, too_many_cells
from importer.sheets import CELLS, Facts, Sheet, table_of, trimmed

#: Columns that one cell of a page may span (HTML, "Tabular data").
_MAX_SPAN = 1000

#: Places below cells that span several rows, and tables on a page; more are no list.
_MAX_TAKEN, _MAX_TABLES = 1_000_000, 10_000

#: Stands for a line break of the page among the pieces of a cell; no page holds a NUL.
_BREAK = "\0"

#: Characters of a page that are parsed at once, and of markup that may wait for its end.
_PIECE, MAX_MARKUP = 65_536, 1_048_576

_AS_CSV = "Is this a list? Export it again, as CSV or .xlsx."

_CHARSET = re.compile(rb"""charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)


def read_html(path: Path, content: bytes, *, kind: str, source: Source, sha256: str) -> Table:
    """Read the tables of a web page as sheets named `Table 1`, `Table 2` …; raises `Refused` where there is none."""
    declared = _CHARSET.search(content[:4096])
    text = to_utf8(path, content, source.encoding or _known(content, declared and declared[1]))
    page = _Page(path)
    page.read(text.utf8.decode())
    sheets = [table.sheet(f"Table {number}") for number, table in enumerate(page.tables, 1)]
    if not any(sheet.cells.height for sheet in sheets):
        raise Refused(
            f"{path}: this is a web page (HTML) without a table, whatever its name says. A login page, perhaps? "
            "Export the list again, as CSV or .xlsx."
        )
    table = table_of(path, sheets, kind=kind, source=source, sha256=sha256)
    notes = ("it is a web page (HTML), whatever its name says; its table was read", *text.notes, *table.notes)
    return replace(table, notes=notes)


def read_xml(path: Path, content: bytes, *, kind: str, source: Source, sha256: str) -> Table:
    """Read an XML spreadsheet of 2003 (Office 2003 XML, "SpreadsheetML"); raises `Refused` where it is damaged."""
    book = _Book(path)
    try:
        book.parse(content)
    except expat.ExpatError as error:
        raise Refused(
            f"{path}, line {error.lineno}: the XML spreadsheet is damaged ({expat.errors.messages.get(error.code, error)}). "
            "Export it again, and run this again."
        ) from error
    except (ValueError, OverflowError, LookupError) as error:
        raise Refused(f"{path}: the XML spreadsheet is damaged ({error}). Export it again.") from error
    return table_of(path, book.sheets, kind=kind, source=source, sha256=sha256)


def _known(content: bytes, declared: bytes | None) -> str | None:
    """Return the encoding that a page names, if its bytes are of it."""
    if declared is None:
        return None
    try:
        name = declared.decode("ascii")
        content.decode(name)
    except (UnicodeError, LookupError, ValueError):
        return None
    return name


@dataclass(slots=True)
class _Grid:
    """Cells by row and column, both from 0, as they come."""

    path: Path
    name: str = ""
    rows: list[dict[int, str]] = field(default_factory=list)
    filled: int = 0
    width: int = 0
    is_hidden: bool = False
    hidden_rows: set[int] = field(default_factory=set)
    hidden_columns: set[int] = field(default_factory=set)
    numbers: list[tuple[int, int, str | None]] = field(default_factory=list)
    merged: list[tuple[int, int, int, int]] = field(default_factory=list)
    is_filtered: bool = False

    def put(self, row: int, column: int, text: str) -> None:
        """Set a cell; raises `Refused` where the sheet grows out of bounds."""
        if row < 0 or column < 0:
            raise ValueError(f"a cell stands in row {row + 1}, column {column + 1}")
        if row >= MAX_ROWS or column >= MAX_COLUMNS or (row + 1) * max(self.width, column + 1) > MAX_CELLS:
            raise Refused(too_many_cells(self.path, self.name))
        while len(self.rows) <= row:
            self.rows.append({})
        self.rows[row][column] = text
        self.width = max(self.width, column + 1)

    def sheet(self, name: str) -> Sheet:
        """Return it as all readers do."""
        columns = [
            pl.Series(str(place), [row.get(place) for row in self.rows], dtype=pl.String) for place in range(self.width)
        ]
        facts = Facts(
            numbers=pl.DataFrame(self.numbers, schema=CELLS, orient="row"),
            hidden_rows=frozenset(self.hidden_rows),
            hidden_columns=frozenset(self.hidden_columns),
            is_filtered=self.is_filtered,
            merged=tuple(self.merged),
        )
        return Sheet(name, trimmed(pl.DataFrame(columns)), is_hidden=self.is_hidden, facts=facts)


# Web pages.


class _Page(HTMLParser):
    """Collects the tables of a page; one inside another is a table of its own."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self._path = path
        self.tables: list[_Grid] = []
        self._open: list[_Grid] = []
        self._column = 0
        self._cell: list[str] | None = None
        self._span = (1, 1)
        self._taken: dict[tuple[int, int], bool] = {}

    def read(self, page: str) -> None:
        """Read it all, piece by piece: what has no end is tried once a piece and not once a sign.

        Raises `Refused` where markup goes on without an end, and where the page is cut off inside a cell.
        """
        for start in range(0, len(page), _PIECE):
            self.feed(page[start : start + _PIECE])
            if len(self.rawdata) > MAX_MARKUP:
                raise Refused(f"{self._path}: the page has markup without an end. {_AS_CSV}")
        self.rawdata = self.rawdata.partition("<")[0]  # browsers leave out a tag that is cut off
        self.close()
        if self._cell is not None and self._open:
            raise Refused(f"{self._path}: the page ends inside a cell of its table, so it is cut off. Get it again.")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Follow rows and cells, closed or not."""
        if tag == "table":
            self._end_cell()
            if len(self.tables) == _MAX_TABLES:
                raise Refused(f"{self._path}: the page has more than {_MAX_TABLES:,} tables. {_AS_CSV}")
            self._open.append(_Grid(self._path, name=f"Table {len(self.tables) + 1}"))
            self.tables.append(self._open[-1])
            self._taken.clear()
        elif tag == "tr" and self._open:
            self._end_cell()
            self._open[-1].rows.append({})
            self._column = 0
        elif tag in ("td", "th") and self._open:
            self._end_cell()
            if not self._open[-1].rows:
                self._open[-1].rows.append({})
            self._cell = []
            found = dict(attrs)
            self._span = _span(found.get("rowspan")), _span(found.get("colspan"))
        elif tag == "br" and self._cell is not None:
            self._cell.append(_BREAK)

    def handle_endtag(self, tag: str) -> None:
        """End a cell, a row or a table."""
        if tag in ("td", "th", "tr", "table"):
            self._end_cell()
        if tag == "table" and self._open:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        """Take the text of the open cell."""
        if self._cell is not None:
            self._cell.append(data)

    def _end_cell(self) -> None:
        if self._cell is None or not self._open:
            return
        grid = self._open[-1]
        row = len(grid.rows) - 1
        while self._taken.pop((row, self._column), False):
            self._column += 1
        down, right = self._span
        # White space of the page is layout; a line break stands where the page has one.
        text = "\n".join(re.sub(r"[ \t\r\f]+", " ", line).strip(" ") for line in _lines(self._cell)).strip("\n")
        if text:
            grid.put(row, self._column, text)
        if len(self._taken) + down * right > _MAX_TAKEN or self._column + right > MAX_COLUMNS:
            raise Refused(f"{self._path}: cells of {grid.name} span more than a sheet holds. {_AS_CSV}")
        if down * right > 1:
            grid.merged.append((row, self._column, row + down - 1, self._column + right - 1))
            for lower in range(1, min(down, _MAX_SPAN)):
                for place in range(right):
                    self._taken[row + lower, self._column + place] = True
        self._column += right
        self._cell = None


def _lines(pieces: list[str]) -> Iterator[str]:
    line = ""
    for piece in pieces:
        if piece == _BREAK:
            yield line
            line = ""
        else:
            line += piece.replace("\n", " ")
    yield line


def _span(text: str | None) -> int:
    return min(max(1, int(text)), _MAX_SPAN) if text and text.strip().isdecimal() and len(text) < 6 else 1


# XML spreadsheets of 2003.

_OFFICE = "urn:schemas-microsoft-com:office:"
_SHEET, _EXCEL = f"{_OFFICE}spreadsheet ", f"{_OFFICE}excel "


class _Book:
    """Collects the worksheets; rows and cells may say their place, or follow the one before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.sheets: list[Sheet] = []
        self._grid = _Grid(path)
        self._formats: dict[str, str] = {}
        self._style = ""
        self._place = [-1, -1]
        self._columns = -1
        self._cell: dict[str, str] = {}
        self._kind = ""
        self._text: list[str] | None = None

    def parse(self, content: bytes) -> None:
        """Read it all. Entities are refused: a billion laughs begins that way, and no program that exports needs them."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.EntityDeclHandler = self._entity
        parser.Parse(content, True)

    def _entity(self, *_: object) -> None:
        raise Refused(
            f"{self._path}: it declares entities, which no spreadsheet program does. "
            "The file may be an attack. Get it anew from where it came."
        )

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        of_sheet = {key.removeprefix(_SHEET): value for key, value in attributes.items()}
        match tag.removeprefix(_SHEET):
            case "Style":
                self._style = of_sheet.get("ID", "")
            case "NumberFormat" if is_telling(of_sheet.get("Format", "")):
                self._formats[self._style] = of_sheet["Format"]
            case "Worksheet":
                self._grid = _Grid(self._path, of_sheet.get("Name", ""))
                self._place, self._columns = [-1, -1], -1
            case "Column":
                self._columns = min(int(of_sheet.get("Index", self._columns + 2)) - 1, MAX_COLUMNS)
                span = min(int(of_sheet.get("Span", 0)), MAX_COLUMNS)
                if of_sheet.get("Hidden") == "1":
                    self._grid.hidden_columns |= set(range(self._columns, min(self._columns + span + 1, MAX_COLUMNS)))
                self._columns += span
            case "Row":
                self._place = [_further("row", int(of_sheet.get("Index", self._place[0] + 2)) - 1, self._place[0]), -1]
                if of_sheet.get("Hidden") == "1":
                    self._grid.hidden_rows.add(self._place[0])
            case "Cell":
                place = int(of_sheet.get("Index", self._place[1] + 2)) - 1
                self._place[1] = _further("column", place, self._place[1])
                self._cell = of_sheet
            case "Data":
                self._kind, self._text = of_sheet.get("Type", ""), []
        if tag == f"{_EXCEL}FilterColumn":
            self._grid.is_filtered = True
        if tag == f"{_EXCEL}Visible":
            self._text = []

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def _end(self, tag: str) -> None:
        name = tag.removeprefix(_SHEET)
        if name == "Data" and self._text is not None:
            self._take("".join(self._text))
            self._text = None
        elif name == "Cell":
            across, down = (min(int(self._cell.get(key, 0)), MAX_COLUMNS) for key in ("MergeAcross", "MergeDown"))
            row, column = self._place
            if across or down:
                self._grid.merged.append((row, column, row + down, column + across))
            self._place[1] += across
        elif name == "Worksheet":
            self.sheets.append(self._grid.sheet(self._grid.name))
        elif tag == f"{_EXCEL}Visible" and self._text is not None:
            self._grid.is_hidden = "".join(self._text).strip() != "SheetVisible"
            self._text = None

    def _take(self, text: str) -> None:
        row, column = self._place
        if self._kind == "Number":
            self._grid.numbers.append((row, column, self._formats.get(self._cell.get("StyleID", ""))))
            text = _plain(text)
        elif self._kind == "DateTime":
            text = text.removesuffix(".000").replace("T", " ")
            text = text.removesuffix(" 00:00:00") if not text.startswith("1899-12-31 ") else text[11:]
        elif self._kind == "Boolean":
            text = {"1": "true", "0": "false"}.get(text.strip(), text)
        if text:
            self._grid.put(row, column, text)


def _further(what: str, place: int, before: int) -> int:
    """Return a place from 0; raises `ValueError` for one that goes back, and would overwrite a cell."""
    if place <= before:
        raise ValueError(f"{what} {place + 1} stands after {what} {before + 1}")
    return place


def _plain(text: str) -> str:
    """Write a number without an exponent: `4.915E11` is `491500000000`."""
    if "e" not in text.lower():
        return text
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    return f"{number:f}" if abs(number.adjusted()) < 300 else text
