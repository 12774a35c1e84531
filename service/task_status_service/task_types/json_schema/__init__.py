"""A subset of JSON Schema 2020-12 whose check ends after a limited number of steps, for any schema and any value.

Supported are the keywords that msgspec and pydantic write, and those of equal cost. Other keywords are skipped: a
value may fit that a complete validator would reject, and never the reverse.
"""

from task_status_service.task_types.json_schema.check import MAX_STEPS, Check, Schema, TooExpensive, problems_of
from task_status_service.task_types.json_schema.compiler import InvalidSchema, compile_schema

__all__ = ["MAX_STEPS", "Check", "InvalidSchema", "Schema", "TooExpensive", "compile_schema", "problems_of"]
