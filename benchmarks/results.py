"""Write 200,000 rows x 18 columns, against openpyxl (write-only mode), rustpy-xlsxwriter, XlsxWriter and bare polars.

    python benchmarks/results.py [ROWS] [--fast]

`--fast` leaves out the slow peers. The goals: a workbook in a quarter of openpyxl's time, text in three times polars'.
The peers write plain cells; ours adds text formats, filter, frozen header, widths, marked cells, and the fsync.
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import openpyxl
import polars as pl
import rustpy_xlsxwriter
import xlsxwriter

from importer.records import RESULT_COLUMNS, Table
from importer.write import write_result


def made(rows: int) -> tuple[Table, pl.DataFrame, pl.DataFrame]:
    """Return a table of 6 columns, its outcomes in 12, and all 18 in one frame."""
    chance = random.Random(18)
    cells = pl.DataFrame(
        {
            "phone": [f"+493023125{chance.randrange(1000):03}" for _ in range(rows)],
            "name": [f"Nadja Müller {chance.randrange(10**6)}" for _ in range(rows)],
            "company": [f"Weber & Söhne {chance.randrange(10**4)} GmbH" for _ in range(rows)],
            "email": [f"person{chance.randrange(10**7)}@example.com" for _ in range(rows)],
            "zip": [f"{chance.randrange(10**5):05}" for _ in range(rows)],
            "note": [chance.choice([None, "calls back; after 5 pm", 'said "later"']) for _ in range(rows)],
        }
    )
    bad = pl.Series([chance.random() < 0.1 for _ in range(rows)])
    ids = [f"{chance.getrandbits(128):032x}" for _ in range(rows)]
    ours = pl.select(
        import_status=pl.when(bad).then(pl.lit("invalid")).otherwise(pl.lit("created")),
        import_lead_id=pl.when(~bad).then(pl.Series(ids)),
        import_contact_id=pl.repeat(None, rows, dtype=pl.String),
        import_error_code=pl.when(bad).then(pl.lit("phone_too_short")),
        import_error=pl.when(bad).then(pl.lit("'0170' is too short for a number of DE. Put it right and retry.")),
        import_error_column=pl.when(bad).then(pl.lit("phone")),
        import_http_status=pl.when(~bad).then(pl.lit("201")),
        import_attempts=pl.when(~bad).then(pl.lit("1")),
        import_finished_at=pl.repeat("2026-11-24T02:00:00Z", rows),
        import_sheet=pl.repeat("Leads", rows),
        import_row=pl.int_range(2, rows + 2).cast(pl.String),
        import_run_id=pl.repeat("20261124T020000Z-a1b2c3", rows),
    )
    places = pl.select(sheet=pl.repeat("Leads", rows), row=pl.int_range(2, rows + 2))
    table = Table(Path("in.xlsx"), "xlsx", tuple(cells.columns), cells, places, "")
    assert tuple(ours.columns) == RESULT_COLUMNS
    return table, ours, pl.concat([cells, ours], how="horizontal")


def by_openpyxl(frame: pl.DataFrame, path: Path) -> None:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Leads")
    sheet.append(frame.columns)
    for row in frame.iter_rows():
        sheet.append(row)
    book.save(path)


def by_xlsxwriter(frame: pl.DataFrame, path: Path) -> None:
    with xlsxwriter.Workbook(path, {"constant_memory": True}) as book:
        sheet = book.add_worksheet("Leads")
        text = book.add_format({"num_format": "@"})
        for number, row in enumerate([tuple(frame.columns), *frame.iter_rows()]):
            for place, cell in enumerate(row):
                if cell is not None:
                    sheet.write_string(number, place, cell, text)


def seconds(work: Callable[[], object], times: int) -> float:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return sorted(found)[len(found) // 2]


def main() -> None:
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    table, ours, frame = made(numbers[0] if numbers else 200_000)
    slow = "--fast" not in sys.argv
    with tempfile.TemporaryDirectory() as folder:
        a, b = Path(folder, "a"), Path(folder, "b")

        def mine(kind: str) -> None:
            path = a.with_suffix(f".{kind}")
            path.unlink(missing_ok=True)
            write_result(path, table, ours, kind="csv" if kind == "csv" else "xlsx")

        text, xlsx = b.with_suffix(".csv"), b.with_suffix(".xlsx")
        took = {
            "csv, ours": seconds(lambda: mine("csv"), 5),
            "csv, polars": seconds(lambda: frame.write_csv(text), 5),
            "xlsx, ours": seconds(lambda: mine("xlsx"), 3),
            "xlsx, rustpy-xlsxwriter": seconds(lambda: rustpy_xlsxwriter.write_worksheet(frame, str(xlsx)), 3),
        }
        if slow:
            took["xlsx, XlsxWriter"] = seconds(lambda: by_xlsxwriter(frame, xlsx), 1)
            took["xlsx, openpyxl"] = seconds(lambda: by_openpyxl(frame, xlsx), 1)
    print(f"{frame.height:,} rows x {frame.width} columns")
    for name, value in took.items():
        print(f"  {name:24} {value:7.2f} s   ours takes {took[name.split(',')[0] + ', ours'] / value:5.2f} of it")


if __name__ == "__main__":
    main()
