"""`/openapi.json`: the document, made once."""

from typing import Final

import msgspec
from flask import Flask, Response
from flask_smorest import Api

from task_status_service.api import document

PATH: Final = "/openapi.json"


def register(app: Flask, api: Api) -> None:
    """Serve the document of an API whose blueprints are all registered."""
    document_of_api = document.canonical(api.spec.to_dict())
    # Indented, with a newline at the end: as it is committed.
    body = msgspec.json.format(msgspec.json.encode(document_of_api), indent=2) + b"\n"

    def get_document() -> Response:
        return Response(body, content_type="application/json")

    app.add_url_rule(PATH, "openapi", get_document, methods=["GET"])
