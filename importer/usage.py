"""What a command line that can't be taken is told: where, what was found, what would be right, and which help says more.

In the words of everything else, not in those of the library that reads it. Nothing heavy is imported here.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

_Words = TypeVar("_Words", bound=StrEnum)

#: How lists are called that people name where a command belongs.
_LISTS = frozenset({".csv", ".tsv", ".txt", ".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".parquet", ".gz", ".zip"})


class WrongUsage(typer.BadParameter):
    """What the command line says can't be taken; told by its message alone. Exit status 2."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Tell it on stderr."""
        (file or sys.stderr).write(f"{self.message}\n")


# Values of options.


def whole(option: str, what: str, *, low: int, high: int | None = None, advice: str = "") -> Callable[[object], int]:
    """Return what reads a whole number; `what` it should be, such as "number of leads", and `advice` are for people."""

    def read(value: object) -> int:
        text = str(value).strip()
        if re.fullmatch(r"[0-9]{1,18}", text) and low <= int(text) <= (int(text) if high is None else high):
            return int(text)
        right = f"from {low}" if high is None else f"from {low} to {high}"
        raise WrongUsage(
            f"{option}: {text!r} is no {what}. Right is a whole number {right}. {advice or 'Write it so, or leave it out.'}"
        )

    return read


def number(option: str, what: str, *, high: float | None = None, example: str) -> Callable[[object], float]:
    """Return what reads a number from 0 on; `what` it should be and an `example` are for people."""

    def read(value: object) -> float:
        text = str(value).strip()
        if re.fullmatch(r"[0-9]{0,9}\.?[0-9]{0,9}(?<=[0-9])", text) and (high is None or float(text) <= high):
            return float(text)
        right = "from 0 on" if high is None else f"from 0 to {high:g}"
        raise WrongUsage(
            f"{option}: {text!r} is no {what}. Right is a number {right}, such as {example}. Write it so, or leave it out."
        )

    return read


def one_of(option: str, what: str, words: type[_Words]) -> Callable[[object], _Words]:
    """Return what reads one of a few words, in any case; `what` it should be is for people."""

    def read(value: object) -> _Words:
        text, known = str(value).strip(), [word.value for word in words]
        if text.lower() in known:
            return words(text.lower())
        right = f"{', '.join(known[:-1])} or {known[-1]}"
        raise WrongUsage(f"{option}: {text!r} is no {what}{_near(text.lower(), known)} Right is {right}.")

    return read


def path_of(option: str, what: str) -> Callable[[object], Path]:
    """Return what reads a path; `what` it is of, such as "the ledger", is for people. Nothing is no path, and not `.` either."""
    read = path_text_of(option, what)
    return lambda value: Path(read(value))


def path_text_of(option: str, what: str) -> Callable[[object], str]:
    """Return what reads a path and leaves it as it was written, with a slash at its end."""

    def read(value: object) -> str:
        text = str(value)
        if not isinstance(value, Path) and not text.strip():
            raise WrongUsage(
                f"{option}: {text!r} is no path. Right is that of {what}. Write it, or leave {option} out; "
                "of a variable of the shell see that it is set."
            )
        return text

    return read


def duration(option: str, text: str) -> float:
    """Return seconds; a text that is none is refused as the option's."""
    from importer.config_values import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise WrongUsage(f"{option}: {text!r} can't be read. Right is {error}; a number alone is seconds.") from None


# Commands, options and arguments.


class Command(TyperCommand):
    """A command whose refusals are told in our words."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read options and arguments."""
        with _in_our_words(ctx):
            return super().parse_args(ctx, args)


class Commands(TyperGroup):
    """All commands; a word that is none is told with the nearest that is."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what stands before the command; without a word the help is shown."""
        with _in_our_words(ctx) if args else nullcontext():
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first word names."""
        if args and args[0] not in self.commands:
            raise WrongUsage(_no_command(args[0], list(self.commands)))
        return super().resolve_command(ctx, args)


def _no_command(word: str, commands: Sequence[str]) -> str:
    found = f"lead-importer: there is no command {word!r}"
    if Path(word).suffix.lower() in _LISTS:
        return f"{found}, and a file needs one before it: lead-importer run {word}. See: lead-importer run --help"
    return f"{found}{_near(word.lower(), commands)} Commands: {', '.join(commands)}. See: lead-importer --help"


@contextmanager
def _in_our_words(ctx: Any) -> Iterator[None]:
    """Turn the library's refusals into ours. Which it is shows in what it carries: its classes are not public."""
    try:
        yield
    except WrongUsage:
        raise
    except TyperException as error:
        place = " ".join(["lead-importer", *([ctx.info_name] if ctx.parent is not None else [])])
        raise WrongUsage(f"{place}: {_why(error, ctx)} See: {place} --help") from None


def _why(error: Any, ctx: Any) -> str:
    option = getattr(error, "option_name", None)
    if option is not None and hasattr(error, "possibilities"):
        return _no_option(option, ctx)
    if option is not None:
        return _without_value(option, ctx)
    if hasattr(error, "param_type") and error.param is not None:
        return f"{error.param.metavar} is missing. {error.param.help or ''}".rstrip()
    if isinstance(error, typer.BadParameter):  # a value that none of our readers read
        return f"{error.format_message()}."
    surplus = str(error.message).removeprefix("Got unexpected extra argument(s) ").strip("()")
    wanted = " ".join(one.metavar for one in ctx.command.params if one.param_type_name == "argument")
    return (
        f"{surplus!r} is more than it takes; right is {wanted or 'no word but options'}. Names with spaces need quotes."
    )


def _no_option(option: str, ctx: Any) -> str:
    found = f"there is no option {option}"
    if ctx.parent is None:
        return found + _near(option, _options(ctx.command))
    if option in _options(ctx.parent.command):
        return f"{found}; it stands alone: lead-importer {option}."
    having = [name for name, command in ctx.parent.command.commands.items() if option in _options(command)]
    if having:
        return f"{found}; {_listed(having)} {'has' if len(having) == 1 else 'have'} it."
    return found + _near(option, _options(ctx.command))


def _without_value(option: str, ctx: Any) -> str:
    found = next((one for one in ctx.command.params if option in one.opts), None)
    if found is None or found.is_flag:
        return f"{option} takes no value. Write it alone."
    return f"{option} needs a value behind it: {option} {found.metavar}."


def _options(command: Any) -> Iterator[str]:
    for one in command.params:
        yield from (name for name in (*one.opts, *one.secondary_opts) if name.startswith("-"))
    yield "--help"


def _near(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'check'?", or "." where nothing is near."""
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else "."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
