"""The lock that lets one sender at a time: who holds it is known, whatever their process is called."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from importer.errors import Refused
from importer.machine import api_key, going_on, sole_sender

HOLD = """\
import sys
from importer.machine import sole_sender
with sole_sender("http://here", "key", run_id="r1"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "lead-importer" / "locks"


def test_a_run_goes_on_though_its_process_has_our_number_as_in_a_container_or_its_lock_lies_elsewhere(
    locks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        (told,) = locks.glob("*.json")
        told.write_text(json.dumps(json.loads(told.read_text()) | {"pid": os.getpid()}))
        assert going_on({"r1": None, "r2": None}) == {"r1"}
        monkeypatch.setenv("XDG_STATE_HOME", str(locks / "elsewhere"))
        assert going_on({"r1": None}) == set()
        assert going_on({"r1": str(locks), "r2": str(locks)}) == {"r1"}  # as the ledger has it
        other.stdin.close()
    with sole_sender("http://here", "key", run_id="r1"):
        assert going_on({"r1": None}) == set()  # it is this process itself


def test_a_lock_of_which_nothing_can_be_told_is_refused_and_free_again(locks: Path) -> None:
    with sole_sender("http://here", "key", run_id="r1"):
        (told,) = locks.glob("*.json")
    told.unlink()
    told.mkdir()  # as unwritable as on a full disk
    with pytest.raises(Refused, match="XDG_STATE_HOME"), sole_sender("http://here", "key", run_id="r2"):
        pass
    told.rmdir()
    with sole_sender("http://here", "key", run_id="r3"):
        assert json.loads(told.read_text())["run"] == "r3"


def test_a_key_file_may_be_written_by_notepad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_bytes(b"\xef\xbb\xbf17|k\r\n")
    monkeypatch.setenv("THE_FILE", str(tmp_path / "key"))
    assert api_key("NO_SUCH_KEY", "THE_FILE", say=print) == "17|k"


@pytest.mark.skipif(os.name != "posix", reason="files have no such modes")
@pytest.mark.parametrize(
    ("mode", "is_told"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True), (0o620, False)]
)
def test_a_key_file_that_others_may_read_is_told_and_taken(
    mode: int, is_told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "my key"
    file.write_text("17|k")
    file.chmod(mode)
    monkeypatch.setenv("THE_FILE", str(file))
    told: list[str] = []
    assert api_key("NO_SUCH_KEY", "THE_FILE", say=told.append) == "17|k"
    assert [f"chmod 600 '{file}'" in line for line in told] == [True] * is_told
    monkeypatch.setattr("os.geteuid", lambda: file.stat().st_uid + 1)
    assert api_key("NO_SUCH_KEY", "THE_FILE", say=told.append) == "17|k"
    assert len(told) == is_told  # it is another's, as are those that a system hands to its services
