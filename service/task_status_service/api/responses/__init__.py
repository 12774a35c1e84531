"""Responses: bodies, caching headers and problem documents."""
