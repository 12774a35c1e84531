"""A client of the HTTP API, and its commands. It imports nothing else of this package but the version."""
