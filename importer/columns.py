"""Which column of a table a name in a config means, which columns a config names, and which of them a table lacks."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

from importer.config import CampaignColumn, Config, RegionColumn, When
from importer.config_problems import Loc, did_you_mean
from importer.errors import Refused


def resolve(columns: Sequence[str], name: str) -> str | None:
    """Return the column that `name` means: the exact one, else the only one that differs in case and outer space.

    None where there is none, or where several would do.
    """
    if name in columns:
        return name
    found = alike(columns, name)
    return found[0] if len(found) == 1 else None


def check_columns(config: Config, columns: Sequence[str], table_name: str) -> None:
    """Raise one `Refused` that names every column of the config that the table lacks, each with its place."""
    problems = [
        f"{config.where_is(loc)}: {_lacking(columns, name, table_name)}"
        for loc, name in column_uses(config)
        if resolve(columns, name) is None
    ]
    if problems:
        raise Refused(*dict.fromkeys(problems))


def column_uses(config: Config) -> Iterator[tuple[Loc, str]]:
    """Yield each column that the config names, and where."""
    for number, name in enumerate(config.phone.columns):
        yield ("phone", "columns", number), name
    yield from _uses_of(config.phone.region, ("phone", "region"))
    yield from _uses_of(config.campaign_id, ("campaign_id",))
    yield from _uses_of(config.variables, ("variables",))
    contacts = config.secondary_contacts
    if contacts is not None:
        if contacts.group_by is not None:
            yield ("secondary_contacts", "group_by"), contacts.group_by
        yield from _uses_of(contacts.primary_when, ("secondary_contacts", "primary_when"))
        yield from _uses_of(contacts.variables, ("secondary_contacts", "variables"))
        for number, contact in enumerate(contacts.columns):
            loc = ("secondary_contacts", "columns", number)
            yield (*loc, "phone"), contact.phone
            yield from _uses_of(contact.region, (*loc, "region"))
            yield from _uses_of(contact.variables, (*loc, "variables"))
    yield from _uses_of(config.where, ("where",))


def folded(name: str) -> str:
    """Return a name as it is compared: without case and outer space, however its accents are stored."""
    return unicodedata.normalize("NFC", name).strip(" \t\r\n\xa0\u200b\u2060\ufeff").strip().casefold()


def alike(columns: Iterable[str], name: str) -> list[str]:
    """Return the columns that differ from a name in case and outer space at most."""
    return [column for column in columns if folded(column) == folded(name)]


def listed(columns: Sequence[str]) -> str:
    """Name columns for people, the first fifty."""
    shown = ", ".join(map(repr, columns[:50]))
    return shown if len(columns) <= 50 else f"{shown} and {len(columns) - 50} more"


def _uses_of(setting: object, loc: Loc) -> Iterator[tuple[Loc, str]]:
    if isinstance(setting, RegionColumn | CampaignColumn | When):
        yield (*loc, "column"), setting.column
    elif isinstance(setting, Mapping):
        for name, variable in setting.items():
            for column in variable.columns:
                yield (*loc, name, "template" if variable.template else "column"), column


def _lacking(columns: Sequence[str], name: str, table_name: str) -> str:
    found = alike(columns, name)
    if found:
        return f"column {name!r} may be {' or '.join(map(repr, found))} of {table_name}. Write one of them exactly."
    if not columns:
        return f"{table_name} has no columns, so no {name!r}."
    return f"{table_name} has no column {name!r}{did_you_mean(name, columns)} Columns there: {listed(columns)}."
