"""Keywords that apply schemas, or that name members. Each function compiles one keyword, or raises `ValueError`."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from task_status_service.task_types.json_schema.assertions import described, natural, require
from task_status_service.task_types.json_schema.check import (
    NAMES_PER_STEP,
    Applicator,
    Check,
    Path,
    Problem,
    Schema,
    Verdict,
    step_into,
)

#: members that a description names, and characters of each
MAX_NAMED: Final = 5
MAX_NAME_CHARS: Final = 50

_NONE_FITS: Final = described("is not valid under any of the given schemas")
_MANY_FIT: Final = described("is valid under more than one of the given schemas")
_IS_EXCLUDED: Final = described("fits a schema that it must not fit")


class Compiler(Protocol):
    """The compiler of the schemas within a schema."""

    def schema(self, source: Any) -> Schema:
        """Return the compiled schema. Raises `ValueError` if the source is no schema."""
        ...

    def referenced(self, pointer: str) -> Schema | None:
        """Return the schema of a `$ref`; None if it does not name a schema within the document."""
        ...


def _ref(pointer: Any, _source: Mapping[str, Any], compiler: Compiler) -> Applicator | None:
    require(isinstance(pointer, str))
    target = compiler.referenced(pointer)
    if target is None:
        return None

    def apply(check: Check, value: Any, path: Path | None) -> Iterator[Problem]:
        if check.verdict(target, value) is Verdict.INVALID:
            if path is None:
                yield None, ""
            elif check.is_first_report(target, path):
                yield from check.problems(target, value, path)

    return apply


def _all_of(sources: Any, _source: Mapping[str, Any], compiler: Compiler) -> Applicator:
    schemas = _schemas(sources, compiler)

    def apply(check: Check, value: Any, path: Path | None) -> Iterator[Problem]:
        for schema in schemas:
            yield from check.problems(schema, value, path)

    return apply


def _any_of(sources: Any, _source: Mapping[str, Any], compiler: Compiler) -> Applicator:
    schemas = _schemas(sources, compiler)

    def apply(check: Check, value: Any, path: Path | None) -> Iterator[Problem]:
        if all(check.verdict(schema, value) is Verdict.INVALID for schema in schemas):
            yield path, _NONE_FITS

    return apply


def _one_of(sources: Any, _source: Mapping[str, Any], compiler: Compiler) -> Applicator:
    schemas = _schemas(sources, compiler)

    def apply(check: Check, value: Any, path: Path | None) -> Iterator[Problem]:
        verdicts = [check.verdict(schema, value) for schema in schemas]
        if all(verdict is Verdict.INVALID for verdict in verdicts):
            yield path, _NONE_FITS
        if verdicts.count(Verdict.VALID) > 1:
            yield path, _MANY_FIT

    return apply


def _not(excluded: Any, _source: Mapping[str, Any], compiler: Compiler) -> Applicator:
    schema = compiler.schema(excluded)

    def apply(check: Check, value: Any, path: Path | None) -> Iterator[Problem]:
        if check.verdict(schema, value) is Verdict.VALID:
            yield path, _IS_EXCLUDED

    return apply


def _if(condition: Any, source: Mapping[str, Any], compiler: Compiler) -> Applicator:
    schema = compiler.schema(condition)
    consequences = {
        Verdict.VALID: compiler.schema(source.get("then", True)),
        Verdict.INVALID: compiler.schema(source.get("else", True)),
    }

    def apply(check: Check, value: Any, path: Path | None) -> Iterator[Problem]:
        consequence = consequences.get(check.verdict(schema, value))
        if consequence is not None:
            yield from check.problems(consequence, value, path)

    return apply


def _dependent_schemas(sources: Any, _source: Mapping[str, Any], compiler: Compiler) -> Applicator:
    schemas = _schemas_by_name(sources, compiler)

    def apply(check: Check, value: Any, path: Path | None) -> Iterator[Problem]:
        for _name, schema in _schemas_of_members(check, schemas, value):
            yield from check.problems(schema, value, path)

    return apply


def _properties(sources: Any, _source: Mapping[str, Any], compiler: Compiler) -> Applicator:
    schemas = _schemas_by_name(sources, compiler)

    def apply(check: Check, value: Any, path: Path | None) -> Iterator[Problem]:
        for name, schema in _schemas_of_members(check, schemas, value):
            yield from check.problems(schema, value[name], step_into(path, name))

    return apply


def _schemas_of_members(check: Check, schemas: Mapping[str, Schema], value: Any) -> Iterator[tuple[str, Schema]]:
    """Yield each name that is a member of an object, with its schema; a value of another type has no members."""
    if isinstance(value, dict):
        check.spend(len(schemas) // NAMES_PER_STEP)
        yield from ((name, schema) for name, schema in schemas.items() if name in value)


def _additional_properties(additional: Any, source: Mapping[str, Any], compiler: Compiler) -> Applicator | None:
    schema = compiler.schema(additional)
    if "patternProperties" in source:
        # Patterns, which decide about the additional properties, are not applied to names.
        return None
    known = frozenset(_by_name(source.get("properties", {})))

    def apply(check: Check, value: Any, path: Path | None) -> Iterator[Problem]:
        if not isinstance(value, dict):
            return
        check.spend(len(value) // NAMES_PER_STEP)
        names = [name for name in value if name not in known]
        if additional is False:
            if names:
                yield path, f"Additional properties are not allowed ({_quoted(names)})"
            return
        for name in names:
            yield from check.problems(schema, value[name], step_into(path, name))

    return apply


def _property_names(names: Any, _source: Mapping[str, Any], compiler: Compiler) -> Applicator:
    schema = compiler.schema(names)

    def apply(check: Check, value: Any, path: Path | None) -> Iterator[Problem]:
        if isinstance(value, dict):
            for name in value:
                if check.verdict(schema, name) is Verdict.INVALID:
                    yield path, f"The name {name[:MAX_NAME_CHARS]!r} is not allowed"

    return apply


def _required(names: Any, _source: Mapping[str, Any], _compiler: Compiler) -> Applicator:
    # Quoted once, because a name may be long.
    details = [(name, f"{name!r} is a required property") for name in _names(names)]

    def apply(check: Check, value: Any, path: Path | None) -> Iterator[Problem]:
        if isinstance(value, dict):
            check.spend(len(details) // NAMES_PER_STEP)
            for name, detail in details:
                if name not in value:
                    yield path, detail

    return apply


def _dependent_required(dependencies: Any, source: Mapping[str, Any], compiler: Compiler) -> Applicator:
    required = {name: _required(names, source, compiler) for name, names in _by_name(dependencies).items()}

    def apply(check: Check, value: Any, path: Path | None) -> Iterator[Problem]:
        if isinstance(value, dict):
            check.spend(len(required) // NAMES_PER_STEP)
            for name, find_missing in required.items():
                if name in value:
                    yield from find_missing(check, value, path)

    return apply


def _prefix_items(sources: Any, _source: Mapping[str, Any], compiler: Compiler) -> Applicator:
    schemas = _schemas(sources, compiler)

    def apply(check: Check, value: Any, path: Path | None) -> Iterator[Problem]:
        if isinstance(value, list):
            for position, (schema, item) in enumerate(zip(schemas, value, strict=False)):
                yield from check.problems(schema, item, step_into(path, position))

    return apply


def _items(further: Any, source: Mapping[str, Any], compiler: Compiler) -> Applicator | None:
    schema = compiler.schema(further)
    first = len(_schemas(source["prefixItems"], compiler)) if "prefixItems" in source else 0

    def apply(check: Check, value: Any, path: Path | None) -> Iterator[Problem]:
        if isinstance(value, list):
            for position in range(first, len(value)):
                yield from check.problems(schema, value[position], step_into(path, position))

    return apply


def _contains(contained: Any, source: Mapping[str, Any], compiler: Compiler) -> Applicator:
    schema = compiler.schema(contained)
    least = natural(source.get("minContains", 1))
    most = natural(source["maxContains"]) if "maxContains" in source else None
    too_few = described(f"contains fewer than {least} of the wanted items")
    too_many = described(f"contains more than {most} of the wanted items")

    def apply(check: Check, value: Any, path: Path | None) -> Iterator[Problem]:
        if not isinstance(value, list):
            return
        verdicts = [check.verdict(schema, item) for item in value]
        if len(verdicts) - verdicts.count(Verdict.INVALID) < least:
            yield path, too_few
        if most is not None and verdicts.count(Verdict.VALID) > most:
            yield path, too_many

    return apply


def _schemas(sources: Any, compiler: Compiler) -> list[Schema]:
    require(isinstance(sources, list) and bool(sources))
    return [compiler.schema(source) for source in sources]


def _schemas_by_name(sources: Any, compiler: Compiler) -> dict[str, Schema]:
    return {name: compiler.schema(source) for name, source in _by_name(sources).items()}


def _by_name(sources: Any) -> dict[str, Any]:
    require(isinstance(sources, dict))
    return dict(sources)


def _names(names: Any) -> list[str]:
    require(isinstance(names, list) and all(isinstance(name, str) for name in names))
    return list(names)


def _quoted(names: list[str]) -> str:
    quoted = ", ".join(repr(name[:MAX_NAME_CHARS]) for name in names[:MAX_NAMED])
    if len(names) > MAX_NAMED:
        return f"{quoted} and {len(names) - MAX_NAMED} more were unexpected"
    return f"{quoted} {'was' if len(names) == 1 else 'were'} unexpected"


#: compilers by keyword. They get the value of the keyword and the schema around it. They raise ValueError for an
#: invalid value, and return None for one that is not supported
APPLICATORS: Final[Mapping[str, Callable[[Any, Mapping[str, Any], Compiler], Applicator | None]]] = {
    "required": _required,
    "dependentRequired": _dependent_required,
    "additionalProperties": _additional_properties,
    "properties": _properties,
    "propertyNames": _property_names,
    "prefixItems": _prefix_items,
    "items": _items,
    "contains": _contains,
    "$ref": _ref,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
    "dependentSchemas": _dependent_schemas,
}
