"""Rows → leads with their secondary contacts; who is left out, and whose number stands twice.

Within one table `group_people` forms the leads; over all tables of a command `find_repeats` finds numbers that several
leads share. Neither promotes, drops or reorders anybody without saying so in that person's row.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
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
    `variables`, `campaign`, `lead` (UInt32, which lead of the table it belongs to), `contact` (Boolean), `status`,
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
    people = _own_statuses(people, mapped, suppressed)
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
        empty_keys=people.filter(pl.col("key").is_null() & ~pl.col("blank")).height if by_key else 0,
    )


def _leads_by_key(people: pl.DataFrame) -> pl.DataFrame:
    """Give each group a number, in the order of their first rows; an empty key makes a lead of its own."""
    named = people.with_columns(
        group=pl.when(pl.col("key").is_null()).then(pl.format("row {}", "index")).otherwise("key " + pl.col("key"))
    )
    numbers = named.select("group").unique(maintain_order=True).with_row_index("lead")
    return named.join(numbers, on="group", how="left", maintain_order="left").with_columns(
        pl.col("lead").cast(pl.UInt32)
    )


def _roles(people: pl.DataFrame, *, by_key: bool, flagged: bool) -> pl.DataFrame:
    """Say who is primary and who is contact, and how many primaries a group has (`primaries`)."""
    if not by_key:
        return people.with_columns(contact=pl.col("slot") > 0, primaries=pl.lit(1, pl.UInt32))
    alone = pl.col("key").is_null()
    if not flagged:
        first = (pl.col("order") == pl.col("order").min().over("lead")).cum_sum().over("lead") == 1
        primary = first & (pl.col("order") == pl.col("order").min().over("lead"))
        return people.with_columns(contact=~(alone | primary), primaries=pl.lit(1, pl.UInt32))
    # A row that `where` leaves out is a primary only where no other is: it then leaves its whole group out.
    live = pl.col("flagged") & ~pl.col("filtered")
    people = people.with_columns(primaries=live.sum().over("lead"))
    spare = pl.col("flagged") & (pl.col("primaries") == 0)
    first_spare = spare & (spare.cum_sum().over("lead") == 1)
    people = people.with_columns(primary=alone | (live & (pl.col("primaries") == 1)) | first_spare)
    return people.with_columns(
        contact=~pl.col("primary"),
        primaries=pl.when(alone | pl.col("primary").any().over("lead")).then(1).otherwise(pl.col("primaries")),
    )


def _own_statuses(people: pl.DataFrame, mapped: Mapped, suppressed: Mapping[str, str]) -> pl.DataFrame:
    """Give everybody the status that is theirs alone, whatever becomes of their lead."""
    as_lead, as_contact = _summed(mapped.problems), _summed(mapped.contact_problems)
    in_rows = pl.col("contact") & (pl.col("slot") == 0)
    people = people.with_columns(variables=pl.when(in_rows).then("contact_variables").otherwise("variables"))
    found = pl.concat(
        [
            people.filter(~in_rows).select("index", "slot").join(as_lead, on=["index", "slot"]),
            people.filter(in_rows).select("index", "slot").join(as_contact, on=["index", "slot"]),
        ]
    )
    people = people.join(found, on=["index", "slot"], how="left", maintain_order="left")
    lists = (
        pl.col("phone").replace_strict(dict(suppressed), default=None, return_dtype=pl.String)
        if suppressed
        else pl.lit(None, pl.String)
    )
    people = people.with_columns(list_name=lists)
    rules = [
        (pl.col("blank"), _FILTERED, "blank", pl.lit("the row is blank")),
        (pl.col("filtered"), _FILTERED, "filtered", pl.lit("left out by the config's where")),
        (
            pl.col("list_name").is_not_null(),
            _SUPPRESSED,
            "suppressed",
            pl.format("the number is on the suppression list {}", "list_name"),
        ),
        (pl.col("blocking").fill_null(value=False), _INVALID, None, None),
    ]
    status, code, message = pl.lit(None, pl.String), pl.col("code"), pl.col("message")
    column = pl.col("column")
    for when, its_status, its_code, its_message in reversed(rules):
        status = pl.when(when).then(pl.lit(its_status)).otherwise(status)
        if its_code is not None and its_message is not None:
            code = pl.when(when).then(pl.lit(its_code)).otherwise(code)
            message = pl.when(when).then(its_message).otherwise(message)
            header = pl.col("phone_column") if its_code == "suppressed" else pl.lit(None, pl.String)
            column = pl.when(when).then(header).otherwise(column)
    return people.with_columns(
        status.alias("status"), code.alias("code"), message.alias("message"), column.alias("column")
    )


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
    people: pl.DataFrame, when: pl.Expr, code: str, message: pl.Expr, column: str | None = None
) -> pl.DataFrame:
    """Make people invalid who have no status yet; who is invalid already gets the further reason beside the first."""
    fresh = when & pl.col("status").is_null()
    again = when & (pl.col("status") == _INVALID) & pl.col("code").is_not_null() & (pl.col("code") != code)
    return people.with_columns(
        status=pl.when(fresh).then(pl.lit(_INVALID)).otherwise("status"),
        code=pl.when(fresh).then(pl.lit(code)).otherwise("code"),
        message=pl.when(fresh).then(message).when(again).then(pl.col("message") + "; " + message).otherwise("message"),
        column=pl.when(fresh).then(pl.lit(column, pl.String)).otherwise("column"),
    )


def _campaigns(people: pl.DataFrame, mapped: Mapped) -> pl.DataFrame:
    """Hold the campaigns of a group against its primary's."""
    own = pl.col("campaign").filter(~pl.col("contact")).first().over("lead")
    row = pl.col("row").filter(~pl.col("contact")).first().over("lead")
    header = mapped.campaign_column
    unnamed = ~pl.col("contact") & pl.col("campaign").is_null() & (pl.col("code").fill_null("") != "campaign_unknown")
    message = "no campaign. Fill in its column, or give one with --campaign"
    people = _invalidate(people, unnamed & _single(), "campaign_missing", pl.lit(message), header)
    differs = pl.col("contact") & (pl.col("campaign") != own) & (pl.col("slot") == 0) & _single()
    people = _invalidate(
        people,
        differs.fill_null(value=False),
        "group_campaigns_differ",
        pl.format(
            "row {} has campaign {}, its primary in row {} has campaign {}. One lead has one campaign.",
            "row",
            "campaign",
            row,
            own,
        ),
        header,
    )
    return people.with_columns(campaign=own)


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
    if people["lead"].n_unique() == people.height:
        return people
    shown = people.with_columns(place=_place(), live=_live() & pl.col("phone").is_not_null())
    repeats = (
        shown.filter(pl.col("live"))
        .sort("contact", "order", "slot")
        .group_by("lead", "phone", maintain_order=True)
        .agg(
            pl.col("place").str.join(" and in ").alias("places"),
            pl.col("index").first().alias("first_index"),
            pl.col("slot").first().alias("first_slot"),
            pl.len().alias("times"),
        )
        .filter(pl.col("times") > 1)
    )
    if not repeats.height:
        return people
    joined = shown.join(repeats, on=["lead", "phone"], how="left", maintain_order="left")
    first = (pl.col("index") == pl.col("first_index")) & (pl.col("slot") == pl.col("first_slot"))
    again = pl.col("times").is_not_null() & pl.col("live") & (pl.lit(hold) | ~first)
    message = pl.format("the same number stands in {} of this lead. Remove all but one of them.", "places")
    header = pl.col("phone_column")
    joined = _invalidate(joined, again, "group_same_number", message)
    return joined.with_columns(
        column=pl.when(pl.col("code") == "group_same_number").then(header).otherwise("column")
    ).select(people.columns)


def _lead_statuses(people: pl.DataFrame, *, hold: bool) -> pl.DataFrame:
    """Let the primary, and with `hold` every contact, decide what becomes of the whole lead."""
    rows = pl.col("row").cast(pl.String)
    flagged_rows = rows.filter(pl.col("flagged") & _live()).str.join(", ").over("lead")
    people = _invalidate(
        people,
        (pl.col("primaries") == 0) & _live(),
        "group_no_primary",
        pl.format(
            "no row of this group is a primary (rows {}). Mark one as the config's primary_when says.",
            rows.str.join(", ").over("lead"),
        ),
    )
    people = _invalidate(
        people,
        (pl.col("primaries") > 1) & _live(),
        "group_two_primaries",
        pl.format("this group has several primaries: rows {}. Leave one of them.", flagged_rows),
    )
    primary_row = pl.col("row").filter(~pl.col("contact")).first().over("lead")
    primary_status = pl.col("status").filter(~pl.col("contact")).first().over("lead")
    people = people.with_columns(primary_row=primary_row, primary_status=primary_status)
    for status, words in ((_FILTERED, "is left out by where"), (_SUPPRESSED, "is on a suppression list")):
        with_primary = pl.col("contact") & (pl.col("primary_status") == status) & _live()
        people = people.with_columns(
            status=pl.when(with_primary).then(pl.lit(status)).otherwise("status"),
            code=pl.when(with_primary).then(pl.lit(f"lead_{status}")).otherwise("code"),
            message=pl.when(with_primary)
            .then(pl.format(f"its primary in row {{}} {words}", "primary_row"))
            .otherwise("message"),
            column=pl.when(with_primary).then(None).otherwise("column"),
        )
    people = _invalidate(
        people,
        pl.col("contact") & (pl.col("primary_status") == _INVALID) & pl.col("status").is_null(),
        "lead_invalid",
        pl.format("its primary in row {} can't be sent", "primary_row"),
    )
    if hold:
        bad = _place().filter(pl.col("contact") & (pl.col("status") == _INVALID)).str.join(", ").over("lead")
        held = pl.col("status").is_null() & (pl.col("contact") & (pl.col("status") == _INVALID)).any().over("lead")
        people = _invalidate(
            people,
            held,
            "contact_invalid",
            pl.format("held back because of a secondary contact ({}). Put it right, or set on_invalid: drop.", bad),
        )
    count = (pl.col("contact") & pl.col("status").is_null()).sum().over("lead")
    return _invalidate(
        people,
        (count > MOST_CONTACTS) & pl.col("status").is_null(),
        "group_too_many",
        pl.format(
            f"{{}} secondary contacts (rows {{}}); one lead has at most {MOST_CONTACTS}. Split the group.",
            count,
            rows.str.join(", ").over("lead"),
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
    swapped: dict[tuple[int, int], str]
    """A later lead in which somebody changed roles with an earlier lead → why it is refused."""


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
    place: dict[tuple[int, int], int] = {}
    for table, lead, row, campaign, phone, others, status in numbers.iter_rows():
        name = (table, lead)
        place[name], members[name] = row, set(others)
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
                repeats.swapped[name] = (
                    f"{reason} the lead in row {place[clash]}: somebody would be called twice. Put both into one group."
                )
                continue
            for number in others:
                contacts.setdefault((campaign, number), name)
        primaries[campaign, phone] = name
    return repeats


def _shared_numbers(tables: list[Grouped]) -> pl.DataFrame:
    """Return the leads that have a number in common with another: table, lead, row, campaign, phone, others, status."""
    frames = []
    for number, grouped in enumerate(tables):
        usable = grouped.leads.filter(
            pl.col("phone").is_not_null()
            & pl.col("campaign").is_not_null()
            & (pl.col("status").is_null() | (pl.col("status") == _INVALID))
        )
        others = (
            grouped.people.filter(pl.col("contact") & pl.col("status").is_null() & pl.col("phone").is_not_null())
            .group_by("lead", maintain_order=True)
            .agg(pl.col("phone").alias("others"))
        )
        frames.append(
            usable.join(others, on="lead", how="left", maintain_order="left").with_columns(
                table=pl.lit(number, pl.UInt32), others=pl.col("others").fill_null([])
            )
        )
    leads = pl.concat(frames).sort("table", "order", "lead")
    said = pl.concat(
        [
            leads.select("campaign", "phone", role=pl.lit("primary")),
            leads.filter(pl.col("others").list.len() > 0)
            .explode("others")
            .select("campaign", phone="others", role=pl.lit("contact")),
        ]
    )
    shared = (
        said.group_by("campaign", "phone")
        .agg((pl.col("role") == "primary").sum().alias("primaries"), pl.len().alias("times"))
        .filter((pl.col("primaries") > 0) & (pl.col("times") > 1))
        .select("campaign", "phone")
    )
    through_contact = (
        leads.filter(pl.col("others").list.len() > 0)
        .explode("others")
        .join(shared, left_on=["campaign", "others"], right_on=["campaign", "phone"], how="semi")
        .select("table", "lead")
    )
    through_primary = leads.join(shared, on=["campaign", "phone"], how="semi").select("table", "lead")
    wanted = pl.concat([through_contact, through_primary]).unique()
    return leads.join(wanted, on=["table", "lead"], how="semi", maintain_order="left").select(
        "table", "lead", "row", "campaign", "phone", "others", "status"
    )
