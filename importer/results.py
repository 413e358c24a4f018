"""What every row is told: the columns a result file adds, and the sum that must hold."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from importer.errors import ExitStatus
from importer.outcomes import Outcomes, Place
from importer.plan import LeadRows, Plan, Work
from importer.records import PROBABLY_OURS, PROBLEMS, RESULT_COLUMNS, Outcome, Status, Table

_GOOD = {Status.CREATED, Status.DUPLICATE, Status.ALREADY_IMPORTED, Status.SUPPRESSED, Status.FILTERED, Status.READY}

#: Codes of rows whose text in the result is only what was left of a damaged line: nothing in it shows that any more.
_DAMAGED = ("row_too_short", "phone_cut_off", "row_too_long", "broken_quote", "nul_byte", "replacement_character")

#: Codes beside which a lead goes as the row says, with all that it holds.
_WHOLE = ("cell_restored", "cell_cleaned", "phone_plus_restored", "duplicate_row")

#: Codes of leads that are duplicates of an earlier row of the command.
_BY_ROW = ("duplicate_row", "contacts_only_here")

#: What is asked of people here, and how many are told at once: the texts made on the way take memory.
_PEOPLE = ("index", "slot", "lead", "contact", "status", "code", "message", "column")
_SLICE = 1 << 16

#: Per contact of a lead: `position` from 1 in the order of `Lead.contacts`.
_CONTACTS = {
    "lead": pl.UInt32,
    "position": pl.UInt32,
    "contact_id": pl.String,
    "contact_status": pl.String,
    "contact_code": pl.String,
    "contact_message": pl.String,
}

#: Code of a contact that is part of a lead that stands, and that no answer has named.
_UNCONFIRMED = "contact_not_confirmed"
_NOT_CONFIRMED = (
    "not confirmed: the server's answer does not name this contact. To look it up: lead-importer settle, with the run in "
    "import_run_id; or look at the lead in the platform."
)
_OF_A_DUPLICATE = "not confirmed: the server has this lead, nothing says that it has this contact"


def split(table: Table) -> tuple[Table, pl.DataFrame | None]:
    """Part a result file into the user's table and the columns that an earlier run added; None for a fresh input."""
    if not table.is_result:
        return table, None
    ours = [name for name in table.columns if name in RESULT_COLUMNS]
    keep = [place for place, name in enumerate(table.columns) if name not in RESULT_COLUMNS]
    previous = table.cells.select(
        (pl.col(name).str.strip_chars() if name in ours else pl.lit(None, pl.String)).replace("", None).alias(name)
        for name in RESULT_COLUMNS
    )
    previous = previous.with_columns(pl.col("import_status").str.to_lowercase())
    headers = tuple(table.headers[place] for place in keep)
    problems = pl.concat([table.problems, _damaged(previous)])
    return replace(table, cells=table.cells.select(pl.nth(keep)), headers=headers, problems=problems), previous


def numbered(previous: pl.DataFrame, rows: pl.Series) -> pl.DataFrame:
    """Give rows that people added to a result file numbers, in their order, on from the last original one.

    By that number a row is found again by the next `retry`, and groups know who came first: it must be no other row's.
    `rows` are the numbers as Excel shows them, for a file that has lost all of its own.
    """
    original = previous["import_row"].str.to_integer(strict=False, dtype=pl.Int64)
    added = original.is_null()
    last = original.max()
    counted_on = rows.cast(pl.Int64) if last is None else added.cast(pl.Int64).cum_sum() + last
    return previous.with_columns(original.zip_with(~added, counted_on).cast(pl.String).alias("import_row"))


def _damaged(previous: pl.DataFrame) -> pl.DataFrame:
    """Return the problems of rows that came from a damaged line, until a person makes new ones of them."""
    code = pl.col("import_error_code")
    damaged = (pl.col("import_status") == "invalid") & code.is_in(_DAMAGED)
    message = (
        "the line that this row was read from was damaged, and what stands here is what was left of it. "
        "Put the row right and empty its import_status; or mend the list and run that again."
    )
    problem = {"slot": 0, "code": code, "column": None, "message": pl.lit(message), "blocking": True}
    found = previous.with_row_index().filter(damaged).select("index", **problem)
    return found.select(pl.col(name).cast(kind) for name, kind in PROBLEMS.items())


def with_followers(made: Plan, outcomes: Outcomes, otherwise: Outcome, works: Sequence[Work]) -> Outcomes:
    """Add those of later rows with an earlier row's number, which has their status too (contract, "duplicate")."""
    followed = set(made.repeats.follows.values())
    sent = {place for number, leads in (made.first() if followed else ()) for place in _among(followed, number, leads)}
    rows = LeadRows(works, followed | made.repeats.follows.keys())
    for place, earlier in made.repeats.follows.items():
        first = outcomes.get(earlier, otherwise if earlier in sent else None)
        status = Status.INVALID if first is None else first.status
        done = status in (Status.CREATED, Status.ALREADY_IMPORTED, Status.DUPLICATE)
        only_here = made.repeats.only_here.get(place, ())
        extra = (
            f"; {len(only_here)} of its contacts stand only here and are not part of that lead: {', '.join(only_here)}"
            if only_here
            else ""
        )
        outcomes[place] = Outcome(
            Status.DUPLICATE if done else status,
            "" if first is None else first.run_id,
            None if first is None else first.finished_at,
            lead_id=first.lead_id if first is not None and done else None,
            code=_code_of_follower(first, is_more=bool(only_here) and done),
            message=f"the same number stands in {rows.told(earlier, beside=place)}, which is {status}{extra}",
        )
    return outcomes


def _code_of_follower(first: Outcome | None, *, is_more: bool) -> str:
    """Return a later row's code: what `--limit` holds back is no fault of either row."""
    if first is not None and first.code == "limit":
        return "limit"
    return "contacts_only_here" if is_more else "duplicate_row"


def _among(followed: set[Place], number: int, leads: Iterable[int]) -> Iterator[Place]:
    """Yield those of one table's leads that are followed; there may be a million that are not."""
    wanted = {lead for table, lead in followed if table == number}
    return ((number, lead) for lead in leads if lead in wanted)


@dataclass(frozen=True, slots=True)
class Told:
    """What the rows of one table are told."""

    columns: pl.DataFrame
    """`RESULT_COLUMNS`, one line per row."""
    lacks_contacts: bool
    """Whether a contact was left out of a lead that stands."""
    left_out: pl.DataFrame
    """Each thing that a sent row's lead goes without, a variable or a contact: `index`, `column` and `code`."""


def result_columns(
    work: Work, number: int, outcomes: Outcomes, *, held: set[Place], otherwise: Outcome, run_id: str
) -> Told:
    """Return the columns a result file adds, and what leads go without.

    `outcomes` are the leads' by (table, lead); leads that have none take `otherwise` (`ready`, or `not_sent`).
    """
    by_lead, by_contact = _outcome_frame(number, outcomes), _contact_frame(number, outcomes)
    parts, without, contacts = [], [], []
    for people in _slices(_positions(work.grouped.people.select(_PEOPLE))):
        told = people.join(by_lead, on="lead", how="left", maintain_order="left")
        told = told.join(by_contact, on=["lead", "position"], how="left", maintain_order="left")
        told = _carry(_of_duplicates(told), otherwise, run_id)
        without.append(_without_contacts(told))
        contacts.append(_contacts_with_codes(told))
        parts.append(_placed(_fold(told), work.table.places[people["index"].unique(maintain_order=True)]))
    lacking = pl.concat(without).unique()
    columns = _keep_cells(pl.concat(parts), work, number, held, lacking)
    return Told(columns, not lacking.is_empty(), _left_out(work, columns, pl.concat(contacts)))


def _slices(people: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Cut people, who stand by row, into pieces that hold whole rows; one empty piece where there are none."""
    begin = 0
    while True:
        end = begin + _SLICE
        if end < people.height:
            end = int(people["index"].search_sorted(people["index"][end - 1], side="right"))
        yield people.slice(begin, end - begin)
        begin = end
        if begin >= people.height:
            return


def _positions(people: pl.DataFrame) -> pl.DataFrame:
    """Give who is part of a lead a position, as `Grouped.build` orders them: the primary 0, the contacts from 1."""
    begins = (pl.col("lead") != pl.col("lead").shift()).fill_null(value=True)
    count = pl.int_range(pl.len(), dtype=pl.UInt32)
    part = (
        people.select("lead", "contact", "index", "slot", at=count)
        .filter(people["status"].is_null())
        .sort("lead", "contact", "index", "slot")
        .select("at", position=count - pl.when(begins).then(count).forward_fill())
    )
    nowhere = pl.Series("position", [None], dtype=pl.UInt32).new_from_index(0, people.height)
    return people.with_columns(nowhere.scatter(part["at"], part["position"]))


def _outcome_frame(number: int, outcomes: Outcomes) -> pl.DataFrame:
    its = ("status", "lead_id", "code", "message", "column")
    return outcomes.frame(number).rename({name: f"its_{name}" for name in its})


def _contact_frame(number: int, outcomes: Outcomes) -> pl.DataFrame:
    lines = [
        (lead, place + 1, contact_id, *_contact(outcome, place, contact_id))
        for lead, outcome in outcomes.with_contacts(number)
        for place, contact_id in enumerate(outcome.contact_ids)
    ]
    return pl.DataFrame(lines, schema=_CONTACTS, orient="row")


def _contact(outcome: Outcome, place: int, contact_id: str | None) -> tuple[str | None, str | None, str | None]:
    """Return the status, code and message of a contact where they are not its lead's."""
    if place in outcome.absent:
        return (
            Status.INVALID.value,
            "lead_exists",
            "its lead was created without this contact, and a contact can't be added later. Add it in the platform.",
        )
    if outcome.status in (Status.CREATED, Status.ALREADY_IMPORTED) and contact_id is None:
        return Status.UNKNOWN.value, _UNCONFIRMED, _NOT_CONFIRMED
    return None, None, None


def _of_duplicates(told: pl.DataFrame) -> pl.DataFrame:
    """Say of contacts whose lead the server had already that nothing confirms them; of an earlier row's lead more is known."""
    by_row = pl.col("its_code").fill_null("").is_in(_BY_ROW)
    part = pl.col("contact") & pl.col("status").is_null() & (pl.col("its_status") == "duplicate") & ~by_row
    return told.with_columns(
        contact_id=pl.when(~part.fill_null(value=False)).then("contact_id"),
        contact_message=pl.when(part).then(pl.lit(_OF_A_DUPLICATE)).otherwise("contact_message"),
    )


def _carry(told: pl.DataFrame, otherwise: Outcome, run_id: str) -> pl.DataFrame:
    """Let everybody without a status of their own carry their lead's."""
    own = pl.col("status").is_not_null()
    has = pl.col("its_status").is_not_null()
    contact = pl.col("contact_status").is_not_null() & ~own
    lead_text = pl.when(has).then("its_message").otherwise(pl.lit(otherwise.message, pl.String))
    lead_code = pl.when(has).then("its_code").otherwise(pl.lit(otherwise.code, pl.String))
    said = pl.concat_str([lead_text, "contact_message", "message"], separator="; ", ignore_nulls=True)
    known_id = pl.col("its_lead_id")
    return told.with_columns(
        final=pl.when(own)
        .then("status")
        .when(contact)
        .then("contact_status")
        .when(has)
        .then("its_status")
        .otherwise(pl.lit(otherwise.status.value)),
        code=pl.when(own).then("code").when(contact).then("contact_code").otherwise(pl.coalesce(lead_code, "code")),
        message=pl.when(own)
        .then("message")
        .when(contact)
        .then("contact_message")
        .otherwise(pl.when(said != "").then(said)),
        column=pl.when(own | contact).then("column").otherwise(pl.coalesce("its_column", "column")),
        lead_id=known_id,
        remark=pl.when(~own & ~contact).then("message"),
        remark_code=pl.when(~own & ~contact).then("code"),
        remark_column=pl.when(~own & ~contact).then("column"),
        attempts=pl.when(~own).then("attempts"),
        http_status=pl.when(~own).then("http_status"),
        run_id=pl.coalesce(pl.when(~own).then("run_id"), pl.lit(run_id)),
        created=pl.col("its_status").is_in(["created", "already_imported"]),
    )


def _without_contacts(told: pl.DataFrame) -> pl.Series:
    """Return the rows of whose lead, which stands, a contact is missing, and repeated ones with contacts of their own."""
    missing = pl.col("contact") & pl.col("created") & pl.col("final").is_in(["invalid", "unknown"])
    return told.filter(missing | (pl.col("code") == "contacts_only_here"))["index"]


def _contacts_with_codes(told: pl.DataFrame) -> pl.DataFrame:
    """Return the contacts in columns that are no part of their row's lead, or not confirmed, and why."""
    apart = (pl.col("slot") > 0) & (pl.col("status").is_not_null() | pl.col("contact_code").is_not_null())
    return told.filter(apart & pl.col("code").is_not_null()).select("index", "column", "code")


def _left_out(work: Work, columns: pl.DataFrame, contacts: pl.DataFrame) -> pl.DataFrame:
    """Return all that leads of sent rows go without: a row's one code may be that of another remark."""
    by_code = columns.select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("index"), column="import_error_column", code="import_error_code"
    ).join(contacts, on="index", how="anti")
    found = pl.concat([by_code.filter(pl.col("code").is_not_null()), contacts, _dropped(work, columns["import_error"])])
    sent = columns["import_status"].is_in([Status.CREATED.value, Status.READY.value])
    found = found.filter(sent.gather(found["index"]) & ~pl.col("code").is_in(list(_WHOLE)))
    return found.unique(maintain_order=True)


def _dropped(work: Work, said: pl.Series) -> pl.DataFrame:
    """Return the variables that leads go without; of rows that were sent before only those of then, which they say."""
    people = work.grouped.people.select("index", "slot", "contact", "status").filter(pl.col("status").is_null())
    in_rows = pl.col("contact") & (pl.col("slot") == 0)
    found = pl.concat(
        problems.filter(~pl.col("blocking") & ~pl.col("code").is_in(list(_WHOLE)))
        .join(people.filter(whose), on=["index", "slot"], how="semi")
        .select("index", "column", "code")
        for problems, whose in ((work.mapped.problems, ~in_rows), (work.mapped.contact_problems, in_rows))
    )
    named = pl.format('column "{}": ', "column")
    told = found.select(said.gather(found["index"]).alias("said"), named=named)
    return found.filter(told.select(pl.col("said").str.contains(pl.col("named"), literal=True)).to_series())


def _fold(told: pl.DataFrame) -> pl.DataFrame:
    """Join a row with its contacts in columns: the row keeps the lead's status, code and text name the contacts."""
    told = told.with_columns(
        message=pl.when(
            (pl.col("slot") > 0)
            & pl.col("message").is_not_null()
            & (pl.col("status").is_not_null() | pl.col("contact_message").is_not_null())
        )
        .then(pl.format("contact {}: {}", "slot", "message"))
        .when((pl.col("slot") > 0) & pl.col("remark").is_not_null())
        .then(pl.format("contact {}: {}", "slot", "remark"))
        .when(pl.col("slot") == 0)
        .then("message"),
        code=pl.when(
            (pl.col("slot") == 0) | pl.col("status").is_not_null() | pl.col("contact_code").is_not_null()
        ).then("code"),
        column=pl.when((pl.col("slot") == 0) | pl.col("status").is_not_null()).then("column"),
    )
    if told["slot"].max():
        told = (
            told.sort("index", "slot")
            .group_by("index", maintain_order=True)
            .agg(
                *(
                    pl.col(name).first()
                    for name in ("final", "lead_id", "http_status", "attempts", "finished_at", "run_id")
                ),
                pl.col("contact_id").drop_nulls().str.join(";").replace("", None),
                # That a contact is not part of it says more than that the lead has changed.
                pl.coalesce(
                    pl.col("code").filter(pl.col("code") == "lead_exists").first(),
                    pl.col("code").drop_nulls().first(),
                    pl.col("remark_code").drop_nulls().first(),
                ),
                pl.col("message").drop_nulls().unique(maintain_order=True).str.join("; ").replace("", None),
                pl.when(pl.col("code").is_not_null().any())
                .then(pl.col("column").drop_nulls().first())
                .otherwise(pl.col("remark_column").drop_nulls().first()),
            )
        )
    return told.sort("index").select(
        import_status="final",
        import_lead_id="lead_id",
        import_contact_id="contact_id",
        import_error_code="code",
        import_error="message",
        import_error_column="column",
        import_http_status=pl.col("http_status").cast(pl.String),
        import_attempts=pl.col("attempts").cast(pl.String),
        import_finished_at="finished_at",
        import_run_id="run_id",
    )


def _placed(ours: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    """Say where each row stands in the input."""
    return ours.with_columns(import_sheet=places["sheet"], import_row=places["row"].cast(pl.String)).select(
        RESULT_COLUMNS
    )


def _keep_cells(ours: pl.DataFrame, work: Work, number: int, held: set[Place], lacking: pl.Series) -> pl.DataFrame:
    """Let rows that were not sent keep their cells, and every row its original place.

    Those in `lacking` (numbers from 0), of whose lead a contact is missing, say so all the same: it may be new in them.
    """
    previous = work.previous
    if previous is None:
        return ours
    kept_leads = [lead for table, lead in held if table == number]
    leads = work.grouped.people.filter(pl.col("slot") == 0).sort("index")["lead"]
    done = previous["import_status"].is_in(["created", "duplicate", "already_imported", "suppressed", "filtered"])
    sent = ~ours["import_status"].is_in(["filtered", "suppressed", "invalid"]) & ~leads.is_in(kept_leads)
    keep = (
        leads.is_in(kept_leads)
        & previous["import_status"].is_in(["created", "duplicate", "already_imported", "unknown"])
    ) | (done & ~sent)
    anew = ~keep.fill_null(value=False) | _confirmed_since(ours, previous)
    lacks = pl.int_range(ours.height, eager=True).is_in(lacking.implode()) & ours["import_error_code"].is_not_null()
    columns = []
    for name in RESULT_COLUMNS:
        fresh = ours[name]
        if name in ("import_sheet", "import_row"):
            columns.append(previous[name])
        else:
            told_anyway = name in ("import_error_code", "import_error", "import_error_column")
            columns.append(fresh.zip_with(anew | lacks if told_anyway else anew, previous[name]).alias(name))
    return pl.DataFrame(columns)


def _confirmed_since(ours: pl.DataFrame, previous: pl.DataFrame) -> pl.Series:
    """Tell which rows said that a contact was not confirmed, and have its ID by now (`settle`)."""
    stands = ours["import_status"].is_in([Status.CREATED.value, Status.ALREADY_IMPORTED.value])
    was_open = previous["import_error_code"].fill_null("") == _UNCONFIRMED
    return (
        was_open
        & stands
        & ours["import_contact_id"].is_not_null()
        & (ours["import_error_code"].fill_null("") != _UNCONFIRMED)
    )


def counted(results: Sequence[pl.DataFrame]) -> Counter[str]:
    """Count the rows by status."""
    counts: Counter[str] = Counter()
    for frame in results:
        counts.update(dict(frame["import_status"].fill_null("").value_counts().iter_rows()))
    return counts


def exit_status(results: Sequence[pl.DataFrame], *, left_out: bool) -> set[ExitStatus]:
    """Return what the rows themselves say of the exit status."""
    found = {ExitStatus.OK}
    for frame in results:
        bad = frame.filter(~pl.col("import_status").is_in([status.value for status in _GOOD]))
        bad = bad.filter(
            ~((pl.col("import_status") == "not_sent") & (pl.col("import_error_code").fill_null("") == "limit"))
        )
        if bad.filter(pl.col("import_status") == "unknown").height:
            found.add(ExitStatus.SOME_UNKNOWN)
        if bad.height:
            found.add(ExitStatus.SOME_ROWS_ARE_NOT)
    if left_out:
        found.add(ExitStatus.SOME_ROWS_ARE_NOT)
    return found


def reasons(frames: Sequence[pl.DataFrame]) -> list[tuple[str, str, int]]:
    """Return the commonest (status, code, rows) of what is not done, at most eight.

    Of what is done, duplicates that are most likely ours belong to it (a person would else take them for people called
    before), and leads that have changed since they were created: they stand as they were.
    """
    code = pl.col("import_error_code")
    done = pl.col("import_status").is_in([status.value for status in _GOOD])
    bad = pl.concat([frame.select("import_status", "import_error_code") for frame in frames]).filter(
        (~done & code.is_not_null()) | code.is_in([PROBABLY_OURS, "lead_changed"])
    )
    counts = (
        bad.group_by("import_status", "import_error_code")
        .len()
        .sort("len", "import_error_code", descending=[True, False])
    )
    return list(counts.head(8).iter_rows())


def left_out(told: Sequence[Told]) -> list[tuple[str | None, str, int]]:
    """Return the commonest (column, code, rows) of what leads go without: variables, and contacts; at most eight."""
    columns = ("column", "code")
    counts = pl.concat(one.left_out for one in told).group_by(columns).len()
    counts = counts.sort("len", *columns, descending=[True, False, False])
    return list(counts.head(8).iter_rows())


def retriable(frames: Sequence[pl.DataFrame]) -> bool:
    """Tell whether `retry` has something to do."""
    again = [Status.INVALID.value, Status.REJECTED.value, Status.FAILED.value]
    return any(frame["import_status"].is_in(again).any() for frame in frames)
