"""Makers of spreadsheets: rows of texts, numbers and booleans → the bytes of a file. None is an empty cell."""

import csv
import datetime as dt
import io
import struct
import sys
import zipfile
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

import openpyxl
import xlsxwriter

if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd

Rows = Sequence[Sequence[Any]]


def make_csv(rows: Rows, *, encoding: str = "utf-8", **dialect: Any) -> bytes:
    file = io.StringIO()
    texts = [
        ["" if cell is None else str(cell).lower() if isinstance(cell, bool) else cell for cell in row] for row in rows
    ]
    csv.writer(file, **dialect).writerows(texts)
    return file.getvalue().encode(encoding)


def make_xlsxwriter(rows: Rows, *, at: tuple[int, int] = (0, 0), sheets: Sequence[str] = ("Sheet1",)) -> bytes:
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"strings_to_numbers": False, "strings_to_formulas": False}) as book:
        for name in sheets:
            sheet = book.add_worksheet(name)
            for place, row in enumerate(rows):
                for column, cell in enumerate(row):
                    write = sheet.write_string if isinstance(cell, str) else sheet.write
                    write(at[0] + place, at[1] + column, cell)
    return file.getvalue()


def make_openpyxl(rows: Rows, **more: Rows) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, cells in ({"Sheet1": rows} | more).items():
        sheet = book.create_sheet(name)
        for place, row in enumerate(cells, 1):
            for column, cell in enumerate(row, 1):
                sheet.cell(place, column).value = cell
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def make_ods(rows: Rows) -> bytes:
    def cell(value: Any) -> str:
        match value:
            case None:
                return "<table:table-cell/>"
            case bool():
                return f'<table:table-cell office:value-type="boolean" office:boolean-value="{str(value).lower()}"/>'
            case int() | float():
                return f'<table:table-cell office:value-type="float" office:value="{value}"/>'
            case dt.date():
                return f'<table:table-cell office:value-type="date" office:date-value="{value.isoformat()}"/>'
            case dt.time():
                return f'<table:table-cell office:value-type="time" office:time-value="PT{value:%HH%MM%SS}"/>'
            case _:
                return (
                    f'<table:table-cell office:value-type="string"><text:p>{escape(value)}</text:p></table:table-cell>'
                )

    body = "".join(f"<table:table-row>{''.join(map(cell, row)) or cell(None)}</table:table-row>" for row in rows)
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
    )
    content = (
        f'<?xml version="1.0"?><office:document-content {spaces} office:version="1.2"><office:body><office:spreadsheet>'
        f'<table:table table:name="Sheet1">{body}</table:table></office:spreadsheet></office:body></office:document-content>'
    )
    mimetype = "application/vnd.oasis.opendocument.spreadsheet"
    manifest = (
        '<?xml version="1.0"?><manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{mimetype}"/></manifest:manifest>'
    )
    return make_zip({"mimetype": mimetype, "META-INF/manifest.xml": manifest, "content.xml": content})


def make_zip(parts: dict[str, str | bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def make_xls(rows: Rows, name: str = "Sheet1", *, locked: bool = False, texts: int = 0) -> bytes:
    """BIFF8 ([MS-XLS]): LABEL, NUMBER and BOOLERR records; an int in a bytes is an error code.

    `texts` is how many shared texts the workbook claims to hold.
    """

    def record(kind: int, data: bytes = b"") -> bytes:
        return struct.pack("<HH", kind, len(data)) + data

    def start(kind: int) -> bytes:
        return record(0x809, struct.pack("<HHHHII", 0x600, kind, 0, 1997, 0, 6))

    sheet = start(0x10)
    for place, row in enumerate(rows):
        for column, cell in enumerate(row):
            where = struct.pack("<HHH", place, column, 0)
            match cell:
                case None:
                    continue
                case str():
                    sheet += record(0x204, where + struct.pack("<HB", len(cell), 1) + cell.encode("utf-16-le"))
                case bool() | bytes():
                    error = isinstance(cell, bytes)
                    sheet += record(
                        0x205, where + struct.pack("<BB", cell[0] if isinstance(cell, bytes) else cell, error)
                    )
                case _:
                    sheet += record(0x203, where + struct.pack("<d", cell))
    sheet += record(0x0A)
    sizes = struct.pack("<BBBB", 0, 0, len(name), 0) + name.encode("latin-1")
    globals_ = start(5) + (record(0x2F, bytes(6)) if locked else b"")
    globals_ += record(0xFC, struct.pack("<II", texts, texts)) if texts else b""
    length = len(globals_ + record(0x85, bytes(4) + sizes) + record(0x0A))
    return make_ole("Workbook", globals_ + record(0x85, struct.pack("<I", length) + sizes) + record(0x0A) + sheet)


def make_xlsb(rows: Rows) -> bytes:
    """[MS-XLSB]: BrtRowHdr, BrtCellSt, BrtCellReal and BrtCellBool records, and what calamine asks for around them."""

    def record(kind: int, data: bytes = b"") -> bytes:
        head = bytes([kind]) if kind < 128 else bytes([kind & 0x7F | 0x80, kind >> 7])
        size, left = b"", len(data)
        while left >= 128:
            size += bytes([left & 0x7F | 0x80])
            left >>= 7
        return head + size + bytes([left]) + data

    def wide(text: str) -> bytes:
        encoded = text.encode("utf-16-le")
        return struct.pack("<I", len(encoded) // 2) + encoded

    width = max(map(len, rows), default=1) or 1
    sheet = record(129) + record(148, struct.pack("<4I", 0, max(0, len(rows) - 1), 0, width - 1)) + record(145)
    for place, row in enumerate(rows):
        sheet += record(0, struct.pack("<IIHBBBI", place, 0, 300, 0, 0, 0, 0))
        for column, cell in enumerate(row):
            where = struct.pack("<II", column, 0)
            match cell:
                case None:
                    continue
                case str():
                    sheet += record(6, where + wide(cell))
                case bool():
                    sheet += record(4, where + bytes([cell]))
                case _:
                    sheet += record(5, where + struct.pack("<d", cell))
    sheet += record(146) + record(130)
    bundle = record(143) + record(156, struct.pack("<II", 0, 1) + wide("rId1") + wide("Sheet1")) + record(144)
    relations = "http://schemas.openxmlformats.org/package/2006/relationships"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"

    def links(target: str, what: str) -> str:
        return (
            f'<?xml version="1.0"?><Relationships xmlns="{relations}">'
            f'<Relationship Id="rId1" Type="{office}/{what}" Target="{target}"/></Relationships>'
        )

    return make_zip(
        {
            "[Content_Types].xml": '<?xml version="1.0"?><Types/>',
            "_rels/.rels": links("xl/workbook.bin", "officeDocument"),
            "xl/workbook.bin": record(131) + bundle + record(132),
            "xl/_rels/workbook.bin.rels": links("worksheets/sheet1.bin", "worksheet"),
            "xl/worksheets/sheet1.bin": sheet,
        }
    )


def make_ole(name: str, stream: bytes) -> bytes:
    """A compound file ([MS-CFB]) with one stream: sector 0 is the FAT, 1 the directory, from 2 on the stream."""
    stream = stream.ljust(max(4096, -(-len(stream) // 512) * 512), b"\0")
    count, end, free = len(stream) // 512, 0xFFFFFFFE, 0xFFFFFFFF
    fat = [0xFFFFFFFD, end, *range(3, count + 2), end]
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<5H", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<9I", 0, 1, 1, 0, 4096, end, 0, end, 0) + struct.pack("<109I", 0, *[free] * 108)

    def entry(name: str, kind: int, first: int, size: int, child: int = free) -> bytes:
        text = f"{name}\0".encode("utf-16-le")
        return text.ljust(64, b"\0") + struct.pack("<HBBIII36xIQ", len(text), kind, 1, free, free, child, first, size)

    directory = entry("Root Entry", 5, end, 0, 1) + entry(name, 2, 2, len(stream)) + bytes(256)
    return header + struct.pack("<128I", *fat, *[free] * (128 - len(fat))) + directory + stream
