"""The corpus: lists as they come out of CRMs, dialers, web forms and people's workbooks, each named after its trait.

`python tests/corpus/make.py FOLDER` writes the files; `tests/test_read_corpus.py` reads them and holds each to its
expected cells, row numbers, notes and verdicts. The bytes are made when they are asked for, and are the same each time.
"""

import bz2
import datetime as dt
import gzip
import io
import lzma
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl

sys.path.insert(0, str(Path(__file__).parent.parent))

from spreadsheets import (
    Rows,
    make_csv,
    make_ods,
    make_ole,
    make_openpyxl,
    make_xls,
    make_xlsb,
    make_xlsxwriter,
    make_zip,
    zstd,
)

Row = tuple[str | None, ...]

SHEET = "xl/worksheets/sheet1.xml"


@dataclass(frozen=True)
class Trait:
    """A file and what reading it must give; `refused` what must stand in the refusal instead."""

    name: str
    """Name of the file, after its trait."""
    make: Callable[[], bytes]
    columns: Sequence[str] = ()
    rows: Sequence[Row] = ()
    at: Sequence[int] | None = None
    """Row numbers, where they are not 2, 3, 4 …"""
    says: Sequence[str] = ()
    """What must stand in the notes; none: nothing is said."""
    problems: Sequence[tuple[int, str, str | None]] = ()
    """Rows that are not trusted: place, code, column."""
    numbers: dict[str, list[bool]] = field(default_factory=dict)
    formats: Sequence[tuple[int, str, str]] = ()
    source: dict[str, Any] = field(default_factory=dict)
    verdicts: Sequence[str] = ()
    """Of the cells of column `Phone`: the number that is called, or the code of the refusal."""
    refused: str | None = None


# How the files are made.

LEADS: Rows = [["Phone", "Name"], ["+12125550100", "Müller"], ["2125550101", "Zoë"]]
READ: list[Row] = [("+12125550100", "Müller"), ("2125550101", "Zoë")]
CALLED = ["+12125550100", "+12125550101"]


def text(content: str, encoding: str = "utf-8") -> Callable[[], bytes]:
    return lambda: content.encode(encoding)


def plain(**dialect: Any) -> Callable[[], bytes]:
    return lambda: make_csv(LEADS, **dialect)


def book(build: Callable[[Any], None]) -> Callable[[], bytes]:
    """Make a workbook by openpyxl; `build` gets it with an empty sheet `Leads`."""

    def make() -> bytes:
        workbook = openpyxl.Workbook()
        workbook.active.title = "Leads"
        build(workbook)
        file = io.BytesIO()
        workbook.save(file)
        return file.getvalue()

    return make


def fill(sheet: Any, rows: Rows) -> None:
    for row in rows:
        sheet.append(list(row))


def patched(make: Callable[[], bytes], part: str, *changes: tuple[bytes, bytes]) -> Callable[[], bytes]:
    """Change the XML of a part of a workbook."""

    def remake() -> bytes:
        with zipfile.ZipFile(io.BytesIO(make())) as archive:
            parts: dict[str, str | bytes] = {name: archive.read(name) for name in archive.namelist()}
        for old, new in changes:
            content = parts[part]
            assert isinstance(content, bytes)
            assert old in content, (part, old)
            parts[part] = content.replace(old, new)
        return make_zip(parts)

    return remake


def formatted(*formats: str) -> Callable[[Any], None]:
    """Fill a workbook with numbers under a format for each column."""

    def build(workbook: Any) -> None:
        sheet = workbook.active
        fill(sheet, [["Phone", "Zip"], [2125550100, 501], [2125550101, 17]])
        for row in (2, 3):
            for column, code in enumerate(formats, 1):
                sheet.cell(row, column).number_format = code

    return build


def hidden(workbook: Any) -> None:
    sheet = workbook.active
    fill(
        sheet, [["Phone", "Note", "Name"], ["2125550100", "a", "A"], ["2125550101", "b", "B"], ["2125550102", "c", "C"]]
    )
    sheet.row_dimensions[3].hidden = True
    sheet.column_dimensions["B"].hidden = True
    fill(workbook.create_sheet("Lists"), [["x"], ["y"]])
    workbook["Lists"].sheet_state = "hidden"


def filtered(workbook: Any) -> None:
    sheet = workbook.active
    fill(sheet, LEADS)
    sheet.auto_filter.ref = "A1:B3"
    sheet.auto_filter.add_filter_column(1, ["Müller"])
    sheet.row_dimensions[3].hidden = True


def merged(workbook: Any) -> None:
    fill(workbook.active, [["Phone", "Name"], ["2125550100", "A"], ["2125550101", None]])
    workbook.active.merge_cells("B2:B3")


def banner(workbook: Any) -> None:
    sheet = workbook.active
    fill(sheet, [["Leads of autumn"], [], ["Phone", "Name"], ["2125550100", "A"], ["2125550101", "B"]])
    sheet.merge_cells("A1:B1")


def empty_formatted(workbook: Any) -> None:
    fill(workbook.active, LEADS)
    for row in range(4, 300):
        workbook.active.cell(row, 1).number_format = "00000"


def in_1904(workbook: Any) -> None:
    workbook.epoch = openpyxl.utils.datetime.CALENDAR_MAC_1904
    fill(workbook.active, [["Phone", "When"], ["2125550100", dt.date(2026, 1, 5)]])


def zipped(name: str, content: bytes, **more: bytes) -> bytes:
    return make_zip({name: content, **more})


def understated(content: bytes, part: str) -> bytes:
    """Say of a part of an archive that it holds ten bytes, with the right check sum of these."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        start = archive.read(part)[:10]
        info = archive.getinfo(part)
    was = struct.pack("<III", info.CRC, info.compress_size, info.file_size)
    return content.replace(was, struct.pack("<III", zlib.crc32(start), info.compress_size, len(start)))


def packed_bomb() -> bytes:
    return gzip.compress(b"Phone\n" + b"0" * (300 * 1024 * 1024), 1)


def workbook_bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
        with archive.open("xl/worksheets/sheet1.xml", "w") as part:
            for _ in range(300):
                part.write(b" " * 1024 * 1024)
    return file.getvalue()


def parquet(frame: pl.DataFrame) -> Callable[[], bytes]:
    def make() -> bytes:
        file = io.BytesIO()
        frame.write_parquet(file)
        return file.getvalue()

    return make


LAUGHS = (
    b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">'
    b'<!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;">]>'
)

XML_2003 = """<?xml version="1.0"?>
<?mso-application progid="Excel.Sheet"?>
<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet" xmlns:ss="urn:schemas-microsoft-com:office:spreadsheet">
<Styles><Style ss:ID="z"><NumberFormat ss:Format="00000"/></Style></Styles>
<Worksheet ss:Name="Leads"><Table>
<Row><Cell><Data ss:Type="String">Phone</Data></Cell><Cell ss:Index="3"><Data ss:Type="String">Zip</Data></Cell></Row>
<Row ss:Index="3" ss:Hidden="1"><Cell><Data ss:Type="Number">2.1255501E+9</Data></Cell>
<Cell ss:Index="3" ss:StyleID="z"><Data ss:Type="Number">501</Data></Cell></Row>
<Row><Cell><Data ss:Type="String">2125550101</Data></Cell>
<Cell ss:Index="3"><Data ss:Type="DateTime">2026-01-05T00:00:00.000</Data></Cell></Row>
</Table></Worksheet></Workbook>"""

PAGE = """<html><head><meta http-equiv="Content-Type" content="text/html; charset=windows-1252"></head><body>
<table border=1><tr><th>Phone<th>Name</tr>
<tr><td>+12125550100</td><td>M&uuml;ller</td></tr>
<tr><td>2125550101<td>  Zo\u00eb </td></tr></table></body></html>"""

TEXTS = [
    Trait("commas.csv", plain(), ["Phone", "Name"], READ, verdicts=CALLED),
    Trait("semicolons.csv", plain(delimiter=";"), ["Phone", "Name"], READ, verdicts=CALLED),
    Trait("tabs.tsv", plain(delimiter="\t"), ["Phone", "Name"], READ, verdicts=CALLED),
    Trait("bars.txt", plain(delimiter="|"), ["Phone", "Name"], READ, verdicts=CALLED),
    Trait("carets_that_are_set.txt", plain(delimiter="^"), ["Phone", "Name"], READ, source={"delimiter": "^"}),
    Trait(
        "sep_line_of_excel.csv",
        text("sep=;\r\nPhone;Name\r\n2125550100;a,b\r\n"),
        ["Phone", "Name"],
        [("2125550100", "a,b")],
    ),
    Trait("line_ends_lf.csv", plain(lineterminator="\n"), ["Phone", "Name"], READ),
    Trait("line_ends_cr.csv", plain(lineterminator="\r"), ["Phone", "Name"], READ),
    Trait(
        "line_ends_mixed.csv",
        text("Phone,Name\r\n1,a\n2,b\r3,c"),
        ["Phone", "Name"],
        [("1", "a"), ("2", "b"), ("3", "c")],
    ),
    Trait(
        "byte_order_mark_as_letters.csv",
        text('\u00ef\u00bb\u00bf"Phone","Name"\n"+12125550100","M\u00c3\u00bcller"\n'),
        ["Phone", "Name"],
        [("+12125550100", "M\u00c3\u00bcller")],
        says=["begins with the letters \u00ef\u00bb\u00bf"],
    ),
    Trait("byte_order_mark.csv", plain(encoding="utf-8-sig"), ["Phone", "Name"], READ, verdicts=CALLED),
    Trait("utf_16.csv", plain(encoding="utf-16", delimiter="\t"), ["Phone", "Name"], READ, verdicts=CALLED),
    Trait("utf_16_without_a_mark.csv", plain(encoding="utf-16-le"), ["Phone", "Name"], READ),
    Trait("windows_1252.csv", plain(encoding="cp1252"), ["Phone", "Name"], READ, says=["Windows-1252"]),
    Trait(
        "windows_1250.csv",
        text("Jméno;Město\nŽofie Dvořáková;Plzeň\n", "cp1250"),
        ["Jméno", "Město"],
        [("Žofie Dvořáková", "Plzeň")],
        says=["Windows-1250"],
    ),
    Trait(
        "windows_1251.csv",
        text("Имя;Город\nИван Петров;Москва\n", "cp1251"),
        ["Имя", "Город"],
        [("Иван Петров", "Москва")],
        says=["Windows-1251"],
    ),
    Trait(
        "windows_1253.csv",
        text("Όνομα;Πόλη\nΓιώργος;Αθήνα\n", "cp1253"),
        ["Όνομα", "Πόλη"],
        [("Γιώργος", "Αθήνα")],
        says=["Windows-1253"],
    ),
    Trait(
        "windows_1254.csv",
        text("Ad;Şehir\nAyşe Yılmaz;İstanbul\n", "cp1254"),
        ["Ad", "Şehir"],
        [("Ayşe Yılmaz", "İstanbul")],
        says=["Windows-1254"],
    ),
    Trait(
        "mac_roman.csv",
        text("Name,Ort\nMüller,Köln\nJörg,Düsseldorf\n", "mac_roman"),
        ["Name", "Ort"],
        [("Müller", "Köln"), ("Jörg", "Düsseldorf")],
        says=["Mac-Roman"],
    ),
    Trait(
        "dos_850.csv",
        text("Name;Ort\nMüller;Köln\nGroß;Ähren\n", "cp850"),
        ["Name", "Ort"],
        [("Müller", "Köln"), ("Groß", "Ähren")],
        says=["CP850"],
    ),
    Trait(
        "mac_roman_that_is_set.csv",
        text("Name,Preis\nA,5 €\n", "mac_roman"),
        ["Name", "Preis"],
        [("A", "5 €")],
        source={"encoding": "mac-roman"},
    ),
    Trait(
        "set_to_what_it_is_not.csv",
        text("a,Müller\n", "cp1252"),
        source={"encoding": "utf-8"},
        refused="utf-8 was set (source.encoding), but this is not UTF-8",
    ),
    Trait("utf_8_with_a_damaged_spot.csv", lambda: "Name\nMüller\nJörg\n".encode() + b"Sch\xfcler\n", refused="line 4"),
    Trait(
        "lost_letters.csv",
        text("Phone,Name\n2125550100,M\ufffdller\n"),
        ["Phone", "Name"],
        [("2125550100", "M\ufffdller")],
        problems=[(0, "replacement_character", "Name")],
        verdicts=["replacement_character"],
    ),
    Trait(
        "nul_bytes.csv",
        text("Phone,Name\n2125550100,A\0B\n2125550101,C\n"),
        ["Phone", "Name"],
        [("2125550100", "A\0B"), ("2125550101", "C")],
        problems=[(0, "nul_byte", "Name")],
    ),
    Trait(
        "short_rows.csv",
        text("Phone,Name,Town\n2125550100\n2125550101,B\n"),
        ["Phone", "Name", "Town"],
        [("2125550100", None, None), ("2125550101", "B", None)],
        problems=[(0, "row_too_short", None), (1, "row_too_short", None)],
    ),
    Trait(
        "short_rows_whose_last_cells_are_empty.csv",
        text("Phone,Name,Town\n2125550100,A,X\n2125550101\n2125550102,B\n"),
        ["Phone", "Name", "Town"],
        [("2125550100", "A", "X"), ("2125550101", None, None), ("2125550102", "B", None)],
        source={"short_rows": "fill"},
    ),
    Trait(
        "rows_without_the_cells_that_have_no_header.csv",
        text("Phone,Name,,\n2125550100,A,,\n2125550101,B\n"),
        ["Phone", "Name", "Column C", "Column D"],
        [("2125550100", "A", None, None), ("2125550101", "B", None, None)],
    ),
    Trait(
        "cut_off_in_its_last_number.csv",
        text("Name,Phone,Town\nA,+12125550100,X\nB,+49302312"),
        ["Name", "Phone", "Town"],
        [("A", "+12125550100", "X"), ("B", "+49302312", None)],
        problems=[(1, "row_too_short", None)],
        source={"short_rows": "fill"},
        verdicts=["+12125550100", "row_too_short"],
    ),
    Trait(
        "long_rows.csv",
        text("Phone,Name\n2125550100,Doe, John\n2125550101,B,,\n"),
        ["Phone", "Name"],
        [("2125550100", "Doe"), ("2125550101", "B")],
        problems=[(0, "row_too_long", None)],
    ),
    Trait(
        "unclosed_quote.csv",
        text('Phone,Name\n2125550100,"A\n2125550101,B\n'),
        ["Phone", "Name"],
        [("2125550100", '"A'), ("2125550101", "B")],
        problems=[(0, "broken_quote", None)],
    ),
    Trait("stray_quote.csv", text('Phone,Name\n2125550100,5" pipe\n'), ["Phone", "Name"], [("2125550100", '5" pipe')]),
    Trait(
        "quote_closed_amid_a_cell.csv",
        text('Phone,Name\n2125550100,"5" pipe"\n2125550101,B\n'),
        ["Phone", "Name"],
        [("2125550100", '"5" pipe"'), ("2125550101", "B")],
        problems=[(0, "broken_quote", None)],
    ),
    Trait(
        "line_breaks_in_cells.csv",
        text('Phone,Name\n2125550100,"A\nB"\n2125550101,C\n'),
        ["Phone", "Name"],
        [("2125550100", "A\nB"), ("2125550101", "C")],
        at=[2, 3],
    ),
    Trait(
        "blank_rows.csv",
        text("\nPhone,Name\n\n2125550100,A\n\n\n"),
        ["Phone", "Name"],
        [(None, None), ("2125550100", "A")],
        at=[3, 4],
    ),
    Trait("zeros_in_front.csv", text("Phone,Zip\n0212,00501\n"), ["Phone", "Zip"], [("0212", "00501")]),
    Trait(
        "repeated_and_empty_headers.csv",
        text("Phone,Phone,\n2125550100,x,y\n"),
        ["Phone", "Phone (2)", "Column C"],
        [("2125550100", "x", "y")],
        says=["stands more than once", "called after their letter"],
    ),
    Trait(
        "header_row_that_is_set.csv",
        text("Export of today\n\nPhone;Name\n2125550100;A\n"),
        ["Phone", "Name"],
        [("2125550100", "A")],
        at=[4],
        source={"header_row": 3},
    ),
    Trait("empty.csv", text(""), says=["the file is empty"]),
    Trait(
        "damaged_by_excel.csv",
        text("Phone\n2.13E+09\n2125550100.0\n"),
        ["Phone"],
        [("2.13E+09",), ("2125550100.0",)],
        verdicts=["phone_scientific", "+12125550100"],
    ),
    Trait(
        "endless_cell.csv",
        lambda: b"Phone,Name\n2125550100," + b"x" * 5_000_000 + b"\n",
        refused="holds 5,000,000 bytes",
    ),
    Trait(
        "endless_cell_in_quotes.csv",
        lambda: b'Phone,Name\n"a",' + b"x" * 5_000_000 + b"\n",
        refused="more than 1,048,576 characters",
    ),
    Trait(
        "twenty_thousand_columns.csv",
        lambda: b",".join(b"c%d" % n for n in range(20_000)) + b"\n",
        refused="20,000 cells",
    ),
]

PACKED = [
    Trait("gzip.csv.gz", lambda: gzip.compress(make_csv(LEADS), mtime=0), ["Phone", "Name"], READ, verdicts=CALLED),
    Trait("bzip2.csv.bz2", lambda: bz2.compress(make_csv(LEADS)), ["Phone", "Name"], READ),
    Trait("xz.csv.xz", lambda: lzma.compress(make_csv(LEADS)), ["Phone", "Name"], READ),
    Trait("zstd.csv.zst", lambda: zstd.compress(make_csv(LEADS)), ["Phone", "Name"], READ),
    Trait(
        "one_list_in_a_zip.zip",
        lambda: zipped("leads.csv", make_csv(LEADS)),
        ["Phone", "Name"],
        READ,
        says=["'leads.csv'"],
    ),
    Trait(
        "zip_of_a_mac.zip",
        lambda: zipped("leads.csv", make_csv(LEADS), **{"__MACOSX/._leads.csv": b"\0"}),
        ["Phone", "Name"],
        READ,
        says=["'leads.csv'"],
    ),
    Trait("workbook_in_a_gzip.xlsx.gz", lambda: gzip.compress(make_openpyxl(LEADS), mtime=0), ["Phone", "Name"], READ),
    Trait(
        "gzip_in_a_zip.zip",
        lambda: zipped("a.csv.gz", gzip.compress(make_csv(LEADS), mtime=0)),
        ["Phone", "Name"],
        READ,
        says=["'a.csv.gz'"],
    ),
    Trait(
        "zip_that_says_another_size.zip",
        lambda: understated(zipped("leads.csv", make_csv(LEADS)), "leads.csv"),
        refused="damaged",
    ),
    Trait("nothing_in_a_zip.zip", lambda: zipped("leads.csv", b""), refused="'leads.csv' in the archive is empty"),
    Trait(
        "zip_of_no_name.zip",
        lambda: zipped("a", b"Phone\n1\n").replace(b"a", b"\0"),
        ["Phone"],
        [("1",)],
        says=["'' in the archive"],
    ),
    Trait(
        "two_lists_in_a_zip.zip",
        lambda: zipped("a.csv", b"x", **{"b.csv": b"y"}),
        refused="'a.csv', 'b.csv'; right is one list",
    ),
    Trait(
        "gzip_in_gzip_in_gzip.gz",
        lambda: gzip.compress(gzip.compress(gzip.compress(b"x"))),
        refused="several times over",
    ),
    Trait("cut_off.csv.gz", lambda: gzip.compress(make_csv(LEADS))[:-9], refused="(gzip) is damaged"),
    Trait("bomb.csv.gz", packed_bomb, refused="more than 200 times its size"),
]

WORKBOOKS = [
    Trait("by_openpyxl.xlsx", lambda: make_openpyxl(LEADS), ["Phone", "Name"], READ, verdicts=CALLED),
    Trait("by_xlsxwriter.xlsx", lambda: make_xlsxwriter(LEADS), ["Phone", "Name"], READ, verdicts=CALLED),
    Trait("called_csv_but_xlsx.csv", lambda: make_openpyxl(LEADS), ["Phone", "Name"], READ),
    Trait("called_xls_but_csv.xls", plain(), ["Phone", "Name"], READ),
    Trait("biff8.xls", lambda: make_xls(LEADS), ["Phone", "Name"], READ, verdicts=CALLED),
    Trait("binary.xlsb", lambda: make_xlsb(LEADS), ["Phone", "Name"], READ, verdicts=CALLED),
    Trait("open_document.ods", lambda: make_ods(LEADS), ["Phone", "Name"], READ, verdicts=CALLED),
    Trait("numbers.xlsx", lambda: make_openpyxl([["Phone", "Seats"], [2125550100, 0.1 + 0.2], ["2125550101", "17"]]), ["Phone", "Seats"], [("2125550100", "0.3"), ("2125550101", "17")], numbers={"Phone": [True, False], "Seats": [True, False]}, verdicts=CALLED),
    Trait("numbers.xlsb", lambda: make_xlsb([["Phone", "Seats"], [2125550100, 0.5], ["2125550101", "17"]]), ["Phone", "Seats"], [("2125550100", "0.5"), ("2125550101", "17")], numbers={"Phone": [True, False], "Seats": [True, False]}),
    Trait("numbers.xls", lambda: make_xls([["Phone", "Seats"], [2125550100, 0.5], ["2125550101", "17"]]), ["Phone", "Seats"], [("2125550100", "0.5"), ("2125550101", "17")], numbers={"Phone": [True, False], "Seats": [True, False]}),
    Trait("numbers.ods", lambda: make_ods([["Phone", "Seats"], [2125550100, 0.5], ["2125550101", "17"]]), ["Phone", "Seats"], [("2125550100", "0.5"), ("2125550101", "17")], numbers={"Phone": [True, False], "Seats": [True, False]}),
    Trait("zeros_of_a_number_format.xlsx", book(formatted("General", "00000")), ["Phone", "Zip"], [("2125550100", "501"), ("2125550101", "17")], numbers={"Phone": [True, True], "Zip": [True, True]}, formats=[(0, "Zip", "00000"), (1, "Zip", "00000")]),
    Trait("plus_of_a_number_format.xlsx", book(formatted('"+1"0', "#,##0")), ["Phone", "Zip"], [("2125550100", "501"), ("2125550101", "17")], numbers={"Phone": [True, True], "Zip": [True, True]}, formats=[(0, "Phone", '"+1"0'), (1, "Phone", '"+1"0')]),
    *(
        Trait(f"zeros_of_a_number_format_{name}.xlsx", patched(book(formatted("General", "00000")), SHEET, *changes), ["Phone", "Zip"], [("2125550100", "501"), ("2125550101", "17")], numbers={"Phone": [True, True], "Zip": [True, True]}, formats=[(0, "Zip", "00000"), (1, "Zip", "00000")])
        for name, changes in {
            "in_lines": [(b"<row", b"\n<row"), (b"<c ", b"\n  <c "), (b"<v>", b"\n    <v>"), (b"</c>", b"\n  </c>")],
            "with_spaces": [(b' s="1"', b' s = "1"'), (b'<c r="B', b'<c r = "B')],
            "with_other_attributes": [(b'<c r="B', b'<c xml:space="preserve" type="x" r="B')],
            "after_a_formula": [(b"<v>501", b"<f>500+1</f>\n<v>501")],
        }.items()
    ),
    Trait("comment_amid_cells.xlsx", patched(book(formatted("General", "00000")), SHEET, (b"<v>501", b"<!-- --><v>501")), ["Phone", "Zip"], [("2125550100", "501"), ("2125550101", "17")], numbers={"Phone": [True, True], "Zip": [True, True]}, says=["zeros that only a number format shows were not restored"]),
    Trait("zeros_of_a_number_format.ods", patched(lambda: make_ods([["Phone", "Zip"], ["2125550100", 501]]), "content.xml", (b'"501"/>', b'"501"><office:annotation><text:p>see 7</text:p></office:annotation><text:p><text:span>00501</text:span></text:p></table:table-cell>')), ["Phone", "Zip"], [("2125550100", "501")], numbers={"Zip": [True]}, formats=[(0, "Zip", "00000")]),
    Trait("phone_number_format.xlsx", book(formatted("(000) 000-0000", "0.00")), ["Phone", "Zip"], [("2125550100", "501"), ("2125550101", "17")], numbers={"Phone": [True, True], "Zip": [True, True]}, formats=[(0, "Phone", "(000) 000-0000"), (1, "Phone", "(000) 000-0000")], verdicts=CALLED),
    Trait("long_numbers.xlsx", patched(book(lambda b: fill(b.active, [["Phone", "Account"], ["2125550100", 7]])), "xl/worksheets/sheet1.xml", (b"<v>7</v>", b"<v>12345678901234567</v>")), ["Phone", "Account"], [("2125550100", "12345678901234567")], numbers={"Account": [True]}),
    Trait("starts_at_d7.xlsx", lambda: make_xlsxwriter(LEADS, at=(6, 3)), ["Phone", "Name"], READ, at=[8, 9]),
    Trait("banner_above.xlsx", book(banner), ["Phone", "Name"], [("2125550100", "A"), ("2125550101", "B")], at=[4, 5], says=["the header was found in row 3"]),
    Trait("blank_and_totals_rows.xlsx", book(lambda b: fill(b.active, [*LEADS, [], ["Total: 2"]])), ["Phone", "Name"], [*READ, (None, None), ("Total: 2", None)]),
    Trait("hidden.xlsx", book(hidden), ["Phone", "Note", "Name"], [("2125550100", "a", "A"), ("2125550101", "b", "B"), ("2125550102", "c", "C")], source={"sheet": "Leads"}, says=["1 row and 1 column hidden in Excel, and read", "other sheets hold data too"]),
    Trait("hidden_left_out.xlsx", book(hidden), ["Phone", "Name"], [("2125550100", "A"), ("2125550102", "C")], at=[2, 4], source={"hidden": "skip"}, says=["1 row and 1 column hidden in Excel, and left out", "not read, as it is hidden"]),
    Trait("filter_on.xlsx", book(filtered), ["Phone", "Name"], READ, says=["1 row hidden in Excel (a filter is on)"]),
    Trait("merged_cells.xlsx", book(merged), ["Phone", "Name"], [("2125550100", "A"), ("2125550101", None)], says=["1 merged area among the rows (the first from row 2)"]),
    Trait("dates_of_1904.xlsx", book(in_1904), ["Phone", "When"], [("2125550100", "2026-01-05")]),
    Trait("dates_and_times.xlsx", lambda: make_openpyxl([["a", "b"], [dt.datetime(2026, 1, 5, 13, 30), dt.time(8, 0)]]), ["a", "b"], [("2026-01-05 13:30:00", "08:00:00")]),
    Trait("errors.xlsx", lambda: make_openpyxl([["Phone", "x"], ["#N/A", "y"]]), ["Phone", "x"], [("#N/A", "y")], says=["1 cell holds an error such as #N/A (A2)"], verdicts=["cell_error"]),
    Trait("errors.xls", lambda: make_xls([["Phone", "x"], [b"\x2a", "y"]]), ["Phone", "x"], [("#N/A", "y")], says=["1 cell holds an error such as #N/A (A2)"], verdicts=["cell_error"]),
    Trait("formulas_without_values.xlsx", lambda: make_openpyxl([["Phone", "x"], ["=1+1", "y"]]), ["Phone", "x"], [(None, "y")], says=["1 formula has no stored value (A2)"]),
    Trait("formulas_with_values.xlsx", patched(book(lambda b: fill(b.active, [["Phone"], ["=1+1"]])), "xl/worksheets/sheet1.xml", (b"<v />", b"<v>2125550100</v>")), ["Phone"], [("2125550100",)], numbers={"Phone": [True]}, verdicts=["+12125550100"]),
    Trait("repeated_and_empty_headers.xlsx", lambda: make_openpyxl([["Phone", "Phone", None], ["2125550100", "x", "y"]]), ["Phone", "Phone (2)", "Column C"], [("2125550100", "x", "y")], says=["stands more than once", "called after their letter"]),
    Trait("several_sheets.xlsx", lambda: make_openpyxl(LEADS, More=LEADS), refused="several sheets hold data: 'Sheet1', 'More'"),
    Trait("sheet_by_number.xlsx", lambda: make_openpyxl([["x"], ["y"]], Leads=LEADS), ["Phone", "Name"], READ, source={"sheet": 2}, says=["Warning: other sheets hold data too"]),
    Trait("all_sheets.xlsx", lambda: make_openpyxl(LEADS, More=LEADS), ["Phone", "Name"], [*READ, *READ], at=[2, 3, 2, 3], source={"sheet": "*"}),
    Trait("empty_formatted_rows.xlsx", book(empty_formatted), ["Phone", "Name"], READ),
    Trait("nothing.xlsx", lambda: make_openpyxl([]), says=["there is nothing in the workbook"]),
    Trait("password.xlsx", lambda: make_ole("EncryptedPackage", b"x"), refused="protected with a password"),
    Trait("password.xls", lambda: make_xls(LEADS, locked=True), refused="protected with a password"),
    Trait("cut_off.xlsx", lambda: make_openpyxl(LEADS)[:-40], refused="damaged"),
    Trait("word_document.doc", lambda: make_ole("WordDocument", b"x"), refused="an old office document, but no workbook"),
    Trait("sectors_in_a_circle.xls", lambda: _circle(make_xls(LEADS)), refused="its sectors go in a circle"),
    Trait("cell_far_off.xlsx", patched(book(lambda b: fill(b.active, [["Phone"], ["1"]])), "xl/worksheets/sheet1.xml", (b'r="A2" t', b'r="XFD1048576" t'), (b'<row r="2"', b'<row r="1048576"')), refused="cells span more than 75,000,000"),
    Trait("cell_far_off_in_small_letters.xlsx", patched(book(lambda b: fill(b.active, [["Phone"], ["1"]])), SHEET, (b'r="A2" t', b'r="xfd1048576" t')), refused="cells span more than 75,000,000"),
    Trait("cells_without_places.xlsx", patched(book(lambda b: fill(b.active, [["Phone"], ["1"]])), SHEET, (b"</sheetData>", b"<row>" + b"<c><v>1</v></c>" * 16_384 + b"</row>" + b"<row><c><v>1</v></c></row>" * 5_000 + b"</sheetData>")), refused="cells span more than 75,000,000"),
    Trait("cell_beyond_the_sheet.xlsx", patched(book(lambda b: fill(b.active, [["Phone"], ["1"]])), "xl/worksheets/sheet1.xml", (b'r="A2" t', b'r="A99999999" t')), refused="a sheet ends at row 1,048,576"),
    Trait("cells_repeated_without_end.ods", patched(lambda: make_ods(LEADS), "content.xml", (b'"string"><text:p>Phone', b'"string" table:number-columns-repeated="16384"><text:p>Phone'), (b"<table:table-row>", b'<table:table-row table:number-rows-repeated="9000">')), refused="cells span more than 75,000,000"),
    Trait("numbers_repeated_without_end.ods", patched(lambda: make_ods([["Phone"], [5]]), "content.xml", (b'office:value="5"/></table:table-row>', b'office:value="5" table:number-columns-repeated="70"/></table:table-row>'), (b"<table:table-row>", b'<table:table-row table:number-rows-repeated="500000">')), refused="stands for more than"),
    Trait("cells_without_end.ods", patched(lambda: make_ods(LEADS), "content.xml", (b"</table:table-row>", b"<table:table-cell >" * 100_000 + b"</table:table-row>")), refused="damaged"),
    Trait("tables_without_end.ods", patched(lambda: make_ods(LEADS), "content.xml", (b"</table:table>", b"<table:table >" * 100_000)), refused="tables stand in one another"),
    Trait("tags_without_end.xlsx", patched(book(lambda b: fill(b.active, [["Phone"], ["1"]])), SHEET, (b"</sheetData>", b't="e"' + b"<c " * 300_000 + b"</sheetData>" + b"<mergeCell " * 300_000)), refused="cells span more than"),
    Trait("part_that_goes_on.xlsx", lambda: understated(make_xlsxwriter(LEADS), "xl/sharedStrings.xml"), refused="damaged"),
    Trait("texts_without_end.xls", lambda: make_xls(LEADS, texts=1 << 30), refused="it claims more texts than it has bytes"),
    Trait("workbook_bomb.xlsx", workbook_bomb, refused="no list does"),
    Trait("billion_laughs.xlsx", patched(lambda: make_openpyxl(LEADS), "xl/workbook.xml", (b"<workbook", LAUGHS + b"<workbook")), refused="declares entities"),
    Trait("billion_laughs.xml", lambda: XML_2003.replace("<Workbook", LAUGHS.decode() + "<Workbook").encode(), refused="declares entities"),
    Trait("xml_of_2003.xls", text(XML_2003), ["Phone", "Zip"], [(None, None), ("2125550100", "501"), ("2125550101", "2026-01-05")], numbers={"Phone": [False, True, False], "Zip": [False, True, False]}, formats=[(1, "Zip", "00000")], says=["1 row hidden"]),
    Trait("web_page.xls", text(PAGE, "cp1252"), ["Phone", "Name"], READ, says=["a web page (HTML)"], verdicts=CALLED),
    Trait("login_page.xls", text("<!DOCTYPE html><html><body>Please log in</body></html>"), refused="without a table"),
    Trait("spans_of_a_page.xls", text("<table><tr><td>a<td>b<td>c<tr><td rowspan=2>1<td colspan=2>2<tr><td>3<td>4</table>"), ["a", "b", "c"], [("1", "2", None), (None, "3", "4")], says=["a web page", "2 merged areas"]),
    Trait("page_that_is_cut_off.xls", text("<table><tr><td>Phone</td></tr><tr><td>2125550100</td></tr><tr><td>21255501"), refused="it is cut off"),
    Trait("comments_before_text.csv", text("<!---->" * 60 + "Phone\n2125550100\n"), ["<!---->" * 60 + "Phone"], [("2125550100",)]),
    Trait("comments_without_end.xls", text("<table><tr><td>a</td></tr>" + "<!--" * 300_000), refused="markup without an end"),
    Trait("tags_without_end.xls", text("<table><tr><td>a</td></tr>" + "<td a='" * 200_000), refused="markup without an end"),
    Trait("spans_without_end.xls", text("<table><tr><td>a</td></tr>" + "<tr><td rowspan=1000 colspan=1000></td></tr>" * 400 + "</table>"), refused="span more than a sheet holds"),
    Trait("tables_without_number.xls", text("<table><tr><td>a</td></tr></table>" * 10_001), refused="more than 10,000 tables"),
    Trait("columns_far_off.xml", text(XML_2003.replace("<Table>", "<Table>" + "".join(f'<Column ss:Index="{n * 16_384 + 3}" ss:Span="16384" ss:Hidden="1"/>' for n in range(500)))), ["Phone", "Zip"], [(None, None), ("2125550100", "501"), ("2125550101", "2026-01-05")], numbers={"Phone": [False, True, False], "Zip": [False, True, False]}, formats=[(1, "Zip", "00000")], says=["1 row and 1 column hidden"]),
    Trait("rows_that_go_back.xml", text(XML_2003.replace('<Row ss:Index="3"', '<Row ss:Index="1"')), refused="row 1 stands after row 1"),
    Trait("whole_numbers_of_18_digits.parquet", parquet(pl.DataFrame({"Phone": ["+12125550100"], "Account": [123456789012345678]})), ["Phone", "Account"], [("+12125550100", "123456789012345678")]),
    Trait("parquet.parquet", parquet(pl.DataFrame({"Phone": ["+12125550100", "2125550101"], "Seats": [17.0, None], "When": [dt.date(2026, 1, 5), None], "Old": [True, False]})), ["Phone", "Seats", "When", "Old"], [("+12125550100", "17", "2026-01-05", "true"), ("2125550101", None, None, "false")], numbers={"Seats": [True, False]}, verdicts=CALLED),
    Trait("parquet_of_lists.parquet", parquet(pl.DataFrame({"Phone": [["1"], ["2"]]})), refused="column 'Phone': it holds List"),
    Trait("json.csv", text('[{"phone": "2125550100"}]'), refused="this is JSON"),
    Trait("pdf.xlsx", text("%PDF-1.7"), refused="it is a PDF"),
]  # fmt: skip

TRAITS = [*TEXTS, *PACKED, *WORKBOOKS]


def _circle(content: bytes) -> bytes:
    """Let the second sector of the stream follow the third (the FAT stands in the first sector)."""
    return content[: 512 + 12] + struct.pack("<I", 2) + content[512 + 16 :]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for trait in TRAITS:
        (folder / trait.name).write_bytes(trait.make())
    print(f"{len(TRAITS)} files in {folder}")
