"""A guess → the commented config that `init` writes, and what the person is told about it at once.

Only text is made here: `starter` reads the input, tries the config and writes it.
"""

import json
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from importer.config import Config
from importer.guess import Column, Contact, Group, Guess, Region, Sure, Variable, means_new, variable_name
from importer.header_words import bare_meaning, meaning
from importer.records import Table
from importer.wording import count_of

#: Campaign number of commands to change.
_SOME_CAMPAIGN = 7
#: What stands where a campaign's number belongs: a config that still has it is refused.
_TO_FILL_IN = "NUMBER"
#: What stands where a column belongs that was not found.
_NO_COLUMN = "COLUMN"
#: Where comments begin that stand behind a setting.
_COMMENT_AT = 38
_MOST_VALUES = 10

_PLAIN_SCALAR = re.compile(r"[^\W\d_][\w /.()&+-]*[\w.)]|[^\W\d_]")
_OTHER_THAN_TEXT = re.compile(r"(?i)true|false|null|yes|no|on|off|y|n")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for; None where it says nothing."""

    input: Path
    config: Path | None = None
    sheet: str | int | None = None
    campaign: int | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """The rows of an input, and where they stand: the sheets that hold data, the best first, and the header's row."""

    table: Table
    sheets: tuple[str, ...] = ()
    """None for a text file, nor where there is only one to choose."""
    header_row: int | None = None
    """From 1; None where it is found without being set."""


class Page:
    """One config being written: blocks of lines in the order of the contract."""

    def __init__(self, asked: Asked, target: Path, found: Guess, listed: Listed, layout: Config | None) -> None:
        self.asked, self.target, self.found, self.layout = asked, target, found, layout
        self.table, self.sheets, self.header_row = listed.table, listed.sheets, listed.header_row
        is_set = found.region.code or found.region.column or listed.header_row or len(listed.sheets) > 1
        self.needs_no_config = layout is not None and not is_set

    def text(self) -> str:
        """Return the config."""
        if self.layout is not None:
            blocks = [
                self._head(),
                self._source(),
                self._campaign(),
                self._phone(),
                *self._as_laid_out(self.layout),
            ]
        else:
            blocks = [
                self._head(),
                self._source(),
                self._campaign(),
                self._phone(),
                self._variables(),
                self._contacts(),
                self._where(),
                _BEHIND,
            ]
        return "\n\n".join("\n".join(lines) for lines in map(list, blocks) if lines) + "\n"

    # What the person is told at once.

    def told(self) -> Iterator[str]:
        """Yield what was guessed and how surely, and what is left to the person."""
        found, region = self.found, self.found.region
        for note in self.table.notes:
            yield f"{self.table.path.name}: {note}"
        yield f"{self.target}: guessed from {count_of(self.table.cells.height, 'row')} of {self.table.path.name}"
        if self.header_row is not None:
            yield _line("header", f"row {self.header_row}", Sure.LIKELY, "below other text")
        elif _may_be_title(self.table):
            why = f"{_quoted(self.table.headers[0])} stands alone above the numbers; a title does for the column's name, too"
            yield _line("header", f"row {self.table.places['row'][0] - 1}", Sure.LIKELY, why)
        if len(self.sheets) > 1:
            yield _line("sheet", _quoted(self.sheets[0]), Sure.LIKELY, "the one with the most phone numbers")
        yield _line("phone", _listed(found.phones), found.phones_sure, self._usable())
        if region.code or region.column:
            yield _line("region", region.code or f"{{column: {_scalar(region.column or '')}}}", region.sure, region.why)
        elif region.why:
            yield _line("region", "none", region.sure, region.why)
        else:
            yield _line("region", "none", Sure.UNSURE, _could_be(region) + "set phone.region")
        for variable in () if self.layout else found.variables:
            several = "several notations fit; switched off until you choose" if len(variable.formats) > 1 else ""
            yield _line(variable.name, _source_of(variable), variable.sure, several)
        yield from self._told_of_people()
        yield from self._told_of_choices()

    def _told_of_people(self) -> Iterator[str]:
        group = self.found.group
        for number, contact in enumerate(self.found.contacts, start=1):
            yield _line(f"contact {number}", _listed([contact.phone]), Sure.LIKELY, "a second person on the row")
        if group is None:
            return
        key = _quoted(group.key) if group.key is not None else "none"
        why = [f"{group.rows:,} rows share theirs"] if group.key is not None else []
        why += [f"{_quoted(group.role)} is {_listed(group.primary)} for the lead"] if group.role is not None else []
        why += ["switched off: each row is a lead of its own"] if group.sure is Sure.UNSURE else []
        yield _line("group", key, group.sure, "; ".join(why))

    def _told_of_choices(self) -> Iterator[str]:
        found = self.found
        if self.asked.campaign is None and not self._campaign_is_laid_out():
            named = f" The column {_quoted(found.campaign.name)} may say it." if found.campaign else ""
            yield f"The campaign is never guessed: set campaign_id, or give it with --campaign.{named}"
        if found.status is not None:
            yield f"All rows are sent, whatever {_quoted(found.status.name)} says: see where in the config."
        for column in found.optouts:
            yield f"Warning: {_quoted(column.name)} seems to say who must not be called. Rows are sent all the same until you set where or suppress."

    def next_steps(self) -> Iterator[str]:
        """Yield the commands to go on with."""
        check = f"{self._command('check')} -c {shlex.quote(str(self.target))}{self._campaign_option()}"
        if self.needs_no_config:
            yield "These are the columns of the platform's own importer: no config is needed. Either of"
            yield f"  {self._command('check')}{self._campaign_option()}"
            yield f"  {check}"
        else:
            yield "Read the config, then see what would be sent; nothing leaves the machine:"
            yield f"  {check}"
        if self._campaign_option():
            yield f"{_SOME_CAMPAIGN} stands for your campaign's number."

    def _command(self, name: str) -> str:
        return f"lead-importer {name} {shlex.quote(_printable(str(self.asked.input)))}"

    def _campaign_option(self) -> str:
        known = self.asked.campaign is not None or self._campaign_is_laid_out()
        return "" if known else f" --campaign {_SOME_CAMPAIGN}"

    def _campaign_is_laid_out(self) -> bool:
        return self.layout is not None and self.layout.campaign_id is not None

    # The blocks of the file.

    def _head(self) -> Iterator[str]:
        name = _printable(self.table.path.name)
        yield f"# What the columns of {name} mean, guessed from its headers and its cells: read it before the first run."
        yield "# What stands behind a # is off until the # is taken away. docs/config.md tells all settings."
        if self.needs_no_config:
            yield "# These are the columns of the platform's own importer: with none but them no config is needed."
        yield "#"
        yield f"#   {self._command('check')} -c {shlex.quote(_printable(str(self.target)))}{self._campaign_option()}"

    def _source(self) -> Iterator[str]:
        short = self.table.problems.filter(pl.col("code") == "row_too_short")["index"].n_unique() > 1
        fill = (
            "# Rows with fewer cells than the header are not trusted. If only empty cells are left out at their ends:"
        )
        if self.header_row is not None:
            yield "source:"
            yield _with_comment(f"  header_row: {self.header_row}", "the rows above it are no leads")
            yield from (f"  {fill}", "  # short_rows: fill") if short else ()
        elif short:
            yield from (fill, "# source: {short_rows: fill}")
        if not self.sheets:
            return
        others = f'others with data: {_listed(self.sheets[1:])}; "*" reads all' if len(self.sheets) > 1 else ""
        sheet = self.asked.sheet if isinstance(self.asked.sheet, int) else _scalar(self.sheets[0])
        yield "source:"
        yield _with_comment(f"  sheet: {sheet}", others)

    def _campaign(self) -> Iterator[str]:
        column = self.found.campaign
        if self.asked.campaign is not None:
            yield f"campaign_id: {self.asked.campaign}"
            return
        if self._campaign_is_laid_out() and self.layout is not None:
            yield f"campaign_id: {{column: {_scalar(self.layout.campaign_id.column)}}}"  # type: ignore[union-attr]
            return
        yield "# The campaign is never guessed, since a wrong one calls the wrong people: put its number here, or give it with"
        yield "# --campaign. Without one nothing is sent."
        yield f"# campaign_id: {_TO_FILL_IN}"
        if column is None:
            return
        if column.texts.len() and column.matching(r"^\d{1,15}$") == 1:
            yield _with_comment(
                f"# campaign_id: {{column: {_scalar(column.name)}}}", "if these are the numbers of your campaigns"
            )
        else:
            names = ", ".join(f"{_scalar(text)}: {_TO_FILL_IN}" for text in _shown(column) or ["Spring"])
            yield _with_comment(
                f"# campaign_id: {{column: {_scalar(column.name)}, map: {{{names}}}}}", "one for each name"
            )

    def _phone(self) -> Iterator[str]:
        names = self.found.phones
        key = f"  column: {_scalar(names[0])}" if len(names) == 1 else f"  columns: [{', '.join(map(_scalar, names))}]"
        first = "; the first usable one is taken" if len(names) > 1 else ""
        yield "phone:"
        yield _with_comment(key, f"{self.found.phones_sure}: {self._usable()}{first}")
        yield from self._region()

    def _usable(self) -> str:
        (filled, usable), region = self.found.numbers, self.found.region
        if not usable and not region.code and not region.column:
            return f"whether its {filled:,} numbers are usable shows when the region below is set"
        return f"{usable:,} of {filled:,} looked at are usable numbers"

    def _region(self) -> Iterator[str]:
        region = self.found.region
        if region.code:
            yield _with_comment(f"  region: {region.code}", f"of numbers without +; {region.sure}: {region.why}")
        elif region.column:
            yield _with_comment(
                f"  region: {{column: {_scalar(region.column)}}}", f"of numbers without +; {region.sure}: {region.why}"
            )
        elif region.why:
            yield _with_comment("  # region: US", f"for numbers without +; {region.why}")
        else:
            yield _with_comment(
                f"  # region: {next(iter(region.candidates), 'US')}",
                f"for numbers without +; {_could_be(region)}{Sure.UNSURE}",
            )

    def _variables(self) -> Iterator[str]:
        yield "# The names on the left must be those of the campaign's assistant."
        yield "variables:"
        for variable in self.found.variables:
            yield from _variable_lines(variable, "  ")
        left = [column for column in self.found.others if column.texts.len()]
        if left:
            yield "  # Columns that are not sent; take the # away from those that the assistant uses."
        taken = {variable.name for variable in self.found.variables}
        for column in left:
            name = _fresh(variable_name(column.name), taken)
            yield _with_comment(f"  # {_scalar(name)}: {_field(column.name)}", _kind(column))
        empty = [column.name for column in self.found.others if not column.texts.len()]
        if empty:
            yield f"  # Empty columns: {_listed(empty)}"

    def _contacts(self) -> Iterator[str]:
        group = self.found.group
        if self.found.contacts:
            yield "# People beside the lead, on the lead's own row."
            yield "secondary_contacts:"
            yield "  columns:"
            for contact in self.found.contacts:
                yield from _contact_lines(contact)
            yield from _ON_INVALID
        elif group is not None:
            yield from _group_lines(group)

    def _where(self) -> Iterator[str]:
        status = self.found.status
        if status is not None:
            values = _shown(status)
            new = next((text for text in values if means_new(text)), next(iter(values), "New"))
            yield f"# Rows to send; others are left out as `filtered`. {_quoted(status.name)} holds: {_listed(values)}"
            yield f"# where: {{column: {_scalar(status.name)}, in: [{_scalar(new)}]}}"
        for column in self.found.optouts:
            values = _shown(column)
            said = f" It holds: {_listed(values)}." if values else ""
            yield f"# {_quoted(column.name)} seems to say who must not be called.{said}"
            yield "# Keep such rows out with where (a config has one), or put their numbers on a suppress list."
            yield f"# where: {{column: {_scalar(column.name)}, not_in: [{', '.join(map(_scalar, values[:3] or ['Yes']))}]}}"
        for column in self.found.consents:
            values = _shown(column)
            said = f" It holds: {_listed(values)}." if values else ""
            yield f"# {_quoted(column.name)} seems to say what people agreed to.{said} See that only those are called who may be."

    def _as_laid_out(self, layout: Config) -> Iterator[list[str]]:
        """Spell out what is read without a config."""
        yield [
            "variables:",
            *(f"  {_scalar(name)}: {_field(one.columns[0])}" for name, one in layout.variables.items()),
        ]
        contacts = layout.secondary_contacts
        if contacts is not None:
            yield [
                "secondary_contacts:",
                "  columns:",
                *(
                    line
                    for contact in contacts.columns
                    for line in _contact_lines(
                        Contact(
                            contact.phone,
                            tuple(Variable(name, one.columns) for name, one in contact.variables.items()),
                        )
                    )
                ),
            ]


def _may_be_title(table: Table) -> bool:
    """Tell a single column whose header is more than a name for phones, or has a blank row below it."""
    if len(table.headers) != 1 or not table.cells.height:
        return False
    says_more = meaning(table.headers[0]).kind == "phone" and bare_meaning(table.headers[0]).kind is None
    return says_more or table.cells.item(0, 0) is None


_ON_INVALID = [
    "  on_invalid: hold                    # a contact that can't be sent holds its lead back; drop: it is left out"
]
_BEHIND = ["# suppress: [do_not_call.csv]         # numbers that are never sent, in any notation"]


def _variable_lines(variable: Variable, indent: str) -> Iterator[str]:
    name, column = _scalar(variable.name), variable.columns[0]
    if len(variable.columns) > 1:
        template = " ".join(f"{{{part}}}" for part in variable.columns)
        yield _with_comment(f"{indent}{name}: {_quoted(template)}", "an empty part leaves no gap")
    elif variable.type == "text":
        yield f"{indent}{name}: {_field(column)}"
    elif variable.type == "email":
        block = f"{{column: {_scalar(column)}, type: email, on_error: drop}}"
        yield _with_comment(f"{indent}{name}: {block}", "a bad address is left out")
    elif variable.formats in ((), ("%Y-%m-%d",)):
        yield f"{indent}{name}: {{column: {_scalar(column)}, type: {variable.type}}}"
    else:
        is_open = len(variable.formats) > 1
        if is_open:
            others = " or ".join(map(_quoted, variable.formats[1:]))
            yield f"{indent}# Every date in {_quoted(column)} fits {_quoted(variable.formats[0])} and {others}: choose, and take the # away."
        block = f"{{column: {_scalar(column)}, type: date, format: {_quoted(variable.formats[0])}}}"
        why = "" if is_open else f"{variable.sure}; goes out as 2026-12-31"
        yield _with_comment(f"{indent}{'# ' if is_open else ''}{name}: {block}", why)


def _group_lines(group: Group) -> Iterator[str]:
    key, role = _quoted(group.key or ""), _quoted(group.role or "")
    first = f"the row whose {role} is {_listed(group.primary)}" if group.role is not None else "the first row of each"
    off = "# " if group.sure is Sure.UNSURE else ""
    if not off:
        yield f"# Rows with the same {key} are one lead, in any order: the other people are its secondary contacts."
    elif group.key is None:
        yield f"# Take the # away if a column says which rows are one household or company, named for {_NO_COLUMN}: {first} is called for it."
    else:
        yield f"# Take the # away if rows with the same {key} ({group.rows:,} share theirs) are one household or company: {first} is called for it."
    yield f"{off}secondary_contacts:"
    yield f"{off}  group_by: {_scalar(group.key or _NO_COLUMN)}"
    if group.role is not None:
        yield f"{off}  primary_when: {{column: {_scalar(group.role)}, in: [{', '.join(map(_scalar, group.primary))}]}}"
        yield from (f"{off}{line}" for line in _ON_INVALID)


def _contact_lines(contact: Contact) -> Iterator[str]:
    yield f"    - phone: {_scalar(contact.phone)}"
    if contact.variables:
        yield "      variables:"
        for variable in contact.variables:
            yield from _variable_lines(variable, " " * 8)


# Words for people.


def _line(what: str, found: str, sure: Sure, why: str) -> str:
    return f"  {what:<16} {found}  ({sure}{': ' + why if why else ''})"


def _could_be(region: Region) -> str:
    return (
        f"the numbers are valid in {', '.join(region.candidates)}; " if region.candidates else "it could not be told; "
    )


def _source_of(variable: Variable) -> str:
    if len(variable.columns) > 1:
        return _quoted(" ".join(f"{{{part}}}" for part in variable.columns))
    kind = "" if variable.type == "text" else f" as {variable.type}"
    formats = f" {' or '.join(variable.formats)}" if variable.formats else ""
    return f"{_quoted(variable.columns[0])}{kind}{formats}"


def _shown(column: Column) -> list[str]:
    """List the values of a column of few words; nothing that may be a person's."""
    few = column.texts.head(_MOST_VALUES)
    return [text for text in few if len(text) <= 40 and text.isprintable() and not re.search(r"\d{5}|@", text)]


def _kind(column: Column) -> str:
    """Say what a column holds, with the shape of its commonest text in place of the text."""
    number = column.texts.len()
    different = f"{number}{' or more' if number >= 300 else ''} different, such as"
    return f"{different} {_quoted(masked(column.texts[0])[:30])}"


def masked(text: str) -> str:
    """Return the shape of a text: A and a for letters, 9 for digits."""
    kinds = (("9", str.isnumeric), ("A", str.isupper), ("a", str.isalnum))
    return "".join(next((sign for sign, test in kinds if test(letter)), letter) for letter in _printable(text))


def _fresh(name: str, taken: set[str]) -> str:
    number, fresh = 2, name
    while fresh in taken:
        number, fresh = number + 1, f"{name}_{number}"
    taken.add(fresh)
    return fresh


# YAML.


def _field(column: str) -> str:
    """Write a variable's column; one with braces in its name would be read as a template."""
    return f"{{column: {_quoted(column)}}}" if re.search(r"[{}]", column) else _scalar(column)


def _scalar(text: str) -> str:
    """Write a text so that YAML reads that very text."""
    return text if _PLAIN_SCALAR.fullmatch(text) and not _OTHER_THAN_TEXT.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    """Write a text in double quotes; what can't be seen is escaped."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in quoted)


def _escaped(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(map(_quoted, texts)) or "nothing that may be shown"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _with_comment(line: str, comment: str) -> str:
    return f"{line + '  ':<{_COMMENT_AT}}# {comment}" if comment else line
