"""`/docs` in a browser: the page works under its content security policy, and sends requests."""

from typing import Any

import requests
from playwright.sync_api import Page, expect


def test_try_it_out(page: Page, url: str) -> None:
    """The page lists every operation; "Try it out" submits a task, which a worker runs."""
    document = requests.get(f"{url}/openapi.json", timeout=5).json()
    operations = [
        operation for item in document["paths"].values() for operation in item.values() if "operationId" in operation
    ]

    page.goto(f"{url}/docs")
    expect(page.locator(".opblock")).to_have_count(len(operations))

    block = page.locator("#operations-tasks-submitTask")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    block.locator("textarea.body-param__text").fill('{"name": "demo.add", "kwargs": {"x": 2, "y": 3}}')
    block.get_by_role("button", name="Execute").click()
    response = block.locator(".live-responses-table")
    expect(response.locator(".response-col_status").last).to_contain_text("202")

    (listed,) = requests.get(f"{url}/tasks", params={"name": "demo.add"}, timeout=5).json()["items"]
    expect(response).to_contain_text(f"location: /tasks/{listed['id']}")
    task = requests.get(f"{url}/tasks/{listed['id']}", params={"wait": 20}, timeout=30).json()
    assert (task["state"], task["result"]) == ("succeeded", 5)


def test_every_operation_opens(page: Page, url: str) -> None:
    """Swagger UI shows every operation without a violation of the policy: parameters, schemas, examples."""
    page.goto(f"{url}/docs")
    blocks = page.locator(".opblock")
    blocks.first.wait_for()
    for number in range(blocks.count()):
        blocks.nth(number).locator(".opblock-summary-control").click()
        blocks.nth(number).locator(".responses-wrapper").wait_for()
    assert blocks.locator(".opblock-body").count() == blocks.count()


def test_the_policy_blocks_scripts_and_images(page: Page, url: str, page_errors: list[Any]) -> None:
    """The policy blocks an inline script and an image of another host."""
    page.goto(f"{url}/docs")
    blocked = page.evaluate(
        """() => new Promise((resolve) => {
            const directives = [];
            document.addEventListener("securitypolicyviolation", (event) => {
                directives.push(event.effectiveDirective);
                if (directives.length === 2) resolve(directives.sort());
            });
            const inline = document.createElement("script");
            inline.textContent = "window.ran = true";
            document.body.append(inline);
            const image = document.createElement("img");
            image.src = "http://127.0.0.1:1/x.png";
            document.body.append(image);
        })"""
    )
    assert blocked == ["img-src", "script-src-elem"]
    assert page.evaluate("window.ran") is None
    # The browser reported both violations, as expected.
    assert page_errors
    page_errors.clear()
