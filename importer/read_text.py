"""CSV and its kin: encoding and delimiter found, every record kept, a broken line told by its number."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import polars as pl

from importer.errors import Refused
from importer.headers import unique_names
from importer.records import PROBLEMS, Table, no_problems

_DELIMITERS = ",;\t|"
_CHUNK = 20_000


def read_text(
    path: Path, kind: str, content: bytes, sheet: str | int | None, header_row: int | None, sha256: str
) -> Table:
    """Read a text file. Row numbers count records as Excel does: blank lines too, line breaks inside a cell not."""
    text, encoding, notes = _decode(path, content)
    text, delimiter = _delimiter(text)
    records = _Records(text, delimiter)
    number, header = _header(records, header_row, path)
    if header is None:
        empty = pl.DataFrame(schema={"sheet": pl.String, "row": pl.Int64})
        return Table(
            path,
            kind,
            (),
            pl.DataFrame(),
            empty,
            sha256,
            notes=(*notes, "the file is empty"),
            delimiter=delimiter,
            encoding=encoding,
        )
    names, more = unique_names(header)
    cells, problems = _table(records, names, number)
    places = pl.DataFrame(
        {
            "sheet": pl.Series([None], dtype=pl.String).new_from_index(0, cells.height),
            "row": pl.int_range(number + 1, number + 1 + cells.height, dtype=pl.Int64, eager=True),
        }
    )
    return Table(path, kind, tuple(header), cells, places, sha256, problems, (*notes, *more), delimiter, encoding)


# Encoding: strict, never with replacement characters.


def _decode(path: Path, content: bytes) -> tuple[str, str, list[str]]:
    encoding = _unicode(content)
    if encoding is not None:
        try:
            return content.decode(encoding), encoding, []
        except UnicodeDecodeError as error:
            raise Refused(
                f"{path}, line {_line(content, error.start, encoding)}: the bytes are no {encoding.upper()}, though the file begins like it. Save it as CSV UTF-8 and run this again."
            ) from error
    try:
        return content.decode("utf-8"), "utf-8", []
    except UnicodeDecodeError as unicode_error:
        try:
            text = content.decode("cp1252")
        except UnicodeDecodeError as error:
            raise Refused(
                f"{path}, line {_line(content, unicode_error.start, 'cp1252')}, byte {unicode_error.start + 1}: {content[unicode_error.start : unicode_error.start + 1]!r} is neither UTF-8 nor "
                f"(byte {error.start + 1}) Windows-1252. Save the file as CSV UTF-8 and run this again."
            ) from error
        return (
            text,
            "windows-1252",
            ["the text is not UTF-8; it was read as Windows-1252. If names look wrong, save it as CSV UTF-8"],
        )


def _unicode(content: bytes) -> str | None:
    if content.startswith(b"\xef\xbb\xbf"):
        return "utf-8-sig"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    start = content[:400]
    if len(start) >= 4 and len(content) % 2 == 0:
        if start[1::2].count(0) > len(start) * 0.4:
            return "utf-16-le"
        if start[::2].count(0) > len(start) * 0.4:
            return "utf-16-be"
    return None


def _line(content: bytes, offset: int, encoding: str) -> int:
    return content[:offset].count(b"\n") + 1


# Delimiter.


def _delimiter(text: str) -> tuple[str, str]:
    """Return the text without a `sep=` line, and the delimiter: what parts the first lines most evenly."""
    declared = re.match(r"sep=(.)\r?\n", text)
    if declared:
        return text[declared.end() :], declared[1]
    sample = text[:65536]
    best, best_score = ",", 0.0
    for delimiter in _DELIMITERS:
        widths = [
            len(record)
            for record in islice(csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter), 100)
            if record
        ]
        if not widths:
            continue
        width, times = Counter(widths).most_common(1)[0]
        header = widths[0]
        score = (
            0.0
            if max(width, header) == 1
            else times / len(widths) + (0.5 if header == width else 0) + min(header, 50) / 1000
        )
        if score > best_score:
            best, best_score = delimiter, score
    return text, best


# Records.


class _Records:
    """The records of a text, one after another; an unclosed quote costs only its own line.

    `broken` maps the number of a record that could not be parsed (from 0) to why.
    """

    def __init__(self, text: str, delimiter: str) -> None:
        self._text = text
        self._delimiter = delimiter
        self.broken: dict[int, tuple[str, str]] = {}
        self._unclosed = _unclosed_quotes(text, delimiter)
        self._records = self._parse()

    def __iter__(self) -> Iterator[list[str]]:
        return self._records

    def _parse(self) -> Iterator[list[str]]:
        csv.field_size_limit(2**31 - 1)
        number = 0
        for text, why in self._pieces():
            if why is not None:
                self.broken[number] = why
                yield next(csv.reader([text], delimiter=self._delimiter, quoting=csv.QUOTE_NONE), [])
                number += 1
                continue
            for record in csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter):
                yield record
                number += 1

    def _pieces(self) -> Iterator[tuple[str, tuple[str, str] | None]]:
        """Yield the text in pieces: sound ones, and each broken line by itself with why."""
        start = 0
        for begin, end, line in self._unclosed:
            if begin > start:
                yield self._text[start:begin], None
            yield (
                self._text[begin:end].rstrip("\r\n"),
                (
                    "broken_quote",
                    f"line {line} of the file opens a quote that is never closed. Close it, or take it out.",
                ),
            )
            start = end
        if start < len(self._text):
            yield self._text[start:], None


def _unclosed_quotes(text: str, delimiter: str) -> list[tuple[int, int, int]]:
    """Return (begin, end, line) of lines whose quote is never closed, so that they swallow the rest of the file."""
    found: list[tuple[int, int, int]] = []
    begin = 0
    while text.count('"', begin) % 2:
        # An odd number of quotes: somewhere a field opens and does not close before the end. Find where by parsing.
        reader = csv.reader(io.StringIO(text[begin:], newline=""), delimiter=delimiter)
        last = 0
        lines_before = 0
        for record in reader:
            last, lines_before = lines_before, reader.line_num
            del record
        line_start = begin
        for _ in range(last):
            line_start = _next_line(text, line_start)
        end = _next_line(text, line_start)
        if '"' not in text[line_start:end]:
            break
        found.append((line_start, end, len(re.findall(r"\r\n|\r|\n", text[:line_start])) + 1))
        begin = end
        if len(found) > 1000:
            break
    return found


def _next_line(text: str, start: int) -> int:
    match = re.compile(r"\r\n|\r|\n").search(text, start)
    return len(text) if match is None else match.end()


def _header(records: _Records, header_row: int | None, path: Path) -> tuple[int, list[str] | None]:
    """Return the header's row number and cells: the row that was set, else the first that is not blank."""
    number = 0
    for record in records:
        number += 1
        if header_row is not None and number < header_row:
            continue
        if any(cell.strip() for cell in record):
            return number, record
        if header_row is not None:
            raise Refused(
                f"{path}, row {header_row}: the header should stand here (source.header_row), but the row is blank."
            )
    if header_row is not None and number:
        raise Refused(f"{path}: source.header_row is {header_row}, but the file has only {number} rows.")
    return number, None


def _table(records: _Records, names: list[str], header_number: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    width = len(names)
    frames: list[pl.DataFrame] = []
    problems: list[tuple[int, int, str, str | None, str, bool]] = []
    index = 0
    iterator = iter(records)
    while chunk := list(islice(iterator, _CHUNK)):
        for offset, record in enumerate(chunk):
            if len(record) != width:
                if len(record) > width and any(cell.strip() for cell in record[width:]):
                    extra = ", ".join(repr(cell) for cell in record[width:] if cell.strip())
                    problems.append(
                        (
                            index + offset,
                            0,
                            "row_too_long",
                            None,
                            f"the row has {len(record)} cells, the header {width}; left over: {extra}. Quote cells that hold the delimiter.",
                            True,
                        )
                    )
                chunk[offset] = (record + [""] * width)[:width]
        frames.append(
            pl.DataFrame(
                dict(zip(names, map(list, zip(*chunk, strict=True)), strict=True)),
                schema=dict.fromkeys(names, pl.String),
            )
        )
        index += len(chunk)
    cells = pl.concat(frames) if frames else pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    cells = cells.with_columns(pl.all().replace("", None))
    for number, (code, why) in records.broken.items():
        if number >= header_number:
            problems.append((number - header_number, 0, code, None, why, True))
    problems += _untrusted(cells)
    cells = _without_blank_tail(cells)
    frame = pl.DataFrame(problems, schema=PROBLEMS, orient="row") if problems else no_problems()
    return cells, frame.filter(pl.col("index") < cells.height)


def _untrusted(cells: pl.DataFrame) -> list[tuple[int, int, str, str | None, str, bool]]:
    """Find cells that lost something before they came here."""
    found: list[tuple[int, int, str, str | None, str, bool]] = []
    for name in cells.columns:
        column = cells.get_column(name)
        for character, code, words in (
            (
                "\ufffd",
                "replacement_character",
                "a letter was lost when the file was saved (it stands as \ufffd). Export it again as UTF-8.",
            ),
            ("\x00", "nul_byte", "the cell holds a NUL byte. Export the file again."),
        ):
            found += [
                (index, 0, code, name, words, True)
                for index in column.str.contains(character, literal=True).arg_true().to_list()
            ]
    return found


def _without_blank_tail(cells: pl.DataFrame) -> pl.DataFrame:
    """Drop empty lines at the end; rows of empty cells between others stay."""
    if not cells.height:
        return cells
    filled = cells.select(pl.any_horizontal(pl.all().is_not_null())).to_series().arg_true()
    return cells.head(int(filled[-1]) + 1 if filled.len() else 0)
