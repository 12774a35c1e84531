"""The comparison reports breaking changes only; each test changes a copy of the real document."""

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
    assert copied.document != document, "the edit changed nothing"
    return copied.document


def without(node, key):
    """Remove a property, also from the list of required properties."""
    del node["properties"][key]
    node["required"].remove(key)


BREAKING = {
    # Operations.
    "path removed": ("getReadiness", lambda e: e.paths.pop("/readyz")),
    "path renamed": ("watchTasks", lambda e: e.paths.update({"/streams": e.paths.pop("/events")})),
    "operation removed": ("listTasks", lambda e: e.paths["/tasks"].pop("get")),
    "operation renamed": ("listTasks", lambda e: e.list.update(operationId="getTasks")),
    "operation under another tag": ("listTasks", lambda e: e.list.update(tags=["lists"])),
    "another OpenAPI version": ("openapi", lambda e: e.document.update(openapi="3.2.0")),
    "another server": ("servers", lambda e: e.document.update(servers=[{"url": "/v2"}])),
    # Authorization.
    "another scope": ("listTasks", lambda e: e.list.update(security=[{"ApiKey": ["admin"]}])),
    "additional scope": ("listTasks", lambda e: e.list["security"][0]["ApiKey"].append("admin")),
    "security alternative removed": ("getTask", lambda e: e.read["security"].pop()),
    "key newly required": (
        "getLiveness",
        lambda e: e.paths["/livez"]["get"].update(security=[{"ApiKey": []}]),
    ),
    "security scheme renamed": ("ApiKey", lambda e: e.rename("ApiKey", "Key")),
    "security scheme changed": (
        "ApiKey",
        lambda e: e.document["components"]["securitySchemes"]["ApiKey"].update(scheme="basic"),
    ),
    # Parameters.
    "parameter removed": ("listTasks", lambda e: e.list["parameters"].remove(e.parameter("cursor"))),
    "parameter renamed": ("listTasks", lambda e: e.parameter("cursor").update(name="after")),
    "parameter in another place": ("listTasks", lambda e: e.parameter("cursor").update({"in": "header"})),
    "parameter required": ("listTasks", lambda e: e.parameter("state").update(required=True)),
    "required parameter added": (
        "listTasks",
        lambda e: e.list["parameters"].append({"in": "query", "name": "x", "required": True, "schema": {}}),
    ),
    "parameter in another style": ("listTasks", lambda e: e.parameter("state").update(explode=False)),
    "parameter of another type": ("listTasks", lambda e: e.parameter("limit")["schema"].update(type="string")),
    "parameter with a lower maximum": ("listTasks", lambda e: e.parameter("limit")["schema"].update(maximum=100)),
    "parameter with another default": ("listTasks", lambda e: e.parameter("limit")["schema"].update(default=20)),
    "path parameter narrower": (
        "getTask",
        lambda e: e.paths["/tasks/{task_id}"]["parameters"][0]["schema"].update(pattern="^[a-z]+$"),
    ),
    # Requests.
    "body required": (
        "cancelTask",
        lambda e: e.paths["/tasks/{task_id}/cancel"]["post"]["requestBody"].update(required=True),
    ),
    "body removed": ("submitTask", lambda e: e.submit.pop("requestBody")),
    "required body added": (
        "retryTask",
        lambda e: e.paths["/tasks/{task_id}/retry"]["post"].update(requestBody=e.submit["requestBody"]),
    ),
    "body of another media type": (
        "submitTask",
        lambda e: e.submit["requestBody"].update(content={"text/json": {"schema": {}}}),
    ),
    "request property removed": ("Submission", lambda e: e.submission.pop("priority")),
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
    "request property: format removed": ("Submission", lambda e: e.submission["eta"].pop("format")),
    "request property with another default": (
        "TokenRequest",
        lambda e: e.schemas["TokenRequest"]["properties"]["ttl_seconds"].update(default=60),
    ),
    # Responses.
    "status removed": ("listTasks", lambda e: e.list["responses"].pop("422")),
    "another success status": ("listTasks", lambda e: e.list["responses"].update({"206": e.list["responses"]["200"]})),
    "header removed": ("getTask", lambda e: e.read["responses"]["200"]["headers"].pop("ETag")),
    "header may be missing": (
        "getTask",
        lambda e: e.document["components"]["headers"]["ETag"].update(required=False),
    ),
    "media type removed": (
        "watchTask",
        lambda e: e.paths["/tasks/{task_id}/events"]["get"]["responses"]["200"].pop("content"),
    ),
    "media type added": (
        "getTask",
        lambda e: e.read["responses"]["200"]["content"].update({"application/xml": {"schema": {}}}),
    ),
    "errors of another media type": (
        "listTasks",
        lambda e: e.list["responses"]["403"].update(
            content={"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        ),
    ),
    "property removed": ("TaskStatus", lambda e: without(e.status, "queue")),
    "property renamed": (
        "TaskStatus",
        lambda e: (e.status["properties"].update(queue_name={"type": "string"}), without(e.status, "queue")),
    ),
    "property may be missing": ("TaskStatus", lambda e: e.status["required"].remove("queue")),
    "property may be null": ("TaskStatus", lambda e: e.status["properties"]["done"].update(type=["boolean", "null"])),
    "property of another type": ("TaskStatus", lambda e: e.status["properties"]["retries"].update(type="string")),
    "property of a wider type": ("TaskStatus", lambda e: e.status["properties"]["retries"].update(type="number")),
    "property without a type": ("TaskStatus", lambda e: e.status["properties"]["retries"].pop("type")),
    "reference may be null": (
        "TaskStatus",
        lambda e: e.status["properties"].update(
            liveness={"anyOf": [{"$ref": "#/components/schemas/Liveness"}, {"type": "null"}]}
        ),
    ),
    "property with another reference": (
        "TaskStatus",
        lambda e: e.status["properties"]["liveness"].update({"$ref": "#/components/schemas/TaskState"}),
    ),
    "variant added": ("TaskStatus", lambda e: e.status["properties"]["progress"]["anyOf"].append({"type": "string"})),
    "format removed": ("IssuedToken", lambda e: e.schemas["IssuedToken"]["properties"]["expires_at"].pop("format")),
    "format changed": ("TaskStatus", lambda e: e.status["properties"]["started_at"].update(format="date")),
    "items of another type": ("TaskStatus", lambda e: e.status["properties"]["children"].update(items={})),
    "no other properties allowed": (
        "TaskType",
        lambda e: e.schemas["TaskType"]["properties"]["arguments"].update(additionalProperties=False),
    ),
    "state added": ("TaskState", lambda e: e.schemas["TaskState"]["enum"].append("paused")),
    "state removed": ("TaskState", lambda e: e.schemas["TaskState"]["enum"].remove("retrying")),
    "failure kind added": ("FailureKind", lambda e: e.schemas["FailureKind"]["enum"].append("bored")),
    "token scope added": ("TokenScope", lambda e: e.schemas["TokenScope"]["enum"].append("submit")),
    "liveness added": ("Liveness", lambda e: e.schemas["Liveness"]["enum"].append("sleepy")),
    "enum removed": ("Liveness", lambda e: e.schemas["Liveness"].pop("enum")),
    "schema renamed": ("IssuedToken", lambda e: e.rename("IssuedToken", "TaskToken")),
    # Changes that no rule covers.
    "unknown keyword": ("TaskStatus", lambda e: e.status.update(patternProperties={"^x": {}})),
    "anyOf replaced by oneOf": (
        "TaskStatus",
        lambda e: e.status["properties"].update(
            failure={"oneOf": [{"$ref": "#/components/schemas/Failure"}, {"type": "null"}]}
        ),
    ),
}

HARMLESS = {
    "operation added": lambda e: e.paths.update({"/stats": {"get": {**e.list, "operationId": "getStats"}}}),
    "method added": lambda e: e.paths["/events"].update(post={**e.submit, "operationId": "postEvent"}),
    "optional parameter added": lambda e: e.list["parameters"].append({"in": "query", "name": "x", "schema": {}}),
    "parameter no longer required": lambda e: e.paths["/events"]["get"]["parameters"][0].update(required=False),
    "parameter with a higher maximum": lambda e: e.parameter("limit")["schema"].update(maximum=500),
    "parameter with more items": lambda e: e.parameter("state")["schema"].update(maxItems=20),
    "optional body added": lambda e: e.paths["/tasks/{task_id}/retry"]["post"].update(
        requestBody={**e.submit["requestBody"], "required": False}
    ),
    "body no longer required": lambda e: e.submit["requestBody"].update(required=False),
    "request media type added": lambda e: e.submit["requestBody"]["content"].update({"text/json": {"schema": {}}}),
    "optional request property added": lambda e: e.submission.update(note={"type": "string"}),
    "request property no longer required": lambda e: e.schemas["Submission"].update(required=[]),
    "request property may be null": lambda e: e.submission["queue"].update(type=["string", "null"]),
    "request property wider: maximum": lambda e: e.submission["priority"].update(maximum=1_000),
    "request property wider: no minimum": lambda e: e.submission["countdown"].pop("minimum"),
    "request property wider: no pattern": lambda e: e.submission["queue"].pop("pattern"),
    "request property wider: type": lambda e: e.submission["priority"].update(type="number"),
    "request property wider: variant": lambda e: e.submission["expires"]["anyOf"].append({"type": "null"}),
    "other request properties allowed": lambda e: e.schemas["Submission"].pop("additionalProperties"),
    "property added": lambda e: (
        e.status["properties"].update(attempts={"type": "integer"}),
        e.status["required"].append("attempts"),
    ),
    "property no longer null": lambda e: e.status["properties"]["name"].update(type="string"),
    "reference no longer null": lambda e: e.status["properties"].update(
        progress={"$ref": "#/components/schemas/Progress"}
    ),
    "property always present": lambda e: e.schemas["ProblemFault"]["required"].append("pointer"),
    "schema added": lambda e: e.schemas.update(Stats={"type": "object"}),
    "header added": lambda e: e.list["responses"]["200"]["headers"].update({"X": {"schema": {"type": "string"}}}),
    "header always present": lambda e: e.document["components"]["headers"]["CacheControl"].update(required=True),
    "error added": lambda e: e.list["responses"].update({"409": e.submit["responses"]["409"]}),
    "304 added": lambda e: e.list["responses"].update({"304": e.read["responses"]["304"]}),
    "link added": lambda e: e.submit["responses"]["202"].update(links={"read": {"operationId": "getTask"}}),
    "security alternative added": lambda e: e.list["security"].append({"TaskToken": ["read"]}),
    "key no longer required": lambda e: e.list.update(security=[]),
    "tag added": lambda e: e.list["tags"].append("lists"),
    "description": lambda e: e.status["properties"]["queue"].update(description="Another text."),
    "example": lambda e: e.read["responses"]["200"]["content"]["application/json"].update(example={}),
    "summary": lambda e: e.list.update(summary="Another text."),
    "deprecated": lambda e: e.list.update(deprecated=True),
    "extension": lambda e: e.list.update({"x-note": 1}),
    "title of the document": lambda e: e.document["info"].update(title="Another"),
    "patch version of OpenAPI": lambda e: e.document.update(openapi="3.1.1"),
    "order of parameters": lambda e: e.list["parameters"].reverse(),
}


@pytest.mark.parametrize(("name", "edit"), BREAKING.values(), ids=BREAKING)
def test_a_breaking_change_is_reported(name, edit):
    """A breaking change is reported with the name that clients use."""
    found = breaking_changes(DOCUMENT, edited(edit))
    assert name in {one.name for one in found}


@pytest.mark.parametrize("edit", HARMLESS.values(), ids=HARMLESS)
def test_a_harmless_change_is_ignored(edit):
    """A harmless change is not reported."""
    assert breaking_changes(DOCUMENT, edited(edit)) == []


def test_an_enum_of_a_request_may_grow():
    """An enum of a request may gain values but not lose one."""
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
def test_every_schema_is_compared(name):
    """Every schema is reachable from an operation: a changed type in it is reported."""
    schema = DOCUMENT["components"]["schemas"][name]
    changed = {"type": "integer"} if schema["type"] != "integer" else {"type": "string"}
    found = breaking_changes(DOCUMENT, edited(lambda e: e.schemas[name].update(changed)))
    assert {one.name for one in found} == {name}


def test_each_change_is_reported_once():
    """A changed schema that many operations refer to is reported once."""
    found = breaking_changes(DOCUMENT, edited(lambda e: e.schemas["TaskState"]["enum"].append("paused")))
    assert [str(one) for one in found] == ["TaskState: paused may come now"]
