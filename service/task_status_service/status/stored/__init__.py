"""Stored values: bytes that Celery or a task stored, read within bounds."""
