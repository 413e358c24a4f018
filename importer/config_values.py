"""Texts of a config file → values: what a cell of YAML may be, and what would be right where it is not.

Each function raises `WrongValueError`, a ValueError that says what would be right. `config` makes models of them.
"""

import codecs
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, StringConstraints, ValidationInfo, WithJsonSchema

from importer.config_problems import Scalar, WrongValueError, did_you_mean

DEFAULT_BASE_URL = "https://call.otonistark.com.br/api"
MAX_CONTACTS = 10
"""Secondary contacts of one lead that the API takes (api.md, "The call")."""

Constant = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` requests in any `seconds`."""

    count: float
    seconds: float


class Part(NamedTuple):
    """A piece of a template: text as it stands, or a column's cell."""

    kind: Literal["text", "column"]
    text: str


# Texts → values. Each raises `WrongValueError`, a ValueError that says what would be right.


def parse_duration(value: object) -> float:
    """Return seconds from `30s`, `2m`, `1h`, `500ms` or a plain number of seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|sec|m|min|h)?", str(value).strip())
    if match is None or isinstance(value, bool):
        raise WrongValueError("a duration, such as 30s, 2m, 1h or 500ms")
    units = {"ms": 0.001, "s": 1, "sec": 1, None: 1, "m": 60, "min": 60, "h": 3600}
    return float(match[1]) * units[match[2]]


_PER = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
}


def parse_rate(value: object) -> tuple[Limit, ...]:
    """Return the limits of `40/s`, `60/min`, a list of such, or {per_second: …, per_day: …}; none for `auto`."""
    if isinstance(value, str) and value.strip() == "auto":
        return ()
    if isinstance(value, Limit):
        return (value,)
    if isinstance(value, tuple) or (isinstance(value, list) and value):
        return tuple(limit for text in value for limit in parse_rate(text))
    if isinstance(value, Mapping) and value:
        return tuple(
            limit for unit, count in value.items() for limit in parse_rate(f"{count}/{str(unit).removeprefix('per_')}")
        )
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*/\s*([a-z]+)", str(value).strip().lower())
    if match is None or match[2] not in _PER or not float(match[1]):
        raise WrongValueError("auto, or a number and a unit, such as 40/s, 60/min or 5000/day; several in a list")
    return (Limit(float(match[1]), float(_PER[match[2]])),)


def parse_region(value: object) -> str:
    """Return a country's two letters in capitals; only those that have phone numbers."""
    import phonenumbers  # here, since it takes 40 ms that a config without a region need not wait

    code = str(value).strip().upper()
    if code not in phonenumbers.SUPPORTED_REGIONS:
        meant = "; for the United Kingdom GB" if code == "UK" else ""
        raise WrongValueError(f"a country's two letters (ISO 3166), such as US or DE{meant}, or {{column: Country}}")
    return code


def whole(low: int, high: int | None = None, *, other: str = "") -> tuple[BeforeValidator, WithJsonSchema]:
    """Return a validator of whole numbers within bounds, and its JSON Schema."""
    right = f"a whole number from {low}" + (f" to {high}" if high else "") + other

    def parse(value: object) -> int:
        text = str(value).strip()
        if (
            isinstance(value, bool)
            or not re.fullmatch(r"\d{1,15}", text)
            or not low <= int(text) <= (high or int(text))
        ):
            raise WrongValueError(right)
        return int(text)

    limits = {"minimum": low} | ({"maximum": high} if high else {})
    return BeforeValidator(parse), WithJsonSchema({"type": "integer"} | limits)


def yes_or_no(value: object) -> bool:
    """Read true, false, yes and no."""
    words = {"true": True, "false": False, "yes": True, "no": False}
    try:
        return words[str(value).lower()]
    except KeyError:
        raise WrongValueError("true or false") from None


def share_of_all(value: object) -> float:
    """Read a share above 0 and up to 1."""
    try:
        share = float(str(value))
    except ValueError:
        share = 0
    if not 0 < share <= 1:
        raise WrongValueError("a share above 0 and up to 1, such as 0.5")
    return share


def more_than_no_time(seconds: float) -> float:
    """Refuse a duration of no seconds."""
    if not seconds:
        raise WrongValueError("a duration above 0, such as 30s")
    return seconds


def at_least_one(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse an empty list of columns."""
    if not columns:
        raise WrongValueError("at least one column")
    return columns


def as_several(value: object) -> object:
    """Take one value for a list of one."""
    return value if isinstance(value, list | tuple | Mapping) else (value,)


def yaml_nulls(value: object) -> object:
    """Take NULL and ~ in a list for the texts that they are in cells."""
    texts = value if isinstance(value, list | tuple) else (value,)
    return tuple("null" if text is None else text for text in texts)


def as_sheet(value: object) -> str | int:
    """Read a sheet's name, its number from 1, or "*"."""
    number = value.value if isinstance(value, Scalar) else value
    if isinstance(value, Mapping | list) or not str(value).strip():
        raise WrongValueError('a sheet\'s name, its number from 1, or "*" for all')
    if isinstance(number, int) and not isinstance(number, bool):
        if number < 1:
            raise WrongValueError('a sheet\'s number from 1, its name, or "*" for all')
        return number
    return str(value)


def known_encoding(value: object) -> str:
    """Return Python's name of an encoding, from any that it goes by (`ansi` is Western Europe's)."""
    text = str(value).strip().lower()
    name = {"ansi": "cp1252", "mac": "mac-roman", "macroman": "mac-roman", "unicode": "utf-16"}.get(text, text)
    try:
        "".encode(name)  # what is no encoding of texts, such as zlib or rot13, falls here
        found = codecs.lookup(name).name
    except (LookupError, UnicodeError, ValueError):
        raise WrongValueError("an encoding, such as utf-8, utf-16, windows-1252, windows-1250 or mac-roman") from None
    return found


def as_delimiter(value: object) -> str:
    """Read a delimiter, or the word for one."""
    text = value.value if isinstance(value, Scalar) else value
    text = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}.get(str(text).lower(), text)
    if not isinstance(text, str) or len(text) != 1 or text in '"\r\n\0\ufeff' or text.isalnum():
        raise WrongValueError("one sign, such as , or ; or |, or the word tab")
    return text


def as_base_url(value: object) -> str:
    """Read an address; one that carries a secret is refused, and not shown."""
    text = str(value).strip()
    parts = urlsplit(text if "://" in text else f"https://{text}")
    if "@" in parts.netloc or parts.query:
        raise ValueError("the address carries a password or a query (not shown). Right is the address alone.")
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", text):
        raise WrongValueError(f"an address with https:// (or http://), such as {DEFAULT_BASE_URL}")
    return text


def environment_name(value: object) -> str:
    """Read the name of an environment variable; what looks like a key is refused, and not shown."""
    text = str(value).strip()
    looks_random = len(text) >= 32 and re.search(r"\d", text) and re.search(r"[a-z]", text)
    if not re.fullmatch(r"[A-Za-z_]\w*", text, re.ASCII) or looks_random:
        raise ValueError(
            "what stands here (not shown) is no name of an environment variable. "
            "Right is the name only, such as OTONISTARK_API_KEY; the key itself never stands in a config."
        )
    return text


def beside(value: object, info: ValidationInfo) -> object:
    """Take a relative path as seen from the config file's folder."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.strip():
        raise WrongValueError("a file's path")
    document = (info.context or {}).get("document")
    path = Path(value.strip()).expanduser()
    return document.path.parent / path if document else path


def there(path: Path, info: ValidationInfo) -> Path:
    """Refuse a list that is not there, where lists are asked for (`load`)."""
    if (info.context or {}).get("lists") and (found := absent(path)):
        raise ValueError(found)
    return path


def absent(path: Path) -> str:
    """Say of a file that it is not there, and what may be meant; empty where it is there."""
    if os.path.exists(path):  # noqa: PTH110 - what can't be a path at all is not there either
        return ""
    near = did_you_mean(path.name, [other.name for other in path.parent.glob("*")])
    return f"{path}: there is no such file{near} Put it there, or write where it is, as seen from the config's folder."


def variable_name(name: str) -> str:
    """Refuse a name of nothing: as a template of configs makes it whose own variable was not set."""
    if not name.strip():
        raise ValueError(
            f"a variable is called {name!r}. Right is its name in the campaign's assistant. Write it, or remove it."
        )
    return name


def as_template(value: object) -> object:
    """Parse `{Column} text`; doubled braces stand for themselves."""
    if not isinstance(value, str):
        return value
    parts: list[Part] = []
    for token in re.findall(r"\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+", value):
        if token in ("{", "}"):
            raise WrongValueError(
                "each column in braces, such as {First Name}; for a brace itself write it twice, {{ or }}"
            )
        if token[0] == "{" and token[-1] == "}":
            parts.append(Part("column", token[1:-1].strip()))
            continue
        text = token[0] if token in ("{{", "}}") else token
        before = parts.pop().text if parts and parts[-1].kind == "text" else ""
        parts.append(Part("text", before + text))
    if not all(part.text for part in parts):
        raise WrongValueError("a column's name inside the braces, such as {First Name}")
    if not any(part.kind == "column" for part in parts):
        raise WrongValueError("a template with at least one column in braces; for a constant write {value: …}")
    return tuple(parts)


def _is_email(text: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", text):
        raise ValueError
    return text


_WORDS: dict[str, tuple[Callable[[str], Constant], str]] = {
    "integer": (int, "a whole number, as the variable's type says"),
    "number": (float, "a number, as the variable's type says"),
    "boolean": (yes_or_no, "true or false, as the variable's type says"),
    "date": (lambda text: date.fromisoformat(text).isoformat(), "a date as 2026-12-31, as the variable's type says"),
    "email": (_is_email, "an e-mail address, as the variable's type says"),
}


def as_constant(value: object, info: ValidationInfo) -> Constant:
    """Read a constant as its variable's type says."""
    plain = value.value if isinstance(value, Scalar) else value
    if not isinstance(plain, Constant) or (isinstance(plain, float) and not abs(plain) < float("inf")):
        raise WrongValueError("a text, a number, true or false")
    read_as, right = _WORDS.get(str(info.data.get("type")), (None, ""))
    if read_as is None or (type(plain) in (int, float) and read_as in (int, float)):
        return plain if read_as is not int else _integral(plain, right)
    try:
        return read_as(str(value))
    except ValueError:
        raise WrongValueError(right) from None


def _integral(number: Constant, right: str) -> int:
    if isinstance(number, float) and not number.is_integer():
        raise WrongValueError(right)
    return int(number)


def date_format(text: str) -> str:
    """Refuse a date format without day, month or year."""
    directives = set(re.findall(r"%[-_0]?([A-Za-z])", text))
    if not (
        directives & set("DFxc") or (directives & set("de") and directives & set("mbBh") and directives & set("Yy"))
    ):
        guess = (
            re.sub(r"(?i)d+", "%d", re.sub(r"(?i)m+", "%m", re.sub(r"(?i)y+", "%Y", text))) if "%" not in text else ""
        )
        example = guess if all(part in guess for part in ("%d", "%m", "%Y")) else "%d/%m/%Y"
        raise WrongValueError(f'day, month and year with percent signs, such as "{example}"')
    return text


def form(value: object) -> str:
    """Tell a block from a plain value."""
    return "<block>" if isinstance(value, Mapping | BaseModel) else "<plain>"


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
ONE_OR_MORE = WithJsonSchema({"type": ["array", "string"], "items": {"type": "string", "minLength": 1}})
Texts = Annotated[tuple[Text, ...], BeforeValidator(as_several), ONE_OR_MORE]
CellTexts = Annotated[
    tuple[Annotated[str, StringConstraints(strip_whitespace=True)], ...],
    BeforeValidator(as_several),
    WithJsonSchema(
        {"type": ["array", "string", "number", "boolean"], "items": {"type": ["string", "number", "boolean"]}}
    ),
]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "type": ["number", "string"],
            "minimum": 0,
            "pattern": r"^\d+(\.\d+)?\s*(ms|s|sec|m|min|h)?$",
            "examples": ["30s", "2m"],
        }
    ),
]
Rate = Annotated[
    tuple[Limit, ...],
    BeforeValidator(parse_rate),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^(auto|\d+(\.\d+)?\s*/\s*[a-z]+)$"},
                {"type": "array", "items": {"type": "string", "pattern": r"^\d+(\.\d+)?\s*/\s*[a-z]+$"}},
                {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        f"per_{unit}": {"type": "number", "exclusiveMinimum": 0, "description": f"Requests a {unit}."}
                        for unit in ("second", "minute", "hour", "day")
                    },
                },
            ],
            "examples": ["auto", "40/s", ["10/s", "5000/day"], {"per_second": 10, "per_day": 5000}],
        }
    ),
]
VariableName = Annotated[str, AfterValidator(variable_name)]
YesNo = Annotated[bool, BeforeValidator(yes_or_no), WithJsonSchema({"type": "boolean"})]
Count = Annotated[int, *whole(1)]
FilePath = Annotated[Path, BeforeValidator(beside), WithJsonSchema({"type": "string", "minLength": 1})]
ListPath = Annotated[FilePath, AfterValidator(there)]
EnvironmentName = Annotated[
    str, BeforeValidator(environment_name), WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z_]\w*$"})
]
Value = Annotated[Constant, BeforeValidator(as_constant), WithJsonSchema({"type": ["string", "number", "boolean"]})]
