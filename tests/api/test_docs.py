"""`/docs`: a page that loads nothing from elsewhere; tests/browser sees it work."""

import re

import pytest
from flask.testing import FlaskClient
from support.problems import problem_of


def test_page(client: FlaskClient) -> None:
    """Under a policy without exceptions, and with nothing in it that needs one."""
    response = client.get("/docs")

    assert (response.status_code, response.content_type) == (200, "text/html; charset=utf-8")
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "*" not in policy
    page = response.get_data(as_text=True)
    assert not re.search(r"https?://|<style|style=|<script>|\son\w+=", page)


def test_assets(client: FlaskClient) -> None:
    """All that the page names is there, and may be kept for a while."""
    page = client.get("/docs").get_data(as_text=True)
    names = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert "docs/docs.js" in names

    for name in names:
        response = client.get(f"/{name}", buffered=True)
        assert response.status_code == 200, name
        if name.startswith("docs/"):
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert "max-age=3600" in response.headers["Cache-Control"]
            again = client.get(f"/{name}", headers={"If-None-Match": response.headers["ETag"]}, buffered=True)
            assert again.status_code == 304


@pytest.mark.parametrize(
    "name", ["docs.html", "docs.py", "swagger-ui.js", "..%2Fdocs.py", "%2Fetc%2Fpasswd", "oauth2-redirect.html"]
)
def test_nothing_else_is_served(client: FlaskClient, name: str) -> None:
    """Neither our files nor the rest of the package."""
    problem_of(client.get(f"/docs/{name}"), 404, "not-found")
