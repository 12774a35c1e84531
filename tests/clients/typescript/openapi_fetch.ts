// Uses each operation with openapi-typescript and openapi-fetch, and asserts the type of each response: compiled strictly, then run.

import createClient from "openapi-fetch";
import { type components, FailureKind, type paths, TaskState } from "./task-status.ts";
import { check, environment, known, pause, report, same } from "./checks.ts";

type Schemas = components["schemas"];
type TaskStatus = Schemas["TaskStatus"];

const baseUrl = environment("TASK_STATUS_URL");
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${environment("TASK_STATUS_API_KEY")}` } });

async function submit(body: Schemas["Submission"], wait = 0): Promise<TaskStatus> {
  const { data, error } = await client.POST("/tasks", { body, params: { query: { wait } } });
  same<typeof data, TaskStatus | undefined>();
  same<typeof error, Schemas["Problem"] | undefined>();
  return known(data, error);
}

async function read(id: string, query: { wait?: number } = {}, etag?: string) {
  return client.GET("/tasks/{task_id}", {
    params: { path: { task_id: id }, query, ...(etag ? { header: { "If-None-Match": etag } } : {}) },
  });
}

async function followByEtag(): Promise<void> {
  // demo.sleep reports no progress, so that a poll returns 304.
  let task = await submit({ name: "demo.sleep", kwargs: { seconds: 3 } });
  const seen: (TaskState | null)[] = [];
  let etag: string | undefined;
  while (!task.done) {
    const { data, error, response } = await read(task.id, {}, etag);
    if (response.status === 304) check(data === undefined && !error, { data, error });
    else task = known(data, error);
    seen.push(response.status === 304 ? null : task.state);
    etag = known(response.headers.get("ETag"));
    if (!task.done) await pause(Number(known(response.headers.get("Retry-After"))));
  }
  same<TaskStatus["state"], TaskState>();
  same<TaskStatus["progress"], Schemas["Progress"] | null>();
  same<TaskStatus["failure"], Schemas["Failure"] | null>();
  same<TaskStatus["result"], unknown>();
  same<TaskStatus["labels"], { [key: string]: string }>();
  same<TaskStatus["finished_at"], string | null>();
  check(task.state === TaskState.succeeded && task.result === 3, task);
  report({ seen });
}

async function wait(): Promise<void> {
  check((await submit({ name: "demo.add", kwargs: { x: 2, y: 3 } }, 10)).result === 5, "2 + 3");
  let task = await submit({ name: "demo.checkpointed", kwargs: { total: 10 } });
  while (!task.done && !task.progress) {
    const etag = known((await read(task.id)).response.headers.get("ETag"));
    task = (await read(task.id, { wait: 10 }, etag)).data ?? task;
  }
  check(known(task.progress).total === 10, task);
  const { data, error } = await read(task.id, { wait: 20 });
  check(known(data, error).done, data);
  report({ waited: known(data).state });
}

async function failure(): Promise<void> {
  const kwargs = { message: "too much", details: { field: "amount" } };
  const task = await submit({ name: "demo.fail_with_details", kwargs }, 10);
  const { kind, message, details } = known(task.failure, task);
  same<typeof kind, FailureKind>();
  same<typeof message, string>();
  same<typeof details, unknown>();
  check(task.state === TaskState.failed && kind === FailureKind.exception && message === "too much", task);
  report({ failure: task.failure });
}

async function problems(): Promise<void> {
  const { error: notFound } = await read("no-such-task");
  same<typeof notFound, Schemas["Problem"] | undefined>();
  check(notFound?.status === 404 && notFound.type === "/problems/task-not-found", notFound);
  const { error: invalid } = await client.POST("/tasks", { body: { name: "demo.add", kwargs: { x: "two", y: 3 } } });
  check(invalid?.status === 422 && invalid.type === "/problems/validation", invalid);
  check(invalid.errors.length === 1 && invalid.errors[0]?.pointer === "#/kwargs/x", invalid);
  const unauthorized = createClient<paths>({ baseUrl, headers: { Authorization: "Bearer invalid-key" } });
  const { error: rejected } = await unauthorized.GET("/tasks");
  report({ problems: [notFound.status, invalid.status, known(rejected).status] });
}

async function cancel(): Promise<void> {
  const { id } = await submit({ name: "demo.sleep", kwargs: { seconds: 600 } });
  const params = { path: { task_id: id } };
  const { data: canceling, error } = await client.POST("/tasks/{task_id}/cancel", { params, body: { terminate: true } });
  check(known(canceling, error).cancel_requested, canceling);
  const { data: canceled } = await read(id, { wait: 20 });
  check(canceled?.state === TaskState.canceled, canceled);
  const { response } = await client.POST("/tasks/{task_id}/cancel", { params });
  check(response.status === 200, response.status);
  report({ canceled: canceled.state });
}

async function pages(): Promise<void> {
  const labels = { walk: `openapi-fetch-${process.hrtime.bigint()}` };
  const ids = new Set<string>();
  for (let y = 0; y < 5; y++) ids.add((await submit({ name: "demo.add", kwargs: { x: 1, y }, labels }, 10)).id);
  const found: string[] = [];
  const sizes: number[] = [];
  for (let cursor: string | null = ""; cursor !== null; ) {
    const query: NonNullable<paths["/tasks"]["get"]["parameters"]["query"]> = {
      label: [`walk:${labels.walk}`],
      state: [TaskState.succeeded],
      limit: 2,
      ...(cursor ? { cursor } : {}),
    };
    const { data, error } = await client.GET("/tasks", { params: { query } });
    const page: Schemas["TaskList"] = known(data, error);
    found.push(...page.items.map((task) => task.id));
    sizes.push(page.items.length);
    cursor = page.next_cursor;
  }
  check(found.length === 5 && found.every((id) => ids.has(id)), found);
  report({ pages: sizes });
}

async function events(): Promise<void> {
  const { id } = await submit({ name: "demo.checkpointed", kwargs: { total: 5 } });
  const { data } = await client.GET("/tasks/{task_id}/events", { params: { path: { task_id: id } }, parseAs: "stream" });
  let text = "";
  let pieces = 0;
  const decoder = new TextDecoder();
  for await (const piece of known(data)) {
    text += decoder.decode(piece, { stream: true });
    pieces += 1;
  }
  check(text.includes("event: status") && text.includes('"state":"succeeded"'), text);
  check(pieces > 1, pieces);
  report({ events: pieces });
}

for (const step of [followByEtag, wait, failure, problems, cancel, pages, events]) await step();
