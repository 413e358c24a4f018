"""What the pages in docs say is so: every name in them exists, everything that exists is in them, every command runs."""

import ast
import csv
import importlib.util
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from conftest import KEY, Desk

from importer.cells import mend
from importer.cli import app
from importer.config import Config, StopAfter, load
from importer.errors import ExitStatus
from importer.mapping import map_rows
from importer.read import READERS, read
from importer.records import RESULT_COLUMNS, Source, Status
from importer.sandbox import Sandbox

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
README = (ROOT / "README.md").read_text(encoding="utf-8")
EVERYTHING = PAGES | {"README.md": README}
SOURCES = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "importer").glob("*.py")}


def maker() -> Any:
    spec = importlib.util.spec_from_file_location("docs_make", DOCS / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = maker()
COMMANDS = dict(MAKE.commands())
KEYS = [key for key, _, _ in MAKE.settings()]


def rows(page: str, first: str) -> list[list[str]]:
    """Return the cells of the table whose headers begin with `first`, without backticks."""
    lines = EVERYTHING[page].split(f"| {first} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


# Taken from the code.


def test_the_pages_made_from_the_code_are_up_to_date() -> None:
    again = "Run python docs/make.py."
    assert PAGES["commands.md"] == MAKE.commands_page(), again
    assert PAGES["config.md"] == MAKE.config_page(PAGES["config.md"]), again


def test_every_command_and_option_has_its_place_in_the_page_of_commands() -> None:
    for name, command in COMMANDS.items():
        section = PAGES["commands.md"].split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert all(option in section for option in parameter.opts), (name, parameter.opts)


def test_every_key_of_the_config_is_in_its_page() -> None:
    def named(model: Any) -> Iterator[str]:
        for name, info in model.model_fields.items():
            yield info.validation_alias if isinstance(info.validation_alias, str) else name
            for inner, _ in MAKE._blocks(info.annotation):
                yield from named(inner)

    last = {key.split(".")[-1].removesuffix("[]") for key in KEYS}
    assert set(named(MAKE.Config)) <= last


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        app(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"lead-importer {version('lead-importer')}\n")


# Names that the pages use.


@pytest.mark.parametrize("page", EVERYTHING)
def test_every_option_and_command_that_a_page_names_exists(page: str) -> None:
    options = {option for command in COMMANDS.values() for one in command.params for option in one.opts}
    options |= {"--help", "--version"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", EVERYTHING[page])) <= options
    assert set(re.findall(r"lead-importer ([a-z]+)\b", EVERYTHING[page])) <= COMMANDS.keys()


@pytest.mark.parametrize("page", EVERYTHING)
def test_every_key_that_a_page_names_exists(page: str) -> None:
    tops = {key.split(".")[0] for key in KEYS}
    dotted = re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", EVERYTHING[page])
    assert {key for key in dotted if key.split(".")[0] in tops} <= set(KEYS)


@pytest.mark.parametrize("page", EVERYTHING)
def test_every_page_that_is_linked_exists_and_the_readme_links_all(page: str) -> None:
    folder = ROOT if page == "README.md" else DOCS
    links = re.findall(r"\]\((?!https?:)([^)#]+)", EVERYTHING[page])
    assert all((folder / link).exists() for link in links)
    if page == "README.md":
        assert {f"docs/{name}" for name in PAGES} <= set(links)


def test_columns_statuses_and_exit_statuses_are_those_of_the_code() -> None:
    assert [row[0] for row in rows("results.md", "column")] == list(RESULT_COLUMNS)
    assert [row[0] for row in rows("results.md", "status")] == [status.value for status in Status]
    told = [int(number) for row in rows("nightly.md", "status") for number in row[0].split(",")]
    assert told == [status.value for status in ExitStatus]


def test_what_is_sent_again_is_told_as_the_readme_tells_it() -> None:
    again = {row[0]: row[2] for row in rows("results.md", "status")}
    for status, _, answer in rows("README.md", "status"):
        assert again[status].startswith(answer), status


def test_every_threshold_is_in_the_page_of_the_guarantee() -> None:
    for name in StopAfter.model_fields:
        assert f"`{name}`" in PAGES["guarantee.md"]


def test_the_events_of_the_json_log_have_what_the_page_says() -> None:
    told = {row[0]: set(re.findall(r"`([a-z_]+)`", f"`{row[1]}`")) for row in rows("nightly.md", "event")}
    written: dict[str, set[str]] = {}
    for call in calls(SOURCES["screen"], "_write"):
        event = call.args[0]
        assert isinstance(event, ast.Constant)
        written.setdefault(str(event.value), set()).update(str(keyword.arg) for keyword in call.keywords)
    assert told == written


# Error codes.

#: Functions → the place of the code among their arguments.
GIVERS = {"Verdict": 1, "_Refusal": 0, "_Failure": 2, "_flag": 1, "_invalidate": 2, "_refuse": 3, "_found": 1}
#: Words by which codes begin; what else in the code begins so is a name of something else.
BEGINNINGS = ("phone_", "value_", "cell_", "group_", "lead_", "contact_", "contacts_", "campaign_")
NO_CODES = {
    *("phone_number", "phone_column", "phone_right", "lead_id", "contact_id", "contact_code", "contact_message"),
    *("contact_status", "contact_variables", "campaign_id", "group_by", "value_error", "value_not_text"),
}
#: Given to look-ups and deletes, never to a row.
NOT_OF_ROWS = {"page_missing", "endless_list", "list_not_whole", "deleted", "gone"}


def calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", None)) == name:
            yield node


def words(node: ast.AST) -> set[str]:
    texts = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    return {text for text in texts if re.fullmatch(r"[a-z]+(_[a-z]+)*", text)}


def given(call: ast.Call) -> ast.AST | None:
    """Return the part of a call that is a code."""
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    place = GIVERS.get(name, len(call.args))
    if place < len(call.args):
        return call.args[place] if isinstance(call.args[place], ast.Constant | ast.IfExp) else None
    if name in ("Outcome", "_set", "replace"):
        return next((keyword.value for keyword in call.keywords if keyword.arg == "code"), None)
    return None


@cache
def words_of_the_code() -> set[str]:
    return {word for tree in SOURCES.values() for word in words(tree)}


def codes_in_the_code() -> set[str]:
    calls_of_all = (node for tree in SOURCES.values() for node in ast.walk(tree) if isinstance(node, ast.Call))
    found = {word for call in calls_of_all if (code := given(call)) is not None for word in words(code)}
    return (found | {word for word in words_of_the_code() if word.startswith(BEGINNINGS)}) - NO_CODES - NOT_OF_ROWS


def test_every_error_code_is_told_once_and_every_one_told_is_one() -> None:
    told = re.findall(r"^\| `([a-z_]+)` \|", PAGES["error-codes.md"], re.MULTILINE)
    assert len(told) == len(set(told))
    written = words_of_the_code() | {
        f"lead_{status.value}" for status in (Status.INVALID, Status.SUPPRESSED, Status.FILTERED)
    }
    assert codes_in_the_code() - set(told) == set()
    assert set(told) - written == set()


def test_the_codes_of_the_samples_are_told() -> None:
    samples = (ROOT / "sample_data" / "README.md").read_text(encoding="utf-8")
    for code in re.findall(r"\| `([a-z]+(?:_[a-z]+)+)` \|$", samples, re.MULTILINE):
        assert f"| `{code}` |" in PAGES["error-codes.md"], code


# Examples.


def test_the_config_of_the_page_loads_and_its_short_forms_mean_what_it_says(tmp_path: Path) -> None:
    def loaded(text: str) -> str:
        (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
        return load(tmp_path / "a.yaml").fingerprint()

    block = re.search(r"```yaml\n(.*?)```", PAGES["config.md"], re.DOTALL)
    assert block
    assert loaded(block[1])
    for short, long in (row[:2] for row in rows("config.md", "written")):
        long = long.split("`")[0]
        phone = "" if short.startswith("phone") else "phone: Phone\n"
        inside = not short.startswith(("phone", "suppress"))
        form = f"{phone}variables:\n  {{}}" if inside else f"{phone}{{}}"
        assert loaded(form.replace("{}", short)) == loaded(form.replace("{}", long))


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> Callable[[str], int]:
    """Run a line of a page in this process, on copies of the samples, against a sandbox."""
    for folder in ("sample_data", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "sample_data" / "spring_fair.csv", tmp_path / "leads.csv")
    (tmp_path / "inbox").mkdir()
    shutil.copy(ROOT / "sample_data" / "spring_fair.csv", tmp_path / "inbox" / "monday.csv")
    text = (ROOT / "configs" / "spring_fair.yaml").read_text(encoding="utf-8").replace("../", "")
    (tmp_path / "leads.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / ".state"))
    monkeypatch.setenv("OTONISTARK_API_KEY", KEY)

    def run(line: str) -> int:
        words = shlex.split(line.split("lead-importer ", 1)[1].split(" 2>>")[0].split(" >")[0], comments=True)
        options = {option for one in COMMANDS[words[0]].params for option in one.opts}
        online = "--base-url" in options and "--sandbox" not in words
        hurried = "--rate" in options
        if words[0] == "init" and "-o" not in words:
            (tmp_path / "leads.yaml").unlink()
        with pytest.raises(SystemExit) as ended:
            app([*words, *(["--base-url", sandbox.url] * online), *(["--rate", "200/s"] * hurried)])
        return int(ended.value.code or 0)

    return run


#: The sandbox serves until Ctrl-C; the others need a list in the platform's layout, or more than the samples.
NOT_RUN = re.compile(r"lead-importer (sandbox|run leads\.csv --campaign)")


def lines(page: str) -> list[str]:
    found = re.findall(r"^(?: {4}|\d.*?)?(?:.* )?(lead-importer [a-z]+ .*)$", _indented(EVERYTHING[page]), re.MULTILINE)
    return [line for line in found if "[OPTIONS]" not in line and not NOT_RUN.match(line)]


def _indented(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith(("    ", "lead-importer")))


@pytest.mark.parametrize("page", [page for page in EVERYTHING if lines(page)])
def test_the_commands_of_a_page_run_in_their_order(page: str, shell: Callable[[str], int]) -> None:
    kept = (Path.cwd() / "leads.yaml").read_text(encoding="utf-8")
    for line in lines(page):
        if "retry sample_data/" in line:  # of a rehearsal there is nothing to retry
            assert shell("lead-importer run sample_data/spring_fair.csv -c configs/spring_fair.yaml") == 0
        assert shell(line) in (0, 1), line
        (Path.cwd() / "leads.yaml").write_text(kept, encoding="utf-8")


# Spreadsheets.


def mapped(cell: str, kind: str, folder: Path) -> tuple[str, str]:
    """Return what a cell is sent as, and the code beside it."""
    path = folder / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["Phone", "Cell"], ["+12125550150", cell]])
    variable = {"type": kind} if kind != "phone" else {"type": "text"}
    config = Config.model_validate(
        {
            "phone": {"column": "Cell" if kind == "phone" else "Phone", "region": "US"},
            "campaign_id": 7,
            "variables": {} if kind == "phone" else {"cell": {"column": "Cell"} | variable},
        }
    )
    found = map_rows(mend(read(path, Source()), config), config)
    person = found.people.row(0, named=True)
    sent = person["phone"] if kind == "phone" else json.loads(person["variables"]).get("cell")
    return sent, found.problems["code"].first()


@pytest.mark.parametrize("row", rows("spreadsheets.md", "in the file"))
def test_a_cell_is_restored_as_the_page_says(row: list[str], tmp_path: Path) -> None:
    assert mapped(row[0], row[1], tmp_path) == (row[2], row[3])


@pytest.mark.parametrize("row", rows("spreadsheets.md", "in the file | as | code"))
def test_a_cell_is_refused_as_the_page_says(row: list[str], tmp_path: Path) -> None:
    assert mapped(row[0], row[1], tmp_path)[1] == row[2].split("`")[0]


def test_the_page_names_every_kind_of_file_that_is_read() -> None:
    assert [row[0] for row in rows("spreadsheets.md", "kind")] == list(READERS)


def test_the_readme_shows_what_the_demo_says(tmp_path: Path) -> None:
    """But for the port, the run and how long it took."""
    block = re.search(r"## See it work.*?```\n(.*?)```", README, re.DOTALL)
    assert block is not None
    desk = Desk(tmp_path)
    shutil.copy(ROOT / "sample_data" / "clinics.xlsx", tmp_path)
    words = ("run", "clinics.xlsx", "--config", str(ROOT / "configs" / "clinics.yaml"), "--sandbox", "--yes")
    ended = desk.run(*words)
    said = f"{ended.err}demo/{ended.out}"

    def plain(text: str) -> list[str]:
        text = re.sub(r":\d+/api", ":0/api", text)
        return [re.sub(r"Run sandbox-\S+; time: .*", "Run; time", line) for line in text.splitlines()]

    assert plain(block[1]) == plain(said)
