"""Which differences between two JSON Schemas break clients.

By who writes what a schema describes: in requests the new one must allow all that the old one did, in answers the old
one all that the new one does. A keyword that has no rule here must stay as it was.
"""

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final, NamedTuple

Node = Mapping[str, Any]


class Break(NamedTuple):
    """One difference that breaks clients."""

    #: what it is found under in a client: the operationId, or the name of the component
    name: str
    #: where in that, and what
    what: str

    def __str__(self) -> str:
        return f"{self.name}: {self.what}"


class Side(enum.Enum):
    """Who writes what a schema describes."""

    REQUEST = "in requests"
    ANSWER = "in answers"


class Place(NamedTuple):
    """What a schema is of."""

    name: str
    #: where in that; empty for the schema of a component itself
    where: str
    side: Side

    def within(self, part: str) -> "Place":
        return self._replace(where=f"{self.where}: {part}" if self.where else part)

    def breaks(self, what: str) -> Break:
        return Break(self.name, f"{self.where}: {what}" if self.where else what)

    def lost(self, before: set[str], after: set[str]) -> set[str]:
        """Give what is refused now, or comes and did not."""
        return before - after if self.side is Side.REQUEST else after - before

    @property
    def verb(self) -> str:
        return "is refused now" if self.side is Side.REQUEST else "may come now"


#: what tells people, and changes nothing
TEXTS: Final = frozenset(
    {"title", "summary", "description", "example", "examples", "externalDocs", "deprecated", "$comment"}
)
#: the more of these, the fewer values fit
LOWER_BOUNDS: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
#: the less of these
UPPER_BOUNDS: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
TYPES: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})


class Schemas:
    """Walks the schemas of two documents at once, and each component once for requests and once for answers."""

    def __init__(self, old: Node, new: Node) -> None:
        """Take the schemas of both documents by name."""
        self._old = old
        self._new = new
        self._compared: set[tuple[str, Side]] = set()

    def compare(self, at: Place, old: Any, new: Any) -> Iterator[Break]:
        """Compare two schemas, with all that they refer to."""
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
        """Compare what has no rule of its own: it must stay, and what it refers to must in either direction."""
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
        # Its name may be written down in a client, whoever sends it.
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
        """Compare what holds or does not: a pattern, unique items. Another one is neither wider nor narrower."""
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
            yield at.breaks("has more properties, and said that it would not")

    def _additional(self, at: Place, keyword: str, old: Node, new: Node) -> Iterator[Break]:
        before, after = old.get(keyword, True), new.get(keyword, True)
        if before == after and isinstance(before, bool):
            return
        if isinstance(before, bool) or isinstance(after, bool):
            # In answers a client has a place for them, or has none; so only requests may allow more.
            if at.side is Side.ANSWER or not (before is False or after is True):
                yield at.breaks(f"{keyword} is {after} and was {before}")
        else:
            yield from self.compare(at.within(keyword), before, after)

    def _one_schema(self, at: Place, keyword: str, old: Node, new: Node) -> Iterator[Break]:
        yield from self.compare(at.within(keyword), old.get(keyword, {}), new.get(keyword, {}))

    def _variants(self, at: Place, keyword: str, old: Node, new: Node) -> Iterator[Break]:
        """Compare variants by their class, so that null may be added or taken away."""
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
    """Write a schema as one of several, so that it can be compared with one that is."""
    return schema if "anyOf" in schema else {"anyOf": [schema]}


def _types(schema: Node) -> set[str]:
    given = schema.get("type", sorted(TYPES))
    types = {given} if isinstance(given, str) else set(given)
    return types | {"integer"} if "number" in types else types


def _class_of(schema: Node) -> str:
    """Say what a generator makes of a schema: the class that it names, or its types."""
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
    """Write some names down in one fixed order."""
    return ", ".join(sorted(names))
