"""Amounts of a workbook come back in its result as the numbers that they are, shown as they were, and read the same."""

import io
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest
import xlsxwriter
from conftest import Desk, memory
from hypothesis import given, settings
from hypothesis import strategies as st
from test_survives_office import OFFICE, saved

from importer.number_formats import is_amount
from importer.read import read
from importer.records import RESULT_COLUMNS, Source, Table
from importer.results import split
from importer.sandbox import Sandbox
from importer.write import write_result

AMOUNTS = [
    "0.00",
    "#,##0",
    "#,##0.00",
    "0%",
    "0.0%",
    '#,##0.00 "€"',
    "[$€-407] #,##0.00",
    "[$$-409]#,##0.00;[Red]-[$$-409]#,##0.00",
    '_-* #,##0.00 €_-;-* #,##0.00 €_-;_-* "-"?? €_-;_-@_-',
    '#,##0.0," kg"',
    "[>1000]#,##0.00;0.000",
    "0.00E+00",
    "# ?/?",
]
#: Days last, since no day has such a number.
OTHERS = [
    "General",
    "0",
    "@",
    "00000",
    "000-0000",
    '"+"0',
    "+#",
    '"No. "0',
    "dd.mm.yyyy",
    "[h]:mm",
]


@pytest.mark.parametrize("code", AMOUNTS)
def test_a_format_with_decimals_thousands_currency_or_percent_shows_amounts(code: str) -> None:
    assert is_amount(code)


@pytest.mark.parametrize("code", [*OTHERS, "", "0.00\n", "0." + 300 * "0", "0000.00"])
def test_what_may_be_an_id_a_day_or_digits_of_the_formats_own_is_no_amount(code: str) -> None:
    assert not is_amount(code)


def workbook(path: Path, columns: list[list[tuple[Any, str]]]) -> Table:
    """Write columns of values with their formats below the headers c0, c1, …; return them as read."""
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, {"default_date_format": "General"}) as book:
        sheet = book.add_worksheet()
        for place, column in enumerate(columns):
            sheet.write_string(0, place, f"c{place}")
            for row, (value, code) in enumerate(column, 1):
                write = sheet.write_string if isinstance(value, str) else sheet.write
                write(row, place, value, book.add_format({"num_format": code}))
    path.write_bytes(content.getvalue())
    return read(path, Source())


def result(table: Table, path: Path, **ours: list[str | None]) -> Path:
    empty = pl.DataFrame({name: pl.Series([None] * table.cells.height, dtype=pl.String) for name in RESULT_COLUMNS})
    filled = empty.with_columns(
        import_status=pl.lit("invalid"), import_run_id=pl.lit("r"), **{name: pl.Series(of) for name, of in ours.items()}
    )
    write_result(path, table, filled, kind="xlsx")
    return path


NUMBERS = st.one_of(
    st.integers(-(10**17), 10**17),
    st.floats(-1e18, 1e18, allow_nan=False, allow_infinity=False),
    st.floats(-1e-3, 1e-3, allow_nan=False),
    st.decimals(-(10**9), 10**9, places=2).map(float),
)
VALUES = st.tuples(
    st.one_of(NUMBERS, st.sampled_from(["1,234.50 €", "12", "0012.50", ""])), st.sampled_from(AMOUNTS + OTHERS[:-2])
)


@settings(max_examples=30)
@given(st.lists(st.lists(VALUES, min_size=8, max_size=8), min_size=1, max_size=4))
def test_whatever_the_number_and_its_format_the_result_reads_as_the_input_did(
    tmp_path_factory: pytest.TempPathFactory, columns: list[list[tuple[Any, str]]]
) -> None:
    folder = tmp_path_factory.mktemp("amounts")
    table = workbook(folder / "l.xlsx", columns)
    path = result(table, folder / "l.results.xlsx")
    again = split(read(path, Source()))[0]
    assert again.cells.equals(table.cells)
    kept = shown(path, table)
    for place, column in enumerate(columns):
        for row, (value, code) in enumerate(column):
            found, format_ = kept.get((row, place), (None, ""))  # blank rows at the end are none
            if isinstance(found, int | float):
                assert (format_, found) == (code, pytest.approx(value, rel=1e-14, abs=1e-9))
            elif code in AMOUNTS and isinstance(value, int | float):
                assert value != round(value, 4) or abs(value) >= 10**9 or value == 0


def shown(path: Path, table: Table) -> dict[tuple[int, int], tuple[Any, str]]:
    sheet = openpyxl.load_workbook(path).worksheets[0]
    rows = sheet.iter_rows(min_row=2, max_row=1 + table.cells.height, max_col=table.cells.width)
    return {
        (row, place): (cell.value, cell.number_format)
        for row, cells in enumerate(rows)
        for place, cell in enumerate(cells)
    }


def test_amounts_of_one_column_keep_each_its_own_currency_and_texts_stay(tmp_path: Path) -> None:
    euros, dollars = '#,##0.00 "€"', "[$$-409]#,##0.00"
    column = [
        (1234.5, euros),
        (1234.5, dollars),
        (7, "General"),
        ("1,234.50 €", euros),
        (17, "00000"),
        (-0.125, "0.0%"),
    ]
    table = workbook(tmp_path / "l.xlsx", [column])
    kept = shown(result(table, tmp_path / "l.results.xlsx"), table)
    assert [kept[row, 0] for row in range(6)] == [
        (1234.5, euros),
        (1234.5, dollars),
        ("7", "@"),
        ("1,234.50 €", "@"),
        ("17", "@"),
        (-0.125, "0.0%"),
    ]


def test_a_marked_cell_and_one_with_more_digits_than_excel_keeps_are_texts(tmp_path: Path) -> None:
    table = workbook(tmp_path / "l.xlsx", [[(2.5, "0.00"), (2.5, "0.00"), (10**15 + 1, "#,##0"), (1e14 + 0.5, "0.00")]])
    path = result(table, tmp_path / "l.results.xlsx", import_error_column=[None, "c0", None, None])
    kept = shown(path, table)
    assert [kept[row, 0][0] for row in range(4)] == [2.5, "2.5", "1000000000000001", "100000000000000.5"]
    assert split(read(path, Source()))[0].cells.equals(table.cells)


def test_more_formats_than_excel_holds_leave_texts(tmp_path: Path) -> None:
    table = workbook(tmp_path / "l.xlsx", [[(2.5, f'0.00 "{number}"') for number in range(300)]])
    kept = shown(result(table, tmp_path / "l.results.xlsx"), table)
    assert {cell for cell, _ in kept.values()} == {"2.5"}


def test_sheets_that_are_read_as_one_keep_their_own_formats(tmp_path: Path) -> None:
    path = tmp_path / "l.xlsx"
    with xlsxwriter.Workbook(path) as book:
        for name, code in (("A", "0.00"), ("B", None), ("C", "0%")):
            sheet = book.add_worksheet(name)
            sheet.write_string(0, 0, "n")
            sheet.write_string(0, 1, name)
            sheet.write(1, 0, 0.5, code and book.add_format({"num_format": code}))
    table = read(path, Source(sheet="*"))
    kept = shown(result(table, tmp_path / "l.results.xlsx"), table)
    assert [kept[row, 0] for row in range(3)] == [(0.5, "0.00"), ("0.5", "@"), (0.5, "0%")]


def test_the_result_of_a_run_has_amounts_as_numbers_and_phones_and_keys_as_texts(desk: Desk, sandbox: Sandbox) -> None:
    """Also where the workbook shows these as amounts; and nobody is called again for it."""
    phones = [12125550100 + row for row in range(6)]
    columns: list[list[tuple[Any, str]]] = [
        [(phone, "#,##0") for phone in phones],
        [(row, "0.00") for row in range(6)],
        [(1234.5 + row / 3, '#,##0.00 "€"') for row in range(6)],
    ]
    workbook(desk.folder / "l.xlsx", columns)
    desk.write(
        "c.yaml",
        "campaign_id: 7\nphone: {column: c0, region: US}\nvariables: {sum: {column: c2, type: number}}\n"
        "secondary_contacts: {group_by: c1}\nallow_duplicate: true\n",
    )
    assert desk.run("run", "l.xlsx", "-c", "c.yaml").status == 0
    path = desk.folder / "l.results.xlsx"
    kept = shown(path, read(desk.folder / "l.xlsx", Source()))
    assert [kept[1, place] for place in range(3)] == [
        ("12125550101", "@"),
        ("1", "@"),
        (1234.833333333, '#,##0.00 "€"'),
    ]
    before = memory(sandbox)["leads"]
    assert desk.run("retry", "l.results.xlsx", "-c", "c.yaml").status == 0
    assert memory(sandbox)["leads"] == before


@pytest.mark.skipif(OFFICE is None, reason="LibreOffice is not installed")
@pytest.mark.parametrize("kind", ["xlsx", "xls"])
def test_an_office_leaves_amounts_as_they_are(kind: str, tmp_path: Path) -> None:
    numbers = [0, 0.1, -1234.56, 99999999.1, 1 / 3, 123456789012345, 0.000123]
    columns: list[list[tuple[Any, str]]] = [[(number, code) for number in numbers] for code in AMOUNTS]
    table = workbook(tmp_path / "l.xlsx", columns)
    again = split(read(saved(result(table, tmp_path / "l.results.xlsx"), kind), Source()))[0]
    assert again.cells.equals(table.cells)
    assert again.amounts.width >= len(AMOUNTS) - 1
    kept = shown(result(again, tmp_path / "again.xlsx"), table)
    assert kept[2, 2] == (-1234.56, "#,##0.00")
