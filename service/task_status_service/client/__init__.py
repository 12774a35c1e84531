"""A client of the HTTP API, and its commands. It imports nothing from the service except the version."""
