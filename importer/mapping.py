"""The user's columns → phone, campaign and variables; a failing row keeps its reason.

Every rule works on whole columns. What a row lacks or has wrong becomes a line in a `PROBLEMS` frame, all of a row's
problems together; the row itself stays.
"""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import orjson
import polars as pl

from importer.cells import INVISIBLE, Mended, Mending, use_of
from importer.columns import resolve
from importer.config import Config, RegionColumn
from importer.dates import read_dates
from importer.emails import invalid_emails
from importer.phones import REGIONS, TOTALS, dial_1, parse_phones, region_code
from importer.records import PROBLEMS, Table, no_problems

if TYPE_CHECKING:
    from importer.cells import Use
    from importer.config import CampaignColumn, Variable, When

_ESCAPES = {chr(code): f"\\u{code:04x}" for code in range(32)} | {'"': '\\"', "\\": "\\\\"}

#: Words for yes and no in the languages lists come in.
_YES = (
    "true",
    "yes",
    "y",
    "1",
    "ja",
    "j",
    "wahr",
    "sim",
    "s",
    "si",
    "sí",
    "verdadero",
    "verdadeiro",
    "oui",
    "o",
    "vrai",
    "x",
)
_NO = ("false", "no", "n", "0", "nein", "falsch", "não", "nao", "falso", "non", "faux")

#: Rows whose texts are made at once.
_SLICE = 1 << 16

#: A region is doubted where so many numbers, and such a share, can't be used; and another is named that fits so many
#: of the first different ones.
_FEW, _MOST, _NEARLY_ALL, _TRIED = 5, 0.5, 0.9, 100

#: Different cells that are shown where `where` fits none.
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Mapped:
    """A table's people, still one line per row and contact column.

    `people`: `index` (UInt32, the row's place in the table), `slot` (UInt8, 0 for the row, n for its n-th contact in
    columns), `phone` (String, E.164, null where unusable), `phone_column` (String, the user's header it came from),
    `campaign` (Int64), `variables` and `contact_variables` (String, a JSON object with sorted names: the person as a
    lead, and as a secondary contact in rows), `key` (String, of the group), `flagged` (Boolean, `primary_when`
    holds), `filtered` (Boolean, `where` leaves it out) and `blank` (Boolean, no cell of the row is filled).

    `problems` and `contact_problems` have the schema `PROBLEMS`: what is wrong with a person as a lead, and as a
    secondary contact in rows.
    """

    people: pl.DataFrame
    problems: pl.DataFrame
    contact_problems: pl.DataFrame
    campaign_column: str | None = None
    phone_columns: tuple[str, ...] = ()
    field_columns: Mapping[str, str] | None = None
    """The API's field (`variables.email`) → the user's column, to name it when the server refuses the field."""
    notes: tuple[str, ...] = ()
    """What the summary has to say about how columns were read."""
    mendings: tuple[Mending, ...] = ()
    """What was restored before."""
    phone_seconds: float = 0.0
    """How long the phones took, beside the rest."""

    @classmethod
    def nothing(cls) -> "Mapped":
        """Return what a table without columns comes to."""
        return cls(pl.DataFrame(), no_problems(), no_problems())


def map_rows(mended: Mended, config: Config) -> Mapped:
    """Map every row of a table by `config`, whose columns must exist in it (`columns.check_columns`)."""
    return _Mapper(mended, config).map()


def regions_of(tables: Iterable[Table], config: Config) -> set[str]:
    """Return the countries in which numbers without `+` are read; a column that is not there says none."""
    contacts = config.secondary_contacts
    asked = [config.phone.region, *(contact.region for contact in (contacts.columns if contacts else ()))]
    found = {region for region in asked if isinstance(region, str)}
    columns = [region for region in asked if isinstance(region, RegionColumn)]
    for region, table in product(columns, tables):
        if (header := resolve(table.columns, region.column)) is not None:
            names = table.cells.get_column(header).str.strip_chars().drop_nulls().unique()
            codes = (region_code((region.map or {}).get(name, name)) for name in names)
            found |= {code for code in codes if code is not None}
    return found


@dataclass(frozen=True, slots=True)
class _Refused:
    """Cells that can't be trusted: which rows (`mask`), and `index`, `code`, `reason`, `column` of each."""

    mask: pl.Series
    lines: pl.DataFrame

    def overrule(self, parsed: pl.DataFrame) -> pl.DataFrame:
        """Put the refusals in the place of what phones were read as."""
        rows = self.lines["index"]
        return parsed.with_columns(
            parsed["phone"].scatter(rows, None),
            parsed["code"].scatter(rows, self.lines["code"]),
            parsed["reason"].scatter(rows, self.lines["reason"]),
        )

    def problems(self, *, slot: int, only: pl.Series | None = None, dropped: str | None = None) -> pl.DataFrame:
        """Return a `PROBLEMS` line for each; `dropped` is the variable that is left out for it."""
        lines = self.lines if only is None else self.lines.filter(only.gather(self.lines["index"]))
        before = "" if dropped is None else f"variable {dropped!r} was left out: "
        return lines.select(
            "index",
            pl.lit(slot, pl.UInt8).alias("slot"),
            "code",
            "column",
            (pl.lit(before) + pl.col("reason")).alias("message"),
            pl.lit(dropped is None).alias("blocking"),
        )


class _Mapper:
    """One table being mapped: its cleaned cells, and the problems found so far."""

    def __init__(self, mended: Mended, config: Config) -> None:
        self.mended = mended
        self.config = config
        self.cells = mended.cells
        self.height = mended.cells.height
        self.problems: list[pl.DataFrame] = [mended.table.problems, mended.notes]
        self.notes: list[str] = []
        self.restored: list[tuple[Mending, pl.DataFrame]] = []

    # The recipe.

    def map(self) -> Mapped:
        config = self.config
        contacts = config.secondary_contacts
        # Phones take mostly Python's time, variables polars': side by side they use two cores.
        with ThreadPoolExecutor(1) as aside:
            judged = aside.submit(self._timed_phone, config.phone.columns, config.phone.region)
            campaign, campaign_problems = self._campaign()
            variables, own_problems = self._variables(config.variables, slot=0)
            (phone, phone_column, phone_problems), phone_seconds = judged.result()
        shared = [*self.problems, *phone_problems, *campaign_problems, *self._damaged_keys()]
        shared += [note for _, note in self.restored]
        as_contact, contact_problems = variables, own_problems
        if contacts is not None and contacts.group_by is not None and contacts.variables is not None:
            as_contact, contact_problems = self._variables(contacts.variables, slot=0)
        rows = pl.DataFrame(
            {
                "index": pl.int_range(self.height, dtype=pl.UInt32, eager=True),
                "slot": pl.repeat(0, self.height, dtype=pl.UInt8, eager=True),
                "phone": phone,
                "phone_column": phone_column,
                "campaign": campaign,
                "variables": variables,
                "contact_variables": as_contact,
                "key": self._column(contacts.group_by) if contacts and contacts.group_by else self._nothing(),
                "flagged": self._matches(contacts.primary_when if contacts else None, otherwise=False),
                "filtered": self._left_out(),
                "blank": self._blank(),
            }
        )
        people, column_problems = self._contacts_in_columns(rows)
        return Mapped(
            people=people,
            problems=_together([*shared, *own_problems, *column_problems]),
            contact_problems=_together([*shared, *contact_problems, *column_problems]),
            campaign_column=self._campaign_header(),
            phone_columns=tuple(self._header(name) for name in config.phone.columns),
            field_columns=self._field_columns(),
            notes=tuple(dict.fromkeys(self.notes)),
            phone_seconds=phone_seconds,
            mendings=(*self.mended.mendings, *(mending for mending, _ in self.restored)),
        )

    # Cells.

    def _header(self, name: str) -> str:
        found = resolve(self.cells.columns, name)
        if found is None:  # check_columns has refused this before
            raise KeyError(name)
        return found

    def _column(self, name: str) -> pl.Series:
        return self.cells.get_column(self._header(name))

    def _nothing(self) -> pl.Series:
        return pl.Series(values=[None], dtype=pl.String).new_from_index(0, self.height)

    def _blank(self) -> pl.Series:
        if not self.cells.width:
            return pl.repeat(True, self.height, dtype=pl.Boolean, eager=True)
        return self.cells.select(pl.all_horizontal(pl.all().is_null())).to_series()

    def _refused(self, use: "Use", headers: Iterable[str]) -> "_Refused | None":
        """Return which rows have a cell in these columns that may not be put to this use, and why."""
        lines = [(header, found) for header in headers if (found := self.mended.refused(use, header)) is not None]
        if not lines:
            return None
        all_lines = pl.concat(found.with_columns(column=pl.lit(header)) for header, found in lines).unique(
            "index", keep="first", maintain_order=True
        )
        mask = pl.repeat(False, self.height, dtype=pl.Boolean, eager=True).scatter(all_lines["index"], True)
        return _Refused(mask, all_lines)

    def _damaged_keys(self) -> list[pl.DataFrame]:
        """Return the problems of rows whose group, campaign or condition can't be trusted."""
        contacts = self.config.secondary_contacts
        campaign = self.config.campaign_id
        whens = (self.config.where, contacts.primary_when if contacts else None)
        names = [when.column for when in whens if when is not None]
        names += [contacts.group_by] if contacts and contacts.group_by else []
        names += [campaign.column] if campaign is not None and not isinstance(campaign, int) else []
        headers = dict.fromkeys(map(self._header, names))
        return [found.problems(slot=0) for header in headers if (found := self._refused("text", [header]))]

    def _matches(self, when: "When | None", *, otherwise: bool) -> pl.Series:
        if when is None:
            return pl.repeat(otherwise, self.height, dtype=pl.Boolean, eager=True)
        column = self._column(when.column).fill_null("")
        matches = pl.repeat(True, self.height, dtype=pl.Boolean, eager=True)
        if when.in_:
            matches &= column.is_in(list(when.in_))
        if when.not_in:
            matches &= ~column.is_in(list(when.not_in))
        return matches

    def _left_out(self) -> pl.Series:
        """Return which rows `where` leaves out; that these are all of them is told, as it may be a slip of the config."""
        where = self.config.where
        matches = self._matches(where, otherwise=True)
        if where is not None and self.height and not matches.any():
            found = self._column(where.column).fill_null("").value_counts(sort=True)
            shown = ", ".join(f"{text!r} ({count:,})" for text, count in found.head(_SHOWN).iter_rows())
            more = ", …" if found.height > _SHOWN else ""
            wanted = [*map(repr, where.in_), *(f"not {text!r}" for text in where.not_in)]
            self.notes.append(
                f"Warning: where leaves out every row, so nothing is sent: column {self._header(where.column)!r} holds "
                f"{shown}{more}, and where wants {', '.join(wanted)}. Capitals and small letters are not the same there."
            )
        return ~matches

    # Phone and campaign.

    def _timed_phone(
        self, columns: Iterable[str], region: "str | RegionColumn | None"
    ) -> tuple[tuple[pl.Series, pl.Series, list[pl.DataFrame]], float]:
        began = time.monotonic()
        return self._phone(columns, region, slot=0), time.monotonic() - began

    def _phone(
        self, columns: Iterable[str], region: "str | RegionColumn | None", *, slot: int
    ) -> tuple[pl.Series, pl.Series, list[pl.DataFrame]]:
        """Return the first usable number of each row, the column it stood in, and what is wrong with the others.

        A number that can't be read is only a problem of the row where no other column has a usable one.
        """
        phone, source = self._nothing(), self._nothing()
        found: list[pl.DataFrame] = []
        headers = [self._header(name) for name in columns]
        regions = self._regions(region)
        setting = self.config.phone
        for header in headers:
            texts = self.cells.get_column(header)
            parsed = parse_phones(
                texts,
                regions,
                missing_plus=setting.missing_plus,
                several=setting.several,
                extension=setting.extension,
            )
            self.restored += self._with_plus(texts, parsed["phone"], regions)
            if refused := self._refused("phone", [header]):
                parsed = refused.overrule(parsed)
            if self.mended.table.may_be_cut(header) and parsed["phone"][-1] is not None:
                row = self.mended.table.places["row"][-1]
                self.notes.append(
                    f"the file ends in the number of row {row}: if it was cut off there, so was the number"
                )
            usable = parsed["phone"].is_not_null() & phone.is_null()
            source = source.zip_with(~usable, pl.Series([header]).new_from_index(0, self.height))
            phone = phone.zip_with(~usable, parsed["phone"])
            found.append(_problems(parsed["code"], header, parsed["reason"], slot=slot))
            if slot == 0 and isinstance(regions, str):
                self._doubt_region(texts, parsed["phone"], header, regions)
        unusable = phone.is_null()
        problems = [frame.filter(unusable.gather(frame["index"])) for frame in found]
        if slot == 0:
            empty = unusable & self.cells.select(pl.all_horizontal(pl.col(headers).is_null())).to_series()
            problems.append(_flag(empty, "phone_missing", headers[0], self._missing(empty)))
        return phone, source, problems

    def _doubt_region(self, texts: pl.Series, phone: pl.Series, header: str, region: str) -> None:
        """Say so where most numbers can't be used, and nearly all of them could in another country."""
        bad = texts.filter(phone.is_null() & texts.is_not_null())
        if bad.len() < max(_FEW, _MOST * (texts.len() - texts.null_count())):
            return
        tried = bad.unique(maintain_order=True).head(_TRIED)
        usable = {code: parse_phones(tried, code)["phone"].count() / tried.len() for code in REGIONS[None]}
        fitting = sorted((code for code, share in usable.items() if share >= _NEARLY_ALL), key=usable.get, reverse=True)  # type: ignore[arg-type]
        if fitting:
            where = " or ".join(fitting[:3])
            self.notes.append(
                f"Warning: {bad.len():,} of {texts.count():,} numbers in column {header!r} can't be used with region {region}; "
                f"nearly all of them could with {where}. Put phone.region or --region right."
            )

    def _missing(self, empty: pl.Series) -> pl.Series:
        """Say of each row without a phone what to do; a row of totals is named as one."""
        totals = pl.any_horizontal(pl.selectors.string().str.contains(f"(?i){TOTALS}").fill_null(value=False))
        text = (
            pl.when(totals)
            .then(pl.lit("no phone number: this looks like a row of totals. Take it out of the list"))
            .otherwise(pl.lit("no phone number. Fill in one, with its country as +49…"))
        )
        return self.cells.filter(empty).select(text.alias("message")).to_series()

    def _with_plus(
        self, texts: pl.Series, phone: pl.Series, regions: pl.Series | str | None
    ) -> list[tuple[Mending, pl.DataFrame]]:
        """Return what is to be said of numbers that got a plus; where 1 is dialled, eleven digits from it lack none."""
        digits = texts.str.replace_all("[^0-9]", "")
        bare = ~texts.str.contains("+", literal=True) & ("+" + digits == phone)
        restored = (bare & ~(phone.str.contains(r"^\+1\d{10}$") & dial_1(regions))).fill_null(value=False)
        if not restored.any():
            return []
        read = "read as " + phone.filter(restored) + ", with the + that it has lost"
        note = _flag(restored, "phone_plus_restored", texts.name, read, blocking=False)
        return [(Mending(texts.name, "a plus in front of the country", note.height), note)]

    def _regions(self, region: "str | RegionColumn | None") -> pl.Series | str | None:
        if not isinstance(region, RegionColumn):
            return region
        column = self._column(region.column)
        return column.replace(dict(region.map)) if region.map else column

    def _campaign_header(self) -> str | None:
        campaign = self.config.campaign_id
        return None if campaign is None or isinstance(campaign, int) else self._header(campaign.column)

    def _campaign(self) -> tuple[pl.Series, list[pl.DataFrame]]:
        """Return each row's campaign, null where its cell is empty or says none that is known."""
        campaign = self.config.campaign_id
        if campaign is None or isinstance(campaign, int):
            return pl.Series([campaign], dtype=pl.Int64).new_from_index(0, self.height), []
        return self._campaign_by_column(campaign)

    def _campaign_by_column(self, campaign: "CampaignColumn") -> tuple[pl.Series, list[pl.DataFrame]]:
        header = self._header(campaign.column)
        texts = self.cells.get_column(header)
        if campaign.map:
            known = {name: int(number) for name, number in campaign.map.items()}
            numbers = texts.replace_strict(known, default=None, return_dtype=pl.Int64)
            right = "Known names: " + ", ".join(repr(name) for name in known)
        else:
            numbers = texts.replace(None, None).str.to_integer(strict=False, dtype=pl.Int64)
            numbers = numbers.zip_with((numbers > 0).fill_null(value=True), pl.Series([None], dtype=pl.Int64))
            right = "A campaign's number is right, such as 7"
        wrong = texts.is_not_null() & numbers.is_null()
        message = _quote(texts.filter(wrong)) + f" is no campaign that is known. {right}."
        return numbers, [_flag(wrong, "campaign_unknown", header, message)]

    # Variables.

    def _variables(self, variables: "Mapping[str, Variable]", *, slot: int) -> tuple[pl.Series, list[pl.DataFrame]]:
        """Return each row's variables as the text of a JSON object, empty ones left out."""
        problems: list[pl.DataFrame] = []
        values: dict[str, _Values] = {}
        for name, variable in sorted(variables.items()):
            values[name], found = self._variable(name, variable, slot=slot)
            problems += found
        if not values:
            return pl.Series(["{}"]).new_from_index(0, self.height), problems
        return _json_objects(values), problems

    def _variable(self, name: str, variable: "Variable", *, slot: int) -> "tuple[_Values, list[pl.DataFrame]]":
        """Return one variable of each row (null: left out) and what is wrong with it."""
        if not variable.columns:
            constant = None if variable.value is None else orjson.dumps(variable.value).decode()
            return _Values(pl.Series([constant], dtype=pl.String).new_from_index(0, self.height)), []
        texts = self._text(variable)
        header = self._header(variable.columns[0])
        value, code, reason = self._typed(texts, variable)
        refused = self._refused(use_of(variable), map(self._header, variable.columns))
        if refused is not None:
            value = replace(value, told=value.told.zip_with(~refused.mask, pl.Series([None], dtype=pl.String)))
        if variable.default is not None:
            value = value.with_default(texts.is_null() | value.told.is_not_null(), variable.default)
        wrong = texts.is_not_null() & value.told.is_null()
        if not wrong.any():
            return value, []
        dropped = variable.on_error == "drop"
        damaged: list[pl.DataFrame] = []
        if refused is not None:
            damaged = [refused.problems(slot=slot, only=wrong, dropped=name if dropped else None)]
            wrong &= ~refused.mask
        message = _quote(texts.filter(wrong)) + " " + (reason if isinstance(reason, str) else reason.filter(wrong))
        if dropped:
            message = f"variable {name!r} was left out: " + message
        return value, [*damaged, _flag(wrong, code, header, message, slot=slot, blocking=not dropped)]

    def _text(self, variable: "Variable") -> pl.Series:
        if variable.template is None:
            return self._column(variable.columns[0])
        # An empty part stands as NUL and takes one space beside it along: "{First} {Middle} {Last}".
        parts = [
            pl.lit(part) if kind == "text" else pl.col(self._header(part)).fill_null("\x00")
            for kind, part in variable.template
        ]
        filled = pl.any_horizontal(pl.col(sorted({self._header(name) for name in variable.columns})).is_not_null())
        text = pl.concat_str(parts).str.replace_all(" \x00|\x00 |\x00", "").str.strip_chars(INVISIBLE)
        return self.cells.select(pl.when(filled).then(text.replace("", None)).alias("text")).to_series()

    def _typed(self, texts: pl.Series, variable: "Variable") -> "tuple[_Values, str, str | pl.Series]":
        """Return the texts as values (null where they are none), and the code and words for those."""
        if variable.map:
            return _by_map(texts, variable)
        if variable.type == "date":
            read = read_dates(texts, variable.format, workbook=self.mended.table.delimiter is None)
            if read.note is not None:
                self.notes.append(f"column {self._header(variable.columns[0])!r}: {read.note}")
            return _json_texts(read.dates.dt.to_string("%Y-%m-%d")), "value_not_date", read.reason
        return _TYPES[variable.type](texts)

    # Contacts in columns of the same row.

    def _contacts_in_columns(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
        contacts = self.config.secondary_contacts
        if contacts is None or not contacts.columns:
            return rows, []
        people, problems = [rows], []
        for slot, contact in enumerate(contacts.columns, start=1):
            region = contact.region if contact.region is not None else self.config.phone.region
            phone, source, found = self._phone([contact.phone], region, slot=slot)
            variables, more = self._variables(contact.variables, slot=slot)
            named = self._named(slot)
            present = self._column(contact.phone).is_not_null() | named
            missing = _flag(
                named & self._column(contact.phone).is_null(),
                "phone_missing",
                self._header(contact.phone),
                f"contact {slot} has other cells filled, but no phone number",
                slot=slot,
            )
            people.append(
                rows.with_columns(
                    phone=phone,
                    phone_column=source,
                    variables=variables,
                    contact_variables=variables,
                    slot=pl.lit(slot, pl.UInt8),
                ).filter(present)
            )
            problems += [frame.filter(present.gather(frame["index"])) for frame in (*found, *more)] + [missing]
        return pl.concat(people).sort("index", "slot"), problems

    def _named(self, slot: int) -> pl.Series:
        """Return the rows in which a column that only this contact uses is filled."""
        contacts = self.config.secondary_contacts
        assert contacts is not None
        uses: dict[str, set[int]] = {}
        lists = [self.config.variables, *(contact.variables for contact in contacts.columns)]
        for place, variables in enumerate(lists):
            for variable in variables.values():
                for name in variable.columns:
                    uses.setdefault(self._header(name), set()).add(place)
        own = [header for header, places in uses.items() if places == {slot}]
        if not own:
            return pl.repeat(False, self.height, dtype=pl.Boolean, eager=True)
        return self.cells.select(pl.any_horizontal(pl.col(own).is_not_null())).to_series()

    def _field_columns(self) -> dict[str, str]:
        fields = {
            f"variables.{name}": self._header(variable.columns[0])
            for name, variable in self.config.variables.items()
            if variable.columns
        }
        contacts = self.config.secondary_contacts
        for slot, contact in enumerate(contacts.columns if contacts else (), start=1):
            fields[f"slot.{slot}.phone_number"] = self._header(contact.phone)
            for name, variable in contact.variables.items():
                if variable.columns:
                    fields[f"slot.{slot}.variables.{name}"] = self._header(variable.columns[0])
        header = self._campaign_header()
        return fields | ({"campaign_id": header} if header else {})


# Types: texts → values, null where a text is none of the type.


@dataclass(frozen=True, slots=True)
class _Values:
    """One variable of each row, null where it is left out.

    `told` (String) is JSON, or with `is_text` what stands between the quotes of a JSON text: these are set when all
    is joined, so that no text need be held twice.
    """

    told: pl.Series
    is_text: bool = False

    def with_default(self, unless: pl.Series, default: object) -> "_Values":
        """Put a default where `unless` does not hold."""
        json = orjson.dumps(default).decode()
        is_text = self.is_text and isinstance(default, str)
        told = self.told if is_text or not self.is_text else pl.select(pl.format('"{}"', self.told)).to_series()
        fill = pl.Series([json[1:-1] if is_text else json])
        return _Values(told.zip_with(unless, fill.new_from_index(0, told.len())), is_text)

    def member(self, name: str, column: str) -> pl.Expr:
        """Return the member of a JSON object, for `told` as a column of a frame."""
        before, quote = f"{orjson.dumps(name).decode()}:", '"' if self.is_text else ""
        return pl.concat_str(pl.lit(before + quote), pl.col(column), pl.lit(quote))


def _texts(texts: pl.Series) -> tuple[_Values, str, str]:
    return _json_texts(texts), "value_not_text", "is no text."


def _integers(texts: pl.Series) -> tuple[_Values, str, str]:
    # Up to 15 digits: more would not survive a reader that holds JSON numbers as doubles.
    digits = texts.str.extract(r"^([+-]?\d{1,15})(?:\.0+)?$")
    return (
        _Values(digits.str.to_integer(strict=False, dtype=pl.Int64).cast(pl.String)),
        "value_not_integer",
        "is no whole number. Right is, for instance, 17 (no separators, at most 15 digits).",
    )


def _numbers(texts: pl.Series) -> tuple[_Values, str, str]:
    plain = texts.str.extract(r"^([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,2})?)$")
    numbers = plain.cast(pl.Float64, strict=False)
    whole = plain.str.extract(r"^([+-]?\d{1,15})$").str.to_integer(strict=False, dtype=pl.Int64).cast(pl.String)
    finite = pl.Series(
        [orjson.dumps(number).decode() if number is not None else None for number in numbers], dtype=pl.String
    )
    return (
        _Values(whole.zip_with(whole.is_not_null(), finite.replace("null", None))),
        "value_not_number",
        "is no number. Right is, for instance, 12.5 (a point, no separators).",
    )


def _booleans(texts: pl.Series) -> tuple[_Values, str, str]:
    words = dict.fromkeys(_YES, "true") | dict.fromkeys(_NO, "false")
    return (
        _Values(texts.str.to_lowercase().replace_strict(words, default=None, return_dtype=pl.String)),
        "value_not_boolean",
        "is neither yes nor no. Right is yes, no, true, false, 1 or 0.",
    )


def _emails(texts: pl.Series) -> tuple[_Values, str, str]:
    invalid = invalid_emails(texts)
    if invalid.len():
        bad = texts.is_in(invalid.implode()).fill_null(value=False)
        texts = texts.zip_with(~bad, pl.Series([None], dtype=pl.String))
    return _json_texts(texts), "value_not_email", "is no e-mail address. Right is, for instance, ada@example.com."


_TYPES = {"text": _texts, "integer": _integers, "number": _numbers, "boolean": _booleans, "email": _emails}


def _by_map(texts: pl.Series, variable: "Variable") -> tuple[_Values, str, str]:
    assert variable.map is not None
    values = {key: orjson.dumps(value).decode() for key, value in variable.map.items()}
    mapped = texts.replace_strict(values, default=None, return_dtype=pl.String)
    known = ", ".join(repr(key) for key in values)
    return _Values(mapped), "value_not_in_map", f"is not in the map. Known values: {known}; or set a default."


# Small steps.


def _json_texts(texts: pl.Series) -> _Values:
    if texts.str.contains_any(list(_ESCAPES)).any():
        texts = texts.str.replace_many(list(_ESCAPES), list(_ESCAPES.values()))
    return _Values(texts, is_text=True)


def _json_objects(values: Mapping[str, _Values]) -> pl.Series:
    """Join values by name to one JSON object for each row, nulls left out; in slices, as this takes memory."""
    frame = pl.DataFrame([value.told.alias(str(place)) for place, value in enumerate(values.values())])
    members = [value.member(name, str(place)) for place, (name, value) in enumerate(values.items())]
    joined = pl.concat_str(members, separator=",", ignore_nulls=True).fill_null("")
    made = pl.concat_str(pl.lit("{"), joined, pl.lit("}")).alias("")
    slices = list(frame.iter_slices(_SLICE)) or [frame]
    return pl.concat([part.select(made) for part in slices]).to_series()


def _quote(texts: pl.Series) -> pl.Series:
    """Return the texts as messages show them: in quotes, long ones cut."""
    return "'" + texts.str.slice(0, 80).str.replace_all(r"[\r\n\t]+", " ") + "'"


def _problems(
    codes: pl.Series, column: str, messages: pl.Series, *, slot: int = 0, blocking: bool = True
) -> pl.DataFrame:
    """Return a `PROBLEMS` line for every row that has a code."""
    frame = (
        pl.DataFrame({"code": codes, "message": messages}).with_row_index("index").filter(pl.col("code").is_not_null())
    )
    return frame.select(
        pl.col("index").cast(pl.UInt32),
        pl.lit(slot, pl.UInt8).alias("slot"),
        pl.col("code"),
        pl.lit(column).alias("column"),
        pl.col("message"),
        pl.lit(blocking).alias("blocking"),
    )


def _flag(
    mask: pl.Series, code: str, column: str, message: pl.Series | str, *, slot: int = 0, blocking: bool = True
) -> pl.DataFrame:
    """Return a `PROBLEMS` line for every row of `mask`; `message` is one for all of them, or one for each."""
    rows = mask.arg_true()
    return pl.select(
        index=rows.cast(pl.UInt32),
        slot=pl.lit(slot, pl.UInt8),
        code=pl.lit(code),
        column=pl.lit(column),
        message=pl.lit(message),
        blocking=pl.lit(blocking),
    )


def _together(frames: list[pl.DataFrame]) -> pl.DataFrame:
    filled: list[Any] = [
        frame.select(pl.col(name).cast(kind) for name, kind in PROBLEMS.items()) for frame in frames if frame.height
    ]
    return pl.concat(filled) if filled else no_problems()
