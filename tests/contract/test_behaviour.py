"""The running service follows the document: schemathesis against gunicorn, a real Redis and a real worker."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from contract.allowances import ALLOWANCES, names_of
from contract.document import ANSWERS, OPERATIONS, check_request
from contract.site import Site
from contract.test_refusals import REFUSALS

HERE = Path(__file__).parent
#: the default checks of schemathesis, and one of hooks.py
CHECKS = {
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "positive_data_acceptance",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "use_after_free",
    "ensure_resource_availability",
    "ignored_auth",
    "object_level_authorization",
    "problem_is_listed",
}
#: answers that need two simultaneous requests, and their test
ELSEWHERE = {
    ("submitTask", "409"): "tests/api/test_idempotency.py::test_a_concurrent_request_returns_409",
    ("watchTask", "422"): "tests/api/test_texts_of_clients.py::test_a_repeated_parameter_is_rejected",
}

pytestmark = pytest.mark.timeout(300)


class Run(NamedTuple):
    """The results of a run of schemathesis."""

    code: int
    output: str
    #: how often each operation answered each status
    answers: Counter[tuple[str, str]]
    phases: set[str]
    checks: set[str]
    log: str


@pytest.fixture(scope="module")
def run(site: Site) -> Run:
    """Run schemathesis against the service, and parse its report."""
    folder = site.folder
    told = {"url": site.url, "authorization": site.headers["one"]["Authorization"], "redis_url": site.redis.url}
    (folder / "site.json").write_text(json.dumps(told))
    (folder / "identities.json").write_text(json.dumps({"auth": [_identity(site, name) for name in ("one", "other")]}))
    command = [
        Path(sys.executable).with_name("schemathesis"),
        f"--config-file={HERE / 'schemathesis.toml'}",
        "run",
        f"{site.url}/openapi.json",
        "--report=ndjson",
        f"--report-ndjson-path={folder / 'report.ndjson'}",
        "--no-color",
    ]
    environ = {**os.environ, "PYTHONPATH": str(HERE.parent), "COLUMNS": "120"}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=240, check=False)
    assert (folder / "report.ndjson").exists(), done.stdout + done.stderr
    events = [json.loads(line) for line in (folder / "report.ndjson").read_text().splitlines()]
    scenarios = [event["ScenarioFinished"] for event in events if "ScenarioFinished" in event]
    recorders = [scenario["recorder"] for scenario in scenarios]
    return Run(
        code=done.returncode,
        output=done.stdout + done.stderr,
        answers=Counter(answer for recorder in recorders for answer in _answers(recorder)),
        phases={scenario["phase"] for scenario in scenarios},
        checks={
            check["name"]
            for recorder in recorders
            for checks in recorder.get("checks", {}).values()
            for check in checks
        },
        log=(folder / "service.log").read_text(),
    )


def _identity(site: Site, name: str) -> dict[str, Any]:
    """Return an owner in the format of schemathesis (Web Fuzzing Commons)."""
    return {"name": name, "fixedHeaders": [{"name": key, "value": text} for key, text in site.headers[name].items()]}


def _answers(recorder: dict[str, Any]) -> Iterator[tuple[str, str]]:
    names = {(operation.method, operation.path): name for name, operation in OPERATIONS.items()}
    for case_id, interaction in recorder.get("interactions", {}).items():
        case = recorder["cases"][case_id]["value"]
        if (name := names.get((case["method"], case["path"]))) and interaction["response"]:
            yield name, str(interaction["response"]["status_code"])


def test_service_follows_the_document(run):
    """No check of schemathesis fails in any phase."""
    assert run.code == 0, run.output
    assert run.phases == {"examples", "coverage", "fuzzing", "stateful"}
    assert run.checks == CHECKS
    assert "Traceback" not in run.log


def test_every_answer_was_seen(run):
    """Each documented answer was received and validated, here or in test_refusals.py."""
    assert {answer for answer in ANSWERS if answer[1] not in REFUSALS} - run.answers.keys() == ELSEWHERE.keys()
    for where in ELSEWHERE.values():
        path, _, name = where.partition("::")
        assert f"def {name}(" in (HERE.parents[1] / path).read_text()


@pytest.mark.parametrize("name", ALLOWANCES)
def test_each_allowance_has_a_real_request(name, site):
    """A request that is valid by the document gets exactly this error."""
    for request in ALLOWANCES[name].requests:
        operation = next(one for one in OPERATIONS.values() if one[:2] == (request.method, request.path))
        check_request(operation, request.query, request.body)
        headers = {**site.headers["one"], **({"Idempotency-Key": request.key} if request.key else {})}
        response = requests.request(
            request.method,
            site.url + request.path,
            params=request.query,
            json=request.body,
            headers=headers,
            timeout=10,
        )
    assert response.status_code in {400, 422}
    assert set(names_of(response.json())) == {name}
