"""The result file: what it holds reads back the same, and no older one is ever lost."""

import csv
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fastexcel
import openpyxl
import polars as pl
import pytest
import xlsxwriter
from conftest import Ended
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from importer import write_workbook
from importer.errors import ExitStatus, Refused
from importer.read import read
from importer.records import RESULT_COLUMNS, Source, Table
from importer.results import split
from importer.write import (
    WRITERS,
    Kind,
    WriteFailed,
    colliding,
    fits,
    result_path,
    set_aside,
    write_result,
)
from importer.write_workbook import MAX_CHARS, MAX_ROWS

KINDS: tuple[Kind, ...] = ("csv", "xlsx")

AWKWARD = (
    "+4930231250", "01701234567", "00123", "=1+1", "-5", "@x", "'quoted", " padded ", "two\nlines", "a\r\nb", "a\rb",
    "tab\there", 'say "hi"', "a,b;c|d", "<b>&amp;</b>", "_x000A_", "_x0041_x0042_", "nul\0", "\x0b\x1f", "😀", "\u2028",
    "1.10", "1E5", "2024-01-01", "TRUE", "#N/A", "http://example.com", "mailto:a@b.c", "4111111111111111", " ", None,
)  # fmt: skip


def table(
    rows: Sequence[Sequence[str | None]],
    headers: Sequence[str],
    *,
    delimiter: str | None = ",",
    sheet: str | None = None,
) -> Table:
    columns = []
    for place, header in enumerate(headers):
        columns.append(header if header and header not in columns else f"{header}_{place}")
    cells = pl.DataFrame(
        {name: pl.Series([row[place] for row in rows], dtype=pl.String) for place, name in enumerate(columns)}
    )
    places = pl.DataFrame(
        {
            "sheet": pl.Series([sheet] * len(rows), dtype=pl.String),
            "row": pl.Series(range(2, len(rows) + 2), dtype=pl.Int64),
        }
    )
    return Table(Path("in.csv"), "csv", tuple(headers), cells, places, "", delimiter=delimiter)


def outcomes(rows: int, **columns: Sequence[str | int | None]) -> pl.DataFrame:
    nothing: list[None] = [None] * rows
    frame = pl.DataFrame({name: pl.Series(nothing, dtype=pl.String) for name in RESULT_COLUMNS})
    return frame.with_columns(pl.lit("created").alias("import_status")).with_columns(
        pl.Series(name, values) for name, values in columns.items()
    )


def read_back(path: Path, delimiter: str = ",") -> list[list[str | None]]:
    if path.suffix == ".xlsx":
        sheet = fastexcel.read_excel(path).load_sheet(0, header_row=None, dtypes="string")
        return [list(row) for row in sheet.to_polars().rows()]
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [[cell or None for cell in row] for row in csv.reader(file, delimiter=delimiter)]


def sheet_of(path: Path) -> Any:
    return openpyxl.load_workbook(path).worksheets[0]


# What both writers keep to.


@pytest.mark.parametrize("kind", KINDS)
def test_awkward_cells_read_back_as_they_were(kind: Kind, tmp_path: Path) -> None:
    rows = [(text, "x", text) for text in AWKWARD]
    write_result(path := tmp_path / f"r.{kind}", table(rows, ["A", "B", "A"]), outcomes(len(rows)), kind=kind)
    header, *body = read_back(path)
    assert header == ["A", "B", "A", *RESULT_COLUMNS]
    assert [tuple(row[:3]) for row in body] == rows


# U+FFFE and U+FFFF are no characters: calamine leaves the code that stands for them in a workbook as it is.
TEXTS = st.none() | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff"), min_size=1, max_size=12
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(TEXTS, min_size=width, max_size=width), min_size=1, max_size=6)
    ),
    delimiter=st.sampled_from(",;\t|"),
)
def test_any_table_reads_back_row_for_row(
    kind: Kind, rows: list[list[str | None]], delimiter: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("law") / f"r.{kind}"
    headers = [""] * (len(rows[0]) - 1) + ["H"]
    write_result(path, table(rows, headers, delimiter=delimiter), outcomes(len(rows)), kind=kind)
    body = read_back(path, delimiter)[1:]
    assert [row[: len(headers)] for row in body] == rows
    assert {row[len(headers)] for row in body} == {"created"}


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.sampled_from("_x0A4fF\r\0&<é😀"), min_size=1, max_size=30))
def test_codes_in_a_workbook_are_told_from_texts_that_look_like_codes(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("codes") / "r.xlsx"
    write_result(path, table([(text,)], ["A"]), outcomes(1), kind="xlsx")
    assert read_back(path)[1][0] == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_without_rows_or_columns_gives_a_header(kind: Kind, tmp_path: Path) -> None:
    write_result(tmp_path / f"a.{kind}", table([], ["A", "B"]), outcomes(0), kind=kind)
    write_result(tmp_path / f"b.{kind}", table([], []), outcomes(0), kind=kind)
    assert read_back(tmp_path / f"a.{kind}") == [["A", "B", *RESULT_COLUMNS]]
    assert read_back(tmp_path / f"b.{kind}") == [list(RESULT_COLUMNS)]


@pytest.mark.parametrize("kind", KINDS)
def test_more_rows_than_are_built_at_once_keep_their_order(kind: Kind, tmp_path: Path) -> None:
    rows = [(str(number), None) for number in range(30_000)]
    write_result(path := tmp_path / f"r.{kind}", table(rows, ["A", "B"]), outcomes(len(rows)), kind=kind)
    assert [(row[0], row[1]) for row in read_back(path)[1:]] == rows


@pytest.mark.parametrize("kind", KINDS)
def test_an_earlier_results_columns_are_replaced_not_repeated(kind: Kind, tmp_path: Path) -> None:
    again = table([("a", "failed", "R1", "b")], ["A", "import_status", "import_run_id", "B"])
    write_result(path := tmp_path / f"r.{kind}", again, outcomes(1), kind=kind)
    header, row = read_back(path)
    assert header == ["A", "B", *RESULT_COLUMNS]
    assert row[:3] == ["a", "b", "created"]


@pytest.mark.parametrize("kind", KINDS)
def test_outcomes_that_do_not_match_the_rows_are_a_fault_of_ours(kind: Kind, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 outcomes"):
        write_result(tmp_path / f"r.{kind}", table([("a",)], ["A"]), outcomes(2), kind=kind)
    assert list(tmp_path.iterdir()) == []


# Text.


def test_csv_has_a_bom_crlf_and_the_inputs_delimiter(tmp_path: Path) -> None:
    write_result(path := tmp_path / "r.csv", table([("a;b",)], ["Tel; mobil"], delimiter=";"), outcomes(1), kind="csv")
    content = path.read_bytes()
    assert content.startswith(b'\xef\xbb\xbf"Tel; mobil";import_status;')
    assert b'\r\n"a;b";created;' in content
    assert content.endswith(b"\r\n")


@pytest.mark.parametrize("text", ["=1+1", "+49", "-1", "@SUM", "\t=1", "\r=1", "\n=1"])
def test_formulas_are_guarded_in_our_columns_and_the_users_cells_stay(text: str, tmp_path: Path) -> None:
    ours = outcomes(1, import_error=[text], import_lead_id=[text], import_error_column=[text])
    write_result(tmp_path / "r.csv", table([(text,)], ["A"]), ours, kind="csv")
    row = dict(zip(*read_back(tmp_path / "r.csv"), strict=True))
    assert row["A"] == text
    assert [row["import_error"], row["import_lead_id"], row["import_error_column"]] == ["'" + text] * 3


def test_a_workbook_needs_no_guard_since_its_cells_are_text(tmp_path: Path) -> None:
    write_result(tmp_path / "r.xlsx", table([("=1+1",)], ["=A"]), outcomes(1, import_error=["=2"]), kind="xlsx")
    sheet = sheet_of(tmp_path / "r.xlsx")
    assert [(sheet[place].value, sheet[place].data_type) for place in ("A1", "A2", "F2")] == [
        ("=A", "s"), ("=1+1", "s"), ("=2", "s")
    ]  # fmt: skip


# Workbook.


def test_header_is_bold_and_frozen_and_the_filter_covers_all(tmp_path: Path) -> None:
    write_result(tmp_path / "r.xlsx", table([("a", "b")] * 3, ["A", "A"]), outcomes(3), kind="xlsx")
    sheet = sheet_of(tmp_path / "r.xlsx")
    assert sheet.freeze_panes == "A2"
    assert sheet.auto_filter.ref == sheet.dimensions == "A1:N4"
    assert all(cell.font.bold for cell in sheet[1])
    assert not sheet["A2"].font.bold


def test_users_cells_are_text_for_excel_too_and_our_counts_are_numbers(tmp_path: Path) -> None:
    ours = outcomes(2, import_http_status=["201", None], import_attempts=[1, None], import_row=["2", "3"])
    write_result(tmp_path / "r.xlsx", table([("0170",), ("1",)], ["A"]), ours, kind="xlsx")
    sheet = sheet_of(tmp_path / "r.xlsx")
    assert (sheet["A2"].value, sheet["A2"].number_format) == ("0170", "@")
    assert [sheet.cell(2, 2 + RESULT_COLUMNS.index(name)).value for name in write_workbook._NUMBERS] == [201, 1, 2]
    assert sheet.column_dimensions["A"].width >= 8


def test_a_count_that_people_made_a_text_stays_as_it_is(tmp_path: Path) -> None:
    write_result(tmp_path / "r.xlsx", table([("a",)] * 2, ["A"]), outcomes(2, import_row=["2", "2b"]), kind="xlsx")
    assert [row[11] for row in read_back(tmp_path / "r.xlsx")[1:]] == ["2", "2b"]


def test_the_cell_at_fault_is_marked_even_if_empty_and_status_is_coloured(tmp_path: Path) -> None:
    rows = [("1", "a", None), ("2", "b", "x"), ("3", "c", "y")]
    ours = outcomes(3, import_status=["invalid", "created", "rejected"], import_error_column=["R&D", None, "A; R&D"])
    write_result(tmp_path / "r.xlsx", table(rows, ["A", "A", "R&D"]), ours, kind="xlsx")
    sheet = sheet_of(tmp_path / "r.xlsx")
    marked = [cell.coordinate for row in sheet.iter_rows() for cell in row if cell.fill.fgColor.rgb == "FFF8B4B4"]
    assert marked == ["C2", "A4", "C4"]
    restored = outcomes(3, import_status=["created", "ready", "invalid"], import_error_column=["A", "R&D", "R&D"])
    write_result(tmp_path / "mended.xlsx", table(rows, ["A", "A", "R&D"]), restored, kind="xlsx")
    colours = [
        cell.fill.fgColor.rgb for cell in (sheet_of(tmp_path / "mended.xlsx")[place] for place in ("A2", "C3", "C4"))
    ]
    assert colours == ["FFFFF2CC", "FFFFF2CC", "FFF8B4B4"]
    assert [sheet[f"D{row}"].fill.fgColor.rgb for row in (2, 3, 4)] == ["FFFCE4D6", "FFE2F0D9", "FFFCE4D6"]


@pytest.mark.parametrize(
    ("given_name", "shown"),
    [
        ("Leads", "Leads"),
        ("a/b:[c]", "a_b__c_"),
        ("x" * 40, "x" * 31),
        ("'q'", "q"),
        ("History", "Results"),
        (None, "Results"),
    ],
)
def test_the_sheet_keeps_its_name_as_far_as_excel_allows(given_name: str | None, shown: str, tmp_path: Path) -> None:
    write_result(tmp_path / "r.xlsx", table([("a",)], ["A"], sheet=given_name), outcomes(1), kind="xlsx")
    assert sheet_of(tmp_path / "r.xlsx").title == shown


def test_a_text_too_long_for_a_cell_is_cut_and_the_row_says_so(tmp_path: Path) -> None:
    rows = [("😀" * 20_000,), ("y" * MAX_CHARS,)]
    write_result(tmp_path / "r.xlsx", table(rows, ["Notes"]), outcomes(2, import_error=["old", None]), kind="xlsx")
    _, first, second = read_back(tmp_path / "r.xlsx")
    assert first[0] is not None
    assert first[0].endswith("… [cut]")
    assert write_workbook._units(first[0]) in (MAX_CHARS, MAX_CHARS - 1)
    error = first[1 + RESULT_COLUMNS.index("import_error")]
    assert error is not None
    assert error.startswith('column "Notes": 20,000 characters')
    assert error.endswith("; old")
    assert second[0] == "y" * MAX_CHARS


def test_csv_cuts_nothing(tmp_path: Path) -> None:
    write_result(tmp_path / "r.csv", table([("z" * 100_000,)], ["Notes"]), outcomes(1), kind="csv")
    assert (tmp_path / "r.csv").read_text("utf-8-sig").count("z") == 100_000


def test_too_many_rows_or_columns_for_a_workbook_are_found_before_writing(tmp_path: Path) -> None:
    fits("xlsx", MAX_ROWS - 1)
    fits("csv", 10 * MAX_ROWS)
    with pytest.raises(Refused, match=r"1,048,576 rows.*result\.format: csv"):
        fits("xlsx", MAX_ROWS)
    with pytest.raises(Refused, match="columns"):
        fits("xlsx", 1, 16_380)
    height = MAX_ROWS
    cells = pl.select(A=pl.repeat("a", height))
    places = pl.select(sheet=pl.repeat(None, height, dtype=pl.String), row=pl.int_range(height))
    large = Table(Path("in.csv"), "csv", ("A",), cells, places, "")
    ours = pl.select(pl.repeat(None, height, dtype=pl.String).alias(name) for name in RESULT_COLUMNS)
    with pytest.raises(WriteFailed, match=r"result\.format: csv"):
        write_result(tmp_path / "r.xlsx", large, ours, kind="xlsx")
    assert list(tmp_path.iterdir()) == []


# Never without a whole file.


@pytest.mark.parametrize("kind", KINDS)
def test_an_older_result_is_set_aside_by_its_run(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / f"X.results.{kind}"
    runs = ("20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb", "20260102T000000Z-bbbbbb", "last")
    asides = [
        write_result(path, table([(run,)], ["A"], delimiter=";"), outcomes(1, import_run_id=[run]), kind=kind)
        for run in runs
    ]
    names = [aside.name if aside else None for aside in asides]
    assert names == [
        None,
        f"X.results.20260101T000000Z-aaaaaa.{kind}",
        f"X.results.20260102T000000Z-bbbbbb.{kind}",
        f"X.results.20260102T000000Z-bbbbbb-2.{kind}",
    ]
    assert read_back(tmp_path / f"X.results.20260101T000000Z-aaaaaa.{kind}", ";")[1][0] == "20260101T000000Z-aaaaaa"
    assert read_back(path, ";")[1][0] == "last"
    assert len(list(tmp_path.iterdir())) == 4


def test_the_ledgers_run_id_is_preferred_and_a_file_without_any_gets_its_time(tmp_path: Path) -> None:
    path = tmp_path / "X.results.csv"
    path.write_text("not ours")
    os.utime(path, (0, 0))
    assert set_aside(path, "R7") == tmp_path / "X.results.R7.csv"
    assert set_aside(path, None) is None
    path.write_text("not ours either")
    os.utime(path, (0, 0))
    assert set_aside(path, None) == tmp_path / "X.results.19700101T000000Z.csv"
    (tmp_path / "X.results.xlsx").write_bytes(b"no workbook")
    assert set_aside(tmp_path / "X.results.xlsx", None) is not None
    assert not path.exists()


def test_a_run_id_that_is_no_file_name_is_not_used_as_one(tmp_path: Path) -> None:
    ours = outcomes(2, import_run_id=["../../evil", "R1"])
    write_result(path := tmp_path / "X.results.csv", table([("a",)] * 2, ["A"]), ours, kind="csv")
    assert set_aside(path, None) == tmp_path / "X.results.R1.csv"


def test_a_checks_file_is_replaced(tmp_path: Path) -> None:
    for text in ("old", "new"):
        assert write_result(tmp_path / "X.check.csv", table([(text,)], ["A"]), outcomes(1), kind="csv") is None
    assert [path.name for path in tmp_path.iterdir()] == ["X.check.csv"]
    assert read_back(tmp_path / "X.check.csv")[1][0] == "new"


def _half(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"X.results.{kind}"
    path.write_text("old")
    monkeypatch.setitem(WRITERS, kind, _half)
    with pytest.raises(WriteFailed, match=r"no room.*--out.*not sent twice") as caught:
        write_result(path, table([("a",)], ["A"]), outcomes(1), kind=kind)
    assert caught.value.exit_status == ExitStatus.STOPPED
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(path.name, "old")]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_is_open_in_excel_keeps_its_name(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "X.results.csv"
    path.write_text("old")

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refused)
    if not links:
        monkeypatch.setattr(os, "link", refused)
    with pytest.raises(WriteFailed, match="Close it if it is open in Excel"):
        write_result(path, table([("a",)], ["A"]), outcomes(1), kind="csv", older_run_id="R1")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("X.results.csv", "old")]


def test_without_links_the_older_file_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", unknown)
    path = tmp_path / "X.results.csv"
    path.write_text("old")
    (tmp_path / "X.results.R1.csv").write_text("older")
    aside = write_result(path, table([("a",)], ["A"]), outcomes(1), kind="csv", older_run_id="R1")
    assert aside == tmp_path / "X.results.R1-2.csv"
    assert aside.read_text() == "old"
    assert (tmp_path / "X.results.R1.csv").read_text() == "older"


LIMITED = """
import sys; sys.path.insert(0, {tests!r})
import resource, signal
from pathlib import Path
from test_write import outcomes, table
from importer.write import WriteFailed, write_result
import random
texts = [(random.randbytes(40).hex(),) for _ in range(20_000)]
made = table(texts, ["A"]), outcomes(len(texts))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_result(Path({path!r}), *made, kind={kind!r})
except WriteFailed as failed:
    print(failed)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no RLIMIT_FSIZE")
@pytest.mark.parametrize("kind", KINDS)
def test_room_that_ends_in_the_middle_leaves_the_old_file(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / f"X.results.{kind}"
    path.write_text("old")
    code = LIMITED.format(path=str(path), kind=kind, tests=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "no room" in done.stdout, done.stdout + done.stderr
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(path.name, "old")]


KILLED = """
import sys; sys.path.insert(0, {tests!r})
import os, signal
from pathlib import Path
from test_write import outcomes, table
from importer import write
whole = write.WRITERS["csv"]
def half(file, *rest):
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
def fall(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if {moment!r} == "writing":
    write.WRITERS["csv"] = half
else:
    Path.replace = fall
write.write_result(Path({path!r}), table([("a",)], ["A"]), outcomes(1), kind="csv", older_run_id="R1")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
@pytest.mark.parametrize("moment", ["writing", "moving"])
def test_a_kill_at_any_moment_leaves_the_old_file_under_its_name(moment: str, tmp_path: Path) -> None:
    path = tmp_path / "X.results.csv"
    path.write_text("old")
    code = KILLED.format(path=str(path), moment=moment, tests=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert all(file.name.startswith(("X.results.", ".lead-importer-")) for file in tmp_path.iterdir())


def test_a_link_to_a_result_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "X.results.csv"
    link.symlink_to(tmp_path / "there" / "X.results.csv")
    write_result(link, table([("a",)], ["A"]), outcomes(1), kind="csv")
    assert link.is_symlink()
    assert (tmp_path / "there" / "X.results.csv").exists()


def test_a_workbook_is_a_sound_archive(tmp_path: Path) -> None:
    write_result(tmp_path / "r.xlsx", table([("a",)], ["A"]), outcomes(1), kind="xlsx")
    with zipfile.ZipFile(tmp_path / "r.xlsx") as packed:
        assert packed.testzip() is None
        assert packed.namelist()[0] == "[Content_Types].xml"


# Where it goes.


@pytest.mark.parametrize(
    ("source", "kind", "check", "expected"),
    [
        ("X.csv", "csv", False, "X.results.csv"),
        ("X.TSV", "csv", False, "X.results.TSV"),
        ("a.b.txt", "csv", False, "a.b.results.txt"),
        ("X", "csv", False, "X.results.csv"),
        ("X.xls", "xlsx", False, "X.results.xlsx"),
        ("X.ods", "xlsx", True, "X.check.xlsx"),
        ("X.xlsx", "csv", False, "X.results.csv"),
        ("X.csv", "xlsx", False, "X.results.xlsx"),
        ("X.results.csv", "csv", False, "X.results.csv"),
        ("X.results.csv", "csv", True, "X.check.csv"),
        ("X.check.csv", "csv", False, "X.results.csv"),
        ("X.results.20260101T000000Z-aaaaaa.csv", "csv", False, "X.results.csv"),
        ("X.results.20260101T000000Z-aaaaaa-2.xlsx", "xlsx", False, "X.results.xlsx"),
        ("results.csv", "csv", False, "results.results.csv"),
    ],
)
def test_the_result_is_named_after_its_input(
    source: str, kind: str, check: bool, expected: str, tmp_path: Path
) -> None:
    path = result_path(tmp_path / source, None, into_folder=False, kind=kind, check=check)
    assert path == tmp_path / expected


FORMATS = ['#,##0.00 "€"', "0.0%", "0.00E+00", "_-* #,##0.00_-;-* #,##0.00_-", "# ?/?", 10, 44]
DAYS: list[str | int] = ["dd/mm/yyyy", "dd/mm/yyyy hh:mm", "h:mm", 22]
CODES = [
    *FORMATS,
    "General",
    "0",
    "#",
    "00000",
    "@",
    "+0",
    "[<=9999999]###-####;(###) ###-####",
    *DAYS,
]
NUMBERS = st.one_of(
    st.integers(-(10**17), 10**17),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(-(10**9), 10**9, places=3, allow_nan=False).map(float),
    st.sampled_from([-0.0, 0.1 + 0.2, 4.41e11, 1e15, 1e-7, 123456789012345]),
    st.integers(61 * 86_400, 50_000 * 86_400).map(lambda seconds: seconds / 86_400),  # days, and times of them
    st.sampled_from(["", "1.50", "00501", "text", "12"]),
)


def filled(folder: Path, code: str | int, values: list[float | str]) -> Path:
    """Write a workbook whose column `Amount` has one number format."""
    path = folder / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet, style = book.add_worksheet("Leads"), book.add_format({"num_format": code})
        sheet.write_row(0, 0, ["Phone", "Amount"])
        for row, value in enumerate(values, 1):
            sheet.write_string(row, 0, "+12125550100")
            (sheet.write_string if isinstance(value, str) else sheet.write_number)(row, 1, value, style)
    return path


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(CODES), st.lists(NUMBERS, min_size=1, max_size=6))
def test_numbers_of_every_format_read_the_same_from_the_result(
    tmp_path: Path, code: str | int, values: list[float | str]
) -> None:
    """Identity is content: a cell whose text changed on its way would be another lead."""
    assume(code not in DAYS or all(isinstance(value, str) or abs(value) < 2_958_466 for value in values))  # year 9999
    source = read(filled(tmp_path, code, values), Source())
    ours = outcomes(source.cells.height).with_columns(import_status=pl.lit("invalid"), import_run_id=pl.lit("r"))
    path = tmp_path / "a.results.xlsx"
    path.unlink(missing_ok=True)
    write_result(path, source, ours, kind="xlsx")
    again = split(read(path, Source()))[0]
    assert again.cells.equals(source.cells)
    assert set(again.formats["column"]) <= set(source.formats["column"])


@pytest.mark.parametrize("code", FORMATS)
def test_a_number_that_reads_back_as_it_was_keeps_its_format_and_others_are_texts(
    tmp_path: Path, code: str | int
) -> None:
    values = [12.5, 1e17, "7", "1.50", 1234567]
    source = read(filled(tmp_path, code, values), Source())
    path = tmp_path / "a.results.xlsx"
    write_result(path, source, outcomes(5), kind="xlsx")
    found = [(cell.value, cell.number_format) for (cell,) in openpyxl.load_workbook(path).worksheets[0]["B2:B6"]]
    named = openpyxl.load_workbook(source.path).worksheets[0]["B2"].number_format
    assert found[0] == (12.5, named)
    assert found[4] == (1234567, named)
    assert [(type(value), shown) for value, shown in found[1:4]] == [(str, "@")] * 3


def test_what_only_looks_like_a_result_keeps_its_whole_name(tmp_path: Path) -> None:
    path = result_path(tmp_path / "X.results.csv", None, into_folder=False, kind="csv", check=False, is_result=False)
    assert path.name == "X.results.results.csv"


def test_out_is_a_file_or_for_several_a_folder(tmp_path: Path) -> None:
    source, kind = Path("X.csv"), "csv"
    with pytest.raises(Refused, match="Name a file"):
        result_path(source, Path("-"), into_folder=False, kind=kind, check=False)
    with pytest.raises(Refused, match=r"written as \.xlsx, or as text"):
        result_path(source, tmp_path / "o.xls", into_folder=False, kind=kind, check=False)
    assert result_path(source, tmp_path / "o.csv", into_folder=False, kind=kind, check=False) == tmp_path / "o.csv"
    assert result_path(source, tmp_path, into_folder=False, kind=kind, check=False) == tmp_path / "X.results.csv"
    new = tmp_path / "new" / "er"
    assert result_path(source, new, into_folder=True, kind=kind, check=True) == new / "X.check.csv"
    assert new.is_dir()


@pytest.mark.parametrize(
    ("words", "written"),
    [
        ("in/*.csv --out results", "results/a.check.csv"),  # tomorrow it may find several
        ("in/a.csv --out new/", "new/a.check.csv"),
        ("in/*.csv --out one.csv", "one.csv"),
        ("in/*.csv --out day.26", "day.26/a.check.csv"),
        ("in/a.csv --out named", "named"),
    ],
)
def test_out_is_a_folder_where_a_pattern_or_a_slash_says_so(
    words: str, written: str, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("phone_number\n+12125550100\n")
    ended = command("check", *words.split(), "--campaign", "7")
    assert (ended.status, (tmp_path / written).is_file()) == (0, True), ended.err
    (tmp_path / "in" / "b.csv").write_text("phone_number\n+12125550101\n")
    folder = "in/*.csv --out " + words.partition(" --out ")[2]
    again = command("check", *folder.split(), "--campaign", "7")
    if "/" in written:
        assert (again.status, (tmp_path / written).with_name("b.check.csv").is_file()) == (0, True), again.err
    else:
        assert (again.status, "must be a folder" in again.err) == (2, True)


def test_what_could_not_be_written_is_refused_before_sending(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    (tmp_path / "X.results.csv").mkdir()
    with pytest.raises(Refused, match="must be a folder"):
        result_path(Path("X.csv"), tmp_path / "taken", into_folder=True, kind="csv", check=False)
    with pytest.raises(Refused, match="does not exist"):
        result_path(Path("X.csv"), tmp_path / "no" / "o.csv", into_folder=False, kind="csv", check=False)
    with pytest.raises(Refused, match="no file"):
        result_path(tmp_path / "X.csv", None, into_folder=False, kind="csv", check=False)
    with pytest.raises(Refused, match="no such file can be made"):
        result_path(tmp_path / ("x" * 250 + ".csv"), None, into_folder=False, kind="csv", check=False)


def test_two_results_of_one_name_are_found_whatever_the_case(tmp_path: Path) -> None:
    problems = colliding(
        [tmp_path / "X.results.csv", tmp_path / "x.RESULTS.csv", tmp_path / "y.results.csv"],
        [tmp_path / "a/X.csv", tmp_path / "b/x.csv", tmp_path / "y.csv"],
    )
    assert len(problems) == 1
    assert "a/X.csv" in problems[0]
    assert "b/x.csv" in problems[0]


def test_a_result_may_replace_only_the_result_it_came_from(tmp_path: Path) -> None:
    result, plain = tmp_path / "X.results.csv", tmp_path / "X.csv"
    assert colliding([result], [plain]) == []
    assert colliding([result], [result]) == []
    assert len(colliding([plain], [plain])) == 1
    assert len(colliding([result, tmp_path / "Y.results.csv"], [tmp_path / "Z.csv", result])) == 1
