"""Undo with several deletes in flight: how many, what deaths and refusals in the middle leave, and the pace of all."""

import asyncio
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Desk, memory
from past_runs import CONFIG, change, desk_with, run

from importer import cli_past
from importer.sandbox import Sandbox
from importer.sandbox_api import App
from importer.sandbox_faults import json_reply

#: Longer than the command takes to ask for as many as may be in flight, where nothing but that holds it back.
_LONG = 5.0


class Overlap:
    """Counts deletes that the server has at once; each is held until `until` are there, or for long."""

    def __init__(self, until: int) -> None:
        self.most = self.now = 0
        self._until = until
        self._met = asyncio.Event()

    async def meet(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        if self.most >= self._until:
            self._met.set()
        try:
            await asyncio.wait_for(self._met.wait(), _LONG)
        finally:
            self.now -= 1


@pytest.fixture
def overlap(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Overlap]:
    def watch(until: int) -> Overlap:
        watched = Overlap(until)
        asked = App.__call__

        async def call(self: App, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
            if scope["method"] == "DELETE":
                await watched.meet()
            await asked(self, scope, receive, send)

        monkeypatch.setattr(App, "__call__", call)
        return watched

    return watch


@pytest.mark.parametrize(("told", "at_once"), [("", 8), ("\n  concurrency: 3", 3)])
def test_as_many_deletes_are_in_flight_as_the_config_says_else_eight(
    told: str, at_once: int, tmp_path: Path, serve: Callable[..., Sandbox], overlap: Callable[[int], Overlap]
) -> None:
    config = CONFIG.replace("delivery: {settle_window: 1s, timeout: 1s}", "delivery:\n  timeout: 10s" + told)
    desk = desk_with(tmp_path, serve(), 20, config=config)
    run(desk)
    watched = overlap(at_once)
    ended = desk.run("undo", "last", "-c", "c.yaml", "--rate", "500/s")
    assert (ended.status, ended.out) == (0, "20 leads deleted, 0 kept.\n"), ended.err
    assert watched.most == at_once
    assert "At 500/s that takes 1 s or more.\n" in ended.err


def test_every_ten_seconds_it_is_told_how_many_are_left_and_how_long_they_take(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(cli_past.time, "monotonic", lambda: now)
    undone = cli_past._Undone()
    undone.count(200)
    for number in range(50):
        now += 0.25
        undone.hear(str(number), None if number else "its status is completed")
    assert capsys.readouterr().err == "40 leads deleted so far, 1 kept; 159 to go, about 40 s.\n"


# Deaths and refusals in the middle.

PATCHED = """\
import os, signal
from importer import __main__, api
from importer.ledger import Ledger
from importer.records import Meaning, Verdict

asked, count = api.Service.delete_lead, 0

async def delete_lead(self, lead_id):
    global count
    count += 1
    number = count
    {before}
    verdict = await asked(self, lead_id)
    {after}
    return verdict

api.Service.delete_lead = delete_lead
__main__.main()
"""


def patched(desk: Desk, *words: str, before: str = "pass", after: str = "pass") -> "subprocess.CompletedProcess[str]":
    """Undo with a line of code before each request, whose `number` is known, and one after its answer."""
    desk.write("patched.py", PATCHED.format(before=before, after=after))
    command = desk.command("undo", "last", "-c", "c.yaml", "--rate", "500/s", *words)
    command[1:3] = ["patched.py"]
    return subprocess.run(command, cwd=desk.folder, env=desk.environment(), capture_output=True, text=True, timeout=60)


def states(desk: Desk) -> dict[str, str]:
    with sqlite3.connect(next(desk.folder.rglob("ledger.sqlite3"))) as ledger:
        return dict(ledger.execute("SELECT lead_id, state FROM leads WHERE lead_id IS NOT NULL"))


def numbers_of_ids(box: Sandbox) -> dict[str, str]:
    return {str(lead["id"]): lead["phone_number"] for lead in memory(box)["leads"]}


DEATH = "os.kill(os.getpid(), signal.{})"


@pytest.mark.parametrize(
    ("signal_name", "point"), [("SIGKILL", "before"), ("SIGKILL", "after"), ("SIGTERM", "before"), ("SIGINT", "after")]
)
def test_an_undo_that_dies_with_several_in_flight_goes_on_to_the_same_end(
    signal_name: str, point: str, tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve(latency=0.05)
    desk = desk_with(tmp_path, box, 30)
    run(desk)
    there = numbers_of_ids(box)
    first, *_, last = sorted(there)
    change(box, first, status="processing")
    ended = patched(desk, **{point: f"if number == 14: {DEATH.format(signal_name)}"})
    assert ended.returncode != 0
    time.sleep(0.5)  # what is in flight arrives
    begun = [lead_id for lead_id, state in states(desk).items() if state == "deleting"]
    assert len(begun) > 1
    left = set(numbers_of_ids(box))
    # What the ledger takes for deleted is gone; what is gone is deleted in the ledger, or begun.
    assert {lead_id for lead_id, state in states(desk).items() if state == "deleted"} == (there.keys() - left) - set(
        begun
    )
    touched = {first, last} | {min(left & set(begun), default=first)}
    for lead_id in touched:
        change(box, lead_id, status="completed")
    again = desk.run("undo", "last", "-c", "c.yaml")
    assert again.status == 1, again.err
    assert set(numbers_of_ids(box)) == touched
    assert {lead_id for lead_id, state in states(desk).items() if state == "created"} == touched
    assert set(states(desk).values()) == {"created", "deleted"}
    assert sorted(map(str, memory(box)["deleted"])) == sorted(there.keys() - touched)


def test_a_refused_key_ends_all_when_those_in_flight_have_their_answers(
    tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve(latency=0.05)
    desk = desk_with(tmp_path, box, 30)
    run(desk)
    refused = 'if number == 9: return Verdict(Meaning.STOP, None, "the server refuses the key.")'
    ended = patched(desk, before=refused)
    assert (ended.returncode, ended.stderr.count("the server refuses the key. Run undo again to go on.")) == (3, 1)
    found = Counter(states(desk).values())
    assert found["deleting"] == 1
    assert 8 <= found["deleted"] < 8 + 8
    assert f"{found['deleted']} leads deleted, 0 kept." in ended.stdout
    assert len(memory(box)["deleted"]) == found["deleted"]
    again = desk.run("undo", "last", "-c", "c.yaml")
    assert again.status == 0, again.err
    assert memory(box)["leads"] == []


def test_a_server_that_fails_on_stops_and_what_may_be_gone_is_never_taken_for_kept(
    tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve()
    desk = desk_with(tmp_path, box, 20)
    run(desk)
    failing = (
        "verdict = Verdict(Meaning.AMBIGUOUS, 'timeout', 'no whole answer came in time') if number > 5 else verdict"
    )
    quick = "import importer.undo; importer.undo._TRIES = 2"
    ended = patched(desk, before=quick, after=failing)
    assert (ended.returncode, "can't be deleted now: no whole answer" in ended.stderr) == (3, True), ended.stderr
    found = Counter(states(desk).values())
    assert (found["deleted"], found["deleting"]) == (5, 8)  # each worker has one, and no other lead was begun
    assert desk.run("undo", "last", "-c", "c.yaml").status == 0
    assert memory(box)["leads"] == []


def test_one_refusal_for_the_limit_slows_all_deletes(tmp_path: Path, serve: Callable[..., Sandbox]) -> None:
    box = serve(per_second=20, headers=False, latency=0.02)
    desk = desk_with(tmp_path, box, 50)
    run(desk, "--rate", "19/s")
    before = memory(box)["answers"].get("429", 0)
    ended = desk.run("undo", "last", "-c", "c.yaml")
    assert (ended.status, ended.out) == (0, "50 leads deleted, 0 kept.\n"), ended.err
    assert 1 <= memory(box)["answers"].get("429", 0) - before <= 8


# What was seen long ago.


def test_what_was_seen_long_ago_is_looked_at_again_and_kept_where_somebody_has_touched_it(
    tmp_path: Path, serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, refused = App._found, []

    def busy_at_first(self: App, request: Any) -> Any:
        if b"phone_number" in request.query and not refused:
            refused.append(request)
            return json_reply(503, {"message": "Busy"})
        return found(self, request)

    monkeypatch.setattr(App, "_found", busy_at_first)
    box = serve(latency=0.02)
    desk = desk_with(tmp_path, box, 20)
    run(desk)
    last = max(numbers_of_ids(box))
    url = f"{box.url.removesuffix('/api')}/sandbox/lead/{last}"
    touch = (
        "import importer.undo; importer.undo._FRESH = 0.0\n"
        "    import urllib.request\n"
        f"    if number == 1: urllib.request.urlopen(urllib.request.Request({url!r}, b'{{\"status\": \"processing\"}}', method='POST'))"
    )
    ended = patched(desk, before=touch)
    assert ended.returncode == 1, ended.stderr
    assert f"kept lead {last}: its status is processing" in ended.stdout
    assert list(numbers_of_ids(box)) == [last]
    assert states(desk)[last] == "created"
    assert refused
