"""Breaking changes between two JSON Schemas.

In requests, the new schema must accept every value that the old schema accepted. In answers, the old schema must accept
every value that the new schema accepts. A keyword without a rule here must not change.
"""

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final, NamedTuple

Node = Mapping[str, Any]


class Break(NamedTuple):
    """One breaking change."""

    #: the name that clients know: the operationId, or the name of the component
    name: str
    #: the location within it, and the change
    what: str

    def __str__(self) -> str:
        return f"{self.name}: {self.what}"


class Side(enum.Enum):
    """The direction of a value: written by the client, or by the service."""

    REQUEST = "in requests"
    ANSWER = "in answers"


class Place(NamedTuple):
    """The location of a schema."""

    name: str
    #: location within it; empty for the schema of a component itself
    where: str
    side: Side

    def within(self, part: str) -> "Place":
        return self._replace(where=f"{self.where}: {part}" if self.where else part)

    def breaks(self, what: str) -> Break:
        return Break(self.name, f"{self.where}: {what}" if self.where else what)

    def lost(self, before: set[str], after: set[str]) -> set[str]:
        """Return the values that requests may no longer have, or that answers may newly have."""
        return before - after if self.side is Side.REQUEST else after - before

    @property
    def verb(self) -> str:
        return "is refused now" if self.side is Side.REQUEST else "may come now"


#: keywords with texts for people, without effect on validation
TEXTS: Final = frozenset(
    {"title", "summary", "description", "example", "examples", "externalDocs", "deprecated", "$comment"}
)
#: keywords that allow fewer values when they are higher
LOWER_BOUNDS: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
#: keywords that allow fewer values when they are lower
UPPER_BOUNDS: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
TYPES: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})


class Schemas:
    """A walk through the schemas of two documents; it compares each component once per direction."""

    def __init__(self, old: Node, new: Node) -> None:
        """Take the schemas of both documents by name."""
        self._old = old
        self._new = new
        self._compared: set[tuple[str, Side]] = set()

    def compare(self, at: Place, old: Any, new: Any) -> Iterator[Break]:
        """Compare two schemas and the components that they refer to."""
        old, new = _as_object(old), _as_object(new)
        if "anyOf" in old or "anyOf" in new:
            old, new = _with_variants(old), _with_variants(new)
        if old.get("$ref") != new.get("$ref"):
            yield at.breaks(f"{_class_of(old)} is {_class_of(new)} now")
        elif "$ref" in old:
            yield from self._component(old["$ref"].rpartition("/")[2], at.side)
        for keyword in sorted({*old, *new} - {"$ref"} - TEXTS):
            if not keyword.startswith("x-"):
                yield from self._rules.get(keyword, Schemas._other_keyword)(self, at, keyword, old, new)

    def _component(self, name: str, side: Side) -> Iterator[Break]:
        if (name, side) not in self._compared and name in self._new:
            self._compared.add((name, side))
            yield from self.compare(Place(name, "", side), self._old[name], self._new[name])

    def _other_keyword(self, at: Place, keyword: str, old: Node, new: Node) -> Iterator[Break]:
        """Compare a keyword without a rule: it must not change, nor its components in either direction."""
        if old.get(keyword) != new.get(keyword):
            yield at.breaks(f"{keyword} is {new.get(keyword)} and was {old.get(keyword)}")
            return
        for component in _components_within(old[keyword]):
            for side in Side:
                yield from self._component(component, side)

    def _type(self, at: Place, _keyword: str, old: Node, new: Node) -> Iterator[Break]:
        if lost := at.lost(_types(old), _types(new)):
            yield at.breaks(f"{listed(lost)} {at.verb}")

    def _enum(self, at: Place, keyword: str, old: Node, new: Node) -> Iterator[Break]:
        if keyword not in old or keyword not in new:
            yield at.breaks(f"the list of values is {'new' if keyword in new else 'gone'}")
            return
        before, after = set(map(str, old[keyword])), set(map(str, new[keyword]))
        # Client code may refer to the value by name, in either direction.
        if gone := before - after:
            yield at.breaks(f"{listed(gone)} is gone")
        if at.side is Side.ANSWER and (more := after - before):
            yield at.breaks(f"{listed(more)} may come now")

    def _bound(self, at: Place, keyword: str, old: Node, new: Node) -> Iterator[Break]:
        is_lower = keyword in LOWER_BOUNDS
        absent = float("-inf") if is_lower else float("inf")
        before, after = old.get(keyword, absent), new.get(keyword, absent)
        is_narrower = after > before if is_lower else after < before
        if before != after and is_narrower is (at.side is Side.REQUEST):
            yield at.breaks(f"{keyword} {at.side.value} is {new.get(keyword)} and was {old.get(keyword)}")

    def _restriction(self, at: Place, keyword: str, old: Node, new: Node) -> Iterator[Break]:
        """Compare `pattern` or `uniqueItems`. A different pattern may be narrower: it breaks both directions."""
        before, after = old.get(keyword) or None, new.get(keyword) or None
        if before and after and before != after:
            yield at.breaks(f"{keyword} is {after} and was {before}")
        elif before != after and bool(after) is (at.side is Side.REQUEST):
            yield at.breaks(f"{keyword} {at.side.value} is {'new' if after else 'gone'}")

    def _required(self, at: Place, keyword: str, old: Node, new: Node) -> Iterator[Break]:
        before, after = set(old.get(keyword, ())), set(new.get(keyword, ()))
        if at.side is Side.REQUEST and (more := after - before):
            yield at.breaks(f"{listed(more)} is required now")
        if at.side is Side.ANSWER and (fewer := before - after):
            yield at.breaks(f"{listed(fewer)} may be missing now")

    def _properties(self, at: Place, keyword: str, old: Node, new: Node) -> Iterator[Break]:
        before, after = old.get(keyword, {}), new.get(keyword, {})
        for name, schema in before.items():
            if name in after:
                yield from self.compare(at.within(name), schema, after[name])
            else:
                yield at.breaks(f"{name} is gone")
        if at.side is Side.ANSWER and old.get("additionalProperties") is False and after.keys() - before.keys():
            yield at.breaks("has new properties although additionalProperties was false")

    def _additional(self, at: Place, keyword: str, old: Node, new: Node) -> Iterator[Break]:
        before, after = old.get(keyword, True), new.get(keyword, True)
        if before == after and isinstance(before, bool):
            return
        if isinstance(before, bool) or isinstance(after, bool):
            # Generated classes of answers change with this keyword; only requests may allow more properties.
            if at.side is Side.ANSWER or not (before is False or after is True):
                yield at.breaks(f"{keyword} is {after} and was {before}")
        else:
            yield from self.compare(at.within(keyword), before, after)

    def _one_schema(self, at: Place, keyword: str, old: Node, new: Node) -> Iterator[Break]:
        yield from self.compare(at.within(keyword), old.get(keyword, {}), new.get(keyword, {}))

    def _variants(self, at: Place, keyword: str, old: Node, new: Node) -> Iterator[Break]:
        """Compare variants by their class, so that null may be added or removed."""
        before = {_class_of(variant): variant for variant in old[keyword]}
        after = {_class_of(variant): variant for variant in new[keyword]}
        if lost := at.lost(set(before), set(after)):
            yield at.breaks(f"{listed(lost)} {at.verb}")
        for name in sorted(before.keys() & after.keys()):
            yield from self.compare(at, before[name], after[name])

    #: how each keyword of JSON Schema is compared
    _rules: ClassVar[Mapping[str, Callable[..., Iterator[Break]]]] = {
        "type": _type,
        "enum": _enum,
        **dict.fromkeys((*LOWER_BOUNDS, *UPPER_BOUNDS), _bound),
        "pattern": _restriction,
        "uniqueItems": _restriction,
        "required": _required,
        "properties": _properties,
        "additionalProperties": _additional,
        "items": _one_schema,
        "propertyNames": _one_schema,
        "anyOf": _variants,
    }


def _as_object(schema: Any) -> Node:
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    whole: Node = schema
    return whole


def _with_variants(schema: Node) -> Node:
    """Return a schema as one variant of `anyOf`, comparable with other variants."""
    return schema if "anyOf" in schema else {"anyOf": [schema]}


def _types(schema: Node) -> set[str]:
    given = schema.get("type", sorted(TYPES))
    types = {given} if isinstance(given, str) else set(given)
    return types | {"integer"} if "number" in types else types


def _class_of(schema: Node) -> str:
    """Return the class or the types that a generator makes of a schema."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    return " or ".join(sorted(_types(schema))) if "type" in schema else "anything"


def _components_within(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if "$ref" in node:
            yield node["$ref"].rpartition("/")[2]
        for inner in node.values():
            yield from _components_within(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _components_within(inner)


def listed(names: Iterable[str]) -> str:
    """Return names as a sorted list in one text."""
    return ", ".join(sorted(names))
