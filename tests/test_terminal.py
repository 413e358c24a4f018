"""A person at a real terminal: what is asked there, and which keys are pressed instead of an answer."""

import os
import pty
import select
import signal
import subprocess

from conftest import Desk, memory
from past_runs import desk_with

from importer.sandbox import Sandbox

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
    status, lines = _pressed(desk, CTRL_C, *command)
    assert (status, lines[-2:]) == (130, [question, "Interrupted at the question: nothing was done."])
    status, lines = _pressed(desk, CTRL_D, *command)
    assert (status, lines[-2]) == (3, question)
    assert memory(sandbox)["posts"] == 0
    history = desk.run("history").out
    assert "a.csv: stopped by Ctrl-C" in history
    assert "cut off" not in history
