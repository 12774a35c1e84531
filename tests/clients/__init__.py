"""Clients generated from the committed document, checked by their compilers and run against the live service."""
