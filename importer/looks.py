"""How the columns of an .xlsx input look: their widths, and the formats of their dates, for its result to look alike.

Only the head of the sheet is looked at, and nothing depends on it but looks: what can't be found is left out.
"""

import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from posixpath import join, normpath

from importer.records import RESULT_COLUMNS, Table

#: Of the sheet's XML: the widths stand before the rows, and a few rows tell the formats.
_HEAD_BYTES = 1 << 18
_ROWS = 50

#: What a file's widths hold beside the characters (ECMA-376 Part 1, 18.3.1.13), with 7 pixels for a digit.
_PADDING = 5 / 7

#: Formats of dates that have a number only (ECMA-376 Part 1, 18.8.30).
_BUILT_IN_DATES = frozenset({14, 15, 16, 17, 22})
_DAY = re.compile(r"(?i)d|y")
_A_DAY = r"\d{4}-\d\d-\d\d(?: \d\d:\d\d:\d\d)?"
_NO_FORMAT = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]')


@dataclass(frozen=True, slots=True)
class Looks:
    """By the unique name of a column: `widths` in characters, `dates` the number format of its days.

    A format is its code, or its number where it is one of those that Excel shows by the language of the machine.
    """

    widths: dict[str, float] = field(default_factory=dict)
    dates: dict[str, str | int] = field(default_factory=dict)


def looks_of(table: Table) -> Looks:
    """Return how the columns of the input look; nothing for what is no .xlsx, or can't be made out."""
    if table.kind != "xlsx" or not table.places.height:
        return Looks()
    try:
        with zipfile.ZipFile(table.path) as archive:
            head = _head(archive, str(table.places["sheet"].first()))
            formats = _date_formats(archive)
    except (OSError, KeyError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        return Looks()
    first_row = int(table.places["row"].item(0))
    columns = _columns(table, head, first_row - 1)
    widths = dict(_widths(head))
    return Looks(
        {name: widths[letters] for letters, name in columns.items() if letters in widths},
        _dates(table, head, columns, formats, first_row),
    )


def _head(archive: zipfile.ZipFile, sheet: str) -> str:
    book = archive.read("xl/workbook.xml").decode("utf-8", errors="replace")
    links = archive.read("xl/_rels/workbook.xml.rels").decode("utf-8", errors="replace")
    targets = {_attribute(tag, "Id"): _attribute(tag, "Target") for tag in re.findall(r"<Relationship\s[^>]*>", links)}
    for tag in re.findall(r"<(?:\w+:)?sheet\s[^>]*>", book):
        if _attribute(tag, "name") == sheet:
            target = targets.get(_attribute(tag, r"\w+:id")) or ""
            with archive.open(normpath(join("/xl", target)).lstrip("/")) as part:
                return part.read(_HEAD_BYTES).decode("utf-8", errors="replace")
    raise KeyError(sheet)


def _date_formats(archive: zipfile.ZipFile) -> dict[str, str | int]:
    """Return the formats of days by the number of the style that cells have."""
    styles = archive.read("xl/styles.xml").decode("utf-8", errors="replace")
    codes = {
        _attribute(tag, "numFmtId"): _attribute(tag, "formatCode") or ""
        for tag in re.findall(r"<(?:\w+:)?numFmt\s[^>]*>", styles)
    }
    dates: dict[str, str | int] = {}
    block = re.search(r"<(?:\w+:)?cellXfs.*?</(?:\w+:)?cellXfs>", styles, re.DOTALL)
    for number, tag in enumerate(re.findall(r"<(?:\w+:)?xf\s[^>]*>", block[0] if block else "")):
        kind = _attribute(tag, "numFmtId") or "0"
        if kind in codes:
            if _DAY.search(_NO_FORMAT.sub("", codes[kind])):
                dates[str(number)] = codes[kind]
        elif int(kind) in _BUILT_IN_DATES:
            dates[str(number)] = int(kind)
    return dates


def _columns(table: Table, head: str, header_row: int) -> dict[str, str]:
    """Return the columns' names by their letters; none where the header can't be matched cell by cell.

    In a result that came back ours stand behind them.
    """
    filled = [letters for letters, _, cell in _cells(head, header_row) if re.search("<(?:\\w+:)?(?:v|is)>|<v ", cell)]
    named = [name for name, header in zip(table.columns, table.headers, strict=True) if header]
    alike = len(filled) - len(named) in (0, len(RESULT_COLUMNS))
    return dict(zip(filled, named, strict=False)) if alike else {}


def _cells(head: str, row: int) -> Iterator[tuple[str, str | None, str]]:
    """Yield letters, style and XML of a row's cells."""
    for cell in re.finditer(rf'<(?:\w+:)?c\s[^>]*?\br="([A-Z]+){row}"[^>]*?(?:/>|>.*?</(?:\w+:)?c>)', head, re.DOTALL):
        yield cell[1], _attribute(cell[0].partition(">")[0], "s"), cell[0]


def _widths(head: str) -> Iterator[tuple[str, float]]:
    for tag in re.findall(r"<(?:\w+:)?col\s[^>]*>", head.partition("sheetData")[0]):
        width = float(_attribute(tag, "width") or 0) - _PADDING
        first, last = int(_attribute(tag, "min") or 1), int(_attribute(tag, "max") or 0)
        if width > 0:
            yield from ((_letters(column), width) for column in range(first, min(last, first + 16_384) + 1))


def _letters(column: int) -> str:
    text = ""
    while column:
        column, rest = divmod(column - 1, 26)
        text = chr(65 + rest) + text
    return text


def _dates(
    table: Table, head: str, columns: dict[str, str], formats: dict[str, str | int], first_row: int
) -> dict[str, str | int]:
    """Return the format of the first day that each column holds near the top."""
    found: dict[str, str | int] = {}
    for place in range(min(_ROWS, table.cells.height) if formats else 0):
        for letters, style, _ in _cells(head, first_row + place):
            name = columns.get(letters)
            is_day = name is not None and re.fullmatch(_A_DAY, table.cells[name][place] or "")
            if name is not None and is_day and style in formats:
                found.setdefault(name, formats[style])
    return found


def _attribute(tag: str, name: str) -> str | None:
    found = re.search(rf"\s{name}=(?:\"([^\"]*)\"|'([^']*)')", tag)
    return None if found is None else unescape(found[1] if found[1] is not None else found[2])
