"""A table → what its columns seem to be, and how sure that is. Decisions only: nothing is read or written.

Headers suggest (`header_words`), cells decide: a phone column holds numbers that are valid, an e-mail column addresses.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import takewhile

import phonenumbers
import polars as pl

from importer.cells import INVISIBLE, mend_phones
from importer.columns import resolve
from importer.config_values import MAX_CONTACTS
from importer.emails import invalid_emails
from importer.header_words import Meaning, bare_meaning, folded, language, meaning, names_a_thing
from importer.phones import REGIONS, judge, parse_phones, phone_shaped, region_code
from importer.records import Table

#: Rows looked at: the first ones, and others spread over the rest.
_FIRST_ROWS, _OTHER_ROWS = 2000, 3000
#: Different texts of a column that are judged one by one.
_TEXTS = 300
#: Numbers tried against every country there is to choose from.
_FEW_TEXTS = 100
#: Of a column's texts that must be what the column is taken for. Lists have mistakes; half is no mistake any more.
_MOST, _HALF = 0.9, 0.5


_WRITTEN_AS_PHONE = r"^'?(?:tel:)?(?:\+|00|\()|\d[ ()./-]+\d"

#: Notations of dates, the likelier first; those that swap day and month stand side by side.
_DATES: tuple[str, ...] = ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d")
_DATES += ("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y")
_DATES += tuple(f"{day} {clock}" for day in _DATES[:7] for clock in ("%H:%M", "%H:%M:%S"))
_YEARS = (1900, 2199)

_YES = r"(?i)^(?:yes|y|ja|j|sim|s|si|sí|oui|o|true|wahr|verdadero|verdadeiro|vrai|x|1)$"
_YES_OR_NO = (
    r"(?i)^(?:yes|no|ja|nein|sim|não|nao|si|sí|oui|non|true|false|wahr|falsch|verdadero|verdadeiro|falso|vrai|faux)$"
)
_CONTACT = r"(?: (?:contact|person|contato|contacto|contatto))?$"
#: Words for the lead that are none of a profession.
_MAIN = rf"(?i)^(?:primary|main|principal|haupt\w*|titular|principale|primario|primär){_CONTACT}"
_PRIMARY = (
    r"(?i)^(?:primary|main|principal|self|head|lead|decision maker|account holder|policy ?holder|haupt\w*|titular"
    rf"|principale|referente|primario|primär){_CONTACT}"
)
#: Whole headers of what a row is about, in words that many lists have for it.
_ID = re.compile(
    r"(?:(?:record|case|contract|policy|master|parent|unique|external) )?(?:id|uuid|key|ref(?:erence)?)(?: (?:no|nr|number))?"
    r"|(?:record|case|contract|policy) (?:no|nr|number)"
)
_NEW = r"(?i)^(?:new|open|neu|offen|novo|nova|aberto|nuevo|nueva|abierto|nouveau|nouvelle|ouvert|nuovo|aperto|to ?do|to call)\b"


class Sure(StrEnum):
    """How far a guess may be trusted."""

    SURE = "sure"
    LIKELY = "likely"
    UNSURE = "please check"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its header's meaning, and its cells without blanks, trimmed. `texts` are different ones, commonest first."""

    name: str
    meaning: Meaning
    cells: pl.Series
    texts: pl.Series
    counts: pl.Series
    """In how many cells each of the texts stands."""
    is_usable: bool = True
    """False where no config can name it, as another column differs in outer space only."""

    def share(self, test: Callable[[pl.Series], pl.Series]) -> float:
        """Return which share of the cells passes a test of texts; 0 for an empty column."""
        passing = self.counts.filter(test(self.texts).fill_null(value=False))
        return _part(int(passing.sum()), int(self.counts.sum()))

    def matching(self, pattern: str) -> float:
        """Return which share of the cells matches a pattern."""
        return self.share(lambda texts: texts.str.contains(pattern))

    def values(self, pattern: str = "") -> list[str]:
        """List the different texts that match, commonest first."""
        return self.texts.filter(self.texts.str.contains(pattern)).to_list()


@dataclass(frozen=True, slots=True)
class Region:
    """Where numbers without a + are from: one country, or what a column says; neither: it could not be told."""

    code: str | None = None
    column: str | None = None
    sure: Sure = Sure.UNSURE
    why: str = ""
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable to send: `columns` are one, or the parts of a name. `formats` are the date notations that fit alike."""

    name: str
    columns: tuple[str, ...]
    type: str = "text"
    formats: tuple[str, ...] = ()
    sure: Sure = Sure.LIKELY


@dataclass(frozen=True, slots=True)
class Contact:
    """A secondary contact on the lead's row."""

    phone: str
    variables: tuple[Variable, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that belong together. Unless that is likely, it is only possible that they are one lead."""

    key: str | None
    """None where a column says who is the lead, and none which rows belong together."""
    rows: int
    """That share their value with another row."""
    role: str | None = None
    primary: tuple[str, ...] = ()
    sure: Sure = Sure.UNSURE


@dataclass(frozen=True, slots=True)
class Guess:
    """What a table's columns seem to be. `kept` are columns with a use of their own that is not for us to switch on."""

    phones: tuple[str, ...]
    phones_sure: Sure
    phones_named: bool
    """Whether the headers of all of them say so."""
    numbers: tuple[int, int]
    """Different texts looked at in the phone columns, and how many of them are usable numbers."""
    region: Region
    variables: tuple[Variable, ...] = ()
    contacts: tuple[Contact, ...] = ()
    group: Group | None = None
    campaign: Column | None = None
    status: Column | None = None
    optouts: tuple[Column, ...] = ()
    consents: tuple[Column, ...] = ()
    others: tuple[Column, ...] = ()


def guess(table: Table) -> Guess | None:
    """Guess what a table's columns are; None where no column holds phone numbers or is called so."""
    return _Guesser(table).guess()


def looks_like_data(table: Table) -> str | None:
    """Return the first header that is a phone number or an e-mail address: such a table has no header. Else None."""
    headers = pl.Series(table.headers, dtype=pl.String)
    data = headers.str.contains(r"^\S+@\S+\.\S+$") | (phone_shaped(headers) & headers.str.contains(r"(?:\d\D*){9}"))
    return next(iter(headers.filter(data)), None)


def speaks_of_phones(rows: Sequence[Sequence[str]]) -> Callable[[Sequence[str]], bool]:
    """Return what tells a header among a text file's first rows: one that speaks of a phone, and is full enough.

    Full enough is what is more than half as full as the fullest. In a single column a title is as full, so there a row that
    says "Phone" alone, before the first number, goes before one that says more, such as "Phone list".
    """
    enough = max((sum(1 for cell in row if cell.strip()) for row in rows), default=0) // 2 + 1
    meant = [row for row in rows if sum(1 for cell in row if cell.strip()) >= enough and _speaks(row, meaning)]
    if enough == 1:
        above = takewhile(lambda row: not phone_shaped(pl.Series(row, dtype=pl.String)).any(), rows)
        meant = [row for row in above if _speaks(row, bare_meaning)] or meant
    return lambda row: row in meant


def _speaks(row: Sequence[str], says: Callable[[str], Meaning]) -> bool:
    return any(says(cell).kind == "phone" for cell in row)


@dataclass(slots=True)
class _Guesser:
    """One table being guessed: its columns, and those that have found their use."""

    table: Table
    columns: dict[str, Column] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    cells: pl.DataFrame = field(default_factory=pl.DataFrame)

    def guess(self) -> Guess | None:
        self.cells = _sample(self.table).select(pl.all().replace("", None))
        for name in self.table.columns:
            self.columns[name] = _column(self.table.columns, name, self.cells.get_column(name))
        optouts, consents = self._take("optout"), self._take("consent")
        campaign, status = next(iter(self._take("campaign")), None), self._status()
        group = self._group()
        emails = self._emails()
        country = self._country()
        phones = self._phones()
        if not phones:
            return None
        region = self._region(country, [name for columns in phones.values() for name in columns])
        lead = "" if "" in phones else next(iter(phones))
        beside = [person for person in phones if person != lead and self._is_somebody(person, emails)]
        own = self._own_phones([name for person, names in phones.items() if person not in beside for name in names])
        contacts = self._contacts(beside, phones, emails) if group is None or group.sure is Sure.UNSURE else ()
        numbers = self._numbers(own, region)
        return Guess(
            phones=own,
            phones_sure=self._phones_sure(own, numbers),
            phones_named=self._are_named(own),
            numbers=numbers,
            region=region,
            variables=(*self._people(lead, emails), *self._others()),
            contacts=contacts,
            group=group,
            campaign=campaign,
            status=status,
            optouts=tuple(optouts),
            consents=tuple(consents),
            others=tuple(column for name, column in self.columns.items() if name not in self.used),
        )

    # Columns by what their headers say.

    def _free(self, *kinds: str | None, person: str | None = None) -> list[Column]:
        return [
            column
            for column in self.columns.values()
            if column.name not in self.used
            and column.is_usable
            and (not kinds or column.meaning.kind in kinds)
            and (person is None or column.meaning.person == person)
        ]

    def _use(self, columns: Iterable[Column]) -> list[Column]:
        taken = list(columns)
        self.used |= {column.name for column in taken}
        return taken

    def _take(self, kind: str) -> list[Column]:
        return self._use(column for column in self._free(kind))

    def _status(self) -> Column | None:
        """Return the column by which rows may be chosen; "Estado" may be a state of Brazil, so its words must say it."""
        for column in self._free("status"):
            few = 0 < column.texts.len() <= min(15, max(column.cells.len() // 2, 3))
            if few and ("status" in column.name.casefold() or column.values(_NEW)):
                return self._use([column])[0]
        return None

    # Groups of rows.

    def _group(self) -> Group | None:
        """Return the rows that belong together: by a column called so, else by one that a role or its name bears out."""
        numbers = [column.name for column in self.columns.values() if column.share(phone_shaped) >= _HALF]
        numbers = [name for name in numbers if self.columns[name].meaning.kind == "phone"] or numbers
        for key in self._free("key") if numbers else ():
            groups = _Groups.of(self.table.cells, key.name, numbers)
            if groups is not None:
                group = self._with_role(key, groups)
                self._use([key, *([self.columns[group.role]] if group.role else [])])
                return group
        return self._possible_group(numbers) if numbers else None

    def _possible_group(self, numbers: list[str]) -> Group | None:
        """Return what is not called a group, and may be one: never switched on."""
        for key in self._free("company", "name", None):
            is_id = _ID.fullmatch(folded(key.name)) is not None
            groups = _Groups.of(self.table.cells, key.name, numbers) if is_id or key.meaning.kind else None
            group = self._with_role(key, groups) if groups is not None else None
            if group is not None and (group.sure is Sure.LIKELY or is_id):
                return replace(group, sure=Sure.UNSURE)
        for column in self._free("role", "primary"):
            words = tuple(column.values(_YES if column.meaning.kind == "primary" else _MAIN))
            if 0 < len(words) <= 3 and self._tells_rows_apart(column):
                return Group(None, 0, column.name, words)
        return None

    def _with_role(self, key: Column, groups: "_Groups") -> Group:
        """Add the column that says who is the lead, where it does so once in most groups, and its words for that.

        Switched on is only what does so for nearly all rows, as the rows of the other groups would be invalid.
        """
        for column in self._free("role", "primary", None):
            words = tuple(column.values(_YES if column.meaning.kind == "primary" else _PRIMARY))
            if column.name == key.name or not 0 < len(words) <= 3 or not self._tells_rows_apart(column):
                continue
            shared, every = groups.led_once(column.name, words)
            if shared >= _HALF:
                sure = Sure.LIKELY if every >= _MOST else Sure.UNSURE
                return Group(key.name, groups.rows, column.name, words, sure)
        return Group(key.name, groups.rows)

    def _tells_rows_apart(self, column: Column) -> bool:
        """Tell whether a column holds different texts, or one and blanks."""
        return column.texts.len() > 1 or column.cells.len() < self.cells.height

    # Phones and where they are from.

    def _country(self) -> Column | None:
        def known(texts: pl.Series) -> pl.Series:
            return pl.Series([region_code(text) is not None for text in texts], dtype=pl.Boolean)

        found = [column for column in self._free("country", person="") if column.share(known) >= _HALF]
        return next(iter(self._use(found[:1])), None)

    def _phones(self) -> dict[str, list[str]]:
        """Return the phone columns of each person, by header and cells; "" is the lead, and may be nobody's but the first."""
        called = [
            column for column in self._free("phone") if not column.texts.len() or column.share(phone_shaped) >= _HALF
        ]
        if all(not column.texts.len() for column in called):
            called += [column for column in self._free(None, "key", "name") if self._holds_phones(column)]
        found: dict[str, list[str]] = {}
        for column in called:
            found.setdefault(column.meaning.person, []).append(column.name)
        filled = [name for columns in found.values() for name in columns if self.columns[name].texts.len()]
        if filled:  # an empty column tells nothing beside one that holds numbers
            found = {
                person: kept
                for person, columns in found.items()
                if (kept := [name for name in columns if name in filled])
            }
        return found

    def _holds_phones(self, column: Column) -> bool:
        """Tell phone numbers under a header that does not say so from other digits: by how they are written."""
        written = column.share(lambda texts: phone_shaped(texts) & texts.str.contains(_WRITTEN_AS_PHONE))
        if written < _MOST:
            return False
        regions: list[str | None] = [None, *REGIONS[None]]
        return any(_usable(column.texts, region) >= _MOST for region in regions)

    def _own_phones(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the lead's own columns, mobile ones before others of the same number."""
        mobile = re.compile(r"(?i)mobil|cell|handy|celular|m[oó]vil|telem[oó]vel|cellulare|portable|whatsapp")
        order = sorted(names, key=lambda name: (self.columns[name].meaning.person, not mobile.search(name)))
        return tuple(column.name for column in self._use(self.columns[name] for name in order))

    def _texts(self, names: Sequence[str]) -> pl.Series:
        texts = [self.columns[name].texts for name in names]
        return pl.concat([pl.Series(dtype=pl.String), *texts]).unique(maintain_order=True).head(_TEXTS)

    def _region(self, country: Column | None, names: Sequence[str]) -> Region:
        texts = self._texts(names)
        if country is not None:
            return self._by_country(country)
        abroad = parse_phones(texts, None)["phone"]
        national = texts.filter(abroad.is_null() & phone_shaped(texts))
        if not national.len():
            return Region(
                sure=Sure.SURE if texts.len() else Sure.UNSURE,
                why="every number carries its country" if texts.len() else "",
            )
        carried = Counter(_region_of(phone) for phone in abroad.drop_nulls())
        if carried:
            code, count = carried.most_common(1)[0]
            share = _usable(national, code)
            if code and count >= _MOST * carried.total() and share >= _HALF:
                why = f"{count} of {carried.total()} numbers with + are from there, and {share:.0%} of the others are valid there"
                return Region(code, sure=Sure.SURE if count > 2 and share >= _MOST else Sure.LIKELY, why=why)
        return self._by_format(national)

    def _by_country(self, country: Column) -> Region:
        unknown = [text for text in country.texts if region_code(text) is None]
        why = f"not known there: {', '.join(map(repr, unknown[:5]))}" if unknown else "it names countries"
        return Region(column=country.name, sure=Sure.LIKELY if unknown else Sure.SURE, why=why)

    def _by_format(self, national: pl.Series) -> Region:
        """Choose the only country, of the language of the headers or of all, in which the numbers are valid."""
        spoken = language(self.table.columns)
        shares = {code: _usable(national, code, only_there=True) for code in REGIONS[None]}
        fitting = tuple(code for code, share in shares.items() if share >= _MOST)
        near = tuple(code for code in fitting if code in REGIONS[spoken])
        if len(fitting) == 1:
            return Region(fitting[0], sure=Sure.LIKELY, why="the only country in which the numbers are valid")
        if spoken and len(near) == 1:
            return Region(near[0], sure=Sure.LIKELY, why="the headers' language, and the numbers are valid there")
        alike = tuple(code for code in near or fitting if _grouped_as_in(national, code) >= _HALF)
        if len(alike) == 1:
            return Region(
                alike[0], sure=Sure.LIKELY, why="the numbers are valid there, and their digits stand in groups as there"
            )
        return Region(candidates=near or fitting)

    def _numbers(self, names: Sequence[str], region: Region) -> tuple[int, int]:
        asked = self.cells.select(names)
        regions = self.cells.get_column(region.column) if region.column else region.code
        usable = pl.Series(dtype=pl.Boolean)
        for name in names:
            phone = parse_phones(asked.get_column(name), regions)["phone"]
            usable = phone.is_not_null() if not usable.len() else usable | phone.is_not_null()
        filled = asked.select(pl.any_horizontal(pl.all().is_not_null())).to_series()
        return int(filled.sum()), int(usable.sum() or 0)

    def _phones_sure(self, names: Sequence[str], numbers: tuple[int, int]) -> Sure:
        filled, usable = numbers
        if self._are_named(names) and filled and usable >= _MOST * filled:
            return Sure.SURE
        return Sure.LIKELY if filled and usable >= _HALF * filled else Sure.UNSURE

    def _are_named(self, names: Sequence[str]) -> bool:
        return all(self.columns[name].meaning.kind == "phone" for name in names)

    # People.

    def _emails(self) -> dict[str, str]:
        """Return each person's e-mail column: the one called so with the most addresses, else one that holds some."""
        holding = [column for column in self._free() if column.share(_are_emails) >= _HALF]
        holding.sort(key=lambda column: (column.meaning.kind != "email", -column.cells.len()))
        found: dict[str, str] = {}
        for column in holding:
            found.setdefault(column.meaning.person, column.name)
        return found

    def _people(self, person: str, emails: dict[str, str]) -> list[Variable]:
        """Return name, e-mail address and company of a person."""
        found = self._name(person)
        if person in emails:
            found.append(Variable("email", (emails[person],), "email", sure=Sure.SURE))
            self.used.add(emails[person])
        for kind in ("company", "city"):
            found += [Variable(kind, (column.name,)) for column in self._use(self._words(kind, person)[:1])]
        self.names |= {variable.name for variable in found}
        return found

    def _words(self, kind: str, person: str) -> list[Column]:
        """Return free columns of a kind whose cells are words, or that are empty."""
        free = self._free(kind, person=person)
        return [column for column in free if not column.texts.len() or column.matching(r"\p{L}{2}") >= _HALF]

    def _name(self, person: str) -> list[Variable]:
        """Return the name: of its parts where there are both, as in "Vorname" and "Name", or "Nome" and "Cognome"."""
        first, last, whole = (self._words(kind, person) for kind in ("first", "last", "name"))
        whole += [column for column in self._words("primary", person) if not column.values(_YES)]
        if first and not last:
            last, whole = whole[:1], []
        elif last and not first:
            first, whole = whole[:1], []
        if first and last:
            parts = [first[0], *last]
            if not any(re.search(r"[{}]", part.name) for part in parts):  # a template can't name such a column
                return [Variable("customer_name", tuple(part.name for part in self._use(parts)), sure=Sure.SURE)]
        alone = (whole or first or last)[:1]
        sure = Sure.SURE if whole else Sure.LIKELY
        return [Variable("customer_name", (column.name,), sure=sure) for column in self._use(alone)]

    def _is_somebody(self, person: str, emails: dict[str, str]) -> bool:
        """Tell a person beside the lead from the lead's second number: by a name or an address, or as a relative."""
        only_numbered = not re.sub(r"second(?:ary)?|[\d ]", "", person)
        named = any(self._words(kind, person) for kind in ("first", "last", "name")) or person in emails
        return named or not only_numbered

    def _contacts(
        self, beside: Sequence[str], phones: dict[str, list[str]], emails: dict[str, str]
    ) -> tuple[Contact, ...]:
        found = []
        for person in beside[:MAX_CONTACTS]:
            self._use([self.columns[phones[person][0]]])
            found.append(Contact(phones[person][0], tuple(self._people(person, emails))))
        return tuple(found)

    # What else may be a variable.

    def _others(self) -> list[Variable]:
        found = []
        for column in self._free():
            variable = self._typed(column)
            if variable is not None:
                found.append(variable)
                self._use([column])
        return found

    def _typed(self, column: Column) -> Variable | None:
        """Return a date, a yes-or-no, a whole number or a decimal one; identifiers and texts are left alone."""
        if not column.texts.len():
            return None
        formats = _date_formats(column)
        if formats:
            fits = max(share for _, share in formats)
            alike = tuple(pattern for pattern, share in formats if share == fits)
            sure = Sure.UNSURE if len(alike) > 1 else Sure.SURE if fits == 1 else Sure.LIKELY
            return Variable(self._fresh(column.name), (column.name,), "date", alike, sure)
        if column.matching(_YES_OR_NO) >= _MOST:
            return Variable(self._fresh(column.name), (column.name,), "boolean", sure=Sure.LIKELY)
        is_a_name = names_a_thing(column.name) or column.meaning.kind is not None
        if is_a_name or column.matching(r"^0\d") > 0 or _counts_rows(column):
            return None
        if column.matching(r"^[+-]?\d{1,15}$") >= _MOST:
            return Variable(self._fresh(column.name), (column.name,), "integer")
        if column.matching(r"^[+-]?\d{1,15}(?:\.\d+)?$") >= _MOST:
            return Variable(self._fresh(column.name), (column.name,), "number")
        return None

    def _fresh(self, header: str) -> str:
        name = variable_name(header)
        number = 2
        while name in self.names:
            name = f"{variable_name(header)}_{number}"
            number += 1
        self.names.add(name)
        return name


@dataclass(frozen=True, slots=True)
class _Groups:
    """All rows of a table by the value that they share in one column."""

    cells: pl.DataFrame
    key: pl.Series
    """The value of each row, null for none."""
    rows: int
    """That share theirs with another row."""

    @classmethod
    def of(cls, cells: pl.DataFrame, key: str, numbers: Sequence[str]) -> "_Groups | None":
        """Return the groups; None where most hold one number alone, or more rows than a lead has people."""
        keys = cells.get_column(key).str.strip_chars(INVISIBLE).replace("", None)
        digits = (
            pl.concat_str(*numbers, separator="/", ignore_nulls=True).str.replace_all(r"[^\d/]", "").replace("", None)
        )
        people = cells.select(keys.alias("key"), people=digits).drop_nulls("key")
        shared = people.group_by("key").agg(pl.len().alias("rows"), pl.col("people").drop_nulls().n_unique())
        shared = shared.filter(pl.col("rows") > 1)
        fitting = shared.filter((pl.col("people") > 1) & (pl.col("rows") <= MAX_CONTACTS + 1))
        return cls(cells, keys, int(shared["rows"].sum())) if fitting.height > shared.height * _HALF else None

    def led_once(self, column: str, words: Sequence[str]) -> tuple[float, float]:
        """Return in which share of the groups of several rows, and of all groups, one row alone has one of these words."""
        leads = self.cells.get_column(column).str.strip_chars(INVISIBLE).is_in(list(words))
        rows = pl.DataFrame({"key": self.key, "leads": leads}).drop_nulls("key")
        groups = rows.group_by("key").agg(pl.len().alias("rows"), once=pl.col("leads").sum() == 1)
        several = groups.filter(pl.col("rows") > 1)
        return _part(several.filter("once").height, several.height), _part(groups.filter("once").height, groups.height)


def variable_name(header: str) -> str:
    """Return a header as the name of a variable: "Next Visit" is `next_visit`."""
    return re.sub(r"[^\w]+", "_", folded(header)).strip("_") or "column"


def means_new(text: str) -> bool:
    """Tell the status of a lead that nobody has worked on."""
    return re.match(_NEW, text) is not None


# Cells.


def _sample(table: Table) -> pl.DataFrame:
    """Return some rows, mended as those of a phone column are: exports wrap and stretch numbers."""
    if table.formats.height:  # they name cells by their row, so all rows are mended
        return _some_rows(mend_phones(table))
    return mend_phones(replace(table, cells=_some_rows(table.cells)))


def _some_rows(cells: pl.DataFrame) -> pl.DataFrame:
    if cells.height <= _FIRST_ROWS + _OTHER_ROWS:
        return cells
    step = (cells.height - _FIRST_ROWS) // _OTHER_ROWS
    return pl.concat([cells.head(_FIRST_ROWS), cells.slice(_FIRST_ROWS).gather_every(step)])


def _column(columns: Sequence[str], name: str, cells: pl.Series) -> Column:
    cells = cells.drop_nulls()
    counted = (
        cells.to_frame("text")
        .group_by("text", maintain_order=True)
        .len()
        .sort("len", descending=True, maintain_order=True)
    )
    top = counted.head(_TEXTS)
    usable = bool(name.strip()) and resolve(columns, name.strip()) == name
    return Column(name, meaning(name), cells, top["text"], top["len"], usable)


def _part(some: float, of: float) -> float:
    return some / of if of else 0.0


def _are_emails(texts: pl.Series) -> pl.Series:
    return texts.str.contains("@") & ~texts.is_in(invalid_emails(texts.filter(texts.str.contains("@"))).implode())


def _usable(texts: pl.Series, region: str | None, *, only_there: bool = False) -> float:
    """Return which share of the texts are numbers as dialled in a region; `only_there` counts its own numbers alone."""
    phones = [phone for text in texts.head(_FEW_TEXTS) if (phone := judge(text, region)[0])]
    found = [phone for phone in phones if not only_there or _region_of(phone) == region]
    return _part(len(found), min(texts.len(), _FEW_TEXTS))


def _grouped_as_in(texts: pl.Series, region: str) -> float:
    """Return which share of the texts part their digits as people do in a region; undivided digits tell nothing."""

    def is_alike(text: str) -> bool:
        groups = re.findall(r"\d+", text)
        phone = judge(text, region)[0]
        if phone is None or len(groups) < 2:
            return False
        shown = phonenumbers.format_number(phonenumbers.parse(phone), phonenumbers.PhoneNumberFormat.NATIONAL)
        return groups == re.findall(r"\d+", shown)

    return _part(sum(map(is_alike, texts.head(_FEW_TEXTS))), min(texts.len(), _FEW_TEXTS))


def _region_of(phone: str) -> str | None:
    return phonenumbers.region_code_for_number(phonenumbers.parse(phone))


def _date_formats(column: Column) -> list[tuple[str, float]]:
    """Return the notations in which most texts are plausible dates, each with the share that it reads."""
    if column.matching(r"^\S*\d[\d\p{L}.,/: -]{5,24}$") < _MOST:
        return []

    read: dict[tuple[object, ...], tuple[str, float]] = {}
    for pattern in _DATES:
        dates = column.texts.str.to_date(pattern, strict=False)
        years = dates.dt.year()
        share = column.share(lambda _, years=years: years.is_between(*_YEARS))  # type: ignore[misc]
        if share >= _MOST:  # notations that read the same are one
            read.setdefault(tuple(dates), (pattern, share))
    return list(read.values())


def _counts_rows(column: Column) -> bool:
    """Tell running numbers: each once, one after the other."""
    if column.cells.len() < 5 or column.cells.len() != column.texts.len():
        return False
    numbers = column.texts.str.to_integer(strict=False)
    return numbers.null_count() == 0 and int(numbers.max()) - int(numbers.min()) + 1 == numbers.len()  # type: ignore[arg-type]
