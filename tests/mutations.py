"""Damaged files by the hundred: each must be read rightly or refused, within bounds of time and memory.

`python tests/mutations.py KIND COUNT [FIRST]` reads COUNT damaged files of a kind, from seed FIRST on, and says what it
came to; KIND `all` takes every kind. The process bounds itself, so that a crash, a hang or a flood of memory ends it; the
seed that did it stands last on the standard error. `make chaos` runs 1,000 of each.
"""

import bz2
import contextlib
import datetime as dt
import gzip
import io
import lzma
import random
import resource
import signal
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from spreadsheets import Rows, make_csv, make_ods, make_openpyxl, make_xls, make_xlsb, make_xlsxwriter, make_zip, zstd

from importer.errors import Refused
from importer.read import read
from importer.records import Source, Table

#: Seconds for one file of some kilobytes, and bytes of address space, of which polars and its threads reserve a part.
SECONDS, MEMORY = 20, 12 * 1024**3

LIST: Rows = [
    ["Phone", "Name", "Seats", "Zip"],
    *([f"+1212555{100 + n:04}", f"Müller {n}, “Zoë”", n * 1.5, f"{n:05}"] for n in range(40)),
]


def _html() -> bytes:
    rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in LIST)
    return f'<html><meta charset="utf-8"><table>{rows}</table></html>'.encode()


def _xml() -> bytes:
    def row(cells: Sequence[object]) -> str:
        return "<Row>" + "".join(f'<Cell><Data ss:Type="String">{cell}</Data></Cell>' for cell in cells) + "</Row>"

    space = "urn:schemas-microsoft-com:office:spreadsheet"
    return (
        f'<?xml version="1.0"?><Workbook xmlns="{space}" xmlns:ss="{space}"><Worksheet ss:Name="a"><Table>'
        + "".join(map(row, LIST))
        + "</Table></Worksheet></Workbook>"
    ).encode()


def _parquet() -> bytes:
    file = io.BytesIO()
    frame = pl.DataFrame([list(map(str, row)) for row in LIST[1:]], schema=list(LIST[0]), orient="row")
    frame.with_columns(when=pl.lit(dt.date(2026, 1, 5)), seats=pl.col("Seats").cast(pl.Float64)).write_parquet(file)
    return file.getvalue()


KINDS: dict[str, Callable[[], bytes]] = {
    "csv": lambda: make_csv(LIST),
    "utf16": lambda: make_csv(LIST, encoding="utf-16", delimiter="\t"),
    "gz": lambda: gzip.compress(make_csv(LIST), mtime=0),
    "bz2": lambda: bz2.compress(make_csv(LIST)),
    "xz": lambda: lzma.compress(make_csv(LIST)),
    "zst": lambda: zstd.compress(make_csv(LIST), options={zstd.CompressionParameter.checksum_flag: 1}),
    "zip": lambda: make_zip({"leads.csv": make_csv(LIST)}),
    "xlsx": lambda: make_openpyxl(LIST),
    "xlsxwriter": lambda: make_xlsxwriter(LIST),
    "xlsb": lambda: make_xlsb(LIST),
    "xls": lambda: make_xls(LIST),
    "ods": lambda: make_ods(LIST),
    "html": _html,
    "xml": _xml,
    "parquet": _parquet,
}

#: Bytes that are left of a file when nobody can tell any more what it was.
_FEW = 60

#: Kinds with check sums: what is read of a damaged one must be what was written.
CHECKED = {"gz", "bz2", "xz", "zst", "zip", "xlsx", "xlsxwriter", "xlsb", "ods"}

#: Archives whose parts are damaged too, under right check sums.
ARCHIVES = {"xlsx", "xlsxwriter", "xlsb", "ods"}


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Cut, flip, overwrite, take out, double or fill with zeros; mostly once."""
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        if not content:
            return content
        at, size = chance.randrange(len(content)), chance.choice((1, 2, 4, 16, 200))
        match chance.randrange(6):
            case 0:
                content = content[:at]
            case 1:
                content = content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]
            case 2:
                content = content[:at] + chance.randbytes(size) + content[at + size :]
            case 3:
                content = content[:at] + content[at + size :]
            case 4:
                content = content[: at + size] + content[at:]
            case 5:
                content = content[:at] + bytes(size) + content[at + size :]
    return content


def damaged_inside(content: bytes, chance: random.Random) -> bytes:
    """Damage one part of an archive, under a right check sum."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts: dict[str, str | bytes] = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice(sorted(parts))
    part = parts[name]
    assert isinstance(part, bytes)
    return make_zip(parts | {name: damaged(part, chance)})


def holds_together(table: Table) -> bool:
    """Tell what is so of every table, however damaged its file."""
    return (
        table.places.height == table.cells.height
        and len(table.headers) == len(table.columns)
        and all(dtype == pl.String for dtype in table.cells.dtypes)
        and all(table.numbers[name].len() == table.cells.height for name in table.numbers.columns)
        and (table.problems["index"].max() or 0) <= table.cells.height
    )


def attempt(kind: str, seed: int, folder: Path, sound: Table) -> str:
    """Read one damaged file, and say what it came to."""
    chance = random.Random(f"{kind}{seed}")
    inside = kind in ARCHIVES and seed % 2 == 1
    content = (damaged_inside if inside else damaged)(KINDS[kind](), chance)
    path = folder / "leads"
    path.write_bytes(content)
    try:
        table = read(path, Source(sheet="*"))
    except Refused as refusal:
        return "refused" if str(path) in str(refusal) else "refused without its name"
    assert holds_together(table)
    if kind in CHECKED and not inside and table.kind == sound.kind and len(content) > _FEW:
        assert table.cells.equals(sound.cells), "a wrong reading"
    return "read"


def run(kind: str, count: int, first: int) -> None:
    """Read `count` damaged files of a kind; any end but the last line is a failure."""
    came_to: Counter[str] = Counter()
    slowest = 0.0
    with TemporaryDirectory() as folder:
        sound_path = Path(folder) / "sound"
        sound_path.write_bytes(KINDS[kind]())
        sound = read(sound_path, Source())
        for seed in range(first, first + count):
            print(f"{kind} {seed}", file=sys.stderr, flush=True)
            signal.alarm(SECONDS)
            began = time.monotonic()
            came_to[attempt(kind, seed, Path(folder), sound)] += 1
            slowest = max(slowest, time.monotonic() - began)
            signal.alarm(0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{kind}: {dict(came_to)}, slowest {slowest:.2f} s, peak {peak} MB")


if __name__ == "__main__":
    wanted, count, *first = sys.argv[1:]
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for each in KINDS if wanted == "all" else [wanted]:
        run(each, int(count), int(first[0]) if first else 0)
