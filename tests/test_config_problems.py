import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Ended
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.config import (
    load,
)
from importer.config_problems import hide_keys
from importer.errors import Refused

ROOT_KEYS = (
    "api, source, campaign_id, phone, variables, secondary_contacts, where, allow_duplicate, suppress, delivery, "
    "result, ledger"
)
TAKE_IT_OUT = (
    "Take it out, put the key into the environment variable OTONISTARK_API_KEY (or a file named by "
    "OTONISTARK_API_KEY_FILE), and have a new one made if others could read this file."
)
RATE = "auto, or a number and a unit, such as 40/s, 60/min or 5000/day; several in a list"


# Mistakes, and what is said.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "phone: P\nphon: P",
            f", line 2, column 1: unknown key 'phon'; did you mean 'phone'? Known keys here: {ROOT_KEYS}.",
        ),
        ("campaign_id: 7", ": 'phone' is missing. Right is, for instance, phone: {column: Phone}."),
        ("phone:", ", line 1, column 1: 'phone' is missing. Right is, for instance, phone: {column: Phone}."),
        ("phone: ''", ", line 1, column 8: phone is ''; right is a text."),
        (
            "phone: {region: US}",
            ", line 1, column 1: phone: the column is missing. Right is, for instance, {column: Phone}.",
        ),
        (
            "phone: {column: P, columns: [Q]}",
            ", line 1, column 1: phone: both 'column' and 'columns' are given. Keep one of them.",
        ),
        (
            "phone: {column: [P, Q]}",
            ", line 1, column 1: phone: 'column' is a list; right is a text. For several write columns: [Mobile, Phone].",
        ),
        ("phone: {columns: []}", ", line 1, column 9: phone.columns is an empty list; right is at least one column."),
        (
            "phone: {column: P, region: UK}",
            ", line 1, column 28: phone.region is 'UK'; right is a country's two letters (ISO 3166), such as US or DE; "
            "for the United Kingdom GB, or {column: Country}.",
        ),
        (
            "phone: {column: P, region: {colum: C}}",
            ", line 1, column 20: 'column' is missing in phone.region. Right is, for instance, {column: Country}.\n"
            ", line 1, column 29: unknown key 'colum'; did you mean 'column'? Known keys here: column, map.",
        ),
        (
            "phone: {column: P, missing_plus: restor}",
            ", line 1, column 34: phone.missing_plus is 'restor'; right is refuse, restore or national; did you mean 'restore'?",
        ),
        (
            "phone: {column: P, typ: x}",
            ", line 1, column 20: unknown key 'typ'. Known keys here: column, columns, region, missing_plus, several, extension.",
        ),
        (
            "phone: P\ncampaign_id: spring",
            ", line 2, column 14: campaign_id is 'spring'; right is a whole number from 1, or {column: Campaign}.",
        ),
        ("phone: P\ncampaign_id: {column: C, map: {A: b}}", ", line 2, column 35: campaign_id.map.A is 'b'; right is a whole number from 1."),
        ("phone: P\nvariables: [a]", ", line 2, column 1: variables is a list; right is a mapping, such as {company: Company}."),
        (
            "phone: P\nvariables: {a: }",
            ", line 2, column 13: variables.a: nothing stands here. Right is a column, such as Company, or {value: …} for a constant.",
        ),
        ("phone: P\nvariables: {a: {First Name}}", ', line 2, column 13: variables.a: a template needs quotes. Right is "{First Name}".'),
        (
            "phone: P\nvariables: {a: '{First Name'}",
            ", line 2, column 16: variables.a is '{First Name'; right is each column in braces, such as {First Name}; "
            "for a brace itself write it twice, {{ or }}.",
        ),
        ("phone: P\nvariables: {a: '{}'}", ", line 2, column 16: variables.a is '{}'; right is a column's name inside the braces, such as {First Name}."),
        (
            "phone: P\nvariables: {a: '{{x}}'}",
            ", line 2, column 16: variables.a is '{{x}}'; right is a template with at least one column in braces; for a constant write {value: …}.",
        ),
        (
            "phone: P\nvariables: {a: {column: A, value: 1}}",
            ", line 2, column 13: variables.a: found 'column' and 'value' together; right is one of column, template and value.",
        ),
        (
            "phone: P\nvariables: {a: {type: date}}",
            ", line 2, column 13: variables.a: found neither a column nor a template nor a value; right is one of column, template and value.",
        ),
        (
            "phone: P\nvariables: {a: {column: A, type: datee}}",
            ", line 2, column 34: variables.a.type is 'datee'; right is text, integer, number, boolean, date or email; did you mean 'date'?",
        ),
        (
            "phone: P\nvariables: {a: {column: A, type: date, format: DD.MM.YYYY}}",
            ", line 2, column 48: variables.a.format is 'DD.MM.YYYY'; right is day, month and year with percent signs, such as \"%d.%m.%Y\".",
        ),
        (
            "phone: P\nvariables: {a: {column: A, format: '%d/%m/%Y'}}",
            ", line 2, column 13: variables.a: 'format' has no effect beside type: text; it is for type: date. Remove it, or write type: date.",
        ),
        ("phone: P\nvariables: {a: {value: 1, map: {b: c}}}", ", line 2, column 13: variables.a: 'map' has no effect on a constant. Remove it."),
        (
            "phone: P\nvariables: {a: {column: A, type: integer, default: x}}",
            ", line 2, column 52: variables.a.default is 'x'; right is a whole number, as the variable's type says.",
        ),
        ("phone: P\nvariables: {a: {column: A, map: {N: }}}", ", line 2, column 34: variables.a.map.N is nothing; right is a text, a number, true or false."),
        (
            "phone: P\nsecondary_contacts: {group_by: A, columns: [B]}",
            ", line 2, column 1: secondary_contacts: both 'group_by' and 'columns' are given. "
            "Contacts stand in rows or in columns: keep one of them.",
        ),
        (
            "phone: P\nsecondary_contacts: {}",
            ", line 2, column 1: secondary_contacts: neither 'group_by' nor 'columns' is given. "
            "Right is {group_by: Account ID} or {columns: [{phone: Phone 2}]}.",
        ),
        (
            "phone: P\nsecondary_contacts: {columns: [a, b, c, d, e, f, g, h, i, j, k]}",
            ", line 2, column 1: secondary_contacts: found 11 contacts; a lead can have at most 10.",
        ),
        (
            "phone: P\nsecondary_contacts: {columns: [a], primary_when: {column: A, in: x}}",
            ", line 2, column 1: secondary_contacts: 'primary_when' belongs to group_by and has no effect beside columns. Remove it.",
        ),
        ("phone: P\nwhere: New", ", line 2, column 8: where is 'New'; right is a mapping, such as {column: Status, in: [New]}."),
        ("phone: P\nwhere: {column: A}", ", line 2, column 1: where: no values are given. Right is, for instance, {column: Status, in: [New]}."),
        ("phone: P\nwhere: {column: A, in_: [x]}", ", line 2, column 20: unknown key 'in_'; did you mean 'in'? Known keys here: column, in, not_in."),
        ("phone: P\nallow_duplicate: perhaps", ", line 2, column 18: allow_duplicate is 'perhaps'; right is true or false."),
        ("phone: P\nsuppress: [{a: b}]", ", line 2, column 12: suppress is a mapping; right is a file's path."),
        (
            "phone: P\nvariables: {a: A, '': B}",
            ", line 2, column 19: variables: a variable is called ''. Right is its name in the campaign's assistant. Write it, or remove it.",
        ),
        ("phone: P\nsecondary_contacts: {columns: [{phone: Q, variables: {' ': B}}]}", ", line 2, column 55: secondary_contacts.columns.variables: a variable is called ' '. Right is its name in the campaign's assistant. Write it, or remove it."),
        ("phone: P\nresult: csv", ", line 2, column 9: result is 'csv'; right is a mapping, such as {format: same}."),
        ("phone: P\nresult: {format: xls}", ", line 2, column 18: result.format is 'xls'; right is same, csv or xlsx; did you mean 'xlsx'?"),
        ("phone: P\nsource: {sheet: 0}", ', line 2, column 17: source.sheet is 0; right is a sheet\'s number from 1, its name, or "*" for all.'),
        ("phone: P\ndelivery: {rate: 40}", f", line 2, column 18: delivery.rate is 40; right is {RATE}."),
        ("phone: P\ndelivery: {timeout: 0s}", ", line 2, column 21: delivery.timeout is '0s'; right is a duration above 0, such as 30s."),
        (
            "phone: P\ndelivery: {stop_after: {rejected_share: 50}}",
            ", line 2, column 41: delivery.stop_after.rejected_share is 50; right is a share above 0 and up to 1, such as 0.5.",
        ),
        (
            "phone: P\napi: {base_url: ftp://x}",
            ", line 2, column 17: api.base_url is 'ftp://x'; right is an address with https:// (or http://), such as "
            "https://call.otonistark.com.br/api.",
        ),
        (
            "phone: P\napi: {base_url: https://u:p@x}",
            ", line 2, column 17: api.base_url: the address carries a password or a query (not shown). Right is the address alone.",
        ),
        # The YAML itself.
        ("", ": the file is empty. A config needs at least phone: {column: Phone}."),
        ("# nothing\n", ": the file is empty. A config needs at least phone: {column: Phone}."),
        ("- a\n", ": found a list; right is a mapping of settings, such as phone: {column: Phone}."),
        ("phone\n", ": found a single text; right is a mapping of settings, such as phone: {column: Phone}."),
        ("phone: P\nphone: Q", ", line 2, column 1: 'phone' stands here a second time; the first is in line 1. Keep one of them."),
        ("phone:\n\tcolumn: P", ", line 2, column 1: a tab stands here; YAML takes spaces only. Replace it by spaces."),
        ("phone: P\nresult: {format: csv", ", line 2, column 21: a bracket or brace is not closed, or a comma is missing."),
        ("phone: 'P\n", ", line 2, column 1: a quote is not closed."),
        ("phone: P\nresult\n", ", line 3, column 1: the line before has no ':' after its key. Right is key: value."),
        (
            "phone: P: Q",
            ", line 1, column 9: a second ': ' in one line, or a wrong indentation. Put a text with a colon in quotes.",
        ),
        (
            "phone: P\ndelivery:\n    rate: auto\n  canary: true",
            ", line 4, column 3: the indentation fits no line above. Give the keys of one block the same number of spaces.",
        ),
        (
            "phone: P\nvariables:\n  a: {First} {Last}",
            ', line 3, column 14: something stands after the end of a value. A text with braces needs quotes: "{First Name} {Last Name}".',
        ),
        ("phone: P\nsource: {sheet: *}", ', line 2, column 18: a text that starts with * or & needs quotes, such as "*".'),
        ("phone: *x", ', line 1, column 8: a text that starts with * or & needs quotes, such as "*".'),
        ("phone: @x", ", line 1, column 8: a text that starts with this character needs quotes."),
        ("phone: P\n---\nphone: P", ", line 2, column 1: a second document begins here with ---. Right is one config in one file."),
        ("phone: !secret P", ", line 1, column 8: the tag '!secret' means nothing here. Remove it."),
        ("phone: &a [*a]", ", line 1, column 8: the settings are nested too deep or repeat each other by aliases."),
        ("phone: \x07", ", line 1, column 8: the invisible character '\\x07' can't stand in YAML. Remove it."),
        ("? [a]\n: b\nphone: P", ", line 1, column 3: a mapping or list stands where a key should; a text with braces or brackets needs quotes."),
        (b"phone: P\n# M\xfcller", ", line 2: byte 0xfc is not UTF-8. Save the file again as UTF-8."),
        ("phone: P".encode("utf-16"), ": the file is UTF-16; right is UTF-8. Save it again as UTF-8."),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_and_what_is_right(problems, text, said):
    assert "\n".join(problem.removeprefix("x.yaml") for problem in problems(text)) == said


def test_all_problems_come_at_once_in_the_order_of_the_file(problems):
    found = problems(
        "campaign_id: x\nvariables:\n  a: {column: A, typ: text}\n  b: {column: B, type: dat}\n  b: C\n"
        "delivery: {timeout: x, concurrency: 0, rate: x}\ntoken: x\n"
    )
    places = [re.match(r"x\.yaml(?:, line (\d+), column (\d+))?: ", problem).groups() for problem in found]
    assert places == [
        (None, None), ("1", "14"), ("3", "18"), ("4", "24"), ("5", "3"), ("6", "21"), ("6", "37"), ("6", "46"), ("7", "1"),
    ]  # fmt: skip


def test_a_byte_order_mark_is_no_part_of_the_first_key(loaded):
    assert loaded("\ufeffphone: Phone").phone.columns == ("Phone",)


def test_a_missing_file_names_its_neighbour(tmp_path):
    (tmp_path / "spring.yaml").touch()
    with pytest.raises(Refused) as refused:
        load(tmp_path / "sprnig.yaml")
    here = str(tmp_path)
    assert (
        str(refused.value).replace(here, "…") == "…/sprnig.yaml: there is no such file; did you mean '…/spring.yaml'?"
    )


def test_a_folder_and_an_unreadable_file_are_no_config(tmp_path, monkeypatch):
    with pytest.raises(Refused, match=r"this is a folder; right is a YAML file\."):
        load(tmp_path)

    def denied(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(Refused, match=r"x\.yaml: the file can't be read \(Permission denied\)\."):
        load(tmp_path / "x.yaml")


# A key never stands in a config, and never in a message.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("phone: P\napi: {key: s3cret-s3cret}", ", line 2, column 7: a key or password does not belong in a config (api.key, not shown). "),
        ("phone: P\nAPI-Key: s3cret-s3cret", ", line 2, column 1: a key or password does not belong in a config (API-Key, not shown). "),
        ("phone: P\ntoken: {a: s3cret-s3cret}", ", line 2, column 1: a key or password does not belong in a config (token, not shown). "),
        ("phone: P\nvariables: {x: {value: 12|s3cret-s3cret}}", ", line 2, column 24: what stands here looks like a key of the API (not shown). "),
        ("phone: 12|s3cret", ", line 1, column 8: what stands here looks like a key of the API (not shown). "),
        ("phone: P\nnote: Bearer 12|s3cret-s3cret", ", line 2, column 7: what stands here looks like a key of the API (not shown). "),
        ("phone: P\n12|s3cret-s3cret: x", ", line 2, column 1: what stands here looks like a key of the API (not shown). "),
    ],
)  # fmt: skip
def test_a_key_is_refused_without_being_shown(problems, text, said):
    (problem,) = problems(text)
    assert problem == f"x.yaml{said}{TAKE_IT_OUT}"


@pytest.mark.parametrize(
    "text", ["api: {key_env: s3cret-s3cret}", "api: {key_file_env: abcdefgh12345678abcdefgh12345678s3cret}"]
)
def test_a_key_in_place_of_its_variables_name_is_not_shown(problems, text):
    (problem,) = problems(f"phone: P\n{text}")
    assert "s3cret" not in problem
    assert "is no name of an environment variable. Right is the name only" in problem


def test_a_variable_may_be_called_token(with_phone):
    assert (
        with_phone("variables: {token: Token, password: {column: A, map: {key: b}}}").variables["token"].column
        == "Token"
    )


def test_a_column_with_a_bar_in_its_name_is_no_key(with_phone):
    assert with_phone("variables: {x: Phone 1|Telephone}").variables["x"].column == "Phone 1|Telephone"


PLACES = [
    "{}: P", "phone: {}", "phone: {{column: {}}}", "phone: {{region: {}}}", "phone: P\nvariables: {{x: '{{A}} {}'}}",
    "phone: P\nvariables: {{{}: P}}", "phone: P\nwhere: {{column: A, in: [{}]}}", "phone: P\nsuppress: [{}]",
    "phone: P\napi: {{base_url: 'https://h/?key={}'}}", "phone: P\napi: {{key_env: {}}}", "phone: P\ndelivery: {{rate: {}}}",
    "phone: P\ncampaign_id: {{map: {{{}: x}}}}", "phone: P\nx: *{}", "phone: P\nx: !{} y", "phone: [{}", "{}",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(PLACES),
    st.integers(1, 9999),
    st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=20, max_size=48),
)
def test_no_message_ever_shows_a_key(tmp_path_factory, place, number, random):
    path = tmp_path_factory.getbasetemp() / "secret.yaml"
    path.write_text(place.format(f"{number}|{random}"))
    with pytest.raises(Refused) as refused:
        load(path)
    assert random not in str(refused.value)


def test_keys_are_hidden_in_any_text():
    assert hide_keys("found '12|abcdefGHI' there") == "found '<key not shown>' there"


words = st.sampled_from(
    ["phone", "column", "columns", "region", "variables", "in", "where", "map", "api", "delivery", "rate", "type", "x", "",
     "{A}", "{", "7", "true", "null", "auto", "date", "30s", "secondary_contacts", "group_by", "suppress", "<block>", "template"]
)  # fmt: skip
anything = st.recursive(
    words | st.none() | st.integers() | st.floats() | st.booleans() | st.dates().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(words, anything, max_size=5), st.booleans())
def test_whatever_is_written_ends_in_a_config_or_in_plain_words(tmp_path_factory, content, with_phone):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(json.dumps(content | ({"phone": "P"} if with_phone else {})))
    said = ()
    try:
        config = load(path)
    except Refused as refused:
        said = refused.problems
    else:
        assert len(config.fingerprint()) == 64
    assert [problem for problem in said if not (problem.startswith(str(path)) and problem[-1] in ".?")] == []
    assert not re.search(r"Input should|union|pydantic|valid \w+ type|something else|<plain>", "".join(said))


@settings(max_examples=200, deadline=None)
@given(st.text("ab:{}[]\"'\t\n -#&*!|>%@`,?\\\x07é1", max_size=40))
def test_no_text_at_all_brings_a_traceback(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "text.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.raises(Refused):
        load(path)


# Files that it names.


def test_suppression_lists_that_are_not_there_are_told_with_all_else_that_is_wrong_with_the_config(
    tmp_path: Path, command: Callable[..., Ended]
) -> None:
    (tmp_path / "a.csv").write_text("Name,Phone\nAda,+12125550100\n")
    (tmp_path / "do not call.csv").write_text("+12125550199\n")
    lists = "suppress:\n  - do not cal.csv\n  - do not call.csv\n  - blocked.xlsx\n"
    for rest, said in {
        "campaign_id: 7\nphone: {column: Fone}\n": ["c.yaml, line 2, column 17: a.csv has no column 'Fone'"],
        "campaign_id: 7\nphone: {column: Fone}\nvaribles: {}\n": ["c.yaml, line 3, column 1: unknown key 'varibles'"],
    }.items():
        (tmp_path / "c.yaml").write_text(rest + lists)
        ended = command("check", "a.csv", "-c", "c.yaml")
        first, line = rest.count("\n") + 1, "suppress: {}: there is no such file"
        assert ended.status == 2
        wanted = [
            *said,
            f"c.yaml, line {first + 1}, column 5: {line.format('do not cal.csv')}; did you mean 'do not call.csv'?",
            f"c.yaml, line {first + 3}, column 5: {line.format('blocked.xlsx')}. Put it there, or write where it is",
        ]
        assert len(ended.err.splitlines()) == 3
        for text in wanted:
            assert text in ended.err
