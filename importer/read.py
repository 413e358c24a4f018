"""Spreadsheet → text cells, each row with its file, sheet and row number.

Types are never inferred: `01701234567` stays what it is. Files are told apart by content, not by ending.
"""

import difflib
import glob
import hashlib
import io
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from importer.errors import Refused
from importer.headers import is_result_header
from importer.read_text import peek_text, read_text
from importer.read_workbook import peek_workbook, read_workbook
from importer.records import Table

_ADVICE = "Open it in Excel, save it as .xlsx, and run this again."

#: How content begins that is no table, and what to say then.
_OTHERS = {
    b"\x1f\x8b": "it is compressed (gzip). Unpack it, and name the file inside",
    b"BZh": "it is compressed (bzip2). Unpack it, and name the file inside",
    b"\xfd7zXZ\x00": "it is compressed (xz). Unpack it, and name the file inside",
    b"\x28\xb5\x2f\xfd": "it is compressed (zstd). Unpack it, and name the file inside",
    b"PAR1": "it is a Parquet file. Export it as CSV",
    b"%PDF": "it is a PDF. Export the list as CSV or .xlsx",
    b"{\\rtf": "it is a text document (RTF). Export the list as CSV or .xlsx",
}

#: A result of ours by its name: the stem of its input, what it is, and for older results the run.
_RESULT_NAME = re.compile(r"(?P<stem>.+?)\.(?:results|check)(?:\.[\w-]+)?\.\w+")

#: Files that Excel and LibreOffice put beside an open workbook.
_LOCKS = ("~$", ".~lock.")


class SourceLike(Protocol):
    """Where in a file the table is; the config's `source` block has the same attributes."""

    @property
    def sheet(self) -> str | int | None:
        """Name, number from 1, or "*" for all; None: the only sheet with data."""

    @property
    def header_row(self) -> int | None:
        """The header's row, from 1; None: found."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where in a file the table is (contract, `source`); None: found."""

    sheet: str | int | None = None
    header_row: int | None = None


class Reader(Protocol):
    """Reads one kind of content."""

    def __call__(
        self, path: Path, content: bytes, *, kind: str, sheet: str | int | None, header_row: int | None, sha256: str
    ) -> Table:
        """Return the table; raises `Refused` where the file can't be read as a whole."""


#: By kind of content.
READERS: dict[str, Reader] = {
    "csv": read_text,
    "xlsx": read_workbook,
    "xlsb": read_workbook,
    "xls": read_workbook,
    "ods": read_workbook,
}


def read(path: Path, source: SourceLike) -> Table:
    """Read one input. A row that can't be trusted is a problem of the table.

    Raises `Refused` where the file can't be read as a whole. A result file of ours is read from its own header row,
    whatever `source` says.
    """
    content = _bytes(path)
    kind = _kind(path, content)
    sha256 = hashlib.sha256(content).hexdigest()
    table = READERS[kind](path, content, kind=kind, sheet=source.sheet, header_row=source.header_row, sha256=sha256)
    unnamed = [name for name, header in zip(table.columns, table.headers, strict=True) if not header.strip()]
    filled = [name for name in unnamed if table.cells.get_column(name).null_count() < table.cells.height]
    if filled:
        note = f"columns without a header are called after their letter: {', '.join(map(repr, filled))}"
        return replace(table, notes=(*table.notes, note))
    return table


def expand(patterns: Sequence[str], *, keep_results: bool = False) -> tuple[list[Path], list[str]]:
    """Return the files that a command line names, in order and without repeats, and what was skipped and why.

    Result files of ours are skipped where they came along: those that a pattern of ours found, and among several
    paths (which is what a shell makes of `*.csv`) those whose input is named too. A result that was named on purpose
    is returned, for the caller to refuse or retry; with `keep_results` all are. Raises `Refused` with every name that
    leads nowhere, and where nothing is left.
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
        note = _skipped(path, found, by_pattern=by_pattern, keep_results=keep_results)
        if note is None:
            kept.append(path)
        else:
            notes.append(f"{path}: skipped, as it is {note}")
    if notes and not kept:
        raise Refused(*notes, "Nothing is left to read: name the files to import.")
    return kept, notes


# One file: its bytes, and what they are.


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except IsADirectoryError as error:
        raise Refused(_folder(path)) from error
    except FileNotFoundError as error:
        raise Refused(f"{path}: there is no such file. {_near(path)}") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Refused(f"{path}: it can't be read ({why}). See that it exists and that you may read it.") from error


def _kind(path: Path, content: bytes) -> str:
    if content.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_kind(path, content)
    if content.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        if "EncryptedPackage".encode("utf-16-le") in content:
            raise Refused(
                f"{path}: the workbook is protected with a password. Open it in Excel, take the password off "
                "(File, Info, Protect Workbook), save it, and run this again."
            )
        return "xls"
    for magic, what in _OTHERS.items():
        if content.startswith(magic):
            raise Refused(f"{path}: {what}, and run this again.")
    start = content[:4000].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<table", b"<meta", b"<head")):
        raise Refused(f"{path}: this is a web page (HTML), whatever its name says. {_ADVICE}")
    if start.startswith((b"<?xml", b"<workbook")) and b"urn:schemas-microsoft-com:office" in start:
        raise Refused(f"{path}: this is an XML spreadsheet of 2003, whatever its name says. {_ADVICE}")
    return "csv"


def _zip_kind(path: Path, content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = set(archive.namelist())
            mimetype = archive.read("mimetype") if "mimetype" in names else b""
    except (zipfile.BadZipFile, OSError, RuntimeError, ValueError, NotImplementedError, zlib.error) as error:
        raise Refused(
            f"{path}: the workbook is damaged ({error}). Export it again, or let Excel repair it, and run this again."
        ) from error
    if b"opendocument.spreadsheet" in mimetype:
        return "ods"
    for kind, part in (("xlsx", "xl/workbook.xml"), ("xlsb", "xl/workbook.bin")):
        if part in names:
            return kind
    raise Refused(
        f"{path}: this is a zip archive, but not a workbook. Right are .xlsx, .xlsm, .xls, .ods and text files: "
        "unpack it, and name the file inside."
    )


# Several files: patterns, and what comes along with them.


def _matches(pattern: str) -> Iterator[tuple[Path, bool]]:
    """Yield the files that one argument names, and whether a pattern found them."""
    try:
        path = Path(pattern).expanduser() if pattern.startswith("~/") else Path(pattern)
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


def _skipped(path: Path, found: dict[Path, tuple[Path, bool]], *, by_pattern: bool, keep_results: bool) -> str | None:
    """Say why a file is left out; None where it stays."""
    if not by_pattern and len(found) == 1:
        return None
    if path.name.startswith(_LOCKS):
        return "not a list, but the mark of a workbook that is open. Save and close it first."
    if not keep_results and (by_pattern or _input_is_among(path, found)) and _is_result(path):
        return "a result file of ours. To send its rows that are not done, use retry."
    return None


def _input_is_among(path: Path, found: dict[Path, tuple[Path, bool]]) -> bool:
    match = _RESULT_NAME.fullmatch(path.name)
    return match is not None and any(
        other.stem == match["stem"] and other.parent == path.parent.resolve() for other in found
    )


def _is_result(path: Path) -> bool:
    """Look at the header of a file only. What can't be read is told when it is read for good."""
    try:
        with path.open("rb") as file:
            start = file.read(65536)
        kind = "csv" if not start.startswith((b"PK", b"\xd0\xcf\x11\xe0")) else _kind(path, path.read_bytes())
        return is_result_header(peek_text(start)) if kind == "csv" else _PEEKS[kind](path, path.read_bytes())
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
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    if near:
        return "Did you mean " + " or ".join(repr(str(folder / name)) for name in near) + "?"
    where = "the current folder" if str(folder) == "." else repr(str(folder))
    if not names:
        return f"There are no files in {where}."
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"In {where} there are: {', '.join(map(repr, names[:8]))}{more}."
