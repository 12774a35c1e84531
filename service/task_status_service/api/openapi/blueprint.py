"""flask-smorest with strict request parsing, problem responses, and a document for client generators."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import marshmallow as ma
from flask import Flask, Response
from flask_smorest import Api
from flask_smorest import Blueprint as SmorestBlueprint
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge, UnsupportedMediaType

from task_status_service.access.caller import Scope
from task_status_service.api.auth.authentication import guarded
from task_status_service.api.openapi import document
from task_status_service.api.openapi.operations import OF_CALLERS, Kind, with_rate_limit
from task_status_service.api.openapi.operations import problems as problems_of
from task_status_service.api.openapi.security import needs
from task_status_service.api.requests.json_body import UnreadableJson, read_json
from task_status_service.api.requests.options import check_repeated
from task_status_service.api.responses import problems
from task_status_service.errors import InvalidArguments

_View = TypeVar("_View", bound=Callable[..., Any])


class StrictParser(FlaskParser):
    """Parser that accepts only JSON bodies and known query parameters.

    webargs treats a body of another type as empty (webargs#183). The standard library's JSON parser accepts NaN and
    raises RecursionError on deep nesting.
    """

    # Otherwise a misspelt filter would be ignored, and all tasks listed.
    DEFAULT_UNKNOWN_BY_LOCATION = {  # noqa: RUF012  # webargs types it so
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "query": ma.RAISE,
    }

    def load_json(self, req: Any, schema: Any) -> Any:
        """Read the body; raise `HTTPException` 413, 415 or 400 if it is invalid. The schema checks a missing body."""
        body = req.get_data()
        # werkzeug truncates a chunked body at the limit instead of rejecting it.
        if req.content_length is None and len(body) >= req.max_content_length:
            raise RequestEntityTooLarge
        # Generated clients send application/json even when they omit an optional body.
        if not body and (not req.content_type or (req.is_json and not _has_required_field(schema))):
            return ma.missing
        if not req.is_json or req.content_encoding:
            raise UnsupportedMediaType(
                "The body must be JSON, with Content-Type: application/json and without Content-Encoding."
            )
        try:
            return read_json(body)
        except UnreadableJson as error:
            raise BadRequest(str(error)) from error


def _has_required_field(schema: ma.Schema) -> bool:
    return any(field.required for field in schema.fields.values())


def _single_parameters(view: Any) -> frozenset[str]:
    """Return the query parameters of a view that may occur once, according to its description."""
    apidoc = view._apidoc  # noqa: SLF001  # where flask-smorest keeps it
    names = {
        parameter["name"]
        for parameter in apidoc["manual_doc"].get("parameters", ())
        if parameter["in"] == "query" and parameter["schema"]["type"] != "array"
    }
    for parsed in apidoc.get("arguments", {}).get("parameters", ()):
        if parsed["in"] == "query":
            names |= {name for name, field in parsed["schema"].fields.items() if not isinstance(field, ma.fields.List)}
    return frozenset(names)


def _with_singles(view: _View, names: frozenset[str]) -> _View:
    """Reject requests that repeat one of these query parameters, before the view."""

    @functools.wraps(view)
    def check(*args: Any, **kwargs: Any) -> Any:
        check_repeated(names)
        return view(*args, **kwargs)

    return cast("_View", check)


class Blueprint(SmorestBlueprint):
    """A blueprint with strict request parsing."""

    ARGUMENTS_PARSER = StrictParser()

    def route(self, rule: str, *, scope: Scope | None, **options: Any) -> Callable[[_View], _View]:
        """Register a view for callers that have a scope; None allows requests without a key."""
        register = super().route(rule, **options)

        def register_described(view: _View) -> _View:
            described: dict[str, Any] = view._apidoc["manual_doc"]  # type: ignore[attr-defined]  # noqa: SLF001  # see doc
            kinds: tuple[Kind, ...] = described.pop("problems", ())
            singles = _single_parameters(view)
            if singles:
                view, kinds = _with_singles(view, singles), (*kinds, InvalidArguments)
            if scope is None:
                described |= {"security": [], "responses": {**described["responses"], **problems_of(kinds)}}
                register(view)
            else:
                answers = {**described["responses"], **problems_of((*OF_CALLERS, *kinds))}
                described["responses"] = {status: with_rate_limit(status, answer) for status, answer in answers.items()}
                described.setdefault("security", needs(rule, scope))
                register(guarded(view, scope))
            return view

        return register_described

    @staticmethod
    def doc(**kwargs: Any) -> Callable[[_View], _View]:
        """Describe a view. The decorator of flask-smorest would add a useless call to each request."""

        def describe(view: _View) -> _View:
            described: dict[str, Any] = getattr(view, "_apidoc", {})
            view._apidoc = {**described, "manual_doc": described.get("manual_doc", {}) | kwargs}  # type: ignore[attr-defined]  # noqa: SLF001  # where flask-smorest looks for it
            return view

        return describe


class ProblemApi(Api):
    """An API whose every error is a problem document."""

    # Document listed responses only: with a `default`, generated clients fail on a proxy's HTML page.
    DEFAULT_ERROR_RESPONSE_NAME = None

    def init_app(self, app: Flask, **kwargs: Any) -> None:
        """Attach to the Flask app, and add the components to the document before any blueprint refers to them."""
        super().init_app(app, **kwargs)
        document.add_components(self.spec)

    def handle_http_exception(self, error: HTTPException) -> Response:
        """Return a problem with the headers of the exception, which flask-smorest drops."""
        return problems.answer_http_exception(error)
