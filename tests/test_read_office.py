"""What LibreOffice saves is read as what went into it: cells, numbers and their formats, what is hidden."""

import datetime as dt
import shutil
import subprocess
from pathlib import Path

import openpyxl
import pytest

from importer.read import read
from importer.records import Source, Table

OFFICE = shutil.which("soffice") or shutil.which("libreoffice")
pytestmark = pytest.mark.skipif(OFFICE is None, reason="LibreOffice is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workbook, saved by LibreOffice as each kind that it knows."""
    folder = tmp_path_factory.mktemp("office")
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Leads"
    for row in (
        ["Phone", "Zip", "When", "At", "Error", "Sum"],
        [2125550100, 501, dt.date(2026, 1, 5), dt.time(13, 30), "=1/0", "=B2*2"],
        [2125550101, 17, dt.date(2026, 2, 6), dt.time(0, 0), "x", '="0"&"1"'],
        ["0170", 18, "2026-02-06", None, "Zoë", None],
    ):
        sheet.append(row)
    for number in (2, 3, 4):
        sheet.cell(number, 1).number_format = "000-000-0000"
        sheet.cell(number, 2).number_format = "00000"
    sheet.row_dimensions[3].hidden = True
    sheet.merge_cells("F3:F4")
    book.create_sheet("Lists").append(["a"])
    book["Lists"].sheet_state = "hidden"
    book.save(folder / "leads.xlsx")
    for kind in ("xls", "ods", "xlsx"):
        command = [str(OFFICE), f"-env:UserInstallation=file://{folder}/profile", "--headless"]
        command += ["--convert-to", kind, "--outdir", str(folder / kind), str(folder / "leads.xlsx")]
        subprocess.run(command, capture_output=True, timeout=120, check=True)
    return folder


@pytest.fixture(params=["xls", "ods", "xlsx"])
def table(request: pytest.FixtureRequest, folder: Path) -> Table:
    return read(folder / request.param / f"leads.{request.param}", Source(sheet="Leads"))


def test_the_cells_come_as_they_were(table: Table) -> None:
    assert table.columns == ["Phone", "Zip", "When", "At", "Error", "Sum"]
    assert table.cells.rows() == [
        ("2125550100", "501", "2026-01-05", "13:30:00", "#DIV/0!", "1002"),
        ("2125550101", "17", "2026-02-06", "00:00:00", "x", "01"),
        ("0170", "18", "2026-02-06", None, "Zoë", None),
    ]


def test_numbers_and_their_formats_are_told(table: Table) -> None:
    assert table.numbers["Phone"].to_list() == [True, True, False]
    assert table.numbers["Zip"].to_list() == [True, True, True]
    assert "When" not in table.numbers.columns
    assert table.formats.filter(column="Zip").rows() == [(n, "Zip", "00000") for n in range(3)]
    phones = table.formats.filter(column="Phone")["format"].str.replace_all("\\", "", literal=True)
    assert phones.to_list() == ([] if table.kind == "ods" else ["000-000-0000"] * 2)


def test_what_is_hidden_and_merged_is_told(table: Table) -> None:
    notes = " ".join(table.notes)
    assert "1 row hidden in Excel" in notes
    assert "1 merged area among the rows (the first from row 3)" in notes
    assert "'Lists' (hidden)" in notes
