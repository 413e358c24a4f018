"""The YAML of a config with the place of everything in it, and problems in words that people write YAML by."""

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from importer.errors import Refused

_KEY_NAMES = {"key", "api_key", "apikey", "token", "secret", "bearer", "authorization", "password"}
_KEY_LOOKS = re.compile(r"(?:Bearer\s+)?\d+\|\w{8,}")

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class PlacedYaml:
    """The values of a YAML file, and where each stands."""

    path: Path
    values: Any = None
    lines: dict[Place, tuple[int, int]] = field(default_factory=dict)

    def where(self, path: Place) -> str:
        """Say where a setting stands, or the nearest one above it."""
        while path not in self.lines and path:
            path = path[:-1]
        if path not in self.lines:
            return str(self.path)
        line, column = self.lines[path]
        return f"{self.path}, line {line}, column {column}"


def read_yaml(path: Path) -> PlacedYaml:
    """Read a YAML 1.2 file, in which `NO` is a text. Raises `Refused`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Refused(f"{path}: the config can't be read ({error.strerror}). {_near(path)}") from error
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: the config is not UTF-8 text (byte {error.start + 1}). Save it as UTF-8.") from error
    try:
        loaded = YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise Refused(f"{path}{place}: this is no YAML that can be read ({(error.problem or 'it breaks off').strip()}). Check indentation, colons and quotes there.") from None
    except YAMLError as error:
        raise Refused(f"{path}: this is no YAML that can be read ({type(error).__name__}).") from None
    if not isinstance(loaded, CommentedMap):
        raise Refused(f"{path}: a config is a list of settings such as 'phone: {{column: Phone}}'; found {'nothing' if loaded is None else type(loaded).__name__}.")
    lines: dict[Place, tuple[int, int]] = {}
    values = _plain(loaded, (), lines)
    placed = PlacedYaml(path, values, lines)
    secrets = [place for place in lines if _is_secret(place, values)]
    if secrets:
        raise Refused(
            *(
                f"{placed.where(place)}: a key does not belong into a config (it is not shown here). "
                "Take it out, and set OTONISTARK_API_KEY or OTONISTARK_API_KEY_FILE in the environment. If the file was shared, make a new key."
                for place in secrets
            )
        )
    return placed


def _plain(value: Any, path: Place, lines: dict[Place, tuple[int, int]]) -> Any:
    """Return plain Python values, and note where each stands."""
    if isinstance(value, CommentedMap):
        for key in value:
            line, column = value.lc.key(key)
            lines[(*path, str(key))] = (line + 1, column + 1)
        return {str(key): _plain(one, (*path, str(key)), lines) for key, one in value.items()}
    if isinstance(value, CommentedSeq):
        for place in range(len(value)):
            line, column = value.lc.item(place)
            lines[(*path, place)] = (line + 1, column + 1)
        return [_plain(one, (*path, place), lines) for place, one in enumerate(value)]
    if isinstance(value, bool) or value is None:
        return value
    for plain in (int, float, str):
        if isinstance(value, plain):
            return plain(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def _is_secret(path: Place, values: Any) -> bool:
    value = values
    for part in path:
        value = value[part]
    named = str(path[-1]).casefold() in _KEY_NAMES and (path[0] == "api" or len(path) == 1)
    return isinstance(value, str) and (named or _KEY_LOOKS.fullmatch(value.strip()) is not None)


def _near(path: Path) -> str:
    names = [entry.name for entry in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"Did you mean {str(path.parent / near[0])!r}?" if near else f"Configs there: {', '.join(sorted(names)) or 'none'}."


def told(error: ValidationError, placed: PlacedYaml, model: type[BaseModel]) -> list[str]:
    """Say each problem in plain words: where, what was found, what would be right."""
    problems: dict[Place, str] = {}
    for found in error.errors(include_url=False):
        path = _path(found["loc"], placed)
        words = _words(found, model)
        # Of the readings of one value (a number, or a mapping) the one that fits its shape speaks.
        shape = isinstance(found.get("input"), dict)
        if path not in problems or (shape and not found["type"].endswith("_type")):
            problems[path] = f"{placed.where(path)}: {words}"
    return list(dict.fromkeys(problems.values()))


def _path(location: tuple[str | int, ...], placed: PlacedYaml) -> Place:
    """Return the part of pydantic's location that stands in the file."""
    path: Place = ()
    for part in location:
        longer = (*path, part)
        if longer in placed.lines:
            path = longer
    return path


def _words(found: Any, model: type[BaseModel]) -> str:
    kind, location, value = found["type"], found["loc"], found.get("input")
    name = location[-1] if location else ""
    if kind == "extra_forbidden":
        known = _known(model, location)
        near = difflib.get_close_matches(str(name), known, n=1)
        return f"unknown key {name!r}{f'; did you mean {near[0]!r}?' if near else '.'} Known keys here: {', '.join(known)}."
    if kind == "missing":
        return f"{name!r} is missing."
    context = found.get("ctx") or {}
    if kind == "value_error":
        return f"{context.get('error')}."
    if kind == "literal_error":
        return f"{name!r}: found {value!r}, right is {context.get('expected')}."
    right = {
        "int_type": "a whole number", "int_parsing": "a whole number", "int_from_float": "a whole number", "string_type": "a text", "bool_type": "true or false",
        "bool_parsing": "true or false", "float_type": "a number", "float_parsing": "a number", "dict_type": "a mapping of names", "model_type": "a mapping of settings",
        "model_attributes_type": "a mapping of settings", "tuple_type": "a list", "path_type": "a path",
        "greater_than": f"a number above {context.get('gt')}", "greater_than_equal": f"a number from {context.get('ge')}",
        "less_than_equal": f"a number up to {context.get('le')}", "too_long": f"at most {context.get('max_length')} of them", "too_short": "at least one",
    }.get(kind, "another kind of value")
    shown = f"{len(value)} of them" if kind == "too_long" and hasattr(value, "__len__") else repr(value)
    return f"{name!r}: found {shown[:80]}, right is {right}."


def _known(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """Return the keys that are known where an unknown one was found."""
    current: Any = model
    for part in location[:-1]:
        fields = getattr(current, "model_fields", {})
        found = next((one for name, one in fields.items() if part in (name, one.alias)), None)
        if found is not None:
            models = _models(found.annotation)
            current = models[0] if len(models) == 1 else models
        elif isinstance(current, list):
            current = next((one for one in current if one.__name__ == part), current[0] if current else None)
    if isinstance(current, list):
        current = current[0] if current else None
    fields = getattr(current, "model_fields", {})
    names = {"template_text": "template", "limits": "rate"}
    known = [one.alias or names.get(name, name) for name, one in fields.items() if name != "file"]
    return known + (["column"] if "columns" in fields and "missing_plus" in fields else [])


def _models(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models(part)]
