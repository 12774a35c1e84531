"""The comparison tells breaking from harmless changes; each test changes a copy of the real document."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from contract.compatibility import breaking_changes

DOCUMENT = json.loads((Path(__file__).parents[2] / "openapi" / "openapi.json").read_bytes())


class Edit:
    """A copy of the document, with access to its parts."""

    def __init__(self, document: Any) -> None:
        self.document = copy.deepcopy(document)
        self.paths = self.document["paths"]
        self.schemas = self.document["components"]["schemas"]
        self.list = self.paths["/tasks"]["get"]
        self.submit = self.paths["/tasks"]["post"]
        self.read = self.paths["/tasks/{task_id}"]["get"]
        self.status = self.schemas["TaskStatus"]
        self.submission = self.schemas["Submission"]["properties"]

    def parameter(self, name):
        return next(one for one in self.list["parameters"] if one["name"] == name)

    def rename(self, old, new):
        """Rename a component everywhere in the document."""
        text = json.dumps(self.document).replace(json.dumps(old), json.dumps(new))
        self.document = json.loads(text.replace(f'/{old}"', f'/{new}"'))


def edited(edit, document=DOCUMENT):
    """Return an edited copy of the document."""
    copied = Edit(document)
    edit(copied)
    assert copied.document != document, "nothing was edited"
    return copied.document


def without(node, key):
    """Remove a property, also from the required ones."""
    del node["properties"][key]
    node["required"].remove(key)


BREAKING = {
    # Operations.
    "path gone": ("getReadiness", lambda e: e.paths.pop("/readyz")),
    "path renamed": ("watchTasks", lambda e: e.paths.update({"/streams": e.paths.pop("/events")})),
    "operation gone": ("listTasks", lambda e: e.paths["/tasks"].pop("get")),
    "operation renamed": ("listTasks", lambda e: e.list.update(operationId="getTasks")),
    "operation under another tag": ("listTasks", lambda e: e.list.update(tags=["lists"])),
    "another OpenAPI": ("openapi", lambda e: e.document.update(openapi="3.2.0")),
    "another server": ("servers", lambda e: e.document.update(servers=[{"url": "/v2"}])),
    # Who may call them.
    "another scope": ("listTasks", lambda e: e.list.update(security=[{"ApiKey": ["admin"]}])),
    "one more scope": ("listTasks", lambda e: e.list["security"][0]["ApiKey"].append("admin")),
    "a way in gone": ("getTask", lambda e: e.read["security"].pop()),
    "a key where none was needed": (
        "getLiveness",
        lambda e: e.paths["/livez"]["get"].update(security=[{"ApiKey": []}]),
    ),
    "a security scheme renamed": ("ApiKey", lambda e: e.rename("ApiKey", "Key")),
    "a security scheme elsewhere": (
        "ApiKey",
        lambda e: e.document["components"]["securitySchemes"]["ApiKey"].update(scheme="basic"),
    ),
    # Parameters.
    "parameter gone": ("listTasks", lambda e: e.list["parameters"].remove(e.parameter("cursor"))),
    "parameter renamed": ("listTasks", lambda e: e.parameter("cursor").update(name="after")),
    "parameter elsewhere": ("listTasks", lambda e: e.parameter("cursor").update({"in": "header"})),
    "parameter required": ("listTasks", lambda e: e.parameter("state").update(required=True)),
    "required parameter new": (
        "listTasks",
        lambda e: e.list["parameters"].append({"in": "query", "name": "x", "required": True, "schema": {}}),
    ),
    "parameter written otherwise": ("listTasks", lambda e: e.parameter("state").update(explode=False)),
    "parameter of another type": ("listTasks", lambda e: e.parameter("limit")["schema"].update(type="string")),
    "parameter's limit lower": ("listTasks", lambda e: e.parameter("limit")["schema"].update(maximum=100)),
    "parameter's default another": ("listTasks", lambda e: e.parameter("limit")["schema"].update(default=20)),
    "path parameter narrower": (
        "getTask",
        lambda e: e.paths["/tasks/{task_id}"]["parameters"][0]["schema"].update(pattern="^[a-z]+$"),
    ),
    # Requests.
    "body required": (
        "cancelTask",
        lambda e: e.paths["/tasks/{task_id}/cancel"]["post"]["requestBody"].update(required=True),
    ),
    "body gone": ("submitTask", lambda e: e.submit.pop("requestBody")),
    "body new and required": (
        "retryTask",
        lambda e: e.paths["/tasks/{task_id}/retry"]["post"].update(requestBody=e.submit["requestBody"]),
    ),
    "body of another media type": (
        "submitTask",
        lambda e: e.submit["requestBody"].update(content={"text/json": {"schema": {}}}),
    ),
    "request property gone": ("Submission", lambda e: e.submission.pop("priority")),
    "request property required": ("Submission", lambda e: e.schemas["Submission"]["required"].append("queue")),
    "request property narrower: maximum": ("Submission", lambda e: e.submission["priority"].update(maximum=9)),
    "request property narrower: minimum": ("Submission", lambda e: e.submission["priority"].update(minimum=1)),
    "request property narrower: new minimum": ("Submission", lambda e: e.submission["args"].update(minItems=1)),
    "request property narrower: pattern": ("Submission", lambda e: e.submission["queue"].update(pattern="^[a-z]+$")),
    "request property narrower: new pattern": ("Submission", lambda e: e.submission["name"].update(pattern="[.]")),
    "request property narrower: type": ("Submission", lambda e: e.submission["countdown"].update(type="integer")),
    "request property narrower: variant": ("Submission", lambda e: e.submission["expires"]["anyOf"].pop()),
    "request property narrower: labels": (
        "Submission",
        lambda e: e.submission["labels"]["additionalProperties"].update(maxLength=64),
    ),
    "request property narrower: label names": (
        "Submission",
        lambda e: e.submission["labels"]["propertyNames"].update(pattern="^[a-z]+$"),
    ),
    "request property narrower: no other properties": (
        "Submission",
        lambda e: e.submission["kwargs"].update(additionalProperties=False),
    ),
    "request property narrower: unique": ("Submission", lambda e: e.submission["args"].update(uniqueItems=True)),
    "request format gone": ("Submission", lambda e: e.submission["eta"].pop("format")),
    "request default another": (
        "TokenRequest",
        lambda e: e.schemas["TokenRequest"]["properties"]["ttl_seconds"].update(default=60),
    ),
    # Answers.
    "status gone": ("listTasks", lambda e: e.list["responses"].pop("422")),
    "another success": ("listTasks", lambda e: e.list["responses"].update({"206": e.list["responses"]["200"]})),
    "header gone": ("getTask", lambda e: e.read["responses"]["200"]["headers"].pop("ETag")),
    "header may be missing": (
        "getTask",
        lambda e: e.document["components"]["headers"]["ETag"].update(required=False),
    ),
    "media type gone": (
        "watchTask",
        lambda e: e.paths["/tasks/{task_id}/events"]["get"]["responses"]["200"].pop("content"),
    ),
    "media type new": (
        "getTask",
        lambda e: e.read["responses"]["200"]["content"].update({"application/xml": {"schema": {}}}),
    ),
    "errors of another media type": (
        "listTasks",
        lambda e: e.list["responses"]["403"].update(
            content={"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        ),
    ),
    "property gone": ("TaskStatus", lambda e: without(e.status, "queue")),
    "property renamed": (
        "TaskStatus",
        lambda e: (e.status["properties"].update(queue_name={"type": "string"}), without(e.status, "queue")),
    ),
    "property may be missing": ("TaskStatus", lambda e: e.status["required"].remove("queue")),
    "property may be null": ("TaskStatus", lambda e: e.status["properties"]["done"].update(type=["boolean", "null"])),
    "property of another type": ("TaskStatus", lambda e: e.status["properties"]["retries"].update(type="string")),
    "property of a wider type": ("TaskStatus", lambda e: e.status["properties"]["retries"].update(type="number")),
    "property of any type": ("TaskStatus", lambda e: e.status["properties"]["retries"].pop("type")),
    "reference may be null": (
        "TaskStatus",
        lambda e: e.status["properties"].update(
            liveness={"anyOf": [{"$ref": "#/components/schemas/Liveness"}, {"type": "null"}]}
        ),
    ),
    "property of another class": (
        "TaskStatus",
        lambda e: e.status["properties"]["liveness"].update({"$ref": "#/components/schemas/TaskState"}),
    ),
    "variant new": ("TaskStatus", lambda e: e.status["properties"]["progress"]["anyOf"].append({"type": "string"})),
    "format gone": ("IssuedToken", lambda e: e.schemas["IssuedToken"]["properties"]["expires_at"].pop("format")),
    "format another": ("TaskStatus", lambda e: e.status["properties"]["started_at"].update(format="date")),
    "items of another type": ("TaskStatus", lambda e: e.status["properties"]["children"].update(items={})),
    "no other properties": (
        "TaskType",
        lambda e: e.schemas["TaskType"]["properties"]["arguments"].update(additionalProperties=False),
    ),
    "state new": ("TaskState", lambda e: e.schemas["TaskState"]["enum"].append("paused")),
    "state gone": ("TaskState", lambda e: e.schemas["TaskState"]["enum"].remove("retrying")),
    "failure kind new": ("FailureKind", lambda e: e.schemas["FailureKind"]["enum"].append("bored")),
    "token scope new": ("TokenScope", lambda e: e.schemas["TokenScope"]["enum"].append("submit")),
    "liveness new": ("Liveness", lambda e: e.schemas["Liveness"]["enum"].append("sleepy")),
    "enum gone": ("Liveness", lambda e: e.schemas["Liveness"].pop("enum")),
    "schema renamed": ("IssuedToken", lambda e: e.rename("IssuedToken", "TaskToken")),
    # What no rule knows.
    "keyword that nobody knows": ("TaskStatus", lambda e: e.status.update(patternProperties={"^x": {}})),
    "combined otherwise": (
        "TaskStatus",
        lambda e: e.status["properties"].update(
            failure={"oneOf": [{"$ref": "#/components/schemas/Failure"}, {"type": "null"}]}
        ),
    ),
}

HARMLESS = {
    "operation new": lambda e: e.paths.update({"/stats": {"get": {**e.list, "operationId": "getStats"}}}),
    "method new": lambda e: e.paths["/events"].update(post={**e.submit, "operationId": "postEvent"}),
    "optional parameter new": lambda e: e.list["parameters"].append({"in": "query", "name": "x", "schema": {}}),
    "parameter not required any more": lambda e: e.paths["/events"]["get"]["parameters"][0].update(required=False),
    "parameter's limit higher": lambda e: e.parameter("limit")["schema"].update(maximum=500),
    "filter by more states at once": lambda e: e.parameter("state")["schema"].update(maxItems=20),
    "optional body new": lambda e: e.paths["/tasks/{task_id}/retry"]["post"].update(
        requestBody={**e.submit["requestBody"], "required": False}
    ),
    "body not required any more": lambda e: e.submit["requestBody"].update(required=False),
    "another media type taken": lambda e: e.submit["requestBody"]["content"].update({"text/json": {"schema": {}}}),
    "optional request property new": lambda e: e.submission.update(note={"type": "string"}),
    "request property not required any more": lambda e: e.schemas["Submission"].update(required=[]),
    "request property may be null": lambda e: e.submission["queue"].update(type=["string", "null"]),
    "request property wider: maximum": lambda e: e.submission["priority"].update(maximum=1_000),
    "request property wider: no minimum": lambda e: e.submission["countdown"].pop("minimum"),
    "request property wider: no pattern": lambda e: e.submission["queue"].pop("pattern"),
    "request property wider: type": lambda e: e.submission["priority"].update(type="number"),
    "request property wider: variant": lambda e: e.submission["expires"]["anyOf"].append({"type": "null"}),
    "other request properties": lambda e: e.schemas["Submission"].pop("additionalProperties"),
    "property new": lambda e: (
        e.status["properties"].update(attempts={"type": "integer"}),
        e.status["required"].append("attempts"),
    ),
    "property not null any more": lambda e: e.status["properties"]["name"].update(type="string"),
    "reference not null any more": lambda e: e.status["properties"].update(
        progress={"$ref": "#/components/schemas/Progress"}
    ),
    "property always there": lambda e: e.schemas["ProblemFault"]["required"].append("pointer"),
    "schema new": lambda e: e.schemas.update(Stats={"type": "object"}),
    "header new": lambda e: e.list["responses"]["200"]["headers"].update({"X": {"schema": {"type": "string"}}}),
    "header always there": lambda e: e.document["components"]["headers"]["CacheControl"].update(required=True),
    "error new": lambda e: e.list["responses"].update({"409": e.submit["responses"]["409"]}),
    "conditional": lambda e: e.list["responses"].update({"304": e.read["responses"]["304"]}),
    "link new": lambda e: e.submit["responses"]["202"].update(links={"read": {"operationId": "getTask"}}),
    "another way in": lambda e: e.list["security"].append({"TaskToken": ["read"]}),
    "no key needed any more": lambda e: e.list.update(security=[]),
    "another tag": lambda e: e.list["tags"].append("lists"),
    "description": lambda e: e.status["properties"]["queue"].update(description="Another text."),
    "example": lambda e: e.read["responses"]["200"]["content"]["application/json"].update(example={}),
    "summary": lambda e: e.list.update(summary="Another text."),
    "deprecated": lambda e: e.list.update(deprecated=True),
    "extension": lambda e: e.list.update({"x-note": 1}),
    "title of the document": lambda e: e.document["info"].update(title="Another"),
    "patch of OpenAPI": lambda e: e.document.update(openapi="3.1.1"),
    "order": lambda e: e.list["parameters"].reverse(),
}


@pytest.mark.parametrize(("name", "edit"), BREAKING.values(), ids=BREAKING)
def test_finds_breaking_changes(name, edit):
    """A breaking change is reported with the name that clients know."""
    found = breaking_changes(DOCUMENT, edited(edit))
    assert name in {one.name for one in found}


@pytest.mark.parametrize("edit", HARMLESS.values(), ids=HARMLESS)
def test_ignores_harmless_changes(edit):
    """A harmless change is not reported."""
    assert breaking_changes(DOCUMENT, edited(edit)) == []


def test_enums_of_requests():
    """An enum of requests may get new values, and lose none."""
    old = edited(lambda e: e.submission.update(mode={"type": "string", "enum": ["a", "b"]}))
    more, fewer = (
        edited(lambda e, values=values: e.submission["mode"].update(enum=values), old)
        for values in (["a", "b", "c"], ["a"])
    )
    assert breaking_changes(old, more) == []
    assert [str(one) for one in breaking_changes(old, fewer)] == ["Submission: mode: b is gone"]


def test_equal_documents_have_no_changes():
    """A document compared with itself has no breaking change."""
    assert breaking_changes(DOCUMENT, copy.deepcopy(DOCUMENT)) == []


@pytest.mark.parametrize("name", sorted(DOCUMENT["components"]["schemas"]))
def test_compares_every_schema(name):
    """Every schema is reachable from an operation: a changed type in it is reported."""
    schema = DOCUMENT["components"]["schemas"][name]
    changed = {"type": "integer"} if schema["type"] != "integer" else {"type": "string"}
    found = breaking_changes(DOCUMENT, edited(lambda e: e.schemas[name].update(changed)))
    assert {one.name for one in found} == {name}


def test_reports_each_change_once():
    """A changed schema that many operations refer to is reported once."""
    found = breaking_changes(DOCUMENT, edited(lambda e: e.schemas["TaskState"]["enum"].append("paused")))
    assert [str(one) for one in found] == ["TaskState: paused may come now"]
