"""The whole thing, looked at from outside."""
