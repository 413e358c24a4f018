"""Rows → leads with their secondary contacts; who is left out, and whose number stands twice.

Within one table `group_people` forms the leads; over all tables of a command `find_repeats` finds numbers that several
leads share. Neither promotes, drops or reorders anybody without saying so in that person's row.
"""

from array import array
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from importer.mapping import Mapped
from importer.records import Lead, Person

if TYPE_CHECKING:
    from importer.config import Config

#: create-lead.txt names no number; api.md: "at most 10 secondary contacts".
MOST_CONTACTS = 10

_PEOPLE: dict[str, Any] = {
    "index": pl.UInt32,
    "slot": pl.UInt8,
    "row": pl.Int64,
    "phone": pl.String,
    "variables": pl.String,
    "campaign": pl.Int64,
    "lead": pl.UInt32,
    "contact": pl.Boolean,
    "status": pl.String,
    "code": pl.String,
    "message": pl.String,
    "column": pl.String,
    "phone_column": pl.String,
}
_LEADS: dict[str, Any] = {
    "lead": pl.UInt32,
    "index": pl.UInt32,
    "row": pl.Int64,
    "order": pl.Int64,
    "phone": pl.String,
    "campaign": pl.Int64,
    "status": pl.String,
}

_FILTERED, _SUPPRESSED, _INVALID = "filtered", "suppressed", "invalid"


@dataclass(frozen=True, slots=True)
class Grouped:
    """The leads of one table.

    `people`, one line per row and contact column: `index`, `slot`, `row` (Int64, as Excel shows it), `phone`,
    `variables`, `campaign`, `lead` (UInt32, the `index` of its lead's first row), `contact` (Boolean), `status`,
    `code`, `message`, `column` (String; `status` is null for who carries the lead's outcome; `code` and `message`
    may then still say that something was left out).

    `leads`, one line per lead in the order of the primaries: `lead`, `index`, `row`, `phone`, `campaign`,
    `status` (String, null: fit to be sent).
    """

    people: pl.DataFrame
    leads: pl.DataFrame
    empty_keys: int = 0
    """Rows that are leads of their own because their group key is empty."""

    @classmethod
    def nothing(cls) -> "Grouped":
        """Return what a table without columns has: no people and no leads."""
        return cls(pl.DataFrame(schema=_PEOPLE), pl.DataFrame(schema=_LEADS))

    def fit(self) -> "array[int]":
        """Return the leads that are fit to be sent, in order."""
        return array("I", self.leads.filter(pl.col("status").is_null())["lead"].to_list())

    def without_variables(self) -> "Grouped":
        """Return what is still asked when all is sent; variables are the most of a list."""
        return replace(self, people=self.people.drop("variables"))

    def build(self, wanted: Collection[int], *, allow_duplicate: bool, source: str) -> Iterator[tuple[int, Lead]]:
        """Yield the leads named in `wanted` one by one, in order, without holding them all."""
        chosen = self.people.filter(pl.col("status").is_null()).join(
            pl.DataFrame({"lead": pl.Series(wanted, dtype=pl.UInt32)}), on="lead", how="semi"
        )
        fields = chosen.sort("lead", "contact", "index", "slot").select(
            "lead", "campaign", "phone", "variables", "index", "slot"
        )
        current, people, campaign_id = -1, list[Person](), 0
        for lead, campaign, phone, variables, index, slot in fields.iter_rows(buffer_size=4096):
            if lead != current:
                if people:
                    yield current, _lead(people, campaign_id, allow_duplicate=allow_duplicate, source=source)
                current, people, campaign_id = lead, [], campaign
            people.append(Person(phone, variables, index, slot))
        if people:
            yield current, _lead(people, campaign_id, allow_duplicate=allow_duplicate, source=source)


def _lead(people: list[Person], campaign_id: int, *, allow_duplicate: bool, source: str) -> Lead:
    return Lead(people[0], campaign_id, tuple(people[1:]), allow_duplicate=allow_duplicate, source=source)


def group_people(
    mapped: Mapped, config: "Config", *, rows: pl.Series, order: pl.Series, suppressed: Mapping[str, str]
) -> Grouped:
    """Form the leads of one table.

    `rows` are the row numbers as Excel shows them; `order` decides who is first where no `primary_when` is set (on
    `retry` the original row numbers); `suppressed` maps E.164 numbers to the name of the list they stand on.
    """
    contacts = config.secondary_contacts
    by_key = contacts is not None and contacts.group_by is not None
    people = mapped.people.with_columns(
        rows.cast(pl.Int64).gather(mapped.people["index"]).alias("row"),
        order.cast(pl.Int64).gather(mapped.people["index"]).alias("order"),
    )
    people = _leads_by_key(people) if by_key else people.with_columns(lead=pl.col("index"))
    people = _roles(
        people, by_key=by_key, flagged=by_key and contacts is not None and contacts.primary_when is not None
    )
    empty_keys = people.filter(pl.col("key").is_null() & ~pl.col("blank")).height if by_key else 0
    people = _own_statuses(people.drop("key"), mapped, suppressed)
    people = _campaigns(people, mapped)
    hold = contacts is None or contacts.on_invalid == "hold"
    people = _same_numbers(people, hold=hold)
    people = _lead_statuses(people, hold=hold)
    return Grouped(
        people=people.select(
            "index",
            "slot",
            "row",
            "phone",
            "variables",
            "campaign",
            "lead",
            "contact",
            "status",
            "code",
            "message",
            "column",
            "phone_column",
        ),
        leads=_leads(people),
        empty_keys=empty_keys,
    )


def _leads_by_key(people: pl.DataFrame) -> pl.DataFrame:
    """Call each group after its first row; an empty key makes a lead of its own."""
    first = pl.col("index").min().over("key")
    return people.with_columns(lead=pl.when(pl.col("key").is_null()).then("index").otherwise(first))


def _roles(people: pl.DataFrame, *, by_key: bool, flagged: bool) -> pl.DataFrame:
    """Say who is primary and who is contact, and how many primaries a group has (`primaries`)."""
    one = pl.lit(1, pl.UInt32)
    if not by_key:
        return people.with_columns(contact=pl.col("slot") > 0, primaries=one)
    if not flagged:
        return people.with_columns(contact=~_first_of_lead(people, by="order"), primaries=one)
    # A row that `where` leaves out is a primary only where no other is: it then leaves its whole group out.
    alone = pl.col("key").is_null()
    live = pl.col("flagged") & ~pl.col("filtered")
    people = people.with_columns(primaries=_count(people, live))
    spare = people.select(pl.col("flagged") & (pl.col("primaries") == 0)).to_series()
    people = people.with_columns(
        contact=~(alone | (live & (pl.col("primaries") == 1)) | _first_of_lead(people, spare, by="index"))
    )
    has_primary = _count(people, ~pl.col("contact")) > 0
    return people.with_columns(primaries=pl.when(has_primary).then(one).otherwise("primaries"))


# What people of one lead have in common. A lead's number is a row's, so that a list of as many places finds it.


def _shared(people: pl.DataFrame, leads: pl.Series, values: pl.Series) -> pl.Series:
    """Give everybody the value of their lead; null where `leads`, side by side with `values`, does not name it."""
    most = people["lead"].max() if people.height else -1
    assert isinstance(most, int)
    place = pl.Series([None], dtype=pl.UInt32).new_from_index(0, most + 1)
    place = place.scatter(leads, pl.int_range(leads.len(), dtype=pl.UInt32, eager=True))
    return values.gather(place.gather(people["lead"]))


def _of_primary(people: pl.DataFrame, column: str) -> pl.Series:
    """Give everybody the value of their primary, of whom a lead has at most one."""
    primaries = people.filter(~pl.col("contact"))
    return _shared(people, primaries["lead"], primaries[column])


def _count(people: pl.DataFrame, whom: pl.Expr) -> pl.Series:
    """Count the people of each lead of whom `whom` is true."""
    counts = people.filter(whom).group_by("lead").len("count")
    return _shared(people, counts["lead"], counts["count"]).fill_null(0).cast(pl.UInt32)


def _listed(people: pl.DataFrame, whom: pl.Expr, what: pl.Expr) -> pl.Series:
    """List the people of each lead of whom `whom` is true, in words."""
    lists = people.filter(whom).group_by("lead", maintain_order=True).agg(what.str.join(", ").alias("list"))
    return _shared(people, lists["lead"], lists["list"])


def _first_of_lead(people: pl.DataFrame, whom: pl.Series | None = None, *, by: str) -> pl.Series:
    """Tell who of each lead comes first, among those of whom `whom` is true."""
    ranked = people.select("lead", by, at=pl.int_range(pl.len(), dtype=pl.UInt32))
    ranked = ranked if whom is None else ranked.filter(whom)
    first = ranked.sort(by, "at").unique("lead", keep="first", maintain_order=True)
    return pl.repeat(value=False, n=people.height, dtype=pl.Boolean, eager=True).scatter(first["at"], values=True)


def _set(people: pl.DataFrame, whom: pl.Expr, **values: pl.Expr) -> pl.DataFrame:
    """Set columns of the people of whom `whom` is true; texts are made for them alone."""
    at = people.select(whom.fill_null(value=False)).to_series().arg_true()
    if at.is_empty():
        return people
    fresh = people[at].with_columns(**values)
    return people.with_columns(people[name].scatter(at, fresh[name]) for name in values)


def _own_statuses(people: pl.DataFrame, mapped: Mapped, suppressed: Mapping[str, str]) -> pl.DataFrame:
    """Give everybody the status that is theirs alone, whatever becomes of their lead."""
    as_lead, as_contact = _summed(mapped.problems), _summed(mapped.contact_problems)
    in_rows = pl.col("contact") & (pl.col("slot") == 0)
    people = people.with_columns(variables=pl.when(in_rows).then("contact_variables").otherwise("variables")).drop(
        "contact_variables"
    )
    asked = people.select("index", "slot", in_rows=in_rows, at=pl.int_range(pl.len(), dtype=pl.UInt32))
    found = pl.concat(
        [
            asked.filter(~pl.col("in_rows")).join(as_lead, on=["index", "slot"]),
            asked.filter("in_rows").join(as_contact, on=["index", "slot"]),
        ]
    )
    people = people.with_columns(
        found[name].clear(1).new_from_index(0, people.height).scatter(found["at"], found[name]).alias(name)
        for name in ("code", "message", "column", "blocking")
    )
    nothing = pl.lit(None, pl.String)
    people = people.with_columns(status=pl.when("blocking").then(pl.lit(_INVALID)))
    if suppressed:
        list_name = pl.col("phone").replace_strict(dict(suppressed), default=None, return_dtype=pl.String)
        people = _set(
            people,
            list_name.is_not_null(),
            status=pl.lit(_SUPPRESSED),
            code=pl.lit("suppressed"),
            message=pl.format("the number is on the suppression list {}", list_name),
            column=pl.col("phone_column"),
        )
    for whom, code, message in (
        ("filtered", "filtered", "left out by the config's where"),
        ("blank", "blank", "the row is blank"),
    ):
        people = _set(
            people,
            pl.col(whom),
            status=pl.lit(_FILTERED),
            code=pl.lit(code),
            message=pl.lit(message),
            column=nothing,
        )
    return people.drop("filtered", "blank", "blocking")


def _summed(problems: pl.DataFrame) -> pl.DataFrame:
    """Join the problems of one person to one text, the blocking ones first."""
    return (
        problems.sort("blocking", descending=True, maintain_order=True)
        .group_by("index", "slot", maintain_order=True)
        .agg(
            pl.col("code").first(),
            pl.when(pl.col("column").is_not_null())
            .then(pl.format('column "{}": {}', "column", "message"))
            .otherwise("message")
            .str.join("; ")
            .alias("message"),
            pl.col("column").first(),
            pl.col("blocking").any(),
        )
    )


def _invalidate(
    people: pl.DataFrame, whom: pl.Expr, code: str, message: pl.Expr, column: pl.Expr | None = None
) -> pl.DataFrame:
    """Make people invalid who have no status yet; who is invalid already gets the further reason beside the first."""
    again = whom & (pl.col("status") == _INVALID) & pl.col("code").is_not_null() & (pl.col("code") != code)
    people = _set(people, again, message=pl.col("message") + "; " + message)
    return _set(
        people,
        whom & pl.col("status").is_null(),
        status=pl.lit(_INVALID),
        code=pl.lit(code),
        message=message,
        column=pl.lit(None, pl.String) if column is None else column,
    )


def _campaigns(people: pl.DataFrame, mapped: Mapped) -> pl.DataFrame:
    """Hold the campaigns of a group against its primary's."""
    header = pl.lit(mapped.campaign_column, pl.String)
    people = people.with_columns(
        primary_row=_of_primary(people, "row"), primary_campaign=_of_primary(people, "campaign")
    )
    unnamed = ~pl.col("contact") & pl.col("campaign").is_null() & (pl.col("code").fill_null("") != "campaign_unknown")
    message = "no campaign. Fill in its number, or its name as the config's map knows it."
    people = _invalidate(people, unnamed & _single(), "campaign_missing", pl.lit(message), header)
    differs = pl.col("contact") & (pl.col("campaign") != pl.col("primary_campaign")) & (pl.col("slot") == 0)
    people = _invalidate(
        people,
        differs & _single(),
        "group_campaigns_differ",
        pl.format(
            "row {} has campaign {}, its primary in row {} has campaign {}. One lead has one campaign.",
            "row",
            "campaign",
            "primary_row",
            "primary_campaign",
        ),
        header,
    )
    return people.with_columns(campaign="primary_campaign").drop("primary_campaign")


def _single() -> pl.Expr:
    """Tell whether the person's group has exactly one primary."""
    return pl.col("primaries") == 1


def _live() -> pl.Expr:
    """Tell whether somebody would be called, were nothing wrong: not left out by where or suppression."""
    return pl.col("status").is_null() | (pl.col("status") == _INVALID)


def _place() -> pl.Expr:
    """Say where somebody stands, in words."""
    return (
        pl.when(pl.col("slot") == 0)
        .then(pl.format("row {}", "row"))
        .otherwise(pl.format("row {} as contact {}", "row", "slot"))
    )


def _same_numbers(people: pl.DataFrame, *, hold: bool) -> pl.DataFrame:
    """Find numbers that stand twice in a group: that person would be called twice."""
    callable_ones = people.select(
        "lead", "phone", "contact", "order", "slot", "row", at=pl.int_range(pl.len(), dtype=pl.UInt32)
    ).filter(people.select(_live() & pl.col("phone").is_not_null() & pl.col("lead").is_duplicated()).to_series())
    repeats = (
        callable_ones.filter(pl.struct("lead", "phone").is_duplicated())
        .sort("contact", "order", "slot", "at")
        .with_columns(
            places=_place().str.join(" and in ").over("lead", "phone"),
            first=pl.int_range(pl.len()).over("lead", "phone") == 0,
        )
        .filter(pl.lit(hold) | ~pl.col("first"))
    )
    if not repeats.height:
        return people
    nowhere = pl.Series("places", [None], dtype=pl.String).new_from_index(0, people.height)
    people = people.with_columns(nowhere.scatter(repeats["at"], repeats["places"]))
    return _invalidate(
        people,
        pl.col("places").is_not_null(),
        "group_same_number",
        pl.format("the same number stands in {} of this lead. Remove all but one of them.", "places"),
        pl.col("phone_column"),
    )


def _lead_statuses(people: pl.DataFrame, *, hold: bool) -> pl.DataFrame:
    """Let the primary, and with `hold` every contact, decide what becomes of the whole lead."""
    rows = pl.col("row").cast(pl.String)
    nobody, several = pl.col("primaries") == 0, pl.col("primaries") > 1
    people = people.with_columns(
        all_rows=_listed(people, nobody, rows),
        # Those that `primaries` has counted: a suppressed one too, else the rows could not be put right.
        flagged_rows=_listed(people, several & pl.col("flagged") & (pl.col("status").fill_null("") != _FILTERED), rows),
    )
    people = _invalidate(
        people,
        nobody & _live(),
        "group_no_primary",
        pl.format(
            "no row of this group is a primary (rows {}). Mark one as the config's primary_when says.", "all_rows"
        ),
    )
    people = _invalidate(
        people,
        several & _live(),
        "group_two_primaries",
        pl.format("this group has several primaries: rows {}. Leave one of them.", "flagged_rows"),
    )
    people = people.drop("all_rows", "flagged_rows", "flagged")
    people = people.with_columns(primary_status=_of_primary(people, "status"))
    for status, words in ((_FILTERED, "is left out by where"), (_SUPPRESSED, "is on a suppression list")):
        people = _set(
            people,
            pl.col("contact") & (pl.col("primary_status") == status) & _live(),
            status=pl.lit(status),
            code=pl.lit(f"lead_{status}"),
            message=pl.format(f"its primary in row {{}} {words}", "primary_row"),
            column=pl.lit(None, pl.String),
        )
    people = _invalidate(
        people,
        pl.col("contact") & (pl.col("primary_status") == _INVALID) & pl.col("status").is_null(),
        "lead_invalid",
        pl.format("its primary in row {} can't be sent", "primary_row"),
    ).drop("primary_status", "primary_row")
    if hold:
        bad = _listed(people, pl.col("contact") & (pl.col("status") == _INVALID), _place())
        people = people.with_columns(bad=bad)
        people = _invalidate(
            people,
            pl.col("status").is_null() & pl.col("bad").is_not_null(),
            "contact_invalid",
            pl.format("held back because of a secondary contact ({}). Put it right, or set on_invalid: drop.", "bad"),
        ).drop("bad")
    people = people.with_columns(contacts=_count(people, pl.col("contact") & pl.col("status").is_null()))
    crowded = pl.col("contacts") > MOST_CONTACTS
    people = people.with_columns(all_rows=_listed(people, crowded, rows))
    return _invalidate(
        people,
        crowded & pl.col("status").is_null(),
        "group_too_many",
        pl.format(
            f"{{}} secondary contacts (rows {{}}); one lead has at most {MOST_CONTACTS}. Split the group.",
            "contacts",
            "all_rows",
        ),
    )


def _leads(people: pl.DataFrame) -> pl.DataFrame:
    """Return the leads by their primaries; a group that has none or several is invalid and has no number."""
    primaries = people.filter(~pl.col("contact") & _single()).select(
        "lead", "index", "row", "order", "phone", "campaign", "status"
    )
    if primaries.height == people["lead"].n_unique():
        return primaries.sort("lead")
    lost = (
        people.join(primaries, on="lead", how="anti")
        .group_by("lead")
        .agg(
            pl.col("index").min(),
            pl.col("row").min(),
            pl.col("order").min(),
            pl.lit(None, pl.String).first().alias("phone"),
            pl.lit(None, pl.Int64).first().alias("campaign"),
            # A group with nobody to be called is left out like its rows; else it is invalid as a whole.
            pl.when((pl.col("status") == _INVALID).any())
            .then(pl.lit(_INVALID))
            .otherwise(pl.lit(_FILTERED))
            .alias("status"),
        )
    )
    return pl.concat([primaries, lost.select(primaries.columns)]).sort("lead")


# Over all tables of one command.


@dataclass(frozen=True, slots=True)
class Repeats:
    """What leads of one command have in common; leads are named by (table, lead)."""

    follows: dict[tuple[int, int], tuple[int, int]]
    """A later lead with the number of an earlier one in the same campaign → that earlier lead."""
    only_here: dict[tuple[int, int], tuple[str, ...]]
    """Contacts' numbers of such a later lead that the earlier one does not have."""
    swapped: dict[tuple[int, int], tuple[str, tuple[int, int]]]
    """A later lead in which somebody changed roles with an earlier lead → why it is refused, and that earlier lead."""


def find_repeats(tables: list[Grouped]) -> Repeats:
    """Find leads that share numbers in a way that would call somebody twice.

    Contacts that several leads share change nothing (a number in two households). The earlier lead is the one in the
    earlier table, or with the smaller row.
    """
    repeats = Repeats({}, {}, {})
    numbers = _shared_numbers(tables)
    if not numbers.height:
        return repeats
    primaries: dict[tuple[int, str], tuple[int, int]] = {}
    contacts: dict[tuple[int, str], tuple[int, int]] = {}
    members: dict[tuple[int, int], set[str]] = {}
    for table, lead, campaign, phone, others, status in numbers.iter_rows():
        name = (table, lead)
        members[name] = set(others)
        earlier = primaries.get((campaign, phone))
        if earlier is not None:
            repeats.follows[name] = earlier
            repeats.only_here[name] = tuple(number for number in others if number not in members[earlier])
            continue
        if status is None:
            clash = contacts.get((campaign, phone))
            reason = "its primary's number is a secondary contact of"
            if clash is None:
                clash = next(
                    (primaries[campaign, number] for number in others if (campaign, number) in primaries), None
                )
                reason = "a contact's number is the primary of"
            if clash is not None:
                repeats.swapped[name] = reason, clash
                continue
            for number in others:
                contacts.setdefault((campaign, number), name)
        primaries[campaign, phone] = name
    return repeats


def _shared_numbers(tables: list[Grouped]) -> pl.DataFrame:
    """Return the leads that have a number in common with another: table, lead, campaign, phone, others, status."""
    leads = pl.concat(_numbered(number, _usable(grouped)) for number, grouped in enumerate(tables))
    others = pl.concat(_numbered(number, _others(grouped)) for number, grouped in enumerate(tables)).join(
        leads.select("table", "lead", "campaign"), on=["table", "lead"], maintain_order="left"
    )
    said = pl.concat(
        [
            leads.select("campaign", "phone", is_primary=pl.lit(value=True)),
            others.select("campaign", "phone", is_primary=pl.lit(value=False)),
        ]
    )
    shared = (
        said.group_by("campaign", "phone")
        .agg(pl.col("is_primary").any(), pl.len().alias("times"))
        .filter(pl.col("is_primary") & (pl.col("times") > 1))
        .select("campaign", "phone")
    )
    by_number = [frame.join(shared, on=["campaign", "phone"], how="semi") for frame in (leads, others)]
    wanted = pl.concat(frame.select("table", "lead") for frame in by_number).unique()
    members = others.join(wanted, on=["table", "lead"], how="semi", maintain_order="left")
    lists = members.group_by("table", "lead", maintain_order=True).agg(pl.col("phone").alias("others"))
    return (
        leads.join(wanted, on=["table", "lead"], how="semi")
        .join(lists, on=["table", "lead"], how="left")
        .sort("table", "order", "lead")
        .select("table", "lead", "campaign", "phone", pl.col("others").fill_null([]), "status")
    )


def _usable(grouped: Grouped) -> pl.DataFrame:
    """Return the leads that have a number, and are not left out."""
    return grouped.leads.filter(
        pl.col("phone").is_not_null()
        & pl.col("campaign").is_not_null()
        & (pl.col("status").is_null() | (pl.col("status") == _INVALID))
    )


def _others(grouped: Grouped) -> pl.DataFrame:
    """Return the numbers of the contacts who are part of their lead."""
    part = pl.col("contact") & pl.col("status").is_null() & pl.col("phone").is_not_null()
    return grouped.people.filter(part).select("lead", "phone")


def _numbered(number: int, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(table=pl.lit(number, pl.UInt32))
