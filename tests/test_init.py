"""What `init` promises: a config that loads, guesses that the cells bear out, and no file or person given away."""

import csv
import os
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import Ended
from hypothesis import given, settings
from hypothesis import strategies as st
from init_lists import us, variables
from spreadsheets import make_openpyxl

from importer.columns import resolve
from importer.config import Config, load
from importer.errors import Refused
from importer.platform_layout import platform_layout
from importer.read import read
from importer.records import Source
from importer.starter import start
from importer.starter_text import Asked

ROOT = Path(__file__).parent.parent
SAMPLES = sorted(path.name for path in (ROOT / "sample_data").iterdir() if path.suffix in (".csv", ".xlsx"))


# The samples, against the configs that were written by hand.


def by_hand(name: str) -> Config:
    return load(ROOT / "configs" / f"{Path(name).stem}.yaml")


def guessed(name: str, folder: Path) -> Config:
    return load(start(Asked(ROOT / "sample_data" / name, folder / "guessed.yaml")).path)


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "do_not_call.csv"])
def test_phones_regions_and_contacts_of_the_samples_are_guessed_as_a_person_wrote_them(
    name: str, tmp_path: Path
) -> None:
    ours, theirs = guessed(name, tmp_path), by_hand(name)
    assert ours.phone == theirs.phone
    found, written = ours.secondary_contacts, theirs.secondary_contacts
    assert (found is None) == (written is None)
    if found is not None and written is not None:
        assert (found.group_by, found.primary_when, found.columns) == (
            written.group_by,
            written.primary_when,
            written.columns,
        )


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("spring_fair.csv", {"source"}),
        ("kunden.csv", {"title", "email", "revenue", "seats", "contract_end", "platze", "vertragsende"}),
        ("clinics.xlsx", {"clinic"}),
        ("mistakes.csv", {"plan", "email"}),
        ("platform_layout.csv", set()),
    ],
)
def test_variables_of_the_samples_are_guessed_as_a_person_wrote_them(
    name: str, other: set[str], tmp_path: Path
) -> None:
    ours, theirs = variables(guessed(name, tmp_path)), variables(by_hand(name))
    assert {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)} == other


def test_german_types_are_guessed_under_german_names(tmp_path: Path) -> None:
    found = guessed("kunden.csv", tmp_path)
    assert found.variables["platze"] == by_hand("kunden.csv").variables["seats"]
    assert found.variables["vertragsende"] == by_hand("kunden.csv").variables["contract_end"]


@pytest.mark.parametrize("name", SAMPLES)
def test_check_runs_with_the_config_that_init_wrote(name: str, tmp_path: Path, command: Callable[..., Ended]) -> None:
    shutil.copy(ROOT / "sample_data" / name, tmp_path / name)
    made = command("init", name)
    assert made.status == 0, made.err
    assert made.out.splitlines() == [f"{Path(name).stem}.yaml"]
    step = re.search(r"lead-importer (check .* -c .*)", made.err)
    assert step
    checked = command(*step[1].split())
    assert checked.status in (0, 1), checked.err
    passed = re.search(r"(\d+) of (\d+) rows pass", made.err)
    assert passed
    assert int(passed[1]) > 0


def test_why_rows_do_not_pass_is_said_at_once(begin: Callable[..., Any]) -> None:
    phones = [*us(8), "1-800-FLOWERS", "(212) 555-0109 ext. 4", ""]
    assert (
        "8 of 10 rows pass; not the others: 1 phone_extension, 1 phone_letters."
        in begin([["Phone"], *([phone] for phone in phones)])[2]
    )


def test_rows_that_do_not_pass_for_rare_reasons_are_counted_too(begin: Callable[..., Any]) -> None:
    kinds = ["1-800-FLOWERS", "(212) 555-0109 ext. 4", "12", "2125550100 / 2125550101", "call me", "#N/A", "2.1E+9"]
    said = begin([["Phone", "Name"], *([phone, "Ada"] for phone in (*us(20), *kinds))])[2]
    found = re.search(r"20 of 27 rows pass; not the others: (.*)\. docs", said)
    assert found
    assert sum(map(int, re.findall(r"(\d+) \w", found[1]))) == 7
    assert found[1].endswith("2 for other reasons")


def test_run_sends_nothing_with_a_fresh_config_until_the_campaign_is_said(
    tmp_path: Path, command: Callable[..., Ended]
) -> None:
    shutil.copy(ROOT / "sample_data" / "clinics.xlsx", tmp_path)
    assert command("init", "clinics.xlsx").status == 0
    ended = command("run", "clinics.xlsx", "-c", "clinics.yaml", "--base-url", "http://127.0.0.1:9")
    assert (ended.status, "no campaign" in ended.err) == (2, True)
    text = (tmp_path / "clinics.yaml").read_text(encoding="utf-8")
    lines = re.findall(r"(?m)^# (campaign_id: .*)$", text)
    assert len(lines) == 2
    for line in lines:
        (tmp_path / "on.yaml").write_text(f"{line}\n{text}", encoding="utf-8")
        assert command("run", "clinics.xlsx", "-c", "on.yaml", "--base-url", "http://127.0.0.1:9").status == 2


def test_what_is_switched_off_loads_once_its_hash_is_gone(tmp_path: Path) -> None:
    made = start(Asked(ROOT / "sample_data" / "spring_fair.csv", tmp_path / "a.yaml"))
    text = made.path.read_text(encoding="utf-8")
    made.path.write_text(re.sub(r"(?m)^# (where: .*)$", r"\1", text), encoding="utf-8")
    assert load(made.path).where == by_hand("spring_fair.csv").where


# What is told, and what is not.


def test_who_must_not_be_called_is_told_loudly(begin: Callable[..., Any]) -> None:
    _, text, told = begin([["Phone", "Do Not Call"], *zip(us(4), ["", "", "Yes", ""], strict=True)])
    assert '# where: {column: Do Not Call, not_in: ["Yes"]}' in text
    assert "Warning" in told


def test_no_number_address_or_name_of_a_person_stands_in_the_config(begin: Callable[..., Any]) -> None:
    rows = [
        ["Phone", "Other", "Remarks", "Status", "Fax", "Name"],
        *(
            [
                phone,
                f"x{number}@example.com",
                f"call Ada on {phone}",
                f"ask +1 212 555 01{number:02d}",
                fax,
                "Ada Marsh",
            ]
            for number, (phone, fax) in enumerate(zip(us(12), us(12, 150), strict=True))
        ),
    ]
    _, text, told = begin(rows)
    assert not re.search(r"555\D?01|@example|\bAda\b|Marsh", text + told)


def test_the_platforms_layout_is_spelt_out_as_it_is_read_without_a_config(tmp_path: Path) -> None:
    path = ROOT / "sample_data" / "platform_layout.csv"
    made = start(Asked(path, tmp_path / "a.yaml"))
    assert load(made.path).fingerprint() == platform_layout(read(path, Source()).columns).fingerprint()
    assert any("no config is needed" in line for line in made.told)


# Files that are odd.


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        ("+12125550100,Ada\n+12125550101,Ben\n", "header"),
        ("ada@example.com\nben@example.com\n", "header"),
        ("Name,Town\nAda,Berlin\n", "phone numbers"),
        ("Phone,import_status,import_run_id\n1,created,x\n", "result file"),
    ],
)
def test_what_no_config_can_be_guessed_from_is_refused(
    content: str, said: str, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    (tmp_path / "a.csv").write_text(content, encoding="utf-8")
    ended = command("init", "a.csv")
    assert (ended.status, ended.out) == (2, "")
    assert said in ended.err
    assert "5550100" not in ended.err
    assert not (tmp_path / "a.yaml").exists()


def test_headers_alone_are_enough_for_a_first_guess(begin: Callable[..., Any]) -> None:
    config, _, told = begin([["First Name", "Last Name", "Phone", "Phone 2"]])
    assert config.phone.columns[0] == "Phone"
    assert "no rows" in told


def test_rows_without_their_last_cells_are_told_with_the_setting_that_takes_them(begin: Callable[..., Any]) -> None:
    rows = [[phone, "Ada"] for phone in us(4)]
    _, full, _ = begin([["Phone", "Name"], *rows])
    config, text, told = begin([["Phone", "Name"], *rows, [us(6)[4]], [us(6)[5]]])
    assert "short_rows" not in full
    assert "# source: {short_rows: fill}" in text
    assert "2 row_too_short" in told
    assert config.source.short_rows == "invalid"


TITLED = [["Name", "Phone", "City"], *(["Ada", phone, "New York"] for phone in us(6))]


@pytest.mark.parametrize(
    ("above", "row"),
    [
        ([["Lead list, spring 2026"]], 2),
        ([["Lead list"], [], ["Exported on 26.11.2026 08:00"], []], 5),
        ([["Phone list", "", ""]], 2),
        ([["Rows", "6"], ["Date", "2026-11-26"]], 3),
        ([[], ["Phones to call"], []], 4),
    ],
)
@pytest.mark.parametrize("delimiter", ",;\t")
def test_a_header_below_a_title_is_found_and_written_down(
    above: list[list[str]], row: int, delimiter: str, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([*above, *TITLED])
    made = command("init", "a.csv", "--region", "US", "--campaign", "7")
    assert (made.status, f"row {row}  (likely" in made.err) == (0, True), made.err
    config = load(tmp_path / "a.yaml")
    assert (config.source.header_row, config.phone.columns, config.secondary_contacts) == (row, ("Phone",), None)
    assert "6 of 6 rows pass" in made.err
    assert command("check", "a.csv", "-c", "a.yaml").status == 0


@pytest.mark.parametrize(
    "rows",
    [
        TITLED,
        [["Reach at", "Name", "By"], *([phone, "Ada", "Phone"] for phone in us(6))],
        [
            ["Reach at", "Name"],
            *([phone, "Ada"] for phone in us(12)),
            ["Phone", "Name"],
            *([p, "Ben"] for p in us(12, 120)),
        ],
        [["Reach at", "Name", "By"], ["", "Ada", "Phone"], *([phone, "Ada", "Phone"] for phone in us(6))],
    ],
)
def test_no_row_of_people_is_taken_for_a_title_nor_one_for_the_header(
    rows: list[list[str]], begin: Callable[..., Any]
) -> None:
    config, text, _ = begin(rows, region="US")
    assert config.source.header_row is None
    assert "header_row" not in text
    assert config.phone.columns == (rows[0][1 if rows is TITLED else 0],)


def test_rows_without_their_last_cells_below_a_title_are_told_in_the_one_block(begin: Callable[..., Any]) -> None:
    config, text, _ = begin([["Leads"], *TITLED, *([["Ben", phone] for phone in us(2, 120)])])
    assert (config.source.header_row, config.source.short_rows) == (2, "invalid")
    assert re.search(r"(?m)^source:\n  header_row: 2 .*\n  # Rows .*\n  # short_rows: fill$", text)


def test_a_list_that_can_be_read_only_once_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "leads"
    os.mkfifo(pipe)
    text = "Leads\nName,Phone\nAda,+12125550100\n"
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(pipe.write_text, text, encoding="utf-8")
        assert load(start(Asked(pipe, tmp_path / "a.yaml")).path).phone.columns == ("Phone",)
        writing.result(timeout=10)


def test_one_column_is_enough(begin: Callable[..., Any]) -> None:
    assert begin([["Phone"], *([phone] for phone in us(3))])[0].phone.columns == ("Phone",)


@pytest.mark.parametrize(
    ("above", "row", "name", "said"),
    [
        (["Phone list", ""], 3, "Phone", "row 3  (likely: below other text)"),
        (["Phone list", "of our phone shop", "Mobile phone no."], 3, "Mobile phone no.", "row 3  (likely"),
        (["Phone list", ""], None, "Phone list", 'row 1  (likely: "Phone list" stands alone above the numbers'),
        (["Phone list"], None, "Phone list", 'row 1  (likely: "Phone list" stands alone'),
        (["Mobile"], None, "Mobile", None),
    ],
)
def test_a_title_above_a_single_column_is_no_header_where_another_is_there(
    above: list[str], row: int | None, name: str, said: str | None, begin: Callable[..., Any]
) -> None:
    rows = [*above, *(["Phone"] if row and name == "Phone" else []), *us(6)]
    config, _, told = begin([[cell] for cell in rows], region="US")
    assert (config.source.header_row, config.phone.columns) == (row, (name,))
    assert (said or "6 of 6 rows pass") in told
    assert "6 of 6 rows pass" in told
    assert bool(said) == ("  header  " in told)


def test_the_header_of_the_platforms_layout_below_a_title_is_written_down(begin: Callable[..., Any]) -> None:
    config, _, told = begin([["Leads"], ["name", "phone_number"], *(["Ada", phone] for phone in us(3))])
    assert config.source.header_row == 2
    assert "no config is needed" not in told


def test_a_file_that_exists_is_never_overwritten(tmp_path: Path, command: Callable[..., Ended]) -> None:
    (tmp_path / "a.csv").write_text("Phone\n+12125550100\n", encoding="utf-8")
    (tmp_path / "a.yaml").write_text("mine", encoding="utf-8")
    ended = command("init", "a.csv")
    assert (ended.status, "-o" in ended.err) == (2, True)
    assert (tmp_path / "a.yaml").read_text(encoding="utf-8") == "mine"
    assert command("init", "a.csv", "-o", "b.yaml").status == 0
    assert command("init", "a.csv", "-o", "nowhere/b.yaml").status == 2
    assert command("init", "a.csv", "-o", ".").status == 2


def test_the_sheet_with_the_leads_is_found_or_taken_as_named(begin: Callable[..., Any]) -> None:
    notes = [["Phone", "About"], ["none", "Ask Ada"], ["none", "Ask Ben"]]
    book = make_openpyxl(notes, Leads=[["Phone"], *([phone] for phone in us(3))], More=[["Phone"], [us(1)[0]]])
    config, text, _ = begin(book)
    assert config.source.sheet == "Leads"
    assert '"More"' in text
    assert begin(book, sheet="More")[0].source.sheet == "More"
    assert begin(book, sheet=2)[0].source.sheet == 2


# Laws.

CELLS = (
    "|+1 212 555 0100|(212) 555-0101|030 23125 017|ada@example.com|yes|no|Primary|31/12/2026|01/02/2026|7|0017|DE|New"
    "|A-1|true|null|{x}|4.41E+11"
)
HEADERS = (
    "Phone|Phone 2|Contact 2|Name|First Name|Vorname|E-mail|Country|Account ID|Role|Campaign|Status|Do Not Call|Renewal"
    "|{x}|null|a: b|- c|# d|Tel| Phone|phone_number|secondary_phone_1|secondary_1_name|NO|007"
)
CELL = st.sampled_from(CELLS.split("|")) | st.text(max_size=6)
HEADER = st.sampled_from([*HEADERS.split("|"), "17|abcdefgh"]) | st.text(max_size=8)
TABLE = st.integers(1, 6).flatmap(
    lambda width: st.tuples(
        st.lists(HEADER, min_size=width, max_size=width),
        st.lists(st.lists(CELL, min_size=width, max_size=width), max_size=6),
    )
)


@given(TABLE)
@settings(max_examples=50, deadline=None)
def test_for_any_table_the_config_loads_or_the_command_refuses(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[list[str], list[list[str]]]
) -> None:
    header, rows = drawn
    folder = tmp_path_factory.mktemp("init")
    path = folder / "a.csv"
    with path.open("w", encoding="utf-8", newline="", errors="replace") as file:
        csv.writer(file).writerows([header, *rows])
    with suppress(Refused):
        start(Asked(path))
    if not (folder / "a.yaml").exists():
        return
    config = load(folder / "a.yaml")
    assert config.campaign_id is None or config.campaign_id.column == "campaign_id"  # type: ignore[union-attr]
    columns = read(path, Source(header_row=config.source.header_row)).columns
    assert all(resolve(columns, name) for name in config.phone.columns)
