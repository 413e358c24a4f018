"""The sandbox: as strict as the vendor's page, and broken only where it was asked to be."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest
from conftest import Desk

from importer.errors import Refused
from importer.sandbox import CAMPAIGNS, FAULTS, MAGIC, Options, Sandbox

KEY = {"Authorization": "Bearer 1|abc", "Accept": "application/json"}
PHONE = "+4915112345670"

#: A connection for each request: none outlives its sandbox.
HTTP = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), verify=False, timeout=5)


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox() as box:
        yield box


@pytest.fixture(scope="module")
def client(shared: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shared.url, headers=KEY) as client:
        yield client


def asked(phone: str = PHONE, **more: Any) -> dict[str, Any]:
    return {"phone_number": phone, "campaign_id": 7, **more}


def contact(phone: str, **variables: Any) -> dict[str, Any]:
    return {"phone_number": phone, "variables": variables}


def post(box: Sandbox, body: Any = None) -> httpx.Response:
    return HTTP.post(f"{box.url}/user/lead", json=body or asked(), headers=KEY)


def get(box: Sandbox, path: str, **query: Any) -> httpx.Response:
    return HTTP.get(f"{box.url}{path}", params=query, headers=KEY)


def memory(box: Sandbox) -> dict[str, Any]:
    found: dict[str, Any] = HTTP.get(box.url.removesuffix("/api") + "/sandbox/memory").json()
    return found


def change(box: Sandbox, lead_id: int, **what: Any) -> httpx.Response:
    return HTTP.post(f"{box.url.removesuffix('/api')}/sandbox/lead/{lead_id}", json=what)


def errors(response: httpx.Response) -> Mapping[str, Any]:
    assert response.status_code == 422
    found: Mapping[str, Any] = response.json()["errors"]
    return found


def raw_post(box: Sandbox, patience: float = 5.0) -> bytes:
    """Send a create over a bare socket; return all that comes back, until the end or `patience` seconds of nothing."""
    body = orjson.dumps(asked())
    host, port = urlsplit(box.url).hostname, urlsplit(box.url).port
    head = f"POST /api/user/lead HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Length: {len(body)}\r\n\r\n"
    got = b""
    with socket.create_connection((host, port), timeout=patience) as line:
        line.sendall(head.encode() + body)
        try:
            while piece := line.recv(65536):
                got += piece
        except TimeoutError:
            return got + b"<silence>"
        except ConnectionResetError:
            return got + b"<reset>"
    return got + b"<end>"


# What a sound server says.


def test_a_created_lead_comes_back_as_the_vendor_shows_it() -> None:
    with Sandbox() as box:
        people = [contact("+4915112345671", customer_name="Ben"), {"phone_number": "+4915112345672"}]
        body = asked(variables={"customer_name": "Ann", "seats": 3, "vip": True}, secondary_contacts=people)
        answer = post(box, body)
        data = answer.json()["data"]
    assert answer.status_code == 200
    assert answer.json()["message"] == "Lead created successfully"
    assert data["variables"] == {"customer_name": "Ann", "seats": 3, "vip": True}
    assert (data["phone_number"], data["campaign_id"], data["status"]) == (PHONE, 7, "created")
    assert data["campaign"] == {"id": 7, "name": "Spring fair"}
    assert [(one["phone_number"], one["variables"]) for one in data["secondary_contacts"]] == [
        ("+4915112345671", {"customer_name": "Ben"}),
        ("+4915112345672", {}),
    ]
    ids = [data["id"], *(one["id"] for one in data["secondary_contacts"])]
    assert len(set(ids)) == 3
    assert all(type(lead_id) is int for lead_id in ids)
    for one in (data, *data["secondary_contacts"]):
        assert abs(datetime.fromisoformat(one["created_at"]) - datetime.now(UTC)) < timedelta(seconds=5)
        assert one["status"] == "created"
        assert one["updated_at"] == one["created_at"]


def test_every_answer_names_the_instance_and_the_date(shared: Sandbox, client: httpx.Client) -> None:
    root = shared.url.removesuffix("/api")
    for answer in (
        client.get("/user/me"),
        client.get("/nothing"),
        client.post("/user/lead", content=b"{"),
        HTTP.get(f"{root}/sandbox/memory"),
        HTTP.get(f"{root}/elsewhere"),
        HTTP.get(f"{shared.url}/user/me"),
    ):
        assert answer.headers["x-sandbox-instance"] == shared.instance
        assert abs(parsedate_to_datetime(answer.headers["date"]) - datetime.now(UTC)) < timedelta(seconds=5)


def test_two_sandboxes_are_two_instances_on_two_ports(shared: Sandbox) -> None:
    with Sandbox() as other:
        assert other.instance != shared.instance
        assert other.url != shared.url
        assert int(other.instance, 16) >= 0


def test_the_port_is_bound_on_loopback_only_before_the_server_runs() -> None:
    box = Sandbox()
    try:
        assert urlsplit(box.url).hostname == "127.0.0.1"
        with pytest.raises(Refused, match=rf"port {urlsplit(box.url).port} .* Name another"):
            Sandbox(Options(port=urlsplit(box.url).port or 0))
    finally:
        box.stop()


def test_me_and_campaigns_answer(client: httpx.Client) -> None:
    assert client.get("/user/me").json().keys() == {"name", "email", "total_balance"}
    campaigns = client.get("/user/campaigns").json()
    assert {"id": 7, "name": "Spring fair", "status": "active"} in campaigns
    assert {"id": 9, "name": "Old list", "status": "stopped"} in campaigns


def test_leads_can_be_sent_by_many_at_once() -> None:
    options = Options(magic=False)  # counted-up numbers
    with Sandbox(options) as box, httpx.Client(base_url=box.url, headers=KEY) as client, ThreadPoolExecutor(8) as pool:
        bodies = [asked(f"+49151{number:08}") for number in range(300)]
        answers = list(pool.map(lambda body: client.post("/user/lead", json=body), bodies))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["data"]["id"] for answer in answers}) == 300
        assert len(box.leads) == 300


# Keys.


@pytest.mark.parametrize(
    "given", [{}, {"Authorization": "Basic x"}, {"Authorization": "Bearer"}, {"Authorization": "1|abc"}]
)
def test_no_bearer_key_is_401_for_those_who_accept_json_and_else_a_login_page(
    shared: Sandbox, given: dict[str, str]
) -> None:
    answer = HTTP.get(f"{shared.url}/user/me", headers={"Accept": "application/json", **given})
    assert (answer.status_code, answer.json()) == (401, {"message": "Unauthenticated."})
    answer = HTTP.post(f"{shared.url}/user/lead", json=asked(), headers=given)
    assert (answer.status_code, answer.headers["location"]) == (302, "/login")
    assert "html" in answer.headers["content-type"]


def test_following_the_login_redirect_ends_on_a_page_with_200(shared: Sandbox) -> None:
    before = len(shared.leads)
    answer = HTTP.post(f"{shared.url}/user/lead", json=asked(), follow_redirects=True)
    assert answer.status_code == 200
    assert "html" in answer.headers["content-type"]
    assert len(shared.leads) == before


def test_only_the_keys_it_was_given_are_taken() -> None:
    with Sandbox(Options(keys={"good"})) as box:
        for key, status in (("good", 200), ("bad", 401)):
            headers = KEY | {"Authorization": f"Bearer {key}"}
            assert HTTP.get(f"{box.url}/user/me", headers=headers).status_code == status


# Strictness.


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"variable": {}}, "variable"),
        ({"campaign_id": "7"}, "campaign_id"),
        ({"campaign_id": True}, "campaign_id"),
        ({"campaign_id": 7.0}, "campaign_id"),
        ({"campaign_id": None}, "campaign_id"),
        ({"campaign_id": 4711}, "campaign_id"),
        ({"phone_number": "4915112345670"}, "phone_number"),
        ({"phone_number": "+0915112345670"}, "phone_number"),
        ({"phone_number": "+49 15112345670"}, "phone_number"),
        ({"phone_number": "+49151123456\n"}, "phone_number"),
        ({"phone_number": "+4٩١٥١١٢٣٤٥٦"}, "phone_number"),
        ({"phone_number": "+491511"}, "phone_number"),
        ({"phone_number": "+4915112345678901"}, "phone_number"),
        ({"phone_number": 4915112345670}, "phone_number"),
        ({"variables": []}, "variables"),
        ({"variables": None}, "variables"),
        ({"variables": {"email": ""}}, "variables.email"),
        ({"variables": {"email": " "}}, "variables.email"),
        ({"variables": {"email": None}}, "variables.email"),
        ({"variables": {"email": ["a@b.c"]}}, "variables.email"),
        ({"allow_dupplicate": 1}, "allow_dupplicate"),
        ({"allow_duplicate": True}, "allow_duplicate"),
        ({"secondary_contacts": {}}, "secondary_contacts"),
        ({"secondary_contacts": [contact(f"+491511234568{n:02}") for n in range(11)]}, "secondary_contacts"),
        ({"secondary_contacts": ["+4915112345671"]}, "secondary_contacts.0"),
        ({"secondary_contacts": [{"phone": "+4915112345671"}]}, "secondary_contacts.0.phone_number"),
        ({"secondary_contacts": [{**contact("+4915112345671"), "campaign_id": 7}]}, "secondary_contacts.0.campaign_id"),
        ({"secondary_contacts": [contact("+4915112345671", email="")]}, "secondary_contacts.0.variables.email"),
        ({"secondary_contacts": [contact(PHONE)]}, "secondary_contacts.0.phone_number"),
        ({"secondary_contacts": [contact("+4915112345671")] * 2}, "secondary_contacts.1.phone_number"),
    ],
)  # fmt: skip
def test_a_body_that_the_vendors_page_does_not_allow_is_refused_by_field(
    shared: Sandbox, client: httpx.Client, wrong: dict[str, Any], field: str
) -> None:
    before = len(shared.leads)
    found = errors(client.post("/user/lead", json={**asked(), **wrong}))
    assert field in found
    assert all(isinstance(text, str) for texts in found.values() for text in texts)
    assert len(shared.leads) == before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"null", b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(client: httpx.Client, body: bytes) -> None:
    assert "body" in errors(client.post("/user/lead", content=body))


def test_true_is_not_campaign_1() -> None:
    with Sandbox(Options(campaigns=[{"id": 1, "name": "First", "status": "active"}])) as box:
        assert "campaign_id" in errors(post(box, asked(campaign_id=True)))
        assert post(box, asked(campaign_id=1)).status_code == 200


def test_ten_contacts_are_taken() -> None:
    with Sandbox() as box:
        contacts = [contact(f"+491511234568{place}") for place in range(10)]
        assert len(post(box, asked(secondary_contacts=contacts)).json()["data"]["secondary_contacts"]) == 10


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/user/leads", 405),
        ("GET", "/user/lead", 405),
        ("PUT", "/user/lead", 405),
        ("POST", "/user/lead/", 404),
        ("POST", "/lead", 404),
        ("POST", "/api/user/lead", 404),
        ("GET", "/user/leads/1", 405),
    ],
)
def test_another_path_or_method_is_refused_in_json(client: httpx.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path, json=asked())
    assert answer.status_code == status
    assert answer.json()["message"]


def test_the_same_number_is_taken_once_for_each_campaign_unless_duplicates_are_allowed() -> None:
    with Sandbox() as box:
        assert post(box, asked(secondary_contacts=[contact("+4915112345671")])).status_code == 200
        again = post(box)
        assert again.status_code == 422
        assert again.json() == {
            "message": "The lead already exists in this campaign.",
            "errors": {"phone_number": ["has already been taken"]},
        }
        assert post(box, asked(campaign_id=8)).status_code == 200
        assert post(box, asked(allow_dupplicate=True)).status_code == 200
        assert post(box, asked("+4915112345671")).status_code == 200  # a contact's number is nobody's lead yet
        assert post(box, asked("+4915112345672", secondary_contacts=[contact(PHONE)])).status_code == 200
        assert memory(box)["refused_duplicates"] == 1
        assert len(box.leads) == 5


def test_magic_numbers_are_refused_as_the_table_says_for_leads_and_contacts(client: httpx.Client) -> None:
    assert MAGIC.keys() == {"0066", "0067", "0068"}
    for digits, field in (("0066", "variables.email"), ("0067", "phone_number")):
        number = f"+491511234{digits}"
        assert errors(client.post("/user/lead", json=asked(number))).keys() == {field}
        body = asked("+4915112345699", secondary_contacts=[contact("+4915112345698"), contact(number)])
        assert errors(client.post("/user/lead", json=body)).keys() == {f"secondary_contacts.1.{field}"}
    answer = client.post("/user/lead", json=asked("+4915112340068"))
    assert (answer.status_code, answer.json()["error_code"]) == (402, "insufficient_balance")
    assert answer.json()["success"] is False


def test_magic_can_be_switched_off() -> None:
    with Sandbox(Options(magic=False)) as box:
        assert all(post(box, asked(f"+491511234{digits}")).status_code == 200 for digits in MAGIC)


# Looking up and deleting.


def test_a_look_up_filters_and_pages_newest_first() -> None:
    with Sandbox() as box:
        for number in range(25):
            others = [contact("+33612345678")] if number == 3 else []
            post(box, asked(f"+4915112345{number:03}", campaign_id=7 + number % 2, secondary_contacts=others))
        numbers = [lead["phone_number"] for lead in reversed(box.leads)]
        first = get(box, "/user/leads", per_page=10).json()
        assert first | {"data": None} == {
            "current_page": 1, "data": None, "last_page": 3, "per_page": 10, "total": 25,
            "next_page_url": "http://169.254.0.1/api/user/leads?page=2",
        }  # fmt: skip
        pages = [get(box, "/user/leads", per_page=10, page=page).json() for page in (1, 2, 3, 4)]
        assert [lead["phone_number"] for page in pages for lead in page["data"]] == numbers
        assert [page["next_page_url"] is None for page in pages] == [False, False, True, True]

        def found(**query: Any) -> list[str]:
            return [lead["phone_number"] for lead in get(box, "/user/leads", per_page=100, **query).json()["data"]]

        assert len(found(campaign_id=8)) == 12
        assert found(phone_number="4915112345007") == found(phone_number="+49 151 12345007") == ["+4915112345007"]
        assert len(found(phone_number="1234501")) == 10
        assert found(phone_number="33612345678") == ["+4915112345003"]
        assert found(phone_number="33612345678", campaign_id=7) == []
        change(box, box.leads[0]["id"], status="processing")
        assert found(status="processing") == ["+4915112345000"]
        today = datetime.now(UTC).date()
        assert len(found(date_from=str(today - timedelta(days=1)), date_to=str(today + timedelta(days=1)))) == 25
        assert found(date_from=str(today + timedelta(days=2))) == []
        assert found(date_to=str(today - timedelta(days=2))) == []


@pytest.mark.parametrize(
    "query", [{"per_page": 101}, {"page": 0}, {"page": "x"}, {"campaign_id": "x"}, {"date_to": "x"}]
)
def test_a_look_up_that_makes_no_sense_is_refused(client: httpx.Client, query: dict[str, Any]) -> None:
    assert errors(client.get("/user/leads", params=query))


def test_an_old_server_ignores_filters_and_answers_a_bare_array() -> None:
    with Sandbox(Options(filters=False)) as box:
        post(box)
        post(box, asked("+4915112345671"))
        found = get(box, "/user/leads", phone_number="0", per_page=1).json()
        assert [lead["phone_number"] for lead in found] == ["+4915112345671", PHONE]


def test_a_deleted_lead_is_gone_and_its_number_free() -> None:
    with Sandbox() as box, httpx.Client(base_url=box.url, headers=KEY) as client:
        lead_id = post(box).json()["data"]["id"]
        assert client.delete(f"/user/leads/{lead_id}").status_code == 200
        assert client.delete(f"/user/leads/{lead_id}").status_code == 404
        assert client.delete("/user/leads/x").status_code == 404
        assert box.leads == []
        assert memory(box)["deleted"] == [lead_id]
        assert post(box).status_code == 200


def test_a_lead_that_is_being_called_cannot_be_deleted() -> None:
    with Sandbox() as box, httpx.Client(base_url=box.url, headers=KEY) as client:
        lead_id = post(box).json()["data"]["id"]
        for status, answer in (("processing", 403), ("completed", 403), ("scheduled", 200)):
            change(box, lead_id, status=status)
            assert client.delete(f"/user/leads/{lead_id}").status_code == answer


def test_parts_of_the_platform_can_be_missing() -> None:
    with Sandbox(Options(lookup=False, delete=False, campaigns_listed=False)) as box:
        lead_id = post(box).json()["data"]["id"]
        for method, path in (("GET", "leads"), ("GET", "campaigns"), ("DELETE", f"leads/{lead_id}")):
            answer = HTTP.request(method, f"{box.url}/user/{path}", headers=KEY)
            assert answer.status_code == 404
            assert answer.json()["message"]


# Shapes and silent losses.


def test_old_shapes_of_the_answer_can_be_chosen() -> None:
    with Sandbox(Options(ids="str", wrap_list=True, created_at="bare")) as box:
        (whole,) = post(box, asked(secondary_contacts=[contact("+4915112345671")])).json()
        data = whole["data"]
        assert data["id"] == str(box.leads[0]["id"])
        assert isinstance(data["secondary_contacts"][0]["id"], str)
        moment = datetime.strptime(data["created_at"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        assert abs(moment - datetime.now(UTC)) < timedelta(seconds=5)


def test_variables_can_be_lost_and_cut_without_a_word() -> None:
    with Sandbox(Options(drop_variable="email", cut_variable=("customer_name", 3))) as box:
        given = {"customer_name": "Annabel", "email": "a@example.com", "city": "Bonn"}
        data = post(box, asked(variables=given, secondary_contacts=[contact("+4915112345671", **given)])).json()["data"]
        for person in (data, *data["secondary_contacts"], box.leads[0], *box.leads[0]["contacts"]):
            assert person["variables"] == {"customer_name": "Ann", "city": "Bonn"}


# Limits.


def test_limit_headers_stand_on_every_answer_and_the_first_too_many_is_429() -> None:
    with Sandbox(Options(per_minute=4)) as box:
        answers = [post(box), post(box), get(box, "/nothing"), get(box, "/user/me"), post(box, asked("+4915112345671"))]
        assert [answer.status_code for answer in answers] == [200, 422, 404, 200, 429]
        assert {answer.headers["x-ratelimit-limit"] for answer in answers} == {"4"}
        assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["3", "2", "1", "0", "0"]
        assert all("retry-after" not in answer.headers for answer in answers[:4])
        last = answers[-1]
        assert last.json()["message"] == "Too Many Attempts."
        assert last.json()["retry_after"] == int(last.headers["retry-after"])
        assert 55 <= int(last.headers["retry-after"]) <= 60
        assert abs(int(last.headers["x-ratelimit-reset"]) - time.time() - 60) < 6
        assert len(box.leads) == 1
        assert memory(box)["answers"] == {"200": 2, "422": 1, "404": 1, "429": 1}
        other = HTTP.get(f"{box.url}/user/me", headers=KEY | {"Authorization": "Bearer other"})
        assert other.headers["x-ratelimit-remaining"] == "3"  # each key has its own count


def test_waiting_as_long_as_told_is_enough() -> None:
    with Sandbox(Options(per_second=2)) as box:
        for _ in range(2):
            answers = [get(box, "/user/me") for _ in range(3)]
            assert [answer.status_code for answer in answers] == [200, 200, 429]
            time.sleep(int(answers[-1].headers["retry-after"]))


def test_of_two_limits_the_tighter_one_shows() -> None:
    with Sandbox(Options(per_second=100, per_minute=3)) as box:
        assert [get(box, "/user/me").headers["x-ratelimit-limit"] for _ in range(3)] == ["3"] * 3
        assert get(box, "/user/me").status_code == 429


def test_limits_can_be_kept_secret() -> None:
    with Sandbox(Options(per_minute=1, headers=False)) as box:
        answers = [get(box, "/user/me"), get(box, "/user/me")]
        assert answers[1].status_code == 429
        assert answers[1].json()["retry_after"] > 0
        assert not any(name in answer.headers for answer in answers for name in (
            "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"))  # fmt: skip


def test_without_a_limit_no_answer_speaks_of_one(client: httpx.Client) -> None:
    assert "x-ratelimit-limit" not in client.get("/user/me").headers


def test_latency_delays_each_answer() -> None:
    with Sandbox(Options(latency=0.2)) as box:
        began = time.monotonic()
        get(box, "/user/me")
        assert time.monotonic() - began >= 0.2


# Faults, as they look on the wire.


def broken(kind: str, patience: float = 5.0) -> tuple[bytes, int]:
    with Sandbox(Options(faults={kind: 1.0})) as box:
        got = raw_post(box, patience)
        assert memory(box)["faults"] == {kind: 1}
        return got, len(box.leads)


@pytest.mark.parametrize(
    ("kind", "seen", "stored"),
    [
        ("hang", b"<silence>", 1),
        ("hang_before", b"<silence>", 0),
        ("reset", b"<reset>", 1),
        ("reset_before", b"<reset>", 0),
        ("close", b"<end>", 1),
        ("close_before", b"<end>", 0),
        ("garbage", b"\x16\x03\x01 this is no HTTP\r\n\r\n<end>", 1),
    ],
)
def test_a_fault_below_http_says_nothing_of_whether_the_lead_is_stored(kind: str, seen: bytes, stored: int) -> None:
    assert broken(kind, patience=0.3 if seen == b"<silence>" else 5.0) == (seen, stored)


def test_cut_headers_end_within_the_head() -> None:
    got, stored = broken("cut_headers")
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\n\r\n" not in got
    assert (got.endswith(b"<end>"), stored) == (True, 1)


def test_a_cut_body_has_half_of_what_its_head_promises() -> None:
    got, stored = broken("cut_body")
    head, _, body = got.removesuffix(b"<end>").partition(b"\r\n\r\n")
    promised = next(int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
    assert 0 < len(body) < promised
    assert b"x-sandbox-instance" in head
    assert stored == 1


def test_a_dripping_answer_comes_byte_by_byte() -> None:
    got, stored = broken("drip", patience=0.5)
    assert (got, stored) == (b"H<silence>", 1)


@pytest.mark.parametrize(
    ("kind", "status", "shape", "stored"),
    [
        ("500", 500, "application/json", 1),
        ("500_before", 500, "application/json", 0),
        ("502", 502, "text/html", 1),
        ("503", 503, "text/html", 1),
        ("html_200", 200, "text/html", 1),
        ("no_id", 200, "application/json", 1),
        ("busy", 503, "application/json", 0),
    ],
)
def test_a_fault_in_http_answers_but_proves_nothing(kind: str, status: int, shape: str, stored: int) -> None:
    with Sandbox(Options(faults={kind: 1.0}, per_minute=60)) as box:
        answer = post(box)
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith(shape)
        assert answer.headers["x-ratelimit-remaining"] == "59"
        assert answer.headers.get("retry-after") == ("1" if kind == "busy" else None)
        assert b'"id"' not in answer.content
        assert len(box.leads) == stored


def test_every_fault_has_been_shown_above() -> None:
    shown = {"hang", "reset", "close", "cut_headers", "cut_body", "drip", "500", "502", "503", "garbage", "html_200"}
    assert FAULTS.keys() == shown | {"no_id", "busy", "hang_before", "reset_before", "close_before", "500_before"}


def test_faults_hit_their_share_and_the_same_ones_for_the_same_seed() -> None:
    def statuses(seed: int) -> list[int]:
        options = Options(fault_rate=0.3, faults={"500_before": 3.0, "busy": 1.0}, seed=seed, magic=False)
        with Sandbox(options) as box, httpx.Client(base_url=box.url, headers=KEY) as client:
            bodies = [asked(f"+49151{number:08}") for number in range(300)]
            found = [client.post("/user/lead", json=body).status_code for body in bodies]
            assert memory(box)["faults"] == {"500_before": found.count(500), "busy": found.count(503)}
            return found

    once = statuses(1)
    assert 60 <= 300 - once.count(200) <= 120
    assert once.count(500) > once.count(503) > 0
    assert statuses(1) == once
    assert statuses(2) != once


def test_a_fault_that_stores_first_never_strikes_what_was_refused() -> None:
    with Sandbox(Options(faults={"500": 1.0})) as box:
        assert post(box).status_code == 500
        assert post(box).status_code == 422
        assert get(box, "/user/leads").json()["total"] == 1
        assert memory(box)["faults"] == {"500": 1}


def test_chosen_creates_are_hit_by_chosen_faults() -> None:
    with Sandbox(Options(fault_at={1: "500_before", 3: "502"})) as box:
        found = [post(box, asked(f"+491511234567{number}")).status_code for number in range(4)]
        assert found == [500, 200, 502, 200]
        assert memory(box)["faults"] == {"500_before": 1, "502": 1}


def test_look_ups_are_hit_at_a_rate_of_their_own_and_leave_the_creates_as_they_are() -> None:
    def seen(lookups: int) -> tuple[list[int], int]:
        options = Options(fault_rate=0.3, faults={"500": 1.0}, lookup_fault_rate=0.5, seed=3, magic=False)
        with Sandbox(options) as box, httpx.Client(base_url=box.url, headers=KEY) as client:
            hit = sum(client.get("/user/leads").status_code == 500 for _ in range(lookups))
            creates = [client.post("/user/lead", json=asked(f"+49151{n:08}")).status_code for n in range(60)]
            assert memory(box)["lookup_faults"] == ({"500": hit} if hit else {})
            assert memory(box)["faults"] == {"500": creates.count(500)}
            return creates, hit

    (creates, hit), (undisturbed, none) = seen(60), seen(0)
    assert 15 < hit < 45
    assert none == 0
    assert creates == undisturbed


def test_options_that_make_no_sense_are_refused_with_what_would_be_right() -> None:
    for unknown in ({"faults": {"hnag": 1.0}}, {"fault_at": {1: "hnag"}}):
        with pytest.raises(Refused, match=r"no fault 'hnag'\. There are: hang, "):
            Options(**unknown)
    rates = ({"fault_rate": 1.5}, {"lookup_fault_rate": -0.1}, {"faults": {"hang": -1.0}}, {"faults": {"hang": 0.0}})
    for wrong in (*rates, {"per_second": 0}):
        with pytest.raises(Refused):
            Options(**wrong)


# The judge's view, and the end.


def test_a_judge_sees_what_is_stored_and_counted() -> None:
    with Sandbox() as box:
        body = asked(variables={"a": 1}, secondary_contacts=[contact("+4915112345671", b="x")], allow_dupplicate=True)
        data = post(box, body).json()["data"]
        seen = memory(box)
        assert seen["instance"] == box.instance
        assert seen["leads"] == box.leads
        (lead,) = seen["leads"]
        assert abs(lead.pop("created_at_epoch") - time.time()) < 5
        person = {"id": data["secondary_contacts"][0]["id"], "phone_number": "+4915112345671"}
        assert lead == {
            "id": data["id"], "campaign_id": 7, "phone_number": PHONE, "variables": {"a": 1}, "status": "created",
            "contacts": [{**person, "variables": {"b": "x"}, "status": "created"}], "allow_dupplicate": True,
        }  # fmt: skip
        assert (seen["posts"], seen["answers"], seen["faults"]) == (1, {"200": 1}, {})
        counts = HTTP.get(box.url.removesuffix("/api") + "/sandbox/counts").json()
        assert counts == {name: value for name, value in seen.items() if name not in ("leads", "deleted")}


def test_a_judge_can_change_a_lead_and_a_contact() -> None:
    with Sandbox() as box:
        data = post(box, asked(secondary_contacts=[contact("+4915112345671")])).json()["data"]
        assert change(box, data["id"], status="completed", variables={"x": "y"}).status_code == 200
        assert change(box, data["secondary_contacts"][0]["id"], status="processing").status_code == 200
        (seen,) = get(box, "/user/leads").json()["data"]
        assert (seen["status"], seen["variables"]) == ("completed", {"x": "y"})
        assert seen["secondary_contacts"][0]["status"] == "processing"
        assert change(box, 1, status="x").status_code == 404
        assert change(box, data["id"], colour="red").status_code == 422


def test_a_sandbox_ends_at_once_though_requests_hang_and_may_be_stopped_twice() -> None:
    with Sandbox(Options(faults={"hang": 1.0, "drip": 1.0}, seed=0)) as box, ThreadPoolExecutor(8) as pool:
        bodies = [asked(f"+4915112345{number:03}") for number in range(8)]
        waiting = [pool.submit(post, box, body) for body in bodies]
        while len(box.leads) < 8:
            time.sleep(0.01)
        began = time.monotonic()
        box.stop()
        assert time.monotonic() - began < 1
        assert all(isinstance(one.exception(), httpx.TransportError) for one in waiting)
    with pytest.raises(httpx.ConnectError):
        get(box, "/user/me")


def test_a_sandbox_ends_at_once_though_answers_are_delayed() -> None:
    with Sandbox(Options(latency=60)) as box, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(post, box)
        time.sleep(0.2)
        began = time.monotonic()
        box.stop()
        assert time.monotonic() - began < 1
        assert isinstance(waiting.exception(), httpx.TransportError)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_on_the_command_line_ends_with_0_on_a_signal(number: int) -> None:
    code = "from importer.sandbox import *; serve(Options(), print)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = [process.stdout.readline().decode() for _ in range(len(CAMPAIGNS) + 2)]
        url = said[0].split()[3]
        assert said[0] == f"OtoniStark sandbox at {url} (any key will do). Ctrl-C ends it.\n"
        assert "  campaign 7: 'Spring fair' (active)\n" in said
        assert HTTP.get(f"{url}/user/me", headers=KEY).status_code == 200
        assert HTTP.get(said[-1].split()[-1]).json()["posts"] == 0
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out, err) == (0, b"", b"")


def test_the_command_can_refuse_every_key_and_names_every_fault(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "importer", "sandbox"]
    shown = subprocess.run([*words, "--help"], capture_output=True, text=True, check=True).stdout
    assert {kind.removesuffix("_before") for kind in FAULTS} <= {*re.findall(r"\w+", shown)}
    with subprocess.Popen([*words, "--refuse-key"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().split()[3]
        desk = Desk(tmp_path, url)
        desk.write("a.csv", "phone_number\n+12125550100\n")
        ended = desk.run("run", "a.csv", "--campaign", "7", "--yes")
        process.terminate()
    assert ended.status == 3, ended.err
    assert "key" in ended.err
