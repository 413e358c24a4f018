"""What a server can do is told by its answers, and remembered; a key that is refused later ends a settling."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from conftest import Answers, Desk
from past_runs import CONFIG, desk_with

from importer.ledger import Ledger


def remembered(desk: Desk, url: str) -> dict[str, Any]:
    with Ledger(next(desk.folder.rglob("ledger.sqlite3")), create=False) as ledger:
        return ledger.facts(url)


def test_a_server_in_trouble_unsays_nothing(tmp_path: Path, answering: Callable[[Answers], str]) -> None:
    answers: Answers = {
        ("GET", "me"): (500, "<html>"),
        ("GET", "campaigns"): (200, json.dumps([{"id": 9, "name": "Old", "status": "stopped"}])),
        ("GET", "leads"): (200, "[]"),
        ("DELETE", "leads/0"): (404, '{"message": "Lead not found"}'),
    }
    url = answering(answers)
    desk = Desk(tmp_path, url)
    told = desk.run("verify", "--campaign", "9", "--base-url", url)
    assert told.status == 0, told.err
    for words in (
        "Key: accepted\n",
        "It is stopped, so nobody is called yet",
        "Look-up of leads: yes\n",
        "is looked up",
    ):
        assert words in told.out
    answers["GET", "leads"] = answers["DELETE", "leads/0"] = (500, "<html>")
    told = desk.run("verify", "--base-url", url)
    assert told.status == 0, told.err
    for words in ("Look-up of leads: yes (as it was told earlier)", "Delete (for undo): yes (as", "is looked up"):
        assert words in told.out
    facts = remembered(desk, url)
    assert {facts[name] for name in ("lookup", "filters", "delete", "campaigns")} == {True}
    answers["GET", "leads"] = (404, '{"message": "Not found"}')  # taken away: then nothing is told of how it looks up
    gone = desk.run("verify", "--base-url", url).out
    assert ("Look-up of leads: no\n" in gone, "Look-up by number" in gone) == (True, False)
    answers["GET", "me"] = (302, "")
    assert desk.run("verify", "--base-url", url).status == 3


def test_a_key_that_is_refused_ends_a_settling_without_a_traceback(
    tmp_path: Path, answering: Callable[[Answers], str]
) -> None:
    answers: Answers = {("POST", "lead"): (500, "<html>")}
    desk = desk_with(tmp_path, SimpleNamespace(url=answering(answers)), 2, config=CONFIG + "allow_duplicate: true\n")
    assert desk.run("run", "a.csv", "-c", "c.yaml", "--rate", "500/s").status == 5
    answers["GET", "leads"] = (401, '{"message": "Unauthenticated."}')
    ended = desk.run("settle", "last")
    assert ended.status == 3, ended.err
    assert "refuses the key: Unauthenticated. Check the key." in ended.err
    assert "Traceback" not in ended.err
