"""Store: all of Redis."""
