"""One YAML file → a frozen `Config`; all problems at once, each with its line and column.

The file's short forms (`phone: Phone`, `company: Company`, `seats: {column: Seats}`) all end in the same models, so
that the other modules see one shape only.
"""

import difflib
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from importer.config_file import PlacedYaml, read_yaml, told
from importer.errors import Refused
from importer.pace import Limit, parse_rate
from importer.records import RESULT_COLUMNS

Scalar = str | int | float | bool


def _seconds(value: object) -> object:
    """Read `30s`, `500ms`, `2m`, `1h` or a bare number as seconds."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|min|h)\s*", value)
        if not match:
            raise ValueError(f"{value!r} is no duration. Right is, for instance, 30s, 500ms, 2m or 1h")
        return float(match[1]) * {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600}[match[2]]
    return value


def _text(value: object) -> object:
    """Take a column that is called `2026` or `7` as the text it is."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _texts(value: object) -> object:
    return tuple(_text(one) for one in value) if isinstance(value, (list, tuple)) else (_text(value),)


def _number(value: object) -> object:
    return int(value) if isinstance(value, str) and value.strip().isdigit() else value


def _limits(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return tuple(limit for one in value for limit in (parse_rate(str(one)) or ()))
    return value if value is None else parse_rate(str(value))


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
Column = Annotated[str, BeforeValidator(_text)]
Words = Annotated[tuple[str, ...], BeforeValidator(_texts)]
CampaignNumber = Annotated[int, BeforeValidator(_number), Field(gt=0)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=False)


class Api(_Model):
    """The service."""

    base_url: str | None = Field(None, description="Address of the service; the host alone will do.")
    key_env: str = Field("OTONISTARK_API_KEY", description="Environment variable that holds the key.")
    key_file_env: str = Field("OTONISTARK_API_KEY_FILE", description="Environment variable that names a file with the key.")
    duplicate_texts: Words = Field((), description="Further words by which a refusal is known as a duplicate.")


class SourceSettings(_Model):
    """Where in a file the table is."""

    sheet: str | int | None = Field(None, description='Sheet by name or number from 1; "*" for all. Default: the only one with data.')
    header_row: int | None = Field(None, ge=1, description="Row of the header, as Excel numbers it. Default: found.")


class CampaignColumn(_Model):
    """The campaign from a column."""

    column: Column = Field(description="Column that holds the campaign.")
    map: dict[Column, CampaignNumber] | None = Field(None, description="Names in the column → campaign numbers.")


class RegionColumn(_Model):
    """The country of a number from a column."""

    column: Column = Field(description="Column that holds the country.")
    map: dict[Column, str] | None = Field(None, description="Names in the column → two-letter country codes.")


class Phone(_Model):
    """Where numbers stand and how they are read."""

    columns: Words = Field(min_length=1, validation_alias=AliasChoices("columns", "column"), description="The first usable one of these columns is taken.")
    region: str | RegionColumn | None = Field(None, description="Country of numbers without +, as US or DE; or {column: …}.")
    missing_plus: Literal["refuse", "restore", "national"] = Field("refuse", description="Digits that may be national, or international with the + lost.")
    several: Literal["refuse", "first"] = Field("refuse", description="Several numbers in one cell: refuse, or take the first usable one.")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        return {"columns": value} if isinstance(value, str) else value


class Variable(_Model):
    """One variable of a lead: from a column, a template of columns, or a constant."""

    column: Column | None = Field(None, description="Column that holds the value.")
    template_text: str | None = Field(None, validation_alias=AliasChoices("template", "template_text"), description="Text with columns in braces.")
    value: Scalar | None = Field(None, description="A constant.")
    type: Literal["text", "integer", "number", "boolean", "date", "email"] = Field("text", description="What the value must be.")
    format: str | None = Field(None, description="How dates are written, as %d/%m/%Y.")
    map: dict[Column, Scalar] | None = Field(None, description="Values in the column → values that are sent.")
    default: Scalar | None = Field(None, description="For values that the map lacks.")
    on_error: Literal["invalid", "drop"] = Field("invalid", description="A value that fails makes the row invalid, or is left out and said so.")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            text = str(value)
            return {"template_text": text} if "{" in text else {"column": text}
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name, value in (("column", self.column), ("template", self.template_text), ("value", self.value)) if value is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none of them"
            raise ValueError(f"a variable has one of column, template and value; found {found}")
        if self.format is not None and self.type != "date":
            raise ValueError("format goes with type: date only")
        if self.default is not None and not self.map:
            raise ValueError("default goes with map only")
        if self.template_text is not None:
            _ = self.template
        return self

    @cached_property
    def template(self) -> tuple[tuple[Literal["text", "column"], str], ...] | None:
        """The parts of the template in order; None where the variable is none."""
        if self.template_text is None:
            return None
        parts: list[tuple[Literal["text", "column"], str]] = []
        try:
            for text, name, spec, conversion in Formatter().parse(self.template_text):
                if text:
                    parts.append(("text", text))
                if name is not None:
                    full = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
                    if not full.strip():
                        raise ValueError("empty braces")
                    parts.append(("column", full))
        except ValueError as error:
            raise ValueError(f"template {self.template_text!r}: the braces don't pair up ({error}). Write {{{{ for a brace itself") from error
        return tuple(parts)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it is made of; none for a constant."""
        if self.template is not None:
            return tuple(name for kind, name in self.template if kind == "column")
        return () if self.column is None else (self.column,)


class When(_Model):
    """Rows whose column has one of some values."""

    column: Column = Field(description="Column to look at.")
    in_: Words = Field((), alias="in", description="Values that count.")
    not_in: Words = Field((), description="Values that don't.")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.in_ and not self.not_in:
            raise ValueError("in: […] is missing: the values that count")
        return self


Variables = dict[Column, Variable]


class ContactColumn(_Model):
    """A secondary contact in columns of the lead's own row."""

    phone: Column = Field(description="Column of the contact's number.")
    region: str | None = Field(None, description="Country of the contact's number. Default: as for the lead.")
    variables: Variables = Field(default_factory=dict, description="The contact's variables.")


class Contacts(_Model):
    """Secondary contacts: as rows under a key, or in columns of the same row."""

    group_by: Column | None = Field(None, description="Rows with the same value are one lead, in any order.")
    primary_when: When | None = Field(None, description="Which row of a group is the primary. Default: the first.")
    variables: Variables | None = Field(None, description="The contacts' variables. Default: as the lead's.")
    columns: tuple[ContactColumn, ...] = Field((), max_length=10, description="Contacts in columns of the same row, at most ten.")
    on_invalid: Literal["hold", "drop"] = Field("hold", description="A contact that can't be sent: hold the whole lead, or drop the contact and say so.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.group_by) == bool(self.columns):
            raise ValueError("secondary contacts stand either as rows (group_by) or in columns (columns): give one of the two")
        if self.columns and (self.primary_when or self.variables):
            raise ValueError("primary_when and variables go with group_by; contacts in columns have their own variables")
        return self


class StopAfter(_Model):
    """When a run stops instead of burning through the file."""

    unreached: int = Field(5, ge=1, description="Tries for a lead that can't be delivered because the server is not reached.")


class DeliverySettings(_Model):
    """How leads are sent."""

    limits: tuple[Limit, ...] | None = Field(
        None, validation_alias=AliasChoices("rate", "limits"), description="auto, or the highest pace as 5/s or 60/min, or a list of such."
    )
    concurrency: int = Field(8, ge=1, le=256, description="Most requests in flight at once.")
    timeout: Seconds = Field(30.0, gt=0, description="Seconds for one request from its first byte to the answer's last.")
    settle_window: Seconds = Field(15.0, description="Seconds in which a new lead may take to appear in a look-up.")
    grace: Seconds = Field(30.0, description="Seconds that leads in flight have to finish after a stop.")

    @model_validator(mode="before")
    @classmethod
    def _rate(cls, value: object) -> object:
        if isinstance(value, dict) and "rate" in value:
            return value | {"rate": _limits(value["rate"])}
        return value


class ResultSettings(_Model):
    """The result file."""

    format: Literal["same", "csv", "xlsx"] = Field("same", description="Same as the input, csv or xlsx.")


class Config(_Model):
    """All settings of an import."""

    api: Api = Field(default_factory=Api, description="The service.")
    source: SourceSettings = Field(default_factory=SourceSettings, description="Where in a file the table is.")
    campaign_id: CampaignNumber | CampaignColumn | None = Field(None, description="Campaign number, or {column: …, map: …}.")
    phone: Phone = Field(description="Where numbers stand and how they are read.")
    variables: Variables = Field(default_factory=dict, description="The lead's variables: name → column, template or constant.")
    secondary_contacts: Contacts | None = Field(None, description="Secondary contacts.")
    where: When | None = Field(None, description="Rows to import; the others are filtered.")
    allow_duplicate: bool = Field(False, description="Whether a number may be created again in the same campaign.")
    suppress: tuple[Path, ...] = Field((), description="Do-not-call lists; paths are relative to this file.")
    delivery: DeliverySettings = Field(default_factory=DeliverySettings, description="How leads are sent.")
    result: ResultSettings = Field(default_factory=ResultSettings, description="The result file.")
    ledger: Path | None = Field(None, description="Where the ledger lies; relative to this file.")
    file: PlacedYaml | None = Field(None, exclude=True)

    def fingerprint(self) -> str:
        """Return a hash of what decides which leads there are; delivery and result settings don't."""
        said = self.model_dump_json(exclude={"delivery", "result", "ledger", "file", "source"}, by_alias=True)
        return hashlib.sha256(said.encode()).hexdigest()

    def where_is(self, *path: str | int) -> str:
        """Say where a setting stands, as `configs/x.yaml, line 12, column 3`."""
        return "the platform's own layout" if self.file is None else self.file.where(path)


def load(path: Path) -> Config:
    """Read a config file. Raises `Refused` with every problem at once; a key in it is refused without being shown."""
    placed = read_yaml(path)
    try:
        config = Config.model_validate(placed.values)
    except ValidationError as error:
        raise Refused(*told(error, placed, Config)) from None
    folder = path.resolve().parent
    return config.model_copy(
        update={
            "file": placed,
            "suppress": tuple(folder / one.expanduser() for one in config.suppress),
            "ledger": folder / config.ledger.expanduser() if config.ledger else None,
        }
    )


# Columns.


def resolve(columns: Sequence[str], name: str) -> str | None:
    """Return the column that a name means: exactly, else without regard to case and surrounding space; None if none or several."""
    if name in columns:
        return name
    folded = name.strip().casefold()
    found = [column for column in columns if column.strip().casefold() == folded]
    return found[0] if len(found) == 1 else None


def check_columns(config: Config, columns: Sequence[str], table_name: str) -> None:
    """Raise one `Refused` that names every column of the config which the table lacks."""
    listed = ", ".join(repr(column) for column in columns)
    problems = []
    for path, name in _named_columns(config):
        if resolve(columns, name) is None:
            near = difflib.get_close_matches(name, columns, n=1, cutoff=0.6)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            problems.append(f"{config.where_is(*path)}: column {name!r} is not in {table_name}.{hint} Columns there: {listed}.")
    if problems:
        raise Refused(*dict.fromkeys(problems))


def _named_columns(config: Config) -> list[tuple[tuple[str | int, ...], str]]:
    found: list[tuple[tuple[str | int, ...], str]] = [(("phone",), name) for name in config.phone.columns]
    if isinstance(config.phone.region, RegionColumn):
        found.append((("phone", "region"), config.phone.region.column))
    if isinstance(config.campaign_id, CampaignColumn):
        found.append((("campaign_id",), config.campaign_id.column))
    found += _variable_columns(("variables",), config.variables)
    if config.where is not None:
        found.append((("where",), config.where.column))
    contacts = config.secondary_contacts
    if contacts is not None:
        if contacts.group_by is not None:
            found.append((("secondary_contacts", "group_by"), contacts.group_by))
        if contacts.primary_when is not None:
            found.append((("secondary_contacts", "primary_when"), contacts.primary_when.column))
        found += _variable_columns(("secondary_contacts", "variables"), contacts.variables or {})
        for place, contact in enumerate(contacts.columns):
            found.append((("secondary_contacts", "columns", place), contact.phone))
            found += _variable_columns(("secondary_contacts", "columns", place, "variables"), contact.variables)
    return found


def _variable_columns(path: tuple[str | int, ...], variables: Mapping[str, Variable]) -> list[tuple[tuple[str | int, ...], str]]:
    return [((*path, name), column) for name, variable in variables.items() for column in variable.columns]


# The platform's own layout.

_SECONDARY_PHONE = re.compile(r"secondary_phone_(\d+)")
_SECONDARY_VARIABLE = re.compile(r"secondary_(\d+)_(.+)")


def platform_layout(columns: Sequence[str]) -> Config:
    """Return the settings for the platform's own column layout (api.md). Raises `Refused` where it is another."""
    names = {column.strip().casefold(): column for column in columns if column not in RESULT_COLUMNS}
    if "phone_number" not in names:
        near = difflib.get_close_matches("phone_number", list(names), n=1)
        raise Refused(
            f"no column 'phone_number'{f' (did you mean {names[near[0]]!r}?)' if near else ''}. Without a config the platform's own layout is read: "
            "phone_number, variables, secondary_phone_1 to secondary_phone_10, secondary_1_<variable>. "
            f"Columns here: {', '.join(repr(column) for column in columns)}. Rename them, or write a config and give it with -c."
        )
    variables: dict[str, Any] = {}
    contacts: dict[int, dict[str, Any]] = {}
    loose: list[tuple[int, str]] = []
    for name, column in names.items():
        if match := _SECONDARY_PHONE.fullmatch(name):
            contacts.setdefault(int(match[1]), {"variables": {}})["phone"] = column
        elif match := _SECONDARY_VARIABLE.fullmatch(name):
            loose.append((int(match[1]), column))
        elif name != "phone_number":
            variables[column.strip()] = {"column": column}
    problems = [f"column {column!r}: there is no column 'secondary_phone_{number}' with that contact's number." for number, column in loose if number not in contacts]
    problems += [f"column 'secondary_phone_{number}': contacts are numbered from 1 to 10." for number in contacts if not 1 <= number <= 10]
    if problems:
        raise Refused(*problems)
    for number, column in loose:
        variable = _SECONDARY_VARIABLE.fullmatch(column.strip().casefold())
        assert variable is not None
        contacts[number]["variables"][column.strip()[-len(variable[2]) :]] = {"column": column}
    settings: dict[str, Any] = {"phone": {"columns": [names["phone_number"]]}, "variables": variables}
    if contacts:
        settings["secondary_contacts"] = {"columns": [contact for _, contact in sorted(contacts.items())]}
    return Config.model_validate(settings)


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the file as people write it, short forms included."""
    made = Config.model_json_schema(by_alias=True)
    made["properties"].pop("file", None)
    definitions = made["$defs"]
    definitions.pop("PlacedYaml", None)
    definitions["Variable"] = _with_short(definitions["Variable"], {"type": ["string", "integer"]}, "A column, or a template with columns in braces.")
    definitions["Variable"]["anyOf"][1]["properties"]["template"] = definitions["Variable"]["anyOf"][1]["properties"].pop("template_text", None) or definitions["Variable"]["anyOf"][1]["properties"]["template"]
    phone = definitions["Phone"]
    phone["properties"]["columns"] = {"type": "array", "items": {"type": "string"}, "minItems": 1, "description": "The first usable one of these columns is taken."}
    phone["properties"]["column"] = {"type": "string", "description": "The column that holds the number."}
    phone["required"] = []
    phone["oneOf"] = [{"required": ["column"]}, {"required": ["columns"]}]
    definitions["Phone"] = _with_short(phone, {"type": "string"}, "The column that holds the number.")
    delivery = definitions["DeliverySettings"]["properties"]
    delivery.pop("limits", None)
    rate = {"type": "string", "pattern": r"^(auto|\d+(\.\d+)?/(s|min|h|d))$"}
    delivery["rate"] = {"anyOf": [rate, {"type": "array", "items": rate}], "description": "auto, or the highest pace as 5/s or 60/min, or a list of such."}
    for name in ("timeout", "settle_window", "grace"):
        delivery[name] = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|min|h)$"}], "description": delivery[name]["description"]}
    definitions.pop("Limit", None)
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return made


def _with_short(full: dict[str, Any], short: dict[str, Any], description: str) -> dict[str, Any]:
    return {"anyOf": [{**short, "description": description}, full]}
