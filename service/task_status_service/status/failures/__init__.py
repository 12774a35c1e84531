"""Failures: what a failed or retrying task died of."""
