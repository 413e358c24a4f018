"""What calamine does not tell of .xls and .xlsb: number formats, hidden rows, errors, passwords, bounds.

Both are rows of records, each with its kind and size ([MS-XLS] 2.1.4, [MS-XLSB] 2.1.4); .xls stands in a compound file
([MS-CFB]). This runs before calamine, which follows a chain of sectors in a circle for ever, and makes room for as
many cells as a damaged record claims.
"""

import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import join, normpath
from xml.etree import ElementTree

import polars as pl

from importer.errors import Refused
from importer.headers import letter
from importer.number_formats import BUILT_IN_AMOUNTS, is_telling
from importer.sheet_xml import MAX_CELLS, MAX_COLUMNS, MAX_ROWS, Told, refuse_cells, too_many_cells
from importer.sheets import CELLS, Facts
from importer.unpack import read_part
from importer.wording import count_of

#: Columns of an .xls ([MS-XLS] 2.2.1).
_OLD_COLUMNS = 256

_ERRORS = {0: "#NULL!", 7: "#DIV/0!", 15: "#VALUE!", 23: "#REF!", 29: "#NAME?", 36: "#NUM!", 42: "#N/A"}


@dataclass(slots=True)
class _Found:
    """What a sheet's records tell, as they go by."""

    formats: Mapping[int, str]
    """By style of cells, those that are telling."""
    numbers: list[tuple[int, int, str | None]] = field(default_factory=list)
    texts: dict[int, dict[int, str]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    hidden_rows: set[int] = field(default_factory=set)
    hidden_columns: set[int] = field(default_factory=set)
    merged: list[tuple[int, int, int, int]] = field(default_factory=list)
    is_filtered: bool = False
    reach: list[int] = field(default_factory=lambda: [MAX_ROWS, MAX_COLUMNS, 0, 0])
    """First row, first column, last row, last column of what is filled."""

    def at(self, row: int, column: int) -> None:
        """Note that a cell is filled."""
        first_row, first_column, last_row, last_column = self.reach
        self.reach = [min(first_row, row), min(first_column, column), max(last_row, row), max(last_column, column)]

    def number(self, row: int, column: int, style: int) -> None:
        """Note a number cell."""
        self.numbers.append((row, column, self.formats.get(style)))
        self.at(row, column)

    def error(self, row: int, column: int, code: int) -> None:
        """Note an error cell."""
        self.texts.setdefault(column, {})[row] = _ERRORS.get(code, "#ERROR!")
        self.errors.append(f"{letter(column)}{row + 1}")
        self.at(row, column)

    @property
    def size(self) -> int:
        """How many cells calamine makes room for."""
        first_row, first_column, last_row, last_column = self.reach
        return max(0, last_row - first_row + 1) * max(0, last_column - first_column + 1)

    def told(self) -> Told:
        """Return it as all readers do."""
        some = ", ".join(self.errors[:5]) + (", …" if len(self.errors) > 5 else "")
        note = f"{count_of(len(self.errors), 'cell holds', plural='cells hold')} an error such as #N/A ({some}), which is read as a text"
        facts = Facts(
            notes=(note,) if self.errors else (),
            numbers=pl.DataFrame(self.numbers, schema=CELLS, orient="row"),
            hidden_rows=frozenset(self.hidden_rows),
            hidden_columns=frozenset(self.hidden_columns),
            is_filtered=self.is_filtered,
            merged=tuple(self.merged),
        )
        return Told(self.texts, facts=facts, knows_numbers=True)


# .xls: the compound file.

_FREE = 0xFFFFFFFA  # from here on, a sector's number is none


def _workbook_stream(path: Path, content: bytes) -> bytes:
    """Return the stream that holds the workbook; raises `Refused` where a chain of sectors goes in a circle.

    Every chain of the file is followed, since calamine follows them all.
    """
    try:
        shift, _, fats = struct.unpack_from("<HH", content, 30) + struct.unpack_from("<I", content, 44)
        size = 1 << min(shift, 12)
        first_directory, cutoff, first_mini = struct.unpack_from("<I4xII", content, 48)
        first_more, _ = struct.unpack_from("<II", content, 68)
        numbers = [number for number in struct.unpack_from("<109I", content, 76)[: min(fats, 109)] if number < _FREE]
        numbers += _more_fats(content, size, first_more)
        fat = [entry for number in numbers for entry in _entries(_sector(content, size, number))]
        directory = _joined(content, size, fat, first_directory)
        entries = [directory[start : start + 128] for start in range(0, len(directory) - 127, 128)]
        mini_fat = list(_entries(_joined(content, size, fat, first_mini)))
        streams = {}
        root = b""
        for entry in entries:
            name = entry[: max(0, min(64, struct.unpack_from("<H", entry, 64)[0]) - 2)].decode("utf-16-le", "replace")
            kind, first, length = entry[66], *struct.unpack_from("<II", entry, 116)
            if kind == 5:
                root = _joined(content, size, fat, first)
            elif kind == 2 and length >= cutoff:
                streams[name.lower()] = _joined(content, size, fat, first)[:length]
            elif kind == 2:
                streams[name.lower()] = b"".join(root[at * 64 : at * 64 + 64] for at in _chain(mini_fat, first))[
                    :length
                ]
    except (struct.error, IndexError) as error:
        raise Refused(_damaged(path, f"{error}")) from error
    except RecursionError as error:
        raise Refused(_damaged(path, "its sectors go in a circle")) from error
    for name in ("workbook", "book"):
        if name in streams:
            return streams[name]
    raise Refused(
        f"{path}: this is an old office document, but no workbook. Right are .xlsx, .xls, .ods and text files. "
        "Export the list as one of these."
    )


def _more_fats(content: bytes, size: int, first: int) -> Iterator[int]:
    """Follow the list of FAT sectors beyond the 109 that stand in the header."""
    seen: set[int] = set()
    while first < _FREE:
        if first in seen:
            raise RecursionError
        seen.add(first)
        *numbers, first = _entries(_sector(content, size, first)) or [_FREE]
        yield from (number for number in numbers if number < _FREE)


def _chain(fat: list[int], first: int) -> Iterator[int]:
    for _ in range(len(fat) + 1):
        if first >= _FREE:
            return
        yield first
        first = fat[first] if first < len(fat) else _FREE
    raise RecursionError


def _sector(content: bytes, size: int, number: int) -> bytes:
    return (
        content[512 + number * size : 512 + (number + 1) * size]
        if size == 512
        else content[(number + 1) * size : (number + 2) * size]
    )


def _entries(sector: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(sector) // 4}I", sector[: len(sector) // 4 * 4])


def _joined(content: bytes, size: int, fat: list[int], first: int) -> bytes:
    return b"".join(_sector(content, size, number) for number in _chain(fat, first))


def _damaged(path: Path, why: str) -> str:
    return f"{path}: the workbook is damaged ({why}). Export it again, or let Excel repair it, and run this again."


# .xls: the records.


def tell_xls(path: Path, content: bytes) -> dict[str, Told]:
    """Return what is known of each sheet by its name; raises `Refused` for what is damaged, locked or would not fit."""
    stream = _workbook_stream(path, content)
    try:
        return _of_stream(path, stream)
    except (struct.error, IndexError) as error:
        raise Refused(_damaged(path, str(error))) from error


def _of_stream(path: Path, stream: bytes) -> dict[str, Told]:
    codes = dict(BUILT_IN_AMOUNTS)
    styles: list[int] = []
    sheets: list[tuple[str, int]] = []
    is_new = True
    for kind, body in _records(stream, 0):
        if kind == 0x809:
            is_new = body[:2] == b"\x00\x06"
        elif kind == 0x2F:
            raise Refused(locked(path))
        elif kind == 0x85:
            name = _text(body[6:], 1, is_new=is_new)
            sheets.append((name, struct.unpack_from("<I", body)[0]))
        elif kind == 0x41E:
            codes[struct.unpack_from("<H", body)[0]] = _text(body[2:], 2 if is_new else 1, is_new=is_new)
        elif kind == 0xE0:
            styles.append(struct.unpack_from("<H", body, 2)[0])
        elif kind == 0xFC and struct.unpack_from("<I", body, 4)[0] > len(stream) // 3:
            raise Refused(_damaged(path, "it claims more texts than it has bytes"))
    formats = {place: codes[style] for place, style in enumerate(styles) if style in codes and is_telling(codes[style])}
    told, cells = {}, 0
    for name, offset in sheets:
        found = _Found(formats)
        for kind, body in _records(stream, offset):
            _take_xls(path, name, found, kind, body)
        if found.reach[3] >= _OLD_COLUMNS:
            raise Refused(
                _damaged(path, f"a cell stands in column {found.reach[3] + 1}; such a sheet has {_OLD_COLUMNS}")
            )
        cells += found.size
        refuse_cells(path, name, cells)
        told[name] = found.told()
    return told


def _records(stream: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield the records of one substream, to its end."""
    depth = 0
    while start + 4 <= len(stream):
        kind, size = struct.unpack_from("<HH", stream, start)
        yield kind, stream[start + 4 : start + 4 + size]
        start += 4 + size
        depth += {0x809: 1, 0x0A: -1}.get(kind, 0)  # a chart stands in its sheet as a substream of its own
        if depth <= 0 and kind == 0x0A:
            return


def _text(body: bytes, width: int, *, is_new: bool) -> str:
    count = int.from_bytes(body[:width], "little")
    if not is_new:
        return body[width : width + count].decode("cp1252", "replace")
    wide = body[width] & 1
    start = width + 1
    return body[start : start + count * (1 + wide)].decode("utf-16-le" if wide else "latin-1", "replace")


def _take_xls(path: Path, name: str, found: _Found, kind: int, body: bytes) -> None:
    if kind in (0x203, 0x27E):  # NUMBER, RK
        found.number(*struct.unpack_from("<HHH", body))
    elif kind == 0xBD:  # MULRK
        row, column = struct.unpack_from("<HH", body)
        for place in range((len(body) - 6) // 6):
            found.number(row, column + place, struct.unpack_from("<H", body, 4 + place * 6)[0])
    elif kind == 0x06:  # FORMULA
        row, column, style = struct.unpack_from("<HHH", body)
        if body[12:14] != b"\xff\xff":
            found.number(row, column, style)
        elif body[6] == 2:
            found.error(row, column, body[8])
        else:
            found.at(row, column)
    elif kind == 0x205 and body[7]:  # BOOLERR
        row, column = struct.unpack_from("<HH", body)
        found.error(row, column, body[6])
    elif kind in (0x205, 0xFD, 0x204, 0xD6):  # LABELSST, LABEL, RSTRING
        found.at(*struct.unpack_from("<HH", body))
    elif kind == 0x208 and body[12] & 0x20:  # ROW
        found.hidden_rows.add(struct.unpack_from("<H", body)[0])
    elif kind == 0x7D and body[8] & 1:  # COLINFO
        first, last = struct.unpack_from("<HH", body)
        found.hidden_columns |= set(range(first, min(last, 255) + 1))
    elif kind == 0xE5:  # MERGEDCELLS
        areas = struct.iter_unpack("<HHHH", body[2 : 2 + (len(body) - 2) // 8 * 8])
        found.merged += [(first_row, first, last_row, last) for first_row, last_row, first, last in areas]
    elif kind == 0x9B:  # FILTERMODE
        found.is_filtered = True
    elif kind == 0x200 and len(body) >= 12:  # DIMENSIONS
        first_row, last_row, first, last = struct.unpack_from("<IIHH", body)
        if max(0, last_row - first_row + 1) * max(0, last - first + 1) > MAX_CELLS:
            raise Refused(too_many_cells(path, name))


def locked(path: Path) -> str:
    """Say that a workbook is protected with a password."""
    return (
        f"{path}: the workbook is protected with a password. Open it in Excel, take the password off "
        "(File, Info, Protect Workbook), save it, and run this again."
    )


# .xlsb.


def tell_xlsb(path: Path, archive: zipfile.ZipFile) -> dict[str, Told]:
    """Return what is known of each sheet by its name; raises as `sheet_xml.tell_xlsx` does."""
    targets = {
        relation.get("Id"): normpath(join("/xl", relation.get("Target", ""))).lstrip("/")
        for relation in ElementTree.fromstring(read_part(path, archive, "xl/_rels/workbook.bin.rels"))  # noqa: S314 - read in bounds
    }
    told, cells = {}, 0
    try:
        formats = _xlsb_formats(path, archive) if "xl/styles.bin" in archive.namelist() else {}
        for kind, body in _wide_records(read_part(path, archive, "xl/workbook.bin")):
            if kind != 156:  # BrtBundleSh
                continue
            relation, end = _wide(body, 8)
            name, _ = _wide(body, end)
            part = targets.get(relation, "")
            if "worksheets/" in part:
                found = _Found(formats)
                _take_xlsb(found, read_part(path, archive, part))
                cells += found.size
                refuse_cells(path, name, cells)
                told[name] = found.told()
    except (struct.error, IndexError) as error:
        raise Refused(_damaged(path, str(error))) from error
    return told


def _xlsb_formats(path: Path, archive: zipfile.ZipFile) -> dict[int, str]:
    codes = dict(BUILT_IN_AMOUNTS)
    formats: dict[int, str] = {}
    place, inside = 0, False
    for kind, body in _wide_records(read_part(path, archive, "xl/styles.bin")):
        if kind == 44:  # BrtFmt
            codes[struct.unpack_from("<H", body)[0]] = _wide(body, 2)[0]
        elif kind in (617, 618):  # BrtBeginCellXFs, BrtEndCellXFs
            inside = kind == 617
        elif kind == 47 and inside:  # BrtXF
            code = codes.get(struct.unpack_from("<H", body, 2)[0], "")
            if is_telling(code):
                formats[place] = code
            place += 1
    return formats


def _take_xlsb(found: _Found, content: bytes) -> None:
    row = 0
    for kind, body in _wide_records(content):
        if kind == 0:  # BrtRowHdr
            row = struct.unpack_from("<I", body)[0]
            if row >= MAX_ROWS:
                raise IndexError(f"row {row + 1}")
            if body[11] & 0x10:
                found.hidden_rows.add(row)
        elif 2 <= kind <= 11:
            column, style = struct.unpack_from("<II", body)
            if column >= MAX_COLUMNS:
                raise IndexError(f"column {column + 1}")
            if kind in (2, 5, 9):  # BrtCellRk, BrtCellReal, BrtFmlaNum
                found.number(row, column, style & 0xFFFFFF)
            elif kind in (3, 11):  # BrtCellError, BrtFmlaError
                found.error(row, column, body[8])
            else:
                found.at(row, column)
        elif kind == 60 and body[16] & 1:  # BrtColInfo
            first, last = struct.unpack_from("<II", body)
            found.hidden_columns |= set(range(first, min(last + 1, MAX_COLUMNS)))
        elif kind == 176:  # BrtMergeCell
            first_row, last_row, first, last = struct.unpack_from("<IIII", body)
            found.merged.append((first_row, first, last_row, last))
        elif kind == 163:  # BrtBeginFilterColumn
            found.is_filtered = True


def _wide_records(content: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place < len(content):
        kind, place = _variable(content, place, 2)
        size, place = _variable(content, place, 4)
        yield kind, content[place : place + size]
        place += size


def _variable(content: bytes, place: int, most: int) -> tuple[int, int]:
    """Read a number of seven bits a byte; a record's kind keeps the mark of its first byte."""
    value = 0
    for count in range(most):
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << (7 * count)
        if not byte & 0x80:
            break
    return value, place


def _wide(body: bytes, start: int) -> tuple[str, int]:
    """Read a text with its length in front; return it and where it ends."""
    count = struct.unpack_from("<I", body, start)[0]
    end = start + 4 + count * 2
    if end > len(body):
        raise IndexError("a text beyond its record")
    return body[start + 4 : end].decode("utf-16-le", "replace"), end
