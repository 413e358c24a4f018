"""A result file that people open and save in LibreOffice comes back with every cell and every row known."""

import datetime as dt
import functools
import io
import shutil
import subprocess
from pathlib import Path

import openpyxl
import polars as pl
import pytest
import xlsxwriter
from conftest import Desk, memory

from importer.looks import Looks, looks_of
from importer.read import read
from importer.records import RESULT_COLUMNS, Source, Table
from importer.results import split
from importer.sandbox import Sandbox
from importer.write import write_result

OFFICE = shutil.which("soffice") or shutil.which("libreoffice")
pytestmark = pytest.mark.skipif(OFFICE is None, reason="LibreOffice is not installed")

#: Kinds of text file: UTF-8 with commas, as LibreOffice saves them; and as Excel does in Western Europe.
CSV = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false"
CSV_WINDOWS = "csv:Text - txt - csv (StarCalc):59,34,1,1,,0,false,true,false"

ROWS = [
    ("+493023125017", "01234", "00000000000000000042", "2026-01-05", "Müller"),
    ("03023125018", "00501", "4111111111111111", "2026-12-31", "=1+1"),
    ("(212) 555-0100", "1E5", "1.10", "05/06/2026", "-5"),
    (None, "TRUE", "12345678901", None, "two\nlines"),
]
HEADERS = ("Phone", "ZIP", "Account", "Renewal", "Name")
OURS = {
    "import_status": ["created", "invalid", "unknown", "not_sent"],
    "import_lead_id": ["0042", None, None, None],
    "import_error": [None, "=wrong", "read as '01234'", None],
    "import_row": ["2", "3", "4", "5"],
    "import_run_id": ["20260101T000000Z-aaaaaa"] * 4,
    "import_finished_at": ["2026-01-05T10:00:00Z", None, None, None],
    "import_attempts": ["1", None, "3", None],
}


def result(folder: Path, kind: str) -> Path:
    cells = pl.DataFrame(list(ROWS), schema=dict.fromkeys(HEADERS, pl.String), orient="row")
    places = pl.DataFrame({"sheet": pl.Series([None] * 4, dtype=pl.String), "row": [2, 3, 4, 5]})
    table = Table(folder / "a.csv", "csv", HEADERS, cells, places, "", delimiter=",")
    ours = pl.DataFrame({name: pl.Series(OURS.get(name, [None] * 4), dtype=pl.String) for name in RESULT_COLUMNS})
    path = folder / f"a.results.{kind}"
    write_result(path, table, ours, kind="xlsx" if kind == "xlsx" else "csv")
    return path


def saved(path: Path, kind: str, *, import_filter: str | None = None) -> Path:
    """Open a file in LibreOffice and save it, as a person does who confirms what it proposes."""
    out = path.parent / "saved"
    words = [OFFICE, f"-env:UserInstallation=file://{profile()}", "--headless", "--norestore"]
    words += [f"--infilter={import_filter}"] if import_filter else []
    subprocess.run(
        [*map(str, words), "--convert-to", kind, "--outdir", str(out), str(path)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return out / f"{path.stem}.{kind.partition(':')[0]}"


@functools.cache
def profile() -> Path:
    import tempfile

    return Path(tempfile.mkdtemp(prefix="office"))


#: All columns as text, which is how a CSV with phones must be opened.
AS_TEXT = "CSV:44,34,76,1," + "/".join(f"{place}/2" for place in range(1, 18))

#: As LibreOffice proposes it: what looks like a number becomes one.
AS_GUESSED = "CSV:44,34,76,1"


@pytest.mark.parametrize(
    ("kind", "into", "import_filter"),
    [
        ("xlsx", "xlsx", None),
        ("xlsx", CSV, None),
        ("xlsx", CSV_WINDOWS, None),
        ("xlsx", "ods", None),
        ("csv", CSV, AS_TEXT),
        ("csv", "xlsx", AS_TEXT),
    ],
)
def test_every_cell_comes_back_as_it_was(kind: str, into: str, import_filter: str | None, tmp_path: Path) -> None:
    came_back = read(saved(result(tmp_path, kind), into, import_filter=import_filter), Source())
    user, previous = split(came_back)
    assert tuple(user.columns) == HEADERS
    assert user.cells.rows() == ROWS
    assert previous is not None
    for name, cells in OURS.items():
        guarded = [f"'{cell}" if cell and cell[0] in "=+-@" and kind == "csv" else cell for cell in cells]
        assert previous[name].to_list() == guarded, name


# What the input looks like.


def workbook(folder: Path) -> Path:
    """A workbook with a title, wide columns, days in a format of their own, and a ZIP with zeros by its format."""
    content = io.BytesIO()
    with xlsxwriter.Workbook(content) as book:
        sheet = book.add_worksheet("Kunden")
        day, english = book.add_format({"num_format": 'dd"."mm"."yyyy'}), book.add_format({"num_format": 14})
        sheet.set_column("B:B", 31)
        sheet.set_column("D:E", 14.5)
        price, share = book.add_format({"num_format": '#,##0.00 "€"'}), book.add_format({"num_format": 10})
        sheet.write_row("B3", ["Phone", "Note", "Renewal", "Since", "Price", "Share", "Called"])
        moment = book.add_format({"num_format": "dd/mm/yyyy hh:mm"})
        for row in range(3, 6):
            sheet.write_row(row, 1, ["+493023125017", "2026-01-05"])
            sheet.write_datetime(row, 3, dt.datetime(2026, 1, row), day)
            sheet.write_datetime(row, 4, dt.datetime(1999, 12, 31), english)
            sheet.write_number(row, 5, 1234.5 * row, price)
            sheet.write_number(row, 6, 0.0125, share)
            sheet.write_datetime(row, 7, dt.datetime(2026, 1, row, 9, 30, 59), moment)
        sheet.write_string(5, 3, "tomorrow")
    path = folder / "k.xlsx"
    path.write_bytes(content.getvalue())
    return path


def looking_alike(folder: Path) -> tuple[Table, Path]:
    table = read(workbook(folder), Source())
    ours = pl.DataFrame(
        {name: pl.Series([None] * table.cells.height, dtype=pl.String) for name in RESULT_COLUMNS}
    ).with_columns(
        import_status=pl.lit("invalid"),
        import_run_id=pl.lit("r"),
        import_error_column=pl.Series([None, "Renewal", None]),
    )
    path = folder / "k.results.xlsx"
    write_result(path, table, ours, kind="xlsx")
    return table, path


@pytest.fixture
def alike(tmp_path: Path) -> tuple[Table, Path]:
    return looking_alike(tmp_path)


def test_days_numbers_and_widths_look_as_in_the_input_and_read_the_same(alike: tuple[Table, Path]) -> None:
    table, path = alike
    sheet = openpyxl.load_workbook(path).worksheets[0]
    assert [sheet.column_dimensions[letter].width for letter in "AC"] == [
        pytest.approx(31.7, abs=0.1),
        pytest.approx(15.2, abs=0.1),
    ]
    assert (sheet["C2"].value, sheet["C2"].number_format) == (dt.datetime(2026, 1, 3), 'dd"."mm"."yyyy')
    assert (sheet["D2"].value, sheet["D2"].number_format) == (dt.datetime(1999, 12, 31), "mm-dd-yy")
    assert (sheet["E2"].value, sheet["E2"].number_format) == (3703.5, '#,##0.00 "€"')
    assert (sheet["F2"].value, sheet["F2"].number_format) == (0.0125, "0.00%")
    assert (sheet["G2"].value, sheet["G2"].number_format) == (dt.datetime(2026, 1, 3, 9, 30, 59), "dd/mm/yyyy hh:mm")
    assert (sheet["A2"].value, sheet["A2"].number_format) == ("+493023125017", "@")
    assert (sheet["B2"].value, sheet["C4"].value) == ("2026-01-05", "tomorrow")
    assert (sheet["C3"].value, sheet["C3"].fill.fgColor.rgb) == ("2026-01-04", "FFF8B4B4")
    assert split(read(path, Source()))[0].cells.equals(table.cells)


def test_days_and_numbers_survive_another_result_and_an_office(alike: tuple[Table, Path]) -> None:
    table, path = alike
    came_back = split(read(saved(path, "xlsx"), Source()))[0]
    assert came_back.cells.equals(table.cells)
    assert "mm" in str(looks_of(came_back).dates["Renewal"])
    assert "€" in str(came_back.amounts["Price"][0])


def test_what_is_no_workbook_or_gone_has_no_looks(alike: tuple[Table, Path]) -> None:
    table, _ = alike
    assert looks_of(table).widths
    table.path.write_bytes(b"PK\x03\x04 cut off")
    assert looks_of(table) == Looks()
    table.path.unlink()
    assert looks_of(table) == Looks()


# Retry.


@pytest.mark.parametrize(("kind", "into"), [("csv", "xlsx"), ("xlsx", CSV_WINDOWS)])
def test_retry_knows_every_row_of_what_an_office_saved(kind: str, into: str, desk: Desk, sandbox: Sandbox) -> None:
    """Also where columns were opened as numbers, so that a plus and zeros are gone."""
    numbers = [f"+1212555{number:04}" for number in range(100, 106)]
    rows = "".join(f"{number},Zoë {place},0{place}\r\n" for place, number in enumerate(numbers))
    desk.write("l.csv", f"phone_number,name,zip\r\n{rows}12,Bad,07\r\n")
    desk.write("c.yaml", f"campaign_id: 7\nphone: {{column: phone_number, region: US}}\nresult: {{format: {kind}}}\n")
    assert desk.run("run", "l.csv", "-c", "c.yaml").status == 1
    result = desk.folder / f"l.results.{kind}"
    back = saved(result, into, import_filter=AS_GUESSED if kind == "csv" else None)
    fixed = desk.folder / f"l.results{back.suffix}"
    result.unlink()
    shutil.move(back, fixed)
    ended = desk.run("retry", fixed.name, "-c", "c.yaml")
    assert ended.status == 1, ended.err
    assert "6  created" in ended.err, ended.err
    assert "1  invalid" in ended.err, ended.err
    assert len(memory(sandbox)["leads"]) == len(numbers)
