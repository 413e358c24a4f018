"""What the service is asked, and what is made of its answers: over real sockets, on both loops."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from raw_server import (
    LONG,
    SHORT,
    RawServer,
    Script,
    Wire,
    answering,
    closed_port,
    hang,
    reply,
    run,
    with_service,
)

from importer.api import LookupFailed, Service
from importer.errors import Stopped
from importer.records import Meaning

pytestmark = pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])


def routes(answer: Callable[[str, dict[str, str]], bytes]) -> Script:
    """Answer by path and query."""

    def script(wire: Wire) -> None:
        while asked := wire.request():
            target = asked.split(b" ")[1].decode()
            path, _, query = target.partition("?")
            wire.send(answer(path, dict(pair.split("=") for pair in query.split("&") if pair)))

    return script


def lead(number: int, phone: str, campaign: int = 7, **more: Any) -> dict[str, Any]:
    return {"id": number, "phone_number": phone, "campaign_id": campaign, "variables": {}, **more}


def found_ids(uvloop: bool, script: Script) -> list[str] | None:
    with RawServer(script) as server:
        found = run(uvloop, lambda: with_service(server.address, lambda api: api.find_leads(7, "12125550100")))
    return None if found is None else [one.lead_id for one in found]


def test_a_look_up_pages_by_number_and_never_goes_where_next_page_url_points(uvloop: bool) -> None:
    with RawServer(answering(reply("[]"))) as elsewhere:

        def answer(path: str, query: dict[str, str]) -> bytes:
            assert path == "/api/user/leads"
            assert (query["campaign_id"], query["phone_number"], query["per_page"]) == ("7", "12125550100", "100")
            page = int(query["page"])
            rows = [lead(page, "+1 (212) 555-0100"), lead(100 + page, "+12125550199")]
            url = f"http://127.0.0.1:{elsewhere.port}/api/user/leads?page={page + 1}"
            return reply(json.dumps({"current_page": page, "data": rows, "last_page": 3, "next_page_url": url}))

        assert found_ids(uvloop, routes(answer)) == ["1", "2", "3"]
    assert elsewhere.accepted == 0


@pytest.mark.parametrize(
    "body",
    [
        [lead(1, "+12125550100"), lead(2, "+12125550100", 8), lead(3, "+121255501001")],
        {"data": [lead(1, "+12125550100")]},
        {"leads": [lead(1, "12125550100")]},
        {"data": {"current_page": 1, "data": [lead(1, "+12125550100")], "last_page": 1}},
        {"data": [lead(1, "+12125550199", secondary_contacts=[lead(9, "+1-212-555-0100")])], "meta": {"last_page": 1}},
        [{**lead(1, "+12125550100"), "campaign_id": None, "campaign": {"id": 7, "name": "Spring"}}, {"id": None}, "?"],
    ],
)
def test_a_look_up_reads_every_shape_and_filters_again(uvloop: bool, body: Any) -> None:
    assert found_ids(uvloop, routes(lambda *_: reply(json.dumps(body)))) == ["1"]


@pytest.mark.parametrize("shape", ["links", "next_page_url", "bare"])
def test_a_list_that_does_not_tell_its_last_page_is_read_to_its_end(uvloop: bool, shape: str) -> None:
    def answer(_: str, query: dict[str, str]) -> bytes:
        page = int(query["page"])
        rows = [lead(page * 1000 + place, "+12125550100" if place == 0 else "+12125550199") for place in range(100)]
        rows = rows if page < 3 else rows[:50]
        more = "http://elsewhere.invalid/" if page < 3 else None
        body = {
            "links": {"data": rows, "links": {"next": more}},
            "next_page_url": {"data": rows, "next_page_url": more},
            "bare": rows,
        }
        return reply(json.dumps(body[shape]))

    assert found_ids(uvloop, routes(answer)) == ["1000", "2000", "3000"]


def test_a_look_up_on_a_server_that_ignores_pages_ends(uvloop: bool) -> None:
    rows = [lead(number, "+12125550100") for number in range(1, 101)]
    assert found_ids(uvloop, routes(lambda *_: reply(json.dumps(rows)))) == [str(number) for number in range(1, 101)]


@pytest.mark.parametrize("status", ["404 Not Found", "405 No", "501 No", "403 No"])
def test_a_server_without_look_up_or_campaigns_is_told_apart(uvloop: bool, status: str) -> None:
    with RawServer(answering(reply('{"message": "no"}', status))) as server:
        assert run(uvloop, lambda: with_service(server.address, lambda api: api.find_leads(7, "12125550100"))) is None
        assert run(uvloop, lambda: with_service(server.address, lambda api: api.campaigns())) is None
        assert run(uvloop, lambda: with_service(server.address, lambda api: api.me())) is None


def test_a_page_of_html_is_no_list_and_says_nothing_of_a_lead(uvloop: bool) -> None:
    with RawServer(answering(reply("<h1>Welcome</h1>", kind="text/html"))) as server:
        with pytest.raises(LookupFailed):
            run(uvloop, lambda: with_service(server.address, lambda api: api.find_leads(7, "12125550100")))
        assert run(uvloop, lambda: with_service(server.address, lambda api: api.offers_lookup(7))) is None
        assert run(uvloop, lambda: with_service(server.address, lambda api: api.campaigns())) is None


def failing_on_the_second_page(status: str) -> Script:
    first = reply(json.dumps({"data": [lead(1, "+1")], "last_page": 2}))
    return routes(lambda _, query: first if query["page"] == "1" else reply("{}", status))


@pytest.mark.parametrize(
    ("script", "meaning", "wait"),
    [
        (answering(reply("{}", "429 Slow", extra="Retry-After: 7\r\n")), Meaning.LATER, 7.0),
        (answering(reply("{}", "500 Oops")), Meaning.AMBIGUOUS, None),
        (hang, Meaning.AMBIGUOUS, None),
        (failing_on_the_second_page("500 Oops"), Meaning.AMBIGUOUS, None),
        (failing_on_the_second_page("404 Gone"), Meaning.AMBIGUOUS, None),
    ],
    ids=["429", "500", "hang", "500 on the second page", "404 on the second page"],
)
def test_a_look_up_that_fails_is_never_read_as_not_there(
    uvloop: bool, script: Script, meaning: Meaning, wait: float | None
) -> None:
    patience = SHORT if script is hang else LONG
    with RawServer(script) as server, pytest.raises(LookupFailed) as raised:
        run(
            uvloop,
            lambda: with_service(server.address, lambda api: api.find_leads(7, "12125550100"), patience=patience),
        )
    assert (raised.value.verdict.meaning, raised.value.verdict.retry_after) == (meaning, wait)


@pytest.mark.parametrize(
    ("more", "pages"), [({"last_page": 10**9}, 7), ({"next_page_url": "/user/leads?page=2"}, 5)], ids=["told", "untold"]
)
def test_a_list_without_end_is_never_read_as_not_there(
    uvloop: bool, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], pages: int
) -> None:
    monkeypatch.setattr("importer.api._MOST_PAGES", 5)
    monkeypatch.setattr("importer.api._MOST_TOLD_PAGES", 7)
    asked: list[int] = []

    def answer(_: str, query: dict[str, str]) -> bytes:
        asked.append(int(query["page"]))
        return reply(json.dumps({"data": [lead(asked[-1], "+1")], **more}))

    with RawServer(routes(answer)) as server, pytest.raises(LookupFailed, match=f"did not end after {pages} pages"):
        run(uvloop, lambda: with_service(server.address, lambda api: api.find_leads(7, "12125550100")))
    assert asked == list(range(1, pages + 1))


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"data": rows}, lambda rows: {"campaigns": rows}])
def test_campaigns_come_bare_or_wrapped(uvloop: bool, wrap: Callable[[Any], Any]) -> None:
    rows = [{"id": 7, "name": "Spring", "status": "active"}, {"id": "8", "name": None}, {"name": "no ID"}]
    with RawServer(answering(reply(json.dumps(wrap(rows))))) as server:
        found = run(uvloop, lambda: with_service(server.address, lambda api: api.campaigns()))
    assert [(one.id, one.name, one.status) for one in found] == [(7, "Spring", "active"), (8, "", None)]


def test_campaigns_are_read_to_the_last_page(uvloop: bool) -> None:
    def answer(_: str, query: dict[str, str]) -> bytes:
        page = int(query.get("page", "1"))
        return reply(json.dumps({"data": [{"id": page, "name": f"C{page}"}], "last_page": 3}))

    with RawServer(routes(answer)) as server:
        found = run(uvloop, lambda: with_service(server.address, lambda api: api.campaigns()))
    assert [one.id for one in found] == [1, 2, 3]


def test_a_refused_key_and_an_unreachable_server_stop_the_first_question(
    uvloop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importer.api._FIRST_BACK_OFF", 0.01)
    with (
        RawServer(answering(reply('{"message": "Unauthenticated."}', "401 No"))) as server,
        pytest.raises(Stopped, match="key"),
    ):
        run(uvloop, lambda: with_service(server.address, lambda api: api.campaigns()))
    with closed_port() as address, pytest.raises(Stopped, match="can't be reached"):
        run(uvloop, lambda: with_service(address, lambda api: api.campaigns()))


def told_while_waiting(uvloop: bool, address: str, timeout: float = SHORT) -> list[str]:
    """Ask for the campaigns, and return what people are told until there is an answer or none."""
    said: list[str] = []

    async def ask(service: Service) -> None:
        service.on_wait = said.append
        with suppress(Stopped):
            await service.campaigns()

    run(uvloop, lambda: with_service(address, ask, patience=timeout))
    return said


def test_a_question_that_can_not_be_sent_is_told(uvloop: bool) -> None:
    said: list[str] = []

    async def ask(service: Service) -> None:
        service.on_unreached = said.append
        with suppress(LookupFailed):
            await service.find_leads(7, "12125550100")

    with closed_port() as address:
        run(uvloop, lambda: with_service(address, ask))
    assert said == ["no connection could be made (connection refused)"]


def test_what_is_waited_for_before_the_first_lead_is_told_once_and_until_when(
    uvloop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importer.api._FIRST_BACK_OFF", 0.01)
    with closed_port() as address:
        (said,) = told_while_waiting(uvloop, address)
    pattern = r"The server can't be reached: no connection .*\. Nothing was done yet; it is tried until (\d\d:\d\d:\d\d) at the latest"
    found = re.match(pattern, said)
    assert found, said
    until = datetime.strptime(found[1], "%H:%M:%S").time()
    now = datetime.now()
    assert until in [(now + timedelta(seconds=seconds)).time().replace(microsecond=0) for seconds in range(6)]
    monkeypatch.setattr("importer.api._LONG", 0.05)
    with RawServer(hang) as server:
        (said,) = told_while_waiting(uvloop, server.address, timeout=0.2)
    assert f"{server.address} has not answered yet. Nothing was done yet; it is tried until" in said
    monkeypatch.setattr("importer.api._LONGEST_WAIT", 0.06)
    slow = reply("{}", "503 Slow", extra="Retry-After: 30\r\n")
    with RawServer(answering(slow, slow, slow, slow)) as server:
        (said,) = told_while_waiting(uvloop, server.address)
    assert "answers 503, to wait" in said
    with RawServer(answering(reply("[]"))) as server:
        assert told_while_waiting(uvloop, server.address) == []


def test_the_first_question_waits_where_the_server_asks_to(uvloop: bool) -> None:
    slow = reply("{}", "429 Slow", extra="Retry-After: 0\r\n")
    with RawServer(answering(slow, slow, reply('[{"id": 7, "name": "Spring"}]'))) as server:
        found = run(uvloop, lambda: with_service(server.address, lambda api: api.campaigns()))
    assert [one.id for one in found] == [7]


def test_whose_key_it_is_comes_bare_or_wrapped(uvloop: bool) -> None:
    for body in (
        {"name": "Ann", "email": "a@example.com", "total_balance": 12.5},
        {"data": {"name": "Ann", "email": "a@example.com", "total_balance": "12.5"}},
    ):
        with RawServer(answering(reply(json.dumps(body)))) as server:
            account = run(uvloop, lambda: with_service(server.address, lambda api: api.me()))
        assert (account.name, account.email, account.balance) == ("Ann", "a@example.com", "12.5")


@pytest.mark.parametrize(
    ("answer", "meaning", "code"),
    [
        (reply('{"message": "Lead deleted"}'), Meaning.CREATED, "deleted"),
        (reply("", "204 No Content"), Meaning.CREATED, "deleted"),
        (reply('{"message": "Not found"}', "404 No"), Meaning.REJECTED, "gone"),
        (reply('{"message": "Not yours"}', "403 No"), Meaning.REJECTED, "http_403"),
        (reply('{"success": false, "error": "busy", "error_code": "busy"}'), Meaning.REJECTED, "busy"),
        (reply('{"message": "in a call"}', "409 No"), Meaning.REJECTED, "http_409"),
        (reply("<h1>?</h1>", kind="text/html"), Meaning.AMBIGUOUS, "not_json"),
        (reply("<h1>?</h1>", "404 No", kind="text/html"), Meaning.REJECTED, "http_404"),
        (reply('{"message": "Unauthenticated."}', "401 No"), Meaning.STOP, "http_401"),
    ],
)
def test_a_delete_is_judged(uvloop: bool, answer: bytes, meaning: Meaning, code: str) -> None:
    with RawServer(answering(answer)) as server:
        verdict = run(uvloop, lambda: with_service(server.address, lambda api: api.delete_lead("5 5/../6")))
    assert (verdict.meaning, verdict.code) == (meaning, code)
    assert server.requests[0].startswith(b"DELETE /api/user/leads/5%205%2F..%2F6 ")


def test_every_answer_to_a_question_tells_of_the_limit(uvloop: bool) -> None:
    heard: list[Any] = []

    async def do(api: Service) -> None:
        api.on_limits = lambda status, limits, wait, seconds: heard.append(
            (status, limits.remaining, wait, seconds < 1)
        )
        with pytest.raises(LookupFailed):
            await api.find_leads(7, "12125550100")
        await api.delete_lead("5")

    with RawServer(
        answering(
            reply("{}", "429 Slow", extra="Retry-After: 7\r\nX-RateLimit-Remaining: 0\r\n"),
            reply("{}", extra="X-RateLimit-Remaining: 9\r\n"),
        )
    ) as server:
        run(uvloop, lambda: with_service(server.address, do))
    assert heard == [(429, 0, 7.0, True), (200, 9, None, True)]
