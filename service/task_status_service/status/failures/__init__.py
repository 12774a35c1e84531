"""Failures: why a task, or its last attempt, failed."""
