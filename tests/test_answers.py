"""What an answer means, whatever the server put into it; and the address and body of what is sent."""

import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.address import base_address, normalise_address
from importer.answers import RateHeaders, digits, judge, limits, read_lead, read_time
from importer.api import payload
from importer.errors import Refused
from importer.records import Created, Lead, Meaning, Person, Verdict

NOW = datetime(2026, 11, 24, 2, 44, tzinfo=UTC)
DATE = "Tue, 24 Nov 2026 02:44:00 GMT"
LEAD = Lead(Person("+12125550100", '{"customer_name":"Ann"}', 0), 7, (Person("+12125550101", "{}", 1),))
SERVED = {"id": 55, "campaign_id": 7, "phone_number": "+12125550100"}


def told(status: int, body: Any = None, headers: dict[str, str] | None = None, **more: Any) -> Verdict:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return judge(status, {"date": DATE} | (headers or {}), content, sent=LEAD, now=NOW, **more)


# Created, and only then.


@pytest.mark.parametrize(
    "body",
    [
        {"message": "Lead created successfully", "data": SERVED},
        {"message": "Lead criado", "data": SERVED},
        {"data": {**SERVED, "id": "55"}},
        [{"data": SERVED}],
        {"data": [SERVED]},
        {"data": {"id": 55}},
        {"data": {**SERVED, "phone_number": "+1 (212) 555-0100"}},
        {"data": {**SERVED, "phone_number": 12125550100, "campaign_id": "7"}},
        {"data": {**SERVED, "created_at": "2026-11-24T02:43:10.000000Z"}},
        {"data": {**SERVED, "created_at": "2020-01-01 00:00:00"}},
        {"data": {**SERVED, "created_at": "yesterday"}},
        {"success": True, "error": None, "errors": [], "data": SERVED},
    ],
)
@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_lead_counts_as_created_by_status_and_usable_id_in_every_shape_seen(status: int, body: Any) -> None:
    verdict = told(status, body)
    assert (verdict.meaning, verdict.http_status, verdict.code, verdict.message) == (
        Meaning.CREATED,
        status,
        None,
        None,
    )
    assert verdict.lead is not None
    assert verdict.lead.lead_id == "55"
    assert verdict.date == NOW


@pytest.mark.parametrize("lead_id", [None, 0, -1, "", " ", "0", True, False, 5.5, [], {}, [5]])
def test_an_id_that_is_none_proves_nothing(lead_id: Any) -> None:
    verdict = told(200, {"data": {**SERVED, "id": lead_id}})
    assert (verdict.meaning, verdict.code, verdict.lead) == (Meaning.AMBIGUOUS, "no_lead_id", None)


@pytest.mark.parametrize(
    ("body", "code", "systemic"),
    [
        (b"", "not_json", None),
        (b'{"data": {"id": 5', "not_json", None),
        (b"\xff\xfe", "not_json", None),
        (b"<!doctype html><title>Log in</title>", "not_json", "html"),
        ({}, "no_lead_id", None),
        ([], "no_lead_id", None),
        ({"message": "ok"}, "no_lead_id", None),
        ({"id": 55}, "no_lead_id", None),
        ({"data": []}, "no_lead_id", None),
        ({"data": {**SERVED, "phone_number": "+12125550109"}}, "other_lead", None),
        ({"data": {**SERVED, "campaign_id": 8}}, "other_lead", None),
        ({"data": {"id": 55, "campaign": {"id": 8}}}, "other_lead", None),
        ({"success": False, "error": "half done", "data": SERVED}, "contradiction", None),
    ],
)
def test_a_2xx_without_proof_is_ambiguous(body: Any, code: str, systemic: str | None) -> None:
    verdict = told(200, body)
    assert (verdict.meaning, verdict.code, verdict.systemic) == (Meaning.AMBIGUOUS, code, systemic)


@pytest.mark.parametrize("created_at", ["2026-11-24T02:41:59Z", "2026-11-24T03:41:00+01:00"])
def test_a_2xx_with_a_lead_clearly_older_than_the_answer_is_a_duplicate(created_at: str) -> None:
    verdict = told(200, {"data": {**SERVED, "created_at": created_at}})
    assert (verdict.meaning, verdict.code, verdict.field) == (Meaning.DUPLICATE, "old_lead", "phone_number")
    assert verdict.lead is not None
    undated = judge(200, {}, orjson.dumps({"data": {**SERVED, "created_at": created_at}}), sent=LEAD, now=NOW)
    assert undated.meaning is Meaning.CREATED


def test_a_local_time_that_the_server_calls_utc_makes_no_new_lead_an_old_one() -> None:
    verdict = told(200, {"data": {**SERVED, "created_at": "2026-11-23T23:43:58Z"}})
    assert verdict.meaning is Meaning.CREATED


@pytest.mark.parametrize("body", [{"success": False, "message": "no"}, {"error": "no"}, {"error": {"message": "no"}}])
def test_a_2xx_that_says_it_failed_is_a_refusal(body: Any) -> None:
    verdict = told(200, body)
    assert (verdict.meaning, verdict.code, verdict.message) == (Meaning.REJECTED, "http_200", "no")


def test_a_2xx_that_says_already_exists_and_names_the_lead_is_a_duplicate_with_it() -> None:
    verdict = told(200, {"success": False, "error": "Lead already exists", "data": SERVED})
    assert (verdict.meaning, verdict.lead and verdict.lead.lead_id) == (Meaning.DUPLICATE, "55")


# Stop, later, perhaps.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_login_page_and_only_its_path_is_told(status: int) -> None:
    verdict = told(status, b"", {"location": "https://user:pw@host.example/login?token=12|abc#x"})
    assert (verdict.meaning, verdict.systemic, verdict.code) == (Meaning.STOP, "login", f"http_{status}")
    message = verdict.message or ""
    assert "'/login'" in message
    assert not [secret for secret in ("pw", "host.example", "12|abc") if secret in message]


@pytest.mark.parametrize("location", ["", "https://[broken", "?x"])
def test_a_redirect_to_nowhere_is_a_login_page_too(location: str) -> None:
    assert told(302, b"", {"location": location}).meaning is Meaning.STOP


def test_a_refused_key_and_a_forbidden_account_stop() -> None:
    refused, forbidden = told(401, {"message": "Unauthenticated."}), told(403, {"error": "Plan limit reached"})
    assert (refused.meaning, refused.systemic) == (Meaning.STOP, "key")
    assert (forbidden.meaning, forbidden.systemic) == (Meaning.STOP, "account")
    assert "Plan limit reached" in (forbidden.message or "")


@pytest.mark.parametrize(
    ("headers", "body", "wait"),
    [
        ({"retry-after": "7", "x-ratelimit-reset": "1795488270"}, {"retry_after": 60}, 7.0),
        ({"retry-after": "0"}, {}, 0.0),
        ({"retry-after": "Tue, 24 Nov 2026 02:44:30 GMT"}, {"retry_after": 60}, 30.0),
        ({"retry-after": "Tue, 24 Nov 2026 02:40:00 GMT"}, {}, 0.0),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 9)}, {"retry_after": 60}, 60.0),
        ({}, [{"retry_after": "60"}], 60.0),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 9)}, {}, 9.0),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) - 9)}, {}, 0.0),
        ({"retry-after": "soon", "x-ratelimit-reset": "12"}, {"retry_after": "later"}, None),
        ({"retry-after": "-5"}, {"retry_after": True}, None),
        ({"retry-after": "inf"}, {"retry_after": -1}, None),
        ({}, b"<h1>429</h1>", None),
    ],
)
def test_the_wait_is_the_headers_then_the_bodys_then_the_resets(
    headers: dict[str, str], body: Any, wait: float | None
) -> None:
    verdict = told(429, body, headers)
    assert (verdict.meaning, verdict.retry_after, verdict.code) == (Meaning.LATER, wait, "http_429")


def test_a_date_to_wait_for_is_read_by_the_servers_clock_and_by_ours_where_it_has_none() -> None:
    until = {"retry-after": "Tue, 24 Nov 2026 02:44:30 GMT"}
    assert told(429, {}, {"date": "Tue, 24 Nov 2026 02:44:20 GMT", **until}).retry_after == 10.0
    assert judge(429, until, b"{}", sent=LEAD, now=NOW).retry_after == 30.0


def test_a_busy_server_is_later_only_where_it_says_when() -> None:
    assert told(503, {}, {"retry-after": "3"}).meaning is Meaning.LATER
    assert told(503, {}).meaning is Meaning.AMBIGUOUS


@pytest.mark.parametrize("status", [101, 408, 500, 502, 503, 504, 520, 599, 600])
@pytest.mark.parametrize(
    ("body", "systemic"), [({"message": "Lead already exists"}, None), (b"<html>", "html"), (b"", None)]
)
def test_a_failing_server_proves_nothing_whatever_it_says(status: int, body: Any, systemic: str | None) -> None:
    verdict = told(status, body)
    assert (verdict.meaning, verdict.systemic, verdict.code) == (Meaning.AMBIGUOUS, systemic, f"http_{status}")


# Duplicates.


@pytest.mark.parametrize(
    "body",
    [
        {"message": "Lead already exists in this campaign"},
        {
            "message": "The phone number has already been taken.",
            "errors": {"phone_number": ["The phone number has already been taken."]},
        },
        {"errors": {"phone_number": "duplicate"}},
        {"errors": ["Duplicate lead"]},
        {"error": "Este lead já existe nesta campanha"},
        {"error": "O campo phone number já está sendo utilizado."},
        {"error": "El lead ya existe"},
        {"error": "Este número ya ha sido registrado"},
        {"error": "Lead existiert bereits"},
        {"error": "Telefonnummer ist bereits vergeben."},
        {"error": "Ce prospect existe déjà"},
        {"error": "La valeur du champ téléphone est déjà utilisée."},
        {"success": False, "error": "refused", "error_code": "LEAD_ALREADY_EXISTS"},
        {"message": "A lead with this email and phone number already exists"},
    ],
)
@pytest.mark.parametrize("status", [400, 409, 422])
def test_what_says_that_the_number_is_there_already_is_a_duplicate(status: int, body: Any) -> None:
    verdict = told(status, body)
    assert (verdict.meaning, verdict.field, verdict.systemic) == (Meaning.DUPLICATE, "phone_number", None)
    assert verdict.code == body.get("error_code", f"http_{status}")


@pytest.mark.parametrize("body", [b"", {}, {"message": "Conflict"}, b"Conflict"])
def test_a_conflict_is_a_duplicate_unless_it_is_about_something_else(body: Any) -> None:
    assert told(409, body).meaning is Meaning.DUPLICATE


@pytest.mark.parametrize("status", [400, 409, 422])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        (
            {
                "message": "The variables.email has already been taken.",
                "errors": {"variables.email": ["The variables.email has already been taken."]},
            },
            "variables.email",
        ),
        (
            {"errors": {"secondary_contacts.0.phone_number": ["already been taken"]}},
            "secondary_contacts.0.phone_number",
        ),
        (
            {"errors": {"secondary_contacts": {"1": {"phone_number": ["duplicate"]}}}},
            "secondary_contacts.1.phone_number",
        ),
        ({"errors": [{"field": "email", "message": "already exists"}]}, "email"),
        ({"error": {"variables": {"email": "duplicate"}}}, "variables.email"),
        ({"message": "The email has already been taken."}, None),
        ({"message": "A secondary contact's phone number already exists"}, None),
        ({"message": "The phone number is already registered on the blacklist"}, None),
        ({"message": "allow_dupplicate must be true or false"}, None),
    ],
)
def test_what_is_there_already_but_is_not_the_leads_own_number_is_no_duplicate(
    status: int, body: Any, field: str | None
) -> None:
    verdict = told(status, body)
    assert (verdict.meaning, verdict.field, verdict.systemic) == (Meaning.REJECTED, field, None)


def test_further_texts_can_be_named_as_duplicates() -> None:
    body = {"error": "Número repetido"}
    assert told(422, body).meaning is Meaning.REJECTED
    assert told(422, body, duplicate_texts=["numero REPETIDO"]).meaning is Meaning.DUPLICATE
    assert told(422, body, duplicate_texts=["", " "]).meaning is Meaning.REJECTED


# Refusals.


@pytest.mark.parametrize(
    ("status", "body", "field", "systemic", "message"),
    [
        (422, {"message": "The phone number is invalid."}, None, None, "The phone number is invalid."),
        (
            422,
            {
                "message": "Bad. (and 1 more error)",
                "errors": {"phone_number": ["Bad."], "variables.email": ["Odd.", "Long."]},
            },
            "phone_number",
            None,
            "phone_number: Bad.; variables.email: Odd.; variables.email: Long.",
        ),
        (
            422,
            {"message": "Invalid", "errors": {"variables": {"email": ["Odd."]}}},
            "variables.email",
            None,
            "Invalid; variables.email: Odd.",
        ),
        (400, {"error": "Nope"}, None, None, "Nope"),
        (400, {"success": False, "error": "Nope", "message": "Failed"}, None, None, "Failed; Nope"),
        (422, {"errors": {"campaign_id": ["The selected campaign id is invalid."]}}, "campaign_id", "campaign", None),
        (422, {"errors": {"phone_number": ["x"], "campaign_id": ["y"]}}, "phone_number", "campaign", None),
        (
            422,
            {"errors": {"variables.campaign": ["x"], "variables.credit_limit": ["y"]}},
            "variables.campaign",
            None,
            None,
        ),
        (404, {"message": "No query results"}, None, "campaign", "No query results"),
        (404, b"<html><title>404</title></html>", None, "html", "404"),
        (400, {"error": "Campanha não está ativa"}, None, "campaign", None),
        (402, {}, None, "balance", "{}"),
        (400, {"error": "Insufficient balance"}, None, "balance", None),
        (422, {"error": "Saldo insuficiente"}, None, "balance", None),
        (400, {"error": "You have reached the limit of your plan"}, None, "account", None),
        (400, {"error": "Invalid API key"}, None, "key", None),
        (
            413,
            b"<h1>Request <b>Entity</b>\n Too Large</h1><script>x()</script>",
            None,
            "html",
            "Request Entity Too Large",
        ),
        (400, b"plain words", None, None, "plain words"),
        (400, {"detail": "odd"}, None, None, '{"detail":"odd"}'),
        (400, b"", None, None, "it gave no reason"),
    ],
)
def test_a_refusal_keeps_the_servers_words_its_field_and_what_would_meet_every_lead(
    status: int, body: Any, field: str | None, systemic: str | None, message: str | None
) -> None:
    verdict = told(status, body)
    assert (verdict.meaning, verdict.field, verdict.systemic) == (Meaning.REJECTED, field, systemic)
    assert verdict.code == f"http_{status}"
    if message is not None:
        assert verdict.message == message


def test_the_servers_own_code_is_kept() -> None:
    assert told(400, {"success": False, "error": "x", "error_code": "invalid_phone"}).code == "invalid_phone"
    assert told(429, {"error": "x", "error_code": 1015}).code == "1015"


def test_the_servers_words_are_folded_cut_and_harmless() -> None:
    message = told(400, {"error": "one\n\n two\x1b[31m " + "x" * 900}).message or ""
    assert message.startswith("one two[31m xxx")
    assert len(message) == 500


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "data",
                    "id",
                    "errors",
                    "error",
                    "message",
                    "success",
                    "error_code",
                    "phone_number",
                    "retry_after",
                    "secondary_contacts",
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    status=st.integers(100, 999),
    body=_JSON.map(orjson.dumps) | st.binary(max_size=60),
    headers=st.dictionaries(
        st.sampled_from(["date", "retry-after", "location", "x-ratelimit-reset", "content-type"]), st.text(max_size=30)
    ),
)
def test_any_answer_gets_a_verdict_and_only_proof_makes_it_created(
    status: int, body: bytes, headers: dict[str, str]
) -> None:
    verdict = judge(status, headers, body, sent=LEAD, now=NOW)
    assert verdict.http_status == status
    if verdict.meaning is Meaning.CREATED:
        assert 200 <= status < 300
        assert verdict.lead is not None
        content = json.loads(body)
        content = content[0] if isinstance(content, list) else content
        served = content["data"][0] if isinstance(content["data"], list) else content["data"]
        assert str(served["id"]).strip() == verdict.lead.lead_id
    if verdict.meaning in (Meaning.REJECTED, Meaning.DUPLICATE):
        assert 200 <= status < 300 or 400 <= status < 500


# Reading leads, times and limits.


def test_a_lead_is_read_in_every_shape() -> None:
    contact = {"id": "56", "phone_number": "+1 212 555 0101", "variables": [], "status": "created"}
    served = {
        **SERVED,
        "variables": [{"customer_name": "Ann"}],
        "status": "created",
        "secondary_contacts": [contact, {"id": None}, "?"],
    }
    assert read_lead([served]) == Created(
        "55",
        "+12125550100",
        7,
        {"customer_name": "Ann"},
        (Created("56", "+1 212 555 0101", None, {}, (), "created"),),
        "created",
    )
    assert read_lead({"id": 1}) == Created("1", "", None, None, ())
    assert read_lead({"id": 1, "campaign": {"id": 9}}) == Created("1", "", 9, None, ())
    assert read_lead({"id": 1, "variables": "?", "secondary_contacts": {}, "campaign_id": True}) == Created(
        "1", "", None, None, ()
    )


def test_digits_are_ascii_digits() -> None:
    assert digits("+1 (212) 555-0100") == "12125550100"
    assert digits("٣²") == ""


def test_times_are_read_with_and_without_a_zone() -> None:
    with_zone, without = read_time("2025-06-30T11:53:20.000000Z"), read_time("2025-06-30 11:53:20")
    assert with_zone == datetime(2025, 6, 30, 11, 53, 20, tzinfo=UTC)
    assert without is not None
    assert without.tzinfo is None
    assert (read_time(None), read_time(""), read_time("soon")) == (None, None, None)


@pytest.mark.parametrize(
    ("headers", "read"),
    [
        (
            {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "59", "x-ratelimit-reset": "1795488270"},
            RateHeaders(60, 59, 1795488270.0),
        ),
        ({}, RateHeaders(None, None, None)),
        (
            {"x-ratelimit-limit": "60, 60", "x-ratelimit-remaining": "-1", "x-ratelimit-reset": "30"},
            RateHeaders(None, None, None),
        ),
        (
            {"x-ratelimit-limit": "nan", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "inf"},
            RateHeaders(None, 0, None),
        ),
    ],
)
def test_the_limit_is_read_and_nonsense_is_not_said(headers: dict[str, str], read: RateHeaders) -> None:
    assert limits(headers) == read


# What is sent, and where to.

_VARIABLES = st.dictionaries(
    st.text(max_size=5), st.text(max_size=5) | st.integers(-(2**50), 2**50) | st.booleans(), max_size=3
)


@given(variables=st.lists(_VARIABLES, min_size=1, max_size=4), allow=st.booleans(), campaign=st.integers(1, 10**9))
def test_the_body_is_the_vendors_whatever_the_variables_hold(
    variables: list[dict[str, Any]], allow: bool, campaign: int
) -> None:
    people = [
        Person(f"+1212555010{place}", orjson.dumps(one, option=orjson.OPT_SORT_KEYS).decode(), place)
        for place, one in enumerate(variables)
    ]
    body = payload(Lead(people[0], campaign, tuple(people[1:]), allow))
    expected: dict[str, Any] = {
        "phone_number": "+12125550100",
        "campaign_id": campaign,
        "variables": variables[0],
        "allow_dupplicate": allow,
    }
    if len(people) > 1:
        expected["secondary_contacts"] = [
            {"phone_number": person.phone, "variables": one}
            for person, one in zip(people[1:], variables[1:], strict=True)
        ]
    assert json.loads(body) == expected


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("call.otonistark.com.br", "https://call.otonistark.com.br/api"),
        ("https://call.otonistark.com.br", "https://call.otonistark.com.br/api"),
        ("https://call.otonistark.com.br/api", "https://call.otonistark.com.br/api"),
        (" https://call.otonistark.com.br/api/ \n", "https://call.otonistark.com.br/api"),
        ("HTTPS://Call.OtoniStark.com.br.:443//api//", "https://call.otonistark.com.br/api"),
        ("https://call.otonistark.com.br/api/user/lead", "https://call.otonistark.com.br/api"),
        ("https://call.otonistark.com.br/api/user/leads/", "https://call.otonistark.com.br/api"),
        ("call.otonistark.com.br/user/lead", "https://call.otonistark.com.br/api"),
        ("app.example.com:8443/v2/api", "https://app.example.com:8443/v2/api"),
        ("https://app.example.com:80", "https://app.example.com:80/api"),
        ("localhost:8000", "http://localhost:8000/api"),
        ("LocalHost:8000/api/user/lead", "http://localhost:8000/api"),
        ("localhost", "https://localhost/api"),
        ("127.9.0.1:8000/", "http://127.9.0.1:8000/api"),
        ("[::1]:8000", "http://[::1]:8000/api"),
        ("http://[0:0:0:0:0:0:0:1]:80/api", "http://[::1]/api"),
        ("https://localhost:8000", "https://localhost:8000/api"),
    ],
)
def test_an_address_is_read_from_whatever_people_paste(text: str, address: str) -> None:
    assert normalise_address(text) == address
    assert normalise_address(address) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "https://",
        "http://call.otonistark.com.br/api",
        "http://10.0.0.1:8000",
        "http://localhost.example.com",
        "ftp://localhost/api",
        "file:///etc/passwd",
        "https://me:s3cret@host.example/api",
        "https://s3cret@host.example/api",
        "https://host.example/api?key=s3cret",
        "https://host.example/api#s3cret",
        "https://host.example:99999",
        "https://host.example:0",
        "https://host.example:port",
        "https://[::1",
        "https://host..example",
        "https://ho st.example",
        "https://host.example/a b",
        "https://host.example/../api",
        "https://host.example/api/user/leads/55",
        "12|s3cret",
    ],
)
def test_what_is_no_address_is_refused_and_secrets_in_it_are_not_shown(text: str) -> None:
    with pytest.raises(Refused, match=r"address of the service: .*(Right is|Write https)") as raised:
        normalise_address(text)
    assert "s3cret" not in str(raised.value)


def test_an_address_that_is_empty_on_the_command_line_is_not_taken_for_none() -> None:
    assert base_address(None, "https://call.example.com") == "https://call.example.com/api"
    with pytest.raises(Refused, match="'' is none"):
        base_address("", "https://call.example.com")
