"""Checks of the OpenAPI document: against its last release, other tools, and the running service."""
