import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from importer.columns import check_columns, column_uses, resolve
from importer.config import (
    CampaignColumn,
    Config,
    ContactColumn,
    Contacts,
    Phone,
    RegionColumn,
    Variable,
    When,
    load,
    schema,
)
from importer.config_problems import Settings
from importer.config_values import Limit, Part, parse_duration, parse_rate, parse_region
from importer.errors import Refused
from importer.platform_layout import platform_layout
from importer.records import RESULT_COLUMNS

CONTRACT = """\
api:
  base_url: https://call.otonistark.com.br/api
  key_env: OTONISTARK_API_KEY
source:
  sheet: Leads                  # name, number from 1, or "*" for all; default: the only sheet with data
  header_row: 1                 # default: found
campaign_id: 7                  # or {column: Campaign, map: {Spring: 7, Autumn: 8}}
phone:
  column: Phone                 # or {columns: [Mobile, Phone]}: the first usable one
  region: US                    # for numbers without +; or {column: Country}
  missing_plus: refuse          # digits that may be national, or international with the + lost
variables:
  customer_name: "{First Name} {Last Name}"     # braces: a template of columns
  email: {column: E-mail, type: email, on_error: drop}   # default: the row is invalid
  company: Company                              # a bare word: a column
  renewal: {column: Renewal, type: date, format: "%d/%m/%Y"}
  seats: {column: Seats, type: integer}
  source: {value: spring-fair}                  # a constant
  plan: {column: Plan, map: {G: gold, S: silver}, default: basic}
secondary_contacts:
  group_by: Account ID          # rows with the same value are one lead, in any order
  primary_when: {column: Role, in: [Primary, Main]}
  variables: {customer_name: "{First Name}"}
  on_invalid: hold              # hold the whole lead | drop the contact and say so
where: {column: Status, in: [New]}              # other rows are `filtered`
allow_duplicate: false
suppress: [dnc.csv]
delivery: {rate: auto, concurrency: 8, timeout: 30s, settle_window: 15s}
result: {format: same}
"""


# What a config says.


def test_the_contracts_example_loads(loaded, tmp_path):
    config = loaded(CONTRACT)
    assert (config.api.base_url, config.api.key_env) == ("https://call.otonistark.com.br/api", "OTONISTARK_API_KEY")
    assert (config.source.sheet, config.source.header_row, config.campaign_id) == ("Leads", 1, 7)
    assert config.phone == Phone(columns=("Phone",), region="US", missing_plus="refuse", several="refuse")
    assert config.variables["email"] == Variable(column="E-mail", type="email", on_error="drop")
    assert config.variables["company"] == Variable(column="Company")
    assert config.variables["renewal"].format == "%d/%m/%Y"
    assert config.variables["source"].value == "spring-fair"
    assert (config.variables["plan"].map, config.variables["plan"].default) == ({"G": "gold", "S": "silver"}, "basic")
    assert config.secondary_contacts.group_by == "Account ID"
    assert config.secondary_contacts.primary_when == When(column="Role", in_=("Primary", "Main"))
    assert config.where == When(column="Status", in_=("New",))
    assert config.suppress == (tmp_path / "dnc.csv",)
    assert config.path == tmp_path / "x.yaml"


def test_what_is_left_out_has_its_default(loaded):
    config = loaded("phone: Phone")
    assert config == loaded("phone: Phone")
    assert config.api.base_url == "https://call.otonistark.com.br/api"
    assert (config.api.key_env, config.api.key_file_env) == ("OTONISTARK_API_KEY", "OTONISTARK_API_KEY_FILE")
    assert (config.campaign_id, config.secondary_contacts, config.where, config.ledger) == (None, None, None, None)
    delivery, stop = config.delivery, config.delivery.stop_after
    assert (delivery.rate, delivery.concurrency, delivery.timeout, delivery.settle_window) == ((), None, 30.0, 15.0)
    assert (delivery.canary, delivery.canary_above) == (True, 100)
    assert (stop.same_refusal, stop.html, stop.timeouts, stop.unreached, stop.grace) == (5, 5, 3, 5, 30.0)
    assert (stop.rejected_share, stop.rejected_after, config.result.format) == (0.5, 50, "same")


def test_a_key_with_nothing_behind_it_is_as_if_left_out(with_phone, loaded):
    text = "campaign_id:\nsource:\nsecondary_contacts: ~\nwhere: null\napi: {base_url: }"
    assert with_phone(text).fingerprint() == loaded("phone: Phone").fingerprint()


@pytest.mark.parametrize("text", ["Phone", "{column: Phone}", "{columns: Phone}", "{columns: [Phone]}", '" Phone "'])
def test_every_short_form_of_the_phone_means_the_same(loaded, text):
    assert loaded(f"phone: {text}").phone == Phone(columns=("Phone",))


def test_country_and_campaign_may_come_from_columns(loaded):
    config = loaded(
        "phone: {columns: [Mobile, Phone], region: {column: Country, map: {Germany: de}}, several: first}\n"
        "campaign_id: {column: Campaign, map: {Spring: 7, Autumn: '8'}}"
    )
    assert config.phone.columns == ("Mobile", "Phone")
    assert config.phone.region == RegionColumn(column="Country", map={"Germany": "DE"})
    assert config.campaign_id == CampaignColumn(column="Campaign", map={"Spring": 7, "Autumn": 8})


def test_norway_is_a_country_and_not_a_no(loaded):
    assert loaded("phone: {column: NO, region: NO}").phone == Phone(columns=("NO",), region="NO")


@pytest.mark.parametrize("text", ["7", '"7"', "' 7 '"])
def test_a_campaign_number_may_be_quoted(with_phone, text):
    assert with_phone(f"campaign_id: {text}").campaign_id == 7


def test_column_names_that_yaml_takes_for_something_else_stay_texts(with_phone):
    config = with_phone(
        "variables: {a: 2026, b: {column: 007}, c: 2026-01-05, d: TRUE, e: 1e3}\n"
        "where: {column: 1.50, in: [TRUE, 007, 2026-01-05, no]}"
    )
    assert [variable.column for variable in config.variables.values()] == ["2026", "007", "2026-01-05", "TRUE", "1e3"]
    assert config.where == When(column="1.50", in_=("TRUE", "007", "2026-01-05", "no"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("spring", "spring"),
        ("7", 7),
        ("-1.5", -1.5),
        ("true", True),
        ('"7"', "7"),
        ("007", "007"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("2026-01-05", "2026-01-05"),
        ("4915112345678901234", "4915112345678901234"),
        ("NO", "NO"),
        ("7, type: text", "7"),
        ("1.50, type: text", "1.50"),
        ('"7", type: integer', 7),
        ("7, type: number", 7),
        ('"yes", type: boolean', True),
        ("2026-01-05, type: date", "2026-01-05"),
    ],
)
def test_a_constant_is_what_was_meant(with_phone, text, value):
    found = with_phone(f"variables: {{x: {{value: {text}}}}}").variables["x"].value
    assert (found, type(found)) == (value, type(value))


def test_a_map_takes_any_cell_and_types_its_values(with_phone):
    config = with_phone(
        "variables: {x: {column: A, map: {007: 1, TRUE: yes, ' S ': 2.5}, default: 3}, "
        "y: {column: A, type: text, map: {a: 1}, default: 2}}"
    )
    assert config.variables["x"].map == {"007": 1, "TRUE": "yes", "S": 2.5}
    assert config.variables["x"].default == 3
    assert (config.variables["y"].map, config.variables["y"].default) == ({"a": "1"}, "2")


@pytest.mark.parametrize(
    ("text", "parts", "columns"),
    [
        ("{First} {Last}", [("column", "First"), ("text", " "), ("column", "Last")], ("First", "Last")),
        ("{{{A}}} {A}", [("text", "{"), ("column", "A"), ("text", "} "), ("column", "A")], ("A",)),
        ("Dr. { Name }", [("text", "Dr. "), ("column", "Name")], ("Name",)),
        ("{a:b!r}", [("column", "a:b!r")], ("a:b!r",)),
    ],
)
def test_a_template_is_text_and_columns(with_phone, text, parts, columns):
    short = with_phone(f"variables: {{x: '{text}'}}").variables["x"]
    full = with_phone(f"variables: {{x: {{template: '{text}', type: text}}}}").variables["x"]
    assert short.template == full.template == tuple(Part(*part) for part in parts)
    assert (short.columns, short.column) == (columns, None)


pieces = st.tuples(st.just("text"), st.text("ab{} ", min_size=1)) | st.tuples(
    st.just("column"), st.text("ab", min_size=1)
)


@given(st.lists(pieces), pieces.filter(lambda piece: piece[0] == "column"))
def test_any_text_survives_in_a_template(before, column):
    braced = {"text": lambda text: text.replace("{", "{{").replace("}", "}}"), "column": "{{{}}}".format}
    written = "".join(braced[kind](text) for kind, text in [*before, column])
    parts = Variable(template=written).template
    assert "".join(braced[part.kind](part.text) for part in parts) == written
    assert [part.text for part in parts if part.kind == "column"] == [
        text for kind, text in [*before, column] if kind == "column"
    ]


def test_variables_show_their_columns():
    assert Variable(column="A").columns == ("A",)
    assert Variable(value=0).columns == ()
    assert Variable(template="{B}{A}{B}").columns == ("B", "A")


def test_contacts_may_stand_in_columns(with_phone):
    config = with_phone("secondary_contacts: {columns: [Phone 2, {phone: P3, region: DE, variables: {n: '{N}'}}]}")
    assert config.secondary_contacts.columns == (
        ContactColumn(phone="Phone 2"),
        ContactColumn(phone="P3", region="DE", variables={"n": Variable(template="{N}")}),
    )
    assert config.secondary_contacts.on_invalid == "hold"


def test_conditions_take_one_value_or_several_and_empty_cells(with_phone):
    assert with_phone("where: {column: S, in: New}").where.in_ == ("New",)
    assert with_phone('where: {column: S, not_in: [Done, ""]}').where.not_in == ("Done", "")


def test_paths_are_seen_from_the_configs_folder(with_phone, tmp_path):
    config = with_phone("suppress: lists/dnc.csv\nledger: /var/l.sqlite3")
    assert (config.suppress, config.ledger) == ((tmp_path / "lists/dnc.csv",), Path("/var/l.sqlite3"))


def test_a_sheet_is_a_name_or_a_number(with_phone):
    found = [with_phone(f"source: {{sheet: {text}}}").source.sheet for text in ("2", '"2"', '"*"', "2026-01")]
    assert found == [2, "2", "*", "2026-01"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("2m", 120), ("1h", 3600), ("500ms", 0.5), ("1.5", 1.5), (10, 10), ("0", 0)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1 day", "1s2m", True, None, "nan"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="a duration, such as 30s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("written", "limits"),
    [
        ("auto", ()),
        ("40/s", (Limit(40, 1),)),
        ("60/min", (Limit(60, 60),)),
        ("0.5 / Second", (Limit(0.5, 1),)),
        (["10/s", "5000/day"], (Limit(10, 1), Limit(5000, 86400))),
        ({"per_second": 10, "per_hour": 900}, (Limit(10, 1), Limit(900, 3600))),
    ],
)
def test_rates(with_phone, written, limits):
    assert parse_rate(written) == limits
    assert with_phone(f"delivery: {{rate: {json.dumps(written)}}}").delivery.rate == limits


@pytest.mark.parametrize("written", ["", "40", "0/s", "4/fortnight", "fast", [], {}, {"per_year": 1}, None, 40, ["x"]])
def test_what_is_no_rate_is_refused(written):
    with pytest.raises(ValueError, match="auto, or a number and a unit"):
        parse_rate(written)


def test_regions_are_countries_with_numbers():
    assert parse_region(" de ") == "DE"
    with pytest.raises(ValueError, match="for the United Kingdom GB"):
        parse_region("uk")


def test_a_config_can_not_be_changed_by_accident(loaded):
    with pytest.raises(ValidationError, match="frozen"):
        loaded("phone: Phone").allow_duplicate = True


def test_a_copy_knows_its_places(loaded, config_file):
    copy = loaded(CONTRACT).model_copy(update={"campaign_id": 9})
    assert copy.where_is(("campaign_id",)) == f"{config_file(CONTRACT)}, line 7, column 14"


# Where a setting stands.


@pytest.mark.parametrize(
    ("loc", "place"),
    [
        (("variables", "email", "column"), ", line 14, column 19"),
        (("variables", "company"), ", line 15, column 12"),
        (("variables", "company", "column"), ", line 15, column 12"),
        (("variables",), ", line 12, column 1"),
        (("phone", "columns", 0), ", line 9, column 11"),
        (("where", "in", 0), ", line 25, column 30"),
        (("suppress", 0), ", line 27, column 12"),
        (("delivery", "canary"), ", line 28, column 1"),
        (("ledger",), ""),
    ],
)
def test_every_setting_knows_its_line(loaded, config_file, loc, place):
    assert loaded(CONTRACT).where_is(loc) == f"{config_file(CONTRACT)}{place}"


def test_a_config_without_a_file_says_so():
    assert Config(phone=Phone(columns=("P",))).where_is(("phone",)) == "the config"


# Columns.


@pytest.mark.parametrize(
    ("columns", "name", "found"),
    [
        (["Phone", "phone"], "phone", "phone"),
        (["Phone", "PHONE"], "phone", None),
        ([" E-Mail\xa0"], "e-mail", " E-Mail\xa0"),
        (["STRASSE"], "straße", "STRASSE"),
        (["Stra\u00dfe", "Cafe\u0301"], "CAF\u00c9", "Cafe\u0301"),
        (["Phone"], "Phone 2", None),
        ([], "Phone", None),
    ],
)
def test_columns_match_exactly_first_then_loosely(columns, name, found):
    assert resolve(columns, name) == found


@given(st.lists(st.text(max_size=5), unique=True))
def test_every_column_finds_itself(columns):
    assert all(resolve(columns, column) == column for column in columns)


def test_columns_that_the_table_lacks_are_named_with_place_and_neighbour(loaded, config_file):
    config = loaded(CONTRACT)
    columns = [
        "PHONE",
        "First Name",
        "Last Name",
        "Email",
        "company ",
        "Renewal",
        "Seats",
        "Plan",
        "Account ID",
        "Role",
        "ROLE ",
        "Status",
    ]
    check_columns(config, [*columns, "E-mail"], "leads.xlsx")
    with pytest.raises(Refused) as refused:
        check_columns(config, [name for name in columns if name not in ("Role", "Plan")] + ["role"], "leads.xlsx")
    listed = "'PHONE', 'First Name', 'Last Name', 'Email', 'company ', 'Renewal', 'Seats', 'Account ID', 'ROLE ', 'Status', 'role'"
    path = config_file(CONTRACT)
    assert refused.value.problems == (
        f"{path}, line 14, column 19: leads.xlsx has no column 'E-mail'; did you mean 'Email'? Columns there: {listed}.",
        f"{path}, line 19, column 18: leads.xlsx has no column 'Plan'. Columns there: {listed}.",
        f"{path}, line 22, column 26: column 'Role' may be 'ROLE ' or 'role' of leads.xlsx. Write one of them exactly.",
    )


def test_every_column_of_a_config_is_checked(loaded):
    config = loaded(
        "phone: {columns: [c1, c2], region: {column: c3}}\ncampaign_id: {column: c4}\nwhere: {column: c5, in: x}\n"
        "variables: {a: c6, b: '{c7}{c8}', c: {value: x}}\n"
        "secondary_contacts: {columns: [c9, {phone: c10, region: {column: c11}, variables: {a: c12}}]}"
    )
    assert {name for _, name in column_uses(config)} == {f"c{number}" for number in range(1, 13)}
    rows = loaded(
        "phone: c1\nsecondary_contacts: {group_by: c2, primary_when: {column: c3, in: x}, variables: {a: c4, b: '{c5}'}}"
    )
    assert {name for _, name in column_uses(rows)} == {f"c{number}" for number in range(1, 6)}
    with pytest.raises(Refused, match=r"table\.csv has no columns, so no 'c1'"):
        check_columns(rows, [], "table.csv")


# The platform's own layout.


def test_the_platforms_layout_needs_no_config():
    config = platform_layout(
        ["Phone_Number", "customer_name", "E Mail", "secondary_phone_2", "secondary_1_Name", "secondary_phone_1",
         "secondary_2_customer_name", "secondary_1_e_mail", "{odd}", "", *RESULT_COLUMNS]
    )  # fmt: skip
    assert config == Config(
        phone=Phone(columns=("Phone_Number",)),
        variables={name: Variable(column=name) for name in ("customer_name", "E Mail", "{odd}")},
        secondary_contacts=Contacts(
            columns=(
                ContactColumn(
                    phone="secondary_phone_1",
                    variables={
                        "Name": Variable(column="secondary_1_Name"),
                        "e_mail": Variable(column="secondary_1_e_mail"),
                    },
                ),
                ContactColumn(
                    phone="secondary_phone_2", variables={"customer_name": Variable(column="secondary_2_customer_name")}
                ),
            )
        ),
    )
    assert config.path is None


def test_a_campaign_column_of_the_layout_is_no_variable():
    config = platform_layout(["phone_number", "campaign_id"])
    assert (config.campaign_id, config.variables) == (CampaignColumn(column="campaign_id"), {})


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            ["Phone", "name"],
            "there is no column 'phone_number'; did you mean 'Phone'? Columns there: 'Phone', 'name'. Without a config the "
            "platform's own layout is read; for other columns let lead-importer init write a config, and name it with -c.",
        ),
        (
            [],
            "there is no column 'phone_number'. Columns there: none. Without a config the "
            "platform's own layout is read; for other columns let lead-importer init write a config, and name it with -c.",
        ),
        (["Phone_number", "PHONE_NUMBER"], "columns 'Phone_number' and 'PHONE_NUMBER' may both be 'phone_number'. Remove one of them."),
        (
            ["phone_number", "secondary_3_name"],
            "column 'secondary_3_name' belongs to contact 3, but there is no column 'secondary_phone_3'. Add it, or rename the column.",
        ),
        (["phone_number", "secondary_phone_11"], "column 'secondary_phone_11': there is no contact 11; right is 1 to 10. Rename or remove it."),
        (["phone_number", "name", "name "], "columns 'name' and 'name ' are both the variable 'name'. Remove one of them."),
        (
            ["phone_number", "secondary_phone_1", "Secondary_Phone_1"],
            "columns 'secondary_phone_1' and 'Secondary_Phone_1' are both the number of contact 1. Remove one of them.",
        ),
    ],
)  # fmt: skip
def test_what_is_not_the_platforms_layout_is_refused(columns, said):
    with pytest.raises(Refused) as refused:
        platform_layout(columns)
    assert str(refused.value) == said


# The fingerprint.


def test_the_fingerprint_is_of_what_is_sent_and_nothing_else(tmp_path):
    def print_of(text, folder="a"):
        path = tmp_path / folder / "x.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return load(path).fingerprint()

    first = print_of("phone: P\nvariables: {a: A, b: B}\nsuppress: [dnc.csv]")
    assert re.fullmatch(r"[0-9a-f]{64}", first)
    assert first == print_of("suppress: dnc.csv\nvariables: {b: {column: B}, a: A}\nphone: {columns: [P]}", "b")
    assert first == print_of(
        "phone: P\nvariables: {a: A, b: B}\nsuppress: [dnc.csv]\ndelivery: {rate: 1/s}\nresult: {format: csv}\nledger: l"
    )
    others = {
        print_of(text)
        for text in (
            "phone: P\nvariables: {a: A, b: C}\nsuppress: [dnc.csv]",
            "phone: P\nvariables: {a: A, b: B}",
            "phone: P\nvariables: {a: A, b: B}\nsuppress: [dnc.csv]\nallow_duplicate: true",
            "phone: P\nvariables: {a: A, b: {value: B}}\nsuppress: [dnc.csv]",
        )
    }
    assert len(others) == 4
    assert first not in others


def test_the_fingerprint_stays_the_same_from_version_to_version():
    config = Config(phone=Phone(columns=("Phone",)), campaign_id=7, variables={"name": Variable(template="{First} x")})
    assert config.fingerprint() == "44c32aa1c84b815aca45621ce4c3e6cf200665adc86c131528edb62224a3010c"


# The schema.


def objects(node):
    if isinstance(node, dict):
        if isinstance(node.get("properties"), dict) and node.get("type") == "object":
            yield node
        for item in node.values():
            yield from objects(item)
    elif isinstance(node, list):
        for item in node:
            yield from objects(item)


def test_every_property_of_the_schema_is_described():
    found = [(name, item) for node in objects(schema()) for name, item in node["properties"].items()]
    assert len(found) > 50
    assert [name for name, item in found if not item.get("description")] == []


def test_the_schema_knows_the_keys_that_the_loader_knows():
    models = {model.__name__: model for model in Settings.__subclasses__()}
    made = schema()
    for name, model in models.items():
        node = made if name == "Config" else next(objects(made["$defs"][name]))
        assert set(node["properties"]) == set(model.keys()), name
        assert node["additionalProperties"] is False


def test_the_schema_is_of_the_file_as_people_write_it():
    made = schema()
    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert made["required"] == ["phone"]
    assert {"in", "not_in", "column"} == set(made["$defs"]["When"]["properties"])
    assert [form["type"] for form in made["$defs"]["Variable"]["anyOf"]] == ["string", "object"]
    assert [form["type"] for form in made["$defs"]["Phone"]["anyOf"]] == ["string", "object"]
    assert made["$defs"]["Delivery"]["properties"]["rate"]["default"] == "auto"
    assert json.loads(json.dumps(made)) == made


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("encoding: UTF-8", "utf-8"),
        ("encoding: windows-1252", "cp1252"),
        ("encoding: ANSI", "cp1252"),
        ("encoding: Mac Roman", "mac-roman"),
        ("encoding: latin1", "iso8859-1"),
        ("delimiter: tab", "\t"),
        ("delimiter: ';'", ";"),
        ("delimiter: '|'", "|"),
        ("delimiter: comma", ","),
        ("hidden: skip", "skip"),
    ],
)
def test_how_a_file_is_written_goes_by_any_of_its_names(source: str, found: str, tmp_path: Path) -> None:
    path = tmp_path / "leads.yaml"
    path.write_text(f"phone: {{column: Phone}}\ncampaign_id: 7\nsource: {{{source}}}\n", encoding="utf-8")
    assert getattr(load(path).source, source.split(":")[0]) == found


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("encoding: klingon", "right is an encoding"),
        ("encoding: zlib", "right is an encoding"),
        ("delimiter: ab", "right is one sign"),
        ("delimiter: a", "right is one sign"),
        ("hidden: maybe", "right is keep or skip"),
    ],
)
def test_how_a_file_is_written_is_checked(source: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "leads.yaml"
    path.write_text(f"phone: {{column: Phone}}\ncampaign_id: 7\nsource: {{{source}}}\n", encoding="utf-8")
    with pytest.raises(Refused, match=says):
        load(path)
