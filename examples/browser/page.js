// Follow a task by its event stream, with a token for this one task. `EventSource` does the most of it: it comes back by
// itself after a lost connection and goes on where it was. What it cannot do is say why it was refused.

const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const PAUSE_SECONDS = 2;

/** There is nothing to be followed, and asking again would not help. */
class Over extends Error {}

/** What is being followed, as our backend gave it: service, id, token, scopes. */
let job = null;

page.start.addEventListener("submit", (event) => {
  event.preventDefault();
  begin(() => ask("jobs", { job: page.job.value }));
});
page.cancel.addEventListener("click", cancel);
// The address keeps the task, so that the page may be loaded again.
if (location.hash) begin(() => ask(`jobs/${location.hash.slice(1)}/tokens`));

/** Get a job and follow it to its end, whatever breaks meanwhile. */
async function begin(get) {
  page.submit.disabled = true;
  clear();
  try {
    job = await get();
    put(page.id, job.id);
    history.replaceState(null, "", `#${job.id}`);
    page.cancel.hidden = !job.scopes.includes("cancel");
    while (!(await stream()) && !(await recover()));
  } catch (error) {
    put(page.connection, error.message);
  }
  page.submit.disabled = false;
  page.cancel.hidden = true;
}

/** Show each status as it comes. Resolves with true when the task is done, with false when there is no stream. */
function stream() {
  return new Promise((resolve) => {
    const events = new EventSource(`${job.service}/tasks/${job.id}/events?access_token=${job.token}`);
    const end = (isDone) => {
      events.close();
      resolve(isDone);
    };
    events.addEventListener("open", () => put(page.connection, ""));
    events.addEventListener("status", (event) => {
      if (show(JSON.parse(event.data))) end(true);
    });
    events.addEventListener("error", () => {
      // The browser tries again by itself as long as nobody answers; an answer that is no stream is the end of it.
      if (events.readyState === EventSource.CLOSED) end(false);
      else put(page.connection, "Connection lost. Trying again …");
    });
  });
}

/** Learn by a plain read why there is no stream, and do what helps. Resolves as `stream` does; throws when all is over. */
async function recover() {
  let seconds = PAUSE_SECONDS;
  try {
    const response = await fetch(`${job.service}/tasks/${job.id}`, { headers: bearer() });
    if (response.ok && show(await response.json())) return true;
    if (response.status === 404 || response.status === 410) throw new Over((await response.json()).detail);
    if (response.status === 401) {
      // The token has expired.
      job = await ask(`jobs/${job.id}/tokens`);
      return false;
    }
    seconds = Number(response.headers.get("Retry-After") ?? seconds);
  } catch (error) {
    if (error instanceof Over) throw error;
  }
  put(page.connection, "The task service is busy or away. Trying again …");
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  return false;
}

/** Ask for the end of the task, also where it runs; the stream tells what comes of it. */
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
    // 409: it was done before.
    if (!response.ok && response.status !== 409) throw new Error((await response.json()).detail);
  } catch (error) {
    put(page.connection, `Not canceled: ${error.message}`);
  }
  page.cancel.disabled = false;
}

/** Ask our own backend. */
async function ask(path, body = {}) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new (response.status < 500 ? Over : Error)(answer.detail);
  return answer;
}

function bearer() {
  return { Authorization: `Bearer ${job.token}` };
}

/** Show a status, as text and nothing but text; tell whether it is the last. */
function show(task) {
  const { progress, failure } = task;
  page.task.dataset.state = task.state;
  put(page.state, task.state);
  put(page.connection, "");
  const percent = task.state === "succeeded" ? 100 : progress?.percent;
  if (percent != null) page.bar.value = percent;
  else if (!task.done) page.bar.removeAttribute("value"); // nobody knows how much: an indeterminate bar
  else if (!page.bar.hasAttribute("value")) page.bar.value = 0;
  put(page.percent, percent == null ? "" : `${Math.round(percent)} %`);
  put(page.message, progress?.message ?? "");
  if (failure) put(page.outcome, [`${failure.type}: ${failure.message}`, pretty(failure.details)].join("\n").trim());
  else put(page.outcome, task.successful ? pretty(task.result) : "");
  page.outcome.hidden = page.outcome.textContent === "";
  return task.done;
}

function clear() {
  for (const element of [page.connection, page.percent, page.message, page.outcome, page.id]) put(element, "");
  put(page.state, "starting");
  page.task.dataset.state = "";
  page.outcome.hidden = true;
  page.bar.removeAttribute("value");
}

/** Change a text if it is another one: a screen reader reads a status out whenever it is written. */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function pretty(value) {
  const text = JSON.stringify(value, null, 2);
  return text === "null" || text === "{}" ? "" : text;
}
