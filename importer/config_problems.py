"""A YAML file as texts that know where they stand, and what is wrong with it in words for people.

Scalars stay the text that the user wrote (`Scalar`), so that a column called `007` or `TRUE` is found, and the types of
the settings decide what a text means. Nothing here knows a single setting.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from importer.errors import Refused

Loc = tuple[str | int, ...]

#: How lists are called, and configs never.
_LISTS = frozenset({".csv", ".tsv", ".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".parquet"})

#: Keys of the service look like `<number>|<random>` (api.md, "The call"): alone, or a long one inside another text.
_KEY_VALUE = re.compile(r"\s*(?:bearer\s+)?\d+\|\S{6,}\s*|.*\d+\|[A-Za-z0-9_\-]{20,}.*", re.IGNORECASE | re.DOTALL)
_KEY_INSIDE = re.compile(r"\d+\|[A-Za-z0-9_\-]{6,}")
_KEY_NAMES = frozenset(
    [
        "key",
        "apikey",
        "token",
        "apitoken",
        "accesstoken",
        "authtoken",
        "bearer",
        "bearertoken",
        "secret",
        "apisecret",
        "password",
        "authorization",
    ]
)
#: Below these the names are the user's own, and `token` is a name like any other.
_OWN_NAMES = frozenset({"variables", "map"})

#: What JSON can carry without loss. Anything else that YAML reads as a number (007, 0x1F, .inf) was meant as text.
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})(?P<real>(?:\.\d+)?(?:[eE][+-]?\d{1,2})?)")

#: More is no config but a trap: aliases of aliases grow without bound.
_MAX_DEPTH, _MAX_NODES = 12, 100_000


class Scalar(str):
    """A scalar as it stands in the file; `value` is what YAML 1.2 makes of it where JSON can carry that."""

    __slots__ = ("value",)
    value: str | int | float | bool


class WrongValueError(ValueError):
    """A value that can't be taken; its text says what would be right ("a whole number from 1")."""


class Settings(BaseModel):
    """One block of the config: frozen, unknown keys refused, a key with nothing behind it as if it were not there."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True, validate_default=False
    )
    example: ClassVar[str] = ""
    short_keys: ClassVar[tuple[str, ...]] = ()
    """Keys of the file that are no fields: other ways to write one."""

    @classmethod
    def long(cls, written: Any) -> Any:
        """Turn the short forms into the mapping they stand for."""
        return written

    @classmethod
    def keys(cls) -> list[str]:
        """List the keys that the file may hold, in order."""
        aliases = {name: info.validation_alias for name, info in cls.model_fields.items()}
        return [*cls.short_keys, *(alias if isinstance(alias, str) else name for name, alias in aliases.items())]

    @model_validator(mode="before")
    @classmethod
    def _open(cls, written: Any) -> Any:
        opened = cls.long(written)
        if not isinstance(opened, Mapping):
            return opened
        known = {*cls.keys(), *cls.model_fields}
        return {key: value for key, value in opened.items() if value is not None or key not in known}


@dataclass(frozen=True)
class Document:
    """A config file's content as mappings, lists, `Scalar`s and None, and the place (line, column) of each part."""

    path: Path
    content: dict[str, Any] = field(default_factory=dict)
    places: dict[Loc, tuple[int, int]] = field(default_factory=dict)
    key_places: dict[Loc, tuple[int, int]] = field(default_factory=dict)
    withheld: list[Loc] = field(default_factory=list)
    """Where something stood that may not be shown."""
    problems: list[tuple[tuple[int, int], str]] = field(default_factory=list)

    def find(self, loc: Sequence[str | int]) -> Loc:
        """Return the deepest part of `loc` that the file has; short forms stand for what they mean."""
        path: Loc = ()
        for step in loc:
            names = (step, "column") if step == "columns" else (step,)
            found = next((name for name in names if (*path, name) in self.places), None)
            if found is not None:
                path = (*path, found)
            elif not str(step).startswith("<"):  # the tag of a union, which stands in no file
                break
        return path

    def place(self, loc: Sequence[str | int]) -> tuple[int, int]:
        """Return line and column of a setting, (0, 0) for the file as a whole."""
        return self.places.get(self.find(loc), (0, 0))

    def at(self, place: tuple[int, int]) -> str:
        """Say where in which file, as messages begin."""
        return f"{self.path}, line {place[0]}, column {place[1]}" if place != (0, 0) else str(self.path)

    def refuse(self, problems: Iterable[tuple[tuple[int, int], str]]) -> None:
        """Raise all problems in the order of the file, if there are any."""
        ordered = dict.fromkeys(sorted(problems, key=lambda problem: problem[0]))
        if ordered:
            raise Refused(*(hide_keys(f"{self.at(place)}: {text}") for place, text in ordered))


def read(path: Path) -> Document:
    """Read a YAML file whose content is a mapping. What is wrong inside it stands in `Document.problems`.

    Raises `Refused` where it can't be read at all.
    """
    if path.suffix.lower() in _LISTS and path.is_file():
        raise Refused(
            f"{path}: this is a list by its name. Name it as the input, and with -c the config that is for it."
        )
    document = Document(path)
    root = _parse(document, _decoded(path))
    if root is None:
        raise Refused(f"{path}: the file is empty. A config needs at least phone: {{column: Phone}}.")
    if not isinstance(root, MappingNode):
        what = "a list" if isinstance(root, SequenceNode) else "a single text"
        raise Refused(f"{path}: found {what}; right is a mapping of settings, such as phone: {{column: Phone}}.")
    document.content.update(_Walk(document).mapping(root, ()))
    return document


def hide_keys(text: str) -> str:
    """Replace what looks like a key of the service."""
    return _KEY_INSIDE.sub("<key not shown>", text)


def nearest(word: str, options: Iterable[str]) -> str | None:
    """Return the option that `word` was probably meant to be."""
    folded = {option.casefold().strip(): option for option in options}
    close = difflib.get_close_matches(word.casefold().strip(), folded, n=1)
    return folded[close[0]] if close else None


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Return "; did you mean 'phone'?", or "." where nothing is near."""
    match = nearest(word, options)
    return f"; did you mean {match!r}?" if match else "."


def show(value: object) -> str:
    """Return a value as messages show it."""
    if isinstance(value, Scalar):
        value = str(value) if isinstance(value.value, str) else _Bare(value)
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def tell(
    document: Document, errors: Iterable[ErrorDetails], model: type[Settings]
) -> list[tuple[tuple[int, int], str]]:
    """Put what the models found into words, each with its place."""
    return [
        _told(document, error, model)
        for error in errors
        if not any(_within(error["loc"], loc) or _within(loc, error["loc"]) for loc in document.withheld)
    ]


# Problems in words.


class _Bare(str):
    """A number or boolean as the user wrote it, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _within(loc: Loc, outer: Loc) -> bool:
    return bool(outer) and loc[: len(outer)] == outer


def _told(document: Document, error: ErrorDetails, root: type[Settings]) -> tuple[tuple[int, int], str]:
    found = document.find(error["loc"])
    place = document.place(found)
    is_key = error["loc"][-1:] == ("[key]",)
    if error["type"] == "extra_forbidden" or is_key:
        place = document.key_places.get(found, place)
    if is_key:  # what is wrong is the name itself
        found = found[:-1]
    return place, _words(error, ".".join(str(step) for step in found if isinstance(step, str)), root)


def _words(error: ErrorDetails, name: str, root: type[Settings]) -> str:
    loc, kind = error["loc"], error["type"]
    if kind == "extra_forbidden":
        key, known = str(loc[-1]), _model_at(root, loc[:-1]).keys()
        return f"unknown key {key!r}{did_you_mean(key, known)} Known keys here: {', '.join(known)}."
    if kind == "missing":
        inside = f" in {name}" if len(loc) > 1 else ""
        return f"{str(loc[-1])!r} is missing{inside}. Right is, for instance, {_model_at(root, loc[:-1]).example}."
    cause = error.get("ctx", {}).get("error")
    if kind == "value_error" and not isinstance(cause, WrongValueError):
        return f"{name}: {cause}"
    return f"{name} is {show(error['input'])}; right is {_right(error, root)}"


def _right(error: ErrorDetails, root: type[Settings]) -> str:
    kind: str = error["type"]
    context: dict[str, Any] = error.get("ctx", {})
    if kind == "value_error":
        return f"{context['error']!s}."
    if kind == "literal_error":
        options: list[str] = re.findall(r"'([^']*)'", context["expected"])
        return ", ".join(options[:-1]) + " or " + options[-1] + did_you_mean(str(error["input"]), options)
    if kind == "model_type":
        return f"a mapping, such as {_model_at(root, error['loc']).example}."
    if kind.startswith(("dict", "mapping")):
        pairs = (_model_at(root, error["loc"][:-1]).model_fields[str(error["loc"][-1])].examples or [{}])[0]
        return "a mapping, such as {" + ", ".join(f"{key}: {value}" for key, value in pairs.items()) + "}."
    if kind.startswith(("tuple", "list")):
        return "a list, such as [first, second]."
    return "a text." if kind.startswith("string") else "something else."


def _model_at(root: type[Settings], loc: Iterable[str | int]) -> type[Settings]:
    model = root
    for step in loc:
        by_key = {info.validation_alias or name: info for name, info in model.model_fields.items()}
        model = _inner(by_key[step].annotation) or model if step in by_key else model
    return model


def _inner(annotation: Any) -> type[Settings] | None:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    return next((found for part in get_args(annotation) if (found := _inner(part))), None)


# The file.


def _decoded(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        others = [str(other) for other in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise Refused(f"{path}: there is no such file{did_you_mean(str(path), others)}") from None
    except IsADirectoryError:
        raise Refused(f"{path}: this is a folder; right is a YAML file.") from None
    except OSError as error:
        raise Refused(f"{path}: the file can't be read ({error.strerror}).") from None
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Refused(f"{path}: the file is UTF-16; right is UTF-8. Save it again as UTF-8.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Refused(
            f"{path}, line {line}: byte 0x{raw[error.start]:02x} is not UTF-8. Save the file again as UTF-8."
        ) from None


#: Part of what the parser says → what people made it say it.
_PARSER_WORDS = (
    (r"'\\t'", "a tab stands here; YAML takes spaces only. Replace it by spaces."),
    (
        "mapping values are not allowed",
        "a second ': ' in one line, or a wrong indentation. Put a text with a colon in quotes.",
    ),
    (
        "undefined alias|scanning an alias|alphabetic or numeric",
        'a text that starts with * or & needs quotes, such as "*".',
    ),
    ("cannot start any token", "a text that starts with this character needs quotes."),
    ("could not find expected ':'", "the line before has no ':' after its key. Right is key: value."),
    (
        "found '{'|found '<scalar>'",
        'something stands after the end of a value. A text with braces needs quotes: "{First Name} {Last Name}".',
    ),
    (
        "expected <block end>",
        "the indentation fits no line above. Give the keys of one block the same number of spaces.",
    ),
    ("expected ',' or", "a bracket or brace is not closed, or a comma is missing."),
    ("end of stream|document separator", "a quote is not closed."),
    ("unknown escape", "a backslash in double quotes begins an escape. Use single quotes instead."),
    ("another document", "a second document begins here with ---. Right is one config in one file."),
)


def _parse(document: Document, text: str) -> Node | None:
    try:
        return YAML(typ="safe", pure=True).compose(text)  # type: ignore[no-any-return]
    except ReaderError as error:
        before = text[: error.position]
        place = (before.count("\n") + 1, error.position - before.rfind("\n"))
        raise Refused(
            f"{document.at(place)}: the invisible character {text[error.position]!r} can't stand in YAML. Remove it."
        ) from None
    except (YAMLError, RecursionError) as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        place = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        said = f"{getattr(error, 'context', '')} {getattr(error, 'problem', None) or type(error).__name__}"
        words = next(
            (words for pattern, words in _PARSER_WORDS if re.search(pattern, said)), "this is no YAML that can be read."
        )
        raise Refused(hide_keys(f"{document.at(place)}: {words}")) from None


class _Walk:
    """One pass over the parsed nodes that fills a `Document`."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._nodes = 0

    def mapping(self, node: MappingNode, path: Loc) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = _start(key_node)
            if not isinstance(key_node, ScalarNode):
                self._problem(
                    place, "a mapping or list stands where a key should; a text with braces or brackets needs quotes."
                )
                continue
            key = str(key_node.value)
            if _KEY_VALUE.fullmatch(key):
                self._withhold(place, (*path, key), "what stands here looks like a key of the API (not shown).")
                continue
            if key in content:
                first = self._document.key_places[*path, key][0]
                self._problem(
                    place, f"{key!r} stands here a second time; the first is in line {first}. Keep one of them."
                )
                continue
            self._document.key_places[*path, key] = place
            content[key] = self._value(value_node, (*path, key), place)
        return content

    def _value(self, node: Node, path: Loc, key_place: tuple[int, int]) -> Any:
        self._nodes += 1
        if len(path) > _MAX_DEPTH or self._nodes > _MAX_NODES:
            raise Refused(
                f"{self._document.at(key_place)}: the settings are nested too deep or repeat each other by aliases."
            )
        self._document.places[path] = key_place
        name = str(path[-1])
        if name.lower().translate({95: None, 45: None, 32: None}) in _KEY_NAMES and not _OWN_NAMES & set(path[:-1]):
            dotted = ".".join(str(step) for step in path)
            self._withhold(key_place, path, f"a key or password does not belong in a config ({dotted}, not shown).")
            return None
        if isinstance(node, MappingNode):
            return self.mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self._value(item, (*path, number), _start(item)) for number, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _scalar(self, node: Node, path: Loc) -> Scalar | None:
        tag = str(node.tag).rpartition(":")[2]
        if tag == "null":
            return None
        place = self._document.places[path] = _start(node)
        text = str(node.value)
        if _KEY_VALUE.fullmatch(text):
            self._withhold(place, path, "what stands here looks like a key of the API (not shown).")
            return None
        if str(node.tag).startswith("!"):
            self._problem(place, f"the tag {str(node.tag)!r} means nothing here. Remove it.")
        scalar = Scalar(text)
        scalar.value = _VALUES.get(tag, str)(text)
        return scalar

    def _withhold(self, place: tuple[int, int], path: Loc, found: str) -> None:
        self._document.withheld.append(path)
        self._problem(
            place,
            f"{found} Take it out, put the key into the environment variable OTONISTARK_API_KEY (or a file named by "
            "OTONISTARK_API_KEY_FILE), and have a new one made if others could read this file.",
        )

    def _problem(self, place: tuple[int, int], text: str) -> None:
        self._document.problems.append((place, text))


def _start(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _number(text: str) -> str | int | float:
    match = _NUMBER.fullmatch(text)
    if match is None:
        return text
    return float(text) if match["real"] else int(text)


_VALUES: dict[str, Callable[[str], str | int | float | bool]] = {
    "int": _number,
    "float": _number,
    "bool": lambda text: text.lower() == "true",
}
