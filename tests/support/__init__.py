"""Helpers of all tests: real servers, fakes, API keys, stored values and checks."""
