"""`/openapi.json`, built once at start, and `/docs`, which shows it in Swagger UI.

All assets come from this service: the page works without the internet, and its policy allows no other source.
"""

import http
import importlib.resources
from pathlib import Path
from typing import Final

import msgspec
from flask import Flask, Response, abort, send_from_directory
from flask_smorest import Api

from task_status_service.api.openapi import document

DOCUMENT_PATH: Final = "/openapi.json"
PAGE_PATH: Final = "/docs"

_OURS: Final = Path(str(importlib.resources.files(__package__)))
_PAGE: Final = _OURS.joinpath("docs.html").read_bytes()
_SWAGGER_UI: Final = Path(str(importlib.resources.files("flask_swagger_ui"))) / "dist"
#: assets of the page and their folders; no other file of the package is served
_ASSETS: Final = {
    "docs.js": _OURS,
    "swagger-ui-bundle.js": _SWAGGER_UI,
    "swagger-ui.css": _SWAGGER_UI,
    "favicon-32x32.png": _SWAGGER_UI,
}
#: cache lifetime in seconds; a new version of Swagger UI is not urgent
_ASSET_SECONDS: Final = 3_600

#: the minimum for Swagger UI; its style sheet embeds icons as `data:` URLs (CSP level 3)
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def register(app: Flask, api: Api) -> None:
    """Add the routes of the document and its page; call it after all blueprints are registered."""
    document_of_api = document.canonical(api.spec.to_dict())
    # Indented, with a final newline, like the committed file.
    body = msgspec.json.format(msgspec.json.encode(document_of_api), indent=2) + b"\n"

    def get_document() -> Response:
        return Response(body, content_type="application/json")

    app.add_url_rule(DOCUMENT_PATH, "openapi", get_document, methods=["GET"])
    app.add_url_rule(PAGE_PATH, "docs", _get_page, methods=["GET"])
    app.add_url_rule(f"{PAGE_PATH}/<name>", "docs_asset", _get_asset, methods=["GET"])


def _get_page() -> Response:
    page = Response(_PAGE, content_type="text/html; charset=utf-8")
    page.headers["Content-Security-Policy"] = POLICY
    return page


def _get_asset(name: str) -> Response:
    if name not in _ASSETS:
        abort(http.HTTPStatus.NOT_FOUND)
    asset = send_from_directory(_ASSETS[name], name, max_age=_ASSET_SECONDS)
    asset.headers["X-Content-Type-Options"] = "nosniff"
    return asset
