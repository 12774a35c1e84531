"""WSGI middleware around Flask."""
