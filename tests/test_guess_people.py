"""Who is taken for whom: names, contacts on the lead's row, and rows that are one household or company."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from init_lists import us

from importer.config import load


@pytest.mark.parametrize(
    ("headers", "template"),
    [
        (("Vorname", "Name"), "{Vorname} {Name}"),
        (("Nome", "Cognome"), "{Nome} {Cognome}"),
        (("Nom", "Prénom"), "{Prénom} {Nom}"),
        (("Nombre", "Apellidos"), "{Nombre} {Apellidos}"),
        (("Sobrenome", "Nome"), "{Nome} {Sobrenome}"),
        (("firstName", "lastName"), "{firstName} {lastName}"),
    ],
)
def test_a_name_in_two_columns_becomes_a_template(
    headers: tuple[str, str], template: str, begin: Callable[..., Any]
) -> None:
    _, text, _ = begin([[*headers, "Phone"], *(["Ada", "Marsh", phone] for phone in us(3))])
    assert f'customer_name: "{template}"' in text


def test_a_primary_contact_is_a_name_where_it_is_no_yes_or_no(begin: Callable[..., Any]) -> None:
    config, _, _ = begin([["Account", "Primary Contact", "Phone"], *(["A", "Ada Marsh", phone] for phone in us(3))])
    assert config.variables["customer_name"].columns == ("Primary Contact",)


def test_people_on_the_same_row_are_contacts_and_second_numbers_are_not(begin: Callable[..., Any]) -> None:
    head = ["Name", "Phone", "Phone 2", "Contact 3", "Phone 3", "E-mail 3", "Spouse Phone"]
    rows = [
        ["Ada", a, b, "Ben", c, f"ben{place}@example.com", d]
        for place, (a, b, c, d) in enumerate(zip(us(4), us(4, 110), us(4, 120), us(4, 130), strict=True))
    ]
    config, _, _ = begin([head, *rows])
    assert config.phone.columns == ("Phone", "Phone 2")
    assert config.secondary_contacts is not None
    found = {contact.phone: variables_of(contact) for contact in config.secondary_contacts.columns}
    assert found == {
        "Phone 3": {"customer_name": ("Contact 3",), "email": ("E-mail 3",)},
        "Spouse Phone": {},
    }


def variables_of(contact: Any) -> dict[str, tuple[str, ...]]:
    return {name: one.columns for name, one in contact.variables.items()}


def test_rows_are_grouped_only_where_a_column_says_who_is_the_lead(begin: Callable[..., Any]) -> None:
    head = ["Account ID", "Role", "Phone"]
    people = [[f"A{number // 2}", "Main" if number % 2 == 0 else "Spouse", phone] for number, phone in enumerate(us(8))]
    contacts = begin([head, *people])[0].secondary_contacts
    assert contacts.group_by == "Account ID"
    assert contacts.primary_when.in_ == ("Main",)
    config, text, told = begin([head, *([key, "Clerk", phone] for key, _, phone in people)])
    assert config.secondary_contacts is None
    assert "#   group_by: Account ID" in text
    assert "each row is a lead of its own" in told


def people(key: Callable[[int], str], role: Callable[[int], str], phones: Sequence[str]) -> list[list[str]]:
    return [[key(place), role(place), "Ada Marsh", phone] for place, phone in enumerate(phones)]


def in_pairs(place: int) -> str:
    return f"L{place // 2}"


def turns(*words: str) -> Callable[[int], str]:
    return lambda place: words[place % len(words)]


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (("lead_id", "contact_type"), ("primary", "secondary")),
        (("Household ID", "Relationship"), ("Self", "Spouse")),
        (("Haushalt", "Kontaktart"), ("Hauptkontakt", "Nebenkontakt")),
        (("Account", "Is Primary"), ("Yes", "No")),
        (("Account", "Primary"), ("x", "")),
    ],
)
def test_groups_are_switched_on_where_key_and_role_bear_each_other_out(
    headers: tuple[str, str], words: tuple[str, str], begin: Callable[..., Any]
) -> None:
    config, _, _ = begin([[*headers, "Name", "Phone"], *people(in_pairs, turns(*words), us(12))])
    contacts = config.secondary_contacts
    assert (contacts.group_by, contacts.primary_when.column, contacts.primary_when.in_) == (*headers, (words[0],))


@pytest.mark.parametrize(
    ("rows", "proposed"),
    [
        # The primary key of a list, several times with other numbers, and nothing that says who is the lead.
        ([["ID", "Note", "Name", "Phone"], *people(in_pairs, turns("a", "b"), us(12))], {"group_by": "ID"}),
        # A company may have several people who are leads each.
        (
            [
                ["Company", "Contact Type", "Name", "Phone"],
                *people(lambda n: f"Firm {in_pairs(n)}", turns("Main", "Other"), us(12)),
            ],
            {"group_by": "Company", "primary_when": {"column": "Contact Type", "in_": ["Main"]}},
        ),
        # Households without a primary, or with two: their rows would be invalid.
        (
            [
                ["Account", "Role", "Name", "Phone"],
                *people(in_pairs, lambda n: "Primary" if n < 6 or n % 2 else "Spouse", us(12)),
            ],
            {"group_by": "Account", "primary_when": {"column": "Role", "in_": ["Primary"]}},
        ),
        # One pair by a slip of the keyboard.
        (
            [
                ["Account", "Role", "Name", "Phone"],
                *people(str, turns("Primary", "Spouse"), us(20)),
                ["2", "Spouse", "Ben", us(1, 140)[0]],
            ],
            {"group_by": "Account", "primary_when": {"column": "Role", "in_": ["Primary"]}},
        ),
        # Who is the lead is said, and not of whom.
        (
            [
                ["Nothing", "contact_type", "Name", "Phone"],
                *people(lambda _: "", turns("primary", "secondary"), us(12)),
            ],
            {"group_by": "COLUMN", "primary_when": {"column": "contact_type", "in_": ["primary"]}},
        ),
    ],
)
def test_groups_that_are_not_sure_are_written_and_switched_off(
    rows: list[list[str]], proposed: dict[str, Any], begin: Callable[..., Any], tmp_path: Path
) -> None:
    config, text, told = begin(rows)
    assert config.secondary_contacts is None
    assert "each row is a lead of its own" in told
    lines = text.splitlines()
    first = lines.index("# secondary_contacts:")
    assert "Take the # away if" in lines[first - 1]
    last = lines.index("", first)
    (tmp_path / "on.yaml").write_text(
        "\n".join([*lines[:first], *(line.removeprefix("# ") for line in lines[first:last]), *lines[last:]])
    )
    contacts = load(tmp_path / "on.yaml").secondary_contacts
    assert contacts is not None
    assert contacts.model_dump(exclude_unset=True, mode="json", exclude={"on_invalid"}) == proposed


@pytest.mark.parametrize(
    "rows",
    [
        # The orders of one customer; each with the same number.
        [
            ["Customer ID", "Order", "Name", "Phone"],
            *people(in_pairs, str, [p for phone in us(6) for p in (phone, phone)]),
        ],
        [
            ["Customer ID", "Order", "Name", "Phone"],
            *people(in_pairs, str, [p for phone in us(6) for p in (phone, "")]),
        ],
        [["Company", "Role", "Name", "Phone"], *people(in_pairs, turns("CEO", "Clerk"), us(12))],
        [["City", "Seats", "Name", "Phone"], *people(in_pairs, turns("1", "2"), us(12))],
        [["Account", "Note", "Name", "Phone"], *people(lambda n: str(n // 20), turns("a", "b"), us(60))],
    ],
)
def test_rows_that_share_no_household_are_left_alone(rows: list[list[str]], begin: Callable[..., Any]) -> None:
    config, text, told = begin(rows)
    assert config.secondary_contacts is None
    assert "secondary_contacts" not in text
    assert "\n  group  " not in told


def test_nobodys_emergency_contact_is_a_number_of_the_lead_or_a_contact(begin: Callable[..., Any]) -> None:
    head = ["Name", "Phone", "Emergency Contact", "Emergency Phone", "Notfallnummer"]
    config, _, _ = begin(
        [head, *(["Ada", a, "Ben", b, c] for a, b, c in zip(us(6), us(6, 120), us(6, 130), strict=True))]
    )
    assert (config.phone.columns, config.secondary_contacts) == (("Phone",), None)
    assert config.variables["customer_name"].columns == ("Name",)
