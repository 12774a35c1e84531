"""Tests of the HTTP API over fakes: one file per endpoint."""
