"""What is forked from the readied process is the command itself: what it says, where it runs, how it ends."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import readied
from conftest import Desk

ITS_OWN = """
import importer, os, sys
print(os.getcwd(), dict(os.environ), sys.argv[1:], repr(sys.stdin.read()), hasattr(importer, "seen"))
print(os.getpid(), file=sys.stderr)
importer.seen = True
sys.exit(7)
"""
KILLED = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
HANGS = "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)"


def run(folder: Path, script: str, *words: str, timeout: float = 60) -> "subprocess.CompletedProcess[str]":
    (folder / "script.py").write_text(script)
    return readied.run(["script.py", *words], cwd=folder, env={"ONE": "1"}, timeout=timeout)


@pytest.mark.parametrize("words", ["check a.csv --campaign 7", "retry a.csv", "history --limit 0", "--version"])
def test_a_command_says_and_ends_as_in_a_new_process(words: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("a.csv", "phone_number\n+12125550100\n12\n")
    command = desk.command(*words.split())
    new = subprocess.run(command, cwd=tmp_path, env=desk.environment(), capture_output=True, text=True, check=False)
    ended = desk.run(*words.split())
    changes = re.compile(r"^Run .*", re.MULTILINE)
    told, told_anew = (changes.sub("", one) for one in (ended.out + ended.err, new.stdout + new.stderr))
    assert (ended.status, told) == (new.returncode, told_anew)


def test_each_has_a_process_a_folder_and_an_environment_of_its_own_and_nothing_to_read(tmp_path: Path) -> None:
    first, second = run(tmp_path, ITS_OWN, "a", "b c"), run(tmp_path, ITS_OWN, "a", "b c")
    assert first.returncode == second.returncode == 7
    assert first.stdout == second.stdout == f"{tmp_path} {{'ONE': '1'}} ['a', 'b c'] '' False\n"
    assert len({first.stderr, second.stderr, f"{os.getpid()}\n"}) == 3


def test_one_that_is_killed_is_told(tmp_path: Path) -> None:
    assert run(tmp_path, KILLED).returncode == -signal.SIGKILL


def test_one_that_takes_too_long_is_told_and_ended(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run(tmp_path, HANGS, timeout=1)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
