"""`examples/browser/` in a real Chromium: a page of another origin follows a task of a service with keys."""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect
from support.keys import add_key, bearer
from support.servers import free_port, running, running_redis, running_worker, server_process, wait_until

SERVER = Path(__file__).parents[2] / "examples" / "browser" / "server.py"
END_MS = 30_000


class Site:
    """A service with keys that a test can kill and restart, and the backends of the page."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.service_url = f"http://127.0.0.1:{self.port}"
        #: the page, and the same page with tokens that expire after two seconds
        self.url, self.short_token_url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self.key = add_key(folder / "keys.json", "page")
        self._environ = {
            "TASK_STATUS_REDIS_URL": redis_url,
            "TASK_STATUS_API_KEYS_FILE": str(folder / "keys.json"),
            "TASK_STATUS_CORS_ORIGINS": f"{self.url},{self.short_token_url}",
        }
        self._stack = contextlib.ExitStack()
        self._service = contextlib.ExitStack()

    def start_service(self) -> None:
        """Start the service, always on the same port."""
        context = server_process(self._environ, folder=self.folder, port=self.port)
        self.server = self._service.enter_context(context)

    def kill_service(self) -> None:
        """Kill the service, as a crash would."""
        os.killpg(self.server.process.pid, signal.SIGKILL)
        self._service.close()

    def start_backend(self, url: str, **environ: str) -> None:
        """Start a backend of the page at this URL."""
        port = url.rpartition(":")[2]
        environ |= {"TASK_STATUS_URL": self.service_url, "TASK_STATUS_API_KEY": self.key, "PORT": port}
        log = self.folder / f"page-{port}.log"
        self._stack.enter_context(running([sys.executable, str(SERVER)], environ=environ, log=log))
        wait_until(lambda: _answers(url), what="the backend")

    def get(self, path: str) -> Any:
        """Read a path of the service."""
        response = requests.get(f"{self.service_url}{path}", headers=bearer(self.key), timeout=10)
        assert response.ok, response.text
        return response.json()

    def close(self) -> None:
        self._stack.close()
        self._service.close()


def _answers(url: str) -> bool:
    with contextlib.suppress(requests.RequestException):
        return requests.get(url, timeout=2).ok
    return False


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run Redis, a worker with the demo tasks, the service with a key, and the backends of the example."""
    folder = tmp_path_factory.mktemp("page")
    with (
        running_redis(folder, durable=True) as redis,
        running_worker("task_status_worker.demo", "--concurrency", "2", redis_url=redis.url, folder=folder),
        contextlib.closing(Site(folder, redis.url)) as site,
    ):
        site.start_service()
        site.start_backend(site.url)
        site.start_backend(site.short_token_url, TOKEN_SECONDS="2")
        wait_until(lambda: site.get("/task-types/demo.count")["workers"], what="the worker")
        yield site


class Traffic:
    """The traffic of a page in both directions: URLs, headers, bodies and events."""

    def __init__(self, page: Page) -> None:
        self.seen: list[str] = []
        self._page = page
        self._responses: list[Any] = []
        page.on("request", lambda request: self.seen.append(f"{request.url} {request.post_data}"))
        page.on("response", lambda response: self._responses.append(response))  # noqa: PLW0108  # as below
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        # These events also contain cookies, which Playwright's request omits.
        session.on("Network.requestWillBeSentExtraInfo", lambda event: self.seen.append(str(event["headers"])))
        session.on("Network.responseReceivedExtraInfo", lambda event: self.seen.append(str(event["headers"])))
        session.on("Network.eventSourceMessageReceived", lambda event: self.seen.append(event["data"]))

    def read_before_navigation(self) -> None:
        """Read the bodies of a page without a stream; the browser drops them when it leaves the page."""
        self._page.wait_for_load_state("networkidle")
        self.read()

    def read(self) -> None:
        """Read the response bodies so far."""
        while self._responses:
            response = self._responses.pop()
            # Streams are recorded as events. A 304 has no body, and the page does not read the body of a 401.
            if response.request.resource_type != "eventsource" and response.status not in {304, 401}:
                self.seen.append(response.text())


@pytest.fixture
def empty_page(browser: Browser) -> Iterator[Page]:
    """An empty page in a new browser context."""
    context = browser.new_context(viewport={"width": 800, "height": 620})
    yield context.new_page()
    context.close()


@pytest.fixture
def traffic(empty_page: Page) -> Traffic:
    """The traffic of the page."""
    return Traffic(empty_page)


@pytest.fixture
def page(empty_page: Page, traffic: Traffic, site: Site, page_errors: list[Any]) -> Iterator[Page]:
    """Open the page; at the end there must be no error, and no API key in the traffic."""
    page = empty_page
    page.on("console", lambda message: page_errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page_errors.append(error))  # noqa: PLW0108  # Playwright inspects it, and requires a Python function
    page.goto(site.url)
    yield page
    traffic.read()
    text = "\n".join(traffic.seen)
    assert site.key not in text
    # The check above can fail: the traffic does contain the token and the statuses.
    assert '"token":"tst_' in text.replace(" ", "")
    assert '"state":"' in text
    assert page_errors == []


def start(page: Page, job: str) -> str:
    """Start a job; return the id of its task."""
    page.get_by_label("Job").select_option(job)
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#id")).not_to_be_empty()
    return str(page.locator("#id").text_content())


def wait_for_state(page: Page, state: str) -> None:
    """Wait until the page shows this state, in the element that screen readers announce."""
    expect(page.get_by_role("status").locator("strong")).to_have_text(state, timeout=END_MS)


def wait_for_progress(page: Page, percent: int = 5) -> None:
    """Wait until the progress bar is above this percentage and the figure beside it is shown."""
    page.wait_for_function("percent => document.querySelector('progress').value > percent", arg=percent, timeout=END_MS)
    expect(page.locator("#percent")).to_have_text(re.compile(r"\d+ %"))


def test_a_task_that_succeeds(page: Page, site: Site) -> None:
    """The page shows state, progress and result; Cancel is hidden at the end."""
    task_id = start(page, "count")
    wait_for_state(page, "running")
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    expect(page.get_by_role("button", name="Start")).to_be_disabled()
    wait_for_progress(page)
    wait_for_progress(page, 50)
    wait_for_state(page, "succeeded")

    expect(page.get_by_label("Outcome")).to_have_text("60")
    expect(page.locator("#percent")).to_have_text("100 %")
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    expect(page.get_by_role("button", name="Start")).to_be_enabled()
    assert site.get(f"/tasks/{task_id}")["result"] == 60


def test_a_task_that_fails(page: Page) -> None:
    """The page shows the message and the details of a failure."""
    start(page, "fails")
    wait_for_state(page, "failed")

    outcome = page.get_by_label("Outcome")
    expect(outcome).to_contain_text("TaskFailed: Row 7 has no price.")
    expect(outcome).to_contain_text('"column": "price"')


def test_a_task_that_is_retried(page: Page) -> None:
    """The page shows the failure of the last attempt until the task succeeds."""
    start(page, "retries")
    wait_for_state(page, "retrying")
    expect(page.get_by_label("Outcome")).to_contain_text("ConnectionError: attempt 1 failed")
    wait_for_state(page, "succeeded")
    expect(page.get_by_label("Outcome")).to_have_text("3")


def test_cancel(page: Page, site: Site) -> None:
    """Cancel terminates a running task."""
    task_id = start(page, "steps")
    wait_for_progress(page)
    expect(page.locator("#message")).to_have_text(re.compile(r"step \d+ of 60"))
    page.get_by_role("button", name="Cancel").click()
    wait_for_state(page, "canceled")

    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    assert site.get(f"/tasks/{task_id}")["state"] == "canceled"


def test_reload(page: Page, traffic: Traffic) -> None:
    """A reloaded page follows the same task."""
    task_id = start(page, "count")
    wait_for_progress(page)
    traffic.read()
    page.reload()
    expect(page.locator("#id")).to_have_text(task_id)
    wait_for_state(page, "succeeded")
    expect(page.get_by_label("Outcome")).to_have_text("60")


def test_the_service_is_restarted(page: Page, site: Site, page_errors: list[Any]) -> None:
    """The page reports the lost connection, and resumes when the service is back."""
    start(page, "count")
    wait_for_progress(page)
    site.kill_service()
    expect(page.get_by_role("status")).to_contain_text("Trying again", timeout=END_MS)
    site.start_service()
    wait_for_state(page, "succeeded")
    expect(page.get_by_role("status")).to_have_text("succeeded")
    expect(page.get_by_label("Outcome")).to_have_text("60")

    # The browser reports each failed connection.
    assert all(str(error).startswith("Failed to load resource: net::ERR_") for error in page_errors), page_errors
    page_errors.clear()


def test_a_token_that_expires(page: Page, traffic: Traffic, site: Site, page_errors: list[Any]) -> None:
    """The page gets a new token from its backend, and resumes."""
    renewed: list[str] = []
    page.on("response", lambda response: renewed.append(response.url) if response.url.endswith("/tokens") else None)
    traffic.read_before_navigation()
    page.goto(site.short_token_url)
    task_id = start(page, "count")
    wait_for_state(page, "succeeded")

    expect(page.get_by_label("Outcome")).to_have_text("60")
    assert set(renewed) == {f"{site.short_token_url}/jobs/{task_id}/tokens"}
    # The browser reports each stream with an expired token.
    assert page_errors
    assert all("status of 401" in str(error) for error in page_errors), page_errors
    page_errors.clear()


def test_a_task_of_another_visitor(page: Page, traffic: Traffic, site: Site, page_errors: list[Any]) -> None:
    """The page reports that the task is not the visitor's, and does not retry."""
    traffic.read_before_navigation()
    page.goto("about:blank")
    page.goto(f"{site.url}/#not-mine")
    expect(page.get_by_role("status")).to_contain_text("not yours")
    expect(page.get_by_role("button", name="Start")).to_be_enabled()
    assert [str(error) for error in page_errors] == [
        "Failed to load resource: the server responded with a status of 404 (NOT FOUND)"
    ]
    page_errors.clear()
    start(page, "fails")
    wait_for_state(page, "failed")


def test_the_backend_rejects_other_requests(site: Site) -> None:
    """The backend rejects tasks of other visitors, unknown jobs, forms and other files, and sends a strict policy."""
    visitor = requests.Session()
    job = visitor.post(f"{site.url}/jobs", json={"job": "fails"}, timeout=10).json()
    assert sorted(job) == ["id", "scopes", "service", "token"]
    path = f"{site.url}/jobs/{job['id']}/tokens"
    assert visitor.post(path, timeout=10).status_code == 201
    assert requests.post(path, timeout=10).status_code == 404
    assert requests.post(f"{site.url}/jobs", json={"job": "demo.crash"}, timeout=10).status_code == 422
    assert requests.post(f"{site.url}/jobs", data={"job": "fails"}, timeout=10).status_code == 415
    assert requests.get(f"{site.url}/server.py", timeout=10).status_code == 404

    policy = requests.get(site.url, timeout=10).headers["Content-Security-Policy"]
    assert f"connect-src 'self' {site.service_url};" in policy
    assert "unsafe" not in policy
    visitor.close()
