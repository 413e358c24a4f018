"""Writes what these pages take from the code: all of commands.md, and the table of keys in config.md.

python docs/make.py
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer

from importer.cli import app
from importer.config import Config
from importer.config_problems import Settings
from importer.config_values import parse_duration

HERE = Path(__file__).parent
MARK = re.compile(r"(<!-- keys -->\n).*?(<!-- end of keys -->)", re.DOTALL)


def commands() -> Iterator[tuple[str, Any]]:
    """Yield each command by name, in the order of the help."""
    group: Any = typer.main.get_command(app)
    yield from group.commands.items()


def commands_page() -> str:
    """Return commands.md: every command with its example and its options."""
    parts = [
        "# Commands",
        "",
        "What `lead-importer COMMAND --help` says, on one page. What the exit statuses mean stands in",
        "[nightly.md](nightly.md). `lead-importer --version` tells the version.",
        "",
    ]
    for name, command in commands():
        parts += _command(name, command)
    return "\n".join(parts).rstrip() + "\n"


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [_argument(one) for one in command.params if one.param_type_name == "argument"]
    yield from [f"## {name}", "", f"    lead-importer {' '.join([name, *arguments, '[OPTIONS]'])}", ""]
    text, _, example = command.help.partition("\b\nExample:")
    yield from [*re.sub(r"(<name>\S*\w>?)", r"`\1`", text.strip()).splitlines(), ""]
    if example:
        yield from ["Example:", "", *(f"    {line.strip()}" for line in example.strip().splitlines()), ""]
    options = [one for one in command.params if one.param_type_name == "option"]
    if options:
        yield from ["| option | what it does |", "|---|---|"]
        context = command.make_context(name, [], resilient_parsing=True)
        for option in options:
            written, what = option.get_help_record(context)
            yield f"| `{_cell(written)}` | {_cell(what)} |"
        yield ""


def _argument(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper()) + ("…" if parameter.nargs == -1 else "")


def settings(
    model: type[Settings] = Config, path: str = "", seen: dict[type[Settings], str] | None = None
) -> Iterator[tuple[str, str, str]]:
    """Yield every key of a config with what it is for and its default; of a block that stands twice the first one's."""
    seen = {} if seen is None else seen
    if model in seen:
        yield f"{path}…", f"As `{seen[model]}…`.", ""
        return
    seen[model] = path
    if "column" in model.short_keys:
        yield f"{path}column", "The column; for several write `columns`.", ""
    for name, info in model.model_fields.items():
        alias = info.validation_alias
        key = f"{path}{alias if isinstance(alias, str) else name}"
        is_duration = any(getattr(one, "func", None) is parse_duration for one in info.metadata)
        yield key, info.description or "", _default(info.default, "s" if is_duration else "")
        for inner, between in _blocks(info.annotation):
            yield from settings(inner, f"{key}{between}", seen)


def _blocks(annotation: Any, between: str = ".") -> Iterator[tuple[type[Settings], str]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation, between
        return
    origin = getattr(annotation, "__origin__", None)
    arguments = get_args(annotation)
    if origin is not None and getattr(origin, "__name__", "") == "Mapping":
        between, arguments = ".NAME.", arguments[1:]
    elif origin is tuple:
        between = "[]."
    for argument in arguments:
        yield from _blocks(argument, between)


def _default(value: object, unit: str) -> str:
    if value is None or isinstance(value, Settings) or value == () or callable(value) or "Undefined" in repr(value):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}{unit}`" if isinstance(value, float) else f"`{value}`"


def key_table() -> str:
    """Return the table of all keys of a config."""
    lines = ["| key | what it is for | default |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| `{key}` | {_cell(what)} | {default} |" for key, what, default in settings())])


def config_page(text: str) -> str:
    """Return config.md with its table written anew."""
    return MARK.sub(lambda found: f"{found[1]}{key_table()}\n{found[2]}", text)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    (HERE / "commands.md").write_text(commands_page(), encoding="utf-8")
    page = HERE / "config.md"
    page.write_text(config_page(page.read_text(encoding="utf-8")), encoding="utf-8")
