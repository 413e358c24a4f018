"""What reading promises: text cells as they stood, every row once, under the number that Excel shows."""

import csv
import datetime as dt
import hashlib
import io
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fastexcel
import openpyxl
import polars as pl
import pytest
import xlsxwriter
from conftest import Desk, memory
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from spreadsheets import Rows, make_csv, make_ods, make_ole, make_openpyxl, make_xls, make_xlsxwriter, make_zip

from importer.errors import Refused
from importer.read import READERS, expand, read
from importer.read_text import read_text
from importer.records import RESULT_COLUMNS, Source, Table
from importer.sandbox import Sandbox

# How tests read.


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Table]:
    def read_bytes(content: bytes | str, name: str = "leads.csv", **source: Any) -> Table:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read(path, Source(**source))

    return read_bytes


def text_table(content: bytes | str, **how: Any) -> Table:
    settings = {key: how.pop(key) for key in list(how) if key not in ("fast", "chunk_rows")}
    content = content.encode() if isinstance(content, str) else content
    return read_text(Path("leads.csv"), content, kind="csv", source=Source(**settings), **how)


def rows_of(table: Table) -> list[tuple[str | None, ...]]:
    return table.cells.rows()


def problems_of(table: Table) -> list[tuple[int, str, str | None]]:
    assert table.problems["blocking"].all()
    return table.problems.select("index", "code", "column").rows()


def refusal(call: Callable[..., object], *args: Any, **how: Any) -> str:
    with pytest.raises(Refused) as caught:
        call(*args, **how)
    return str(caught.value)


# The contract of all readers.

KINDS: dict[str, tuple[Callable[[Rows], bytes], str]] = {
    "csv": (make_csv, "csv"),
    "csv, semicolons, Windows-1252": (lambda rows: make_csv(rows, encoding="cp1252", delimiter=";"), "csv"),
    "csv, tabs, UTF-16": (lambda rows: make_csv(rows, encoding="utf-16", delimiter="\t"), "csv"),
    "csv, bars, UTF-8 with BOM, all quoted": (
        lambda rows: make_csv(rows, encoding="utf-8-sig", delimiter="|", quoting=csv.QUOTE_ALL),
        "csv",
    ),
    "xlsx by XlsxWriter": (make_xlsxwriter, "xlsx"),
    "xlsx by openpyxl": (make_openpyxl, "xlsx"),
    "ods": (make_ods, "ods"),
    "xls": (make_xls, "xls"),
}

GRID: Rows = [
    ["Phone", "Naïve name", "Seats", "Paid", "Phone", ""],
    ["01701234567", "Müller", 17, True, None, "x"],
    [None, None, None, None, None, None],
    ["+49 30 23125000", 'a "b", c;d|e', 0.5, False, "0", None],
    [491701234567, " x ", -3, True, "#N/A", None],
]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[Callable[[Rows], bytes], str]:
    return KINDS[request.param]


def test_every_kind_gives_the_same_cells_places_and_names(kind: Any, table: Callable[..., Table]) -> None:
    make, expected_kind = kind
    content = make(GRID)
    found = table(content, "leads.whatever")
    assert found.kind == expected_kind
    assert found.kind in READERS
    assert found.headers == ("Phone", "Naïve name", "Seats", "Paid", "Phone", "")
    assert found.columns == ["Phone", "Naïve name", "Seats", "Paid", "Phone (2)", "Column F"]
    assert rows_of(found) == [
        ("01701234567", "Müller", "17", "true", None, "x"),
        (None,) * 6,
        ("+49 30 23125000", 'a "b", c;d|e', "0.5", "false", "0", None),
        ("491701234567", " x ", "-3", "true", "#N/A", None),
    ]
    assert set(found.cells.dtypes) == {pl.String}
    assert found.places.schema == {"sheet": pl.String, "row": pl.Int64}
    assert found.places.rows() == [(None if expected_kind == "csv" else "Sheet1", row) for row in (2, 3, 4, 5)]
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.problems.is_empty()
    assert any("'Phone' stands more than once" in note for note in found.notes)
    assert any("'Column F'" in note for note in found.notes)


def test_every_kind_takes_a_header_without_rows_for_an_empty_table(kind: Any, table: Callable[..., Table]) -> None:
    found = table(kind[0]([["Phone", "Name"]]))
    assert (found.headers, found.cells.shape, found.places.shape) == (("Phone", "Name"), (0, 2), (0, 2))


def test_every_kind_takes_a_header_row_that_is_set(kind: Any, table: Callable[..., Table]) -> None:
    content = kind[0]([["Export", "of today"], ["Phone", "Name"], ["1", "2"]])
    found = table(content, header_row=2)
    assert (found.columns, rows_of(found), found.places["row"].to_list()) == (["Phone", "Name"], [("1", "2")], [3])
    for row in (4, 99):
        assert f"row {row}" in refusal(table, content, header_row=row)


def test_every_kind_finds_the_header_of_our_results_whatever_the_source_says(
    kind: Any, table: Callable[..., Table]
) -> None:
    content = kind[0]([["Phone", *RESULT_COLUMNS], ["1", "created", *["x"] * 11]])
    found = table(content, sheet="Leads", header_row=7)
    assert found.is_result
    assert found.cells.height == 1


def test_every_kind_says_what_is_wrong_with_a_cut_off_file_or_reads_it(kind: Any, table: Callable[..., Table]) -> None:
    content = kind[0](GRID)
    for size in range(0, len(content), max(1, len(content) // 40)):
        with suppress(Refused):
            assert table(content[:size]).cells.height <= len(GRID)


# Text: laws.

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff\ufffd"), max_size=6)
HEADERS = st.lists(st.text("abcXYZ äß,;", min_size=1, max_size=5), min_size=1, max_size=5)


@st.composite
def grids(draw: st.DrawFn, cells: st.SearchStrategy[str] = CELLS) -> list[list[str]]:
    header = draw(HEADERS)
    assume(any(cell.strip() for cell in header))
    return [header, *draw(st.lists(st.lists(cells, min_size=len(header), max_size=len(header)), max_size=12))]


@settings(deadline=None, max_examples=300)
@given(
    grids(),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from([1, 7, 10_000]),
)
def test_what_a_csv_writer_wrote_comes_back_exactly(
    rows: list[list[str]], delimiter: str, end: str, quoting: Any, encoding: str, chunk_rows: int
) -> None:
    # Python 3.11's writer leaves lone CR or LF bare where they are not part of its line end.
    assume(quoting == csv.QUOTE_ALL or end == "\r\n" or not any({*cell} & {*"\r\n"} for row in rows for cell in row))
    # The delimiter is told, as a sample of random text is nothing to guess it from.
    body = make_csv(rows, delimiter=delimiter, lineterminator=end, quoting=quoting).decode()
    found = text_table(f"sep={delimiter}{end}{body}".encode(encoding), chunk_rows=chunk_rows)
    assert list(found.headers) == rows[0]
    assert rows_of(found) == [tuple(cell or None for cell in row) for row in rows[1:]]
    assert found.places["row"].to_list() == list(range(2, len(rows) + 1))
    assert found.problems.is_empty()


LINES = st.lists(st.lists(st.text("ab1 \"'ä€\ufffd\0#", max_size=3), max_size=4).map(",".join), min_size=1, max_size=12)


@settings(deadline=None, max_examples=500)
@given(
    st.sampled_from(["a,b,c\n", "a,b,\n", "sep=,\na,b,c\n", "\na,,c\n"]),
    LINES,
    st.lists(st.sampled_from(["\n", "\r\n", "\n\n", "\r"]), min_size=1, max_size=3),
    st.sampled_from([1, 7]),
    st.sampled_from(["invalid", "fill"]),
    st.booleans(),
)
@example("a,b,c\n", [",1", ",,,"], ["\n"], 1, "invalid", True)
def test_both_ways_through_a_text_come_to_the_same(
    header: str, lines: list[str], ends: list[str], chunk_rows: int, short_rows: str, is_cut: bool
) -> None:
    content = header + "".join(line + ends[place % len(ends)] for place, line in enumerate(lines))
    content = content.rstrip("\r\n") if is_cut else content
    slow = text_table(content, short_rows=short_rows, fast=False)
    for other in (
        text_table(content, short_rows=short_rows),
        text_table(content, short_rows=short_rows, fast=False, chunk_rows=chunk_rows),
    ):
        assert other.cells.equals(slow.cells)
        assert other.places.equals(slow.places)
        assert other.problems.equals(slow.problems)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(["a,b,c", 'a,"b,c', 'a,"b",c', 'a,b"', "a", "", 'a,"b"c,d', '"'])), st.data())
def test_no_line_is_lost_whatever_its_quotes(lines: list[str], data: st.DataObject) -> None:
    marked = [f"{place}:,{line}" for place, line in enumerate(lines)]
    found = text_table("\n".join(["h,a,b,c", *marked]) + "\n")
    text = " ".join(str(cell) for row in [*rows_of(found), *found.problems.rows()] for cell in row)
    assert all(f"{place}:" in text for place in range(len(lines)))


# Text: examples.


def test_the_quick_way_is_really_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importer.read_text._careful", None)
    for content in ("a,b\n1,2\n", "a,b\r\n1\r\n\r\n3,4", "\n\na;b\n1;2\n\n\n", "a\n1\n", "sep=|\na|b\n1|2\n"):
        assert text_table(content).cells.height


@pytest.mark.parametrize(
    ("content", "delimiter", "width"),
    [
        ("Name;Preis, netto;Ort\nA;1,5;B\nC;2,5;D\n", ";", 3),
        ("Name,Note\nA,x; y; z\nB,x\n", ",", 2),
        ("a\tb,c\n1\t2\n", "\t", 2),
        ("a|b\n1|2\n", "|", 2),
        ("Phone\n040 123, 0171 456\n030 1\n", ";", 1),
        ("Phone\n1\n2\n", ",", 1),
        ('"a;b",c\n"1;2",3\n', ",", 2),
        ("sep=;\na,b;c\n1,2;3\n", ";", 2),
        ('"sep=;"\r\na,b;c\r\n1,2;3\r\n', ";", 2),
        ("sep=^\na^b\n1^2\n", "^", 2),
    ],
)
def test_the_delimiter_is_found(content: str, delimiter: str, width: int) -> None:
    found = text_table(content)
    assert (found.delimiter, len(found.columns), found.problems.height) == (delimiter, width, 0)
    assert found.places["row"][0] == 2


def test_the_delimiter_is_found_below_a_banner_when_the_header_row_is_set() -> None:
    found = text_table("Leads, of, all, regions\n\na;b\n1;2\n", header_row=3)
    assert (found.delimiter, rows_of(found), found.places["row"].to_list()) == (";", [("1", "2")], [4])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_the_encoding_is_found_and_a_guess_is_told(encoding: str) -> None:
    found = text_table("Name,Preis\nMüller,5 €\n".encode(encoding))
    assert (found.columns, rows_of(found)) == (["Name", "Preis"], [("Müller", "5 €")])
    assert bool(found.notes) == (encoding == "cp1252")
    assert found.encoding == {"cp1252": "windows-1252"}.get(encoding, encoding)


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"a,b\r\n1,2\r\n" + bytes(range(0x80, 0x100)), "line 3, byte 11: b'\\x80' stands for no letter"),
        (b"\xef\xbb\xbfa\n\xff\n", "line 2, byte 6"),
        (b"\xff\xfea\0\n\0b", "line 2, byte 7"),
        (("a\n" + "Müller Jürgen\n" * 5).encode() + b"Sch\xfcler\n", "line 7, byte 86: the file is UTF-8"),
    ],
)
def test_bytes_that_are_no_letters_are_refused_with_their_place(content: bytes, where: str) -> None:
    assert where in refusal(text_table, content)


def test_a_lost_letter_and_a_nul_byte_are_told_of_their_row_and_column() -> None:
    for fast in (True, False):
        assert problems_of(text_table("a,b\n1,2\n3,M\ufffdller\n", fast=fast)) == [(1, "replacement_character", "b")]
    assert problems_of(text_table("a,b\n1\0,2\n3,4\n")) == [(0, "nul_byte", "a")]


def test_short_and_long_rows_are_told() -> None:
    found = text_table("a,b\n1\n1,2,,\n1,2,3,x\n\n4,5\n")
    assert rows_of(found) == [("1", None), ("1", "2"), ("1", "2"), (None, None), ("4", "5")]
    assert problems_of(found) == [(0, "row_too_short", None), (2, "row_too_long", None)]
    assert "line 2 of the file has 1 cell, the header 2" in found.problems["message"][0]
    assert "4 cells, the header 2; left over: '3 | x'" in found.problems["message"][1]


@pytest.mark.parametrize("quoted", ["", '"x\ny",1,2,3\n'])
def test_a_short_row_is_told_by_its_line_in_the_file(quoted: str) -> None:
    """However many lines a cell before it has, and a `sep=` line above."""
    found = text_table(f"sep=,\na,b,c,\n{quoted}1,2,3\n\n1,2\n , \n1,\n")
    told = [message.split(":")[0] for message in found.problems["message"]]
    more = quoted.count("\n")
    assert told == [f"line {line + more} of the file has 2 cells, the header 4" for line in (5, 7)]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("a,b\n1\n2,3\n", []),
        ("a,b\n1\n2,3", []),
        ("a,b\n1\n2", [1]),  # the file is cut off
        ("a,b\n1\n2,", []),
        ("a,b,\n1,2\n1,2", []),  # the cell that is missing has no name
        ("a,b\n1,2\n3\r", []),
        ('a,b\n"1",2\n3', [1]),
    ],
)
def test_short_rows_may_be_filled_but_not_one_that_the_file_ends_in(content: str, rows: list[int]) -> None:
    found = text_table(content, short_rows="fill")
    assert problems_of(found) == [(row, "row_too_short", None) for row in rows]
    assert all("cut off here" in message for message in found.problems["message"])


def test_an_unclosed_quote_costs_its_own_line_only() -> None:
    found = text_table('a,b\n1,2\n3,"4\n5,6\n"7\n",8\n9,10\n')
    assert rows_of(found) == [("1", "2"), ("3", '"4'), ("5", "6"), ("7\n", "8"), ("9", "10")]
    assert problems_of(found) == [(1, "broken_quote", None)]
    assert "line 3 of the file" in found.problems["message"][0]
    assert found.places["row"].to_list() == [2, 3, 4, 5, 6]


def test_a_quote_that_a_later_one_closes_by_chance_is_told_too() -> None:
    found = text_table('a,b,c\n"1,2,3\n4,5,6\n7,8,9"\n10,11,12\n')
    assert [row[0] for row in rows_of(found)] == ['"1', "4", "7", "10"]
    assert problems_of(found) == [(0, "broken_quote", None)]


def test_a_stray_quote_inside_a_quoted_cell_is_told_and_one_inside_a_bare_cell_is_text() -> None:
    found = text_table('a,b\n"5" pipe",x\n5" pipe,y\n')
    assert rows_of(found) == [('"5" pipe"', "x"), ('5" pipe', "y")]
    assert problems_of(found) == [(0, "broken_quote", None)]


def test_many_broken_lines_take_no_longer_than_sound_ones() -> None:
    found = text_table("a,b\n" + '1,"2\n' * 20_000)
    assert found.cells.height == 20_000 == found.problems.height


def test_line_breaks_in_cells_and_mixed_line_ends_keep_row_numbers_right() -> None:
    found = text_table('a,b\r\n"1\r\n2",3\n4,5\r6,"7\n8"\n')
    assert rows_of(found) == [("1\r\n2", "3"), ("4", "5"), ("6", "7\n8")]
    assert found.places["row"].to_list() == [2, 3, 4]


def test_blank_lines_above_and_inside_count_and_those_at_the_end_are_dropped() -> None:
    for fast in (True, False):
        found = text_table("\n\na,b\n1,2\n\n,\n3,4\n,\n\n\n", fast=fast)
        assert rows_of(found) == [("1", "2"), (None, None), (None, None), ("3", "4"), (None, None)]
        assert found.places["row"].to_list() == [4, 5, 6, 7, 8]


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\n", b"sep=;\n"])
def test_an_empty_file_is_an_empty_table_with_a_note(content: bytes) -> None:
    found = text_table(content)
    assert (found.cells.shape, found.headers, found.notes) == ((0, 0), (), ("the file is empty",))


def test_a_broken_header_is_refused() -> None:
    assert "row 1: this should be the header" in refusal(text_table, '"a"b,c\n1,2\n')


# Workbooks.


def test_what_fastexcel_does_to_cells_is_as_the_reader_expects() -> None:
    content = make_openpyxl([[dt.date(2026, 1, 5), dt.time(13, 30), True, 17.0, "#N/A", "", 0.1 + 0.2]])
    sheet = fastexcel.read_excel(content).load_sheet(0, header_row=None, skip_rows=0, dtypes="string")
    assert sheet.to_polars().rows() == [("2026-01-05 00:00:00", "1899-12-31 13:30:00", "true", "17", None, None, "0.3")]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (17, "17"),
        (17.0, "17"),
        (17.25, "17.25"),
        (17.200000000000003, "17.2"),
        (491701234567, "491701234567"),
        (4.41e11, "441000000000"),
        (1234567890123456, "1234567890123456"),
        (dt.date(2026, 1, 5), "2026-01-05"),
        (dt.datetime(2026, 1, 5, 13, 30), "2026-01-05 13:30:00"),
        (dt.time(13, 30), "13:30:00"),
        ("2026-01-05 00:00:00", "2026-01-05 00:00:00"),
        ("2026-01-05T13:30:00", "2026-01-05T13:30:00"),
        ("1899-12-31 13:30:00", "1899-12-31 13:30:00"),
        ("0170", "0170"),
        ("a\nb", "a\nb"),
        (" x\u00a0", " x\u00a0"),
        (True, "true"),
        ("#N/A", "#N/A"),
        ("#DIV/0!", "#DIV/0!"),
        ("=1+1", None),
    ],
)
def test_a_cell_of_a_workbook_becomes_its_text(cell: Any, text: str | None, table: Callable[..., Table]) -> None:
    found = table(make_openpyxl([["Cell", "x"], [cell, "x"]]))
    assert rows_of(found) == [(text, "x")]


def test_errors_and_formulas_without_a_value_are_told(table: Callable[..., Table]) -> None:
    notes = " ".join(table(make_openpyxl([["a", "b"], ["#N/A", "=1+1"], ["x", "#REF!"]])).notes)
    assert "2 cells hold an error such as #N/A (A2, B3)" in notes
    assert "1 formula has no stored value (B2)" in notes
    found = table(make_xls([["a"], [b"\x2a"], ["x"]]))
    assert rows_of(found) == [("#N/A",), ("x",)]
    assert "1 cell holds an error such as #N/A (A2)" in " ".join(found.notes)
    assert rows_of(table(make_ods([["a"], [dt.time(13, 30)], ["x"]]))) == [("13:30:00",), ("x",)]


def test_integers_beyond_15_digits_stand_as_in_the_file(table: Callable[..., Table]) -> None:
    content = make_openpyxl([["a"], ["LONG"]])
    parts = {
        name: zipfile.ZipFile(io.BytesIO(content)).read(name)
        for name in zipfile.ZipFile(io.BytesIO(content)).namelist()
    }
    sheet = "xl/worksheets/sheet1.xml"
    parts[sheet] = parts[sheet].replace(
        b'<c r="A2" t="inlineStr"><is><t>LONG</t></is></c>', b'<c r="A2"><v>12345678901234567</v></c>'
    )
    assert rows_of(table(make_zip(dict(parts)))) == [("12345678901234567",)]


@pytest.mark.parametrize("number", [2_958_466, 493023125017, 4.93023125017e12, 2.5e15, -3e17])
@pytest.mark.parametrize("code", ["dd.mm.yyyy", "[h]:mm", "h:mm AM/PM", 14])
def test_a_number_too_large_for_the_date_that_its_format_shows_is_read_as_the_number(
    number: float, code: Any, table: Callable[..., Table], capfd: pytest.CaptureFixture[str]
) -> None:
    """Such as a phone number in a column of dates, which shows as ####: calamine reads nothing there, or panics."""
    file = io.BytesIO()
    with xlsxwriter.Workbook(file) as book:
        sheet = book.add_worksheet()
        for row, cell in enumerate(["a", number, 2_958_465, number]):
            sheet.write(row, 0, cell, book.add_format({"num_format": code if row < 3 else "0.00E+00"}))
    found = table(file.getvalue())
    text = f"{int(number)}"
    assert rows_of(found) == [(text,), ("9999-12-31",), (text,)]
    assert found.numbers["a"].to_list() == [True, False, True]
    assert [note for note in found.notes if "1 cell holds a number too large for the date" in note and "(A2)" in note]
    assert "panicked" not in capfd.readouterr().err


def test_dates_of_an_ods_are_iso_8601(table: Callable[..., Table]) -> None:
    found = table(make_ods([["a", "b"], [dt.date(2026, 1, 5), dt.datetime(2026, 1, 5, 13, 30)]]))
    assert rows_of(found) == [("2026-01-05", "2026-01-05 13:30:00")]


def test_texts_that_look_like_dates_stay_beside_dates(table: Callable[..., Table]) -> None:
    cells = [dt.date(2026, 1, 5), "2026-01-05 00:00:00", dt.time(0, 0), "1899-12-31 00:00:00", "2026-01-05T00:00:00"]
    for make in (make_openpyxl, make_ods):
        kept = [cell for cell in cells if make is make_openpyxl or not isinstance(cell, dt.time)]
        texts = [("00:00:00" if isinstance(cell, dt.time) else str(cell),) for cell in kept]
        assert rows_of(table(make([["a"], *([cell] for cell in kept)]))) == texts


def test_a_table_that_starts_at_d7_keeps_its_row_numbers_and_letters(table: Callable[..., Table]) -> None:
    found = table(
        make_xlsxwriter([["Phone", None, None, "Name"], ["1", "x", None, "A"], [], ["2", None, None, "B"]], at=(6, 3))
    )
    assert found.columns == ["Phone", "Column E", "Name"]
    assert rows_of(found) == [("1", "x", "A"), (None, None, None), ("2", None, "B")]
    assert found.places["row"].to_list() == [8, 9, 10]
    assert not any("header was found" in note for note in found.notes)


def test_a_banner_above_the_header_is_passed_over_and_told(table: Callable[..., Table]) -> None:
    banner: Rows = [
        ["Leads of autumn"],
        ["as of", "today"],
        [],
        ["Phone", "Name", "Town", "Mail"],
        ["1", "A"],
        ["2", "B"],
    ]
    found = table(make_xlsxwriter(banner))
    assert found.columns == ["Phone", "Name", "Town", "Mail"]
    assert found.places["row"].to_list() == [5, 6]
    assert any("the header was found in row 4" in note for note in found.notes)


def test_one_column_has_its_header_in_the_first_filled_row(table: Callable[..., Table]) -> None:
    assert table(make_xlsxwriter([[], ["Phone"], ["1"], ["2"]])).columns == ["Phone"]


def test_several_sheets_with_data_are_refused_unless_one_is_named(table: Callable[..., Table]) -> None:
    content = make_openpyxl([["a"], ["1"]], Other=[["a", "b"], ["2", "3"]], Empty=[])
    assert "several sheets hold data: 'Sheet1', 'Other'" in refusal(table, content)
    for sheet in ("Other", " other ", 2):
        found = table(content, sheet=sheet)
        assert (rows_of(found), found.places.rows()) == ([("2", "3")], [("Other", 2)])
        assert "Warning: other sheets hold data too, and were not read: 'Sheet1'" in found.notes
    for wrong in ("Othr", 4, 0):
        assert "'Sheet1', 'Other', 'Empty'" in refusal(table, content, sheet=wrong)
    assert "Did you mean 'Other'?" in refusal(table, content, sheet="Othr")
    empty = table(content, sheet="Empty")
    assert empty.cells.shape == (0, 0)
    assert any("nothing on sheet 'Empty'" in note for note in empty.notes)


def test_all_sheets_are_one_table_with_the_union_of_columns(table: Callable[..., Table]) -> None:
    content = make_openpyxl([["a", "b"], ["1", "2"]], Two=[[], ["b", "c"], ["3", "4"]], Empty=[])
    found = table(content, sheet="*")
    assert (found.headers, found.columns) == (("a", "b", "c"), ["a", "b", "c"])
    assert rows_of(found) == [("1", "2", None), (None, "3", "4")]
    assert found.places.rows() == [("Sheet1", 2), ("Two", 3)]


def test_a_hidden_sheet_counts_as_data_and_is_told(table: Callable[..., Table]) -> None:
    book = openpyxl.load_workbook(io.BytesIO(make_openpyxl([["a"], ["1"]], Lists=[["b"], ["2"]])))
    book["Lists"].sheet_state = "hidden"
    file = io.BytesIO()
    book.save(file)
    assert "'Lists' (hidden)" in refusal(table, file.getvalue())
    assert any("is hidden in Excel" in note for note in table(file.getvalue(), sheet="Lists").notes)


def test_a_workbook_with_nothing_in_it_is_an_empty_table(table: Callable[..., Table]) -> None:
    for content in (make_openpyxl([]), make_openpyxl([[" "]]), make_ods([]), make_xls([])):
        found = table(content)
        assert found.cells.height == 0
        assert len(found.headers) == len(found.columns)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (make_ole("EncryptedPackage", b"x"), "protected with a password"),
        (make_ole("WordDocument", b"x"), "an old office document, but no workbook"),
        (b"PK\x03\x04 and no more", "the workbook or zip archive is damaged"),
        (make_zip({"a.csv": "a,b", "b.csv": "a,b"}), "holds 'a.csv', 'b.csv'; right is one list"),
        (make_zip({"xl/workbook.xml": "<workbook"}), "damaged, or of a kind that can't be read"),
        (b"\xef\xbb\xbf\r\n<HTML><table>", "a web page"),
        ("<html>".encode("utf-16"), "a web page"),
        (b'<?xml version="1.0"?><Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet">', "XML spreadsheet"),
        (b"\x1f\x8b\x08", "the compressed file (gzip) is damaged"),
        (b"%PDF-1.7", "it is a PDF"),
    ],
)
def test_what_is_no_table_is_refused_with_advice(content: bytes, says: str, table: Callable[..., Table]) -> None:
    message = refusal(table, content, "leads.xls")
    assert "leads.xls" in message
    assert says in message


def test_a_panic_of_calamine_is_a_refusal(table: Callable[..., Table], monkeypatch: pytest.MonkeyPatch) -> None:
    panic = type("PanicException", (BaseException,), {})

    def fall(_: bytes) -> None:
        raise panic("index out of bounds")

    monkeypatch.setattr("fastexcel.read_excel", fall)
    assert "index out of bounds" in refusal(table, make_xls([["a"]]))


def test_folders_and_what_may_not_be_read_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "this is a folder" in refusal(read, tmp_path, Source())
    assert "no such file" in refusal(read, tmp_path / "nothing.csv", Source())
    assert "it can't be read" in refusal(read, Path("a\0b"), Source())

    def deny(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.csv").touch()
    monkeypatch.setattr(Path, "read_bytes", deny)
    assert "it can't be read (Permission denied)" in refusal(read, tmp_path / "a.csv", Source())


# Inputs on the command line.


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tonight's inputs and last night's results."""
    monkeypatch.chdir(tmp_path)
    result: Rows = [["Phone", *RESULT_COLUMNS], ["1"]]
    for name in ("a.csv", "b.csv"):
        Path(name).write_text("Phone\n1\n")
    for name in ("a.results.csv", "a.results.20261123-2200-abcd.csv", "a.check.csv", "renamed.csv"):
        Path(name).write_bytes(make_csv(result, encoding="utf-8-sig", delimiter=";"))
    Path("c.xlsx").write_bytes(make_xlsxwriter([["Phone"], ["import_run_id"]]))
    Path("c.results.xlsx").write_bytes(make_xlsxwriter(result))
    Path("~$c.xlsx").write_bytes(b"\x05owner")
    return tmp_path


def names(found: tuple[list[Path], list[str]]) -> list[str]:
    return [path.name for path in found[0]]


def test_a_pattern_skips_results_and_says_so(folder: Path) -> None:
    found = expand(["*.csv"])
    assert names(found) == ["a.csv", "b.csv"]
    assert len(found[1]) == 4
    assert all("skipped, as it is a result file of ours" in note for note in found[1])
    assert names(expand([str(folder / "*.xlsx")])) == ["c.xlsx"]


def test_receipts_of_results_are_skipped_where_they_came_along(folder: Path) -> None:
    Path("a.results.receipt.json").write_text("{}")
    for named in (["a*"], ["a.csv", "a.results.receipt.json"]):
        found = expand(named)
        assert names(found) == ["a.csv"]
        assert "a.results.receipt.json: skipped, as it is the receipt of a result." in found[1]


def test_a_terminal_is_no_list_that_is_piped_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    assert "-: nothing is piped in. Name a file" in refusal(expand, ["-"])
    monkeypatch.setattr("sys.stdin", None)  # closed, as some schedulers do
    assert "-: nothing is piped in. Name a file" in refusal(expand, ["-"])


def test_results_beside_their_input_are_skipped_where_the_shell_spelt_the_pattern_out(folder: Path) -> None:
    found = expand([path.name for path in sorted(folder.iterdir())])
    assert names(found) == ["a.csv", "b.csv", "c.xlsx", "renamed.csv"]
    assert len(found[1]) == 5


def test_a_result_that_is_named_on_purpose_is_kept(folder: Path) -> None:
    assert names(expand(["a.results.csv"])) == ["a.results.csv"]
    assert names(expand(["b.csv", "a.results.csv"])) == ["b.csv", "a.results.csv"]


def test_retry_takes_the_last_results_of_a_pattern_and_skips_all_else(folder: Path) -> None:
    older = Path("a.results.20261126T042907Z-ff341e.csv")
    older.write_bytes(Path("a.results.csv").read_bytes())
    kept, notes = expand(["*"], retry=True)
    assert "a.results.csv" in map(str, kept)
    assert not {"a.csv", "b.csv", str(older), "a.check.csv"} & set(map(str, kept))
    assert "a.csv: skipped, as it is no result file of ours. To import it, use run." in notes
    assert names(expand([str(older), "a.results.csv"], retry=True)) == [
        "a.results.csv"
    ]  # as a shell spells a pattern out
    assert names(expand([str(older)], retry=True)) == [str(older)]
    assert "name the results to retry" in refusal(lambda patterns: expand(patterns, retry=True), ["b*"])


def test_a_pattern_that_finds_results_only_is_refused(folder: Path) -> None:
    assert "use retry" in refusal(expand, ["*.results.csv"])


def test_inputs_keep_their_order_and_come_once(folder: Path) -> None:
    Path("d.csv").symlink_to("b.csv")
    assert names(expand(["b.csv", "[ab].csv", "./a.csv", "d.csv"])) == ["b.csv", "a.csv"]


def test_a_file_with_pattern_letters_in_its_name_is_that_file(folder: Path) -> None:
    Path("leads [1].csv").write_text("a\n")
    assert names(expand(["leads [1].csv"])) == ["leads [1].csv"]


def test_all_names_that_lead_nowhere_are_told_at_once(folder: Path) -> None:
    message = refusal(expand, ["b.cvs", "B.CVS", "*.txt", ".", "a.csv", "nowhere/x.csv"])
    assert "b.cvs: there is no such file. Did you mean 'b.csv'" in message
    assert "B.CVS: there is no such file. Did you mean 'b.csv'" in message
    assert "*.txt: no file matches this pattern" in message
    assert ".: this is a folder" in message
    assert "The folder 'nowhere' is not there" in message


# By the real command.


def test_zeros_and_a_plus_that_only_a_number_format_shows_are_sent(desk: Desk, sandbox: Sandbox) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["phone_number", "zip"])
    sheet.append([12125550100, 501])
    sheet["A2"].number_format, sheet["B2"].number_format = '"+"0', "00000"
    book.save(desk.folder / "a.xlsx")
    ended = desk.run("run", "a.xlsx", "--campaign", "7")
    assert ended.status == 0, ended.err
    (lead,) = memory(sandbox)["leads"]
    assert (lead["phone_number"], lead["variables"]) == ("+12125550100", {"zip": "00501"})
    header, row = openpyxl.load_workbook(desk.folder / "a.results.xlsx").active.iter_rows(values_only=True)
    assert (row[header.index("phone_number")], row[header.index("zip")]) == ("+12125550100", "00501")
