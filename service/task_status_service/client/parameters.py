"""Parsers of command-line values: `KEY=VALUE`, `KEY:VALUE` and JSON arrays."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import click


def read_arguments(_context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> Mapping[str, Any]:
    """Read KEY=VALUE pairs; a repeated key is an error."""
    arguments: dict[str, Any] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not of the form KEY=VALUE.", param=parameter)
        if name in arguments:
            raise click.BadParameter(f"The key {name!r} is repeated.", param=parameter)
        arguments[name] = _read_value(value)
    return arguments


def read_array(_context: click.Context, parameter: click.Parameter, text: str | None) -> list[Any]:
    """Read a JSON array; empty if the option is missing."""
    value = [] if text is None else _read_value(text)
    if not isinstance(value, list):
        raise click.BadParameter("The value must be a JSON array, such as '[1, 2]'.", param=parameter)
    return value


def read_labels(_context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> Mapping[str, str]:
    """Read KEY:VALUE pairs, the form of labels in the API."""
    labels = {}
    for text in values:
        name, colon, value = text.partition(":")
        if not colon:
            raise click.BadParameter(f"{text!r} is not of the form KEY:VALUE.", param=parameter)
        labels[name] = value
    return labels


def _read_value(text: str) -> Any:
    """Read a value as JSON, or as text if it is not JSON; NaN and Infinity are text."""
    try:
        return json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        return text


def _reject_constant(constant: str) -> NoReturn:
    raise ValueError(constant)
