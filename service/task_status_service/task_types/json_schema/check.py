"""One check of a value against a compiled schema: its limits, its verdicts and the problems that it finds."""

import enum
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias

#: limit of one check, at which it takes about 0.1 s. A step is a keyword that is applied to a value, an enum member
#: that is compared, or eight names that are looked up. A request has at most 10,000 values (api/requests/json_body.py)
MAX_STEPS: Final = 150_000
#: names that are looked up, and bytes that are encoded, in one step
NAMES_PER_STEP: Final = 8
BYTES_PER_STEP: Final = 256
#: nested schemas; deeper ones are skipped, because Python limits frames, of which each schema takes up to four. Values
#: are nested in at most 32 levels (api/requests/json_body.py), so a value alone does not exceed it
MAX_DEPTH: Final = 160
#: limit of the steps of all patterns in one check, which take about 50 ms; after it, patterns are skipped
MAX_PATTERN_STEPS: Final = 2_000_000


class Path:
    """The name or position of a value in its container, and the path of the container; None of the outermost value."""

    __slots__ = ("container", "step")

    def __init__(self, container: "Path | None", step: str | int) -> None:
        self.container = container
        self.step = step

    def steps(self) -> list[str]:
        """Return names and positions, from the outermost."""
        steps: list[str] = []
        path = self
        while path.container is not None:
            steps.append(str(path.step))
            path = path.container
        return steps[::-1]


class TooExpensive(Exception):
    """The check exceeds a limit."""


class Verdict(enum.Enum):
    """Whether a value fits a schema."""

    INVALID = enum.auto()
    VALID = enum.auto()
    #: it fits all keywords that are checked, but others were skipped
    UNKNOWN = enum.auto()


#: a problem: the path of the value, and its description without the value
Problem: TypeAlias = tuple[Path | None, str]


class Schema:
    """A compiled schema. Without keywords, any value fits it."""

    __slots__ = ("applicators", "assertions", "has_skipped_keywords", "is_referenced")

    def __init__(self) -> None:
        self.assertions: tuple[Assertion, ...] = ()
        self.applicators: tuple[Applicator, ...] = ()
        #: a keyword that may reject values is not supported
        self.has_skipped_keywords = False
        #: a `$ref` names it, so that it may be applied to one value many times
        self.is_referenced = False


class Check:
    """The state of one check.

    Verdicts of referenced schemas are kept: otherwise a chain of schemas that each name the next one twice takes
    exponential time.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.pattern_steps = 0
        #: skipped keywords so far; a verdict compares the number before and after
        self.skipped = 0
        self._depth = 0
        # Values are identified by `id`: the arguments, which contain all of them, outlive the check.
        self._verdicts: dict[tuple[int, int], Verdict] = {}
        #: the referenced schemas and paths that were reported, and each path itself, so that its `id` stays unique
        self._reported: dict[tuple[int, int], Path] = {}

    def spend(self, steps: int) -> None:
        """Count steps.

        Raises:
            TooExpensive: the limit is exceeded.
        """
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise TooExpensive

    def problems(self, schema: Schema, value: Any, path: Path | None) -> Iterable[Problem]:
        """Return the problems of a value; the path None means that only their existence is of interest.

        The assertions are checked at once, and the applicators while the caller iterates.
        """
        # As in `spend`, without a call.
        self.steps += 1 + len(schema.assertions)
        if self.steps > MAX_STEPS:
            raise TooExpensive
        if schema.has_skipped_keywords:
            self.skipped += 1
        found: list[Problem] = []
        for find_problem in schema.assertions:
            detail = find_problem(self, value)
            if detail is not None:
                found.append((path, detail))
        return self._with_applicators(found, schema, value, path) if schema.applicators else found

    def _with_applicators(
        self, found: list[Problem], schema: Schema, value: Any, path: Path | None
    ) -> Iterator[Problem]:
        yield from found
        if self._depth == MAX_DEPTH:
            self.skipped += 1
            return
        self._depth += 1
        for apply in schema.applicators:
            self.spend(1)
            yield from apply(self, value, path)
        self._depth -= 1

    def verdict(self, schema: Schema, value: Any) -> Verdict:
        """Return whether a value fits a schema."""
        if not schema.is_referenced:
            return self._verdict(schema, value)
        key = id(schema), id(value)
        known = self._verdicts.get(key)
        if known is None:
            # A schema that refers to itself for the same value adds nothing.
            self._verdicts[key] = Verdict.UNKNOWN
            known = self._verdicts[key] = self._verdict(schema, value)
        elif known is Verdict.UNKNOWN:
            self.skipped += 1
        return known

    def _verdict(self, schema: Schema, value: Any) -> Verdict:
        skipped, depth = self.skipped, self._depth
        for _ in self.problems(schema, value, None):
            self.skipped, self._depth = skipped, depth
            return Verdict.INVALID
        return Verdict.VALID if self.skipped == skipped else Verdict.UNKNOWN

    def is_first_report(self, schema: Schema, path: Path) -> bool:
        """Return whether the problems of a referenced schema at a path are reported for the first time."""
        key = id(schema), id(path)
        if key in self._reported:
            return False
        self._reported[key] = path
        return True


#: a keyword without schemas: returns the description of a problem, or None
Assertion: TypeAlias = Callable[[Check, Any], str | None]
#: a keyword with schemas
Applicator: TypeAlias = Callable[[Check, Any, Path | None], Iterator[Problem]]


def step_into(path: Path | None, step: str | int) -> Path | None:
    """Return the path of a member or item of the value at a path."""
    return None if path is None else Path(path, step)


def problems_of(schema: Schema, value: Any, check: Check) -> Iterator[tuple[list[str], str]]:
    """Yield the path and the description of each problem of a value, which must outlive the check.

    Raises:
        TooExpensive: the check exceeds a limit.
    """
    try:
        for path, detail in check.problems(schema, value, Path(None, "")):
            yield (path.steps() if path is not None else []), detail
    except RecursionError as error:
        raise TooExpensive from error
