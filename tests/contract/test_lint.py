"""redocly lints the committed OpenAPI document."""

import json
import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "openapi" / "openapi.json"
#: no telemetry, no check for updates
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true", "NO_COLOR": "1"}


def lint(document, output):
    """Lint a document; return the exit code, stdout and stderr."""
    redocly = HERE / "node_modules" / ".bin" / "redocly"
    command = [redocly, "lint", document, "--config", HERE / "redocly.yaml", "--format", output]
    done = subprocess.run(command, env={**os.environ, **QUIET}, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_committed_document_has_no_findings():
    """Redocly finds no problem in the committed document."""
    code, found, log = lint(DOCUMENT, "stylish")
    assert code == 0, f"{found}\n{log}"


@pytest.mark.parametrize(
    ("rule", "edit"),
    [
        ("operation-summary", lambda document: document["paths"]["/tasks"]["get"].pop("summary")),
        ("operation-4xx-response", lambda document: document["paths"]["/tasks"]["get"].update(responses={"200": {}})),
        ("no-unused-components", lambda document: document["components"]["schemas"].update(Unused={"type": "string"})),
        (
            "response-contains-header",
            lambda document: document["paths"]["/tasks"]["get"]["responses"]["429"]["headers"].pop("Retry-After"),
        ),
        (
            "no-invalid-media-type-examples",
            lambda document: document["paths"]["/livez"]["get"]["responses"]["200"]["content"][
                "application/json"
            ].update(example={"status": 7}),
        ),
    ],
)
def test_faults_are_found(rule, edit, tmp_path):
    """Recommended rules, warnings and the rules of this project are active."""
    document = json.loads(DOCUMENT.read_bytes())
    edit(document)
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(document))
    code, found, log = lint(path, "json")
    assert code == 1, log
    assert rule in {problem["ruleId"] for problem in json.loads(found)["problems"]}
