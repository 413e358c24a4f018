"""Where commands talk: a person at a real terminal, with keys for answers; a full disk; a reader that has gone."""

import os
import pty
import select
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import Desk, memory
from past_runs import desk_with

from importer.cli import app
from importer.options import Includable
from importer.sandbox import Sandbox
from importer.usage import duration, one_of

CTRL_C, CTRL_D = "Ctrl-C", "\x04"


def _pressed(desk: Desk, key: str, *words: str, at: str = "[y/N] ") -> tuple[int, list[str]]:
    """Press a key where a command shows a text; return its exit status and the lines that were seen."""
    ours, theirs = pty.openpty()
    command, environment = desk.command(*words), desk.environment()
    with subprocess.Popen(command, cwd=desk.folder, env=environment, stdin=theirs, stderr=theirs, stdout=theirs) as it:
        os.close(theirs)
        seen = _until(ours, at.encode())
        if key == CTRL_C:
            it.send_signal(signal.SIGINT)  # what the terminal makes of it
        else:
            os.write(ours, key.encode())
        seen += _until(ours, None)
        it.kill()
    os.close(ours)
    return it.returncode, seen.decode().splitlines()


def _until(terminal: int, text: bytes | None) -> bytes:
    """Read what is shown until a text stands in it, or, where it is None, to the end; half a minute at most."""
    seen = b""
    while (text is None or text not in seen) and select.select([terminal], [], [], 30)[0]:
        try:
            seen += os.read(terminal, 65536)
        except OSError:  # the other side is closed
            break
    return seen


def test_a_sandbox_at_a_terminal_ends_on_a_line_of_its_own(desk: Desk) -> None:
    status, lines = _pressed(desk, CTRL_C, "sandbox", at="/sandbox/memory")
    assert (status, lines[-1]) == (0, "The sandbox has ended, and its leads are gone.")


def test_ctrl_c_and_ctrl_d_at_the_question_end_the_command_at_once_and_nothing_is_done(
    desk: Desk, sandbox: Sandbox
) -> None:
    desk = desk_with(desk.folder, sandbox)
    command = ("run", "a.csv", "-c", "c.yaml", "--rate", "500/s")
    question = "Send 6 leads? Each may be called within minutes. [y/N] "
    first = 'The first, as it goes out (row 2 of a.csv): campaign 7; …00; customer_name = "Ada 0"; with 1 contact, the first: …90, customer_name = "Abe".'
    status, lines = _pressed(desk, CTRL_C, *command)
    assert lines[-3] == first
    assert (status, lines[-2:]) == (130, [question, "Interrupted at the question: nothing was done."])
    status, lines = _pressed(desk, CTRL_D, *command)
    assert (status, lines[-2]) == (3, question)
    assert memory(sandbox)["posts"] == 0
    assert first not in desk.run("check", "a.csv", "-c", "c.yaml").err  # what no person reads tells of nobody
    history = desk.run("history").out
    assert "a.csv: stopped by Ctrl-C" in history
    assert "cut off" not in history


# Where nobody can be told.

FULL = Path("/dev/full")
on_a_full_disk = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


@on_a_full_disk
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["history", "schema", "--version", "check --help", "init a.csv"])
def test_what_can_not_be_written_is_told_in_a_line_with_status_3(desk: Desk, words: str, unbuffered: str) -> None:
    desk.write("a.csv", "Phone,Name\n+12125550100,Ada\n")
    with FULL.open("w") as full:
        done = subprocess.run(
            desk.command(*words.split()),
            cwd=desk.folder,
            env=desk.environment(PYTHONUNBUFFERED=unbuffered),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 3, done.stderr
    assert done.stderr.splitlines()[-1].startswith("standard output: it can't be written (No space left on device)")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@on_a_full_disk
def test_a_run_that_can_tell_nobody_does_its_work(desk: Desk, sandbox: Sandbox) -> None:
    desk = desk_with(desk.folder, sandbox)
    words = desk.command("run", "a.csv", "-c", "c.yaml", "--rate", "500/s", "--yes")
    with FULL.open("w") as full:
        done = subprocess.run(words, cwd=desk.folder, env=desk.environment(), stdout=subprocess.PIPE, stderr=full)
    assert (done.returncode, done.stdout.split()) == (0, [b"a.results.csv"])
    assert {row["import_status"] for row in desk.rows("a.results.csv")} == {"created"}
    with FULL.open("w") as full:
        done = subprocess.run(words, cwd=desk.folder, env=desk.environment(), stdout=full, stderr=full)
    assert done.returncode == 0, "its work is done, and the result says so"
    assert {row["import_status"] for row in desk.rows("a.results.csv")} == {"already_imported"}


@pytest.mark.parametrize("words", ["history", "schema", "--help"])
def test_a_reader_that_has_gone_has_had_enough(desk: Desk, words: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        desk.command(words), cwd=desk.folder, env=desk.environment(), stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


# Command lines that can't be taken.


def refused(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line with which a command line is refused."""
    with pytest.raises(SystemExit) as ended:
        app(words.split())
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (2, "")
    (line,) = told.err.splitlines()
    return line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run a.csv --campaign 7-9", "--campaign: '7-9' is no campaign's number. Right is a whole number from 1. For several"),
        ("check a.csv --campaign 0", "--campaign: '0' is no campaign's number."),
        ("run a.csv --limit -1", "--limit: '-1' is no number of leads. Right is a whole number from 0."),
        ("run a.csv --concurrency 257", "--concurrency: '257' is no number of leads in flight. Right is a whole number from 1 to 256."),
        ("history --limit 1e3", "--limit: '1e3' is no number of runs. Right is a whole number from 1."),
        ("sandbox --port http", "--port: 'http' is no port. Right is a whole number from 0 to 65535."),
        ("sandbox --faults 7%", "--faults: '7%' is no share. Right is a number from 0 to 1, such as 0.07."),
        ("sandbox --latency -1", "--latency: '-1' is no time in seconds. Right is a number from 0 on, such as 0.2."),
        ("run a.csv --log-format xml", "--log-format: 'xml' is no format of a log. Right is text or json."),
        ("run a.csv --include unknwn", "--include: 'unknwn' is no status that can be included; did you mean unknown? Right is unknown, duplicate,"),
        ("run a.csv --include created", "--include: 'created' is no status that can be included. Right is"),
        ("run a.csv --ledger=", "--ledger: '' is no path. Right is that of the ledger's file. Write it, or leave --ledger out;"),
        ("results last --out=", "--out: '' is no path. Right is that of the result, or of a folder for several."),
        ("check a.csv --config=", "--config: '' is no path."),
        ("init a.csv --out=", "--out: '' is no path. Right is that of the config to write."),
        ("verify --receipt=", "--receipt: '' is no path."),
        ("settle last --wait soon", "--wait: 'soon' can't be read. Right is a duration, such as 30s, 2m, 1h or 500ms; a number alone"),
    ],
)  # fmt: skip
def test_a_value_that_an_option_can_not_take_is_told_in_our_words(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(words, capsys).startswith(said)


@pytest.mark.parametrize(
    ("words", "said", "help_of"),
    [
        ("run a.csv --campain 7", "lead-importer run: there is no option --campain; did you mean --campaign?", "run "),
        ("undo last --sandbox", "lead-importer undo: there is no option --sandbox; run, check and retry have it.", "undo "),
        ("history --version", "lead-importer history: there is no option --version; it stands alone: lead-importer --version.", "history "),
        ("check a.csv -x", "lead-importer check: there is no option -x.", "check "),
        ("--versio", "lead-importer: there is no option --versio; did you mean --version?", ""),
        ("chek a.csv", "lead-importer: there is no command 'chek'; did you mean check? Commands: run, check, retry,", ""),
        ("leads.csv", "lead-importer: there is no command 'leads.csv', and a file needs one before it: lead-importer run leads.csv.", "run "),
        ("run", "lead-importer run: INPUT is missing. CSV or Excel files, or patterns", "run "),
        ("settle -c c.yaml", "lead-importer settle: RUN is missing. A run's ID, its beginning, or last;", "settle "),
        ("init my list.csv", "lead-importer init: 'list.csv' is more than it takes; right is INPUT. Names with spaces need quotes.", "init "),
        ("run a.csv --campaign", "lead-importer run: --campaign needs a value behind it: --campaign ID.", "run "),
        ("run a.csv --yes=no", "lead-importer run: --yes takes no value. Write it alone.", "run "),
    ],
)  # fmt: skip
def test_a_command_line_that_can_not_be_taken_is_told_in_our_words_with_the_help_that_says_more(
    words: str, said: str, help_of: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(words, capsys)
    assert told.startswith(said)
    assert told.endswith(f" See: lead-importer {help_of}--help")


def test_words_of_options_are_read_in_any_case() -> None:
    assert one_of("--include", "status", Includable)("Unknown") is Includable.UNKNOWN


def test_a_number_alone_is_seconds_and_the_help_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert (duration("--wait", "10"), duration("--wait", "10m")) == (10.0, 600.0)
    with pytest.raises(SystemExit):
        app(["run", "--help"])
    assert "a number alone is seconds" in " ".join(capsys.readouterr().out.split())
