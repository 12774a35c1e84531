"""redocly lints the committed document: a second opinion on the style of the OpenAPI document."""

import json
import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "openapi" / "openapi.json"
#: it asks nobody for updates and tells nobody of its use
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true", "NO_COLOR": "1"}


def lint(document, output):
    """Lint a document; give the exit code and what was printed."""
    redocly = HERE / "node_modules" / ".bin" / "redocly"
    command = [redocly, "lint", document, "--config", HERE / "redocly.yaml", "--format", output]
    done = subprocess.run(command, env={**os.environ, **QUIET}, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_committed():
    """Nothing is found in it."""
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
    """Its rules are on: of what it recommends, of its warnings, and of ours."""
    document = json.loads(DOCUMENT.read_bytes())
    edit(document)
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(document))
    code, found, log = lint(path, "json")
    assert code == 1, log
    assert rule in {problem["ruleId"] for problem in json.loads(found)["problems"]}
