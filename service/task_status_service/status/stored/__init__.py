"""Stored values: decodes the bytes that Celery or a task stored, within bounds."""
