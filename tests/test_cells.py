"""Damaged cells: restored where that is provable and said so, else refused; no cell changes without a note."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import Desk, memory
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.cells import INVISIBLE, Mended, mend
from importer.config import Config
from importer.dates import read_dates
from importer.mapping import map_rows
from importer.number_formats import shown_digits
from importer.phones import judge
from importer.records import FORMATS, Table
from importer.sandbox import Sandbox
from importer.wrong_encoding import decoded

CONFIG: dict[str, Any] = {
    "campaign_id": 7,
    "phone": {"column": "Phone", "region": "DE"},
    "variables": {"id": {"column": "ID"}, "seats": {"column": "Seats", "type": "integer"}},
}


def table(
    *,
    numbers: dict[str, list[bool]] | None = None,
    formats: list[tuple[int, str, str]] | None = None,
    delimiter: str | None = ",",
    **columns: list[str | None],
) -> Table:
    height = len(next(iter(columns.values())))
    nothing: list[str | None] = [None] * height
    columns = {"Phone": nothing, "ID": nothing, "Seats": nothing} | columns
    cells = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    places = pl.DataFrame({"sheet": pl.Series([None] * height, dtype=pl.String), "row": range(2, height + 2)})
    return Table(
        Path("a.csv"),
        "csv",
        tuple(columns),
        cells,
        places,
        "",
        numbers=pl.DataFrame(numbers or {}),
        formats=pl.DataFrame(formats or [], schema=FORMATS, orient="row"),
        delimiter=delimiter,
    )


def mended(made: Table, **more: Any) -> Mended:
    return mend(made, Config.model_validate(CONFIG | more))


def mapped(made: Table, **more: Any) -> tuple[pl.DataFrame, pl.DataFrame]:
    found = map_rows(mended(made, **more), Config.model_validate(CONFIG | more))
    return found.people, found.problems


# The number format.


@pytest.mark.parametrize(
    ("number", "code", "shown"),
    [
        ("1234", "00000", "01234"),
        ("123456", "00000", "123456"),
        ("1701234567", "0##########", "01701234567"),
        ("491701234567", '"+"0', "+491701234567"),
        ("491701234567", "\\+0", "+491701234567"),
        ("1701234567", '"+49 "0', "+491701234567"),
        ("1701234567", "+49 0", "+491701234567"),
        ("1234567", "000-00-0000", "001234567"),
        ("42", '"No. 2 "0000', "0042"),
        ("7", "00;-00", "07"),
        ("0", '00;-00;"none"', "0"),
        ("1234567", "[<=9999999]000-0000;0000000000", "1234567"),
        ("12345678", "[<=9999999]000-0000;0000000000", "0012345678"),
        ("5", "00.00", "05"),
        ("1234", "#,##0", "1234"),
        ("1234", "0,", None),
        ("1234", "0%", None),
        ("1234", "dd.mm.yyyy", None),
        ("1234", "General", None),
        ("1.5", "00000", None),
        ("-7", "00000", None),
    ],
)
def test_a_format_shows_digits_that_the_number_has_not(number: str, code: str, shown: str | None) -> None:
    assert shown_digits(pl.Series([number]), pl.Series([code])).to_list() == [shown]


def test_zeros_of_a_format_are_restored_counted_and_stand_in_the_result() -> None:
    made = table(ID=["1234", "5"], numbers={"ID": [True, True]}, formats=[(0, "ID", "00000")], delimiter=None)
    found = mended(made)
    assert found.cells["ID"].to_list() == ["01234", "5"]
    assert found.shown["ID"].to_list() == ["01234", "5"]
    assert [(one.column, one.cells) for one in found.mendings] == [("ID", 1)]
    assert found.notes.select("index", "column", "blocking").rows() == [(0, "ID", False)]
    assert "01234" in found.notes["message"][0]


# Exports.


def test_decimals_of_an_export_are_taken_off_a_phone() -> None:
    people, problems = mapped(
        table(Phone=["493023125017.0", "3023125018,00", "03023125019.0"]),
        phone={"column": "Phone", "region": "DE", "missing_plus": "restore"},
    )
    assert people["phone"].to_list() == ["+493023125017", "+493023125018", None]
    assert problems.filter(pl.col("code") == "cell_restored")["index"].to_list() == [0, 1]


@pytest.mark.parametrize(
    ("ids", "read"),
    [
        (["10115.0", "80331.0", None], ["10115", "80331", None]),
        (["10115.0", "A-1"], ["10115.0", "A-1"]),
        (["1.0", "2.0"], ["1.0", "2.0"]),
        (["10115.0", "80331.5"], ["10115.0", "80331.5"]),
    ],
)
def test_decimals_are_taken_off_a_text_only_where_the_whole_column_has_them(
    ids: list[str | None], read: list[str | None]
) -> None:
    assert mended(table(ID=ids)).cells["ID"].to_list() == read


def test_a_text_that_an_export_wrapped_is_unwrapped() -> None:
    assert mapped(table(Phone=['="03023125017"']))[0]["phone"].to_list() == ["+493023125017"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("4.41E+11", "number_scientific"),
        ("4,41E+11", "number_scientific"),
        ("41111111111111000", "number_too_long"),
        ("#N/A", "cell_error"),
        ("#WERT!", "cell_error"),
        ("#¡REF!", "cell_error"),
        ("Err:502", "cell_error"),
        ("#######", "cell_error"),
        ("M\ufffdller", "cell_damaged"),
    ],
)
def test_a_text_that_can_not_be_trusted_is_refused(text: str, code: str) -> None:
    people, problems = mapped(table(Phone=["+493023125017"], ID=[text]))
    assert problems.select("code", "column", "blocking").rows() == [(code, "ID", True)]
    assert text in problems["message"][0]
    assert people["variables"].to_list() == ["{}"]
    assert people["phone"].to_list() == ["+493023125017"]


@pytest.mark.parametrize("text", ["1E5", "#1", "12E+3 West", "4111111111111111", "0000000000000000", "# 4"])
def test_a_text_that_only_looks_odd_stays(text: str) -> None:
    assert mapped(table(Phone=["+493023125017"], ID=[text]))[1].is_empty()


def test_a_long_number_is_refused_though_the_same_digits_as_text_are_fine() -> None:
    made = table(ID=["4111111111111111", "4111111111111112"], numbers={"ID": [True, False]}, delimiter=None)
    assert mapped(made)[1].filter(pl.col("code") == "number_too_long")["index"].to_list() == [0]


def test_one_long_number_among_many_may_end_in_a_zero() -> None:
    assert mended(table(ID=["4111111111111110", "4111111111111112", "4111111111111113"])).refusals == {}
    assert mended(table(ID=["4111111111111110", "4111111111111120"])).refused("text", "ID") is not None


def test_an_error_in_one_phone_column_leaves_the_other_usable() -> None:
    phone = {"columns": ["Phone", "ID"], "region": "DE"}
    made = table(Phone=["#N/A", "#N/A"], ID=["+493023125017", None])
    people, problems = mapped(made, phone=phone, variables={})
    assert people["phone"].to_list() == ["+493023125017", None]
    assert problems.select("index", "code").rows() == [(1, "cell_error")]


def test_an_error_in_a_key_makes_the_row_invalid() -> None:
    more = {"secondary_contacts": {"group_by": "Seats"}, "variables": {}}
    _, problems = mapped(table(Phone=["+493023125017"], Seats=["#REF!"]), **more)
    assert problems.select("code", "column", "blocking").rows() == [("cell_error", "Seats", True)]


def test_a_damaged_value_is_dropped_or_replaced_where_the_config_says_so() -> None:
    made = table(Phone=["+493023125017"], ID=["#N/A"])
    people, problems = mapped(made, variables={"id": {"column": "ID", "on_error": "drop"}})
    assert (people["variables"][0], problems["blocking"].to_list()) == ("{}", [False])
    people, problems = mapped(made, variables={"id": {"column": "ID", "default": "none"}})
    assert (people["variables"][0], problems.height) == ('{"id":"none"}', 0)


def test_texts_that_stand_for_nothing_are_empty_by_a_setting_only() -> None:
    made = table(ID=["NULL", "n/a", "-", "#N/A", "- x", "N/A"])
    assert mended(made).cells["ID"].to_list() == ["NULL", "n/a", "-", "#N/A", "- x", "N/A"]
    found = mended(made, source={"empty": ["NULL", "N/A", "-", "#N/A"]})
    assert found.cells["ID"].to_list() == [None, None, None, None, "- x", None]
    assert found.refusals == {}


def test_yaml_may_say_null_without_quotes(tmp_path: Path) -> None:
    from importer.config import load

    (tmp_path / "c.yaml").write_text("phone: Phone\nsource: {empty: [NULL, n/a, '-']}\n")
    assert load(tmp_path / "c.yaml").source.empty == ("null", "n/a", "-")


# Zeros that nobody shows.


def phones(length: int, count: int) -> list[str | None]:
    return [str(2 * 10 ** (length - 1) + number) for number in range(count)]


def test_a_number_shorter_than_nearly_all_others_is_refused_as_a_phone() -> None:
    made = table(Phone=[*phones(10, 60), "212555010"])
    refused = mended(made).refused("phone", "Phone")
    assert refused is not None
    assert refused.select("index", "code").rows() == [(60, "phone_zeros_lost")]


@pytest.mark.parametrize("odd", ["0212555010", "+12125550100", "21255501000"])
def test_what_lost_no_zero_is_not_refused(odd: str) -> None:
    assert mended(table(Phone=[*phones(10, 60), odd])).refusals == {}


def test_a_text_cell_among_numbers_has_lost_nothing() -> None:
    made = table(Phone=[*phones(10, 60), "212555010"], numbers={"Phone": [True] * 60 + [False]}, delimiter=None)
    assert mended(made).refusals == {}


def test_where_lengths_differ_no_number_is_refused_for_its_length() -> None:
    assert mended(table(Phone=[*phones(10, 60), *phones(9, 6)])).refusals == {}
    assert mended(table(Phone=[*phones(10, 20), "212555010"])).refusals == {}


# Several numbers, words, links, extensions.


@pytest.mark.parametrize(
    ("text", "first", "without"),
    [
        ("030 23125017 / 0171 456", "+493023125017", "phone_several"),
        ("Mobile: 030 23125017", "+493023125017", "phone_label"),
        ("tel:+49-30-23125017", "+493023125017", "phone_label"),
        ("callto:+493023125017", "+493023125017", "phone_label"),
        ("whatsapp:+493023125017", "+493023125017", "phone_label"),
        ("<tel:+493023125017>", "+493023125017", "phone_letters"),
        ("https://wa.me/493023125017", "+493023125017", "phone_letters"),
        ("https://api.whatsapp.com/send?phone=493023125017&text=hi", "+493023125017", "phone_letters"),
        ("whatsapp://send?phone=%2B493023125017", "+493023125017", "phone_letters"),
        ("skype:+493023125017?call", "+493023125017", "phone_letters"),
        ("tel:+49-30-23125017;ext=5", None, "phone_extension"),
        ("+493023125017 ext. 5", None, "phone_extension"),
        ("1 / 2", None, "phone_not_a_number"),
    ],
)
def test_the_first_usable_number_is_taken_by_a_setting_only(text: str, first: str | None, without: str) -> None:
    assert judge(text, "DE")[:2] == (None, without)
    assert judge(text, "DE", several="first")[0] == first


def test_an_extension_is_left_out_by_a_setting_only() -> None:
    for text in ("+493023125017 ext. 5", "030 23125017 x12", "030 23125017 Durchwahl 7", "030 23125017 #4"):
        assert judge(text, "DE")[1] == "phone_extension"
        assert judge(text, "DE", extension="drop")[0] == "+493023125017"
    assert judge("tel:+49-30-23125017;ext=5", "DE", extension="drop", several="first")[0] == "+493023125017"
    assert judge("ext. 5", "DE", extension="drop")[0] is None
    people, _ = mapped(table(Phone=["030 23125017 x1"]), phone={"column": "Phone", "region": "DE", "extension": "drop"})
    assert people["phone"].to_list() == ["+493023125017"]


def test_a_plus_that_is_restored_is_counted_and_said() -> None:
    made = table(Phone=["447911123456", "03023125017", "+493023125018", "00493023125019"])
    config = Config.model_validate(CONFIG | {"phone": {"column": "Phone", "region": "DE", "missing_plus": "restore"}})
    found = map_rows(mend(made, config), config)
    assert [(one.column, one.cells) for one in found.mendings] == [("Phone", 1)]
    assert found.problems.select("index", "code", "blocking").rows() == [(0, "phone_plus_restored", False)]


@pytest.mark.parametrize(
    ("region", "told"), [("DE", [0, 2, 3]), (None, [0, 2, 3]), ("US", []), ("CA", []), ({"column": "Land"}, [0, 2])]
)
def test_eleven_digits_from_1_have_lost_a_plus_but_where_they_are_dialled_so(region: Any, told: list[int]) -> None:
    numbers = ["12125550102", "+12125550102", "12125550103", "12125550104"]
    made = table(Phone=numbers, Land=["DE", "DE", None, "canada"])
    phone = {"column": "Phone", "missing_plus": "restore"} | ({"region": region} if region else {})
    config = Config.model_validate(CONFIG | {"phone": phone})
    found = map_rows(mend(made, config), config)
    assert found.people["phone"].null_count() == 0
    assert found.problems.select("index", "code").rows() == [(index, "phone_plus_restored") for index in told]


# Encodings and signs.


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("MÃ¼ller", "Müller"),
        ("MÃƒÂ¼ller", "Müller"),
        ("M√ºller", "Müller"),
        ("voilÃ\xa0", "voilà"),
        ("KÃ¶ln â€“ SÃ¼d", "Köln – Süd"),
        ("Straï¬\x81e", None),
        ("Müller", None),
        ("São Paulo", None),
        ("CAFÉ’S", None),
        ("HYVÄ”", None),
        ("NÃO", None),
        ("Müller â€“ KÃ¶ln", None),
    ],
)
def test_a_wrong_encoding_is_undone_where_that_is_proved(text: str, right: str | None) -> None:
    assert decoded(text) == right


def test_a_wrong_encoding_is_undone_in_every_cell_of_a_column_the_same_each_time() -> None:
    right = [f"Müller {number}" for number in range(40)]
    wrong = [text.encode().decode("cp1252") for text in right]
    others = [f"Zoë {number}" for number in range(40)]
    for _ in range(5):
        assert mended(table(ID=wrong + others)).cells["ID"].to_list() == right + others


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(codec="utf-8", min_codepoint=0xA1, max_codepoint=0x17F, categories=["L"]), min_size=1))
def test_whatever_was_read_wrongly_once_comes_back(word: str) -> None:
    for encoding in ("cp1252", "latin-1"):
        try:
            wrong = f"a{word}".encode().decode(encoding)
        except UnicodeDecodeError:
            continue
        assert decoded(wrong) in (f"a{word}", decoded(f"a{word}"), None)
        assert decoded(wrong) is not None or "’" in wrong or "“" in wrong or "”" in wrong or "‘" in wrong


def test_quotes_and_spaces_are_made_plain_and_counted() -> None:
    found = mended(table(ID=["O’Brien", "a\u00a0b", "c\u200bd", "“x”", "\u00a0plain\u200b"]))
    assert found.cells["ID"].to_list() == ["O'Brien", "a b", "cd", '"x"', "plain"]
    assert [(one.column, one.cells) for one in found.mendings] == [("ID", 4)]
    assert found.notes["code"].unique().to_list() == ["cell_cleaned"]


# Dates.


@pytest.mark.parametrize(
    ("texts", "read"),
    [
        (["31/12/2026", "01/02/2026"], ["2026-12-31", "2026-02-01"]),
        (["12/31/2026", "01/02/2026"], ["2026-12-31", "2026-01-02"]),
        (["01/02/2026", "02/03/2026"], [None, None]),
        (["31/12/2026", "12/31/2026", "01/02/2026"], ["2026-12-31", "2026-12-31", None]),
        (["12/31/2026", "01.02.2026"], ["2026-12-31", None]),
        (["03/03/2026", "2026-05-01", None], ["2026-03-03", "2026-05-01", None]),
        (["2026-12-31 23:59:59", "2026-12-31T14:30", "2026-12-31 24:00"], ["2026-12-31", "2026-12-31", None]),
        (["2026-12-31T23:59:59Z", "2026-12-31 23:59:59+01:00"], [None, None]),
        (["31/12/26", "31/12-2026", "30/02/2026", "31/12/0026"], [None, None, None, None]),
    ],
)
def test_the_column_decides_whether_the_day_stands_first(texts: list[str | None], read: list[str | None]) -> None:
    found = read_dates(pl.Series(texts, dtype=pl.String), None, workbook=False)
    assert found.dates.dt.to_string("%Y-%m-%d").to_list() == read


def test_an_open_order_is_refused_with_advice_and_a_decided_one_is_told() -> None:
    more = {"variables": {"renewal": {"column": "ID", "type": "date"}}}
    _, problems = mapped(table(Phone=["+493023125017"], ID=["01/02/2026"]), **more)
    assert problems["code"].to_list() == ["value_not_date"]
    assert "format" in problems["message"][0]
    made = table(Phone=["+493023125017"] * 2, ID=["01/02/2026", "31/01/2026"])
    config = Config.model_validate(CONFIG | more)
    assert "1 date with / was read day first, as '31/01/2026' shows" in map_rows(mend(made, config), config).notes[0]


def test_date_cells_that_a_program_may_have_swapped_are_refused() -> None:
    cells = [f"2026-{month:02}-05" for month in range(1, 8)]
    found = read_dates(pl.Series(["31/12/2026", *cells]), None, workbook=True)
    assert found.dates.null_count() == len(cells)
    found = read_dates(pl.Series(["31/12/2026", *cells, "2026-01-20"]), None, workbook=True)
    assert found.dates.null_count() == 0


# The law.

CELL = st.none() | st.one_of(
    st.text(max_size=8),
    st.sampled_from(["MÃ¼ller", "10115.0", "493023125017.0", '="01"', "#N/A", "4.41E+11", "a\u00a0b", "O’B", "-"]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=12))
def test_rows_stay_and_no_cell_changes_without_a_note(rows: list[tuple[str | None, str | None, str | None]]) -> None:
    made = table(**{name: [row[place] for row in rows] for place, name in enumerate(("Phone", "ID", "Seats"))})
    found = mended(made)
    assert found.cells.shape == made.cells.shape
    assert found.shown.equals(made.cells)
    noted = set(found.notes.select("index", "column").rows())
    for name in made.cells.columns:
        before = made.cells[name].str.strip_chars(INVISIBLE).replace("", None)
        changed = before.ne_missing(found.cells[name]).arg_true().to_list()
        assert {(row, name) for row in changed} <= noted
    assert sum(one.cells for one in found.mendings) == found.notes.height


# What people see.


def test_a_restored_row_is_sent_and_the_summary_counts_it(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("a.csv", "phone_number,name\n+12125550101,MÃ¼ller\n+12125550102,Ann\n")
    ended = desk.run("run", "a.csv", "--campaign", "7")
    assert ended.status == 0, ended.err
    assert "1  column 'name': letters of a wrong encoding" in ended.err
    assert {lead["variables"]["name"] for lead in memory(sandbox)["leads"]} == {"Müller", "Ann"}
    first, second = desk.rows("a.results.csv")
    assert (first["name"], first["import_status"], first["import_error_code"]) == (
        "MÃ¼ller",
        "created",
        "cell_restored",
    )
    assert "'Müller'" in first["import_error"]
    assert second["import_error"] == ""
    told = desk.run("check", "a.csv", "--campaign", "7", "--log-format", "json").err
    assert '"restored": [{"column": "name"' in told
