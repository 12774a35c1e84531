// Uses each operation with @hey-api/openapi-ts, and asserts the type of each response: compiled strictly, then run.

import { createClient } from "./task-status/client/index.ts";
import { cancelTask, getTask, listTasks, submitTask, watchTask } from "./task-status/sdk.gen.ts";
import {
  type Failure,
  FailureKind,
  type Problem,
  type Progress,
  type Submission,
  type TaskList,
  TaskState,
  type TaskStatus,
} from "./task-status/types.gen.ts";
import { check, environment, known, pause, report, same } from "./checks.ts";

const baseUrl = environment("TASK_STATUS_URL");
const key = environment("TASK_STATUS_API_KEY");
const urls: string[] = [];
const client = createClient({
  baseUrl,
  auth: key,
  fetch: (input, init) => {
    urls.push(input instanceof Request ? input.url : String(input));
    return fetch(input, init);
  },
});

async function submit(body: Submission, wait = 0): Promise<TaskStatus> {
  const { data, error } = await submitTask({ client, body, query: { wait } });
  same<typeof data, TaskStatus | undefined>();
  same<typeof error, Problem | undefined>();
  return known(data, error);
}

function read(id: string, query: { wait?: number } = {}, etag?: string) {
  return getTask({ client, path: { task_id: id }, query, ...(etag ? { headers: { "If-None-Match": etag } } : {}) });
}

async function followByEtag(): Promise<void> {
  // demo.sleep reports no progress, so that a poll returns 304.
  let task = await submit({ name: "demo.sleep", kwargs: { seconds: 3 } });
  const seen: (TaskState | null)[] = [];
  let etag: string | undefined;
  while (!task.done) {
    const { data, error, response } = await read(task.id, {}, etag);
    const headers = known(response).headers;
    if (response?.status === 304) check(data === undefined && Object.keys(known(error)).length === 0, { data, error });
    else task = known(data, error);
    seen.push(response?.status === 304 ? null : task.state);
    etag = known(headers.get("ETag"));
    if (!task.done) await pause(Number(known(headers.get("Retry-After"))));
  }
  same<TaskStatus["state"], TaskState>();
  same<TaskStatus["progress"], Progress | null>();
  same<TaskStatus["failure"], Failure | null>();
  same<TaskStatus["result"], unknown>();
  same<TaskStatus["labels"], { [key: string]: string }>();
  same<TaskStatus["finished_at"], string | null>();
  check(task.state === TaskState.SUCCEEDED && task.result === 3, task);
  report({ seen });
}

async function wait(): Promise<void> {
  check((await submit({ name: "demo.add", kwargs: { x: 2, y: 3 } }, 10)).result === 5, "2 + 3");
  let task = await submit({ name: "demo.checkpointed", kwargs: { total: 10 } });
  while (!task.done && !task.progress) {
    const etag = known((await read(task.id)).response?.headers.get("ETag"));
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
  check(task.state === "failed" && kind === FailureKind.EXCEPTION && message === "too much", task);
  report({ failure: task.failure });
}

async function problems(): Promise<void> {
  const { error: notFound } = await read("no-such-task");
  same<typeof notFound, Problem | undefined>();
  check(notFound?.status === 404 && notFound.type === "/problems/task-not-found", notFound);
  const { error: invalid } = await submitTask({ client, body: { name: "demo.add", kwargs: { x: "two", y: 3 } } });
  check(invalid?.status === 422 && invalid.type === "/problems/validation", invalid);
  check(invalid.errors.length === 1 && invalid.errors[0]?.pointer === "#/kwargs/x", invalid);
  const { error: rejected } = await listTasks({ client: createClient({ baseUrl, auth: "invalid-key" }) });
  report({ problems: [notFound.status, invalid.status, known(rejected).status] });
}

async function cancel(): Promise<void> {
  const path = { task_id: (await submit({ name: "demo.sleep", kwargs: { seconds: 600 } })).id };
  const { data: canceling, error } = await cancelTask({ client, path, body: { terminate: true } });
  check(known(canceling, error).cancel_requested, canceling);
  const { data: canceled } = await read(path.task_id, { wait: 20 });
  check(canceled?.state === TaskState.CANCELED, canceled);
  const { response } = await cancelTask({ client, path });
  check(response?.status === 200, response?.status);
  report({ canceled: canceled.state });
}

async function pages(): Promise<void> {
  const labels = { walk: `hey-api-${process.hrtime.bigint()}` };
  const ids = new Set<string>();
  for (let y = 0; y < 5; y++) ids.add((await submit({ name: "demo.add", kwargs: { x: 1, y }, labels }, 10)).id);
  const found: string[] = [];
  const sizes: number[] = [];
  for (let cursor: string | null = ""; cursor !== null; ) {
    const query = {
      label: [`walk:${labels.walk}`],
      state: [TaskState.SUCCEEDED],
      limit: 2,
      ...(cursor ? { cursor } : {}),
    };
    const { data, error } = await listTasks({ client, query });
    const page: TaskList = known(data, error);
    found.push(...page.items.map((task) => task.id));
    sizes.push(page.items.length);
    cursor = page.next_cursor;
  }
  check(found.length === 5 && found.every((id) => ids.has(id)), found);
  report({ pages: sizes });
}

function isStatus(event: unknown): event is TaskStatus {
  return typeof event === "object" && event !== null && "state" in event;
}

async function events(): Promise<void> {
  const { id } = await submit({ name: "demo.checkpointed", kwargs: { total: 5 } });
  const seen: TaskState[] = [];
  const { stream } = await watchTask({ client, path: { task_id: id } });
  for await (const event of stream) {
    same<typeof event, unknown>();
    check(isStatus(event), event);
    seen.push(event.state);
  }
  const errors: string[] = [];
  const onSseError = (error: unknown) => errors.push(String(error));
  const rejected = await watchTask({ client, path: { task_id: "no-such-task" }, onSseError, sseMaxRetryAttempts: 2, sseDefaultRetryDelay: 10 });
  for await (const event of rejected.stream) check(false, event);
  check(errors.length === 2 && errors.every((text) => text.includes("404")), errors);
  check(seen.at(-1) === TaskState.SUCCEEDED && seen.length > 1, seen);
  check(urls.length > 0 && !urls.some((url) => url.includes("tsk_")), urls);
  report({ events: seen });
}

for (const step of [followByEtag, wait, failure, problems, cancel, pages, events]) await step();
