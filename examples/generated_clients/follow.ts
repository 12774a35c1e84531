import createClient from "openapi-fetch";
import type { paths } from "./task-status.ts";

const { TASK_STATUS_URL: baseUrl = "", TASK_STATUS_API_KEY: key = "" } = process.env;
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });
let { data: task, error } = await client.POST("/tasks", { body: { name: "demo.count", args: [20] } });
while (task && !task.done) {
  console.log(task.state, task.progress?.percent);
  ({ data: task, error } = await client.GET("/tasks/{task_id}", { params: { path: { task_id: task.id }, query: { wait: 5 } } }));
}
console.log(task ? [task.state, task.result] : error);
