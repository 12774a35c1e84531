"""A service with a worker, and a browser that records every error of a page."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, sync_playwright
from support.servers import running_redis, running_service, running_worker, wait_until

#: no sandbox, because tests may run in one; no background requests, which fail without a network
_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the service and a worker with the demo tasks; return its URL."""
    folder: Path = tmp_path_factory.mktemp("browser")
    with (
        running_redis(folder) as redis,
        running_worker("task_status_worker.demo", "--concurrency", "1", redis_url=redis.url, folder=folder),
        running_service({"TASK_STATUS_REDIS_URL": redis.url}, folder=folder) as url,
    ):
        wait_until(lambda: requests.get(f"{url}/readyz", timeout=5).ok, what="ready")
        yield url


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start the Chromium of the PATH, or of CHROMIUM."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(_OPTIONS))
        yield browser
        browser.close()


@pytest.fixture
def page_errors() -> list[Any]:
    """The errors of the page so far; a test removes the errors that it expects."""
    return []


@pytest.fixture
def page(browser: Browser, url: str, page_errors: list[Any]) -> Iterator[Page]:
    """Open an empty page; at the end it must have no error and no request to another host."""
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    # The browser reports a blocked resource as a console error.
    page.on("console", lambda message: page_errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page_errors.append(error))  # noqa: PLW0108  # Playwright inspects it, and requires a Python function
    page.on("requestfailed", lambda request: page_errors.append(request.url))
    page.on(
        "request", lambda request: None if request.url.startswith((url, "data:")) else page_errors.append(request.url)
    )
    yield page
    page.close()
    assert page_errors == []
