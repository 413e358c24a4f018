"""One YAML file → a frozen `Config`; all problems at once, each with its line.

Attributes are named as the keys of the file (contract, "The config"). Short forms are turned into what they stand for:
`phone: Phone` is `Phone(columns=("Phone",))`.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    StringConstraints,
    Tag,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from importer.config_problems import Document, Scalar, Settings, read, tell
from importer.config_values import (
    DEFAULT_BASE_URL,
    MAX_CONTACTS,
    ONE_OR_MORE,
    CellTexts,
    Count,
    Duration,
    EnvironmentName,
    FilePath,
    ListPath,
    Part,
    Rate,
    Text,
    Texts,
    Value,
    VariableName,
    YesNo,
    absent,
    as_base_url,
    as_delimiter,
    as_several,
    as_sheet,
    as_template,
    at_least_one,
    date_format,
    form,
    known_encoding,
    more_than_no_time,
    parse_region,
    share_of_all,
    whole,
    yaml_nulls,
)

# The models.


class Api(Settings):
    """The service and where its key is found; never the key itself."""

    example = "{base_url: " + DEFAULT_BASE_URL + "}"
    base_url: Annotated[
        str, BeforeValidator(as_base_url), WithJsonSchema({"type": "string", "pattern": r"^(https?://)?[^\s@?]+$"})
    ] = Field(
        default=DEFAULT_BASE_URL,
        description="Address of the API; the host, …/api and the whole endpoint are understood.",
    )
    key_env: EnvironmentName = Field(
        default="OTONISTARK_API_KEY", description="Environment variable that holds the key."
    )
    key_file_env: EnvironmentName = Field(
        default="OTONISTARK_API_KEY_FILE", description="Environment variable that names a file with the key."
    )
    duplicate_texts: Texts = Field(
        default=(),
        description="Further texts by which a refusal is recognised as a duplicate.",
        examples=[["já existe"]],
    )


class Source(Settings):
    """Where the rows stand in a file, how it is written, and which cells are empty."""

    example = "{sheet: Leads}"
    sheet: (
        Annotated[str | int, BeforeValidator(as_sheet), WithJsonSchema({"type": ["string", "integer"], "minimum": 1})]
        | None
    ) = Field(
        default=None,
        description='Name, number from 1, or "*" for all. Default: the only sheet with data.',
        examples=["Leads", 2, "*"],
    )
    header_row: Count | None = Field(
        default=None, description="Row of the headers, from 1. Default: found.", examples=[1]
    )
    empty: Annotated[CellTexts, BeforeValidator(yaml_nulls)] = Field(
        default=(),
        description="Cells that stand for an empty one, in any case. Default: none, every text is sent as it stands.",
        examples=[["NULL", "n/a", "-", "#N/A"]],
    )
    hidden: Literal["keep", "skip"] = Field(
        default="keep", description="Hidden rows, columns and sheets of a workbook: imported and counted, or left out."
    )
    encoding: Annotated[str, BeforeValidator(known_encoding)] | None = Field(
        default=None,
        description="How letters are stored in a text file. Default: found.",
        examples=["utf-8", "windows-1252", "windows-1250", "mac-roman"],
    )
    delimiter: Annotated[str, BeforeValidator(as_delimiter)] | None = Field(
        default=None,
        description="What parts the cells of a text file: one sign, or tab. Default: found.",
        examples=[",", ";", "|", "tab"],
    )
    short_rows: Literal["invalid", "fill"] = Field(
        default="invalid",
        description="Rows of a text file with fewer cells than the header: not trusted, or taken for rows whose last "
        "cells are empty.",
    )


class CampaignColumn(Settings):
    """A column that says each row's campaign."""

    example = "{column: Campaign, map: {Spring: 7}}"
    column: Text = Field(description="Column with the campaign's number, or with a name that `map` knows.")
    map: Mapping[Text, Count] | None = Field(
        default=None, description="Names in the cells → campaign numbers.", examples=[{"Spring": 7}]
    )


class RegionColumn(Settings):
    """A column that says each row's country."""

    example = "{column: Country}"
    column: Text = Field(description="Column with the country's two letters, or with a name that `map` knows.")
    map: Mapping[Text, Annotated[str, BeforeValidator(parse_region)]] | None = Field(
        default=None,
        description="Names in the cells → the countries' two letters (ISO 3166).",
        examples=[{"Germany": "DE"}],
    )


Region = Annotated[
    Annotated[
        str,
        BeforeValidator(parse_region),
        WithJsonSchema({"type": "string", "pattern": "^[A-Za-z]{2}$"}),
        Tag("<plain>"),
    ]
    | Annotated[RegionColumn, Tag("<block>")],
    Discriminator(form),
]
Campaign = Annotated[
    Annotated[
        int,
        whole(1, other=", or {column: Campaign}")[0],
        WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[0-9]+$"}]}),
        Tag("<plain>"),
    ]
    | Annotated[CampaignColumn, Tag("<block>")],
    Discriminator(form),
]


class Phone(Settings):
    """Where the lead's number stands and how it is read."""

    example = "{column: Phone, region: US}"
    short_keys = ("column",)
    columns: Annotated[Texts, AfterValidator(at_least_one)] = Field(
        description="Columns; the first usable number is taken."
    )
    region: Region | None = Field(
        default=None,
        description="Country of numbers without +: two letters, or {column: Country}.",
        examples=["US", {"column": "Country"}],
    )
    missing_plus: Literal["refuse", "restore", "national"] = Field(
        default="refuse",
        description="Digits that may be national, or international with the + lost: refuse, or read them as one.",
    )
    several: Literal["refuse", "first"] = Field(
        default="refuse",
        description="Several numbers, words or a link in one cell: refuse, or take the first usable number.",
    )
    extension: Literal["refuse", "drop"] = Field(
        default="refuse", description="A number with an extension: refuse, or call it without."
    )

    @classmethod
    def long(cls, written: Any) -> Any:
        """Take a bare text, and `column` for `columns`."""
        if isinstance(written, str):
            return {"columns": [written]}
        if not isinstance(written, Mapping):
            return written
        if "column" in written and "columns" in written:
            raise ValueError("both 'column' and 'columns' are given. Keep one of them.")
        if written.get("column", written.get("columns")) is None:
            raise ValueError("the column is missing. Right is, for instance, {column: Phone}.")
        column = {key: as_several(written[key]) for key in ("column", "columns") if key in written}
        if "column" in written and isinstance(written["column"], list | tuple):
            raise ValueError("'column' is a list; right is a text. For several write columns: [Mobile, Phone].")
        return {key: value for key, value in written.items() if key not in column} | {
            "columns": next(iter(column.values()))
        }


class Variable(Settings):
    """One variable: a column, a template of columns or a constant, and how its cells are read."""

    example = "{column: E-mail, type: email}"
    type: Literal["text", "integer", "number", "boolean", "date", "email"] = Field(
        default="text", description="What the cells hold."
    )
    template: Annotated[tuple[Part, ...], BeforeValidator(as_template), WithJsonSchema({"type": "string"})] | None = (
        Field(
            None,
            description="Text with columns in braces; literal braces doubled.",
            examples=["{First Name} {Last Name}"],
        )
    )
    column: Text | None = Field(default=None, description="The column.", examples=["E-mail"])
    value: Value | None = Field(default=None, description="A constant.", examples=["spring-fair"])
    format: Annotated[Text, AfterValidator(date_format)] | None = Field(
        default=None, description="How dates are written, by strptime; only with type: date.", examples=["%d/%m/%Y"]
    )
    map: Mapping[Annotated[str, StringConstraints(strip_whitespace=True)], Value] | None = Field(
        default=None, description="Cells → values.", examples=[{"G": "gold", "S": "silver"}]
    )
    default: Value | None = Field(
        default=None, description="Instead of a value that fails its type or map.", examples=["basic"]
    )
    on_error: Literal["invalid", "drop"] = Field(
        default="invalid",
        description="A value that fails: the row is invalid, or the variable is dropped and the row says so.",
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns used, in order, each once."""
        if self.template is not None:
            return tuple(dict.fromkeys(part.text for part in self.template if part.kind == "column"))
        return (self.column,) if self.column is not None else ()

    @classmethod
    def long(cls, written: Any) -> Any:
        """Take a bare text: with braces a template, else a column."""
        if written is None:
            raise ValueError("nothing stands here. Right is a column, such as Company, or {value: …} for a constant.")
        if isinstance(written, str):
            return {"template" if "{" in written or "}" in written else "column": written}
        if not isinstance(written, Mapping):
            return written
        if len(written) == 1 and None in written.values() and not set(written) & set(cls.model_fields):
            raise ValueError(f'a template needs quotes. Right is "{{{next(iter(written))}}}".')
        if str(written.get("type")) != "text":
            return written
        # A type that is named makes texts of constants; without one, 7 goes out as the number that it is.
        texts = {key: _as_text(written[key]) for key in ("value", "default") if key in written}
        mapped = written.get("map")
        return {**written, **texts} | (
            {"map": {key: _as_text(value) for key, value in mapped.items()}} if isinstance(mapped, Mapping) else {}
        )

    @model_validator(mode="after")
    def _fits_together(self) -> "Variable":
        sources = [name for name in ("column", "template", "value") if getattr(self, name) is not None]
        if len(sources) != 1:
            found = (
                "neither a column nor a template nor a value"
                if not sources
                else " and ".join(map(repr, sources)) + " together"
            )
            raise ValueError(f"found {found}; right is one of column, template and value.")
        useless = [name for name in ("format", "map", "default", "on_error") if name in self.model_fields_set]
        if self.value is not None and useless:
            raise ValueError(f"{useless[0]!r} has no effect on a constant. Remove it.")
        if self.format is not None and (self.type != "date" or self.map is not None):
            beside = "a map" if self.map is not None else f"type: {self.type}"
            raise ValueError(
                f"'format' has no effect beside {beside}; it is for type: date. Remove it, or write type: date."
            )
        return self


def _as_text(value: Any) -> Any:
    plain = value.value if isinstance(value, Scalar) else value
    return str(value) if isinstance(value, Scalar) or type(plain) in (int, float) else value


class When(Settings):
    """A condition on a row's cell; texts are compared exactly, trimmed."""

    example = "{column: Status, in: [New]}"
    column: Text = Field(description="The column.")
    in_: CellTexts = Field(
        default=(), validation_alias="in", description='The cell is one of these; "" is an empty cell.'
    )
    not_in: CellTexts = Field(default=(), description="The cell is none of these.")

    @model_validator(mode="after")
    def _has_values(self) -> "When":
        if not self.in_ and not self.not_in:
            raise ValueError(f"no values are given. Right is, for instance, {self.example}.")
        return self


class ContactColumn(Settings):
    """A secondary contact that stands on the lead's row."""

    example = "{phone: Phone 2, variables: {customer_name: Contact 2}}"
    phone: Text = Field(description="Column with the contact's number.")
    region: Region | None = Field(default=None, description="Country of numbers without +. Default: the lead's.")
    variables: Mapping[VariableName, Variable] = Field(
        default_factory=dict, description="The contact's variables.", examples=[{"name": "Contact 2"}]
    )

    @classmethod
    def long(cls, written: Any) -> Any:
        """Take a bare text as the phone's column."""
        return {"phone": written} if isinstance(written, str) else written


class Contacts(Settings):
    """Secondary contacts: as rows under a key, or in columns of the lead's row."""

    example = "{group_by: Account ID}"
    group_by: Text | None = Field(default=None, description="Rows with the same value in this column are one lead.")
    primary_when: When | None = Field(default=None, description="Which row of a group is the lead. Default: the first.")
    variables: Mapping[VariableName, Variable] | None = Field(
        default=None, description="Variables of contacts in rows. Default: the lead's.", examples=[{"name": "Contact"}]
    )
    columns: tuple[ContactColumn, ...] = Field(default=(), description="Contacts on the lead's row, at most ten.")
    on_invalid: Literal["hold", "drop"] = Field(
        default="hold", description="A contact that can't be sent: hold the whole lead, or drop the contact and say so."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> "Contacts":
        if self.group_by is None and not self.columns:
            raise ValueError(
                "neither 'group_by' nor 'columns' is given. "
                "Right is {group_by: Account ID} or {columns: [{phone: Phone 2}]}."
            )
        if self.group_by is not None and self.columns:
            raise ValueError(
                "both 'group_by' and 'columns' are given. Contacts stand in rows or in columns: keep one of them."
            )
        beside = next((name for name in ("primary_when", "variables") if getattr(self, name) is not None), None)
        if self.columns and beside:
            raise ValueError(f"{beside!r} belongs to group_by and has no effect beside columns. Remove it.")
        if len(self.columns) > MAX_CONTACTS:
            raise ValueError(f"found {len(self.columns)} contacts; a lead can have at most {MAX_CONTACTS}.")
        return self


class StopAfter(Settings):
    """When a run stops instead of burning through the file."""

    example = "{same_refusal: 5, timeouts: 3}"
    same_refusal: Count = Field(
        default=5, description="The same systemic refusal (campaign, account, balance) so many times running."
    )
    html: Count = Field(default=5, description="HTML where JSON should be, so many times running.")
    timeouts: Count = Field(default=3, description="Time-outs, so many in a row.")
    doubtful: Count = Field(default=10, description="Answers of any kind that leave a lead in doubt, so many running.")
    rejected_share: Annotated[
        float, BeforeValidator(share_of_all), WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": 1})
    ] = Field(default=0.5, description="More than this share of all leads rejected, looked at after `rejected_after`.")
    rejected_after: Count = Field(
        default=50, description="Leads answered before `rejected_share` counts: the first few say little."
    )
    unreached: Count = Field(default=5, description="Tries for one lead that surely was not sent, with growing pauses.")
    grace: Duration = Field(
        default=30.0, description="How long leads in flight may take to finish after the first signal."
    )


class Delivery(Settings):
    """How leads are sent."""

    example = "{rate: auto, concurrency: 8}"
    rate: Rate = Field(default=(), description="Leads per time: auto (found out), 40/s, 60/min; or several limits.")
    concurrency: Annotated[int, *whole(1, 256)] | None = Field(
        default=None, description="Leads in flight at once. Default: found out, 8 to 64, more only while it helps."
    )
    timeout: Annotated[Duration, AfterValidator(more_than_no_time)] = Field(
        default=30.0, description="For one request, from connecting to the last byte."
    )
    settle_window: Duration = Field(default=15.0, description="How long a lead of unknown outcome is looked up.")
    stop_after: StopAfter = Field(default=StopAfter(), description="When a run stops by itself.")
    canary: YesNo = Field(default=True, description="Send a few leads first and compare what the server stored.")
    canary_above: Annotated[int, *whole(0)] = Field(default=100, description="A canary only for more leads than this.")


class Result(Settings):
    """The file that comes back."""

    example = "{format: same}"
    format: Literal["same", "csv", "xlsx"] = Field(
        default="same", description="Kind of the result file; same as the input."
    )


class Config(Settings):
    """Everything that a config file says; relative paths in it are seen from its folder."""

    example = "phone: {column: Phone}"
    api: Api = Field(default=Api(), description="The service and where its key is found.")
    source: Source = Field(
        default=Source(),
        description="The sheet, its header row, how a text file is written, and what stands for an empty cell.",
    )
    campaign_id: Campaign | None = Field(
        default=None,
        description="The campaign's number, or the column that says it.",
        examples=[7, {"column": "Campaign", "map": {"Spring": 7}}],
    )
    phone: Phone = Field(
        description="Where the lead's number stands.", examples=["Phone", {"column": "Phone", "region": "US"}]
    )
    variables: Mapping[VariableName, Variable] = Field(
        default_factory=dict,
        description="Variables of the campaign's assistant → the columns they come from.",
        examples=[{"company": "Company"}],
    )
    secondary_contacts: Contacts | None = Field(default=None, description="Further people of a lead.")
    where: When | None = Field(default=None, description="Rows to send; others are `filtered`.")
    allow_duplicate: YesNo = Field(
        default=False, description="Create a lead though its number is in the campaign already."
    )
    suppress: Annotated[tuple[ListPath, ...], BeforeValidator(as_several), ONE_OR_MORE] = Field(
        default=(), description="Files with numbers that are never sent.", examples=[["dnc.csv"]]
    )
    delivery: Delivery = Field(default=Delivery(), description="How fast leads are sent, and when sending stops.")
    result: Result = Field(default=Result(), description="What the file that comes back is like.")
    ledger: FilePath | None = Field(default=None, description="The ledger's file. Default: in the user's state folder.")

    _document: Document | None = PrivateAttr(None)

    def model_post_init(self, context: Any, /) -> None:
        """Keep the places of the file this was loaded from."""
        self._document = (context or {}).get("document")

    @property
    def path(self) -> Path | None:
        """The file this was loaded from; None for the platform's own layout."""
        return self._document.path if self._document else None

    def where_is(self, loc: Sequence[str | int]) -> str:
        """Say where a setting stands: "configs/x.yaml, line 12, column 9"; without a file "the config".

        For a setting that the file leaves out: the block where it would stand.
        """
        return self._document.at(self._document.place(loc)) if self._document else "the config"

    def absent_lists(self) -> list[str]:
        """Say of each suppression list that is not there where the config names it."""
        found = [(number, absent(path)) for number, path in enumerate(self.suppress)]
        return [f"{self.where_is(('suppress', number))}: suppress: {text}" for number, text in found if text]

    def fingerprint(self) -> str:
        """Return a SHA-256 in hex of what decides which leads are sent where; how fast and into which file is left out.

        It depends neither on the order of keys, nor on short forms, nor on the folder where the config lies.
        """
        content = self.model_dump(
            mode="json", exclude={"delivery", "result", "ledger", "suppress"}, exclude_defaults=True
        )
        folder = self.path.parent if self.path else Path()
        content["suppress"] = [Path(os.path.relpath(path, folder)).as_posix() for path in self.suppress]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


# What is done with a config.


def load(path: Path, *, lists: bool = False) -> Config:
    """Read a config file; raise one `Refused` with all that is wrong with it, in the order of the file.

    `lists`: suppression lists that are not there are wrong, too.
    """
    document = read(path)
    context = {"document": document, "lists": lists}
    try:
        config = Config.model_validate(document.content, context=context, by_alias=True, by_name=False)
    except ValidationError as error:
        found = tell(document, error.errors(include_url=False), Config)
        document.refuse([*document.problems, *found])
        raise AssertionError("a validation error without words") from error
    document.refuse(document.problems)
    return config


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the file as people write it, short forms included."""
    found = Config.model_json_schema(by_alias=True, mode="validation")
    models = found["$defs"]
    for model in (Phone, Variable, ContactColumn):
        short = {"type": "string", "minLength": 1, "description": "Short for the column alone."}
        models[model.__name__] = {
            "anyOf": [short, models[model.__name__]],
            "description": models[model.__name__]["description"],
        }
    phone = models["Phone"]["anyOf"][1]
    phone["properties"] = {
        "column": {"type": "string", "description": "The column; for several write columns."}
    } | phone["properties"]
    phone["oneOf"] = [{"required": [key]} for key in ("column", "columns")]
    del phone["required"]
    _tidy(found)
    models["Delivery"]["properties"]["rate"]["default"] = "auto"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Config of lead-importer",
        **{key: value for key, value in found.items() if key != "title"},
    }


def _tidy(node: Any, *, is_schema: bool = True) -> None:
    """Drop from a schema what says nothing to its readers: generated titles, defaults that are whole blocks."""
    if isinstance(node, list):
        for item in node:
            _tidy(item)
    if not isinstance(node, dict):
        return
    if is_schema:
        node.pop("title", None)
        if isinstance(node.get("default", ""), dict | list | None):
            node.pop("default", None)
    for key, item in node.items():
        if key not in ("examples", "required"):
            _tidy(item, is_schema=not (is_schema and key in ("properties", "$defs")))
