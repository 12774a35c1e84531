"""Parameters that occur twice, numbers that only Python reads, and control characters: for each operation."""

from urllib.parse import quote

import pytest
from support.keys import MemoryKeys
from support.problems import problem_of
from support.use_cases import create_api
from task_status_service.api.auth.authentication import Access

ADD = {"name": "demo.add", "kwargs": {"x": 1, "y": 2}}
#: numbers to `int` or `float`, but not to JSON
NOT_NUMBERS = ["+5", "1_0", "٣", "\uff15", " 5", "5 ", "5\n", "0x5", "5e", "²", "nan", "inf", "", "--5", "1,5"]
#: times to Python, but not to RFC 3339
NOT_TIMES = ["20260102T030405Z", "2026-W01-1T00:00:00Z", "2026-01-02 00:00:00Z", "2026-01-02T00Z", "2026-01-02"]
#: C0, DEL, C1, line separators, and bidirectional overrides and isolates
CONTROLS = ["\0", "\t", "\n", "\r", "\x1b", "\x1f", "\x7f", "\x80", "\x9b", "\x9f", "\u2028", "\u2029"]
CONTROLS += ["\u202a", "\u202e", "\u2066", "\u2069"]


@pytest.fixture
def parameters(client):
    """Method, path and description of each query parameter of each operation."""
    document = client.get("/openapi.json").get_json()
    return [
        (method, path.replace("{task_id}", "a").replace("{name}", "a"), parameter)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if isinstance(operation, dict)
        for parameter in [*item.get("parameters", []), *operation.get("parameters", [])]
        if parameter["in"] == "query"
    ]


def is_list(parameter):
    """Return whether a parameter may occur several times."""
    return parameter["schema"].get("type") == "array"


def faults_of(client, method, path, query):
    """Return the names of the parameters that a 422 reports."""
    response = client.open(path, method=method, query_string=query, json=ADD if method == "post" else None)
    return {error.get("parameter") for error in problem_of(response, 422, "validation")["errors"]}


def test_a_repeated_parameter_is_rejected(client, store, parameters):
    """A parameter that may occur once gets 422 with its name if it occurs twice, also with the same value."""
    singles = [one for one in parameters if not is_list(one[2])]
    assert {parameter["name"] for _, _, parameter in singles} == {
        *("wait", "access_token", "name", "submitted_after", "submitted_before", "limit", "cursor")
    }
    for method, path, parameter in singles:
        name = parameter["name"]
        for texts in (["1", "1"], ["1", "2"], ["1", ""]):
            assert faults_of(client, method, path, {name: texts}) == {name}, (method, path, name)
    assert store.trips == 0


def test_two_tokens_are_no_credential(tracker, submitter, feed):
    """Authentication comes first: without a key, two tokens get 401."""
    client = create_api(tracker, submitter, feed, access=Access(MemoryKeys())).test_client()

    problem_of(client.get("/tasks/a/events?access_token=a&access_token=b"), 401, "unauthorized")


def test_numbers_have_ascii_digits_only(client, parameters):
    """A number in a query is a JSON number, for each such parameter."""
    numbers = [one for one in parameters if one[2]["schema"].get("type") in ("integer", "number")]
    assert {parameter["name"] for _, _, parameter in numbers} == {"wait", "limit"}
    for method, path, parameter in numbers:
        name = parameter["name"]
        for text in NOT_NUMBERS:
            assert faults_of(client, method, path, {name: text}) == {name}, (method, path, name, text)


def test_times_are_those_of_rfc_3339(client, parameters):
    """A time in a query is a time of RFC 3339, which is less than Python reads."""
    times = [one for one in parameters if one[2]["schema"].get("format") == "date-time"]
    assert {parameter["name"] for _, _, parameter in times} == {"submitted_after", "submitted_before"}
    for method, path, parameter in times:
        name = parameter["name"]
        assert client.open(path, method=method, query_string={name: "2026-01-02t03:04:05.5z"}).status_code == 200
        for text in (
            "20260102T030405Z",
            "2026-W01-1T00:00:00Z",
            "2026-01-02 00:00:00Z",
            "2026-01-02T00Z",
            "2026-01-02",
        ):
            assert faults_of(client, method, path, {name: text}) == {name}, text
        assert faults_of(client, method, path, {name: "٢٠٢٦-01-02T00:00:00Z"}) == {name}


def test_no_control_characters_in_queries(client, store, parameters):
    """No parameter that is a text may contain a control character."""
    prefix = {"label": "customer:4", "name": "demo", "id": "a"}
    texts = [one for one in parameters if one[2]["name"] in prefix]
    assert len(texts) == 4  # two operations read ids
    for method, path, parameter in texts:
        name = parameter["name"]
        for control in CONTROLS:
            assert faults_of(client, method, path, {name: f"{prefix[name]}{control}2"}) == {name}, (path, control)
    assert store.trips == 0


@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
def test_no_control_characters_in_submissions(client, store, broker, control):
    """No text of a submission may contain a control character, except the arguments of the task."""
    for body, pointer in (
        ({"name": f"demo{control}add"}, "#/name"),
        ({**ADD, "queue": f"celery{control}"}, "#/queue"),
        ({**ADD, "labels": {"customer": f"4{control}2"}}, "#/labels/customer"),
        ({**ADD, "labels": {f"a{control}": "42"}}, f"#/labels/a{quote(control)}"),
    ):
        problem = problem_of(client.post("/tasks", json=body), 422, "validation")
        # marshmallow adds whether the key or the value of a label is invalid.
        pointers = {error["pointer"].removesuffix("/key").removesuffix("/value") for error in problem["errors"]}
        assert pointers == {pointer}
    assert (store.trips, broker.sent) == (0, [])


@pytest.mark.parametrize("path", ["name", "queue", "label"])
def test_no_lone_surrogates(client, store, path):
    """Half of a surrogate pair is no text."""
    texts = {
        "name": b'{"name": "demo\\ud800"}',
        "queue": b'{"name": "demo.add", "queue": "\\udfff"}',
        "label": b'{"name": "demo.add", "labels": {"a": "\\ud83d"}}',
    }
    response = client.post("/tasks", data=texts[path], content_type="application/json")

    problem_of(response, 400, "malformed-json")
    assert store.trips == 0


def test_other_scripts_are_texts(client):
    """Letters of any script, emojis, and the marks for the direction of a single word are allowed."""
    label = "שלום \u200f42 😀 é"
    assert client.post("/tasks", json={**ADD, "labels": {"customer": label}}).status_code == 202
    [item] = client.get("/tasks", query_string={"label": f"customer:{label}"}).get_json()["items"]
    assert item["labels"] == {"customer": label}


def test_a_coded_body_is_rejected(client, store):
    """A body with a content coding is never read as plain JSON."""
    for coding in ("gzip", "identity", "br"):
        response = client.post("/tasks", json=ADD, headers={"Content-Encoding": coding})
        problem_of(response, 415, "unsupported-media-type")
    assert store.trips == 0


@pytest.mark.parametrize(
    "labels",
    [
        {f"a{number}": "" for number in range(17)},
        {"a" * 65: ""},
        {"a": "x" * 257},
        {f"a{number}": "x" * 256 for number in range(16)},
    ],
    ids=["17", "a long name", "a long value", "more than 4 KiB"],
)
def test_labels_are_limited(client, store, labels):
    """At most 16 labels, with names of 64 and values of 256 characters, in 4 KiB."""
    problem_of(client.post("/tasks", json={**ADD, "labels": labels}), 422, "validation")
    assert store.trips == 0


def test_a_filter_may_be_as_long_as_a_label(client):
    """The longest name with the longest value is a filter; a longer value is not, also after a short name."""
    assert client.get("/tasks", query_string={"label": f"{'a' * 64}:{'x' * 256}"}).status_code == 200
    for label in (f"a:{'x' * 257}", f"{'a' * 65}:x"):
        assert faults_of(client, "get", "/tasks", {"label": label}) == {"label"}
