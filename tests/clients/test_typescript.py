"""The clients of openapi-typescript and @hey-api/openapi-ts: compiled strictly, then run against the live service."""

import json
import re
import shutil

import pytest
from task_status_service.status import TaskState

from clients.scenario import check_output
from clients.workspace import HERE, Workspace

STATES = {str(state) for state in TaskState}


@pytest.fixture(scope="session")
def compiled(workspace: Workspace) -> Workspace:
    """Put the programs beside the generated clients, and compile them."""
    for file in (HERE / "typescript").iterdir():
        shutil.copy(file, workspace.folder)
    for name in ("openapi_fetch", "hey_api"):
        workspace.succeed("tsc", "--project", f"tsconfig.{name}.json")
    return workspace


def test_one_enum(workspace: Workspace) -> None:
    """The generated code has the ten states once, as one named enum."""
    for text, pattern in (
        ((workspace.folder / "task-status.ts").read_text(), r"export enum TaskState \{(.*?)\}"),
        (
            "".join(file.read_text() for file in sorted((workspace.folder / "task-status").rglob("*.ts"))),
            r"export const TaskState = \{(.*?)\} as const;",
        ),
    ):
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)  # noqa: PLW2901  # without the examples
        (members,) = re.findall(pattern, text, re.DOTALL)
        assert set(re.findall(r"""["'](\w+)["']""", members)) == STATES
        assert len(re.findall(r"\bsucceeded['\"]", text)) == 1


def test_type_without_the_enum_option(workspace: Workspace) -> None:
    """Without `--enum` the type is one union of ten texts, as openapi/README.md says."""
    workspace.succeed("openapi-typescript", "openapi.json", "--output", "union.ts")
    (union,) = re.findall(r"^ +TaskState: (.*);$", (workspace.folder / "union.ts").read_text(), re.MULTILINE)
    assert {word.strip('"') for word in union.split(" | ")} == STATES


def test_mistakes_are_found(compiled: Workspace) -> None:
    """The compiler reports each marked mistake when its mark is removed."""
    compiled.succeed("tsc", "--project", "tsconfig.mistakes.json")
    mistakes = compiled.folder / "mistakes.ts"
    marked = mistakes.read_text()
    unmarked = marked.replace("// @ts-expect-error", "//")
    mistakes.write_text(unmarked)
    try:
        done = compiled.run("tsc", "--project", "tsconfig.mistakes.json")
    finally:
        mistakes.write_text(marked)
    lines = {number + 1 for number, line in enumerate(marked.splitlines(), 1) if "@ts-expect-error" in line}
    found = {int(number) for number in re.findall(r"^mistakes\.ts\((\d+),", done.stdout, re.MULTILINE)}
    assert done.returncode != 0
    assert found == lines
    assert len(lines) > 10


def test_ten_lines_have_full_types(workspace: Workspace) -> None:
    """The compiler reports each typo in the ten-line example of openapi/README.md."""
    text = (workspace.folder / "follow.ts").read_text()
    slips = {".done": ".dune", "?.percent": "?.per_cent", ".result": ".results", "wait:": "weight:"}
    for right, slip in slips.items():
        assert right in text
        text = text.replace(right, slip)
    (workspace.folder / "slips.ts").write_text(text)
    config = {"extends": "./tsconfig.json", "compilerOptions": {"skipLibCheck": True}, "files": ["slips.ts"]}
    (workspace.folder / "tsconfig.slips.json").write_text(json.dumps(config))
    done = workspace.run("tsc", "--project", "tsconfig.slips.json")
    assert [slip for slip in slips.values() if f"'{slip.strip('?.:')}'" not in done.stdout] == [], done.stdout


def test_exact_optional_properties(compiled: Workspace) -> None:
    """Code of @hey-api/openapi-ts does not compile with exactOptionalPropertyTypes, as openapi/README.md says."""
    done = compiled.run("tsc", "--project", "tsconfig.hey_api.json", "--exactOptionalPropertyTypes", "--noEmit")
    assert done.returncode != 0
    assert all(line.startswith(("task-status/", " ")) for line in done.stdout.splitlines()), done.stdout


def test_scenarios_have_no_casts() -> None:
    """The scenarios use neither `any` nor casts nor @ts- comments."""
    for name in ("openapi_fetch.ts", "hey_api.ts"):
        text = (HERE / "typescript" / name).read_text()
        assert not re.search(r"\bany\b|\bas \w|@ts-|<\w+>\w", text.split("\n\n", 1)[1]), name


@pytest.mark.parametrize("name", ["openapi_fetch", "hey_api"])
def test_scenario(compiled: Workspace, name: str) -> None:
    """Each client submits, polls with ETags, waits, reads failures and problems, cancels, pages and streams events."""
    check_output(compiled.succeed("node", f"compiled/{name}.js"))


def test_the_key_is_never_in_the_url(compiled: Workspace) -> None:
    """@hey-api/openapi-ts sends the API key as a header and never in the URL, also for event streams."""
    program = """
import { createClient } from "./compiled/task-status/client/index.js";
import { watchTask } from "./compiled/task-status/sdk.gen.js";
const requests = [];
const answer = async (request) => {
  requests.push([new URL(request.url).search, request.headers.get("Authorization")]);
  return new Response("", { status: 204 });
};
const client = createClient({ baseUrl: "http://nowhere", auth: "secret", fetch: answer });
const { stream } = await watchTask({ client, path: { task_id: "t-1" }, sseMaxRetryAttempts: 1 });
for await (const _ of stream);
console.log(JSON.stringify(requests));
"""
    (compiled.folder / "key.mjs").write_text(program)
    assert json.loads(compiled.succeed("node", "key.mjs")) == [["", "Bearer secret"]]
