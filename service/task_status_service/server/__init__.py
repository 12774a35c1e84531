"""The server: gunicorn with gevent workers. gevent patches the standard library before the app is imported."""
