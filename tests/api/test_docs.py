"""`/docs`: a page that loads nothing from other hosts; tests/browser runs it."""

import re

import pytest
from flask.testing import FlaskClient
from support.problems import problem_of


def test_the_page_needs_no_inline_code(client: FlaskClient) -> None:
    """The page has a strict policy, and no inline code, styles or foreign addresses."""
    response = client.get("/docs")

    assert (response.status_code, response.content_type) == (200, "text/html; charset=utf-8")
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "*" not in policy
    page = response.get_data(as_text=True)
    assert not re.search(r"https?://|<style|style=|<script>|\son\w+=", page)


def test_assets_exist_and_are_cacheable(client: FlaskClient) -> None:
    """All assets of the page exist, and can be cached for an hour."""
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
def test_other_files_return_404(client: FlaskClient, name: str) -> None:
    """Our source files and the rest of the package are not available."""
    problem_of(client.get(f"/docs/{name}"), 404, "not-found")
