"""The server: gunicorn with gevent workers. Imports no app before gevent has patched the standard library."""
