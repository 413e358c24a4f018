"""No input eats the machine: what is too much is refused in bounded time and memory, and what only looks so is read."""

import gzip
import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from mutations import KINDS
from spreadsheets import make_csv, make_openpyxl, make_zip

from importer.errors import Refused
from importer.read import read
from importer.records import Source
from importer.unpack import STDIN, load, unpack, unpacked_name

HERE = Path(__file__).parent


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    return str(caught.value)


def test_damaged_files_are_read_rightly_or_refused() -> None:
    """A short form of `python tests/mutations.py all 1000`; the last line of its errors is the seed that failed."""
    command = [sys.executable, str(HERE / "mutations.py"), "all", "60"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.splitlines()) == len(KINDS)
    assert "without its name" not in done.stdout


def sheet_of(rows: str, path: Path) -> Path:
    """Write a workbook whose sheet has these rows of XML."""
    with zipfile.ZipFile(io.BytesIO(make_openpyxl([["Phone"], ["1"]]))) as archive:
        parts: dict[str, str | bytes] = {name: archive.read(name) for name in archive.namelist()}
    part = parts["xl/worksheets/sheet1.xml"]
    assert isinstance(part, bytes)
    parts["xl/worksheets/sheet1.xml"] = part.replace(b"</sheetData>", rows.encode() + b"</sheetData>")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def test_a_million_empty_formatted_rows_are_no_rows(tmp_path: Path) -> None:
    rows = "".join(f'<row r="{n}"><c r="A{n}" s="1"/></row>' for n in range(3, 1_048_577))
    table = read(sheet_of(rows, tmp_path / "a.xlsx"), Source())
    assert table.cells.rows() == [("1",)]


def test_a_cell_of_megabytes_in_a_workbook_is_refused(tmp_path: Path) -> None:
    row = f'<row r="3"><c r="A3" t="inlineStr"><is><t>{"x" * 5_000_000}</t></is></c></row>'
    message = refusal(lambda: read(sheet_of(row, tmp_path / "a.xlsx"), Source()))
    assert 'row 3, column "Phone": the cell holds 5,000,000 bytes' in message


def test_columns_far_off_are_read_where_the_rows_are_few(tmp_path: Path) -> None:
    row = '<row r="3"><c r="ZZ3" t="inlineStr"><is><t>x</t></is></c></row>'
    table = read(sheet_of(row, tmp_path / "a.xlsx"), Source(header_row=1))
    assert table.columns == ["Phone", "Column ZZ"]
    assert table.cells.rows() == [("1", None), (None, "x")]


def test_a_list_larger_than_the_free_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"x" * 1000)
    monkeypatch.setattr("importer.unpack.free_memory", lambda: 3999)
    assert "larger than the memory that is free" in refusal(lambda: load(path))
    packed = gzip.compress(b"x" * 1000)
    assert "larger than the memory that is free" in refusal(lambda: unpack(path, packed))
    monkeypatch.setattr("importer.unpack.free_memory", lambda: 4000)
    assert load(path) == b"x" * 1000


def test_a_sheet_larger_than_the_free_memory_is_refused_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sheet_of('<row r="1000000"><c r="B1000000"><v>1</v></c></row>', tmp_path / "a.xlsx")
    monkeypatch.setattr("importer.sheet_xml.free_memory", lambda: 25_999_999)
    assert "more than fits into the memory that is free" in refusal(lambda: read(path, Source()))
    monkeypatch.setattr("importer.sheet_xml.free_memory", lambda: None)
    assert read(path, Source(header_row=1)).cells.height == 999_999


def test_what_unpacks_to_more_than_the_most_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importer.unpack.MAX_BYTES", 1000)
    for pack in (gzip.compress, lambda content: make_zip({"a.csv": content})):
        assert "larger than 0 GiB" in refusal(lambda pack=pack: unpack(Path("a"), pack(b"x" * 1001)))
        assert unpack(Path("a"), pack(b"x" * 1000))[0] == b"x" * 1000


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("leads.csv.gz", "leads.csv"),
        ("leads.zip", "leads"),
        ("leads.tsv.ZST", "leads.tsv"),
        ("a.b.csv.bz2", "a.b.csv"),
        ("leads.csv", "leads.csv"),
        (".gz", ".gz"),
    ],
)
def test_a_packed_list_goes_by_its_bare_name(name: str, bare: str) -> None:
    assert unpacked_name(Path("x") / name) == Path("x") / bare


def test_what_is_piped_in_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Piped:
        buffer = io.BytesIO(gzip.compress(make_csv([["Phone"], ["+12125550100"]])))

    monkeypatch.setattr("sys.stdin", Piped)
    table = read(STDIN, Source())
    assert (table.path, table.cells.rows()) == (Path("stdin"), [("+12125550100",)])


def test_a_pipe_with_a_name_is_read(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom importer.read import read\nfrom importer.records import Source\n"
        "print(read(Path(sys.argv[1]), Source()).cells.rows())"
    )
    command = f'{sys.executable} -c "{code}" <(printf "Phone\\n+12125550100\\n")'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[('+12125550100',)]", done.stderr


def test_a_piped_and_a_packed_list_have_their_results_by_their_bare_names(tmp_path: Path) -> None:
    content = make_csv([["phone_number"], ["+12125550100"]])
    (tmp_path / "leads.tsv.gz").write_bytes(gzip.compress(content))
    for name in ("-", "leads.tsv.gz"):
        command = [sys.executable, "-m", "importer", "check", name, "--campaign", "7"]
        done = subprocess.run(command, cwd=tmp_path, input=content, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
    for name in ("stdin.check.csv", "leads.check.tsv"):
        assert "+12125550100,ready" in (tmp_path / name).read_text(encoding="utf-8-sig")
