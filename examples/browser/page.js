// Follow a task by its event stream, with a token for this one task. `EventSource` reconnects automatically after a lost
// connection and resumes the stream. It does not report why the server rejected a request: a plain read does.

const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const PAUSE_SECONDS = 2;

/** A failure that a retry does not solve. */
class PermanentError extends Error {}

/** The followed task, as the backend returns it: service, id, token, scopes. */
let job = null;

page.start.addEventListener("submit", (event) => {
  event.preventDefault();
  follow(() => ask("jobs", { job: page.job.value }));
});
page.cancel.addEventListener("click", cancel);
// The address contains the task id, so that a reloaded page follows the same task.
if (location.hash) follow(() => ask(`jobs/${location.hash.slice(1)}/tokens`));

/** Get a job and follow it until it is done; lost connections and expired tokens are retried. */
async function follow(get) {
  page.submit.disabled = true;
  clear();
  try {
    job = await get();
    setText(page.id, job.id);
    history.replaceState(null, "", `#${job.id}`);
    page.cancel.hidden = !job.scopes.includes("cancel");
    while (!(await stream()) && !(await recover()));
  } catch (error) {
    setText(page.connection, error.message);
  }
  page.submit.disabled = false;
  page.cancel.hidden = true;
}

/** Show each status of the stream. Resolves with true when the task is done, with false when the stream was rejected. */
function stream() {
  return new Promise((resolve) => {
    const events = new EventSource(`${job.service}/tasks/${job.id}/events?access_token=${job.token}`);
    const end = (isDone) => {
      events.close();
      resolve(isDone);
    };
    events.addEventListener("open", () => setText(page.connection, ""));
    events.addEventListener("status", (event) => {
      if (show(JSON.parse(event.data))) end(true);
    });
    events.addEventListener("error", () => {
      // The browser reconnects while the server is unreachable, and closes the stream after any other response.
      if (events.readyState === EventSource.CLOSED) end(false);
      else setText(page.connection, "Connection lost. Trying again …");
    });
  });
}

/** Read the task to find why the stream was rejected, and handle it. Resolves as `stream` does; throws permanent errors. */
async function recover() {
  let seconds = PAUSE_SECONDS;
  try {
    const response = await fetch(`${job.service}/tasks/${job.id}`, { headers: bearer() });
    if (response.ok && show(await response.json())) return true;
    if (response.status === 404 || response.status === 410) throw new PermanentError((await response.json()).detail);
    if (response.status === 401) {
      // The token has expired.
      job = await ask(`jobs/${job.id}/tokens`);
      return false;
    }
    seconds = Number(response.headers.get("Retry-After") ?? seconds);
  } catch (error) {
    if (error instanceof PermanentError) throw error;
  }
  setText(page.connection, "The task service is busy or unavailable. Trying again …");
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  return false;
}

/** Cancel the task, also if it is running; the stream delivers its new state. */
async function cancel() {
  page.cancel.disabled = true;
  try {
    const request = () =>
      fetch(`${job.service}/tasks/${job.id}/cancel`, {
        method: "POST",
        headers: { ...bearer(), "Content-Type": "application/json" },
        body: JSON.stringify({ terminate: true }),
      });
    let response = await request();
    if (response.status === 401) {
      job = await ask(`jobs/${job.id}/tokens`);
      response = await request();
    }
    // 409: the task was already done.
    if (!response.ok && response.status !== 409) throw new Error((await response.json()).detail);
  } catch (error) {
    setText(page.connection, `Not canceled: ${error.message}`);
  }
  page.cancel.disabled = false;
}

/** Send a request to the backend of this page. */
async function ask(path, body = {}) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new (response.status < 500 ? PermanentError : Error)(answer.detail);
  return answer;
}

function bearer() {
  return { Authorization: `Bearer ${job.token}` };
}

/** Show a status, always as text and never as HTML; return whether the task is done. */
function show(task) {
  const { progress, failure } = task;
  page.task.dataset.state = task.state;
  setText(page.state, task.state);
  setText(page.connection, "");
  const percent = task.state === "succeeded" ? 100 : progress?.percent;
  if (percent != null) page.bar.value = percent;
  else if (!task.done) page.bar.removeAttribute("value"); // unknown progress: an indeterminate bar
  else if (!page.bar.hasAttribute("value")) page.bar.value = 0;
  setText(page.percent, percent == null ? "" : `${Math.round(percent)} %`);
  setText(page.message, progress?.message ?? "");
  if (failure) setText(page.outcome, [`${failure.type}: ${failure.message}`, pretty(failure.details)].join("\n").trim());
  else setText(page.outcome, task.successful ? pretty(task.result) : "");
  page.outcome.hidden = page.outcome.textContent === "";
  return task.done;
}

function clear() {
  for (const element of [page.connection, page.percent, page.message, page.outcome, page.id]) setText(element, "");
  setText(page.state, "starting");
  page.task.dataset.state = "";
  page.outcome.hidden = true;
  page.bar.removeAttribute("value");
}

/** Set the text of an element if it differs: a screen reader announces a status at each write. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function pretty(value) {
  const text = JSON.stringify(value, null, 2);
  return text === "null" || text === "{}" ? "" : text;
}
