"""CSV and its kin → text cells: encoding and delimiter found, every record kept, a broken line told by its number.

There are two ways through a file that come to the same: polars reads what needs nothing special, and Python's csv
module, some ten times slower, what holds quotes, lone carriage returns, NUL bytes or rows longer than the header.
"""

import csv
import io
import re
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path

import polars as pl

from importer.encodings import marked_encoding, to_utf8
from importer.errors import Refused
from importer.headers import is_result_header, unique_names
from importer.records import PROBLEMS, Source, Table, no_problems
from importer.wording import count_of

#: Delimiters that are looked for, the commonest first.
DELIMITERS = ",;\t|"

#: Rows that become a frame at once; bounds the memory of the slower way.
CHUNK_ROWS = 20_000

#: Bytes and rows that the delimiter is guessed from.
_SAMPLE_BYTES, _SAMPLE_ROWS = 65_536, 100

#: Characters in a cell. Excel holds 32,767; without a bound an unclosed quote would swallow the file.
MAX_CELL = 1024 * 1024

#: Columns. Excel holds 16,384; a file with more is no list of rows, and each column has its price.
MAX_COLUMNS = 16_384


#: A first line that tells Excel the delimiter.
_DECLARED = re.compile(rb'"?sep=([^\r\n"\'])"?[,;\t|]*(?:\r\n|\r|\n|$)', re.IGNORECASE)

_FOUND = Source()


def read_text(
    path: Path,
    content: bytes,
    *,
    kind: str,
    source: Source = _FOUND,
    sha256: str = "",
    chunk_rows: int | None = None,
    fast: bool = True,
) -> Table:
    """Read a text file; it has no sheets and hides nothing, so these parts of `source` say nothing here.

    Row numbers count as Excel does: header and blank lines too; a line break inside a cell and a `sep=` line not.
    `fast` false takes the slower way for every file. Raises `Refused` for bytes in no known encoding and for a
    header row that is not there.
    """
    text = to_utf8(path, content, source.encoding)
    utf8, delimiter = _delimiter(text.utf8, source)
    records = _Records(path, utf8, delimiter, begins_at=1 + (len(utf8) < len(text.utf8)))
    header = _header(path, records, source.header_row)
    if len(header) > MAX_COLUMNS:
        raise Refused(f"{path}: the header has {len(header):,} cells; right are {MAX_COLUMNS:,} at most, as in Excel.")
    names, notes = unique_names(header)
    records.width = len(header)
    above = records.number
    width = _Width.of(header, utf8, source)
    body = _quick(utf8, delimiter, names, above) if fast and header else None
    if body is None:
        body = _careful(records, names, width, chunk_rows or CHUNK_ROWS)
    else:
        height = body.cells.height
        body.problems.extend(_short_lines(utf8, delimiter, width, above, height, begins_at=records.begins_at))
        if b"\xef\xbf\xbd" in utf8:
            body.problems.extend(_replacements(body.cells, 0))
    records.close()
    height = body.cells.height
    places = pl.DataFrame(
        {
            "sheet": pl.repeat(None, height, dtype=pl.String, eager=True),
            "row": pl.int_range(above + 1, above + 1 + height, dtype=pl.Int64, eager=True),
        }
    )
    notes = [*text.notes, *notes] if header else [*text.notes, "the file is empty"]
    found = sorted(body.problems, key=itemgetter(0, 2))
    problems = pl.DataFrame(found, schema=PROBLEMS, orient="row") if found else no_problems()
    return Table(
        path,
        kind,
        tuple(header),
        body.cells,
        places,
        sha256,
        problems,
        tuple(notes),
        delimiter=delimiter,
        encoding=text.encoding,
        left_over=body.left_over,
        ends_in_cell=not utf8.endswith((b"\n", b"\r", b'"', delimiter.encode())),
    )


def peek_text(start: bytes) -> Sequence[str]:
    """Return the cells of the first record that is not blank, of a file that begins with `start`."""
    encoding = marked_encoding(start) or "utf-8"
    utf8 = start.decode(encoding, errors="replace").removeprefix("\ufeff").encode()
    utf8, delimiter = _delimiter(utf8, _FOUND)
    return next((record for record in _Records(Path(), utf8, delimiter) if _is_filled(record)), [])


def top_rows(path: Path, content: bytes, source: Source, count: int) -> dict[str, list[list[str]]]:
    """Return the first `count` rows, blank ones too, as each delimiter that it may have would part them; raises as `read_text` does."""
    sample = to_utf8(path, content, source.encoding).utf8[:_SAMPLE_BYTES]
    declared = _DECLARED.match(sample)
    known = source.delimiter or (declared[1].decode("latin-1") if declared else "")
    sample = sample[declared.end() :] if declared else sample
    return {delimiter: list(islice(_Records(path, sample, delimiter), count)) for delimiter in known or DELIMITERS}


# Delimiter.


def _delimiter(utf8: bytes, source: Source) -> tuple[bytes, str]:
    """Return the text without a `sep=` line, and its delimiter.

    It is the one that parts the header and gives the most of the first rows the header's number of cells; at a draw,
    the one that makes more columns. Where none parts the header there is one column.
    """
    declared = _DECLARED.match(utf8)
    if declared:
        return utf8[declared.end() :], source.delimiter or declared[1].decode("latin-1")
    if source.delimiter:
        return utf8, source.delimiter
    sample = utf8[:_SAMPLE_BYTES]
    if len(utf8) > _SAMPLE_BYTES:  # the last line is cut
        sample = sample[: max(sample.rfind(b"\n"), sample.rfind(b"\r")) + 1] or sample
    scores = {delimiter: _evenness(sample, delimiter, source.header_row) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: scores[delimiter])
    if scores[best] > (0, 0):
        return utf8, best
    return utf8, next((delimiter for delimiter in DELIMITERS if delimiter.encode() not in utf8), ",")


def _evenness(sample: bytes, delimiter: str, header_row: int | None) -> tuple[float, int]:
    """Return which share of the rows is as wide as the header, and that width; zeros where it has one cell."""
    first = (header_row or 1) - 1
    rows = list(islice(_Records(Path(), sample, delimiter), first + _SAMPLE_ROWS))
    if any(map(is_result_header, rows[:1])):
        return 2, len(rows[0])  # more than any share
    rows = rows[first:]
    widths = [len(row) for row in rows if _is_filled(row)]
    if not widths or widths[0] == 1:
        return 0, 0
    return Counter(widths)[widths[0]] / len(widths), widths[0]


# Records.


class _Records:
    """The records of a text, one after another (RFC 4180; line ends CR, LF, CRLF, mixed).

    A quote that opens and never closes, or closes in the middle of a cell, costs its own line only: that line becomes
    a record of its own, split without regard to quotes, and `broken` (record number → what is wrong) names it.
    `number` counts the records so far. Once `width` is set, a record over several lines that is not as wide counts
    as broken too: it is how an unclosed quote looks that the next quote in the file happens to close; and `lines` tells
    of each record of another width on which line of the file it begins. The text's first is line `begins_at`.
    """

    def __init__(self, path: Path, utf8: bytes, delimiter: str, *, begins_at: int = 1) -> None:
        self._path = path
        self.begins_at = begins_at
        self._lines = io.TextIOWrapper(io.BytesIO(utf8), encoding="utf-8", errors="replace", newline="")
        self._delimiter = delimiter
        self._again: deque[str] = deque()
        self._taken: list[str] = []
        self._line = begins_at - 1
        self.lines: dict[int, int] = {}
        self.number = 0
        self.width = 0
        self.broken: dict[int, str] = {}
        self._records: Generator[list[str]] = self._parse()

    def __iter__(self) -> Iterator[list[str]]:
        return self._records

    def close(self) -> None:
        """Let go of the text: its reader and this hold one another, so that it would stay for long."""
        self._records.close()

    def _parse(self) -> Generator[list[str]]:
        csv.field_size_limit(MAX_CELL)
        taken = self._taken
        while True:
            try:
                for record in csv.reader(self._feed(), delimiter=self._delimiter, strict=True):
                    if len(taken) > 1 and self.width and not self._fits(record):
                        raise csv.Error("not as wide as the header")
                    self.number += 1
                    if self.width and len(record) != self.width:
                        self.lines[self.number] = self._line + 1
                    self._line += len(taken)
                    taken.clear()
                    yield record
            except csv.Error:
                yield self._broken_line()
            else:
                return

    def _feed(self) -> Iterator[str]:
        """Yield lines, and keep those of the record under way."""
        while self._again:
            self._taken.append(self._again.popleft())
            yield self._taken[-1]
        for line in self._lines:
            self._taken.append(line)
            yield line

    def _fits(self, record: list[str]) -> bool:
        return len(record) >= self.width and not _is_filled(record[self.width :])

    def _broken_line(self) -> list[str]:
        first, *rest = self._taken
        self._taken.clear()
        self._again.extendleft(reversed(rest))
        self.number += 1
        self._line += 1
        self.broken[self.number] = (
            f"line {self._line} of the file has a quote that is not closed, or closed in the middle of a cell. "
            "Put the quotes of this line right, or take them out."
        )
        try:
            return next(csv.reader([first], delimiter=self._delimiter, quoting=csv.QUOTE_NONE), [])
        except csv.Error as error:
            raise Refused(
                f"{self._path}, line {self._line}: a cell holds more than {MAX_CELL:,} characters; Excel holds 32,767. "
                "Is this a list? Export it again."
            ) from error


def _is_filled(record: Sequence[str]) -> bool:
    return any(cell.strip() for cell in record)


def _header(path: Path, records: _Records, header_row: int | None) -> list[str]:
    """Return the header's cells: the row that was set, else the first that is not blank; none in an empty file."""
    first_filled = True
    for record in records:
        filled, ours = _is_filled(record), first_filled and is_result_header(record)
        first_filled = first_filled and not filled
        if not ours and records.number < (header_row or 1):
            continue
        if records.number in records.broken:
            raise Refused(
                f"{path}, row {records.number}: this should be the header, but {records.broken[records.number]}"
            )
        if filled:
            return [record[0].removeprefix("\ufeff"), *record[1:]]
        if header_row is not None:
            raise Refused(
                f"{path}, row {header_row}: the header should stand here (source.header_row), but the row is blank. "
                "Set the row of the column names."
            )
    if header_row is not None and records.number:
        raise Refused(
            f"{path}: the header should stand in row {header_row} (source.header_row), but the file has "
            f"{count_of(records.number, 'row')}. Set the row of the column names."
        )
    return []


# Rows.


@dataclass(frozen=True, slots=True)
class _Body:
    cells: pl.DataFrame
    problems: "list[_Problem]"
    left_over: tuple[tuple[int, str], ...] = ()
    """As in `Table`."""


#: As in `PROBLEMS`.
_Problem = tuple[int, int, str, str | None, str, bool]


@dataclass(frozen=True, slots=True)
class _Width:
    """How many cells a row should have: as many as the header, and at `least` those that it has names for.

    A file that is cut off in the middle of its last number would else call a stranger.
    """

    header: int
    least: int
    fills: bool
    """Whether shorter rows are taken for ones whose last cells are empty (`source.short_rows`)."""
    has_last_end: bool
    """Whether the file's last line has a line end."""

    @classmethod
    def of(cls, header: list[str], utf8: bytes, source: Source) -> "_Width":
        named = [place for place, name in enumerate(header, 1) if name.strip()]
        return cls(len(header), max(named, default=0), source.short_rows == "fill", utf8.endswith((b"\n", b"\r")))

    def too_short(self, index: int, record: Sequence[str], line: int, *, is_last: bool) -> list[_Problem]:
        """Say what is wrong with a row that lacks cells; nothing of a blank one."""
        is_cut = is_last and not self.has_last_end
        if len(record) >= self.least or (self.fills and not is_cut) or not _is_filled(record):
            return []
        found = (
            f"line {line} of the file has {len(record)} cell{'s' if len(record) > 1 else ''}, the header {self.header}"
        )
        if is_cut:
            message = f"{found}: the file seems to be cut off here. Export it again, or write all cells of this row."
        else:
            message = (
                f"{found}: the row seems to be cut off. Export it again, or write all its cells; or, if the export leaves "
                "empty cells out at the end of rows, set source.short_rows: fill."
            )
        return [(index, 0, "row_too_short", None, message, True)]


def _quick(utf8: bytes, delimiter: str, names: list[str], above: int) -> _Body | None:
    """Read by polars what needs nothing special; None where it does.

    Without quotes every line is a record. A lone CR must not be there, since polars drops one before a delimiter.
    """
    if b'"' in utf8 or b"\0" in utf8 or utf8.count(b"\r") != utf8.count(b"\r\n") or not delimiter.isascii():
        return None
    if utf8.endswith((b"\n\n", b"\n\r\n")):  # polars would make rows of them
        utf8 = utf8.rstrip(b"\r\n")
    try:
        cells = pl.read_csv(
            utf8,
            has_header=False,  # the header's line gives polars the width, and is cut off then
            skip_lines=above - 1,
            separator=delimiter,
            quote_char=None,
            schema={str(place): pl.String for place in range(len(names))},
        )
    except pl.exceptions.PolarsError:  # a row is longer than the header
        return None
    cells.columns = names
    return _Body(cells.slice(1), [])


def _short_lines(
    utf8: bytes, delimiter: str, width: _Width, above: int, height: int, *, begins_at: int
) -> list[_Problem]:
    """Find the rows that lack cells, where every line is a record and none is too long."""
    sign = delimiter.encode()
    end = len(utf8)
    while end and utf8[end - 1] in b"\r\n":
        end -= 1
    last = utf8.count(sign, utf8.rfind(b"\n", 0, end) + 1, end)
    # Polars takes one empty cell too many at the end of a file, which would hide one that is missing above.
    if above == 1 and last < width.header and utf8.count(sign) == (1 + height) * (width.header - 1):
        return []
    problems = []
    lines = islice(io.BytesIO(utf8), above, above + height)
    for index, line in enumerate(lines):
        if line.count(sign) < width.least - 1:
            record = line.decode(errors="replace").split(delimiter)
            number = begins_at + above + index
            problems += width.too_short(index, record, number, is_last=index == height - 1)
    return problems


def _careful(records: _Records, names: list[str], width: _Width, chunk_rows: int) -> _Body:
    """Read record by record; blank lines at the end are dropped."""
    schema = dict.fromkeys(names, pl.String)
    above, height, last = records.number, 0, 0
    frames, problems = [pl.DataFrame(schema=schema)], []
    short: list[tuple[int, list[str]]] = []
    left_over: list[tuple[int, str]] = []
    rows = iter(records)
    while chunk := list(islice(rows, chunk_rows)):
        for place, record in enumerate(chunk):
            if len(record) != len(names):
                chunk[place] = _fitted(record, len(names))
                problems += _too_long(height + place, record, len(names))
                left_over += [(height + place, cell) for cell in record[len(names) :] if cell.strip()]
                short += [(height + place, record)] if record and len(record) < width.least else []
            if record:
                last = height + place + 1
        columns = zip(*chunk, strict=True)
        series = [pl.Series(name, cells, dtype=pl.String) for name, cells in zip(names, columns, strict=True)]
        frame = pl.DataFrame(series).with_columns(pl.when(pl.all() != "").then(pl.all()))
        problems += _replacements(frame, height) + _nuls(frame, height)
        frames.append(frame)
        height += len(chunk)
    for index, record in short:
        line = records.lines.get(above + 1 + index, 0)
        problems += width.too_short(index, record, line, is_last=index == last - 1)
    broken = {number - above - 1: why for number, why in records.broken.items() if number > above}
    problems = [problem for problem in problems if problem[0] not in broken]
    problems += [(index, 0, "broken_quote", None, why, True) for index, why in broken.items()]
    return _Body(pl.concat(frames).head(last), problems, tuple(left_over))


def _fitted(record: list[str], width: int) -> list[str]:
    return (record + [""] * (width - len(record)))[:width]


def _too_long(index: int, record: list[str], width: int) -> list[_Problem]:
    surplus = record[width:]
    if not _is_filled(surplus):
        return []
    message = (
        f"the row has {len(record)} cells, the header {width}; left over: {' | '.join(surplus)!r}. "
        "Put cells that hold the delimiter in quotes, or give these columns a header."
    )
    return [(index, 0, "row_too_long", None, message, True)]


def _replacements(cells: pl.DataFrame, index: int) -> list[_Problem]:
    why = "a letter was lost when the file was saved: it stands as \ufffd. Export it again as UTF-8."
    return _found(cells, "\ufffd", "replacement_character", why, index)


def _nuls(cells: pl.DataFrame, index: int) -> list[_Problem]:
    return _found(
        cells, "\0", "nul_byte", "the cell holds a NUL byte, so the file is damaged here. Export it again.", index
    )


def _found(cells: pl.DataFrame, character: str, code: str, why: str, index: int) -> list[_Problem]:
    return [
        (index + place, 0, code, column.name, why, True)
        for column in cells
        for place in column.str.contains(character, literal=True).arg_true()
    ]
