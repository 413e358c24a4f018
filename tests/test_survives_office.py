"""A result file that people open and save in LibreOffice comes back with every cell and every row known."""

import datetime as dt
import functools
import io
import shutil
import subprocess
from pathlib import Path

import polars as pl
import pytest
import xlsxwriter

from importer.read import Source, read
from importer.records import RESULT_COLUMNS, Table
from importer.results import split
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
