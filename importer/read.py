"""Spreadsheet → text cells, each row with its file, sheet and row number.

Types are never inferred: `01701234567` stays what it is. Files are told apart by content, not by ending.
"""

import difflib
import glob
import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from importer.errors import Refused
from importer.read_text import read_text
from importer.read_workbook import read_workbook
from importer.records import Table

#: Our own output beside an input: its stem, what it is, and for older results the run.
_OURS = re.compile(r"^(?P<stem>.+?)\.(?:results|check)(?:\.[\w-]+)?(?P<ext>\.\w+)$")


@dataclass(frozen=True, slots=True)
class Source:
    """Where in a file the table is (contract, `source`); None: found."""

    sheet: str | int | None = None
    header_row: int | None = None


def read(path: Path, source: Source) -> Table:
    """Read one input. Raises `Refused` where it can't be read as a whole; a bad row is a problem of the table."""
    try:
        content = path.read_bytes()
    except IsADirectoryError as error:
        raise Refused(f"{path}: this is a folder. Name the files in it, for instance '{path}/*.csv'.") from error
    except OSError as error:
        raise Refused(f"{path}: it can't be read ({error.strerror}). {_near(path)}") from error
    kind = _kind(path, content)
    return READERS[kind](path, kind, content, source.sheet, source.header_row, hashlib.sha256(content).hexdigest())


def _kind(path: Path, content: bytes) -> str:
    if content.startswith(b"PK\x03\x04"):
        return _zip_kind(path, content)
    if content.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        if "EncryptedPackage".encode("utf-16-le") in content:
            raise Refused(
                f"{path}: the workbook is protected with a password. Open it, take the password off (File, Info, Protect), save it, and run this again."
            )
        return "xls"
    start = content[:2000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<table")) or b"urn:schemas-microsoft-com:office" in start:
        raise Refused(
            f"{path}: this is a web page, not a workbook, whatever its name says. Open it in Excel, save it as .xlsx, and run this again."
        )
    return "csv"


def _zip_kind(path: Path, content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = set(archive.namelist())
            if "mimetype" in names and b"opendocument.spreadsheet" in archive.read("mimetype"):
                return "ods"
    except (zipfile.BadZipFile, OSError, RuntimeError) as error:
        raise Refused(
            f"{path}: the workbook is damaged ({error}). Open it in Excel, let it repair the file, save it, and run this again."
        ) from error
    if "xl/workbook.xml" in names:
        return "xlsx"
    raise Refused(
        f"{path}: this is a zip archive, but no workbook that can be read. Right are .xlsx, .xlsm, .xls, .ods and text files."
    )


READERS: dict[str, Callable[[Path, str, bytes, str | int | None, int | None, str], Table]] = {
    "csv": read_text,
    "xlsx": read_workbook,
    "xls": read_workbook,
    "ods": read_workbook,
}


def expand(patterns: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the files that the command line names, in order and without repeats, and what was skipped.

    A pattern skips result files. So do several files at once (as a shell hands `*.csv` over) where a result's input is
    among them; a result named alone is kept, for the caller to refuse or retry. Raises `Refused` for what is missing.
    """
    found: dict[Path, bool] = {}
    problems = []
    for text in patterns:
        path = Path(text).expanduser()
        if path.exists():
            found.setdefault(path, False)
        elif re.search(r"[*?\[]", text):
            matches = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())  # noqa: PTH207 - absolute patterns too
            if not matches:
                problems.append(f"{text}: no file matches this pattern. {_near(path)}")
            for match in matches:
                found.setdefault(match, True)
        else:
            problems.append(f"{text}: there is no such file. {_near(path)}")
    if problems:
        raise Refused(*problems)
    return _without_results(found)


def _without_results(found: dict[Path, bool]) -> tuple[list[Path], list[str]]:
    names = {path.resolve() for path in found}
    kept, notes = [], []
    for path, by_pattern in found.items():
        if (by_pattern or len(found) > 1) and _is_output(path, names, by_pattern=by_pattern):
            notes.append(
                f"{path}: skipped, as it is a result file of an earlier run. To send its rows that are not done, use retry."
            )
        else:
            kept.append(path)
    return kept, notes


def _is_output(path: Path, names: set[Path], *, by_pattern: bool) -> bool:
    """Tell a result file that came along from one that somebody named."""
    match = _OURS.match(path.name)
    beside = match is not None and any(
        other.parent == path.resolve().parent and other != path.resolve() and other.stem == match["stem"]
        for other in names
    )
    if not (by_pattern or beside):
        return False
    try:
        return read(path, Source()).is_result
    except Refused:
        return False  # told when it is read for good


def _near(path: Path) -> str:
    """Say what there is in the folder instead."""
    folder = path.parent
    if not folder.is_dir():
        return f"There is no folder {str(folder)!r} either."
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    if near:
        return "Did you mean " + " or ".join(repr(str(folder / name)) for name in near) + "?"
    shown = ", ".join(sorted(names)[:8])
    return f"In that folder there are: {shown}." if shown else "That folder is empty."
