"""Breaking changes between two versions of the OpenAPI document.

Clients are generated, in Python or TypeScript. A change breaks them if a valid request becomes invalid or changes its
meaning, if an answer cannot be parsed any more, or if a name that users refer to is removed: of an operation, a schema,
a property or an enum value. Every change that is not known to be harmless is reported as breaking.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from contract.schemas import TEXTS, Break, Node, Place, Schemas, Side, listed

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


def breaking_changes(old: Any, new: Any) -> list[Break]:
    """Return the changes that break clients of the old document, each once."""
    return list(dict.fromkeys(_Comparison(old, new).run()))


class _Comparison:
    """A walk through both documents, from the operations to the components that they refer to."""

    def __init__(self, old: Node, new: Node) -> None:
        self._old = old
        self._new = new
        self._schemas = Schemas(old["components"]["schemas"], new["components"]["schemas"])

    def run(self) -> Iterator[Break]:
        for key in _changed(self._old, self._new, but={"openapi", "info", "security", "tags", "paths", "components"}):
            yield Break(key, "has changed")
        if self._old["openapi"].split(".")[:2] != self._new["openapi"].split(".")[:2]:
            yield Break("openapi", "is a version that not every generator supports")
        for path, old_item in self._old["paths"].items():
            new_item = self._new["paths"].get(path, {})
            for key in _changed(old_item, new_item, but={*METHODS, "parameters"}):
                yield Break(path, f"{key} has changed")
            for method in METHODS:
                if method in old_item and method in new_item:
                    yield from self._operation(
                        _with_parameters(self._old, old_item, method), _with_parameters(self._new, new_item, method)
                    )
                elif method in old_item:
                    yield Break(old_item[method]["operationId"], f"{method.upper()} {path} is gone")
        yield from self._names()

    def _names(self) -> Iterator[Break]:
        """Compare the names of components; the contents of schemas are compared where they are used."""
        for kind in ("schemas", "securitySchemes"):
            olds, news = (document["components"].get(kind, {}) for document in (self._old, self._new))
            for name in olds.keys() - news.keys():
                yield Break(name, "was removed or renamed")
            for name in olds.keys() & news.keys() if kind == "securitySchemes" else ():
                for key in _changed(olds[name], news[name]):
                    yield Break(name, f"{key} has changed")

    def _operation(self, old: Node, new: Node) -> Iterator[Break]:
        at = Place(old["operationId"], "", Side.REQUEST)
        if new["operationId"] != at.name:
            yield at.breaks(f"was renamed to {new['operationId']}")
        # Generators make a module or a class of each tag; most use the first tag only.
        if new.get("tags", [])[: len(old.get("tags", []))] != old.get("tags", []):
            yield at.breaks(f"has other tags: {new.get('tags', [])}")
        known = {"operationId", "tags", "security", "parameters", "requestBody", "responses"}
        for key in _changed(old, new, but=known):
            yield at.breaks(f"{key} has changed")
        yield from _security(at, _ways_in(self._old, old), _ways_in(self._new, new))
        yield from self._parameters(at, old["parameters"], new["parameters"])
        yield from self._request_body(at.within("body"), old, new)
        yield from self._responses(at._replace(side=Side.ANSWER), old["responses"], new["responses"])

    def _parameters(self, at: Place, olds: Mapping[str, Node], news: Mapping[str, Node]) -> Iterator[Break]:
        for where, old in olds.items():
            if where in news:
                yield from self._value(at.within(where), old, news[where])
            else:
                yield at.breaks(f"{where} is gone")
        for where in news.keys() - olds.keys():
            if news[where].get("required", False):
                yield at.breaks(f"{where} is new, and required")

    def _request_body(self, at: Place, old: Node, new: Node) -> Iterator[Break]:
        before = _resolved(self._old, old.get("requestBody", {}))
        after = _resolved(self._new, new.get("requestBody", {}))
        if before and not after:
            yield at.breaks("is not accepted any more")
        elif before:
            yield from self._value(at, before, after)
        elif after.get("required", False):
            yield at.breaks("is required now")

    def _responses(self, at: Place, olds: Node, news: Node) -> Iterator[Break]:
        for status, response in olds.items():
            if status in news:
                yield from self._response(
                    at.within(status), _resolved(self._old, response), _resolved(self._new, news[status])
                )
            else:
                yield at.breaks(f"{status} is gone")
        for status in news.keys() - olds.keys():
            # Any request may fail, and 304 answers only conditional requests.
            if status != "304" and status[0] not in "45":
                yield at.breaks(f"{status} is a new answer")

    def _response(self, at: Place, old: Node, new: Node) -> Iterator[Break]:
        for kind in ("headers", "links"):
            before, after = old.get(kind, {}), new.get(kind, {})
            for name in before.keys() - after.keys():
                yield at.breaks(f"{name} of its {kind} is gone")
            for name in before.keys() & after.keys():
                one, other = _resolved(self._old, before[name]), _resolved(self._new, after[name])
                yield from self._value(at.within(name), one, other)
        yield from self._value(at, {**old, "headers": {}, "links": {}}, {**new, "headers": {}, "links": {}})

    def _value(self, at: Place, old: Node, new: Node) -> Iterator[Break]:
        """Compare a parameter, a header or a body: its schema, or the schema of each media type."""
        is_required, was_required = new.get("required", False), old.get("required", False)
        if at.side is Side.REQUEST and is_required and not was_required:
            yield at.breaks("is required now")
        if at.side is Side.ANSWER and was_required and not is_required:
            yield at.breaks("may be missing now")
        for key in _changed(old, new, but={"name", "required", "schema", "content"}):
            yield at.breaks(f"{key} has changed")
        yield from self._schemas.compare(at, old.get("schema", {}), new.get("schema", {}))
        before, after = old.get("content", {}), new.get("content", {})
        for media_type in before.keys() & after.keys():
            yield from self._value(at, before[media_type], after[media_type])
        if gone := before.keys() - after.keys():
            yield at.breaks(f"{listed(gone)} is gone")
        if at.side is Side.ANSWER and (more := after.keys() - before.keys()):
            yield at.breaks(f"may come as {listed(more)} now")


def _changed(old: Node, new: Node, *, but: set[str] | frozenset[str] = frozenset()) -> list[str]:
    """Return the keys that differ, without texts, extensions and keys that are compared elsewhere."""
    keys = {key for key in {*old, *new} - TEXTS - but if not key.startswith("x-")}
    return sorted(key for key in keys if old.get(key) != new.get(key))


def _resolved(document: Node, node: Node) -> Node:
    """Resolve a reference to a component."""
    if "$ref" not in node:
        return node
    _, _, kind, name = node["$ref"].split("/")
    found: Node = document["components"][kind][name]
    return found


def _with_parameters(document: Node, item: Node, method: str) -> Node:
    """Return an operation with its parameters and those of its path, keyed by location and name."""
    operation = item[method]
    parameters = [_resolved(document, one) for one in (*item.get("parameters", ()), *operation.get("parameters", ()))]
    # Header names are case-insensitive.
    named = {f"{one['in']} {one['name'].lower() if one['in'] == 'header' else one['name']}": one for one in parameters}
    return {**operation, "parameters": named}


def _ways_in(document: Node, operation: Node) -> list[Node]:
    """Return the security alternatives of an operation; each may combine several schemes."""
    return operation.get("security", document.get("security", [])) or [{}]


def _security(at: Place, olds: list[Node], news: list[Node]) -> Iterator[Break]:
    for old in olds:
        if not any(
            all(scheme in old and set(scopes) <= set(old[scheme]) for scheme, scopes in new.items()) for new in news
        ):
            yield at.breaks(f"does not accept {dict(old) or 'no key'} any more")
