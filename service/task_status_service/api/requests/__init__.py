"""Requests: parse and validate what a client sends."""
