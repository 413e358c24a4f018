"""Spreadsheet → text cells, each row with its file, sheet and row number.

Types are never inferred: `01701234567` stays what it is. Files are told apart by content, not by ending.
"""

import difflib
import glob
import hashlib
import io
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from importer.encodings import marked_encoding
from importer.errors import Refused
from importer.headers import is_result_header
from importer.read_markup import read_html, read_xml
from importer.read_parquet import read_parquet
from importer.read_text import MAX_CELL, peek_text, read_text, top_rows
from importer.read_workbook import peek_workbook, read_workbook
from importer.records import Source, Table
from importer.sheet_records import locked
from importer.unpack import STDIN, load, read_part, unpack, unpacked_name

#: How content begins that is no table, and what to say then.
_OTHERS = {
    b"%PDF": "it is a PDF. Export the list as CSV or .xlsx",
    b"{\\rtf": "it is a text document (RTF). Export the list as CSV or .xlsx",
    b"\x89PNG": "it is a picture. Export the list as CSV or .xlsx",
    b"\xff\xd8\xff": "it is a picture. Export the list as CSV or .xlsx",
    b"7z\xbc\xaf\x27\x1c": "it is an archive (7z). Unpack it, and name the file inside",
    b"Rar!": "it is an archive (RAR). Unpack it, and name the file inside",
    b"SQLite format 3": "it is a database (SQLite). Export the list as CSV or .xlsx",
}

#: What a list that is piped in is called; its result is `stdin.results.csv` in the current folder.
STDIN_NAME = Path("stdin")

#: A result of ours by its name: the stem of its input, what it is, and for older results the run.
_RESULT_NAME = re.compile(r"(?P<stem>.+?)\.(?:results|check)(?:\.[\w-]+)?\.\w+")

#: Of those, what `retry` must not send beside the result that is there now: the same rows stand in both.
_NOT_THE_LAST = re.compile(r".+\.(?:check|results\.(?:sandbox-)?\d{8}T\d{6}Z-[0-9a-f]{6}(?:-\d+)?)\.\w+")

#: How receipts are called, which lie beside results.
_RECEIPT = ".receipt.json"

#: Files that Excel and LibreOffice put beside an open workbook.
_LOCKS = ("~$", ".~lock.")


class Reader(Protocol):
    """Reads one kind of content."""

    def __call__(self, path: Path, content: bytes, *, kind: str, source: Source, sha256: str) -> Table:
        """Return the table; raises `Refused` where the file can't be read as a whole."""


#: By kind of content.
READERS: dict[str, Reader] = {
    "csv": read_text,
    "xlsx": read_workbook,
    "xlsb": read_workbook,
    "xls": read_workbook,
    "ods": read_workbook,
    "html": read_html,
    "xml": read_xml,
    "parquet": read_parquet,
}


@dataclass(frozen=True, slots=True)
class Opened:
    """An input as it was loaded, unpacked and told apart by its content: loaded once, it can be read again otherwise."""

    path: Path
    content: bytes
    kind: str
    sha256: str
    """Of the file as it stands, packed."""
    notes: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: Path) -> "Opened":
        """Load one input, compressed or not, or what is piped in (`unpack.STDIN`). Raises `Refused` for what is no table."""
        packed = _bytes(path)
        path = STDIN_NAME if path == STDIN else path
        sha256 = hashlib.sha256(packed).hexdigest()
        content, note = unpack(path, packed)
        return cls(path, content, _kind(path, content), sha256, (note,) if note else ())

    def read(self, source: Source) -> Table:
        """Return the rows; raises as `read` does."""
        try:
            table = READERS[self.kind](self.path, self.content, kind=self.kind, source=source, sha256=self.sha256)
        except MemoryError as error:
            raise Refused(
                f"{self.path}: the list is larger than the memory that is free. Split it into several files, and run them one "
                "after another."
            ) from error
        _refuse_long_cells(table)
        return replace(table, notes=(*self.notes, *table.notes, *_unnamed(table)))

    def top(self, source: Source, count: int) -> dict[str, list[list[str]]]:
        """Return the first rows of a text file as each delimiter that it may have would part them; of a workbook none."""
        return top_rows(self.path, self.content, source, count) if self.kind == "csv" else {}


def read(path: Path, source: Source) -> Table:
    """Read one input, compressed or not, or what is piped in (`unpack.STDIN`).

    A row that can't be trusted is a problem of the table. Raises `Refused` where the file can't be read as a whole. A result file of ours is read from its own header row,
    whatever `source` says. `Table.sha256` is that of the file as it stands, packed.
    """
    return Opened.load(path).read(source)


def _unnamed(table: Table) -> list[str]:
    unnamed = [name for name, header in zip(table.columns, table.headers, strict=True) if not header.strip()]
    filled = [name for name in unnamed if table.cells.get_column(name).null_count() < table.cells.height]
    return [f"columns without a header are called after their letter: {', '.join(map(repr, filled))}"] if filled else []


def _refuse_long_cells(table: Table) -> None:
    """Refuse cells of megabytes: each is a file in a cell, and every stage would carry it along."""
    for column in table.cells:
        longest = column.str.len_bytes().max()
        if isinstance(longest, int) and longest > 4 * MAX_CELL:
            row = table.places["row"][column.str.len_bytes().arg_max() or 0]
            raise Refused(
                f'{table.path}, row {row}, column "{column.name}": the cell holds {longest:,} bytes; Excel holds 32,767 '
                "characters. Shorten it, or take the row out."
            )


def expand(patterns: Sequence[str], *, retry: bool = False) -> tuple[list[Path], list[str]]:
    """Return the files that a command line names, in order and without repeats, and what was skipped and why.

    Result files of ours are skipped where they came along: those that a pattern of ours found, and among several
    paths (which is what a shell makes of `*.csv`) those whose input is named too; so are their receipts. A result that
    was named on purpose is returned, for the caller to refuse. For `retry` it is the other way round: what came along
    and is no result, or an older one, is skipped. Raises `Refused` with every name that leads nowhere, and where
    nothing is left.
    """
    found: dict[Path, tuple[Path, bool]] = {}
    problems: list[str] = []
    for pattern in patterns:
        try:
            for path, by_pattern in _matches(pattern):
                found.setdefault(path.resolve(), (path, by_pattern))
        except Refused as refusal:
            problems += refusal.problems
    if problems:
        raise Refused(*problems)
    kept, notes = [], []
    for path, by_pattern in found.values():
        note = _skipped(path, found, by_pattern=by_pattern, retry=retry)
        if note is None:
            kept.append(path)
        else:
            notes.append(f"{path}: skipped, as it is {note}")
    if notes and not kept:
        raise Refused(
            *notes, f"Nothing is left to read: name the {'results to retry' if retry else 'files to import'}."
        )
    return kept, notes


def is_pattern(name: str) -> bool:
    """Tell whether a name that `expand` took is a pattern, which may find other files tomorrow; no file's name is one."""
    return name != "-" and not _named(name).exists()


# One file: its bytes, and what they are.


def _bytes(path: Path) -> bytes:
    if path == STDIN:
        return load(path)
    try:
        path.stat()
    except FileNotFoundError as error:
        raise Refused(f"{path}: there is no such file. {_near(path)}") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Refused(f"{path}: it can't be read ({why}). See that it exists and that you may read it.") from error
    if path.is_dir():
        raise Refused(_folder(path))
    return load(path)


def _kind(path: Path, content: bytes) -> str:
    if path.suffix.lower() in (".yaml", ".yml"):
        raise Refused(
            f"{path}: this is a config by its name. Name it with -c, and the list that it is for as the input."
        )
    if content.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_kind(path, content)
    if content.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        if "EncryptedPackage".encode("utf-16-le") in content:
            raise Refused(locked(path))
        return "xls"
    if content.startswith(b"PAR1"):
        return "parquet"
    for magic, what in _OTHERS.items():
        if content.startswith(magic):
            raise Refused(f"{path}: {what}, and run this again.")
    start = content[:4000].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower()
    if re.match(
        rb"(?>(?:<!--(?>.*?-->)\s*|<\?xml[^>]*>\s*)*)<(!doctype html|html|table|meta|head|body|div|style)\b",
        start,
        re.DOTALL,
    ):
        return "html"
    if start.startswith((b"<?xml", b"<workbook", b"<ss:workbook", b"<!doctype")):
        if b"urn:schemas-microsoft-com:office" in start:
            return "xml"
        raise Refused(f"{path}: this is XML, but no spreadsheet. Export the list as CSV or .xlsx, and run this again.")
    if start[:1] in b"{[" and re.match(rb"[\[{]\s*[\[{\"]", start) and b'":' in start:
        raise Refused(f"{path}: this is JSON. Export the list as CSV or .xlsx, and run this again.")
    if marked_encoding(content) is None and not _is_text(content[:4096]):
        raise Refused(f"{path}: this is neither text nor a workbook; perhaps it is damaged. Get it again.")
    return "csv"


def _is_text(start: bytes) -> bool:
    """Tell a text from other bytes: compressed ones have a control character in nine, zeroed ones NULs, a text a few."""
    return len(start.translate(None, _CONTROLS)) >= 0.96 * len(start) and start.count(0) <= 0.3 * len(start)


#: Bytes that no text holds, but for NUL, tab, line ends and the like.
_CONTROLS = bytes([*range(1, 9), *range(14, 27), *range(28, 32), 127])


def _zip_kind(path: Path, content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = set(archive.namelist())
            size = archive.getinfo("mimetype").file_size if "mimetype" in names else 0
            mimetype = read_part(path, archive, "mimetype") if 0 < size < 200 else b""
            manifest = archive.getinfo("META-INF/manifest.xml").file_size if "META-INF/manifest.xml" in names else 0
            locks = 0 < manifest < 1_000_000 and b"encryption-data" in read_part(path, archive, "META-INF/manifest.xml")
    except (zipfile.BadZipFile, OSError, RuntimeError, ValueError, NotImplementedError, zlib.error, EOFError) as error:
        raise Refused(
            f"{path}: the workbook is damaged ({error}). Export it again, or let Excel repair it, and run this again."
        ) from error
    if b"opendocument.spreadsheet" in mimetype:
        if locks:
            raise Refused(locked(path))
        return "ods"
    for kind, part in (("xlsx", "xl/workbook.xml"), ("xlsb", "xl/workbook.bin")):
        if part in names:
            return kind
    raise Refused(
        f"{path}: this is an office document, but no workbook that can be read. Right are .xlsx, .xlsm, .xlsb, .xls, "
        ".ods and text files. Export the list as one of these."
    )


# Several files: patterns, and what comes along with them.


def _matches(pattern: str) -> Iterator[tuple[Path, bool]]:
    """Yield the files that one argument names, and whether a pattern found them; `-` is what is piped in."""
    if pattern == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise Refused("-: nothing is piped in. Name a file, or pipe a list into this command.")
        yield STDIN, False
        return
    try:
        path = _named(pattern)
        is_there, is_folder = path.exists(), path.is_dir()
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise Refused(f"{pattern}: it can't be read ({why}). See that it exists and that you may read it.") from error
    if is_folder:
        raise Refused(_folder(path))
    if is_there:
        yield path, False
        return
    if not re.search(r"[*?\[]", pattern):
        raise Refused(f"{pattern}: there is no such file. {_near(path)}")
    # pathlib's own glob takes no absolute patterns.
    matches = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if os.path.isfile(name)]  # noqa: PTH113, PTH207
    if not matches:
        raise Refused(f"{pattern}: no file matches this pattern. {_near(path)}")
    for match in matches:
        yield match, True


def _named(pattern: str) -> Path:
    return Path(pattern).expanduser() if pattern.startswith("~/") else Path(pattern)


def _skipped(path: Path, found: dict[Path, tuple[Path, bool]], *, by_pattern: bool, retry: bool) -> str | None:
    """Say why a file is left out; None where it stays."""
    if not by_pattern and len(found) == 1:
        return None
    if path.name.endswith(_RECEIPT):
        return "the receipt of a result."
    if path.name.startswith(_LOCKS):
        return "not a list, but the mark of a workbook that is open. Save and close it first."
    if retry:
        return _not_to_retry(path, found, by_pattern=by_pattern)
    if (by_pattern or _input_is_among(path, found)) and _is_result(path):
        return "a result file of ours. To send its rows that are not done, use retry."
    return None


def _not_to_retry(path: Path, found: dict[Path, tuple[Path, bool]], *, by_pattern: bool) -> str | None:
    match = _RESULT_NAME.fullmatch(path.name)
    last = None if match is None else path.parent.resolve() / f"{match['stem']}.results{path.suffix}"
    if _NOT_THE_LAST.fullmatch(path.name) and (by_pattern or last in found):
        return "not the last result of its list. Name it alone, if it is the one to send."
    if by_pattern and not _is_result(path):
        return "no result file of ours. To import it, use run."
    return None


def _input_is_among(path: Path, found: dict[Path, tuple[Path, bool]]) -> bool:
    match = _RESULT_NAME.fullmatch(path.name)
    return match is not None and any(
        unpacked_name(other).stem == match["stem"] and other.parent == path.parent.resolve() for other in found
    )


def _is_result(path: Path) -> bool:
    """Look at the header of a file only. What can't be read is told when it is read for good."""
    try:
        with path.open("rb") as file:
            start = file.read(65536)
        if not start.startswith((b"PK", b"\xd0\xcf\x11\xe0")):
            return is_result_header(peek_text(start))
        content = load(path)
        peek = _PEEKS.get(_kind(path, content))
        return peek is not None and peek(path, content)
    except (OSError, Refused):
        return False


_PEEKS: dict[str, Callable[[Path, bytes], bool]] = dict.fromkeys(("xlsx", "xlsb", "xls", "ods"), peek_workbook)


def _folder(path: Path) -> str:
    return f"{path}: this is a folder; right are files. Name those in it, for instance '{path / '*.csv'}'."


def _near(path: Path) -> str:
    """Say what there is in the folder instead."""
    folder = path.parent
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    except OSError:
        return f"The folder {str(folder)!r} is not there either, or you may not look into it."
    alike = {name.casefold(): name for name in names}
    near = [alike[name] for name in difflib.get_close_matches(path.name.casefold(), alike, n=3, cutoff=0.5)]
    if near:
        return "Did you mean " + " or ".join(repr(str(folder / name)) for name in near) + "?"
    where = "the current folder" if str(folder) == "." else repr(str(folder))
    if not names:
        return f"There are no files in {where}."
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"In {where} there are: {', '.join(map(repr, names[:8]))}{more}."
