"""A client of the HTTP API, and the commands around it. Knows the API and nothing else of this package."""
