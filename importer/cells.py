"""What spreadsheets and exports do to cells: restored where that is provable, refused where it is not, never silent.

Only columns that the config uses are judged. A restoration is a note on its row (`PROBLEMS`, not blocking) and a
number in the summary; a cell that can't be trusted is refused for the use it is put to, since a date that is damaged
as a number may be good enough as a text. Each column is asked first, all rows at once, whether it holds anything of
the kind; what follows looks at those cells only.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from importer.columns import resolve
from importer.config import Config, Variable
from importer.number_formats import shown_digits
from importer.records import PROBLEMS, Table, no_problems
from importer.wrong_encoding import LIKELY, decoded

#: What is trimmed off a cell before it is read: white space, and what cannot be seen either (zero-width, BOM).
INVISIBLE = " \t\r\n\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\u200b\u2060\ufeff"

Use = Literal["phone", "text", "typed"]
"""What a column is for: numbers to call; texts and keys; values whose type is checked by itself."""

#: Errors as spreadsheets write them, in the languages that have their own (Microsoft, "Formula errors"; LibreOffice).
_ERRORS = frozenset(
    [
        "#n/a",
        "#ref!",
        "#value!",
        "#div/0!",
        "#name?",
        "#null!",
        "#num!",
        "#spill!",
        "#calc!",
        "#field!",
        "#blocked!",
        "#unknown!",
        "#busy!",
        "#connect!",
        "#getting_data",
        "#nv",
        "#bezug!",
        "#wert!",
        "#zahl!",
        "#n/d",
        "#valeur!",
        "#nom?",
        "#nombre!",
        "#nul!",
        "#valor!",
        "#¡valor!",
        "#¡ref!",
        "#¡div/0!",
        "#¡num!",
        "#¿nombre?",
        "#¡nulo!",
        "#nome?",
        "#rif!",
        "#valore!",
        "#arg!",
        "#adr!",
        "#liczba!",
        "#nazwa?",
        "#n/b!",
        "#waarde!",
        "#verw!",
        "#naam?",
        "#getal!",
        "#leeg!",
        "#error!",
        "#fmt",
    ]
)
_ERROR = r"^(?:#+|Err:\d{3})$"

_SPACES = "[\u00a0\u2007\u202f]"
_UNSEEN = "[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]"
_SINGLE, _DOUBLE = "[\u2018\u2019\u201a\u201b]", "[\u201c\u201d\u201e\u201f]"
_ODD = f"{_SPACES}|{_UNSEEN}|{_SINGLE}|{_DOUBLE}"

#: `="0170…"`, by which exports keep Excel from reading a text as a number.
_WRAPPED = r'^="([^"]*)"$'
#: What an export makes of whole numbers in a column that it holds as decimals; such texts have no zero in front.
_FLOAT = r"^([1-9]\d{0,14})\.0$"
_PHONE_FLOAT = r"^([1-9]\d{5,14})[.,]0{1,2}$"
#: A version or a mark such as 2.0 is none: a column of whole numbers has some of so many digits.
_FLOAT_DIGITS = 5
#: As Excel shows a number that is too long for its cell, and writes it into a CSV.
_SCIENTIFIC = r"^-?\d(?:[.,]\d+)?[eE]\+\d{2,3}$"
#: Excel keeps 15 digits of a number, and writes zeros for the rest.
_KEPT_DIGITS = 15

#: Of a phone column, so many cells alike are a rule that the others break.
_ALIKE_SHARE, _ALIKE_CELLS = 0.97, 30


@dataclass(frozen=True, slots=True)
class Mending:
    """What was restored in how many cells of a column, for the summary."""

    column: str
    what: str
    cells: int


@dataclass(frozen=True, slots=True)
class Mended:
    """A table whose cells can be mapped.

    `cells` are trimmed, restored, and null where empty; refused ones stand as they are. `shown` are the user's cells
    as a result file has them: as they were, but number cells with the zeros that their format shows, since the format
    does not go along. `amounts` are the table's without those of phones and IDs, which a result has as texts. `notes`
    (schema `PROBLEMS`) tell each row what was restored.
    """

    table: Table
    cells: pl.DataFrame
    shown: pl.DataFrame
    amounts: pl.DataFrame = field(default_factory=pl.DataFrame)
    notes: pl.DataFrame = field(default_factory=no_problems)
    mendings: tuple[Mending, ...] = ()
    refusals: Mapping[tuple[Use, str], pl.DataFrame] = field(default_factory=dict)

    def refused(self, use: Use, column: str) -> pl.DataFrame | None:
        """Return `index` (UInt32), `code` and `reason` of the cells of a column that may not be put to this use."""
        return self.refusals.get((use, column))


def mend(table: Table, config: Config) -> Mended:
    """Restore and refuse the cells of `table` that `config` uses; its columns must exist."""
    return _Mender(table, config).mend()


def mend_phones(table: Table) -> pl.DataFrame:
    """Return the cells of a list of phones that has no config, restored as those of a phone column are."""
    shown, _ = _as_shown(table)
    return shown.select(pl.all().str.strip_chars(INVISIBLE).str.replace(_WRAPPED, "$1").str.replace(_PHONE_FLOAT, "$1"))


class _Mender:
    """One table being mended: its cells so far, and what was found."""

    def __init__(self, table: Table, config: Config) -> None:
        self.table = table
        self.uses = _uses(table, config)
        self.texts = _phones_and_ids(table, config)
        self.beyond_ascii: set[str] = set()
        self.empty = {text.lower() for text in config.source.empty}
        self.notes: list[pl.DataFrame] = []
        self.mendings: list[Mending] = []
        self.refusals: dict[tuple[Use, str], list[pl.DataFrame]] = {}

    def mend(self) -> Mended:
        shown = self._with_shown_zeros()
        asked = [name for name in shown.columns if self.uses.get(name)]
        beyond = shown.select((pl.col(name).str.len_bytes() != pl.col(name).str.len_chars()).any() for name in asked)
        self.beyond_ascii = {name for name in asked if beyond[name].item()}
        raw = self._with_right_encoding(shown)
        cells = _trimmed(raw)
        hints = _hints(cells.select(asked))
        columns = [self._column(cells.get_column(name), hints.get(name, frozenset())) for name in cells.columns]
        mended = pl.DataFrame(columns) if columns else cells
        return Mended(
            self.table,
            mended,
            shown,
            self.table.amounts.drop(self.texts, strict=False),
            pl.concat(self.notes) if self.notes else no_problems(),
            tuple(self.mendings),
            {use: pl.concat(lines) for use, lines in self.refusals.items()},
        )

    def _column(self, texts: pl.Series, hints: frozenset[str]) -> pl.Series:
        uses = self.uses.get(texts.name, frozenset())
        if uses and "wrapped" in hints:
            texts = self._unwrapped(texts)
        if "text" in uses and texts.name in self.beyond_ascii:
            texts = self._plain(texts)
        if self.empty:
            texts = _without(texts, self.empty)
        if not uses:
            return texts
        if "ends in 0" in hints:
            texts = self._whole(texts, uses)
        self._refuse_errors(texts, uses, hints)
        if "text" in uses:
            self._refuse_lost_digits(texts, hints)
        if "phone" in uses:
            self._refuse_lost_zeros(texts)
            self._refuse_cut_off(texts)
        return texts

    # Restored.

    def _with_shown_zeros(self) -> pl.DataFrame:
        shown, changed = _as_shown(self.table)
        what = "zeros or a plus that only the number format shows"
        message = pl.format(
            "read as '{}', as the workbook shows it; the cell holds {} with the format {}", "shown", "text", "format"
        )
        for name, lines in changed.items():
            if self.uses.get(name, frozenset()) & {"phone", "text"}:
                self._note(name, what, lines["index"], lines.select(message).to_series())
        return shown

    def _with_right_encoding(self, cells: pl.DataFrame) -> pl.DataFrame:
        """Undo UTF-8 that was read as Windows-1252 or Mac Roman. Before trimming: a no-break space may be half a letter."""
        for name in self.beyond_ascii:
            if "text" not in self.uses[name]:
                continue
            texts = cells.get_column(name)
            beyond = texts.gather(_beyond_ascii(texts)).unique(maintain_order=True)
            likely = beyond.filter(beyond.str.contains(LIKELY))
            words = {text: right for text in likely.to_list() if (right := decoded(text)) is not None}
            if words:
                cells = cells.with_columns(self._changed(texts, texts.replace(words), "letters of a wrong encoding"))
        return cells

    def _unwrapped(self, texts: pl.Series) -> pl.Series:
        bare = texts.str.replace(_WRAPPED, "$1").str.strip_chars(INVISIBLE).replace("", None)
        return self._changed(texts, bare, 'texts wrapped as ="…"')

    def _plain(self, texts: pl.Series) -> pl.Series:
        places = _beyond_ascii(texts)
        odd = texts.gather(places)
        odd, places = odd.filter(found := odd.str.contains(_ODD)), places.filter(found)
        plain = (
            odd.str.replace_all(_SPACES, " ")
            .str.replace_all(_UNSEEN, "")
            .str.replace_all(_SINGLE, "'")
            .str.replace_all(_DOUBLE, '"')
            .replace("", None)
        )
        what = "typographic quotes, no-break spaces and signs that can't be seen"
        return (
            self._changed(texts, texts.clone().scatter(places, plain), what, code="cell_cleaned")
            if places.len()
            else texts
        )

    def _whole(self, texts: pl.Series, uses: frozenset[Use]) -> pl.Series:
        """Take off the `.0` that exports add to whole numbers: in a phone always, else where the whole column has it."""
        pattern = None
        if "phone" in uses:
            pattern = _PHONE_FLOAT
        elif "text" in uses and texts.str.ends_with(".0").any():
            filled = texts.drop_nulls()
            if filled.str.contains(_FLOAT).all() and (filled.str.len_bytes() >= _FLOAT_DIGITS + 2).any():
                pattern = _FLOAT
        if pattern is None:
            return texts
        return self._changed(texts, texts.str.replace(pattern, "$1"), "decimals that an export added to whole numbers")

    def _changed(self, before: pl.Series, after: pl.Series, what: str, *, code: str = "cell_restored") -> pl.Series:
        places = before.ne_missing(after).arg_true()
        message = "read as '" + after.gather(places).fill_null("").str.slice(0, 80) + f"' ({what})"
        self._note(before.name, what, places, message, code=code)
        return after

    def _note(
        self, column: str, what: str, places: pl.Series, message: pl.Series, *, code: str = "cell_restored"
    ) -> None:
        if not places.len():
            return
        lines = pl.DataFrame({"index": places.cast(pl.UInt32), "message": message}).select(
            "index",
            pl.lit(0, pl.UInt8).alias("slot"),
            pl.lit(code).alias("code"),
            pl.lit(column).alias("column"),
            "message",
            pl.lit(False).alias("blocking"),
        )
        self.notes.append(lines.select(list(PROBLEMS)))
        self.mendings.append(Mending(column, what, places.len()))

    # Refused.

    def _refuse_errors(self, texts: pl.Series, uses: frozenset[Use], hints: frozenset[str]) -> None:
        if "error" in hints:
            errors = (texts.str.to_lowercase().is_in(list(_ERRORS)) | texts.str.contains(_ERROR)).fill_null(value=False)
            reason = (
                " is an error of a spreadsheet, not a value. Put its formula right, clear the cell, or list it in"
                " source.empty of the config."
            )
            self._refuse(texts, errors, uses, "cell_error", reason)
        if texts.name in self.beyond_ascii:
            damaged = texts.str.contains("\ufffd", literal=True).fill_null(value=False)
            reason = (
                " was damaged by a wrong encoding: � stands for a letter that is lost. Take it from its source again."
            )
            self._refuse(texts, damaged, uses, "cell_damaged", reason)

    def _refuse_lost_digits(self, texts: pl.Series, hints: frozenset[str]) -> None:
        """Refuse numbers that a spreadsheet has shortened."""
        if "scientific" in hints:
            shortened = texts.str.contains(_SCIENTIFIC).fill_null(value=False)
            reason = (
                " was shortened by a spreadsheet, and its last digits are lost. Take it from its source, in a column"
                " formatted as text."
            )
            self._refuse(texts, shortened, frozenset({"text"}), "number_scientific", reason)
        if "long" in hints:
            reason = (
                f" has more than {_KEPT_DIGITS} digits, of which a spreadsheet keeps {_KEPT_DIGITS} and makes the rest"
                " zeros. Take it from its source, in a column formatted as text."
            )
            self._refuse(texts, self._too_long(texts), frozenset({"text"}), "number_too_long", reason)

    def _too_long(self, texts: pl.Series) -> pl.Series:
        """Tell numbers that have lost digits: number cells, and texts whose last digits are all zeros.

        Of true numbers of 16 digits one in ten ends in a zero, so these are believed where most others do not.
        """
        long = texts.str.contains(r"^-?[1-9]\d{15,}$").fill_null(value=False)
        zeros = long & texts.str.contains(r"^-?\d{15}0+$").fill_null(value=False)
        seventeen = zeros & (texts.str.len_bytes() > _KEPT_DIGITS + 1)
        lost = zeros if 2 * int(zeros.sum()) >= int(long.sum()) else seventeen
        is_number = self._numbers(texts.name)
        return lost if is_number is None else lost | (long & is_number)

    def _refuse_lost_zeros(self, texts: pl.Series) -> None:
        """Refuse numbers with fewer digits than nearly all others of the column, which may have lost zeros in front."""
        filled = texts.len() - texts.null_count()
        if texts.str.starts_with("+").sum() > (1 - _ALIKE_SHARE) * filled:
            return
        digits = texts.str.contains(r"^\d+$").fill_null(value=False)
        if filled < _ALIKE_CELLS or int(digits.sum()) < _ALIKE_SHARE * filled:
            return
        lengths = texts.str.len_bytes()
        usual, count = lengths.filter(digits).value_counts(sort=True, name="count").select(pl.nth(0), "count").row(0)
        if count < max(_ALIKE_CELLS, _ALIKE_SHARE * filled):
            return
        fewer = digits & (lengths < usual) & ~texts.str.starts_with("0").fill_null(value=False)
        if usual == 11 and texts.filter(digits & (lengths == usual)).str.starts_with("1").all():
            # In North America the 1 before ten digits may be left out.
            fewer &= lengths < usual - 1
        is_number = self._numbers(texts.name)
        if is_number is not None:
            fewer &= is_number
        reason = (
            f" has fewer digits than nearly all others of the column, which have {usual}: zeros in front may be lost."
            " Write it with its zeros, or as +49…."
        )
        self._refuse(texts, fewer.fill_null(value=False), frozenset({"phone"}), "phone_zeros_lost", reason)

    def _refuse_cut_off(self, texts: pl.Series) -> None:
        """Refuse the number that the file ends in, if it has fewer digits than all others: it would call a stranger."""
        if not self.table.may_be_cut(texts.name):
            return
        digits = texts.str.count_matches(r"\d").replace(0, None)
        last, least = digits[-1], digits.head(texts.len() - 1).min()
        if last is None or not isinstance(least, int) or last >= least:
            return
        reason = (
            " is where the file ends, without a line end, and has fewer digits than all numbers above: the file may be cut"
            " off. Export it again, or put a line end behind it."
        )
        is_last = pl.int_range(texts.len(), eager=True) == texts.len() - 1
        self._refuse(texts, is_last, frozenset({"phone"}), "phone_cut_off", reason)

    def _numbers(self, name: str) -> pl.Series | None:
        """Return which cells the workbook holds as numbers; None where nothing is known."""
        numbers = self.table.numbers
        return numbers.get_column(name).fill_null(value=False) if name in numbers.columns else None

    def _refuse(self, texts: pl.Series, mask: pl.Series, uses: frozenset[Use], code: str, reason: str) -> None:
        places = mask.arg_true()
        if not places.len():
            return
        lines = pl.DataFrame(
            {
                "index": places.cast(pl.UInt32),
                "code": pl.Series([code]).new_from_index(0, places.len()),
                "reason": "'" + texts.gather(places).str.slice(0, 80) + "'" + reason,
            }
        )
        for use in uses:
            self.refusals.setdefault((use, texts.name), []).append(lines)


# Small steps.


def _as_shown(table: Table) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """Write number cells with the zeros and the plus that only their format shows; return what changed, by column."""
    cells, changed = table.cells, {}
    for (name,), lines in table.formats.partition_by("column", as_dict=True).items():
        if not isinstance(name, str) or name not in cells.columns:  # a column of an earlier result
            continue
        texts = cells.get_column(name)
        found = lines.select("index", "format", text=texts.gather(lines["index"]))
        found = found.with_columns(shown=shown_digits(found["text"], found["format"]))
        found = found.filter(pl.col("shown").is_not_null() & (pl.col("shown") != pl.col("text")))
        if found.height:
            cells = cells.with_columns(texts.scatter(found["index"], found["shown"]))
            changed[name] = found
    return cells, changed


def _uses(table: Table, config: Config) -> dict[str, frozenset[Use]]:
    """Return what each column is used for; columns of countries are judged with the number they belong to."""
    found: dict[str, set[Use]] = {}
    for name, use in _named_uses(config):
        header = resolve(table.cells.columns, name)
        if header is not None:
            found.setdefault(header, set()).add(use)
    return {name: frozenset(uses) for name, uses in found.items()}


def _phones_and_ids(table: Table, config: Config) -> set[str]:
    """Return the columns that hold numbers to call, or that say what belongs together."""
    found = {name for name, use in _named_uses(config) if use == "phone"}
    if config.campaign_id is not None and not isinstance(config.campaign_id, int):
        found.add(config.campaign_id.column)
    if config.secondary_contacts is not None and config.secondary_contacts.group_by is not None:
        found.add(config.secondary_contacts.group_by)
    return {header for name in found if (header := resolve(table.cells.columns, name)) is not None}


def _named_uses(config: Config) -> Iterator[tuple[str, Use]]:
    yield from ((name, "phone") for name in config.phone.columns)
    if config.campaign_id is not None and not isinstance(config.campaign_id, int):
        yield config.campaign_id.column, "text"
    if config.where is not None:
        yield config.where.column, "text"
    yield from _variable_uses(config.variables)
    contacts = config.secondary_contacts
    if contacts is None:
        return
    if contacts.group_by is not None:
        yield contacts.group_by, "text"
    if contacts.primary_when is not None:
        yield contacts.primary_when.column, "text"
    yield from _variable_uses(contacts.variables or {})
    for contact in contacts.columns:
        yield contact.phone, "phone"
        yield from _variable_uses(contact.variables)


def _variable_uses(variables: Mapping[str, Variable]) -> Iterator[tuple[str, Use]]:
    for variable in variables.values():
        yield from ((name, use_of(variable)) for name in variable.columns)


def use_of(variable: Variable) -> Use:
    """Return what a variable uses its columns for."""
    is_text = variable.type in ("text", "email") or variable.template is not None or variable.map is not None
    return "text" if is_text else "typed"


#: What a column may hold, by tests that cost next to nothing.
_HINTS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "error": lambda text: text.str.starts_with("#") | text.str.starts_with("Err:"),
    "wrapped": lambda text: text.str.starts_with('="'),
    "ends in 0": lambda text: text.str.ends_with("0"),
    "scientific": lambda text: text.str.len_bytes() > 4,
    "long": lambda text: text.str.len_bytes() > _KEPT_DIGITS,
}


def _hints(cells: pl.DataFrame) -> dict[str, frozenset[str]]:
    asked = [
        test(pl.col(name)).any().alias(f"{place} {hint}")
        for place, name in enumerate(cells.columns)
        for hint, test in _HINTS.items()
    ]
    told = cells.select(asked).row(0, named=True) if asked else {}
    return {
        name: frozenset(hint for hint in _HINTS if told[f"{place} {hint}"]) for place, name in enumerate(cells.columns)
    }


def _beyond_ascii(texts: pl.Series) -> pl.Series:
    """Return the places of the texts that hold more than ASCII."""
    return (texts.str.len_bytes() != texts.str.len_chars()).fill_null(value=False).arg_true()


def _without(texts: pl.Series, empty: set[str]) -> pl.Series:
    """Make null what stands for an empty cell, in any case."""
    longest = max(map(len, empty))
    found = ((texts.str.len_chars() <= longest) & texts.str.to_lowercase().is_in(list(empty))).fill_null(value=False)
    return texts.scatter(found.arg_true(), None) if found.any() else texts


def _trimmed(cells: pl.DataFrame) -> pl.DataFrame:
    """Return the cells without what is trimmed, null where empty; a column that has none of it is not held twice."""
    columns = []
    for column in cells:
        trimmed = column.str.strip_chars(INVISIBLE).replace("", None)
        columns.append(column if column.equals(trimmed) else trimmed)
    return pl.DataFrame(columns)
