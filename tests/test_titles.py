"""A text file whose header stands below a title: found where that is sure, else said; and all other files read as ever."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest
from conftest import Desk
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from importer.errors import Refused
from importer.guess import speaks_of_phones
from importer.read import Opened, read
from importer.records import Source, Table
from importer.titles import found_below, read_titled

HEADER = "Name,phone_number\n"
ROWS = "Ada,+12125550100\nBen,+12125550101\n"
SOME_TITLE = "Lead list, spring 2026\n"


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("titles"))


@pytest.fixture(scope="module")
def titled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Table]:
    """Read a text whose columns must be those that are named."""
    path = tmp_path_factory.mktemp("titled") / "a.csv"

    def run(text: str, *names: str, **source: object) -> Table:
        path.write_bytes(text.encode())
        return read_titled(path, Source(**source), lambda columns: set(names) <= set(columns))  # type: ignore[arg-type]

    return run


ABOVE = {
    "plain": SOME_TITLE,
    "filled_up": "Lead list,\n",
    "blank_lines": "\nLead list\n\nExported on 26.11.2026 08:00\n\n",
    "parted": "Leads; of; all; regions\n",
    "broken": '"Leads" of Berlin\n',
    "quoted": '"Leads of ""Berlin"", all"\n',
}


def test_check_finds_the_header_below_titles_without_a_config(offline: Desk) -> None:
    for name, above in ABOVE.items():
        offline.write(f"{name}.csv", above + HEADER + ROWS)
    offline.write("semicolons.csv", SOME_TITLE + (HEADER + ROWS).replace(",", ";"))
    names = [*ABOVE, "semicolons"]
    ended = offline.run("check", *(f"{name}.csv" for name in names), "--campaign", "7")
    assert (ended.status, ended.err.count("the header was found in row")) == (0, len(names)), ended.err
    for name in names:
        rows = offline.rows(f"{name}.check.csv", ";" if name == "semicolons" else ",")
        found = [(row["Name"], row["phone_number"], row["import_row"]) for row in rows]
        first = (ABOVE.get(name, SOME_TITLE) + HEADER).count("\n") + 1
        assert found == [("Ada", "+12125550100", str(first)), ("Ben", "+12125550101", str(first + 1))], name


def test_check_finds_the_header_that_has_the_configs_columns(offline: Desk) -> None:
    offline.write("reach.csv", "Leads\n\nWho,Reach at\n" + ROWS)
    offline.write("reach.yaml", "campaign_id: 7\nphone: {column: reach at}\nvariables: {customer_name: Who}\n")
    ended = offline.run("check", "reach.csv", "-c", "reach.yaml")
    assert (ended.status, "reach.csv: the header was found in row 3" in ended.err) == (0, True), ended.err


def test_where_the_header_is_not_sure_it_is_said_what_was_assumed_and_what_to_set(offline: Desk) -> None:
    offline.write("two.csv", "Rows,2\n" + HEADER + ROWS)
    offline.write("sorted.csv", "Ada,+12125550100\n" + HEADER + ROWS)
    offline.write("mixed.csv", "Ada;+12125550100\n" + HEADER + ROWS)
    offline.write("swallowed.csv", '"Leads\nAda,+12125550100\n",\n' + HEADER + ROWS)
    offline.write("other.csv", "Leads\nName,Reach at,City\n")
    ended = offline.run("check", "two.csv", "sorted.csv", "mixed.csv", "swallowed.csv", "other.csv", "--campaign", "7")
    assert ended.status == 2
    for said in (
        "two.csv: the header was taken to be row 1. Row 2 has the columns that are wanted, but more than a title",
        "sorted.csv: the header was taken to be row 1. Row 2 has the columns that are wanted, but rows above it may be people",
        "mixed.csv: the header was taken to be row 1. Row 2 has the columns that are wanted, but rows above it may be people",
        "swallowed.csv: the header was taken to be row 1. Row 2 has the columns that are wanted, but rows above it may be",
        "other.csv: the header was taken to be row 1, which has fewer cells",
    ):
        assert said in ended.err
    assert ended.err.count("source.header_row") == 5


def test_one_column_has_its_header_below_a_title_too(titled: Callable[..., Table]) -> None:
    found = titled("Phone list\n\nPhone\n+12125550100\n", "Phone")
    assert (found.columns, found.places["row"].to_list()) == (["Phone"], [4])


def test_what_is_set_goes_before_what_is_found(titled: Callable[..., Table]) -> None:
    assert titled(SOME_TITLE + HEADER + ROWS, "Name", header_row=1).columns == ["Lead list", " spring 2026"]
    assert titled("a^b\nx\ny^Phone\n1^2\n", "Phone", delimiter="^").columns == ["a", "b"]
    assert titled("x\ny^Phone\n1^2\n", "Phone", delimiter="^").columns == ["y", "Phone"]


def test_a_result_file_reads_as_ever(titled: Callable[..., Table], tmp_path: Path) -> None:
    result = "import_status,import_run_id,Phone\ncreated,x,+12125550100\nimport_status,Name,x\n"
    assert titled(result, "Name").columns == ["import_status", "import_run_id", "Phone"]
    damaged = "import_row,Phone\n1,+12125550100\n"
    assert titled(damaged + "Name,x\n", "Name").columns == ["import_row", "Phone"]


@pytest.mark.parametrize("short_rows", ["invalid", "fill"])
def test_what_is_damaged_below_a_title_is_told_as_without_one(titled: Callable[..., Table], short_rows: str) -> None:
    broken = 'Cy,"+1212555010\nDora,+12125550102,x\nEve\n"Fay, jun.",+12125550103\nG\ufffd,1\nHal'
    bare = titled(HEADER + ROWS + broken, "Name", short_rows=short_rows)
    below = titled("Leads\n\n" + HEADER + ROWS + broken, "Name", short_rows=short_rows)
    assert bare.problems.height > 3
    codes = bare.problems.columns[:3]
    assert bare.problems.select(codes).rows() == below.problems.select(codes).rows()
    assert bare.cells.rows() == below.cells.rows()


# Laws.

CELL = st.sampled_from(["", "Ada", "Phone", "+12125550100", "a,b", "x\ny", "import_row", "7"]) | st.text(
    "aü€;,|\t\" '", max_size=4
)
ROWS_OF_ANY_WIDTH = st.lists(st.lists(CELL, max_size=4), max_size=6)


def as_csv(rows: Sequence[Sequence[str]], delimiter: str) -> str:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return file.getvalue().encode(errors="replace").decode()


@given(st.lists(CELL, min_size=1, max_size=4), ROWS_OF_ANY_WIDTH, st.sampled_from(",;\t|"))
@settings(max_examples=100, deadline=None)
def test_a_file_whose_first_line_is_its_header_reads_as_ever(
    tmp_path_factory: pytest.TempPathFactory, header: list[str], rows: list[list[str]], delimiter: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "first.csv"
    path.write_text(as_csv([header, *rows], delimiter), encoding="utf-8", newline="")
    try:
        plain = read(path, Source())
    except Refused:
        reject()
    found = read_titled(path, Source(), lambda columns: set(plain.columns[:1]) <= set(columns))
    assert (found.headers, found.cells.rows(), found.notes) == (plain.headers, plain.cells.rows(), plain.notes)
    assert (found.places.rows(), found.problems.rows()) == (plain.places.rows(), plain.problems.rows())


TITLES = st.lists(st.text("abc :-", max_size=12), min_size=1, max_size=4).filter(
    lambda titles: any(title.strip() for title in titles)
)


@given(TITLES, st.integers(1, 4), ROWS_OF_ANY_WIDTH, st.sampled_from(",;\t|"))
@settings(max_examples=100, deadline=None)
def test_titles_of_one_cell_change_nothing_but_the_row_numbers(
    tmp_path_factory: pytest.TempPathFactory, titles: list[str], width: int, rows: list[list[str]], delimiter: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "below.csv"
    header = ["phone_number", "Name", "City", "Zip"][:width]
    text = as_csv([header, *rows], delimiter)
    path.write_text(text, encoding="utf-8", newline="")
    bare = read(path, Source(delimiter=delimiter))
    path.write_text("".join(f"{title}\n" for title in titles) + text, encoding="utf-8", newline="")
    found = read_titled(path, Source(delimiter=delimiter), lambda columns: columns[: len(header)] == header)
    assert (found.headers, found.cells.rows()) == (bare.headers, bare.cells.rows())
    assert found.places["row"].to_list() == (bare.places["row"] + len(titles)).to_list()
    codes = [pl.col("index", "code", "column")]
    assert found.problems.select(codes).rows() == bare.problems.select(codes).rows()


@given(
    st.lists(st.lists(st.text("abc 0-:", max_size=6), max_size=2), max_size=4),
    st.sampled_from(["", "+1 212 555 0100", '="2125550100"', "ada@example.com", "two\nlines"]),
)
@settings(max_examples=100, deadline=None)
def test_whatever_stands_above_a_header_it_is_found_unless_that_may_be_somebody(
    titles: list[list[str]], person: str
) -> None:
    rows = [*titles, [person], ["Name", "Phone", "City"], ["Ada", "+12125550101", "New York"]]
    opened = Opened(Path("a.csv"), as_csv(rows, ",").encode(), "csv", "")
    found = [below for below in found_below(opened, Source(), speaks_of_phones) if below.delimiter == ","]
    is_below = bool(person) or any(cell.strip() for row in titles for cell in row)
    assert [(below.row, below.may_lose) for below in found] == [(len(titles) + 2, bool(person))] * is_below
