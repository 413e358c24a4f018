"""The file you get back: every row of the input, then what became of it.

`result_path` says where it goes and `colliding` whether it may; `write_result` writes it. At every moment a whole file
stands under the result's name: the new one is finished and synced under a temporary name, the older one gets its second
name, and only then does the new one take its place.
"""

import csv
import errno
import io
import os
import re
import secrets
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Literal

import fastexcel
import polars as pl

from importer.errors import ExitStatus, LeadImporterError, Refused
from importer.records import RESULT_COLUMNS, Table
from importer.unpack import unpacked_name
from importer.write_workbook import side_by_side, too_big, write_xlsx

Kind = Literal["csv", "xlsx"]

_TEXT_SUFFIXES = frozenset({".csv", ".tsv", ".txt"})

#: Names of what a result is.
_WRITTEN = _TEXT_SUFFIXES | {".xlsx"}

#: Names of what no result is; a program that goes by the name would read it wrong, and Excel drop the zeros of phones.
_UNWRITTEN = frozenset({".xls", ".xlsm", ".xlsb", ".ods", ".parquet", ".pdf", ".html", ".json"})


class WriteFailed(LeadImporterError):
    """The result file could not be written; an older one under its name still stands."""

    exit_status = ExitStatus.STOPPED


# Where it goes.


def result_path(
    input_path: Path, out: Path | None, *, into_folder: bool, kind: str, check: bool, is_result: bool = True
) -> Path:
    """Return where an input's result file goes; raise `Refused` where no file could be written there.

    `kind` is the result's: "xlsx", or "csv", for which `.csv`, `.tsv` and `.txt` inputs keep their suffix. `out` is a
    file, or a folder (made if missing) where it is to go `into_folder`. `leads.csv.gz` goes by the name `leads.csv`. An input named like a result (`X.results.csv`,
    `X.results.<run ID>.csv`, `X.check.csv`) goes by the name X, unless `is_result` says that it only looks like one.
    """
    if out == Path("-"):
        raise Refused("--out -: the result is a file, and is not written to the screen or a pipe. Name a file.")
    if out is not None and out.suffix.lower() in _UNWRITTEN and not out.is_dir():
        raise Refused(f"--out {out}: results are written as .xlsx, or as text (.csv, .tsv, .txt). Name it so.")
    input_path = unpacked_name(input_path)
    own = input_path.suffix if input_path.suffix.lower() in _TEXT_SUFFIXES else ".csv"
    suffix = own if kind == "csv" else ".xlsx"
    stem = _RESULT_STEM.sub("", input_path.stem) if is_result else input_path.stem
    name = f"{stem or input_path.stem}.{'check' if check else 'results'}{suffix}"
    if out is None:
        path = input_path.with_name(name)
    elif into_folder or out.is_dir():
        _make_folder(out)
        path = out / name
    else:
        path = out
    _refuse_unwritable(path)
    return path


def names_folder(out: str, *, several: bool, by_pattern: bool) -> bool:
    """Tell whether `--out` names a folder, be it there or not: for several inputs, or with a slash at its end.

    Where a pattern found the only input it may find several tomorrow: then what does not end like a result is one, too.
    """
    return several or out.endswith(("/", os.sep)) or (by_pattern and Path(out).suffix.lower() not in _WRITTEN)


#: The end of a result file's name without its suffix: `.check`, `.results`, `.results.<run ID>`, `.results.<run ID>-2`.
_RESULT_STEM = re.compile(r"(?<=.)\.(check|results)(\.[^.]+)?$")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(
            f"--out {folder}: for several inputs, or a pattern, this must be a folder, and it can't be made ({_reason(error)})."
            " Name another folder."
        ) from error


def _refuse_unwritable(path: Path) -> None:
    """Raise `Refused` for what would surely fail later, when the leads are already created."""
    folder = path.parent
    if not folder.is_dir():
        raise Refused(f"{path}: the folder {str(folder)!r} does not exist. Make it, or pass --out with another place.")
    if not os.access(folder, os.W_OK):
        raise Refused(f"{path}: nothing may be written into {str(folder)!r}. Pass --out with another place.")
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise Refused(f"{path}: no such file can be made ({_reason(error)}). Pass --out with another name.") from error
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"{path}: this is a folder or a device, no file. Pass --out with another name.")


def colliding(paths: Sequence[Path], inputs: Sequence[Path]) -> list[str]:
    """Return what is wrong where two results have one name, or a result has the name of an input.

    Line n of both belongs together; a result may have its own input's name where that is `X.results.…` (`retry`).
    Names are compared as a file system may that ignores case and normalises accents.
    """
    problems = []
    wanted: dict[str, list[Path]] = defaultdict(list)
    for path, source in zip(paths, inputs, strict=True):
        wanted[_place(path)].append(source)
    for path in paths:
        sources = wanted.pop(_place(path), [])
        if len(sources) > 1:
            names = ", ".join(str(source) for source in sources)
            problems.append(f"{path}: {len(sources)} inputs have this result file: {names}. Run them one by one.")
    places = [_place(source) for source in inputs]
    for number, path in enumerate(paths):
        for other, place in enumerate(places):
            again = number == other and _RESULT_STEM.search(path.stem)
            if place == _place(path) and not again:
                problems.append(f"{path}: this result would replace an input. Pass --out with another place.")
                break
    return problems


def _place(path: Path) -> str:
    return unicodedata.normalize("NFC", str(path.resolve())).casefold()


def fits(kind: str, rows: int, columns: int = 0) -> None:
    """Raise `Refused` where a result of this kind can't hold so many rows of the user's (`columns` too, if given)."""
    problem = too_big(kind, rows, columns + len(RESULT_COLUMNS))
    if problem:
        raise Refused(f"{problem}. Set result.format: csv.")


# Writing it.


def write_result(
    path: Path, table: Table, ours: pl.DataFrame, *, kind: Kind, older_run_id: str | None = None
) -> Path | None:
    """Write a result file in one step; return the name that an older one got, None where there was none.

    `ours` has the `RESULT_COLUMNS`, String or integer, one line per row of `table.cells`. The user's cells stay as they
    are, except that a workbook cuts what no cell of it can hold, and says so in the row's `import_error`. An older file
    is set aside first (see `set_aside`); a check's (`X.check.…`) is replaced. Raise `WriteFailed`, and leave the older
    file under its name and no other file, where it can't be done.
    """
    if tuple(ours.columns) != RESULT_COLUMNS or ours.height != table.cells.height:
        raise ValueError(f"{ours.height} outcomes with columns {ours.columns} for {table.cells.height} rows")
    user, headers = _of_the_user(table)
    problem = too_big(kind, user.height, user.width + ours.width)
    if problem:
        raise WriteFailed(f"{path}: {problem}. Set result.format: csv, and run it again. {_NOT_TWICE}")
    # A link to a result stays a link.
    path = path.resolve()
    try:
        return _move_in(path, lambda file: WRITERS[kind](file, table, user, headers, ours), older_run_id)
    except OSError as error:
        raise WriteFailed(_advice(path, error)) from error


def _of_the_user(table: Table) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the input's own cells and headers: all but what an earlier result added."""
    keep = [place for place, name in enumerate(table.columns) if not (table.is_result and name in RESULT_COLUMNS)]
    cells = table.cells.select(pl.nth(keep)) if keep else pl.DataFrame()
    return cells, tuple(table.headers[place] for place in keep)


_NOT_TWICE = "What was sent is in the ledger and is not sent twice."


def _advice(path: Path, error: OSError) -> str:
    number = _number(error)
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        what, do = "there is no room for the result file", "Free some, or pass --out with another place"
    elif isinstance(error, PermissionError) or number in (errno.EBUSY, errno.ETXTBSY, errno.EROFS):
        what = f"the result file may not be written ({_reason(error)})"
        do = "Close it if it is open in Excel, or pass --out with another place"
    else:
        what = f"the result file could not be written ({_reason(error)})"
        do = "Put that right, or pass --out with another place"
    return f"{path}: {what}. {do}, and run it again. {_NOT_TWICE}"


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _number(error: OSError) -> int | None:
    """Return the system's number; polars has it in its text only: "File too large (os error 27)"."""
    told = re.search(r"\(os error (\d+)\)", str(error))
    return error.errno if error.errno is not None or told is None else int(told[1])


def _move_in(path: Path, write: Callable[[IO[bytes]], None], older_run_id: str | None) -> Path | None:
    """Write under a temporary name, set the older file aside, move the new one into place; undo it all on failure."""
    aside: _Aside | None = None
    with _temporary(path.parent) as fresh:
        with fresh.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if path.exists() and not _is_check(path):
            aside = _second_name(path, older_run_id)
        try:
            fresh.replace(path)
        except BaseException:
            if aside is not None:
                aside.undo()
            raise
    _sync_folder(path.parent)
    return aside.path if aside else None


def _is_check(path: Path) -> bool:
    return path.stem.endswith(".check")


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """Name a file for the time of the block that no glob for spreadsheets finds; afterwards it is gone."""
    path = folder / f".lead-importer-{secrets.token_hex(6)}.tmp"
    try:
        yield path
    finally:
        # Where it was moved into place, or never begun, there is nothing to remove.
        with suppress(OSError):
            path.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the new name durable; Windows and some network shares can't, and need not."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


# The older file.


def set_aside(path: Path, run_id: str | None) -> Path | None:
    """Rename an older result `X.csv` to `X.<its run ID>.csv` and return that name; None where there is nothing to keep.

    Without `run_id` it is the greatest one found in the file, else the file's time of change (UTC). A name that is
    taken is never used: then `X.<run ID>-2.csv`, and so on. What a check wrote (`X.check.…`) is nothing to keep.
    """
    if _is_check(path) or not path.exists():
        return None
    aside = _second_name(path, run_id)
    if aside.linked:
        path.unlink()
    return aside.path


@dataclass(frozen=True, slots=True)
class _Aside:
    """The name that an older file got: beside its old one (`linked`), or in its place."""

    path: Path
    old: Path
    linked: bool

    def undo(self) -> None:
        if self.linked:
            self.path.unlink()
        else:
            self.path.rename(self.old)


def _second_name(path: Path, run_id: str | None) -> _Aside:
    """Give a file a second name, so that its first never points at nothing; rename it where there are no links."""
    stamp = run_id or _run_id_in(path) or f"{datetime.fromtimestamp(path.stat().st_mtime, UTC):%Y%m%dT%H%M%SZ}"
    number = 1
    while True:
        aside = path.with_name(f"{path.stem}.{stamp}{f'-{number}' if number > 1 else ''}{path.suffix}")
        try:
            os.link(path, aside)
        except FileExistsError:
            number += 1
            continue
        except OSError:
            # FAT, and many network shares, know no links.
            if aside.exists():
                number += 1
                continue
            path.rename(aside)
            return _Aside(aside, path, linked=False)
        return _Aside(aside, path, linked=True)


_RUN_ID = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"


def _run_id_in(path: Path) -> str | None:
    """Return the greatest run ID in a result file, None where it holds none or can't be read."""
    try:
        found = _run_ids_of_workbook(path) if path.suffix.lower() == ".xlsx" else _run_ids_of_text(path)
    except (OSError, ValueError, csv.Error, pl.exceptions.PolarsError, fastexcel.FastExcelError):
        return None
    greatest = found.filter(found.str.contains(_RUN_ID).fill_null(value=False)).max()
    return greatest if isinstance(greatest, str) else None


def _run_ids_of_workbook(path: Path) -> pl.Series:
    sheet = fastexcel.read_excel(path).load_sheet(0, use_columns=["import_run_id"], dtypes="string")
    return pl.Series(sheet.to_polars().to_series(), dtype=pl.String)


def _run_ids_of_text(path: Path) -> pl.Series:
    # In whatever 8-bit encoding it was saved again, our header and IDs are ASCII.
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        for delimiter in ",;\t|":
            file.seek(0)
            header = next(csv.reader(file, delimiter=delimiter), [])
            if "import_run_id" in header:
                ids = pl.read_csv(
                    path,
                    separator=delimiter,
                    columns=[header.index("import_run_id")],
                    infer_schema=False,
                    truncate_ragged_lines=True,
                    encoding="utf8-lossy",
                )
                return ids.to_series()
    return pl.Series(dtype=pl.String)


# Text.


def _write_csv(file: IO[bytes], table: Table, user: pl.DataFrame, headers: Sequence[str], ours: pl.DataFrame) -> None:
    """Write UTF-8 with BOM, the input's delimiter, lines ending in CRLF (RFC 4180)."""
    delimiter = table.delimiter or ","
    top = io.StringIO()
    csv.writer(top, delimiter=delimiter).writerow([*headers, *RESULT_COLUMNS])
    file.write(top.getvalue().encode("utf-8-sig"))
    file.flush()
    rows = side_by_side(user, ours.with_columns(_guarded(ours)))
    rows.write_csv(file, include_header=False, separator=delimiter, line_terminator="\r\n")


#: A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV Injection").
_FORMULA = r"^[=+\-@\t\r\n]"


def _guarded(ours: pl.DataFrame) -> list[pl.Expr]:
    """Put an apostrophe before what would be a formula; the server's words are not ours to trust."""
    return [
        pl.when(pl.col(name).str.contains(_FORMULA)).then(pl.lit("'") + pl.col(name)).otherwise(name).alias(name)
        for name, dtype in ours.schema.items()
        if dtype == pl.String and ours[name].str.contains(_FORMULA).any()
    ]


WRITERS: dict[str, Callable[[IO[bytes], Table, pl.DataFrame, Sequence[str], pl.DataFrame], None]] = {
    "csv": _write_csv,
    "xlsx": write_xlsx,
}
