"""Security headers for browsers, and access by pages of other origins."""

import json

import pytest
from flask.testing import FlaskClient
from support.use_cases import create_api
from task_status_service.api.auth.authentication import Access
from task_status_service.api.middleware.browser_headers import EXPOSED, METHODS, REQUEST_HEADERS
from task_status_worker.record.model import Fact, Note

OURS = "https://app.example.com"
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


@pytest.fixture
def stored(store):
    """A finished and a queued task."""
    store.metas["t-1"] = json.dumps({"status": "SUCCESS", "result": 42}).encode()
    store.note(Note(task_id="t-2", fact=Fact.SUBMITTED))


@pytest.fixture
def client(tracker, submitter, feed) -> FlaskClient:
    """A client of a service that other hosts can reach, and that lists no origin."""
    return create_api(tracker, submitter, feed, access=Access(is_local=False)).test_client()


@pytest.fixture
def open_client(tracker, submitter, feed) -> FlaskClient:
    """A client of a service that lists an origin."""
    return create_api(tracker, submitter, feed, cors_origins={OURS, "http://localhost:3000"}).test_client()


#: method, path, status: one request for each code path that creates answers
ANSWERS = [
    ("GET", "/tasks/t-1", 200),
    ("GET", "/tasks/t-1?wait=0", 200),
    ("GET", "/tasks/unknown", 404),
    ("GET", "/tasks", 200),
    ("GET", "/tasks/t-1/result", 200),
    ("GET", "/tasks/t-1/events", 200),
    ("GET", "/tasks?limit=x", 422),
    ("POST", "/tasks", 422),
    ("POST", "/tasks/t-2/cancel", 202),
    ("DELETE", "/tasks/t-2", 409),
    ("OPTIONS", "/tasks", 200),
    ("HEAD", "/tasks/t-1", 200),
    ("GET", "/nothing", 404),
    ("GET", "/livez", 200),
    ("GET", "/openapi.json", 200),
]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(("method", "path", "code"), ANSWERS)
def test_every_answer_has_the_security_headers(client, method, path, code):
    """Every answer has the headers that forbid sniffing, scripts, frames and referrers, and shares nothing."""
    response = client.open(path, method=method, headers={"Origin": OURS})

    assert response.status_code == code
    assert {name: response.headers.getlist(name) for name in ALWAYS} == {name: [text] for name, text in ALWAYS.items()}
    assert response.headers.getlist("Vary") == ["Authorization"]
    assert not [name for name, _ in response.headers if name.lower().startswith("access-control-")]
    assert "Set-Cookie" not in response.headers


@pytest.mark.usefixtures("stored")
def test_answers_of_the_fast_read_have_the_security_headers(client, store):
    """304 and 503 of the fast read have the same headers."""
    etag = client.get("/tasks/t-1").headers["ETag"]
    unchanged = client.get("/tasks/t-1", headers={"If-None-Match": etag})
    store.down = True
    unavailable = client.get("/tasks/t-1")

    assert (unchanged.status_code, unavailable.status_code) == (304, 503)
    for response in (unchanged, unavailable):
        assert {name: response.headers[name] for name in ALWAYS} == ALWAYS


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(("method", "path", "code"), ANSWERS)
def test_a_listed_origin_reads_every_answer(open_client, method, path, code):
    """A page of a listed origin can read every answer and its exposed headers, without cookies."""
    response = open_client.open(path, method=method, headers={"Origin": OURS})

    assert response.status_code == code
    assert response.headers.getlist("Access-Control-Allow-Origin") == [OURS]
    assert response.headers["Access-Control-Expose-Headers"] == ", ".join(EXPOSED)
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert response.headers["Vary"] == "Authorization, Origin"
    assert {name: response.headers[name] for name in ALWAYS} == ALWAYS


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    "origin",
    [
        *("null", "*", "", "https://app.example.com.evil.example", "https://evil.example/https://app.example.com"),
        *(
            "https://evilapp.example.com",
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://example.com",
        ),
        *("https://APP.example.com", "https://app.example.com/", "https://app.example.com, https://evil.example"),
    ],
)
def test_other_origins_cannot_read_answers(open_client, origin):
    """An origin that only resembles a listed one is denied."""
    for method in ("GET", "OPTIONS"):
        headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        response = open_client.open("/tasks/t-1", method=method, headers=headers)
        assert not [name for name, _ in response.headers if name.lower().startswith("access-control-")]
        assert response.headers["Vary"] == "Authorization, Origin"


@pytest.mark.parametrize("path", ["/tasks", "/tasks/t-1", "/tasks/t-1/cancel", "/events"])
def test_a_preflight_needs_no_key(open_client, path):
    """A preflight is answered without a key, because browsers send none with it."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    response = open_client.options(path, headers={"Origin": OURS, **asked})

    assert (response.status_code, response.data) == (204, b"")
    assert response.headers["Access-Control-Allow-Origin"] == OURS
    assert response.headers["Access-Control-Allow-Methods"] == ", ".join(METHODS)
    assert {"Authorization", "Content-Type", "Idempotency-Key", "If-None-Match"} <= set(REQUEST_HEADERS)
    assert response.headers["Access-Control-Allow-Headers"] == ", ".join(REQUEST_HEADERS)
    assert int(response.headers["Access-Control-Max-Age"]) <= 7_200
    assert "*" not in str(response.headers)


@pytest.mark.parametrize("path", ["/tasks", "/tasks/t-2/cancel"])
@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"]
)
@pytest.mark.usefixtures("stored")
def test_forms_cannot_submit(client, broker, path, content_type):
    """A content type that needs no preflight is rejected, even if the body is JSON."""
    response = client.post(path, data=b'{"name": "demo.add", "kwargs": {"x": 1, "y": 2}}', content_type=content_type)

    assert response.status_code == 415
    assert (broker.sent, broker.canceled) == ([], [])


def test_cookies_are_ignored(client):
    """The service ignores cookies, which browsers send automatically."""
    assert client.get("/tasks/unknown", headers={"Cookie": "session=tsk_a_b"}).status_code == 404
