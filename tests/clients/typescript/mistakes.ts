// Mistakes that the compiler must report; each is marked, and a mark without a mistake is an error too.

import type { components } from "./task-status.ts";
import type { TaskState as HeyState, TaskStatus as HeyStatus } from "./task-status/types.gen.ts";
import { same } from "./checks.ts";

type Status = components["schemas"]["TaskStatus"];

export function mistakes(task: Status | undefined, hey: HeyStatus | undefined): void {
  // @ts-expect-error undefined after an error
  console.log(task.state);
  // @ts-expect-error undefined after an error
  console.log(hey.state);
  if (!task || !hey) return;
  // @ts-expect-error no such key
  console.log(task.stat);
  // @ts-expect-error no such key
  console.log(hey.stat);
  // @ts-expect-error no such state
  console.log(task.state === "paused");
  // @ts-expect-error no such state
  console.log(hey.state === "paused");
  // @ts-expect-error may be null
  console.log(task.progress.percent);
  // @ts-expect-error may be null
  console.log(hey.failure.message);
  // @ts-expect-error any JSON
  console.log(task.result.length);
  // @ts-expect-error any JSON
  console.log(hey.result.length);
  // @ts-expect-error the types differ
  same<HeyState, string>();
  // @ts-expect-error any is identical only to itself
  same<any, string>();
}
