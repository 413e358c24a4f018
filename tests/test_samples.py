"""Each sample comes to what sample_data/README.md says of it: the tables there are the expectations."""

import csv
import re
import shutil
from pathlib import Path

import openpyxl
import pytest
from conftest import Desk

ROOT = Path(__file__).parent.parent
FILES = {"spring_fair.csv": 0, "kunden.csv": 1, "clinics.xlsx": 1, "platform_layout.csv": 1, "mistakes.csv": 1}


def expected(name: str) -> dict[int, tuple[str, str]]:
    """Read one file's table: row → status and code."""
    text = (ROOT / "sample_data" / "README.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(name)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, name
    found: dict[int, tuple[str, str]] = {}
    for line in section[1].splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) < 4 or not re.fullmatch(r"[\d–, ]+", cells[0]):
            continue
        for part in cells[0].split(","):
            first, _, last = part.strip().partition("–")
            for row in range(int(first), int(last or first) + 1):
                found[row] = (cells[-2].strip("`"), cells[-1].strip("`"))
    return found


def result(path: Path) -> list[dict[str, str]]:
    if path.suffix == ".xlsx":
        head, *rows = openpyxl.load_workbook(path).active.iter_rows(values_only=True)
        return [
            {str(name): "" if cell is None else str(cell) for name, cell in zip(head, row, strict=True)} for row in rows
        ]
    start = path.read_text(encoding="utf-8-sig").splitlines()[0]
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter=";" if start.count(";") > start.count(",") else ","))


@pytest.mark.parametrize("name", FILES)
def test_each_row_of_a_sample_comes_to_what_the_table_says(name: str, desk: Desk) -> None:
    for folder in ("sample_data", "configs"):
        shutil.copytree(ROOT / folder, desk.folder / folder)
    source = desk.folder / "sample_data" / name
    config = () if name == "platform_layout.csv" else ("-c", f"configs/{source.stem}.yaml")
    campaign = ("--campaign", "7") if name == "platform_layout.csv" else ()
    ended = desk.run("run", f"sample_data/{name}", *config, *campaign, "--rate", "200/s")
    assert ended.status == FILES[name], ended.err
    table = expected(name)
    rows = result(source.with_name(f"{source.stem}.results{source.suffix}"))
    told = {int(row["import_row"]): (row["import_status"], row["import_error_code"]) for row in rows}
    assert told == {row: table.get(row, ("created", "")) for row in told}
    assert table.keys() <= told.keys()


def test_the_samples_are_what_their_script_makes(tmp_path: Path) -> None:
    import subprocess
    import sys

    copy = tmp_path / "sample_data"
    shutil.copytree(ROOT / "sample_data", copy)
    subprocess.run([sys.executable, str(copy / "make.py")], check=True, cwd=tmp_path)
    for path in copy.glob("*.csv"):
        assert path.read_bytes() == (ROOT / "sample_data" / path.name).read_bytes()
