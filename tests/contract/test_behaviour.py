"""The running service does what the document says: schemathesis over gunicorn, a real Redis and a real worker."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from jsonschema import Draft202012Validator
from servers import running_redis, running_service, wait_until, worker_process
from task_status_service.caller import Scope
from task_status_service.keyfile import change
from task_status_service.keyring import new_key

from contract.allowances import ALLOWANCES, Request, names_of

HERE = Path(__file__).parent
DOCUMENT = json.loads((HERE.parents[1] / "openapi" / "openapi.json").read_bytes())
#: of two keys of which neither may see what the other has submitted: all but that of those who see everything
SCOPES = [scope for scope in Scope if scope is not Scope.ADMIN]

pytestmark = pytest.mark.timeout(300)


class Run(NamedTuple):
    """What came of a run of schemathesis."""

    code: int
    output: str
    #: how often each operation gave each status
    answers: Counter[tuple[str, str]]
    phases: set[str]
    log: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder for keys, logs and what schemathesis reads and writes."""
    return tmp_path_factory.mktemp("contract")


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[dict[str, str]]:
    """Run the service and a worker with the demo tasks, for the holders of two keys."""
    keys = {name: new_key(name, SCOPES, created_at=datetime.now(UTC)) for name in ("one", "other")}
    for key, _ in keys.values():
        change(folder / "api-keys.json", lambda kept, key=key: kept.with_key(key))
    authorizations = {name: f"Bearer {text}" for name, (_, text) in keys.items()}
    (folder / "keys.json").write_text(json.dumps({"auth": list(map(_wfc, authorizations.items()))}))
    with (
        running_redis(folder) as redis,
        # It is not waited for the tasks that still run at the end.
        worker_process(
            "task_status_worker.demo", "--concurrency=6", redis_url=redis.url, folder=folder, patience_seconds=1
        ),
        running_service(
            {
                "TASK_STATUS_REDIS_URL": redis.url,
                "TASK_STATUS_API_KEYS_FILE": str(folder / "api-keys.json"),
                "TASK_STATUS_REQUESTS_PER_SECOND": "0",
                "TASK_STATUS_QUEUED_PER_OWNER": "0",
            },
            folder=folder,
        ) as url,
    ):
        wait_until(lambda: requests.get(f"{url}/readyz", timeout=5).ok, what="ready")
        site = {"url": url, "authorization": authorizations["one"], "redis_url": redis.url}
        (folder / "site.json").write_text(json.dumps(site))
        yield site


@pytest.fixture(scope="module")
def run(folder: Path, site: dict[str, str]) -> Run:
    """Run schemathesis against the service."""
    return _run(folder, site["url"])


def _wfc(identity: tuple[str, str]) -> dict[str, Any]:
    """Write a key down as schemathesis reads it (Web Fuzzing Commons)."""
    name, authorization = identity
    return {"name": name, "fixedHeaders": [{"name": "Authorization", "value": authorization}]}


def _run(folder: Path, url: str) -> Run:
    command = [
        Path(sys.executable).with_name("schemathesis"),
        f"--config-file={HERE / 'schemathesis.toml'}",
        "run",
        f"{url}/openapi.json",
        "--report=ndjson",
        f"--report-ndjson-path={folder / 'report.ndjson'}",
        "--no-color",
    ]
    environ = {**os.environ, "PYTHONPATH": str(HERE.parent), "COLUMNS": "120"}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=240, check=False)
    assert (folder / "report.ndjson").exists(), done.stdout + done.stderr
    events = [json.loads(line) for line in (folder / "report.ndjson").read_text().splitlines()]
    return Run(
        code=done.returncode,
        output=done.stdout + done.stderr,
        answers=Counter(_answers(event["ScenarioFinished"] for event in events if "ScenarioFinished" in event)),
        phases={event["ScenarioFinished"]["phase"] for event in events if "ScenarioFinished" in event},
        log=(folder / "service.log").read_text(),
    )


def _answers(scenarios: Iterator[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for scenario in scenarios:
        recorder = scenario["recorder"]
        for case_id, interaction in recorder.get("interactions", {}).items():
            case = recorder["cases"][case_id]["value"]
            operation = DOCUMENT["paths"].get(case["path"], {}).get(case["method"].lower())
            if operation and interaction["response"]:
                yield operation["operationId"], str(interaction["response"]["status_code"])


def documented() -> set[tuple[str, str]]:
    """Give every status of every operation."""
    return {
        (operation["operationId"], status)
        for item in DOCUMENT["paths"].values()
        for operation in item.values()
        if isinstance(operation, dict)
        for status in operation["responses"]
    }


def test_the_service_does_what_the_document_says(run):
    """No check fails in any phase."""
    assert run.code == 0, run.output
    assert run.phases == {"examples", "coverage", "fuzzing", "stateful"}
    assert "Traceback" not in run.log


def test_every_success_was_seen(run):
    """Each documented success of each operation was really answered, and so was checked."""
    assert {one for one in documented() if one[1] < "400"} - run.answers.keys() == set()


@pytest.mark.parametrize("name", ALLOWANCES)
def test_nothing_is_allowed_in_vain(name, site):
    """There is a request that is right by the document, and refused for just this reason."""
    for request in ALLOWANCES[name].requests:
        check_request(request)
        headers = {"Authorization": site["authorization"], **({"Idempotency-Key": request.key} if request.key else {})}
        response = requests.request(
            request.method,
            site["url"] + request.path,
            params=request.query,
            json=request.body,
            headers=headers,
            timeout=10,
        )
    assert response.status_code in {400, 422}
    assert set(names_of(response.json())) == {name}


def check_request(request: Request) -> None:
    """Hold the query and the body of a request to the document."""
    operation = DOCUMENT["paths"][request.path][request.method.lower()]
    if request.body is not None:
        check_value(request.body, operation["requestBody"]["content"]["application/json"]["schema"])
    parameters = {one["name"]: one["schema"] for one in operation.get("parameters", [])}
    for name, values in (request.query or {}).items():
        check_value(values if parameters[name].get("type") == "array" else values[0], parameters[name])


def check_value(value: Any, schema: Any) -> None:
    """Hold a value to a schema of the document."""
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)
