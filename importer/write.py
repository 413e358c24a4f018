"""The file you get back: every row of the input, then what became of it.

`result_path` says where it goes and `colliding` whether it may; `write_result` writes it. At every moment a whole file
stands under the result's name: the new one is finished and synced under a temporary name, the older one gets its second
name, and only then does the new one take its place.

A workbook's frame (styles, filter, widths) is XlsxWriter's; its rows are put in as XML that polars builds by the column,
since no library at hand writes text cells as fast with repeated headers and single marked cells (`benchmarks/results.py`).
"""

import csv
import errno
import io
import os
import re
import secrets
import stat
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import IO, Literal

import fastexcel
import polars as pl
import xlsxwriter

from importer.errors import ExitStatus, LeadImporterError, Refused
from importer.looks import Looks, looks_of
from importer.records import RESULT_COLUMNS, Status, Table
from importer.unpack import unpacked_name

Kind = Literal["csv", "xlsx"]

#: What a sheet of a workbook holds (Microsoft, "Excel specifications and limits").
MAX_ROWS = 1_048_576
MAX_COLUMNS = 16_384
MAX_CHARS = 32_767  # of a cell, in UTF-16 units, as Excel counts
_MAX_SHEET_NAME = 31

_CUT = "… [cut]"
_TEXT_SUFFIXES = frozenset({".csv", ".tsv", ".txt"})
_NUMBERS = ("import_http_status", "import_attempts", "import_row")


class WriteFailed(LeadImporterError):
    """The result file could not be written; an older one under its name still stands."""

    exit_status = ExitStatus.STOPPED


# Where it goes.


def result_path(
    input_path: Path, out: Path | None, *, several: bool, kind: str, check: bool, is_result: bool = True
) -> Path:
    """Return where an input's result file goes; raise `Refused` where no file could be written there.

    `kind` is the result's: "xlsx", or "csv", for which `.csv`, `.tsv` and `.txt` inputs keep their suffix. `out` is a
    file, or a folder (made if missing) where there are `several` inputs. `leads.csv.gz` goes by the name `leads.csv`. An input named like a result (`X.results.csv`,
    `X.results.<run ID>.csv`, `X.check.csv`) goes by the name X, unless `is_result` says that it only looks like one.
    """
    input_path = unpacked_name(input_path)
    own = input_path.suffix if input_path.suffix.lower() in _TEXT_SUFFIXES else ".csv"
    suffix = own if kind == "csv" else ".xlsx"
    stem = _RESULT_STEM.sub("", input_path.stem) if is_result else input_path.stem
    name = f"{stem or input_path.stem}.{'check' if check else 'results'}{suffix}"
    if out is None:
        path = input_path.with_name(name)
    elif several or out.is_dir():
        _make_folder(out)
        path = out / name
    else:
        path = out
    _refuse_unwritable(path)
    return path


#: The end of a result file's name without its suffix: `.check`, `.results`, `.results.<run ID>`, `.results.<run ID>-2`.
_RESULT_STEM = re.compile(r"(?<=.)\.(check|results)(\.[^.]+)?$")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(
            f"--out {folder}: with several inputs this must be a folder, and it can't be made ({_reason(error)})."
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
    problem = _too_big(kind, rows, columns + len(RESULT_COLUMNS))
    if problem:
        raise Refused(f"{problem}. Set result.format: csv.")


def _too_big(kind: str, rows: int, columns: int) -> str | None:
    if kind != "xlsx":
        return None
    if rows + 1 > MAX_ROWS:
        return f"{rows:,} rows and a header were found; a workbook's sheet holds {MAX_ROWS:,} rows"
    if columns > MAX_COLUMNS:
        return f"{columns:,} columns, ours included, were found; a workbook's sheet holds {MAX_COLUMNS:,}"
    return None


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
    problem = _too_big(kind, user.height, user.width + ours.width)
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
    rows = _side_by_side(user, ours.with_columns(_guarded(ours)))
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


def _side_by_side(user: pl.DataFrame, ours: pl.DataFrame) -> pl.DataFrame:
    """Return all columns under the names "0", "1", …: the user's may repeat ours."""
    columns = [*user.get_columns(), *ours.get_columns()]
    return pl.DataFrame([column.alias(str(place)) for place, column in enumerate(columns)])


# Workbook.

_FILLS = {
    Status.CREATED: "#E2F0D9",
    Status.ALREADY_IMPORTED: "#E2F0D9",
    Status.DUPLICATE: "#EDEDED",
    Status.SUPPRESSED: "#EDEDED",
    Status.FILTERED: "#EDEDED",
    Status.INVALID: "#FCE4D6",
    Status.REJECTED: "#FCE4D6",
    Status.FAILED: "#FCE4D6",
    Status.UNKNOWN: "#FFF2CC",
    Status.NOT_SENT: "#FFF2CC",
    Status.READY: "#DDEBF7",
}
_MARK = "#F8B4B4"

#: Cells per piece of XML: some 20 MB, so that memory does not grow with the file.
_CELLS_AT_ONCE = 150_000
_PACKING = 1  # from 3 on, packing takes longer than building the rows does


def _write_xlsx(file: IO[bytes], table: Table, user: pl.DataFrame, headers: Sequence[str], ours: pl.DataFrame) -> None:
    """Write one sheet: header frozen and bold, filter, marked cells, the input's widths.

    Cells are texts, but our counts and the days that the input has as date cells, which keep their format.
    """
    # An empty header is written too, as an empty text: else readers take the sheet to begin at the first filled column.
    names = [*headers, *RESULT_COLUMNS]
    top = pl.DataFrame({str(place): pl.Series([text], dtype=pl.String) for place, text in enumerate(names)})
    top, _ = _cut(top, headers)
    user, notes = _cut(user, headers)
    ours, _ = _cut(_with_notes(ours, notes), RESULT_COLUMNS)
    ours = _with_numbers(ours)
    rows = _side_by_side(user, ours)
    looks = looks_of(table)
    book = _frame(_sheet_name(table.places), top, rows, _widths(top, rows, user.columns, looks), looks)
    dates = {place: book.dates[looks.dates[name]] for place, name in enumerate(user.columns) if name in looks.dates}
    marks = _marked(user.columns, headers, ours["import_error_column"])
    styles = _styles(book, user.width, ours, marks)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_PACKING) as packed:
        for name, content in book.parts.items():
            packed.writestr(name, content)
        with packed.open(book.sheet, "w", force_zip64=True) as sheet:
            sheet.write(book.before)
            sheet.write(_rows(top, 1, [book.header] * top.width))
            for piece in _pieces(rows, styles, book.text, dates):
                sheet.write(piece)
            sheet.write(book.after)


@dataclass(frozen=True, slots=True)
class _Book:
    """A workbook but for its rows: `before` and `after` are the XML of its sheet around them; the rest are styles."""

    parts: dict[str, bytes]
    sheet: str
    before: bytes
    after: bytes
    header: str
    text: str
    number: str
    mark: str
    fills: dict[str, str]
    """Of the status cell, by status."""
    dates: dict[str | int, str]
    """Of days, by number format."""


def _frame(name: str, top: pl.DataFrame, rows: pl.DataFrame, widths: Sequence[float], looks: Looks) -> _Book:
    """Let XlsxWriter make the workbook around the rows; blank cells in its last row tell the styles' numbers."""
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, {"in_memory": True}) as book:
        sheet = book.add_worksheet(name)
        # "@": what people type into such a cell stays text too: 0170… keeps its zero.
        text = {"num_format": "@"}
        colors = list(dict.fromkeys(_FILLS.values()))
        day_formats = list(dict.fromkeys(looks.dates.values()))
        made = [
            book.add_format(style)
            for style in (
                {"bold": True, "num_format": "@"},
                text,
                {"num_format": "0"},
                {**text, "bg_color": _MARK},
                *({**text, "bg_color": color} for color in colors),
                *({"num_format": code} for code in day_formats),
            )
        ]
        for place, width in enumerate(widths):
            sheet.set_column(place, place, width, made[1] if rows.dtypes[place] == pl.String else made[2])
        sheet.freeze_panes(1, 0)
        sheet.autofilter(0, 0, rows.height, rows.width - 1)
        if rows.height:
            sheet.ignore_errors(
                {"number_stored_as_text": xlsxwriter.utility.xl_range(1, 0, rows.height, rows.width - 1)}
            )
        sheet.write_blank(0, 0, None, made[0])
        sheet.write_blank(rows.height, rows.width - 1, None, made[0])
        for place, style in enumerate(made):
            sheet.write_blank(rows.height, place, None, style)
    with zipfile.ZipFile(content) as packed:
        parts = {part: packed.read(part) for part in packed.namelist()}
    path = "xl/worksheets/sheet1.xml"
    before, cells, after = re.split(rb"(?<=<sheetData>)(.*)(?=</sheetData>)", parts.pop(path), flags=re.DOTALL)
    numbers = re.findall(rf'<c r="[A-Z]+{rows.height + 1}" s="(\d+)"/>', cells.decode())
    header, plain, number, mark, *fills = numbers[: len(made)]
    by_color = dict(zip(colors, fills, strict=False))
    by_format = dict(zip(day_formats, fills[len(colors) :], strict=True))
    by_status = {status.value: by_color[color] for status, color in _FILLS.items()}
    return _Book(parts, path, before, after, header, plain, number, mark, by_status, by_format)


def _sheet_name(places: pl.DataFrame) -> str:
    """Return the first input sheet's name as Excel allows it, else "Results"."""
    name = places["sheet"].first() if places.height else None
    if not isinstance(name, str):
        return "Results"
    name = re.sub(r"[\[\]:*?/\\\x00-\x1f\ufffe\uffff]", "_", name)
    name = _shortened(name, _MAX_SHEET_NAME).strip("'")
    # Excel keeps the name History for itself.
    return "Results" if not name.strip() or name.casefold() == "history" else name


def _widths(top: pl.DataFrame, rows: pl.DataFrame, names: Sequence[str], looks: Looks) -> list[float]:
    """Return a width per column, in characters: the input's, else its widest cell among the first thousand, 8 to 50."""
    lengths = pl.all().cast(pl.String).str.len_chars().max().fill_null(0)
    body = rows.head(1000).select(lengths).row(0)
    # The filter's button takes three characters of the header.
    fitting = [min(max(8, 3 + head, 1 + cell), 50) for head, cell in zip(top.select(lengths).row(0), body, strict=True)]
    own = [looks.widths.get(name, fit) for name, fit in zip(names, fitting, strict=False)]
    return [*own, *fitting[len(own) :]]


def _marked(names: Sequence[str], headers: Sequence[str], at_fault: pl.Series) -> dict[int, list[str]]:
    """Return, by the place of a user's column, which cells of `import_error_column` mean it."""
    places: dict[str, int] = {}
    for place, name in [*enumerate(names), *enumerate(headers)]:
        places.setdefault(name, place)
    marks: dict[int, list[str]] = defaultdict(list)
    for said in at_fault.unique().drop_nulls().to_list():
        for name in [said] if said in places else str(said).split("; "):
            if name in places:
                marks[places[name]].append(said)
    return marks


def _styles(book: _Book, width: int, ours: pl.DataFrame, marks: dict[int, list[str]]) -> list[str | pl.Expr]:
    """Return the style of each column's cells: one for all, or an expression over the row."""
    at_fault = pl.col(str(width + RESULT_COLUMNS.index("import_error_column")))
    users: list[str | pl.Expr] = [
        pl.when(at_fault.is_in(marks[place])).then(pl.lit(book.mark)).otherwise(pl.lit(book.text))
        if place in marks
        else book.text
        for place in range(width)
    ]
    status = pl.col(str(width)).cast(pl.String).replace_strict(book.fills, default=book.text, return_dtype=pl.String)
    rest = [book.text if dtype == pl.String else book.number for dtype in ours.dtypes[1:]]
    return [*users, status, *rest]


def _with_numbers(ours: pl.DataFrame) -> pl.DataFrame:
    """Return our counts as integers where all of a column's cells are; Excel holds 15 digits."""
    for name in _NUMBERS:
        column = ours[name]
        numbers = column.cast(pl.Int64, strict=False)
        if numbers.null_count() == column.null_count() and (numbers.abs() < 10**15).all():
            ours = ours.with_columns(numbers.alias(name))
        else:
            ours = ours.with_columns(column.cast(pl.String))
    return ours


def _with_notes(ours: pl.DataFrame, notes: dict[int, list[str]]) -> pl.DataFrame:
    if not notes:
        return ours
    errors = ours["import_error"].to_list()
    for row, said in notes.items():
        # Ours first: what stands behind may be cut itself.
        errors[row] = "; ".join([*said, *([errors[row]] if errors[row] else [])])
    return ours.with_columns(pl.Series("import_error", errors, dtype=pl.String))


def _cut(cells: pl.DataFrame, headers: Sequence[str]) -> tuple[pl.DataFrame, dict[int, list[str]]]:
    """Shorten what is too long for a cell of a workbook; return it with what is to be said, by row."""
    notes: dict[int, list[str]] = defaultdict(list)
    for place, column in enumerate(cells.get_columns()):
        if column.dtype != pl.String:
            continue
        long = (column.str.len_bytes() > MAX_CHARS).fill_null(value=False).arg_true()
        texts = {row: text for row in long.to_list() if _units(text := column[row]) > MAX_CHARS}
        if texts:
            shorter = [_shortened(text, MAX_CHARS - len(_CUT)) + _CUT for text in texts.values()]
            cells = cells.with_columns(column.scatter(list(texts), shorter))
        for row, text in texts.items():
            notes[row].append(
                f'column "{_shortened(headers[place], 100)}": {len(text):,} characters; a cell of a workbook holds'
                f" {MAX_CHARS:,}, so it is cut here. Set result.format: csv to keep it whole"
            )
    return cells, notes


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _shortened(text: str, units: int) -> str:
    return text.encode("utf-16-le")[: 2 * units].decode("utf-16-le", errors="ignore")


def _pieces(
    rows: pl.DataFrame, styles: Sequence[str | pl.Expr], text: str, dates: Mapping[int, str]
) -> Iterable[bytes]:
    """Yield the rows' XML; the next piece is built while this one is packed."""
    step = max(1, _CELLS_AT_ONCE // rows.width)
    with ThreadPoolExecutor(1) as builder:
        ahead = None
        for start in range(0, rows.height, step):
            following = builder.submit(_rows, rows.slice(start, step), start + 2, styles, text, dates)
            if ahead is not None:
                yield ahead.result()
            ahead = following
        if ahead is not None:
            yield ahead.result()


def _rows(
    rows: pl.DataFrame,
    first: int,
    styles: Sequence[str | pl.Expr],
    text: str = "",
    dates: Mapping[int, str] = MappingProxyType({}),
) -> bytes:
    """Return `<row>` elements (ECMA-376, 18.3.1.73) for cells of text and integers, numbered from `first`.

    `dates` are the styles of the columns whose days are written as such; a cell with another style than `text` is not.
    """
    # Styles go by the cells as they were, before escaping.
    chosen = [
        rows.select(style).to_series().alias(f"style {place}")
        for place, style in enumerate(styles)
        if isinstance(style, pl.Expr)
    ]
    number = pl.int_range(first, first + rows.height, eager=True).cast(pl.String).alias("number")
    cells = [_cell(place, dtype, styles[place]) for place, dtype in enumerate(rows.dtypes)]
    for place, style in dates.items():
        plain = pl.col(f"style {place}") == text if isinstance(styles[place], pl.Expr) else pl.lit(True)
        cells[place] = pl.coalesce(pl.when(plain).then(_day(place, style)), cells[place])
    line = pl.concat_str(pl.lit('<row r="'), "number", pl.lit('">'), *cells, pl.lit("</row>"), ignore_nulls=True)
    xml = _as_xml(rows).with_columns(number, *chosen).select(line.str.join("")).item()
    return (xml or "").encode()


def _cell(place: int, dtype: pl.DataType, style: str | pl.Expr) -> pl.Expr:
    """Return one column's `<c>` elements; null for an empty cell, unless it may bear a style of its own."""
    own = isinstance(style, pl.Expr)
    start = [pl.lit(f'<c r="{xlsxwriter.utility.xl_col_to_name(place)}'), pl.col("number"), pl.lit('" s="')]
    start.append(pl.col(f"style {place}") if own else pl.lit(style))
    # Inline: a table of shared strings would have to hold every text until the end.
    before, after = ('" t="inlineStr"><is><t xml:space="preserve">', "</t></is></c>")
    if dtype != pl.String:
        before, after = '"><v>', "</v></c>"
    full = pl.concat_str(*start, pl.lit(before), pl.col(str(place)).cast(pl.String), pl.lit(after))
    return pl.coalesce(full, pl.concat_str(*start, pl.lit('"/>'))) if own else full


#: Excel counts days from here; before March 1900 it counts one that never was.
_DAY_ZERO, _FIRST_DAY = date(1899, 12, 30), date(1900, 3, 1)


def _day(place: int, style: str) -> pl.Expr:
    """Return the `<c>` elements of a column's days; null for every other text."""
    day = pl.col(str(place)).str.extract(r"^(\d{4}-\d\d-\d\d)$").str.to_date("%Y-%m-%d", strict=False)
    count = pl.when(day >= _FIRST_DAY).then((day - _DAY_ZERO).dt.total_days()).cast(pl.String)
    start = pl.lit(f'<c r="{xlsxwriter.utility.xl_col_to_name(place)}')
    return pl.concat_str(start, "number", pl.lit(f'" s="{style}"><v>'), count, pl.lit("</v></c>"))


def _as_xml(rows: pl.DataFrame) -> pl.DataFrame:
    """Escape the text cells, where they need it, which few columns do."""
    texts = pl.selectors.string()
    markup = rows.select(texts.str.contains("[&<>]").any())
    codes = rows.select(texts.str.contains(_NO_XML).any())
    changed = []
    for name in markup.columns:
        column = rows[name]
        if codes[name].item():
            column = _coded(column)
        if markup[name].item():
            column = column.str.replace_many(["&", "<", ">"], ["&amp;", "&lt;", "&gt;"])
        if column is not rows[name]:
            changed.append(column)
    return rows.with_columns(changed)


#: What XML can't hold, or a carriage return, which it turns into a line feed; and what looks like our way to write it.
_NO_XML = r"[\x00-\x08\x0b-\x1f\x{fffe}\x{ffff}]|_x[0-9A-Fa-f]{4}_"
_TO_CODE = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")


def _coded(column: pl.Series) -> pl.Series:
    """Write what XML can't hold as Excel does: `_x000B_` (ECMA-376, 22.9.2.19, ST_Xstring)."""
    found = column.str.contains(_NO_XML).fill_null(value=False).arg_true()
    coded = [_TO_CODE.sub(lambda match: f"_x{ord(match[0]):04X}_", text) for text in column.gather(found).to_list()]
    return column.scatter(found, coded)


WRITERS: dict[str, Callable[[IO[bytes], Table, pl.DataFrame, Sequence[str], pl.DataFrame], None]] = {
    "csv": _write_csv,
    "xlsx": _write_xlsx,
}
