"""The platform's own layout, which is read without a config: the names of a table's columns → a `Config`."""

import re
from collections.abc import Sequence

from importer.columns import alike, folded, listed, resolve
from importer.config import CampaignColumn, Config, ContactColumn, Contacts, Phone, Variable
from importer.config_problems import nearest
from importer.config_values import MAX_CONTACTS
from importer.errors import Refused
from importer.records import RESULT_COLUMNS


def platform_layout(columns: Sequence[str]) -> Config:
    """Return the config for a table in the platform's own layout: `phone_number`, variables, `secondary_…`.

    Columns without a name and those that result files add are left alone. A column `campaign_id` says the campaign.
    """
    layout = _Layout(columns)
    for column in columns:
        layout.take(column)
    return layout.config()


class _Layout:
    """Columns of the platform's own layout, sorted by what they are for."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._phone = resolve(columns, "phone_number")
        self._campaign: CampaignColumn | None = None
        self._variables: dict[str, Variable] = {}
        self._contact_phones: dict[int, str] = {}
        self._contact_variables: dict[int, dict[str, Variable]] = {}
        self._problems: list[str] = []

    def take(self, column: str) -> None:
        name = folded(column)
        if not name or column == self._phone or name in RESULT_COLUMNS:
            return
        contact = re.fullmatch(r"secondary_(?:phone_(\d+)|(\d+)_(.+))", name, re.DOTALL)
        if name == "campaign_id":
            self._campaign = CampaignColumn(column=column)
        elif contact is None:
            self._variable(self._variables, column.strip(), column)
        elif not 1 <= (number := int(contact[1] or contact[2])) <= MAX_CONTACTS:
            self._problems.append(
                f"column {column!r}: there is no contact {number}; right is 1 to {MAX_CONTACTS}. Rename or remove it."
            )
        elif contact[1]:
            other = self._contact_phones.setdefault(number, column)
            if other != column:
                self._problems.append(
                    f"columns {other!r} and {column!r} are both the number of contact {number}. Remove one of them."
                )
        else:
            variable = column.strip()[-len(contact[3]) :]
            self._variable(self._contact_variables.setdefault(number, {}), variable, column)

    def _variable(self, variables: dict[str, Variable], name: str, column: str) -> None:
        if name in variables:
            self._problems.append(
                f"columns {variables[name].column!r} and {column!r} are both the variable {name!r}. Remove one of them."
            )
        variables[name] = Variable(column=column)

    def config(self) -> Config:
        if self._phone is None:
            self._problems.insert(0, self._without_phone())
        for number in sorted(self._contact_variables.keys() - self._contact_phones.keys()):
            column = next(iter(self._contact_variables[number].values())).column
            self._problems.append(
                f"column {column!r} belongs to contact {number}, but there is no column 'secondary_phone_{number}'. "
                "Add it, or rename the column."
            )
        if self._problems:
            raise Refused(*self._problems)
        contacts = tuple(
            ContactColumn(phone=column, variables=self._contact_variables.get(number, {}))
            for number, column in sorted(self._contact_phones.items())
        )
        return Config(
            phone=Phone(columns=(str(self._phone),)),
            campaign_id=self._campaign,
            variables=self._variables,
            secondary_contacts=Contacts(columns=contacts) if contacts else None,
        )

    def _without_phone(self) -> str:
        found = alike(self._columns, "phone_number")
        if found:
            return f"columns {' and '.join(map(repr, found))} may both be 'phone_number'. Remove one of them."
        meant = nearest("phone_number", self._columns) or nearest("phone", self._columns)
        hint = f"; did you mean {meant!r}?" if meant else "."
        return (
            f"there is no column 'phone_number'{hint} Columns there: {listed(self._columns) or 'none'}. "
            "Without a config the platform's own layout is read; for other columns let lead-importer init write a config, "
            "and name it with -c."
        )
