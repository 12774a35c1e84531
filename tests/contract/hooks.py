"""Hooks of schemathesis: real tasks for generated requests, and rules that the document cannot express.

schemathesis loads this module in the folder of one run; `site.json` there has the address of the service.
"""

import contextlib
import itertools
import json
import zlib
from pathlib import Path
from typing import Any, Final

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.auths import AuthContext, set_on_case
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import RejectedPositiveData
from urllib3.util import connection

from contract.allowances import names_of
from contract.live_tasks import KINDS, Tasks

SITE: Final = json.loads(Path("site.json").read_bytes())


@schemathesis.hook
def filter_failure(_context: HookContext, failure: Failure, _case: Case, response: Response) -> bool:
    """Ignore errors of valid requests that allowances.py lists; keep every other failure."""
    is_refused = isinstance(failure, RejectedPositiveData) and response.status_code in (400, 422)
    return not is_refused or None in names_of(response.json())


@schemathesis.check
def problem_is_listed(_context: CheckContext, response: Response, case: Case) -> None:
    """Every problem of an operation is among the examples of that answer in the document."""
    content = case.operation.definition.raw["responses"].get(str(response.status_code), {}).get("content", {})
    if "application/problem+json" in content:
        slug = response.json()["type"].rpartition("/")[2]
        listed = content["application/problem+json"]["examples"].keys()
        assert slug in listed, f"{slug} is not among {sorted(listed)}"


tasks: Final = Tasks(**SITE)
#: the task id in the examples of the document
EXAMPLE: Final = "6f1c7f6e-0f3a-4f0e-9d55-6f2a3c1b7a10"
#: the only long wait that is sent, in seconds; other waits are shortened, to keep the run short
LONGEST_WAIT: Final = 10.0
SHORT_WAIT: Final = 0.2
#: placeholders for a version that the caller knows
VERSIONS: Final = {"If-None-Match": "*", "Last-Event-ID": "last"}
#: example requests of operations without a task in their path
ASKED: Final = {
    "/events": [{"query": {"id": ["a", "b"]}}],
    "/task-types": [{}],
    "/task-types/{name}": [{"path_parameters": {"name": "demo.add"}}],
    "/tasks": [],
    "/livez": [],
    "/readyz": [],
}


@schemathesis.hook
def before_add_examples(context: HookContext, examples: list[Case]) -> None:
    """Add requests for each kind of task, with a known version, and with a wait."""
    operation = context.operation
    asked = ASKED.get(operation.path, [{"path_parameters": {"task_id": kind}} for kind in (*KINDS, "never")])
    headers = {name: word for name, word in VERSIONS.items() if name in operation.headers}
    asked = [*asked, *({**parts, "headers": headers} for parts in asked if headers)]
    if operation.method == "post" and "wait" in operation.query:
        body = {"body": {"name": "demo.add", "kwargs": {"x": 1, "y": 2}}, "media_type": "application/json"}
        asked.append(
            {
                "query": {"wait": LONGEST_WAIT},
                **({"path_parameters": {"task_id": "succeeded"}} if "{" in operation.path else body),
            }
        )
    for parts in asked:
        case = operation.Case(**parts)
        set_on_case(case, AuthContext(operation=operation, app=None), None)
        examples.append(case)


@schemathesis.hook
def before_call(_context: HookContext, case: Case, _kwargs: dict[str, Any]) -> None:
    """Replace the words of schemathesis.toml by real tasks and versions, and shorten waits."""
    headers, query, path_parameters = case.headers, case.query, case.path_parameters
    kind = path_parameters.get("task_id")
    if kind in (EXAMPLE, *KINDS):
        path_parameters["task_id"] = tasks.of("succeeded" if kind == EXAMPLE else kind)
    asks_for_last = headers.get("Last-Event-ID") == "last"
    if case.path == "/events" and "id" in query and (case.meta is None or case.meta.generation.mode.is_positive):
        query["id"] = _some_tasks(query["id"], only_done=asks_for_last)
    if asks_for_last:
        headers["Last-Event-ID"] = tasks.last_event(case.formatted_path, query)
    if "wait" in query:
        query["wait"] = _shorter(query["wait"])
    if "Authorization" not in headers:
        headers["Connection"] = "close"


def _shorter(wait: Any) -> Any:
    """Return a short wait, or `LONGEST_WAIT` unchanged; an invalid wait stays invalid."""
    with contextlib.suppress(ValueError, TypeError):
        if SHORT_WAIT < float(wait) <= 60 and wait != LONGEST_WAIT:
            return type(wait)(SHORT_WAIT * float(wait) / 60)
    return wait


def _some_tasks(made_up: list[str], *, only_done: bool) -> list[str]:
    """Return as many real task ids as were generated; the same input always has the same kinds."""
    kinds = ["canceled", "failed", "succeeded"] if only_done else [kind for kind in KINDS if kind != "expired"]
    first = zlib.crc32(repr(made_up).encode())
    return [tasks.of(kinds[(first + place) % len(kinds)]) for place in range(len(made_up))]


# The service limits requests without a key per address: thirty, then one every two seconds. So each of them closes its
# connection, and the next one uses another loopback address.
_addresses = (f"127.{second}.{third}.1" for second, third in itertools.product(range(1, 255), range(1, 255)))
_connect = connection.create_connection


def _connect_from_another(address: Any, *arguments: Any, source_address: Any = None, **options: Any) -> Any:
    return _connect(address, *arguments, source_address=source_address or (next(_addresses), 0), **options)


connection.create_connection = _connect_from_another
