"""What the package says of itself is so: its story, its arrows, its help, its documents."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import importer

ROOT = Path(__file__).parent.parent
MODULES = {path.stem: path for path in (ROOT / "importer").glob("*.py") if not path.stem.startswith("__")}

#: Which module may import which, beside `records` and `errors`, which everybody may.
MAY_IMPORT = {
    "records": set(),
    "errors": set(),
    "schedule": set(),
    "pace_told": {"schedule"},
    "pace_explained": set(),
    "pace_found": {"pace_explained", "pace_told", "schedule"},
    "pace": {"pace_found", "pace_told", "schedule"},
    "inflight": set(),
    "wording": set(),
    "headers": set(),
    "phone_patterns": set(),
    "emails": set(),
    "unpack": set(),
    "encodings": set(),
    "sheets": {"headers", "number_formats"},
    "sheet_xml": {"headers", "number_formats", "sheets", "unpack"},
    "sheet_records": {"headers", "number_formats", "sheet_xml", "sheets", "unpack"},
    "config_problems": set(),
    "config_values": {"config_problems"},
    "config": {"config_problems", "config_values"},
    "columns": {"config", "config_problems"},
    "platform_layout": {"columns", "config", "config_problems", "config_values"},
    "read_text": {"encodings", "headers"},
    "read_workbook": {"headers", "sheet_records", "sheet_xml", "sheets", "unpack"},
    "read_markup": {"encodings", "number_formats", "sheet_xml", "sheets"},
    "read_parquet": set(),
    "read": {
        "encodings",
        "headers",
        "read_markup",
        "read_parquet",
        "read_text",
        "read_workbook",
        "sheet_records",
        "unpack",
    },
    "phones": {"phone_patterns"},
    "number_formats": set(),
    "wrong_encoding": set(),
    "cells": {"columns", "config", "number_formats", "wrong_encoding"},
    "dates": set(),
    "mapping": {"cells", "columns", "config", "dates", "emails", "phones"},
    "titles": {"cells", "headers", "phones", "read", "sheets"},
    "suppress": {"cells", "phones", "read"},
    "group": {"config", "mapping"},
    "hashes": set(),
    "group_commit": set(),
    "ledger_writes": {"group_commit", "hashes"},
    "ledger_file": {"group_commit", "hashes"},
    "ledger": {"group_commit", "hashes", "ledger_file", "ledger_writes"},
    "machine": set(),
    "clock": set(),
    "answers": set(),
    "address": set(),
    "wire": set(),
    "api": {"address", "answers", "clock", "wire"},
    "gate": {"inflight", "answers", "api", "clock", "pace"},
    "settle": {"answers", "api", "clock"},
    "breakers": set(),
    "deliver": {"answers", "inflight", "api", "breakers", "gate", "hashes", "ledger", "outcomes", "settle"},
    "outcomes": set(),
    "plan": {"group", "hashes", "ledger", "mapping", "outcomes"},
    "first_lead": {"plan"},
    "rehearse": {"address", "config", "first_lead", "ledger", "machine", "outcomes", "plan", "receipt"},
    "estimate": {"pace"},
    "briefing": {"api", "estimate", "pace"},
    "canary": {"answers", "settle"},
    "sandbox_faults": set(),
    "sandbox_memory": set(),
    "sandbox_rules": {"sandbox_faults"},
    "sandbox_api": {"sandbox_faults", "sandbox_memory", "sandbox_rules"},
    "sandbox": {"sandbox_api", "sandbox_faults", "sandbox_memory", "sandbox_rules"},
    "sending": {
        "inflight",
        "address",
        "api",
        "briefing",
        "canary",
        "config",
        "connect",
        "deliver",
        "estimate",
        "gate",
        "hashes",
        "ledger",
        "machine",
        "outcomes",
        "pace",
        "pipeline",
        "plan",
        "receipt",
        "first_lead",
        "rehearse",
        "sandbox",
        "settle",
    },
    "results": {"outcomes", "plan"},
    "looks": set(),
    "write_workbook": {"looks"},
    "write": {"unpack", "write_workbook"},
    "guess": {"cells", "columns", "config_values", "emails", "header_words", "mapping", "phones"},
    "header_words": set(),
    "starter": {
        "cells",
        "columns",
        "config",
        "config_values",
        "guess",
        "mapping",
        "platform_layout",
        "read",
        "starter_text",
        "titles",
    },
    "starter_text": {"config", "guess", "header_words"},
    "screen": {"pipeline"},
    "receipt": {"ledger", "read"},
    "replay": {"hashes", "ledger", "outcomes", "plan"},
    "pipeline": {
        "cells",
        "columns",
        "config",
        "config_values",
        "group",
        "ledger",
        "machine",
        "mapping",
        "plan",
        "platform_layout",
        "read",
        "receipt",
        "rehearse",
        "replay",
        "results",
        "sending",
        "suppress",
        "titles",
        "write",
    },
    "connect": {"address", "api", "config", "config_values", "gate", "hashes", "ledger", "machine", "pace"},
    "past": {"ledger", "machine"},
    "listed": {"answers", "api", "connect"},
    "settle_run": {"api", "connect", "deliver", "ledger", "listed", "machine", "settle"},
    "undo": {"api", "connect", "hashes", "ledger", "listed", "machine", "settle"},
    "verify": {"address", "api", "briefing", "config", "connect", "ledger", "machine", "receipt", "settle"},
    "usage": {"config_values"},
    "options": {"usage"},
    "telling": set(),
    "cli_past": {
        "connect",
        "estimate",
        "ledger",
        "options",
        "past",
        "pipeline",
        "screen",
        "settle_run",
        "undo",
        "usage",
        "verify",
    },
    "cli": {
        "cli_past",
        "config",
        "config_values",
        "options",
        "pipeline",
        "sandbox",
        "screen",
        "starter",
        "starter_text",
        "telling",
        "usage",
    },
}


def imports(path: Path, *, typing_too: bool = False) -> set[str]:
    """Return which of our modules a module imports; what only the type checker sees does not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not typing_too:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                node.body = [ast.Pass()]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "importer":
                found |= {alias.name for alias in node.names}
            elif node.module.startswith("importer."):
                found.add(node.module.split(".")[1])
    return found


@pytest.mark.parametrize("module", MODULES)
def test_arrows_never_point_back(module: str) -> None:
    assert imports(MODULES[module]) <= MAY_IMPORT[module] | {"records", "errors", "wording"}


def test_the_allowed_arrows_make_no_circle() -> None:
    left = {module: set(arrows) for module, arrows in MAY_IMPORT.items()}
    left["sending"] -= {"pipeline"}  # only for the type checker
    left["screen"] -= {"pipeline"}  # only for the type checker
    while left:
        free = {module for module, arrows in left.items() if not arrows & left.keys()}
        assert free, left
        left = {module: arrows for module, arrows in left.items() if module not in free}


def test_the_story_names_every_module() -> None:
    assert importer.__doc__
    told = set(re.findall(r"[a-z_]+", importer.__doc__))
    assert set(MODULES) <= told


@pytest.fixture(scope="module")
def loaded_for_help() -> set[str]:
    """What is loaded when the help has been shown."""
    code = (
        "import json, sys\nfrom importer.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(json.dumps(list(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr))


@pytest.mark.parametrize(
    "heavy", ["polars", "httpx", "aiohttp", "pydantic", "phonenumbers", "fastexcel", "uvicorn", "rich"]
)
def test_help_answers_without_the_heavy_libraries(heavy: str, loaded_for_help: set[str]) -> None:
    assert "importer.cli" in loaded_for_help
    assert heavy not in loaded_for_help


@pytest.mark.parametrize(
    "words", ["check sample_data/clinics.xlsx -c configs/clinics.yaml", "init sample_data/clinics.xlsx"]
)
def test_commands_that_stay_on_this_machine_load_nothing_for_the_network(words: str, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom importer.cli import app\n"
        f"try:\n    app({words.split()!r} + sys.argv[1:])\nexcept SystemExit as end:\n    assert end.code in (0, 1, None)\n"
        "loaded = {'httpx', 'aiohttp', 'starlette', 'uvicorn', 'importer.api'} & set(sys.modules)\n"
        "print(loaded, file=sys.stderr)\nsys.exit(bool(loaded))"
    )
    option = "--out" if words.startswith("check") else "-o"
    out = tmp_path / ("a.xlsx" if words.startswith("check") else "a.yaml")
    done = subprocess.run([sys.executable, "-c", code, option, str(out)], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, out.exists()) == (0, True), done.stderr


@pytest.mark.parametrize("command", ["run", "check", "retry", "init"])
def test_each_help_has_its_exit_status_and_an_example_that_exists(command: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "importer", command, "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "EXIT STATUS" in shown
    example = re.search(r"lead-importer (.*)", shown)
    assert example
    for word in example[1].split():
        if word.startswith(("sample_data/", "configs/")):
            assert (ROOT / word.replace(".results", "")).exists(), word


def test_the_readme_names_every_command_status_and_column() -> None:
    from importer.records import RESULT_COLUMNS, Status

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for word in (*RESULT_COLUMNS, *(f"`{status.value}`" for status in Status)):
        assert word in text
    for command in ("run", "check", "retry", "init", "settle", "undo", "verify", "sandbox", "schema"):
        assert f"lead-importer {command}" in text


def test_the_readmes_config_is_one() -> None:
    from importer.config import load

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert block
    path = ROOT / "configs" / "clinics.yaml"
    assert load(path)
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        file.write(block[1])
        file.flush()
        assert load(Path(file.name)).variables["plan"].default == "basic"


def test_no_address_of_a_package_index_is_in_the_requirements() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "--hash=sha256:" in text
        assert "://" not in text
        assert "index" not in text


def test_the_readme_has_no_placeholder() -> None:
    assert "<!--" not in (ROOT / "README.md").read_text(encoding="utf-8")
